//! Reads a set through the model and streams what it finds into metrics; no set's logits are ever kept.

use crate::Examples;
use crate::batches::{cut, limits_of};
use crate::prefix::PrefixCache;
use crate::{Scorer, TrainError};
use hone_bert::{Acts, Limits, Model, Pass, Task};
use hone_kernels::Backend;

/// How evaluation batches are cut: they change no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvalBatches {
    /// Most examples.
    pub rows: usize,
    /// Most tokens.
    pub tokens: usize,
}

impl EvalBatches {
    /// Sized so that a laptop's caches like them.
    pub const USUAL: EvalBatches = EvalBatches {
        rows: 64,
        tokens: 2048,
    };

    /// The listed examples in batches, in order.
    pub fn cut<'a>(self, examples: &Examples, index: &'a [u32]) -> Vec<&'a [u32]> {
        cut(examples, index, self.rows, self.tokens)
    }

    /// The largest batch over `examples`.
    pub fn limits(self, examples: &Examples) -> Limits {
        let all: Vec<u32> = (0..examples.len() as u32).collect();
        cut(examples, &all, self.rows, self.tokens)
            .into_iter()
            .map(|part| limits_of(examples, part))
            .fold(Limits::default(), Limits::max)
    }
}

/// Logits of one example: `[C]`, or `[tokens, C]` when tagging.
#[derive(Debug, Clone, Copy)]
pub struct Prediction<'a> {
    /// Which example.
    pub index: usize,
    /// Its logits.
    pub logits: &'a [f64],
}

/// Runs the model over `examples`, in order, and hands each example's logits to `each`; logits that are no numbers are an
/// error.
/// `progress` hears how many examples are done.
pub fn predict<B: Backend>(
    model: &Model<B>,
    acts: &mut Acts<B>,
    examples: &Examples,
    batches: EvalBatches,
    each: impl FnMut(Prediction<'_>),
    progress: impl FnMut(usize) -> bool,
) -> Result<bool, TrainError> {
    predict_above(None, model, acts, examples, batches, each, progress)
}

/// [`predict`] above what is known of the outputs of frozen layers: the same bits.
pub(crate) fn predict_above<B: Backend>(
    mut known: Option<&mut PrefixCache<B::Act>>,
    model: &Model<B>,
    acts: &mut Acts<B>,
    examples: &Examples,
    batches: EvalBatches,
    mut each: impl FnMut(Prediction<'_>),
    mut progress: impl FnMut(usize) -> bool,
) -> Result<bool, TrainError> {
    let all: Vec<u32> = (0..examples.len() as u32).collect();
    let classes = model.classes();
    let mut done = 0;
    for part in cut(examples, &all, batches.rows, batches.tokens) {
        match &mut known {
            Some(known) => known.forward(model, acts, examples, part, &Pass::eval())?,
            None => model.forward(acts, &examples.batch(part), &Pass::eval())?,
        }
        let logits = model.logits(acts)?;
        let mut at = 0;
        for &i in part {
            let rows = match model.task() {
                Task::Tag => examples.length(i as usize),
                _ => 1,
            };
            let own = &logits[at..at + rows * classes];
            if let Some(&value) = own.iter().find(|z| !z.is_finite()) {
                let row = examples.rows[i as usize];
                return Err(TrainError::Answer { row, value });
            }
            each(Prediction {
                index: i as usize,
                logits: own,
            });
            at += own.len();
        }
        done += part.len();
        if !progress(done) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Metrics of `examples`; `None` where `progress` asked to stop.
pub fn evaluate<B: Backend>(
    model: &Model<B>,
    acts: &mut Acts<B>,
    examples: &Examples,
    batches: EvalBatches,
    progress: impl FnMut(usize) -> bool,
) -> Result<Option<crate::metrics::Metrics>, TrainError> {
    let mut scorer = Scorer::new(model.task(), model.labels(), examples)?;
    let each = |p: Prediction<'_>| scorer.push(p);
    let whole = predict(model, acts, examples, batches, each, progress)?;
    Ok(whole.then(|| scorer.finish()))
}

/// The classes of an example's words when tagging: the class of each first word piece, `None` for a word
/// that truncation cut off.
pub fn word_classes(
    first_pieces: &[Option<u32>],
    prediction: Prediction<'_>,
    classes: usize,
) -> Vec<Option<u32>> {
    first_pieces
        .iter()
        .map(|piece| {
            piece.map(|p| {
                let row = &prediction.logits[p as usize * classes..][..classes];
                argmax(row) as u32
            })
        })
        .collect()
}

/// Index of the largest value, the first of equals.
pub fn argmax(x: &[f64]) -> usize {
    let mut best = 0;
    for (i, v) in x.iter().enumerate() {
        if *v > x[best] {
            best = i;
        }
    }
    best
}

/// Softmax in f64.
pub fn softmax(logits: &[f64]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exp: Vec<f64> = logits.iter().map(|z| (z - max).exp()).collect();
    let total: f64 = exp.iter().sum();
    exp.into_iter().map(|e| e / total).collect()
}

/// The logistic function.
pub fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}
