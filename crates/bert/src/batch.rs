//! A ragged batch in device memory, in buffers sized once for the longest batch of a run.

use crate::{BertError, Config};
use hone_kernels::{Backend, BackendError, Rows, Tokens};
use hone_tensor::{Filler, Ragged};

/// The largest batch buffers must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Most tokens of a micro-batch.
    pub tokens: usize,
    /// Most sequences of a micro-batch.
    pub sequences: usize,
    /// Longest sequence.
    pub longest: usize,
}

impl Limits {
    /// The limits of one batch.
    pub fn of(batch: &Ragged) -> Limits {
        Limits {
            tokens: batch.tokens(),
            sequences: batch.sequences(),
            longest: batch.longest(),
        }
    }

    /// Limits that hold both.
    pub fn max(self, other: Limits) -> Limits {
        Limits {
            tokens: self.tokens.max(other.tokens),
            sequences: self.sequences.max(other.sequences),
            longest: self.longest.max(other.longest),
        }
    }

    /// What holds batches of these limits when they are filled ([`Ragged::shaped`]).
    pub fn shaped(self, shape: fn(usize) -> usize) -> Limits {
        let filler = Filler::most(self.tokens, self.sequences, shape);
        Limits {
            tokens: self.tokens + filler.tokens,
            sequences: self.sequences + filler.sequences,
            longest: self.longest,
        }
    }
}

/// Where the parts of a batch's words begin, each at a multiple of 64: a batch is two copies to a device, and batches of
/// one size have their parts in the same places.
#[derive(Clone, Copy)]
struct Places {
    ids: usize,
    types: usize,
    positions: usize,
    bucket_tokens: usize,
    cu_seqlens: usize,
    bucket_rows: usize,
    bucket_starts: usize,
    /// Words in all.
    len: usize,
}

impl Places {
    fn of(size: Limits) -> Places {
        let (t, s) = (size.tokens, size.sequences);
        let mut len = 0;
        let mut place = |words: usize| {
            let at = len;
            len += words.next_multiple_of(64);
            at
        };
        Places {
            ids: place(t),
            types: place(t),
            positions: place(t),
            bucket_tokens: place(t),
            cu_seqlens: place(s + 1),
            // At most as many distinct tokens as tokens.
            bucket_rows: place(t),
            bucket_starts: place(t + 1),
            len,
        }
    }
}

/// Where the sequences' example ids begin behind the tokens'.
fn sequence_ids(size: Limits) -> usize {
    size.tokens.next_multiple_of(32)
}

/// Device copies of a batch's indices.
pub struct DeviceBatch<B: Backend> {
    /// As [`Places`] has them.
    words: B::Buf<u32>,
    /// Example ids of all tokens, then of the sequences.
    example_ids: B::Buf<u64>,
    zeros: B::Buf<u32>,
    limits: Limits,
    filled: Limits,
    distinct: Vec<u32>,
    host_words: Vec<u32>,
    host_ids: Vec<u64>,
}

hone_tensor::brief_debug! { [B: Backend] DeviceBatch<B>, |d| limits: d.limits, filled: d.filled }

impl<B: Backend> DeviceBatch<B> {
    /// Buffers for batches up to `limits`.
    pub fn new(backend: &B, limits: Limits) -> Result<Self, BackendError> {
        Ok(DeviceBatch {
            words: backend.alloc(Places::of(limits).len)?,
            example_ids: backend.alloc(sequence_ids(limits) + limits.sequences)?,
            zeros: backend.alloc(limits.sequences)?,
            limits,
            filled: Limits::default(),
            distinct: Vec::new(),
            host_words: Vec::new(),
            host_ids: Vec::new(),
        })
    }

    /// Checks a batch against the model and the buffers, and uploads it.
    pub fn load(&mut self, b: &B, config: &Config, batch: &Ragged) -> Result<(), BertError> {
        check(config, batch)?;
        let size = Limits::of(batch);
        if size.max(self.limits) != self.limits {
            return Err(BertError::Batch(format!(
                "{size:?} exceeds the planned {:?}",
                self.limits
            )));
        }
        let buckets = batch.buckets();
        let places = Places::of(size);
        let words = &mut self.host_words;
        words.clear();
        words.resize(places.len, 0);
        for (at, part) in [
            (places.ids, &batch.ids),
            (places.types, &batch.types),
            (places.positions, &batch.positions()),
            (places.bucket_tokens, &buckets.tokens),
            (places.cu_seqlens, &batch.cu_seqlens),
            (places.bucket_rows, &buckets.rows),
            (places.bucket_starts, &buckets.starts),
        ] {
            words[at..at + part.len()].copy_from_slice(part);
        }
        b.upload(b.head_mut(&mut self.words, places.len), words)?;
        let ids = &mut self.host_ids;
        ids.clear();
        ids.extend(batch.token_example_ids());
        ids.resize(sequence_ids(size), 0);
        ids.extend(&batch.example_ids);
        b.upload(b.head_mut(&mut self.example_ids, ids.len()), ids)?;
        self.filled = size;
        self.distinct = buckets.rows;
        Ok(())
    }

    /// Sizes of the batch that is loaded.
    pub fn size(&self) -> Limits {
        self.filled
    }

    /// Distinct token ids of the batch, ascending.
    pub fn distinct(&self) -> &[u32] {
        &self.distinct
    }

    fn words(&self, b: &B, at: usize, len: usize) -> B::View<'_, u32> {
        b.slice(b.view(&self.words), at..at + len)
    }

    fn token_ids(&self, b: &B) -> B::View<'_, u64> {
        b.head(&self.example_ids, self.filled.tokens)
    }

    fn sequence_ids(&self, b: &B) -> B::View<'_, u64> {
        let at = sequence_ids(self.filled);
        b.slice(b.view(&self.example_ids), at..at + self.filled.sequences)
    }

    /// The batch as kernels read it.
    pub fn tokens(&self, b: &B) -> Tokens<'_, B> {
        let Limits {
            tokens: t,
            sequences: s,
            longest,
        } = self.filled;
        let u = self.distinct.len();
        let at = Places::of(self.filled);
        Tokens {
            ids: self.words(b, at.ids, t),
            types: self.words(b, at.types, t),
            positions: self.words(b, at.positions, t),
            cu_seqlens: self.words(b, at.cu_seqlens, s + 1),
            example_ids: self.token_ids(b),
            sequence_ids: self.sequence_ids(b),
            bucket_rows: self.words(b, at.bucket_rows, u),
            bucket_starts: self.words(b, at.bucket_starts, u + 1),
            bucket_tokens: self.words(b, at.bucket_tokens, t),
            longest,
        }
    }

    /// Dropout coordinates of every token's row.
    pub fn token_rows(&self, b: &B) -> Rows<'_, B> {
        Rows {
            example_ids: self.token_ids(b),
            positions: self.words(b, Places::of(self.filled).positions, self.filled.tokens),
        }
    }

    /// Dropout coordinates of the sequences' first rows.
    pub fn first_rows(&self, b: &B) -> Rows<'_, B> {
        Rows {
            example_ids: self.sequence_ids(b),
            positions: b.head(&self.zeros, self.filled.sequences),
        }
    }

    /// Row index of each sequence's first token, `[S]`.
    pub fn first_index(&self, b: &B) -> B::View<'_, u32> {
        let at = Places::of(self.filled).cu_seqlens;
        self.words(b, at, self.filled.sequences)
    }
}

/// A batch that would read outside its own parts or the embedding tables is an error, not a fault.
fn check(config: &Config, batch: &Ragged) -> Result<(), BertError> {
    let wrong = |what: String| Err(BertError::Batch(what));
    let borders = &batch.cu_seqlens;
    if borders.len() != batch.sequences() + 1
        || borders[0] != 0
        || borders.last().map(|&n| n as usize) != Some(batch.tokens())
        || batch.types.len() != batch.tokens()
    {
        return wrong(format!(
            "{} ids and {} types in {} sequences, whose {} borders must go from 0 to the number of ids",
            batch.tokens(),
            batch.types.len(),
            batch.sequences(),
            borders.len()
        ));
    }
    if batch.tokens() == 0 || batch.cu_seqlens.windows(2).any(|w| w[0] >= w[1]) {
        return wrong("every sequence must have at least one token".to_owned());
    }
    if batch.longest() > config.positions {
        return wrong(format!(
            "a sequence of {} tokens; the model has {} positions (shorten with --max-length)",
            batch.longest(),
            config.positions
        ));
    }
    if let Some(&id) = batch
        .ids
        .iter()
        .find(|&&id| id as usize >= config.vocabulary)
    {
        return wrong(format!(
            "token id {id}; the model's vocabulary has {} (tokenizer and model do not belong together)",
            config.vocabulary
        ));
    }
    if let Some(&t) = batch.types.iter().find(|&&t| t as usize >= config.types) {
        return wrong(format!(
            "token type {t}; the model has {} (it was not made for pairs)",
            config.types
        ));
    }
    Ok(())
}
