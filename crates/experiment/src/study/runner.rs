//! Runs the pairs one after another, the baseline and every open arm in each, and looks when it is time.

use super::decide::{Decisions, Verdict};
use super::design::Design;
use super::estimate::Difference;
use super::plan::{groups, texts_a_group};
use super::record::{Failure, TrialFolder, TrialRecord, without};
use super::report::{Done, StudyReport};
use crate::crossval::{Fold, FoldPlan, derived};
use crate::held_out::{HeldOutRun, Judged, News, Once, lacking};
use hone_data::augment::Augmenter;
use hone_kernels::Backend;
use hone_train::metrics::widest;
use hone_train::{
    Checkpoints, Event, FrozenPrefix, Job, Options, Sink, Texts, TrainError, Work, memory_now,
    task_of, together,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The name of the recipe that arms are compared with.
pub const BASELINE: &str = "baseline";

/// A recipe.
#[derive(Debug, Clone)]
pub struct Arm<'a> {
    /// Its name, also that of its folder in each pair.
    pub name: String,
    /// In what it differs from the baseline, in the words of the command line.
    pub flags: String,
    /// All its hyperparameters. A seed other than the baseline's is an arm of other luck.
    pub options: Options,
    /// What becomes of the outputs of frozen lower layers.
    pub frozen: FrozenPrefix,
    /// What changes the training texts from epoch to epoch.
    pub augment: Option<&'a Augmenter>,
}

/// A study to do.
#[derive(Debug)]
pub struct Study<'a> {
    /// The baseline, over data whose training part is all rows; it has an output folder.
    pub job: &'a Job<'a>,
    /// What is compared with it.
    pub arms: &'a [Arm<'a>],
    /// When it ends and what it says.
    pub design: Design,
    /// Part of a pair's training rows that selects; none where nothing does or the data has a part of its own.
    pub inner: Option<f64>,
    /// Seed of the folds.
    pub split_seed: u64,
}

/// The trials of one recipe, pair by pair.
pub(super) type Trials = Vec<TrialRecord>;

impl Study<'_> {
    /// Its folder's kind of work.
    pub const WORK: Work = Work {
        name: "study",
        done: "study.json",
    };

    /// Runs it; `None` where the user asked to stop, with everything on disk to go on from.
    pub fn run<B: Backend>(
        &self,
        backend: &Arc<B>,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Option<StudyReport>, TrainError> {
        let (job, design) = (self.job, self.design);
        self.check()?;
        let out = job
            .out
            .ok_or_else(|| TrainError::Option("a study needs an output folder".to_owned()))?;
        out.check_unused()?;
        let mut once = Once::of(sink);
        let sink: &mut dyn Sink = &mut once;
        let recipes = self.recipes();
        let texts = job.tokenise(sink)?;
        let keys = together(&job.data.train);
        let plan = FoldPlan::new(
            &texts.train.examples,
            &keys,
            design.folds,
            design.pairs.div_ceil(design.folds),
            self.inner,
            self.split_seed,
            job.options.seed,
        )?;
        let groups = groups(&keys, self.split_seed);
        self.say_plan(&recipes, &plan, sink);
        self.check_settings(&recipes, &plan, &texts, &backend.path(), out)?;

        let looks = design.looks();
        let texts_a_group = texts_a_group(&keys, &job.options.metric);
        let mut decisions = Decisions::new(design, self.arms.len()).standing_for(texts_a_group);
        let mut trials: Vec<Trials> = vec![Vec::new(); recipes.len()];
        let mut failures: Vec<Option<Failure>> = vec![None; self.arms.len()];
        let mut done = 0;
        for (i, fold) in plan.folds.iter().take(design.pairs).enumerate() {
            let pair = i + 1;
            for (r, recipe) in recipes.iter().enumerate() {
                let open = |r: usize| r == 0 || decisions.arms()[r - 1].is_none();
                if !open(r) {
                    continue;
                }
                done += 1;
                let folder = TrialFolder::of(out, pair, &recipe.name);
                if let Some(finished) = folder.read()? {
                    trials[r].push(finished);
                    continue;
                }
                if let (Some(failure), 1..) = (folder.failure()?, r) {
                    let seen = differences(&plan, &trials[0], &trials[r]);
                    decisions.fail(r - 1, &seen);
                    failures[r - 1] = Some(failure);
                    continue;
                }
                let left: Vec<usize> = (0..recipes.len())
                    .filter(|&r| open(r))
                    .map(|r| design.pairs - trials[r].len())
                    .collect();
                let of = done - 1 + left.iter().sum::<usize>();
                sink.event(&Event::Trial {
                    number: done,
                    of,
                    pair,
                    arm: recipe.name.clone(),
                    train_rows: fold.train.len(),
                    held_out_rows: fold.held_out.len(),
                    seconds_left: seconds_left(&trials, &open, design.pairs),
                });
                let mut news = News::of(sink, done == 1);
                let trial = Trial {
                    recipe,
                    pair,
                    fold,
                    texts: &texts,
                    plan: &plan,
                    groups: &groups,
                    folder: &folder,
                };
                let began = Instant::now();
                let record = match self.trial(trial, backend, &mut news, stop) {
                    Ok(Some(record)) => record,
                    Ok(None) => return Ok(None),
                    Err(error) => {
                        let failure = failed(recipe, pair, error, began)?;
                        folder.fail(&failure)?;
                        Checkpoints::of(&folder.path).clear()?;
                        sink.event(&Event::Note {
                            text: format!(
                                "{} failed in pair {pair}: {}; it is tried no more, the study goes on",
                                recipe.name, failure.reason
                            ),
                        });
                        let seen = differences(&plan, &trials[0], &trials[r]);
                        decisions.fail(r - 1, &seen);
                        failures[r - 1] = Some(failure);
                        continue;
                    }
                };
                sink.event(&Event::TrialDone {
                    number: done,
                    of,
                    pair,
                    arm: recipe.name.clone(),
                    metric: job.options.metric.clone(),
                    value: record.value,
                    difference: (r > 0).then(|| record.value - trials[0][i].value),
                    seconds: record.seconds,
                    memory_bytes: record.memory_bytes,
                });
                trials[r].push(record);
                if stop.load(Ordering::SeqCst) {
                    return Ok(None);
                }
            }
            if looks.contains(&pair) {
                self.look(pair, &plan, &trials, &mut decisions, sink);
            }
            if decisions.all_decided() {
                break;
            }
        }
        let done = Done {
            trials: &trials,
            failures: &failures,
            decisions: &decisions,
        };
        let report = StudyReport::of(self, &recipes, &plan, done, backend.as_ref());
        report.write(out)?;
        Ok(Some(report))
    }

    /// Refuses options and numbers of no use before anything is read; those of an arm are named with it.
    fn check(&self) -> Result<(), TrainError> {
        self.design.check()?;
        self.job.options.check()?;
        self.arms.iter().try_for_each(|arm| {
            let named = |e| TrainError::Option(format!("{}: {e}", arm.name));
            arm.options.check().map_err(named)
        })
    }

    /// The baseline and the arms.
    fn recipes(&self) -> Vec<Arm<'_>> {
        let baseline = Arm {
            name: BASELINE.to_owned(),
            flags: String::new(),
            options: self.job.options.clone(),
            frozen: self.job.frozen,
            augment: self.job.augment,
        };
        [&[baseline][..], self.arms].concat()
    }

    /// Fits one recipe in one pair and scores its held-out rows, once. The model's memory is returned.
    pub(super) fn trial<B: Backend>(
        &self,
        trial: Trial<'_>,
        backend: &Arc<B>,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Option<TrialRecord>, TrainError> {
        let Trial {
            recipe,
            pair,
            fold,
            texts,
            folder,
            ..
        } = trial;
        let (data, metric) = (self.job.data, &self.job.options.metric);
        let seed = derived(recipe.options.seed, fold.repeat, fold.fold);
        let options = Options {
            seed,
            ..recipe.options.clone()
        };
        let out = self.job.out.map(|out| out.part(folder.path.clone()));
        let job = Job {
            options: &options,
            out: out.as_ref(),
            frozen: recipe.frozen,
            augment: recipe.augment,
            ..*self.job
        };
        let run = HeldOutRun {
            job: &job,
            texts,
            train: &fold.train,
            valid: &fold.valid,
            own_valid: texts.valid.as_ref().map(|v| &v.examples),
            held_out: &fold.held_out,
            // The luck of the head is a part of what pairs differ by.
            head_seed: seed,
            marks: [
                ("folds".to_owned(), trial.plan.sha256.clone()),
                ("pair".to_owned(), pair.to_string()),
            ]
            .into(),
        };
        let missing = run.missing_labels();
        if !missing.is_empty() && recipe.name == BASELINE {
            let line = lacking(&format!("pair {pair}"), &missing);
            self.job.warn(sink, &[line])?;
        }
        let judged = run.run(None, backend, sink, stop).map_err(|e| match e {
            TrainError::Option(text) => {
                TrainError::Option(format!("{}, pair {pair}: {text}", recipe.name))
            }
            other => other,
        })?;
        let Some(judged) = judged else {
            return Ok(None);
        };
        let Judged {
            model,
            outcome,
            encoder_sha256,
            head_sha256,
            valid_rows,
            held_out,
            logits,
            seconds,
        } = judged;
        drop(model);
        let without = without(
            task_of(data.kind),
            data.labels.names(),
            &texts.train.examples,
            trial.groups,
            &logits,
            metric,
        )?;
        let value = held_out.value(metric).unwrap_or(f64::NAN);
        if !(value.is_finite() && without.iter().all(|(_, v)| v.is_finite())) {
            return Err(TrainError::Metric {
                metric: metric.clone(),
            });
        }
        let record = TrialRecord {
            arm: recipe.name.clone(),
            pair,
            seed,
            train_rows: fold.train.len(),
            valid_rows,
            held_out_rows: fold.held_out.len(),
            encoder_sha256,
            head_sha256,
            steps: outcome.steps,
            best_step: outcome.selected_step,
            ending: outcome.ending.name().to_owned(),
            train_tokens: outcome.train_tokens,
            train_loss: outcome.train_loss,
            restart: outcome.restart,
            valid: outcome.valid.map(|reading| reading.metrics),
            held_out,
            value,
            without,
            planned_memory_bytes: outcome.planned_bytes,
            memory_bytes: memory_now(),
            seconds,
        };
        folder.write(&record)?;
        Checkpoints::of(&folder.path).clear()?;
        Ok(Some(record))
    }

    /// Takes a look and says what each open arm looks like.
    fn look(
        &self,
        pair: usize,
        plan: &FoldPlan,
        trials: &[Trials],
        decisions: &mut Decisions,
        sink: &mut dyn Sink,
    ) {
        let open: Vec<bool> = decisions.arms().iter().map(Option::is_none).collect();
        let all: Vec<Vec<Difference>> = trials[1..]
            .iter()
            .map(|arm| differences(plan, &trials[0], arm))
            .collect();
        decisions.look(pair, &all.iter().collect::<Vec<_>>());
        for (a, arm) in self.arms.iter().enumerate().filter(|(a, _)| open[*a]) {
            let seen = decisions.seen(a, pair, &all[a]);
            let seen = seen.within(widest(&self.job.options.metric));
            sink.event(&Event::Look {
                pairs: pair,
                of: self.design.pairs,
                arm: arm.name.clone(),
                effect: seen.estimate.effect,
                interval: seen.interval,
                verdict: match seen.verdict {
                    Verdict::Undecided if pair < self.design.pairs => "open".to_owned(),
                    verdict => verdict.name().to_owned(),
                },
            });
        }
    }

    fn say_plan(&self, recipes: &[Arm<'_>], plan: &FoldPlan, sink: &mut dyn Sink) {
        let Design {
            pairs,
            folds,
            alpha,
            margin,
            ..
        } = self.design;
        let looks: Vec<String> = self.design.looks().iter().map(usize::to_string).collect();
        let metric = &self.job.options.metric;
        let small = match margin > 0.0 {
            true => format!("differences of {metric} up to {margin} count as none"),
            false => {
                format!("no difference of {metric} counts as none (--margin says which would)")
            }
        };
        let mut lines = vec![format!(
            "{pairs} pairs at most, each holds out one of {folds} parts of the texts (--split-seed {}); looks after {}; \
             arms: {}; probability of any false claim: at most {alpha}; {small}",
            self.split_seed,
            looks.join(", "),
            self.arms.len(),
        )];
        if plan.repeated_texts > 0 {
            lines.push(format!(
                "{} rows have a text that stands more than once; all rows of a text are in one fold",
                plan.repeated_texts
            ));
        }
        for arm in &recipes[1..] {
            lines.push(format!("arm {}: {}", arm.name, arm.flags));
        }
        for text in lines {
            sink.event(&Event::Note { text });
        }
    }
}

/// One recipe in one pair.
#[derive(Clone, Copy)]
pub(super) struct Trial<'a> {
    /// The recipe.
    pub recipe: &'a Arm<'a>,
    /// The pair, from 1.
    pub pair: usize,
    /// Its rows.
    pub fold: &'a Fold,
    /// All texts.
    pub texts: &'a Texts,
    /// All pairs.
    pub plan: &'a FoldPlan,
    /// The jackknife's group of each row.
    pub groups: &'a [u32],
    /// Where it leaves its record.
    pub folder: &'a TrialFolder,
}

/// The failure of an arm's trial that ended by this error, where numbers that are none are its cause. The baseline's
/// is an error: without it nothing can be compared.
fn failed(
    recipe: &Arm<'_>,
    pair: usize,
    error: TrainError,
    began: Instant,
) -> Result<Failure, TrainError> {
    match error.diverged() {
        false => Err(error),
        true if recipe.name == BASELINE => Err(TrainError::Option(format!(
            "{BASELINE}, pair {pair}: {error}"
        ))),
        true => Ok(Failure {
            pair,
            reason: error.to_string(),
            seconds: began.elapsed().as_secs_f64(),
        }),
    }
}

/// An arm's differences from the baseline, pair by pair.
pub(super) fn differences(plan: &FoldPlan, baseline: &Trials, arm: &Trials) -> Vec<Difference> {
    let both = baseline.iter().zip(arm).zip(&plan.folds);
    both.map(|((b, a), fold)| Difference {
        repeat: fold.repeat,
        whole: a.value - b.value,
        // The same held-out rows, so the same groups in the same order.
        without: a
            .without
            .iter()
            .zip(&b.without)
            .map(|(a, b)| (a.0, a.1 - b.1))
            .collect(),
    })
    .collect()
}

/// Seconds until the last pair at most, by what each recipe took so far, or the baseline where it was not tried yet.
fn seconds_left(trials: &[Trials], open: &dyn Fn(usize) -> bool, pairs: usize) -> Option<f64> {
    let mean = |t: &Trials| {
        let sum: f64 = t.iter().map(|r| r.seconds).sum();
        (!t.is_empty()).then(|| sum / t.len() as f64)
    };
    let usual = mean(&trials[0])?;
    let each = trials.iter().enumerate().filter(|(r, _)| open(*r));
    let left = each.map(|(_, t)| mean(t).unwrap_or(usual) * (pairs - t.len()) as f64);
    Some(left.sum())
}
