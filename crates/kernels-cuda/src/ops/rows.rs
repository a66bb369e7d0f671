//! Launches of rows.cu.

use super::{ROW_THREADS, args, drop_args, place, row_grid, u32_arg};
use crate::act::Act;
use crate::backend::CudaBackend;
use crate::driver::{Arg, Driver};
use crate::memory::{View, ViewMut};
use crate::step::Count;
use hone_kernels::{Drop, Rows};

const FILE: &str = "rows";

/// A kernel told step, rows and width, then `rest`.
fn by_row<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    kernel: &'static str,
    rows: Count,
    width: usize,
    rest: &[Arg],
) {
    let first = [b.step_arg(), Arg::U32(rows.argument), u32_arg(width)];
    let args = args(&[&first, rest]);
    b.queue(FILE, kernel, row_grid(rows), [ROW_THREADS, 1], &args);
}

/// See [`hone_kernels::Backend::dropout`].
pub fn dropout<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    drop: Drop,
    rows: Rows<'_, CudaBackend<D, A>>,
    width: usize,
    x: ViewMut<'_, A>,
) {
    let of_drop = drop_args(b, Some((drop, rows)));
    let count = b.rows(x.len / width);
    by_row(b, "dropout", count, width, &args(&[&of_drop, &[x.arg()]]));
}

/// See [`hone_kernels::Backend::mask_weights`].
pub fn mask_weights<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    drop: Drop,
    tensor: u64,
    width: usize,
    x: ViewMut<'_, f32>,
) {
    b.draw(drop.key);
    let rows = Count::fixed(x.len / width.max(1));
    let rest = [
        Arg::U32(place(drop)),
        Arg::U32(drop.threshold),
        Arg::F32(drop.scale as f32),
        Arg::U64(tensor),
        x.arg(),
    ];
    by_row(b, "mask_weights", rows, width, &rest);
}

/// See [`hone_kernels::Backend::gather_rows`].
pub fn gather<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    x: View<'_, A>,
    index: View<'_, u32>,
    width: usize,
    y: ViewMut<'_, A>,
) {
    assert_eq!(y.len, index.len * width, "gather_rows");
    let rest = [x.arg(), index.arg(), y.arg()];
    by_row(b, "gather_rows", b.rows(index.len), width, &rest);
}

/// See [`hone_kernels::Backend::scatter_add_rows`].
pub fn scatter_add<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    dy: View<'_, A>,
    index: View<'_, u32>,
    width: usize,
    dx: ViewMut<'_, A>,
) {
    assert_eq!(dy.len, index.len * width, "scatter_add_rows");
    let rest = [dy.arg(), index.arg(), dx.arg()];
    by_row(b, "scatter_add_rows", b.rows(index.len), width, &rest);
}

/// See [`hone_kernels::Backend::mean_tokens`].
pub fn mean_tokens<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    x: View<'_, A>,
    cu_seqlens: View<'_, u32>,
    width: usize,
    y: ViewMut<'_, A>,
) {
    let sequences = b.rows(cu_seqlens.len - 1);
    let rest = [x.arg(), cu_seqlens.arg(), y.arg()];
    by_row(b, "mean_tokens", sequences, width, &rest);
}

/// See [`hone_kernels::Backend::mean_tokens_backward`].
pub fn mean_tokens_backward<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    dy: View<'_, A>,
    cu_seqlens: View<'_, u32>,
    width: usize,
    dx: ViewMut<'_, A>,
) {
    let sequences = b.rows(cu_seqlens.len - 1);
    let rest = [dy.arg(), cu_seqlens.arg(), dx.arg()];
    by_row(b, "mean_tokens_backward", sequences, width, &rest);
}

/// See [`hone_kernels::Backend::zero_rows`].
pub fn zero<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    rows: View<'_, u32>,
    width: usize,
    x: ViewMut<'_, f32>,
) {
    let rest = [rows.arg(), x.arg()];
    by_row(b, "zero_rows", b.rows(rows.len), width, &rest);
}
