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
}

impl Limits {
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

/// Device copies of a batch's indices.
pub struct DeviceBatch<B: Backend> {
    ids: B::Buf<u32>,
    types: B::Buf<u32>,
    positions: B::Buf<u32>,
    cu_seqlens: B::Buf<u32>,
    zeros: B::Buf<u32>,
    token_ids: B::Buf<u64>,
    sequence_ids: B::Buf<u64>,
    bucket_rows: B::Buf<u32>,
    bucket_starts: B::Buf<u32>,
    bucket_tokens: B::Buf<u32>,
    limits: Limits,
    filled: Limits,
    distinct: Vec<u32>,
}

impl<B: Backend> DeviceBatch<B> {
    /// Buffers for batches up to `limits`.
    pub fn new(backend: &B, limits: Limits) -> Result<Self, BackendError> {
        let (t, s) = (limits.tokens, limits.sequences);
        Ok(DeviceBatch {
            ids: backend.alloc(t)?,
            types: backend.alloc(t)?,
            positions: backend.alloc(t)?,
            cu_seqlens: backend.alloc(s + 1)?,
            zeros: backend.alloc(s)?,
            token_ids: backend.alloc(t)?,
            sequence_ids: backend.alloc(s)?,
            bucket_rows: backend.alloc(t)?,
            bucket_starts: backend.alloc(t + 1)?,
            bucket_tokens: backend.alloc(t)?,
            limits,
            filled: Limits::default(),
            distinct: Vec::new(),
        })
    }

    /// Checks a batch against the model and the buffers, and uploads it.
    pub fn load(&mut self, b: &B, config: &Config, batch: &Ragged) -> Result<(), BertError> {
        let size = Limits::of(batch);
        if size.max(self.limits) != self.limits {
            return Err(BertError::Batch(format!(
                "{size:?} exceeds the planned {:?}",
                self.limits
            )));
        }
        check(config, batch)?;
        let buckets = batch.buckets();
        let (t, s, u) = (size.tokens, size.sequences, buckets.rows.len());
        b.upload(b.head_mut(&mut self.ids, t), &batch.ids)?;
        b.upload(b.head_mut(&mut self.types, t), &batch.types)?;
        b.upload(b.head_mut(&mut self.positions, t), &batch.positions())?;
        b.upload(b.head_mut(&mut self.cu_seqlens, s + 1), &batch.cu_seqlens)?;
        b.upload(
            b.head_mut(&mut self.token_ids, t),
            &batch.token_example_ids(),
        )?;
        b.upload(b.head_mut(&mut self.sequence_ids, s), &batch.example_ids)?;
        b.upload(b.head_mut(&mut self.bucket_rows, u), &buckets.rows)?;
        b.upload(b.head_mut(&mut self.bucket_starts, u + 1), &buckets.starts)?;
        b.upload(b.head_mut(&mut self.bucket_tokens, t), &buckets.tokens)?;
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

    /// The batch as kernels read it.
    pub fn tokens(&self, b: &B) -> Tokens<'_, B> {
        let Limits {
            tokens: t,
            sequences: s,
            longest,
        } = self.filled;
        let u = self.distinct.len();
        Tokens {
            ids: b.head(&self.ids, t),
            types: b.head(&self.types, t),
            positions: b.head(&self.positions, t),
            cu_seqlens: b.head(&self.cu_seqlens, s + 1),
            example_ids: b.head(&self.token_ids, t),
            sequence_ids: b.head(&self.sequence_ids, s),
            bucket_rows: b.head(&self.bucket_rows, u),
            bucket_starts: b.head(&self.bucket_starts, u + 1),
            bucket_tokens: b.head(&self.bucket_tokens, t),
            longest,
        }
    }

    /// Dropout coordinates of every token's row.
    pub fn token_rows(&self, b: &B) -> Rows<'_, B> {
        Rows {
            example_ids: b.head(&self.token_ids, self.filled.tokens),
            positions: b.head(&self.positions, self.filled.tokens),
        }
    }

    /// Dropout coordinates of the sequences' first rows.
    pub fn first_rows(&self, b: &B) -> Rows<'_, B> {
        Rows {
            example_ids: b.head(&self.sequence_ids, self.filled.sequences),
            positions: b.head(&self.zeros, self.filled.sequences),
        }
    }

    /// Row index of each sequence's first token, `[S]`.
    pub fn first_index(&self, b: &B) -> B::View<'_, u32> {
        b.head(&self.cu_seqlens, self.filled.sequences)
    }
}

/// A batch that would read outside the embedding tables is an error, not a fault.
fn check(config: &Config, batch: &Ragged) -> Result<(), BertError> {
    let wrong = |what: String| Err(BertError::Batch(what));
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
