//! Calibration: one temperature, fitted on held-out rows and divided into the classifier (Guo et al. 2017), and the
//! figures that say whether probabilities can be believed.

use crate::reading::Sureness;
use crate::softmax;
use hone_tensor::Philox;
use serde::Serialize;

/// Fewest held-out rows a temperature is fitted on.
pub const LEAST_ROWS: usize = 200;
/// Bins of the calibration error, each with the same number of rows.
const BINS: usize = 15;
/// Sets of labels that are drawn to find what chance makes of it.
const DRAWS: usize = 1000;
/// Temperatures between one part and as many times this are found.
const WIDEST: f64 = 20.0;

/// Logits and classes of labelled rows.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    classes: usize,
    logits: Vec<f64>,
    labels: Vec<usize>,
}

/// Whether probabilities can be believed, on some rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reliability {
    /// Mean of −log p(label).
    pub negative_log_likelihood: f64,
    /// Mean squared distance of the probabilities from the label (Brier 1950): from 0 to 2.
    pub brier: f64,
    /// Mean distance of confidence and accuracy over bins of equal numbers of rows.
    pub calibration_error: f64,
    /// The error that perfectly calibrated probabilities would stay below in 95 % of all cases, were their confidences these:
    /// an error above it is more than chance.
    pub calibration_error_by_chance: f64,
}

/// Before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Rows.
    pub rows: usize,
    /// With the weights as trained.
    pub before: Reliability,
    /// With the temperature in the classifier.
    pub after: Reliability,
}

/// What `--calibrate` did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// What the logits were divided by.
    pub temperature: f64,
    /// Which rows it was fitted on: `validation rows` or `out-of-fold rows`.
    pub by: &'static str,
    /// On those.
    pub held_out: Change,
    /// On the test rows.
    pub test: Option<Change>,
}

impl Answers {
    /// Room for rows of so many classes.
    pub fn new(classes: usize) -> Answers {
        Answers {
            classes,
            ..Answers::default()
        }
    }

    /// Adds a row.
    pub fn push(&mut self, logits: &[f64], label: usize) {
        debug_assert_eq!(logits.len(), self.classes);
        self.logits.extend_from_slice(logits);
        self.labels.push(label);
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Probabilities of a row under a temperature, and its label.
    fn rows(&self, temperature: f64) -> impl Iterator<Item = (Vec<f64>, usize)> + '_ {
        let rows = self.logits.chunks_exact(self.classes).zip(&self.labels);
        rows.map(move |(z, &label)| {
            let z: Vec<f64> = z.iter().map(|z| z / temperature).collect();
            (softmax(&z), label)
        })
    }

    fn loss(&self, temperature: f64) -> f64 {
        let sum: f64 = self
            .rows(temperature)
            .map(|(p, label)| -p[label].max(f64::MIN_POSITIVE).ln())
            .sum();
        sum / self.len().max(1) as f64
    }

    /// The temperature of the greatest likelihood: the loss has one valley in 1/T. Rows whose labels all follow the
    /// largest logit would have it at nothing; what is found is never below 1/20, nor above 20.
    pub fn temperature(&self) -> f64 {
        let ratio = (5.0f64.sqrt() - 1.0) / 2.0;
        let (mut low, mut high) = (-WIDEST.ln(), WIDEST.ln());
        let at = |x: f64| self.loss(x.exp());
        let (mut a, mut b) = (high - ratio * (high - low), low + ratio * (high - low));
        let (mut at_a, mut at_b) = (at(a), at(b));
        while high - low > 1e-6 {
            if at_a < at_b {
                (high, b, at_b) = (b, a, at_a);
                a = high - ratio * (high - low);
                at_a = at(a);
            } else {
                (low, a, at_a) = (a, b, at_b);
                b = low + ratio * (high - low);
                at_b = at(b);
            }
        }
        (0.5 * (low + high)).exp()
    }

    /// The figures under a temperature; `seed` draws the labels that chance would give.
    pub fn reliability(&self, temperature: f64, seed: u64) -> Reliability {
        let n = self.len().max(1) as f64;
        let (mut loss, mut brier) = (0.0, 0.0);
        for (p, label) in self.rows(temperature) {
            loss -= p[label].max(f64::MIN_POSITIVE).ln();
            brier += p
                .iter()
                .enumerate()
                .map(|(c, p)| (p - f64::from(c == label)).powi(2))
                .sum::<f64>();
        }
        let sure = self.sureness(temperature);
        let mut rows: Vec<(f64, bool)> = sure.iter().map(|s| (s.confidence, s.right)).collect();
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        Reliability {
            negative_log_likelihood: loss / n,
            brier: brier / n,
            calibration_error: calibration_error(&rows),
            calibration_error_by_chance: error_by_chance(rows, seed),
        }
    }

    /// How sure each row's answer is under a temperature, and whether it is right.
    pub fn sureness(&self, temperature: f64) -> Vec<Sureness> {
        self.rows(temperature)
            .map(|(p, label)| {
                let best = crate::argmax(&p);
                Sureness {
                    confidence: p[best],
                    right: best == label,
                }
            })
            .collect()
    }

    /// The figures without and with a temperature.
    pub fn change(&self, temperature: f64, seed: u64) -> Change {
        Change {
            rows: self.len(),
            before: self.reliability(1.0, seed),
            after: self.reliability(temperature, seed),
        }
    }
}

/// The 95 % point of the error where each of the rows, the least confident first, is right as often as its confidence says.
fn error_by_chance(mut rows: Vec<(f64, bool)>, seed: u64) -> f64 {
    let random = Philox::new(seed);
    let mut errors: Vec<f64> = (0..DRAWS as u64)
        .map(|draw| {
            for (i, row) in (0u64..).zip(&mut rows) {
                let unit = (random.u64_at(draw, i) >> 11) as f64 / (1u64 << 53) as f64;
                row.1 = unit < row.0;
            }
            calibration_error(&rows)
        })
        .collect();
    errors.sort_by(f64::total_cmp);
    errors[(0.95 * (DRAWS - 1) as f64).round() as usize]
}

/// Σ over bins of equal numbers of rows, the least confident first: share of the rows times |accuracy − mean confidence|.
fn calibration_error(rows: &[(f64, bool)]) -> f64 {
    let n = rows.len();
    let bins = BINS.min(n);
    let mut error = 0.0;
    for bin in 0..bins {
        let part = &rows[bin * n / bins..(bin + 1) * n / bins];
        let confidence: f64 = part.iter().map(|r| r.0).sum();
        let right = part.iter().filter(|r| r.1).count() as f64;
        error += (right - confidence).abs();
    }
    error / n.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows whose labels are drawn from their own probabilities; their logits are then multiplied.
    fn drawn(rows: usize, times: f64, seed: u64) -> Answers {
        let random = Philox::new(seed);
        let unit = |a: u64, b: u64| (random.u64_at(a, b) >> 11) as f64 / (1u64 << 53) as f64;
        let mut all = Answers::new(3);
        for i in 0..rows as u64 {
            let z: Vec<f64> = (0..3).map(|c| 6.0 * unit(i, c) - 3.0).collect();
            let p = softmax(&z);
            let u = unit(i, 9);
            let label = match u {
                u if u < p[0] => 0,
                u if u < p[0] + p[1] => 1,
                _ => 2,
            };
            let z: Vec<f64> = z.iter().map(|z| times * z).collect();
            all.push(&z, label);
        }
        all
    }

    #[test]
    fn a_planted_temperature_is_found() {
        for times in [0.5, 1.0, 2.0] {
            let all = drawn(20_000, times, 9);
            let found = all.temperature();
            assert!((found / times - 1.0).abs() < 0.05, "{times}: {found}");
            let change = all.change(found, 1);
            let (before, after) = (&change.before, &change.after);
            assert!(after.negative_log_likelihood <= before.negative_log_likelihood);
            assert!(after.calibration_error < 0.02, "{after:?}");
            if times == 2.0 {
                assert!(before.calibration_error > 0.08, "{before:?}");
                assert!(after.brier < before.brier);
                assert!(before.calibration_error > 5.0 * before.calibration_error_by_chance);
            }
        }
    }

    /// Calibrated probabilities are said to err by more than chance in about one of twenty sets of rows, others in all.
    #[test]
    fn chance_explains_the_error_of_calibrated_probabilities() {
        let beyond = |times: f64| {
            let sets = (0..200).map(|seed| drawn(300, times, seed).reliability(1.0, 1));
            sets.filter(|r| r.calibration_error > r.calibration_error_by_chance)
                .count()
        };
        assert!((2..=20).contains(&beyond(1.0)), "{}", beyond(1.0));
        assert!(beyond(2.5) >= 190, "{}", beyond(2.5));
    }

    #[test]
    fn figures_of_a_table_worked_out_by_hand() {
        // Confidences ¾ (right) and ¾ (wrong): one row a bin.
        let mut two = Answers::new(2);
        let z = 3.0f64.ln();
        two.push(&[z, 0.0], 0);
        two.push(&[z, 0.0], 1);
        let r = two.reliability(1.0, 0);
        assert!((r.negative_log_likelihood + (0.75f64.ln() + 0.25f64.ln()) / 2.0).abs() < 1e-12);
        assert!((r.brier - (2.0 * 0.0625 + 2.0 * 0.5625) / 2.0).abs() < 1e-12);
        assert!((r.calibration_error - (0.25 + 0.75) / 2.0).abs() < 1e-12);
    }

    /// Half, three and two tenths: for the first class ½² + 0.3² + 0.2², for the last ½² + 0.3² + 0.8².
    #[test]
    fn the_brier_score_is_over_all_classes() {
        let mut three = Answers::new(3);
        for label in [0, 2] {
            three.push(&[0.5, 0.3, 0.2].map(f64::ln), label);
        }
        assert!((three.reliability(1.0, 0).brier - (0.38 + 0.98) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn rows_that_are_all_right_have_a_temperature_all_the_same() {
        let mut all = Answers::new(2);
        for _ in 0..300 {
            all.push(&[1.0, 0.0], 0);
        }
        let found = all.temperature();
        assert!((found * WIDEST - 1.0).abs() < 1e-3, "{found}");
    }
}
