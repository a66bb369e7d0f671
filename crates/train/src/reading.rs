//! One reading of a labelled set: its metrics, and what is kept of each row, which is a few numbers and never logits.

use crate::evaluate::{EvalBatches, predict_above};
use crate::metrics::{MaskedWords, Metrics};
use crate::prefix::PrefixCache;
use crate::{Examples, RowAnswer, RowLists, Scorer, TrainError};
use hone_bert::{Acts, Model, Pass, Task};
use hone_kernels::Backend;

/// How sure an answer was, and whether it was right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sureness {
    /// Probability of the answer, from 0 to 1.
    pub confidence: f64,
    /// Whether it was right; an unknown label never is.
    pub right: bool,
}

/// What one reading of a set found.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Metrics of the set.
    pub metrics: Metrics,
    /// Loss of each row; NaN where its label is not known.
    pub losses: Vec<f32>,
    /// How sure each answer was.
    pub sureness: Vec<Sureness>,
    /// Wrong rows and the least certain ones.
    pub lists: RowLists,
}

/// Reads `examples`; `None` where `progress`, which hears how many are done, asked to stop.
pub fn read_set<B: Backend>(
    model: &Model<B>,
    acts: &mut Acts<B>,
    examples: &Examples,
    batches: EvalBatches,
    progress: impl FnMut(usize) -> bool,
) -> Result<Option<Reading>, TrainError> {
    read_set_above(None, model, acts, examples, batches, progress)
}

/// [`read_set`] above what is known of the outputs of frozen layers.
pub(crate) fn read_set_above<B: Backend>(
    known: Option<&mut PrefixCache<B::Act>>,
    model: &Model<B>,
    acts: &mut Acts<B>,
    examples: &Examples,
    batches: EvalBatches,
    progress: impl FnMut(usize) -> bool,
) -> Result<Option<Reading>, TrainError> {
    if model.task() == Task::Mask {
        return read_masked(model, acts, examples, batches, progress);
    }
    let classes = model.classes();
    let mut scorer = Scorer::new(model.task(), model.labels(), examples)?;
    let mut lists = RowLists::new(model.task());
    let outside = model
        .labels()
        .iter()
        .position(|l| l == "O")
        .map(|i| i as u32);
    let mut losses = Vec::with_capacity(examples.len());
    let mut sureness = Vec::with_capacity(examples.len());
    let whole = predict_above(
        known,
        model,
        acts,
        examples,
        batches,
        |p| {
            scorer.push(p);
            if let Some(answer) = RowAnswer::of(classes, outside, examples, p) {
                losses.push(answer.loss as f32);
                sureness.push(Sureness {
                    confidence: answer.confidence,
                    right: answer.right,
                });
                lists.push(p.index, answer);
            }
        },
        progress,
    )?;
    lists.finish();
    Ok(whole.then(|| Reading {
        metrics: scorer.finish(),
        losses,
        sureness,
        lists,
    }))
}

/// What is said of masked words: their losses, row by row the mean. Nothing is kept of answers.
fn read_masked<B: Backend>(
    model: &Model<B>,
    acts: &mut Acts<B>,
    examples: &Examples,
    batches: EvalBatches,
    mut progress: impl FnMut(usize) -> bool,
) -> Result<Option<Reading>, TrainError> {
    let all: Vec<u32> = (0..examples.len() as u32).collect();
    let mut words = Vec::new();
    let mut losses = Vec::with_capacity(examples.len());
    for part in batches.cut(examples, &all) {
        model.forward(acts, &examples.batch(part), &Pass::eval())?;
        let found = model.masked_losses(acts, &examples.masked(part, 1.0))?;
        let mut rest = &found[..];
        for &i in part {
            let (own, after) = rest.split_at(examples.masked(&[i], 1.0).at.len());
            if let Some(&value) = own.iter().find(|loss| !loss.is_finite()) {
                let row = examples.rows[i as usize];
                return Err(TrainError::Answer { row, value });
            }
            losses.push((own.iter().sum::<f64>() / own.len() as f64) as f32);
            rest = after;
        }
        words.extend(found);
        if !progress(losses.len()) {
            return Ok(None);
        }
    }
    Ok(Some(Reading {
        metrics: Metrics::Masked(MaskedWords::of(examples.len(), words.into_iter())),
        losses,
        sureness: Vec::new(),
        lists: RowLists::new(model.task()),
    }))
}
