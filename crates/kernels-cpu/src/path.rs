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
}

/// Every path, plainest first.
const ALL: [Path; 3] = [Path::Portable, Path::Avx2, Path::Avx512];

impl Path {
    /// The best path this processor can run.
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
            #[cfg(not(target_arch = "x86_64"))]
            Path::Avx2 | Path::Avx512 => false,
        }
    }

    /// The paths this processor can run, plainest first: what tests go through.
    pub fn all() -> Vec<Path> {
        ALL.into_iter().filter(|path| path.available()).collect()
    }

    /// Its name in checkpoints and reports.
    pub fn name(self) -> &'static str {
        match self {
            Path::Portable => "cpu-portable",
            Path::Avx2 => "cpu-avx2",
            Path::Avx512 => "cpu-avx512",
        }
    }
}
