//! `metrics.jsonl`: one event a line, written at once as it happens.

use hone_train::{Event, Sink};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Appends events to a file.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: File,
    failed: bool,
}

impl JsonLines {
    /// Opens `path` for appending: a resumed run goes on in the same file, without the half of a line that a machine without
    /// power may have left at its end. A file that ends in the middle of something else is an error, and stays as it is.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        let whole = whole_lines(&mut file)?;
        let mut first = [0];
        file.seek(SeekFrom::Start(whole))?;
        // Some file systems leave zeros where a line was to stand.
        if file.read(&mut first)? == 1 && !b"{\0".contains(&first[0]) {
            let why = "it ends in half a line that is no event's";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        file.set_len(whole)?;
        Ok(JsonLines {
            path: path.to_owned(),
            file,
            failed: false,
        })
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_string(event)?;
        line.push('\n');
        // One write a line: a process that is killed leaves it or nothing of it.
        self.file.write_all(line.as_bytes())
    }
}

/// Bytes up to and with the last end of a line.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    const BLOCK: u64 = 1 << 16;
    let mut end = file.metadata()?.len();
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        file.take(end - start).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|&b| b == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

impl Sink for JsonLines {
    fn event(&mut self, event: &Event) {
        if self.failed || matches!(event, Event::Evaluating { .. }) {
            return;
        }
        if let Err(error) = self.write(event) {
            // A log that cannot be written must not end a run; it is said once.
            say!(
                "warning: {}: {error}; no more metrics are written",
                self.path.display()
            );
            self.failed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn half_a_line_is_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let note = |text: &str| Event::Note {
            text: text.to_owned(),
        };
        let long = "x".repeat(100_000);
        for (left, first) in [
            (String::new(), None),
            ("{\"a\": 1}\n".to_owned(), Some("{\"a\": 1}")),
            (
                format!("{{\"a\": 1}}\n{{\"b\": \"{long}"),
                Some("{\"a\": 1}"),
            ),
            ("{\"a\"".to_owned(), None),
            ("\0\0".to_owned(), None),
        ] {
            fs::write(&path, &left).unwrap();
            let mut log = JsonLines::open(&path).unwrap();
            log.event(&note("one"));
            log.event(&note(&long));
            let text = fs::read_to_string(&path).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let before = usize::from(first.is_some());
            assert_eq!(lines.len(), before + 2, "{left:.20}");
            assert_eq!(lines.first().copied().filter(|_| before == 1), first);
            assert!(lines[before].contains("\"one\"") && lines[before + 1].contains(&long));
        }
        // Somebody else's file.
        fs::write(&path, "{\"a\": 1}\na letter").unwrap();
        let error = JsonLines::open(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"a\": 1}\na letter");
    }
}
