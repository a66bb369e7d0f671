//! The validation part as a run reads it, with a sample of the training texts beside it: selection, early stopping,
//! and what the verdict on the fit is made of.

use crate::checkpoint::Best;
use crate::course::Course;
use crate::evaluate::EvalBatches;
use crate::events::Event;
use crate::reading::{Reading, read_set};
use crate::training::{Progress, Training};
use crate::watch::{ConstantAnswer, Gap, Losses, Point, Score, Watch, sample};
use crate::{Examples, Select, TargetRule, TrainError};
use hone_bert::{Acts, Limits};
use hone_kernels::Backend;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What is read at every validation, and room for it.
pub(crate) struct Validation<'a, B: Backend> {
    valid: &'a Examples,
    sample: Examples,
    limits: Limits,
    acts: Acts<B>,
}

impl<B: Backend> Validation<'_, B> {
    /// The largest batch.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Tokens of a reading.
    pub(crate) fn tokens(&self) -> usize {
        self.valid.tokens() + self.sample.tokens()
    }
}

/// Rows that are trained on between two validations.
fn rows_between(course: &Course) -> usize {
    let every = course.every.min(course.steps);
    every.saturating_mul(course.plan.step_rows)
}

impl<'a, B: Backend> Training<'a, B> {
    /// Chooses the sample and plans both readings; `None` without a validation part.
    pub(crate) fn validation(
        &self,
        course: &Course,
    ) -> Result<Option<Validation<'a, B>>, TrainError> {
        let Some(valid) = self.valid else {
            return Ok(None);
        };
        let sample = match self.watch {
            Watch::Sample => sample(
                self.train,
                valid.len(),
                rows_between(course),
                self.options.seed,
            ),
            Watch::Nothing => self.train.select(&[]),
        };
        let batches = EvalBatches::USUAL;
        let limits = batches.limits(valid).max(batches.limits(&sample));
        Ok(Some(Validation {
            valid,
            sample,
            limits,
            acts: self.model.plan_eval(limits)?,
        }))
    }

    /// Reads both; false where the user asked to stop meanwhile.
    pub(crate) fn evaluate(
        &mut self,
        validation: &mut Option<Validation<'a, B>>,
        course: &Course,
        now: &mut Progress<B>,
    ) -> Result<bool, TrainError> {
        let Some(Validation {
            valid,
            sample,
            acts,
            ..
        }) = validation
        else {
            return Ok(true);
        };
        let started = Instant::now();
        let total = valid.len() + sample.len();
        let mut read = |set: &Examples, before: usize| {
            let (sink, stop) = (&mut *self.sink, self.stop);
            read_set(self.model, acts, set, EvalBatches::USUAL, |rows| {
                sink.event(&Event::Evaluating {
                    rows: before + rows,
                    total,
                    seconds: started.elapsed().as_secs_f64(),
                });
                !stop.load(Ordering::SeqCst)
            })
        };
        let Some(reading) = read(valid, 0)? else {
            return Ok(false);
        };
        let known = match sample.is_empty() {
            true => None,
            false => match read(sample, valid.len())? {
                None => return Ok(false),
                known => known,
            },
        };
        let score = |reading: &Reading| match reading.metrics.value(&self.options.metric) {
            Some(metric) => Ok(Score {
                loss: reading.metrics.loss(),
                metric,
            }),
            None => Err(TrainError::Option(format!(
                "--metric {} is not measured for this task",
                self.options.metric
            ))),
        };
        let point = Point {
            step: now.step,
            train: known.as_ref().map(score).transpose()?.unwrap_or_default(),
            valid: score(&reading)?,
        };
        let selected = point.valid.metric;
        let better = now
            .best
            .is_none_or(|best| crate::metrics::better(&self.options.metric, selected, best.value));
        self.sink.event(&Event::Evaluated {
            step: now.step,
            epoch: course.epoch_at(now.step),
            metrics: Box::new(reading.metrics.clone()),
            selected,
            best: better,
            train_rows: sample.len(),
            train: point.train,
        });
        let losses = Losses {
            train: known.map_or(Vec::new(), |known| known.losses),
            valid: reading.losses.clone(),
        };
        now.history.add(point, losses);
        if better {
            now.best = Some(Best {
                step: now.step,
                value: selected,
            });
            now.without_improvement = 0;
            if self.options.select == Select::Best {
                self.keep_best(now)?;
                now.best_reading = Some(reading.clone());
            }
        } else {
            now.without_improvement += 1;
        }
        now.last_reading = Some((now.step, reading));
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

    /// The verdict on the fit; `kept` is the step whose weights are kept.
    pub(crate) fn gap(
        &self,
        validation: &Option<Validation<'a, B>>,
        now: &Progress<B>,
        kept: usize,
    ) -> Option<Gap> {
        let sample = &validation.as_ref()?.sample;
        if sample.is_empty() {
            return None;
        }
        // Scores are plain losses, whatever was trained on.
        let plain = TargetRule::default();
        let (task, classes) = (self.model.task, self.model.classes());
        let constant = ConstantAnswer::best(task, classes, self.train, &plain);
        let rows = 0..sample.len() as u32;
        let constant: Vec<f32> = rows
            .map(|i| constant.step_loss(sample, &[i], &plain) as f32)
            .collect();
        now.history.gap(&self.options.metric, &constant, kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cadence, Options};

    /// A run is never so long that the rows between two of its validations cannot be counted.
    #[test]
    fn rows_between_validations_are_counted() {
        let options = Options {
            batch_size: 4,
            grad_accum: 2,
            eval_every: Cadence::Epochs(0.5),
            ..Options::default()
        };
        let between = |options: &Options, steps| {
            let max_steps = Some(steps);
            let options = Options {
                max_steps,
                ..options.clone()
            };
            rows_between(&Course::of(&options, 80, 1).unwrap())
        };
        assert_eq!(between(&options, 100), 40);
        assert_eq!(between(&options, 3), 24);
        let many = Options {
            batch_size: u32::MAX as usize,
            grad_accum: u32::MAX as usize,
            eval_every: Cadence::Steps(5),
            ..options
        };
        assert!(many.check().is_ok());
        assert_eq!(between(&many, 100), usize::MAX);
    }
}
