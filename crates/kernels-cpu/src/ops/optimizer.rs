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
    correction: f32,
    eps: f32,
    size: f32,
    pull: f32,
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
            correction: correction2 as f32,
            eps: step.eps as f32,
            size: (row.lr / correction1) as f32,
            pull: (row.lr * row.start_decay) as f32,
        }
    }
}

/// One number's step.
#[inline(always)]
fn advance(k: &Constants, w: &mut f32, grad: f32, m: &mut f32, v: &mut f32) {
    let g = k.coefficient * grad;
    *m += k.first * (g - *m);
    *v = k.second * *v + k.second_rest * g * g;
    let root = v.sqrt() / k.correction + k.eps;
    *w = *w * k.keep - k.size * (*m / root);
}

#[inline(always)]
fn sweep(k: &Constants, w: &mut [f32], grads: &[f32], m: &mut [f32], v: &mut [f32]) {
    for i in 0..w.len() {
        advance(k, &mut w[i], grads[i], &mut m[i], &mut v[i]);
    }
}

/// [`sweep`] that also decays towards `start`.
#[inline(always)]
fn sweep_from(
    k: &Constants,
    w: &mut [f32],
    start: &[f32],
    grads: &[f32],
    m: &mut [f32],
    v: &mut [f32],
) {
    for i in 0..w.len() {
        let away = w[i] - start[i];
        // The decays first, the step after, as in `advance`.
        w[i] = w[i] * k.keep - k.pull * away;
        let k = Constants { keep: 1.0, ..*k };
        advance(&k, &mut w[i], grads[i], &mut m[i], &mut v[i]);
    }
}

/// Changes a piece in place, decaying it towards `start` where there is one. All pieces have one length.
pub fn adamw(
    path: Path,
    k: &Constants,
    w: &mut [f32],
    start: Option<&[f32]>,
    grads: &[f32],
    m: &mut [f32],
    v: &mut [f32],
) {
    let n = w.len();
    assert!(grads.len() == n && m.len() == n && v.len() == n, "adamw");
    match start {
        None => dispatch!(path, _V => sweep(k, w, grads, m, v)),
        Some(start) => {
            assert_eq!(start.len(), n, "adamw");
            dispatch!(path, _V => sweep_from(k, w, start, grads, m, v));
        }
    }
}

/// Numbers that take missed steps together: what stays in registers.
const TOGETHER: usize = 32;

/// Steps with a gradient of zero.
#[inline(always)]
fn catch_up<const N: usize>(
    missed: &[Constants],
    w: &mut [f32; N],
    m: &mut [f32; N],
    v: &mut [f32; N],
) {
    let (mut a, mut b, mut c) = (*w, *m, *v);
    let mut left = missed.iter();
    // Once a first moment is (positive) zero it stays, and a step is a decay: the same bits with less work.
    while b.iter().any(|m| m.to_bits() != 0) {
        let Some(k) = left.next() else { break };
        for i in 0..N {
            advance(k, &mut a[i], 0.0, &mut b[i], &mut c[i]);
        }
    }
    for k in left {
        for i in 0..N {
            c[i] *= k.second;
            a[i] *= k.keep;
        }
    }
    (*w, *m, *v) = (a, b, c);
}

/// A row takes the steps it sat out, in which its gradient was zero.
pub fn sat_out(path: Path, missed: &[Constants], w: &mut [f32], m: &mut [f32], v: &mut [f32]) {
    let n = w.len();
    assert!(m.len() == n && v.len() == n, "adamw_rows");
    dispatch!(path, _V => {
        let (w, w_rest) = w.as_chunks_mut::<TOGETHER>();
        let (m, m_rest) = m.as_chunks_mut::<TOGETHER>();
        let (v, v_rest) = v.as_chunks_mut::<TOGETHER>();
        for ((w, m), v) in w.iter_mut().zip(m).zip(v) {
            catch_up(missed, w, m, v);
        }
        let (w, _) = w_rest.as_chunks_mut::<1>();
        let (m, _) = m_rest.as_chunks_mut::<1>();
        let (v, _) = v_rest.as_chunks_mut::<1>();
        for ((w, m), v) in w.iter_mut().zip(m).zip(v) {
            catch_up(missed, w, m, v);
        }
    });
}
