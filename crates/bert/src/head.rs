//! Pooler (or the mean over tokens) and classifier: forward above backward; losses between them.

use crate::acts::{HeadActs, RowSet, Slopes, Stream};
use crate::grads::Grads;
use crate::layout::Layout;
use crate::{Config, DeviceBatch, Pass, Task};
use hone_kernels::{Acc, Backend, Contrast, WeightRef};

/// What forward and backward of the head both read.
pub(crate) struct HeadPass<'a, B: Backend> {
    pub b: &'a B,
    pub config: &'a Config,
    pub layout: &'a Layout,
    pub params: &'a B::Params,
    pub batch: &'a DeviceBatch<B>,
    pub pass: &'a Pass,
    pub rows: RowSet,
    pub task: Task,
}

impl<B: Backend> HeadPass<'_, B> {
    fn bias(&self, row: usize) -> B::View<'_, B::Master> {
        self.b
            .param(self.params, self.layout.table.params()[row].range())
    }

    fn classes(&self) -> usize {
        self.layout.table.params()[self.layout.classifier.bias].len()
    }

    /// Logits `[R, C]` from the encoder's output in `stream.x`.
    pub fn forward(&self, acts: &mut HeadActs<B>, stream: &Stream<B>) {
        let b = self.b;
        let (r, h) = (self.rows.count(self.batch.size()), self.config.hidden);
        match self.layout.pooler {
            Some(pooler) => {
                let x = b.head(&stream.x, r * h);
                let bias = self.bias(pooler.bias);
                let linear = b.head_mut(&mut acts.input, r * h);
                b.linear(self.params, pooler.weight(), bias, x, linear);
                b.tanh(
                    b.head(&acts.input, r * h),
                    b.head_mut(&mut acts.pooled, r * h),
                );
                b.copy(
                    b.head(&acts.pooled, r * h),
                    b.head_mut(&mut acts.input, r * h),
                );
            }
            None if self.task.pools() => {
                let x = b.head(&stream.x, self.batch.size().tokens * h);
                let borders = self.batch.tokens(b).cu_seqlens;
                b.mean_tokens(x, borders, h, b.head_mut(&mut acts.input, r * h));
            }
            None => {
                let x = b.head(&stream.x, r * h);
                b.copy(x, b.head_mut(&mut acts.input, r * h));
            }
        }
        self.drop(b.head_mut(&mut acts.input, r * h));
        b.head_linear(
            self.params,
            self.layout.classifier.weight(),
            self.bias(self.layout.classifier.bias),
            b.head(&acts.input, r * h),
            b.head_mut(&mut acts.logits, r * self.classes()),
        );
    }

    /// From `acts.dlogits` to the head's gradients and, where `want_input`, the gradient of the
    /// encoder's output in `slopes.d`. `stream.x` holds that output.
    pub fn backward(
        &self,
        acts: &mut HeadActs<B>,
        stream: &Stream<B>,
        slopes: &mut Slopes<B>,
        grads: &mut Grads<B>,
        acc: Acc,
        want_input: bool,
    ) {
        let b = self.b;
        let (r, h) = (self.rows.count(self.batch.size()), self.config.hidden);
        let classifier = self.layout.classifier;
        let pair = (classifier.weight, classifier.bias);
        if let Some((dw, db)) = grads.pair(b, self.layout, pair) {
            b.head_linear_backward(
                self.params,
                classifier.weight(),
                b.head(&acts.dlogits, r * self.classes()),
                b.head(&acts.input, r * h),
                acc,
                Some(b.head_mut(&mut acts.dinput, r * h)),
                Some(dw),
                Some(db),
            );
        }
        if let (Some(contrast), Some(kept)) = (acts.contrast, &acts.kept) {
            let kept = b.head(kept, Contrast::kept(r));
            let dinput = b.head_mut(&mut acts.dinput, r * h);
            b.contrast_backward(contrast, b.head(&acts.input, r * h), h, kept, dinput);
        }
        self.drop(b.head_mut(&mut acts.dinput, r * h));
        let Some(pooler) = self.layout.pooler else {
            let d = b.head(&acts.dinput, r * h);
            if self.task.pools() {
                let (tokens, borders) = (self.batch.size().tokens, self.batch.tokens(b).cu_seqlens);
                let out = b.head_mut(&mut slopes.d, tokens * h);
                b.mean_tokens_backward(d, borders, h, out);
            } else {
                b.copy(d, b.head_mut(&mut slopes.d, r * h));
            }
            return;
        };
        b.tanh_backward(
            b.head(&acts.pooled, r * h),
            b.head_mut(&mut acts.dinput, r * h),
        );
        let d = b.head(&acts.dinput, r * h);
        if let Some((dw, squared)) = grads.matrices(b, self.layout, pooler.weight()) {
            b.linear_wgrad(d, b.head(&stream.x, r * h), r, acc, dw, squared);
        }
        if let Some(db) = grads.slot(b, self.layout, WeightRef::one(pooler.bias)) {
            b.bias_grad(d, r, acc, db);
        }
        if want_input {
            let out = b.head_mut(&mut slopes.d, r * h);
            b.linear_dgrad(self.params, pooler.weight(), d, Acc::Set, out);
        }
    }

    fn drop(&self, x: B::ViewMut<'_, B::Act>) {
        if let Some(drop) = self.pass.head_drop() {
            let rows = match self.rows {
                RowSet::All => self.batch.token_rows(self.b),
                RowSet::First => self.batch.first_rows(self.b),
            };
            debug_assert_eq!(self.task.pools(), self.rows == RowSet::First);
            self.b.dropout(drop, rows, self.config.hidden, x);
        }
    }
}
