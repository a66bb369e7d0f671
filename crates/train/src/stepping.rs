//! A step of a run: queued, read, judged, told.

use crate::course::Course;
use crate::engine::{Engine, Queued, StepDone, StepRates};
use crate::error::some_rows;
use crate::events::{Event, Step};
use crate::training::{Progress, Training};
use crate::{Examples, TrainError};
use hone_bert::GradNorm;
use hone_kernels::Backend;
use std::time::Instant;

/// A step that was queued and not yet reported. On a device that runs beside the host the next step is queued before
/// this one's results are read, so that it never waits for the host.
pub(crate) struct Pending<B: Backend> {
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

impl<B: Backend> Training<'_, B> {
    /// Queues a step. Where the host computes, its results are read and judged before the weights change.
    pub(crate) fn step(
        &mut self,
        engine: &mut Engine<B>,
        course: &Course,
        train: &Examples,
        index: &[u32],
        now: &mut Progress<B>,
    ) -> Result<Pending<B>, TrainError> {
        let started = Instant::now();
        let rule = self.rule();
        let number = now.step + 1;
        let rows: Vec<usize> = index.iter().map(|&i| train.rows[i as usize]).collect();
        let plan = &course.plan;
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
        let loss = done.loss + done.contrast.unwrap_or(0.0);
        if !loss.is_finite() {
            return Err(TrainError::Loss {
                step,
                loss,
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
    pub(crate) fn report(
        &mut self,
        pending: Pending<B>,
        course: &Course,
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
        if now.losses.len() == course.per_epoch {
            now.losses.pop_front();
        }
        now.losses.push_back(done.loss);
        if let (Some(guard), Some(constant)) = (now.guard.as_mut(), pending.constant) {
            now.collapse = guard.take(number, done.loss, constant);
        }
        self.sink.event(&Event::Step(Step {
            step: number,
            steps: course.steps,
            epoch: course.epoch_at(number),
            loss: done.loss,
            contrast: done.contrast,
            lr: pending.rates.body,
            head_lr: pending.rates.head,
            grad_norm: norm.total,
            tokens: done.tokens,
            train_seconds: now.train_time.as_secs_f64(),
            train_tokens: now.train_tokens,
        }));
        Ok(())
    }
}
