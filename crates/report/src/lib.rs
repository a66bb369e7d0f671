//! Sinks for training events: progress for people, JSON lines for programs, tables and plots for reports.
//! Nothing here decides anything.
//!
//! ```
//! use hone_report::Table;
//!
//! let mut table = Table::new(&["model", "accuracy"]);
//! table.row(["majority class", "0.500"]);
//! table.row(["fine-tuned BERT", "0.874"]);
//! assert_eq!(table.to_string().lines().count(), 4);
//! ```

/// Prints a line to standard error as `eprintln!` does, but does not panic where nobody reads it any more:
/// a closed terminal is no reason to lose a run.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

/// A text on standard error, as it is: no line's end is added. Like [`say!`], it fails for nobody.
#[macro_export]
macro_rules! show {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stderr(), $($text)*);
    }};
}

mod curves;
mod duration;
mod forest;
mod jsonl;
mod progress;
mod svg;
mod table;

pub use curves::{Curve, Curves, Mark, Scale};
pub use duration::{bytes, count, duration};
pub use forest::{Forest, ForestRow};
pub use jsonl::JsonLines;
pub use progress::Progress;
pub use table::Table;

/// The examples of the crate's README, which `cargo test --doc` compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadMe;
