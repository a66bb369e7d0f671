//! The training loop: steps, evaluations, selection, early stopping, checkpoints.

use crate::batches::{BatchPlan, Order};
use crate::checkpoint::{Best, Checkpoints, Identity};
use crate::engine::{Draws, Engine, Queued, StepDone, StepRates, WordUpdates};
use crate::error::some_rows;
use crate::events::{Event, Plan, Sink, Step};
use crate::options::can_run;
use crate::prefix::PrefixCache;
use crate::reading::Reading;
use crate::validation::Validation;
use crate::watch::{Collapse, Gap, Guard, History, Restart, Watch};
use crate::{EpochTexts, Examples, FrozenPrefix, Options, Select, TargetRule, TrainError};
use hone_bert::{GradNorm, Limits, Model};
use hone_kernels::Backend;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a run trains on and reports to.
pub struct Training<'a, B: Backend> {
    /// The model, changed in place.
    pub model: &'a mut Model<B>,
    /// Hyperparameters.
    pub options: &'a Options,
    /// Training part.
    pub train: &'a Examples,
    /// The training part as each epoch sees it; none: as it is.
    pub augment: Option<&'a EpochTexts<'a>>,
    /// Validation part.
    pub valid: Option<&'a Examples>,
    /// What every validation reads beside it; changes no bit.
    pub watch: Watch,
    /// Of each row of the parameter table whether its weights were loaded.
    pub pretrained: &'a [bool],
    /// What becomes of the outputs of frozen lower layers; changes no bit.
    pub frozen: FrozenPrefix,
    /// Where those outputs are kept for other runs; none: for this one only.
    pub prefix: Option<&'a mut PrefixCache<B::Act>>,
    /// When words that a step's texts do not hold take the step; changes no bit.
    pub words: WordUpdates,
    /// What decides the run's bits.
    pub identity: Identity,
    /// Why and how this run began anew, where it did: `options` are then those of the second try.
    pub restart: Option<Restart>,
    /// Bytes of texts, tokens and tokenizer, where they are known: a part of the plan.
    pub text_bytes: Option<u64>,
    /// Where checkpoints go; none: nowhere.
    pub checkpoints: Option<Checkpoints>,
    /// Whether to continue from the newest checkpoint.
    pub resume: bool,
    /// Whether the end leaves a checkpoint too.
    pub keep: bool,
    /// Receives what happens.
    pub sink: &'a mut dyn Sink,
    /// Raised when the user asks to stop.
    pub stop: &'a AtomicBool,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All steps done.
    Done,
    /// No improvement for as long as the user allowed.
    Early,
    /// The user asked to stop; a checkpoint was written where there is a place for it.
    Interrupted,
    /// It collapsed and is to begin anew ([`Outcome::restart`] says how); the weights are of no use.
    Collapsed,
}

impl Ending {
    /// As `summary.json` says it.
    pub fn name(self) -> &'static str {
        match self {
            Ending::Done => "done",
            Ending::Early => "early_stop",
            Ending::Interrupted => "interrupted",
            Ending::Collapsed => "collapsed",
        }
    }
}

/// What a run leaves besides the model.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// Steps done.
    pub steps: usize,
    /// Step whose weights the model now has.
    pub selected_step: usize,
    /// What those weights say of the validation part.
    pub valid: Option<Reading>,
    /// How far training and validation texts are apart, where there are validation texts.
    pub gap: Option<Gap>,
    /// Why and how it began anew, or is to.
    pub restart: Option<Restart>,
    /// Mean loss over the last epoch's worth of training steps.
    pub train_loss: f64,
    /// Tokens trained on.
    pub train_tokens: u64,
    /// Seconds of training, evaluations left out.
    pub train_seconds: f64,
    /// Seconds of the run, all sittings.
    pub seconds: f64,
    /// Bytes of memory that were planned.
    pub planned_bytes: u64,
}

/// A step that was queued and not yet reported. On a device that runs beside the host the next step is queued before
/// this one's results are read, so that it never waits for the host.
struct Pending<B: Backend> {
    number: usize,
    tokens: usize,
    rates: StepRates,
    /// Rows of the source, for an error's words.
    rows: Vec<usize>,
    /// What guessing would lose, where somebody watches the start.
    constant: Option<f64>,
    results: Results<B>,
}

/// What a step gave.
enum Results<B: Backend> {
    /// On its way: losses and squared norms.
    Coming(Queued<B>, B::Coming<f64>),
    /// Read before the weights changed.
    Read(StepDone, GradNorm),
}

/// What moves while a run goes.
pub(crate) struct Progress<B: Backend> {
    pub(crate) step: usize,
    pub(crate) best: Option<Best>,
    pub(crate) best_reading: Option<Reading>,
    pub(crate) best_weights: Option<B::Buf<B::Master>>,
    pub(crate) without_improvement: usize,
    pub(crate) train_tokens: u64,
    pub(crate) train_time: Duration,
    pub(crate) earlier: f64,
    pub(crate) started: Instant,
    pub(crate) losses: VecDeque<f64>,
    pub(crate) last_reading: Option<(usize, Reading)>,
    pub(crate) history: History,
    pub(crate) guard: Option<Guard>,
    pub(crate) collapse: Option<Collapse>,
}

impl<B: Backend> Progress<B> {
    /// Whether the validation part was read at this step. (Checkpoints of older versions do not tell: then it was.)
    fn validated(&self) -> bool {
        let points = &self.history.points;
        points.last().is_none_or(|p| p.step == self.step)
            && (!points.is_empty() || self.best.is_some())
    }
}

impl<'a, B: Backend> Training<'a, B> {
    /// Trains to the end, to an early stop or to an interruption.
    pub fn run(mut self) -> Result<Outcome, TrainError> {
        let options = self.options;
        options.check()?;
        let draws = Draws::of(options).count();
        let plan = BatchPlan {
            step_rows: options.step_rows(),
            micro_rows: options.batch_size,
            max_tokens: options.max_tokens / draws,
            order: match options.shuffle {
                true => Order::Shuffled { seed: options.seed },
                false => Order::File,
            },
        };
        let rows = self.train.len();
        let per_epoch = plan.steps_per_epoch(rows);
        let steps = options.steps(per_epoch);
        can_run(rows, steps)?;
        let (mut limits, tokens) = self.sizes(&plan, steps.div_ceil(per_epoch))?;
        (limits.tokens, limits.sequences) = (draws * limits.tokens, draws * limits.sequences);
        let cache = match (self.frozen, &mut self.prefix) {
            (FrozenPrefix::Recompute, _) => None,
            (FrozenPrefix::Cache, None) => Some(PrefixCache::over(self.train)),
            // Lent to the engine for the run; an error on the way leaves the lender an empty one.
            (FrozenPrefix::Cache, Some(shared)) => {
                let empty = PrefixCache::over(self.train);
                Some(std::mem::replace(&mut **shared, empty))
            }
        };
        let mut engine = Engine::new(
            self.model,
            options,
            self.train,
            self.pretrained,
            limits,
            steps,
            cache,
            self.words,
        )?;
        let mut validation = self.validation(per_epoch, steps)?;
        let reading = validation.as_ref().map(Validation::limits);
        let memory = self.memory(&engine, reading);
        let planned_bytes = memory.iter().map(|(_, bytes)| bytes).sum();
        self.doubts(&engine, steps)?;
        self.sink.event(&Event::Planned(Plan {
            rows,
            tokens,
            valid_rows: self.valid.map_or(0, Examples::len),
            steps,
            steps_per_epoch: per_epoch,
            warmup_steps: options.rising_steps(steps).min(steps),
            groups: engine.groups(),
            memory,
        }));
        let mut now = Progress {
            step: 0,
            best: None,
            best_reading: None,
            best_weights: None,
            without_improvement: 0,
            train_tokens: 0,
            train_time: Duration::ZERO,
            earlier: 0.0,
            started: Instant::now(),
            losses: VecDeque::new(),
            last_reading: None,
            history: History::default(),
            guard: self.guard(steps)?,
            collapse: None,
        };
        if self.resume {
            self.restore(&mut engine, &mut now)?;
        }
        if now.step < steps {
            let reading = validation.as_ref().map_or(0, Validation::tokens);
            self.forecast(
                &mut engine,
                &plan,
                steps,
                &now,
                [tokens, reading],
                planned_bytes,
            )?;
        }
        let every = options.eval_every.steps(per_epoch);
        let save = options.save_every.map(|c| c.steps(per_epoch));
        // One that had stopped early is at its end.
        let waited = |patience| now.step < steps && now.without_improvement >= patience;
        let mut ending = match options.patience.is_some_and(waited) {
            true => Ending::Early,
            false => Ending::Done,
        };
        let mut order = (usize::MAX, Vec::new());
        let train = self.train;
        let mut changed: Option<Examples> = None;
        // A validation that was interrupted comes first.
        let mut pending = None;
        let last = now.step == steps;
        if now.step > 0 && (now.step % every == 0 || last) && !now.validated() {
            ending = self.validate(&mut engine, &mut validation, per_epoch, last, &mut now)?;
        }
        while ending == Ending::Done && now.step < steps {
            let (epoch, within) = (now.step / per_epoch, now.step % per_epoch);
            if order.0 != epoch {
                order = (epoch, plan.epoch(rows, epoch));
                let texts = self.augment.map(|a| a.epoch(epoch)).transpose()?;
                changed = texts.map(|(examples, _)| examples);
            }
            let start = within * plan.step_rows;
            let index = &order.1[start..rows.min(start + plan.step_rows)];
            let examples = changed.as_ref().unwrap_or(train);
            let queued = self.step(&mut engine, &plan, examples, index, &mut now)?;
            let last = now.step == steps;
            let due = save.is_some_and(|n| now.step % n == 0) && !last;
            let stopping = self.stop.load(Ordering::SeqCst);
            // Before anybody else looks at the run, everything about it is known.
            let known = !B::QUEUES || now.step % every == 0 || last || due || stopping;
            if let Some(before) = pending.replace(queued) {
                self.report(before, steps, per_epoch, &mut now)?;
            }
            if known && let Some(step) = pending.take() {
                self.report(step, steps, per_epoch, &mut now)?;
            }
            if let Some(collapse) = now.collapse.take()
                && self.collapsed(collapse, steps)
            {
                ending = Ending::Collapsed;
                break;
            }
            if now.step % every == 0 || last {
                ending = self.validate(&mut engine, &mut validation, per_epoch, last, &mut now)?;
            }
            if ending == Ending::Done && (stopping || known && self.stop.load(Ordering::SeqCst)) {
                ending = Ending::Interrupted;
            }
            if ending == Ending::Interrupted || (due && ending == Ending::Done) {
                self.settle(&mut engine, &mut now)?;
                self.save(&engine, &now)?;
            }
        }
        self.settle(&mut engine, &mut now)?;
        if matches!(ending, Ending::Done | Ending::Early) {
            if self.keep {
                self.save(&engine, &now)?;
            }
            engine.exchange(self.model, now.step);
        }
        if let (Some(shared), Some(cache)) = (&mut self.prefix, engine.into_prefix()) {
            **shared = cache;
        }
        self.finish(ending, per_epoch, &validation, now, planned_bytes)
    }

    /// Reads the validation part; whether training ends with that.
    fn validate(
        &mut self,
        engine: &mut Engine<B>,
        validation: &mut Option<Validation<'a, B>>,
        per_epoch: usize,
        last: bool,
        now: &mut Progress<B>,
    ) -> Result<Ending, TrainError> {
        if validation.is_none() {
            return Ok(Ending::Done);
        }
        self.settle(engine, now)?;
        engine.exchange(self.model, now.step);
        let whole = self.evaluate(validation, per_epoch, now)?;
        engine.exchange(self.model, now.step);
        if !whole {
            return Ok(Ending::Interrupted);
        }
        let patience = self.options.patience;
        if last || patience.is_none_or(|p| now.without_improvement < p) {
            return Ok(Ending::Done);
        }
        self.sink.event(&Event::Stopped {
            step: now.step,
            reason: format!(
                "{} did not improve for {} evaluations",
                self.options.metric, now.without_improvement
            ),
        });
        Ok(Ending::Early)
    }

    /// Makes the weights whole, before anybody but a step reads them. Timed as training, to which it belongs.
    fn settle(&mut self, engine: &mut Engine<B>, now: &mut Progress<B>) -> Result<(), TrainError> {
        let started = Instant::now();
        engine.settle(self.model)?;
        now.train_time += started.elapsed();
        Ok(())
    }

    /// Bytes by use: the engine's, those of validation and of the best weights, and the texts' where they lie beside them.
    fn memory(&self, engine: &Engine<B>, reading: Option<Limits>) -> Vec<(String, u64)> {
        let mut rows = engine.memory(self.model);
        if let Some(reading) = reading {
            let bytes = self.model.eval_bytes(reading);
            rows.push(("validation".to_owned(), bytes as u64));
            if self.options.select == Select::Best {
                let bytes = self.model.layout().table.len() * size_of::<B::Master>();
                rows.push(("best weights".to_owned(), bytes as u64));
            }
        }
        // A device's own memory holds none of them.
        if self.model.backend().peak_memory().is_none() {
            rows.extend(self.text_bytes.map(|bytes| ("texts".to_owned(), bytes)));
        }
        rows
    }

    /// The largest micro-batch of the run, and the tokens of an epoch.
    fn sizes(&mut self, plan: &BatchPlan, epochs: usize) -> Result<(Limits, usize), TrainError> {
        let Some(texts) = self.augment else {
            return Ok((plan.limits(self.train, epochs), self.train.tokens()));
        };
        if self.frozen == FrozenPrefix::Cache {
            return Err(TrainError::Option(
                "--cache-frozen keeps one output for each text, but --augment changes the texts from epoch to epoch; \
                 leave one of the two out"
                    .to_owned(),
            ));
        }
        let started = Instant::now();
        let drawn = texts.ahead(plan, epochs)?;
        self.sink.event(&Event::Note {
            text: format!(
                "augmentation: {} of {} texts of {epochs} epochs are changed, the longest has {} word pieces \
                 (before: {}); drawn in {:.1} s",
                drawn.changed,
                drawn.texts,
                drawn.longest,
                plan.limits(self.train, 1).longest,
                started.elapsed().as_secs_f64()
            ),
        });
        // The trial pass of the forecast reads the texts as they are.
        let limits = drawn.limits.max(plan.limits(self.train, 1));
        Ok((limits, drawn.tokens))
    }

    /// Trial pass over the first batch, which changes nothing, for the forecast.
    fn forecast(
        &mut self,
        engine: &mut Engine<B>,
        plan: &BatchPlan,
        steps: usize,
        now: &Progress<B>,
        [tokens, reading]: [usize; 2],
        memory_bytes: u64,
    ) -> Result<(), TrainError> {
        let order = plan.epoch(self.train.len(), 0);
        let index = &order[..plan.step_rows.min(order.len())];
        let rule = self.rule();
        // Once to touch the memory (and to fill a cache of frozen layers), once to time it.
        let mut rate = 0.0;
        for _ in 0..2 {
            let started = Instant::now();
            let trial = engine.gradients(self.model, self.train, plan, &rule, index, now.step)?;
            let trial = trial.read(self.model.backend())?;
            self.model.backend().sync()?;
            rate = trial.tokens as f64 / started.elapsed().as_secs_f64().max(1e-9);
        }
        let per_epoch = plan.steps_per_epoch(self.train.len());
        let left = (steps - now.step) as f64 / per_epoch as f64;
        // A forward pass is about a third of a training step.
        let times = ((steps - now.step) / self.options.eval_every.steps(per_epoch)).max(1);
        let evaluations = reading as f64 * times as f64 / 3.0;
        self.sink.event(&Event::Forecast {
            seconds: (tokens as f64 * left + evaluations) / rate,
            tokens_per_s: rate,
            memory_bytes,
        });
        Ok(())
    }

    pub(crate) fn rule(&self) -> TargetRule {
        TargetRule {
            label_smoothing: self.options.label_smoothing as f32,
            class_weights: match self.options.class_weights {
                crate::ClassWeights::None => Vec::new(),
                crate::ClassWeights::Auto => TargetRule::balanced(self.train, self.model.classes()),
            },
        }
    }

    /// Queues a step. Where the host computes, its results are read and judged before the weights change.
    fn step(
        &mut self,
        engine: &mut Engine<B>,
        plan: &BatchPlan,
        train: &Examples,
        index: &[u32],
        now: &mut Progress<B>,
    ) -> Result<Pending<B>, TrainError> {
        let started = Instant::now();
        let rule = self.rule();
        let number = now.step + 1;
        let rows: Vec<usize> = index.iter().map(|&i| train.rows[i as usize]).collect();
        let queued = engine.gradients(self.model, train, plan, &rule, index, now.step)?;
        let tokens = queued.tokens;
        let norms = engine.norms(self.model, now.step)?;
        let results = match B::QUEUES {
            true => Results::Coming(queued, norms),
            false => {
                let (done, norm) = self.read(queued, norms, number, &rows)?;
                Results::Read(done, norm)
            }
        };
        let rates = engine.update(self.model, now.step)?;
        now.step = number;
        now.train_time += started.elapsed();
        let guard = now.guard.as_ref().filter(|g| g.watches(number));
        Ok(Pending {
            number,
            tokens,
            rates,
            rows,
            constant: guard.map(|g| g.constant().step_loss(train, index, &rule)),
            results,
        })
    }

    /// Waits for a step's results; what is not finite is an error.
    fn read(
        &self,
        queued: Queued<B>,
        norms: B::Coming<f64>,
        step: usize,
        rows: &[usize],
    ) -> Result<(StepDone, GradNorm), TrainError> {
        let b = self.model.backend();
        let rows = || some_rows(rows.iter().copied());
        let done = queued.read(b)?;
        let norm = GradNorm::of(b.arrived(norms)?);
        if !done.loss.is_finite() {
            return Err(TrainError::Loss {
                step,
                loss: done.loss,
                rows: rows(),
            });
        }
        if let Some(tensor) = norm.squared.iter().position(|x| !x.is_finite()) {
            return Err(TrainError::Gradient {
                step,
                tensor: self.model.layout().table.params()[tensor].name.clone(),
                rows: rows(),
            });
        }
        Ok((done, norm))
    }

    /// Says what a step gave.
    fn report(
        &mut self,
        pending: Pending<B>,
        steps: usize,
        per_epoch: usize,
        now: &mut Progress<B>,
    ) -> Result<(), TrainError> {
        let started = Instant::now();
        let number = pending.number;
        let (done, norm) = match pending.results {
            Results::Read(done, norm) => (done, norm),
            Results::Coming(queued, norms) => {
                let read = self.read(queued, norms, number, &pending.rows)?;
                now.train_time += started.elapsed();
                read
            }
        };
        now.train_tokens += pending.tokens as u64;
        if now.losses.len() == per_epoch {
            now.losses.pop_front();
        }
        now.losses.push_back(done.loss);
        if let (Some(guard), Some(constant)) = (now.guard.as_mut(), pending.constant) {
            now.collapse = guard.take(number, done.loss, constant);
        }
        self.sink.event(&Event::Step(Step {
            step: number,
            steps,
            epoch: number as f64 / per_epoch as f64,
            loss: done.loss,
            lr: pending.rates.body,
            head_lr: pending.rates.head,
            grad_norm: norm.total,
            tokens: done.tokens,
            train_seconds: now.train_time.as_secs_f64(),
            train_tokens: now.train_tokens,
        }));
        Ok(())
    }

    fn finish(
        self,
        ending: Ending,
        per_epoch: usize,
        validation: &Option<Validation<'a, B>>,
        mut now: Progress<B>,
        planned_bytes: u64,
    ) -> Result<Outcome, TrainError> {
        let mut selected_step = now.step;
        let mut valid = now
            .last_reading
            .take()
            .filter(|(step, _)| *step == now.step)
            .map(|(_, reading)| reading);
        if matches!(ending, Ending::Done | Ending::Early)
            && let (Some(mut weights), Some(best)) = (now.best_weights.take(), now.best)
            && best.step != now.step
        {
            let b = self.model.backend().clone();
            b.param_swap(self.model.params_mut(), &mut weights);
            selected_step = best.step;
            valid = now.best_reading.take();
        }
        if matches!(ending, Ending::Done | Ending::Early) {
            let steps = self.options.steps(per_epoch);
            if let Some(text) = self.options.average.missed(selected_step, steps) {
                self.sink.event(&Event::Warning { text });
            }
        }
        debug_assert!(now.losses.len() <= per_epoch);
        Ok(Outcome {
            ending,
            steps: now.step,
            selected_step,
            valid,
            gap: match ending {
                Ending::Done | Ending::Early => self.gap(validation, &now, selected_step),
                Ending::Interrupted | Ending::Collapsed => None,
            },
            restart: self.restart,
            train_loss: now.losses.iter().sum::<f64>() / now.losses.len().max(1) as f64,
            train_tokens: now.train_tokens,
            train_seconds: now.train_time.as_secs_f64(),
            seconds: now.earlier + now.started.elapsed().as_secs_f64(),
            planned_bytes,
        })
    }
}
