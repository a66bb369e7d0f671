//! What a finished fold leaves on disk: `fold.json`, written last, and the logits of its held-out rows.

use super::plan::Fold;
use hone_bert::{Model, Task};
use hone_kernels::Backend;
use hone_tensor::Depth;
use hone_train::metrics::Metrics;
use hone_train::watch::Restart;
use hone_train::{Examples, Prediction, Targets, TrainError, write_beside};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
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

/// Logits of one held-out row: `[C]`, or `[seen words, C]` when tagging.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowLogits {
    /// Place of the row among all examples.
    pub row: u32,
    /// Its logits.
    pub logits: Vec<f64>,
}

impl RowLogits {
    /// What is kept of a prediction; when tagging, the logits of words' first pieces.
    pub fn of(examples: &Examples, row: u32, p: Prediction<'_>, classes: usize) -> RowLogits {
        let logits = match &examples.targets {
            Targets::Tags { first_pieces, .. } => first_pieces[p.index]
                .iter()
                .flatten()
                .flat_map(|&piece| &p.logits[piece as usize * classes..][..classes])
                .copied()
                .collect(),
            _ => p.logits.to_vec(),
        };
        RowLogits { row, logits }
    }

    /// The logits where a prediction over `examples`, which hold all rows, has them.
    pub fn as_predicted(&self, examples: &Examples, classes: usize) -> Vec<f64> {
        let i = self.row as usize;
        let Targets::Tags { first_pieces, .. } = &examples.targets else {
            return self.logits.clone();
        };
        let mut all = vec![0.0; examples.length(i) * classes];
        let pieces = first_pieces[i].iter().flatten();
        for (piece, word) in pieces.zip(self.logits.chunks(classes)) {
            all[*piece as usize * classes..][..classes].copy_from_slice(word);
        }
        all
    }
}

/// SHA-256 of a model's weights: (embeddings and encoder; pooler and classifier).
pub fn start_hashes<B: Backend>(model: &Model<B>) -> Result<(String, String), TrainError> {
    let (mut encoder, mut head) = (Sha256::new(), Sha256::new());
    let table = model.layout().table.clone();
    for (param, values) in table.params().iter().zip(model.download()?) {
        let hash = match param.depth {
            Depth::Head | Depth::Pooler => &mut head,
            _ => &mut encoder,
        };
        hash.update(param.name.as_bytes());
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        hash.update(&bytes);
    }
    let hex = |hash: Sha256| super::plan::hex(&hash.finalize());
    Ok((hex(encoder), hex(head)))
}

/// Labels of the model that no row of `examples` carries (classes and sets only).
pub fn missing_labels(task: Task, labels: &[String], examples: &Examples) -> Vec<String> {
    let mut seen = vec![false; labels.len()];
    let mut mark = |c: u32| seen[c as usize] = true;
    match &examples.targets {
        Targets::Classes(all) => all.iter().flatten().copied().for_each(&mut mark),
        Targets::Sets(all) => all.iter().flatten().copied().for_each(&mut mark),
        Targets::Tags { words, .. } => words
            .iter()
            .flatten()
            .flatten()
            .copied()
            .for_each(&mut mark),
        Targets::Values(_) => return Vec::new(),
    }
    debug_assert!(task != Task::Regress);
    let missing = labels.iter().zip(&seen).filter(|(_, seen)| !**seen);
    missing.map(|(label, _)| label.clone()).collect()
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
