//! SIMD kernels, GEMM and the thread team for the CPU.
