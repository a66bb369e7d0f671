//! Launches of contrast.cu.

use super::{ROW_THREADS, row_grid, u32_arg};
use crate::act::Act;
use crate::backend::CudaBackend;
use crate::driver::{Arg, Driver};
use crate::memory::{View, ViewMut};
use hone_kernels::Contrast;

const FILE: &str = "contrast";

/// See [`hone_kernels::Backend::contrast`].
pub fn forward<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    contrast: Contrast,
    x: View<'_, A>,
    targets: View<'_, f32>,
    weights: View<'_, f32>,
    losses: ViewMut<'_, f64>,
    kept: ViewMut<'_, f32>,
) {
    let n = weights.len;
    assert_eq!((losses.len, kept.len), (n, Contrast::kept(n)), "contrast");
    let (rows, width) = (b.rows(n), x.len / n);
    let first = [b.step_arg(), Arg::U32(rows.argument), u32_arg(width)];
    let lengths = [&first[..], &[x.arg(), kept.arg()]].concat();
    let geometry = (row_grid(rows), [ROW_THREADS, 1]);
    b.queue(FILE, "contrast_lengths", geometry.0, geometry.1, &lengths);
    let rest = [
        u32_arg(targets.len / n),
        Arg::F64(contrast.strength),
        Arg::F64(contrast.temperature),
        x.arg(),
        targets.arg(),
        weights.arg(),
        losses.arg(),
        kept.arg(),
    ];
    let args = [&first[..], &rest].concat();
    b.queue(FILE, "contrast", geometry.0, geometry.1, &args);
}

/// See [`hone_kernels::Backend::contrast_backward`].
pub fn backward<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    contrast: Contrast,
    x: View<'_, A>,
    width: usize,
    kept: View<'_, f32>,
    dx: ViewMut<'_, A>,
) {
    let n = x.len / width;
    assert_eq!((dx.len, kept.len), (x.len, Contrast::kept(n)), "contrast");
    let rows = b.rows(n);
    let args = [
        b.step_arg(),
        Arg::U32(rows.argument),
        u32_arg(width),
        Arg::F64(contrast.temperature),
        x.arg(),
        kept.arg(),
        dx.arg(),
    ];
    let threads = [ROW_THREADS, 1];
    b.queue(FILE, "contrast_backward", row_grid(rows), threads, &args);
}
