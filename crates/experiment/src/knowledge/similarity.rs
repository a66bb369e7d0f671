//! Do the distances of texts still mean something? Cosines of sentence vectors beside scores that people gave.

use hone_bert::{Model, Pool, Task};
use hone_data::{DataError, LabelSet, Labels, Part, Row, TaskKind};
use hone_kernels::Backend;
use hone_train::{
    EvalBatches, Examples, TextReceipt, Tokenising, TrainError, features_each, unlabelled,
};

/// Fewest pairs a rank correlation is taken of.
const LEAST: usize = 10;

/// Pairs of texts with a score each, as in the STS benchmark.
#[derive(Debug, Clone)]
pub struct TextPairs {
    /// What the measure is called.
    pub name: String,
    /// The first and the second text of each pair, in turn.
    pub texts: Examples,
    /// The score of each pair.
    pub gold: Vec<f64>,
}

impl TextPairs {
    /// Pairs of a data file: text, second text and a number in every row, ten rows at least, not all of one score.
    pub fn read(
        name: String,
        part: &Part,
        how: Tokenising<'_>,
    ) -> Result<(TextPairs, TextReceipt), DataError> {
        let wrong = |line: usize, reason: String| DataError::Row {
            path: part.path.clone(),
            line,
            reason,
        };
        let mut rows = Vec::with_capacity(2 * part.rows.len());
        for row in &part.rows {
            let Some(second) = &row.text_b else {
                let reason =
                    "no second text; a similarity needs columns text, text_b and score".to_owned();
                return Err(wrong(row.line, reason));
            };
            rows.push(Row::text(row.line, row.text.clone()));
            rows.push(Row::text(row.line, second.clone()));
        }
        let set = LabelSet::of(part, TaskKind::Regress, &[])?;
        let (Labels::Values(values), _) = set.labels(part, TaskKind::Regress, &[])? else {
            return Err(wrong(1, "a score for each pair was expected".to_owned()));
        };
        if values.len() < LEAST {
            let reason = format!("{} pairs; a rank correlation needs {LEAST}", values.len());
            return Err(wrong(1, reason));
        }
        if values.iter().all(|v| *v == values[0]) {
            let reason = format!("every pair has the score {}; nothing to rank", values[0]);
            return Err(wrong(1, reason));
        }
        let (texts, receipt) = unlabelled(&rows, Task::Classify, how)?;
        let gold = values.into_iter().map(f64::from).collect();
        Ok((TextPairs { name, texts, gold }, receipt))
    }
}

/// The cosine of the two texts' vectors, for each way of pooling and each pair; no head, no dropout. `progress` hears
/// how many texts are read; `None` where it asked to stop.
pub fn cosines<B: Backend>(
    model: &Model<B>,
    pairs: &TextPairs,
    pools: &[Pool],
    progress: impl FnMut(usize) -> bool,
) -> Result<Option<Vec<Vec<f64>>>, TrainError> {
    let found = features_each(model, &pairs.texts, pools, EvalBatches::USUAL, progress)?;
    let each = |pair: usize, features: &hone_train::Features| {
        cosine(features.row(2 * pair), features.row(2 * pair + 1))
    };
    Ok(found.map(|all| {
        all.iter()
            .map(|f| (0..pairs.gold.len()).map(|pair| each(pair, f)).collect())
            .collect()
    }))
}

/// Cosine of two vectors; 0 where one of them is nothing.
fn cosine(x: &[f32], y: &[f32]) -> f64 {
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (&x, &y) in x.iter().zip(y) {
        let (x, y) = (f64::from(x), f64::from(y));
        xy += x * y;
        xx += x * x;
        yy += y * y;
    }
    if xx > 0.0 && yy > 0.0 {
        xy / (xx * yy).sqrt()
    } else {
        0.0
    }
}
