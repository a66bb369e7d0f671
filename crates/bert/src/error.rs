//! What can be wrong with a model folder or a batch, with the facts a user needs to mend it.

use hone_kernels::BackendError;
use hone_tensor::{DType, TensorError};
use std::path::PathBuf;

/// Why a model could not be read, built, run or saved.
#[derive(Debug, thiserror::Error)]
pub enum BertError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `config.json` is not JSON, or lacks a field, or has one of the wrong kind.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file concerned.
        path: PathBuf,
        /// The field and what was expected.
        reason: String,
    },
    /// No model can have such a configuration.
    #[error("the configuration cannot be used: {0}")]
    Sizes(String),
    /// The configuration asks for something Hone does not compute.
    #[error("{}: {field} is {found}, which Hone does not support; supported: {supported}", path.display())]
    Unsupported {
        /// The file concerned.
        path: PathBuf,
        /// The configuration's field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would be accepted.
        supported: &'static str,
    },
    /// The folder holds no head that could be used as it is.
    #[error("{}: {why}: this is no fine-tuned model that Hone can use; train one with `hone train`", path.display())]
    NoHead {
        /// Its `config.json`.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The folder holds no weights Hone reads.
    #[error("{}: no model.safetensors{hint}", path.display())]
    NoWeights {
        /// The folder.
        path: PathBuf,
        /// What was found instead, and how to convert it.
        hint: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{}: tensor {name} has shape {found:?}, config.json expects {expected:?}", path.display())]
    Shape {
        /// The file concerned.
        path: PathBuf,
        /// The tensor, as the file names it.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape the configuration implies.
        expected: Vec<usize>,
    },
    /// Tensors the encoder needs are absent.
    #[error("{}: {} of the encoder's tensors are missing, the first is {first}", path.display(), count)]
    Missing {
        /// The folder.
        path: PathBuf,
        /// How many.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// Two tensors of the files mean the same parameter.
    #[error("{}: tensors {first} and {second} both stand for {parameter}", path.display())]
    Twice {
        /// The folder.
        path: PathBuf,
        /// One spelling.
        first: String,
        /// The other.
        second: String,
        /// The parameter.
        parameter: String,
    },
    /// A weight is stored in integers, whose scale the file does not tell.
    #[error("{}: tensor {name} is stored as {dtype:?}: a quantised model; f32, f64, f16 or bf16 was expected", path.display())]
    Quantised {
        /// The file concerned.
        path: PathBuf,
        /// The tensor, as the file names it.
        name: String,
        /// Its type.
        dtype: DType,
    },
    /// A weight is NaN or infinite.
    #[error("{}: tensor {name} holds {value} at element {element}; all weights must be finite", path.display())]
    NotFinite {
        /// The file concerned.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Which element.
        element: usize,
        /// Its value.
        value: f32,
    },
    /// A trained weight is NaN or infinite.
    #[error(
        "tensor {name} holds {value} at element {element} after training, so no model was saved: the rate was too high (--lr, --warmup)"
    )]
    Diverged {
        /// The tensor.
        name: String,
        /// Which element.
        element: usize,
        /// Its value.
        value: f32,
    },
    /// A parameter is given values that it cannot have.
    #[error("parameter {name}: {found}")]
    Values {
        /// Its name, or its number where the table ends before it.
        name: String,
        /// What was given, and what was expected.
        found: String,
    },
    /// A pass comes before what it needs.
    #[error("a pass goes forward, then comes its loss, then it goes back, once: {0}")]
    Order(&'static str),
    /// A batch does not fit the model.
    #[error("a batch does not fit the model: {0}")]
    Batch(String),
    /// A tensor file is damaged.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The device failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}
