//! What all held-out rows say together: pooled metrics, `oof.csv`, and the labels that are probably wrong.

use super::record::FoldRecord;
use crate::held_out::RowLogits;
use crate::suspects::{ConfidentJoint, RankBy, confident_joint, suspects};
use crate::table::csv_text;
use hone_bert::Task;
use hone_data::Part;
use hone_train::metrics::{self, Metrics};
use hone_train::{
    Answers, Examples, Prediction, Scorer, Targets, TrainError, argmax, sigmoid, softmax,
    word_classes, write_beside,
};
use serde::Serialize;
use std::path::Path;

/// A row's logits from the model that did not see it.
#[derive(Debug, Clone)]
struct Entry {
    repeat: usize,
    fold: usize,
    said: RowLogits,
}

/// All out-of-fold predictions, by repeat and row.
pub struct OutOfFold<'a> {
    task: Task,
    labels: &'a [String],
    examples: &'a Examples,
    entries: Vec<Entry>,
}

hone_tensor::brief_debug! { [] OutOfFold<'_>, |o| task: o.task, labels: o.labels, entries: o.entries.len() }

/// Labels that are probably wrong.
#[derive(Debug, Clone, Serialize)]
pub struct SuspectReport {
    /// Rows listed in `suspects.csv`.
    pub suspects: usize,
    /// Estimated share of rows with a wrong label.
    pub estimated_noise: f64,
    /// Why the list means little, where it does.
    pub caution: Option<&'static str>,
    /// Given and true labels.
    #[serde(flatten)]
    pub joint: ConfidentJoint,
}

/// Whether the most probable class is right more often than always the same one would be.
fn better_than_usual(labels: &[usize], probabilities: &[Vec<f64>]) -> bool {
    let mut counts = vec![0usize; probabilities.first().map_or(0, Vec::len)];
    labels.iter().for_each(|&l| counts[l] += 1);
    let both = labels.iter().zip(probabilities);
    let right = both.filter(|(l, p)| argmax(p) == **l).count();
    Some(&right) > counts.iter().max()
}

impl<'a> OutOfFold<'a> {
    /// From the folds' records and logits.
    pub fn new(
        task: Task,
        labels: &'a [String],
        examples: &'a Examples,
        folds: Vec<(FoldRecord, Vec<RowLogits>)>,
    ) -> Self {
        let mut entries: Vec<Entry> = folds
            .into_iter()
            .flat_map(|(record, logits)| {
                logits.into_iter().map(move |said| Entry {
                    repeat: record.repeat,
                    fold: record.fold,
                    said,
                })
            })
            .collect();
        entries.sort_by_key(|e| (e.repeat, e.said.row));
        OutOfFold {
            task,
            labels,
            examples,
            entries,
        }
    }

    /// Metrics of all rows of each repeat, every row answered by the model that did not see it.
    pub fn pooled(&self) -> Result<Vec<Metrics>, TrainError> {
        self.entries
            .chunk_by(|a, b| a.repeat == b.repeat)
            .map(|repeat| {
                let mut scorer = Scorer::new(self.task, self.labels, self.examples)?;
                for entry in repeat {
                    let logits = entry.said.as_predicted(self.examples, self.labels.len());
                    let (index, logits) = (entry.said.row as usize, &logits[..]);
                    scorer.push(Prediction { index, logits });
                }
                Ok(scorer.finish())
            })
            .collect()
    }

    /// Probability of each class of each row, the mean over repeats; only for one label of several.
    pub fn probabilities(&self) -> Option<(Vec<usize>, Vec<Vec<f64>>)> {
        let Targets::Classes(gold) = &self.examples.targets else {
            return None;
        };
        let labels: Option<Vec<usize>> = gold.iter().map(|c| c.map(|c| c as usize)).collect();
        let mut sums = vec![vec![0.0; self.labels.len()]; gold.len()];
        let mut times = vec![0usize; gold.len()];
        for entry in &self.entries {
            let row = entry.said.row as usize;
            let p = softmax(&entry.said.logits);
            sums[row].iter_mut().zip(p).for_each(|(s, p)| *s += p);
            times[row] += 1;
        }
        for (sum, &n) in sums.iter_mut().zip(&times) {
            sum.iter_mut().for_each(|s| *s /= n.max(1) as f64);
        }
        Some((labels?, sums))
    }

    /// The first repeat's answers to rows with a known label, each by the model that did not see it: one a row, so that they
    /// are a sample. Only for one label of several.
    pub fn answers(&self) -> Option<Answers> {
        let Targets::Classes(gold) = &self.examples.targets else {
            return None;
        };
        let mut all = Answers::new(self.labels.len());
        for entry in self.entries.iter().filter(|e| e.repeat == 1) {
            if let Some(class) = gold[entry.said.row as usize] {
                all.push(&entry.said.logits, class as usize);
            }
        }
        Some(all)
    }

    /// `oof.csv`: a line for each row and repeat.
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        let mut head: Vec<String> = ["row", "fold", "repeat", "label", "predicted"]
            .map(str::to_owned)
            .to_vec();
        if matches!(self.task, Task::Classify | Task::MultiLabel) {
            head.extend(self.labels.iter().map(|l| format!("p_{l}")));
        }
        let rows = self.entries.iter().map(|e| self.line(e));
        let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
        write_beside(path, &csv_text(&lines)?)
    }

    fn line(&self, entry: &Entry) -> Vec<String> {
        let i = entry.said.row as usize;
        let logits = &entry.said.logits;
        let name = |c: u32| self.labels[c as usize].clone();
        let names = |set: &[u32]| -> String {
            let all: Vec<String> = set.iter().map(|&c| name(c)).collect();
            all.join("|")
        };
        let (label, said, probabilities) = match &self.examples.targets {
            Targets::Classes(all) => {
                let p = softmax(logits);
                let gold = all[i].map_or(String::new(), name);
                (gold, name(argmax(logits) as u32), p)
            }
            Targets::Sets { sets: all, .. } => {
                let given: Vec<u32> = (0..logits.len() as u32)
                    .filter(|&c| metrics::given(logits[c as usize]))
                    .collect();
                let p = logits.iter().map(|&z| sigmoid(z)).collect();
                (names(&all[i]), names(&given), p)
            }
            Targets::Values(all) => (all[i].to_string(), logits[0].to_string(), Vec::new()),
            // Nobody cross-validates them.
            Targets::Masked(_) => (String::new(), String::new(), Vec::new()),
            Targets::Tags { first_pieces, .. } => {
                let whole = entry.said.as_predicted(self.examples, self.labels.len());
                let p = Prediction {
                    index: i,
                    logits: &whole,
                };
                let said = word_classes(&first_pieces[i], p, self.labels.len());
                let tags = said.iter().map(|c| c.map_or("O".to_owned(), name));
                let said = tags.collect::<Vec<_>>().join(" ");
                let gold = self.examples.targets.gold_tags(i, self.labels);
                (gold.join(" "), said, Vec::new())
            }
        };
        let mut line = vec![
            self.examples.rows()[i].to_string(),
            entry.fold.to_string(),
            entry.repeat.to_string(),
            label,
            said,
        ];
        line.extend(probabilities.iter().map(f64::to_string));
        line
    }

    /// `suspects.csv`, the most suspicious row first, for tasks with one label of several; the texts are `part`'s.
    pub fn suspects(&self, part: &Part, path: &Path) -> Result<Option<SuspectReport>, TrainError> {
        let Some((labels, probabilities)) = self.probabilities() else {
            return Ok(None);
        };
        let joint = confident_joint(&labels, &probabilities);
        let found = suspects(&labels, &probabilities, &joint, RankBy::SelfConfidence);
        let pairs = part.rows.iter().any(|r| r.text_b.is_some());
        let mut head = vec![
            "rank",
            "row",
            "label",
            "suggested",
            "p_label",
            "p_suggested",
            "normalized_margin",
            "confidently_other",
            "text",
        ];
        head.extend(pairs.then_some("text_b"));
        let head = head.into_iter().map(str::to_owned).collect();
        let rows = found.iter().enumerate().map(|(rank, &i)| {
            let p = &probabilities[i];
            let best = argmax(p);
            let margin = RankBy::NormalizedMargin.score(labels[i], p);
            let off = joint.off_diagonal.binary_search(&i).is_ok();
            let row = &part.rows[i];
            let mut line = vec![
                (rank + 1).to_string(),
                row.line.to_string(),
                self.labels[labels[i]].clone(),
                self.labels[best].clone(),
                p[labels[i]].to_string(),
                p[best].to_string(),
                margin.to_string(),
                off.to_string(),
                row.text.clone(),
            ];
            if pairs {
                line.push(row.text_b.clone().unwrap_or_default());
            }
            line
        });
        let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
        write_beside(path, &csv_text(&lines)?)?;
        Ok(Some(SuspectReport {
            suspects: found.len(),
            estimated_noise: joint.noise(),
            caution: (!better_than_usual(&labels, &probabilities)).then_some(
                "the folds' models are right no more often than the most frequent label is; \
                 what they take for wrong labels means little",
            ),
            joint,
        }))
    }
}
