//! What a run is summed up as: `summary.json`.

use crate::abstain::Abstention;
use crate::calibrate::Calibration;
use crate::metrics::Metrics;
use crate::prepare::TextReceipt;
use crate::recipe::Recipe;
use crate::row_lists::Listed;
use crate::watch::{Gap, Restart};
use serde::Serialize;
use std::collections::BTreeMap;

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
