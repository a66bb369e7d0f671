//! Results on standard output. A reader that goes away (`hone … | head`) is no failure and no panic.

use std::fmt::Display;
use std::io::Write;

/// Prints one line.
pub fn line(text: impl Display) -> std::io::Result<()> {
    named(writeln!(std::io::stdout().lock(), "{text}"))
}

/// Prints as it is.
pub fn text(text: impl Display) -> std::io::Result<()> {
    named(write!(std::io::stdout().lock(), "{text}"))
}

/// The error says where it was; its kind, by which a reader that went away is known, stays.
fn named(done: std::io::Result<()>) -> std::io::Result<()> {
    done.map_err(|e| std::io::Error::new(e.kind(), format!("standard output: {e}")))
}
