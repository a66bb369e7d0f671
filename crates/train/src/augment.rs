//! Training texts that change from epoch to epoch (`--augment`): drawn, tokenised, and known in size before the
//! first step.

use crate::batches::BatchPlan;
use crate::fit::Texts;
use crate::job::Job;
use crate::prepare::{Tokenising, labelled, task_of};
use crate::{Examples, TrainError};
use hone_bert::{Limits, Task, weight_files};
use hone_data::augment::{Augmenter, Key};
use hone_data::{LabelSet, Part, Tokenizer};
use hone_tensor::SafetensorsFile;
use rayon::prelude::*;
use std::path::Path;

/// Training texts that are other ones in each epoch. A text is a pure function of (seed, epoch, example id), so batches, threads and
/// resuming cannot change it. Validation and test parts never come here.
pub trait Epochs: std::fmt::Debug + Sync {
    /// The examples of an epoch, in the order of the part, and how many are other than in the file.
    fn epoch(&self, epoch: usize) -> Result<(Examples, usize), TrainError>;

    /// Draws all epochs of a run ahead and keeps their sizes; none where texts never change theirs.
    fn ahead(&self, plan: &BatchPlan, epochs: usize) -> Result<Option<EpochsDrawn>, TrainError>;
}

/// The training part, as `--augment` has each epoch see it.
#[derive(Debug)]
pub struct EpochTexts<'a> {
    /// What changes the texts.
    pub augmenter: &'a Augmenter,
    /// The training part.
    pub part: &'a Part,
    /// Its labels.
    pub labels: &'a LabelSet,
    /// The task.
    pub task: Task,
    /// Names of integer labels.
    pub names: &'a [String],
    /// How texts become tokens.
    pub how: Tokenising<'a>,
    /// The run's seed.
    pub seed: u64,
}

/// What the epochs of a run hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochsDrawn {
    /// The largest micro-batch.
    pub limits: Limits,
    /// Tokens of an epoch, on average.
    pub tokens: usize,
    /// Texts (or pairs) of all epochs, and those of them that are other than in the file.
    pub texts: usize,
    /// See `texts`.
    pub changed: usize,
    /// Most tokens of a text.
    pub longest: usize,
}

impl Job<'_> {
    /// `part`, the fitted rows, as each epoch sees it; none where the job changes no texts.
    pub fn epoch_texts<'t>(&'t self, texts: &'t Texts, part: &'t Part) -> Option<EpochTexts<'t>> {
        Some(EpochTexts {
            augmenter: self.augment?,
            part,
            labels: &self.data.labels,
            task: task_of(self.data.kind),
            names: &self.data.names,
            how: Tokenising {
                tokenizer: &texts.tokenizer,
                max_length: texts.max_length,
                truncate: self.truncate,
            },
            seed: self.options.seed,
        })
    }
}

impl Epochs for EpochTexts<'_> {
    fn epoch(&self, epoch: usize) -> Result<(Examples, usize), TrainError> {
        let drawn: Vec<_> = self
            .part
            .rows
            .par_iter()
            .enumerate()
            .map(|(i, row)| {
                let key = Key {
                    seed: self.seed,
                    epoch: epoch as u32,
                    // The number that keys the example's dropout too.
                    example: i as u64,
                };
                self.augmenter.draw(row, key)
            })
            .collect();
        let changed = drawn.iter().filter(|c| c.any()).count();
        let part = Part {
            rows: drawn.into_iter().map(|c| c.row).collect(),
            ..self.part.clone_empty()
        };
        let (examples, _) = labelled(&part, self.labels, self.task, self.names, self.how)?;
        Ok((examples, changed))
    }

    /// Augmentation can lengthen a text, by how much nobody knows beforehand; the draws are the same again later, so this
    /// plan holds exactly. It costs what tokenising the epochs costs, which training makes small.
    fn ahead(&self, plan: &BatchPlan, epochs: usize) -> Result<Option<EpochsDrawn>, TrainError> {
        let mut all = EpochsDrawn {
            limits: Limits::default(),
            tokens: 0,
            texts: 0,
            changed: 0,
            longest: 0,
        };
        for epoch in 0..epochs {
            let (examples, changed) = self.epoch(epoch)?;
            all.limits = all.limits.max(plan.epoch_limits(&examples, epoch));
            all.tokens += examples.tokens();
            all.texts += examples.len();
            all.changed += changed;
        }
        all.longest = all.limits.longest;
        all.tokens /= epochs.max(1);
        Ok(Some(all))
    }
}

/// A model's word embeddings, with the words that are whole pieces.
#[derive(Clone)]
pub struct ModelWords {
    /// Words and their rows.
    pub words: Vec<(String, u32)>,
    /// The matrix, row by row.
    pub matrix: Vec<f32>,
    /// Numbers of a row.
    pub width: usize,
}

hone_tensor::brief_debug! { [] ModelWords, |m| words: m.words.len(), width: m.width }

impl ModelWords {
    /// Reads them from a model's folder.
    pub fn read(folder: &Path, tokenizer: &Tokenizer) -> Result<ModelWords, TrainError> {
        for path in weight_files(folder)? {
            let file = SafetensorsFile::open(&path)?;
            let found = file
                .tensors()
                .iter()
                .find(|t| t.name.ends_with("embeddings.word_embeddings.weight"));
            if let Some(tensor) = found
                && let [_, width] = tensor.shape[..]
            {
                return Ok(ModelWords {
                    words: tokenizer.whole_words(),
                    matrix: file.read_f32(&tensor.name)?,
                    width,
                });
            }
        }
        Err(TrainError::Option(format!(
            "{}: no word embeddings in its weight files, so there are no neighbours to replace words by",
            folder.display()
        )))
    }

    /// For an augmenter.
    pub fn table(&self) -> hone_data::augment::WordTable<'_> {
        hone_data::augment::WordTable {
            words: &self.words,
            matrix: &self.matrix,
            width: self.width,
        }
    }
}
