//! One label of several: accuracy, F1, Matthews, all from the confusion matrix.

use super::{f1, ratio, wilson};
use serde::{Deserialize, Serialize};

/// Counts by gold and predicted class; gold labels the model does not know have a row of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct Confusion {
    classes: usize,
    counts: Vec<usize>,
    /// Answers to rows whose gold label the model does not know, by class.
    strays: Vec<usize>,
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
    /// Mean F1 over the classes that occur, among gold labels or among answers (as scikit-learn has it by default). An
    /// answer to a row whose label the model does not know is a wrong one of its class.
    pub macro_f1: f64,
    /// Matthews correlation, multi-class (Gorodkin 2004); labels the model does not know are one class more.
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
            strays: vec![0; classes],
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
            None => self.strays[predicted] += 1,
        }
    }

    /// Sums up.
    pub fn finish(&self, labels: &[String]) -> Classification {
        let k = self.classes;
        let at = |g: usize, p: usize| self.counts[g * k + p];
        let gold: Vec<usize> = (0..k).map(|g| (0..k).map(|p| at(g, p)).sum()).collect();
        let unknown: usize = self.strays.iter().sum();
        let of = |p: usize| self.strays[p] + (0..k).map(|g| at(g, p)).sum::<usize>();
        let predicted: Vec<usize> = (0..k).map(of).collect();
        let right: usize = (0..k).map(|c| at(c, c)).sum();
        let rows = gold.iter().sum::<usize>() + unknown;
        let per_class: Vec<ClassReport> = (0..k)
            .map(|c| ClassReport {
                label: labels.get(c).cloned().unwrap_or_else(|| c.to_string()),
                precision: ratio(at(c, c), predicted[c]),
                recall: ratio(at(c, c), gold[c]),
                f1: f1(at(c, c), predicted[c], gold[c]),
                support: gold[c],
            })
            .collect();
        let occur = (0..k).filter(|&c| gold[c] + predicted[c] > 0);
        let f1s: Vec<f64> = occur.map(|c| per_class[c].f1).collect();
        // What nobody answers: the class of labels that are unknown.
        let (mut all_gold, mut all_predicted) = (gold, predicted);
        all_gold.push(unknown);
        all_predicted.push(0);
        Classification {
            rows,
            loss: self.loss / self.loss_rows.max(1) as f64,
            accuracy: ratio(right, rows),
            accuracy_interval: wilson(right, rows),
            macro_f1: f1s.iter().sum::<f64>() / f1s.len().max(1) as f64,
            matthews: matthews(right, rows, &all_gold, &all_predicted),
            unknown_labels: unknown,
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
        // gold = [0, 0, 1, ?, ?], answers = [0, 1, 1, 1, 0], by hand, ? a class of its own that is never the answer.
        let mut c = Confusion::new(2);
        for (gold, answer) in [
            (Some(0), 0),
            (Some(0), 1),
            (Some(1), 1),
            (None, 1),
            (None, 0),
        ] {
            c.add(gold, answer, 0.1);
        }
        let m = c.finish(&["a".into(), "b".into()]);
        assert_eq!(m.per_class[1].precision, 1.0 / 3.0);
        assert!(
            (m.macro_f1 - (0.5 + 0.5) / 2.0).abs() < 1e-12,
            "{}",
            m.macro_f1
        );
        // (2·5 − (2·2 + 1·3)) / √((25 − (4 + 9))·(25 − (4 + 1 + 4)))
        assert!(
            (m.matthews - 3.0 / 192f64.sqrt()).abs() < 1e-12,
            "{}",
            m.matthews
        );
    }

    #[test]
    fn classes_that_do_not_occur_are_no_part_of_macro_f1() {
        let mut c = Confusion::new(3);
        for (gold, answer) in [(0, 0), (0, 1), (1, 1)] {
            c.add(Some(gold), answer, 0.1);
        }
        let m = c.finish(&["a".into(), "b".into(), "c".into()]);
        assert!((m.macro_f1 - 2.0 / 3.0).abs() < 1e-12, "{}", m.macro_f1);
        assert_eq!(m.per_class.len(), 3);
    }
}
