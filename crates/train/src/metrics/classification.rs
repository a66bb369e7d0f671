//! One label of several: accuracy, F1, Matthews, all from the confusion matrix.

use super::{f1, ratio, wilson};
use serde::{Deserialize, Serialize};

/// Counts by gold and predicted class; gold labels the model does not know have a row of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct Confusion {
    classes: usize,
    counts: Vec<usize>,
    unknown: usize,
    loss: f64,
    loss_rows: usize,
}

/// What the confusion matrix says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    /// Rows read.
    pub rows: usize,
    /// Mean cross-entropy over rows whose label the model knows.
    pub loss: f64,
    /// Share of rows answered right.
    pub accuracy: f64,
    /// Its Wilson 95 % interval.
    pub accuracy_interval: [f64; 2],
    /// Mean F1 over the model's classes.
    pub macro_f1: f64,
    /// Matthews correlation, multi-class (Gorodkin 2004).
    pub matthews: f64,
    /// Rows whose label the model does not know; they count as wrong.
    pub unknown_labels: usize,
    /// One entry a class.
    pub per_class: Vec<ClassReport>,
    /// Rows by gold (outer) and predicted (inner) class.
    pub confusion: Vec<Vec<usize>>,
}

/// One class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassReport {
    /// Its name.
    pub label: String,
    /// Right among predicted.
    pub precision: f64,
    /// Right among gold.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
    /// Gold rows.
    pub support: usize,
}

impl Confusion {
    /// Nothing counted yet.
    pub fn new(classes: usize) -> Self {
        Confusion {
            classes,
            counts: vec![0; classes * classes],
            unknown: 0,
            loss: 0.0,
            loss_rows: 0,
        }
    }

    /// Counts a row; `loss` is its cross-entropy where the label is known.
    pub fn add(&mut self, gold: Option<usize>, predicted: usize, loss: f64) {
        match gold {
            Some(gold) => {
                self.counts[gold * self.classes + predicted] += 1;
                self.loss += loss;
                self.loss_rows += 1;
            }
            None => self.unknown += 1,
        }
    }

    /// Sums up.
    pub fn finish(&self, labels: &[String]) -> Classification {
        let k = self.classes;
        let at = |g: usize, p: usize| self.counts[g * k + p];
        let gold: Vec<usize> = (0..k).map(|g| (0..k).map(|p| at(g, p)).sum()).collect();
        let predicted: Vec<usize> = (0..k).map(|p| (0..k).map(|g| at(g, p)).sum()).collect();
        let right: usize = (0..k).map(|c| at(c, c)).sum();
        let known: usize = gold.iter().sum();
        let rows = known + self.unknown;
        let per_class: Vec<ClassReport> = (0..k)
            .map(|c| ClassReport {
                label: labels.get(c).cloned().unwrap_or_else(|| c.to_string()),
                precision: ratio(at(c, c), predicted[c]),
                recall: ratio(at(c, c), gold[c]),
                f1: f1(at(c, c), predicted[c], gold[c]),
                support: gold[c],
            })
            .collect();
        Classification {
            rows,
            loss: self.loss / self.loss_rows.max(1) as f64,
            accuracy: ratio(right, rows),
            accuracy_interval: wilson(right, rows),
            macro_f1: per_class.iter().map(|c| c.f1).sum::<f64>() / k.max(1) as f64,
            matthews: matthews(right, known, &gold, &predicted),
            unknown_labels: self.unknown,
            per_class,
            confusion: (0..k).map(|g| (0..k).map(|p| at(g, p)).collect()).collect(),
        }
    }
}

fn matthews(right: usize, n: usize, gold: &[usize], predicted: &[usize]) -> f64 {
    let n = n as f64;
    let dot = |a: &[usize], b: &[usize]| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| a as f64 * b as f64).sum()
    };
    let covariance = right as f64 * n - dot(gold, predicted);
    let spread = (n * n - dot(predicted, predicted)) * (n * n - dot(gold, gold));
    if spread > 0.0 {
        covariance / spread.sqrt()
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn against_scikit_learn() {
        // y = [0,0,1,1,2,2,2], p = [0,1,1,1,2,0,2], by hand from the matrix, as sklearn defines them.
        let mut c = Confusion::new(3);
        for (g, p) in [(0, 0), (0, 1), (1, 1), (1, 1), (2, 2), (2, 0), (2, 2)] {
            c.add(Some(g), p, 0.5);
        }
        let m = c.finish(&["a".into(), "b".into(), "c".into()]);
        assert!((m.accuracy - 5.0 / 7.0).abs() < 1e-12);
        assert!((m.macro_f1 - (0.5 + 0.8 + 0.8) / 3.0).abs() < 1e-12);
        // (5·7 − (2·2 + 2·3 + 3·2)) / √((49 − (4 + 9 + 4))·(49 − (4 + 4 + 9)))
        assert!((m.matthews - 19.0 / 32.0).abs() < 1e-12, "{}", m.matthews);
        assert_eq!(m.loss, 0.5);
        assert_eq!(m.confusion[2], [1, 0, 2]);
    }

    #[test]
    fn unknown_labels_count_as_wrong() {
        let mut c = Confusion::new(2);
        c.add(Some(0), 0, 0.1);
        c.add(None, 1, 0.0);
        let m = c.finish(&["a".into(), "b".into()]);
        assert_eq!((m.rows, m.unknown_labels, m.accuracy), (2, 1, 0.5));
    }
}
