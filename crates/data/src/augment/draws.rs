//! Random draws that are a pure function of (seed, epoch, example, what is drawn): the order of batches,
//! threads and resuming cannot change a text.

use hone_tensor::Philox;

/// Which copy of which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The run's seed.
    pub seed: u64,
    /// The epoch, or the number of the copy, from 0.
    pub epoch: u32,
    /// The example's stable number.
    pub example: u64,
}

/// Keeps the draws apart from those of order and dropout, which have the seed itself as key.
const APART: u64 = 0x4155_474D_454E_5421;

/// A stream of draws.
#[derive(Debug, Clone)]
pub(crate) struct Draws {
    philox: Philox,
    tail: [u32; 2],
    next: u32,
}

impl Key {
    /// The stream of one purpose.
    pub(crate) fn draws(self, stream: u32) -> Draws {
        let row = Philox::new(self.seed ^ APART).at([
            self.epoch,
            stream,
            self.example as u32,
            (self.example >> 32) as u32,
        ]);
        Draws {
            philox: Philox::with_key([row[0], row[1]]),
            tail: [row[2], row[3]],
            next: 0,
        }
    }
}

impl Draws {
    fn bits(&mut self) -> u64 {
        let w = self.philox.at([self.next, 0, self.tail[0], self.tail[1]]);
        self.next += 1;
        u64::from(w[0]) | u64::from(w[1]) << 32
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Whether an event of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Uniform in `0..n`; 0 where `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// One of a list.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let at = self.below(list.len());
        list.get(at)
    }

    /// A place drawn in proportion to the weights, which are not negative.
    pub fn weighted(&mut self, weights: &[f32]) -> Option<usize> {
        let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
        let mut left = self.unit() * total;
        for (i, &w) in weights.iter().enumerate() {
            left -= f64::from(w);
            if left < 0.0 {
                return Some(i);
            }
        }
        weights.iter().rposition(|&w| w > 0.0)
    }

    /// Mixes a list (Fisher–Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for k in (1..list.len()).rev() {
            let other = self.below(k + 1);
            list.swap(k, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_coordinate_changes_the_stream_and_weights_are_met() {
        let key = Key {
            seed: 1,
            epoch: 2,
            example: 3,
        };
        let first = key.draws(4).bits();
        assert_eq!(first, key.draws(4).bits());
        for other in [
            Key { seed: 2, ..key }.draws(4),
            Key { epoch: 3, ..key }.draws(4),
            Key { example: 4, ..key }.draws(4),
            Key {
                example: 3 | 1 << 40,
                ..key
            }
            .draws(4),
            key.draws(5),
        ] {
            let mut other = other;
            assert_ne!(first, other.bits());
        }
        let mut draws = key.draws(0);
        let mut counts = [0; 3];
        for _ in 0..30_000 {
            counts[draws.weighted(&[1.0, 0.0, 2.0]).unwrap()] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((counts[0] as f64 / 30_000.0 - 1.0 / 3.0).abs() < 0.015);
        assert_eq!(draws.weighted(&[]), None);
        assert_eq!(draws.pick::<u8>(&[]), None);
        assert!((0..1000).all(|_| draws.below(7) < 7));
    }
}
