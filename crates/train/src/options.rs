//! A run's hyperparameters, all of them decided: what `run.toml` records.

use crate::batches::steps_per_epoch;
use crate::watch::CollapseGuard;
use crate::{Average, Init, InitHead, Pool, Standardize, TrainError};
use hone_bert::{LossKind, Task};
use hone_kernels::Contrast;
use hone_optim::{Multipliers, Pull, Schedule, Warmup, part_of};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::str::FromStr;

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
            // Per cent where that is read as the same number (0.119 is not), else the fraction.
            Cadence::Epochs(f) => match format!("{}%", f * 100.0) {
                text if text.parse() == Ok(cadence) => text,
                // "1" would be a step.
                _ => format!("{f:?}"),
            },
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
    /// Where the weights begin.
    pub init: Init,
    /// Whether a head in the model folder is left aside even where it fits.
    pub new_head: bool,
    /// What a new head begins as.
    pub init_head: InitHead,
    /// What a head for whole texts reads.
    #[serde(with = "pool_name")]
    pub pool: Pool,
    /// When values are learned in units of their own mean and deviation.
    #[serde(default = "plain_values")]
    pub standardize: Standardize,
    /// Upper encoder layers that are drawn anew, with the pooler (Zhang et al. 2021).
    pub reinit_top: usize,
    /// Passes over the training part.
    pub epochs: f64,
    /// Optimiser steps; overrides `epochs`.
    pub max_steps: Option<usize>,
    /// Sequences of a forward pass.
    pub batch_size: usize,
    /// Most tokens of a micro-batch; cuts micro-batches only, never changes a step's mathematics, and so cuts none under
    /// a contrast, which is of the texts of a batch.
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
    /// Focal exponent γ of the class loss (Lin et al. 2017); 0: plain cross-entropy.
    pub focal_loss: f64,
    /// R-Drop's α (Liang et al. 2021): weight of the disagreement of two passes over each text; 0: one pass.
    pub r_drop: f64,
    /// Supervised contrast's α (Gunel et al. 2021): weight of the loss that draws texts of a class in a batch together; 0: none.
    #[serde(default)]
    pub contrast: f64,
    /// Its temperature τ.
    #[serde(default = "usual_temperature")]
    pub contrast_temperature: f64,
    /// Decay of pre-trained weights towards where they began, instead of weight decay (L2-SP).
    pub l2_sp: Pull,
    /// Probability that a number of a pre-trained matrix is what it began as (mixout).
    pub mixout: f64,
    /// Which average of the weights is evaluated and kept.
    pub average: Average,
    /// What is not trained (see [`hone_optim::Unfreeze`]).
    pub freeze: String,
    /// How frozen parts wake (see [`hone_optim::Unfreeze`]).
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
    /// Whether a temperature is fitted on the validation rows and divided into the classifier.
    pub calibrate: bool,
    /// Precision for which a threshold of abstention is found on the validation rows; none: none is.
    pub abstain_precision: Option<f64>,
    /// What happens to a run that learns nothing.
    #[serde(default)]
    pub collapse_guard: CollapseGuard,
    /// When checkpoints are written; none: only when interrupted.
    pub save_every: Option<Cadence>,
}

/// A pool by its name.
mod pool_name {
    use crate::Pool;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(pool: &Pool, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(pool.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Pool, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// What runs did before there was augmentation.
fn usual_temperature() -> f64 {
    0.3
}

fn no_augmentation() -> String {
    "none".to_owned()
}

/// What runs did before values were standardised.
fn plain_values() -> Standardize {
    Standardize::Never
}

impl Default for Options {
    /// `hone train`'s, for a model whose dropouts are BERT's, a task of classes and validation rows enough to select.
    fn default() -> Options {
        Options {
            init: Init::Pretrained,
            new_head: false,
            init_head: InitHead::Random,
            pool: Pool::Cls,
            standardize: Standardize::Auto,
            reinit_top: 0,
            epochs: 3.0,
            max_steps: None,
            batch_size: 32,
            max_tokens: 8192,
            grad_accum: 1,
            lr: 5e-5,
            head_lr: 5e-4,
            layer_decay: 1.0,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            clip: Some(1.0),
            schedule: Schedule::Linear,
            warmup: Warmup::Fraction(0.06),
            dropout: 0.1,
            attention_dropout: 0.1,
            head_dropout: 0.1,
            label_smoothing: 0.0,
            class_weights: ClassWeights::None,
            focal_loss: 0.0,
            r_drop: 0.0,
            contrast: 0.0,
            contrast_temperature: usual_temperature(),
            l2_sp: Pull::NONE,
            mixout: 0.0,
            average: Average::None,
            freeze: "none".to_owned(),
            unfreeze: "none".to_owned(),
            seed: 0,
            shuffle: true,
            augment: "none".to_owned(),
            eval_every: Cadence::Epochs(1.0),
            metric: "accuracy".to_owned(),
            patience: None,
            select: Select::Best,
            calibrate: false,
            abstain_precision: None,
            collapse_guard: CollapseGuard::Warn,
            save_every: None,
        }
    }
}

impl Options {
    /// Steps of a run of so many in which the rate rises: the warm-up, or the schedule's own.
    pub fn rising_steps(&self, steps: usize) -> usize {
        self.schedule.rising(self.warmup.steps(steps), steps)
    }

    /// What the schedule of a run of `total` steps multiplies the rates by over some of its steps (from 0).
    pub fn multipliers(&self, steps: Range<usize>, total: usize) -> Multipliers {
        let warmup = self.warmup.steps(total);
        self.schedule.multipliers(steps, warmup, total)
    }

    /// Refuses numbers with which no run can be done, in the words of `hone train`, which refuses more (a rate of 0, say):
    /// every field can be set by hand.
    pub fn check(&self) -> Result<(), TrainError> {
        let wrong = |what: String| Err(TrainError::Option(what));
        for (flag, count) in [
            ("batch-size", Some(self.batch_size)),
            ("grad-accum", Some(self.grad_accum)),
            ("max-tokens", Some(self.max_tokens)),
            ("max-steps", self.max_steps),
            ("patience", self.patience),
        ] {
            match count {
                Some(0) => return wrong(format!("--{flag} 0: at least 1 was expected")),
                Some(n) if n > MOST_STEPS => {
                    return wrong(format!("--{flag} {n}: at most {MOST_STEPS} was expected"));
                }
                _ => {}
            }
        }
        let from_zero: Bounds = (|x| x >= 0.0, "a number from 0");
        let below_one: Bounds = (|x| (0.0..1.0).contains(&x), "a number from 0 to below 1");
        let decay: Bounds = (|x| x > 0.0 && x <= 1.0, "a number above 0, at most 1,");
        let between: Bounds = (|x| x > 0.0 && x < 1.0, "a number between 0 and 1");
        let small: Bounds = (
            |x| x >= f64::from(f32::MIN_POSITIVE),
            "a number that f32 can hold, from 1.2e-38,",
        );
        for (flag, value, (fits, expected)) in [
            ("epochs", Some(self.epochs), from_zero),
            ("lr", Some(self.lr), from_zero),
            ("head-lr", Some(self.head_lr), from_zero),
            ("layer-decay", Some(self.layer_decay), decay),
            ("weight-decay", Some(self.weight_decay), from_zero),
            ("beta1", Some(self.beta1), below_one),
            ("beta2", Some(self.beta2), below_one),
            ("eps", Some(self.eps), small),
            ("clip", self.clip, from_zero),
            ("dropout", Some(self.dropout), below_one),
            ("attention-dropout", Some(self.attention_dropout), below_one),
            ("head-dropout", Some(self.head_dropout), below_one),
            ("label-smoothing", Some(self.label_smoothing), below_one),
            ("focal-loss", Some(self.focal_loss), from_zero),
            ("r-drop", Some(self.r_drop), from_zero),
            ("contrast", Some(self.contrast), from_zero),
            (
                "contrast-temperature",
                Some(self.contrast_temperature),
                (|x| (0.01..=100.0).contains(&x), "a number from 0.01 to 100"),
            ),
            ("mixout", Some(self.mixout), below_one),
            ("abstain-precision", self.abstain_precision, between),
        ] {
            if let Some(value) = value.filter(|x| !(x.is_finite() && fits(*x))) {
                return wrong(format!("--{flag} {value}: {expected} was expected"));
            }
        }
        writable("schedule", self.schedule)?;
        writable("warmup", self.warmup)?;
        writable("l2-sp", self.l2_sp)?;
        writable("average", self.average)?;
        writable("eval-every", self.eval_every)?;
        self.save_every
            .map_or(Ok(()), |c| writable("save-every", c))
    }

    /// How texts of a class are drawn together; none: they are not.
    pub fn drawn_together(&self) -> Option<Contrast> {
        (self.contrast > 0.0).then_some(Contrast {
            strength: self.contrast,
            temperature: self.contrast_temperature,
        })
    }

    /// Training texts of an optimiser step, at least 1.
    pub fn step_rows(&self) -> usize {
        self.batch_size.saturating_mul(self.grad_accum).max(1)
    }

    /// Optimiser steps of an epoch over `rows` training texts, at least 1; the last may have fewer texts.
    pub fn steps_per_epoch(&self, rows: usize) -> usize {
        steps_per_epoch(rows, self.step_rows())
    }

    /// Optimiser steps of the run.
    pub fn steps(&self, steps_per_epoch: usize) -> usize {
        self.max_steps
            .unwrap_or_else(|| part_of(self.epochs, steps_per_epoch))
    }
}

/// Refuses what no file could hold: the word of an option is read as its flag would be.
fn writable<T: Into<String> + FromStr<Err = String>>(
    flag: &str,
    value: T,
) -> Result<(), TrainError> {
    let word: String = value.into();
    let read = word.parse::<T>().map(|_| ());
    read.map_err(|e| TrainError::Option(format!("--{flag} {e}")))
}

/// What fits, and what is said where it does not.
type Bounds = (fn(f64) -> bool, &'static str);

/// Refuses options that a task has no place for, before anything is read or trained.
pub fn fits_task(options: &Options, task: Task) -> Result<(), TrainError> {
    if task == Task::Tag && options.pool == Pool::Mean {
        return Err(TrainError::Option(
            "--pool mean is for labels of whole texts; tagging reads every word".to_owned(),
        ));
    }
    if task != Task::Regress && options.standardize == Standardize::Always {
        return Err(TrainError::Option(
            "--standardize always is for values (--task regress)".to_owned(),
        ));
    }
    if task != Task::Classify && options.contrast > 0.0 {
        return Err(TrainError::Option(
            "--contrast is for texts of one class each".to_owned(),
        ));
    }
    if matches!(LossKind::of(task), LossKind::Softmax { .. }) && task != Task::Mask {
        return Ok(());
    }
    let weighted = options.class_weights != ClassWeights::None;
    let given = [
        ("--focal-loss", options.focal_loss > 0.0),
        ("--r-drop", options.r_drop > 0.0),
        ("--label-smoothing", options.label_smoothing > 0.0),
        ("--class-weights", weighted),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(TrainError::Option(format!(
            "{flag} is for texts or words of one class each"
        ))),
        None => Ok(()),
    }
}

/// Most steps of a run, texts of a batch and the like: two such numbers can be multiplied, and a step's is part of a draw of 32
/// bits.
pub const MOST_STEPS: usize = u32::MAX as usize;

/// Refuses a run of no steps, and one of so many that the key of a dropout draw, which has 32 bits for the step, would
/// come again.
pub(crate) fn can_run(rows: usize, steps: usize) -> Result<(), TrainError> {
    let wrong = |what| Err(TrainError::Option(what));
    if rows == 0 {
        return wrong(
            "there is nothing to train on: no text is left beside those held out (--valid)"
                .to_owned(),
        );
    }
    if steps == 0 {
        return wrong("there is nothing to train: the run has no steps".to_owned());
    }
    match steps <= MOST_STEPS {
        true => Ok(()),
        false => wrong(format!(
            "the run would have {steps} steps, at most {MOST_STEPS} were expected: give fewer --epochs, or --max-steps"
        )),
    }
}

#[cfg(test)]
mod tests;
