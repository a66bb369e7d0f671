//! Packing: copies of operands in the order the microkernel reads them.
//!
//! A panel of the right operand is `[depth][NR]`, columns beyond the matrix zero; a panel of the left one is
//! `[depth][MR]`.

use super::kernel::{BAND, GemmKernel};

/// Elements of a right operand of `depth × columns` in panels.
pub fn panels_len<K: GemmKernel>(depth: usize, columns: usize) -> usize {
    columns.div_ceil(K::NR) * K::NR * depth
}

/// One panel of a right operand that lies row-major with columns contiguous:
/// `out[p][j] = source[p·stride + j]` for `j < columns ≤ NR`.
pub fn right_panel<K: GemmKernel>(
    source: &[f32],
    stride: usize,
    depth: usize,
    columns: usize,
    out: &mut [f32],
) {
    // SAFETY: nothing is written past the caches.
    unsafe { panel::<K>(source, stride, depth, columns, out, K::copy) }
}

/// [`right_panel`] of what is read in the next step: written past the caches where it begins at a multiple of 64 bytes,
/// so that memory is not read first.
///
/// # Safety
/// [`GemmKernel::fence`] comes before anybody else reads it.
pub unsafe fn right_panel_for_later<K: GemmKernel>(
    source: &[f32],
    stride: usize,
    depth: usize,
    columns: usize,
    out: &mut [f32],
) {
    let aligned = out.as_ptr().addr().is_multiple_of(64);
    let write = if aligned { K::stream } else { K::copy };
    // SAFETY: handed on from the caller.
    unsafe { panel::<K>(source, stride, depth, columns, out, write) }
}

/// # Safety
/// `write` is `K::copy`, or `K::stream` under its conditions.
unsafe fn panel<K: GemmKernel>(
    source: &[f32],
    stride: usize,
    depth: usize,
    columns: usize,
    out: &mut [f32],
    write: unsafe fn(*const f32, usize, usize, *mut f32),
) {
    let out = &mut out[..depth * K::NR];
    if depth == 0 {
        return;
    }
    assert!(source.len() >= (depth - 1) * stride + columns, "a panel");
    if columns == K::NR {
        // SAFETY: `depth` rows of NR columns exist on both sides; kernels are only named for available paths.
        unsafe { write(source.as_ptr(), stride, depth, out.as_mut_ptr()) };
        return;
    }
    for (p, row) in out.chunks_exact_mut(K::NR).enumerate() {
        row[..columns].copy_from_slice(&source[p * stride..][..columns]);
        row[columns..].fill(0.0);
    }
}

/// At most [`BAND`] rows of a weight `[out, in]` (depth contiguous) as columns of a panel of the forward
/// product: `to[p·NR + j] = band[j·depth + p]`.
///
/// # Safety
/// `to` reaches `depth` rows, `NR` apart, of as many elements as the band has rows, and nobody else has access
/// to those before [`GemmKernel::fence`].
pub unsafe fn band_as_columns<K: GemmKernel>(band: &[f32], depth: usize, to: *mut f32) {
    let columns = band.len() / depth.max(1);
    let mut done = 0;
    if columns == BAND && to.addr().is_multiple_of(64) {
        // SAFETY: handed on from the caller; the path is available.
        done = unsafe { K::transpose(band.as_ptr(), depth, to) };
    }
    // Square blocks of a line each way: every line that is touched is used up while it is near.
    const STEP: usize = 16;
    for p0 in (done..depth).step_by(STEP) {
        let steps = STEP.min(depth - p0);
        for j in 0..columns {
            let from = &band[j * depth + p0..][..steps];
            for (p, x) in from.iter().enumerate() {
                // SAFETY: row `p0 + p < depth`, column `j < columns`.
                unsafe { *to.add((p0 + p) * K::NR + j) = *x };
            }
        }
    }
}

/// Depths that are packed together: as many lines of a row-major source as stay in the first-level cache
/// when their distance is a power of two (which puts them all in one set of eight ways).
const GROUP: usize = 8;

/// Panels of a right operand that lies row-major with columns contiguous, `depth × columns` of it.
pub fn right_panels<K: GemmKernel>(
    source: &[f32],
    stride: usize,
    depth: usize,
    columns: usize,
    out: &mut [f32],
) {
    for p in (0..depth).step_by(GROUP) {
        let group = GROUP.min(depth - p);
        for j in (0..columns).step_by(K::NR) {
            let width = K::NR.min(columns - j);
            let from = &source[p * stride + j..];
            let to = &mut out[j * depth + p * K::NR..];
            right_panel::<K>(from, stride, group, width, to);
        }
    }
}

/// Panels of a transposed left operand: row `i` at depth `p` is `source[p·stride + i]`, `rows` of them.
pub fn left_panels<K: GemmKernel>(
    source: &[f32],
    stride: usize,
    depth: usize,
    rows: usize,
    out: &mut [f32],
) {
    for p in (0..depth).step_by(GROUP) {
        let group = GROUP.min(depth - p);
        for i in (0..rows).step_by(K::MR) {
            let height = K::MR.min(rows - i);
            let from = &source[p * stride + i..];
            let to = &mut out[i * depth + p * K::MR..][..group * K::MR];
            if height == K::MR {
                for (q, row) in to.chunks_exact_mut(K::MR).enumerate() {
                    row.copy_from_slice(&from[q * stride..][..K::MR]);
                }
            } else {
                for (q, row) in to.chunks_exact_mut(K::MR).enumerate() {
                    row[..height].copy_from_slice(&from[q * stride..][..height]);
                }
            }
        }
    }
}
