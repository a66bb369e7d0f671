//! What a finished fold leaves on disk: `fold.json`, written last, and the logits of its held-out rows.

use super::plan::Fold;
use crate::held_out::RowLogits;
use hone_train::metrics::Metrics;
use hone_train::watch::Restart;
use hone_train::{TrainError, write_beside};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A finished fold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoldRecord {
    /// Its repeat, from 1.
    pub repeat: usize,
    /// Its number within the repeat, from 1.
    pub fold: usize,
    /// Seed of its order and dropout.
    pub seed: u64,
    /// Rows that were fitted.
    pub train_rows: usize,
    /// Rows that selected.
    pub valid_rows: usize,
    /// Rows that were held out.
    pub held_out_rows: usize,
    /// Labels that its training part lacks.
    pub missing_labels: Vec<String>,
    /// SHA-256 of embeddings and encoder before the first step.
    pub encoder_sha256: String,
    /// SHA-256 of pooler and classifier before the first step: a fitted head depends on the fold's training part.
    pub head_sha256: String,
    /// Steps done.
    pub steps: usize,
    /// Step whose weights were kept.
    pub best_step: usize,
    /// The same in epochs.
    pub best_epochs: f64,
    /// How training ended.
    pub ending: String,
    /// Why and how it began anew, where its guard found a collapse: each fold decides for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Mean training loss over the last epoch's worth of steps.
    pub train_loss: f64,
    /// Metrics of the rows that selected.
    pub valid: Option<Metrics>,
    /// Metrics of the held-out rows, read once.
    pub held_out: Metrics,
    /// Seconds of the fold.
    pub seconds: f64,
    /// Memory of its own that the process held after the fold.
    pub memory_bytes: Option<u64>,
}

/// A fold's folder.
#[derive(Debug, Clone)]
pub struct FoldFolder {
    /// Where it is.
    pub path: PathBuf,
}

impl FoldFolder {
    /// That of `fold` under a cross-validation's output folder.
    pub fn of(out: &Path, fold: &Fold) -> FoldFolder {
        FoldFolder {
            path: out.join(format!("folds/{}-{}", fold.repeat, fold.fold)),
        }
    }

    fn broken(&self, name: &str, reason: String) -> TrainError {
        TrainError::Checkpoint {
            path: self.path.join(name),
            reason,
        }
    }

    /// The finished fold, where it is finished.
    pub fn read(&self) -> Result<Option<(FoldRecord, Vec<RowLogits>)>, TrainError> {
        let path = self.path.join("fold.json");
        if !path.is_file() {
            return Ok(None);
        }
        let read = |name: &str| {
            let path = self.path.join(name);
            std::fs::read_to_string(&path).map_err(|source| TrainError::Io { path, source })
        };
        let wrong = |name: &str, e: serde_json::Error| {
            self.broken(name, format!("not what this version wrote ({e})"))
        };
        let record: FoldRecord =
            serde_json::from_str(&read("fold.json")?).map_err(|e| wrong("fold.json", e))?;
        let logits: Vec<RowLogits> = read("logits.jsonl")?
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .map_err(|e| wrong("logits.jsonl", e))?;
        if logits.len() != record.held_out_rows {
            return Err(self.broken(
                "logits.jsonl",
                format!(
                    "{} rows, {} were expected",
                    logits.len(),
                    record.held_out_rows
                ),
            ));
        }
        Ok(Some((record, logits)))
    }

    /// Writes the logits, then the record, whose presence says that the fold is done.
    pub fn write(&self, record: &FoldRecord, logits: &[RowLogits]) -> Result<(), TrainError> {
        let mut lines = String::new();
        for row in logits {
            let line = serde_json::to_string(row)
                .map_err(|e| self.broken("logits.jsonl", e.to_string()))?;
            lines += &line;
            lines.push('\n');
        }
        std::fs::create_dir_all(&self.path).map_err(|source| TrainError::Io {
            path: self.path.clone(),
            source,
        })?;
        write_beside(&self.path.join("logits.jsonl"), &lines)?;
        let text = serde_json::to_string_pretty(record)
            .map_err(|e| self.broken("fold.json", e.to_string()))?;
        write_beside(&self.path.join("fold.json"), &(text + "\n"))
    }
}
