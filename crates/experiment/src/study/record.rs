//! What a trial leaves on disk, written last: `trial.json` where it is finished, `failed.json` where it failed.

use crate::held_out::RowLogits;
use hone_bert::Task;
use hone_train::metrics::Metrics;
use hone_train::watch::Restart;
use hone_train::{Examples, Prediction, Scorer, TrainError, write_beside};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const TRIAL: &str = "trial.json";
const FAILED: &str = "failed.json";

/// One recipe, fitted and judged in one pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// Name of the recipe.
    pub arm: String,
    /// The pair, from 1.
    pub pair: usize,
    /// Seed of new weights, order and dropout.
    pub seed: u64,
    /// Rows that were fitted.
    pub train_rows: usize,
    /// Rows that selected.
    pub valid_rows: usize,
    /// Rows that were held out.
    pub held_out_rows: usize,
    /// SHA-256 of embeddings and encoder before the first step.
    pub encoder_sha256: String,
    /// SHA-256 of pooler and classifier before the first step.
    pub head_sha256: String,
    /// Steps done.
    pub steps: usize,
    /// Step whose weights were kept.
    pub best_step: usize,
    /// How training ended.
    pub ending: String,
    /// Tokens trained on.
    pub train_tokens: u64,
    /// Mean training loss over the last epoch's worth of steps.
    pub train_loss: f64,
    /// Why and how training began anew, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Metrics of the rows that selected.
    pub valid: Option<Metrics>,
    /// Metrics of the held-out rows, read once.
    pub held_out: Metrics,
    /// The study's metric on them.
    pub value: f64,
    /// The same without each group of rows: (group, value).
    pub without: Vec<(u32, f64)>,
    /// Bytes of memory that were planned.
    pub planned_memory_bytes: u64,
    /// Memory of its own that the process held after the trial.
    pub memory_bytes: Option<u64>,
    /// Seconds of training and scoring.
    pub seconds: f64,
}

/// A trial of an arm that ended in numbers that are none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The pair, from 1.
    pub pair: usize,
    /// What ended it.
    pub reason: String,
    /// Seconds until then.
    pub seconds: f64,
}

/// A metric without each of the groups that the held-out rows belong to, where they belong to several.
pub(crate) fn without(
    task: Task,
    labels: &[String],
    all: &Examples,
    groups: &[u32],
    logits: &[RowLogits],
    metric: &str,
) -> Result<Vec<(u32, f64)>, TrainError> {
    let mut present: Vec<u32> = logits.iter().map(|r| groups[r.row as usize]).collect();
    present.sort_unstable();
    present.dedup();
    if present.len() < 2 {
        return Ok(Vec::new());
    }
    let said: Vec<(usize, Vec<f64>)> = logits
        .iter()
        .map(|r| (r.row as usize, r.as_predicted(all, labels.len())))
        .collect();
    let value = |group: u32| -> Result<f64, TrainError> {
        let mut scorer = Scorer::new(task, labels, all)?;
        for (index, logits) in said.iter().filter(|(row, _)| groups[*row] != group) {
            let index = *index;
            scorer.push(Prediction { index, logits });
        }
        Ok(scorer.finish().value(metric).unwrap_or(f64::NAN))
    };
    let each = |group: u32| Ok((group, value(group)?));
    present.into_iter().map(each).collect()
}

/// A trial's folder.
#[derive(Debug, Clone)]
pub(super) struct TrialFolder {
    /// Where it is.
    pub path: PathBuf,
}

impl TrialFolder {
    /// That of a recipe in a pair, under a study's output folder.
    pub fn of(out: &Path, pair: usize, arm: &str) -> TrialFolder {
        TrialFolder {
            path: out.join(format!("trials/{pair}/{arm}")),
        }
    }

    fn broken(&self, name: &str, reason: impl std::fmt::Display) -> TrainError {
        TrainError::Checkpoint {
            path: self.path.join(name),
            reason: format!("not what this version wrote ({reason})"),
        }
    }

    /// The finished trial, where it is finished.
    pub fn read(&self) -> Result<Option<TrialRecord>, TrainError> {
        self.read_file(TRIAL)
    }

    /// Why the trial failed, where it did.
    pub fn failure(&self) -> Result<Option<Failure>, TrainError> {
        self.read_file(FAILED)
    }

    /// Writes the record, whose presence says that the trial is done.
    pub fn write(&self, record: &TrialRecord) -> Result<(), TrainError> {
        self.write_file(TRIAL, record)
    }

    /// Writes why it failed, whose presence says that the arm is tried no more.
    pub fn fail(&self, failure: &Failure) -> Result<(), TrainError> {
        self.write_file(FAILED, failure)
    }

    fn read_file<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, TrainError> {
        let path = self.path.join(name);
        if !path.is_file() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path).map_err(|source| TrainError::Io {
            path: path.clone(),
            source,
        })?;
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| self.broken(name, e))
    }

    fn write_file(&self, name: &str, record: &impl Serialize) -> Result<(), TrainError> {
        std::fs::create_dir_all(&self.path).map_err(|source| TrainError::Io {
            path: self.path.clone(),
            source,
        })?;
        let text = serde_json::to_string(record).map_err(|e| self.broken(name, e))?;
        write_beside(&self.path.join(name), &(text + "\n"))
    }
}
