//! Launches of activation.cu.

use super::{FLAT_THREADS, ROW_THREADS, flat_grid, row_grid, u32_arg};
use crate::act::Act;
use crate::backend::CudaBackend;
use crate::driver::{Arg, Driver};
use crate::memory::{View, ViewMut, nothing};
use hone_kernels::Activation;

const FILE: &str = "activation";

/// Its number in activation.cu.
pub(super) fn number(activation: Activation) -> Arg {
    Arg::U32(match activation {
        Activation::Gelu => 0,
        Activation::GeluTanh => 1,
        Activation::Relu => 2,
    })
}

/// An elementwise kernel over `[rows, width]`, told step, rows and width, then `rest`.
fn flat<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    kernel: &'static str,
    len: usize,
    width: usize,
    rest: &[Arg],
) {
    let rows = b.rows(len / width);
    let grid = flat_grid(rows.most * width, A::NUMBER.group());
    let first = [b.step_arg(), Arg::U32(rows.argument), u32_arg(width)];
    b.queue(
        FILE,
        kernel,
        grid,
        [FLAT_THREADS, 1],
        &super::args(&[&first, rest]),
    );
}

/// `y = activation(pre)`, rows of `width`.
pub fn forward<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    activation: Activation,
    width: usize,
    pre: View<'_, A>,
    y: ViewMut<'_, A>,
) {
    assert_eq!(pre.len, y.len, "activation");
    let rest = [number(activation), pre.arg(), y.arg()];
    flat(b, "activation_forward", y.len, width, &rest);
}

/// `d ← d · activation′(pre)`, and where wanted `y = activation(pre)`, rows of `width`.
pub fn backward<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    activation: Activation,
    width: usize,
    pre: View<'_, A>,
    d: ViewMut<'_, A>,
    y: Option<ViewMut<'_, A>>,
) {
    let n = d.len;
    assert_eq!(
        (pre.len, y.as_ref().map_or(n, |y| y.len)),
        (n, n),
        "activation"
    );
    let y = y.map_or(nothing::<A>(), |y| y.arg());
    let rest = [number(activation), pre.arg(), d.arg(), y];
    flat(b, "activation_backward", n, width, &rest);
}

/// `y = tanh(x)`.
pub fn tanh<D: Driver, A: Act>(b: &CudaBackend<D, A>, x: View<'_, A>, y: ViewMut<'_, A>) {
    assert_eq!(x.len, y.len, "tanh");
    flat(b, "tanh_forward", y.len, 1, &[x.arg(), y.arg()]);
}

/// `d ← d · (1 − y²)`.
pub fn tanh_backward<D: Driver, A: Act>(b: &CudaBackend<D, A>, y: View<'_, A>, d: ViewMut<'_, A>) {
    assert_eq!(y.len, d.len, "tanh_backward");
    flat(b, "tanh_backward", d.len, 1, &[y.arg(), d.arg()]);
}

/// `y[R, width] += bias[width]`.
pub fn add_bias<D: Driver, A: Act>(b: &CudaBackend<D, A>, bias: View<'_, f32>, y: ViewMut<'_, A>) {
    let width = bias.len;
    let rows = b.rows(y.len / width);
    let args = [
        b.step_arg(),
        Arg::U32(rows.argument),
        u32_arg(width),
        bias.arg(),
        y.arg(),
    ];
    b.queue(FILE, "add_bias", row_grid(rows), [ROW_THREADS, 1], &args);
}
