//! The three embedding tables; forward above backward.

use super::{assert_ascending, join, row_sums, rows_per_chunk};
use crate::team::{Parts, Team};
use hone_kernels::Acc;

/// The row that token `t` reads.
fn row<'a>((table, index): (&'a [f32], &[u32]), t: usize, width: usize) -> &'a [f32] {
    &table[index[t] as usize * width..][..width]
}

/// See [`hone_kernels::Backend::embed`]. Each table comes with its tokens' rows.
pub fn forward(
    team: &Team,
    word: (&[f32], &[u32]),
    position: (&[f32], &[u32]),
    token_type: (&[f32], &[u32]),
    width: usize,
    sum: &mut [f32],
) {
    let n = rows_per_chunk(team, word.1.len(), width);
    team.chunks_mut(sum, n * width, &|k, piece| {
        for (r, out) in piece.chunks_exact_mut(width).enumerate() {
            let t = k * n + r;
            let w = row(word, t, width);
            let p = row(position, t, width);
            let y = row(token_type, t, width);
            for c in 0..width {
                out[c] = w[c] + p[c] + y[c];
            }
        }
    });
}

/// Tokens grouped by id: see [`hone_tensor::TokenBuckets`].
#[derive(Debug, Clone, Copy)]
pub struct Buckets<'a> {
    /// `[U]`.
    pub rows: &'a [u32],
    /// `[U + 1]`.
    pub starts: &'a [u32],
    /// `[T]`.
    pub tokens: &'a [u32],
}

/// See [`hone_kernels::Backend::embed_word_backward`].
pub fn word_backward(
    team: &Team,
    dsum: &[f32],
    buckets: Buckets<'_>,
    width: usize,
    dword: &mut [f32],
) {
    assert_ascending(buckets.rows, "embed_word_backward");
    let n = rows_per_chunk(team, buckets.rows.len(), width);
    let dword = Parts::new(dword);
    team.run(buckets.rows.len().div_ceil(n), &|k| {
        for u in k * n..((k + 1) * n).min(buckets.rows.len()) {
            let row = buckets.rows[u] as usize * width;
            // SAFETY: ids are distinct, so rows of the table are, and each bucket is taken once.
            let out = unsafe { dword.range(row..row + width) };
            for &t in &buckets.tokens[buckets.starts[u] as usize..buckets.starts[u + 1] as usize] {
                for (o, &d) in out.iter_mut().zip(&dsum[t as usize * width..][..width]) {
                    *o += d;
                }
            }
        }
    });
}

/// See [`hone_kernels::Backend::embed_position_backward`]. Sequences are summed in order.
pub fn position_backward(
    team: &Team,
    dsum: &[f32],
    cu_seqlens: &[u32],
    width: usize,
    acc: Acc,
    dposition: &mut [f32],
) {
    let n = rows_per_chunk(team, dposition.len() / width, width);
    team.chunks_mut(dposition, n * width, &|k, piece| {
        for (r, out) in piece.chunks_exact_mut(width).enumerate() {
            let position = (k * n + r) as u32;
            if acc == Acc::Set {
                out.fill(0.0);
            }
            for w in cu_seqlens.windows(2) {
                if position < w[1] - w[0] {
                    let t = (w[0] + position) as usize;
                    for (o, &d) in out.iter_mut().zip(&dsum[t * width..][..width]) {
                        *o += d;
                    }
                }
            }
        }
    });
}

/// See [`hone_kernels::Backend::embed_type_backward`].
pub fn type_backward(
    team: &Team,
    dsum: &[f32],
    types: &[u32],
    width: usize,
    acc: Acc,
    scratch: &mut [f32],
    dtype: &mut [f32],
) {
    for (which, out) in dtype.chunks_exact_mut(width).enumerate() {
        let chunks = row_sums(team, types.len(), width, scratch, &|range, sums| {
            for t in range {
                if types[t] as usize == which {
                    for (s, &d) in sums.iter_mut().zip(&dsum[t * width..][..width]) {
                        *s += d;
                    }
                }
            }
        });
        join(&scratch[..chunks * width], width, 0, acc, out);
    }
}
