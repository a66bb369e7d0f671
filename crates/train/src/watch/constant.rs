//! The best answer that reads no text: the labels' shares (their mean, where they are values). What it costs is the
//! entropy of the training labels (their variance), and a model that costs no less has learned nothing.

use crate::{Examples, TargetRule, Targets};
use hone_bert::Task;

/// The labels' weighted shares, or their mean, as the training loss sees them: smoothed and weighted by the run's rule.
#[derive(Debug, Clone, PartialEq)]
pub struct ConstantAnswer {
    task: Task,
    answer: Vec<f64>,
}

impl ConstantAnswer {
    /// The best one over `examples`: of every loss here the minimum is at the weighted mean of the targets, of classes in shares of
    /// their sum (under class weights smoothed targets sum to more or less than 1).
    pub fn best(task: Task, classes: usize, examples: &Examples, rule: &TargetRule) -> Self {
        if let Targets::Masked(tokens) = &examples.targets {
            // Every word once more than it is masked: other epochs mask others.
            let mut answer = vec![1.0; classes];
            for word in tokens.iter().flatten() {
                answer[*word as usize] += 1.0;
            }
            let total: f64 = answer.iter().sum();
            answer.iter_mut().for_each(|p| *p /= total);
            return ConstantAnswer { task, answer };
        }
        let mut sums = vec![0.0; classes];
        let mut total = 0.0;
        for i in 0..examples.len() as u32 {
            let (targets, weights) = rule.rows(examples, &[i], classes, 1.0);
            for (row, &weight) in targets.chunks_exact(classes.max(1)).zip(&weights) {
                let whole = match task {
                    Task::Classify | Task::Tag | Task::Mask => {
                        row.iter().map(|&t| f64::from(t)).sum()
                    }
                    Task::MultiLabel | Task::Regress => 1.0,
                };
                total += f64::from(weight) * whole;
                for (sum, &t) in sums.iter_mut().zip(row) {
                    *sum += f64::from(weight) * f64::from(t);
                }
            }
        }
        let total = total.max(f64::MIN_POSITIVE);
        ConstantAnswer {
            task,
            answer: sums.into_iter().map(|s| s / total).collect(),
        }
    }

    /// Its loss on targets `[R, C]` with weights `[R]`, as a step's loss is summed: Σ wᵣ·ℓᵣ.
    pub fn loss(&self, targets: &[f32], weights: &[f32]) -> f64 {
        let classes = self.answer.len().max(1);
        let log = |p: f64| p.max(f64::MIN_POSITIVE).ln();
        let of = |row: &[f32]| -> f64 {
            let pairs = row.iter().map(|&t| f64::from(t)).zip(&self.answer);
            match self.task {
                // A class that no training row has weighs nothing: 0·ln 0 = 0.
                Task::Classify | Task::Tag | Task::Mask => -pairs
                    .filter(|(t, _)| *t > 0.0)
                    .map(|(t, &p)| t * log(p))
                    .sum::<f64>(),
                Task::MultiLabel => {
                    let each = |(t, &p): (f64, &f64)| {
                        let part = |t: f64, p: f64| if t > 0.0 { -t * log(p) } else { 0.0 };
                        part(t, p) + part(1.0 - t, 1.0 - p)
                    };
                    pairs.map(each).sum::<f64>() / classes as f64
                }
                Task::Regress => pairs.map(|(t, m)| (t - m).powi(2)).sum::<f64>() / classes as f64,
            }
        };
        let rows = targets.chunks_exact(classes).zip(weights);
        rows.map(|(row, &w)| match w {
            0.0 => 0.0,
            w => f64::from(w) * of(row),
        })
        .sum()
    }

    /// Its loss on the listed examples, as a step over them would report it.
    pub fn step_loss(&self, examples: &Examples, index: &[u32], rule: &TargetRule) -> f64 {
        let total = rule.total(examples, index).max(f64::MIN_POSITIVE);
        if let Targets::Masked(_) = examples.targets {
            let words = examples.masked(index, 1.0).words;
            let each = words.iter().map(|&w| -self.answer[w as usize].ln());
            return each.sum::<f64>() / total;
        }
        let (targets, weights) = rule.rows(examples, index, self.answer.len(), total);
        self.loss(&targets, &weights)
    }

    /// Its mean loss over all examples: the entropy of their labels (of values, their variance).
    pub fn mean_loss(&self, examples: &Examples, rule: &TargetRule) -> f64 {
        let all: Vec<u32> = (0..examples.len() as u32).collect();
        self.step_loss(examples, &all, rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(task: Task, targets: Targets) -> Examples {
        let mut all = Examples::new(task);
        for i in 0..4 {
            all.push(i, 1 + i as usize, &[7, 8], &[0, 0]);
        }
        all.targets = targets;
        all
    }

    #[track_caller]
    fn check(task: Task, classes: usize, all: &Examples, rule: &TargetRule, want: f64) {
        let constant = ConstantAnswer::best(task, classes, all, rule);
        let found = constant.step_loss(all, &[0, 1, 2, 3], rule);
        assert!((found - want).abs() < 1e-6, "{task:?}: {found} {want}");
        assert_eq!(constant.mean_loss(all, rule), found);
        // No other constant answer costs less.
        for c in 0..classes {
            for move_by in [-0.01, 0.01] {
                let mut other = constant.clone();
                other.answer[c] += move_by;
                if task != Task::Regress && task != Task::MultiLabel {
                    let sum: f64 = other.answer.iter().sum();
                    other.answer.iter_mut().for_each(|p| *p /= sum);
                }
                assert!(other.step_loss(all, &[0, 1, 2, 3], rule) > found - 1e-12);
            }
        }
    }

    #[test]
    fn it_costs_the_entropy_of_the_labels() {
        let plain = TargetRule::default();
        let h = |p: &[f64]| -p.iter().map(|p| p * p.ln()).sum::<f64>();
        let classes = Targets::Classes(vec![Some(0), Some(0), Some(0), Some(1)]);
        let all = examples(Task::Classify, classes);
        check(Task::Classify, 2, &all, &plain, h(&[0.75, 0.25]));
        let balanced = TargetRule {
            class_weights: TargetRule::balanced(&all, 2),
            ..TargetRule::default()
        };
        check(Task::Classify, 2, &all, &balanced, 2.0f64.ln());
        let smooth = TargetRule {
            label_smoothing: 0.2,
            ..TargetRule::default()
        };
        check(Task::Classify, 2, &all, &smooth, h(&[0.7, 0.3]));
        // Weights 2/3 and 2 of the classes: targets 0.9 and 0.3, of the last row 0.1/3 and 0.9, which weigh 2/3 and 2.
        let both = TargetRule {
            label_smoothing: 0.2,
            ..balanced.clone()
        };
        let (first, second): (f64, f64) = (
            3.0 * 0.9 * 2.0 / 3.0 + 0.2 / 3.0,
            3.0 * 0.3 * 2.0 / 3.0 + 1.8,
        );
        let [p, q] = [first, second].map(|x| x / (first + second));
        let want = -(first * p.ln() + second * q.ln()) / 4.0;
        check(Task::Classify, 2, &all, &both, want);
        let values = examples(Task::Regress, Targets::Values(vec![1.0, 2.0, 3.0, 6.0]));
        check(
            Task::Regress,
            1,
            &values,
            &plain,
            (4.0 + 1.0 + 0.0 + 9.0) / 4.0,
        );
        let sets = Targets::sets(vec![vec![0], vec![0, 1], vec![0], vec![]]);
        let sets = examples(Task::MultiLabel, sets);
        let want = (h(&[0.75, 0.25]) + h(&[0.25, 0.75])) / 2.0;
        check(Task::MultiLabel, 2, &sets, &plain, want);
        let tags = Targets::Tags {
            tokens: [None, Some(0), None, Some(0), None, Some(1), None, Some(2)].to_vec(),
            words: Vec::new(),
            first_pieces: Vec::new(),
            unknown: Vec::new(),
        };
        let tags = examples(Task::Tag, tags);
        check(Task::Tag, 3, &tags, &plain, h(&[0.5, 0.25, 0.25]));
        // Of five words the shares, each counted once more than it is masked: 3, 1, 2, 1 and 1 of 8.
        let said = [None, Some(0), None, Some(0), Some(2), None, None, None];
        let said = examples(Task::Mask, Targets::Masked(said.to_vec()));
        let constant = ConstantAnswer::best(Task::Mask, 5, &said, &plain);
        let want = -(2.0 * (3.0f64 / 8.0).ln() + (2.0f64 / 8.0).ln()) / 3.0;
        assert!((constant.mean_loss(&said, &plain) - want).abs() < 1e-12);
    }
}
