//! The AVX-512 path: a 512-bit register; fused multiply-add.

use super::avx2::{Avx2, M0, M1, W0, W1};
use super::{Block, Vector, lanes};
use std::arch::x86_64::*;

/// Sixteen f32 in a register.
#[derive(Debug, Clone, Copy)]
pub struct Avx512(__m512);

/// Runs `f` in a function that has the path's target features, so that what is inlined into it has too.
///
/// # Safety
/// The processor must have AVX-512F, AVX2 and FMA.
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn enter<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// [`enter`] for a path that is known to be available.
#[inline(always)]
pub fn with_avx512<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: only `dispatch!` calls this, for a `Path::Avx512`, and those are only ever used where the
    // processor has these (`Path::detect`, `Path::all` and the backend's constructor check).
    unsafe { enter(f) }
}

// SAFETY of every block below: values of this type exist only inside `enter`, where the instructions do.
impl Vector for Avx512 {
    lanes!(16);
    type Eight = Avx2;
    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: inside `enter`.
        Avx512(unsafe { _mm512_set1_ps(x) })
    }
    #[inline(always)]
    fn load(from: &[f32; 16]) -> Self {
        // SAFETY: inside `enter`; sixteen elements lie behind the reference.
        Avx512(unsafe { _mm512_loadu_ps(from.as_ptr()) })
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; 16]) {
        // SAFETY: inside `enter`; sixteen elements lie behind the reference.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: inside `enter`.
        Avx512(unsafe { _mm512_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: inside `enter`.
        Avx512(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: inside `enter`.
        Avx512(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: inside `enter`.
        Avx512(unsafe { _mm512_div_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        // SAFETY: inside `enter`.
        Avx512(unsafe { _mm512_fmadd_ps(self.0, by.0, plus.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: inside `enter`.
        Avx512(unsafe { _mm512_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: inside `enter`.
        Avx512(unsafe { _mm512_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn round(self) -> Self {
        // SAFETY: inside `enter`.
        Avx512(unsafe {
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)
        })
    }
    #[inline(always)]
    fn exp2_integral(self) -> Self {
        // SAFETY: inside `enter`.
        unsafe {
            let n = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
            Avx512(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(n)))
        }
    }
    #[inline(always)]
    fn where_less(self, a: Self, b: Self, other: Self) -> Self {
        // SAFETY: inside `enter`.
        unsafe {
            let less = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a.0, b.0);
            Avx512(_mm512_mask_blend_ps(less, other.0, self.0))
        }
    }
    #[inline(always)]
    fn with_sign_of(magnitude: Self, sign: Self) -> Self {
        // SAFETY: inside `enter`. Of each bit: the first word's where the mask is 1, else the second's.
        unsafe {
            let bits = _mm512_ternarylogic_epi32::<0b1110_0100>(
                _mm512_castps_si512(magnitude.0),
                _mm512_castps_si512(sign.0),
                _mm512_set1_epi32(i32::MAX),
            );
            Avx512(_mm512_castsi512_ps(bits))
        }
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: inside `enter`.
        let (low, high) = unsafe { halves(self.0) };
        // SAFETY: inside `enter`.
        Avx2::of(unsafe { _mm256_add_ps(low, high) }).sum()
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        // SAFETY: inside `enter`.
        let (low, high) = unsafe { halves(self.0) };
        // SAFETY: inside `enter`.
        Avx2::of(unsafe { _mm256_max_ps(low, high) }).largest()
    }
    #[inline(always)]
    fn keep32(
        key: [u32; 2],
        first: Block,
        counter: [u32; 2],
        threshold: u32,
        scale: Self,
        x: &mut [f32; 32],
    ) {
        // SAFETY: inside `enter`; `x` has 32 elements.
        unsafe {
            let all = |w: u32| _mm512_set1_epi64(i64::from(w));
            // A block a lane of 64 bits: a product's lower word is where the next factor is looked for, its upper one
            // is a shift away, and what else stands in upper words is never read.
            let mut c0 =
                _mm512_add_epi64(all(first.block), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
            let mut c1 = all(first.row);
            for _ in 0..(first.block + 7) / first.per_row {
                // Lanes behind a row's last block: back by a row's blocks, on by a row.
                let behind = _mm512_cmpgt_epu64_mask(c0, all(first.per_row - 1));
                c0 = _mm512_mask_sub_epi64(c0, behind, c0, all(first.per_row));
                c1 = _mm512_mask_add_epi64(c1, behind, c1, all(1));
            }
            let (mut c2, mut c3) = (all(counter[0]), all(counter[1]));
            let (mut k0, mut k1) = (key[0], key[1]);
            let (m0, m1) = (all(M0 as u32), all(M1 as u32));
            for _ in 0..hone_tensor::Philox::ROUNDS {
                let product0 = _mm512_mul_epu32(c0, m0);
                let product1 = _mm512_mul_epu32(c2, m1);
                // Three words' exclusive or.
                c0 = _mm512_ternarylogic_epi64::<0b1001_0110>(
                    _mm512_srli_epi64::<32>(product1),
                    c1,
                    all(k0),
                );
                c1 = product1;
                c2 = _mm512_ternarylogic_epi64::<0b1001_0110>(
                    _mm512_srli_epi64::<32>(product0),
                    c3,
                    all(k1),
                );
                c3 = product0;
                k0 = k0.wrapping_add(W0);
                k1 = k1.wrapping_add(W1);
            }
            // Words 0 and 1 of a block side by side, and 2 and 3.
            let join = |low, high| {
                _mm512_mask_blend_epi32(0b1010_1010_1010_1010, low, _mm512_slli_epi64::<32>(high))
            };
            let (first, second) = (join(c0, c1), join(c2, c3));
            let threshold = _mm512_set1_epi32(threshold as i32);
            for (half, order) in [
                _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11),
                _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15),
            ]
            .into_iter()
            .enumerate()
            {
                let words = _mm512_permutex2var_epi64(first, order, second);
                let keep = _mm512_cmpge_epu32_mask(words, threshold);
                let at = x.as_mut_ptr().add(16 * half);
                let factor = _mm512_maskz_mov_ps(keep, scale.0);
                _mm512_storeu_ps(at, _mm512_mul_ps(_mm512_loadu_ps(at), factor));
            }
        }
    }
}

/// Lanes 0 to 7 and 8 to 15.
///
/// # Safety
/// Inside `enter` only.
#[inline(always)]
unsafe fn halves(x: __m512) -> (__m256, __m256) {
    // SAFETY: the caller is inside `enter`.
    unsafe {
        let high = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x));
        (_mm512_castps512_ps256(x), _mm256_castpd_ps(high))
    }
}
