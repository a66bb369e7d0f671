//! Does this model fit this task? A linear probe on frozen features beside the usual answer and TF-IDF, before anything is
//! trained.
//!
//! All are judged out of fold, on the same rows and folds: classes by accuracy, several labels a text by the share of their
//! log-loss that is explained, values by that of their variance (R²). Whether a label is given is no score to choose by: who
//! guesses more, knowing nothing, has the higher micro-F1.
//!
//! The probe's penalty is chosen by the score on the last fold, taught by the middle three; that of the models which answer
//! the last fold itself on the first one, by the same models. So no row chooses what answers it, though those of the middle
//! folds teach what is chosen among. TF-IDF's is chosen so for values and for several labels; for classes it keeps the
//! strength that suits its short vectors ([`TfIdf`]). Scores of folds share training rows, so intervals are those of rows, not
//! of training sets.

mod scores;

pub use scores::paired_interval;

use crate::tfidf::{self, TfIdf};
use hone_data::{DataError, folds};
use hone_train::{Features, Linear, Wanted, argmax};
use scores::{Judged, macro_f1, micro_f1};
use serde::Serialize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Folds of the cross-validation.
pub const FOLDS: usize = 5;
/// Inverse penalties among which the probe's is chosen.
pub const PENALTIES: [f64; 4] = [1e-3, 1e-2, 1e-1, 1.0];
/// Those among which that of words is chosen, where they do not answer with one class.
const WORDS: [f64; 4] = [1e-2, 1e-1, 1.0, 10.0];

/// Labelled texts and their frozen features.
pub struct Probe<'a> {
    /// The texts; those of a pair joined.
    pub texts: &'a [String],
    /// What each should be answered with.
    pub wanted: &'a Wanted,
    /// Classes, labels, or 1 for values.
    pub outputs: usize,
    /// Rows that share a key are never on both sides of a fold.
    pub keys: &'a [Vec<String>],
    /// Features and what they are called, the mean over tokens first.
    pub features: &'a [(&'static str, &'a Features)],
    /// Seed of the folds, and of resampled rows.
    pub seed: u64,
}

hone_tensor::brief_debug! {
    [] Probe<'_>, |p|
    texts: p.texts.len(), outputs: p.outputs, features: p.features.len(), seed: p.seed
}

/// What answers are judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Share of rows that are right.
    Accuracy,
    /// Share of the log-loss of all decisions that is explained, where each text may have several labels: 0 is what the labels'
    /// shares alone explain, 1 is certainty.
    ExplainedLogLoss,
    /// Share of the values' variance that is explained.
    RSquared,
}

impl Measure {
    /// As tables and sentences say it.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Accuracy => "accuracy",
            Measure::ExplainedLogLoss => "explained log-loss",
            Measure::RSquared => "R²",
        }
    }

    /// What texts are answered with by one who does not read them.
    pub fn usual(self) -> &'static str {
        match self {
            Measure::Accuracy => "majority class",
            Measure::ExplainedLogLoss => "labels' shares",
            Measure::RSquared => "mean value",
        }
    }
}

/// One way of answering, judged on rows it did not learn from.
#[derive(Debug, Clone, Serialize)]
pub struct ProbeLine {
    /// What it is.
    pub name: String,
    /// Its score out of fold, by [`ProbeReport::measure`].
    pub score: f64,
    /// Its 95 % interval (Wilson's of shares; percentiles over 2 000 resamples of the rows otherwise).
    pub interval: [f64; 2],
    /// Mean of the classes' F1, where a text has one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macro_f1: Option<f64>,
    /// F1 of all decisions, where a text may have several labels; it judges nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_f1: Option<f64>,
    /// Seconds to fit and to judge, features not counted.
    pub seconds: f64,
}

/// What the comparison says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The features say more than words, and more than the usual answer.
    Fits,
    /// They say less, and words more than the usual answer.
    TaskMismatch,
    /// No difference could be shown on these rows.
    NoDifferenceShown,
    /// Neither features nor words could be shown to beat the usual answer.
    NothingLearnt,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct ProbeReport {
    /// Rows it was measured on.
    pub rows: usize,
    /// Folds.
    pub folds: usize,
    /// The probe's inverse penalty, that of all folds but the last.
    pub penalty: f64,
    /// What scores are.
    pub measure: Measure,
    /// The usual answer, TF-IDF, then a probe for each kind of features.
    pub lines: Vec<ProbeLine>,
    /// Score of the first probe minus that of TF-IDF, on the same rows.
    pub difference: f64,
    /// Its 95 % interval (paired: Bonett & Price 2012 of shares, else as for a score).
    pub difference_interval: [f64; 2],
    /// What that says.
    pub verdict: Verdict,
}

impl Probe<'_> {
    /// Cross-validates all contenders on the same folds. Needs at least [`FOLDS`] rows, and two classes.
    /// `progress` hears the share of the work done.
    pub fn run(
        &self,
        threads: usize,
        mut progress: impl FnMut(f64),
    ) -> Result<ProbeReport, DataError> {
        let parts = self.folds()?;
        let contenders = 2 + self.features.len();
        let words = self.words();
        let steps = (words.len() + PENALTIES.len() + FOLDS * contenders) as f64;
        let mut done = 0.0;
        let mut step = || {
            done += 1.0;
            progress((done / steps).min(1.0));
        };
        let chosen = [
            self.choose(1, words, &parts, &mut step),
            self.choose(2, &PENALTIES, &parts, &mut step),
        ];
        // The longest begin first.
        let order: Vec<usize> = (1..contenders).chain([0]).collect();
        let (said, seconds) = self.out_of_fold(&order, &parts, chosen, threads, &mut step);
        Ok(self.report(&said, &seconds, chosen[1][0]))
    }

    /// The outputs that the first features alone give every row, out of fold, and the penalty they chose; in the folds of
    /// [`Probe::run`]. Reads no texts.
    pub fn answers(
        &self,
        threads: usize,
        mut progress: impl FnMut(f64),
    ) -> Result<(Vec<Vec<f64>>, f64), DataError> {
        let parts = self.folds()?;
        let steps = (PENALTIES.len() + FOLDS) as f64;
        let mut done = 0.0;
        let mut step = || {
            done += 1.0;
            progress(done / steps);
        };
        let penalty = self.choose(2, &PENALTIES, &parts, &mut step);
        let chosen = [[tfidf::C; 2], penalty];
        let (mut said, _) = self.out_of_fold(&[2], &parts, chosen, threads, &mut step);
        Ok((said.swap_remove(2), penalty[0]))
    }

    fn folds(&self) -> Result<Vec<Vec<u32>>, DataError> {
        folds(self.keys, &self.wanted.strata(), FOLDS, self.seed)
    }

    /// The outputs that the listed contenders give every row, each taught by the folds that the row is not in, and the
    /// seconds each took; by contender. `chosen` are the inverse penalties of words and of features, those of the last fold behind.
    fn out_of_fold(
        &self,
        contenders: &[usize],
        parts: &[Vec<u32>],
        chosen: [[f64; 2]; 2],
        threads: usize,
        step: &mut impl FnMut(),
    ) -> (Vec<Vec<Vec<f64>>>, Vec<f64>) {
        let count = 2 + self.features.len();
        let mut said = vec![vec![Vec::new(); self.wanted.rows()]; count];
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
                        let last = usize::from(held + 1 == FOLDS);
                        let penalty = chosen[k.clamp(1, 2) - 1][last];
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

    /// The outputs that contender `k`, taught by `train`, gives `held`.
    fn judge(&self, k: usize, train: &[u32], held: &[u32], penalty: f64) -> Vec<Vec<f64>> {
        let held = held.iter().map(|&r| r as usize);
        match k {
            0 => {
                let usual = self.usual(train);
                held.map(|_| usual.clone()).collect()
            }
            1 => {
                let own = train.iter().map(|&r| self.texts[r as usize].as_str());
                let texts: Vec<&str> = own.collect();
                let model = TfIdf::fit_to(&texts, self.wanted, train, self.outputs, penalty);
                held.map(|r| model.of(&self.texts[r])).collect()
            }
            _ => {
                let features = self.features[k - 2].1;
                let loss = |row: usize, outputs: &mut [f64]| self.wanted.loss(row, outputs);
                let model = Linear::fit(features, train, self.outputs, penalty, loss);
                held.map(|r| model.of(features.row(r))).collect()
            }
        }
    }

    /// What these rows would have any row answered with: their most frequent class, each label as probably as they have it,
    /// their mean.
    fn usual(&self, rows: &[u32]) -> Vec<f64> {
        let mut outputs = vec![0.0; self.outputs];
        for &r in rows {
            match self.wanted {
                Wanted::Classes(all) => outputs[all[r as usize]] += 1.0,
                Wanted::Sets(all) => {
                    let has = all[r as usize].iter();
                    has.for_each(|&label| outputs[label as usize] += 1.0);
                }
                Wanted::Values(all) => outputs[0] += all[r as usize],
            }
        }
        let n = rows.len().max(1) as f64;
        match self.wanted {
            Wanted::Classes(_) => {}
            // Half a row of each kind more, so that nothing is impossible.
            Wanted::Sets(_) => {
                let odds = |k: f64| ((k + 0.5) / (n - k + 0.5)).ln();
                outputs.iter_mut().for_each(|x| *x = odds(*x));
            }
            Wanted::Values(_) => outputs[0] /= n,
        }
        outputs
    }

    /// The inverse penalties that words may have: [`TfIdf`]'s own for classes, for which it was found to suit.
    fn words(&self) -> &'static [f64] {
        match self.wanted {
            Wanted::Values(_) | Wanted::Sets(_) => &WORDS,
            Wanted::Classes(_) => &[tfidf::C],
        }
    }

    /// The penalty by which contender `k`, taught by the middle folds, does best on the last one, and that by which it does
    /// best on the first one.
    fn choose(
        &self,
        k: usize,
        penalties: &[f64],
        parts: &[Vec<u32>],
        step: &mut impl FnMut(),
    ) -> [f64; 2] {
        let mut best = [(f64::NEG_INFINITY, penalties[0]); 2];
        let ends = [&parts[parts.len() - 1], &parts[0]];
        let mut middle = parts[1..parts.len() - 1].concat();
        middle.sort_unstable();
        let held = [&ends[0][..], ends[1]].concat();
        for &c in penalties {
            if penalties.len() > 1 {
                let said = self.judge(k, &middle, &held, c);
                let judged = Judged::of(self.wanted, &held, &said);
                let all: Vec<u32> = (0..held.len() as u32).collect();
                let (last, first) = all.split_at(ends[0].len());
                // By the score that it is judged by; of equally good ones the strongest penalty.
                for (best, rows) in best.iter_mut().zip([last, first]) {
                    let score = judged.score(rows);
                    if score > best.0 {
                        *best = (score, c);
                    }
                }
            }
            step();
        }
        best.map(|b| b.1)
    }

    fn report(&self, said: &[Vec<Vec<f64>>], seconds: &[f64], penalty: f64) -> ProbeReport {
        let n = self.wanted.rows();
        let all: Vec<u32> = (0..n as u32).collect();
        let judged: Vec<Judged> = said
            .iter()
            .map(|s| Judged::of(self.wanted, &all, s))
            .collect();
        let (measure, regression) = match self.wanted {
            Wanted::Classes(_) => (Measure::Accuracy, "logistic regression"),
            Wanted::Sets(_) => (Measure::ExplainedLogLoss, "logistic regressions"),
            Wanted::Values(_) => (Measure::RSquared, "ridge regression"),
        };
        let mut names = vec![measure.usual().to_owned(), format!("TF-IDF, {regression}")];
        names.extend(
            self.features
                .iter()
                .map(|(name, _)| format!("frozen features ({name}), {regression}")),
        );
        let lines = names
            .into_iter()
            .enumerate()
            .map(|(k, name)| ProbeLine {
                name,
                score: judged[k].score(&all),
                interval: judged[k].interval(n, self.seed),
                macro_f1: match self.wanted {
                    Wanted::Classes(gold) => {
                        let classes: Vec<usize> = said[k].iter().map(|z| argmax(z)).collect();
                        Some(macro_f1(&classes, gold, self.outputs))
                    }
                    _ => None,
                },
                micro_f1: match self.wanted {
                    Wanted::Sets(gold) => Some(micro_f1(&said[k], gold)),
                    _ => None,
                },
                seconds: seconds[k],
            })
            .collect();
        let against = |a: usize, b: usize| judged[a].minus(&judged[b], n, self.seed);
        let (difference, interval) = against(2, 1);
        let beats_usual = |k: usize| against(k, 0).1[0] > 0.0;
        let (words, features) = (beats_usual(1), beats_usual(2));
        // To be better than what does worse than nothing is no fit.
        let verdict = if !words && !features {
            Verdict::NothingLearnt
        } else if interval[1] < 0.0 && words {
            Verdict::TaskMismatch
        } else if interval[0] > 0.0 && features {
            Verdict::Fits
        } else {
            Verdict::NoDifferenceShown
        };
        ProbeReport {
            rows: n,
            folds: FOLDS,
            penalty,
            measure,
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

    /// The same two classes asked as one class, as sets of labels and as values.
    const TASKS: [fn(&[usize]) -> (Wanted, usize); 3] = [
        |classes| (Wanted::Classes(classes.to_vec()), 2),
        |classes| {
            let set = |&c: &usize| match c {
                0 => vec![0],
                _ => vec![1, 2],
            };
            (Wanted::Sets(classes.iter().map(set).collect()), 3)
        },
        |classes| {
            let value = |&c: &usize| 2.0 * c as f64 - 1.0;
            (Wanted::Values(classes.iter().map(value).collect()), 1)
        },
    ];

    fn run(
        words: bool,
        numbers: bool,
        (wanted, outputs): (Wanted, usize),
        world: &(Vec<String>, Vec<usize>, Features),
    ) -> ProbeReport {
        let (texts, _, features) = world;
        let keys = vec![Vec::new(); texts.len()];
        let probe = Probe {
            texts,
            wanted: &wanted,
            outputs,
            keys: &keys,
            features: &[("mean over tokens", features)],
            seed: 1,
        };
        let mut last = 0.0;
        let report = probe.run(3, |p| last = p).unwrap();
        assert_eq!(last, 1.0);
        let alone = probe.run(1, |_| {}).unwrap();
        let scores = |r: &ProbeReport| r.lines.iter().map(|l| l.score).collect::<Vec<_>>();
        assert_eq!(scores(&report), scores(&alone));
        // The features alone say the same as among the contenders.
        let (said, penalty) = probe.answers(2, |p| last = p).unwrap();
        assert_eq!((last, penalty), (1.0, report.penalty));
        let all: Vec<u32> = (0..200).collect();
        let score = Judged::of(&wanted, &all, &said).score(&all);
        assert_eq!(score, report.lines[2].score);
        for line in &report.lines {
            let [low, high] = line.interval;
            assert!(
                low <= line.score && line.score <= high,
                "{words} {numbers} {line:?}"
            );
        }
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
            let world = world(200, words, numbers);
            for task in TASKS {
                let report = run(words, numbers, task(&world.1), &world);
                // Both tell the class, the words to the last digit and the features only nearly, which shows but for classes.
                let verdict = match (report.measure, verdict) {
                    (Measure::RSquared | Measure::ExplainedLogLoss, Verdict::NoDifferenceShown) => {
                        assert!(report.lines[2].score > 0.7, "{report:?}");
                        Verdict::TaskMismatch
                    }
                    (_, verdict) => verdict,
                };
                assert_eq!(report.verdict, verdict, "{report:?}");
            }
        }
    }
    /// Texts of words drawn at random, features drawn at random, labels with probabilities of their own; where `told`, the
    /// features tell the first label.
    fn noise(seed: u64, rows: usize, told: bool) -> ProbeReport {
        let random = hone_tensor::Philox::new(seed);
        let unit = |a: usize, b: usize| {
            (random.u64_at(a as u64, b as u64) >> 11) as f64 / (1u64 << 53) as f64
        };
        let shares = [0.4, 0.3, 0.2, 0.1];
        let (labels, hidden) = (shares.len(), 16);
        let set = |i: usize| {
            let given = (0..labels).filter(|&l| unit(i, l) < shares[l]);
            given.map(|l| l as u32).collect::<Vec<u32>>()
        };
        let sets: Vec<Vec<u32>> = (0..rows).map(set).collect();
        let texts: Vec<String> = (0..rows)
            .map(|i| {
                let words = (0..8).map(|w| format!("word{}", (40.0 * unit(i, 10 + w)) as usize));
                words.collect::<Vec<_>>().join(" ")
            })
            .collect();
        let values = (0..rows * hidden)
            .map(|at| {
                let (i, h) = (at / hidden, at % hidden);
                let sign = if told && h == 3 && sets[i].contains(&0) {
                    1.0
                } else {
                    0.0
                };
                (unit(i, 20 + h) - 0.5 + sign) as f32
            })
            .collect();
        let features = Features {
            rows,
            hidden,
            values,
        };
        Probe {
            texts: &texts,
            wanted: &Wanted::Sets(sets),
            outputs: labels,
            keys: &vec![Vec::new(); rows],
            features: &[("mean over tokens", &features)],
            seed,
        }
        .run(2, |_| {})
        .unwrap()
    }

    /// What rows of the first and of the last fold are answered with does not change with what they should be answered with,
    /// though the latter choose the penalty of all other folds.
    #[test]
    fn no_row_chooses_what_answers_it() {
        let (texts, classes, features) = world(200, false, true);
        let keys = vec![Vec::new(); texts.len()];
        let ask = |wanted: &Wanted| {
            let probe = Probe {
                texts: &texts,
                wanted,
                outputs: 1,
                keys: &keys,
                features: &[("mean over tokens", &features)],
                seed: 1,
            };
            (probe.folds().unwrap(), probe.answers(2, |_| {}).unwrap())
        };
        let (plain, _) = TASKS[2](&classes);
        let (parts, (want, penalty)) = ask(&plain);
        for held in [0, FOLDS - 1] {
            let mut other = plain.clone();
            if let Wanted::Values(all) = &mut other {
                parts[held].iter().for_each(|&r| all[r as usize] *= -1.0);
            }
            let (_, (got, chosen)) = ask(&other);
            for &r in &parts[held] {
                assert_eq!(got[r as usize], want[r as usize], "fold {held}");
            }
            assert_eq!(chosen != penalty, held > 0, "{penalty} {chosen}");
        }
    }

    #[test]
    fn random_labels_do_not_fit_and_planted_ones_do() {
        let verdicts = |told: bool| (0..20).map(move |seed| noise(seed, 150, told).verdict);
        let fits = verdicts(false).filter(|v| *v == Verdict::Fits).count();
        assert!(fits <= 1, "{fits} of 20");
        let fits = verdicts(true).filter(|v| *v == Verdict::Fits).count();
        assert!(fits >= 19, "{fits} of 20");
    }
}
