//! Launches of norm.cu.

use super::{ROW_THREADS, args, drop_args, row_grid, u32_arg};
use crate::act::Act;
use crate::backend::CudaBackend;
use crate::driver::{Arg, Driver};
use crate::memory::{View, ViewMut, nothing};
use hone_kernels::{Drop, Norm, Rows};

const FILE: &str = "norm";

/// See [`hone_kernels::Backend::add_norm`].
pub fn add_norm<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    norm: Norm<'_, CudaBackend<D, A>>,
    drop: Option<(Drop, Rows<'_, CudaBackend<D, A>>)>,
    residual: Option<View<'_, A>>,
    x: ViewMut<'_, A>,
    stats: ViewMut<'_, f32>,
    y: ViewMut<'_, A>,
) {
    let width = norm.weight.len;
    let rows = b.rows(x.len / width);
    assert_eq!((y.len, stats.len / 2), (x.len, x.len / width), "add_norm");
    let [place, threshold, scale, ids, positions] = drop_args(b, drop);
    let args = [
        b.step_arg(),
        Arg::U32(rows.argument),
        u32_arg(width),
        Arg::F32(norm.eps as f32),
        x.arg(),
        residual.map_or(nothing::<A>(), View::arg),
        norm.weight.arg(),
        norm.bias.arg(),
        place,
        threshold,
        scale,
        ids,
        positions,
        stats.arg(),
        y.arg(),
    ];
    b.queue(FILE, "add_norm", row_grid(rows), [ROW_THREADS, 1], &args);
}

/// See [`hone_kernels::Backend::norm_apply`].
pub fn apply<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    norm: Norm<'_, CudaBackend<D, A>>,
    sum: View<'_, A>,
    stats: View<'_, f32>,
    y: ViewMut<'_, A>,
) {
    let width = norm.weight.len;
    let rows = b.rows(y.len / width);
    assert_eq!(sum.len, y.len, "norm_apply");
    let args = [
        b.step_arg(),
        Arg::U32(rows.argument),
        u32_arg(width),
        sum.arg(),
        norm.weight.arg(),
        norm.bias.arg(),
        stats.arg(),
        y.arg(),
    ];
    b.queue(FILE, "norm_apply", row_grid(rows), [ROW_THREADS, 1], &args);
}

/// See [`hone_kernels::Backend::add_norm_backward`].
pub fn backward<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    norm: Norm<'_, CudaBackend<D, A>>,
    dy: View<'_, A>,
    sum: View<'_, A>,
    stats: View<'_, f32>,
    dsum: ViewMut<'_, A>,
    dropped: Option<(Drop, Rows<'_, CudaBackend<D, A>>, ViewMut<'_, A>)>,
) {
    let width = norm.weight.len;
    let rows = b.rows(dy.len / width);
    assert_eq!((sum.len, dsum.len), (dy.len, dy.len), "add_norm_backward");
    let (drop, dx) = match dropped {
        Some((drop, rows, dx)) => (Some((drop, rows)), dx.arg()),
        None => (None, nothing::<A>()),
    };
    let first = [
        b.step_arg(),
        Arg::U32(rows.argument),
        u32_arg(width),
        dy.arg(),
        sum.arg(),
        stats.arg(),
        norm.weight.arg(),
        dsum.arg(),
    ];
    let args = args(&[&first, &drop_args(b, drop), &[dx]]);
    b.queue(
        FILE,
        "add_norm_backward",
        row_grid(rows),
        [ROW_THREADS, 1],
        &args,
    );
}
