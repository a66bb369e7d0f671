//! Operands in words of two bf16, for `vdpbf16ps`: the term of the lower K in the lower half. Rounded to nearest, ties to
//! even, as the instruction that converts does it; what is below the smallest normal number becomes zero, there as here.

use super::avx2;
use super::kernel::BAND;
use std::arch::x86_64::*;

/// Words of a register.
const LANES: usize = 16;

/// The word of two terms.
pub fn word(first: f32, second: f32) -> f32 {
    f32::from_bits(rounded(first) | rounded(second) << 16)
}

/// The bf16 nearest to `x`.
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    match x.classify() {
        std::num::FpCategory::Nan => bits >> 16 | 0x40,
        std::num::FpCategory::Subnormal => bits >> 31 << 15,
        _ => (bits + 0x7fff + (bits >> 16 & 1)) >> 16,
    }
}

/// Sixteen words of terms that lie in two registers, one above the other.
///
/// # Safety
/// The processor has these features.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pair(first: __m512, second: __m512) -> __m512 {
    // SAFETY: registers only; both types are 64 bytes.
    unsafe {
        // Sixteen bf16 of `first`, then sixteen of `second`.
        let halves: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(second, first));
        // 0, 16, 1, 17, …
        let low = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        let order = _mm512_or_si512(
            low,
            _mm512_slli_epi32::<16>(_mm512_add_epi32(low, _mm512_set1_epi32(16))),
        );
        _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, halves))
    }
}

/// As [`super::GemmKernel::words`].
///
/// # Safety
/// The same.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn words(from: *const f32, count: usize, to: *mut f32) {
    for at in (0..count).step_by(2 * LANES) {
        let left = count - at;
        // SAFETY: masks leave out what does not exist, and make zeros of it.
        unsafe {
            let from = from.add(at);
            let first = _mm512_maskz_loadu_ps(mask(left), from);
            let second =
                _mm512_maskz_loadu_ps(mask(left.saturating_sub(LANES)), from.wrapping_add(LANES));
            // Terms that lie side by side are words already.
            let words: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(second, first));
            let to = to.add(at / 2);
            _mm512_mask_storeu_ps(to, mask(left.div_ceil(2)), _mm512_castsi512_ps(words));
        }
    }
}

/// The first `count` lanes.
fn mask(count: usize) -> __mmask16 {
    match count {
        LANES.. => !0,
        _ => (1 << count) - 1,
    }
}

/// As [`super::GemmKernel::transpose`]: 32 terms at a time.
///
/// # Safety
/// The same.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx2,fma")]
pub unsafe fn transpose(from: *const f32, depth: usize, to: *mut f32, to_stride: usize) -> usize {
    #[repr(align(64))]
    struct Square([f32; BAND * LANES]);
    let mut square = Square([0.0; BAND * LANES]);
    let whole = depth / (2 * LANES) * (2 * LANES);
    for p in (0..whole).step_by(2 * LANES) {
        // SAFETY: rows 0..BAND of `from` reach from p to p + 32 ≤ depth; the rows of `to` that get them exist.
        unsafe {
            for j in 0..BAND {
                let to = square.0.as_mut_ptr().add(j * LANES);
                words(from.add(j * depth + p), 2 * LANES, to);
            }
            let to = to.add(p / 2 * to_stride);
            avx2::transpose(square.0.as_ptr(), LANES, to, to_stride);
        }
    }
    whole
}

/// As [`super::GemmKernel::copy`] with `NR = 16 · WIDE`, or, where `LATER` says so, [`super::GemmKernel::stream`].
///
/// # Safety
/// The same.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn copy<const WIDE: usize, const LATER: bool>(
    from: *const f32,
    stride: usize,
    depth: usize,
    to: *mut f32,
) {
    for p in (0..depth).step_by(2) {
        for w in 0..WIDE {
            // SAFETY: column 16·w of row p exists on both sides, row p + 1 where it is read; `to` is aligned where it is
            // written past the caches.
            unsafe {
                let at = from.add(p * stride + LANES * w);
                let second = match p + 1 < depth {
                    true => _mm512_loadu_ps(at.add(stride)),
                    false => _mm512_setzero_ps(),
                };
                let x = pair(_mm512_loadu_ps(at), second);
                let to = to.add((p / 2 * WIDE + w) * LANES);
                match LATER {
                    true => _mm512_stream_ps(to, x),
                    false => _mm512_storeu_ps(to, x),
                }
            }
        }
    }
}

/// As [`super::GemmKernel::left`].
///
/// # Safety
/// The same; MR is at most 16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn left<const MR: usize>(
    from: *const f32,
    stride: usize,
    depth: usize,
    rows: usize,
    to: *mut f32,
) {
    let rows = mask(rows);
    for p in (0..depth).step_by(2) {
        // SAFETY: masks leave out rows that do not exist.
        unsafe {
            let at = from.add(p * stride);
            let second = match p + 1 < depth {
                true => _mm512_maskz_loadu_ps(rows, at.add(stride)),
                false => _mm512_setzero_ps(),
            };
            let x = pair(_mm512_maskz_loadu_ps(rows, at), second);
            _mm512_mask_storeu_ps(to.add(p / 2 * MR), mask(MR), x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Path;

    #[test]
    fn words_are_the_nearest_bf16_as_the_processor_rounds() {
        let exact = |bits: u32| f32::from_bits(bits);
        // 1 + 2⁻⁸ lies halfway and goes to even, 1 + 3·2⁻⁸ too; just above the half goes up.
        for (x, want) in [
            (1.0, 0x3f80),
            (exact(0x3f80_8000), 0x3f80),
            (exact(0x3f81_8000), 0x3f82),
            (exact(0x3f80_8001), 0x3f81),
            (-0.0, 0x8000),
            (f32::MAX, 0x7f80),
            (f32::NEG_INFINITY, 0xff80),
            (f32::MIN_POSITIVE / 2.0, 0),
            (exact(0x7f80_0001), 0x7fc0),
        ] {
            assert_eq!(rounded(x), want, "{x}");
            assert_eq!(word(x, 1.0).to_bits(), want | 0x3f80 << 16);
        }
        if Path::rounded().is_none() {
            eprintln!("skipped: this processor does not convert to bf16");
            return;
        }
        let random = hone_tensor::Philox::new(5);
        let mut all: Vec<f32> = (0..4001)
            .map(|i| f32::from_bits(random.u64_at(0, i) as u32))
            .collect();
        all[..4].copy_from_slice(&[f32::NAN, f32::MIN_POSITIVE / 4.0, f32::MAX, -0.0]);
        let mut out = vec![0f32; all.len().div_ceil(2)];
        // SAFETY: 4 001 elements and their words; the path is available.
        unsafe { words(all.as_ptr(), all.len(), out.as_mut_ptr()) };
        for (pair, got) in all.chunks(2).zip(&out) {
            let want = word(pair[0], pair.get(1).copied().unwrap_or(0.0));
            assert_eq!(got.to_bits(), want.to_bits(), "{pair:?}");
        }
    }
}
