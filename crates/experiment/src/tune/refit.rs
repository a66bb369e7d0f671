//! The last word: the winner and the given options, refitted with fresh seeds on all training rows and judged on rows that
//! no trial saw.
//!
//! The value that chose a trial is the best of many and flatters it; only a figure on other rows and with other seeds does
//! not. Both recipes have the same fresh seeds, in pairs. The parts of the effect's variance are those of `hone study`
//! ([`Estimate`]):
//! it knows the spread over seeds and that all pairs are judged by the same rows. Whether the two models of the first seed
//! differ is asked apart, by `hone compare`'s tests.

use super::attempt::{Wanted, Went, clear};
use super::journal::{Purpose, RunRecord};
use super::runner::{BEST, Chooser, Course, Untouched};
use super::search::Found;
use crate::compare::{Comparison, answers_of, compare};
use crate::crossval::{Spread, derived};
use crate::held_out::RowLogits;
use crate::special::{normal_exceeded, student_exceeded};
use crate::study::{Difference, Estimate, groups, texts_a_group, without};
use hone_kernels::Backend;
use hone_train::metrics::{better, range, widest};
use hone_train::watch::Watch;
use hone_train::{
    Ending, EvalBatches, Event, Fit, Fitted, HeldOut, Options, Scorer, Sink, TrainError, predict,
    task_of, together, write_beside,
};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// What the refits say of the winner beside the given options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The given options won the search.
    GivenStand,
    /// The interval of the difference is on the better side of nothing.
    Better,
    /// On the worse.
    Worse,
    /// It holds nothing.
    NoDifferenceShown,
}

impl Verdict {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::GivenStand => "the given options stand: no trial was better",
            Verdict::Better => "tuned is better",
            Verdict::Worse => "tuned is worse",
            Verdict::NoDifferenceShown => "no difference shown",
        }
    }

    /// From the interval of tuned minus given.
    pub fn of([low, high]: [f64; 2], metric: &str) -> Verdict {
        let up = better(metric, 1.0, 0.0);
        match (low > 0.0, high < 0.0) {
            (true, _) if up => Verdict::Better,
            (_, true) if !up => Verdict::Better,
            (true, _) | (_, true) => Verdict::Worse,
            _ => Verdict::NoDifferenceShown,
        }
    }

    /// The same where the tuned recipe or the given one failed with some seed, which the interval does not know: one that
    /// fails is not shown to be the better one.
    pub fn beside_failures(self, tuned: bool, given: bool) -> Verdict {
        match self {
            Verdict::Better if tuned => Verdict::NoDifferenceShown,
            Verdict::Worse if given => Verdict::NoDifferenceShown,
            other => other,
        }
    }
}

/// Level of the interval.
const LEVEL: f64 = 0.05;

/// What the refits found.
#[derive(Debug, Clone, Serialize)]
pub struct Judged {
    /// The fresh seeds.
    pub seeds: Vec<u64>,
    /// The metric of the given options on the untouched rows, seed by seed; none where that refit failed.
    pub given: Vec<Option<f64>>,
    /// That of the winner.
    pub tuned: Vec<Option<f64>>,
    /// Refits that failed, and why, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
    /// Standard deviation over seeds of the winner's.
    pub seed_std: Option<f64>,
    /// Tuned minus given over the seeds with which neither failed, and the parts of its variance; none where the given
    /// options won.
    pub effect: Option<Estimate>,
    /// Its 95 % interval.
    pub interval: Option<[f64; 2]>,
    /// What that says.
    pub verdict: Verdict,
    /// The two models of the first of those seeds on the untouched rows, the given options' first.
    pub first_models: Option<Comparison>,
    /// The saved model: the winner's of the first fresh seed with which it did not fail.
    pub model: PathBuf,
    /// Its value on the untouched rows.
    pub model_value: f64,
    /// Its seed.
    pub model_seed: u64,
    /// Why there are fewer seeds than were asked for.
    pub cut_short: Option<String>,
}

/// The interval of a mean difference over pairs that all judge the same rows.
///
/// With y = δ + a(pair) + b(row) + e the mean has the variance `between` + `rows` of the estimate. The first is known from
/// few pairs, the second from many rows, so the degrees of freedom are Welch & Satterthwaite's for their sum; a study, whose
/// rows come again only now and then, takes those of its pairs for both, which three pairs of one set of rows
/// would never survive. It is not narrower than the rows alone leave open, of which nearly none may have changed; where none
/// did, and a row may change more than its share (of a loss, of macro F1), it has no end.
pub(super) fn interval_of(estimate: &Estimate, rows: usize, level: f64) -> [f64; 2] {
    let Estimate {
        pairs,
        effect,
        between,
        within,
        rows: shared,
        ..
    } = *estimate;
    if pairs < 2 {
        return [f64::NEG_INFINITY, f64::INFINITY];
    }
    let variance = between + shared;
    let part = |v: f64, n: usize| v * v / n.max(2).saturating_sub(1) as f64;
    let below = part(between, pairs) + part(shared, rows);
    let drawn = match below > 0.0 {
        true => student_exceeded(0.5 * level, variance * variance / below) * variance.sqrt(),
        false => 0.0,
    };
    let least = match within > 0.0 {
        true => normal_exceeded(0.5 * level) * (within + shared).sqrt(),
        false => estimate.unseen(level),
    };
    let half = drawn.max(least);
    [effect - half, effect + half]
}

/// How that comes about, for reports.
pub const EFFECT_METHOD: &str = "mean of the paired differences ± t(0.975, df) · sqrt(s²/J + r): s² over J seeds, r of the \
    rows that all seeds share, by the jackknife; df by Welch & Satterthwaite";

/// Where the seeds of refits are drawn.
const REFIT: usize = 0x5246;

/// The name of a refit, of the winner (`tuned`) or of the given options (`given`).
fn refit_name(recipe: &str, pair: usize) -> String {
    format!("refit-{recipe}-{pair}")
}

impl<B: Backend> Course<'_, B> {
    /// The seed of a pair of refits, from 1.
    pub(super) fn fresh_seed(&self, pair: usize) -> u64 {
        derived(self.tune.job.options.seed, REFIT, pair)
    }

    /// Refits, pair by pair; `None` where the user asked to stop.
    pub(super) fn refits(
        &mut self,
        found: &Found,
        sink: &mut dyn Sink,
    ) -> Result<Option<Judged>, TrainError> {
        let recipes: &[(&str, usize)] = match found.winner {
            0 => &[("tuned", 0)],
            winner => &[("tuned", winner), ("given", 0)],
        };
        let mut pairs: Vec<Vec<RunRecord>> = Vec::new();
        let mut cut_short = None;
        let each: f64 = recipes
            .iter()
            .map(|(_, t)| self.seconds(&self.trial(*t).1, 1.0, Purpose::Refit))
            .sum();
        self.outlook = each * self.tune.seeds as f64 + self.after_refits();
        'pairs: for pair in 1..=self.tune.seeds {
            // A pair that would not be whole is not begun, once there is a model.
            let some = pairs.iter().any(|p| p[0].value.is_some());
            let room = self.tune.limit.seconds.filter(|_| some);
            let mut both = Vec::new();
            for (i, &(name, trial)) in recipes.iter().enumerate() {
                let (settings, options) = self.trial(trial);
                let after: f64 = recipes[i + 1..]
                    .iter()
                    .map(|(_, t)| self.seconds(&self.trial(*t).1, 1.0, Purpose::Refit))
                    .sum();
                let what = match (name, found.winner) {
                    ("given", _) | (_, 0) => "the given options",
                    _ => "the winner",
                };
                let wanted = Wanted {
                    name: refit_name(name, pair),
                    purpose: Purpose::Refit,
                    trial: Some(trial),
                    settings: &settings,
                    options: Options {
                        seed: self.fresh_seed(pair),
                        ..options
                    },
                    share: 1.0,
                    replicate: pair,
                    place: format!("refit {pair} of {}, {what}", self.tune.seeds),
                    deadline: room.map(|end| end - after),
                };
                match self.attempt(wanted, sink)? {
                    Went::Stopped => return Ok(None),
                    Went::NoTime => {
                        let text = format!(
                            "no time was left for {} of {} seeds of the refits",
                            self.tune.seeds + 1 - pair,
                            self.tune.seeds
                        );
                        sink.event(&Event::Note { text: text.clone() });
                        cut_short = Some(text);
                        break 'pairs;
                    }
                    Went::Done(record) => both.push(*record),
                }
            }
            pairs.push(both);
        }
        self.judge(found, &pairs, cut_short).map(Some)
    }

    fn judge(
        &self,
        found: &Found,
        pairs: &[Vec<RunRecord>],
        cut_short: Option<String>,
    ) -> Result<Judged, TrainError> {
        let (job, metric) = (self.tune.job, &self.tune.job.options.metric);
        let values = |i: usize| -> Vec<Option<f64>> {
            let of = |p: &Vec<RunRecord>| p.get(i).map(|r| r.value);
            pairs.iter().filter_map(of).collect()
        };
        let why = |r: &RunRecord| {
            let why = r.failed.as_ref()?;
            Some(format!("{} failed (seed {}): {why}", r.run, r.seed))
        };
        let failed: Vec<String> = pairs.iter().flatten().filter_map(why).collect();
        let tuned = values(0);
        let Some((saved, model_value)) =
            tuned.iter().enumerate().find_map(|(p, v)| Some((p, (*v)?)))
        else {
            return Err(TrainError::Option(format!(
                "no refit of trial {}, the winner, gave a model: {}; the trials are in {}",
                found.winner,
                failed.join("; "),
                self.out.join("trials.jsonl").display()
            )));
        };
        let given = match found.winner {
            0 => tuned.clone(),
            _ => values(1),
        };
        let (mut effect, mut interval, mut first_models) = (None, None, None);
        let mut verdict = Verdict::GivenStand;
        if found.winner != 0 {
            let part = match self.tune.untouched {
                Untouched::Valid => &job.data.valid,
                Untouched::Test => &job.data.test,
            };
            let keys = part.as_ref().map(together).unwrap_or_default();
            let groups = groups(&keys, self.tune.split_seed);
            let (task, labels) = (task_of(job.data.kind), job.data.labels.names());
            let examples = self.untouched();
            let mut differences = Vec::new();
            for (p, both) in pairs.iter().enumerate() {
                let [tuned, given] = &both[..] else { continue };
                let (Some(t), Some(g)) = (tuned.value, given.value) else {
                    continue;
                };
                let own = self.read_logits(&tuned.run)?;
                let other = self.read_logits(&given.run)?;
                if first_models.is_none() {
                    let answers = |logits| answers_of(task, labels, examples, logits);
                    let (given, tuned) = (answers(&other)?, answers(&own)?);
                    first_models = Some(compare(task, &given, &tuned, job.options.seed));
                }
                let without = |logits| without(task, labels, examples, &groups, logits, metric);
                let (own, other) = (without(&own)?, without(&other)?);
                differences.push(Difference {
                    // The same rows are judged in every pair.
                    repeat: p + 1,
                    whole: t - g,
                    without: own
                        .iter()
                        .zip(&other)
                        .map(|(a, b)| (a.0, a.1 - b.1))
                        .collect(),
                });
            }
            verdict = Verdict::NoDifferenceShown;
            if let Some(first) = differences.first() {
                let texts_a_group = texts_a_group(&keys, metric);
                let estimate = Estimate::of(&differences).standing_for(texts_a_group);
                let ends = interval_of(&estimate, first.without.len(), LEVEL);
                let lacks = |values: &[Option<f64>]| values.iter().any(Option::is_none);
                verdict = Verdict::of(ends, metric).beside_failures(lacks(&tuned), lacks(&given));
                let widest = widest(metric);
                let cut = ends.map(|end| end.clamp(-widest, widest));
                (effect, interval) = (Some(estimate), Some(cut));
            }
        }
        let known: Vec<f64> = tuned.iter().flatten().copied().collect();
        Ok(Judged {
            seeds: (1..=pairs.len()).map(|p| self.fresh_seed(p)).collect(),
            given,
            tuned,
            failed,
            seed_std: (known.len() > 1).then(|| Spread::of(&known, 0.0, range(metric)).std),
            effect,
            interval,
            verdict,
            first_models,
            model: self.out.join(BEST),
            model_value,
            model_seed: self.fresh_seed(saved + 1),
            cut_short,
        })
    }

    /// Fits to all training rows, as `hone train` does with these options, and reads the untouched rows. The winner's
    /// model of the first seed with which it does not fail is saved.
    pub(super) fn refit(
        &self,
        wanted: &Wanted<'_>,
        folder: &Path,
        sink: &mut dyn Sink,
        halt: &AtomicBool,
    ) -> Result<Option<RunRecord>, TrainError> {
        let (texts, options) = (&self.texts, &wanted.options);
        let gave_none = |pair: usize| {
            let earlier = self.journal.run(&refit_name("tuned", pair));
            earlier.is_some_and(|r| r.value.is_none())
        };
        let saved = wanted.name == refit_name("tuned", wanted.replicate)
            && (1..wanted.replicate).all(gave_none);
        let best = self.out.join(BEST);
        let folder = if saved { best.as_path() } else { folder };
        let out = self.part(folder);
        let job = self.within(options, &out);
        let valid = match self.tune.chooser {
            Chooser::Valid => texts.valid.as_ref().map(|v| &v.examples),
            Chooser::Folds(_) => None,
        };
        let fit = Fit {
            train: &texts.train.examples,
            augment: job.epoch_texts(texts, &job.data.train),
            valid,
            watch: if saved { Watch::Sample } else { Watch::Nothing },
            head_seed: options.seed,
            marks: BTreeMap::new(),
            prefix: None,
            begun: None,
        };
        let began = Instant::now();
        let mut record = self.record(wanted, options.seed, options, texts.train.examples.len());
        let diverged = |error: TrainError, record: RunRecord| match error {
            TrainError::Interrupted => Ok(None),
            error => {
                let record = record.diverged(error, began)?;
                clear(folder)?;
                Ok(Some(record))
            }
        };
        let model = match saved {
            true => {
                let done = job.conclude(
                    texts,
                    fit,
                    HeldOut::Valid,
                    self.backend.clone(),
                    sink,
                    halt,
                    began,
                );
                let (model, summary, ending) = match done {
                    Err(error) => return diverged(error, record),
                    Ok(done) => done,
                };
                if ending == Ending::Interrupted {
                    return Ok(None);
                }
                record.steps = summary.steps;
                record.best_step = summary.best_step;
                record.ending = ending.name().to_owned();
                record.restart = summary.restart;
                record.train_tokens = summary.train_tokens;
                record.train_loss = Some(summary.train_loss).filter(|x| x.is_finite());
                record.train_seconds = summary.train_tokens as f64 / summary.tokens_per_s.max(1e-9);
                record.planned_memory_bytes = summary.planned_memory_bytes;
                model
            }
            false => {
                let Fitted { model, outcome, .. } =
                    match job.fit(fit, self.backend.clone(), sink, halt) {
                        Err(error) => return diverged(error, record),
                        Ok(fitted) => fitted,
                    };
                if outcome.ending == Ending::Interrupted {
                    return Ok(None);
                }
                record.ran(&outcome);
                model
            }
        };
        let examples = self.untouched();
        let mut acts = model.plan_eval(EvalBatches::USUAL.limits(examples))?;
        let mut scorer = Scorer::new(model.task(), model.labels(), examples)?;
        let mut logits = Vec::with_capacity(examples.len());
        let (classes, batches) = (model.classes(), EvalBatches::USUAL);
        predict(
            &model,
            &mut acts,
            examples,
            batches,
            |p| {
                scorer.push(p);
                logits.push(RowLogits::of(examples, p.index as u32, p, classes));
            },
            |_| true,
        )?;
        drop(model);
        record.scored(Some(scorer.finish()), &options.metric);
        record.seconds = began.elapsed().as_secs_f64();
        match record.failed {
            None => self.write_logits(&wanted.name, &logits)?,
            // The next seed's model takes the place.
            Some(_) => clear(folder)?,
        }
        Ok(Some(record))
    }

    fn logits_path(&self, run: &str) -> PathBuf {
        self.out.join("refits").join(format!("{run}.json"))
    }

    /// Logits of the untouched rows, which are what the comparison is made of.
    fn write_logits(&self, run: &str, logits: &[RowLogits]) -> Result<(), TrainError> {
        let path = self.logits_path(run);
        let folder = self.out.join("refits");
        std::fs::create_dir_all(&folder).map_err(|source| TrainError::Io {
            path: folder,
            source,
        })?;
        write_beside(&path, &format!("{}\n", json!(logits)))
    }

    fn read_logits(&self, run: &str) -> Result<Vec<RowLogits>, TrainError> {
        let path = self.logits_path(run);
        let text = std::fs::read_to_string(&path).map_err(|source| TrainError::Io {
            path: path.clone(),
            source,
        })?;
        serde_json::from_str(&text).map_err(|e| TrainError::Checkpoint {
            path,
            reason: format!("not what this version wrote ({e})"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_tensor::Philox;

    /// Draws like a normal variable: Irwin–Hall.
    fn normal(rng: &Philox, a: u64, b: u64) -> f64 {
        let one = |k: u64| (rng.u64_at(a, b * 12 + k) >> 11) as f64 / (1u64 << 53) as f64;
        (0..12).map(one).sum::<f64>() - 6.0
    }

    fn drawn(world: u64, pairs: usize, sds: [f64; 3], shift: f64) -> (Estimate, usize) {
        const ROWS: u64 = 150;
        let rng = Philox::new(world);
        let all: Vec<Difference> = (0..pairs as u64)
            .map(|pair| {
                let own = sds[0] * normal(&rng, 1, pair);
                let y: Vec<f64> = (0..ROWS)
                    .map(|row| {
                        let noise = normal(&rng, 3, pair * ROWS + row);
                        shift + own + sds[1] * normal(&rng, 2, row) + sds[2] * noise
                    })
                    .collect();
                let sum: f64 = y.iter().sum();
                let rows = y.iter().enumerate();
                Difference {
                    repeat: pair as usize + 1,
                    whole: sum / ROWS as f64,
                    without: rows
                        .map(|(i, y)| (i as u32, (sum - y) / (ROWS - 1) as f64))
                        .collect(),
                }
            })
            .collect();
        (Estimate::of(&all), ROWS as usize)
    }

    /// Of worlds in which nothing is gained one in twenty may say that something is; where seeds, rows or both differ.
    #[test]
    fn false_verdicts_are_rare_and_true_ones_come() {
        const WORLDS: u64 = 1500;
        for sds in [[0.05, 0.0, 0.5], [0.0, 0.5, 0.3], [0.03, 0.4, 0.4]] {
            let claims = |pairs: usize, shift: f64| {
                let claim = |world: &u64| {
                    let (estimate, rows) = drawn(*world, pairs, sds, shift);
                    let ends = interval_of(&estimate, rows, LEVEL);
                    Verdict::of(ends, "accuracy") != Verdict::NoDifferenceShown
                };
                (0..WORLDS).filter(claim).count() as f64 / WORLDS as f64
            };
            let wrong = claims(3, 0.0);
            assert!(wrong < 0.065, "{sds:?}: {wrong}");
            let found = claims(3, 0.2);
            assert!(found > 0.6, "{sds:?}: {found}");
        }
    }

    #[test]
    fn one_pair_and_rows_that_never_change_are_not_certain() {
        let (estimate, rows) = drawn(1, 1, [0.1, 0.1, 0.1], 5.0);
        assert_eq!(
            interval_of(&estimate, rows, LEVEL),
            [f64::NEG_INFINITY, f64::INFINITY]
        );
        let (estimate, rows) = drawn(1, 3, [0.0, 0.0, 0.0], 0.0);
        let [low, high] = interval_of(&estimate, rows, LEVEL);
        assert!(
            (high - 3.69 / 150.0).abs() < 1e-3 && low == -high,
            "{low} {high}"
        );
        // What a text may change of a loss or of macro F1 has no bound that could be told.
        let [low, high] = interval_of(&estimate.standing_for(0.0), rows, LEVEL);
        assert_eq!((low, high), (f64::NEG_INFINITY, f64::INFINITY));
    }
}
