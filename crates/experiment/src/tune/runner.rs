//! The course of a search: trial by trial and rung by rung, then refits, then what each setting matters.

use super::budget::Pace;
use super::halving::{MOST_REPLICATES, parts};
use super::journal::Journal;
use super::report::TuneReport;
use super::sensitivity::MOST_ROUNDS;
use super::space::{Configuration, Space};
use crate::crossval::FoldPlan;
use crate::held_out::Once;
use hone_kernels::Backend;
use hone_train::{
    Event, Examples, Job, Options, Output, Sink, Texts, TrainError, Work, metrics, together,
};
use serde_json::Value;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Which rows choose among trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chooser {
    /// Each replicate holds out another of so many parts of the training rows.
    Folds(usize),
    /// The validation part; replicates differ by their seeds.
    Valid,
}

impl Chooser {
    /// Its name in records.
    pub fn name(self) -> String {
        match self {
            Chooser::Folds(k) => format!("Folds({k})"),
            Chooser::Valid => "Valid".to_owned(),
        }
    }
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
#[derive(Debug)]
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
/// Most trials that can be asked for: planning looks at all of them before each.
pub const MOST_ASKED: usize = 4096;
/// Most fresh seeds, each of which is two whole runs.
pub const MOST_SEEDS: usize = 1000;
/// The model of the winner's first fresh seed, in the output folder.
pub const BEST: &str = "best";

/// A search that goes on.
pub(super) struct Course<'a, B: Backend> {
    pub tune: &'a Tune<'a>,
    pub backend: &'a Arc<B>,
    pub texts: Texts,
    pub out: &'a Output,
    pub journal: Journal,
    pub pace: Pace,
    pub stop: &'a AtomicBool,
    /// The folds, where they choose.
    pub plan: Option<FoldPlan>,
    /// Of all trials that there may be, with their options.
    pub trials: Vec<(Configuration, Options)>,
    /// Seconds of the runs that are still to come, as far as is known.
    pub outlook: f64,
    /// Whether nothing was run in this sitting.
    pub first: bool,
}

impl Tune<'_> {
    /// Its folder's kind of work; whoever runs it writes `tune.json` at its end.
    pub const WORK: Work = Work {
        name: "search",
        done: "tune.json",
    };

    /// Runs it; `None` where the user asked to stop, with everything on disk to go on from.
    pub fn run<B: Backend>(
        &self,
        backend: &Arc<B>,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Option<TuneReport>, TrainError> {
        let job = self.job;
        job.options.check()?;
        let out = job
            .out
            .ok_or_else(|| TrainError::Option("a search needs an output folder".to_owned()))?;
        out.check_unused()?;
        let mut once = Once::of(sink);
        let sink: &mut dyn Sink = &mut once;
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
            journal: Journal::open(out, out.resumes())?,
            texts,
            out,
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

    /// Rows fitted by a replicate on all rows, and rows scored at each reading.
    pub fn sizes(&self) -> (usize, usize) {
        let all = self.texts.train.examples.len();
        match (&self.plan, &self.texts.valid) {
            (Some(plan), _) => (plan.folds[0].train.len(), plan.folds[0].held_out.len()),
            (None, valid) => (all, valid.as_ref().map_or(0, |v| v.examples.len())),
        }
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

    /// Writes a decision down with the time.
    pub fn decide(&mut self, decision: &str, value: Value) -> Result<(), TrainError> {
        let elapsed = self.elapsed();
        self.journal.decide(decision, value, elapsed)
    }

    /// Seconds until all is done: what is known of the runs to come, within what the budget leaves.
    pub fn seconds_left(&self) -> Option<f64> {
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
