//! Counter-based random numbers: a draw is a pure function of its coordinates,
//! so packing, micro-batches, threads and resuming cannot change it.
//!
//! Philox 4×32-10 of Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".

const M0: u32 = 0xD251_1F53;
const M1: u32 = 0xCD9E_8D57;
const W0: u32 = 0x9E37_79B9;
const W1: u32 = 0xBB67_AE85;

/// Philox 4×32-10 with a 64-bit key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
}

impl Philox {
    /// Rounds of the generator.
    pub const ROUNDS: usize = 10;

    /// A generator keyed by `seed`.
    pub const fn new(seed: u64) -> Self {
        Philox {
            key: [seed as u32, (seed >> 32) as u32],
        }
    }

    /// A generator with the two key words given.
    pub const fn with_key(key: [u32; 2]) -> Self {
        Philox { key }
    }

    /// The four words at `counter`.
    #[inline]
    pub const fn at(self, counter: [u32; 4]) -> [u32; 4] {
        let [mut c0, mut c1, mut c2, mut c3] = counter;
        let [mut k0, mut k1] = self.key;
        let mut round = 0;
        while round < Self::ROUNDS {
            let p0 = M0 as u64 * c0 as u64;
            let p1 = M1 as u64 * c2 as u64;
            (c0, c1, c2, c3) = (
                (p1 >> 32) as u32 ^ c1 ^ k0,
                p1 as u32,
                (p0 >> 32) as u32 ^ c3 ^ k1,
                p0 as u32,
            );
            k0 = k0.wrapping_add(W0);
            k1 = k1.wrapping_add(W1);
            round += 1;
        }
        [c0, c1, c2, c3]
    }

    /// A 64-bit word at a two-word counter.
    pub const fn u64_at(self, high: u64, low: u64) -> u64 {
        let w = self.at([
            low as u32,
            (low >> 32) as u32,
            high as u32,
            (high >> 32) as u32,
        ]);
        w[0] as u64 | (w[1] as u64) << 32
    }
}

/// Where in a step a dropout mask is drawn; with an example id and a position it keys a row of draws.
///
/// A draw is Philox keyed twice: first `(seed; step, layer·site·draw, example id)` gives a row key,
/// then `(row key; channel / 4, position, …)` gives the words of four neighbouring channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropKey {
    /// The run's seed.
    pub seed: u64,
    /// Optimiser step, from 0.
    pub step: u32,
    /// Encoder layer, or [`DropKey::EMBEDDINGS`] / [`DropKey::HEAD`].
    pub layer: u16,
    /// Which dropout inside the layer.
    pub site: u8,
    /// Which forward pass of the step. (R-Drop's two readings are one pass; see `Ragged::with_second_draw`.)
    pub draw: u8,
}

impl DropKey {
    /// `layer` of the embeddings' dropout.
    pub const EMBEDDINGS: u16 = u16::MAX;
    /// `layer` of the dropout before the classifier.
    pub const HEAD: u16 = u16::MAX - 1;
    /// `layer` of draws over weights (mixout); the row of the parameter table stands for the example.
    pub const WEIGHTS: u16 = u16::MAX - 2;

    /// The key words of one example's draws.
    #[inline]
    pub const fn example(self, example_id: u64) -> [u32; 4] {
        Philox::new(self.seed).at([
            self.step,
            (self.layer as u32) << 16 | (self.site as u32) << 8 | self.draw as u32,
            example_id as u32,
            (example_id >> 32) as u32,
        ])
    }

    /// Words of channels `4·block .. 4·block + 4` of the row at `position`, given [`DropKey::example`].
    #[inline]
    pub const fn row_words(example: [u32; 4], position: u32, block: u32) -> [u32; 4] {
        Philox::with_key([example[0], example[1]]).at([block, position, example[2], example[3]])
    }

    /// Words of key positions `4·block ..` for one attention head and query position.
    #[inline]
    pub const fn attention_words(example: [u32; 4], head: u32, query: u32, block: u32) -> [u32; 4] {
        Philox::with_key([example[0], example[1]]).at([block, query, example[2] ^ head, example[3]])
    }
}

/// A uniform permutation of `0..n`, a pure function of `seed` and `epoch` (Fisher–Yates).
pub fn permutation(n: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let random = Philox::new(seed);
    let mut order: Vec<u32> = (0..n as u32).collect();
    for k in (1..n).rev() {
        // Lemire's multiply-shift: bias below 2⁻³² for any n that fits memory.
        let word = random.u64_at(epoch, k as u64);
        let other = ((word as u128 * (k as u128 + 1)) >> 64) as usize;
        order.swap(k, other);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (`kat_vectors`, philox4x32 10).
    #[test]
    fn philox_known_answers() {
        let cases = [
            (
                [0, 0],
                [0, 0, 0, 0],
                [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
            ),
            (
                [u32::MAX, u32::MAX],
                [u32::MAX; 4],
                [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
            ),
            (
                [0xa409_3822, 0x299f_31d0],
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (key, counter, want) in cases {
            assert_eq!(Philox::with_key(key).at(counter), want);
        }
    }

    #[test]
    fn permutation_is_a_permutation_and_moves_with_seed_and_epoch() {
        let a = permutation(1000, 1, 0);
        let mut sorted = a.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert_ne!(a, permutation(1000, 1, 1));
        assert_ne!(a, permutation(1000, 2, 0));
        assert_eq!(a, permutation(1000, 1, 0));
        let fixed = a
            .iter()
            .enumerate()
            .filter(|(i, v)| *i == **v as usize)
            .count();
        assert!(fixed < 10, "{fixed} fixed points of 1000");
    }

    /// Of four each of the 24 orders comes as often, within five standard deviations.
    #[test]
    fn permutations_are_uniform() {
        let mut seen = std::collections::HashMap::new();
        for seed in 0..24_000 {
            *seen.entry(permutation(4, seed, 3)).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 24);
        assert!(seen.values().all(|n| (845..=1155).contains(n)), "{seen:?}");
        assert_eq!(
            (permutation(0, 1, 0), permutation(1, 1, 0)),
            (vec![], vec![0])
        );
    }

    #[test]
    fn each_coordinate_changes_the_draw() {
        let base = DropKey {
            seed: 1,
            step: 2,
            layer: 3,
            site: 4,
            draw: 0,
        };
        let at =
            |k: DropKey, id, position, block| DropKey::row_words(k.example(id), position, block);
        let first = at(base, 10, 5, 0);
        for other in [
            at(DropKey { seed: 2, ..base }, 10, 5, 0),
            at(DropKey { step: 3, ..base }, 10, 5, 0),
            at(DropKey { layer: 4, ..base }, 10, 5, 0),
            at(DropKey { site: 5, ..base }, 10, 5, 0),
            at(DropKey { draw: 1, ..base }, 10, 5, 0),
            at(base, 11, 5, 0),
            at(base, 10, 6, 0),
            at(base, 10, 5, 1),
        ] {
            assert_ne!(first, other);
        }
    }
}
