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
    unknown: &'a str,
}

impl<'a> Scorer<'a> {
    /// Nothing collected yet; examples of another task than the model's are an error.
    pub fn new(task: Task, labels: &[String], examples: &'a Examples) -> Result<Self, TrainError> {
        let n = labels.len();
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
                    unknown,
                    ..
                },
            ) => {
                let tags = Tags {
                    words,
                    first_pieces,
                    unknown,
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
        let name = |class: Option<u32>| match class {
            Some(c) => labels[c as usize].as_str(),
            None => self.unknown,
        };
        let n = labels.len();
        for (&gold, piece) in words.iter().zip(pieces) {
            if let (Some(gold), Some(piece)) = (gold, piece) {
                let row = &p.logits[*piece as usize * n..][..n];
                let probability = softmax(row)[gold as usize];
                found.add_loss(-probability.max(f64::MIN_POSITIVE).ln());
            }
        }
        let gold: Vec<&str> = words.iter().map(|&w| name(w)).collect();
        let said = word_classes(pieces, p, n);
        let said: Vec<Option<&str>> = said.into_iter().map(|w| w.map(|c| name(Some(c)))).collect();
        found.add(&gold, &said);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
