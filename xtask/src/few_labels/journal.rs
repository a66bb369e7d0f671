//! What was measured, a line each, appended as soon as it is known: `journal.jsonl`. What stands there is not done again.

use super::statistics::Metric;
use super::subsets::Set;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
enum Line {
    /// The rows of a set that judge.
    Rows(Rows),
    /// A system, trained on one subset and judged.
    Run(Run),
}

/// The rows of a set that judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// The set.
    pub set: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// Place of each row's label among them.
    pub truth: Vec<u16>,
}

/// A system, trained on one subset and judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The set.
    pub set: String,
    /// Training texts.
    pub size: usize,
    /// The subset's number, which is its seed and the run's.
    pub subset: u64,
    /// The system.
    pub system: String,
    /// Its score.
    pub score: f64,
    /// Share of rows that are right.
    pub accuracy: f64,
    /// Seconds of training, everything it chooses and loads included; judging is not (but in the PyTorch check). Of the
    /// processor, or by the clock where a GPU computed.
    pub seconds: f64,
    /// What computed.
    #[serde(default = "cpu", skip_serializing_if = "is_cpu")]
    pub device: String,
    /// Place of the label it gave each row; empty where the system does not tell.
    pub said: Vec<u16>,
}

fn cpu() -> String {
    "cpu".to_owned()
}

fn is_cpu(device: &String) -> bool {
    device == "cpu"
}

/// What a run is known by.
pub type Key = (String, usize, u64, String);

impl Run {
    /// What it is known by.
    pub fn key(&self) -> Key {
        (
            self.set.clone(),
            self.size,
            self.subset,
            self.system.clone(),
        )
    }
}

/// The journal.
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Judged rows by set.
    pub rows: BTreeMap<String, Rows>,
    /// Runs done.
    pub runs: BTreeMap<Key, Run>,
}

impl Journal {
    /// Opens `journal.jsonl` of a folder. A last line that was not finished is taken off; any other damage is an error.
    pub fn open(folder: &Path) -> Result<Journal> {
        let path = folder.join("journal.jsonl");
        let named = || path.display().to_string();
        let text = match path.is_file() {
            true => std::fs::read_to_string(&path).with_context(named)?,
            false => String::new(),
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let (mut rows, mut runs) = (BTreeMap::new(), BTreeMap::new());
        for (number, line) in text[..whole].lines().enumerate() {
            let line: Line = serde_json::from_str(line)
                .with_context(|| format!("{}: line {}", path.display(), number + 1))?;
            match line {
                Line::Rows(one) => drop(rows.insert(one.set.clone(), one)),
                Line::Run(one) => drop(runs.insert(one.key(), one)),
            }
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(named)?;
        file.set_len(whole as u64).with_context(named)?;
        Ok(Journal {
            path,
            file,
            rows,
            runs,
        })
    }

    fn append(&mut self, line: &Line) -> Result<()> {
        let text = serde_json::to_string(line)? + "\n";
        self.file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.sync_data())
            .with_context(|| self.path.display().to_string())
    }

    /// Notes the rows of a set that judge; other ones than before are an error.
    pub fn judged_by(&mut self, set: &Set) -> Result<()> {
        let found = Rows {
            set: set.name.clone(),
            labels: set.labels.clone(),
            truth: set.test.iter().map(|r| r.label as u16).collect(),
        };
        match self.rows.get(&found.set) {
            Some(known) if *known == found => Ok(()),
            Some(_) => bail!(
                "{}: {} was judged by other rows before; choose another --out",
                self.path.display(),
                set.name
            ),
            None => {
                self.append(&Line::Rows(found.clone()))?;
                self.rows.insert(found.set.clone(), found);
                Ok(())
            }
        }
    }

    /// Notes a run.
    pub fn add(&mut self, run: Run) -> Result<()> {
        self.append(&Line::Run(run.clone()))?;
        self.runs.insert(run.key(), run);
        Ok(())
    }
}

/// A set's metric: CoLA's is Matthews's coefficient, as its authors have it.
pub fn metric(set: &str) -> Metric {
    match set {
        "cola" => Metric::Matthews,
        _ => Metric::MacroF1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(subset: u64) -> Run {
        Run {
            set: "a".to_owned(),
            size: 100,
            subset,
            system: "recipe".to_owned(),
            score: 0.5,
            accuracy: 0.625,
            seconds: 1.25,
            device: cpu(),
            said: vec![0, 1, 76],
        }
    }

    #[test]
    fn runs_are_kept_and_a_torn_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        journal.add(run(1)).unwrap();
        journal.add(run(2)).unwrap();
        drop(journal);
        let path = folder.path().join("journal.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.runs.values().collect::<Vec<_>>(), [&run(1)]);
        journal.add(run(3)).unwrap();
        let again = Journal::open(folder.path()).unwrap();
        assert_eq!(again.runs.len(), 2);
        std::fs::write(&path, "{\"line\":\"run\"}\n").unwrap();
        assert!(Journal::open(folder.path()).is_err());
    }
}
