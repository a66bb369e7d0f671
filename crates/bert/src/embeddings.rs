//! The embeddings: three tables, LayerNorm, dropout; forward above backward.

use crate::acts::{Slopes, Stream};
use crate::grads::Grads;
use crate::layer::norm;
use crate::layout::Layout;
use crate::{Config, DeviceBatch, Pass};
use hone_kernels::{Acc, Backend, EmbedTables, WeightRef};

/// What forward and backward of the embeddings both read.
pub(crate) struct EmbeddingPass<'a, B: Backend> {
    pub b: &'a B,
    pub config: &'a Config,
    pub layout: &'a Layout,
    pub params: &'a B::Params,
    pub batch: &'a DeviceBatch<B>,
    pub pass: &'a Pass,
}

/// What the backward pass needs of the forward pass.
pub(crate) struct EmbeddingActs<B: Backend> {
    /// `[T, H]`.
    pub sum: B::Buf<B::Act>,
    /// `[T, 2]`.
    pub stats: B::Buf<B::Master>,
}

impl<B: Backend> EmbeddingPass<'_, B> {
    /// `stream.x = dropout(LayerNorm(word + position + type))`.
    pub fn forward(&self, acts: &mut EmbeddingActs<B>, stream: &mut Stream<B>) {
        let b = self.b;
        let (t, h) = (self.batch.size().tokens, self.config.hidden);
        let table = self.layout.table.params();
        let view = |row: usize| b.param(self.params, table[row].range());
        let tables = EmbedTables {
            word: view(self.layout.word),
            position: view(self.layout.position),
            token_type: view(self.layout.token_type),
        };
        let tokens = self.batch.tokens(b);
        b.embed(tables, tokens, h, b.head_mut(&mut acts.sum, t * h));
        b.add_norm(
            self.norm(),
            None,
            None,
            b.head_mut(&mut acts.sum, t * h),
            b.head_mut(&mut acts.stats, t * 2),
            b.head_mut(&mut stream.x, t * h),
        );
        self.drop(b.head_mut(&mut stream.x, t * h));
    }

    /// The embeddings' output once more, for the backward pass of the first layer.
    pub fn again(&self, acts: &EmbeddingActs<B>, stream: &mut Stream<B>) {
        let b = self.b;
        let (t, h) = (self.batch.size().tokens, self.config.hidden);
        b.norm_apply(
            self.norm(),
            b.head(&acts.sum, t * h),
            b.head(&acts.stats, t * 2),
            b.head_mut(&mut stream.x, t * h),
        );
        self.drop(b.head_mut(&mut stream.x, t * h));
    }

    /// From the output's gradient in `slopes.d` to the tables' gradients; [`Grads::touch`] comes before.
    pub fn backward(
        &self,
        acts: &EmbeddingActs<B>,
        slopes: &mut Slopes<B>,
        grads: &mut Grads<B>,
        acc: Acc,
    ) {
        let b = self.b;
        let (t, h) = (self.batch.size().tokens, self.config.hidden);
        self.drop(b.head_mut(&mut slopes.d, t * h));
        let d = b.head(&slopes.d, t * h);
        let sum = b.head(&acts.sum, t * h);
        let stats = b.head(&acts.stats, t * 2);
        let sums = grads.norm(b, self.layout, acc, self.layout.embedding_norm, None);
        let dsum = b.head_mut(&mut slopes.inside, t * h);
        b.add_norm_backward(self.norm(), d, sum, stats, dsum, None, sums);
        let dsum = b.head(&slopes.inside, t * h);
        let tokens = self.batch.tokens(b);
        let row = WeightRef::one;
        if let Some(d) = grads.slot(b, self.layout, row(self.layout.position)) {
            b.embed_position_backward(dsum, tokens, h, acc, d);
        }
        if let Some(d) = grads.slot(b, self.layout, row(self.layout.token_type)) {
            b.embed_type_backward(dsum, tokens, h, acc, d);
        }
        if let Some(d) = grads.slot(b, self.layout, row(self.layout.word)) {
            b.embed_word_backward(dsum, tokens, h, d);
        }
    }

    fn norm(&self) -> hone_kernels::Norm<'_, B> {
        let rows = self.layout.embedding_norm;
        norm(self.b, self.config, self.layout, self.params, rows)
    }

    fn drop(&self, x: B::ViewMut<'_, B::Act>) {
        if let Some(drop) = self.pass.embeddings_drop() {
            let rows = self.batch.token_rows(self.b);
            self.b.dropout(drop, rows, self.config.hidden, x);
        }
    }
}
