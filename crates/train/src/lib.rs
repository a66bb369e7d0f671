//! The training loop: steps, evaluation and metrics, early stopping, selection, checkpoints.
//! It emits [`Event`]s and draws nothing; it trains over any backend and names none.
//!
//! ```
//! use hone_train::metrics;
//!
//! let [low, high] = metrics::wilson(80, 100);
//! assert!(low < 0.8 && 0.8 < high);
//! ```

mod augment;
mod batches;
mod checkpoint;
mod engine;
mod error;
mod evaluate;
mod events;
mod examples;
mod job;
mod job_data;
pub mod metrics;
mod options;
mod prefix;
mod prepare;
mod scorer;
mod targets;
mod training;

pub use augment::{EpochTexts, EpochsDrawn, ModelWords};
pub use batches::{BatchPlan, Order};
pub use checkpoint::{Best, Checkpoints, Identity, State};
pub use engine::{Engine, StepDone, StepRates, WordUpdates};
pub use error::TrainError;
pub use evaluate::{
    EvalBatches, Prediction, argmax, evaluate, predict, sigmoid, softmax, word_classes,
};
pub use events::{Event, Plan, Sink, Step};
pub use examples::{Examples, Targets};
pub use job::{Done, Job, PartSummary, Start, Strictness, Summary, peak_memory, write_beside};
pub use job_data::{DataSource, JobData, ValidSource, read_texts};
pub use options::{Cadence, ClassWeights, Options, Select};
pub use prefix::FrozenPrefix;
pub use prepare::{TextReceipt, Tokenising, kind_of, labelled, parse_task, task_of, unlabelled};
pub use scorer::Scorer;
pub use targets::TargetRule;
pub use training::{Ending, Outcome, Training};
