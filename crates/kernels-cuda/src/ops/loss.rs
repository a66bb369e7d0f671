//! Launches of loss.cu.

use super::{ROW_THREADS, args, row_grid, u32_arg};
use crate::act::Act;
use crate::backend::CudaBackend;
use crate::driver::{Arg, Driver};
use crate::memory::{View, ViewMut};
use hone_kernels::Loss;

const FILE: &str = "loss";

/// Which loss, with its exponent or share.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Softmax cross-entropy with a focal exponent.
    Softmax(f64),
    /// The symmetric divergence of two draws, with its share.
    SymmetricKl(f64),
    /// Binary cross-entropy.
    Sigmoid,
    /// Squared error.
    Squared,
}

/// A loss and its gradient, a warp a row.
pub fn loss<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    kind: Kind,
    loss: Loss<'_, CudaBackend<D, A>>,
    losses: ViewMut<'_, f64>,
    dlogits: ViewMut<'_, f32>,
) {
    let rows = b.rows(losses.len);
    assert_eq!(
        (loss.logits.len, dlogits.len),
        (losses.len * loss.classes, losses.len * loss.classes),
        "loss"
    );
    let head = [b.step_arg(), Arg::U32(rows.argument), u32_arg(loss.classes)];
    let inputs = [loss.logits.arg(), loss.targets.arg(), loss.weights.arg()];
    let outputs = [losses.arg(), dlogits.arg()];
    let (kernel, args) = match kind {
        Kind::Softmax(focal) => (
            "softmax_loss",
            args(&[&head, &[Arg::F64(focal)], &inputs, &outputs]),
        ),
        Kind::SymmetricKl(alpha) => (
            "symmetric_kl",
            args(&[&head, &[Arg::F64(alpha), inputs[0], inputs[2]], &outputs]),
        ),
        Kind::Sigmoid => ("sigmoid_loss", args(&[&head, &inputs, &outputs])),
        Kind::Squared => ("squared_loss", args(&[&head, &inputs, &outputs])),
    };
    b.queue(FILE, kernel, row_grid(rows), [ROW_THREADS, 1], &args);
}

/// Cross-entropy against one class a row, and its gradient, a warp a row.
pub fn class<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    logits: View<'_, f32>,
    class: View<'_, u32>,
    weights: View<'_, f32>,
    losses: ViewMut<'_, f64>,
    dlogits: ViewMut<'_, f32>,
) {
    let rows = b.rows(losses.len);
    let sizes = (class.len, weights.len, logits.len);
    assert_eq!(sizes, (losses.len, losses.len, dlogits.len), "class_loss");
    let args = [
        b.step_arg(),
        Arg::U32(rows.argument),
        u32_arg(logits.len / losses.len),
        logits.arg(),
        class.arg(),
        weights.arg(),
        losses.arg(),
        dlogits.arg(),
    ];
    b.queue(FILE, "class_loss", row_grid(rows), [ROW_THREADS, 1], &args);
}
