//! Labelled texts: read, checked, split and tokenised; nothing dropped in silence.
//!
//! The way is: a file becomes [`Row`]s, rows form a [`Part`] and labels a [`LabelSet`], texts become
//! [`Encoded`] token ids.
//!
//! ```
//! use hone_data::{Columns, read_file};
//!
//! let folder = std::env::temp_dir().join("hone-data-doc");
//! std::fs::create_dir_all(&folder)?;
//! let path = folder.join("reviews.csv");
//! std::fs::write(&path, "text,label\n\"Good, really\",1\nBad,0\n")?;
//! let part = read_file(&path, &Columns::default())?;
//! assert_eq!(part.rows[0].text, "Good, really");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod augment;
pub mod check;
mod columns;
mod dialect;
mod error;
mod fasttext;
mod folder;
mod folds;
mod labels;
mod objects;
mod plain;
mod read;
mod row;
mod source;
mod split;
pub mod spread;
mod tagged;
mod tokenize;

pub use columns::Columns;
pub use error::DataError;
pub use folder::{Files, find};
pub use folds::folds;
pub use labels::{LabelSet, Labels, TaskKind, infer, label_names};
pub use plain::{read_plain, read_texts};
pub use read::{read_as_is, read_file, read_labelled};
pub use row::{Cell, Part, Row, are_pairs};
pub use source::sha256_file;
pub use split::{bundle_of, stratified_split};
pub use tokenize::{Cut, Encoded, TOKENIZER_FILES, Tokenizer, Truncate, save_tokenizer};

/// On how many threads this crate, and whatever else shares rayon's threads, works on many texts at once: all processors
/// where nobody says so before the first such work. No result depends on it.
pub fn use_threads(threads: usize) {
    // Said once; a second word finds the threads at work and changes nothing.
    let _ = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global();
}

/// The examples of the crate's README, which `cargo test --doc` compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadMe;
