//! Packing: copies of operands in the order the microkernel reads them.
//!
//! A panel of the right operand is `[depth][NR]`, columns beyond the matrix zero; a panel of the left one is
//! `[depth][MR]`.

use super::kernel::GemmKernel;

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
    let out = &mut out[..depth * K::NR];
    if columns == K::NR {
        for (p, row) in out.chunks_exact_mut(K::NR).enumerate() {
            row.copy_from_slice(&source[p * stride..][..K::NR]);
        }
        return;
    }
    for (p, row) in out.chunks_exact_mut(K::NR).enumerate() {
        row[..columns].copy_from_slice(&source[p * stride..][..columns]);
        row[columns..].fill(0.0);
    }
}

/// One panel of a right operand that lies with depth contiguous (a weight `[out, in]` in the forward
/// product): `out[p][j] = source[j·stride + p]` for `j < columns ≤ NR`.
pub fn right_panel_transposed<K: GemmKernel>(
    source: &[f32],
    stride: usize,
    depth: usize,
    columns: usize,
    out: &mut [f32],
) {
    let out = &mut out[..depth * K::NR];
    if columns < K::NR {
        out.fill(0.0);
    }
    // Square blocks of a line each way: every line that is touched is used up while it is near.
    const STEP: usize = 16;
    for p0 in (0..depth).step_by(STEP) {
        let steps = STEP.min(depth - p0);
        for j in 0..columns {
            let from = &source[j * stride + p0..][..steps];
            for (p, x) in from.iter().enumerate() {
                out[(p0 + p) * K::NR + j] = *x;
            }
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
    let whole = rows / K::MR;
    for p in 0..depth {
        let from = &source[p * stride..][..rows];
        for (panel, x) in from.chunks_exact(K::MR).enumerate() {
            out[(panel * depth + p) * K::MR..][..K::MR].copy_from_slice(x);
        }
        let rest = &from[whole * K::MR..];
        if !rest.is_empty() {
            out[(whole * depth + p) * K::MR..][..rest.len()].copy_from_slice(rest);
        }
    }
}
