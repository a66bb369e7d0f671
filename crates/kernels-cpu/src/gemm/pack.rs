//! Packing: copies of operands in the order the microkernel reads them.
//!
//! A panel of the right operand is `[depth][NR]`, columns beyond the matrix zero; a panel of the left one is
//! `[depth][MR]`, where depth counts the words of [`GemmKernel`]. Here `depth` is that of the source, in terms.

use super::kernel::{BAND, GemmKernel};

/// Elements of a right operand of `depth × columns` in panels.
pub fn panels_len<K: GemmKernel>(depth: usize, columns: usize) -> usize {
    columns.div_ceil(K::NR) * K::NR * depth.div_ceil(K::TERMS)
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
    let out = &mut out[..depth.div_ceil(K::TERMS) * K::NR];
    if depth == 0 {
        return;
    }
    assert!(source.len() >= (depth - 1) * stride + columns, "a panel");
    if columns == K::NR {
        // SAFETY: `depth` rows of NR columns exist on both sides; kernels are only named for available paths.
        unsafe { write(source.as_ptr(), stride, depth, out.as_mut_ptr()) };
        return;
    }
    for (row, p) in out.chunks_exact_mut(K::NR).zip((0..).step_by(K::TERMS)) {
        for (j, x) in row[..columns].iter_mut().enumerate() {
            let second = if p + 1 < depth && K::TERMS > 1 {
                source[(p + 1) * stride + j]
            } else {
                0.0
            };
            *x = K::word(source[p * stride + j], second);
        }
        row[columns..].fill(0.0);
    }
}

/// At most [`BAND`] rows of a weight `[out, in]` (depth contiguous) as columns of a panel of the forward
/// product: `to[p·NR + j] = band[j·depth + p]`.
///
/// # Safety
/// `to` reaches the words of `depth` in rows, `NR` apart, of as many elements as the band has rows, and nobody else has access
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
            for (p, terms) in from.chunks(K::TERMS).enumerate() {
                let x = K::word(terms[0], terms.get(1).copied().unwrap_or(0.0));
                // SAFETY: row `p0 / TERMS + p` is one of the words of `depth`, column `j < columns`.
                unsafe { *to.add((p0 / K::TERMS + p) * K::NR + j) = x };
            }
        }
    }
}

/// Terms of K that are packed together: as many lines of a row-major source as stay in the first-level cache
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
            let to = &mut out[j * depth.div_ceil(K::TERMS) + p / K::TERMS * K::NR..];
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
            let from = &source[p * stride + i..][..(group - 1) * stride + height];
            let at = i * depth.div_ceil(K::TERMS) + p / K::TERMS * K::MR;
            let to = &mut out[at..][..group.div_ceil(K::TERMS) * K::MR];
            // SAFETY: both sides were cut to what is read and written; kernels are only named for available paths.
            unsafe { K::left(from.as_ptr(), stride, group, height, to.as_mut_ptr()) };
        }
    }
}
