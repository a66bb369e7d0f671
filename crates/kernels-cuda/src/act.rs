//! The two number types activations may have. The kernels' sources are compiled once for each.

use half::bf16;
use hone_tensor::Real;

/// Numbers of activations. Weights, statistics, sums and gradients of parameters are always f32.
pub trait Act: Real {
    /// Which of the two.
    const NUMBER: Number;
}

/// Numbers as matrix products and compilers tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Number {
    /// IEEE binary32.
    F32,
    /// bfloat16.
    Bf16,
}

impl Number {
    /// Name, as in a path.
    pub const fn name(self) -> &'static str {
        match self {
            Number::F32 => "f32",
            Number::Bf16 => "bf16",
        }
    }

    /// Bytes of one.
    pub const fn size(self) -> usize {
        match self {
            Number::F32 => 4,
            Number::Bf16 => 2,
        }
    }

    /// Elements of a 16-byte vector: `GROUP` of device.cuh.
    pub const fn group(self) -> usize {
        16 / self.size()
    }
}

impl Act for f32 {
    const NUMBER: Number = Number::F32;
}

impl Act for bf16 {
    const NUMBER: Number = Number::Bf16;
}
