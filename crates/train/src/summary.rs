//! What a run is summed up as: `summary.json`.

use crate::abstain::Abstention;
use crate::calibrate::Calibration;
use crate::memory::peak_memory;
use crate::metrics::Metrics;
use crate::prepare::TextReceipt;
use crate::recipe::Recipe;
use crate::row_lists::Listed;
use crate::training::Outcome;
use crate::watch::{Gap, Restart};
use hone_bert::Model;
use hone_kernels::Backend;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Instant;

/// Metrics of a part in a summary.
#[derive(Debug, Clone, Serialize)]
pub struct PartSummary {
    /// Whether these rows chose the weights.
    pub used_for_selection: bool,
    /// What was found.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// What became of the texts.
    pub texts: TextReceipt,
}

/// `summary.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Validation part.
    pub valid: Option<PartSummary>,
    /// Test part.
    pub test: Option<PartSummary>,
    /// What the validation part had before the first step; of pre-training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Metrics>,
    /// How far training and validation texts are apart, and the verdict on the fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// Why and how the run began anew, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// What `--calibrate` did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// What `--abstain-precision` found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abstention: Option<Abstention>,
    /// Wrong and uncertain rows of the test part, else of the validation part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed: Option<Listed>,
    /// Mean training loss over the last epoch's worth of steps.
    pub train_loss: f64,
    /// Training texts.
    pub train_texts: TextReceipt,
    /// Step whose weights were kept.
    pub best_step: usize,
    /// Steps done.
    pub steps: usize,
    /// How training ended.
    pub ending: &'static str,
    /// Parts (`valid`, `test`) whose figures are missing, because reading them was interrupted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<&'static str>,
    /// Tokens trained on.
    pub train_tokens: u64,
    /// Tokens per second of training, evaluations left out.
    pub tokens_per_s: f64,
    /// Memory that was planned before the first step.
    pub planned_memory_bytes: u64,
    /// Most memory the process held.
    pub peak_memory_bytes: Option<u64>,
    /// Seconds of the run.
    pub seconds: f64,
    /// The run's seed.
    pub seed: u64,
    /// Arithmetic path.
    pub kernel_path: String,
    /// Hone's version.
    pub version: &'static str,
    /// SHA-256 by role.
    pub hashes: BTreeMap<String, String>,
    /// Parameters drawn anew, tensors ignored.
    pub weights: String,
    /// Hyperparameters that were chosen by a recipe, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Recipe>,
}

impl Summary {
    /// What every run that trained leaves; of what was asked of its model afterwards nothing yet.
    pub(crate) fn of<B: Backend>(
        model: &Model<B>,
        outcome: &Outcome,
        texts: &TextReceipt,
        (hashes, weights): (&BTreeMap<String, String>, &str),
        seed: u64,
        started: Instant,
    ) -> Summary {
        Summary {
            valid: None,
            test: None,
            before: None,
            gap: outcome.gap.clone(),
            restart: outcome.restart,
            calibration: None,
            abstention: None,
            listed: None,
            train_loss: outcome.train_loss,
            train_texts: texts.clone(),
            best_step: outcome.selected_step,
            steps: outcome.steps,
            ending: outcome.ending.name(),
            unread: Vec::new(),
            train_tokens: outcome.train_tokens,
            tokens_per_s: outcome.train_tokens as f64 / outcome.train_seconds.max(1e-9),
            planned_memory_bytes: outcome.planned_bytes,
            peak_memory_bytes: peak_memory(model.backend().as_ref()),
            seconds: outcome.seconds.max(started.elapsed().as_secs_f64()),
            seed,
            kernel_path: model.backend().path(),
            version: env!("CARGO_PKG_VERSION"),
            hashes: hashes.clone(),
            weights: weights.to_owned(),
            recipe: None,
        }
    }
}
