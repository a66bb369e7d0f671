//! Results on standard output. A reader that goes away (`hone … | head`) is no failure and no panic.

use std::fmt::Display;
use std::io::Write;

/// Prints one line.
pub fn line(text: impl Display) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")
}

/// Prints as it is.
pub fn text(text: impl Display) -> std::io::Result<()> {
    write!(std::io::stdout().lock(), "{text}")
}
