//! A run's hyperparameters, all of them decided: what `run.toml` records.

use hone_optim::{Schedule, Warmup};
use serde::{Deserialize, Serialize};

/// When something recurring happens: an integer is steps; a fraction (`0.5`, `50%`) is of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Cadence {
    /// Every so many steps.
    Steps(usize),
    /// Every such part of an epoch.
    Epochs(f64),
}

impl Cadence {
    /// Steps between two occasions, at least 1.
    pub fn steps(self, steps_per_epoch: usize) -> usize {
        match self {
            Cadence::Steps(n) => n.max(1),
            Cadence::Epochs(f) => ((f * steps_per_epoch as f64).round() as usize).max(1),
        }
    }
}

impl std::str::FromStr for Cadence {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?}: an integer is steps, a fraction such as 0.5 or 50% is of an epoch")
        };
        let fraction = |f: f64| {
            (f > 0.0 && f.is_finite())
                .then_some(Cadence::Epochs(f))
                .ok_or_else(wrong)
        };
        if let Some(percent) = text.strip_suffix('%') {
            return fraction(percent.trim().parse::<f64>().map_err(|_| wrong())? / 100.0);
        }
        match text.parse::<usize>() {
            Ok(0) => Err(wrong()),
            Ok(n) => Ok(Cadence::Steps(n)),
            Err(_) => fraction(text.parse().map_err(|_| wrong())?),
        }
    }
}

impl TryFrom<String> for Cadence {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Cadence> for String {
    fn from(cadence: Cadence) -> String {
        match cadence {
            Cadence::Steps(n) => n.to_string(),
            Cadence::Epochs(f) => format!("{}%", f * 100.0),
        }
    }
}

/// Which weights a run ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// Those of the best evaluation.
    Best,
    /// Those of the last step.
    Last,
}

/// Weights of the classes in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// All 1.
    None,
    /// n/(k·nₖ): rare classes weigh more.
    Auto,
}

/// Everything that decides a training run's bits, besides data, model and kernel path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Passes over the training part.
    pub epochs: f64,
    /// Optimiser steps; overrides `epochs`.
    pub max_steps: Option<usize>,
    /// Sequences of a forward pass.
    pub batch_size: usize,
    /// Most tokens of a micro-batch; cuts micro-batches only, never changes a step's mathematics.
    pub max_tokens: usize,
    /// Forward passes of `batch_size` in an optimiser step.
    pub grad_accum: usize,
    /// Learning rate of the top encoder layer.
    pub lr: f64,
    /// Learning rate of pooler and classifier.
    pub head_lr: f64,
    /// Each encoder layer's rate is this times that of the layer above.
    pub layer_decay: f64,
    /// Decoupled weight decay of matrices and embeddings.
    pub weight_decay: f64,
    /// AdamW's β₁.
    pub beta1: f64,
    /// AdamW's β₂.
    pub beta2: f64,
    /// AdamW's ε.
    pub eps: f64,
    /// Largest gradient norm; none: no clipping.
    pub clip: Option<f64>,
    /// Shape of the learning rate over the run.
    pub schedule: Schedule,
    /// Its warm-up.
    pub warmup: Warmup,
    /// Dropout of embeddings and sublayers.
    pub dropout: f64,
    /// Dropout of attention probabilities.
    pub attention_dropout: f64,
    /// Dropout before the classifier.
    pub head_dropout: f64,
    /// Probability spread over all classes.
    pub label_smoothing: f64,
    /// Weights of the classes.
    pub class_weights: ClassWeights,
    /// What is not trained (see `hone_optim::Freeze`).
    pub freeze: String,
    /// How frozen parts wake (see `hone_optim::Unfreeze`).
    pub unfreeze: String,
    /// Seed of new weights, order and dropout.
    pub seed: u64,
    /// Whether epochs are shuffled.
    pub shuffle: bool,
    /// How the training texts are changed (see `hone_data::augment::Plan`).
    #[serde(default = "no_augmentation")]
    pub augment: String,
    /// When the validation part is read.
    pub eval_every: Cadence,
    /// Metric of selection and early stopping.
    pub metric: String,
    /// Evaluations without improvement after which training stops; none: never.
    pub patience: Option<usize>,
    /// Which weights are kept.
    pub select: Select,
    /// When checkpoints are written; none: only when interrupted.
    pub save_every: Option<Cadence>,
}

/// What runs did before there was augmentation.
fn no_augmentation() -> String {
    "none".to_owned()
}

impl Options {
    /// Optimiser steps of the run.
    pub fn steps(&self, steps_per_epoch: usize) -> usize {
        self.max_steps
            .unwrap_or_else(|| (self.epochs * steps_per_epoch as f64).ceil() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cadence_words() {
        for (text, steps) in [
            ("50", 50),
            ("0.5", 10),
            ("50%", 10),
            ("1.0", 20),
            ("0.001", 1),
        ] {
            assert_eq!(text.parse::<Cadence>().unwrap().steps(20), steps, "{text}");
        }
        for text in ["0", "-1", "x", "", "0%", "nan"] {
            assert!(text.parse::<Cadence>().is_err(), "{text}");
        }
    }
}
