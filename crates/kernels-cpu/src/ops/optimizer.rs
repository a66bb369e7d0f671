//! One AdamW sweep over a piece of a tensor, in the order of operations of `torch.optim.AdamW`.

use crate::path::Path;
use crate::simd::dispatch;
use hone_kernels::{AdamwRow, AdamwStep};

/// The constants of one tensor's step, in f32 where the sweep uses them.
#[derive(Debug, Clone, Copy)]
pub struct Constants {
    keep: f32,
    coefficient: f32,
    first: f32,
    second: f32,
    second_rest: f32,
    inverse_correction: f32,
    eps: f32,
    size: f32,
}

impl Constants {
    /// Of one row's step, its gradients multiplied by `coefficient`.
    pub fn new(row: &AdamwRow, step: AdamwStep, coefficient: f64) -> Self {
        let correction1 = 1.0 - step.beta1.powi(row.step as i32);
        let correction2 = (1.0 - step.beta2.powi(row.step as i32)).sqrt();
        Constants {
            keep: (1.0 - row.lr * row.weight_decay) as f32,
            coefficient: coefficient as f32,
            first: (1.0 - step.beta1) as f32,
            second: step.beta2 as f32,
            second_rest: (1.0 - step.beta2) as f32,
            inverse_correction: correction2 as f32,
            eps: step.eps as f32,
            size: (row.lr / correction1) as f32,
        }
    }
}

#[inline(always)]
fn sweep(k: Constants, w: &mut [f32], grads: &[f32], m: &mut [f32], v: &mut [f32]) {
    for i in 0..w.len() {
        let g = k.coefficient * grads[i];
        m[i] += k.first * (g - m[i]);
        v[i] = k.second * v[i] + k.second_rest * g * g;
        let root = v[i].sqrt() / k.inverse_correction + k.eps;
        w[i] = w[i] * k.keep - k.size * (m[i] / root);
    }
}

/// Changes a piece in place. All four pieces have one length.
pub fn adamw(path: Path, k: Constants, w: &mut [f32], grads: &[f32], m: &mut [f32], v: &mut [f32]) {
    let n = w.len();
    assert!(grads.len() == n && m.len() == n && v.len() == n, "adamw");
    dispatch!(path, _V => sweep(k, w, grads, m, v));
}
