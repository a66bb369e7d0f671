//! The two types of activations, as matrix products, compilers and names of images tell them apart. The build script
//! reads this file too.

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
