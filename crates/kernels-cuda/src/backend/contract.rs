//! The kernel contract, operation by operation: memory and weights by the driver, everything else by `ops`.

use super::{CudaBackend, lock};
use crate::act::{Act, Number};
use crate::driver::{Driver, MOST_BLOCKS};
use crate::graphs;
use crate::memory::{Buf, Coming, View, ViewMut};
use crate::ops::columns::{self, Summed};
use crate::ops::{
    activation, adamw, attention, contrast, embedding, head, loss, norm, product, rows, sweep,
};
use crate::params::CudaParams;
use crate::step::bucket;
use hone_kernels::{
    Acc, Activation, AdamwRow, AdamwStep, Attention, Backend, BackendError, Contrast, Drop,
    EmbedTables, Loss, Norm, NormSums, Qkv, QkvMut, Rows, Tokens, WeightRef, Workspace,
};
use hone_tensor::{Element, ParamTable};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

impl<D: Driver, A: Act> Backend for CudaBackend<D, A> {
    type Act = A;
    type Master = f32;
    type Buf<T: Element> = Buf<D, T>;
    type View<'a, T: Element> = View<'a, T>;
    type ViewMut<'a, T: Element> = ViewMut<'a, T>;
    type Params = CudaParams<D, A>;
    type Coming<T: Element> = Coming<D, T>;

    const QUEUES: bool = true;
    const ROWS_ALONE: bool = false;
    const KEEPS: bool = true;
    /// Gradients have left the cache by the time a product is done: a pass of their own, however many at once.
    const NORMS_OF_PRODUCTS: bool = false;

    fn shapes(&self) -> Option<fn(usize) -> usize> {
        self.graphs
            .as_ref()
            .map(|_| graphs::shape as fn(usize) -> usize)
    }

    fn repeats<T>(&self, run: impl FnOnce() -> T) -> T {
        let begun = self
            .graphs
            .as_ref()
            .is_some_and(|graphs| lock(graphs).begin());
        let out = run();
        if begun {
            self.queue_region(true);
        }
        out
    }

    fn path(&self) -> String {
        // Sums over a filled batch's rows may be taken in another order.
        let graphs = self.graphs.as_ref().map_or("", |_| "-graphs");
        format!("{}-{}{graphs}", self.driver.name(), A::NUMBER.name())
    }

    fn reserve(&self, w: &Workspace) -> Result<(), BackendError> {
        let head_dim = w.hidden / w.heads.max(1);
        if head_dim > attention::MOST_CHANNELS {
            return Err(BackendError::Device {
                device: self.driver.name(),
                reason: format!(
                    "attention's kernels hold heads of up to {} channels; this model's have {head_dim}; use --device cpu",
                    attention::MOST_CHANNELS
                ),
            });
        }
        // A grid's second dimension (classes, chunks of tokens) and its third (sequences, rounded up) have no more blocks.
        for (n, blocks, what) in [
            (w.tokens, columns::chunks(w.tokens), "tokens in a batch"),
            (w.sequences, bucket(w.sequences), "texts in a batch"),
            (w.classes, w.classes, "classes"),
        ] {
            if blocks > MOST_BLOCKS {
                return Err(BackendError::Device {
                    device: self.driver.name(),
                    reason: format!(
                        "{n} {what} ask for {blocks} blocks; {MOST_BLOCKS} is the most"
                    ),
                });
            }
        }
        let rows = w.tokens.max(w.sequences);
        let width = (3 * w.hidden).max(w.intermediate);
        let sums = columns::scratch_len(rows, width)
            .max(columns::scratch_len(w.answered, w.classes))
            .max(bucket(rows) * w.heads)
            .max(head::scratch_len(w.classes, w.hidden))
            .max(norm::scratch_len(rows, w.hidden));
        self.grow(&mut self.scratch().sums, sums)
    }

    fn memory(&self, params: &Self::Params) -> Vec<(&'static str, usize)> {
        let copies = params.copy.as_ref().map_or(0, Buf::bytes);
        vec![
            ("rounded copies", copies),
            ("scratch", self.scratch().bytes()),
            ("workspace of products", self.driver.workspace()),
        ]
    }

    fn peak_memory(&self) -> Option<u64> {
        Some(self.driver.peak_memory())
    }

    fn alloc<T: Element>(&self, len: usize) -> Result<Buf<D, T>, BackendError> {
        self.queue_region(false);
        let memory = self.driver.alloc((len * size_of::<T>()).max(1))?;
        Ok(Buf {
            address: self.driver.address(&memory),
            memory,
            len,
            element: PhantomData,
        })
    }

    fn len<T: Element>(&self, buf: &Buf<D, T>) -> usize {
        buf.len
    }

    fn view_len<T: Element>(&self, view: View<'_, T>) -> usize {
        view.len
    }

    fn view<'a, T: Element>(&self, buf: &'a Buf<D, T>) -> View<'a, T> {
        buf.view()
    }

    fn all_mut<'a, T: Element>(&self, buf: &'a mut Buf<D, T>) -> ViewMut<'a, T> {
        buf.view_mut()
    }

    fn slice<'a, T: Element>(
        &self,
        view: Self::View<'a, T>,
        range: Range<usize>,
    ) -> Self::View<'a, T> {
        view.part(range)
    }

    fn slice_mut<'a, T: Element>(
        &self,
        view: Self::ViewMut<'a, T>,
        range: Range<usize>,
    ) -> Self::ViewMut<'a, T> {
        view.part(range)
    }

    fn split_mut<'a, T: Element>(
        &self,
        view: Self::ViewMut<'a, T>,
        mid: usize,
    ) -> (Self::ViewMut<'a, T>, Self::ViewMut<'a, T>) {
        view.split(mid)
    }

    fn upload<T: Element>(&self, to: ViewMut<'_, T>, from: &[T]) -> Result<(), BackendError> {
        assert_eq!(to.len, from.len(), "upload");
        self.queue_region(false);
        self.told()?;
        self.driver.upload(to.address, bytemuck::cast_slice(from))
    }

    fn download<T: Element>(&self, from: View<'_, T>, to: &mut [T]) -> Result<(), BackendError> {
        assert_eq!(from.len, to.len(), "download");
        self.queue_region(false);
        self.told()?;
        self.driver
            .download(from.address, bytemuck::cast_slice_mut(to))
    }

    fn fetch<T: Element>(&self, from: View<'_, T>) -> Result<Coming<D, T>, BackendError> {
        self.queue_region(false);
        self.told()?;
        Ok(Coming {
            coming: self.driver.fetch(from.address, from.len * size_of::<T>())?,
            len: from.len,
            element: PhantomData,
        })
    }

    fn arrived<T: Element>(&self, coming: Coming<D, T>) -> Result<Vec<T>, BackendError> {
        let mut to = vec![T::default(); coming.len];
        let bytes = bytemuck::cast_slice_mut(&mut to);
        self.driver.arrived(coming.coming, bytes)?;
        Ok(to)
    }

    fn sync(&self) -> Result<(), BackendError> {
        self.queue_region(false);
        self.told()?;
        self.driver.sync()
    }

    fn params(&self, table: Arc<ParamTable>) -> Result<Self::Params, BackendError> {
        // Of all tensors at once, or of every row of one.
        let of_all = table.params().iter().map(|p| sweep::norm_chunks(p.len()));
        let of_rows = table.params().iter().map(|p| p.shape.first());
        let of_rows = of_rows.map(|rows| bucket(rows.copied().unwrap_or(0)));
        let norms = of_all.sum::<usize>().max(of_rows.max().unwrap_or(0));
        let rows = adamw::table_bytes(table.params().len());
        let spans = sweep::span_bytes(table.params().len());
        let mut scratch = self.scratch();
        self.grow(&mut scratch.norms, norms)?;
        self.grow(&mut scratch.table, rows)?;
        scratch.spans_hold.clear();
        self.grow(&mut scratch.spans, spans)?;
        drop(scratch);
        let data = self.alloc(table.len())?;
        let copy = match A::NUMBER {
            Number::F32 => None,
            Number::Bf16 => Some(self.alloc(table.len())?),
        };
        Ok(CudaParams { table, data, copy })
    }

    fn table<'a>(&self, params: &'a Self::Params) -> &'a Arc<ParamTable> {
        &params.table
    }

    fn set_param(
        &self,
        params: &mut Self::Params,
        index: usize,
        first: usize,
        values: &[f32],
    ) -> Result<(), BackendError> {
        let range = params.table.params()[index].part(first, values.len());
        let (mut data, copy) = Self::copy_part(params, range);
        self.upload(data.again(), values)?;
        if let Some(copy) = copy {
            sweep::round_copy(self, data.shared(), copy);
        }
        Ok(())
    }

    fn param<'a>(&self, params: &'a Self::Params, range: Range<usize>) -> View<'a, f32> {
        params.data.view().part(range)
    }

    fn param_axpby(
        &self,
        params: &mut Self::Params,
        index: usize,
        a: f64,
        x: View<'_, f32>,
        b: f64,
    ) {
        let range = params.table.params()[index].range();
        let (data, copy) = Self::copy_part(params, range);
        sweep::axpby(self, a, x, b, data, copy);
    }

    fn param_swap(&self, params: &mut Self::Params, other: &mut Buf<D, f32>) {
        assert_eq!(params.data.len, other.len, "arenas of one table");
        std::mem::swap(&mut params.data, other);
        let all = 0..params.data.len;
        if let (data, Some(copy)) = Self::copy_part(params, all) {
            sweep::round_copy(self, data.shared(), copy);
        }
    }

    fn adamw(
        &self,
        params: &mut Self::Params,
        rows: &[AdamwRow],
        start: Option<View<'_, f32>>,
        grads: View<'_, f32>,
        m: ViewMut<'_, f32>,
        v: ViewMut<'_, f32>,
        coefficient: View<'_, f64>,
        step: AdamwStep,
    ) {
        adamw::sweep(self, params, rows, start, grads, m, v, coefficient, step);
    }

    fn adamw_rows(
        &self,
        params: &mut Self::Params,
        history: &[AdamwRow],
        rows: View<'_, u32>,
        since: View<'_, u32>,
        grads: Option<(View<'_, f32>, View<'_, f64>)>,
        m: ViewMut<'_, f32>,
        v: ViewMut<'_, f32>,
        step: AdamwStep,
    ) {
        adamw::rows(self, params, history, rows, since, grads, m, v, step);
    }

    fn linear(
        &self,
        params: &Self::Params,
        weight: WeightRef,
        bias: View<'_, f32>,
        x: View<'_, A>,
        y: ViewMut<'_, A>,
    ) {
        product::linear(self, params, weight, bias, x, y);
    }

    fn linear_activation(
        &self,
        params: &Self::Params,
        weight: WeightRef,
        bias: View<'_, f32>,
        kind: Activation,
        x: View<'_, A>,
        mut pre: ViewMut<'_, A>,
        y: ViewMut<'_, A>,
    ) {
        let width = bias.len;
        product::linear(self, params, weight, bias, x, pre.again());
        activation::forward(self, kind, width, pre.shared(), y);
    }

    fn linear_dgrad(
        &self,
        params: &Self::Params,
        weight: WeightRef,
        dy: View<'_, A>,
        acc: Acc,
        dx: ViewMut<'_, A>,
    ) {
        product::dgrad(self, params, weight, dy, acc, dx);
    }

    fn linear_dgrad_activation(
        &self,
        params: &Self::Params,
        weight: WeightRef,
        dy: View<'_, A>,
        kind: Activation,
        pre: View<'_, A>,
        mut dpre: ViewMut<'_, A>,
        y: Option<ViewMut<'_, A>>,
        db: Option<(Acc, ViewMut<'_, f32>)>,
    ) {
        let (_, input) = weight.shape(&params.table);
        product::dgrad(self, params, weight, dy, Acc::Set, dpre.again());
        match db {
            Some((acc, db)) => columns::activation_backward(self, kind, pre, dpre, y, acc, db),
            None => activation::backward(self, kind, input, pre, dpre, y),
        }
    }

    fn linear_wgrad(
        &self,
        dy: View<'_, A>,
        x: View<'_, A>,
        rows: usize,
        acc: Acc,
        mut dw: ViewMut<'_, f32>,
        squared: Option<ViewMut<'_, f64>>,
    ) {
        product::wgrad(self, dy, x, rows, acc, dw.again());
        if let Some(mut squared) = squared {
            let each = dw.len / squared.len;
            for k in 0..squared.len {
                let of_one = dw.shared().part(k * each..(k + 1) * each);
                sweep::squared_norm(self, of_one, squared.again().part(k..k + 1));
            }
        }
    }

    fn bias_grad(&self, dy: View<'_, A>, rows: usize, acc: Acc, db: ViewMut<'_, f32>) {
        columns::sums(self, Summed::Act(dy), rows, acc, db);
    }

    fn head_linear(
        &self,
        params: &Self::Params,
        weight: WeightRef,
        bias: View<'_, f32>,
        x: View<'_, A>,
        logits: ViewMut<'_, f32>,
    ) {
        head::forward(self, params, weight, bias, x, logits);
    }

    fn head_linear_backward(
        &self,
        params: &Self::Params,
        weight: WeightRef,
        dlogits: View<'_, f32>,
        x: View<'_, A>,
        acc: Acc,
        dx: Option<ViewMut<'_, A>>,
        dw: Option<ViewMut<'_, f32>>,
        db: Option<ViewMut<'_, f32>>,
    ) {
        let (classes, _) = weight.shape(&params.table);
        if let Some(dx) = dx {
            head::dgrad(self, params, weight, dlogits, dx);
        }
        if let Some(dw) = dw {
            head::wgrad(self, dlogits, x, classes, acc, dw);
        }
        if let Some(db) = db {
            let rows = dlogits.len / classes;
            columns::sums(self, Summed::Master(dlogits), rows, acc, db);
        }
    }

    fn activation_backward(
        &self,
        kind: Activation,
        width: usize,
        pre: View<'_, A>,
        d: ViewMut<'_, A>,
    ) {
        activation::backward(self, kind, width, pre, d, None);
    }

    fn tanh(&self, x: View<'_, A>, y: ViewMut<'_, A>) {
        activation::tanh(self, x, y);
    }

    fn tanh_backward(&self, y: View<'_, A>, d: ViewMut<'_, A>) {
        activation::tanh_backward(self, y, d);
    }

    fn dropout(&self, drop: Drop, of: Rows<'_, Self>, width: usize, x: ViewMut<'_, A>) {
        rows::dropout(self, drop, of, width, x);
    }

    fn mask_weights(&self, drop: Drop, tensor: u64, width: usize, x: ViewMut<'_, f32>) {
        rows::mask_weights(self, drop, tensor, width, x);
    }

    fn gather_rows(&self, x: View<'_, A>, index: View<'_, u32>, width: usize, y: ViewMut<'_, A>) {
        rows::gather(self, x, index, width, y);
    }

    fn scatter_add_rows(
        &self,
        dy: View<'_, A>,
        index: View<'_, u32>,
        width: usize,
        dx: ViewMut<'_, A>,
    ) {
        rows::scatter_add(self, dy, index, width, dx);
    }

    fn mean_tokens(
        &self,
        x: View<'_, A>,
        cu_seqlens: View<'_, u32>,
        width: usize,
        y: ViewMut<'_, A>,
    ) {
        rows::mean_tokens(self, x, cu_seqlens, width, y);
    }

    fn mean_tokens_backward(
        &self,
        dy: View<'_, A>,
        cu_seqlens: View<'_, u32>,
        width: usize,
        dx: ViewMut<'_, A>,
    ) {
        rows::mean_tokens_backward(self, dy, cu_seqlens, width, dx);
    }

    fn embed(
        &self,
        tables: EmbedTables<'_, Self>,
        tokens: Tokens<'_, Self>,
        width: usize,
        sum: ViewMut<'_, A>,
    ) {
        embedding::forward(self, tables, tokens, width, sum);
    }

    fn embed_word_backward(
        &self,
        dsum: View<'_, A>,
        tokens: Tokens<'_, Self>,
        width: usize,
        dword: ViewMut<'_, f32>,
    ) {
        embedding::word_backward(self, dsum, tokens, width, dword);
    }

    fn embed_position_backward(
        &self,
        dsum: View<'_, A>,
        tokens: Tokens<'_, Self>,
        width: usize,
        acc: Acc,
        dposition: ViewMut<'_, f32>,
    ) {
        embedding::position_backward(self, dsum, tokens, width, acc, dposition);
    }

    fn embed_type_backward(
        &self,
        dsum: View<'_, A>,
        tokens: Tokens<'_, Self>,
        width: usize,
        acc: Acc,
        dtype: ViewMut<'_, f32>,
    ) {
        embedding::type_backward(self, dsum, tokens, width, acc, dtype);
    }

    fn zero_rows(&self, of: View<'_, u32>, width: usize, x: ViewMut<'_, f32>) {
        rows::zero(self, of, width, x);
    }

    fn add_norm(
        &self,
        norm: Norm<'_, Self>,
        drop: Option<(Drop, Rows<'_, Self>)>,
        residual: Option<View<'_, A>>,
        x: ViewMut<'_, A>,
        stats: ViewMut<'_, f32>,
        y: ViewMut<'_, A>,
    ) {
        norm::add_norm(self, norm, drop, residual, x, stats, y);
    }

    fn norm_apply(
        &self,
        norm: Norm<'_, Self>,
        sum: View<'_, A>,
        stats: View<'_, f32>,
        y: ViewMut<'_, A>,
    ) {
        norm::apply(self, norm, sum, stats, y);
    }

    fn add_norm_backward(
        &self,
        norm: Norm<'_, Self>,
        dy: View<'_, A>,
        sum: View<'_, A>,
        stats: View<'_, f32>,
        dsum: ViewMut<'_, A>,
        dropped: Option<(Drop, Rows<'_, Self>, ViewMut<'_, A>)>,
        sums: NormSums<'_, Self>,
    ) {
        norm::backward(self, norm, dy, sum, stats, dsum, dropped, sums);
    }

    fn norm_param_grad(
        &self,
        dy: View<'_, A>,
        sum: View<'_, A>,
        stats: View<'_, f32>,
        acc: Acc,
        dweight: ViewMut<'_, f32>,
        dbias: ViewMut<'_, f32>,
    ) {
        columns::norm_param_grad(self, dy, sum, stats, acc, dweight, dbias);
    }

    fn attention_saved(queries: usize, heads: usize, longest: usize) -> usize {
        attention::saved(A::NUMBER, queries, heads, longest)
    }

    fn attention(
        &self,
        how: Attention,
        tokens: Tokens<'_, Self>,
        qkv: Qkv<'_, Self>,
        context: ViewMut<'_, A>,
        saved: ViewMut<'_, f32>,
    ) {
        attention::forward(self, how, tokens, qkv, context, saved);
    }

    fn attention_backward(
        &self,
        how: Attention,
        tokens: Tokens<'_, Self>,
        qkv: Qkv<'_, Self>,
        context: View<'_, A>,
        saved: View<'_, f32>,
        dcontext: View<'_, A>,
        dqkv: QkvMut<'_, Self>,
    ) {
        attention::backward(self, how, tokens, qkv, context, saved, dcontext, dqkv);
    }

    fn softmax_loss(
        &self,
        of: Loss<'_, Self>,
        focal: f64,
        losses: ViewMut<'_, f64>,
        dlogits: ViewMut<'_, f32>,
    ) {
        loss::loss(self, loss::Kind::Softmax(focal), of, losses, dlogits);
    }

    fn class_loss(
        &self,
        logits: View<'_, f32>,
        class: View<'_, u32>,
        weights: View<'_, f32>,
        losses: ViewMut<'_, f64>,
        dlogits: ViewMut<'_, f32>,
    ) {
        loss::class(self, logits, class, weights, losses, dlogits);
    }

    fn symmetric_kl(
        &self,
        of: Loss<'_, Self>,
        alpha: f64,
        losses: ViewMut<'_, f64>,
        dlogits: ViewMut<'_, f32>,
    ) {
        loss::loss(self, loss::Kind::SymmetricKl(alpha), of, losses, dlogits);
    }

    fn sigmoid_loss(
        &self,
        of: Loss<'_, Self>,
        losses: ViewMut<'_, f64>,
        dlogits: ViewMut<'_, f32>,
    ) {
        loss::loss(self, loss::Kind::Sigmoid, of, losses, dlogits);
    }

    fn squared_loss(
        &self,
        of: Loss<'_, Self>,
        losses: ViewMut<'_, f64>,
        dlogits: ViewMut<'_, f32>,
    ) {
        loss::loss(self, loss::Kind::Squared, of, losses, dlogits);
    }

    fn contrast(
        &self,
        how: Contrast,
        x: View<'_, A>,
        targets: View<'_, f32>,
        weights: View<'_, f32>,
        losses: ViewMut<'_, f64>,
        kept: ViewMut<'_, f32>,
    ) {
        contrast::forward(self, how, x, targets, weights, losses, kept);
    }

    fn contrast_backward(
        &self,
        how: Contrast,
        x: View<'_, A>,
        width: usize,
        kept: View<'_, f32>,
        dx: ViewMut<'_, A>,
    ) {
        contrast::backward(self, how, x, width, kept, dx);
    }

    fn squared_norm(&self, x: View<'_, f32>, out: ViewMut<'_, f64>) {
        sweep::squared_norm(self, x, out);
    }

    fn squared_norms(
        &self,
        x: View<'_, f32>,
        spans: &[(Range<usize>, usize)],
        out: &mut Buf<D, f64>,
    ) {
        sweep::squared_norms(self, x, spans, out.view_mut());
    }

    fn squared_norm_rows(
        &self,
        x: View<'_, f32>,
        of: View<'_, u32>,
        width: usize,
        out: ViewMut<'_, f64>,
    ) {
        sweep::squared_norm_rows(self, x, of, width, out);
    }

    fn clip_coefficient(
        &self,
        squared: View<'_, f64>,
        max_norm: Option<f64>,
        out: ViewMut<'_, f64>,
    ) {
        sweep::clip_coefficient(self, squared, max_norm, out);
    }

    fn axpby(&self, a: f64, x: View<'_, f32>, b: f64, y: ViewMut<'_, f32>) {
        sweep::axpby(self, a, x, b, y, None);
    }

    fn fill<T: Element>(&self, value: T, y: ViewMut<'_, T>) {
        sweep::fill(self, value, y);
    }

    fn copy<T: Element>(&self, x: View<'_, T>, y: ViewMut<'_, T>) {
        assert_eq!(x.len, y.len, "copy");
        let bytes = x.len * size_of::<T>();
        self.copied(y.address, x.address, bytes);
    }
}
