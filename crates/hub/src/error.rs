//! Errors: one line each, with the facts a reader needs to act.

use std::path::{Path, PathBuf};

use crate::names::Kind;

/// Why a model or a data set could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Not a short name, and not an id either.
    #[error("no model is called '{name}': use owner/name or one of: {known}")]
    UnknownName {
        /// The name as given.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// An id with characters that no id has.
    #[error("'{id}' is not a {kind} id: {why}")]
    BadId {
        /// The id as given.
        id: String,
        /// What was asked for.
        kind: Kind,
        /// The rule it breaks.
        why: &'static str,
    },
    /// A revision with characters that no branch, tag or commit has.
    #[error("'{revision}' is not a revision: give a branch, a tag or a commit")]
    BadRevision {
        /// The revision as given.
        revision: String,
    },
    /// The endpoint is no web address.
    #[error("the endpoint '{endpoint}' is not a plain http:// or https:// address ({why})")]
    BadEndpoint {
        /// The endpoint, without any part that may be secret.
        endpoint: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The token has characters that no header can carry.
    #[error("HF_TOKEN holds characters that no token has (a space or a line break?)")]
    BadToken,
    /// There is no place for the cache.
    #[error("no folder for the cache: set HONE_CACHE, XDG_CACHE_HOME or HOME")]
    NoCacheFolder,
    /// The endpoint has no such model or data set.
    #[error("{endpoint} has no {kind} '{id}' (revision '{revision}'): is the id misspelt?")]
    NotFound {
        /// What was asked for.
        kind: Kind,
        /// The endpoint asked.
        endpoint: String,
        /// The id asked for.
        id: String,
        /// The revision asked for.
        revision: String,
    },
    /// It is there, this revision of it is not.
    #[error("'{id}' has no revision '{revision}'")]
    RevisionNotFound {
        /// The id asked for.
        id: String,
        /// The revision asked for.
        revision: String,
    },
    /// The endpoint wants to know who asks (401).
    #[error("{endpoint} does not show '{id}' {}: it is private or gated, or the id is misspelt; {}", token_words(*.with_token), token_advice(*.with_token))]
    Unauthorized {
        /// The endpoint asked.
        endpoint: String,
        /// The id asked for.
        id: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The endpoint knows who asks and says no (403).
    #[error("'{id}' is gated {}: accept its terms at {page}, then {}", token_words(*.with_token), token_advice(*.with_token))]
    Gated {
        /// Where the terms can be read.
        page: String,
        /// The id asked for.
        id: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// A file without which the folder is no model, or no whole data set.
    #[error("'{id}' has no {file} at revision '{revision}': it is not a {kind} hone can load")]
    MissingFile {
        /// What was asked for.
        kind: Kind,
        /// The id asked for.
        id: String,
        /// The revision asked for.
        revision: String,
        /// The file, or the files of which one is needed.
        file: String,
    },
    /// Weights only in the pickle format, which hone does not read.
    #[error(
        "'{id}' has no model.safetensors, only pytorch_model.bin, which hone does not read: convert it once, and give the folder: python -c \"import glob, torch; from huggingface_hub import snapshot_download as get; from safetensors.torch import save_file; d = get('{id}', local_dir='FOLDER'); save_file({{k: v.clone().contiguous() for f in glob.glob(d + '/pytorch_model*.bin') for k, v in torch.load(f, map_location='cpu', weights_only=True).items()}}, d + '/model.safetensors', metadata={{'format': 'pt'}})\""
    )]
    OnlyPytorch {
        /// The id asked for.
        id: String,
    },
    /// No weights at all.
    #[error("'{id}' has no model.safetensors and no pytorch_model.bin: it holds no weights")]
    NoWeights {
        /// The id asked for.
        id: String,
    },
    /// The list of shards makes no sense.
    #[error("{} of '{id}' is not a list of weight files: {why}", .path.display())]
    BadIndex {
        /// The id asked for.
        id: String,
        /// The list.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An answer that is none of the ones above.
    #[error("{url} answered with status {status}")]
    Status {
        /// The address asked.
        url: String,
        /// The status.
        status: u16,
    },
    /// A redirect that is not followed.
    #[error("{url} redirects to '{location}', which is not followed: {why}")]
    BadRedirect {
        /// The address asked.
        url: String,
        /// Where it points.
        location: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// No answer, and nothing in the cache.
    #[error("{endpoint} does not answer ({reason}) and '{id}' is not in the cache; offline, place {files} in {}", .folder.display())]
    Offline {
        /// The endpoint asked.
        endpoint: String,
        /// What went wrong.
        reason: String,
        /// The id asked for.
        id: String,
        /// The files needed.
        files: &'static str,
        /// Where they are looked for.
        folder: PathBuf,
    },
    /// No answer, and the cache does not have the data set.
    #[error(
        "{endpoint} does not answer ({reason}) and data set '{id}' is not in the cache; offline, name a folder that holds its files"
    )]
    OfflineDataSet {
        /// The endpoint asked.
        endpoint: String,
        /// What went wrong.
        reason: String,
        /// The id asked for.
        id: String,
    },
    /// The data set has several configurations, and none was named.
    #[error("data set '{id}' has several configurations: {}; name one, as {id}/{}", .configs.join(", "), .configs.first().map_or("NAME", String::as_str))]
    SeveralConfigurations {
        /// The id asked for.
        id: String,
        /// Their names.
        configs: Vec<String>,
    },
    /// The data set does not have the configuration.
    #[error("data set '{id}' has no configuration '{config}'; it has {}", .known.join(", "))]
    NoConfiguration {
        /// The id, without the configuration.
        id: String,
        /// The one asked for.
        config: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// No file of the data set is one that can be read.
    #[error("data set '{id}' has no train, valid or test file that hone reads at revision '{revision}'{}{}", listed(.others), instead(*.conversion))]
    NoData {
        /// The id asked for.
        id: String,
        /// The revision asked for.
        revision: String,
        /// What it has instead.
        others: Vec<String>,
        /// Whether the hub's own conversion was looked for.
        conversion: Conversion,
    },
    /// The hub converted the first gigabytes of the data set only.
    #[error(
        "data set '{id}' has no files that hone reads, and the hub's own conversion of it has only the beginning of {} (partial-…): fetch the set by hand and name the folder", .parts.join(", ")
    )]
    PartlyConverted {
        /// The id asked for.
        id: String,
        /// The parts that are cut off.
        parts: Vec<String>,
    },
    /// What should list a repository's files does not.
    #[error("{url} is no list of files: {why}")]
    BadListing {
        /// The address asked.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The connection kept breaking.
    #[error(
        "{url} broke off after {done} bytes, {tries} times ({reason}); the part is kept, so the next run goes on from there"
    )]
    Interrupted {
        /// The address asked.
        url: String,
        /// Bytes on disk.
        done: u64,
        /// How often it was tried.
        tries: u32,
        /// The last reason.
        reason: String,
    },
    /// The file that came has the wrong length.
    #[error(
        "{file} has {actual} bytes, {expected} were expected; it was deleted, so the next run starts anew"
    )]
    SizeMismatch {
        /// The file.
        file: String,
        /// Bytes expected.
        expected: u64,
        /// Bytes there.
        actual: u64,
    },
    /// The file that came has the wrong content.
    #[error(
        "{file} has SHA-256 {actual}, {expected} was expected; it was deleted, so the next run starts anew"
    )]
    HashMismatch {
        /// The file.
        file: String,
        /// The hash expected.
        expected: String,
        /// The hash found.
        actual: String,
    },
    /// pip could not get the package.
    #[error("pip could not get {requirement}: {reason}")]
    Pip {
        /// The package and its version.
        requirement: String,
        /// pip's last words, or why it was not run.
        reason: String,
    },
    /// The package that came is not the one known.
    #[error("the package in {} is refused: {why}", .path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The disk said no.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The path it was done to.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl HubError {
    /// For `map_err`: an [`HubError::Io`] that says what was being done to which path.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

/// Whether the hub's own conversion to Parquet was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversion {
    /// The hub has none.
    Missing,
    /// It was not asked: conversions are of `main`.
    NotAsked,
}

fn instead(conversion: Conversion) -> &'static str {
    match conversion {
        Conversion::Missing => {
            ", and the hub has no conversion of it to Parquet (refs/convert/parquet): \
             fetch it by hand and name a folder with train.csv (.jsonl, .parquet)"
        }
        Conversion::NotAsked => "",
    }
}

/// The first of some names in brackets.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let first: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    match names.len() {
        0 => String::new(),
        n if n > SHOWN => format!(" ({} and {} more)", first.join(", "), n - SHOWN),
        _ => format!(" ({})", first.join(", ")),
    }
}

fn token_words(with_token: bool) -> &'static str {
    if with_token {
        "to the owner of this HF_TOKEN"
    } else {
        "without a token"
    }
}

fn token_advice(with_token: bool) -> &'static str {
    if with_token {
        "check the rights of HF_TOKEN"
    } else {
        "set HF_TOKEN"
    }
}
