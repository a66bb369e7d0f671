//! `tune.json`: what was searched, what won, what that is worth, and what each setting matters.

use super::refit::{EFFECT_METHOD, Judged};
use super::runner::{Chooser, Course, Untouched};
use super::search::{Found, run_name};
use super::sensitivity::{SettingMoves, interval_method};
use super::space::Configuration;
use hone_kernels::Backend;
use hone_train::metrics::better;
use hone_train::{Options, peak_memory};
use serde::Serialize;

/// A trial.
#[derive(Debug, Clone, Serialize)]
pub struct TrialReport {
    /// Its number; 0 has the options as given.
    pub trial: usize,
    /// Its settings.
    pub settings: Configuration,
    /// Runs that it had.
    pub runs: usize,
    /// Mean over its replicates on all rows.
    pub mean: Option<f64>,
    /// Why a run of it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// The winner.
#[derive(Debug, Clone, Serialize)]
pub struct Winner {
    /// Its number.
    pub trial: usize,
    /// Its settings.
    pub settings: Configuration,
    /// All its options; the seed is the saved model's.
    pub options: Options,
    /// The value that chose it: the best of many, so it flatters.
    pub chosen_by: Option<f64>,
    /// Replicates of which that is the mean.
    pub replicates: usize,
    /// Mean of the given options over as many of them as those have.
    pub given: Option<f64>,
    /// How many that are.
    pub given_replicates: usize,
}

/// Rows by use.
#[derive(Debug, Clone, Serialize)]
pub struct RowsReport {
    /// Searched on.
    pub train: usize,
    /// What chose.
    pub chooser: String,
    /// Seen by no trial.
    pub untouched: usize,
    /// Which those are.
    pub untouched_part: &'static str,
}

/// `tune.json`. All but seconds and memory is the same, bit by bit, however often the search was stopped.
#[derive(Debug, Clone, Serialize)]
pub struct TuneReport {
    /// What was searched for.
    pub metric: String,
    /// Whether more of it is better.
    pub higher_is_better: bool,
    /// The space, as `--space` takes it.
    pub space: String,
    /// Rows by use.
    pub rows: RowsReport,
    /// The budget.
    pub budget_minutes: Option<f64>,
    /// Trials at most.
    pub trials_at_most: Option<usize>,
    /// The search.
    #[serde(flatten)]
    pub found: Found,
    /// All trials.
    pub all_trials: Vec<TrialReport>,
    /// The winner.
    pub best: Winner,
    /// What it is worth.
    pub refit: Judged,
    /// How the effect's interval comes about.
    pub effect_interval_method: &'static str,
    /// What each setting matters.
    pub sensitivity: Vec<SettingMoves>,
    /// How its intervals come about.
    pub sensitivity_interval_method: String,
    /// Runs in all.
    pub runs: usize,
    /// The search's seed.
    pub seed: u64,
    /// Seed of folds and splits.
    pub split_seed: u64,
    /// Arithmetic path.
    pub kernel_path: String,
    /// Hone's version.
    pub version: &'static str,
    /// Seconds of all sittings.
    pub seconds: f64,
    /// Most memory the process held.
    pub peak_memory_bytes: Option<u64>,
}

impl TuneReport {
    pub(super) fn of<B: Backend>(
        course: &Course<'_, B>,
        found: Found,
        refit: Judged,
        sensitivity: Vec<SettingMoves>,
    ) -> TuneReport {
        let (tune, journal) = (course.tune, &course.journal);
        let metric = tune.job.options.metric.clone();
        // The mean over the first replicates, as many as there are.
        let mean = |trial: usize, most: usize| -> (Option<f64>, usize) {
            let runs = (1..=most).map_while(|r| journal.run(&run_name(trial, 1.0, r)));
            let values: Vec<Option<f64>> = runs.map(|r| r.value).collect();
            let n = values.len();
            let all: Option<Vec<f64>> = values.into_iter().collect();
            let all = all.filter(|all| !all.is_empty());
            (all.map(|all| all.iter().sum::<f64>() / n as f64), n)
        };
        let trial = |number: usize| {
            let own = || journal.runs().filter(|r| r.trial == Some(number));
            let own = || own().filter(|r| r.purpose == super::Purpose::Search);
            TrialReport {
                trial: number,
                settings: course.trial(number).0,
                runs: own().count(),
                mean: mean(number, usize::MAX).0,
                failed: own().find_map(|r| r.failed.clone()),
            }
        };
        let last = found.rungs.last();
        let replicates = last.map_or(0, |r| r.replicates);
        let (settings, options) = course.trial(found.winner);
        let (given, given_replicates) = mean(0, replicates);
        let best = Winner {
            trial: found.winner,
            settings,
            options: Options {
                seed: refit.model_seed,
                ..options
            },
            chosen_by: last.and_then(|r| r.trials.first()?.mean),
            replicates,
            given,
            given_replicates,
        };
        TuneReport {
            higher_is_better: better(&metric, 1.0, 0.0),
            sensitivity_interval_method: interval_method(tune.chooser, &metric),
            metric,
            space: tune.space.to_string(),
            rows: RowsReport {
                train: course.texts.train.examples.len(),
                chooser: match tune.chooser {
                    Chooser::Folds(k) => {
                        format!("one of {k} folds of the training rows a replicate")
                    }
                    Chooser::Valid => "the validation part".to_owned(),
                },
                untouched: course.untouched().len(),
                untouched_part: match tune.untouched {
                    Untouched::Valid => "validation part",
                    Untouched::Test => "test part",
                },
            },
            budget_minutes: tune.limit.seconds.map(|s| s / 60.0),
            trials_at_most: tune.limit.trials,
            all_trials: (0..found.trials).map(trial).collect(),
            found,
            best,
            refit,
            effect_interval_method: EFFECT_METHOD,
            sensitivity,
            runs: journal.runs().count(),
            seed: tune.job.options.seed,
            split_seed: tune.split_seed,
            kernel_path: course.backend.path(),
            version: env!("CARGO_PKG_VERSION"),
            seconds: course.elapsed(),
            peak_memory_bytes: peak_memory(course.backend.as_ref()),
        }
    }
}
