//! The AVX2 path: a 256-bit register; fused multiply-add.

use super::{Block, SIDE, Square, Vector, lanes};
use std::arch::x86_64::*;

/// Eight f32 in a register.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(__m256);

impl Avx2 {
    /// A register of the path that this one belongs to or a wider one.
    #[inline(always)]
    pub(super) fn of(x: __m256) -> Avx2 {
        Avx2(x)
    }
}

/// Runs `f` in a function that has the path's target features, so that what is inlined into it has too.
///
/// # Safety
/// The processor must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn enter<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// [`enter`] for a path that is known to be available.
#[inline(always)]
pub fn with_avx2<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: only `dispatch!` calls this, for a `Path::Avx2`, and those are only ever used where the
    // processor has AVX2 and FMA (`Path::detect`, `Path::all` and the backend's constructor check).
    unsafe { enter(f) }
}

/// The magnitude's bits of an f32.
const MAGNITUDE: u32 = 0x7fff_ffff;
/// Philox's multipliers and key increments (see `hone_tensor::Philox`).
pub(super) const M0: i32 = 0xD251_1F53_u32 as i32;
pub(super) const M1: i32 = 0xCD9E_8D57_u32 as i32;
pub(super) const W0: u32 = 0x9E37_79B9;
pub(super) const W1: u32 = 0xBB67_AE85;

// SAFETY of every block below: values of this type exist only inside `enter`, where the instructions do.
impl Vector for Avx2 {
    lanes!(8);
    type Eight = Avx2;
    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: inside `enter`.
        Avx2(unsafe { _mm256_set1_ps(x) })
    }
    #[inline(always)]
    fn load(from: &[f32; 8]) -> Self {
        // SAFETY: inside `enter`; eight elements lie behind the reference.
        Avx2(unsafe { _mm256_loadu_ps(from.as_ptr()) })
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; 8]) {
        // SAFETY: inside `enter`; eight elements lie behind the reference.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: inside `enter`.
        Avx2(unsafe { _mm256_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: inside `enter`.
        Avx2(unsafe { _mm256_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: inside `enter`.
        Avx2(unsafe { _mm256_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: inside `enter`.
        Avx2(unsafe { _mm256_div_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        // SAFETY: inside `enter`.
        Avx2(unsafe { _mm256_fmadd_ps(self.0, by.0, plus.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: inside `enter`.
        Avx2(unsafe { _mm256_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: inside `enter`.
        Avx2(unsafe { _mm256_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn round(self) -> Self {
        // SAFETY: inside `enter`.
        Avx2(unsafe {
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)
        })
    }
    #[inline(always)]
    fn exp2_integral(self) -> Self {
        // SAFETY: inside `enter`.
        unsafe {
            let n = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), _mm256_set1_epi32(127));
            Avx2(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(n)))
        }
    }
    #[inline(always)]
    fn where_less(self, a: Self, b: Self, other: Self) -> Self {
        // SAFETY: inside `enter`.
        unsafe {
            let less = _mm256_cmp_ps::<_CMP_LT_OQ>(a.0, b.0);
            Avx2(_mm256_blendv_ps(other.0, self.0, less))
        }
    }
    #[inline(always)]
    fn with_sign_of(magnitude: Self, sign: Self) -> Self {
        // SAFETY: inside `enter`.
        unsafe {
            let bits = _mm256_castsi256_ps(_mm256_set1_epi32(MAGNITUDE as i32));
            Avx2(_mm256_or_ps(
                _mm256_and_ps(bits, magnitude.0),
                _mm256_andnot_ps(bits, sign.0),
            ))
        }
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: inside `enter`.
        unsafe {
            let four = _mm_add_ps(
                _mm256_castps256_ps128(self.0),
                _mm256_extractf128_ps::<1>(self.0),
            );
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            let one = _mm_add_ss(two, _mm_shuffle_ps::<1>(two, two));
            _mm_cvtss_f32(one)
        }
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        // SAFETY: inside `enter`.
        unsafe {
            let four = _mm_max_ps(
                _mm256_castps256_ps128(self.0),
                _mm256_extractf128_ps::<1>(self.0),
            );
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            let one = _mm_max_ss(two, _mm_shuffle_ps::<1>(two, two));
            _mm_cvtss_f32(one)
        }
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
            let all = |w: u32| _mm256_set1_epi32(w as i32);
            // Lanes 0–3 are blocks 0, 2, 4, 6 and lanes 4–7 blocks 1, 3, 5, 7, so that unpacking within
            // the halves of a register leaves channels in order.
            let order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
            let mut c0 = _mm256_add_epi32(all(first.block), order);
            let mut c1 = all(first.row);
            for _ in 0..(first.block + 7) / first.per_row {
                // Lanes behind a row's last block: back by a row's blocks, on by a row.
                let behind = _mm256_cmpgt_epi32(c0, all(first.per_row - 1));
                c0 = _mm256_sub_epi32(c0, _mm256_and_si256(behind, all(first.per_row)));
                c1 = _mm256_sub_epi32(c1, behind);
            }
            let (mut c2, mut c3) = (all(counter[0]), all(counter[1]));
            let (mut k0, mut k1) = (key[0], key[1]);
            for _ in 0..hone_tensor::Philox::ROUNDS {
                let (high0, low0) = wide(c0, _mm256_set1_epi32(M0));
                let (high1, low1) = wide(c2, _mm256_set1_epi32(M1));
                c0 = _mm256_xor_si256(_mm256_xor_si256(high1, c1), all(k0));
                c1 = low1;
                c2 = _mm256_xor_si256(_mm256_xor_si256(high0, c3), all(k1));
                c3 = low0;
                k0 = k0.wrapping_add(W0);
                k1 = k1.wrapping_add(W1);
            }
            let (a, b) = (_mm256_unpacklo_epi32(c0, c1), _mm256_unpackhi_epi32(c0, c1));
            let (c, d) = (_mm256_unpacklo_epi32(c2, c3), _mm256_unpackhi_epi32(c2, c3));
            let words = [
                _mm256_unpacklo_epi64(a, c),
                _mm256_unpackhi_epi64(a, c),
                _mm256_unpacklo_epi64(b, d),
                _mm256_unpackhi_epi64(b, d),
            ];
            let threshold = all(threshold);
            for (k, word) in words.into_iter().enumerate() {
                let at = x.as_mut_ptr().add(8 * k);
                // Unsigned word ≥ threshold.
                let keep = _mm256_cmpeq_epi32(_mm256_max_epu32(word, threshold), word);
                let factor = _mm256_and_ps(_mm256_castsi256_ps(keep), scale.0);
                _mm256_storeu_ps(at, _mm256_mul_ps(_mm256_loadu_ps(at), factor));
            }
        }
    }
}

impl Square for Avx2 {
    #[inline(always)]
    fn transpose(rows: [Self; SIDE]) -> [Self; SIDE] {
        let [a, b, c, d, e, f, g, h] = rows;
        // SAFETY: inside `enter`.
        let [a, b, c, d, e, f, g, h] =
            unsafe { transpose8([a.0, b.0, c.0, d.0, e.0, f.0, g.0, h.0]) };
        [
            Avx2(a),
            Avx2(b),
            Avx2(c),
            Avx2(d),
            Avx2(e),
            Avx2(f),
            Avx2(g),
            Avx2(h),
        ]
    }
}

/// Upper and lower words of the 64-bit products of eight 32-bit lanes.
///
/// # Safety
/// Inside `enter` only.
#[inline(always)]
unsafe fn wide(a: __m256i, b: __m256i) -> (__m256i, __m256i) {
    // SAFETY: the caller is inside `enter`.
    unsafe {
        let even = _mm256_mul_epu32(a, b);
        let odd = _mm256_mul_epu32(_mm256_srli_epi64::<32>(a), b);
        let high = _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(even), odd);
        let low = _mm256_blend_epi32::<0b1010_1010>(even, _mm256_slli_epi64::<32>(odd));
        (high, low)
    }
}

/// A square of 8×8, rows to columns.
///
/// Written out: a closure or an array's `map` would be a function of its own, without the path's instructions.
///
/// # Safety
/// The processor has AVX2; inlined into a function that is compiled for it.
#[inline(always)]
pub unsafe fn transpose8(rows: [__m256; SIDE]) -> [__m256; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let [a, b, c, d, e, f, g, h] = rows;
        let (l0, l1, l2, l3) = transpose4(a, b, c, d);
        let (h0, h1, h2, h3) = transpose4(e, f, g, h);
        [
            _mm256_permute2f128_ps::<0x20>(l0, h0),
            _mm256_permute2f128_ps::<0x20>(l1, h1),
            _mm256_permute2f128_ps::<0x20>(l2, h2),
            _mm256_permute2f128_ps::<0x20>(l3, h3),
            _mm256_permute2f128_ps::<0x31>(l0, h0),
            _mm256_permute2f128_ps::<0x31>(l1, h1),
            _mm256_permute2f128_ps::<0x31>(l2, h2),
            _mm256_permute2f128_ps::<0x31>(l3, h3),
        ]
    }
}

/// Squares of 4×4 in both halves of the registers.
///
/// # Safety
/// As [`transpose8`].
#[inline(always)]
unsafe fn transpose4(
    a: __m256,
    b: __m256,
    c: __m256,
    d: __m256,
) -> (__m256, __m256, __m256, __m256) {
    // SAFETY: the caller's promise.
    unsafe {
        let (ab, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        (
            _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd),
            _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd),
            _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
            _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
        )
    }
}
