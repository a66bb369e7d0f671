//! Find, fetch, verify and cache models and data sets by name.
//!
//! A model is named by a short name ([`short_names`]) or by its id on the Hugging Face hub,
//! `owner/name`. It is fetched once, every file is checked, and from then on it comes from the
//! cache, without any network:
//!
//! ```no_run
//! use hone_hub::{Event, Hub};
//!
//! # fn main() -> Result<(), hone_hub::HubError> {
//! let model = Hub::from_env()?.fetch("minilm", "main", &mut |event| match event {
//!     Event::Started { file, .. } => eprintln!("{file}"),
//!     Event::Progress { .. } => {}
//!     Event::Note(line) => eprintln!("note: {line}"),
//! })?;
//! println!("{} ({})", model.folder.display(), model.source);
//! # Ok(())
//! # }
//! ```
//!
//! A data set is named by `owner/name`, or `owner/name/configuration` where it has several. Which of its files are texts to
//! train on says the caller ([`Role`]), who reads them: [`Hub::fetch_data_set`].
//!
//! What counts as checked: a file's length, and its SHA-256 where the hub tells one (it does for
//! weights and for Parquet). The hashes go into `hone-hub.json`, which is written last, so a folder without it
//! is incomplete; each later fetch compares every file with it again.

mod address;
mod cache;
mod choose;
mod client;
mod dataset;
mod digest;
mod download;
mod error;
mod hub;
mod names;
mod pip;
mod remote;

pub use cache::FileInfo;
pub use choose::Role;
pub use dataset::DataSet;
pub use error::{Conversion, HubError};
pub use hub::{Event, Hub, Model};
pub use names::{Kind, ShortName, is_data_set_name, short_names};
pub use pip::PipPackage;

/// The examples of the crate's README, which `cargo test --doc` compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadMe;
