//! The course of a search: trial by trial and rung by rung, then refits, then what each setting matters. Each run and
//! each decision is asked of the journal first.

use super::budget::{Pace, Work};
use super::halving::{MOST_REPLICATES, parts};
use super::journal::{Journal, Purpose, RunRecord};
use super::report::TuneReport;
use super::search::no_time_for;
use super::sensitivity::MOST_ROUNDS;
use super::space::{Configuration, Space};
use crate::crossval::{Fold, FoldPlan, derived};
use crate::held_out::{HeldOutRun, News, lacking};
use hone_kernels::Backend;
use hone_tensor::permutation;
use hone_train::{
    Event, Examples, Job, Options, Sink, Texts, TrainError, memory_now, metrics, together,
};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Which rows choose among trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chooser {
    /// Each replicate holds out another of so many parts of the training rows.
    Folds(usize),
    /// The validation part; replicates differ by their seeds.
    Valid,
}

/// Which rows no trial sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untouched {
    /// The validation part of the data, which therefore does not choose.
    Valid,
    /// The test part.
    Test,
}

/// When a search ends. At least one of the two is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// Seconds for everything: search, refits, sensitivity.
    pub seconds: Option<f64>,
    /// Trials, the given options included.
    pub trials: Option<usize>,
}

/// Which settings are moved in the end to see what they matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sensitivity {
    /// None.
    Off,
    /// The learning rate.
    Rate,
    /// All that were tuned.
    All,
}

impl Sensitivity {
    /// Its word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Sensitivity::Off => "off",
            Sensitivity::Rate => "lr",
            Sensitivity::All => "all",
        }
    }
}

/// A search to do.
pub struct Tune<'a> {
    /// The given options, over data whose training part is what is searched on; it has an output folder.
    pub job: &'a Job<'a>,
    /// What is searched.
    pub space: &'a Space,
    /// Rows that choose.
    pub chooser: Chooser,
    /// Rows of the last figure.
    pub untouched: Untouched,
    /// When it ends.
    pub limit: Limit,
    /// Fresh seeds with which the winner and the given options are refitted.
    pub seeds: usize,
    /// What is moved in the end.
    pub sensitivity: Sensitivity,
    /// Seed of the folds.
    pub split_seed: u64,
    /// When the program began: the budget counts from there.
    pub began: Instant,
}

/// Most trials of a search that only a budget ends.
pub const MOST_TRIALS: usize = 256;
/// The model of the winner's first fresh seed, in the output folder.
pub const BEST: &str = "best";

/// How a run went.
pub(super) enum Went {
    /// To its end.
    Done(Box<RunRecord>),
    /// Not at all or not to its end: there was no time.
    NoTime,
    /// The user asked to stop; it goes on from its checkpoint.
    Stopped,
}

/// A run to do.
pub(super) struct Wanted<'a> {
    pub name: String,
    pub purpose: Purpose,
    pub trial: Option<usize>,
    pub settings: &'a Configuration,
    pub options: Options,
    pub share: f64,
    /// From 1.
    pub replicate: usize,
    /// Where it stands in the search, for people.
    pub place: String,
    /// Seconds of the search at which it must be done; none where it must not fail for time.
    pub deadline: Option<f64>,
}

/// A search that goes on.
pub(super) struct Course<'a, B: Backend> {
    pub tune: &'a Tune<'a>,
    pub backend: &'a Arc<B>,
    pub texts: Texts,
    pub out: PathBuf,
    pub journal: Journal,
    pub pace: Pace,
    pub stop: &'a AtomicBool,
    plan: Option<FoldPlan>,
    /// Of all trials that there may be, with their options.
    pub trials: Vec<(Configuration, Options)>,
    /// Seconds of the runs that are still to come, as far as is known.
    pub outlook: f64,
    first: bool,
}

impl Tune<'_> {
    /// Runs it; `None` where the user asked to stop, with everything on disk to go on from.
    pub fn run<B: Backend>(
        &self,
        backend: &Arc<B>,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Option<TuneReport>, TrainError> {
        let job = self.job;
        let out = job
            .out
            .ok_or_else(|| TrainError::Option("a search needs an output folder".to_owned()))?;
        let texts = job.tokenise(sink)?;
        let kept = match self.untouched {
            Untouched::Valid => &texts.valid,
            Untouched::Test => &texts.test,
        };
        let kept = kept.as_ref().is_some_and(|part| !part.examples.is_empty());
        let chosen_by_kept = (self.chooser, self.untouched) == (Chooser::Valid, Untouched::Valid);
        if !kept || chosen_by_kept {
            return Err(TrainError::Option(
                "a search needs rows that no trial sees, for its last figure".to_owned(),
            ));
        }
        let plan = match self.chooser {
            Chooser::Valid => None,
            Chooser::Folds(k) => Some(FoldPlan::new(
                &texts.train.examples,
                &together(&job.data.train),
                k,
                (MOST_REPLICATES + MOST_ROUNDS).div_ceil(k.max(1)),
                None,
                self.split_seed,
                job.options.seed,
            )?),
        };
        let hash = plan.as_ref().map_or("", |p| &p.sha256);
        self.check_settings(hash, &texts, backend.path(), out)?;
        let most = self.limit.trials.unwrap_or(MOST_TRIALS);
        let base = job.options;
        let trials: Vec<(Configuration, Options)> = self
            .space
            .trials(base, base.seed, most)
            .into_iter()
            .map(|c| (c.clone(), self.space.options(base, &c)))
            .collect();
        if trials.len() < 2 {
            return Err(TrainError::Option(format!(
                "--space {}: it holds nothing but the options as they are given",
                self.space
            )));
        }
        if trials.len() < most && self.limit.trials.is_some() {
            let text = format!("the space holds no more than {} trials", trials.len());
            sink.event(&Event::Note { text });
        }
        let mut course = Course {
            trials,
            tune: self,
            backend,
            journal: Journal::open(out, job.resume)?,
            texts,
            out: out.to_owned(),
            pace: Pace::default(),
            stop,
            plan,
            outlook: 0.0,
            first: true,
        };
        course.say_plan(sink);
        let report = course.all(sink);
        if let Ok(None) = report {
            let elapsed = course.elapsed();
            course.journal.stopped(elapsed)?;
        } else if report.is_ok() {
            // Nothing but records and the model is left.
            let _ = fs::remove_dir_all(out.join("work"));
        }
        report
    }
}

impl<B: Backend> Course<'_, B> {
    fn all(&mut self, sink: &mut dyn Sink) -> Result<Option<TuneReport>, TrainError> {
        let Some(found) = self.search(sink)? else {
            return Ok(None);
        };
        let Some(judged) = self.refits(&found, sink)? else {
            return Ok(None);
        };
        let Some(moved) = self.moves(&found, sink)? else {
            return Ok(None);
        };
        Ok(Some(TuneReport::of(self, found, judged, moved)))
    }

    /// Seconds of the search, all sittings.
    pub fn elapsed(&self) -> f64 {
        self.journal.earlier_sittings() + self.tune.began.elapsed().as_secs_f64()
    }

    /// The configuration of a trial and its options.
    pub fn trial(&self, trial: usize) -> (Configuration, Options) {
        self.trials[trial.min(self.trials.len() - 1)].clone()
    }

    /// Rows that are fitted and rows of which the value is, in a replicate on part of the rows.
    fn rows(&self, replicate: usize, share: f64) -> (Vec<u32>, Vec<u32>, u64) {
        let seed = self.tune.job.options.seed;
        let (train, held_out, seed) = match &self.plan {
            Some(plan) => {
                let Fold {
                    train,
                    held_out,
                    seed,
                    ..
                } = &plan.folds[(replicate - 1) % plan.folds.len()];
                (train.clone(), held_out.clone(), *seed)
            }
            None => {
                let all = 0..self.texts.train.examples.len() as u32;
                (
                    all.collect(),
                    Vec::new(),
                    derived(seed, REPLICATE, replicate),
                )
            }
        };
        if share >= 1.0 {
            return (train, held_out, seed);
        }
        // Half of the rows are half of those of a quarter and others: parts are nested.
        let order = permutation(train.len(), self.tune.split_seed, replicate as u64);
        let part = (share * train.len() as f64).ceil() as usize;
        let mut part: Vec<u32> = order
            .iter()
            .take(part)
            .map(|&i| train[i as usize])
            .collect();
        part.sort_unstable();
        (part, held_out, seed)
    }

    /// Rows fitted by a replicate on all rows, and rows scored at each reading.
    pub fn sizes(&self) -> (usize, usize) {
        let all = self.texts.train.examples.len();
        match (&self.plan, &self.texts.valid) {
            (Some(plan), _) => (plan.folds[0].train.len(), plan.folds[0].held_out.len()),
            (None, valid) => (all, valid.as_ref().map_or(0, |v| v.examples.len())),
        }
    }

    /// What a run of these options has to do.
    pub fn work(&self, options: &Options, share: f64, purpose: Purpose) -> Work {
        let (fitted, scored) = match purpose {
            Purpose::Refit => {
                let untouched = self.untouched().len();
                (self.texts.train.examples.len(), untouched)
            }
            _ => self.sizes(),
        };
        let rows = (share * fitted as f64).ceil();
        let readings = match self.tune.chooser {
            Chooser::Folds(_) => 1.0,
            Chooser::Valid => {
                let step = (options.batch_size * options.grad_accum).max(1) as f64;
                let per_epoch = (rows / step).ceil().max(1.0) as usize;
                (options.steps(per_epoch) / options.eval_every.steps(per_epoch)).max(1) as f64
            }
        };
        Work {
            trained: row_passes(options, rows as usize),
            scored: readings * scored as f64,
        }
    }

    /// Seconds that a run will take; 0 before anything was timed.
    pub fn seconds(&self, options: &Options, share: f64, purpose: Purpose) -> f64 {
        let work = self.work(options, share, purpose);
        self.pace.seconds(work).unwrap_or(0.0)
    }

    /// The rows of the last figure.
    pub fn untouched(&self) -> &Examples {
        let part = match self.tune.untouched {
            Untouched::Valid => &self.texts.valid,
            Untouched::Test => &self.texts.test,
        };
        part.as_ref()
            .map_or(&self.texts.train.examples, |p| &p.examples)
    }

    /// Does a run, or reads what it left. A run that will not be done in time is not begun, one that is not is ended.
    pub fn attempt(&mut self, wanted: Wanted<'_>, sink: &mut dyn Sink) -> Result<Went, TrainError> {
        let predicted = self.seconds(&wanted.options, wanted.share, wanted.purpose);
        let known = self.journal.run(&wanted.name).cloned().map(Box::new);
        let went = match known {
            Some(record) => {
                self.outlook -= predicted;
                Went::Done(record)
            }
            None => {
                let no_time = no_time_for(&wanted.name);
                if self.journal.decided(&no_time).is_some() {
                    return Ok(Went::NoTime);
                }
                let late = |seconds: f64| wanted.deadline.is_some_and(|end| seconds > end);
                let went = match late(self.elapsed() + predicted) {
                    true => Went::NoTime,
                    false => self.begin(&wanted, sink)?,
                };
                self.outlook -= predicted;
                if let Went::NoTime = went {
                    self.decide(&no_time, json!({ "seconds": predicted }))?;
                }
                if let Went::Done(record) = &went {
                    let elapsed = self.elapsed();
                    self.journal.finish(*record.clone(), elapsed)?;
                }
                went
            }
        };
        if let Went::Done(record) = &went
            && record.failed.is_none()
        {
            let work = self.work(&wanted.options, wanted.share, wanted.purpose);
            self.pace.add(work, record.train_seconds, record.seconds);
        }
        match went {
            Went::Done(_) if self.stop.load(Ordering::SeqCst) => Ok(Went::Stopped),
            went => Ok(went),
        }
    }

    fn begin(&mut self, wanted: &Wanted<'_>, sink: &mut dyn Sink) -> Result<Went, TrainError> {
        let (train, held_out, seed) = self.rows(wanted.replicate, wanted.share);
        let (train_rows, scored_rows) = match wanted.purpose {
            Purpose::Refit => (self.texts.train.examples.len(), self.untouched().len()),
            _ => (train.len(), self.sizes().1),
        };
        sink.event(&Event::Candidate {
            run: wanted.name.clone(),
            place: wanted.place.clone(),
            settings: wanted.settings.to_string(),
            train_rows,
            scored_rows,
            seconds_left: self.seconds_left(),
        });
        let folder = self.out.join("work").join(&wanted.name);
        let halt = AtomicBool::new(false);
        let first = std::mem::replace(&mut self.first, false);
        let mut news = News::of(sink, first);
        let mut watched = Watched {
            sink: &mut news,
            stop: self.stop,
            halt: &halt,
            began: self.tune.began,
            until: wanted
                .deadline
                .map(|end| end - self.journal.earlier_sittings()),
        };
        let done = match wanted.purpose {
            Purpose::Refit => self.refit(wanted, &folder, &mut watched, &halt),
            _ => self.score(
                wanted,
                [train, held_out],
                seed,
                &folder,
                &mut watched,
                &halt,
            ),
        };
        let name = &wanted.name;
        let record = match done {
            Err(TrainError::Option(text)) => {
                return Err(TrainError::Option(format!(
                    "{name} ({}): {text}",
                    wanted.settings
                )));
            }
            other => other?,
        };
        let Some(mut record) = record else {
            return Ok(match self.stop.load(Ordering::SeqCst) {
                true => Went::Stopped,
                false => {
                    clear(&folder)?;
                    Went::NoTime
                }
            });
        };
        record.memory_bytes = memory_now();
        record.train_rows = train_rows;
        record.scored_rows = scored_rows;
        clear(&folder)?;
        sink.event(&Event::CandidateDone {
            run: wanted.name.clone(),
            place: wanted.place.clone(),
            metric: self.tune.job.options.metric.clone(),
            value: record.value,
            failed: record.failed.clone(),
            seconds: record.seconds,
            memory_bytes: record.memory_bytes,
        });
        Ok(Went::Done(Box::new(record)))
    }

    /// Fits to some rows and scores others, once.
    fn score(
        &self,
        wanted: &Wanted<'_>,
        [train, held_out]: [Vec<u32>; 2],
        seed: u64,
        folder: &Path,
        sink: &mut dyn Sink,
        halt: &AtomicBool,
    ) -> Result<Option<RunRecord>, TrainError> {
        let options = Options {
            seed,
            ..wanted.options.clone()
        };
        let job = self.within(&options, folder);
        let chooser = match self.tune.chooser {
            Chooser::Valid => self.texts.valid.as_ref().map(|v| &v.examples),
            Chooser::Folds(_) => None,
        };
        let run = HeldOutRun {
            job: &job,
            texts: &self.texts,
            train: &train,
            valid: &[],
            own_valid: chooser,
            held_out: &held_out,
            head_seed: seed,
            marks: [("run".to_owned(), wanted.name.clone())].into(),
        };
        let missing = run.missing_labels();
        if !missing.is_empty() && wanted.trial == Some(0) {
            let line = lacking(&wanted.name, &missing);
            self.tune.job.warn(sink, &[line])?;
        }
        let began = Instant::now();
        let mut record = self.record(wanted, seed, &options, train.len());
        let judged = match run.run(None, self.backend, sink, halt) {
            // Settings that end the arithmetic are bad ones; that is what a search is to find out.
            Err(error @ (TrainError::Loss { .. } | TrainError::Gradient { .. })) => {
                record.failed = Some(error.to_string());
                record.ending = "failed".to_owned();
                record.seconds = began.elapsed().as_secs_f64();
                return Ok(Some(record));
            }
            other => other?,
        };
        let Some(judged) = judged else {
            return Ok(None);
        };
        let outcome = judged.outcome;
        let metrics = match chooser {
            Some(_) => outcome.valid.map(|reading| reading.metrics),
            None => Some(judged.held_out),
        };
        drop(judged.model);
        let value = metrics.as_ref().and_then(|m| m.value(&options.metric));
        record.value = value.filter(|v| v.is_finite());
        if record.value.is_none() {
            record.failed = Some(format!("{} is not a number", options.metric));
        }
        record.metrics = metrics;
        record.restart = outcome.restart;
        record.steps = outcome.steps;
        record.best_step = outcome.selected_step;
        record.ending = outcome.ending.name().to_owned();
        record.train_tokens = outcome.train_tokens;
        record.train_loss = Some(outcome.train_loss).filter(|x| x.is_finite());
        record.train_seconds = outcome.train_seconds;
        record.planned_memory_bytes = outcome.planned_bytes;
        record.seconds = judged.seconds;
        Ok(Some(record))
    }

    /// A record of a run of which nothing is known yet.
    pub fn record(
        &self,
        wanted: &Wanted<'_>,
        seed: u64,
        options: &Options,
        rows: usize,
    ) -> RunRecord {
        RunRecord {
            run: wanted.name.clone(),
            purpose: wanted.purpose,
            trial: wanted.trial,
            settings: wanted.settings.clone(),
            share: wanted.share,
            replicate: wanted.replicate,
            seed,
            train_rows: rows,
            scored_rows: 0,
            value: None,
            metrics: None,
            failed: None,
            restart: None,
            steps: 0,
            best_step: 0,
            ending: String::new(),
            train_tokens: 0,
            train_loss: None,
            row_passes: row_passes(options, rows),
            train_seconds: 0.0,
            seconds: 0.0,
            planned_memory_bytes: 0,
            memory_bytes: None,
        }
    }

    /// The job with other options, in a folder of its own; it goes on where it was stopped.
    pub fn within<'j>(&'j self, options: &'j Options, folder: &'j Path) -> Job<'j> {
        Job {
            options,
            out: Some(folder),
            resume: self.tune.job.resume && folder.join("checkpoints").is_dir(),
            ..*self.tune.job
        }
    }

    /// Writes a decision down with the time.
    pub fn decide(&mut self, decision: &str, value: Value) -> Result<(), TrainError> {
        let elapsed = self.elapsed();
        self.journal.decide(decision, value, elapsed)
    }

    /// Seconds until all is done: what is known of the runs to come, within what the budget leaves.
    fn seconds_left(&self) -> Option<f64> {
        let known = (self.outlook > 0.0).then_some(self.outlook);
        match self.tune.limit.seconds {
            Some(budget) => {
                let left = (budget - self.elapsed()).max(0.0);
                Some(known.map_or(left, |k| k.min(left)))
            }
            None => known,
        }
    }

    /// Rungs on part of the rows, where so many trials are planned.
    pub fn parts(&self, trials: usize) -> usize {
        parts(self.sizes().0, trials)
    }

    fn say_plan(&self, sink: &mut dyn Sink) {
        let tune = self.tune;
        let chooses = match tune.chooser {
            Chooser::Folds(k) => format!(
                "each replicate holds out one of {k} parts of them to choose by (--split-seed {})",
                tune.split_seed
            ),
            Chooser::Valid => format!(
                "the {} validation texts choose; replicates have other seeds",
                self.sizes().1
            ),
        };
        let limit = match (tune.limit.seconds, tune.limit.trials) {
            (Some(s), None) => format!("a budget of {:.1} min", s / 60.0),
            (Some(s), Some(n)) => format!("{n} trials within a budget of {:.1} min", s / 60.0),
            (None, n) => format!("{} trials", n.unwrap_or(0)),
        };
        let better = match metrics::better(&tune.job.options.metric, 1.0, 0.0) {
            true => "highest",
            false => "lowest",
        };
        let lines = [
            format!(
                "search: {limit}, for the {better} {}",
                tune.job.options.metric
            ),
            format!(
                "{} training texts; {chooses}; {} texts that no trial sees are for the last figure",
                self.texts.train.examples.len(),
                self.untouched().len()
            ),
            format!("space: {}", tune.space),
            format!("trial 0, the options as given: {}", self.trial(0).0),
        ];
        for text in lines {
            sink.event(&Event::Note { text });
        }
    }
}

/// Where seeds of replicates without folds, and of refits, are drawn.
const REPLICATE: usize = 0x5245;

/// Rows times passes; a text that is read twice counts twice.
fn row_passes(options: &Options, rows: usize) -> f64 {
    let step = (options.batch_size * options.grad_accum).max(1);
    let per_epoch = rows.div_ceil(step).max(1);
    let passes = options.steps(per_epoch) as f64 / per_epoch as f64;
    let draws = if options.r_drop > 0.0 { 2.0 } else { 1.0 };
    draws * passes * rows as f64
}

/// Leaves nothing of a run but its record.
fn clear(folder: &Path) -> Result<(), TrainError> {
    match fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(TrainError::Io {
            path: folder.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Hands events on, and ends the run when the user asks to stop or time is up.
struct Watched<'a> {
    sink: &'a mut dyn Sink,
    stop: &'a AtomicBool,
    halt: &'a AtomicBool,
    began: Instant,
    /// Seconds of this sitting.
    until: Option<f64>,
}

impl Sink for Watched<'_> {
    fn event(&mut self, event: &Event) {
        self.sink.event(event);
        let late = self
            .until
            .is_some_and(|end| self.began.elapsed().as_secs_f64() > end);
        if late || self.stop.load(Ordering::SeqCst) {
            self.halt.store(true, Ordering::SeqCst);
        }
    }
}
