//! What changes from step to step, kept on the device: the seed and the step that dropout draws by, and how many
//! tokens, sequences and distinct tokens the batch has. Launches name a count by its place here, so two steps whose
//! batches fall into one bucket make the same launches, argument for argument (graphs can be replayed).
//!
//! A count is named by its value: one that equals another (as many rows to clear as there are sequences, say) may bear
//! its name. A launch is right all the same.

use bytemuck::{Pod, Zeroable};
use hone_tensor::DropKey;

/// `StepParams` of device.cuh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct StepParams {
    /// Dropout's seed.
    pub seed: u64,
    /// The optimiser step dropout draws by.
    pub step: u32,
    unused: u32,
    /// Tokens, sequences, distinct tokens.
    pub counts: [u32; 4],
}

/// Marks an argument as a place in [`StepParams::counts`] instead of a number.
const OF_STEP: u32 = 1 << 31;

/// A number of rows as a kernel is told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// The number, or where it stands in the step.
    pub argument: u32,
    /// No fewer rows: what the grid is made for.
    pub most: usize,
}

impl Count {
    /// A number that is the same at every step.
    ///
    /// # Panics
    /// From 2³¹ on.
    pub fn fixed(n: usize) -> Count {
        assert!(n < OF_STEP as usize, "{n} rows");
        Count {
            argument: n as u32,
            most: n,
        }
    }
}

/// The next border that grids are made for: eight to a doubling, so at most one block in eight finds nothing to do.
pub fn bucket(n: usize) -> usize {
    let step = (n.max(1).ilog2()).saturating_sub(3);
    n.next_multiple_of(1 << step)
}

impl StepParams {
    /// Whether draws come from this key's seed and step.
    pub fn draws_by(&self, key: DropKey) -> bool {
        (self.seed, self.step) == (key.seed, key.step)
    }

    /// Draws come from this key's seed and step.
    pub fn draw(&mut self, key: DropKey) {
        (self.seed, self.step) = (key.seed, key.step);
    }

    /// Counts of a batch.
    pub fn counts(tokens: usize, sequences: usize, distinct: usize) -> [u32; 4] {
        [tokens as u32, sequences as u32, distinct as u32, 0]
    }

    /// So many distinct tokens, of at most `most`: by name where the batch that began has as many. The grid is made for
    /// the bucket of its tokens, since batches of one bucket have all kinds of numbers of distinct ones.
    pub fn distinct(&self, n: usize, most: usize) -> Count {
        let argument = match self.counts[2] as usize == n && n > 0 {
            true => OF_STEP | 2,
            false => Count::fixed(n).argument,
        };
        Count {
            argument,
            most: bucket(most),
        }
    }

    /// `n` rows of an activation, by name where the batch has as many tokens or sequences.
    pub fn rows(&self, n: usize) -> Count {
        match self.counts.iter().position(|&c| c as usize == n && n > 0) {
            Some(place) => Count {
                argument: OF_STEP | place as u32,
                most: bucket(n),
            },
            None => Count::fixed(n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_no_smaller_and_at_most_an_eighth_larger() {
        for n in 1..5000 {
            let b = bucket(n);
            assert!(b >= n && b <= n + n / 8, "{n}: {b}");
            assert_eq!(bucket(b), b, "a border is its own bucket");
        }
        assert!((4097..=4608).all(|n| bucket(n) == 4608));
    }

    #[test]
    fn counts_are_named_where_the_batch_has_them() {
        let mut step = StepParams::default();
        assert_eq!(step.rows(7).argument, 7);
        step.counts = StepParams::counts(130, 4, 90);
        assert_eq!(step.rows(130).argument, OF_STEP);
        assert_eq!(step.rows(4).argument, OF_STEP | 1);
        assert_eq!(step.rows(5), Count::fixed(5));
        assert_eq!(step.distinct(90, 130).argument, OF_STEP | 2);
        assert_eq!(step.distinct(89, 130).argument, 89);
        step.counts = StepParams::counts(130, 4, 4);
        assert_eq!(step.distinct(4, 130).argument, OF_STEP | 2);
        assert_eq!(step.distinct(4, 130).most, bucket(130));
    }
}
