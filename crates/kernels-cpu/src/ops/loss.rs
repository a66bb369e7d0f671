//! The losses: a few rows of a few classes, computed in f64 on the calling thread; of a vocabulary's classes over lanes,
//! rows spread over the team.

use crate::path::Path;
use crate::simd::{Vector, dispatch, exp};
use crate::team::{Parts, Team};

/// Inputs of a loss: see [`hone_kernels::Loss`].
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// `[R, C]`.
    pub logits: &'a [f32],
    /// `[R, C]`.
    pub targets: &'a [f32],
    /// `[R]`.
    pub weights: &'a [f32],
    /// C.
    pub classes: usize,
}

impl Rows<'_> {
    /// Calls `row(weight, logits, targets, dlogits)` for each row; it returns the row's unweighted loss.
    fn each(
        &self,
        losses: &mut [f64],
        dlogits: &mut [f32],
        mut row: impl FnMut(f64, &[f32], &[f32], &mut [f32]) -> f64,
    ) {
        let c = self.classes;
        assert_eq!(self.logits.len(), dlogits.len(), "loss");
        for (r, d) in dlogits.chunks_exact_mut(c).enumerate() {
            let weight = f64::from(self.weights[r]);
            let at = r * c..(r + 1) * c;
            losses[r] = weight * row(weight, &self.logits[at.clone()], &self.targets[at], d);
        }
    }
}

/// See [`hone_kernels::Backend::softmax_loss`].
pub fn softmax(rows: Rows<'_>, focal: f64, losses: &mut [f64], dlogits: &mut [f32]) {
    rows.each(losses, dlogits, |weight, z, t, d| {
        let max = z
            .iter()
            .fold(f64::NEG_INFINITY, |m, &z| m.max(f64::from(z)));
        // A NaN among the logits must be seen, not folded away.
        let max = if z.iter().any(|z| z.is_nan()) {
            f64::NAN
        } else {
            max
        };
        let total: f64 = z.iter().map(|&z| (f64::from(z) - max).exp()).sum();
        let log_total = total.ln();
        let log_p = |c: usize| f64::from(z[c]) - max - log_total;
        // ∂ℓ/∂log p_c, from which dz_k = g_k − p_k Σ_c g_c.
        let g = |c: usize| {
            let t = f64::from(t[c]);
            if focal == 0.0 {
                return -t;
            }
            let p = log_p(c).exp();
            let q = 1.0 - p;
            let slope = match q > 0.0 {
                true => focal * q.powf(focal - 1.0) * p * log_p(c),
                false => 0.0,
            };
            t * (slope - q.powf(focal))
        };
        let mut value = 0.0;
        let mut total_g = 0.0;
        for c in 0..z.len() {
            let share = match focal == 0.0 {
                true => 1.0,
                false => (1.0 - log_p(c).exp()).powf(focal),
            };
            value -= f64::from(t[c]) * share * log_p(c);
            total_g += g(c);
        }
        for (c, d) in d.iter_mut().enumerate() {
            *d = (weight * (g(c) - log_p(c).exp() * total_g)) as f32;
        }
        value
    });
}

/// Elements whose exponentials are summed in f32 before the sum goes on in f64.
const SUMMED: usize = 1024;

/// The largest; what is no number is left out.
#[inline(always)]
fn largest<V: Vector>(z: &[f32]) -> f32 {
    let (lanes, rest) = V::chunks(z);
    let mut most = V::splat(f32::NEG_INFINITY);
    for lane in lanes {
        // `max` answers with the right operand where either is no number.
        most = V::load(lane).max(most);
    }
    rest.iter().fold(most.largest(), |most, &z| most.max(z))
}

/// `e = exp(z − most)`; their sum.
#[inline(always)]
fn exponentials<V: Vector>(z: &[f32], most: f32, e: &mut [f32]) -> f64 {
    let mut total = 0.0;
    for (z, e) in z.chunks(SUMMED).zip(e.chunks_mut(SUMMED)) {
        let (lanes, rest) = V::chunks(z);
        let (out, out_rest) = V::chunks_mut(e);
        let mut sum = V::splat(0.0);
        for (z, e) in lanes.iter().zip(out) {
            let value = exp(V::load(z).sub(V::splat(most)));
            sum = sum.add(value);
            value.store(e);
        }
        total += f64::from(sum.sum());
        for (z, e) in rest.iter().zip(out_rest) {
            *e = (z - most).exp();
            total += f64::from(*e);
        }
    }
    total
}

/// See [`hone_kernels::Backend::class_loss`].
pub fn class(
    team: &Team,
    path: Path,
    logits: &[f32],
    class: &[u32],
    weights: &[f32],
    losses: &mut [f64],
    dlogits: &mut [f32],
) {
    let (rows, n) = (class.len(), logits.len() / class.len());
    let sizes = (logits.len(), weights.len(), losses.len());
    assert_eq!((dlogits.len(), rows, rows), sizes, "class_loss");
    let of_rows = Parts::new(losses);
    team.chunks_mut(dlogits, n, &|r, d| {
        let (z, c, weight) = (&logits[r * n..][..n], class[r] as usize, weights[r]);
        let (most, total) = dispatch!(path, V => {
            let most = largest::<V>(z);
            (most, exponentials::<V>(z, most, d))
        });
        // SAFETY: each row is one chunk's, which runs once.
        let loss = unsafe { of_rows.range(r..r + 1) };
        loss[0] = f64::from(weight) * (total.ln() - f64::from(z[c]) + f64::from(most));
        let scale = (f64::from(weight) / total) as f32;
        d.iter_mut().for_each(|d| *d *= scale);
        d[c] -= weight;
    });
}

/// See [`hone_kernels::Backend::symmetric_kl`].
pub fn symmetric_kl(rows: Rows<'_>, alpha: f64, losses: &mut [f64], dlogits: &mut [f32]) {
    let c = rows.classes;
    let half = losses.len() / 2;
    assert_eq!(rows.logits.len(), 2 * half * c, "two draws of each row");
    let (first, second) = rows.logits.split_at(half * c);
    let (d_first, d_second) = dlogits.split_at_mut(half * c);
    let log_total = |z: &[f32]| {
        let max = z.iter().fold(f64::NEG_INFINITY, |m, &z| m.max(z.into()));
        max + z
            .iter()
            .map(|&z| (f64::from(z) - max).exp())
            .sum::<f64>()
            .ln()
    };
    for r in 0..half {
        let at = r * c..(r + 1) * c;
        let (y, z) = (&first[at.clone()], &second[at.clone()]);
        let (of_y, of_z) = (log_total(y), log_total(z));
        // (p, q, log p − log q) of a class.
        let class = |k: usize| {
            let (a, b) = (f64::from(y[k]) - of_y, f64::from(z[k]) - of_z);
            (a.exp(), b.exp(), a - b)
        };
        let (mut forward, mut backward) = (0.0, 0.0);
        for (p, q, ratio) in (0..c).map(class) {
            forward += p * ratio;
            backward -= q * ratio;
        }
        let share = alpha * f64::from(rows.weights[r]);
        losses[r] += share / 2.0 * (forward + backward);
        losses[r + half] += share / 2.0 * (forward + backward);
        for k in 0..c {
            let (p, q, ratio) = class(k);
            d_first[r * c + k] += (share * (p * (ratio - forward) + p - q)) as f32;
            d_second[r * c + k] += (share * (q * (-ratio - backward) + q - p)) as f32;
        }
    }
}

/// See [`hone_kernels::Backend::sigmoid_loss`].
pub fn sigmoid(rows: Rows<'_>, losses: &mut [f64], dlogits: &mut [f32]) {
    let n = rows.classes as f64;
    rows.each(losses, dlogits, |weight, z, t, d| {
        let mut value = 0.0;
        for c in 0..z.len() {
            let (z, t) = (f64::from(z[c]), f64::from(t[c]));
            let small = (-z.abs()).exp();
            value += z.max(0.0) - z * t + small.ln_1p();
            let sigmoid = match z > 0.0 {
                true => 1.0 / (1.0 + small),
                false => small / (1.0 + small),
            };
            d[c] = (weight / n * (sigmoid - t)) as f32;
        }
        value / n
    });
}

/// See [`hone_kernels::Backend::squared_loss`].
pub fn squared(rows: Rows<'_>, losses: &mut [f64], dlogits: &mut [f32]) {
    let n = rows.classes as f64;
    rows.each(losses, dlogits, |weight, z, t, d| {
        let mut value = 0.0;
        for c in 0..z.len() {
            let e = f64::from(z[c]) - f64::from(t[c]);
            value += e * e;
            d[c] = (2.0 * weight / n * e) as f32;
        }
        value / n
    });
}
