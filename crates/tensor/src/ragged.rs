//! Ragged batches: sequences laid end to end, no padding anywhere.

/// Marks the example id of a second draw.
const SECOND_DRAW: u64 = 1 << 63;

/// Example ids of fillers count down from here; second draws of examples begin above half of it.
const FILLER: u64 = SECOND_DRAW - 1;

/// Sequences that fill a batch up to a number of tokens, none longer than the batch's longest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filler {
    /// How many.
    pub sequences: usize,
    /// Their tokens, spread evenly.
    pub tokens: usize,
}

impl Filler {
    /// What fills a batch of so many tokens and sequences up to what `shape` makes of its tokens: a filler and one more for
    /// every eight sequences, so that batches of equally many sequences stay so. Nothing where its tokens are a shape's,
    /// or where a filler would be longer than the longest sequence.
    ///
    /// `shape` leaves its own results as they are.
    pub fn of(
        tokens: usize,
        sequences: usize,
        longest: usize,
        shape: fn(usize) -> usize,
    ) -> Filler {
        let filler = Filler::most(tokens, sequences, shape);
        match shape(tokens) == tokens || filler.longest() > longest {
            true => Filler::default(),
            false => filler,
        }
    }

    /// No batch of at most so many tokens and sequences is filled with more.
    pub fn most(tokens: usize, sequences: usize, shape: fn(usize) -> usize) -> Filler {
        let fillers = sequences / 8 + 1;
        Filler {
            sequences: fillers,
            tokens: shape(tokens + fillers) - tokens,
        }
    }

    /// Tokens of filler `k`.
    fn length(self, k: usize) -> usize {
        self.tokens / self.sequences + usize::from(k < self.tokens % self.sequences)
    }

    fn longest(self) -> usize {
        self.tokens.div_ceil(self.sequences.max(1))
    }
}

/// A batch of token sequences without padding.
///
/// `ids`, `types` are `[tokens]`; sequence `s` is `cu_seqlens[s]..cu_seqlens[s + 1]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ragged {
    /// Token ids, `[tokens]`.
    pub ids: Vec<u32>,
    /// Segment (token type) ids, `[tokens]`.
    pub types: Vec<u32>,
    /// Cumulative sequence lengths, `[sequences + 1]`, first 0, last `tokens`.
    pub cu_seqlens: Vec<u32>,
    /// Stable example ids, `[sequences]`: they key the dropout draws.
    pub example_ids: Vec<u64>,
}

impl Ragged {
    /// An empty batch, ready for [`Ragged::push`].
    pub fn new() -> Self {
        Ragged {
            cu_seqlens: vec![0],
            ..Ragged::default()
        }
    }

    /// Appends one sequence.
    ///
    /// # Panics
    /// Where `types` is not as long as `ids`.
    pub fn push(&mut self, example_id: u64, ids: &[u32], types: &[u32]) {
        assert_eq!(ids.len(), types.len(), "ids and types of one sequence");
        if self.cu_seqlens.is_empty() {
            self.cu_seqlens.push(0);
        }
        self.ids.extend_from_slice(ids);
        self.types.extend_from_slice(types);
        self.cu_seqlens.push(self.ids.len() as u32);
        self.example_ids.push(example_id);
    }

    /// Every sequence once more behind all of them, its example id marked as a second draw: other dropout masks,
    /// the same text.
    pub fn with_second_draw(mut self) -> Ragged {
        let tokens = self.ids.len() as u32;
        self.ids.extend_from_within(..);
        self.types.extend_from_within(..);
        let sequences = self.example_ids.len();
        self.example_ids.extend_from_within(..);
        for id in &mut self.example_ids[sequences..] {
            *id |= SECOND_DRAW;
        }
        for s in 1..=sequences {
            self.cu_seqlens.push(self.cu_seqlens[s] + tokens);
        }
        self
    }

    /// The batch filled to a shape, as [`Filler::of`] has it.
    pub fn shaped(self, shape: fn(usize) -> usize) -> Ragged {
        let filler = Filler::of(self.tokens(), self.sequences(), self.longest(), shape);
        self.filled(filler)
    }

    /// The batch with fillers behind it: sequences of its first token, whose rows the caller gives no weight. They add no
    /// distinct token, and nothing to any gradient.
    pub fn filled(mut self, filler: Filler) -> Ragged {
        let first = self.ids.first().copied().unwrap_or(0);
        for k in 0..filler.sequences {
            let len = filler.length(k);
            let (ids, types) = (vec![first; len], vec![0; len]);
            self.push(FILLER - k as u64, &ids, &types);
        }
        self
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.example_ids.len()
    }

    /// Length of the longest sequence.
    pub fn longest(&self) -> usize {
        self.cu_seqlens
            .windows(2)
            .map(|w| (w[1] - w[0]) as usize)
            .max()
            .unwrap_or(0)
    }

    /// Position of each token within its sequence, `[tokens]`.
    pub fn positions(&self) -> Vec<u32> {
        self.cu_seqlens
            .windows(2)
            .flat_map(|w| 0..w[1] - w[0])
            .collect()
    }

    /// Example id of each token, `[tokens]`.
    pub fn token_example_ids(&self) -> Vec<u64> {
        self.cu_seqlens
            .windows(2)
            .zip(&self.example_ids)
            .flat_map(|(w, &id)| std::iter::repeat_n(id, (w[1] - w[0]) as usize))
            .collect()
    }

    /// Groups token positions by token id, for a backward pass of the word embeddings
    /// that adds in a fixed order without atomics.
    pub fn buckets(&self) -> TokenBuckets {
        let mut tokens: Vec<u32> = (0..self.ids.len() as u32).collect();
        tokens.sort_by_key(|&t| (self.ids[t as usize], t));
        let mut rows = Vec::new();
        let mut starts = Vec::new();
        for (k, &t) in tokens.iter().enumerate() {
            let id = self.ids[t as usize];
            if rows.last() != Some(&id) {
                rows.push(id);
                starts.push(k as u32);
            }
        }
        starts.push(tokens.len() as u32);
        TokenBuckets {
            rows,
            starts,
            tokens,
        }
    }
}

/// Token positions grouped by token id: bucket `u` holds the tokens
/// `tokens[starts[u]..starts[u + 1]]`, ascending, all with id `rows[u]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenBuckets {
    /// Distinct ids, ascending, `[distinct]`.
    pub rows: Vec<u32>,
    /// Bucket borders, `[distinct + 1]`.
    pub starts: Vec<u32>,
    /// Token indices, `[tokens]`.
    pub tokens: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Ragged {
        let mut b = Ragged::new();
        b.push(7, &[5, 3, 5], &[0, 0, 1]);
        b.push(9, &[3, 8], &[0, 0]);
        b
    }

    #[test]
    fn positions_and_ids_follow_the_borders() {
        let b = batch();
        assert_eq!(b.cu_seqlens, [0, 3, 5]);
        assert_eq!(b.positions(), [0, 1, 2, 0, 1]);
        assert_eq!(b.token_example_ids(), [7, 7, 7, 9, 9]);
        assert_eq!((b.tokens(), b.sequences(), b.longest()), (5, 2, 3));
    }

    #[test]
    fn a_second_draw_has_the_same_texts_and_other_ids() {
        let b = batch().with_second_draw();
        assert_eq!(b.ids, [5, 3, 5, 3, 8, 5, 3, 5, 3, 8]);
        assert_eq!(b.types, [0, 0, 1, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(b.cu_seqlens, [0, 3, 5, 8, 10]);
        assert_eq!(b.example_ids, [7, 9, 7 | 1 << 63, 9 | 1 << 63]);
    }

    #[test]
    fn fillers_reach_the_border_and_are_no_longer_than_the_longest() {
        // Eight borders to a doubling.
        let shape: fn(usize) -> usize =
            |n| n.next_multiple_of(1 << n.max(1).ilog2().saturating_sub(3));
        let more = [1, 7, 8, 15, 16].map(|n| Filler::most(100, n, shape).sequences);
        assert_eq!(more, [1, 1, 2, 2, 3]);
        let mut unfilled = 0;
        for sequences in 1..70usize {
            let (mut most, mut reached) = (0, 0);
            for tokens in sequences..40 * sequences {
                // No batch of so many tokens has a shorter longest sequence.
                let longest = tokens.div_ceil(sequences);
                let filler = Filler::of(tokens, sequences, longest, shape);
                let all = tokens + filler.tokens;
                unfilled += usize::from(shape(all) != all);
                assert!(filler.tokens >= filler.sequences && filler.longest() <= longest);
                assert!(8 * filler.tokens <= tokens + 9 * filler.sequences);
                reached = reached.max(all);
                let bound = Filler::most(tokens, sequences, shape);
                most = most.max(tokens + bound.tokens);
                assert!(reached <= most && filler.sequences <= bound.sequences);
                assert_eq!(most, tokens + bound.tokens, "it grows with the tokens");
            }
        }
        assert!(unfilled < 300, "{unfilled} of 94 185");
        let full = batch().filled(Filler {
            sequences: 2,
            tokens: 3,
        });
        assert_eq!(full.ids, [5, 3, 5, 3, 8, 5, 5, 5]);
        assert_eq!(full.cu_seqlens, [0, 3, 5, 7, 8]);
        assert_eq!(full.example_ids[2..], [(1 << 63) - 1, (1 << 63) - 2]);
        assert_eq!(full.buckets().rows, batch().buckets().rows);
        assert_eq!(batch().filled(Filler::default()), batch());
    }

    #[test]
    fn buckets_hold_every_token_once_in_order() {
        let got = batch().buckets();
        assert_eq!(got.rows, [3, 5, 8]);
        assert_eq!(got.starts, [0, 2, 4, 5]);
        assert_eq!(got.tokens, [1, 3, 0, 2, 4]);
    }
}
