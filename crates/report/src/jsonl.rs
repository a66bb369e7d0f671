//! `metrics.jsonl`: one event a line, written at once as it happens.

use hone_train::{Event, Sink, write_beside};
use serde_json::Value;
use std::fs;
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
        if let &Event::Resumed {
            step, evaluated, ..
        } = event
        {
            self.rewind(step, evaluated)?;
        }
        let mut line = serde_json::to_string(event)?;
        line.push('\n');
        // One write a line: a process that is killed leaves it or nothing of it.
        self.file.write_all(line.as_bytes())
    }

    /// Takes out what is told again, where there is any of it.
    fn rewind(&mut self, step: usize, evaluated: usize) -> io::Result<()> {
        let log = fs::read_to_string(&self.path)?;
        let kept = rewound(&log, step as u64, evaluated as u64);
        if kept.len() < log.len() {
            write_beside(&self.path, &kept).map_err(io::Error::other)?;
            // The one that is open has lost its name.
            self.file = OpenOptions::new().append(true).open(&self.path)?;
        }
        Ok(())
    }
}

/// A log whose last run goes on after `step`, its validation part last read at `evaluated`: without what that run told of later
/// steps.
fn rewound(log: &str, step: u64, evaluated: u64) -> String {
    // A line that is none of this program's stays.
    let parsed = |line| (line, serde_json::from_str(line).unwrap_or_default());
    let lines: Vec<(&str, Value)> = log.split_inclusive('\n').map(parsed).collect();
    let at = |value: &Value| value.as_u64().unwrap_or(0);
    // A run that began anew after a collapse took a step of that number twice: the later try is the one that goes on.
    let own = last_run(&lines);
    let reached = |event: &Value| event["event"] == "step" && at(&event["step"]) <= step;
    let taken = lines[own..].iter().rposition(|(_, e)| reached(e));
    let from = own + taken.map_or(0, |last| last + 1);
    let told_again = |event: &Value| match event["event"].as_str() {
        Some("step" | "checkpoint") => at(&event["step"]) > step,
        Some("evaluated" | "stopped") => at(&event["step"]) > evaluated,
        Some("collapsed") => at(&event["collapse"]["step"]) > step,
        _ => false,
    };
    let lines = lines.iter().enumerate();
    let kept = lines.filter(|(i, (_, event))| *i < from || !told_again(event));
    kept.map(|(_, (line, _))| *line).collect()
}

/// Where the last run of a log begins: of many with its announcement, of which there is one at each sitting.
fn last_run(lines: &[(&str, Value)]) -> usize {
    let mut own = None;
    for (i, (_, event)) in lines.iter().enumerate().rev() {
        let run = ["event", "number", "run"].map(|key| &event[key]);
        match (event["event"].as_str(), own) {
            (Some("fold" | "trial" | "candidate"), None) => own = Some((i, run)),
            (Some("fold" | "trial" | "candidate"), Some((_, same))) if run == same => {
                own = Some((i, run));
            }
            (Some("fold" | "trial" | "candidate"), Some((begin, _))) => return begin,
            (Some("fold_done" | "trial_done" | "candidate_done"), _) => {
                return own.map_or(i + 1, |(begin, _)| begin);
            }
            _ => {}
        }
    }
    own.map_or(0, |(begin, _)| begin)
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

    /// What a log holds once its run goes on: lines are named by their event, number and step.
    #[track_caller]
    fn check(before: &[&str], step: usize, evaluated: usize, after: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let line = |word: &&str| match word.split_once(' ') {
            Some((event @ ("fold" | "fold_done" | "trial"), n)) => {
                format!("{{\"event\":\"{event}\",\"number\":{n}}}\n")
            }
            Some(("collapsed", n)) => {
                format!("{{\"event\":\"collapsed\",\"collapse\":{{\"step\":{n}}}}}\n")
            }
            Some((event, n)) => format!("{{\"event\":\"{event}\",\"step\":{n}}}\n"),
            None => format!("{{\"event\":\"note\",\"text\":\"{word}\"}}\n"),
        };
        let text = |words: &[&str]| words.iter().map(line).collect::<String>();
        fs::write(&path, text(before)).unwrap();
        let mut log = JsonLines::open(&path).unwrap();
        log.event(&Event::Resumed {
            step,
            evaluated,
            path: None,
        });
        log.event(&Event::Note {
            text: "new".to_owned(),
        });
        let left = fs::read_to_string(&path).unwrap();
        let own = left.lines().filter(|l| !l.contains("resumed"));
        let own: String = own.map(|l| l.to_owned() + "\n").collect();
        assert_eq!(own, text(&[after, &["new"]].concat()));
    }

    #[test]
    fn a_run_that_goes_on_tells_no_step_twice() {
        let two = ["a", "step 1", "evaluated 1", "step 2", "checkpoint 2"];
        let with = |more: &[&'static str]| [&two[..], more].concat();
        check(&two, 2, 1, &two);
        let more = with(&[
            "step 3",
            "b",
            "evaluated 3",
            "stopped 3",
            "checkpoint 3",
            "c",
        ]);
        check(&more, 2, 1, &with(&["b", "c"]));
        check(&more, 3, 3, &more);
        // Its validation was interrupted, read at another sitting, and that one killed.
        check(&with(&["evaluated 2", "step 3"]), 2, 1, &two);
        check(
            &with(&["evaluated 2", "step 3"]),
            2,
            2,
            &with(&["evaluated 2"]),
        );
        // No checkpoint yet.
        check(&two, 0, 0, &["a"]);
        // The first try of a run that began anew is told once, and so is the second.
        let again = ["step 1", "step 2", "collapsed 2", "step 1", "step 2"];
        check(&again, 1, 0, &again[..4]);
        check(&again[..3], 1, 0, &again[..1]);
        check(&again, 0, 0, &[]);
        // Of many runs the last one alone.
        let first = ["fold 1", "step 1", "step 2", "step 3", "fold_done 1"];
        let many = [&first[..], &["fold 2", "step 1", "step 2", "a", "fold 2"]].concat();
        check(&many, 1, 0, &[&many[..7], &["a", "fold 2"]].concat());
        check(&many, 0, 0, &[&many[..6], &["a", "fold 2"]].concat());
        let failed = ["trial 1", "step 1", "trial 2", "step 1", "trial 2"];
        check(&failed, 0, 0, &["trial 1", "step 1", "trial 2", "trial 2"]);
    }
}
