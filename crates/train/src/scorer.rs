//! From logits to metrics, example by example.

use crate::TrainError;
use crate::evaluate::{Prediction, argmax, softmax, word_classes};
use crate::examples::{Examples, Targets};
use crate::metrics::{Confusion, Entities, Metrics, MultiLabelCounts, Pairs};
use hone_bert::Task;

/// Collects an evaluation of some examples.
#[derive(Debug, Clone)]
pub struct Scorer<'a> {
    labels: Vec<String>,
    counts: Counts<'a>,
}

/// What was found, beside the answers.
#[derive(Debug, Clone)]
enum Counts<'a> {
    Classes(Confusion, &'a [Option<u32>]),
    Sets(MultiLabelCounts, &'a [Vec<u32>], &'a [u32]),
    Values(Pairs, &'a [f32]),
    Tags(Entities, Tags<'a>),
}

/// Of each example the classes of its words and their first pieces.
#[derive(Debug, Clone, Copy)]
struct Tags<'a> {
    words: &'a [Vec<Option<u32>>],
    first_pieces: &'a [Vec<Option<u32>>],
    all: &'a Targets,
}

impl<'a> Scorer<'a> {
    /// Nothing collected yet; examples of another task than the model's, or without a target each that it can have, are an
    /// error.
    pub fn new(task: Task, labels: &[String], examples: &'a Examples) -> Result<Self, TrainError> {
        let n = labels.len();
        examples.targets.fit(examples.len(), n)?;
        let counts = match (task, &examples.targets) {
            (Task::Classify, Targets::Classes(all)) => Counts::Classes(Confusion::new(n), all),
            (Task::MultiLabel, Targets::Sets { sets, unknown }) => {
                Counts::Sets(MultiLabelCounts::new(n), sets, unknown)
            }
            (Task::Regress, Targets::Values(all)) => Counts::Values(Pairs::default(), all),
            (
                Task::Tag,
                Targets::Tags {
                    words,
                    first_pieces,
                    ..
                },
            ) => {
                let tags = Tags {
                    words,
                    first_pieces,
                    all: &examples.targets,
                };
                Counts::Tags(Entities::default(), tags)
            }
            (task, targets) => {
                let found = targets.name();
                return Err(TrainError::OtherTask { task, found });
            }
        };
        Ok(Scorer {
            labels: labels.to_vec(),
            counts,
        })
    }

    /// Takes one example's logits.
    pub fn push(&mut self, p: Prediction<'_>) {
        let i = p.index;
        match &mut self.counts {
            Counts::Classes(c, all) => {
                let gold = all[i].map(|g| g as usize);
                let loss = gold.map_or(0.0, |g| -softmax(p.logits)[g].max(f64::MIN_POSITIVE).ln());
                c.add(gold, argmax(p.logits), loss);
            }
            Counts::Sets(c, sets, unknown) => c.add(&sets[i], unknown[i], p.logits),
            Counts::Values(c, all) => c.add(all[i], p.logits[0] as f32),
            Counts::Tags(c, tags) => tags.count(c, &self.labels, p),
        }
    }

    /// Sums up.
    pub fn finish(&self) -> Metrics {
        match &self.counts {
            Counts::Classes(c, _) => Metrics::Classification(c.finish(&self.labels)),
            Counts::Sets(c, ..) => Metrics::MultiLabel(c.finish(&self.labels)),
            Counts::Values(c, _) => Metrics::Regression(c.finish()),
            Counts::Tags(c, _) => Metrics::Tagging(c.finish()),
        }
    }
}

impl Tags<'_> {
    /// Counts an example's entities and the losses of its words.
    fn count(self, found: &mut Entities, labels: &[String], p: Prediction<'_>) {
        let (words, pieces) = (&self.words[p.index], &self.first_pieces[p.index]);
        let n = labels.len();
        for (&gold, piece) in words.iter().zip(pieces) {
            if let (Some(gold), Some(piece)) = (gold, piece) {
                let row = &p.logits[*piece as usize * n..][..n];
                let probability = softmax(row)[gold as usize];
                found.add_loss(-probability.max(f64::MIN_POSITIVE).ln());
            }
        }
        let name = |class: u32| labels[class as usize].as_str();
        let said = word_classes(pieces, p, n);
        let said: Vec<Option<&str>> = said.into_iter().map(|word| word.map(name)).collect();
        found.add(&self.all.gold_tags(p.index, labels), &said);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model that knows no `I-x` reads "B-x I-x" as an entity of one word and another of another type; seqeval 1.2.2 says of these
    /// rows 0.4 (`f1_score`): one right of two predicted and three true.
    #[test]
    fn entities_of_unknown_tags_are_missed_where_they_end() {
        let labels = ["O", "B-x"].map(str::to_owned);
        let mut examples = Examples::new(Task::Tag);
        examples.push(0, 1, &[1; 3], &[0; 3]);
        examples.push(1, 2, &[1; 2], &[0; 2]);
        examples.targets = Targets::Tags {
            tokens: vec![None; 5],
            words: vec![vec![Some(1), None, Some(1)], vec![None, None]],
            first_pieces: vec![vec![Some(0), Some(1), Some(2)], vec![Some(0), Some(1)]],
            unknown: vec![
                [(1, "I-x".to_owned())].into(),
                [(0, "B-y".to_owned()), (1, "I-y".to_owned())].into(),
            ],
        };
        let mut scorer = Scorer::new(Task::Tag, &labels, &examples).unwrap();
        for (index, logits) in [
            [0.0, 1.0, 1.0, 0.0, 0.0, 1.0].as_slice(),
            &[1.0, 0.0, 1.0, 0.0],
        ]
        .into_iter()
        .enumerate()
        {
            scorer.push(Prediction { index, logits });
        }
        let Metrics::Tagging(found) = scorer.finish() else {
            panic!("tags");
        };
        assert_eq!(found.entity_f1, 0.4);
        let types: Vec<(&str, usize)> = found
            .per_type
            .iter()
            .map(|t| (t.entity.as_str(), t.support))
            .collect();
        assert_eq!(types, [("x", 2), ("y", 1)]);
        assert_eq!(found.accuracy, 2.0 / 5.0);
        // Of the two words whose tags are known.
        assert!((found.loss - (-1f64).exp().ln_1p()).abs() < 1e-12);
    }

    /// Two texts whose labels are still to come.
    fn two() -> Examples {
        let mut examples = Examples::new(Task::Classify);
        examples.push(0, 1, &[1, 2], &[0, 0]);
        examples.push(1, 2, &[1, 2], &[0, 0]);
        examples
    }

    #[test]
    fn the_loss_is_of_rows_whose_label_is_known() {
        let mut examples = two();
        examples.targets = Targets::Classes(vec![Some(0), None]);
        let labels = ["a", "b"].map(str::to_owned);
        let mut scorer = Scorer::new(Task::Classify, &labels, &examples).unwrap();
        for (index, logits) in [[3f64.ln(), 0.0], [0.0, 1.0]].iter().enumerate() {
            scorer.push(Prediction { index, logits });
        }
        let found = scorer.finish();
        assert!((found.loss() - (4f64 / 3.0).ln()).abs() < 1e-12);
        assert_eq!((found.rows(), found.value("accuracy")), (2, Some(0.5)));
    }

    /// Texts without labels, or of other labels than the model's.
    #[test]
    fn examples_without_targets_of_the_model_are_refused() {
        let labels = ["a", "b"].map(str::to_owned);
        let refused = |classes: Vec<Option<u32>>, says: &str| {
            let mut examples = two();
            examples.targets = Targets::Classes(classes);
            let error = Scorer::new(Task::Classify, &labels, &examples).err();
            let said = error.map(|e| e.to_string()).unwrap_or_default();
            assert_eq!(said.is_empty(), says.is_empty(), "{said}");
            assert!(said.contains(says), "{said}");
        };
        refused(Vec::new(), "0 targets of 2 examples");
        refused(
            vec![Some(0), Some(2)],
            "class 2, and the model has 2 labels",
        );
        refused(vec![None, Some(1)], "");
    }

    /// Rows of another task would each be left out in silence.
    #[test]
    fn examples_of_another_task_are_refused() {
        let tasks = [Task::Classify, Task::MultiLabel, Task::Regress, Task::Tag];
        let labels = ["a", "b"].map(str::to_owned);
        for task in tasks {
            for other in tasks {
                let examples = Examples::new(other);
                let scorer = Scorer::new(task, &labels, &examples);
                assert_eq!(scorer.is_ok(), task == other, "{task:?} {other:?}");
                if let Err(error) = scorer {
                    let said = error.to_string();
                    assert!(said.contains(examples.targets.name()), "{said}");
                }
            }
        }
    }
}
