//! What can be wrong with a data file, with the place and what was expected.

use std::path::PathBuf;

/// Why data cannot be used. Each is one line.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The name's ending says no known format.
    #[error(
        "{}: formats are .csv, .tsv, .jsonl, .json, .conll (or .bio, .iob: a word and its tag a line), .ft (fastText: \
         __label__NAME and the text a line; any other name too), each also .gz, .parquet, or a folder with train, valid and test \
         files; \
         .txt with a text a line is read by hone pretrain, hone predict and --text of hone report",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// Bytes that are no UTF-8, nor UTF-16 behind its byte order mark.
    #[error("{}: line {line}: not valid {encoding} (byte {byte} of the file); save the file as UTF-8", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Byte, from 0.
        byte: usize,
        /// What it began as.
        encoding: &'static str,
    },
    /// No rows.
    #[error("{}: the file holds no rows", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A wanted column is absent.
    #[error("{}: no column {wanted}; the columns are {found}{hint}", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: String,
        /// What there is.
        found: String,
        /// What may be wrong with the line that should name them, where it names nothing usual; else nothing.
        hint: &'static str,
    },
    /// Two columns could be meant.
    #[error("{}: {what} could be column {first} or {second}; say which with {flag}", path.display())]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// What is looked for.
        what: &'static str,
        /// One column.
        first: String,
        /// The other.
        second: String,
        /// The option that decides.
        flag: &'static str,
    },
    /// A row is malformed.
    #[error("{}: line {line}: {reason}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A Parquet file cannot be read.
    #[error("{}: {reason}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A row of a Parquet file, which has no lines, is malformed.
    #[error("{}: row {row}: {reason}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Row, from 1.
        row: usize,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A label cannot be used.
    #[error("{}: line {line}: label {label:?}: {reason}", path.display())]
    Label {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The label as written.
        label: String,
        /// Why.
        reason: String,
    },
    /// Not one label of a file is among those that a model knows.
    #[error(
        "{}: none of its labels ({found}) is one of those that were trained on ({known}); is it the right file and the \
         right column (--label-column){}?",
        path.display(),
        if found.split(", ").all(|label| label.parse::<u64>().is_ok()) {
            ", and is there a labels.txt beside it, from which numbers take their names"
        } else {
            ""
        }
    )]
    Strange {
        /// The file.
        path: PathBuf,
        /// Labels there.
        found: String,
        /// Labels that are known.
        known: String,
    },
    /// All rows have one label.
    #[error("{}: every row has the label {label:?}; at least two are needed to learn a difference", path.display())]
    OneClass {
        /// The file.
        path: PathBuf,
        /// That label.
        label: String,
    },
    /// All words have one tag.
    #[error("{}: every word has the tag {tag:?}; at least two are needed to learn a difference", path.display())]
    OneTag {
        /// The file.
        path: PathBuf,
        /// That tag.
        tag: String,
    },
    /// No row has any label.
    #[error("{}: no row has a label; at least one is needed to learn from", path.display())]
    NoLabels {
        /// The file.
        path: PathBuf,
    },
    /// A folder's files are not clear.
    #[error("{}: {reason}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An option cannot be used.
    #[error("{0}")]
    Option(String),
    /// The tokenizer's files cannot be used.
    #[error("{}: {reason}", path.display())]
    Tokenizer {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// WordNet's files cannot be used.
    #[error("{}: {reason}", path.display())]
    WordNet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}
