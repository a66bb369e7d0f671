//! One row as the model answered it: what it said, how sure it was of that, and what that cost.

use crate::evaluate::{Prediction, argmax, sigmoid, softmax, word_classes};
use crate::examples::{Examples, Targets};
use crate::metrics::given;

/// What a model said of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// A class.
    Class(u32),
    /// Classes, ascending.
    Set(Vec<u32>),
    /// A value.
    Value(f64),
    /// The class of each word; `None` for a word that truncation cut off.
    Tags(Vec<Option<u32>>),
}

/// One row's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct RowAnswer {
    /// What was said.
    pub said: Said,
    /// Whether the row is right as a whole; a value never is.
    pub right: bool,
    /// Mean loss of the row's answers whose label is known; NaN where none is.
    pub loss: f64,
    /// Probability of the answer; of several answers (labels, words) the least; 0 for a value.
    pub confidence: f64,
    /// Distance of the answer's probability from the next best one's; of several answers the least.
    pub margin: f64,
    /// How wrong the row is: the probability of the surest wrong answer, 0 where none is wrong (or where words were
    /// cut off and the others are right); of a value the distance from the true one.
    pub wrong_by: f64,
}

/// The largest and the second largest.
fn two_best(p: &[f64]) -> (f64, f64) {
    let (mut first, mut second) = (0.0, 0.0);
    for &p in p {
        if p > first {
            (first, second) = (p, first);
        } else if p > second {
            second = p;
        }
    }
    (first, second)
}

impl RowAnswer {
    /// The answer to one of `examples`, by its logits; `None` where the examples are of another task. Of tags a word
    /// that was cut off counts as `outside`, the class of words in no entity, as in the figures.
    pub fn of(
        classes: usize,
        outside: Option<u32>,
        examples: &Examples,
        p: Prediction<'_>,
    ) -> Option<RowAnswer> {
        let i = p.index;
        let cost = |probability: f64| -probability.max(f64::MIN_POSITIVE).ln();
        Some(match &examples.targets {
            Targets::Masked(_) => return None,
            Targets::Classes(all) => {
                let probabilities = softmax(p.logits);
                let (first, second) = two_best(&probabilities);
                let said = argmax(p.logits) as u32;
                let right = *all.get(i)? == Some(said);
                RowAnswer {
                    said: Said::Class(said),
                    right,
                    loss: all[i].map_or(f64::NAN, |gold| cost(probabilities[gold as usize])),
                    confidence: first,
                    margin: first - second,
                    wrong_by: if right { 0.0 } else { first },
                }
            }
            Targets::Sets { sets, unknown } => {
                let gold = sets.get(i)?;
                let mut answer = RowAnswer {
                    said: Said::Set(Vec::new()),
                    right: *unknown.get(i)? == 0,
                    loss: 0.0,
                    confidence: 1.0,
                    margin: 1.0,
                    wrong_by: 0.0,
                };
                let mut labels = Vec::new();
                for (c, &z) in (0u32..).zip(p.logits) {
                    let (said, is) = (given(z), gold.contains(&c));
                    let sure = sigmoid(z.abs());
                    if said {
                        labels.push(c);
                    }
                    if said != is {
                        answer.right = false;
                        answer.wrong_by = answer.wrong_by.max(sure);
                    }
                    answer.confidence = answer.confidence.min(sure);
                    answer.margin = answer.margin.min(2.0 * sure - 1.0);
                    answer.loss += z.max(0.0) - if is { z } else { 0.0 } + (-z.abs()).exp().ln_1p();
                }
                answer.loss /= p.logits.len().max(1) as f64;
                answer.said = Said::Set(labels);
                answer
            }
            Targets::Values(all) => {
                // The metrics read values as f32.
                let value = f64::from(*p.logits.first()? as f32);
                let error = value - f64::from(*all.get(i)?);
                RowAnswer {
                    said: Said::Value(value),
                    right: false,
                    loss: error * error,
                    confidence: 0.0,
                    margin: 0.0,
                    wrong_by: error.abs(),
                }
            }
            Targets::Tags {
                words,
                first_pieces,
                ..
            } => {
                let (gold, pieces) = (words.get(i)?, first_pieces.get(i)?);
                let said = word_classes(pieces, p, classes);
                let mut answer = RowAnswer {
                    right: gold
                        .iter()
                        .zip(&said)
                        .all(|(g, s)| g.is_some() && *g == s.or(outside)),
                    said: Said::Tags(Vec::new()),
                    loss: 0.0,
                    confidence: 1.0,
                    margin: 1.0,
                    wrong_by: 0.0,
                };
                let mut known = 0usize;
                for ((gold, piece), said) in gold.iter().zip(pieces).zip(&said) {
                    let Some(piece) = piece else {
                        continue;
                    };
                    let row = &p.logits[*piece as usize * classes..][..classes];
                    let probabilities = softmax(row);
                    let (first, second) = two_best(&probabilities);
                    answer.confidence = answer.confidence.min(first);
                    answer.margin = answer.margin.min(first - second);
                    if gold != said {
                        answer.wrong_by = answer.wrong_by.max(first);
                    }
                    if let Some(gold) = gold {
                        answer.loss += cost(probabilities[*gold as usize]);
                        known += 1;
                    }
                }
                answer.loss = match known {
                    0 => f64::NAN,
                    n => answer.loss / n as f64,
                };
                answer.said = Said::Tags(said);
                answer
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_bert::Task;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }

    #[test]
    fn answers_of_every_task_by_hand() {
        let logits = [3.0f64.ln(), 0.0];
        let ask = |targets: Targets, logits: &[f64]| {
            let mut examples = Examples::new(Task::Classify);
            examples.push(0, 2, &[1, 2, 3], &[0, 0, 0]);
            examples.targets = targets;
            RowAnswer::of(2, Some(0), &examples, Prediction { index: 0, logits }).unwrap()
        };
        let right = ask(Targets::Classes(vec![Some(0)]), &logits);
        assert_eq!((right.said, right.right), (Said::Class(0), true));
        close(right.confidence, 0.75);
        close(right.margin, 0.5);
        close(right.wrong_by, 0.0);
        close(right.loss, -(0.75f64.ln()));
        let wrong = ask(Targets::Classes(vec![Some(1)]), &logits);
        assert!(!wrong.right);
        close(wrong.wrong_by, 0.75);
        let unknown = ask(Targets::Classes(vec![None]), &logits);
        assert!(!unknown.right && unknown.loss.is_nan());

        let set = ask(Targets::sets(vec![vec![1]]), &[3.0f64.ln(), -(9.0f64.ln())]);
        assert_eq!((set.said, set.right), (Said::Set(vec![0]), false));
        close(set.wrong_by, 0.9);
        close(set.confidence, 0.75);
        close(set.margin, 0.5);
        close(set.loss, (-(0.25f64.ln()) - 0.1f64.ln()) / 2.0);
        let strange = Targets::Sets {
            sets: vec![vec![0]],
            unknown: vec![1],
        };
        let strange = ask(strange, &[3.0f64.ln(), -(9.0f64.ln())]);
        assert_eq!((strange.said, strange.right), (Said::Set(vec![0]), false));
        close(strange.wrong_by, 0.0);

        let value = ask(Targets::Values(vec![2.0]), &[0.5]);
        close(value.wrong_by, 1.5);
        close(value.loss, 2.25);
        assert_eq!(
            (value.right, value.confidence, value.margin),
            (false, 0.0, 0.0)
        );

        let tags = |words: Vec<Option<u32>>, pieces: Vec<Option<u32>>| {
            let targets = Targets::Tags {
                tokens: vec![None; 3],
                words: vec![words],
                first_pieces: vec![pieces],
                unknown: Vec::new(),
            };
            // Three tokens of two classes: probabilities of class 0 are ¾, ¼ and ⅔.
            let ln = f64::ln;
            ask(targets, &[ln(3.0), 0.0, 0.0, ln(3.0), ln(2.0), 0.0])
        };
        let all = tags(vec![Some(0), Some(1)], vec![Some(0), Some(1)]);
        assert!(all.right);
        close(all.loss, -(0.75f64.ln()));
        let one = tags(vec![Some(1), Some(1)], vec![Some(0), Some(2)]);
        assert!(!one.right);
        close(one.wrong_by, 0.75);
        close(one.confidence, 2.0 / 3.0);
        close(one.margin, 1.0 / 3.0);
        // A word that was cut off counts as outside; where it is not, the row is wrong, but nothing was said of it.
        let outside = tags(vec![Some(0), Some(0)], vec![Some(0), None]);
        assert!(outside.right);
        let cut = tags(vec![Some(0), Some(1)], vec![Some(0), None]);
        assert!(!cut.right);
        close(cut.wrong_by, 0.0);
        close(cut.loss, -(0.75f64.ln()));
    }
}
