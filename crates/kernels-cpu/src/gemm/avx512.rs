//! The microkernels for AVX-512: 24 accumulators of sixteen lanes, words of f32 or of two bf16.

use super::kernel::{Ahead, GemmKernel, Left, Packed, Plus};
use super::{avx2, bf16};
use std::arch::x86_64::*;

/// Lanes of a register.
const LANES: usize = 16;

/// Marker of an AVX-512 microkernel of `MR` rows by `WIDE` registers, whose words are of two bf16 where `BF16` says so.
#[derive(Debug, Clone, Copy)]
pub struct Tile<const MR: usize, const WIDE: usize, const BF16: bool>;

/// The one that products use.
pub type Avx512 = Tile<6, 4, false>;
/// The same for products in bf16.
pub type Avx512Bf16 = Tile<6, 4, true>;

impl<const MR: usize, const WIDE: usize, const BF16: bool> GemmKernel for Tile<MR, WIDE, BF16> {
    const TERMS: usize = 1 + BF16 as usize;
    const MR: usize = MR;
    const NR: usize = LANES * WIDE;
    const KC: usize = 384;
    type Grad = Tile<12, 2, BF16>;
    /// Words of two tokens do not lie anywhere.
    const ACROSS: usize = if BF16 { 0 } else { 1536 };
    type PackedLeft = Packed<MR>;
    const PACKED: Packed<MR> = Packed;

    #[inline(always)]
    fn word(first: f32, second: f32) -> f32 {
        match BF16 {
            true => bf16::word(first, second),
            false => first,
        }
    }

    #[inline(always)]
    unsafe fn words(from: *const f32, count: usize, to: *mut f32) {
        // SAFETY: handed on from the caller.
        unsafe {
            match BF16 {
                true => bf16::words(from, count, to),
                false => std::ptr::copy_nonoverlapping(from, to, count),
            }
        }
    }

    #[inline(always)]
    unsafe fn left(from: *const f32, stride: usize, depth: usize, rows: usize, to: *mut f32) {
        // SAFETY: handed on from the caller.
        unsafe {
            match BF16 {
                true => bf16::left::<MR>(from, stride, depth, rows, to),
                false => left::<MR>(from, stride, depth, rows, to),
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<L: Left>(
        rows: usize,
        k: usize,
        a: *const f32,
        left: L,
        b: *const f32,
        c: *mut f32,
        c_stride: usize,
        plus: Plus,
        ahead: Ahead,
    ) {
        /// An arm for each number of rows up to the largest kernel's.
        macro_rules! of_rows {
            ($($n:literal)*) => {
                match rows {
                    $($n if $n <= MR && BF16 => tile_bf16::<$n, WIDE, L>(k, a, left, b, c, c_stride, plus, ahead),)*
                    $($n if $n <= MR => tile::<$n, WIDE, L>(k, a, left, b, c, c_stride, plus, ahead),)*
                    _ => {}
                }
            };
        }
        // SAFETY: handed on from the caller; each arm computes no more rows than there are.
        unsafe { of_rows!(1 2 3 4 5 6 7 8 9 10 11 12) }
    }

    #[inline(always)]
    unsafe fn transpose(from: *const f32, depth: usize, to: *mut f32) -> usize {
        // SAFETY: handed on from the caller; this path includes AVX2.
        unsafe {
            match BF16 {
                true => bf16::transpose(from, depth, to, Self::NR),
                false => avx2::transpose(from, depth, to, Self::NR),
            }
        }
    }

    #[inline(always)]
    unsafe fn copy(from: *const f32, stride: usize, depth: usize, to: *mut f32) {
        // SAFETY: handed on from the caller.
        unsafe {
            match BF16 {
                true => bf16::copy::<WIDE, false>(from, stride, depth, to),
                false => copy::<WIDE>(from, stride, depth, to),
            }
        }
    }

    #[inline(always)]
    unsafe fn stream(from: *const f32, stride: usize, depth: usize, to: *mut f32) {
        // SAFETY: handed on from the caller.
        unsafe {
            match BF16 {
                true => bf16::copy::<WIDE, true>(from, stride, depth, to),
                false => stream::<WIDE>(from, stride, depth, to),
            }
        }
    }

    #[inline(always)]
    unsafe fn send(from: *const f32, size: (usize, usize), to: *mut f32, stride: usize) -> f64 {
        // SAFETY: handed on from the caller.
        unsafe {
            if size.1 == Self::NR && to.addr().is_multiple_of(64) && stride.is_multiple_of(16) {
                send::<WIDE>(from, size.0, to, stride)
            } else {
                avx2::send(from, Self::NR, size, to, stride)
            }
        }
    }

    #[inline(always)]
    unsafe fn squares(at: *const f32, stride: usize, size: (usize, usize)) -> f64 {
        // SAFETY: handed on from the caller; this path includes AVX2.
        unsafe { avx2::squares(at, stride, size) }
    }

    #[inline(always)]
    fn fence() {
        avx2::Avx2::fence();
    }

    #[inline(always)]
    fn prefetch(at: *const f32) {
        avx2::Avx2::prefetch(at);
    }

    #[inline(always)]
    fn prefetch_near(at: *const f32) {
        avx2::Avx2::prefetch_near(at);
    }
}

/// # Safety
/// As [`GemmKernel::tile`] with `rows = ROWS` and `NR = 16 · WIDE`.
#[target_feature(enable = "avx512f")]
unsafe fn tile<const ROWS: usize, const WIDE: usize, L: Left>(
    k: usize,
    a: *const f32,
    left: L,
    b: *const f32,
    c: *mut f32,
    c_stride: usize,
    plus: Plus,
    ahead: Ahead,
) {
    // SAFETY: handed on from the caller.
    unsafe { sums::<ROWS, WIDE, false, L>(k, a, left, b, c, c_stride, plus, ahead) }
}

/// [`tile`] of words of two bf16.
///
/// # Safety
/// The same.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn tile_bf16<const ROWS: usize, const WIDE: usize, L: Left>(
    k: usize,
    a: *const f32,
    left: L,
    b: *const f32,
    c: *mut f32,
    c_stride: usize,
    plus: Plus,
    ahead: Ahead,
) {
    // SAFETY: handed on from the caller.
    unsafe { sums::<ROWS, WIDE, true, L>(k, a, left, b, c, c_stride, plus, ahead) }
}

/// `sum` and the products of a lane's words.
///
/// # Safety
/// As [`tile`] or [`tile_bf16`], whose features it is compiled with.
#[inline(always)]
unsafe fn fused<const BF16: bool>(x: __m512, y: __m512, sum: __m512) -> __m512 {
    // SAFETY: handed on from the caller; both types are 64 bytes.
    unsafe {
        if BF16 {
            let (x, y) = (
                std::mem::transmute::<__m512, __m512bh>(x),
                std::mem::transmute::<__m512, __m512bh>(y),
            );
            _mm512_dpbf16_ps(sum, x, y)
        } else {
            _mm512_fmadd_ps(x, y, sum)
        }
    }
}

/// One word of depth: the rows of `a`, `row` apart, times the columns of `b`. No closure of [`sums`], which would have
/// features of its own (none) where it is not inlined.
///
/// # Safety
/// As [`fused`]; the rows and columns exist.
#[inline(always)]
unsafe fn step<const ROWS: usize, const WIDE: usize, const BF16: bool>(
    a: *const f32,
    row: usize,
    b: *const f32,
    sum: &mut [[__m512; WIDE]; ROWS],
) {
    // SAFETY: handed on from the caller.
    unsafe {
        let mut right = [_mm512_setzero_ps(); WIDE];
        for w in 0..WIDE {
            right[w] = _mm512_loadu_ps(b.add(w * LANES));
        }
        for i in 0..ROWS {
            let x = _mm512_set1_ps(*a.add(i * row));
            for w in 0..WIDE {
                sum[i][w] = fused::<BF16>(x, right[w], sum[i][w]);
            }
        }
    }
}

/// The loop of both.
///
/// # Safety
/// As [`fused`].
#[inline(always)]
unsafe fn sums<const ROWS: usize, const WIDE: usize, const BF16: bool, L: Left>(
    k: usize,
    a: *const f32,
    left: L,
    b: *const f32,
    c: *mut f32,
    c_stride: usize,
    plus: Plus,
    ahead: Ahead,
) {
    // SAFETY (whole body): every address is formed from `rows < ROWS`, `p < k` and NR columns, which the
    // caller says exist; prefetches touch nothing.
    unsafe {
        // C is read or written some thousand cycles from now.
        for i in 0..ROWS {
            let at = c.add(i * c_stride);
            for w in 0..WIDE {
                _mm_prefetch::<_MM_HINT_T0>(at.add(w * LANES).cast());
            }
            _mm_prefetch::<_MM_HINT_T0>(at.add(WIDE * LANES - 1).cast());
        }
        let mut sum = [[_mm512_setzero_ps(); WIDE]; ROWS];
        let row = left.row_stride();
        let depth = left.depth_stride();
        let mut a = a;
        let mut b = b;
        let mut next = ahead.at;
        for _ in 0..k / 4 {
            _mm_prefetch::<_MM_HINT_T1>(next.cast());
            next = next.wrapping_add(ahead.step);
            for p in 0..4 {
                let (a, b) = (a.add(p * depth), b.add(p * LANES * WIDE));
                step::<ROWS, WIDE, BF16>(a, row, b, &mut sum);
            }
            a = a.add(4 * depth);
            b = b.add(4 * LANES * WIDE);
        }
        for _ in 0..k % 4 {
            step::<ROWS, WIDE, BF16>(a, row, b, &mut sum);
            a = a.add(depth);
            b = b.add(LANES * WIDE);
        }
        match plus {
            Plus::Nothing => {}
            Plus::Output => {
                for i in 0..ROWS {
                    let at = c.add(i * c_stride);
                    for w in 0..WIDE {
                        sum[i][w] = _mm512_add_ps(sum[i][w], _mm512_loadu_ps(at.add(w * LANES)));
                    }
                }
            }
            Plus::Row(at) => {
                for w in 0..WIDE {
                    let more = _mm512_loadu_ps(at.add(w * LANES));
                    for i in 0..ROWS {
                        sum[i][w] = _mm512_add_ps(sum[i][w], more);
                    }
                }
            }
        }
        for i in 0..ROWS {
            let at = c.add(i * c_stride);
            for w in 0..WIDE {
                _mm512_storeu_ps(at.add(w * LANES), sum[i][w]);
            }
        }
    }
}

/// # Safety
/// As [`GemmKernel::send`] with `NR = 16 · WIDE` and whole rows; `to` and its rows stand at multiples of 64 bytes.
#[target_feature(enable = "avx512f")]
unsafe fn send<const WIDE: usize>(
    from: *const f32,
    rows: usize,
    to: *mut f32,
    stride: usize,
) -> f64 {
    let mut sums = [_mm512_setzero_pd(); 4];
    for i in 0..rows {
        for w in 0..WIDE {
            // SAFETY: column 16·w of row i exists on both sides.
            unsafe {
                let x = from.add((i * WIDE + w) * LANES);
                _mm512_stream_ps(to.add(i * stride + w * LANES), _mm512_loadu_ps(x));
                for half in 0..2 {
                    let wide = _mm512_cvtps_pd(_mm256_loadu_ps(x.add(8 * half)));
                    let sum = &mut sums[(w * 2 + half) % 4];
                    *sum = _mm512_fmadd_pd(wide, wide, *sum);
                }
            }
        }
    }
    let sum = _mm512_add_pd(
        _mm512_add_pd(sums[0], sums[1]),
        _mm512_add_pd(sums[2], sums[3]),
    );
    _mm512_reduce_add_pd(sum)
}

/// # Safety
/// As [`GemmKernel::copy`] with `NR = 16 · WIDE`.
#[target_feature(enable = "avx512f")]
unsafe fn copy<const WIDE: usize>(from: *const f32, stride: usize, depth: usize, to: *mut f32) {
    for p in 0..depth {
        for w in 0..WIDE {
            // SAFETY: column 16·w of row p exists on both sides.
            unsafe {
                let x = _mm512_loadu_ps(from.add(p * stride + LANES * w));
                _mm512_storeu_ps(to.add((p * WIDE + w) * LANES), x);
            }
        }
    }
}

/// # Safety
/// As [`GemmKernel::stream`] with `NR = 16 · WIDE`.
#[target_feature(enable = "avx512f")]
unsafe fn stream<const WIDE: usize>(from: *const f32, stride: usize, depth: usize, to: *mut f32) {
    for p in 0..depth {
        for w in 0..WIDE {
            // SAFETY: column 16·w of row p exists on both sides; `to` is aligned.
            unsafe {
                let x = _mm512_loadu_ps(from.add(p * stride + LANES * w));
                _mm512_stream_ps(to.add((p * WIDE + w) * LANES), x);
            }
        }
    }
}

/// # Safety
/// As [`GemmKernel::left`].
#[target_feature(enable = "avx512f")]
unsafe fn left<const MR: usize>(
    from: *const f32,
    stride: usize,
    depth: usize,
    rows: usize,
    to: *mut f32,
) {
    let rows = ((1u32 << rows) - 1) as __mmask16;
    for p in 0..depth {
        // SAFETY: the mask leaves out rows that do not exist.
        unsafe {
            let x = _mm512_maskz_loadu_ps(rows, from.add(p * stride));
            _mm512_mask_storeu_ps(to.add(p * MR), rows, x);
        }
    }
}
