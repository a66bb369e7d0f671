//! Which examples make a step, and how a step is cut into micro-batches.

use crate::Examples;
use hone_bert::Limits;
use hone_tensor::permutation;

/// How epochs are ordered and cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPlan {
    /// Examples of an optimiser step; 0 counts as 1.
    pub step_rows: usize,
    /// Most examples of a micro-batch; 0 counts as 1.
    pub micro_rows: usize,
    /// Most tokens of a micro-batch; a longer single example is a micro-batch by itself.
    pub max_tokens: usize,
    /// Order of each epoch.
    pub order: Order,
}

/// Order of an epoch's examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// A uniform permutation, a pure function of seed and epoch.
    Shuffled {
        /// The run's seed.
        seed: u64,
    },
    /// As in the file.
    File,
}

/// Optimiser steps, at least 1, of `step_rows` examples each (0 counts as 1) over `rows`; the last may be smaller.
pub(crate) fn steps_per_epoch(rows: usize, step_rows: usize) -> usize {
    rows.div_ceil(step_rows.max(1)).max(1)
}

impl BatchPlan {
    /// Optimiser steps of an epoch over `rows` examples, at least 1; the last may be smaller.
    pub fn steps_per_epoch(&self, rows: usize) -> usize {
        steps_per_epoch(rows, self.step_rows)
    }

    /// Example indices of an epoch, in order.
    pub fn epoch(&self, rows: usize, epoch: usize) -> Vec<u32> {
        match self.order {
            Order::Shuffled { seed } => permutation(rows, seed, epoch as u64),
            Order::File => (0..rows as u32).collect(),
        }
    }

    /// Cuts a step's examples into micro-batches, in order, each whole example once.
    pub fn micro_batches<'a>(&self, examples: &Examples, step: &'a [u32]) -> Vec<&'a [u32]> {
        cut(examples, step, self.micro_rows, self.max_tokens)
    }

    /// The largest micro-batch of an epoch.
    pub fn epoch_limits(&self, examples: &Examples, epoch: usize) -> Limits {
        let order = self.epoch(examples.len(), epoch);
        order
            .chunks(self.step_rows.max(1))
            .flat_map(|step| self.micro_batches(examples, step))
            .fold(Limits::default(), |limits, micro| {
                limits.max(limits_of(examples, micro))
            })
    }

    /// The largest micro-batch of the listed epochs.
    pub fn limits(&self, examples: &Examples, epochs: usize) -> Limits {
        let mut limits = Limits::default();
        for epoch in 0..epochs {
            limits = limits.max(self.epoch_limits(examples, epoch));
            if self.order == Order::File {
                break;
            }
        }
        limits
    }
}

/// Cuts `index` into runs of at most `rows` examples (0 counts as 1) and `tokens` tokens.
pub fn cut<'a>(
    examples: &Examples,
    index: &'a [u32],
    rows: usize,
    tokens: usize,
) -> Vec<&'a [u32]> {
    let rows = rows.max(1);
    let mut parts = Vec::new();
    let (mut start, mut filled) = (0, 0);
    for (k, &i) in index.iter().enumerate() {
        let length = examples.length(i as usize);
        if k > start && (k - start == rows || filled + length > tokens) {
            parts.push(&index[start..k]);
            (start, filled) = (k, 0);
        }
        filled += length;
    }
    if start < index.len() {
        parts.push(&index[start..]);
    }
    parts
}

/// Size of the batch of the listed examples.
pub fn limits_of(examples: &Examples, index: &[u32]) -> Limits {
    let lengths = index.iter().map(|&i| examples.length(i as usize));
    Limits {
        tokens: lengths.clone().sum(),
        sequences: index.len(),
        longest: lengths.max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_bert::Task;

    fn examples(lengths: &[usize]) -> Examples {
        let mut e = Examples::new(Task::Classify);
        for (i, &n) in lengths.iter().enumerate() {
            e.push(i as u64, i + 1, &vec![1; n], &vec![0; n]);
        }
        e
    }

    #[test]
    fn micro_batches_cover_a_step_in_order() {
        let e = examples(&[3, 4, 9, 1, 1, 1, 20, 2]);
        let all: Vec<u32> = (0..8).collect();
        for (rows, tokens, want) in [
            (8, 1000, vec![8]),
            (3, 1000, vec![3, 3, 2]),
            (8, 8, vec![2, 1, 3, 1, 1]),
            (1, 1, vec![1; 8]),
        ] {
            let parts = cut(&e, &all, rows, tokens);
            assert_eq!(parts.iter().map(|p| p.len()).collect::<Vec<_>>(), want);
            assert_eq!(parts.concat(), all);
        }
    }

    #[test]
    fn limits_hold_every_batch_of_the_run() {
        let e = examples(&(0..57).map(|i| 1 + i * 7 % 23).collect::<Vec<_>>());
        let plan = BatchPlan {
            step_rows: 8,
            micro_rows: 5,
            max_tokens: 60,
            order: Order::Shuffled { seed: 3 },
        };
        let limits = plan.limits(&e, 3);
        let mut reached = Limits::default();
        for epoch in 0..3 {
            let order = plan.epoch(57, epoch);
            for step in order.chunks(8) {
                for micro in plan.micro_batches(&e, step) {
                    reached = reached.max(Limits::of(&e.batch(micro)));
                }
            }
        }
        assert_eq!(limits, reached);
        assert!(limits.tokens <= 60 && limits.sequences <= 5);
    }

    #[test]
    fn no_rows_a_step_are_one() {
        let e = examples(&[3, 4, 9]);
        let plan = BatchPlan {
            step_rows: 0,
            micro_rows: 0,
            max_tokens: 100,
            order: Order::File,
        };
        assert_eq!((plan.steps_per_epoch(3), plan.steps_per_epoch(0)), (3, 1));
        let all = [0, 1, 2];
        assert_eq!(
            plan.micro_batches(&e, &all),
            [&all[..1], &all[1..2], &all[2..]]
        );
        assert_eq!(plan.limits(&e, 1).tokens, 9);
    }

    #[test]
    fn without_shuffling_batches_follow_the_file() {
        let plan = BatchPlan {
            step_rows: 3,
            micro_rows: 3,
            max_tokens: 100,
            order: Order::File,
        };
        assert_eq!(plan.epoch(5, 7), [0, 1, 2, 3, 4]);
        assert_eq!(plan.steps_per_epoch(7), 3);
    }
}
