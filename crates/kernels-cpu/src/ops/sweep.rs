//! Passes over whole arenas: norms and linear combinations.

use super::LEAST_ELEMENTS;
use crate::path::Path;
use crate::simd::dispatch;
use crate::team::{Parts, Team};

/// Elements whose squares are summed in one piece.
const CHUNK: usize = 16_384;
/// Running sums of a chunk.
const SUMS: usize = 16;

/// Σ x² of a piece, in f64, in a fixed order.
#[inline(always)]
fn squares(x: &[f32]) -> f64 {
    let mut sums = [0.0f64; SUMS];
    let (whole, rest) = x.as_chunks::<SUMS>();
    for x in whole {
        for k in 0..SUMS {
            let wide = f64::from(x[k]);
            sums[k] += wide * wide;
        }
    }
    let mut total = 0.0;
    for sum in sums {
        total += sum;
    }
    for &x in rest {
        total += f64::from(x) * f64::from(x);
    }
    total
}

/// Chunks of [`squared_norm`] over `len` elements: the length its scratch must have.
pub fn norm_chunks(len: usize) -> usize {
    len.div_ceil(CHUNK)
}

/// See [`hone_kernels::Backend::squared_norm`]. `partials` holds [`norm_chunks`] elements.
pub fn squared_norm(team: &Team, path: Path, x: &[f32], partials: &mut [f64]) -> f64 {
    let partials = &mut partials[..norm_chunks(x.len())];
    let turn = team.chunk_len(partials.len(), 2);
    team.chunks_mut(partials, turn, &|t, sums| {
        for (k, sum) in sums.iter_mut().enumerate() {
            let start = (t * turn + k) * CHUNK;
            let piece = &x[start..x.len().min(start + CHUNK)];
            *sum = dispatch!(path, _V => squares(piece));
        }
    });
    let mut total = 0.0;
    for &sum in partials.iter() {
        total += sum;
    }
    total
}

/// See [`hone_kernels::Backend::squared_norm_rows`]. `partials` holds one element a row.
pub fn squared_norm_rows(
    team: &Team,
    path: Path,
    x: &[f32],
    rows: &[u32],
    width: usize,
    partials: &mut [f64],
) -> f64 {
    let partials = &mut partials[..rows.len()];
    let turn = super::rows_per_chunk(team, rows.len(), width);
    team.chunks_mut(partials, turn, &|t, sums| {
        for (k, sum) in sums.iter_mut().enumerate() {
            let row = rows[t * turn + k] as usize * width;
            let piece = &x[row..row + width];
            *sum = dispatch!(path, _V => squares(piece));
        }
    });
    let mut total = 0.0;
    for &sum in partials.iter() {
        total += sum;
    }
    total
}

/// See [`hone_kernels::Backend::clip_coefficient`].
pub fn clip_coefficient(squared: &[f64], max_norm: Option<f64>, out: &mut [f64]) {
    let norm = squared.iter().sum::<f64>().sqrt();
    out[0] = norm;
    out[1] = max_norm.map_or(1.0, |max| (max / (norm + 1e-6)).min(1.0));
}

/// See [`hone_kernels::Backend::axpby`].
pub fn axpby(team: &Team, a: f64, x: &[f32], b: f64, y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "axpby");
    let (a, b) = (a as f32, b as f32);
    let n = team.chunk_len(y.len(), LEAST_ELEMENTS);
    team.chunks_mut(y, n, &|k, y| {
        for (y, &x) in y.iter_mut().zip(&x[k * n..]) {
            *y = a * x + b * *y;
        }
    });
}

/// See [`hone_kernels::Backend::zero_rows`].
pub fn zero_rows(team: &Team, rows: &[u32], width: usize, x: &mut [f32]) {
    super::assert_ascending(rows, "zero_rows");
    let n = super::rows_per_chunk(team, rows.len(), width);
    let x = Parts::new(x);
    team.run(rows.len().div_ceil(n), &|k| {
        for &row in &rows[k * n..((k + 1) * n).min(rows.len())] {
            let at = row as usize * width;
            // SAFETY: the list has no row twice, and each of its entries is taken once.
            unsafe { x.range(at..at + width) }.fill(0.0);
        }
    });
}
