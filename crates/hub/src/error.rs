//! What can go wrong, each with what to do about it.

use std::path::PathBuf;

/// Why a model is not here.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Neither variable that would name a cache is set.
    #[error("no cache folder: set HONE_CACHE (or HOME)")]
    NoCache,
    /// Not a name.
    #[error(
        "{0:?} is neither a folder, nor a short name ({known}), nor an id of the form owner/name",
        known = crate::names::known()
    )]
    Name(String),
    /// No answer.
    #[error("{endpoint} does not answer ({reason})")]
    Unreachable {
        /// Address.
        endpoint: String,
        /// What the attempt said.
        reason: String,
    },
    /// No answer, and no other way.
    #[error(
        "{id}: {reason}; to work offline, place its config.json, model.safetensors and tokenizer.json in a \
         folder and give that as the model (or place them in {folder} with the manifest of an earlier fetch)"
    )]
    Offline {
        /// The model.
        id: String,
        /// What the attempt said.
        reason: String,
        /// Its place in the cache.
        folder: PathBuf,
    },
    /// Neither the hub nor pip.
    #[error(
        "{name}: {hub}, and {pip}; to work offline, place its config.json, model.safetensors and \
         tokenizer.json in a folder (such as {folder}) and give that folder as the model"
    )]
    Nowhere {
        /// The model.
        name: String,
        /// What the hub said.
        hub: String,
        /// What pip said.
        pip: String,
        /// Its place in the cache.
        folder: PathBuf,
    },
    /// No such model, or no leave to read it.
    #[error(
        "{id}: the hub answers {status}: there is no such model, or it is private or gated (then set HF_TOKEN)"
    )]
    Refused {
        /// The model.
        id: String,
        /// HTTP status.
        status: u16,
    },
    /// A model without a file that is needed.
    #[error("{id} has no {file}{hint}")]
    Missing {
        /// The model.
        id: String,
        /// The file.
        file: String,
        /// What to do.
        hint: &'static str,
    },
    /// An answer that makes no sense.
    #[error("{url}: {reason}")]
    Answer {
        /// Address.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A broken connection, again and again.
    #[error(
        "{url}: broke off {attempts} times ({reason}); what is here is kept, run again to continue"
    )]
    Broken {
        /// Address.
        url: String,
        /// How often it was tried.
        attempts: usize,
        /// What the last attempt said.
        reason: String,
    },
    /// Another file than was promised.
    #[error("{file}: SHA-256 is {found}, {expected} was expected; the download was deleted")]
    Hash {
        /// The file.
        file: String,
        /// Computed.
        found: String,
        /// Promised.
        expected: String,
    },
    /// pip did not deliver.
    #[error("pip: {0}")]
    Pip(String),
    /// The file system.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
}

impl HubError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> HubError {
        let path = path.into();
        move |source| HubError::Io { path, source }
    }
}
