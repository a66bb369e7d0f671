//! What a model does with a batch: forward through embeddings, encoder and head, the loss, and below it backward.

use crate::acts::RowSet;
use crate::embeddings::EmbeddingPass;
use crate::grads::Grads;
use crate::head::HeadPass;
use crate::layer::LayerPass;
use crate::masked::MaskedPass;
use crate::plan::{Acts, Bottom, Stage};
use crate::{BertError, DeviceBatch, Masked, Model, Pass, Task};
use hone_kernels::{Acc, Backend, Contrast, Loss};
use hone_tensor::{Ragged, Real};
use std::ops::Range;

/// Which loss the head is trained with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LossKind {
    /// Softmax cross-entropy with focal exponent γ (0: plain), and α times the disagreement of the two draws of
    /// each row (R-Drop; 0: one draw). With a contrast what the head reads of the batch's texts is drawn together by
    /// class as well.
    Softmax {
        /// γ.
        focal: f64,
        /// α; the batch then holds every row twice ([`hone_tensor::Ragged::with_second_draw`]).
        r_drop: f64,
        /// None: the head's loss alone. Needs [`Model::keep_contrast`].
        contrast: Option<Contrast>,
    },
    /// Binary cross-entropy per label.
    Sigmoid,
    /// Squared error.
    Squared,
}

impl LossKind {
    /// The usual loss of a task.
    pub fn of(task: Task) -> LossKind {
        match task {
            Task::Classify | Task::Tag | Task::Mask => LossKind::Softmax {
                focal: 0.0,
                r_drop: 0.0,
                contrast: None,
            },
            Task::MultiLabel => LossKind::Sigmoid,
            Task::Regress => LossKind::Squared,
        }
    }
}

/// What a forward pass does with the output of the frozen prefix, `[T, H]` on the host (`[S, H]` of a prefix
/// that is the whole encoder under a pooled head).
#[derive(Debug)]
pub enum Saved<'a, T> {
    /// Makes it and writes it down.
    Write(&'a mut [T]),
    /// Reads it and begins above it.
    Read(&'a [T]),
}

impl<B: Backend> Model<B> {
    // ---- forward -------------------------------------------------------------------------------

    /// Logits of a batch, left in `acts`; `acts` remembers the pass for [`Model::backward`]. A model that says masked words
    /// makes its logits with their loss ([`Model::queue_masked_loss`]).
    pub fn forward(
        &self,
        acts: &mut Acts<B>,
        batch: &Ragged,
        pass: &Pass,
    ) -> Result<(), BertError> {
        self.begin_forward(acts, batch, pass)?;
        self.backend.repeats(|| {
            self.embed(acts);
            self.encode(acts, 0..self.config.layers);
            self.decide(acts);
        });
        Ok(())
    }

    /// As [`Model::forward`] with a frozen prefix of so many layers, whose output is written down, or read
    /// instead of made: the same bits, since no row of it depends on the other rows of a batch.
    pub fn forward_saved(
        &self,
        acts: &mut Acts<B>,
        batch: &Ragged,
        pass: &Pass,
        layers: usize,
        saved: Saved<'_, B::Act>,
    ) -> Result<(), BertError> {
        let b = self.backend.as_ref();
        self.begin_forward(acts, batch, pass)?;
        let n = self.prefix_rows(layers).count(acts.batch.size()) * self.config.hidden;
        let given = match &saved {
            Saved::Write(to) => to.len(),
            Saved::Read(from) => from.len(),
        };
        if given != n {
            let found = format!("{given} saved numbers, {n} were expected");
            return Err(BertError::Batch(found));
        }
        let unplanned = || BertError::Batch("no room was planned for a prefix".to_owned());
        match saved {
            Saved::Write(to) => {
                self.embed(acts);
                self.encode(acts, 0..layers);
                b.download(b.head(&acts.stream.x, n), to)?;
                let room = acts.prefix.as_mut().ok_or_else(unplanned)?;
                b.copy(b.head(&acts.stream.x, n), b.head_mut(room, n));
            }
            Saved::Read(from) => {
                acts.read = Some(layers);
                let room = acts.prefix.as_mut().ok_or_else(unplanned)?;
                b.upload(b.head_mut(room, n), from)?;
                b.copy(b.head(room, n), b.head_mut(&mut acts.stream.x, n));
            }
        }
        self.encode(acts, layers..self.config.layers);
        self.decide(acts);
        Ok(())
    }

    /// [`Model::begin`] of a pass that goes on to the head.
    fn begin_forward(
        &self,
        acts: &mut Acts<B>,
        batch: &Ragged,
        pass: &Pass,
    ) -> Result<(), BertError> {
        if acts.last != self.last_rows() {
            let found =
                "these buffers were planned for hidden states, which no head reads".to_owned();
            return Err(BertError::Batch(found));
        }
        self.begin(acts, batch, pass)
    }

    pub(crate) fn begin(
        &self,
        acts: &mut Acts<B>,
        batch: &Ragged,
        pass: &Pass,
    ) -> Result<(), BertError> {
        let b = self.backend.as_ref();
        acts.rewind();
        acts.stage = Stage::Empty;
        acts.read = None;
        acts.batch.load(b, &self.config, batch)?;
        acts.pass = pass.clone();
        Ok(())
    }

    /// The embeddings, into `stream.x`.
    pub(crate) fn embed(&self, acts: &mut Acts<B>) {
        self.embedding_pass(&acts.batch, &acts.pass)
            .forward(&mut acts.embeddings, &mut acts.stream);
    }

    /// Some layers, from `stream.x` to `stream.x`.
    pub(crate) fn encode(&self, acts: &mut Acts<B>, range: Range<usize>) {
        let Acts {
            batch,
            stream,
            layers,
            slots,
            encoded,
            last,
            pass,
            ..
        } = acts;
        for l in range {
            let layer = self.layer_pass(batch, pass, l, *last);
            let acts = &mut layers[slots[l]];
            layer.forward(acts, stream);
            if let Some(kept) = &mut acts.kept {
                std::mem::swap(&mut stream.x, &mut kept.x);
            }
            std::mem::swap(&mut stream.x, &mut stream.y);
            encoded.push(l);
        }
    }

    /// The head's logits from `stream.x`.
    fn decide(&self, acts: &mut Acts<B>) {
        if acts.masked.is_none() {
            self.head_pass(&acts.batch, &acts.pass)
                .forward(&mut acts.head, &acts.stream);
        }
        acts.stage = Stage::Forward;
    }

    /// Loss of the logits in `acts`, its gradient left there; `targets[R, C]` and `weights[R]` are the
    /// host's. Returns the weighted sum over rows, of values in the units of the targets.
    pub fn loss(
        &self,
        acts: &mut Acts<B>,
        kind: LossKind,
        targets: &[f32],
        weights: &[f32],
    ) -> Result<f64, BertError> {
        let coming = self.queue_loss(acts, kind, targets, weights)?;
        Ok(self.loss_unit() * self.backend.arrived(coming)?.iter().sum::<f64>())
    }

    /// What a loss of 1 in the head's units is in those of the targets; 1 but for values.
    pub fn loss_unit(&self) -> f64 {
        self.units.squared()
    }

    /// [`Model::loss`] without waiting: the losses of all rows, `[R]`, and behind them those of a contrast, `[R]`, on their
    /// way; the loss is their sum, times [`Model::loss_unit`].
    pub fn queue_loss(
        &self,
        acts: &mut Acts<B>,
        kind: LossKind,
        targets: &[f32],
        weights: &[f32],
    ) -> Result<B::Coming<f64>, BertError> {
        if !matches!(acts.stage, Stage::Forward | Stage::Loss) {
            return Err(BertError::Order(
                "a loss needs a pass that went forward and not back",
            ));
        }
        if acts.masked.is_some() {
            let found = "masked words have a loss of their own".to_owned();
            return Err(BertError::Batch(found));
        }
        let b = self.backend.as_ref();
        let (r, c) = (self.answered_rows(acts.batch.size()), self.classes());
        if targets.len() != r * c || weights.len() != r {
            return Err(BertError::Batch(format!(
                "{} targets and {} weights for {r} rows of {c} logits",
                targets.len(),
                weights.len()
            )));
        }
        if matches!(kind, LossKind::Softmax { r_drop, .. } if r_drop > 0.0) && r % 2 == 1 {
            return Err(BertError::Batch(format!(
                "{r} rows, where R-Drop needs every one twice"
            )));
        }
        let contrast = match kind {
            LossKind::Softmax { contrast, .. } => contrast,
            _ => None,
        };
        if contrast.is_some() && acts.head.kept.is_none() {
            let found = "these buffers were planned without a contrast".to_owned();
            return Err(BertError::Batch(found));
        }
        let targets = targets.iter().map(|&x| self.units.output(x.into()));
        let wanted = targets.chain(weights.iter().map(|&x| x.into()));
        let wanted: Vec<B::Master> = wanted.map(B::Master::from_f64).collect();
        let head = &mut acts.head;
        b.upload(b.head_mut(&mut head.wanted, wanted.len()), &wanted)?;
        let loss = Loss {
            logits: b.head(&head.logits, r * c),
            targets: b.head(&head.wanted, r * c),
            weights: b.slice(b.view(&head.wanted), r * c..r * (c + 1)),
            classes: c,
        };
        let losses = b.head_mut(&mut head.losses, r);
        let dlogits = b.head_mut(&mut head.dlogits, r * c);
        match kind {
            LossKind::Softmax { focal, r_drop, .. } => {
                b.softmax_loss(loss, focal, losses, dlogits);
                if r_drop > 0.0 {
                    let losses = b.head_mut(&mut head.losses, r);
                    let dlogits = b.head_mut(&mut head.dlogits, r * c);
                    b.symmetric_kl(loss, r_drop, losses, dlogits);
                }
            }
            LossKind::Sigmoid => b.sigmoid_loss(loss, losses, dlogits),
            LossKind::Squared => b.squared_loss(loss, losses, dlogits),
        }
        let head = &mut acts.head;
        head.contrast = contrast;
        if let (Some(contrast), Some(kept)) = (contrast, &mut head.kept) {
            b.contrast(
                contrast,
                b.head(&head.input, r * self.config.hidden),
                b.head(&head.wanted, r * c),
                b.slice(b.view(&head.wanted), r * c..r * (c + 1)),
                b.slice_mut(b.all_mut(&mut head.losses), r..2 * r),
                b.head_mut(kept, Contrast::kept(r)),
            );
        }
        acts.stage = Stage::Loss;
        let n = if contrast.is_some() { 2 * r } else { r };
        Ok(b.fetch(b.head(&acts.head.losses, n))?)
    }

    /// Losses of the words that are asked for, `[asked]` in blocks, each times its weight, on their way; what
    /// [`Model::backward`] needs is kept. For a model that says masked words.
    pub fn queue_masked_loss(
        &self,
        acts: &mut Acts<B>,
        asked: &Masked,
    ) -> Result<Vec<B::Coming<f64>>, BertError> {
        if !matches!(acts.stage, Stage::Forward | Stage::Loss) {
            return Err(BertError::Order(
                "a loss needs a pass that went forward and not back",
            ));
        }
        asked.check(acts.batch.size().tokens, self.config.vocabulary)?;
        let (Some(pass), Some(masked)) = (self.masked_pass(), acts.masked.as_mut()) else {
            let found = "this model's head does not say masked words".to_owned();
            return Err(BertError::Batch(found));
        };
        let losses = pass.losses(masked, &acts.stream, asked)?;
        acts.stage = Stage::Loss;
        Ok(losses)
    }

    /// [`Model::queue_masked_loss`], waited for.
    pub fn masked_losses(&self, acts: &mut Acts<B>, asked: &Masked) -> Result<Vec<f64>, BertError> {
        let mut losses = Vec::with_capacity(asked.at.len());
        for block in self.queue_masked_loss(acts, asked)? {
            losses.extend(self.backend.arrived(block)?);
        }
        Ok(losses)
    }

    /// The logits in `acts`, `[R, C]`: R is sequences, or tokens when tagging. Values are in their own units.
    pub fn logits(&self, acts: &Acts<B>) -> Result<Vec<f64>, BertError> {
        acts.has_logits()?;
        if acts.masked.is_some() {
            let found = "logits of a vocabulary are not kept, their losses are".to_owned();
            return Err(BertError::Batch(found));
        }
        let b = self.backend.as_ref();
        let n = self.answered_rows(acts.batch.size()) * self.classes();
        let mut logits = vec![B::Master::default(); n];
        b.download(b.head(&acts.head.logits, n), &mut logits)?;
        let values = logits.into_iter().map(|z| self.units.value(z.to_f64()));
        Ok(values.collect())
    }

    // ---- backward ------------------------------------------------------------------------------

    /// Gradients of the loss in `acts` into `grads`: set by a step's first micro-batch, added by later ones.
    /// Goes no lower than the lowest part with room in `grads`; lower than `acts` was planned for is an error, and so is a
    /// second time after one loss: the pass is overwritten on the way.
    pub fn backward(
        &self,
        acts: &mut Acts<B>,
        grads: &mut Grads<B>,
        acc: Acc,
    ) -> Result<(), BertError> {
        let bottom = self.bottom(|i| grads.layout().trains(i));
        let b = self.backend.as_ref();
        if acts.slopes.is_none() {
            let found = "these buffers were planned for evaluation".to_owned();
            return Err(BertError::Batch(found));
        }
        // Frozen layers share one slot, and a prefix that was read was never made: neither is there to go back through.
        let lowest = match bottom {
            Bottom::Embeddings => 0,
            Bottom::Layer(l) => l,
            Bottom::Head => self.config.layers,
        };
        let read = acts
            .read
            .filter(|&n| lowest < n || bottom == Bottom::Embeddings);
        if lowest < acts.saved_from || read.is_some() {
            let from = read.unwrap_or(0).max(acts.saved_from);
            return Err(BertError::Batch(format!(
                "gradients reach {}, and only layers from {from} on were kept for the backward pass",
                match bottom {
                    Bottom::Embeddings => "the embeddings".to_owned(),
                    _ => format!("layer {lowest}"),
                }
            )));
        }
        if acts.stage != Stage::Loss {
            return Err(BertError::Order(
                "a gradient needs a loss that was not gone back from",
            ));
        }
        acts.stage = Stage::Spent;
        if bottom == Bottom::Embeddings {
            grads.touch(b, &self.layout, acts.batch.distinct(), acc)?;
        }
        if let (Some(pass), Some(masked), Some(slopes)) =
            (self.masked_pass(), &mut acts.masked, &mut acts.slopes)
        {
            let (tokens, below) = (acts.batch.size().tokens, bottom < Bottom::Head);
            pass.backward(masked, &acts.stream, slopes, tokens, grads, acc, below)?;
        }
        b.repeats(|| self.descend(acts, grads, acc, bottom));
        Ok(())
    }

    /// The backward pass down to `bottom`.
    fn descend(&self, acts: &mut Acts<B>, grads: &mut Grads<B>, acc: Acc, bottom: Bottom) {
        let Acts {
            batch,
            stream,
            embeddings,
            layers,
            slots,
            head,
            masked,
            slopes: Some(slopes),
            prefix,
            last,
            pass,
            ..
        } = acts
        else {
            return;
        };
        let b = self.backend.as_ref();
        if masked.is_none() {
            let head_pass = self.head_pass(batch, pass);
            head_pass.backward(head, stream, slopes, grads, acc, bottom < Bottom::Head);
        }
        for l in (0..self.config.layers).rev() {
            if bottom > Bottom::Layer(l) {
                break;
            }
            let lowest = bottom == Bottom::Layer(l);
            if layers[slots[l]].kept.is_some() {
                // Its input is at hand.
            } else if let (true, Some(prefix)) = (lowest, &*prefix) {
                let n = batch.size().tokens * self.config.hidden;
                b.copy(b.head(prefix, n), b.head_mut(&mut stream.x, n));
            } else if l == 0 {
                self.embedding_pass(batch, pass).again(embeddings, stream);
            } else {
                self.layer_pass(batch, pass, l - 1, *last)
                    .again(&layers[slots[l - 1]], stream);
            }
            let layer = self.layer_pass(batch, pass, l, *last);
            layer.backward(&layers[slots[l]], stream, slopes, grads, acc, !lowest);
        }
        if bottom == Bottom::Embeddings {
            let pass = self.embedding_pass(batch, pass);
            pass.backward(embeddings, slopes, grads, acc);
        }
    }

    // ---- parts ---------------------------------------------------------------------------------

    pub(crate) fn embedding_pass<'a>(
        &'a self,
        batch: &'a DeviceBatch<B>,
        pass: &'a Pass,
    ) -> EmbeddingPass<'a, B> {
        EmbeddingPass {
            b: self.backend.as_ref(),
            config: &self.config,
            layout: &self.layout,
            params: &self.params,
            batch,
            pass,
        }
    }

    pub(crate) fn layer_pass<'a>(
        &'a self,
        batch: &'a DeviceBatch<B>,
        pass: &Pass,
        l: usize,
        last: RowSet,
    ) -> LayerPass<'a, B> {
        LayerPass {
            b: self.backend.as_ref(),
            config: &self.config,
            layout: &self.layout,
            params: &self.params,
            batch,
            layer: &self.layout.layers[l],
            drops: pass.layer_drops(l),
            rows: if l + 1 == self.config.layers {
                last
            } else {
                RowSet::All
            },
        }
    }

    /// None of a model whose head answers labels.
    fn masked_pass(&self) -> Option<MaskedPass<'_, B>> {
        Some(MaskedPass {
            b: self.backend.as_ref(),
            config: &self.config,
            layout: &self.layout,
            params: &self.params,
            transform: self.layout.transform?,
        })
    }

    fn head_pass<'a>(&'a self, batch: &'a DeviceBatch<B>, pass: &'a Pass) -> HeadPass<'a, B> {
        HeadPass {
            b: self.backend.as_ref(),
            config: &self.config,
            layout: &self.layout,
            params: &self.params,
            batch,
            pass,
            rows: self.head_rows(),
            task: self.task,
        }
    }
}
