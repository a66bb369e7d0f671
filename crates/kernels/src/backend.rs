//! The [`Backend`] trait: memory, weights and the fused operations a BERT step is made of.

use crate::types::*;
use hone_tensor::{Element, ParamTable, Real};
use std::ops::Range;
use std::sync::Arc;

/// What can go wrong below the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// Memory could not be had.
    #[error("out of memory on {device}: {bytes} bytes asked for {what}")]
    OutOfMemory {
        /// Which device.
        device: String,
        /// What the memory was for.
        what: String,
        /// How much was asked for.
        bytes: usize,
    },
    /// The device or its driver failed.
    #[error("{device} failed: {reason}")]
    Device {
        /// Which device.
        device: String,
        /// What it said.
        reason: String,
    },
}

/// A device that BERT can be trained on.
///
/// * Every operation with a gradient stands beside its backward; none of these has a default body.
/// * No operation allocates what grows with a batch or a tensor: buffers come from [`Backend::alloc`] before the run,
///   scratch from [`Backend::reserve`].
/// * Results may not depend on the number of threads.
/// * Weights are read through [`WeightRef`] or [`Backend::param`] and written only by
///   `set_param`, `adamw`, `adamw_rows`, `param_axpby` and `param_swap`, so a backend may keep packed or rounded copies.
/// * Sizes follow from the views' lengths; a launch with sizes that do not fit together is a mistake
///   of the model's code and may panic. Device faults are reported by [`Backend::sync`].
pub trait Backend: Send + Sync + Sized + 'static {
    /// Activations and their gradients.
    type Act: Real;
    /// Weights, statistics, softmax, logits, losses and parameter gradients.
    type Master: Real;
    /// Memory of the device.
    type Buf<T: Element>: Send + Sync;
    /// A shared part of a buffer.
    type View<'a, T: Element>: Copy + Send + Sync;
    /// An exclusive part of a buffer.
    type ViewMut<'a, T: Element>: Send;
    /// The arena of weights and whatever the backend keeps beside it.
    type Params: Send + Sync;
    /// Numbers on their way to the host.
    type Coming<T: Element>: Send;

    /// Whether operations run beside the host, after they were queued: then the host does well to queue the next step
    /// before it reads what this one gave.
    const QUEUES: bool;

    /// Whether a row's results are the same bits whatever rows are computed with it. Where products choose an algorithm by
    /// their shape they need not be.
    const ROWS_ALONE: bool;

    /// Whether training keeps what its backward pass could make again (LayerNorms' outputs, the feed-forward's inner
    /// activation): passes over memory saved for room, worth it where memory is plenty.
    const KEEPS: bool = false;

    /// Whether a gradient's squared norm is best taken by the product that makes it ([`Backend::linear_wgrad`]'s
    /// `squared`), its numbers at hand. Elsewhere it is left to [`Backend::squared_norms`], with all others.
    const NORMS_OF_PRODUCTS: bool;

    /// How many tokens a training batch of so many had best be filled up to, with sequences whose rows weigh nothing: a
    /// backend that queues like steps as one ([`Backend::repeats`]) wants few shapes. It leaves its own results as they
    /// are. None where any number is as good.
    fn shapes(&self) -> Option<fn(usize) -> usize> {
        None
    }

    /// Runs `run`, whose operations are much the same each time: a backend whose operations are over sooner than they are
    /// queued may queue them as one. Changes nothing else. A fault in them is reported as ever.
    fn repeats<T>(&self, run: impl FnOnce() -> T) -> T {
        run()
    }

    // ---- memory --------------------------------------------------------------------------------

    /// Names the arithmetic path; bits depend on it alone, and checkpoints record it.
    fn path(&self) -> String;

    /// Sizes scratch memory for the largest batch of a run. Called before any kernel;
    /// calling it again may only grow what is there.
    fn reserve(&self, workspace: &Workspace) -> Result<(), BackendError>;

    /// Bytes the backend keeps beside the buffers it hands out, by use: packed or rounded copies of the
    /// weights, scratch.
    fn memory(&self, params: &Self::Params) -> Vec<(&'static str, usize)>;

    /// The most memory of its own device that it has held at once, in bytes; none where that is the host's.
    fn peak_memory(&self) -> Option<u64> {
        None
    }

    /// `len` zeros.
    fn alloc<T: Element>(&self, len: usize) -> Result<Self::Buf<T>, BackendError>;

    /// Elements of a buffer.
    fn len<T: Element>(&self, buf: &Self::Buf<T>) -> usize;

    /// Elements of a view.
    fn view_len<T: Element>(&self, view: Self::View<'_, T>) -> usize;

    /// The whole buffer, shared.
    fn view<'a, T: Element>(&self, buf: &'a Self::Buf<T>) -> Self::View<'a, T>;

    /// The whole buffer, exclusive.
    fn all_mut<'a, T: Element>(&self, buf: &'a mut Self::Buf<T>) -> Self::ViewMut<'a, T>;

    /// Part of a view.
    fn slice<'a, T: Element>(
        &self,
        view: Self::View<'a, T>,
        range: Range<usize>,
    ) -> Self::View<'a, T>;

    /// Part of an exclusive view, which is given up.
    fn slice_mut<'a, T: Element>(
        &self,
        view: Self::ViewMut<'a, T>,
        range: Range<usize>,
    ) -> Self::ViewMut<'a, T>;

    /// Two disjoint parts: `[..mid]` and `[mid..]`.
    fn split_mut<'a, T: Element>(
        &self,
        view: Self::ViewMut<'a, T>,
        mid: usize,
    ) -> (Self::ViewMut<'a, T>, Self::ViewMut<'a, T>);

    /// The first `len` elements, shared.
    fn head<'a, T: Element>(&self, buf: &'a Self::Buf<T>, len: usize) -> Self::View<'a, T> {
        self.slice(self.view(buf), 0..len)
    }

    /// The first `len` elements, exclusive.
    fn head_mut<'a, T: Element>(
        &self,
        buf: &'a mut Self::Buf<T>,
        len: usize,
    ) -> Self::ViewMut<'a, T> {
        let all = self.all_mut(buf);
        self.slice_mut(all, 0..len)
    }

    /// Host to device; lengths must be equal.
    fn upload<T: Element>(&self, to: Self::ViewMut<'_, T>, from: &[T]) -> Result<(), BackendError>;

    /// Device to host, after everything queued before; lengths must be equal.
    fn download<T: Element>(
        &self,
        from: Self::View<'_, T>,
        to: &mut [T],
    ) -> Result<(), BackendError>;

    /// Begins a copy to the host, after everything queued before, and does not wait for it. What is queued
    /// afterwards may write there.
    fn fetch<T: Element>(&self, from: Self::View<'_, T>) -> Result<Self::Coming<T>, BackendError>;

    /// What was fetched, as soon as it is there; waits for nothing that was queued later.
    fn arrived<T: Element>(&self, coming: Self::Coming<T>) -> Result<Vec<T>, BackendError>;

    /// A buffer with the given contents.
    #[allow(clippy::wrong_self_convention)]
    fn from_slice<T: Element>(&self, from: &[T]) -> Result<Self::Buf<T>, BackendError> {
        let mut buf = self.alloc(from.len())?;
        self.upload(self.all_mut(&mut buf), from)?;
        Ok(buf)
    }

    /// Waits for everything queued and reports faults.
    fn sync(&self) -> Result<(), BackendError>;

    // ---- weights -------------------------------------------------------------------------------

    /// An arena of zeros for `table`.
    fn params(&self, table: Arc<ParamTable>) -> Result<Self::Params, BackendError>;

    /// The table an arena was made for.
    fn table<'a>(&self, params: &'a Self::Params) -> &'a Arc<ParamTable>;

    /// Writes numbers of parameter `index`, from its number `first` on, a multiple of 64: all of it, or a block of what is
    /// read little by little.
    fn set_param(
        &self,
        params: &mut Self::Params,
        index: usize,
        first: usize,
        values: &[Self::Master],
    ) -> Result<(), BackendError>;

    /// Makes what a backend keeps beside the weights for products backward ([`Backend::linear_dgrad`] and whatever has
    /// it inside) through parameters from row `from` of the table on. Called before the first of them; a model that only
    /// answers does without, as do frozen layers below all that trains. Again it does nothing.
    fn ready_backward(&self, params: &Self::Params, from: usize) -> Result<(), BackendError> {
        let _ = (params, from);
        Ok(())
    }

    /// Reads elements of the arena (biases, LayerNorm, embedding tables; saving).
    fn param<'a>(
        &self,
        params: &'a Self::Params,
        range: Range<usize>,
    ) -> Self::View<'a, Self::Master>;

    /// `param ← a·x + b·param` for parameter `index`; `x` is as long as the parameter.
    fn param_axpby(
        &self,
        params: &mut Self::Params,
        index: usize,
        a: f64,
        x: Self::View<'_, Self::Master>,
        b: f64,
    );

    /// Exchanges the whole arena with `other` (averaged or best weights).
    fn param_swap(&self, params: &mut Self::Params, other: &mut Self::Buf<Self::Master>);

    /// One AdamW step over the listed tensors, each listed once, gradients multiplied by `coefficient[1]`
    /// (see [`Backend::clip_coefficient`]). `start` is the arena of weights as they began: rows with a
    /// `start_decay` need it.
    fn adamw(
        &self,
        params: &mut Self::Params,
        rows: &[AdamwRow],
        start: Option<Self::View<'_, Self::Master>>,
        grads: Self::View<'_, Self::Master>,
        m: Self::ViewMut<'_, Self::Master>,
        v: Self::ViewMut<'_, Self::Master>,
        coefficient: Self::View<'_, f64>,
        step: AdamwStep,
    );

    /// AdamW for some rows of one tensor that sat out steps in which their gradient was zero: row `rows[k]`
    /// takes the steps `since[k]..` of `history`, the last of them with its gradient where `grads` (the arena
    /// and the coefficient) is given. The same bits as if [`Backend::adamw`] had taken them one by one.
    ///
    /// All of `history` is of one tensor, which is no matrix and has no `start_decay`; `rows` ascend, each
    /// once.
    fn adamw_rows(
        &self,
        params: &mut Self::Params,
        history: &[AdamwRow],
        rows: Self::View<'_, u32>,
        since: Self::View<'_, u32>,
        grads: Option<(Self::View<'_, Self::Master>, Self::View<'_, f64>)>,
        m: Self::ViewMut<'_, Self::Master>,
        v: Self::ViewMut<'_, Self::Master>,
        step: AdamwStep,
    );

    // ---- products ------------------------------------------------------------------------------

    /// `y[R, out] = x[R, in] · Wᵀ + bias[out]`.
    fn linear(
        &self,
        params: &Self::Params,
        weight: WeightRef,
        bias: Self::View<'_, Self::Master>,
        x: Self::View<'_, Self::Act>,
        y: Self::ViewMut<'_, Self::Act>,
    );

    /// [`Backend::linear`] into `pre`, and `y = activation(pre)` in the same pass.
    fn linear_activation(
        &self,
        params: &Self::Params,
        weight: WeightRef,
        bias: Self::View<'_, Self::Master>,
        activation: Activation,
        x: Self::View<'_, Self::Act>,
        pre: Self::ViewMut<'_, Self::Act>,
        y: Self::ViewMut<'_, Self::Act>,
    );

    /// Backward of a product to its input: `dx[R, in] (+)= dy[R, out] · W`.
    fn linear_dgrad(
        &self,
        params: &Self::Params,
        weight: WeightRef,
        dy: Self::View<'_, Self::Act>,
        acc: Acc,
        dx: Self::ViewMut<'_, Self::Act>,
    );

    /// [`Backend::linear_dgrad`] followed by the activation's backward in the same pass:
    /// `dpre[R, in] = (dy · W) · activation′(pre)`. Where wanted, `y = activation(pre)` once more, which shares most of
    /// its work with the derivative: the same bits [`Backend::linear_activation`] wrote; and `db[in] (+)= Σ_r dpre`.
    fn linear_dgrad_activation(
        &self,
        params: &Self::Params,
        weight: WeightRef,
        dy: Self::View<'_, Self::Act>,
        activation: Activation,
        pre: Self::View<'_, Self::Act>,
        dpre: Self::ViewMut<'_, Self::Act>,
        y: Option<Self::ViewMut<'_, Self::Act>>,
        db: Option<(Acc, Self::ViewMut<'_, Self::Master>)>,
    );

    /// Backward of a product to its weight: `dw[out, in] (+)= dyᵀ · x`, `dy[R, out]`, `x[R, in]`.
    ///
    /// `squared[N]`, where wanted: `dw` cut into N matrices of as many rows each (a stack), Σ of the squares of
    /// each as it now is; what a norm of gradients needs, taken while they are at hand. No matrix is larger than
    /// the largest of an arena made before.
    fn linear_wgrad(
        &self,
        dy: Self::View<'_, Self::Act>,
        x: Self::View<'_, Self::Act>,
        rows: usize,
        acc: Acc,
        dw: Self::ViewMut<'_, Self::Master>,
        squared: Option<Self::ViewMut<'_, f64>>,
    );

    /// Backward of a bias: `db[out] (+)= Σ_r dy[r, out]`.
    fn bias_grad(
        &self,
        dy: Self::View<'_, Self::Act>,
        rows: usize,
        acc: Acc,
        db: Self::ViewMut<'_, Self::Master>,
    );

    /// A head's product: as [`Backend::linear`], with logits in master precision.
    fn head_linear(
        &self,
        params: &Self::Params,
        weight: WeightRef,
        bias: Self::View<'_, Self::Master>,
        x: Self::View<'_, Self::Act>,
        logits: Self::ViewMut<'_, Self::Master>,
    );

    /// Backward of [`Backend::head_linear`]: `dx[R, in]`, `dw[C, in]` and `db[C]`, each where it is wanted, from
    /// `dlogits[R, C]`; `dx` is set.
    fn head_linear_backward(
        &self,
        params: &Self::Params,
        weight: WeightRef,
        dlogits: Self::View<'_, Self::Master>,
        x: Self::View<'_, Self::Act>,
        acc: Acc,
        dx: Option<Self::ViewMut<'_, Self::Act>>,
        dw: Option<Self::ViewMut<'_, Self::Master>>,
        db: Option<Self::ViewMut<'_, Self::Master>>,
    );

    // ---- elementwise ---------------------------------------------------------------------------

    /// `d ← d · activation′(pre)`, rows of `width`: backward of an activation that stands alone
    /// (else [`Backend::linear_dgrad_activation`]).
    fn activation_backward(
        &self,
        activation: Activation,
        width: usize,
        pre: Self::View<'_, Self::Act>,
        d: Self::ViewMut<'_, Self::Act>,
    );

    /// `y = tanh(x)`.
    fn tanh(&self, x: Self::View<'_, Self::Act>, y: Self::ViewMut<'_, Self::Act>);

    /// `d ← d · (1 − y²)`.
    fn tanh_backward(&self, y: Self::View<'_, Self::Act>, d: Self::ViewMut<'_, Self::Act>);

    /// `x ← mask · scale · x`, `[R, width]`. It is its own backward.
    fn dropout(
        &self,
        drop: Drop,
        rows: Rows<'_, Self>,
        width: usize,
        x: Self::ViewMut<'_, Self::Act>,
    );

    /// The same for rows of a weight, in master precision: row r of `x[R, width]` draws as position r of an
    /// example with the number `tensor` (mixout and its backward).
    fn mask_weights(
        &self,
        drop: Drop,
        tensor: u64,
        width: usize,
        x: Self::ViewMut<'_, Self::Master>,
    );

    /// `y[k] = x[index[k]]`, rows of `width`.
    fn gather_rows(
        &self,
        x: Self::View<'_, Self::Act>,
        index: Self::View<'_, u32>,
        width: usize,
        y: Self::ViewMut<'_, Self::Act>,
    );

    /// Backward of [`Backend::gather_rows`]: `dx[index[k]] += dy[k]`; `index` has no repeats.
    fn scatter_add_rows(
        &self,
        dy: Self::View<'_, Self::Act>,
        index: Self::View<'_, u32>,
        width: usize,
        dx: Self::ViewMut<'_, Self::Act>,
    );

    /// `y[s] = mean of x[t]` over the tokens of sequence s: `x[T, width]` to `y[S, width]`.
    fn mean_tokens(
        &self,
        x: Self::View<'_, Self::Act>,
        cu_seqlens: Self::View<'_, u32>,
        width: usize,
        y: Self::ViewMut<'_, Self::Act>,
    );

    /// Backward of [`Backend::mean_tokens`]: `dx[t] = dy[s] / length of s`.
    fn mean_tokens_backward(
        &self,
        dy: Self::View<'_, Self::Act>,
        cu_seqlens: Self::View<'_, u32>,
        width: usize,
        dx: Self::ViewMut<'_, Self::Act>,
    );

    // ---- embeddings ----------------------------------------------------------------------------

    /// `sum[T, H] = word[id] + position[p] + type[t]`.
    fn embed(
        &self,
        tables: EmbedTables<'_, Self>,
        tokens: Tokens<'_, Self>,
        width: usize,
        sum: Self::ViewMut<'_, Self::Act>,
    );

    /// Backward of the word table: `dword[rows] += Σ dsum` over each bucket, in token order.
    /// Rows outside the batch are not touched; clear those of the step before with
    /// [`Backend::zero_rows`].
    fn embed_word_backward(
        &self,
        dsum: Self::View<'_, Self::Act>,
        tokens: Tokens<'_, Self>,
        width: usize,
        dword: Self::ViewMut<'_, Self::Master>,
    );

    /// Backward of the position table, every row of it: `dposition[p] (+)= Σ_s dsum[s, p]`.
    fn embed_position_backward(
        &self,
        dsum: Self::View<'_, Self::Act>,
        tokens: Tokens<'_, Self>,
        width: usize,
        acc: Acc,
        dposition: Self::ViewMut<'_, Self::Master>,
    );

    /// Backward of the type table, every row of it.
    fn embed_type_backward(
        &self,
        dsum: Self::View<'_, Self::Act>,
        tokens: Tokens<'_, Self>,
        width: usize,
        acc: Acc,
        dtype: Self::ViewMut<'_, Self::Master>,
    );

    /// Writes zeros to the listed rows, which ascend, each once.
    fn zero_rows(
        &self,
        rows: Self::View<'_, u32>,
        width: usize,
        x: Self::ViewMut<'_, Self::Master>,
    );

    // ---- LayerNorm -----------------------------------------------------------------------------

    /// `sum = drop(x) + residual`, in place in `x`; `y = LayerNorm(sum)`;
    /// `stats[R, 2]` = mean and 1/σ of each row.
    ///
    /// `x` may be the embeddings' sum: then there is neither drop nor residual.
    fn add_norm(
        &self,
        norm: Norm<'_, Self>,
        drop: Option<(Drop, Rows<'_, Self>)>,
        residual: Option<Self::View<'_, Self::Act>>,
        x: Self::ViewMut<'_, Self::Act>,
        stats: Self::ViewMut<'_, Self::Master>,
        y: Self::ViewMut<'_, Self::Act>,
    );

    /// `y = LayerNorm(sum)` from saved statistics: the same bits [`Backend::add_norm`] wrote.
    fn norm_apply(
        &self,
        norm: Norm<'_, Self>,
        sum: Self::View<'_, Self::Act>,
        stats: Self::View<'_, Self::Master>,
        y: Self::ViewMut<'_, Self::Act>,
    );

    /// Backward of [`Backend::add_norm`]: `dsum` (which is also the residual's gradient), and, where
    /// there was dropout, `dx = mask · scale · dsum` into `dropped`. With them what `sums` asks for, the rows being at
    /// hand.
    fn add_norm_backward(
        &self,
        norm: Norm<'_, Self>,
        dy: Self::View<'_, Self::Act>,
        sum: Self::View<'_, Self::Act>,
        stats: Self::View<'_, Self::Master>,
        dsum: Self::ViewMut<'_, Self::Act>,
        dropped: Option<(Drop, Rows<'_, Self>, Self::ViewMut<'_, Self::Act>)>,
        sums: NormSums<'_, Self>,
    );

    /// LayerNorm's parameter gradients alone: `dweight[H] (+)= Σ dy·x̂`, `dbias[H] (+)= Σ dy`.
    fn norm_param_grad(
        &self,
        dy: Self::View<'_, Self::Act>,
        sum: Self::View<'_, Self::Act>,
        stats: Self::View<'_, Self::Master>,
        acc: Acc,
        dweight: Self::ViewMut<'_, Self::Master>,
        dbias: Self::ViewMut<'_, Self::Master>,
    );

    // ---- attention -----------------------------------------------------------------------------

    /// Elements of what attention over so many rows of queries saves for its backward pass: the log-sums,
    /// `[queries, heads]`, and behind them what a backend may want to read again (dropout's mask, say).
    fn attention_saved(queries: usize, heads: usize, longest: usize) -> usize {
        let _ = longest;
        queries * heads
    }

    /// `context = drop(softmax(q·kᵀ/√d))·v` within each sequence and head; `saved` begins with `lse[rows, heads]`, the
    /// logs of the softmaxes' sums, and is [`Backend::attention_saved`] long. `context` is `[T, H]`, or `[S, H]` for
    /// [`Qkv::First`].
    fn attention(
        &self,
        attention: Attention,
        tokens: Tokens<'_, Self>,
        qkv: Qkv<'_, Self>,
        context: Self::ViewMut<'_, Self::Act>,
        saved: Self::ViewMut<'_, Self::Master>,
    );

    /// Backward of [`Backend::attention`]; every element of the gradients is set.
    fn attention_backward(
        &self,
        attention: Attention,
        tokens: Tokens<'_, Self>,
        qkv: Qkv<'_, Self>,
        context: Self::View<'_, Self::Act>,
        saved: Self::View<'_, Self::Master>,
        dcontext: Self::View<'_, Self::Act>,
        dqkv: QkvMut<'_, Self>,
    );

    // ---- losses --------------------------------------------------------------------------------

    /// Cross-entropy of softmax against soft targets t, which need not sum to 1, with focal exponent γ (Lin et al. 2017):
    /// `loss[r] = w_r · −Σ_c t_c (1 − p_c)^γ log p_c`; `dlogits[R, C]` is its gradient.
    fn softmax_loss(
        &self,
        loss: Loss<'_, Self>,
        focal: f64,
        losses: Self::ViewMut<'_, f64>,
        dlogits: Self::ViewMut<'_, Self::Master>,
    );

    /// Cross-entropy of softmax against one class each, of many (a vocabulary): `loss[r] = w_r · −log p_c` with
    /// c = `class[r]` below C; `dlogits[R, C]` is its gradient. [`Backend::softmax_loss`] of marks, without their matrix.
    fn class_loss(
        &self,
        logits: Self::View<'_, Self::Master>,
        class: Self::View<'_, u32>,
        weights: Self::View<'_, Self::Master>,
        losses: Self::ViewMut<'_, f64>,
        dlogits: Self::ViewMut<'_, Self::Master>,
    );

    /// Binary cross-entropy, the mean over classes: `loss[r] = w_r/C · Σ_c BCE(σ(z_c), t_c)`.
    fn sigmoid_loss(
        &self,
        loss: Loss<'_, Self>,
        losses: Self::ViewMut<'_, f64>,
        dlogits: Self::ViewMut<'_, Self::Master>,
    );

    /// Squared error, the mean over outputs: `loss[r] = w_r/C · Σ_c (z_c − t_c)²`.
    fn squared_loss(
        &self,
        loss: Loss<'_, Self>,
        losses: Self::ViewMut<'_, f64>,
        dlogits: Self::ViewMut<'_, Self::Master>,
    );

    /// How far the two draws of each row disagree (R-Drop, Liang et al. 2021): rows r and r + R/2 are one row
    /// under two dropout masks, with distributions p and q. Adds `w_r·α/2 · (KL(p‖q) + KL(q‖p))` to the losses
    /// of both, and the gradient of the sum to `dlogits[R, C]`. Both rows have the same weight.
    fn symmetric_kl(
        &self,
        loss: Loss<'_, Self>,
        alpha: f64,
        losses: Self::ViewMut<'_, f64>,
        dlogits: Self::ViewMut<'_, Self::Master>,
    );

    /// How much nearer rows `x[R, H]` are to those of their class than to the others (supervised contrast). With z the rows
    /// as unit vectors and `s[r, k] = z_r·z_k/τ`, `loss[r] = w_r·α·mean_k(log Σ_{j≠r} exp s[r, j] − s[r, k])`, the mean over
    /// the rows k ≠ r of its class; 0 where there are none.
    ///
    /// Rows are of one class where their `targets[R, C]` are the same numbers; a row of weight 0 takes no part. `kept`,
    /// [`Contrast::kept`] long, is `∂loss/∂s`, `[R, R]` with zeros on its diagonal, and behind it `1/‖x_r‖`, `[R]`; 0 for a row of zeros,
    /// whose z is 0, too.
    fn contrast(
        &self,
        contrast: Contrast,
        x: Self::View<'_, Self::Act>,
        targets: Self::View<'_, Self::Master>,
        weights: Self::View<'_, Self::Master>,
        losses: Self::ViewMut<'_, f64>,
        kept: Self::ViewMut<'_, Self::Master>,
    );

    /// Backward of [`Backend::contrast`]: its gradient is added to `dx[R, H]`, rows of `width`.
    fn contrast_backward(
        &self,
        contrast: Contrast,
        x: Self::View<'_, Self::Act>,
        width: usize,
        kept: Self::View<'_, Self::Master>,
        dx: Self::ViewMut<'_, Self::Act>,
    );

    // ---- whole arenas --------------------------------------------------------------------------

    /// `out[0] = Σ x²`, in fixed chunks; `x` is no longer than the largest parameter of an arena made before.
    fn squared_norm(&self, x: Self::View<'_, Self::Master>, out: Self::ViewMut<'_, f64>);

    /// [`Backend::squared_norm`] of many parts of an arena: `out[k] = Σ x[span]²` for each `(span, k)`; no k twice.
    /// Spans may be empty, as may be their list. A device does them all at once; here they are done one by one.
    fn squared_norms(
        &self,
        x: Self::View<'_, Self::Master>,
        spans: &[(Range<usize>, usize)],
        out: &mut Self::Buf<f64>,
    ) {
        for (span, k) in spans {
            let of_span = self.slice_mut(self.all_mut(out), *k..k + 1);
            self.squared_norm(self.slice(x, span.clone()), of_span);
        }
    }

    /// [`Backend::squared_norm`] over the listed rows alone, of a matrix with no more rows than one of an arena made
    /// before.
    fn squared_norm_rows(
        &self,
        x: Self::View<'_, Self::Master>,
        rows: Self::View<'_, u32>,
        width: usize,
        out: Self::ViewMut<'_, f64>,
    );

    /// From squared norms of all tensors: `out[0]` = total norm, `out[1] = min(1, max/(norm + 1e-6))`
    /// as `clip_grad_norm_`; 1 where `max_norm` is `None`.
    fn clip_coefficient(
        &self,
        squared: Self::View<'_, f64>,
        max_norm: Option<f64>,
        out: Self::ViewMut<'_, f64>,
    );

    /// `y ← a·x + b·y`.
    fn axpby(
        &self,
        a: f64,
        x: Self::View<'_, Self::Master>,
        b: f64,
        y: Self::ViewMut<'_, Self::Master>,
    );

    /// Writes one value everywhere.
    fn fill<T: Element>(&self, value: T, y: Self::ViewMut<'_, T>);

    /// `y ← x`.
    fn copy<T: Element>(&self, x: Self::View<'_, T>, y: Self::ViewMut<'_, T>);
}
