//! The 4×8 microkernel in plain Rust. Its shape fits sixteen 128-bit registers, so every compiler target
//! with vectors turns it into them; products and sums are rounded separately everywhere.

use super::kernel::{Ahead, GemmKernel, Left, Packed, Plus};

/// Marker of the portable microkernel.
#[derive(Debug, Clone, Copy)]
pub struct Portable;

const NR: usize = 8;

impl GemmKernel for Portable {
    const MR: usize = 4;
    const NR: usize = NR;
    const KC: usize = 384;
    type Grad = Portable;
    const ACROSS: usize = 0;
    type PackedLeft = Packed<4>;
    const PACKED: Packed<4> = Packed;

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
        _: Ahead,
    ) {
        // SAFETY: handed on from the caller; each arm computes no more rows than there are.
        unsafe {
            match rows {
                4 => tile::<4, L>(k, a, left, b, c, c_stride, plus),
                3 => tile::<3, L>(k, a, left, b, c, c_stride, plus),
                2 => tile::<2, L>(k, a, left, b, c, c_stride, plus),
                1 => tile::<1, L>(k, a, left, b, c, c_stride, plus),
                _ => {}
            }
        }
    }

    #[inline(always)]
    fn prefetch(_: *const f32) {}

    #[inline(always)]
    fn prefetch_near(_: *const f32) {}
}

/// # Safety
/// As [`GemmKernel::tile`] with `rows = ROWS`.
unsafe fn tile<const ROWS: usize, L: Left>(
    k: usize,
    a: *const f32,
    left: L,
    b: *const f32,
    c: *mut f32,
    c_stride: usize,
    plus: Plus,
) {
    let mut sum = [[0f32; NR]; ROWS];
    for p in 0..k {
        // SAFETY: `p < k`, and the caller says B has `k·NR` elements.
        let b = unsafe { &*b.add(p * NR).cast::<[f32; NR]>() };
        for i in 0..ROWS {
            // SAFETY: `i < ROWS` rows and `p < k` depths exist.
            let x = unsafe { *a.add(i * left.row_stride() + p * left.depth_stride()) };
            for j in 0..NR {
                sum[i][j] += x * b[j];
            }
        }
    }
    for i in 0..ROWS {
        // SAFETY: C has `ROWS` rows of `NR` elements.
        let c = unsafe { &mut *c.add(i * c_stride).cast::<[f32; NR]>() };
        match plus {
            Plus::Nothing => {}
            Plus::Output => (0..NR).for_each(|j| sum[i][j] += c[j]),
            Plus::Row(row) => {
                // SAFETY: the row has `NR` elements.
                let row = unsafe { &*row.cast::<[f32; NR]>() };
                (0..NR).for_each(|j| sum[i][j] += row[j]);
            }
        }
        *c = sum[i];
    }
}
