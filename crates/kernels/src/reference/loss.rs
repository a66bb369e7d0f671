//! The four losses with their gradients.

use super::Reference;
use crate::math::Scalar;
use crate::types::Loss;

/// See [`crate::Backend::softmax_loss`].
pub fn softmax<F: Scalar>(
    loss: Loss<'_, Reference<F>>,
    focal: f64,
    losses: &mut [f64],
    dlogits: &mut [F],
) {
    let classes = loss.classes;
    let one = F::of(1.0);
    for (r, d) in dlogits.chunks_mut(classes).enumerate() {
        let z = &loss.logits[r * classes..][..classes];
        let t = &loss.targets[r * classes..][..classes];
        let max = z
            .iter()
            .copied()
            .fold(z[0], |a, b| if b > a { b } else { a });
        let mut total = F::of(0.0);
        for &z in z {
            total += (z - max).exp();
        }
        let log_total = total.ln();
        let log_p = |c: usize| z[c] - max - log_total;
        let p = |c: usize| log_p(c).exp();
        // ∂ℓ/∂log p_c, from which dz_k = g_k − p_k Σ_c g_c.
        let g = |c: usize| {
            if focal == 0.0 {
                return -t[c];
            }
            let q = one - p(c);
            let slope = if q > F::of(0.0) {
                F::of(focal) * q.powf(F::of(focal - 1.0)) * p(c) * log_p(c)
            } else {
                F::of(0.0)
            };
            t[c] * (slope - q.powf(F::of(focal)))
        };
        let mut value = F::of(0.0);
        let mut total_g = F::of(0.0);
        for c in 0..classes {
            let weight = if focal == 0.0 {
                one
            } else {
                (one - p(c)).powf(F::of(focal))
            };
            value -= t[c] * weight * log_p(c);
            total_g += g(c);
        }
        losses[r] = (loss.weights[r] * value).to_f64();
        for (c, d) in d.iter_mut().enumerate() {
            *d = loss.weights[r] * (g(c) - p(c) * total_g);
        }
    }
}

/// See [`crate::Backend::class_loss`].
pub fn class<F: Scalar>(
    logits: &[F],
    class: &[u32],
    weights: &[F],
    losses: &mut [f64],
    dlogits: &mut [F],
) {
    let classes = logits.len() / class.len();
    let mut targets = vec![F::of(0.0); logits.len()];
    for (row, &c) in targets.chunks_mut(classes).zip(class) {
        row[c as usize] = F::of(1.0);
    }
    let loss = Loss {
        logits,
        targets: &targets[..],
        weights,
        classes,
    };
    softmax(loss, 0.0, losses, dlogits);
}

/// See [`crate::Backend::symmetric_kl`].
pub fn symmetric_kl<F: Scalar>(
    loss: Loss<'_, Reference<F>>,
    alpha: f64,
    losses: &mut [f64],
    dlogits: &mut [F],
) {
    let classes = loss.classes;
    let half = losses.len() / 2;
    let log_softmax = |r: usize| -> Vec<F> {
        let z = &loss.logits[r * classes..][..classes];
        let max = z
            .iter()
            .copied()
            .fold(z[0], |a, b| if b > a { b } else { a });
        let mut total = F::of(0.0);
        for &z in z {
            total += (z - max).exp();
        }
        let log_total = total.ln();
        z.iter().map(|&z| z - max - log_total).collect()
    };
    for r in 0..half {
        let (log_p, log_q) = (log_softmax(r), log_softmax(r + half));
        let share = loss.weights[r] * F::of(alpha);
        for (row, a, b) in [(r, &log_p, &log_q), (r + half, &log_q, &log_p)] {
            let mut kl = F::of(0.0);
            for c in 0..classes {
                kl += a[c].exp() * (a[c] - b[c]);
            }
            // Half of KL(p‖q) + KL(q‖p) to each row: this one's share and the other's make the sum.
            let value = (share * kl / F::of(2.0)).to_f64();
            losses[r] += value;
            losses[r + half] += value;
            for c in 0..classes {
                let (p, q) = (a[c].exp(), b[c].exp());
                dlogits[row * classes + c] += share * (p * (a[c] - b[c] - kl) + p - q);
            }
        }
    }
}

/// See [`crate::Backend::sigmoid_loss`].
pub fn sigmoid<F: Scalar>(loss: Loss<'_, Reference<F>>, losses: &mut [f64], dlogits: &mut [F]) {
    let classes = loss.classes;
    let (zero, one) = (F::of(0.0), F::of(1.0));
    for (r, d) in dlogits.chunks_mut(classes).enumerate() {
        let share = loss.weights[r] / F::of(classes as f64);
        let mut value = zero;
        for (c, d) in d.iter_mut().enumerate() {
            let (z, t) = (loss.logits[r * classes + c], loss.targets[r * classes + c]);
            let size = if z > zero { z } else { -z };
            let small = (-size).exp();
            let positive = if z > zero { z } else { zero };
            value += positive - z * t + (one + small).ln();
            let sigmoid = if z > zero {
                one / (one + small)
            } else {
                small / (one + small)
            };
            *d = share * (sigmoid - t);
        }
        losses[r] = (share * value).to_f64();
    }
}

/// See [`crate::Backend::squared_loss`].
pub fn squared<F: Scalar>(loss: Loss<'_, Reference<F>>, losses: &mut [f64], dlogits: &mut [F]) {
    let classes = loss.classes;
    for (r, d) in dlogits.chunks_mut(classes).enumerate() {
        let share = loss.weights[r] / F::of(classes as f64);
        let mut value = F::of(0.0);
        for (c, d) in d.iter_mut().enumerate() {
            let e = loss.logits[r * classes + c] - loss.targets[r * classes + c];
            value += e * e;
            *d = F::of(2.0) * share * e;
        }
        losses[r] = (share * value).to_f64();
    }
}
