//! SIMD kernels, GEMM and the thread team for the CPU.

mod backend;
mod flush;
mod gemm;
mod mem;
mod ops;
mod params;
mod path;
mod simd;
mod team;

pub use backend::CpuBackend;
pub use mem::Buf;
pub use params::CpuParams;
pub use path::Path;
pub use team::{Parts, Split, Team};
