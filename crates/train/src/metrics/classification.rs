//! One label of several: accuracy, F1, Matthews, all from what the confusion matrix adds up to.

use super::{MOST_CLASSES, f1, ratio, wilson};
use serde::{Deserialize, Serialize};

/// Counts by gold and predicted class.
#[derive(Debug, Clone, PartialEq)]
pub struct Confusion {
    /// Rows of each gold class, answers of each class, and those of them that are right.
    gold: Vec<usize>,
    predicted: Vec<usize>,
    right: Vec<usize>,
    /// Rows whose gold label the model does not know.
    unknown: usize,
    /// Rows by gold (outer) and predicted (inner) class, where there are few.
    pairs: Option<Vec<Vec<usize>>>,
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
    /// One entry a class; none in a log of more than 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_class: Vec<ClassReport>,
    /// Rows by gold (outer) and predicted (inner) class; none of more than 100 classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Vec<Vec<usize>>>,
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
            gold: vec![0; classes],
            predicted: vec![0; classes],
            right: vec![0; classes],
            unknown: 0,
            pairs: (classes <= MOST_CLASSES).then(|| vec![vec![0; classes]; classes]),
            loss: 0.0,
            loss_rows: 0,
        }
    }

    /// Counts a row; `loss` is its cross-entropy where the label is known.
    pub fn add(&mut self, gold: Option<usize>, predicted: usize, loss: f64) {
        self.predicted[predicted] += 1;
        let Some(gold) = gold else {
            self.unknown += 1;
            return;
        };
        self.gold[gold] += 1;
        self.right[gold] += usize::from(gold == predicted);
        if let Some(pairs) = &mut self.pairs {
            pairs[gold][predicted] += 1;
        }
        self.loss += loss;
        self.loss_rows += 1;
    }

    /// Sums up.
    pub fn finish(&self, labels: &[String]) -> Classification {
        let k = self.gold.len();
        let (gold, predicted, unknown) = (&self.gold, &self.predicted, self.unknown);
        let right: usize = self.right.iter().sum();
        let rows = gold.iter().sum::<usize>() + unknown;
        let per_class: Vec<ClassReport> = (0..k)
            .map(|c| ClassReport {
                label: labels.get(c).cloned().unwrap_or_else(|| c.to_string()),
                precision: ratio(self.right[c], predicted[c]),
                recall: ratio(self.right[c], gold[c]),
                f1: f1(self.right[c], predicted[c], gold[c]),
                support: gold[c],
            })
            .collect();
        let occur = (0..k).filter(|&c| gold[c] + predicted[c] > 0);
        let f1s: Vec<f64> = occur.map(|c| per_class[c].f1).collect();
        // What nobody answers: the class of labels that are unknown.
        let (mut all_gold, mut all_predicted) = (gold.clone(), predicted.clone());
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
            confusion: self.pairs.clone(),
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
    use crate::metrics::Metrics;

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
        assert_eq!(m.confusion.unwrap()[2], [1, 0, 2]);
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

    /// scikit-learn: macro F1 is over what occurs on either side; Matthews' correlation is 0 where one side does not vary.
    #[test]
    fn classes_that_are_never_answered_or_never_meant() {
        for (gold, answers) in [([0, 1], [0, 0]), ([0, 0], [0, 1])] {
            let mut c = Confusion::new(2);
            for (gold, answer) in gold.into_iter().zip(answers) {
                c.add(Some(gold), answer, 0.1);
            }
            let m = c.finish(&[]);
            assert!((m.macro_f1 - (2.0 / 3.0 + 0.0) / 2.0).abs() < 1e-12);
            assert_eq!(m.matthews, 0.0);
        }
    }

    /// A hundred thousand classes take what as many counts take; a matrix of them would be 80 GB.
    #[test]
    fn many_classes_have_figures_and_no_matrix() {
        for (classes, shown) in [(100, true), (101, false), (100_000, false)] {
            let mut c = Confusion::new(classes);
            for (gold, answer) in [(0, 0), (0, 99), (99, 99), (99, 99)] {
                c.add(Some(gold), answer, 0.1);
            }
            let m = c.finish(&[]);
            assert_eq!(m.confusion.is_some(), shown, "{classes}");
            assert_eq!(m.accuracy, 0.75);
            assert!((m.macro_f1 - (2.0 / 3.0 + 0.8) / 2.0).abs() < 1e-12);
            let written = |m: &Metrics| serde_json::to_value(m).unwrap();
            let (whole, of_log) = (
                Metrics::Classification(m.clone()),
                Metrics::Classification(m).brief(),
            );
            assert_eq!(written(&whole).get("confusion").is_some(), shown);
            // A log leaves out the list of many classes, and nothing else.
            let mut less = written(&whole);
            assert!(less.get("per_class").is_some());
            if !shown {
                less.as_object_mut().unwrap().remove("per_class");
            }
            assert_eq!(written(&of_log), less, "{classes}");
            assert_eq!(serde_json::from_value::<Metrics>(less).unwrap(), of_log);
        }
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
