//! Element types: what a buffer may hold, and the real numbers arithmetic is generic over.

use bytemuck::Pod;
use half::bf16;
use std::fmt::Debug;

/// Storage types of tensors in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
    /// IEEE binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    BF16,
    /// Signed 64-bit integer (position ids in old checkpoints).
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 16-bit integer.
    I16,
    /// Signed 8-bit integer (weights of quantised models).
    I8,
    /// Unsigned 64-bit integer.
    U64,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 8-bit integer.
    U8,
    /// 0 or 1 in a byte (masks).
    Bool,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::I8 | DType::U8 | DType::Bool => 1,
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F64 | DType::I64 | DType::U64 => 8,
        }
    }

    /// Whether it holds real numbers, as weights are.
    pub const fn is_real(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16 | DType::BF16)
    }
}

/// Plain data a backend buffer may hold.
pub trait Element: Pod + Debug + Default + PartialEq + Send + Sync + 'static {
    /// Name for messages, e.g. `f32`.
    const NAME: &'static str;
}

/// A real number that activations or masters may be made of.
///
/// Conversions go through `f64`, which holds each of them exactly.
pub trait Real: Element + PartialOrd {
    /// Distance from 1.0 to the next larger number.
    const EPSILON: f64;
    /// Nearest representable value.
    fn from_f64(x: f64) -> Self;
    /// Exact value.
    fn to_f64(self) -> f64;
}

macro_rules! element {
    ($($t:ty),*) => {$(
        impl Element for $t {
            const NAME: &'static str = stringify!($t);
        }
    )*};
}
element!(u8, u32, u64, i32, f32, f64, bf16);

impl Real for f32 {
    const EPSILON: f64 = f32::EPSILON as f64;
    fn from_f64(x: f64) -> Self {
        x as f32
    }
    fn to_f64(self) -> f64 {
        self as f64
    }
}

impl Real for f64 {
    const EPSILON: f64 = f64::EPSILON;
    fn from_f64(x: f64) -> Self {
        x
    }
    fn to_f64(self) -> f64 {
        self
    }
}

impl Real for bf16 {
    const EPSILON: f64 = 0.0078125;
    fn from_f64(x: f64) -> Self {
        bf16::from_f64(x)
    }
    fn to_f64(self) -> f64 {
        bf16::to_f64(self)
    }
}
