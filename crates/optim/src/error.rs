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
    /// The device failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}
