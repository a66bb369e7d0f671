//! What one model answers to labelled rows, in a form in which two models can be compared.

use crate::held_out::RowLogits;
use hone_bert::{Model, Task};
use hone_kernels::Backend;
use hone_train::metrics::{self, Metrics, entities};
use hone_train::{
    EvalBatches, Examples, Prediction, Scorer, Targets, TrainError, argmax, predict, sigmoid,
    softmax, word_classes,
};

/// What one model answered to one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The answer, as people read it: the label, labels joined by `|`, the value, tags joined by spaces.
    pub said: String,
    /// How sure the model is of it: the label's probability; 0 where there is no such number.
    pub probability: f64,
    /// Whether the row is right as a whole; for values never.
    pub right: bool,
    /// Distance from the true value, for values.
    pub error: f64,
    /// What the metric is summed from: right, said and true labels or entities; the value and the true one.
    pub(super) parts: [f64; 3],
}

/// A model's answers to all rows.
#[derive(Debug, Clone)]
pub struct Answers {
    /// Row by row.
    pub rows: Vec<Answer>,
    /// Its metrics.
    pub metrics: Metrics,
}

/// Reads `examples`, whose targets are numbered by the model's own labels.
pub fn answers<B: Backend>(
    model: &Model<B>,
    examples: &Examples,
    progress: impl FnMut(usize) -> bool,
) -> Result<Option<Answers>, TrainError> {
    let mut acts = model.plan_eval(EvalBatches::USUAL.limits(examples))?;
    let mut scorer = Scorer::new(model.task(), model.labels(), examples)?;
    let mut rows = Vec::with_capacity(examples.len());
    let whole = predict(
        model,
        &mut acts,
        examples,
        EvalBatches::USUAL,
        |p| {
            scorer.push(p);
            rows.push(answer(model.labels(), examples, p));
        },
        progress,
    )?;
    Ok(whole.then(|| Answers {
        rows,
        metrics: scorer.finish(),
    }))
}

/// The same from logits that were kept, `examples` being the rows they are of.
pub(crate) fn answers_of(
    task: Task,
    labels: &[String],
    examples: &Examples,
    logits: &[RowLogits],
) -> Result<Answers, TrainError> {
    let mut scorer = Scorer::new(task, labels, examples)?;
    let mut rows = Vec::with_capacity(logits.len());
    for kept in logits {
        let all = kept.as_predicted(examples, labels.len());
        let p = Prediction {
            index: kept.row as usize,
            logits: &all,
        };
        scorer.push(p);
        rows.push(answer(labels, examples, p));
    }
    Ok(Answers {
        rows,
        metrics: scorer.finish(),
    })
}

/// The answer to one of `examples`, which are of the model's task.
fn answer(labels: &[String], examples: &Examples, p: Prediction<'_>) -> Answer {
    let i = p.index;
    let plain = |said: String, probability: f64, right: bool| Answer {
        said,
        probability,
        right,
        error: 0.0,
        parts: [0.0; 3],
    };
    match &examples.targets {
        // No folder that is compared has a head for them.
        Targets::Masked(_) => plain(String::new(), 0.0, false),
        Targets::Classes(all) => {
            let best = argmax(p.logits);
            let probability = softmax(p.logits)[best];
            plain(
                labels[best].clone(),
                probability,
                all[i] == Some(best as u32),
            )
        }
        Targets::Sets { sets, unknown } => {
            let given: Vec<u32> = (0..labels.len() as u32)
                .filter(|&c| metrics::given(p.logits[c as usize]))
                .collect();
            let mut names: Vec<&str> = given.iter().map(|&c| labels[c as usize].as_str()).collect();
            // Two models may number the same labels differently.
            names.sort_unstable();
            let least = p.logits.iter().map(|&z| sigmoid(z.abs()));
            let right = given.iter().filter(|c| sets[i].contains(c)).count();
            let truth = sets[i].len() + unknown[i] as usize;
            let exact = unknown[i] == 0 && given == sets[i];
            Answer {
                parts: [right as f64, given.len() as f64, truth as f64],
                ..plain(names.join("|"), least.fold(1.0, f64::min), exact)
            }
        }
        Targets::Values(all) => {
            let (value, truth) = (p.logits[0], f64::from(all[i]));
            Answer {
                error: (value - truth).abs(),
                parts: [value, truth, 0.0],
                ..plain(value.to_string(), 0.0, false)
            }
        }
        Targets::Tags { first_pieces, .. } => {
            let name = |class: &Option<u32>| class.map_or("O", |c| labels[c as usize].as_str());
            let said = word_classes(&first_pieces[i], p, labels.len());
            let said: Vec<&str> = said.iter().map(name).collect();
            let gold = examples.targets.gold_tags(i, labels);
            let (spans, true_spans) = (entities(&said), entities(&gold));
            let right = spans.iter().filter(|s| true_spans.contains(s)).count();
            Answer {
                parts: [right as f64, spans.len() as f64, true_spans.len() as f64],
                ..plain(said.join(" "), 0.0, said == gold)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entity whose second word has a tag that the model does not know is not the one of one word.
    #[test]
    fn entities_of_unknown_tags_are_missed() {
        let mut examples = Examples::new(Task::Tag);
        examples.push(0, 1, &[1; 2], &[0; 2]);
        examples.targets = Targets::Tags {
            tokens: vec![None; 2],
            words: vec![vec![Some(1), None]],
            first_pieces: vec![vec![Some(0), Some(1)]],
            unknown: vec![[(1, "I-x".to_owned())].into()],
        };
        let labels = ["O", "B-x"].map(str::to_owned);
        let logits = vec![0.0, 1.0, 1.0, 0.0];
        let said = [RowLogits { row: 0, logits }];
        let found = answers_of(Task::Tag, &labels, &examples, &said).unwrap();
        assert_eq!(found.rows[0].parts, [0.0, 1.0, 1.0]);
        assert!(!found.rows[0].right);
        assert_eq!(found.metrics.value("entity_f1"), Some(0.0));
    }

    /// Both rows have label 0 and are answered so; the second has one more, which the model does not know.
    #[test]
    fn labels_that_the_model_does_not_know_are_missed() {
        let mut examples = Examples::new(Task::MultiLabel);
        for row in 0..2 {
            examples.push(row as u64, row + 2, &[1], &[0]);
        }
        examples.targets = Targets::Sets {
            sets: vec![vec![0], vec![0]],
            unknown: vec![0, 1],
        };
        let logits = [0, 1].map(|row| RowLogits {
            row,
            logits: vec![2.0, -2.0],
        });
        let labels = ["a", "b"].map(str::to_owned);
        let found = answers_of(Task::MultiLabel, &labels, &examples, &logits).unwrap();
        // A model of another task answers nothing of them.
        assert!(answers_of(Task::Classify, &labels, &examples, &logits).is_err());
        let right: Vec<bool> = found.rows.iter().map(|r| r.right).collect();
        assert_eq!(right, [true, false]);
        assert_eq!(found.rows[1].parts, [1.0, 1.0, 2.0]);
        let value = |name: &str| found.metrics.value(name).unwrap();
        assert_eq!(value("accuracy"), 0.5);
        assert!((value("micro_f1") - 4.0 / 5.0).abs() < 1e-12);
    }
}
