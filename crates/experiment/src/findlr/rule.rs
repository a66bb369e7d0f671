//! The rule: which rate a curve of losses over rates suggests. Pure; what it is worth is in the crate's README.
//!
//! With AdamW a step moves every weight by about its rate, and under rates that grow by a constant factor the steps so
//! far add up to a constant number of steps at the rate of now. So the curve of a range test is: nothing, while the
//! weights have hardly moved; a smooth steep descent; then, where a single step is so large that it overshoots, noise
//! on a floor, and at last a rise. The lowest point is the luckiest of a noisy floor, where training already shakes; the
//! middle of the descent hardly differs between seeds, and hardly depends on how deep the floor is. The rule reads the
//! middle, the rate at which half of the fall is done, and takes a multiple of it: with that a run of some dozens
//! of steps moves ten times as far as what took off half of the loss, and still stays below the rates that shake.

use serde::Serialize;

/// Part of the whole fall that is done at the middle of the descent.
const MIDDLE: f64 = 0.5;
/// The suggestion over the rate of the middle.
const TIMES: f64 = 3.0;
/// A fall of less than this part of the first loss is no fall.
const LEAST_FALL: f64 = 0.02;
/// Weights of a point's neighbours in the smoothed curve.
const KERNEL: [f64; 2] = [2.0, 1.0];
/// Its own.
const OWN: f64 = 3.0;
/// Repeats that differ by more than this factor disagree.
const DISAGREE: f64 = 2.0;

/// The losses of one repeat, or of their mean, by rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RangeCurve {
    /// Loss before the first step.
    pub start: f64,
    /// Body's rates, ascending by a constant factor.
    pub rates: Vec<f64>,
    /// Loss after the step with that rate.
    pub losses: Vec<f64>,
}

/// The mean of the repeats.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RangeMean {
    /// Mean loss before the first step.
    pub start: f64,
    /// Body's rates that every repeat reached.
    pub rates: Vec<f64>,
    /// Mean losses.
    pub losses: Vec<f64>,
    /// The same, each averaged with its neighbours (weights 1, 2, 3, 2, 1).
    pub smoothed: Vec<f64>,
}

/// The rate to train with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SuggestedRate {
    /// Peak rate of the body.
    pub lr: f64,
    /// Where half of the fall was done.
    pub middle_lr: f64,
    /// Where the smoothed loss was lowest.
    pub lowest_lr: f64,
    /// How low that was.
    pub lowest_loss: f64,
    /// What each repeat would suggest alone; none where its loss fell nowhere.
    pub alone: Vec<Option<f64>>,
    /// Whether the loss still fell at the last rate: the floor was not seen, and the suggestion may be too small.
    pub at_end: bool,
    /// Whether the suggestion is above the rate of the lowest loss: it was tried, and the loss was no longer falling.
    pub above_lowest: bool,
}

impl RangeMean {
    /// Of curves over the same rates, as far as all of them go.
    pub fn of(curves: &[RangeCurve]) -> RangeMean {
        let shared = curves.iter().map(|c| c.losses.len()).min().unwrap_or(0);
        let mean = |each: &dyn Fn(&RangeCurve) -> f64| {
            curves.iter().map(each).sum::<f64>() / curves.len().max(1) as f64
        };
        let losses: Vec<f64> = (0..shared).map(|i| mean(&|c| c.losses[i])).collect();
        RangeMean {
            start: mean(&|c| c.start),
            rates: curves
                .first()
                .map_or(Vec::new(), |c| c.rates[..shared].to_vec()),
            smoothed: smoothed(&losses),
            losses,
        }
    }

    /// The middle of the descent, a rate between the points, and the lowest point.
    fn read(&self) -> Option<(f64, usize)> {
        let y = &self.smoothed;
        let lowest = (0..y.len()).min_by(|&a, &b| y[a].total_cmp(&y[b]))?;
        let fall = self.start - y[lowest];
        if fall.is_nan() || fall <= LEAST_FALL * self.start.abs() {
            return None;
        }
        let level = self.start - MIDDLE * fall;
        let below = y.iter().position(|&loss| loss <= level)?;
        if below == 0 {
            return Some((self.rates[0], lowest));
        }
        // Between the two points, along a line over the logarithm of the rate.
        let (a, b) = (y[below - 1], y[below]);
        let part = (a - level) / (a - b);
        let (low, high) = (self.rates[below - 1].ln(), self.rates[below].ln());
        Some(((low + part * (high - low)).exp(), lowest))
    }
}

/// What the mean of the curves suggests; none where the loss fell nowhere.
pub fn suggest_rate(curves: &[RangeCurve]) -> Option<SuggestedRate> {
    let mean = RangeMean::of(curves);
    let (middle_lr, lowest) = mean.read()?;
    let alone = curves
        .iter()
        .map(|c| RangeMean::of(std::slice::from_ref(c)).read());
    Some(SuggestedRate {
        lr: TIMES * middle_lr,
        middle_lr,
        lowest_lr: mean.rates[lowest],
        lowest_loss: mean.smoothed[lowest],
        alone: alone.map(|found| found.map(|f| TIMES * f.0)).collect(),
        at_end: lowest + 1 == mean.rates.len(),
        above_lowest: lowest + 1 < mean.rates.len() && TIMES * middle_lr > mean.rates[lowest],
    })
}

impl SuggestedRate {
    /// Whether the repeats disagree by more than a factor of two.
    pub fn unsure(&self) -> bool {
        let all = || self.alone.iter().flatten().copied();
        let (low, high) = (
            all().fold(f64::INFINITY, f64::min),
            all().fold(0.0, f64::max),
        );
        self.alone.iter().any(Option::is_none) || high > DISAGREE * low
    }
}

/// Each loss averaged with the neighbours it has.
fn smoothed(losses: &[f64]) -> Vec<f64> {
    (0..losses.len())
        .map(|i| {
            let (mut sum, mut weight) = (OWN * losses[i], OWN);
            for (k, w) in KERNEL.into_iter().enumerate() {
                for j in [i.checked_sub(k + 1), Some(i + k + 1)]
                    .into_iter()
                    .flatten()
                {
                    if let Some(loss) = losses.get(j) {
                        sum += w * loss;
                        weight += w;
                    }
                }
            }
            sum / weight
        })
        .collect()
}
