//! Results on standard output. A reader that goes away (`hone … | head`) is no failure and no panic. And which files results
//! may take the place of.

use anyhow::{Context, Result, bail};
use std::fmt::Display;
use std::fs::File;
use std::io::{BufWriter, Read, StdoutLock, Write};
use std::path::Path;

/// How a picture begins.
pub const SVG: &str = "<svg";

/// Refuses to put a file of results in the place of what the same command reads, or of anything but results of their own
/// kind, which begin like this. Said before any work is done.
pub fn may_write(flag: &str, path: &Path, begins: &str, read: &[&Path]) -> Result<()> {
    if !path.is_file() {
        return Ok(());
    }
    let named = || format!("--{flag} {}", path.display());
    let real = path.canonicalize().with_context(named)?;
    if read
        .iter()
        .any(|r| r.canonicalize().is_ok_and(|r| r == real))
    {
        bail!(
            "{}: this command reads that file; choose another name",
            named()
        );
    }
    let mut start = Vec::new();
    let file = File::open(path).with_context(named)?;
    file.take(begins.len() as u64)
        .read_to_end(&mut start)
        .with_context(named)?;
    if !begins.as_bytes().starts_with(&start) {
        bail!(
            "{}: there is another file of this name already; remove it or choose another name",
            named()
        );
    }
    Ok(())
}

/// Prints one line.
pub fn line(text: impl Display) -> std::io::Result<()> {
    named(writeln!(std::io::stdout().lock(), "{text}"))
}

/// Prints as it is.
pub fn text(text: impl Display) -> std::io::Result<()> {
    named(write!(std::io::stdout().lock(), "{text}"))
}

/// Standard output written in blocks, for many lines.
pub struct Blocks(BufWriter<StdoutLock<'static>>);

impl Blocks {
    /// Nothing written yet.
    pub fn new() -> Blocks {
        Blocks(BufWriter::new(std::io::stdout().lock()))
    }
}

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        named(self.0.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        named(self.0.flush())
    }
}

/// The error says where it was; its kind, by which a reader that went away is known, stays.
fn named<T>(done: std::io::Result<T>) -> std::io::Result<T> {
    done.map_err(|e| std::io::Error::new(e.kind(), format!("standard output: {e}")))
}
