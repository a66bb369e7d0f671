//! One optimiser step, from examples to changed weights; `store` is what of it a checkpoint keeps.

use crate::anchor::Anchor;
use crate::average::Averaging;
use crate::batches::BatchPlan;
use crate::prefix::PrefixCache;
use crate::{Average, Examples, Options, TargetRule, TrainError, fits_task};
use hone_bert::{Acts, Grads, Limits, LossKind, Mode, Model, Pass, Rates, Task};
use hone_kernels::{Acc, AdamwStep, Backend};
use hone_optim::{GroupPolicy, Groups, Multipliers, Optimizer, Schedule, Unfreeze};
use hone_tensor::{Depth, GradLayout};
use std::collections::HashMap;

mod store;

/// When rows of the word table that a step's texts do not hold take the step. Changes no bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WordUpdates {
    /// When they are next read.
    Deferred,
    /// At once.
    Dense,
}

/// Everything a step needs besides the model.
pub struct Engine<B: Backend> {
    acts: Acts<B>,
    grads: Grads<B>,
    optimizer: Optimizer<B>,
    groups: Groups,
    unfreeze: Unfreeze,
    prefix: Option<PrefixCache<B::Act>>,
    anchor: Option<Anchor<B>>,
    average: Option<Averaging<B>>,
    coefficient: B::Buf<f64>,
    limits: Limits,
    rates: Rates,
    loss: LossKind,
    draws: Draws,
    /// What batches are filled to. Those that hold every text twice are not (rows are paired), nor those of which the
    /// frozen layers' outputs are kept.
    shape: Option<fn(usize) -> usize>,
    clip: Option<f64>,
    schedule: Schedule,
    warmup: usize,
    steps: usize,
    per_epoch: usize,
    seed: u64,
}

hone_tensor::brief_debug! {
    [B: Backend] Engine<B>, |e|
    limits: e.limits, loss: e.loss, optimizer: e.optimizer, schedule: e.schedule, warmup: e.warmup, steps: e.steps
}

/// How often a step reads each text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draws {
    /// Once.
    One,
    /// Twice, with dropout masks of their own (R-Drop).
    Two,
}

impl Draws {
    /// What a run's options ask for.
    pub fn of(options: &Options) -> Draws {
        match options.r_drop > 0.0 {
            true => Draws::Two,
            false => Draws::One,
        }
    }

    /// How many.
    pub fn count(self) -> usize {
        match self {
            Draws::One => 1,
            Draws::Two => 2,
        }
    }
}

/// What of a step's micro-batches is still on its way to the host.
pub struct Queued<B: Backend> {
    losses: Vec<B::Coming<f64>>,
    /// What a loss of 1 is in the units of the targets.
    unit: f64,
    /// Whether the second half of each micro-batch's losses is its contrast's.
    contrast: bool,
    /// The step's tokens.
    pub tokens: usize,
}

hone_tensor::brief_debug! { [B: Backend] Queued<B>, |q| micro_batches: q.losses.len(), tokens: q.tokens }

impl<B: Backend> Queued<B> {
    /// Waits for the losses.
    pub fn read(self, b: &B) -> Result<StepDone, TrainError> {
        let (mut loss, mut contrast) = (0.0, 0.0);
        for micro in self.losses {
            let losses = b.arrived(micro)?;
            let rows = match self.contrast {
                true => losses.len() / 2,
                false => losses.len(),
            };
            loss += losses[..rows].iter().sum::<f64>();
            contrast += losses[rows..].iter().sum::<f64>();
        }
        Ok(StepDone {
            loss: self.unit * loss,
            contrast: self.contrast.then_some(contrast),
            tokens: self.tokens,
        })
    }
}

/// What the micro-batches of a step gave.
#[derive(Debug, Clone, Copy)]
pub struct StepDone {
    /// Mean loss over the step's rows.
    pub loss: f64,
    /// Beside it that of the contrast, where there is one.
    pub contrast: Option<f64>,
    /// Its tokens.
    pub tokens: usize,
}

/// Learning rates of a step.
#[derive(Debug, Clone, Copy)]
pub struct StepRates {
    /// Of the top encoder layer.
    pub body: f64,
    /// Of the head.
    pub head: f64,
}

impl<B: Backend> Engine<B> {
    /// Plans buffers, gradients and optimiser state for a run; `pretrained` says of each row of the table whether
    /// its weights were loaded, `frozen` keeps the outputs of frozen lower layers.
    pub fn new(
        model: &Model<B>,
        options: &Options,
        train: &Examples,
        pretrained: &[bool],
        limits: Limits,
        steps: usize,
        frozen: Option<PrefixCache<B::Act>>,
        words: WordUpdates,
    ) -> Result<Self, TrainError> {
        let table = &model.layout().table;
        let policy = GroupPolicy {
            lr: options.lr,
            head_lr: options.head_lr,
            layer_decay: options.layer_decay,
            weight_decay: options.weight_decay,
            layers: model.config().layers,
        };
        let unfreeze = Unfreeze::parse(&options.freeze, &options.unfreeze, table)?;
        let trains = |row: usize| unfreeze.ever_trains(row);
        let anchor = Anchor::new(model, options, pretrained, trains)?;
        let per_epoch = options.steps_per_epoch(train.len());
        let wakes = |row: usize| unfreeze.wakes_at(row, per_epoch).filter(|&at| at < steps);
        let groups = policy.groups(table, |row| wakes(row).is_some());
        let groups = match options.l2_sp.is_none() {
            false => {
                let by = multipliers(options, wakes, table.params().len(), steps);
                groups.with_start_decay(
                    options.l2_sp,
                    |row| by[row],
                    table,
                    |row| pretrained[row],
                )?
            }
            true => groups,
        };
        let layout = model.layout().grad_layout(|p| {
            table
                .index(&p.name)
                .is_some_and(|i| unfreeze.ever_trains(i))
        });
        let b = model.backend().as_ref();
        let draws = Draws::of(options);
        let loss = loss_of(options, model.task())?;
        if draws == Draws::Two && frozen.is_some() {
            return Err(TrainError::Option(
                "--r-drop reads every text twice, which --cache-frozen does not keep: give one of them up"
                    .to_owned(),
            ));
        }
        let shape = b
            .shapes()
            .filter(|_| draws == Draws::One && frozen.is_none());
        let limits = shape.map_or(limits, |shape| limits.shaped(shape));
        let mut acts = model.plan_train(limits, &layout)?;
        if options.drawn_together().is_some() {
            model.keep_contrast(&mut acts, limits)?;
        }
        let prefix = match (frozen, model.frozen_prefix(&layout)) {
            (None, _) => None,
            (Some(mut cache), Some(layers)) => {
                model.keep_prefix(&mut acts, limits)?;
                cache.begin(model, layers)?;
                Some(cache)
            }
            (Some(_), None) => {
                return Err(TrainError::Option(
                    "--cache-frozen: the embeddings are trained, so no layer's output stays the same; \
                     freeze them and the layers above with --freeze"
                        .to_owned(),
                ));
            }
        };
        let mut optimizer = Optimizer::new(
            b,
            layout.clone(),
            AdamwStep {
                beta1: options.beta1,
                beta2: options.beta2,
                eps: options.eps,
            },
        )?;
        let (word, words_len) = model.layout().words();
        // An average and a decay towards the start read every word at every step.
        // So does a head that says masked words.
        let all_words = options.average != Average::None
            || !options.l2_sp.is_none()
            || model.task() == Task::Mask;
        if words == WordUpdates::Deferred && layout.trains(word) && !all_words {
            optimizer.sit_out(b, word, words_len)?;
        }
        Ok(Engine {
            acts,
            grads: Grads::new(b, model.layout(), layout)?,
            optimizer,
            groups,
            unfreeze,
            prefix,
            anchor,
            average: Averaging::new(model, options.average, steps)?,
            coefficient: b.alloc(2)?,
            limits,
            rates: Rates {
                hidden: options.dropout,
                attention: options.attention_dropout,
                head: options.head_dropout,
            },
            loss,
            draws,
            shape,
            clip: options.clip,
            schedule: options.schedule,
            warmup: options.warmup.steps(steps),
            steps,
            per_epoch,
            seed: options.seed,
        })
    }

    /// The largest micro-batch planned for.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The outputs of frozen layers, where they are kept.
    pub(crate) fn prefix(&self) -> Option<&PrefixCache<B::Act>> {
        self.prefix.as_ref()
    }

    /// The outputs of frozen layers, for a run after this one.
    pub fn into_prefix(self) -> Option<PrefixCache<B::Act>> {
        self.prefix
    }

    /// The groups of parameters, a line each.
    pub fn groups(&self) -> Vec<String> {
        self.groups.lines()
    }

    /// What gradual unfreezing would wake only after the run's last step, in a line.
    pub fn asleep(&self, model: &Model<B>) -> Option<String> {
        let table = &model.layout().table;
        self.unfreeze.asleep(table, self.steps, self.per_epoch)
    }

    /// Mixout that mixes nothing, in a line.
    pub fn unmixed(&self) -> Option<String> {
        let nothing = self.anchor.as_ref().is_some_and(Anchor::mixes_nothing);
        nothing.then(|| {
            "--mixout: no pre-trained matrix trains in this run, so nothing is mixed; leave it out".to_owned()
        })
    }

    /// Upper layers that are drawn anew and never train, in a line.
    pub fn drawn_and_frozen(&self, model: &Model<B>, reinit_top: usize) -> Option<String> {
        let table = &model.layout().table;
        let layers = model.config().layers;
        let stays = |layer: usize| {
            let depth = Depth::Layer(layer);
            let mut own =
                (0..table.params().len()).filter(|&row| table.params()[row].depth == depth);
            own.all(|row| !self.unfreeze.ever_trains(row))
        };
        let still = (layers - reinit_top.min(layers)..layers)
            .filter(|&layer| stays(layer))
            .count();
        (still > 0).then(|| {
            format!(
                "--reinit-top {reinit_top}: {still} of these layers are drawn anew and then never train (--freeze); what they \
                 say stays random"
            )
        })
    }

    /// Whether the batch's texts are held against each other.
    fn contrasts(&self) -> bool {
        match self.loss {
            LossKind::Softmax { contrast, .. } => contrast.is_some(),
            LossKind::Sigmoid | LossKind::Squared => false,
        }
    }

    /// Bytes by use.
    pub fn memory(&self, model: &Model<B>) -> Vec<(String, u64)> {
        let limits = self.limits;
        let master = size_of::<B::Master>();
        let layout: &GradLayout = self.grads.layout();
        let parameters = model.layout().table.len() * master;
        let mut rows = vec![
            ("parameters".to_owned(), parameters as u64),
            ("gradients".to_owned(), (layout.len * master) as u64),
            ("optimiser".to_owned(), (2 * layout.len * master) as u64),
            (
                "activations".to_owned(),
                model.train_bytes(limits, layout) as u64,
            ),
        ];
        if self.contrasts() {
            let bytes = model.contrast_bytes(limits);
            rows.push(("contrast".to_owned(), bytes as u64));
        }
        if let Some(prefix) = &self.prefix {
            let room = limits.tokens * model.config().hidden * size_of::<B::Act>();
            rows.push((
                "outputs of frozen layers".to_owned(),
                prefix.bytes() + room as u64,
            ));
        }
        if let Some(anchor) = &self.anchor {
            rows.push((
                "weights as they began".to_owned(),
                anchor.bytes(model) as u64,
            ));
        }
        if self.average.is_some() {
            rows.push(("averaged weights".to_owned(), parameters as u64));
        }
        rows.extend(
            model
                .backend()
                .memory(model.params())
                .into_iter()
                .map(|(what, bytes)| (what.to_owned(), bytes as u64)),
        );
        rows
    }

    fn awake(&self, row: usize, step: usize) -> bool {
        self.unfreeze.awake(row, step, self.per_epoch)
    }

    fn pass(&self, model: &Model<B>, step: usize) -> Pass {
        let table = &model.layout().table;
        let mut pass = Pass {
            mode: Mode::Train {
                seed: self.seed,
                step: step as u32,
                draw: 0,
            },
            rates: self.rates,
            embeddings: false,
            layers: vec![false; model.config().layers],
        };
        for (row, param) in table.params().iter().enumerate() {
            if !self.awake(row, step) {
                continue;
            }
            match param.depth {
                Depth::Embeddings => pass.embeddings = true,
                Depth::Layer(l) => pass.layers[l] = true,
                Depth::Pooler | Depth::Head => {}
            }
        }
        pass
    }

    /// Gradients of the mean loss over `index`, accumulated over its micro-batches. Changes no weight but for
    /// steps that words sat out, and waits for nothing.
    pub fn gradients(
        &mut self,
        model: &mut Model<B>,
        train: &Examples,
        plan: &BatchPlan,
        rule: &TargetRule,
        index: &[u32],
        step: usize,
    ) -> Result<Queued<B>, TrainError> {
        let pass = self.pass(model, step);
        let b = model.backend().clone();
        let ids = train.distinct_ids(index);
        self.optimizer.ready(b.as_ref(), model.params_mut(), &ids)?;
        let total = rule.total(train, index).max(f64::MIN_POSITIVE);
        let mut queued = Queued {
            losses: Vec::new(),
            unit: model.loss_unit(),
            contrast: self.contrasts(),
            tokens: 0,
        };
        if let Some(anchor) = &mut self.anchor {
            anchor.mix(model, step)?;
        }
        let total = total * self.draws.count() as f64;
        let mut acc = Acc::Set;
        for micro in plan.micro_batches(train, index) {
            if model.task() == Task::Mask {
                queued
                    .losses
                    .extend(self.say_masked(model, train, micro, &pass, total, acc)?);
                queued.tokens += train.tokens_of(micro);
                acc = Acc::Add;
                continue;
            }
            let (mut targets, mut weights) = rule.rows(train, micro, model.classes(), total);
            if self.draws == Draws::Two {
                targets.extend_from_within(..);
                weights.extend_from_within(..);
            }
            match (&mut self.prefix, self.draws) {
                (Some(prefix), _) => prefix.forward(model, &mut self.acts, train, micro, &pass)?,
                (None, Draws::One) => {
                    let mut batch = train.batch(micro);
                    if let Some(shape) = self.shape {
                        batch = batch.shaped(shape);
                        let rows = model.answered_rows(Limits::of(&batch));
                        targets.resize(rows * model.classes(), 0.0);
                        weights.resize(rows, 0.0);
                    }
                    model.forward(&mut self.acts, &batch, &pass)?;
                }
                (None, Draws::Two) => {
                    let batch = train.batch(micro).with_second_draw();
                    model.forward(&mut self.acts, &batch, &pass)?;
                }
            }
            let losses = model.queue_loss(&mut self.acts, self.loss, &targets, &weights)?;
            queued.losses.push(losses);
            model.backward(&mut self.acts, &mut self.grads, acc)?;
            queued.tokens += train.tokens_of(micro);
            acc = Acc::Add;
        }
        if let Some(anchor) = &mut self.anchor {
            anchor.unmix(model, &mut self.grads, step)?;
        }
        Ok(queued)
    }

    /// The same of a micro-batch whose masked words are to be said; `total` are those of the whole step.
    fn say_masked(
        &mut self,
        model: &Model<B>,
        train: &Examples,
        micro: &[u32],
        pass: &Pass,
        total: f64,
        acc: Acc,
    ) -> Result<Vec<B::Coming<f64>>, TrainError> {
        let mut batch = train.batch(micro);
        if let Some(shape) = self.shape {
            batch = batch.shaped(shape);
        }
        model.forward(&mut self.acts, &batch, pass)?;
        let asked = train.masked(micro, (1.0 / total) as f32);
        let losses = model.queue_masked_loss(&mut self.acts, &asked)?;
        model.backward(&mut self.acts, &mut self.grads, acc)?;
        Ok(losses)
    }

    /// Squared norms of the gradients, on their way, and the clip coefficient for [`Engine::update`].
    pub fn norms(&mut self, model: &Model<B>, step: usize) -> Result<B::Coming<f64>, TrainError> {
        let (unfreeze, per_epoch) = (&self.unfreeze, self.per_epoch);
        Ok(self.grads.queue_norms(
            model.backend().as_ref(),
            model.layout(),
            |row| unfreeze.awake(row, step, per_epoch),
            self.clip,
            &mut self.coefficient,
        )?)
    }

    /// Changes the weights by one AdamW step.
    pub fn update(&mut self, model: &mut Model<B>, step: usize) -> Result<StepRates, TrainError> {
        let factor = self.schedule.factor(step, self.warmup, self.steps);
        let b = model.backend().clone();
        let (unfreeze, per_epoch) = (&self.unfreeze, self.per_epoch);
        self.optimizer.step(
            b.as_ref(),
            model.params_mut(),
            &self.groups,
            factor,
            |row| unfreeze.awake(row, step, per_epoch),
            self.anchor.as_ref().map(|a| a.start(b.as_ref())),
            self.grads.view(b.as_ref()),
            b.view(&self.coefficient),
            self.grads.touched(),
        )?;
        if let Some(average) = &mut self.average {
            average.take(model, step + 1);
        }
        Ok(StepRates {
            body: self.groups.body_lr() * factor,
            head: self.groups.head_lr() * factor,
        })
    }

    /// Exchanges the running weights after step `step` and their average, where there is one: before and after
    /// somebody reads the weights that count.
    pub fn exchange(&mut self, model: &mut Model<B>, step: usize) {
        if let Some(average) = self.average.as_mut().filter(|a| a.begun(step)) {
            average.exchange(model);
        }
    }

    /// Words take the steps they sat out: before weights or moments are read as a whole.
    pub fn settle(&mut self, model: &mut Model<B>) -> Result<(), TrainError> {
        let b = model.backend().clone();
        Ok(self.optimizer.settle(b.as_ref(), model.params_mut())?)
    }

    /// Steps each tensor has taken, by name.
    pub fn taken(&self, model: &Model<B>) -> Vec<(String, u32)> {
        let rows = model.layout().table.params().iter();
        rows.zip(self.optimizer.taken())
            .map(|(p, &n)| (p.name.clone(), n))
            .collect()
    }
}

/// What the schedule multiplies each of `rows` tensors' rates by over the steps after it wakes.
fn multipliers(
    options: &Options,
    wakes: impl Fn(usize) -> Option<usize>,
    rows: usize,
    steps: usize,
) -> Vec<Multipliers> {
    let mut by_step = HashMap::new();
    let mut of = |from| {
        *by_step
            .entry(from)
            .or_insert_with(|| options.multipliers(from..steps, steps))
    };
    (0..rows)
        .map(|row| wakes(row).map_or(Multipliers::NONE, &mut of))
        .collect()
}

/// The loss of a task under a run's options; one that the task's loss has no place for is an error.
fn loss_of(options: &Options, task: Task) -> Result<LossKind, TrainError> {
    fits_task(options, task)?;
    let (focal, r_drop) = (options.focal_loss, options.r_drop);
    Ok(match LossKind::of(task) {
        LossKind::Softmax { .. } => LossKind::Softmax {
            focal,
            r_drop,
            contrast: options.drawn_together(),
        },
        other => other,
    })
}
