//! The training loop: steps, evaluations, selection, early stopping, checkpoints.

use crate::checkpoint::{Best, Checkpoints};
use crate::course::Course;
use crate::engine::{Draws, Engine, WordUpdates};
use crate::events::{Event, Plan, Sink};
use crate::identity::Identity;
use crate::prefix::PrefixCache;
use crate::reading::Reading;
use crate::resume::Begin;
use crate::validation::Validation;
use crate::watch::{Collapse, Gap, Guard, History, Restart, Watch};
use crate::{Epochs, Examples, FrozenPrefix, Options, TargetRule, TrainError};
use hone_bert::Model;
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
    pub augment: Option<&'a dyn Epochs>,
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
    /// Where the run begins.
    pub begin: Begin,
    /// Whether the end leaves a checkpoint too.
    pub keep: bool,
    /// Receives what happens.
    pub sink: &'a mut dyn Sink,
    /// Raised when the user asks to stop.
    pub stop: &'a AtomicBool,
}

hone_tensor::brief_debug! {
    [B: Backend] Training<'_, B>, |t|
    model: t.model, options: t.options, train: t.train, valid: t.valid, frozen: t.frozen, begin: t.begin
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
    /// Nothing done yet.
    fn new(guard: Option<Guard>) -> Self {
        Progress {
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
            guard,
            collapse: None,
        }
    }

    /// The step at which the validation part was last read; 0: at none. (Checkpoints of older versions do not tell: then it
    /// was this one, if there was any.)
    pub(crate) fn evaluated(&self) -> usize {
        match (self.history.points.last(), self.best) {
            (Some(point), _) => point.step,
            (None, Some(_)) => self.step,
            (None, None) => 0,
        }
    }
}

impl<'a, B: Backend> Training<'a, B> {
    /// Trains to the end, to an early stop or to an interruption.
    pub fn run(mut self) -> Result<Outcome, TrainError> {
        let options = self.options;
        options.check()?;
        let draws = Draws::of(options).count();
        let course = Course::of(options, self.train.len(), draws)?;
        let (mut limits, tokens) = self.sizes(&course)?;
        if options.drawn_together().is_some() && limits.tokens > options.max_tokens {
            let text = format!(
                "--contrast holds the texts of a batch against each other, so none is cut: up to {} tokens at once, though \
                 --max-tokens is {}",
                limits.tokens, options.max_tokens
            );
            self.sink.event(&Event::Note { text });
        }
        (limits.tokens, limits.sequences) = (draws * limits.tokens, draws * limits.sequences);
        let prefix = self.lent_prefix();
        let mut engine = Engine::new(
            self.model,
            options,
            self.train,
            self.pretrained,
            limits,
            course.steps,
            prefix,
            self.words,
        )?;
        let mut validation = self.validation(&engine, &course)?;
        let memory = self.memory(&engine, validation.as_ref());
        let planned_bytes = memory.iter().map(|(_, bytes)| bytes).sum();
        self.doubts(&engine, &course)?;
        self.sink.event(&Event::Planned(Plan {
            rows: course.rows,
            tokens,
            valid_rows: self.valid.map_or(0, Examples::len),
            steps: course.steps,
            steps_per_epoch: course.per_epoch,
            warmup_steps: options.rising_steps(course.steps).min(course.steps),
            groups: engine.groups(),
            memory,
        }));
        self.room(&engine);
        let mut now = Progress::new(self.guard(course.steps)?);
        self.restore(&mut engine, &mut now)?;
        if !course.ends(now.step) {
            let reading = validation.as_ref().map_or(0, Validation::tokens);
            let tokens = [tokens, reading];
            self.forecast(&mut engine, &course, now.step, tokens, planned_bytes)?;
        }
        let ending = self.steps(&mut engine, &course, &mut validation, &mut now)?;
        self.settle(&mut engine, &mut now)?;
        if matches!(ending, Ending::Done | Ending::Early) {
            if self.keep {
                self.save(&engine, &now)?;
            }
            engine.exchange(self.model, now.step);
        }
        if let (Some(shared), Some(prefix)) = (&mut self.prefix, engine.into_prefix()) {
            **shared = prefix;
        }
        self.finish(ending, &course, &validation, now, planned_bytes)
    }

    /// Takes the steps that are left, with the validations and checkpoints among them.
    fn steps(
        &mut self,
        engine: &mut Engine<B>,
        course: &Course,
        validation: &mut Option<Validation<'a, B>>,
        now: &mut Progress<B>,
    ) -> Result<Ending, TrainError> {
        // One that had stopped early is at its end.
        let waited = |patience| !course.ends(now.step) && now.without_improvement >= patience;
        let mut ending = match self.options.patience.is_some_and(waited) {
            true => Ending::Early,
            false => Ending::Done,
        };
        let mut order = (usize::MAX, Vec::new());
        let train = self.train;
        let mut changed: Option<Examples> = None;
        // A validation that was interrupted comes first.
        if now.step > 0 && course.validates(now.step) && now.evaluated() < now.step {
            ending = self.validate(engine, validation, course, now)?;
        }
        let mut pending = None;
        while ending == Ending::Done && !course.ends(now.step) {
            let (epoch, within) = (now.step / course.per_epoch, now.step % course.per_epoch);
            if order.0 != epoch {
                order = (epoch, course.plan.epoch(course.rows, epoch));
                // Not beside the epoch's before it.
                drop(changed.take());
                let texts = self.augment.map(|a| a.epoch(epoch)).transpose()?;
                changed = texts.map(|(examples, _)| examples);
            }
            let start = within * course.plan.step_rows;
            let index = &order.1[start..course.rows.min(start + course.plan.step_rows)];
            let examples = changed.as_ref().unwrap_or(train);
            let queued = self.step(engine, course, examples, index, now)?;
            let (validates, saves) = (course.validates(now.step), course.saves(now.step));
            let stopping = self.stop.load(Ordering::SeqCst);
            // Before anybody else looks at the run, everything about it is known.
            let known = !B::QUEUES || validates || saves || stopping;
            if let Some(before) = pending.replace(queued) {
                self.report(before, course, now)?;
            }
            if known && let Some(step) = pending.take() {
                self.report(step, course, now)?;
            }
            if let Some(collapse) = now.collapse.take()
                && self.collapsed(collapse, course.steps)
            {
                return Ok(Ending::Collapsed);
            }
            if validates {
                ending = self.validate(engine, validation, course, now)?;
            }
            if ending == Ending::Done && (stopping || known && self.stop.load(Ordering::SeqCst)) {
                ending = Ending::Interrupted;
            }
            if ending == Ending::Interrupted || (saves && ending == Ending::Done) {
                self.settle(engine, now)?;
                self.save(engine, now)?;
            }
        }
        Ok(ending)
    }

    /// Reads the validation part; whether training ends with that.
    fn validate(
        &mut self,
        engine: &mut Engine<B>,
        validation: &mut Option<Validation<'a, B>>,
        course: &Course,
        now: &mut Progress<B>,
    ) -> Result<Ending, TrainError> {
        if validation.is_none() {
            return Ok(Ending::Done);
        }
        self.settle(engine, now)?;
        engine.exchange(self.model, now.step);
        let whole = self.evaluate(validation, course, now)?;
        engine.exchange(self.model, now.step);
        if !whole {
            return Ok(Ending::Interrupted);
        }
        let patience = self.options.patience;
        if course.ends(now.step) || patience.is_none_or(|p| now.without_improvement < p) {
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

    pub(crate) fn rule(&self) -> TargetRule {
        TargetRule {
            label_smoothing: self.options.label_smoothing as f32,
            class_weights: match self.options.class_weights {
                crate::ClassWeights::None => Vec::new(),
                crate::ClassWeights::Auto => TargetRule::balanced(self.train, self.model.classes()),
            },
        }
    }

    fn finish(
        self,
        ending: Ending,
        course: &Course,
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
            let average = self.options.average;
            if let Some(text) = average.missed(selected_step, course.steps) {
                self.sink.event(&Event::Warning { text });
            }
        }
        debug_assert!(now.losses.len() <= course.per_epoch);
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
