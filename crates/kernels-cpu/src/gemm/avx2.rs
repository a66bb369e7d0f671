//! The 6×16 microkernel for AVX2 with FMA: twelve accumulators, two registers of B, one broadcast of A.
//! Two FMAs a cycle need 2·4 (latency) independent chains at least; twelve leave room and still fit 16 registers.

use super::kernel::{Ahead, GemmKernel, Left, Packed, Plus};
use crate::simd::transpose8;
use std::arch::x86_64::*;

/// Marker of the AVX2+FMA microkernel.
#[derive(Debug, Clone, Copy)]
pub struct Avx2;

impl GemmKernel for Avx2 {
    const MR: usize = 6;
    const NR: usize = 16;
    const KC: usize = 384;
    type Grad = Avx2;
    const ACROSS: usize = 0;
    type PackedLeft = Packed<6>;
    const PACKED: Packed<6> = Packed;

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
        // SAFETY: handed on from the caller; each arm computes no more rows than there are.
        unsafe {
            match rows {
                6 => tile::<6, L>(k, a, left, b, c, c_stride, plus, ahead),
                5 => tile::<5, L>(k, a, left, b, c, c_stride, plus, ahead),
                4 => tile::<4, L>(k, a, left, b, c, c_stride, plus, ahead),
                3 => tile::<3, L>(k, a, left, b, c, c_stride, plus, ahead),
                2 => tile::<2, L>(k, a, left, b, c, c_stride, plus, ahead),
                1 => tile::<1, L>(k, a, left, b, c, c_stride, plus, ahead),
                _ => {}
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose(from: *const f32, depth: usize, to: *mut f32) -> usize {
        // SAFETY: handed on from the caller.
        unsafe { transpose(from, depth, to, Self::NR) }
    }

    #[inline(always)]
    unsafe fn copy(from: *const f32, stride: usize, depth: usize, to: *mut f32) {
        // SAFETY: handed on from the caller.
        unsafe { copy::<2>(from, stride, depth, to) }
    }

    #[inline(always)]
    unsafe fn stream(from: *const f32, stride: usize, depth: usize, to: *mut f32) {
        // SAFETY: handed on from the caller.
        unsafe { stream::<2>(from, stride, depth, to) }
    }

    #[inline(always)]
    unsafe fn send(from: *const f32, size: (usize, usize), to: *mut f32, stride: usize) -> f64 {
        // SAFETY: handed on from the caller.
        unsafe { send(from, Self::NR, size, to, stride) }
    }

    #[inline(always)]
    unsafe fn squares(at: *const f32, stride: usize, size: (usize, usize)) -> f64 {
        // SAFETY: handed on from the caller.
        unsafe { squares(at, stride, size) }
    }

    #[inline(always)]
    fn fence() {
        // SAFETY: every x86-64 has it.
        unsafe { _mm_sfence() };
    }

    #[inline(always)]
    fn prefetch(at: *const f32) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) };
    }

    #[inline(always)]
    fn prefetch_near(at: *const f32) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
}

/// One step of depth: the rows of `a`, `row` apart, times the columns of `b`. No closure of [`tile`]: builds that check
/// pointers would call it.
///
/// # Safety
/// The rows and columns exist, and the caller has this path's features.
#[inline(always)]
unsafe fn step<const ROWS: usize>(
    a: *const f32,
    row: usize,
    b: *const f32,
    sum: &mut [[__m256; 2]; ROWS],
) {
    // SAFETY: handed on from the caller.
    unsafe {
        let b0 = _mm256_loadu_ps(b);
        let b1 = _mm256_loadu_ps(b.add(8));
        for i in 0..ROWS {
            let x = _mm256_broadcast_ss(&*a.add(i * row));
            sum[i][0] = _mm256_fmadd_ps(x, b0, sum[i][0]);
            sum[i][1] = _mm256_fmadd_ps(x, b1, sum[i][1]);
        }
    }
}

/// # Safety
/// As [`GemmKernel::tile`] with `rows = ROWS`.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const ROWS: usize, L: Left>(
    k: usize,
    a: *const f32,
    left: L,
    b: *const f32,
    c: *mut f32,
    c_stride: usize,
    plus: Plus,
    ahead: Ahead,
) {
    // SAFETY (whole body): every address is formed from `rows < ROWS`, `p < k` and 16 columns, which the
    // caller says exist; prefetches touch nothing.
    unsafe {
        // C is read or written some hundred cycles from now.
        for i in 0..ROWS {
            let at = c.add(i * c_stride);
            _mm_prefetch::<_MM_HINT_T0>(at.cast());
            _mm_prefetch::<_MM_HINT_T0>(at.add(15).cast());
        }
        let mut sum = [[_mm256_setzero_ps(); 2]; ROWS];
        let row = left.row_stride();
        let depth = left.depth_stride();
        let mut a = a;
        let mut b = b;
        let mut next = ahead.at;
        for _ in 0..k / 4 {
            _mm_prefetch::<_MM_HINT_T1>(next.cast());
            next = next.wrapping_add(ahead.step);
            for p in 0..4 {
                step(a.add(p * depth), row, b.add(p * 16), &mut sum);
            }
            a = a.add(4 * depth);
            b = b.add(4 * 16);
        }
        for _ in 0..k % 4 {
            step(a, row, b, &mut sum);
            a = a.add(depth);
            b = b.add(16);
        }
        match plus {
            Plus::Nothing => {}
            Plus::Output => {
                for i in 0..ROWS {
                    let at = c.add(i * c_stride);
                    sum[i][0] = _mm256_add_ps(sum[i][0], _mm256_loadu_ps(at));
                    sum[i][1] = _mm256_add_ps(sum[i][1], _mm256_loadu_ps(at.add(8)));
                }
            }
            Plus::Row(at) => {
                let r0 = _mm256_loadu_ps(at);
                let r1 = _mm256_loadu_ps(at.add(8));
                for i in 0..ROWS {
                    sum[i][0] = _mm256_add_ps(sum[i][0], r0);
                    sum[i][1] = _mm256_add_ps(sum[i][1], r1);
                }
            }
        }
        for i in 0..ROWS {
            let at = c.add(i * c_stride);
            _mm256_storeu_ps(at, sum[i][0]);
            _mm256_storeu_ps(at.add(8), sum[i][1]);
        }
    }
}

/// Squares of 8×8 in registers, two of them to a line, which is written past the caches.
///
/// # Safety
/// As [`GemmKernel::transpose`], with rows of `to` at any distance that keeps them at multiples of 64 bytes.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn transpose(
    from: *const f32,
    depth: usize,
    to: *mut f32,
    to_stride: usize,
) -> usize {
    let whole = depth / 8 * 8;
    for p in (0..whole).step_by(8) {
        // SAFETY: rows 0..16 of `from` reach from p to p + 8 ≤ depth, and so do rows p… of `to`.
        unsafe {
            let left = square(from.add(p), depth);
            // A line must be written at once: the first half waits.
            let right = square(from.add(8 * depth + p), depth);
            for i in 0..8 {
                let line = to.add((p + i) * to_stride);
                _mm256_stream_ps(line, left[i]);
                _mm256_stream_ps(line.add(8), right[i]);
            }
        }
    }
    whole
}

/// Eight rows of eight, `stride` apart, as columns.
///
/// # Safety
/// They exist, and the processor has AVX2.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn square(from: *const f32, stride: usize) -> [__m256; 8] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut rows = [_mm256_setzero_ps(); 8];
        for (j, row) in rows.iter_mut().enumerate() {
            *row = _mm256_loadu_ps(from.add(j * stride));
        }
        transpose8(rows)
    }
}

/// # Safety
/// As [`GemmKernel::send`], `from` in rows of `from_stride`.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn send(
    from: *const f32,
    from_stride: usize,
    (rows, columns): (usize, usize),
    to: *mut f32,
    stride: usize,
) -> f64 {
    let lines = to.addr().is_multiple_of(64) && stride.is_multiple_of(16);
    // Whole lines alone go past the caches: half a line would be read first after all.
    let streamed = if lines { columns / 16 * 16 } else { 0 };
    for i in 0..rows {
        // SAFETY: rows and columns exist on both sides.
        unsafe {
            let (from, to) = (from.add(i * from_stride), to.add(i * stride));
            for at in (0..streamed).step_by(8) {
                _mm256_stream_ps(to.add(at), _mm256_loadu_ps(from.add(at)));
            }
            let rest = columns - streamed;
            std::ptr::copy_nonoverlapping(from.add(streamed), to.add(streamed), rest);
        }
    }
    // SAFETY: handed on from the caller.
    unsafe { squares(from, from_stride, (rows, columns)) }
}

/// # Safety
/// As [`GemmKernel::squares`].
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn squares(
    at: *const f32,
    stride: usize,
    (rows, columns): (usize, usize),
) -> f64 {
    let mut sums = [_mm256_setzero_pd(); 4];
    let mut rest = 0.0;
    for i in 0..rows {
        // SAFETY: rows and columns exist.
        unsafe {
            let row = at.add(i * stride);
            for quarter in 0..columns / 4 {
                let wide = _mm256_cvtps_pd(_mm_loadu_ps(row.add(4 * quarter)));
                let sum = &mut sums[quarter % 4];
                *sum = _mm256_fmadd_pd(wide, wide, *sum);
            }
            for j in columns / 4 * 4..columns {
                let x = f64::from(*row.add(j));
                rest += x * x;
            }
        }
    }
    let mut total = rest;
    for sum in sums {
        let mut lanes = [0.0; 4];
        // SAFETY: four numbers.
        unsafe { _mm256_storeu_pd(lanes.as_mut_ptr(), sum) };
        total += lanes.iter().sum::<f64>();
    }
    total
}

/// # Safety
/// As [`GemmKernel::copy`] with `NR = 8 · WIDE`.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn copy<const WIDE: usize>(
    from: *const f32,
    stride: usize,
    depth: usize,
    to: *mut f32,
) {
    for p in 0..depth {
        for w in 0..WIDE {
            // SAFETY: column 8·w of row p exists on both sides.
            unsafe {
                let x = _mm256_loadu_ps(from.add(p * stride + 8 * w));
                _mm256_storeu_ps(to.add((p * WIDE + w) * 8), x);
            }
        }
    }
}

/// # Safety
/// As [`GemmKernel::stream`] with `NR = 8 · WIDE`.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn stream<const WIDE: usize>(
    from: *const f32,
    stride: usize,
    depth: usize,
    to: *mut f32,
) {
    for p in 0..depth {
        for w in 0..WIDE {
            // SAFETY: column 8·w of row p exists on both sides; `to` is aligned.
            unsafe {
                let x = _mm256_loadu_ps(from.add(p * stride + 8 * w));
                _mm256_stream_ps(to.add((p * WIDE + w) * 8), x);
            }
        }
    }
}
