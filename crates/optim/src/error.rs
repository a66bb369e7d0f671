//! What can be wrong with an optimiser's settings.

use hone_kernels::BackendError;

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OptimError {
    /// A `--freeze` or `--unfreeze` word that means nothing.
    #[error("--{option} {text:?}: {expected}")]
    Word {
        /// The option.
        option: &'static str,
        /// What was given.
        text: String,
        /// What is understood.
        expected: String,
    },
    /// Nothing would be trained.
    #[error("--freeze {0:?} leaves nothing to train")]
    NothingTrains(String),
    /// Weights would be drawn back further than where they began.
    #[error(
        "--l2-sp {pull}: at its peak rate of {rate:.2e} a step would take {tensor} {step:.2} times the way back to where \
         it began; give less, or a part of the way such as 50%"
    )]
    Pull {
        /// What was given.
        pull: String,
        /// The tensor.
        tensor: String,
        /// Its largest rate.
        rate: f64,
        /// What a step would go of the way.
        step: f64,
    },
    /// The device failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}
