//! `study.json`: every arm's effect, interval, verdict and cost.

use super::decide::{Decision, Decisions};
use super::design::Design;
use super::estimate::INTERVAL_METHOD;
use super::record::Failure;
use super::runner::{Arm, Study, Trials, differences};
use crate::crossval::FoldPlan;
use hone_kernels::Backend;
use hone_train::metrics::widest;
use hone_train::{TrainError, peak_memory, write_beside};
use serde::Serialize;
use std::path::Path;

/// What trials cost, on average, and beside the baseline's of the same pairs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// Tokens trained on.
    pub tokens: f64,
    /// The same over the baseline's.
    pub tokens_ratio: f64,
    /// Seconds of training and scoring.
    pub seconds: f64,
    /// The same over the baseline's.
    pub seconds_ratio: f64,
    /// Bytes planned for the largest trial.
    pub planned_memory_bytes: u64,
}

/// The baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BaselineReport {
    /// Pairs it was tried in.
    pub pairs: usize,
    /// Mean of the metric.
    pub mean: f64,
    /// The metric, pair by pair.
    pub values: Vec<f64>,
    /// What it cost.
    pub cost: Cost,
}

/// An arm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmReport {
    /// Its name.
    pub name: String,
    /// In what it differs from the baseline.
    pub flags: String,
    /// Verdict, effect, interval.
    #[serde(flatten)]
    pub decision: Decision,
    /// The trial that failed, where one did: the arm was tried no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failure>,
    /// Mean of the baseline's metric in the same pairs.
    pub baseline_mean: f64,
    /// Mean of its own.
    pub mean: f64,
    /// The difference, pair by pair.
    pub differences: Vec<f64>,
    /// What it cost.
    pub cost: Cost,
}

/// `study.json`. All but seconds and memory is the same, bit by bit, however often the study was stopped.
#[derive(Debug, Clone, Serialize)]
pub struct StudyReport {
    /// What was compared.
    pub metric: String,
    /// Rows.
    pub rows: usize,
    /// When it ends and what it says.
    #[serde(flatten)]
    pub design: Design,
    /// Pairs after which there were looks, as far as it came.
    pub looks: Vec<usize>,
    /// Pairs of the longest arm.
    pub pairs_done: usize,
    /// How the intervals come about.
    pub interval_method: &'static str,
    /// The recipe that arms are compared with.
    pub baseline: BaselineReport,
    /// Arm by arm.
    pub arms: Vec<ArmReport>,
    /// SHA-256 of who is in which fold.
    pub plan_sha256: String,
    /// Rows whose text stands more than once; all rows of one text are in one fold.
    pub repeated_text_rows: usize,
    /// The study's seed.
    pub seed: u64,
    /// Seed of the folds.
    pub split_seed: u64,
    /// Arithmetic path.
    pub kernel_path: String,
    /// Hone's version.
    pub version: &'static str,
    /// Seconds of all trials, those that failed too.
    pub seconds: f64,
    /// Most memory the process held.
    pub peak_memory_bytes: Option<u64>,
}

/// Cost of trials beside those of the baseline in the same pairs; of none it is no number.
fn cost(own: &Trials, baseline: &Trials) -> Cost {
    let n = own.len() as f64;
    let tokens = |t: &Trials| t.iter().map(|r| r.train_tokens as f64).sum::<f64>();
    let seconds = |t: &Trials| t.iter().map(|r| r.seconds).sum::<f64>();
    let same: Trials = baseline.iter().take(own.len()).cloned().collect();
    Cost {
        tokens: tokens(own) / n,
        tokens_ratio: tokens(own) / tokens(&same),
        seconds: seconds(own) / n,
        seconds_ratio: seconds(own) / seconds(&same),
        planned_memory_bytes: own
            .iter()
            .map(|r| r.planned_memory_bytes)
            .max()
            .unwrap_or(0),
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// What was done and found, the baseline's trials first.
pub(super) struct Done<'a> {
    /// The trials of each recipe.
    pub trials: &'a [Trials],
    /// The trial of each arm that failed.
    pub failures: &'a [Option<Failure>],
    /// What that says of each arm.
    pub decisions: &'a Decisions,
}

impl StudyReport {
    pub(super) fn of(
        study: &Study<'_>,
        recipes: &[Arm<'_>],
        plan: &FoldPlan,
        done: Done<'_>,
        backend: &impl Backend,
    ) -> StudyReport {
        let Done {
            trials,
            failures,
            decisions,
        } = done;
        let (job, design) = (study.job, study.design);
        let baseline = &trials[0];
        let values: Vec<f64> = baseline.iter().map(|r| r.value).collect();
        let arms = recipes[1..].iter().zip(&trials[1..]).enumerate();
        let arms = arms.map(|(a, (arm, own))| {
            let differences = differences(plan, baseline, own);
            ArmReport {
                name: arm.name.clone(),
                flags: arm.flags.clone(),
                failed: failures[a].clone(),
                decision: decisions
                    .seen(a, own.len(), &differences)
                    .within(widest(&job.options.metric)),
                baseline_mean: mean(&values[..own.len()]),
                mean: mean(&own.iter().map(|r| r.value).collect::<Vec<_>>()),
                differences: differences.iter().map(|d| d.whole).collect(),
                cost: cost(own, baseline),
            }
        });
        StudyReport {
            metric: job.options.metric.clone(),
            rows: job.data.train.rows.len(),
            design,
            looks: design
                .looks()
                .into_iter()
                .filter(|&n| n <= baseline.len())
                .collect(),
            pairs_done: baseline.len(),
            interval_method: INTERVAL_METHOD,
            arms: arms.collect(),
            baseline: BaselineReport {
                pairs: baseline.len(),
                mean: mean(&values),
                cost: cost(baseline, baseline),
                values,
            },
            plan_sha256: plan.sha256.clone(),
            repeated_text_rows: plan.repeated_texts,
            seed: job.options.seed,
            split_seed: study.split_seed,
            kernel_path: backend.path(),
            version: env!("CARGO_PKG_VERSION"),
            seconds: trials.iter().flatten().map(|r| r.seconds).sum::<f64>()
                + failures.iter().flatten().map(|f| f.seconds).sum::<f64>(),
            peak_memory_bytes: peak_memory(backend),
        }
    }

    pub(super) fn write(&self, out: &Path) -> Result<(), TrainError> {
        let path = out.join("study.json");
        let text = serde_json::to_string_pretty(self).map_err(|e| TrainError::Checkpoint {
            path: path.clone(),
            reason: e.to_string(),
        })?;
        write_beside(&path, &(text + "\n"))
    }
}
