//! What a model's passes need: buffers planned once from the longest batch, and the prefix that trains nothing.

use crate::acts::{HeadActs, LayerActs, Purpose, RowSet, Slopes, Stream, acts_bytes};
use crate::embeddings::EmbeddingActs;
use crate::masked::{BLOCK, MaskedActs};
use crate::{BertError, DeviceBatch, Limits, Model, Pass, Task};
use hone_kernels::{Backend, Contrast, Workspace};
use hone_tensor::{Depth, GradLayout};

/// Buffers of forward and backward passes for batches up to planned limits.
pub struct Acts<B: Backend> {
    pub(crate) batch: DeviceBatch<B>,
    pub(crate) stream: Stream<B>,
    pub(crate) embeddings: EmbeddingActs<B>,
    pub(crate) layers: Vec<LayerActs<B>>,
    /// Which of `layers` an encoder layer writes to.
    pub(crate) slots: Vec<usize>,
    /// The lowest layer that keeps what its backward pass needs.
    pub(crate) saved_from: usize,
    /// Layers of a prefix whose output this pass read instead of making it.
    pub(crate) read: Option<usize>,
    /// Layers that have exchanged their buffers with the stream's, in order.
    pub(crate) encoded: Vec<usize>,
    pub(crate) head: HeadActs<B>,
    /// The head's instead, where it says masked words.
    pub(crate) masked: Option<MaskedActs<B>>,
    pub(crate) slopes: Option<Slopes<B>>,
    /// Output of the frozen prefix, `[T, H]`, where [`Model::keep_prefix`] made room for it.
    pub(crate) prefix: Option<B::Buf<B::Act>>,
    pub(crate) last: RowSet,
    pub(crate) pass: Pass,
    pub(crate) stage: Stage,
}

hone_tensor::brief_debug! {
    [B: Backend] Acts<B>, |a|
    batch: a.batch, layers: a.layers.len(), saved_from: a.saved_from, pass: a.pass
}

/// How far the pass in the buffers has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There are no logits.
    Empty,
    /// There are logits.
    Forward,
    /// There is the gradient of their loss.
    Loss,
    /// There are logits, and what led to them is overwritten.
    Spent,
}

/// The lowest part a backward pass must reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bottom {
    Embeddings,
    Layer(usize),
    Head,
}

impl<B: Backend> Acts<B> {
    /// Refuses to read logits that are not there.
    pub(crate) fn has_logits(&self) -> Result<(), BertError> {
        match self.stage {
            Stage::Empty => Err(BertError::Order("there are no logits yet")),
            Stage::Forward | Stage::Loss | Stage::Spent => Ok(()),
        }
    }

    /// Takes back the exchanges of the pass before: like batches then find every buffer where it was.
    pub(crate) fn rewind(&mut self) {
        while let Some(l) = self.encoded.pop() {
            let stream = &mut self.stream;
            std::mem::swap(&mut stream.x, &mut stream.y);
            if let Some(kept) = &mut self.layers[self.slots[l]].kept {
                std::mem::swap(&mut stream.x, &mut kept.x);
            }
        }
    }
}

impl<B: Backend> Model<B> {
    fn reserve(&self, limits: Limits) -> Result<(), BertError> {
        self.backend().reserve(&Workspace {
            tokens: limits.tokens,
            sequences: limits.sequences,
            longest: limits.longest,
            hidden: self.config.hidden,
            intermediate: self.config.intermediate,
            heads: self.config.heads,
            classes: self.classes(),
            answered: match self.task {
                Task::Mask => BLOCK,
                _ => self.answered_rows(limits),
            },
        })?;
        Ok(())
    }

    pub(crate) fn bottom(&self, trains: impl Fn(usize) -> bool) -> Bottom {
        let rows = self.layout().table.params().iter().enumerate();
        rows.filter(|(i, _)| trains(*i))
            .map(|(_, p)| match p.depth {
                Depth::Embeddings => Bottom::Embeddings,
                Depth::Layer(l) => Bottom::Layer(l),
                Depth::Pooler | Depth::Head => Bottom::Head,
            })
            .min()
            .unwrap_or(Bottom::Head)
    }

    /// Buffers for training batches up to `limits` with gradients as laid out.
    pub fn plan_train(&self, limits: Limits, layout: &GradLayout) -> Result<Acts<B>, BertError> {
        let saved_from = self.frozen_prefix(layout).unwrap_or(0);
        let first = self.layout().first_of_layer(saved_from);
        self.backend().ready_backward(self.params(), first)?;
        self.plan(limits, saved_from, Some(()), self.last_rows())
    }

    /// Buffers for evaluating batches up to `limits`: one layer's worth.
    pub fn plan_eval(&self, limits: Limits) -> Result<Acts<B>, BertError> {
        self.plan(limits, self.config.layers, None, self.last_rows())
    }

    pub(crate) fn plan(
        &self,
        limits: Limits,
        saved_from: usize,
        slopes: Option<()>,
        last: RowSet,
    ) -> Result<Acts<B>, BertError> {
        let b = self.backend().as_ref();
        let c = &self.config;
        self.reserve(limits)?;
        let mut layers = Vec::new();
        let mut slots = Vec::new();
        let mut shared = None;
        for l in 0..c.layers {
            let rows = if l + 1 == c.layers { last } else { RowSet::All };
            let slot = if l >= saved_from && slopes.is_some() {
                layers.push(LayerActs::kept(b, c, limits, rows)?);
                layers.len() - 1
            } else if l >= saved_from || rows == RowSet::First {
                layers.push(LayerActs::new(b, c, limits, rows)?);
                layers.len() - 1
            } else {
                match shared {
                    Some(slot) => slot,
                    None => {
                        layers.push(LayerActs::new(b, c, limits, rows)?);
                        *shared.insert(layers.len() - 1)
                    }
                }
            };
            slots.push(slot);
        }
        Ok(Acts {
            batch: DeviceBatch::new(b, limits)?,
            stream: Stream::new(b, c, limits)?,
            embeddings: EmbeddingActs {
                sum: b.alloc(limits.tokens * c.hidden)?,
                stats: b.alloc(limits.tokens * 2)?,
            },
            head: {
                let rows = match self.task {
                    Task::Mask => 0,
                    _ => self.head_rows().count(limits),
                };
                HeadActs::new(b, c.hidden, rows, self.classes())?
            },
            masked: match self.task {
                Task::Mask => Some(MaskedActs::new(b, c, slopes.is_some())?),
                _ => None,
            },
            slopes: slopes.map(|()| Slopes::new(b, c, limits)).transpose()?,
            layers,
            slots,
            saved_from,
            read: None,
            encoded: Vec::with_capacity(c.layers),
            prefix: None,
            last,
            pass: Pass::eval(),
            stage: Stage::Empty,
        })
    }

    /// Bytes of activations that [`Model::plan_train`] takes.
    pub fn train_bytes(&self, limits: Limits, layout: &GradLayout) -> usize {
        let saved_from = self.frozen_prefix(layout).unwrap_or(0);
        self.acts_bytes(limits, Purpose::Train { saved_from })
    }

    /// Bytes that [`Model::plan_eval`] takes.
    pub fn eval_bytes(&self, limits: Limits) -> usize {
        self.acts_bytes(limits, Purpose::Eval)
    }

    fn acts_bytes(&self, limits: Limits, purpose: Purpose) -> usize {
        let rows = (self.last_rows(), self.head_rows());
        if self.task == Task::Mask {
            let trains = purpose != Purpose::Eval;
            let head = MaskedActs::<B>::bytes(&self.config, trains);
            return head + acts_bytes::<B>(&self.config, limits, purpose, rows, None);
        }
        let classes = Some(self.classes());
        acts_bytes::<B>(&self.config, limits, purpose, rows, classes)
    }

    /// Encoder layers of the frozen prefix: those below everything that `layout` trains, on top of frozen
    /// embeddings. `None` where the embeddings train.
    pub fn frozen_prefix(&self, layout: &GradLayout) -> Option<usize> {
        match self.bottom(|i| layout.trains(i)) {
            Bottom::Embeddings => None,
            Bottom::Layer(l) => Some(l),
            Bottom::Head => Some(self.config.layers),
        }
    }

    /// Which rows of a batch the output of a prefix of so many layers has.
    pub fn prefix_rows(&self, layers: usize) -> RowSet {
        if layers == self.config.layers {
            self.last_rows()
        } else {
            RowSet::All
        }
    }

    /// Makes room in `acts`, planned for training, for a contrast of the rows that the head reads: needed before
    /// [`Model::queue_loss`] with one.
    pub fn keep_contrast(&self, acts: &mut Acts<B>, limits: Limits) -> Result<(), BertError> {
        let rows = self.head_rows().count(limits);
        Ok(acts.head.keep_contrast(self.backend().as_ref(), rows)?)
    }

    /// Bytes that [`Model::keep_contrast`] takes.
    pub fn contrast_bytes(&self, limits: Limits) -> usize {
        let rows = self.head_rows().count(limits);
        Contrast::kept(rows) * size_of::<B::Master>() + rows * size_of::<f64>()
    }

    /// Makes room in `acts` for the output of a frozen prefix: needed before [`Model::forward_saved`].
    pub fn keep_prefix(&self, acts: &mut Acts<B>, limits: Limits) -> Result<(), BertError> {
        acts.prefix = Some(self.backend().alloc(limits.tokens * self.config.hidden)?);
        Ok(())
    }
}
