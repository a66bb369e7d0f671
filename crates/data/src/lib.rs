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
pub mod masking;
mod objects;
mod plain;
mod read;
mod row;
mod shards;
mod source;
mod split;
pub mod spread;
mod table;
mod tagged;
mod tokenize;

use std::sync::RwLock;
use std::thread;

pub use columns::Columns;
pub use error::DataError;
pub use folder::{Files, Role, find, find_texts, has_data_ending, unread};
pub use folds::folds;
pub use labels::{LabelSet, Labels, TaskKind, infer, label_names, numbering};
pub use plain::{read_plain, read_texts};
pub use read::{read_as_is, read_file, read_labelled, read_pair};
pub use row::{Cell, Part, Row, are_pairs};
pub use source::sha256_file;
pub use split::{bundle_of, stratified_split};
pub use tokenize::{Cut, Encoded, TOKENIZER_FILES, Tokenizer, Truncate, save_tokenizer};

/// On how many threads this crate, and whatever else shares rayon's threads, works on many texts at once: all processors
/// where nobody says so before the first such work. Where the system lets a process have fewer, on as many as it does. No
/// result depends on it.
pub fn use_threads(threads: usize) {
    // Rayon gets one try: a pool that could not be started is never started again.
    let builder = rayon::ThreadPoolBuilder::new();
    let builder = match possible_threads(threads) {
        0 => builder.num_threads(1).use_current_thread(),
        n => builder.num_threads(n),
    };
    // Said once; a second word finds the threads at work and changes nothing.
    let _ = builder.build_global();
}

/// As many of these threads as the system starts beside each other.
fn possible_threads(threads: usize) -> usize {
    let all_started = RwLock::new(());
    let waiting = all_started.write();
    thread::scope(|scope| {
        let start = |_| {
            let wait = || drop(all_started.read());
            thread::Builder::new().spawn_scoped(scope, wait).ok()
        };
        let started = (0..threads).map_while(start).count();
        drop(waiting);
        started
    })
}

/// The examples of the crate's README, which `cargo test --doc` compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadMe;
