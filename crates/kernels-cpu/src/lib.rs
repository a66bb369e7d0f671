//! SIMD kernels, GEMM and the thread team for the CPU.

mod flush;
mod path;
mod team;

pub use path::Path;
pub use team::{Parts, Split, Team};
