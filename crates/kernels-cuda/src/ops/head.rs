//! Launches of head.cu.

use super::{ROW_THREADS, columns, row_grid, u32_arg};
use crate::act::Act;
use crate::backend::CudaBackend;
use crate::driver::{Arg, Driver};
use crate::memory::{View, ViewMut};
use crate::params::CudaParams;
use hone_kernels::{Acc, WeightRef};

const FILE: &str = "head";

/// The matrix as it is, in master numbers.
fn matrix<D: Driver, A: Act>(params: &CudaParams<D, A>, weight: WeightRef) -> View<'_, f32> {
    params.data.view().part(weight.range(&params.table))
}

/// `logits[R, C] = x[R, in] · Wᵀ + bias[C]`.
pub fn forward<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    params: &CudaParams<D, A>,
    weight: WeightRef,
    bias: View<'_, f32>,
    x: View<'_, A>,
    logits: ViewMut<'_, f32>,
) {
    let (classes, input) = weight.shape(&params.table);
    let rows = b.rows(logits.len / classes);
    assert_eq!(x.len / input, logits.len / classes, "head_linear");
    let args = [
        b.step_arg(),
        Arg::U32(rows.argument),
        u32_arg(input),
        u32_arg(classes),
        x.arg(),
        matrix(params, weight).arg(),
        bias.arg(),
        logits.arg(),
    ];
    let [blocks, ..] = row_grid(rows);
    let grid = [blocks, classes as u32, 1];
    b.queue(FILE, "head_forward", grid, [ROW_THREADS, 1], &args);
}

/// `dx[R, in] = dlogits[R, C] · W`.
pub fn dgrad<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    params: &CudaParams<D, A>,
    weight: WeightRef,
    dlogits: View<'_, f32>,
    dx: ViewMut<'_, A>,
) {
    let (classes, input) = weight.shape(&params.table);
    let rows = b.rows(dlogits.len / classes);
    let args = [
        b.step_arg(),
        Arg::U32(rows.argument),
        u32_arg(input),
        u32_arg(classes),
        dlogits.arg(),
        matrix(params, weight).arg(),
        dx.arg(),
    ];
    b.queue(FILE, "head_dgrad", row_grid(rows), [ROW_THREADS, 1], &args);
}

/// Parts that the rows of [`wgrad`] are dealt to: many classes keep a device busy without.
fn parts(classes: usize) -> usize {
    match classes < 1024 {
        true => 16,
        false => 1,
    }
}

/// Elements of scratch for the gradient of a head's matrix.
pub fn scratch_len(classes: usize, input: usize) -> usize {
    parts(classes) * classes * input
}

/// `dw[C, in] (+)= dlogitsᵀ · x`.
pub fn wgrad<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    dlogits: View<'_, f32>,
    x: View<'_, A>,
    classes: usize,
    acc: Acc,
    dw: ViewMut<'_, f32>,
) {
    let rows = b.rows(dlogits.len / classes);
    let parts = parts(classes);
    let mut scratch = b.scratch();
    let partial = scratch.sums(parts * dw.len);
    let args = [
        b.step_arg(),
        Arg::U32(rows.argument),
        u32_arg(dw.len / classes),
        u32_arg(classes),
        dlogits.arg(),
        x.arg(),
        partial.arg(),
    ];
    let grid = [classes as u32, parts as u32, 1];
    b.queue(FILE, "head_wgrad", grid, [ROW_THREADS, 1], &args);
    columns::join_parts(b, parts, partial, acc, dw);
}
