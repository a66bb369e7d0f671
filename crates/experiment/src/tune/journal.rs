//! `trials.jsonl`: every run and every decision of a search, a line each, in the order in which they came about.
//!
//! It is also what a search goes on from. Runs and decisions are asked for by name; what stands in the file is not done
//! again but read, so a search that was stopped takes the same course, even where a clock once decided.

use super::space::Configuration;
use hone_train::metrics::Metrics;
use hone_train::watch::Restart;
use hone_train::{Outcome, TrainError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What a run was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To choose.
    Search,
    /// To be judged on rows that no trial saw.
    Refit,
    /// To see what a setting matters.
    Sensitivity,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its name: purpose, trial or move, part of the rows, replicate.
    pub run: String,
    /// What it was for.
    pub purpose: Purpose,
    /// The trial, where it was one or is of one.
    pub trial: Option<usize>,
    /// Its settings.
    pub settings: Configuration,
    /// Part of the rows it was fitted to.
    pub share: f64,
    /// Its replicate, from 1.
    pub replicate: usize,
    /// Seed of new weights, order and dropout.
    pub seed: u64,
    /// Rows that were fitted.
    pub train_rows: usize,
    /// Rows of which the value is.
    pub scored_rows: usize,
    /// The metric; none where the run failed.
    pub value: Option<f64>,
    /// All metrics of the same rows.
    pub metrics: Option<Metrics>,
    /// Why it failed: its loss was no number any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Why and how it began anew, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Steps done.
    pub steps: usize,
    /// Step whose weights were kept.
    pub best_step: usize,
    /// How training ended.
    pub ending: String,
    /// Tokens trained on.
    pub train_tokens: u64,
    /// Mean training loss over the last epoch's worth of steps.
    pub train_loss: Option<f64>,
    /// Rows times passes over them.
    pub row_passes: f64,
    /// Seconds in which weights moved.
    pub train_seconds: f64,
    /// Seconds of the run.
    pub seconds: f64,
    /// Bytes of memory that were planned.
    pub planned_memory_bytes: u64,
    /// Memory of its own that the process held after the run.
    pub memory_bytes: Option<u64>,
}

impl RunRecord {
    /// Takes what training says of itself.
    pub(super) fn ran(&mut self, outcome: &Outcome) {
        self.steps = outcome.steps;
        self.best_step = outcome.selected_step;
        self.ending = outcome.ending.name().to_owned();
        self.restart = outcome.restart;
        self.train_tokens = outcome.train_tokens;
        self.train_loss = Some(outcome.train_loss).filter(|x| x.is_finite());
        self.train_seconds = outcome.train_seconds;
        self.planned_memory_bytes = outcome.planned_bytes;
    }

    /// Takes what its rows say; a metric that is no number is a failure.
    pub(super) fn scored(&mut self, metrics: Option<Metrics>, metric: &str) {
        let value = metrics.as_ref().and_then(|m| m.value(metric));
        self.value = value.filter(|v| v.is_finite());
        if self.value.is_none() {
            self.failed = Some(format!("{metric} is not a number"));
        }
        self.metrics = metrics;
    }

    /// The record of a run that ended by this error, where settings that end the arithmetic are its cause: that they are
    /// bad ones is what a search is to find out.
    pub(super) fn diverged(
        mut self,
        error: TrainError,
        began: Instant,
    ) -> Result<Self, TrainError> {
        if !error.diverged() {
            return Err(error);
        }
        self.failed = Some(error.to_string());
        self.ending = "failed".to_owned();
        self.seconds = began.elapsed().as_secs_f64();
        Ok(self)
    }
}

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
enum Line {
    /// A run that is done.
    Run {
        #[serde(flatten)]
        record: Box<RunRecord>,
        elapsed_seconds: f64,
    },
    /// Something that was decided.
    Decision {
        decision: String,
        value: Value,
        elapsed_seconds: f64,
    },
    /// The user stopped the search.
    Stopped { elapsed_seconds: f64 },
}

impl Line {
    fn elapsed(&self) -> f64 {
        match self {
            Line::Run {
                elapsed_seconds, ..
            }
            | Line::Decision {
                elapsed_seconds, ..
            }
            | Line::Stopped { elapsed_seconds } => *elapsed_seconds,
        }
    }
}

/// The file, and what it says.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    runs: HashMap<String, RunRecord>,
    order: Vec<String>,
    decisions: HashMap<String, Value>,
    earlier: f64,
}

impl Journal {
    /// Opens it; one that goes on is read, a last line that was not finished is cut off.
    pub fn open(out: &Path, resume: bool) -> Result<Journal, TrainError> {
        let path = out.join("trials.jsonl");
        let io = |source| TrainError::Io {
            path: path.clone(),
            source,
        };
        let text = match resume && path.is_file() {
            true => std::fs::read_to_string(&path).map_err(io)?,
            false => String::new(),
        };
        // A line is whole once its end is written.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut options = OpenOptions::new();
        let file = options.create(true).write(true).truncate(false);
        let mut file = file.open(&path).map_err(io)?;
        file.set_len(whole.len() as u64).map_err(io)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).map_err(io)?;
        let mut journal = Journal {
            path: path.clone(),
            file,
            runs: HashMap::new(),
            order: Vec::new(),
            decisions: HashMap::new(),
            earlier: 0.0,
        };
        for (i, line) in whole.lines().enumerate() {
            let line: Line = serde_json::from_str(line).map_err(|e| TrainError::Checkpoint {
                path: path.clone(),
                reason: format!("line {}: not what this version wrote ({e})", i + 1),
            })?;
            journal.earlier = journal.earlier.max(line.elapsed());
            journal.take(line);
        }
        Ok(journal)
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Run { record, .. } => {
                self.order.push(record.run.clone());
                self.runs.insert(record.run.clone(), *record);
            }
            Line::Decision {
                decision, value, ..
            } => {
                self.decisions.insert(decision, value);
            }
            Line::Stopped { .. } => {}
        }
    }

    fn add(&mut self, line: Line) -> Result<(), TrainError> {
        let io = |source| TrainError::Io {
            path: self.path.clone(),
            source,
        };
        let text = serde_json::to_string(&line).map_err(|e| TrainError::Checkpoint {
            path: self.path.clone(),
            reason: e.to_string(),
        })?;
        // One write a line, so that what is torn off is the last line.
        self.file.write_all((text + "\n").as_bytes()).map_err(io)?;
        self.file.sync_data().map_err(io)?;
        self.take(line);
        Ok(())
    }

    /// Seconds of all earlier sittings.
    pub fn earlier_sittings(&self) -> f64 {
        self.earlier
    }

    /// A run that is done.
    pub fn run(&self, name: &str) -> Option<&RunRecord> {
        self.runs.get(name)
    }

    /// All runs in their order.
    pub fn runs(&self) -> impl Iterator<Item = &RunRecord> {
        self.order.iter().filter_map(|name| self.runs.get(name))
    }

    /// Writes a run down, which says that it is done.
    pub fn finish(&mut self, record: RunRecord, elapsed: f64) -> Result<(), TrainError> {
        self.add(Line::Run {
            record: Box::new(record),
            elapsed_seconds: elapsed,
        })
    }

    /// What was decided.
    pub fn decided(&self, decision: &str) -> Option<&Value> {
        self.decisions.get(decision)
    }

    /// Writes a decision down.
    pub fn decide(&mut self, decision: &str, value: Value, elapsed: f64) -> Result<(), TrainError> {
        self.add(Line::Decision {
            decision: decision.to_owned(),
            value,
            elapsed_seconds: elapsed,
        })
    }

    /// Writes down that the user stopped the search here.
    pub fn stopped(&mut self, elapsed: f64) -> Result<(), TrainError> {
        self.add(Line::Stopped {
            elapsed_seconds: elapsed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_decided_is_read_and_a_torn_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), false).unwrap();
        journal.decide("trials", json!(12), 3.5).unwrap();
        journal.stopped(4.25).unwrap();
        drop(journal);
        let path = folder.path().join("trials.jsonl");
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, whole.clone() + "{\"line\":\"decision\",\"deci").unwrap();
        let mut journal = Journal::open(folder.path(), true).unwrap();
        assert_eq!(journal.decided("trials"), Some(&json!(12)));
        assert_eq!((journal.decided("deci"), journal.earlier), (None, 4.25));
        journal.decide("next", json!(1), 5.0).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&whole) && text.lines().count() == 3);
        // A damaged line in the middle is an error that names it, and a new search begins with nothing.
        std::fs::write(&path, "{}\n".to_owned() + &whole).unwrap();
        let error = Journal::open(folder.path(), true).err().unwrap();
        assert!(error.to_string().contains("line 1"), "{error}");
        assert_eq!(Journal::open(folder.path(), false).unwrap().earlier, 0.0);
    }
}
