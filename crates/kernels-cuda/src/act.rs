//! The two number types activations may have. The kernels' sources are compiled once for each.

pub use crate::number::Number;
use half::bf16;
use hone_tensor::Real;

/// Numbers of activations. Weights, statistics, sums and gradients of parameters are always f32.
pub trait Act: Real {
    /// Which of the two.
    const NUMBER: Number;
}

impl Act for f32 {
    const NUMBER: Number = Number::F32;
}

impl Act for bf16 {
    const NUMBER: Number = Number::Bf16;
}
