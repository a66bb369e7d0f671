//! Any subset of labels: a label is given where its probability reaches the threshold, 0.5.

use super::{ClassReport, f1, ratio};
use serde::{Deserialize, Serialize};

/// Counts by label.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiLabelCounts {
    right: Vec<usize>,
    predicted: Vec<usize>,
    gold: Vec<usize>,
    unknown: usize,
    rows: usize,
    exact: usize,
    loss: f64,
}

/// What the counts say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MultiLabel {
    /// Rows read.
    pub rows: usize,
    /// Mean binary cross-entropy over rows and labels.
    pub loss: f64,
    /// F1 over all decisions together; labels that the model does not know are missed.
    pub micro_f1: f64,
    /// Mean F1 over labels.
    pub macro_f1: f64,
    /// Share of rows with every label right.
    pub subset_accuracy: f64,
    /// Probability from which a label is given.
    pub threshold: f64,
    /// One entry a label; none in a log of more than 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_class: Vec<ClassReport>,
}

/// Probability from which a label is given.
pub const THRESHOLD: f64 = 0.5;

/// Whether a label of this logit is given: its probability σ(z) reaches [`THRESHOLD`] exactly where z ≥ 0.
pub fn given(logit: f64) -> bool {
    logit >= 0.0
}

impl MultiLabelCounts {
    /// Nothing counted yet.
    pub fn new(labels: usize) -> Self {
        MultiLabelCounts {
            right: vec![0; labels],
            predicted: vec![0; labels],
            gold: vec![0; labels],
            unknown: 0,
            rows: 0,
            exact: 0,
            loss: 0.0,
        }
    }

    /// Counts a row by its logits: the classes that it has, and how many labels more, which the model does not know.
    pub fn add(&mut self, gold: &[u32], unknown: u32, logits: &[f64]) {
        let mut exact = unknown == 0;
        self.unknown += unknown as usize;
        let mut loss = 0.0;
        for (c, &z) in logits.iter().enumerate() {
            let is = gold.contains(&(c as u32));
            let said = given(z);
            exact &= is == said;
            self.gold[c] += usize::from(is);
            self.predicted[c] += usize::from(said);
            self.right[c] += usize::from(is && said);
            loss += z.max(0.0) - if is { z } else { 0.0 } + (-z.abs()).exp().ln_1p();
        }
        self.rows += 1;
        self.exact += usize::from(exact);
        self.loss += loss / logits.len().max(1) as f64;
    }

    /// Sums up.
    pub fn finish(&self, labels: &[String]) -> MultiLabel {
        let per_class: Vec<ClassReport> = labels
            .iter()
            .enumerate()
            .map(|(c, label)| ClassReport {
                label: label.clone(),
                precision: ratio(self.right[c], self.predicted[c]),
                recall: ratio(self.right[c], self.gold[c]),
                f1: f1(self.right[c], self.predicted[c], self.gold[c]),
                support: self.gold[c],
            })
            .collect();
        let sum = |x: &[usize]| x.iter().sum::<usize>();
        MultiLabel {
            rows: self.rows,
            loss: self.loss / self.rows.max(1) as f64,
            micro_f1: f1(
                sum(&self.right),
                sum(&self.predicted),
                sum(&self.gold) + self.unknown,
            ),
            macro_f1: per_class.iter().map(|c| c.f1).sum::<f64>() / labels.len().max(1) as f64,
            subset_accuracy: ratio(self.exact, self.rows),
            threshold: THRESHOLD,
            per_class,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_hand() {
        let mut m = MultiLabelCounts::new(2);
        m.add(&[0], 0, &[2.0, -1.0]);
        m.add(&[0, 1], 0, &[-0.5, 3.0]);
        m.add(&[], 0, &[1.0, -2.0]);
        let m = m.finish(&["a".into(), "b".into()]);
        // a: right 1, said 2, gold 2; b: right 1, said 1, gold 1.
        assert!((m.micro_f1 - 4.0 / 6.0).abs() < 1e-12);
        assert!((m.macro_f1 - (0.5 + 1.0) / 2.0).abs() < 1e-12);
        assert!((m.subset_accuracy - 1.0 / 3.0).abs() < 1e-12);
        let bce = |z: f64, t: f64| {
            let p = 1.0 / (1.0 + (-z).exp());
            -(t * p.ln() + (1.0 - t) * (1.0 - p).ln())
        };
        let want = (bce(2.0, 1.0)
            + bce(-1.0, 0.0)
            + bce(-0.5, 1.0)
            + bce(3.0, 1.0)
            + bce(1.0, 0.0)
            + bce(-2.0, 0.0))
            / 6.0;
        assert!((m.loss - want).abs() < 1e-12);
    }

    /// The sign of a logit says what its probability does, at the threshold too.
    #[test]
    fn a_label_is_given_from_the_threshold_on() {
        for z in [-30.0, -1e-3, -0.0, 0.0, 1e-3, 30.0] {
            assert_eq!(given(z), crate::sigmoid(z) >= THRESHOLD, "{z}");
        }
        assert!(!given(f64::NAN));
    }

    #[test]
    fn labels_that_the_model_does_not_know_are_missed() {
        let mut m = MultiLabelCounts::new(2);
        m.add(&[0], 2, &[2.0, -1.0]);
        m.add(&[1], 0, &[-1.0, 3.0]);
        let m = m.finish(&["a".into(), "b".into()]);
        // Right 2, said 2, four labels in all.
        assert!((m.micro_f1 - 4.0 / 6.0).abs() < 1e-12);
        assert_eq!(m.subset_accuracy, 0.5);
        assert_eq!(m.macro_f1, 1.0);
    }
}
