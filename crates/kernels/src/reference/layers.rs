//! Embeddings, dropout, LayerNorm and sums over rows.

use super::{Reference, put};
use crate::math::Scalar;
use crate::types::*;
use hone_tensor::DropKey;

/// `out[c] (+)= Σ_r value(r, c)`.
pub fn column_sums<F: Scalar>(
    rows: usize,
    width: usize,
    acc: Acc,
    value: impl Fn(usize, usize) -> F,
    out: &mut [F],
) {
    for (c, out) in out.iter_mut().enumerate().take(width) {
        let mut sum = F::of(0.0);
        for r in 0..rows {
            sum += value(r, c);
        }
        put(acc, out, sum);
    }
}

/// Multiplies by mask and scale.
pub fn dropout<F: Scalar>(drop: Drop, rows: Rows<'_, Reference<F>>, width: usize, x: &mut [F]) {
    let places = rows.example_ids.iter().zip(rows.positions);
    for ((&id, &position), row) in places.zip(x.chunks_mut(width)) {
        let example = drop.key.example(id);
        for (c, x) in row.iter_mut().enumerate() {
            let words = DropKey::row_words(example, position, c as u32 / 4);
            *x *= if words[c % 4] < drop.threshold {
                F::of(0.0)
            } else {
                F::of(drop.scale)
            };
        }
    }
}

/// Sum of the three tables' rows.
pub fn embed<F: Scalar>(
    tables: EmbedTables<'_, Reference<F>>,
    tokens: Tokens<'_, Reference<F>>,
    width: usize,
    sum: &mut [F],
) {
    for (t, row) in sum.chunks_mut(width).enumerate() {
        let word = &tables.word[tokens.ids[t] as usize * width..];
        let position = &tables.position[tokens.positions[t] as usize * width..];
        let token_type = &tables.token_type[tokens.types[t] as usize * width..];
        for (c, x) in row.iter_mut().enumerate() {
            *x = word[c] + position[c] + token_type[c];
        }
    }
}

/// Gradient of a table whose row `index[t]` token t read; every row of it is written.
pub fn table_grad<F: Scalar>(dsum: &[F], index: &[u32], width: usize, acc: Acc, grad: &mut [F]) {
    for (row, out) in grad.chunks_mut(width).enumerate() {
        let of_row = |t: usize, c: usize| {
            if index[t] as usize == row {
                dsum[t * width + c]
            } else {
                F::of(0.0)
            }
        };
        column_sums(index.len(), width, acc, of_row, out);
    }
}

/// Mean and 1/σ of each row; the variance is the biased one.
pub fn norm_stats<F: Scalar>(eps: f64, width: usize, x: &[F], stats: &mut [F]) {
    let n = F::of(width as f64);
    for (row, stats) in x.chunks(width).zip(stats.chunks_mut(2)) {
        let mut mean = F::of(0.0);
        for &x in row {
            mean += x;
        }
        mean = mean / n;
        let mut variance = F::of(0.0);
        for &x in row {
            variance += (x - mean) * (x - mean);
        }
        stats[0] = mean;
        stats[1] = F::of(1.0) / (variance / n + F::of(eps)).sqrt();
    }
}

/// `(x − mean)/σ · weight + bias`.
pub fn norm_apply<F: Scalar>(norm: Norm<'_, Reference<F>>, sum: &[F], stats: &[F], y: &mut [F]) {
    let width = norm.weight.len();
    for ((row, stats), y) in sum
        .chunks(width)
        .zip(stats.chunks(2))
        .zip(y.chunks_mut(width))
    {
        for c in 0..width {
            y[c] = (row[c] - stats[0]) * stats[1] * norm.weight[c] + norm.bias[c];
        }
    }
}

/// `dsum = (g − mean(g) − x̂·mean(g·x̂))/σ` with `g = dy·weight`.
pub fn norm_backward<F: Scalar>(
    norm: Norm<'_, Reference<F>>,
    dy: &[F],
    sum: &[F],
    stats: &[F],
    dsum: &mut [F],
) {
    let width = norm.weight.len();
    let n = F::of(width as f64);
    for (r, out) in dsum.chunks_mut(width).enumerate() {
        let (mean, inverse) = (stats[2 * r], stats[2 * r + 1]);
        let normal = |c: usize| (sum[r * width + c] - mean) * inverse;
        let g = |c: usize| dy[r * width + c] * norm.weight[c];
        let (mut of_g, mut of_gx) = (F::of(0.0), F::of(0.0));
        for c in 0..width {
            of_g += g(c);
            of_gx += g(c) * normal(c);
        }
        for (c, out) in out.iter_mut().enumerate() {
            *out = (g(c) - of_g / n - normal(c) * (of_gx / n)) * inverse;
        }
    }
}
