//! Rows whose label is probably wrong, from probabilities of models that did not see them: confident learning
//! (Northcutt, Jiang & Chuang 2021, "Confident learning: estimating uncertainty in dataset labels").
//!
//! What is found, and its order, are those of cleanlab 2.9's `find_label_issues(labels, probabilities,
//! filter_by="prune_by_noise_rate", return_indices_ranked_by=…)`; where scores are equal, the earlier row comes first.

use hone_train::argmax;
use hone_train::metrics::MOST_CLASSES;
use serde::Serialize;

/// Slack of comparisons, as cleanlab's.
const SLACK: f64 = 1e-6;

/// What is known of how given and true labels go together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConfidentJoint {
    /// Mean probability of each class over the rows that carry it: from here on a row counts as confidently of
    /// the class (equation 2 of the paper). 2 for a class that no row carries: nothing reaches it.
    pub thresholds: Vec<f64>,
    /// Estimated rows by given (outer) and true (inner) class; rows of the matrix sum to the given labels' counts. A matrix of
    /// more than 100 classes is not written.
    #[serde(skip_serializing_if = "of_many")]
    pub counts: Vec<Vec<usize>>,
    /// Rows that are confidently of another class than they carry.
    #[serde(skip)]
    pub off_diagonal: Vec<usize>,
}

fn of_many(matrix: &[Vec<usize>]) -> bool {
    matrix.len() > MOST_CLASSES
}

impl ConfidentJoint {
    /// Estimated share of rows with a wrong label.
    pub fn noise(&self) -> f64 {
        let rows: usize = self.counts.iter().flatten().sum();
        let right: usize = (0..self.counts.len()).map(|c| self.counts[c][c]).sum();
        (rows - right) as f64 / rows.max(1) as f64
    }
}

/// How suspects are ordered, the most suspicious first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RankBy {
    /// Probability of the label they carry.
    SelfConfidence,
    /// That minus the largest probability of another label, scaled to 0…1.
    NormalizedMargin,
}

impl RankBy {
    /// How well a row's label fits its probabilities: 1 is perfect.
    pub fn score(self, label: usize, probabilities: &[f64]) -> f64 {
        let own = probabilities[label];
        match self {
            RankBy::SelfConfidence => own,
            RankBy::NormalizedMargin => {
                let others = probabilities.iter().enumerate();
                let other = others
                    .filter(|(c, _)| *c != label)
                    .fold(f64::NEG_INFINITY, |m, (_, &p)| m.max(p));
                (own - other + 1.0) / 2.0
            }
        }
    }
}

/// The sum as numpy takes it (pairwise, in blocks of 128 with eight partial sums): counts that lie just between two
/// integers are then rounded as cleanlab rounds them.
fn sum(x: &[f64]) -> f64 {
    let n = x.len();
    if n < 8 {
        return x.iter().sum();
    }
    if n > 128 {
        let half = n / 2 - n / 2 % 8;
        return sum(&x[..half]) + sum(&x[half..]);
    }
    let (blocks, rest) = x.as_chunks::<8>();
    let mut r = [0.0; 8];
    for (i, block) in blocks.iter().enumerate() {
        for k in 0..8 {
            r[k] = if i == 0 { block[k] } else { r[k] + block[k] };
        }
    }
    let whole = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    rest.iter().fold(whole, |sum, x| sum + x)
}

/// Rounds so that the sum stays what it is, rounded.
fn round_keeping_sum(values: &[f64]) -> Vec<i64> {
    let mut rounded: Vec<i64> = values.iter().map(|x| x.round_ties_even() as i64).collect();
    let wanted = sum(values).round_ties_even() as i64;
    loop {
        let lack = wanted - rounded.iter().sum::<i64>();
        if lack == 0 {
            return rounded;
        }
        let rest = |i: usize| values[i] - rounded[i] as f64;
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| rest(a).total_cmp(&rest(b)));
        if lack > 0 {
            order.reverse();
        }
        order.truncate(lack.unsigned_abs() as usize);
        for i in order {
            rounded[i] += lack.signum();
        }
    }
}

/// A label and a probability of each class for each row.
fn check(labels: &[usize], probabilities: &[Vec<f64>], classes: usize) {
    assert_eq!(labels.len(), probabilities.len(), "a label for each row");
    for (row, (&label, p)) in labels.iter().zip(probabilities).enumerate() {
        assert_eq!(p.len(), classes, "row {row}: a probability for each class");
        assert!(
            label < classes,
            "row {row}: label {label} of {classes} classes"
        );
    }
}

/// Estimates the joint of given and true labels: confident counts, calibrated to the given labels' counts
/// (equations 1 to 3 of the paper). `probabilities[row]` has one entry a class.
///
/// # Panics
///
/// Where there is not a label for each row, rows have different numbers of classes, or a label is none of them.
pub fn confident_joint(labels: &[usize], probabilities: &[Vec<f64>]) -> ConfidentJoint {
    let classes = probabilities.first().map_or(0, Vec::len);
    check(labels, probabilities, classes);
    let mut given = vec![0usize; classes];
    let mut own = vec![Vec::new(); classes];
    for (&label, p) in labels.iter().zip(probabilities) {
        given[label] += 1;
        own[label].push(p[label]);
    }
    let thresholds: Vec<f64> = (0..classes)
        .map(|c| match given[c] {
            0 => 2.0,
            n => (sum(&own[c]) / n as f64).max(2.0 * SLACK),
        })
        .collect();
    let mut counts = vec![vec![0usize; classes]; classes];
    let mut off_diagonal = Vec::new();
    for (row, (&label, p)) in labels.iter().zip(probabilities).enumerate() {
        let mut reached = (0..classes).filter(|&c| p[c] >= thresholds[c] - SLACK);
        let guess = match (reached.next(), reached.next()) {
            (None, _) => continue,
            (Some(only), None) => only,
            (Some(_), Some(_)) => argmax(p),
        };
        counts[label][guess] += 1;
        if guess != label {
            off_diagonal.push(row);
        }
    }
    for (c, row) in counts.iter_mut().enumerate() {
        row[c] = row[c].max(1);
    }
    let scaled: Vec<Vec<f64>> = counts
        .iter()
        .zip(&given)
        .map(|(row, &n)| {
            let total = row.iter().sum::<usize>() as f64;
            row.iter().map(|&x| x as f64 / total * n as f64).collect()
        })
        .collect();
    let total = sum(&scaled.concat());
    let rows = labels.len() as f64;
    let counts = scaled
        .iter()
        .map(|row| {
            let row: Vec<f64> = row.iter().map(|x| x / total * rows).collect();
            let whole = round_keeping_sum(&row);
            whole.into_iter().map(|x| x.max(0) as usize).collect()
        })
        .collect();
    ConfidentJoint {
        thresholds,
        counts,
        off_diagonal,
    }
}

/// Rows whose label is probably wrong, the most suspicious first.
///
/// Of the rows labelled k, as many as the joint says are truly j are taken where p(j) − p(k) is largest ("prune
/// by noise rate"); rows whose own label is the most probable one are then let go.
///
/// # Panics
///
/// As [`confident_joint`], of whose classes rows must be.
pub fn suspects(
    labels: &[usize],
    probabilities: &[Vec<f64>],
    joint: &ConfidentJoint,
    rank: RankBy,
) -> Vec<usize> {
    let classes = joint.counts.len();
    check(labels, probabilities, classes);
    let mut found = vec![false; labels.len()];
    for given in 0..classes {
        let rows: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] == given).collect();
        // The last row of a class stays.
        if rows.len() <= 1 {
            continue;
        }
        let spare = usize::from(joint.counts[given][given] == 0);
        for truly in (0..classes).filter(|&c| c != given) {
            let most = joint.counts[given][truly].saturating_sub(spare);
            let margin = |i: usize| probabilities[i][truly] - probabilities[i][given];
            let mut order = rows.clone();
            order.sort_by(|&a, &b| margin(b).total_cmp(&margin(a)));
            order.iter().take(most).for_each(|&i| found[i] = true);
        }
    }
    let fits = |i: usize| {
        let mut p = probabilities[i].clone();
        p[labels[i]] += SLACK;
        argmax(&p) == labels[i]
    };
    let score = |i: usize| rank.score(labels[i], &probabilities[i]);
    let mut all: Vec<usize> = (0..labels.len())
        .filter(|&i| found[i] && !fits(i))
        .collect();
    all.sort_by(|&a, &b| score(a).total_cmp(&score(b)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By cleanlab 2.9 on the same probabilities (`xtask/python/crossval_fixtures.py suspects`).
    #[test]
    fn issues_and_their_order_are_cleanlabs() {
        #[derive(serde::Deserialize)]
        struct Issues {
            self_confidence: Vec<usize>,
            normalized_margin: Vec<usize>,
        }
        #[derive(serde::Deserialize)]
        struct Case {
            labels: Vec<usize>,
            probabilities: Vec<Vec<f64>>,
            thresholds: Vec<f64>,
            joint: Vec<Vec<usize>>,
            off_diagonal: Vec<usize>,
            issues: Issues,
        }
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../fixtures/suspects.json")).unwrap();
        assert_eq!(cases.len(), 7);
        for case in cases {
            let joint = confident_joint(&case.labels, &case.probabilities);
            for (got, want) in joint.thresholds.iter().zip(&case.thresholds) {
                assert!((got - want).abs() < 1e-12, "{got} {want}");
            }
            assert_eq!(joint.counts, case.joint);
            assert_eq!(joint.off_diagonal, case.off_diagonal);
            for (rank, want) in [
                (RankBy::SelfConfidence, &case.issues.self_confidence),
                (RankBy::NormalizedMargin, &case.issues.normalized_margin),
            ] {
                let got = suspects(&case.labels, &case.probabilities, &joint, rank);
                assert_eq!(&got, want, "{rank:?}");
            }
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let two = || vec![vec![0.5, 0.5]; 2];
        for (labels, probabilities, says) in [
            (&[0][..], two(), "a label for each row"),
            (&[0, 2], two(), "row 1: label 2 of 2 classes"),
            (
                &[0, 1],
                vec![vec![0.5, 0.5], vec![1.0]],
                "row 1: a probability for each class",
            ),
        ] {
            let good = confident_joint(&[0, 1], &two());
            let rank = RankBy::SelfConfidence;
            let panics = [
                std::panic::catch_unwind(|| drop(confident_joint(labels, &probabilities))),
                std::panic::catch_unwind(|| drop(suspects(labels, &probabilities, &good, rank))),
            ];
            for panic in panics {
                let said = panic.unwrap_err();
                let said = said.downcast_ref::<String>().unwrap();
                assert!(said.contains(says), "{said}");
            }
        }
    }

    /// What grows with the square of the classes is not written of many.
    #[test]
    fn the_joint_of_many_classes_is_not_written() {
        for (classes, written) in [(100, true), (101, false)] {
            let labels: Vec<usize> = (0..classes).collect();
            let certain = |own: &usize| {
                (0..classes)
                    .map(|c| f64::from(u8::from(c == *own)))
                    .collect()
            };
            let probabilities: Vec<Vec<f64>> = labels.iter().map(certain).collect();
            let joint = confident_joint(&labels, &probabilities);
            let json = serde_json::to_value(&joint).unwrap();
            assert_eq!(json.get("counts").is_some(), written, "{classes}");
            assert_eq!(json["thresholds"].as_array().unwrap().len(), classes);
        }
    }

    #[test]
    fn noise_and_fit_by_hand() {
        let joint = |counts: Vec<Vec<usize>>| ConfidentJoint {
            thresholds: Vec::new(),
            counts,
            off_diagonal: Vec::new(),
        };
        assert_eq!(joint(vec![vec![8, 2], vec![1, 9]]).noise(), 0.15);
        assert_eq!(joint(Vec::new()).noise(), 0.0);
        let p = [0.7, 0.2, 0.1];
        for (label, own, margin) in [(0, 0.7, 0.75), (1, 0.2, 0.25), (2, 0.1, 0.2)] {
            assert_eq!(RankBy::SelfConfidence.score(label, &p), own);
            let got = RankBy::NormalizedMargin.score(label, &p);
            assert!((got - margin).abs() < 1e-12, "{label}: {got}");
        }
    }

    /// numpy's sums of 1/1 … 1/n, bit for bit: one after the other 300 of them are 6.282663880299502.
    #[test]
    fn sums_are_numpys() {
        let x: Vec<f64> = (1..=300).map(|i| 1.0 / f64::from(i)).collect();
        for (n, want) in [
            (7, 2.592_857_142_857_142_5),
            (100, 5.187_377_517_639_621),
            (300, 6.282_663_880_299_504),
        ] {
            assert_eq!(sum(&x[..n]), want);
        }
    }

    #[test]
    fn rounding_keeps_the_sum() {
        for (values, want) in [
            (&[0.5, 0.5, 1.0][..], vec![1, 0, 1]),
            (&[1.4, 1.4, 1.2], vec![1, 2, 1]),
            (&[2.6, 2.6, 0.8], vec![3, 2, 1]),
        ] {
            let got = round_keeping_sum(values);
            assert_eq!(got.iter().sum::<i64>(), want.iter().sum::<i64>(), "{got:?}");
        }
    }
}
