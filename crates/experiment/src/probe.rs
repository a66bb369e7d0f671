//! Does this model fit this task? A linear probe on frozen features beside the majority class and TF-IDF, before
//! anything is trained.
//!
//! All are judged out of fold, on the same rows and folds. The probe's penalty is chosen within the first fold's
//! training rows; TF-IDF keeps the strength that suits its short vectors ([`TfIdf`]). Accuracies of folds share
//! training rows, so intervals are those of rows, not of training sets.

use crate::{Logistic, TfIdf};
use hone_data::{DataError, folds};
use hone_train::metrics::wilson;
use hone_train::{Features, argmax};
use serde::Serialize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Folds of the cross-validation.
pub const FOLDS: usize = 5;
/// Inverse penalties among which the probe's is chosen, on a part of the first fold's training rows.
pub const PENALTIES: [f64; 4] = [1e-3, 1e-2, 1e-1, 1.0];
/// Half the width of a 95 % interval in standard errors.
const Z: f64 = 1.959_963_984_540_054;

/// Labelled texts and their frozen features.
pub struct Probe<'a> {
    /// The texts; those of a pair joined.
    pub texts: &'a [String],
    /// Class of each.
    pub labels: &'a [usize],
    /// Names of the classes.
    pub classes: &'a [String],
    /// Rows that share a key are never on both sides of a fold.
    pub keys: &'a [Vec<String>],
    /// Features and what they are called, the mean over tokens first.
    pub features: &'a [(&'static str, &'a Features)],
    /// Seed of the folds.
    pub seed: u64,
}

/// One way of telling the classes apart, judged on rows it did not learn from.
#[derive(Debug, Clone, Serialize)]
pub struct ProbeLine {
    /// What it is.
    pub name: String,
    /// Share of rows it got right, out of fold.
    pub accuracy: f64,
    /// Its 95 % interval (Wilson).
    pub interval: [f64; 2],
    /// Mean of the classes' F1.
    pub macro_f1: f64,
    /// Seconds to fit and to judge, features not counted.
    pub seconds: f64,
}

/// What the comparison says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The features say more than words.
    Fits,
    /// They say less.
    TaskMismatch,
    /// No difference could be shown on these rows.
    NoDifferenceShown,
    /// Neither features nor words could be shown to beat the majority class.
    NothingLearnt,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct ProbeReport {
    /// Rows it was measured on.
    pub rows: usize,
    /// Folds.
    pub folds: usize,
    /// The probe's inverse penalty.
    pub penalty: f64,
    /// Majority class, TF-IDF, then a probe for each kind of features.
    pub lines: Vec<ProbeLine>,
    /// Accuracy of the first probe minus that of TF-IDF, on the same rows.
    pub difference: f64,
    /// Its 95 % interval (paired; Bonett & Price 2012).
    pub difference_interval: [f64; 2],
    /// What that says.
    pub verdict: Verdict,
}

/// 95 % interval of the difference of two paired shares, where the first alone is right `b` times and the second
/// alone `c` times of `n` (Bonett & Price 2012, "Adjusted Wald confidence interval for a difference of binomial
/// proportions based on paired data").
pub fn paired_interval(b: usize, c: usize, n: usize) -> [f64; 2] {
    let total = n as f64 + 2.0;
    let (p, q) = ((b as f64 + 1.0) / total, (c as f64 + 1.0) / total);
    let error = ((p + q - (p - q) * (p - q)) / total).sqrt();
    [p - q - Z * error, p - q + Z * error]
}

impl Probe<'_> {
    /// Cross-validates all contenders on the same folds. Needs at least two classes and [`FOLDS`] rows.
    /// `progress` hears the share of the work done.
    pub fn run(
        &self,
        threads: usize,
        mut progress: impl FnMut(f64),
    ) -> Result<ProbeReport, DataError> {
        let classes: Vec<Vec<u32>> = self.labels.iter().map(|&l| vec![l as u32]).collect();
        let parts = folds(self.keys, &classes, FOLDS, self.seed)?;
        let contenders = 2 + self.features.len();
        let steps = (PENALTIES.len() + FOLDS * contenders) as f64;
        let mut done = 0.0;
        let mut step = || {
            done += 1.0;
            progress((done / steps).min(1.0));
        };
        let penalty = self.choose(&rest(&parts, 0), &parts, &mut step);
        // The longest begin first.
        let order: Vec<usize> = (1..contenders).chain([0]).collect();
        let (said, seconds) = self.out_of_fold(&order, &parts, penalty, threads, &mut step);
        Ok(self.report(&said, &seconds, penalty))
    }

    /// What the first features alone say of every row, out of fold, and the penalty they chose; in the folds of
    /// [`Probe::run`]. Reads no texts.
    pub fn answers(
        &self,
        threads: usize,
        mut progress: impl FnMut(f64),
    ) -> Result<(Vec<usize>, f64), DataError> {
        let classes: Vec<Vec<u32>> = self.labels.iter().map(|&l| vec![l as u32]).collect();
        let parts = folds(self.keys, &classes, FOLDS, self.seed)?;
        let steps = (PENALTIES.len() + FOLDS) as f64;
        let mut done = 0.0;
        let mut step = || {
            done += 1.0;
            progress(done / steps);
        };
        let penalty = self.choose(&rest(&parts, 0), &parts, &mut step);
        let (mut said, _) = self.out_of_fold(&[2], &parts, penalty, threads, &mut step);
        Ok((said.swap_remove(2), penalty))
    }

    /// What the listed contenders say of every row, each taught by the folds that the row is not in, and the seconds
    /// each took; by contender.
    fn out_of_fold(
        &self,
        contenders: &[usize],
        parts: &[Vec<u32>],
        penalty: f64,
        threads: usize,
        step: &mut impl FnMut(),
    ) -> (Vec<Vec<usize>>, Vec<f64>) {
        let count = 2 + self.features.len();
        let mut said: Vec<Vec<usize>> = vec![vec![0; self.labels.len()]; count];
        let mut seconds = vec![0.0; count];
        // Each job writes what nobody else does, so that threads change nothing.
        let jobs: Vec<(usize, usize)> = contenders
            .iter()
            .flat_map(|&k| (0..FOLDS).map(move |held| (k, held)))
            .collect();
        let next = AtomicUsize::new(0);
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, jobs.len().max(1)) {
                let (send, next, jobs) = (send.clone(), &next, &jobs);
                scope.spawn(move || {
                    while let Some(&(k, held)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let started = Instant::now();
                        let answers = self.judge(k, &rest(parts, held), &parts[held], penalty);
                        let spent = started.elapsed().as_secs_f64();
                        // Nobody listens any more only where the other side is gone.
                        let _ = send.send((k, held, answers, spent));
                    }
                });
            }
            drop(send);
            for (k, held, answers, spent) in receive {
                for (&r, answer) in parts[held].iter().zip(answers) {
                    said[k][r as usize] = answer;
                }
                seconds[k] += spent;
                step();
            }
        });
        (said, seconds)
    }

    /// What contender `k`, taught by `train`, says of `held`.
    fn judge(&self, k: usize, train: &[u32], held: &[u32], penalty: f64) -> Vec<usize> {
        let classes = self.classes.len();
        let held = held.iter().map(|&r| r as usize);
        match k {
            0 => {
                let mut counts = vec![0.0; classes];
                train
                    .iter()
                    .for_each(|&r| counts[self.labels[r as usize]] += 1.0);
                let usual = argmax(&counts);
                held.map(|_| usual).collect()
            }
            1 => {
                let own = train.iter().map(|&r| r as usize);
                let texts: Vec<&str> = own.clone().map(|r| self.texts[r].as_str()).collect();
                let labels: Vec<usize> = own.map(|r| self.labels[r]).collect();
                let model = TfIdf::fit(&texts, &labels, classes);
                held.map(|r| model.predict(&self.texts[r])).collect()
            }
            _ => {
                let features = self.features[k - 2].1;
                let model = Logistic::fit(features, train, self.labels, classes, penalty);
                held.map(|r| model.predict(features.row(r))).collect()
            }
        }
    }

    /// The penalty that does best on a fifth of the rows, fitted on the others.
    fn choose(&self, rows: &[u32], parts: &[Vec<u32>], step: &mut impl FnMut()) -> f64 {
        let Some((_, features)) = self.features.first() else {
            return PENALTIES[0];
        };
        let held = &parts[parts.len() - 1];
        let fit: Vec<u32> = rows
            .iter()
            .copied()
            .filter(|r| held.binary_search(r).is_err())
            .collect();
        let right = |c: f64| {
            let model = Logistic::fit(features, &fit, self.labels, self.classes.len(), c);
            let held = held.iter().map(|&r| r as usize);
            held.filter(|&r| model.predict(features.row(r)) == self.labels[r])
                .count()
        };
        let mut best = (0, PENALTIES[0]);
        for c in PENALTIES {
            let n = right(c);
            // Of equally good ones the strongest penalty.
            if n > best.0 {
                best = (n, c);
            }
            step();
        }
        best.1
    }

    fn report(&self, said: &[Vec<usize>], seconds: &[f64], penalty: f64) -> ProbeReport {
        let n = self.labels.len();
        let right = |k: usize, r: usize| said[k][r] == self.labels[r];
        let count = |k: usize| (0..n).filter(|&r| right(k, r)).count();
        let mut names = vec![
            "majority class".to_owned(),
            "TF-IDF, logistic regression".to_owned(),
        ];
        names.extend(
            self.features
                .iter()
                .map(|(name, _)| format!("frozen features ({name}), logistic regression")),
        );
        let lines = names
            .into_iter()
            .enumerate()
            .map(|(k, name)| ProbeLine {
                name,
                accuracy: count(k) as f64 / n as f64,
                interval: wilson(count(k), n),
                macro_f1: macro_f1(&said[k], self.labels, self.classes.len()),
                seconds: seconds[k],
            })
            .collect();
        let against = |a: usize, b: usize| -> (f64, [f64; 2]) {
            let only = |x: usize, y: usize| (0..n).filter(|&r| right(x, r) && !right(y, r)).count();
            let (p, q) = (only(a, b), only(b, a));
            ((p as f64 - q as f64) / n as f64, paired_interval(p, q, n))
        };
        let (difference, interval) = against(2, 1);
        let beats_majority = |k: usize| against(k, 0).1[0] > 0.0;
        // To be better than words that know nothing is no fit.
        let verdict = if !beats_majority(1) && !beats_majority(2) {
            Verdict::NothingLearnt
        } else if interval[1] < 0.0 {
            Verdict::TaskMismatch
        } else if interval[0] > 0.0 {
            Verdict::Fits
        } else {
            Verdict::NoDifferenceShown
        };
        ProbeReport {
            rows: n,
            folds: FOLDS,
            penalty,
            lines,
            difference,
            difference_interval: interval,
            verdict,
        }
    }
}

/// Rows of all folds but one, ascending.
fn rest(parts: &[Vec<u32>], held: usize) -> Vec<u32> {
    let others = parts.iter().enumerate().filter(|(i, _)| *i != held);
    let mut rows: Vec<u32> = others.flat_map(|(_, p)| p.iter().copied()).collect();
    rows.sort_unstable();
    rows
}

fn macro_f1(said: &[usize], gold: &[usize], classes: usize) -> f64 {
    let mut hit = vec![0usize; classes];
    let mut given = vec![0usize; classes];
    let mut there = vec![0usize; classes];
    for (&s, &g) in said.iter().zip(gold) {
        given[s] += 1;
        there[g] += 1;
        hit[g] += usize::from(s == g);
    }
    let present = (0..classes).filter(|&c| there[c] > 0);
    let f1: Vec<f64> = present
        .map(|c| 2.0 * hit[c] as f64 / (given[c] + there[c]) as f64)
        .collect();
    f1.iter().sum::<f64>() / f1.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_train::Features;

    /// Texts of which either the words or the features tell the class.
    fn world(n: usize, words: bool, numbers: bool) -> (Vec<String>, Vec<usize>, Features) {
        let labels: Vec<usize> = (0..n).map(|i| (i * 7 / 3) % 2).collect();
        let noise = |i: usize, k: usize| ((i * 31 + k * 17 + i * i * k) % 97) as f32 / 97.0 - 0.5;
        let texts = (0..n)
            .map(|i| {
                let word = ["alpha", "beta"][if words { labels[i] } else { (i / 5) % 2 }];
                format!("row {} {word} {}", i % 11, i % 13)
            })
            .collect();
        let values = (0..n)
            .flat_map(|i| {
                let sign = if labels[i] == 1 { 0.5 } else { -0.5 };
                (0..4).map(move |k| noise(i, k + 1) + if numbers && k == 2 { sign } else { 0.0 })
            })
            .collect();
        let features = Features {
            rows: n,
            hidden: 4,
            values,
        };
        (texts, labels, features)
    }

    fn run(words: bool, numbers: bool) -> ProbeReport {
        let (texts, labels, features) = world(200, words, numbers);
        let keys = vec![Vec::new(); texts.len()];
        let classes = ["no".to_owned(), "yes".to_owned()];
        let probe = Probe {
            texts: &texts,
            labels: &labels,
            classes: &classes,
            keys: &keys,
            features: &[("mean over tokens", &features)],
            seed: 1,
        };
        let mut last = 0.0;
        let report = probe.run(3, |p| last = p).unwrap();
        assert_eq!(last, 1.0);
        let alone = probe.run(1, |_| {}).unwrap();
        let accuracies = |r: &ProbeReport| r.lines.iter().map(|l| l.accuracy).collect::<Vec<_>>();
        assert_eq!(accuracies(&report), accuracies(&alone));
        // The features alone say the same as among the contenders.
        let (said, penalty) = probe.answers(2, |p| last = p).unwrap();
        let right = said.iter().zip(&labels).filter(|(s, l)| s == l).count();
        assert_eq!((last, penalty), (1.0, report.penalty));
        assert_eq!(right as f64 / 200.0, report.lines[2].accuracy);
        report
    }

    #[test]
    fn verdicts_follow_what_can_be_told() {
        for (words, numbers, verdict) in [
            (true, false, Verdict::TaskMismatch),
            (false, true, Verdict::Fits),
            (true, true, Verdict::NoDifferenceShown),
            (false, false, Verdict::NothingLearnt),
        ] {
            let report = run(words, numbers);
            assert_eq!(report.verdict, verdict, "{report:?}");
        }
    }

    /// Bonett & Price by hand; and the interval covers.
    #[test]
    fn paired_intervals() {
        let [low, high] = paired_interval(20, 10, 100);
        let (p, q) = (21.0f64 / 102.0, 11.0 / 102.0);
        let error = ((p + q - (p - q) * (p - q)) / 102.0).sqrt();
        assert!((low - (p - q - 1.96 * error)).abs() < 1e-4, "{low}");
        assert!((high - (p - q + 1.96 * error)).abs() < 1e-4, "{high}");
        let [low, high] = paired_interval(0, 0, 50);
        assert!(low < 0.0 && high > 0.0);
    }

    #[test]
    fn macro_f1_is_the_mean_over_classes_that_occur() {
        let f1 = macro_f1(&[0, 0, 1, 2], &[0, 1, 1, 0], 3);
        let want = (2.0 / 4.0 + 2.0 / 3.0) / 2.0;
        assert!((f1 - want).abs() < 1e-12, "{f1}");
    }
}
