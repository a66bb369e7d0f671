//! Which instructions the kernels use: found once at run time, never at compile time.

/// The arithmetic path. Bits of every result depend on it alone, and checkpoints record its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Path {
    /// Plain Rust; products and sums are rounded separately.
    Portable,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512 (its foundation alone): registers of sixteen lanes, with fused multiply-add.
    Avx512,
    /// The same, but products with weights and weight gradients round their operands to bf16 and sum pairs of products
    /// in f32 (`vdpbf16ps`): twice the rate where 512-bit multiply-adds are split, as on Zen 4.
    Avx512Bf16,
}

/// Every path that computes in f32 throughout, plainest first.
const ALL: [Path; 3] = [Path::Portable, Path::Avx2, Path::Avx512];

impl Path {
    /// The best path in f32 that this processor can run.
    pub fn detect() -> Path {
        let best = ALL.into_iter().rfind(|path| path.available());
        best.unwrap_or(Path::Portable)
    }

    /// Whether this processor can run it.
    pub fn available(self) -> bool {
        match self {
            Path::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => {
                std::arch::is_x86_feature_detected!("avx2")
                    && std::arch::is_x86_feature_detected!("fma")
            }
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => {
                Path::Avx2.available() && std::arch::is_x86_feature_detected!("avx512f")
            }
            #[cfg(target_arch = "x86_64")]
            Path::Avx512Bf16 => {
                Path::Avx512.available()
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512bf16")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Path::Avx2 | Path::Avx512 | Path::Avx512Bf16 => false,
        }
    }

    /// The path for products in bf16, where this processor multiplies it. It is never chosen unasked.
    pub fn rounded() -> Option<Path> {
        Some(Path::Avx512Bf16).filter(|path| path.available())
    }

    /// The paths in f32 that this processor can run, plainest first: what tests go through.
    pub fn all() -> Vec<Path> {
        ALL.into_iter().filter(|path| path.available()).collect()
    }

    /// Those, and the one for products in bf16 where there is one.
    pub fn every() -> Vec<Path> {
        Path::all().into_iter().chain(Path::rounded()).collect()
    }

    /// Its name in checkpoints and reports. A path whose bits a version of Hone changes gets a new one, so that a
    /// checkpoint of before is refused in words instead of going on as another run.
    pub fn name(self) -> &'static str {
        match self {
            Path::Portable => "cpu-portable",
            Path::Avx2 => "cpu-avx2",
            Path::Avx512 => "cpu-avx512.2",
            Path::Avx512Bf16 => "cpu-avx512-bf16",
        }
    }
}
