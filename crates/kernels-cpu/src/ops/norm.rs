//! Residual, dropout and LayerNorm in one sweep; forward above backward.

use super::rows::drop_row;
use super::{join, row_sums, rows_per_chunk};
use crate::path::Path;
use crate::simd::{Vector, dispatch};
use crate::team::{Parts, Team};
use hone_kernels::{Acc, Drop};

/// A LayerNorm's parameters.
#[derive(Debug, Clone, Copy)]
pub struct Gain<'a> {
    /// `[H]`.
    pub weight: &'a [f32],
    /// `[H]`.
    pub bias: &'a [f32],
    /// Added to the variance.
    pub eps: f64,
}

/// A mask and the coordinates of its rows.
#[derive(Debug, Clone, Copy)]
pub struct RowDrop<'a> {
    /// The mask.
    pub drop: Drop,
    /// `[R]`.
    pub example_ids: &'a [u64],
    /// `[R]`.
    pub positions: &'a [u32],
}

/// Σ (x − shift), in four registers joined in order, then the rest.
#[inline(always)]
fn sum_of<V: Vector>(x: &[f32], f: impl Fn(V) -> V, g: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [V::splat(0.0); 4];
    let (x8, rest) = V::chunks(x);
    let (x32, x8) = x8.as_chunks::<4>();
    for four in x32 {
        for k in 0..4 {
            sums[k] = sums[k].add(f(V::load(&four[k])));
        }
    }
    for one in x8 {
        sums[0] = sums[0].add(f(V::load(one)));
    }
    let mut total = sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum();
    for &x in rest {
        total += g(x);
    }
    total
}

#[inline(always)]
fn statistics<V: Vector>(x: &[f32], eps: f64) -> [f32; 2] {
    let n = x.len() as f32;
    let mean = sum_of::<V>(
        x,
        #[inline(always)]
        |v| v,
        #[inline(always)]
        |v| v,
    ) / n;
    let shift = V::splat(mean);
    let squares = sum_of::<V>(
        x,
        #[inline(always)]
        |v| {
            let d = v.sub(shift);
            d.mul(d)
        },
        #[inline(always)]
        |v| (v - mean) * (v - mean),
    );
    [mean, 1.0 / (squares / n + eps as f32).sqrt()]
}

#[inline(always)]
fn apply_row<V: Vector>(gain: &Gain<'_>, stats: [f32; 2], x: &[f32], y: &mut [f32]) {
    let (mean, inverse) = (V::splat(stats[0]), V::splat(stats[1]));
    let (x8, x_rest) = V::chunks(x);
    let (y8, y_rest) = V::chunks_mut(y);
    let (w8, w_rest) = V::chunks(gain.weight);
    let (b8, b_rest) = V::chunks(gain.bias);
    for k in 0..x8.len() {
        let normal = V::load(&x8[k]).sub(mean).mul(inverse);
        normal
            .mul_add(V::load(&w8[k]), V::load(&b8[k]))
            .store(&mut y8[k]);
    }
    for c in 0..x_rest.len() {
        y_rest[c] = (x_rest[c] - stats[0]) * stats[1] * w_rest[c] + b_rest[c];
    }
}

/// See [`hone_kernels::Backend::add_norm`].
pub fn add_norm(
    team: &Team,
    path: Path,
    gain: Gain<'_>,
    drop: Option<RowDrop<'_>>,
    residual: Option<&[f32]>,
    x: &mut [f32],
    stats: &mut [f32],
    y: &mut [f32],
) {
    let width = gain.weight.len();
    let rows = x.len() / width;
    assert_eq!((y.len(), stats.len()), (rows * width, rows * 2), "add_norm");
    let n = rows_per_chunk(team, rows, width);
    let (y, stats) = (Parts::new(y), Parts::new(stats));
    team.chunks_mut(x, n * width, &|k, piece| {
        let first = k * n;
        let count = piece.len() / width;
        // SAFETY: rows of different chunks are disjoint, and each chunk runs once.
        let (y, stats) = unsafe {
            (
                y.range(first * width..(first + count) * width),
                stats.range(first * 2..(first + count) * 2),
            )
        };
        dispatch!(path, V => {
            for r in 0..count {
                let x = &mut piece[r * width..(r + 1) * width];
                if let Some(d) = &drop {
                    drop_row::<V>(&d.drop, d.example_ids[first + r], d.positions[first + r], x);
                }
                if let Some(residual) = residual {
                    let residual = &residual[(first + r) * width..][..width];
                    for (x, &e) in x.iter_mut().zip(residual) {
                        *x += e;
                    }
                }
                let s = statistics::<V>(x, gain.eps);
                stats[2 * r..2 * r + 2].copy_from_slice(&s);
                apply_row::<V>(&gain, s, x, &mut y[r * width..(r + 1) * width]);
            }
        });
    });
}

/// See [`hone_kernels::Backend::norm_apply`].
pub fn apply(team: &Team, path: Path, gain: Gain<'_>, sum: &[f32], stats: &[f32], y: &mut [f32]) {
    let width = gain.weight.len();
    assert_eq!(sum.len(), y.len(), "norm_apply");
    let n = rows_per_chunk(team, y.len() / width, width);
    team.chunks_mut(y, n * width, &|k, piece| {
        dispatch!(path, V => {
            for (r, y) in piece.chunks_exact_mut(width).enumerate() {
                let r = k * n + r;
                let s = [stats[2 * r], stats[2 * r + 1]];
                apply_row::<V>(&gain, s, &sum[r * width..(r + 1) * width], y);
            }
        });
    });
}

/// `dsum = (g − mean(g) − x̂·mean(g·x̂))/σ` with `g = dy·weight`.
#[inline(always)]
fn backward_row<V: Vector>(
    weight: &[f32],
    stats: [f32; 2],
    dy: &[f32],
    x: &[f32],
    out: &mut [f32],
) {
    let n = x.len() as f32;
    let (mean, inverse) = (V::splat(stats[0]), V::splat(stats[1]));
    let (x8, x_rest) = V::chunks(x);
    let (d8, d_rest) = V::chunks(dy);
    let (w8, w_rest) = V::chunks(weight);
    let (o8, o_rest) = V::chunks_mut(out);
    let mut of_g = [V::splat(0.0); 2];
    let mut of_gx = [V::splat(0.0); 2];
    for k in 0..x8.len() {
        let normal = V::load(&x8[k]).sub(mean).mul(inverse);
        let g = V::load(&d8[k]).mul(V::load(&w8[k]));
        of_g[k % 2] = of_g[k % 2].add(g);
        of_gx[k % 2] = g.mul_add(normal, of_gx[k % 2]);
    }
    let mut sum_g = of_g[0].add(of_g[1]).sum();
    let mut sum_gx = of_gx[0].add(of_gx[1]).sum();
    for c in 0..x_rest.len() {
        let g = d_rest[c] * w_rest[c];
        sum_g += g;
        sum_gx += g * ((x_rest[c] - stats[0]) * stats[1]);
    }
    let (mean_g, mean_gx) = (sum_g / n, sum_gx / n);
    let (vg, vgx) = (V::splat(mean_g), V::splat(mean_gx));
    for k in 0..x8.len() {
        let normal = V::load(&x8[k]).sub(mean).mul(inverse);
        let g = V::load(&d8[k]).mul(V::load(&w8[k]));
        g.sub(vg)
            .sub(normal.mul(vgx))
            .mul(inverse)
            .store(&mut o8[k]);
    }
    for c in 0..x_rest.len() {
        let normal = (x_rest[c] - stats[0]) * stats[1];
        o_rest[c] = (d_rest[c] * w_rest[c] - mean_g - normal * mean_gx) * stats[1];
    }
}

/// See [`hone_kernels::Backend::add_norm_backward`].
pub fn backward(
    team: &Team,
    path: Path,
    gain: Gain<'_>,
    dy: &[f32],
    sum: &[f32],
    stats: &[f32],
    dsum: &mut [f32],
    dropped: Option<(RowDrop<'_>, &mut [f32])>,
) {
    let width = gain.weight.len();
    let rows = dsum.len() / width;
    assert_eq!(dy.len(), dsum.len(), "add_norm_backward");
    let n = rows_per_chunk(team, rows, width);
    let dropped = dropped.map(|(drop, dx)| {
        assert_eq!(dx.len(), rows * width, "add_norm_backward, dropped");
        (drop, Parts::new(dx))
    });
    team.chunks_mut(dsum, n * width, &|k, piece| {
        dispatch!(path, V => {
            for (r, out) in piece.chunks_exact_mut(width).enumerate() {
                let r = k * n + r;
                let at = r * width..(r + 1) * width;
                let s = [stats[2 * r], stats[2 * r + 1]];
                backward_row::<V>(gain.weight, s, &dy[at.clone()], &sum[at.clone()], out);
                if let Some((d, dx)) = &dropped {
                    // SAFETY: rows are disjoint, and each is taken once.
                    let dx = unsafe { dx.range(at) };
                    dx.copy_from_slice(out);
                    drop_row::<V>(&d.drop, d.example_ids[r], d.positions[r], dx);
                }
            }
        });
    });
}

/// See [`hone_kernels::Backend::norm_param_grad`]. `scratch` holds two sums per chunk of rows.
pub fn param_grad(
    team: &Team,
    path: Path,
    dy: &[f32],
    sum: &[f32],
    stats: &[f32],
    acc: Acc,
    scratch: &mut [f32],
    dweight: &mut [f32],
    dbias: &mut [f32],
) {
    let width = dweight.len();
    let rows = dy.len() / width;
    // Weight and bias sums side by side: one reading of dy serves both.
    let chunks = row_sums(team, rows, 2 * width, scratch, &|range, sums| {
        let (of_weight, of_bias) = sums.split_at_mut(width);
        dispatch!(path, _V => {
            for r in range {
                let (mean, inverse) = (stats[2 * r], stats[2 * r + 1]);
                let dy = &dy[r * width..(r + 1) * width];
                let x = &sum[r * width..(r + 1) * width];
                for c in 0..width {
                    of_weight[c] += dy[c] * ((x[c] - mean) * inverse);
                    of_bias[c] += dy[c];
                }
            }
        });
    });
    for (offset, out) in [(0, dweight), (width, dbias)] {
        join(&scratch[..chunks * 2 * width], 2 * width, offset, acc, out);
    }
}
