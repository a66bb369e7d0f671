//! One encoder layer: forward above backward, call by call each other's mirror.
//!
//! [`RowSet::First`] is the last layer under a pooled head: keys and values of every token, but
//! queries, output and feed-forward for each sequence's first row alone; exactly the same mathematics.

use crate::acts::{LayerActs, RowSet, Slopes, Stream};
use crate::grads::Grads;
use crate::layout::{LayerRows, Layout, NormRows};
use crate::pass::LayerDrops;
use crate::{Config, DeviceBatch};
use hone_kernels::{Acc, Attention, Backend, Norm, Qkv, QkvMut, Rows, WeightRef};

/// What forward and backward of a layer both read.
pub(crate) struct LayerPass<'a, B: Backend> {
    pub b: &'a B,
    pub config: &'a Config,
    pub layout: &'a Layout,
    pub params: &'a B::Params,
    pub batch: &'a DeviceBatch<B>,
    pub layer: &'a LayerRows,
    pub drops: LayerDrops,
    pub rows: RowSet,
}

impl<'a, B: Backend> LayerPass<'a, B> {
    fn bias(&self, first: usize, count: usize) -> B::View<'a, B::Master> {
        let params = self.layout.table.params();
        let range = params[first].offset..params[first + count - 1].range().end;
        self.b.param(self.params, range)
    }

    pub fn norm(&self, rows: NormRows) -> Norm<'a, B> {
        norm(self.b, self.config, self.layout, self.params, rows)
    }

    fn attention(&self) -> Attention {
        Attention {
            heads: self.config.heads,
            head_dim: self.config.head_dim(),
            longest: self.batch.size().longest,
            drop: self.drops.attention,
        }
    }

    /// Elements of what attention saves.
    fn saved(&self) -> usize {
        B::attention_saved(self.count(), self.config.heads, self.batch.size().longest)
    }

    fn count(&self) -> usize {
        self.rows.count(self.batch.size())
    }

    fn drop_rows(&self) -> Rows<'a, B> {
        match self.rows {
            RowSet::All => self.batch.token_rows(self.b),
            RowSet::First => self.batch.first_rows(self.b),
        }
    }

    /// `stream.y = layer(stream.x)`, rows of `self.rows`.
    pub fn forward(&self, acts: &mut LayerActs<B>, stream: &mut Stream<B>) {
        let b = self.b;
        let layer = self.layer;
        let (t, r) = (self.batch.size().tokens, self.count());
        let (h, i) = (self.config.hidden, self.config.intermediate);
        let x = b.head(&stream.x, t * h);
        let saved = b.head_mut(&mut acts.saved, self.saved());
        let context = b.head_mut(&mut acts.context, r * h);
        let residual = match self.rows {
            RowSet::All => {
                let qkv = b.head_mut(&mut acts.qkv, t * 3 * h);
                b.linear(self.params, layer.qkv(), self.bias(layer.q.bias, 3), x, qkv);
                let qkv = Qkv::All(b.head(&acts.qkv, t * 3 * h));
                b.attention(self.attention(), self.batch.tokens(b), qkv, context, saved);
                x
            }
            RowSet::First => {
                let kv = b.head_mut(&mut acts.qkv, t * 2 * h);
                b.linear(
                    self.params,
                    layer.kv(),
                    self.bias(layer.q.bias + 1, 2),
                    x,
                    kv,
                );
                let first = b.head_mut(&mut stream.first, r * h);
                b.gather_rows(x, self.batch.first_index(b), h, first);
                let first = b.head(&stream.first, r * h);
                let q = b.head_mut(&mut acts.q, r * h);
                b.linear(
                    self.params,
                    layer.q.weight(),
                    self.bias(layer.q.bias, 1),
                    first,
                    q,
                );
                let qkv = Qkv::First {
                    q: b.head(&acts.q, r * h),
                    kv: b.head(&acts.qkv, t * 2 * h),
                };
                b.attention(self.attention(), self.batch.tokens(b), qkv, context, saved);
                first
            }
        };
        let (attended, inner) = match &mut acts.kept {
            Some(kept) => (&mut kept.attended, &mut kept.inner),
            None => (&mut stream.attended, &mut stream.inner),
        };
        let dense = layer.attention_output;
        b.linear(
            self.params,
            dense.weight(),
            self.bias(dense.bias, 1),
            b.head(&acts.context, r * h),
            b.head_mut(&mut acts.attention_sum, r * h),
        );
        b.add_norm(
            self.norm(layer.attention_norm),
            self.drops.attended.map(|d| (d, self.drop_rows())),
            Some(residual),
            b.head_mut(&mut acts.attention_sum, r * h),
            b.head_mut(&mut acts.attention_stats, r * 2),
            b.head_mut(attended, r * h),
        );
        let dense = layer.intermediate;
        b.linear_activation(
            self.params,
            dense.weight(),
            self.bias(dense.bias, 1),
            self.config.activation,
            b.head(attended, r * h),
            b.head_mut(&mut acts.pre, r * i),
            b.head_mut(inner, r * i),
        );
        let dense = layer.output;
        b.linear(
            self.params,
            dense.weight(),
            self.bias(dense.bias, 1),
            b.head(inner, r * i),
            b.head_mut(&mut acts.output_sum, r * h),
        );
        b.add_norm(
            self.norm(layer.output_norm),
            self.drops.output.map(|d| (d, self.drop_rows())),
            Some(b.head(attended, r * h)),
            b.head_mut(&mut acts.output_sum, r * h),
            b.head_mut(&mut acts.output_stats, r * 2),
            b.head_mut(&mut stream.y, r * h),
        );
    }

    /// `stream.x` = this layer's output once more, for the backward pass of the layer above.
    pub fn again(&self, acts: &LayerActs<B>, stream: &mut Stream<B>) {
        let b = self.b;
        let (r, h) = (self.count(), self.config.hidden);
        b.norm_apply(
            self.norm(self.layer.output_norm),
            b.head(&acts.output_sum, r * h),
            b.head(&acts.output_stats, r * 2),
            b.head_mut(&mut stream.x, r * h),
        );
    }

    /// `stream.attended` once more.
    pub fn attended_again(&self, acts: &LayerActs<B>, stream: &mut Stream<B>) {
        let b = self.b;
        let (r, h) = (self.count(), self.config.hidden);
        b.norm_apply(
            self.norm(self.layer.attention_norm),
            b.head(&acts.attention_sum, r * h),
            b.head(&acts.attention_stats, r * 2),
            b.head_mut(&mut stream.attended, r * h),
        );
    }

    /// From the output's gradient in `slopes.d` (rows of `self.rows`) to the parameters' gradients and,
    /// where `want_input`, the input's gradient in `slopes.d` (every token). `stream.x` holds the input where the layer
    /// does not keep it.
    pub fn backward(
        &self,
        acts: &LayerActs<B>,
        stream: &mut Stream<B>,
        slopes: &mut Slopes<B>,
        grads: &mut Grads<B>,
        acc: Acc,
        want_input: bool,
    ) {
        let b = self.b;
        let layer = self.layer;
        let (t, r) = (self.batch.size().tokens, self.count());
        let (h, i) = (self.config.hidden, self.config.intermediate);

        // Output LayerNorm, residual and dropout.
        let norm = layer.output_norm;
        let sum = b.head(&acts.output_sum, r * h);
        let stats = b.head(&acts.output_stats, r * 2);
        let d = b.head(&slopes.d, r * h);
        let dropped = self.drops.output.map(|drop| {
            (
                drop,
                self.drop_rows(),
                b.head_mut(&mut slopes.dropped, r * h),
            )
        });
        let inside = b.head_mut(&mut slopes.inside, r * h);
        let sums = grads.norm(b, self.layout, acc, norm, Some(layer.output.bias));
        b.add_norm_backward(self.norm(norm), d, sum, stats, inside, dropped, sums);
        let dy = match self.drops.output {
            Some(_) => b.head(&slopes.dropped, r * h),
            None => b.head(&slopes.inside, r * h),
        };

        // Feed-forward; where it was not kept, the inner activation is made again beside its derivative.
        let again = match acts.kept {
            Some(_) => None,
            None => Some(b.head_mut(&mut stream.inner, r * i)),
        };
        let bias = WeightRef::one(layer.intermediate.bias);
        let db = grads.slot(b, self.layout, bias).map(|db| (acc, db));
        b.linear_dgrad_activation(
            self.params,
            layer.output.weight(),
            dy,
            self.config.activation,
            b.head(&acts.pre, r * i),
            b.head_mut(&mut slopes.dpre, r * i),
            again,
            db,
        );
        let inner = b.head(acts.inner(stream), r * i);
        self.weight_grad(grads, acc, layer.output.weight(), dy, inner, r);
        let norm = layer.attention_norm;
        let sum = b.head(&acts.attention_sum, r * h);
        let stats = b.head(&acts.attention_stats, r * 2);
        if acts.kept.is_none() {
            self.attended_again(acts, stream);
        }
        let dpre = b.head(&slopes.dpre, r * i);
        let attended = b.head(acts.attended(stream), r * h);
        let weight = layer.intermediate.weight();
        self.weight_grad(grads, acc, weight, dpre, attended, r);
        let inside = b.head_mut(&mut slopes.inside, r * h);
        b.linear_dgrad(
            self.params,
            layer.intermediate.weight(),
            dpre,
            Acc::Add,
            inside,
        );

        // Attention's LayerNorm, residual and dropout; `slopes.d` becomes the residual's gradient.
        let inside = b.head(&slopes.inside, r * h);
        let dropped = self.drops.attended.map(|drop| {
            (
                drop,
                self.drop_rows(),
                b.head_mut(&mut slopes.dropped, r * h),
            )
        });
        let d = match self.rows {
            RowSet::All => b.head_mut(&mut slopes.d, r * h),
            RowSet::First => b.head_mut(&mut slopes.first, r * h),
        };
        let before = Some(layer.attention_output.bias);
        let sums = grads.norm(b, self.layout, acc, norm, before);
        b.add_norm_backward(self.norm(norm), inside, sum, stats, d, dropped, sums);
        let dy = match (self.drops.attended, self.rows) {
            (Some(_), _) => b.head(&slopes.dropped, r * h),
            (None, RowSet::All) => b.head(&slopes.d, r * h),
            (None, RowSet::First) => b.head(&slopes.first, r * h),
        };

        // Attention.
        let context = b.head(&acts.context, r * h);
        let weight = layer.attention_output.weight();
        self.weight_grad(grads, acc, weight, dy, context, r);
        let inside = b.head_mut(&mut slopes.inside, r * h);
        b.linear_dgrad(
            self.params,
            layer.attention_output.weight(),
            dy,
            Acc::Set,
            inside,
        );
        let (qkv, dqkv) = match self.rows {
            RowSet::All => (
                Qkv::All(b.head(&acts.qkv, t * 3 * h)),
                QkvMut::All(b.head_mut(&mut slopes.dqkv, t * 3 * h)),
            ),
            RowSet::First => (
                Qkv::First {
                    q: b.head(&acts.q, r * h),
                    kv: b.head(&acts.qkv, t * 2 * h),
                },
                QkvMut::First {
                    dq: b.head_mut(&mut slopes.dq, r * h),
                    dkv: b.head_mut(&mut slopes.dqkv, t * 2 * h),
                },
            ),
        };
        b.attention_backward(
            self.attention(),
            self.batch.tokens(b),
            qkv,
            context,
            b.head(&acts.saved, self.saved()),
            b.head(&slopes.inside, r * h),
            dqkv,
        );
        self.input_backward(acts, stream, slopes, grads, acc, want_input);
    }

    /// The projections to queries, keys and values.
    fn input_backward(
        &self,
        acts: &LayerActs<B>,
        stream: &mut Stream<B>,
        slopes: &mut Slopes<B>,
        grads: &mut Grads<B>,
        acc: Acc,
        want_input: bool,
    ) {
        let b = self.b;
        let layer = self.layer;
        let (t, r) = (self.batch.size().tokens, self.count());
        let h = self.config.hidden;
        match self.rows {
            RowSet::All => {
                let dqkv = b.head(&slopes.dqkv, t * 3 * h);
                let x = b.head(acts.x(stream), t * h);
                self.stack_grads(grads, acc, (layer.q.weight, layer.q.bias, 3), dqkv, x, t);
                if want_input {
                    let d = b.head_mut(&mut slopes.d, t * h);
                    b.linear_dgrad(self.params, layer.qkv(), dqkv, Acc::Add, d);
                }
            }
            RowSet::First => {
                let dkv = b.head(&slopes.dqkv, t * 2 * h);
                let dq = b.head(&slopes.dq, r * h);
                let index = self.batch.first_index(b);
                let Stream { x, first, .. } = &mut *stream;
                let x = acts.kept.as_ref().map_or(&*x, |kept| &kept.x);
                let first = b.head_mut(first, r * h);
                b.gather_rows(b.head(x, t * h), index, h, first);
                let x = b.head(acts.x(stream), t * h);
                let first = b.head(&stream.first, r * h);
                let (weight, bias) = (layer.q.weight, layer.q.bias);
                self.stack_grads(grads, acc, (weight + 1, bias + 1, 2), dkv, x, t);
                self.stack_grads(grads, acc, (weight, bias, 1), dq, first, r);
                if want_input {
                    let d_first = b.head_mut(&mut slopes.first, r * h);
                    b.linear_dgrad(self.params, layer.q.weight(), dq, Acc::Add, d_first);
                    let d = b.head_mut(&mut slopes.d, t * h);
                    b.linear_dgrad(self.params, layer.kv(), dkv, Acc::Set, d);
                    let d = b.head_mut(&mut slopes.d, t * h);
                    b.scatter_add_rows(b.head(&slopes.first, r * h), index, h, d);
                }
            }
        }
    }

    /// Gradients of matrices alone, where whoever made `dy` has summed their bias's.
    fn weight_grad(
        &self,
        grads: &mut Grads<B>,
        acc: Acc,
        weight: WeightRef,
        dy: B::View<'_, B::Act>,
        x: B::View<'_, B::Act>,
        rows: usize,
    ) {
        if let Some((dw, squared)) = grads.matrices(self.b, self.layout, weight) {
            self.b.linear_wgrad(dy, x, rows, acc, dw, squared);
        }
    }

    fn stack_grads(
        &self,
        grads: &mut Grads<B>,
        acc: Acc,
        (weight, bias, count): (usize, usize, usize),
        dy: B::View<'_, B::Act>,
        x: B::View<'_, B::Act>,
        rows: usize,
    ) {
        let stack = |first| WeightRef { first, count };
        self.weight_grad(grads, acc, stack(weight), dy, x, rows);
        if let Some(db) = grads.slot(self.b, self.layout, stack(bias)) {
            self.b.bias_grad(dy, rows, acc, db);
        }
    }
}

/// A LayerNorm's parameters as kernels read them.
pub(crate) fn norm<'a, B: Backend>(
    b: &B,
    config: &Config,
    layout: &Layout,
    params: &'a B::Params,
    rows: NormRows,
) -> Norm<'a, B> {
    let table = layout.table.params();
    Norm {
        weight: b.param(params, table[rows.weight].range()),
        bias: b.param(params, table[rows.bias].range()),
        eps: config.norm_eps,
    }
}
