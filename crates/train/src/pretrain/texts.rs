//! Texts to pre-train on: read without their labels, cut into windows, hidden in part anew for each epoch.

use crate::augment::{Epochs, EpochsDrawn};
use crate::batches::BatchPlan;
use crate::examples::Examples;
use crate::job_data::together;
use crate::prepare::TextReceipt;
use crate::{SplitOff, TrainError, ValidSource};
use hone_bert::Task;
use hone_data::augment::Key;
use hone_data::masking::Masker;
use hone_data::{Columns, Part, Row, Tokenizer, find_texts, read_texts, stratified_split, unread};
use std::path::{Path, PathBuf};

/// Texts without labels, to be read.
#[derive(Debug, Clone, PartialEq)]
pub struct RawSource {
    /// A file (of a `.txt` each line is a text), or a folder with train and valid.
    pub data: PathBuf,
    /// Validation texts; usually the folder's own, else one in twenty.
    pub valid: ValidSource,
    /// Which columns.
    pub columns: Columns,
    /// Seed of the validation split.
    pub split_seed: u64,
}

/// Texts to pre-train on, read.
#[derive(Debug, Clone, PartialEq)]
pub struct RawTexts {
    /// Training part.
    pub train: Part,
    /// Validation part.
    pub valid: Option<Part>,
    /// What was found and decided, a line each.
    pub notes: Vec<String>,
}

/// The share that is held out where nobody says.
const USUAL_SHARE: f64 = 0.05;

impl RawSource {
    /// Reads and splits. Equal texts stay on one side.
    pub fn read(&self) -> Result<RawTexts, TrainError> {
        let files = find_texts(&self.data)?;
        let mut notes = Vec::new();
        let train = files.training(&self.data)?;
        let read = |path: &Path, notes: &mut Vec<String>| -> Result<Part, TrainError> {
            let mut part = read_texts(path, &self.columns)?;
            notes.append(&mut part.notes);
            let count = part.rows.len();
            part.rows.retain(|row| !row.lacks_text(false));
            let empty = count - part.rows.len();
            if empty > 0 {
                notes.push(format!(
                    "{}: {empty} rows without a text are left out",
                    path.display()
                ));
            }
            Ok(part)
        };
        let train = read(&train, &mut notes)?;
        let others = files.test.iter().chain(&files.ignored);
        let names: Vec<String> = others.map(|path| path.display().to_string()).collect();
        if !names.is_empty() {
            notes.push(format!("not read: {}", names.join(", ")));
        }
        if let (Some(own), false) = (&files.valid, self.valid == ValidSource::Usual) {
            let instead = match &self.valid {
                ValidSource::File(path) => Some(path.as_path()),
                _ => None,
            };
            notes.extend(unread(own, instead, "--valid"));
        }
        let (train, valid) = match (&self.valid, &files.valid) {
            (ValidSource::None, _) => (train, None),
            (ValidSource::File(path), _) | (ValidSource::Usual, Some(path)) => {
                (train, Some(read(path, &mut notes)?))
            }
            (ValidSource::Fraction(share), _) => self.split(train, *share, &mut notes),
            (ValidSource::Usual, None) => self.split(train, USUAL_SHARE, &mut notes),
        };
        Ok(RawTexts {
            train,
            valid: valid.filter(|part| !part.rows.is_empty()),
            notes,
        })
    }

    fn split(&self, part: Part, share: f64, notes: &mut Vec<String>) -> (Part, Option<Part>) {
        let one_class = vec![vec![0]; part.rows.len()];
        let keys = together(&part);
        let (train, valid) = stratified_split(&keys, &one_class, share, self.split_seed);
        let split = SplitOff::new(valid.len(), part.rows.len(), "text", self.split_seed);
        notes.push(split.to_string());
        let pick = |rows: &[u32]| Part {
            rows: rows
                .iter()
                .map(|&i| part.rows[i as usize].clone())
                .collect(),
            ..part.clone_empty()
        };
        (pick(&train), Some(pick(&valid)))
    }
}

/// The windows of some texts, nothing of them hidden yet nor said to be, and what became of the texts.
pub(super) fn windows(
    rows: &[Row],
    tokenizer: &Tokenizer,
    max_length: usize,
) -> Result<(Examples, TextReceipt), TrainError> {
    let mut examples = Examples::new(Task::Mask);
    let mut receipt = TextReceipt {
        texts: rows.len(),
        ..TextReceipt::default()
    };
    let windows = tokenizer.windows_of(rows, max_length)?;
    for (row, windows) in rows.iter().zip(windows) {
        for ids in windows {
            let (unknown, words) = tokenizer.count(&ids);
            receipt.tokens += ids.len();
            receipt.unknown_tokens += unknown;
            receipt.words += words;
            let number = examples.len() as u64;
            examples.push(number, row.line, &ids, &vec![0; ids.len()]);
        }
    }
    Ok((examples, receipt))
}

/// The same texts with other pieces hidden; `epoch` says which.
pub(super) fn hidden(plain: &Examples, masker: &Masker, seed: u64, epoch: u32) -> Examples {
    plain.hidden(|i, ids| {
        let example = plain.example_ids()[i];
        let key = Key {
            seed,
            epoch,
            example,
        };
        masker.hide(ids, key)
    })
}

/// Training texts of which each epoch hides other pieces.
#[derive(Debug)]
pub(super) struct Hiding<'a> {
    pub plain: &'a Examples,
    pub masker: &'a Masker,
    pub seed: u64,
}

impl Epochs for Hiding<'_> {
    fn epoch(&self, epoch: usize) -> Result<(Examples, usize), TrainError> {
        let examples = hidden(self.plain, self.masker, self.seed, epoch as u32);
        Ok((examples, self.plain.len()))
    }

    fn ahead(&self, _: &BatchPlan, _: usize) -> Result<Option<EpochsDrawn>, TrainError> {
        Ok(None)
    }
}
