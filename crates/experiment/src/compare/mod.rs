//! Two models on the same labelled rows: does one do better, and on which rows do they differ.
//!
//! Rows that are right or wrong as a whole (the class; every label of a set; every tag of a text) are compared by
//! McNemar's test and Tango's interval; what is no share of rows (Pearson, micro-F1, entity F1) by a paired
//! bootstrap over rows.

mod answers;
mod paired;

pub(crate) use answers::answers_of;
pub use answers::{Answer, Answers, answers};
pub(crate) use paired::bootstrap;
pub use paired::{PairedMetric, PairedShares};

use hone_bert::Task;
use hone_train::metrics::Metrics;
use serde::Serialize;

/// How a row changed from the first model to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Wrong, then right (for values: nearer).
    Better,
    /// Right, then wrong (for values: farther).
    Worse,
    /// Wrong in another way (for values: as far on the other side).
    Other,
}

impl Change {
    /// As files say it.
    pub fn name(self) -> &'static str {
        match self {
            Change::Better => "better",
            Change::Worse => "worse",
            Change::Other => "other",
        }
    }
}

/// The comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Rows compared.
    pub rows: usize,
    /// Rows that are right as a whole; absent for values.
    pub shares: Option<PairedShares>,
    /// The task's other metric by bootstrap; absent for classes.
    pub metric: Option<PairedMetric>,
    /// The first model's metrics.
    pub a: Metrics,
    /// The second's.
    pub b: Metrics,
    /// Rows whose answer changed, by their place: the better ones, the worse ones, then the others; values by how
    /// much their error changed.
    #[serde(skip)]
    pub changed: Vec<(usize, Change)>,
}

/// Compares two models' answers to the same rows. `seed` is the bootstrap's.
///
/// # Panics
///
/// Where they are not answers to equally many rows.
pub fn compare(task: Task, a: &Answers, b: &Answers, seed: u64) -> Comparison {
    let n = a.rows.len();
    assert_eq!(n, b.rows.len(), "answers of both models to the same rows");
    let right = |x: &Answers| -> Vec<bool> { x.rows.iter().map(|r| r.right).collect() };
    let part = |model: usize, row: u32| match model {
        0 => a.rows[row as usize].parts,
        _ => b.rows[row as usize].parts,
    };
    let f1 = |model: usize, rows: &[u32]| {
        let (mut right, mut both) = (0.0, 0.0);
        for &row in rows {
            let [r, said, truth] = part(model, row);
            right += r;
            both += said + truth;
        }
        if both > 0.0 { 2.0 * right / both } else { 0.0 }
    };
    let pearson = |model: usize, rows: &[u32]| {
        let n = rows.len().max(1) as f64;
        let (mut x, mut y) = (0.0, 0.0);
        for &row in rows {
            let [value, truth, _] = part(model, row);
            x += value / n;
            y += truth / n;
        }
        let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
        for &row in rows {
            let [value, truth, _] = part(model, row);
            let (dx, dy) = (value - x, truth - y);
            xy += dx * dy;
            xx += dx * dx;
            yy += dy * dy;
        }
        if xx > 0.0 && yy > 0.0 {
            xy / (xx * yy).sqrt()
        } else {
            0.0
        }
    };
    let metric = match task {
        Task::Classify | Task::Mask => None,
        Task::MultiLabel => Some(PairedMetric::of("micro_f1", n, seed, f1)),
        Task::Tag => Some(PairedMetric::of("entity_f1", n, seed, f1)),
        Task::Regress => Some(PairedMetric::of("pearson", n, seed, pearson)),
    };
    let mut changed: Vec<(usize, Change)> = (0..n)
        .filter(|&i| a.rows[i].said != b.rows[i].said)
        .map(|i| {
            let (x, y) = (&a.rows[i], &b.rows[i]);
            let change = match task {
                Task::Regress if y.error < x.error => Change::Better,
                Task::Regress if y.error > x.error => Change::Worse,
                _ if y.right && !x.right => Change::Better,
                _ if x.right && !y.right => Change::Worse,
                _ => Change::Other,
            };
            (i, change)
        })
        .collect();
    let by = |i: usize| (a.rows[i].error - b.rows[i].error).abs();
    changed.sort_by(|x, y| {
        let far = by(y.0).total_cmp(&by(x.0));
        x.1.cmp(&y.1).then(far).then(x.0.cmp(&y.0))
    });
    Comparison {
        rows: n,
        shares: (task != Task::Regress).then(|| PairedShares::of(&right(a), &right(b))),
        metric,
        a: a.metrics.clone(),
        b: b.metrics.clone(),
        changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held_out::RowLogits;
    use hone_train::{Examples, Targets};

    /// Answers to rows of these targets, a logit for each label (of tags for each label of each word).
    fn answered(task: Task, labels: &[&str], targets: &Targets, logits: &[&[f64]]) -> Answers {
        let mut examples = Examples::new(task);
        for (row, own) in logits.iter().enumerate() {
            let pieces = match task {
                // A piece a word, between [CLS] and [SEP].
                Task::Tag => vec![1; own.len() / labels.len() + 2],
                _ => vec![1],
            };
            examples.push(row as u64, row + 2, &pieces, &vec![0; pieces.len()]);
        }
        examples.targets = targets.clone();
        let labels: Vec<String> = labels.iter().map(|l| (*l).to_owned()).collect();
        let rows = logits.iter().zip(0..);
        let kept: Vec<RowLogits> = rows
            .map(|(own, row)| RowLogits {
                row,
                logits: own.to_vec(),
            })
            .collect();
        answers_of(task, &labels, &examples, &kept).unwrap()
    }

    /// What two models answer, compared.
    fn compared(
        task: Task,
        labels: &[&str],
        targets: &Targets,
        logits: [&[&[f64]]; 2],
    ) -> Comparison {
        let [a, b] = logits.map(|logits| answered(task, labels, targets, logits));
        compare(task, &a, &b, 1)
    }

    /// The metric by the bootstrap is that of the scorer, and this.
    fn metric(found: &Comparison, name: &str, a: f64, b: f64) {
        let metric = found.metric.as_ref().unwrap();
        assert_eq!(metric.metric, name);
        for (got, scored, want) in [(metric.a, &found.a, a), (metric.b, &found.b, b)] {
            assert!((got - want).abs() < 1e-12, "{metric:?}, {want}");
            assert!(
                (scored.value(name).unwrap() - want).abs() < 1e-6,
                "{scored:?}"
            );
        }
        assert!((metric.difference - (b - a)).abs() < 1e-12, "{metric:?}");
        // Nobody knows anything of a few rows.
        assert_eq!(metric.interval, None);
    }

    #[test]
    fn answers_that_do_not_vary_have_no_metric() {
        let (same, none): (&[f64], &[f64]) = (&[1.5], &[-1.0]);
        for (truth, b) in [([1.0, 2.0, 4.0], 1.0), ([2.0; 3], 0.0)] {
            let found = compared(
                Task::Regress,
                &["value"],
                &Targets::Values(truth.to_vec()),
                [&[same; 3], &[&[1.0], &[2.0], &[4.0]]],
            );
            metric(&found, "pearson", 0.0, b);
        }
        let nothing = Targets::sets(vec![Vec::new(); 2]);
        let found = compared(Task::MultiLabel, &["a"], &nothing, [&[none; 2], &[none; 2]]);
        metric(&found, "micro_f1", 0.0, 0.0);
    }

    /// By a quarter, far from the true value, and by 1, near it.
    #[test]
    fn values_come_by_how_much_their_error_changed() {
        let found = compared(
            Task::Regress,
            &["value"],
            &Targets::Values(vec![0.0; 2]),
            [&[&[5.0], &[1.0]], &[&[4.75], &[0.0]]],
        );
        assert_eq!(found.changed, [(1, Change::Better), (0, Change::Better)]);
    }

    #[test]
    fn classes_by_hand() {
        let targets = Targets::Classes([0, 1, 0, 1].map(Some).into());
        let (zero, one): (&[f64], &[f64]) = (&[1.0, 0.0], &[0.0, 1.0]);
        let found = compared(
            Task::Classify,
            &["n", "p"],
            &targets,
            [&[zero, zero, zero, one], &[zero, one, one, one]],
        );
        assert!(found.metric.is_none());
        let shares = found.shares.unwrap();
        let counts = (shares.both, shares.only_a, shares.only_b, shares.neither);
        assert_eq!(counts, (2, 1, 1, 0));
        assert_eq!(found.changed, [(1, Change::Better), (2, Change::Worse)]);
    }

    #[test]
    fn sets_of_labels_by_hand() {
        let targets = Targets::sets(vec![vec![0], vec![0, 1], vec![], vec![1]]);
        let [none, a, b, ab]: [&[f64]; 4] =
            [&[-1.0, -1.0], &[1.0, -1.0], &[-1.0, 1.0], &[1.0, 1.0]];
        let found = compared(
            Task::MultiLabel,
            &["a", "b"],
            &targets,
            [&[a, a, b, none], &[ab, ab, a, none]],
        );
        // Right, said and true labels: 2, 3 and 4; 3, 5 and 4.
        metric(&found, "micro_f1", 4.0 / 7.0, 6.0 / 9.0);
        let shares = found.shares.as_ref().unwrap();
        let counts = (shares.both, shares.only_a, shares.only_b, shares.neither);
        assert_eq!(counts, (0, 1, 1, 2));
        let want = [(1, Change::Better), (0, Change::Worse), (2, Change::Other)];
        assert_eq!(found.changed, want);
    }

    #[test]
    fn tags_by_hand() {
        const LABELS: [&str; 3] = ["O", "B-x", "I-x"];
        // Logits of words with these tags.
        let say = |tags: &[usize]| -> Vec<f64> {
            let one = |&tag: &usize| (0..3).map(move |t| if t == tag { 1.0 } else { 0.0 });
            tags.iter().flat_map(one).collect()
        };
        let words: Vec<Vec<Option<u32>>> = [&[1, 2, 0][..], &[1, 1], &[0, 0]]
            .map(|tags| tags.iter().map(|&t| Some(t)).collect())
            .into();
        let targets = Targets::Tags {
            tokens: Vec::new(),
            first_pieces: words
                .iter()
                .map(|w| (1..=w.len() as u32).map(Some).collect())
                .collect(),
            words,
            unknown: Vec::new(),
        };
        let both = [
            [say(&[1, 0, 0]), say(&[1, 1]), say(&[0, 0])],
            [say(&[1, 2, 0]), say(&[1, 2]), say(&[0, 0])],
        ];
        let [a, b] = both
            .each_ref()
            .map(|rows| rows.each_ref().map(|row| &row[..]));
        let found = compared(Task::Tag, &LABELS, &targets, [&a, &b]);
        // Three true entities. The first says three, its first one too short; the second makes one of the other two.
        metric(&found, "entity_f1", 2.0 * 2.0 / 6.0, 2.0 * 1.0 / 5.0);
        assert_eq!(found.changed, [(0, Change::Better), (1, Change::Worse)]);
    }

    #[test]
    fn values_by_hand() {
        let targets = Targets::Values(vec![1.0, 2.0, 3.0, 4.0]);
        let found = compared(
            Task::Regress,
            &["value"],
            &targets,
            [
                &[&[1.0], &[3.0], &[2.0], &[4.0]],
                &[&[1.25], &[2.0], &[4.0], &[2.0]],
            ],
        );
        // Deviations of the true values −1.5, −0.5, 0.5, 1.5, their squares' sum 5. The first says −1.5, 0.5, −0.5, 1.5 from
        // its mean: 4 of 5. The second's mean is 2.3125.
        let said = [1.25, 2.0, 4.0, 2.0].map(|x: f64| x - 2.3125);
        let xy = -1.5 * said[0] - 0.5 * said[1] + 0.5 * said[2] + 1.5 * said[3];
        let xx: f64 = said.iter().map(|x| x * x).sum();
        metric(&found, "pearson", 0.8, xy / (xx * 5.0).sqrt());
        // Squared errors 0, 1, 1, 0 and 1/16, 0, 1, 4.
        let errors = [&found.a, &found.b].map(|m| m.value("rmse").unwrap());
        assert!((errors[0] - 0.5f64.sqrt()).abs() < 1e-12, "{errors:?}");
        assert!(
            (errors[1] - (5.0625f64 / 4.0).sqrt()).abs() < 1e-12,
            "{errors:?}"
        );
        assert!(found.shares.is_none());
        // 1 nearer; 2 and ¼ farther, the most first; as far on the other side.
        let want = [
            (1, Change::Better),
            (3, Change::Worse),
            (0, Change::Worse),
            (2, Change::Other),
        ];
        assert_eq!(found.changed, want);
    }

    #[test]
    #[should_panic(expected = "answers of both models to the same rows")]
    fn answers_to_other_rows_are_refused() {
        let of = |values: &[f32], logits: &[&[f64]]| {
            answered(
                Task::Regress,
                &["value"],
                &Targets::Values(values.to_vec()),
                logits,
            )
        };
        let a = of(&[1.0, 2.0], &[&[1.0], &[2.0]]);
        let b = of(&[1.0], &[&[1.0]]);
        compare(Task::Regress, &a, &b, 1);
    }
}
