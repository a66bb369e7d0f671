//! Runs the range test: short trainings on a part of the training rows, the loss of the others measured on the way.

use super::rule::{RangeCurve, RangeMean, SuggestedRate, suggest_rate};
use crate::crossval::can_repeat;
use hone_bert::Model;
use hone_data::stratified_split;
use hone_kernels::Backend;
use hone_optim::{Schedule, Warmup};
use hone_tensor::Philox;
use hone_train::watch::{CollapseGuard, Watch};
use hone_train::{
    Average, Cadence, EvalBatches, Event, Examples, Fit, Job, MOST_STEPS, Options, Select, Sink,
    Step, Texts, TrainError, Work, evaluate, together,
};
use serde::Serialize;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Steps of a repeat, where nobody says otherwise.
const STEPS: usize = 100;
/// Steps between two measurements.
const EVERY: usize = 2;
/// Most passes over the training rows in one repeat: a test of a tiny set need not be longer than its training.
const PASSES: usize = 10;
/// Steps that even a tiny set is given.
const LEAST_STEPS: usize = 40;
/// Training texts without which there is nothing to hold out.
const LEAST_ROWS: usize = 10;
/// A loss of so many times the best is a divergence (fastai's `LRFinder`), if it is worse than before training too: after
/// a best of nearly nothing the first means little.
const DIVERGED: f64 = 4.0;

/// A range test to do.
#[derive(Debug)]
pub struct RangeTest<'a> {
    /// The recipe, over data of which the training part alone is read. Its rates give the ratio of head to body,
    /// nothing else.
    pub job: &'a Job<'a>,
    /// Body's rate at the first step.
    pub from: f64,
    /// Body's rate at the last step.
    pub to: f64,
    /// Steps from one to the other; none: 100, fewer where that would be more than ten passes over the texts.
    pub steps: Option<usize>,
    /// Repeats, each with other held-out rows, head, order and dropout.
    pub repeats: usize,
    /// Training rows that are set aside to measure on, a fifth of all at most.
    pub held_out: usize,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RangePoint {
    /// Steps done.
    pub step: usize,
    /// Body's rate of the last of them.
    pub lr: f64,
    /// Head's rate.
    pub head_lr: f64,
    /// Mean loss of the held-out rows, dropout off.
    pub loss: f64,
    /// Mean loss of the batches since the last measurement, dropout on.
    pub batch_loss: f64,
}

/// One training of the test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RangeRepeat {
    /// Seed of its head, order and dropout, and of its held-out rows.
    pub seed: u64,
    /// Loss of the held-out rows before the first step.
    pub start: f64,
    /// What was measured.
    pub points: Vec<RangePoint>,
    /// Whether the loss diverged before the last step.
    pub diverged: bool,
}

/// What a range test found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RangeReport {
    /// Training rows that were fitted.
    pub train_rows: usize,
    /// Training rows that were measured.
    pub held_out_rows: usize,
    /// Steps of a repeat.
    pub steps: usize,
    /// Head's rate over body's.
    pub head_ratio: f64,
    /// The repeats.
    pub repeats: Vec<RangeRepeat>,
    /// Their mean.
    pub mean: RangeMean,
    /// What it says; none where the loss fell nowhere.
    pub suggestion: Option<SuggestedRate>,
}

/// Takes down rates and losses, hands on what a person should see, and raises the flag that ends a repeat.
struct Recorder<'a> {
    sink: &'a mut dyn Sink,
    stop: &'a AtomicBool,
    ends: &'a AtomicBool,
    /// Repeats in all, and this one from 0.
    repeats: usize,
    repeat: usize,
    /// Seconds and tokens of the repeats before.
    earlier: (f64, u64),
    start: &'a Cell<f64>,
    last: Option<Step>,
    batches: Vec<f64>,
    points: Vec<RangePoint>,
    diverged: bool,
}

impl Recorder<'_> {
    fn measured(&mut self, loss: f64) {
        let Some(step) = self.last else { return };
        let batch_loss = self.batches.iter().sum::<f64>() / self.batches.len().max(1) as f64;
        self.batches.clear();
        let best = self
            .points
            .iter()
            .map(|p| p.loss)
            .fold(self.start.get(), f64::min);
        self.points.push(RangePoint {
            step: step.step,
            lr: step.lr,
            head_lr: step.head_lr,
            loss,
            batch_loss,
        });
        if !loss.is_finite() || loss > (DIVERGED * best).max(self.start.get()) {
            self.diverged = true;
            self.ends.store(true, Ordering::SeqCst);
        }
    }
}

impl Sink for Recorder<'_> {
    fn event(&mut self, event: &Event) {
        if self.stop.load(Ordering::SeqCst) {
            self.ends.store(true, Ordering::SeqCst);
        }
        match event {
            Event::Step(step) => {
                self.last = Some(*step);
                self.batches.push(step.loss);
                // One bar for all repeats.
                let before = self.repeat * step.steps;
                self.sink.event(&Event::Step(Step {
                    step: before + step.step,
                    steps: self.repeats * step.steps,
                    train_seconds: self.earlier.0 + step.train_seconds,
                    train_tokens: self.earlier.1 + step.train_tokens,
                    ..*step
                }));
            }
            Event::Evaluated { metrics, .. } => self.measured(metrics.loss()),
            Event::Forecast {
                seconds,
                tokens_per_s,
                memory_bytes,
            } if self.repeat == 0 => self.sink.event(&Event::Forecast {
                seconds: seconds * self.repeats as f64,
                tokens_per_s: *tokens_per_s,
                memory_bytes: *memory_bytes,
            }),
            Event::Planned(_) | Event::Note { .. } | Event::Evaluating { .. }
                if self.repeat == 0 =>
            {
                self.sink.event(event);
            }
            Event::Warning { .. } => self.sink.event(event),
            _ => {}
        }
    }
}

/// Rows that are fitted and rows that are measured, of one repeat.
struct Rows {
    train: Vec<u32>,
    held_out: Vec<u32>,
}

impl RangeTest<'_> {
    /// Its folder's kind of work, for whoever writes its curve down as `lr.json`; it writes nothing itself.
    pub const WORK: Work = Work {
        name: "range test",
        done: "lr.json",
    };

    /// Runs it; `None` where the user asked to stop. Nothing is written.
    pub fn run<B: Backend>(
        &self,
        backend: &Arc<B>,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Option<RangeReport>, TrainError> {
        self.check()?;
        let texts = self.job.tokenise(sink)?;
        let rows = texts.train.examples.len();
        if rows < LEAST_ROWS {
            return Err(TrainError::Option(format!(
                "{rows} training texts are too few for a range test; it needs {LEAST_ROWS} at least"
            )));
        }
        for (left_out, why) in [
            (
                self.job.options.unfreeze != "none",
                "--unfreeze: all that is ever trained is trained from the first step of a range test",
            ),
            (
                self.job.options.average != Average::None,
                "--average: a range test measures the weights of each step",
            ),
        ] {
            if left_out {
                let text = why.to_owned();
                sink.event(&Event::Note { text });
            }
        }
        let steps = self.steps(rows);
        let (mut repeats, mut earlier) = (Vec::new(), (0.0, 0));
        let (mut train_rows, mut held_out_rows) = (0, 0);
        for repeat in 0..self.repeats {
            let seed = seed_of(self.job.options.seed, repeat);
            let split = self.split(&texts.train.examples, seed)?;
            if repeat == 0 {
                (train_rows, held_out_rows) = (split.train.len(), split.held_out.len());
                sink.event(&Event::Note {
                    text: format!(
                        "range test: {} repeats of {steps} steps, body's rate from {:e} to {:e}; {train_rows} training \
                         texts are fitted, {held_out_rows} others measured",
                        self.repeats, self.from, self.to
                    ),
                });
            }
            let found = self.repeat(
                backend,
                &texts,
                &split,
                steps,
                repeat,
                seed,
                &mut earlier,
                sink,
                stop,
            )?;
            match found {
                Some(found) => repeats.push(found),
                None => return Ok(None),
            }
        }
        let curves: Vec<RangeCurve> = repeats.iter().map(RangeRepeat::curve).collect();
        Ok(Some(RangeReport {
            train_rows,
            held_out_rows,
            steps,
            head_ratio: self.job.options.head_lr / self.job.options.lr,
            repeats,
            mean: RangeMean::of(&curves),
            suggestion: suggest_rate(&curves),
        }))
    }

    /// Refuses numbers with which nothing can be found, before anything is read.
    fn check(&self) -> Result<(), TrainError> {
        let options = self.job.options;
        options.check()?;
        let wrong = |what: String| Err(TrainError::Option(what));
        let positive = |x: f64| x > 0.0 && x.is_finite();
        for (flag, rate) in [
            ("from", self.from),
            ("to", self.to),
            // The head's rate is to the body's what it is in the options.
            ("lr", options.lr),
        ] {
            if !positive(rate) {
                return wrong(format!("--{flag} {rate}: a positive number was expected"));
            }
        }
        if !(options.head_lr / options.lr).is_finite() {
            return wrong(format!(
                "--head-lr {:e}, --lr {:e}: no number could hold how many times the other the one is",
                options.head_lr, options.lr
            ));
        }
        if self.from >= self.to {
            return wrong(format!(
                "--from {:e} --to {:e}: the rate must grow; --to must be the larger one",
                self.from, self.to
            ));
        }
        for (flag, count) in [("steps", self.steps), ("held-out", Some(self.held_out))] {
            match count {
                Some(0) => return wrong(format!("--{flag} 0: at least 1 was expected")),
                Some(n) if n > MOST_STEPS => {
                    return wrong(format!("--{flag} {n}: at most {MOST_STEPS} was expected"));
                }
                _ => {}
            }
        }
        can_repeat(self.repeats)
    }

    /// Steps of a repeat, where there are so many training rows.
    fn steps(&self, rows: usize) -> usize {
        let options = self.job.options;
        let fitted = rows - self.held_out.min(rows / 5);
        let passes = PASSES.saturating_mul(options.steps_per_epoch(fitted));
        self.steps
            .unwrap_or_else(|| passes.clamp(LEAST_STEPS, STEPS))
    }

    /// Rows of one text or group stay on one side; classes are spread alike.
    fn split(&self, examples: &Examples, seed: u64) -> Result<Rows, TrainError> {
        let rows = examples.len();
        let fraction = (self.held_out as f64 / rows as f64).min(0.2);
        let classes = examples.targets.spread((1.0 / fraction).ceil() as usize);
        let keys = together(&self.job.data.train);
        let (train, held_out) = stratified_split(&keys, &classes, fraction, seed);
        if train.is_empty() || held_out.is_empty() {
            return Err(TrainError::Option(
                "the training texts are of one group, or all the same: none can be held out to measure on"
                    .to_owned(),
            ));
        }
        Ok(Rows { train, held_out })
    }

    /// The options of one repeat: what only a whole run has a use for is left out.
    fn options(&self, steps: usize, seed: u64) -> Options {
        let own = self.job.options;
        Options {
            lr: self.to,
            head_lr: self.to * own.head_lr / own.lr,
            schedule: Schedule::Exponential {
                from: self.from / self.to,
            },
            warmup: Warmup::Steps(0),
            max_steps: Some(steps),
            seed,
            // An average lags behind the rates, and gradual unfreezing would test little but the head.
            average: Average::None,
            unfreeze: "none".to_owned(),
            // Small rates learn nothing yet; to begin anew there would be no range test.
            collapse_guard: CollapseGuard::Off,
            eval_every: Cadence::Steps(EVERY),
            patience: None,
            select: Select::Last,
            calibrate: false,
            save_every: None,
            ..own.clone()
        }
    }

    fn repeat<B: Backend>(
        &self,
        backend: &Arc<B>,
        texts: &Texts,
        rows: &Rows,
        steps: usize,
        repeat: usize,
        seed: u64,
        earlier: &mut (f64, u64),
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Option<RangeRepeat>, TrainError> {
        let options = self.options(steps, seed);
        let job = Job {
            options: &options,
            out: None,
            ..*self.job
        };
        let all = &texts.train.examples;
        let (train, held_out) = (all.select(&rows.train), all.select(&rows.held_out));
        let part = job.data.fitted(&rows.train);
        let augment = job.epoch_texts(texts, &part);
        let (ends, start) = (AtomicBool::new(false), Cell::new(f64::NAN));
        let mut begun = |model: &Model<B>| {
            let mut acts = model.plan_eval(EvalBatches::USUAL.limits(&held_out))?;
            let found = evaluate(model, &mut acts, &held_out, EvalBatches::USUAL, |_| true)?;
            start.set(found.map_or(f64::NAN, |metrics| metrics.loss()));
            Ok(())
        };
        let fit = Fit {
            train: &train,
            augment,
            valid: Some(&held_out),
            watch: Watch::Nothing,
            head_seed: seed,
            marks: BTreeMap::new(),
            prefix: None,
            begun: Some(&mut begun),
        };
        let mut recorder = Recorder {
            sink,
            stop,
            ends: &ends,
            start: &start,
            repeats: self.repeats,
            repeat,
            earlier: *earlier,
            last: None,
            batches: Vec::new(),
            points: Vec::new(),
            diverged: false,
        };
        let ended = job.fit(fit, backend.clone(), &mut recorder, &ends);
        let Recorder {
            points,
            mut diverged,
            last,
            ..
        } = recorder;
        if let Some(step) = last {
            earlier.0 += step.train_seconds;
            earlier.1 += step.train_tokens;
        }
        if stop.load(Ordering::SeqCst) {
            return Ok(None);
        }
        match ended {
            Ok(_) => {}
            // So large a rate that the arithmetic ended: what a range test looks for, unless it began so.
            Err(error) if error.diverged() && !points.is_empty() => diverged = true,
            Err(error) => return Err(error),
        }
        Ok(Some(RangeRepeat {
            seed,
            start: start.get(),
            points,
            diverged,
        }))
    }
}

impl RangeReport {
    /// What speaks against the suggested rate in the curves it was read from, a line each.
    pub fn cautions(&self) -> Vec<String> {
        let Some(s) = &self.suggestion else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        if s.above_lowest {
            lines.push(format!(
                "the suggestion is above {:.1e}, the rate of the lowest loss, where the curve no longer fell: compare it \
                 with a run at that rate",
                s.lowest_lr
            ));
        }
        let ended = self.repeats.iter().filter(|r| r.diverged);
        let ended = ended.filter(|r| r.points.last().is_some_and(|p| p.lr <= s.lr));
        match ended.count() {
            0 => {}
            n => lines.push(format!(
                "at the suggested rate the loss had diverged in {n} of {} repeats: a lower --lr is safer",
                self.repeats.len()
            )),
        }
        lines
    }
}

impl RangeRepeat {
    /// As the rule reads it.
    pub fn curve(&self) -> RangeCurve {
        RangeCurve {
            start: self.start,
            rates: self.points.iter().map(|p| p.lr).collect(),
            losses: self.points.iter().map(|p| p.loss).collect(),
        }
    }
}

/// The run's own seed first, then others.
fn seed_of(seed: u64, repeat: usize) -> u64 {
    match repeat {
        0 => seed,
        // 53 bits fit the numbers of JSON exactly.
        n => Philox::new(seed).u64_at(n as u64, 0x4c52) >> 11,
    }
}
