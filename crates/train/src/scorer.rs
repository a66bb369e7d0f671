//! From logits to metrics, example by example.

use crate::evaluate::{Prediction, argmax, softmax, word_classes};
use crate::examples::{Examples, Targets};
use crate::metrics::{Confusion, Entities, Metrics, MultiLabelCounts, Pairs};
use hone_bert::Task;

/// Collects an evaluation.
#[derive(Debug, Clone)]
pub struct Scorer {
    labels: Vec<String>,
    counts: Counts,
}

#[derive(Debug, Clone)]
enum Counts {
    Classes(Confusion),
    Sets(MultiLabelCounts),
    Values(Pairs),
    Tags(Entities),
}

impl Scorer {
    /// Nothing collected yet.
    pub fn new(task: Task, labels: &[String]) -> Self {
        let n = labels.len();
        Scorer {
            labels: labels.to_vec(),
            counts: match task {
                Task::Classify => Counts::Classes(Confusion::new(n)),
                Task::MultiLabel => Counts::Sets(MultiLabelCounts::new(n)),
                Task::Regress => Counts::Values(Pairs::default()),
                Task::Tag => Counts::Tags(Entities::default()),
            },
        }
    }

    /// Takes one example's logits; examples of another task are not counted.
    pub fn push(&mut self, examples: &Examples, p: Prediction<'_>) {
        let i = p.index;
        match (&mut self.counts, &examples.targets) {
            (Counts::Classes(c), Targets::Classes(all)) => {
                let gold = all[i].map(|g| g as usize);
                let loss = gold.map_or(0.0, |g| -softmax(p.logits)[g].max(f64::MIN_POSITIVE).ln());
                c.add(gold, argmax(p.logits), loss);
            }
            (Counts::Sets(c), Targets::Sets { sets, unknown }) => {
                c.add(&sets[i], unknown[i], p.logits);
            }
            (Counts::Values(c), Targets::Values(all)) => c.add(all[i], p.logits[0] as f32),
            (
                Counts::Tags(c),
                Targets::Tags {
                    words,
                    first_pieces,
                    unknown,
                    ..
                },
            ) => {
                let name = |class: Option<u32>| match class {
                    Some(c) => self.labels[c as usize].as_str(),
                    None => unknown.as_str(),
                };
                let n = self.labels.len();
                for (&gold, piece) in words[i].iter().zip(&first_pieces[i]) {
                    if let (Some(gold), Some(piece)) = (gold, piece) {
                        let row = &p.logits[*piece as usize * n..][..n];
                        let probability = softmax(row)[gold as usize];
                        c.add_loss(-probability.max(f64::MIN_POSITIVE).ln());
                    }
                }
                let gold: Vec<&str> = words[i].iter().map(|&w| name(w)).collect();
                let said = word_classes(&first_pieces[i], p, n);
                let said: Vec<Option<&str>> =
                    said.into_iter().map(|w| w.map(|c| name(Some(c)))).collect();
                c.add(&gold, &said);
            }
            _ => debug_assert!(false, "examples of another task"),
        }
    }

    /// Sums up.
    pub fn finish(&self) -> Metrics {
        match &self.counts {
            Counts::Classes(c) => Metrics::Classification(c.finish(&self.labels)),
            Counts::Sets(c) => Metrics::MultiLabel(c.finish(&self.labels)),
            Counts::Values(c) => Metrics::Regression(c.finish()),
            Counts::Tags(c) => Metrics::Tagging(c.finish()),
        }
    }
}
