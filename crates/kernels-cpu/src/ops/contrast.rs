//! Rows of one class drawn together, those of others pushed apart: similarities and sums in f64, rows spread over the team.

use crate::team::{Parts, Team};
use hone_kernels::Contrast;

/// Sums of a dot product that grow side by side.
const LANES: usize = 16;
/// Channels of a gradient that are summed at once.
const BLOCK: usize = 64;

/// Σ x·y, in an order that depends on the length alone.
fn dot(x: &[f32], y: &[f32]) -> f64 {
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (x, y) in x.iter().zip(y) {
        for ((sum, &x), &y) in sums.iter_mut().zip(x).zip(y) {
            *sum += f64::from(x) * f64::from(y);
        }
    }
    let rest = x_rest.iter().zip(y_rest);
    let rest: f64 = rest.map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
    sums.iter().sum::<f64>() + rest
}

/// See [`hone_kernels::Backend::contrast`].
pub fn forward(
    team: &Team,
    contrast: Contrast,
    x: &[f32],
    targets: &[f32],
    weights: &[f32],
    losses: &mut [f64],
    kept: &mut [f32],
) {
    let rows = weights.len();
    assert_eq!((losses.len(), kept.len()), (rows, Contrast::kept(rows)));
    let (width, classes) = (x.len() / rows, targets.len() / rows);
    let row = |r: usize| &x[r * width..][..width];
    let target = |r: usize| &targets[r * classes..][..classes];
    let (slopes, inverse) = kept.split_at_mut(rows * rows);
    for (r, inverse) in inverse.iter_mut().enumerate() {
        let length = dot(row(r), row(r)).sqrt();
        *inverse = match length < Contrast::SHORTEST {
            true => 0.0,
            false => (1.0 / length) as f32,
        };
    }
    let inverse = &*inverse;
    let of_rows = Parts::new(losses);
    team.chunks_mut(slopes, rows, &|r, slopes| {
        let there = |k: &usize| *k != r && weights[*k] != 0.0;
        let company = |k: &usize| there(k) && target(*k) == target(r);
        let mates = (0..rows).filter(company).count();
        // SAFETY: each row is one chunk's, which runs once.
        let loss = &mut unsafe { of_rows.range(r..r + 1) }[0];
        *loss = 0.0;
        slopes.fill(0.0);
        if mates == 0 || weights[r] == 0.0 {
            return;
        }
        let scale = f64::from(inverse[r]) / contrast.temperature;
        let mut most = f64::NEG_INFINITY;
        for k in (0..rows).filter(there) {
            let s = dot(row(r), row(k)) * f64::from(inverse[k]) * scale;
            // What is no number stays none.
            most = if s > most || s.is_nan() { s } else { most };
            slopes[k] = s as f32;
        }
        let there_exp = |k: usize| (f64::from(slopes[k]) - most).exp();
        let total: f64 = (0..rows).filter(there).map(there_exp).sum();
        let log_total = most + total.ln();
        let share = f64::from(weights[r]) * contrast.strength;
        let mut value = 0.0;
        for k in (0..rows).filter(there) {
            let s = f64::from(slopes[k]);
            let mine = match company(&k) {
                true => 1.0 / mates as f64,
                false => 0.0,
            };
            value += mine * (log_total - s);
            slopes[k] = (share * ((s - log_total).exp() - mine)) as f32;
        }
        *loss = share * value;
    });
}

/// See [`hone_kernels::Backend::contrast_backward`].
pub fn backward(
    team: &Team,
    contrast: Contrast,
    x: &[f32],
    width: usize,
    kept: &[f32],
    dx: &mut [f32],
) {
    let rows = x.len() / width;
    assert_eq!((dx.len(), kept.len()), (x.len(), Contrast::kept(rows)));
    let row = |r: usize| &x[r * width..][..width];
    let (slopes, inverse) = kept.split_at(rows * rows);
    team.chunks_mut(dx, width, &|r, dx| {
        let pull = |k: usize| {
            let both = f64::from(slopes[r * rows + k]) + f64::from(slopes[k * rows + r]);
            both * f64::from(inverse[k]) / contrast.temperature
        };
        let own = f64::from(inverse[r]);
        let along: f64 = (0..rows)
            .map(|k| pull(k) * dot(row(k), row(r)))
            .sum::<f64>()
            * own;
        for (block, dx) in dx.chunks_mut(BLOCK).enumerate() {
            let at = block * BLOCK..block * BLOCK + dx.len();
            let mut sums = [0.0; BLOCK];
            for k in 0..rows {
                let pull = pull(k);
                for (sum, &x) in sums.iter_mut().zip(&row(k)[at.clone()]) {
                    *sum += pull * f64::from(x);
                }
            }
            for ((d, sum), &x) in dx.iter_mut().zip(sums).zip(&row(r)[at]) {
                *d += (own * (sum - along * f64::from(x) * own)) as f32;
            }
        }
    });
}
