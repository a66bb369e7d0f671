//! Ragged attention within each sequence and head, in a worker's own scratch; forward above backward.
//!
//! An item is one head of one sequence: its queries, keys and values are read where they lie (heads that are not
//! whole vectors are copied first), everything else happens in cache, and what it writes is its own.

use super::rows::drop_probabilities;
use super::small_gemm::{Strided, small_gemm};
use crate::path::Path;
use crate::simd::{MOST_LANES, SIDE, Square, Vector, dispatch, exp};
use crate::team::{Parts, Team};
use hone_kernels::Attention;

/// Queries of a forward pass's block of scores.
const BLOCK: usize = 48;
/// Queries whose dropout is drawn together: of rows that are whole vectors, so many are whole turns of the generator.
const DRAWN: usize = 4;
/// What fills a row of scores behind its last key: its exponential is exactly 0.
const NOTHING: f32 = -1e30;

/// Rows of a strided buffer.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// The whole buffer.
    pub data: &'a [f32],
    /// Distance of rows.
    pub stride: usize,
    /// First column.
    pub column: usize,
}

/// Queries, keys and values of all heads.
#[derive(Debug, Clone, Copy)]
pub struct Operands<'a> {
    /// Queries.
    pub q: Columns<'a>,
    /// Keys.
    pub k: Columns<'a>,
    /// Values.
    pub v: Columns<'a>,
    /// Whether every token asks; else each sequence's first alone, query row s being sequence s.
    pub all: bool,
}

/// Where a gradient goes: a strided buffer that items write disjoint parts of.
#[derive(Debug)]
pub struct Target<'a, 'b> {
    /// The whole buffer.
    pub data: &'b Parts<'a, f32>,
    /// Distance of rows.
    pub stride: usize,
    /// First column.
    pub column: usize,
}

/// The batch as attention needs it.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Borders, `[S + 1]`.
    pub cu_seqlens: &'a [u32],
    /// Example ids, `[S]`.
    pub sequence_ids: &'a [u64],
}

/// One head of one sequence.
struct Item {
    sequence: usize,
    head: usize,
    start: usize,
    keys: usize,
    first_query: usize,
    queries: usize,
}

impl Batch<'_> {
    fn item(&self, index: usize, heads: usize, all: bool) -> Item {
        let (sequence, head) = (index / heads, index % heads);
        let start = self.cu_seqlens[sequence] as usize;
        let keys = self.cu_seqlens[sequence + 1] as usize - start;
        Item {
            sequence,
            head,
            start,
            keys,
            first_query: if all { start } else { sequence },
            queries: if all { keys } else { 1 },
        }
    }

    fn items(&self, heads: usize) -> usize {
        self.sequence_ids.len() * heads
    }
}

/// Sizes of an item's scratch: rows are padded to whole vectors.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// Channels, padded.
    d: usize,
    /// Keys, padded.
    n: usize,
}

fn pad<V: Vector>(n: usize) -> usize {
    n.next_multiple_of(V::LANES)
}

/// Scratch of one worker for sequences up to `longest` and heads of `head_dim` channels.
pub fn scratch_len(longest: usize, head_dim: usize) -> usize {
    let most = |n: usize| n.next_multiple_of(MOST_LANES);
    let (n, d) = (most(longest), most(head_dim));
    // Ten operands of [n, d], two of [n, n], some rows of factors.
    10 * n * d + 2 * n * n + DRAWN * n
}

/// Cuts scratch into pieces.
struct Cutter<'a>(&'a mut [f32]);

impl<'a> Cutter<'a> {
    fn take(&mut self, len: usize) -> &'a mut [f32] {
        let all = std::mem::take(&mut self.0);
        let (piece, rest) = all.split_at_mut(len);
        self.0 = rest;
        piece
    }
}

/// Copies a short row: a call would take longer than the row.
#[inline(always)]
fn copy<V: Vector>(from: &[f32], to: &mut [f32]) {
    let (from8, from_rest) = V::chunks(from);
    let (to8, to_rest) = V::chunks_mut(to);
    for (from, to) in from8.iter().zip(to8) {
        V::load(from).store(to);
    }
    for (from, to) in from_rest.iter().zip(to_rest) {
        *to = *from;
    }
}

/// An item's rows: whole vectors, a fixed distance apart.
#[derive(Debug, Clone, Copy)]
struct Matrix<'a> {
    data: &'a [f32],
    row: usize,
}

impl<'a> Matrix<'a> {
    /// Rows from `first` on as the left operand of a product.
    fn left(self, first: usize) -> Strided<'a> {
        Strided {
            data: &self.data[first * self.row..],
            row: self.row,
            column: 1,
        }
    }

    /// Transposed, as the left operand of a product.
    fn turned(self) -> Strided<'a> {
        Strided {
            data: self.data,
            row: 1,
            column: self.row,
        }
    }

    /// As the right operand of a product.
    fn right(self) -> (&'a [f32], usize) {
        (self.data, self.row)
    }
}

/// An item's `rows` where they lie; heads that are not whole vectors are copied to `room`, zeros behind the last
/// channel.
#[inline(always)]
fn gather<'a, V: Vector>(
    from: Columns<'a>,
    (first, rows): (usize, usize),
    head: usize,
    dim: usize,
    room: &'a mut [f32],
) -> Matrix<'a> {
    let d = pad::<V>(dim);
    if rows == 0 {
        // Behind the last row there may be nothing.
        return Matrix { data: &[], row: d };
    }
    let at = first * from.stride + from.column + head * dim;
    let data = &from.data[at..];
    if d == dim {
        let row = from.stride;
        return Matrix { data, row };
    }
    for r in 0..rows {
        let row = &mut room[r * d..(r + 1) * d];
        copy::<V>(&data[r * from.stride..][..dim], &mut row[..dim]);
        row[dim..].fill(0.0);
    }
    Matrix { data: room, row: d }
}

/// `[rows, d]` to `[d, n]`, zeros behind the last row.
#[inline(always)]
fn transpose<V: Vector>(from: Matrix<'_>, rows: usize, sizes: Sizes, to: &mut [f32]) {
    for r in (0..sizes.n).step_by(SIDE) {
        let rows = SIDE.min(rows.saturating_sub(r));
        for c in (0..sizes.d).step_by(SIDE) {
            let mut square = [V::Eight::splat(0.0); SIDE];
            for (j, row) in square.iter_mut().enumerate().take(rows) {
                if let Some(eight) = from.data[(r + j) * from.row + c..].first_chunk() {
                    *row = V::Eight::load(eight);
                }
            }
            let columns = V::Eight::transpose(square);
            for (i, column) in columns.iter().enumerate() {
                let at = (c + i) * sizes.n + r;
                if let Some(eight) = to[at..].first_chunk_mut() {
                    column.store(eight);
                }
            }
        }
    }
}

/// Writes an item's rows back.
#[inline(always)]
fn scatter<V: Vector>(
    from: &[f32],
    first: usize,
    rows: usize,
    head: usize,
    dim: usize,
    d: usize,
    to: &Target<'_, '_>,
) {
    for r in 0..rows {
        let at = (first + r) * to.stride + to.column + head * dim;
        // SAFETY: one head's channels of one row belong to one item, and each item runs once.
        let row = unsafe { to.data.range(at..at + dim) };
        copy::<V>(&from[r * d..r * d + dim], row);
    }
}

/// Scores to probabilities, in place; returns the log of the sum. `x` is padded.
#[inline(always)]
fn softmax_row<V: Vector>(scale: f32, keys: usize, x: &mut [f32]) -> f32 {
    let scale = V::splat(scale);
    let (x8, _) = V::chunks_mut(x);
    for v in x8.iter_mut() {
        V::load(v).mul(scale).store(v);
    }
    x[keys..].fill(NOTHING);
    let (x8, _) = V::chunks_mut(x);
    let mut most = V::splat(NOTHING);
    for v in x8.iter() {
        most = most.max(V::load(v));
    }
    let max = most.largest();
    let shift = V::splat(max);
    let mut total = V::splat(0.0);
    for v in x8.iter_mut() {
        let e = exp(V::load(v).sub(shift));
        total = total.add(e);
        e.store(v);
    }
    let total = total.sum();
    let inverse = V::splat(1.0 / total);
    for v in x8.iter_mut() {
        V::load(v).mul(inverse).store(v);
    }
    max + total.ln()
}

/// Scores to probabilities from a saved log-sum, in place; zeros behind the last key.
#[inline(always)]
fn probabilities_row<V: Vector>(scale: f32, keys: usize, lse: f32, x: &mut [f32]) {
    let (scale, shift) = (V::splat(scale), V::splat(lse));
    for v in V::chunks_mut(x).0 {
        exp(V::load(v).mul(scale).sub(shift)).store(v);
    }
    x[keys..].fill(0.0);
}

/// Σ a·b of two short rows.
#[inline(always)]
fn dot<V: Vector>(a: &[f32], b: &[f32]) -> f32 {
    let (a8, a_rest) = V::chunks(a);
    let (b8, b_rest) = V::chunks(b);
    let mut sum = V::splat(0.0);
    for (a, b) in a8.iter().zip(b8) {
        sum = V::load(a).mul_add(V::load(b), sum);
    }
    let mut total = sum.sum();
    for (a, b) in a_rest.iter().zip(b_rest) {
        total += a * b;
    }
    total
}

fn scale_of(attention: &Attention) -> f32 {
    (1.0 / (attention.head_dim as f64).sqrt()) as f32
}

/// Items a turn: one for long sequences, several for short ones.
fn turn(team: &Team, batch: &Batch<'_>, items: usize, longest: usize, dim: usize) -> usize {
    debug_assert!(items > 0 || batch.sequence_ids.is_empty());
    // Multiply-adds of an item's products; a turn is worth some tens of thousands.
    let work = longest * longest * dim + 1;
    team.chunk_len(items, (40_000 / work).max(1))
}

/// See [`hone_kernels::Backend::attention`]. `scratch[worker]` holds [`scratch_len`] elements.
pub fn forward(
    team: &Team,
    path: Path,
    attention: Attention,
    batch: Batch<'_>,
    operands: Operands<'_>,
    scratch: &mut [f32],
    context: &mut [f32],
    lse: &mut [f32],
) {
    let Attention {
        heads, head_dim, ..
    } = attention;
    let hidden = heads * head_dim;
    let items = batch.items(heads);
    let each = scratch_len(attention.longest, head_dim);
    assert!(
        scratch.len() >= each * team.threads(),
        "attention's scratch"
    );
    let (scratch, context, lse) = (Parts::new(scratch), Parts::new(context), Parts::new(lse));
    let n = turn(team, &batch, items, attention.longest, head_dim);
    team.run_workers(items.div_ceil(n.max(1)), &|worker, t| {
        // SAFETY: a worker runs one chunk at a time, and its scratch is its own.
        let scratch = unsafe { scratch.range(worker * each..(worker + 1) * each) };
        let target = Target {
            data: &context,
            stride: hidden,
            column: 0,
        };
        dispatch!(path, V => {
            for index in t * n..((t + 1) * n).min(items) {
                let item = batch.item(index, heads, operands.all);
                let id = batch.sequence_ids[item.sequence];
                forward_item::<V>(&attention, &item, id, &operands, scratch, &target, &lse);
            }
        });
    });
}

#[inline(always)]
fn forward_item<V: Vector>(
    attention: &Attention,
    item: &Item,
    id: u64,
    operands: &Operands<'_>,
    scratch: &mut [f32],
    context: &Target<'_, '_>,
    lse: &Parts<'_, f32>,
) {
    let dim = attention.head_dim;
    let s = Sizes {
        d: pad::<V>(dim),
        n: pad::<V>(item.keys),
    };
    let scale = scale_of(attention);
    let mut cutter = Cutter(scratch);
    let q = cutter.take(item.queries * s.d);
    let k = cutter.take(item.keys * s.d);
    let v = cutter.take(item.keys * s.d);
    let kt = cutter.take(s.d * s.n);
    let out = cutter.take(item.queries * s.d);
    let scores = cutter.take(BLOCK.min(item.queries) * s.n);
    let queries = (item.first_query, item.queries);
    let keys = (item.start, item.keys);
    let q = gather::<V>(operands.q, queries, item.head, dim, q);
    let k = gather::<V>(operands.k, keys, item.head, dim, k);
    let v = gather::<V>(operands.v, keys, item.head, dim, v);
    transpose::<V>(k, item.keys, s, kt);
    let example = attention.drop.map_or([0; 4], |d| d.key.example(id));
    let mut first = 0;
    while first < item.queries {
        let rows = (item.queries - first).min(BLOCK);
        let a = q.left(first);
        small_gemm::<V>((rows, s.n, dim), a, (kt, s.n), (scores, s.n));
        for (turn, some) in scores[..rows * s.n].chunks_mut(DRAWN * s.n).enumerate() {
            let query = first + turn * DRAWN;
            for (r, row) in some.chunks_exact_mut(s.n).enumerate() {
                let log_sum = softmax_row::<V>(scale, item.keys, row);
                let at = (item.first_query + query + r) * attention.heads + item.head;
                // SAFETY: one element of one head and row belongs to one item.
                let one = unsafe { lse.range(at..at + 1) };
                one[0] = log_sum;
            }
            if let Some(drop) = &attention.drop {
                drop_probabilities::<V>(drop, example, item.head as u32, query as u32, s.n, some);
            }
        }
        let a = Strided {
            data: scores,
            row: s.n,
            column: 1,
        };
        small_gemm::<V>(
            (rows, s.d, item.keys),
            a,
            v.right(),
            (&mut out[first * s.d..], s.d),
        );
        first += rows;
    }
    scatter::<V>(
        out,
        item.first_query,
        item.queries,
        item.head,
        dim,
        s.d,
        context,
    );
}

/// Where the gradients of queries, keys and values go.
#[derive(Debug)]
pub struct Gradients<'a, 'b> {
    /// Of queries.
    pub dq: Target<'a, 'b>,
    /// Of keys.
    pub dk: Target<'a, 'b>,
    /// Of values.
    pub dv: Target<'a, 'b>,
}

/// See [`hone_kernels::Backend::attention_backward`].
pub fn backward(
    team: &Team,
    path: Path,
    attention: Attention,
    batch: Batch<'_>,
    operands: Operands<'_>,
    context: &[f32],
    lse: &[f32],
    dcontext: &[f32],
    scratch: &mut [f32],
    gradients: &Gradients<'_, '_>,
) {
    let Attention {
        heads, head_dim, ..
    } = attention;
    let items = batch.items(heads);
    let each = scratch_len(attention.longest, head_dim);
    assert!(
        scratch.len() >= each * team.threads(),
        "attention's scratch"
    );
    let scratch = Parts::new(scratch);
    let n = turn(team, &batch, items, attention.longest, head_dim);
    team.run_workers(items.div_ceil(n.max(1)), &|worker, t| {
        // SAFETY: a worker runs one chunk at a time, and its scratch is its own.
        let scratch = unsafe { scratch.range(worker * each..(worker + 1) * each) };
        dispatch!(path, V => {
            for index in t * n..((t + 1) * n).min(items) {
                let item = batch.item(index, heads, operands.all);
                let id = batch.sequence_ids[item.sequence];
                backward_item::<V>(
                    &attention, &item, id, &operands, context, lse, dcontext, scratch, gradients,
                );
            }
        });
    });
}

#[inline(always)]
fn backward_item<V: Vector>(
    attention: &Attention,
    item: &Item,
    id: u64,
    operands: &Operands<'_>,
    context: &[f32],
    lse: &[f32],
    dcontext: &[f32],
    scratch: &mut [f32],
    gradients: &Gradients<'_, '_>,
) {
    let (dim, heads) = (attention.head_dim, attention.heads);
    let hidden = heads * dim;
    let (queries, keys) = (item.queries, item.keys);
    let s = Sizes {
        d: pad::<V>(dim),
        n: pad::<V>(keys),
    };
    let scale = scale_of(attention);
    let mut cutter = Cutter(scratch);
    let q = cutter.take(queries * s.d);
    let k = cutter.take(keys * s.d);
    let v = cutter.take(keys * s.d);
    let dout = cutter.take(queries * s.d);
    let turned = cutter.take(s.d * s.n);
    let grad = cutter.take(queries.max(keys) * s.d);
    let p = cutter.take(queries * s.n);
    let dp = cutter.take(queries * s.n);
    let kept = cutter.take(DRAWN * s.n);
    let rows_of = |data| Columns {
        data,
        stride: hidden,
        column: 0,
    };
    let (of_queries, of_keys) = ((item.first_query, queries), (item.start, keys));
    let q = gather::<V>(operands.q, of_queries, item.head, dim, q);
    let k = gather::<V>(operands.k, of_keys, item.head, dim, k);
    let v = gather::<V>(operands.v, of_keys, item.head, dim, v);
    let dout = gather::<V>(rows_of(dcontext), of_queries, item.head, dim, dout);
    let square = |data| Matrix { data, row: s.n };
    // Probabilities once more, from the saved log-sums.
    transpose::<V>(k, keys, s, turned);
    small_gemm::<V>((queries, s.n, dim), q.left(0), (turned, s.n), (p, s.n));
    for r in 0..queries {
        let log_sum = lse[(item.first_query + r) * heads + item.head];
        probabilities_row::<V>(scale, keys, log_sum, &mut p[r * s.n..(r + 1) * s.n]);
    }
    // Gradient of the dropped probabilities, then of what they were before.
    transpose::<V>(v, keys, s, turned);
    small_gemm::<V>((queries, s.n, dim), dout.left(0), (turned, s.n), (dp, s.n));
    let example = attention.drop.map_or([0; 4], |d| d.key.example(id));
    for r in 0..queries {
        let at = (item.first_query + r) * hidden + item.head * dim;
        // Σ_key p·dp = dO·O, dropout or not.
        let delta = dot::<V>(&dcontext[at..at + dim], &context[at..at + dim]);
        let (p8, _) = V::chunks_mut(&mut p[r * s.n..(r + 1) * s.n]);
        let (d8, _) = V::chunks_mut(&mut dp[r * s.n..(r + 1) * s.n]);
        if let (Some(drop), true) = (&attention.drop, r.is_multiple_of(DRAWN)) {
            let kept = &mut kept[..DRAWN.min(queries - r) * s.n];
            kept.fill(1.0);
            drop_probabilities::<V>(drop, example, item.head as u32, r as u32, s.n, kept);
        }
        let (kept8, _) = V::chunks(&kept[r % DRAWN * s.n..][..s.n]);
        let (shift, scale) = (V::splat(delta), V::splat(scale));
        for i in 0..p8.len() {
            let (p, mut dp) = (V::load(&p8[i]), V::load(&d8[i]));
            if attention.drop.is_some() {
                let kept = V::load(&kept8[i]);
                dp = dp.mul(kept);
                p.mul(kept).store(&mut p8[i]);
            }
            dp.sub(shift).mul(p).mul(scale).store(&mut d8[i]);
        }
    }
    // dV = Pᵀ·dO, dQ = dS·K, dK = dSᵀ·Q.
    small_gemm::<V>(
        (keys, s.d, queries),
        square(p).turned(),
        dout.right(),
        (grad, s.d),
    );
    scatter::<V>(grad, item.start, keys, item.head, dim, s.d, &gradients.dv);
    small_gemm::<V>(
        (queries, s.d, keys),
        square(dp).left(0),
        k.right(),
        (grad, s.d),
    );
    scatter::<V>(
        grad,
        item.first_query,
        queries,
        item.head,
        dim,
        s.d,
        &gradients.dq,
    );
    small_gemm::<V>(
        (keys, s.d, queries),
        square(dp).turned(),
        q.right(),
        (grad, s.d),
    );
    scatter::<V>(grad, item.start, keys, item.head, dim, s.d, &gradients.dk);
}
