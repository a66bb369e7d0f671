//! Rows of one class drawn together, those of others pushed apart: forward and backward.

use crate::math::Scalar;
use crate::types::Contrast;

fn dot<F: Scalar>(x: &[F], y: &[F]) -> F {
    let mut sum = F::of(0.0);
    for (&x, &y) in x.iter().zip(y) {
        sum += x * y;
    }
    sum
}

/// See [`crate::Backend::contrast`].
pub fn forward<F: Scalar>(
    contrast: Contrast,
    x: &[F],
    targets: &[F],
    weights: &[F],
    losses: &mut [f64],
    kept: &mut [F],
) {
    let rows = weights.len();
    let (width, classes) = (x.len() / rows, targets.len() / rows);
    let row = |r: usize| &x[r * width..][..width];
    let target = |r: usize| &targets[r * classes..][..classes];
    let (slopes, inverse) = kept.split_at_mut(rows * rows);
    for (r, inverse) in inverse.iter_mut().enumerate() {
        let length = dot(row(r), row(r)).sqrt();
        *inverse = match length < F::of(Contrast::SHORTEST) {
            true => F::of(0.0),
            false => F::of(1.0) / length,
        };
    }
    let zero = F::of(0.0);
    for (r, slopes) in slopes.chunks_mut(rows).enumerate() {
        let there = |k: usize| k != r && weights[k] != zero;
        let company = |k: usize| there(k) && target(k) == target(r);
        let mates = (0..rows).filter(|&k| company(k)).count();
        slopes.fill(zero);
        losses[r] = 0.0;
        if mates == 0 || weights[r] == zero {
            continue;
        }
        let similarity =
            |k: usize| dot(row(r), row(k)) * inverse[r] * inverse[k] / F::of(contrast.temperature);
        let mut most = F::of(-1.0 / contrast.temperature);
        for s in (0..rows).filter(|&k| there(k)).map(similarity) {
            most = if s > most { s } else { most };
        }
        let mut total = zero;
        for k in (0..rows).filter(|&k| there(k)) {
            total += (similarity(k) - most).exp();
        }
        let log_total = most + total.ln();
        let share = weights[r] * F::of(contrast.strength);
        let mut value = zero;
        for k in (0..rows).filter(|&k| there(k)) {
            let s = similarity(k);
            let mine = match company(k) {
                true => F::of(1.0 / mates as f64),
                false => zero,
            };
            value += mine * (log_total - s);
            slopes[k] = share * ((s - log_total).exp() - mine);
        }
        losses[r] = (share * value).to_f64();
    }
}

/// See [`crate::Backend::contrast_backward`].
pub fn backward<F: Scalar>(contrast: Contrast, x: &[F], width: usize, kept: &[F], dx: &mut [F]) {
    let rows = x.len() / width;
    let row = |r: usize| &x[r * width..][..width];
    let (slopes, inverse) = kept.split_at(rows * rows);
    for (r, dx) in dx.chunks_mut(width).enumerate() {
        let pull = |k: usize| {
            (slopes[r * rows + k] + slopes[k * rows + r]) * inverse[k] / F::of(contrast.temperature)
        };
        let mut along = F::of(0.0);
        for k in 0..rows {
            along += pull(k) * dot(row(k), row(r)) * inverse[r];
        }
        for (c, d) in dx.iter_mut().enumerate() {
            let mut sum = F::of(0.0);
            for k in 0..rows {
                sum += pull(k) * row(k)[c];
            }
            *d += inverse[r] * (sum - along * row(r)[c] * inverse[r]);
        }
    }
}
