//! A linear layer on dense features, fitted to any loss of its outputs: what probes and heads that begin fitted are made of.
//!
//! Features are brought to mean 0 and deviation 1 (of the rows fitted); then C·Σ loss + ½‖W‖² is minimised by L-BFGS, the
//! intercepts unpenalised.

use crate::Features;
use crate::lbfgs::{dot, minimise};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis};

/// Slope, a row, at which a minimum is found.
const EXACT: f64 = 1e-5;
/// Slope, a row, at which it is near enough to compare losses.
pub(crate) const ROUGH: f64 = 1e-3;
/// Steps at most.
const STEPS: usize = 300;

/// A fitted layer.
#[derive(Debug, Clone)]
pub struct Linear {
    mean: Vec<f64>,
    scale: Vec<f64>,
    outputs: usize,
    /// `[hidden + 1, outputs]`, the intercept last.
    weights: Vec<f64>,
}

impl Linear {
    /// Fits to some rows. `c` is the inverse strength of the penalty; `loss` gives the loss of a row with these outputs
    /// and leaves its derivatives in their place.
    pub fn fit(
        features: &Features,
        rows: &[u32],
        outputs: usize,
        c: f64,
        loss: impl Fn(usize, &mut [f64]) -> f64,
    ) -> Linear {
        Linear::fit_from(features, rows, outputs, c, EXACT, None, loss)
    }

    /// The same until the slope, a row, is so small; begins where another fit of the same shape ended, else at zero.
    pub(crate) fn fit_from(
        features: &Features,
        rows: &[u32],
        outputs: usize,
        c: f64,
        slope: f64,
        from: Option<&Linear>,
        loss: impl Fn(usize, &mut [f64]) -> f64,
    ) -> Linear {
        let hidden = features.hidden;
        let n = rows.len().max(1) as f64;
        let mut mean = vec![0.0; hidden];
        let mut square = vec![0.0; hidden];
        for &r in rows {
            for (h, &x) in features.row(r as usize).iter().enumerate() {
                mean[h] += f64::from(x) / n;
                square[h] += f64::from(x) * f64::from(x) / n;
            }
        }
        let scale = square
            .iter()
            .zip(&mean)
            .map(|(s, m)| match (s - m * m).max(0.0).sqrt() {
                d if d > 1e-8 => 1.0 / d,
                _ => 0.0,
            })
            .collect();
        let mut layer = Linear {
            mean,
            scale,
            outputs,
            weights: match from {
                Some(other) if other.weights.len() == (hidden + 1) * outputs => {
                    other.weights.clone()
                }
                _ => vec![0.0; (hidden + 1) * outputs],
            },
        };
        let mut x = Array2::zeros((rows.len(), hidden));
        for (&r, mut row) in rows.iter().zip(x.rows_mut()) {
            row.assign(&ArrayView1::from(&layer.standard(features.row(r as usize))));
        }
        let intercept = hidden * outputs;
        let mut weights = std::mem::take(&mut layer.weights);
        let mut slopes = Array2::zeros((rows.len(), outputs));
        // The value is a sum over rows: what is small grows with their number.
        let tolerance = slope * c * n;
        minimise(&mut weights, tolerance, STEPS, |w, gradient| {
            let (body, last) = w.split_at(intercept);
            let mut value = 0.5 * dot(body, body);
            slopes.assign(&ArrayView1::from(last));
            general_mat_mul(1.0, &x, &matrix(body, outputs), 1.0, &mut slopes);
            for (slopes, &r) in slopes.rows_mut().into_iter().zip(rows) {
                let slopes = slopes.into_slice().expect("a row in one piece");
                value += c * loss(r as usize, slopes);
            }
            slopes *= c;
            gradient[..intercept].copy_from_slice(body);
            let (body, last) = gradient.split_at_mut(intercept);
            let mut body = ArrayViewMut2::from_shape((hidden, outputs), body).expect("a matrix");
            general_mat_mul(1.0, &x.t(), &slopes, 1.0, &mut body);
            ArrayViewMut1::from(last).assign(&slopes.sum_axis(Axis(0)));
            value
        });
        layer.weights = weights;
        layer
    }

    /// Outputs.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The outputs for a row of features.
    pub fn of(&self, row: &[f32]) -> Vec<f64> {
        times(&self.standard(row), &self.weights, self.outputs)
    }

    /// The same outputs by a layer on features as they are: `weight[outputs, hidden]` and `bias[outputs]`.
    pub fn plain(&self) -> (Vec<f32>, Vec<f32>) {
        let (hidden, outputs) = (self.mean.len(), self.outputs);
        let (body, last) = self.weights.split_at(hidden * outputs);
        let mut weight = vec![0.0; outputs * hidden];
        let mut bias = last.to_vec();
        for (h, row) in body.chunks_exact(outputs).enumerate() {
            for (c, w) in row.iter().enumerate() {
                let w = w * self.scale[h];
                weight[c * hidden + h] = w as f32;
                bias[c] -= w * self.mean[h];
            }
        }
        (weight, bias.into_iter().map(|b| b as f32).collect())
    }

    /// A row of features as it is fitted.
    pub(crate) fn standard(&self, row: &[f32]) -> Vec<f64> {
        let scaled = row.iter().zip(&self.mean).zip(&self.scale);
        scaled.map(|((x, m), s)| (f64::from(*x) - m) * s).collect()
    }

    /// The weight between a standardised feature (the last: the intercept) and an output.
    #[cfg(test)]
    pub(crate) fn weight(&self, feature: usize, output: usize) -> f64 {
        self.weights[feature * self.outputs + output]
    }
}

/// Weights as a matrix, a column an output.
fn matrix(weights: &[f64], outputs: usize) -> ArrayView2<'_, f64> {
    ArrayView2::from_shape((weights.len() / outputs, outputs), weights).expect("a matrix")
}

fn times(x: &[f64], w: &[f64], outputs: usize) -> Vec<f64> {
    let mut out = w[w.len() - outputs..].to_vec();
    for (x, w) in x.iter().zip(w.chunks_exact(outputs)) {
        out.iter_mut().zip(w).for_each(|(o, w)| *o += x * w);
    }
    out
}
