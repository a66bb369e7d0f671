//! Passes over whole tensors: the optimiser and linear combinations.

use crate::math::Scalar;
use crate::types::{AdamwRow, AdamwStep};

/// `y = a·x + b·y`.
pub fn axpby<F: Scalar>(a: f64, x: &[F], b: f64, y: &mut [F]) {
    assert_eq!(x.len(), y.len(), "axpby");
    for (y, &x) in y.iter_mut().zip(x) {
        *y = F::of(a) * x + F::of(b) * *y;
    }
}

/// One tensor's AdamW step, in the order of operations of `torch.optim.AdamW`; decays towards `start` where there
/// is one.
pub fn adamw<F: Scalar>(
    w: &mut [F],
    start: Option<&[F]>,
    grads: &[F],
    m: &mut [F],
    v: &mut [F],
    coefficient: f64,
    row: &AdamwRow,
    step: AdamwStep,
) {
    let keep = F::of(1.0 - row.lr * row.weight_decay);
    let correction1 = 1.0 - step.beta1.powi(row.step as i32);
    let correction2 = (1.0 - step.beta2.powi(row.step as i32)).sqrt();
    let size = F::of(row.lr / correction1);
    let pull = F::of(row.lr * row.start_decay);
    for (i, (((w, &g), m), v)) in w.iter_mut().zip(grads).zip(m).zip(v).enumerate() {
        let g = F::of(coefficient) * g;
        let away = start.map(|start| *w - start[i]);
        *w *= keep;
        if let Some(away) = away {
            *w -= pull * away;
        }
        *m += F::of(1.0 - step.beta1) * (g - *m);
        *v = F::of(step.beta2) * *v + F::of(1.0 - step.beta2) * g * g;
        let root = v.sqrt() / F::of(correction2) + F::of(step.eps);
        *w -= size * (*m / root);
    }
}
