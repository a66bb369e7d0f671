//! Launches of columns.cu: sums over rows in constant chunks, joined in order.

use super::u32_arg;
use crate::act::Act;
use crate::backend::CudaBackend;
use crate::driver::{Arg, Driver};
use crate::memory::{View, ViewMut};
use crate::step::Count;
use hone_kernels::Acc;

const FILE: &str = "columns";
/// Rows of a chunk: `ROWS` of columns.cu.
const ROWS: usize = 64;
const BLOCK: [u32; 2] = [32, 8];

/// Elements of scratch for sums over `rows` rows of `width`.
pub fn scratch_len(rows: usize, width: usize) -> usize {
    crate::step::bucket(rows).div_ceil(ROWS) * width
}

fn partial_grid(rows: Count, width: usize) -> [u32; 3] {
    [
        rows.most.div_ceil(ROWS) as u32,
        (width as u32).div_ceil(32),
        1,
    ]
}

fn join<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    rows: Count,
    stride: usize,
    partial: View<'_, f32>,
    acc: Acc,
    out: ViewMut<'_, f32>,
) {
    let args = [
        b.step_arg(),
        Arg::U32(rows.argument),
        u32_arg(out.len),
        u32_arg(stride),
        partial.arg(),
        Arg::U32(u32::from(acc == Acc::Add)),
        out.arg(),
    ];
    let grid = [(out.len as u32).div_ceil(32), 1, 1];
    b.queue(FILE, "column_join", grid, BLOCK, &args);
}

/// `out (+)=` the sum of `parts` vectors as long as it, in order.
pub fn join_parts<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    parts: usize,
    partial: View<'_, f32>,
    acc: Acc,
    out: ViewMut<'_, f32>,
) {
    // As many rows as make so many chunks.
    join(b, Count::fixed(parts * ROWS), out.len, partial, acc, out);
}

/// What is summed.
pub enum Summed<'a, A> {
    /// Activations.
    Act(View<'a, A>),
    /// Master numbers.
    Master(View<'a, f32>),
    /// Activations of rows with this index.
    Of(View<'a, A>, View<'a, u32>, usize),
}

/// `out[width] (+)= Σ_r x[r, width]` over `rows` rows.
pub fn sums<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    summed: Summed<'_, A>,
    rows: usize,
    acc: Acc,
    out: ViewMut<'_, f32>,
) {
    let width = out.len;
    let rows = b.rows(rows);
    let mut scratch = b.scratch();
    let partial = scratch.sums(rows.most.div_ceil(ROWS) * width);
    let first = [b.step_arg(), Arg::U32(rows.argument), u32_arg(width)];
    let (kernel, rest) = match summed {
        Summed::Act(x) => ("column_partial", vec![x.arg()]),
        Summed::Master(x) => ("column_partial_master", vec![x.arg()]),
        Summed::Of(x, index, which) => (
            "column_partial_of",
            vec![x.arg(), index.arg(), u32_arg(which)],
        ),
    };
    let args = super::args(&[&first, &rest, &[partial.arg()]]);
    b.queue(FILE, kernel, partial_grid(rows, width), BLOCK, &args);
    join(b, rows, width, partial, acc, out);
}

/// See [`hone_kernels::Backend::norm_param_grad`].
pub fn norm_param_grad<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    dy: View<'_, A>,
    sum: View<'_, A>,
    stats: View<'_, f32>,
    acc: Acc,
    dweight: ViewMut<'_, f32>,
    dbias: ViewMut<'_, f32>,
) {
    let width = dweight.len;
    let rows = b.rows(dy.len / width);
    assert_eq!(
        (sum.len, stats.len / 2),
        (dy.len, dy.len / width),
        "norm_param_grad"
    );
    let chunks = rows.most.div_ceil(ROWS);
    let mut scratch = b.scratch();
    let partial = scratch.sums(chunks * 2 * width);
    let args = [
        b.step_arg(),
        Arg::U32(rows.argument),
        u32_arg(width),
        dy.arg(),
        sum.arg(),
        stats.arg(),
        partial.arg(),
    ];
    b.queue(
        FILE,
        "norm_partial",
        partial_grid(rows, width),
        BLOCK,
        &args,
    );
    join(b, rows, 2 * width, partial, acc, dweight);
    if chunks > 0 {
        let of_bias = partial.part(width..partial.len);
        join(b, rows, 2 * width, of_bias, acc, dbias);
    }
}
