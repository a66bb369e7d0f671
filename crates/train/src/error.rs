//! Why a run failed, with the facts a user needs.

use crate::OutputError;
use hone_bert::{BertError, Task};
use hone_kernels::BackendError;
use hone_tensor::TensorError;
use std::path::PathBuf;

/// Why training, evaluation or a checkpoint failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A model would not go into its folder.
    #[error(
        "{}: the model will need {:.1} MB, the disk has {:.1} MB left; make room, or choose another --out",
        path.display(), *needed as f64 / 1e6, *free as f64 / 1e6
    )]
    Space {
        /// The folder.
        path: PathBuf,
        /// Bytes of the model.
        needed: u64,
        /// Bytes that are left.
        free: u64,
    },
    /// The loss is NaN or infinite.
    #[error(
        "step {step}: the loss is {loss} (rows {rows}); lower --lr, lengthen --warmup, or look at these rows"
    )]
    Loss {
        /// The step, from 1.
        step: usize,
        /// Its value.
        loss: f64,
        /// Rows of the batch, shortened.
        rows: String,
    },
    /// A gradient is NaN or infinite.
    #[error(
        "step {step}: the gradient of {tensor} is not finite (rows {rows}); lower --lr, lengthen --warmup, or look at these rows"
    )]
    Gradient {
        /// The step, from 1.
        step: usize,
        /// The first such tensor.
        tensor: String,
        /// Rows of the batch, shortened.
        rows: String,
    },
    /// What the model says of a text is NaN or infinite.
    #[error(
        "row {row}: the model answers {value}, which is no number: it was trained at too high a rate, or its weights are damaged"
    )]
    Answer {
        /// The text's row in its file, from 1.
        row: usize,
        /// The first such output.
        value: f64,
    },
    /// What the encoder makes of a text is NaN or infinite.
    #[error(
        "row {row}: the encoder makes {value} of its text, which is no number: its weights are damaged, or too large"
    )]
    Feature {
        /// The text's row in its file, from 1.
        row: usize,
        /// The first such number.
        value: f32,
    },
    /// What is measured is NaN or infinite.
    #[error(
        "{metric} is not a number on the held-out rows; lower --lr, choose another --metric, or fewer --folds"
    )]
    Metric {
        /// Its name.
        metric: String,
    },
    /// A checkpoint belongs to another run.
    #[error("{}: {what} was {was}, now it is {now}; a resumed run must have the settings it began with", path.display())]
    Changed {
        /// The checkpoint.
        path: PathBuf,
        /// The setting.
        what: String,
        /// Its value in the checkpoint.
        was: String,
        /// Its value now.
        now: String,
    },
    /// A checkpoint is damaged.
    #[error("{}: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Two runs cannot be held against each other.
    #[error("{what} cannot be compared with those of the run that goes on: {reason}")]
    Incomparable {
        /// What of them.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// The user asked to stop before the first step.
    #[error("interrupted before the first step; nothing was trained")]
    Interrupted,
    /// A model's answers are to be measured on examples of another task.
    #[error("the examples have {found}, which is not what a model of the task {} answers", task.name())]
    OtherTask {
        /// The model's task.
        task: Task,
        /// What the examples have.
        found: &'static str,
    },
    /// Examples that nothing can be said about.
    #[error("{0}")]
    Targets(String),
    /// An option cannot be used.
    #[error("{0}")]
    Option(String),
    /// The model failed.
    #[error(transparent)]
    Bert(#[from] BertError),
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] hone_data::DataError),
    /// A tensor file failed.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The device failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The folder cannot be had.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The optimiser's policy is wrong.
    #[error(transparent)]
    Optim(#[from] hone_optim::OptimError),
}

impl TrainError {
    /// Whether the arithmetic ended: settings that make it do so are bad ones, which a search or a comparison is to find out.
    pub fn diverged(&self) -> bool {
        matches!(
            self,
            TrainError::Loss { .. }
                | TrainError::Gradient { .. }
                | TrainError::Answer { .. }
                | TrainError::Metric { .. }
        )
    }
}

/// The rows of a step, shortened for a message.
pub(crate) fn some_rows(rows: impl Iterator<Item = usize>) -> String {
    const SHOWN: usize = 8;
    let all: Vec<usize> = rows.collect();
    let mut text = all
        .iter()
        .take(SHOWN)
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    if all.len() > SHOWN {
        text += &format!(", … {} in all", all.len());
    }
    text
}
