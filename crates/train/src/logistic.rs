//! Logistic regression on dense features: a linear probe, and what a head may begin as.

use crate::linear::Linear;
use crate::{Features, argmax, softmax};

/// A fitted classifier: multinomial logistic regression on standardised features, with a squared penalty on everything
/// but the intercept.
#[derive(Debug, Clone)]
pub struct Logistic(Linear);

/// Cross-entropy of a row's class under these scores, which become its derivatives.
pub(crate) fn cross_entropy(class: usize, scores: &mut [f64]) -> f64 {
    let mut p = softmax(scores);
    let loss = -p[class].max(f64::MIN_POSITIVE).ln();
    p[class] -= 1.0;
    scores.copy_from_slice(&p);
    loss
}

impl Logistic {
    /// Fits to some rows and their classes below `classes`. `c` is the inverse strength of the penalty:
    /// C·Σ cross-entropy + ½‖W‖² is minimised, as scikit-learn's `LogisticRegression` does (of two classes it fits one vector
    /// where this fits two: its `C` is then twice this one). `rows` are places in `features` and in `labels`.
    ///
    /// # Panics
    /// When a row is in one of them only, or its label is not below `classes`.
    pub fn fit(
        features: &Features,
        rows: &[u32],
        labels: &[usize],
        classes: usize,
        c: f64,
    ) -> Logistic {
        let loss = |row: usize, scores: &mut [f64]| cross_entropy(labels[row], scores);
        Logistic(Linear::fit(features, rows, classes, c, loss))
    }

    /// Classes.
    pub fn classes(&self) -> usize {
        self.0.outputs()
    }

    /// The same scores as a linear layer on features as they are: `weight[classes, hidden]` and `bias[classes]`.
    pub fn linear(&self) -> (Vec<f32>, Vec<f32>) {
        self.0.plain()
    }

    /// Probability of each class.
    pub fn probabilities(&self, row: &[f32]) -> Vec<f64> {
        softmax(&self.0.of(row))
    }

    /// The most probable class.
    pub fn predict(&self, row: &[f32]) -> usize {
        argmax(&self.probabilities(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::ROUGH;
    use hone_tensor::Philox;

    fn features() -> Features {
        let random = Philox::new(5);
        let number = |i: usize| (random.u64_at(1, i as u64) >> 40) as f32 / 1e7;
        Features {
            rows: 40,
            hidden: 7,
            // Columns of different means and sizes; the last never moves.
            values: (0..280)
                .map(|i| match i % 7 {
                    6 => 3.0,
                    k => k as f32 + number(i) * (1 << k) as f32,
                })
                .collect(),
        }
    }

    #[test]
    fn a_linear_layer_gives_the_same_answers() {
        let features = features();
        let rows: Vec<u32> = (0..40).collect();
        let labels: Vec<usize> = (0..40).map(|i| (i * i + i / 3) % 3).collect();
        let model = Logistic::fit(&features, &rows, &labels, 3, 0.5);
        let (weight, bias) = model.linear();
        for r in 0..40 {
            let x = features.row(r);
            let scores: Vec<f64> = (0..3)
                .map(|c| {
                    let w = weight[c * 7..][..7].iter().zip(x);
                    f64::from(bias[c]) + w.map(|(w, x)| f64::from(w * x)).sum::<f64>()
                })
                .collect();
            for (a, b) in softmax(&scores).iter().zip(model.probabilities(x)) {
                assert!((a - b).abs() < 1e-5, "row {r}: {a} {b}");
            }
        }
    }

    /// What compares penalties or features is near the minimum, wherever it begins.
    #[test]
    fn a_rough_fit_is_nearly_the_exact_one() {
        let features = features();
        let rows: Vec<u32> = (0..40).collect();
        let labels: Vec<usize> = (0..40).map(|i| (i * i + i / 3) % 3).collect();
        let loss = |model: &Logistic| -> f64 {
            let of = |r: usize| -model.probabilities(features.row(r))[labels[r]].ln();
            (0..40).map(of).sum::<f64>() / 40.0
        };
        let roughly = |c: f64, from: Option<&Linear>| {
            let loss = |row: usize, scores: &mut [f64]| cross_entropy(labels[row], scores);
            Linear::fit_from(&features, &rows, 3, c, ROUGH, from, loss)
        };
        let first = roughly(0.02, None);
        for c in [0.02, 0.1, 2.0] {
            let exact = loss(&Logistic::fit(&features, &rows, &labels, 3, c));
            for from in [None, Some(&first)] {
                let apart = (loss(&Logistic(roughly(c, from))) - exact).abs();
                assert!(apart < 5e-3, "C {c}: {apart}");
            }
        }
    }

    /// At the minimum no weight's gradient is left.
    #[test]
    fn the_penalised_likelihood_is_at_its_minimum() {
        let features = features();
        let rows: Vec<u32> = (0..40).collect();
        let labels: Vec<usize> = (0..40).map(|i| (i * i + i / 3) % 3).collect();
        let c = 0.5;
        let model = Logistic::fit(&features, &rows, &labels, 3, c);
        for class in 0..3 {
            for h in 0..=7 {
                let mut slope = if h < 7 { model.0.weight(h, class) } else { 0.0 };
                for &r in &rows {
                    let x = model.0.standard(features.row(r as usize));
                    let p = model.probabilities(features.row(r as usize))[class];
                    let hit = f64::from(labels[r as usize] == class);
                    slope += c * (p - hit) * x.get(h).copied().unwrap_or(1.0);
                }
                assert!(slope.abs() < 1e-3, "class {class}, weight {h}: {slope}");
            }
        }
    }

    /// Figures of scikit-learn 1.9 (`xtask/python/make_fixtures.py logistic`).
    #[test]
    fn probabilities_are_scikit_learns() {
        let case: serde_json::Value =
            serde_json::from_str(include_str!("../fixtures/logistic.json")).unwrap();
        let numbers = |v: &serde_json::Value| -> Vec<f64> {
            v.as_array()
                .unwrap()
                .iter()
                .map(|x| x.as_f64().unwrap())
                .collect()
        };
        let labels: Vec<usize> = numbers(&case["labels"])
            .iter()
            .map(|l| *l as usize)
            .collect();
        let features = Features {
            rows: labels.len(),
            hidden: case["hidden"].as_u64().unwrap() as usize,
            values: numbers(&case["values"]).iter().map(|x| *x as f32).collect(),
        };
        let fitted: Vec<u32> = (0..case["fitted"].as_u64().unwrap() as u32).collect();
        for (c, expected) in case["probabilities"].as_object().unwrap() {
            let model = Logistic::fit(&features, &fitted, &labels, 3, c.parse().unwrap());
            for (i, expected) in expected.as_array().unwrap().iter().enumerate() {
                let got = model.probabilities(features.row(i));
                for (got, expected) in got.iter().zip(numbers(expected)) {
                    assert!(
                        (got - expected).abs() < 1e-4,
                        "C {c}, row {i}: {got}, expected {expected}"
                    );
                }
            }
        }
    }
}
