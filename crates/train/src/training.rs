//! The training loop: steps, evaluations, selection, early stopping, checkpoints.

use crate::batches::{BatchPlan, Order};
use crate::checkpoint::{Best, Checkpoints, Identity, State};
use crate::engine::{Draws, Engine, WordUpdates};
use crate::error::some_rows;
use crate::evaluate::{EvalBatches, evaluate};
use crate::events::{Event, Plan, Sink, Step};
use crate::metrics::Metrics;
use crate::prefix::PrefixCache;
use crate::{EpochTexts, Examples, FrozenPrefix, Options, Select, TargetRule, TrainError};
use hone_bert::{Acts, Limits, Model};
use hone_kernels::Backend;
use std::collections::VecDeque;
use std::path::Path;
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
    /// Bytes of texts, tokens and tokenizer, where they are known: a part of the plan.
    pub text_bytes: Option<u64>,
    /// Where checkpoints go; none: nowhere.
    pub checkpoints: Option<Checkpoints>,
    /// Whether to continue from the newest checkpoint.
    pub resume: bool,
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
}

impl Ending {
    /// As `summary.json` says it.
    pub fn name(self) -> &'static str {
        match self {
            Ending::Done => "done",
            Ending::Early => "early_stop",
            Ending::Interrupted => "interrupted",
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
    /// Metrics of those weights on the validation part.
    pub valid: Option<Metrics>,
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

/// What moves while a run goes.
struct Progress<B: Backend> {
    step: usize,
    best: Option<Best>,
    best_metrics: Option<Metrics>,
    best_weights: Option<B::Buf<B::Master>>,
    without_improvement: usize,
    train_tokens: u64,
    train_time: Duration,
    earlier: f64,
    started: Instant,
    losses: VecDeque<f64>,
    last_metrics: Option<(usize, Metrics)>,
}

impl<B: Backend> Training<'_, B> {
    /// Trains to the end, to an early stop or to an interruption.
    pub fn run(mut self) -> Result<Outcome, TrainError> {
        let options = self.options;
        let draws = Draws::of(options).count();
        let plan = BatchPlan {
            step_rows: options.batch_size * options.grad_accum,
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
        if rows == 0 || steps == 0 {
            return Err(TrainError::Option(
                "there is nothing to train on: no rows, or no steps".to_owned(),
            ));
        }
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
        let mut eval_acts = self
            .valid
            .map(|v| self.model.plan_eval(EvalBatches::USUAL.limits(v)))
            .transpose()?;
        let memory = self.memory(&engine, limits);
        let planned_bytes = memory.iter().map(|(_, bytes)| bytes).sum();
        self.sink.event(&Event::Planned(Plan {
            rows,
            tokens,
            valid_rows: self.valid.map_or(0, Examples::len),
            steps,
            steps_per_epoch: per_epoch,
            warmup_steps: options.warmup.steps(steps),
            groups: engine.groups(),
            memory,
        }));
        let mut now = Progress {
            step: 0,
            best: None,
            best_metrics: None,
            best_weights: None,
            without_improvement: 0,
            train_tokens: 0,
            train_time: Duration::ZERO,
            earlier: 0.0,
            started: Instant::now(),
            losses: VecDeque::new(),
            last_metrics: None,
        };
        if self.resume {
            self.restore(&mut engine, &mut now)?;
        }
        if now.step < steps {
            self.forecast(&mut engine, &plan, steps, &now, tokens, planned_bytes)?;
        }
        let every = options.eval_every.steps(per_epoch);
        let save = options.save_every.map(|c| c.steps(per_epoch));
        let mut ending = Ending::Done;
        let mut order = (usize::MAX, Vec::new());
        let train = self.train;
        let mut changed: Option<Examples> = None;
        while now.step < steps {
            let (epoch, within) = (now.step / per_epoch, now.step % per_epoch);
            if order.0 != epoch {
                order = (epoch, plan.epoch(rows, epoch));
                let texts = self.augment.map(|a| a.epoch(epoch)).transpose()?;
                changed = texts.map(|(examples, _)| examples);
            }
            let start = within * plan.step_rows;
            let index = &order.1[start..rows.min(start + plan.step_rows)];
            let examples = changed.as_ref().unwrap_or(train);
            self.step(
                &mut engine,
                &plan,
                examples,
                index,
                steps,
                per_epoch,
                &mut now,
            )?;
            let last = now.step == steps;
            if self.valid.is_some() && (now.step % every == 0 || last) {
                self.settle(&mut engine, &mut now)?;
                engine.exchange(self.model, now.step);
                let whole = self.evaluate(&mut eval_acts, per_epoch, &mut now)?;
                engine.exchange(self.model, now.step);
                if !whole {
                    ending = Ending::Interrupted;
                } else if options
                    .patience
                    .is_some_and(|p| now.without_improvement >= p)
                    && !last
                {
                    self.sink.event(&Event::Stopped {
                        step: now.step,
                        reason: format!(
                            "{} did not improve for {} evaluations",
                            options.metric, now.without_improvement
                        ),
                    });
                    ending = Ending::Early;
                }
            }
            if self.stop.load(Ordering::SeqCst) {
                ending = Ending::Interrupted;
            }
            let due = save.is_some_and(|n| now.step % n == 0) && !last;
            if ending == Ending::Interrupted || (due && ending == Ending::Done) {
                self.settle(&mut engine, &mut now)?;
                self.save(&engine, &now)?;
            }
            if ending != Ending::Done {
                break;
            }
        }
        self.settle(&mut engine, &mut now)?;
        if ending != Ending::Interrupted {
            engine.exchange(self.model, now.step);
        }
        if let (Some(shared), Some(cache)) = (&mut self.prefix, engine.into_prefix()) {
            **shared = cache;
        }
        self.finish(ending, per_epoch, now, planned_bytes)
    }

    /// Makes the weights whole, before anybody but a step reads them. Timed as training, to which it belongs.
    fn settle(&mut self, engine: &mut Engine<B>, now: &mut Progress<B>) -> Result<(), TrainError> {
        let started = Instant::now();
        engine.settle(self.model)?;
        now.train_time += started.elapsed();
        Ok(())
    }

    /// Bytes by use: the engine's, those of validation and of the best weights, and the texts'.
    fn memory(&self, engine: &Engine<B>, limits: Limits) -> Vec<(String, u64)> {
        let mut rows = engine.memory(self.model, limits);
        if let Some(valid) = self.valid {
            let bytes = self.model.eval_bytes(EvalBatches::USUAL.limits(valid));
            rows.push(("validation".to_owned(), bytes as u64));
            if self.options.select == Select::Best {
                let bytes = self.model.layout().table.len() * size_of::<B::Master>();
                rows.push(("best weights".to_owned(), bytes as u64));
            }
        }
        rows.extend(self.text_bytes.map(|bytes| ("texts".to_owned(), bytes)));
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
        tokens: usize,
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
            rate = trial.tokens as f64 / started.elapsed().as_secs_f64().max(1e-9);
        }
        let per_epoch = plan.steps_per_epoch(self.train.len());
        let left = (steps - now.step) as f64 / per_epoch as f64;
        let evaluations = self.valid.map_or(0.0, |v| {
            // A forward pass is about a third of a training step.
            let times = ((steps - now.step) / self.options.eval_every.steps(per_epoch)).max(1);
            v.tokens() as f64 * times as f64 / 3.0
        });
        self.sink.event(&Event::Forecast {
            seconds: (tokens as f64 * left + evaluations) / rate,
            tokens_per_s: rate,
            memory_bytes,
        });
        Ok(())
    }

    fn rule(&self) -> TargetRule {
        TargetRule {
            label_smoothing: self.options.label_smoothing as f32,
            class_weights: match self.options.class_weights {
                crate::ClassWeights::None => Vec::new(),
                crate::ClassWeights::Auto => TargetRule::balanced(self.train, self.model.classes()),
            },
        }
    }

    fn step(
        &mut self,
        engine: &mut Engine<B>,
        plan: &BatchPlan,
        train: &Examples,
        index: &[u32],
        steps: usize,
        per_epoch: usize,
        now: &mut Progress<B>,
    ) -> Result<(), TrainError> {
        let started = Instant::now();
        let rule = self.rule();
        let number = now.step + 1;
        let rows = || some_rows(index.iter().map(|&i| train.rows[i as usize]));
        let done = engine.gradients(self.model, train, plan, &rule, index, now.step)?;
        if !done.loss.is_finite() {
            return Err(TrainError::Loss {
                step: number,
                loss: done.loss,
                rows: rows(),
            });
        }
        let norm = engine.norms(self.model, now.step)?;
        if let Some(tensor) = norm.squared.iter().position(|x| !x.is_finite()) {
            return Err(TrainError::Gradient {
                step: number,
                tensor: self.model.layout().table.params()[tensor].name.clone(),
                rows: rows(),
            });
        }
        let rates = engine.update(self.model, now.step)?;
        now.step = number;
        now.train_time += started.elapsed();
        now.train_tokens += done.tokens as u64;
        if now.losses.len() == per_epoch {
            now.losses.pop_front();
        }
        now.losses.push_back(done.loss);
        self.sink.event(&Event::Step(Step {
            step: number,
            steps,
            epoch: number as f64 / per_epoch as f64,
            loss: done.loss,
            lr: rates.body,
            head_lr: rates.head,
            grad_norm: norm.total,
            tokens: done.tokens,
            train_seconds: now.train_time.as_secs_f64(),
            train_tokens: now.train_tokens,
        }));
        Ok(())
    }

    /// Reads the validation part; false where the user asked to stop meanwhile.
    fn evaluate(
        &mut self,
        acts: &mut Option<Acts<B>>,
        per_epoch: usize,
        now: &mut Progress<B>,
    ) -> Result<bool, TrainError> {
        let (Some(valid), Some(acts)) = (self.valid, acts) else {
            return Ok(true);
        };
        let started = Instant::now();
        let sink = &mut *self.sink;
        let stop = self.stop;
        let metrics = evaluate(self.model, acts, valid, EvalBatches::USUAL, |rows| {
            sink.event(&Event::Evaluating {
                rows,
                total: valid.len(),
                seconds: started.elapsed().as_secs_f64(),
            });
            !stop.load(Ordering::SeqCst)
        })?;
        let Some(metrics) = metrics else {
            return Ok(false);
        };
        let selected = metrics.value(&self.options.metric).ok_or_else(|| {
            TrainError::Option(format!(
                "--metric {} is not measured for this task",
                self.options.metric
            ))
        })?;
        let better = now
            .best
            .is_none_or(|best| crate::metrics::better(&self.options.metric, selected, best.value));
        if better {
            now.best = Some(Best {
                step: now.step,
                value: selected,
            });
            now.without_improvement = 0;
            if self.options.select == Select::Best {
                self.keep_best(now)?;
                now.best_metrics = Some(metrics.clone());
            }
        } else {
            now.without_improvement += 1;
        }
        self.sink.event(&Event::Evaluated {
            step: now.step,
            epoch: now.step as f64 / per_epoch as f64,
            metrics: Box::new(metrics.clone()),
            selected,
            best: better,
        });
        now.last_metrics = Some((now.step, metrics));
        Ok(true)
    }

    fn keep_best(&self, now: &mut Progress<B>) -> Result<(), TrainError> {
        let b = self.model.backend().as_ref();
        let len = self.model.layout().table.len();
        let mut buf = match now.best_weights.take() {
            Some(buf) => buf,
            None => b.alloc(len)?,
        };
        b.copy(b.param(self.model.params(), 0..len), b.all_mut(&mut buf));
        now.best_weights = Some(buf);
        Ok(())
    }

    fn save(&mut self, engine: &Engine<B>, now: &Progress<B>) -> Result<(), TrainError> {
        let Some(checkpoints) = &self.checkpoints else {
            return Ok(());
        };
        let state = State {
            version: 1,
            step: now.step,
            taken: engine.taken(self.model),
            best: now.best,
            without_improvement: now.without_improvement,
            train_tokens: now.train_tokens,
            train_seconds: now.train_time.as_secs_f64(),
            seconds: now.earlier + now.started.elapsed().as_secs_f64(),
            losses: now.losses.iter().copied().collect(),
            identity: self.identity.clone(),
        };
        let model = &*self.model;
        let path = checkpoints.write(&state, |folder| {
            engine.save(model, folder)?;
            if let Some(best) = &now.best_weights {
                engine.save_arena(model, best, &folder.join("best.safetensors"))?;
            }
            Ok(())
        })?;
        self.sink.event(&Event::Checkpoint {
            step: now.step,
            path: path.display().to_string(),
        });
        Ok(())
    }

    fn restore(&mut self, engine: &mut Engine<B>, now: &mut Progress<B>) -> Result<(), TrainError> {
        let Some(checkpoints) = &self.checkpoints else {
            return Ok(());
        };
        let Some((path, state)) = checkpoints.newest()? else {
            self.sink.event(&Event::Note {
                text: "no checkpoint yet: starting from the beginning".to_owned(),
            });
            return Ok(());
        };
        checkpoints.check(&path, &state, &self.identity)?;
        engine.restore(self.model, &path, &state.taken)?;
        let best: &Path = &path.join("best.safetensors");
        if best.is_file() {
            now.best_weights = Some(engine.read_arena(self.model, best)?);
        }
        now.step = state.step;
        now.best = state.best;
        now.without_improvement = state.without_improvement;
        now.train_tokens = state.train_tokens;
        now.train_time = Duration::from_secs_f64(state.train_seconds.max(0.0));
        now.earlier = state.seconds;
        now.losses = state.losses.into();
        self.sink.event(&Event::Note {
            text: format!("resumed after step {} from {}", state.step, path.display()),
        });
        Ok(())
    }

    fn finish(
        self,
        ending: Ending,
        per_epoch: usize,
        mut now: Progress<B>,
        planned_bytes: u64,
    ) -> Result<Outcome, TrainError> {
        let mut selected_step = now.step;
        let mut valid = now
            .last_metrics
            .take()
            .filter(|(step, _)| *step == now.step)
            .map(|(_, metrics)| metrics);
        if ending != Ending::Interrupted
            && let (Some(mut weights), Some(best)) = (now.best_weights.take(), now.best)
            && best.step != now.step
        {
            let b = self.model.backend().clone();
            b.param_swap(self.model.params_mut(), &mut weights);
            selected_step = best.step;
            valid = now.best_metrics.take();
        }
        debug_assert!(now.losses.len() <= per_epoch);
        Ok(Outcome {
            ending,
            steps: now.step,
            selected_step,
            valid,
            train_loss: now.losses.iter().sum::<f64>() / now.losses.len().max(1) as f64,
            train_tokens: now.train_tokens,
            train_seconds: now.train_time.as_secs_f64(),
            seconds: now.earlier + now.started.elapsed().as_secs_f64(),
            planned_bytes,
        })
    }
}
