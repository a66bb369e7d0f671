//! The words of the contract: what kernels are told besides their buffers.

use crate::Backend;
use hone_tensor::{DropKey, Kind, ParamTable};
use std::ops::Range;

/// Whether an output is overwritten or added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acc {
    /// `out = value`; what was there before is not read.
    Set,
    /// `out = out + value`.
    Add,
}

/// The feed-forward's nonlinearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x·Φ(x)` with the exact error function (transformers' `gelu`).
    Gelu,
    /// The tanh approximation (transformers' `gelu_new`, `gelu_fast`, `gelu_pytorch_tanh`).
    GeluTanh,
    /// `max(0, x)`.
    Relu,
}

/// One dropout mask: where it is drawn and how likely a channel falls.
///
/// A channel is dropped when its 32-bit draw is below [`Drop::threshold`];
/// what stays is multiplied by [`Drop::scale`]. The draws are those of [`DropKey`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drop {
    /// Coordinates of the draw.
    pub key: DropKey,
    /// `p·2³²`, rounded.
    pub threshold: u32,
    /// `1 / (1 − p)` for the p that the threshold really has.
    pub scale: f64,
}

impl Drop {
    /// A mask with probability `p`, or `None` where nothing is dropped (`p ≤ 0`).
    ///
    /// `p` is taken as at most 1 − 2⁻³².
    pub fn new(key: DropKey, p: f64) -> Option<Drop> {
        const FULL: f64 = 4_294_967_296.0;
        let threshold = (p * FULL).round().clamp(0.0, FULL - 1.0) as u32;
        (threshold > 0).then(|| Drop {
            key,
            threshold,
            scale: FULL / (FULL - threshold as f64),
        })
    }
}

/// A matrix the backend keeps: `count` neighbouring rows of the parameter table, stacked.
///
/// `[count · out, in]` where each of them is `[out, in]`; q, k and v form one with `count = 3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightRef {
    /// First row of the table.
    pub first: usize,
    /// How many neighbouring rows.
    pub count: usize,
}

impl WeightRef {
    /// One whole matrix.
    pub const fn one(first: usize) -> Self {
        WeightRef { first, count: 1 }
    }

    /// `(out, in)` of the stack.
    ///
    /// # Panics
    /// When the rows are not matrices of one shape lying side by side: a mistake in the model's code.
    pub fn shape(self, table: &ParamTable) -> (usize, usize) {
        let rows = &table.params()[self.first..self.first + self.count];
        let (out, input) = (rows[0].shape[0], rows[0].shape[1]);
        for pair in rows.windows(2) {
            assert_eq!(pair[0].range().end, pair[1].offset, "weights side by side");
            assert_eq!(pair[0].shape, pair[1].shape, "weights of one shape");
        }
        assert!(rows.iter().all(|p| p.kind == Kind::Matrix), "a matrix");
        (self.count * out, input)
    }

    /// The stack's elements in the arena of weights.
    pub fn range(self, table: &ParamTable) -> Range<usize> {
        let rows = table.params();
        rows[self.first].offset..rows[self.first + self.count - 1].range().end
    }
}

/// A ragged batch on the device. `T` tokens in `S` sequences.
pub struct Tokens<'a, B: Backend> {
    /// Token ids, `[T]`.
    pub ids: B::View<'a, u32>,
    /// Token types, `[T]`.
    pub types: B::View<'a, u32>,
    /// Positions within the sequence, `[T]`.
    pub positions: B::View<'a, u32>,
    /// Sequence borders, `[S + 1]`.
    pub cu_seqlens: B::View<'a, u32>,
    /// Example id of each token, `[T]`.
    pub example_ids: B::View<'a, u64>,
    /// Example id of each sequence, `[S]`.
    pub sequence_ids: B::View<'a, u64>,
    /// Distinct token ids, ascending, `[U]` (see [`hone_tensor::TokenBuckets`]).
    pub bucket_rows: B::View<'a, u32>,
    /// Bucket borders, `[U + 1]`.
    pub bucket_starts: B::View<'a, u32>,
    /// Token indices grouped by id, `[T]`.
    pub bucket_tokens: B::View<'a, u32>,
    /// Longest sequence.
    pub longest: usize,
}

hone_tensor::brief_debug! { [B: Backend] Tokens<'_, B>, |t| longest: t.longest }

impl<B: Backend> Clone for Tokens<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backend> Copy for Tokens<'_, B> {}

/// Which example and position each row of an activation belongs to: the coordinates of its dropout.
pub struct Rows<'a, B: Backend> {
    /// `[R]`.
    pub example_ids: B::View<'a, u64>,
    /// `[R]`; a row of `[CLS]` has 0.
    pub positions: B::View<'a, u32>,
}

hone_tensor::brief_debug! { [B: Backend] Rows<'_, B>, |_r| }

impl<B: Backend> Clone for Rows<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backend> Copy for Rows<'_, B> {}
impl<B: Backend> Clone for Loss<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backend> Copy for Loss<'_, B> {}

/// The three embedding tables, as views into the arena of weights.
pub struct EmbedTables<'a, B: Backend> {
    /// `[vocabulary, H]`.
    pub word: B::View<'a, B::Master>,
    /// `[positions, H]`.
    pub position: B::View<'a, B::Master>,
    /// `[types, H]`.
    pub token_type: B::View<'a, B::Master>,
}

hone_tensor::brief_debug! { [B: Backend] EmbedTables<'_, B>, |_t| }

/// A LayerNorm: its parameters and epsilon.
pub struct Norm<'a, B: Backend> {
    /// Gain, `[H]`.
    pub weight: B::View<'a, B::Master>,
    /// Offset, `[H]`.
    pub bias: B::View<'a, B::Master>,
    /// Added to the variance.
    pub eps: f64,
}

hone_tensor::brief_debug! { [B: Backend] Norm<'_, B>, |n| eps: n.eps }

/// What the backward pass of a LayerNorm sums over rows, each where it is wanted.
pub struct NormSums<'a, B: Backend> {
    /// Whether sums are written or added.
    pub acc: Acc,
    /// Gradients of gain and offset, `[H]` each: Σ dy·x̂ and Σ dy.
    pub params: Option<(B::ViewMut<'a, B::Master>, B::ViewMut<'a, B::Master>)>,
    /// Gradient of the bias that was added before dropout and residual, `[H]`: Σ dx, or Σ dsum where there was no
    /// dropout.
    pub bias_before: Option<B::ViewMut<'a, B::Master>>,
}

hone_tensor::brief_debug! {
    [B: Backend] NormSums<'_, B>, |n|
    acc: n.acc, params: n.params.is_some(), bias_before: n.bias_before.is_some()
}

impl<B: Backend> NormSums<'_, B> {
    /// Nothing is summed.
    pub fn none() -> Self {
        NormSums {
            acc: Acc::Set,
            params: None,
            bias_before: None,
        }
    }
}

impl<B: Backend> Clone for Norm<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backend> Copy for Norm<'_, B> {}

/// Attention's constants. The scale is `1/√head_dim`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Number of heads; H = heads · head_dim.
    pub heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Longest sequence of the batch.
    pub longest: usize,
    /// Dropout on the probabilities.
    pub drop: Option<Drop>,
}

/// Queries, keys and values as attention reads them.
pub enum Qkv<'a, B: Backend> {
    /// Every token asks: `[T, 3H]`, q, k and v side by side. Query row t is token t.
    All(B::View<'a, B::Act>),
    /// Only each sequence's first token asks: queries `[S, H]`, keys and values `[T, 2H]`.
    First {
        /// `[S, H]`.
        q: B::View<'a, B::Act>,
        /// `[T, 2H]`.
        kv: B::View<'a, B::Act>,
    },
}

hone_tensor::brief_debug! { [B: Backend] Qkv<'_, B>, |q| first_only: matches!(q, Qkv::First { .. }) }

/// Where attention's backward writes the gradients of what [`Qkv`] names.
pub enum QkvMut<'a, B: Backend> {
    /// `[T, 3H]`.
    All(B::ViewMut<'a, B::Act>),
    /// `[S, H]` and `[T, 2H]`.
    First {
        /// `[S, H]`.
        dq: B::ViewMut<'a, B::Act>,
        /// `[T, 2H]`.
        dkv: B::ViewMut<'a, B::Act>,
    },
}

hone_tensor::brief_debug! { [B: Backend] QkvMut<'_, B>, |q| first_only: matches!(q, QkvMut::First { .. }) }

/// Inputs of a loss over `R` rows of `C` logits.
///
/// Each row's loss is multiplied by its weight; divide the weights by the global count (or weight)
/// beforehand, and the sum over all micro-batches is the mean.
pub struct Loss<'a, B: Backend> {
    /// `[R, C]`.
    pub logits: B::View<'a, B::Master>,
    /// `[R, C]`: probabilities for softmax, 0/1 (or soft) marks for sigmoid, values for squared.
    pub targets: B::View<'a, B::Master>,
    /// `[R]`; 0 leaves a row out, whose logits must be numbers all the same.
    pub weights: B::View<'a, B::Master>,
    /// C.
    pub classes: usize,
}

hone_tensor::brief_debug! { [B: Backend] Loss<'_, B>, |l| classes: l.classes }

/// How rows of one class are drawn together (supervised contrast, Khosla et al. 2020; beside cross-entropy, Gunel et al. 2021).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contrast {
    /// α, what the contrast's loss is multiplied by.
    pub strength: f64,
    /// τ, what similarities are divided by, above 0.
    pub temperature: f64,
}

impl Contrast {
    /// A row shorter than this has no direction.
    pub const SHORTEST: f64 = 1e-12;

    /// Elements of what [`Backend::contrast`] keeps of so many rows for its backward pass: `[R, R]` and `[R]`.
    pub fn kept(rows: usize) -> usize {
        rows * (rows + 1)
    }
}

/// One tensor of an AdamW sweep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamwRow {
    /// Row of the parameter table.
    pub param: usize,
    /// Its first element in the gradient arena (and in m and v).
    pub grad_offset: usize,
    /// Learning rate of this step.
    pub lr: f64,
    /// Decoupled weight decay; `w ← w − lr·decay·w` before the Adam step.
    pub weight_decay: f64,
    /// Decoupled decay towards where the weights began, beside that towards zero: `− lr·decay·(w − w⁰)`
    /// (L2-SP, Li et al. 2018, in AdamW's form). 0: none.
    pub start_decay: f64,
    /// Steps this tensor has taken, this one included (bias correction; it may have woken late).
    pub step: u32,
}

/// Constants of an AdamW sweep (Loshchilov & Hutter 2019, as `torch.optim.AdamW` computes it).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamwStep {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
}

/// The largest sizes of a run; a backend sizes its scratch memory by it, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Workspace {
    /// Most tokens of a micro-batch.
    pub tokens: usize,
    /// Most sequences of a micro-batch.
    pub sequences: usize,
    /// Longest sequence.
    pub longest: usize,
    /// H.
    pub hidden: usize,
    /// I.
    pub intermediate: usize,
    /// Attention heads.
    pub heads: usize,
    /// Most classes of a head.
    pub classes: usize,
    /// Most rows of logits at once.
    pub answered: usize,
}
