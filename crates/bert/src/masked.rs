//! The head that says which word pieces were masked (pre-training): a dense layer with the model's activation and LayerNorm,
//! then the word embeddings once more, as a product; forward above backward.
//!
//! It goes through the rows that are asked for in blocks, loss and all, and makes a block again on the way back: of a
//! vocabulary's logits no more are ever held than a block has, however many words a batch masks.

use crate::acts::{Slopes, Stream};
use crate::grads::Grads;
use crate::layer::norm;
use crate::layout::{Layout, Transform};
use crate::{BertError, Config};
use hone_kernels::{Acc, Backend, BackendError, Norm, WeightRef};
use hone_tensor::Real;

/// Rows of a block. Bits of gradients depend on it.
pub(crate) const BLOCK: usize = 256;

/// Which rows of a batch are to say a word, and which.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Masked {
    /// Rows: tokens of the batch, ascending, each once.
    pub at: Vec<u32>,
    /// The token ids that stood there.
    pub words: Vec<u32>,
    /// What each row's loss counts.
    pub weights: Vec<f32>,
}

impl Masked {
    /// Refuses what is not of a batch of so many tokens, and words that the vocabulary does not have.
    pub(crate) fn check(&self, tokens: usize, vocabulary: usize) -> Result<(), BertError> {
        let (n, words, weights) = (self.at.len(), self.words.len(), self.weights.len());
        if (words, weights) != (n, n) {
            let found = format!("{n} masked rows with {words} words and {weights} weights");
            return Err(BertError::Batch(found));
        }
        if self.at.windows(2).any(|pair| pair[0] >= pair[1]) {
            let found = "masked rows must ascend, each once".to_owned();
            return Err(BertError::Batch(found));
        }
        if let Some(&row) = self.at.last().filter(|&&row| row as usize >= tokens) {
            let found = format!("masked row {row} of a batch of {tokens} tokens");
            return Err(BertError::Batch(found));
        }
        match self.words.iter().find(|&&word| word as usize >= vocabulary) {
            Some(word) => Err(BertError::Batch(format!(
                "masked word {word}, where the vocabulary has {vocabulary}"
            ))),
            None => Ok(()),
        }
    }
}

/// Room for a block, and what was asked of the batch in the buffers.
pub(crate) struct MaskedActs<B: Backend> {
    /// The encoder's rows, `[BLOCK, H]`.
    x: B::Buf<B::Act>,
    /// The dense layer's output before the activation, and after it.
    pre: B::Buf<B::Act>,
    sum: B::Buf<B::Act>,
    stats: B::Buf<B::Master>,
    /// What the product with the word embeddings reads.
    y: B::Buf<B::Act>,
    /// `[BLOCK, vocabulary]`.
    logits: B::Buf<B::Master>,
    dlogits: B::Buf<B::Master>,
    weights: B::Buf<B::Master>,
    losses: B::Buf<f64>,
    /// Rows of the batch, then the words there.
    at: B::Buf<u32>,
    words: B::Buf<u32>,
    /// Gradients on their way down, `[BLOCK, H]` each; none for evaluation.
    slopes: Option<[B::Buf<B::Act>; 2]>,
    asked: Masked,
}

impl<B: Backend> MaskedActs<B> {
    pub fn new(b: &B, config: &Config, trains: bool) -> Result<Self, BackendError> {
        let (h, v) = (config.hidden, config.vocabulary);
        let row = || b.alloc(BLOCK * h);
        Ok(MaskedActs {
            x: row()?,
            pre: row()?,
            sum: row()?,
            stats: b.alloc(2 * BLOCK)?,
            y: row()?,
            logits: b.alloc(BLOCK * v)?,
            dlogits: b.alloc(BLOCK * v)?,
            weights: b.alloc(BLOCK)?,
            losses: b.alloc(BLOCK)?,
            at: b.alloc(BLOCK)?,
            words: b.alloc(BLOCK)?,
            slopes: match trains {
                true => Some([row()?, row()?]),
                false => None,
            },
            asked: Masked::default(),
        })
    }

    /// Bytes that [`MaskedActs::new`] takes.
    pub fn bytes(config: &Config, trains: bool) -> usize {
        let rows = (4 + 2 * usize::from(trains)) * config.hidden * size_of::<B::Act>();
        let masters = (2 * config.vocabulary + 3) * size_of::<B::Master>();
        BLOCK * (rows + masters + size_of::<f64>() + 2 * size_of::<u32>())
    }
}

/// What forward and backward of the head both read.
pub(crate) struct MaskedPass<'a, B: Backend> {
    pub b: &'a B,
    pub config: &'a Config,
    pub layout: &'a Layout,
    pub params: &'a B::Params,
    pub transform: Transform,
}

impl<B: Backend> MaskedPass<'_, B> {
    fn bias(&self, row: usize) -> B::View<'_, B::Master> {
        self.b
            .param(self.params, self.layout.table.params()[row].range())
    }

    fn norm(&self) -> Norm<'_, B> {
        let rows = self.transform.norm;
        norm(self.b, self.config, self.layout, self.params, rows)
    }

    /// Losses of all rows that are asked for, block by block, on their way.
    pub fn losses(
        &self,
        acts: &mut MaskedActs<B>,
        stream: &Stream<B>,
        asked: &Masked,
    ) -> Result<Vec<B::Coming<f64>>, BertError> {
        acts.asked.clone_from(asked);
        let mut coming = Vec::new();
        for first in (0..asked.at.len()).step_by(BLOCK) {
            let n = self.block(acts, stream, first)?;
            coming.push(self.b.fetch(self.b.head(&acts.losses, n))?);
        }
        Ok(coming)
    }

    /// Logits of the block from row `first` of what is asked, their losses and the losses' gradient; how many rows it has.
    fn block(
        &self,
        acts: &mut MaskedActs<B>,
        stream: &Stream<B>,
        first: usize,
    ) -> Result<usize, BertError> {
        let b = self.b;
        let (h, v) = (self.config.hidden, self.config.vocabulary);
        let rows = first..(first + BLOCK).min(acts.asked.at.len());
        // A batch that masks nothing has a row that weighs nothing: its gradients are zeros, and written.
        let (at, words, weights) = match acts.asked.at.is_empty() {
            true => (&[0][..], &[0][..], &[0.0][..]),
            false => (
                &acts.asked.at[rows.clone()],
                &acts.asked.words[rows.clone()],
                &acts.asked.weights[rows],
            ),
        };
        let n = at.len();
        b.upload(b.head_mut(&mut acts.at, n), at)?;
        b.upload(b.head_mut(&mut acts.words, n), words)?;
        let weights: Vec<_> = weights
            .iter()
            .map(|&w| B::Master::from_f64(w.into()))
            .collect();
        b.upload(b.head_mut(&mut acts.weights, n), &weights)?;
        let index = b.head(&acts.at, n);
        b.gather_rows(b.view(&stream.x), index, h, b.head_mut(&mut acts.x, n * h));
        let dense = self.transform.dense;
        b.linear_activation(
            self.params,
            dense.weight(),
            self.bias(dense.bias),
            self.config.activation,
            b.head(&acts.x, n * h),
            b.head_mut(&mut acts.pre, n * h),
            b.head_mut(&mut acts.sum, n * h),
        );
        b.add_norm(
            self.norm(),
            None,
            None,
            b.head_mut(&mut acts.sum, n * h),
            b.head_mut(&mut acts.stats, 2 * n),
            b.head_mut(&mut acts.y, n * h),
        );
        let words = self.layout.classifier;
        b.head_linear(
            self.params,
            words.weight(),
            self.bias(words.bias),
            b.head(&acts.y, n * h),
            b.head_mut(&mut acts.logits, n * v),
        );
        b.class_loss(
            b.head(&acts.logits, n * v),
            b.head(&acts.words, n),
            b.head(&acts.weights, n),
            b.head_mut(&mut acts.losses, n),
            b.head_mut(&mut acts.dlogits, n * v),
        );
        Ok(n)
    }

    /// From the losses of [`MaskedPass::losses`] to the head's gradients and, where `want_input`, the gradient of the
    /// encoder's output, `[T, H]`, in `slopes.d`. `stream.x` holds that output.
    pub fn backward(
        &self,
        acts: &mut MaskedActs<B>,
        stream: &Stream<B>,
        slopes: &mut Slopes<B>,
        tokens: usize,
        grads: &mut Grads<B>,
        acc: Acc,
        want_input: bool,
    ) -> Result<(), BertError> {
        let (b, h) = (self.b, self.config.hidden);
        if want_input {
            b.fill(B::Act::default(), b.head_mut(&mut slopes.d, tokens * h));
        }
        let mut acc = acc;
        for first in (0..acts.asked.at.len().max(1)).step_by(BLOCK) {
            let n = self.block(acts, stream, first)?;
            self.block_backward(acts, slopes, n, grads, acc, want_input);
            acc = Acc::Add;
        }
        Ok(())
    }

    /// Backward through the block of `n` rows that is in `acts`.
    fn block_backward(
        &self,
        acts: &mut MaskedActs<B>,
        slopes: &mut Slopes<B>,
        n: usize,
        grads: &mut Grads<B>,
        acc: Acc,
        want_input: bool,
    ) {
        let (b, h, v) = (self.b, self.config.hidden, self.config.vocabulary);
        let Some([dy, d]) = &mut acts.slopes else {
            return;
        };
        let words = self.layout.classifier;
        let dlogits = b.head(&acts.dlogits, n * v);
        let y = b.head(&acts.y, n * h);
        let one = WeightRef::one;
        // The matrix ends the arena and its bias does not: one after the other.
        let dw = grads.slot(b, self.layout, one(words.weight));
        let out = Some(b.head_mut(dy, n * h));
        b.head_linear_backward(self.params, words.weight(), dlogits, y, acc, out, dw, None);
        if let Some(db) = grads.slot(b, self.layout, one(words.bias)) {
            let (weight, db) = (words.weight(), Some(db));
            b.head_linear_backward(self.params, weight, dlogits, y, acc, None, None, db);
        }
        let sums = grads.norm(b, self.layout, acc, self.transform.norm, None);
        b.add_norm_backward(
            self.norm(),
            b.head(dy, n * h),
            b.head(&acts.sum, n * h),
            b.head(&acts.stats, 2 * n),
            b.head_mut(d, n * h),
            None,
            sums,
        );
        let pre = b.head(&acts.pre, n * h);
        b.activation_backward(self.config.activation, h, pre, b.head_mut(d, n * h));
        let dense = self.transform.dense;
        let (d, x) = (b.head(d, n * h), b.head(&acts.x, n * h));
        if let Some((dw, squared)) = grads.matrices(b, self.layout, dense.weight()) {
            b.linear_wgrad(d, x, n, acc, dw, squared);
        }
        if let Some(db) = grads.slot(b, self.layout, one(dense.bias)) {
            b.bias_grad(d, n, acc, db);
        }
        if want_input {
            let dx = b.head_mut(dy, n * h);
            b.linear_dgrad(self.params, dense.weight(), d, Acc::Set, dx);
            let (dx, at) = (b.head(dy, n * h), b.head(&acts.at, n));
            b.scatter_add_rows(dx, at, h, b.all_mut(&mut slopes.d));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Limits, Model, Pass, Task};
    use hone_kernels::Reference;
    use hone_tensor::{Param, Ragged};
    use std::sync::Arc;

    type R = Reference<f64>;

    const WORDS: u32 = 40;

    fn model() -> Model<R> {
        let mut config = Config::with_shape(8, 2, 2, 12, WORDS as usize);
        config.initializer_range = 0.3;
        let backend = Arc::new(R::default());
        let (model, _) = Model::random(backend, config, Task::Mask, Vec::new(), 3).unwrap();
        model
    }

    /// Some texts of 25 tokens, the first `n` of which are asked for.
    fn batch(texts: usize, n: usize) -> (Ragged, Masked) {
        let mut batch = Ragged::new();
        for text in 0..texts as u32 {
            let ids: Vec<u32> = (0..25).map(|t| (7 * text + 3 * t) % WORDS).collect();
            batch.push(text.into(), &ids, &[0; 25]);
        }
        let rows = 0..n as u32;
        let asked = Masked {
            at: rows.clone().collect(),
            words: rows.clone().map(|r| (5 * r + 1) % WORDS).collect(),
            weights: rows.map(|r| 0.25 + (r % 3) as f32).collect(),
        };
        (batch, asked)
    }

    /// Losses and, by row of the table, the gradients of the parts of what is asked, one after the other.
    fn run(
        model: &Model<R>,
        batch: &Ragged,
        parts: &[Masked],
        trains: impl Fn(&Param) -> bool,
    ) -> (Vec<f64>, Vec<Option<Vec<f64>>>) {
        let b = model.backend().as_ref();
        let layout = model.layout().grad_layout(trains);
        let mut acts = model.plan_train(Limits::of(batch), &layout).unwrap();
        let mut grads = Grads::new(b, model.layout(), layout).unwrap();
        let (mut losses, mut acc) = (Vec::new(), Acc::Set);
        for asked in parts {
            model.forward(&mut acts, batch, &Pass::eval()).unwrap();
            losses.extend(model.masked_losses(&mut acts, asked).unwrap());
            model.backward(&mut acts, &mut grads, acc).unwrap();
            acc = Acc::Add;
        }
        let params = model.layout().table.params().iter().enumerate();
        let of = |(index, param): (usize, &Param)| {
            let mut host = vec![0.0; param.len()];
            let view = grads.param(b, model.layout(), index)?;
            b.download(view, &mut host).unwrap();
            Some(host)
        };
        let gradients: Vec<_> = params.map(of).collect();
        // Their norm is that of every word's row, also of those that no text holds.
        let squares = gradients.iter().flatten().flatten().map(|x| x * x);
        let (norm, mut coefficient) = (squares.sum::<f64>().sqrt(), b.alloc(2).unwrap());
        let found = grads.norms(b, model.layout(), |_| true, None, &mut coefficient);
        assert!((found.unwrap().total - norm).abs() <= 1e-12 * norm);
        (losses, gradients)
    }

    fn close(a: &[f64], b: &[f64]) -> bool {
        let far = |(a, b): (&f64, &f64)| (a - b).abs() > 1e-12 * (1.0 + a.abs());
        a.len() == b.len() && !a.iter().zip(b).any(far)
    }

    /// More rows than a block has are the sum of their parts, in losses and in every gradient.
    #[test]
    fn blocks_change_nothing() {
        let model = model();
        let (batch, asked) = batch(24, BLOCK + 90);
        let cut = |from: usize, to: usize| Masked {
            at: asked.at[from..to].to_vec(),
            words: asked.words[from..to].to_vec(),
            weights: asked.weights[from..to].to_vec(),
        };
        let n = asked.at.len();
        let (whole, of_whole) = run(&model, &batch, std::slice::from_ref(&asked), |_| true);
        for at in [BLOCK, 100] {
            let parts = [cut(0, at), cut(at, n)];
            let (losses, gradients) = run(&model, &batch, &parts, |_| true);
            assert!(close(&losses, &whole), "{at}");
            for (index, (a, b)) in of_whole.iter().zip(&gradients).enumerate() {
                let name = &model.layout().table.params()[index].name;
                assert!(
                    close(a.as_ref().unwrap(), b.as_ref().unwrap()),
                    "{at} {name}"
                );
            }
        }
    }

    /// What is frozen has no gradient, and what is above it the same as ever.
    #[test]
    fn frozen_words_and_layers() {
        let model = model();
        let (batch, asked) = batch(3, 40);
        let asked = [asked];
        let (_, all) = run(&model, &batch, &asked, |_| true);
        for frozen in ["embeddings", "word_embeddings", "layer.0", "layer", "bert."] {
            let (_, some) = run(&model, &batch, &asked, |p| !p.name.contains(frozen));
            let params = model.layout().table.params();
            for ((param, some), all) in params.iter().zip(some).zip(&all) {
                match some {
                    // Below the lowest that trains nothing is asked for.
                    None => assert!(param.name.contains(frozen), "{frozen}: {}", param.name),
                    Some(some) => {
                        assert!(
                            close(&some, all.as_ref().unwrap()),
                            "{frozen}: {}",
                            param.name
                        );
                    }
                }
            }
        }
    }

    /// A batch that masks nothing writes gradients of zero over those of the step before.
    #[test]
    fn nothing_asked_is_no_gradient() {
        let model = model();
        let (batch, _) = batch(2, 0);
        let (losses, gradients) = run(&model, &batch, &[Masked::default()], |_| true);
        assert!(losses.is_empty());
        let zero = |g: &Option<Vec<f64>>| g.as_ref().unwrap().iter().all(|&x| x == 0.0);
        assert!(gradients.iter().all(zero));
    }

    #[test]
    fn what_no_batch_has_is_refused() {
        let asked = |at: &[u32], words: &[u32]| Masked {
            at: at.to_vec(),
            words: words.to_vec(),
            weights: vec![1.0; at.len()],
        };
        for (asked, says) in [
            (asked(&[0, 4], &[1]), "2 masked rows with 1 words"),
            (asked(&[4, 4], &[1, 1]), "must ascend"),
            (asked(&[5], &[1]), "masked row 5 of a batch of 5 tokens"),
            (
                asked(&[4], &[9]),
                "masked word 9, where the vocabulary has 9",
            ),
        ] {
            let said = asked.check(5, 9).unwrap_err().to_string();
            assert!(said.contains(says), "{said}");
        }
    }
}
