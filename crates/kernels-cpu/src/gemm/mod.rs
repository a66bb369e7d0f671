//! Matrix products in the three forms that training needs: forward, backward to the input, backward to the
//! weight. In the manner of `matrixmultiply` and BLIS, with what BERT allows besides:
//!
//! * weights are packed once per update, in both orientations ([`crate::CpuParams`]);
//! * bias and activation are applied while a tile is in the first-level cache;
//! * a ragged number of rows costs nothing: the kernels exist for every number of rows up to MR.
//!
//! | file | what |
//! |---|---|
//! | `kernel` | the microkernel's contract |
//! | `avx2`, `avx512`, `portable` | its implementations |
//! | `bf16` | operands in words of two bf16, for processors that multiply them |
//! | `blocking` | how work is cut |
//! | `pack` | copies in reading order |
//! | `product` | loops around the kernel: forward, backward to the input |
//! | `weight_grad` | loops around the kernel: backward to the weight |
//! | `peak` | the processor's own limit |

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod blocking;
mod kernel;
pub mod pack;
mod peak;
mod portable;
mod product;
mod weight_grad;

#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::{Avx512, Avx512Bf16};
pub use blocking::Blocking;
pub use kernel::{BAND, GemmKernel};
pub use peak::{fma_peak, fma_rate};
pub use portable::Portable;
pub use product::{Epilogue, Onto, Plain, Right, Stack, in_words, product, words_len};
pub use weight_grad::{PackScratch, squares_len, weight_grad};

/// Calls a function that is generic over the microkernel with the one a [`crate::Path`] names.
macro_rules! with_kernel {
    ($path:expr, $K:ident => $body:expr) => {
        match $path {
            $crate::Path::Portable => {
                type $K = $crate::gemm::Portable;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::Path::Avx2 => {
                type $K = $crate::gemm::Avx2;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::Path::Avx512 => {
                type $K = $crate::gemm::Avx512;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::Path::Avx512Bf16 => {
                type $K = $crate::gemm::Avx512Bf16;
                $body
            }
            // These are never available elsewhere, and a backend is made only for available paths.
            #[cfg(not(target_arch = "x86_64"))]
            $crate::Path::Avx2 | $crate::Path::Avx512 | $crate::Path::Avx512Bf16 => {
                type $K = $crate::gemm::Portable;
                $body
            }
        }
    };
}
pub(crate) use with_kernel;
