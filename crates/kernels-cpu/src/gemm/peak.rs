//! The processor's own limit: multiply-adds on registers alone, measured, so that a share of it can be stated.

use crate::{Path, Team};
use std::time::Instant;

/// Passes of the loop: one or two milliseconds.
const PASSES: u64 = 1 << 19;
const REPEATS: usize = 36;

/// GFLOP/s of the multiply-adds of `path`'s products that touch no memory, on all threads of `team` at once; the best of
/// several short measurements. Without AVX2 or AVX-512 it is what the compiler makes of plain multiply-adds.
pub fn fma_peak(team: &Team, path: Path) -> f64 {
    (0..REPEATS)
        .map(|_| fma_rate(team, path))
        .fold(0.0, f64::max)
}

/// One measurement of a millisecond or two.
pub fn fma_rate(team: &Team, path: Path) -> f64 {
    let start = Instant::now();
    team.run(team.threads(), &|_| {
        let sum = match path {
            // SAFETY: the path was found to be available.
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => unsafe { avx2_loop(PASSES) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => unsafe { avx512_loop(PASSES) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Path::Avx512Bf16 => unsafe { bf16_loop(PASSES) },
            _ => portable_loop(PASSES),
        };
        std::hint::black_box(sum);
    });
    let flops = match path {
        Path::Avx2 => 12 * 8 * 2,
        Path::Avx512 => 12 * 16 * 2,
        Path::Avx512Bf16 => 12 * 32 * 2,
        Path::Portable => 8 * 4 * 2,
    };
    (PASSES * flops * team.threads() as u64) as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// Twelve independent chains of eight lanes.
///
/// # Safety
/// The processor has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2_loop(passes: u64) -> f32 {
    use std::arch::x86_64::*;
    let x = _mm256_set1_ps(std::hint::black_box(0.999_999));
    let y = _mm256_set1_ps(std::hint::black_box(1e-6));
    let mut sum = [_mm256_setzero_ps(); 12];
    for _ in 0..passes {
        for s in &mut sum {
            *s = _mm256_fmadd_ps(*s, x, y);
        }
    }
    let mut all = sum[0];
    for s in &sum[1..] {
        all = _mm256_add_ps(all, *s);
    }
    _mm256_cvtss_f32(all)
}

/// Twelve independent chains of sixteen lanes.
///
/// # Safety
/// The processor has AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512_loop(passes: u64) -> f32 {
    use std::arch::x86_64::*;
    let x = _mm512_set1_ps(std::hint::black_box(0.999_999));
    let y = _mm512_set1_ps(std::hint::black_box(1e-6));
    let mut sum = [_mm512_setzero_ps(); 12];
    for _ in 0..passes {
        for s in &mut sum {
            *s = _mm512_fmadd_ps(*s, x, y);
        }
    }
    let mut all = sum[0];
    for s in &sum[1..] {
        all = _mm512_add_ps(all, *s);
    }
    _mm512_cvtss_f32(all)
}

/// Twelve independent chains of sixteen lanes, two products each.
///
/// # Safety
/// The processor multiplies bf16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn bf16_loop(passes: u64) -> f32 {
    use std::arch::x86_64::*;
    let x = _mm512_set1_ps(std::hint::black_box(1e-6));
    // SAFETY: both types are 64 bytes.
    let x: __m512bh = unsafe { std::mem::transmute(x) };
    let mut sum = [_mm512_setzero_ps(); 12];
    for _ in 0..passes {
        for s in &mut sum {
            *s = _mm512_dpbf16_ps(*s, x, x);
        }
    }
    let mut all = sum[0];
    for s in &sum[1..] {
        all = _mm512_add_ps(all, *s);
    }
    _mm512_cvtss_f32(all)
}

/// Eight chains of four lanes.
fn portable_loop(passes: u64) -> f32 {
    let (x, y) = (
        std::hint::black_box(0.999_999f32),
        std::hint::black_box(1e-6f32),
    );
    let mut sum = [[0f32; 4]; 8];
    for _ in 0..passes {
        for chain in &mut sum {
            for s in chain {
                *s = *s * x + y;
            }
        }
    }
    sum.iter().flatten().sum()
}
