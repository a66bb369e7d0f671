//! SIMD kernels, GEMM and the thread team for the CPU.

mod flush;
pub mod gemm;
mod mem;
mod path;
mod team;

pub use gemm::fma_peak;
pub use mem::Buf;
pub use path::Path;
pub use team::{Parts, Split, Team};
