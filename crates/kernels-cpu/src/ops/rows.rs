//! Rows: dropout, gathering, scattering, sums of columns.

use super::{join, row_sums, rows_per_chunk};
use crate::path::Path;
use crate::simd::{Block, Vector, dispatch};
use crate::team::{Parts, Team};
use hone_kernels::{Acc, Drop};

/// Multiplies rows that lie one after the other by their masks: `counter` are the words of Philox after block and row.
#[inline(always)]
fn mask_rows<V: Vector>(
    key: [u32; 2],
    first: Block,
    counter: [u32; 2],
    drop: &Drop,
    x: &mut [f32],
) {
    let (threshold, scale) = (drop.threshold, V::splat(drop.scale as f32));
    let mut at = first;
    let (whole, rest) = x.as_chunks_mut::<32>();
    for x in whole {
        V::keep32(key, at, counter, threshold, scale, x);
        at = at.plus(8);
    }
    if !rest.is_empty() {
        let mut last = [0.0; 32];
        last[..rest.len()].copy_from_slice(rest);
        V::keep32(key, at, counter, threshold, scale, &mut last);
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// Applies a row's dropout mask.
#[inline(always)]
pub(crate) fn drop_row<V: Vector>(drop: &Drop, example_id: u64, position: u32, x: &mut [f32]) {
    let e = drop.key.example(example_id);
    let first = Block {
        row: position,
        block: 0,
        per_row: u32::MAX,
    };
    mask_rows::<V>([e[0], e[1]], first, [e[2], e[3]], drop, x);
}

/// Applies the masks of attention probabilities: rows of `keys` (a multiple of four) from query `first` on.
#[inline(always)]
pub(crate) fn drop_probabilities<V: Vector>(
    drop: &Drop,
    e: [u32; 4],
    head: u32,
    first: u32,
    keys: usize,
    x: &mut [f32],
) {
    let first = Block {
        row: first,
        block: 0,
        per_row: keys as u32 / 4,
    };
    mask_rows::<V>([e[0], e[1]], first, [e[2] ^ head, e[3]], drop, x);
}

/// See [`hone_kernels::Backend::dropout`].
pub fn dropout(
    team: &Team,
    path: Path,
    drop: Drop,
    example_ids: &[u64],
    positions: &[u32],
    width: usize,
    x: &mut [f32],
) {
    let n = rows_per_chunk(team, example_ids.len(), width);
    team.chunks_mut(x, n * width, &|k, piece| {
        dispatch!(path, V => {
            for (r, row) in piece.chunks_exact_mut(width).enumerate() {
                let r = k * n + r;
                drop_row::<V>(&drop, example_ids[r], positions[r], row);
            }
        });
    });
}

/// See [`hone_kernels::Backend::mask_weights`].
pub fn mask_weights(team: &Team, path: Path, drop: Drop, tensor: u64, width: usize, x: &mut [f32]) {
    let n = rows_per_chunk(team, x.len() / width.max(1), width);
    team.chunks_mut(x, n * width, &|k, piece| {
        dispatch!(path, V => {
            for (r, row) in piece.chunks_exact_mut(width).enumerate() {
                drop_row::<V>(&drop, tensor, (k * n + r) as u32, row);
            }
        });
    });
}

/// See [`hone_kernels::Backend::gather_rows`].
pub fn gather(team: &Team, x: &[f32], index: &[u32], width: usize, y: &mut [f32]) {
    let n = rows_per_chunk(team, index.len(), width);
    team.chunks_mut(y, n * width, &|k, piece| {
        for (r, row) in piece.chunks_exact_mut(width).enumerate() {
            row.copy_from_slice(&x[index[k * n + r] as usize * width..][..width]);
        }
    });
}

/// See [`hone_kernels::Backend::scatter_add_rows`].
pub fn scatter_add(dy: &[f32], index: &[u32], width: usize, dx: &mut [f32]) {
    for (row, &i) in dy.chunks_exact(width).zip(index) {
        for (d, &g) in dx[i as usize * width..][..width].iter_mut().zip(row) {
            *d += g;
        }
    }
}

/// See [`hone_kernels::Backend::mean_tokens`].
pub fn mean_tokens(team: &Team, x: &[f32], cu_seqlens: &[u32], width: usize, y: &mut [f32]) {
    let n = rows_per_chunk(team, cu_seqlens.len() - 1, width);
    team.chunks_mut(y, n * width, &|k, piece| {
        for (s, y) in piece.chunks_exact_mut(width).enumerate() {
            let (start, end) = span(cu_seqlens, k * n + s);
            y.fill(0.0);
            for row in x[start * width..end * width].chunks_exact(width) {
                for (y, &x) in y.iter_mut().zip(row) {
                    *y += x;
                }
            }
            let length = (end - start) as f32;
            y.iter_mut().for_each(|y| *y /= length);
        }
    });
}

/// See [`hone_kernels::Backend::mean_tokens_backward`].
pub fn mean_tokens_backward(
    team: &Team,
    dy: &[f32],
    cu_seqlens: &[u32],
    width: usize,
    dx: &mut [f32],
) {
    let n = rows_per_chunk(team, cu_seqlens.len() - 1, width);
    let sequences = cu_seqlens.len() - 1;
    let dx = Parts::new(dx);
    team.run(sequences.div_ceil(n), &|k| {
        for s in k * n..((k + 1) * n).min(sequences) {
            let (start, end) = span(cu_seqlens, s);
            let length = (end - start) as f32;
            // SAFETY: tokens of one sequence belong to no other, and each sequence is taken once.
            let rows = unsafe { dx.range(start * width..end * width) };
            for row in rows.chunks_exact_mut(width) {
                for (dx, &dy) in row.iter_mut().zip(&dy[s * width..]) {
                    *dx = dy / length;
                }
            }
        }
    });
}

fn span(cu_seqlens: &[u32], s: usize) -> (usize, usize) {
    (cu_seqlens[s] as usize, cu_seqlens[s + 1] as usize)
}

/// See [`hone_kernels::Backend::bias_grad`].
pub fn column_sums(
    team: &Team,
    path: Path,
    dy: &[f32],
    rows: usize,
    acc: Acc,
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let width = out.len();
    assert_eq!(dy.len(), rows * width, "bias_grad");
    let chunks = row_sums(team, rows, width, scratch, &|range, sums| {
        dispatch!(path, _V => {
            for row in dy[range.start * width..range.end * width].chunks_exact(width) {
                for (s, &g) in sums.iter_mut().zip(row) {
                    *s += g;
                }
            }
        });
    });
    join(&scratch[..chunks * width], width, 0, acc, out);
}

/// Words of one row's draws as the contract defines them: what tests hold the masks against.
#[cfg(test)]
pub(crate) fn kept(drop: &Drop, example_id: u64, position: u32, channel: usize) -> bool {
    use hone_tensor::DropKey;
    let words = DropKey::row_words(drop.key.example(example_id), position, channel as u32 / 4);
    words[channel % 4] >= drop.threshold
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_tensor::DropKey;

    #[test]
    fn masks_are_those_of_the_contract() {
        let key = DropKey {
            seed: 9,
            step: 3,
            layer: 1,
            site: 2,
            draw: 0,
        };
        let drop = Drop::new(key, 0.3).unwrap();
        let team = Team::new(2);
        for path in Path::all() {
            for width in [1, 5, 24, 32, 33, 100] {
                let (ids, positions) = ([4, u64::MAX, 4], [0, 7, 1]);
                let mut x = vec![1.0; 3 * width];
                dropout(&team, path, drop, &ids, &positions, width, &mut x);
                for (i, x) in x.iter().enumerate() {
                    let (r, c) = (i / width, i % width);
                    let want = match kept(&drop, ids[r], positions[r], c) {
                        true => drop.scale as f32,
                        false => 0.0,
                    };
                    assert_eq!(*x, want, "row {r} channel {c} of {width}");
                }
            }
        }
    }
}
