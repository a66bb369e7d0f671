//! `metrics.jsonl`: one event a line, flushed as it happens.

use hone_train::{Event, Sink};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Appends events to a file.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: BufWriter<File>,
    failed: bool,
}

impl JsonLines {
    /// Opens `path` for appending: a resumed run goes on in the same file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(JsonLines {
            path: path.to_owned(),
            file: BufWriter::new(file),
            failed: false,
        })
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, event)?;
        self.file.write_all(b"\n")?;
        self.file.flush()
    }
}

impl Sink for JsonLines {
    fn event(&mut self, event: &Event) {
        if self.failed || matches!(event, Event::Evaluating { .. }) {
            return;
        }
        if let Err(error) = self.write(event) {
            // A log that cannot be written must not end a run; it is said once.
            eprintln!(
                "warning: {}: {error}; no more metrics are written",
                self.path.display()
            );
            self.failed = true;
        }
    }
}
