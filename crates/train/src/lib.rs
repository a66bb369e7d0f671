//! The training loop: steps, evaluation and metrics, early stopping, selection, checkpoints.
//! It emits [`Event`]s and draws nothing; it trains over any backend and names none. [`Job`] is a whole run, with an example.
//!
//! ```
//! use hone_train::metrics;
//!
//! let [low, high] = metrics::wilson(80, 100);
//! assert!(low < 0.8 && 0.8 < high);
//! ```

mod abstain;
mod anchor;
mod answer;
mod augment;
mod average;
mod batches;
mod calibrate;
mod checkpoint;
mod conclude;
mod course;
mod doubts;
mod engine;
mod error;
mod evaluate;
mod events;
mod examples;
mod features;
mod fit;
mod head_start;
mod held_out;
mod identity;
mod job;
mod job_data;
mod known;
mod lbfgs;
mod linear;
mod logistic;
mod memory;
pub mod metrics;
mod options;
mod output;
mod penalty;
mod planning;
mod prefix;
mod prepare;
mod pretrain;
mod reading;
pub mod recipe;
mod restart;
mod resume;
mod row_lists;
mod save;
mod scorer;
pub mod special;
mod standardize;
mod start;
mod stepping;
mod summary;
mod targets;
mod training;
mod validation;
mod wanted;
pub mod watch;

pub use abstain::{Abstain, Abstention, Answered};
pub use answer::{RowAnswer, Said};
pub use augment::{EpochTexts, Epochs, EpochsDrawn, ModelWords};
pub use average::Average;
pub use batches::{BatchPlan, Order};
pub use calibrate::{Answers, Calibration, Change, Reliability};
pub use checkpoint::{Best, Checkpoint, Checkpoints, State};
pub use engine::{Engine, Queued, StepDone, StepRates, WordUpdates};
pub use error::TrainError;
pub use evaluate::{
    EvalBatches, Prediction, argmax, evaluate, predict, sigmoid, softmax, word_classes,
};
pub use events::{Event, Plan, Sink, Step};
pub use examples::{Examples, Targets};
pub use features::{Features, features, features_each};
pub use fit::{Begun, Fit, Fitted, Prepared, Texts};
pub use held_out::HeldOut;
pub use hone_bert::Pool;
pub use identity::{Difference, Identity};
pub use job::{Done, Job, Strictness};
pub use job_data::{DataSource, JobData, SplitOff, Undivided, ValidSource, together};
pub use known::KnownFeatures;
pub use lbfgs::{dot, minimise, minimise_by};
pub use linear::Linear;
pub use logistic::Logistic;
pub use memory::{memory_now, peak_memory};
pub use options::{Cadence, ClassWeights, MOST_STEPS, Options, Select, fits_task};
pub use output::{Output, OutputError, Work};
pub use prefix::{FrozenPrefix, PrefixCache};
pub use prepare::{TextReceipt, Tokenising, kind_of, labelled, parse_task, task_of, unlabelled};
pub use pretrain::{Pretrained, Pretraining, RawSource, RawTexts};
pub use reading::{Reading, Sureness, read_set};
pub use resume::Begin;
pub use row_lists::{Listed, ListedRow, RowLists, RowText};
pub use save::{save_folder, trained_on_pairs, write_beside};
pub use scorer::Scorer;
pub use standardize::Standardize;
pub use start::{Init, InitHead};
pub use summary::{PartSummary, Summary};
pub use targets::TargetRule;
pub use training::{Ending, Outcome, Training};
pub use wanted::{Wanted, shared};

/// The examples of the crate's README, which `cargo test --doc` compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadMe;
