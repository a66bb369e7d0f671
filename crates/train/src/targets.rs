//! Targets and row weights of a micro-batch, as the loss kernels read them.

use crate::examples::{Examples, Targets};

/// How class targets are softened and weighted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TargetRule {
    /// Probability spread evenly over all classes (Szegedy et al. 2016).
    pub label_smoothing: f32,
    /// Weight of each class; empty: all 1.
    pub class_weights: Vec<f32>,
}

impl TargetRule {
    /// Weights n/(k·nₖ) from the training examples, as scikit-learn's "balanced".
    pub fn balanced(examples: &Examples, classes: usize) -> Vec<f32> {
        let mut counts = vec![0usize; classes];
        match &examples.targets {
            Targets::Classes(all) | Targets::Tags { tokens: all, .. } => {
                for class in all.iter().flatten() {
                    counts[*class as usize] += 1;
                }
            }
            Targets::Sets { .. } | Targets::Values(_) | Targets::Masked(_) => return Vec::new(),
        }
        let total: usize = counts.iter().sum();
        let present = counts.iter().filter(|&&n| n > 0).count().max(1);
        counts
            .iter()
            .map(|&n| match n {
                0 => 0.0,
                n => total as f32 / (present * n) as f32,
            })
            .collect()
    }

    fn weight(&self, class: u32) -> f32 {
        self.class_weights
            .get(class as usize)
            .copied()
            .unwrap_or(1.0)
    }

    /// Sum of the row weights of `index`: what the step's loss is divided by.
    pub fn total(&self, examples: &Examples, index: &[u32]) -> f64 {
        let each = |i: &u32| -> f64 {
            let i = *i as usize;
            match &examples.targets {
                Targets::Classes(all) => all[i].map_or(0.0, |c| f64::from(self.weight(c))),
                Targets::Sets { .. } | Targets::Values(_) => 1.0,
                Targets::Tags { tokens, .. } => tokens[examples.span(i)]
                    .iter()
                    .flatten()
                    .map(|&c| f64::from(self.weight(c)))
                    .sum(),
                Targets::Masked(tokens) => tokens[examples.span(i)].iter().flatten().count() as f64,
            }
        };
        index.iter().map(each).sum()
    }

    /// `(targets[R, C], weights[R])` of a micro-batch (masked words, whose classes are many, have
    /// [`Examples::masked`] instead); weights are divided by `total`, so that the sums
    /// over a step's micro-batches are the step's mean. Rows without a target weigh nothing.
    ///
    /// The part that smoothing spreads over the classes weighs as each of them does, and not as the row's own, as PyTorch's
    /// `cross_entropy(weight, label_smoothing)` has it: the targets of a row then do not sum to 1.
    pub fn rows(
        &self,
        examples: &Examples,
        index: &[u32],
        classes: usize,
        total: f64,
    ) -> (Vec<f32>, Vec<f32>) {
        let mut targets = Vec::new();
        let mut weights = Vec::new();
        let mut class = |c: Option<u32>| {
            let start = targets.len();
            let Some(c) = c else {
                targets.resize(start + classes, 0.0);
                weights.push(0.0);
                return;
            };
            let (own, spread) = (self.weight(c), self.label_smoothing / classes as f32);
            // A row that weighs nothing has any targets.
            let of = |other: u32| match own > 0.0 {
                true => spread * (self.weight(other) / own),
                false => spread,
            };
            targets.extend((0..classes as u32).map(of));
            targets[start + c as usize] += 1.0 - self.label_smoothing;
            weights.push((f64::from(own) / total) as f32);
        };
        match &examples.targets {
            Targets::Classes(all) => index.iter().for_each(|&i| class(all[i as usize])),
            Targets::Tags { tokens, .. } | Targets::Masked(tokens) => index
                .iter()
                .flat_map(|&i| &tokens[examples.span(i as usize)])
                .for_each(|&c| class(c)),
            Targets::Sets { sets: all, .. } => {
                for &i in index {
                    let start = targets.len();
                    targets.resize(start + classes, 0.0);
                    for &c in &all[i as usize] {
                        targets[start + c as usize] = 1.0;
                    }
                    weights.push((1.0 / total) as f32);
                }
            }
            Targets::Values(all) => {
                for &i in index {
                    targets.push(all[i as usize]);
                    weights.push((1.0 / total) as f32);
                }
            }
        }
        (targets, weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::softmax;
    use hone_bert::Task;

    fn examples() -> Examples {
        let mut e = Examples::new(Task::Classify);
        for i in 0..4 {
            e.push(i, i as usize + 1, &[1, 2], &[0, 0]);
        }
        e.targets = Targets::Classes(vec![Some(0), Some(1), None, Some(1)]);
        e
    }

    #[test]
    fn smoothing_keeps_rows_summing_to_one_and_unknown_labels_weigh_nothing() {
        let e = examples();
        let rule = TargetRule {
            label_smoothing: 0.3,
            class_weights: Vec::new(),
        };
        let total = rule.total(&e, &[0, 1, 2]);
        assert_eq!(total, 2.0);
        let (targets, weights) = rule.rows(&e, &[0, 1, 2], 3, total);
        assert_eq!(weights, [0.5, 0.5, 0.0]);
        let close = |a: f32, b: f32| (a - b).abs() < 1e-6;
        assert!(close(targets[0], 0.8) && close(targets[1], 0.1) && close(targets[4], 0.8));
        assert!(close(targets[..3].iter().sum(), 1.0));
    }

    /// `torch.nn.functional.cross_entropy(z, [0, 1, 0, 2], weight=[0.5, 2, 1.25], label_smoothing=0.3)` in double.
    #[test]
    fn smoothing_under_class_weights_is_pytorchs() {
        let mut e = examples();
        e.targets = Targets::Classes([0, 1, 0, 2].map(Some).to_vec());
        let rule = TargetRule {
            label_smoothing: 0.3,
            class_weights: vec![0.5, 2.0, 1.25],
        };
        let all = [0, 1, 2, 3];
        let (targets, weights) = rule.rows(&e, &all, 3, rule.total(&e, &all));
        let logits = [
            [1.0, 0.0, -1.0],
            [0.5, 2.0, 0.0],
            [-1.0, 0.0, 3.0],
            [0.0; 3],
        ];
        let loss: f64 = logits
            .iter()
            .zip(targets.chunks(3))
            .zip(&weights)
            .map(|((z, t), &w)| {
                let each = softmax(z).into_iter().zip(t);
                f64::from(w) * each.map(|(p, &t)| -f64::from(t) * p.ln()).sum::<f64>()
            })
            .sum();
        assert!((loss - 1.231_841_624_585_455).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn balanced_weights_even_the_classes_out() {
        let mut e = examples();
        let rule = TargetRule {
            class_weights: TargetRule::balanced(&e, 2),
            ..TargetRule::default()
        };
        assert_eq!(rule.class_weights, [1.5, 0.75]);
        assert_eq!(rule.total(&e, &[0, 1, 3]), 3.0);
        // A class that does not occur is none of them, as in scikit-learn; nor may it spoil smoothing.
        let mut rule = rule;
        rule.class_weights = TargetRule::balanced(&e, 3);
        assert_eq!(rule.class_weights, [1.5, 0.75, 0.0]);
        rule.label_smoothing = 0.3;
        e.targets = Targets::Classes(vec![Some(2); 4]);
        let (targets, weights) = rule.rows(&e, &[0], 3, 1.0);
        assert!(targets.iter().all(|t| t.is_finite()) && weights == [0.0]);
    }

    /// Sets and values weigh 1 a row, tags 1 a word.
    #[test]
    fn targets_of_other_tasks_by_hand() {
        let (mut e, rule) = (examples(), TargetRule::default());
        e.targets = Targets::sets(vec![vec![0, 2], vec![], vec![1], vec![]]);
        assert_eq!(rule.total(&e, &[0, 2, 3]), 3.0);
        let want = vec![1.0, 0.0, 1.0, 0.0, 1.0, 0.0];
        assert_eq!(rule.rows(&e, &[0, 2], 3, 2.0), (want, vec![0.5; 2]));
        e.targets = Targets::Values(vec![2.5, -1.0, 0.0, 4.0]);
        assert_eq!(rule.total(&e, &[3, 1]), 2.0);
        assert_eq!(
            rule.rows(&e, &[3, 1], 1, 4.0),
            (vec![4.0, -1.0], vec![0.25; 2])
        );
        e.targets = Targets::Tags {
            tokens: [None, Some(1), Some(0), Some(1), None, None, None, None].to_vec(),
            words: Vec::new(),
            first_pieces: Vec::new(),
            unknown: Vec::new(),
        };
        assert_eq!(TargetRule::balanced(&e, 2), [1.5, 0.75]);
        assert_eq!(rule.total(&e, &[0, 1, 2]), 3.0);
        let want = vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0];
        assert_eq!(
            rule.rows(&e, &[0, 1], 2, 2.0),
            (want, vec![0.0, 0.5, 0.5, 0.5])
        );
    }
}
