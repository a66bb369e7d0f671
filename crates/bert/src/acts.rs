//! Activation memory: planned once from the largest batch, reused by every step.

use crate::{Config, Limits};
use hone_kernels::{Backend, BackendError, Contrast};

/// Which rows a layer computes after its keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowSet {
    /// Every token.
    All,
    /// Each sequence's first token: all that a pooled head reads of the last layer.
    First,
}

impl RowSet {
    /// Rows of a batch of that size.
    pub fn count(self, size: Limits) -> usize {
        match self {
            RowSet::All => size.tokens,
            RowSet::First => size.sequences,
        }
    }
}

/// What a layer's backward pass needs of its forward pass.
pub(crate) struct LayerActs<B: Backend> {
    /// `[T, 3H]`, or keys and values alone, `[T, 2H]`.
    pub qkv: B::Buf<B::Act>,
    /// Queries of the first rows, `[S, H]`; empty for [`RowSet::All`].
    pub q: B::Buf<B::Act>,
    pub context: B::Buf<B::Act>,
    pub saved: B::Buf<B::Master>,
    pub attention_sum: B::Buf<B::Act>,
    pub attention_stats: B::Buf<B::Master>,
    pub pre: B::Buf<B::Act>,
    pub output_sum: B::Buf<B::Act>,
    pub output_stats: B::Buf<B::Master>,
    /// What could be made again, where the backend keeps it.
    pub kept: Option<Kept<B>>,
}

/// Numbers of each kind a set of layer activations holds.
fn layer_sizes<B: Backend>(c: &Config, limits: Limits, rows: RowSet) -> (usize, usize) {
    let (h, r) = (c.hidden, rows.count(limits));
    let saved = B::attention_saved(r, c.heads, limits.longest);
    let (qkv, q) = match rows {
        RowSet::All => (3 * limits.tokens * h, 0),
        RowSet::First => (2 * limits.tokens * h, r * h),
    };
    (qkv + q + 3 * r * h + r * c.intermediate, saved + 4 * r)
}

/// A layer's input and its inner activations.
pub(crate) struct Kept<B: Backend> {
    /// `[T, H]`.
    pub x: B::Buf<B::Act>,
    /// Attention's output after its LayerNorm, `[R, H]`.
    pub attended: B::Buf<B::Act>,
    /// The feed-forward's inner activation, `[R, I]`.
    pub inner: B::Buf<B::Act>,
}

/// Numbers that a layer keeps besides.
fn kept_size<B: Backend>(c: &Config, limits: Limits, rows: RowSet) -> usize {
    match B::KEEPS {
        true => limits.tokens * c.hidden + rows.count(limits) * (c.hidden + c.intermediate),
        false => 0,
    }
}

impl<B: Backend> LayerActs<B> {
    /// The same with what could be made again, where the backend keeps that.
    pub fn kept(b: &B, c: &Config, limits: Limits, rows: RowSet) -> Result<Self, BackendError> {
        let mut acts = LayerActs::new(b, c, limits, rows)?;
        if B::KEEPS {
            let r = rows.count(limits);
            acts.kept = Some(Kept {
                x: b.alloc(limits.tokens * c.hidden)?,
                attended: b.alloc(r * c.hidden)?,
                inner: b.alloc(r * c.intermediate)?,
            });
        }
        Ok(acts)
    }

    pub fn new(b: &B, c: &Config, limits: Limits, rows: RowSet) -> Result<Self, BackendError> {
        let (h, r) = (c.hidden, rows.count(limits));
        let (parts, q) = match rows {
            RowSet::All => (3, 0),
            RowSet::First => (2, r * h),
        };
        Ok(LayerActs {
            qkv: b.alloc(parts * limits.tokens * h)?,
            q: b.alloc(q)?,
            context: b.alloc(r * h)?,
            saved: b.alloc(B::attention_saved(r, c.heads, limits.longest))?,
            attention_sum: b.alloc(r * h)?,
            attention_stats: b.alloc(r * 2)?,
            pre: b.alloc(r * c.intermediate)?,
            output_sum: b.alloc(r * h)?,
            output_stats: b.alloc(r * 2)?,
            kept: None,
        })
    }

    /// The layer's input.
    pub fn x<'a>(&'a self, stream: &'a Stream<B>) -> &'a B::Buf<B::Act> {
        self.kept.as_ref().map_or(&stream.x, |kept| &kept.x)
    }

    /// Attention's output after its LayerNorm.
    pub fn attended<'a>(&'a self, stream: &'a Stream<B>) -> &'a B::Buf<B::Act> {
        let kept = self.kept.as_ref();
        kept.map_or(&stream.attended, |kept| &kept.attended)
    }

    /// The feed-forward's inner activation.
    pub fn inner<'a>(&'a self, stream: &'a Stream<B>) -> &'a B::Buf<B::Act> {
        self.kept.as_ref().map_or(&stream.inner, |kept| &kept.inner)
    }
}

/// Buffers every layer's forward pass shares.
pub(crate) struct Stream<B: Backend> {
    /// The running layer's input, `[T, H]`.
    pub x: B::Buf<B::Act>,
    /// Its output, `[T, H]`.
    pub y: B::Buf<B::Act>,
    /// Attention's output after its LayerNorm, `[T, H]`.
    pub attended: B::Buf<B::Act>,
    /// The feed-forward's inner activation, `[T, I]`.
    pub inner: B::Buf<B::Act>,
    /// First rows of a layer's input, `[S, H]`.
    pub first: B::Buf<B::Act>,
}

impl<B: Backend> Stream<B> {
    pub fn new(b: &B, c: &Config, limits: Limits) -> Result<Self, BackendError> {
        let th = limits.tokens * c.hidden;
        Ok(Stream {
            x: b.alloc(th)?,
            y: b.alloc(th)?,
            attended: b.alloc(th)?,
            inner: b.alloc(limits.tokens * c.intermediate)?,
            first: b.alloc(limits.sequences * c.hidden)?,
        })
    }
}

/// Buffers every layer's backward pass shares.
pub(crate) struct Slopes<B: Backend> {
    /// Gradient of the running layer's output, then of its input, `[T, H]`.
    pub d: B::Buf<B::Act>,
    /// Gradient inside the sublayer, `[T, H]`.
    pub inside: B::Buf<B::Act>,
    /// The same after dropout, `[T, H]`.
    pub dropped: B::Buf<B::Act>,
    /// Gradient of the feed-forward's pre-activation, `[T, I]`.
    pub dpre: B::Buf<B::Act>,
    /// Gradient of queries, keys and values, `[T, 3H]`.
    pub dqkv: B::Buf<B::Act>,
    /// Gradients of first rows, `[S, H]` each.
    pub first: B::Buf<B::Act>,
    pub dq: B::Buf<B::Act>,
}

impl<B: Backend> Slopes<B> {
    pub fn new(b: &B, c: &Config, limits: Limits) -> Result<Self, BackendError> {
        let (th, sh) = (limits.tokens * c.hidden, limits.sequences * c.hidden);
        Ok(Slopes {
            d: b.alloc(th)?,
            inside: b.alloc(th)?,
            dropped: b.alloc(th)?,
            dpre: b.alloc(limits.tokens * c.intermediate)?,
            dqkv: b.alloc(3 * th)?,
            first: b.alloc(sh)?,
            dq: b.alloc(sh)?,
        })
    }
}

/// What the head keeps.
pub(crate) struct HeadActs<B: Backend> {
    /// What the classifier reads before dropout: tanh of the pooler, `[S, H]`; unused when tagging.
    pub pooled: B::Buf<B::Act>,
    /// The classifier's input after dropout, `[R, H]`.
    pub input: B::Buf<B::Act>,
    /// Gradient of that, `[R, H]`.
    pub dinput: B::Buf<B::Act>,
    /// `[R, C]`.
    pub logits: B::Buf<B::Master>,
    pub dlogits: B::Buf<B::Master>,
    /// Targets, `[R, C]`, then the rows' weights, `[R]`.
    pub wanted: B::Buf<B::Master>,
    /// Losses of the rows, `[R]`, then those of a contrast, `[R]`, where there is room for one.
    pub losses: B::Buf<f64>,
    /// What a contrast keeps for its backward pass, where there is room for one.
    pub kept: Option<B::Buf<B::Master>>,
    /// That of the loss in `losses`.
    pub contrast: Option<Contrast>,
}

impl<B: Backend> HeadActs<B> {
    pub fn new(b: &B, hidden: usize, rows: usize, classes: usize) -> Result<Self, BackendError> {
        Ok(HeadActs {
            pooled: b.alloc(rows * hidden)?,
            input: b.alloc(rows * hidden)?,
            dinput: b.alloc(rows * hidden)?,
            logits: b.alloc(rows * classes)?,
            dlogits: b.alloc(rows * classes)?,
            wanted: b.alloc(rows * (classes + 1))?,
            losses: b.alloc(rows)?,
            kept: None,
            contrast: None,
        })
    }

    /// Makes room for a contrast of so many rows.
    pub fn keep_contrast(&mut self, b: &B, rows: usize) -> Result<(), BackendError> {
        self.losses = b.alloc(2 * rows)?;
        self.kept = Some(b.alloc(Contrast::kept(rows))?);
        Ok(())
    }
}

/// What activation memory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Training: layers from `saved_from` on keep what their backward passes need.
    Train { saved_from: usize },
    /// Evaluation: layers keep nothing.
    Eval,
}

/// Bytes of activation memory for batches up to `limits`, for the rows of the last layer that
/// the head reads and those it answers, in so many classes (none: the head's room is not counted); layers that keep nothing
/// share one layer's room.
pub(crate) fn acts_bytes<B: Backend>(
    c: &Config,
    limits: Limits,
    purpose: Purpose,
    (last, answered): (RowSet, RowSet),
    classes: Option<usize>,
) -> usize {
    let act = size_of::<B::Act>();
    let master = size_of::<B::Master>();
    let (t, s, h) = (limits.tokens, limits.sequences, c.hidden);
    let (saved_from, slopes) = match purpose {
        Purpose::Train { saved_from } => (saved_from, 6 * t * h + t * c.intermediate + 2 * s * h),
        Purpose::Eval => (c.layers, 0),
    };
    let mut bytes = 0;
    let mut shared = false;
    for l in 0..c.layers {
        let rows = if l + 1 == c.layers { last } else { RowSet::All };
        if l < saved_from && rows == RowSet::All && std::mem::replace(&mut shared, true) {
            continue;
        }
        let (mut a, m) = layer_sizes::<B>(c, limits, rows);
        if l >= saved_from && slopes > 0 {
            a += kept_size::<B>(c, limits, rows);
        }
        bytes += a * act + m * master;
    }
    let stream = 3 * t * h + t * c.intermediate + s * h;
    let embeddings = t * h * act + 2 * t * master;
    let rows = answered.count(limits);
    let head = classes.map_or(0, |classes| {
        3 * rows * h * act + (3 * classes + 3) * rows * master
    });
    bytes + (stream + slopes) * act + embeddings + head
}
