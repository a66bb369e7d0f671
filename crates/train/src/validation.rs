//! The validation part as a run reads it, with a sample of the training texts beside it: selection, early stopping,
//! and what the verdict on the fit is made of.

use crate::checkpoint::Best;
use crate::course::Course;
use crate::engine::Engine;
use crate::evaluate::EvalBatches;
use crate::events::Event;
use crate::prefix::PrefixCache;
use crate::reading::{Reading, read_set_above};
use crate::training::{Progress, Training};
use crate::watch::{ConstantAnswer, Gap, History, Losses, Point, Score, Watch, sample};
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
    /// Outputs of frozen layers for both, where they are kept.
    known: Option<[PrefixCache<B::Act>; 2]>,
}

impl<B: Backend> Validation<'_, B> {
    /// The largest batch.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Bytes of the outputs of frozen layers.
    pub(crate) fn known_bytes(&self) -> u64 {
        let known = self.known.iter().flatten();
        known.map(PrefixCache::bytes).sum()
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
        engine: &Engine<B>,
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
        let mut acts = self.model.plan_eval(limits)?;
        let known = match engine.prefix() {
            Some(prefix) => {
                self.model.keep_prefix(&mut acts, limits)?;
                let of = |examples: &Examples| prefix.beside(self.model, examples);
                Some([of(valid)?, of(&sample)?])
            }
            None => None,
        };
        Ok(Some(Validation {
            valid,
            sample,
            limits,
            acts,
            known,
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
            known,
            ..
        }) = validation
        else {
            return Ok(true);
        };
        let started = Instant::now();
        let total = valid.len() + sample.len();
        let [of_valid, of_sample] = match known {
            Some([valid, sample]) => [Some(valid), Some(sample)],
            None => [None, None],
        };
        let mut read = |known: Option<&mut PrefixCache<B::Act>>, set: &Examples, before: usize| {
            let (sink, stop) = (&mut *self.sink, self.stop);
            read_set_above(known, self.model, acts, set, EvalBatches::USUAL, |rows| {
                sink.event(&Event::Evaluating {
                    rows: before + rows,
                    total,
                    seconds: started.elapsed().as_secs_f64(),
                });
                !stop.load(Ordering::SeqCst)
            })
        };
        let Some(reading) = read(of_valid, valid, 0)? else {
            return Ok(false);
        };
        let known = match sample.is_empty() {
            true => None,
            false => match read(of_sample, sample, valid.len())? {
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
            metrics: Box::new(reading.metrics.brief()),
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
        let rule = TargetRule {
            label_smoothing: 0.0,
            ..self.rule()
        };
        let weights = Losses {
            train: row_weights(sample, &rule),
            valid: row_weights(self.valid?, &rule),
        };
        let (task, classes) = (self.model.task(), self.model.classes());
        let answer = ConstantAnswer::best(task, classes, self.train, &rule);
        let constant = constant_losses(&answer, sample);
        let constant = times(&constant, &weights.train);
        weighed(&now.history, &weights).gap(task, &self.options.metric, &constant, kept)
    }
}

/// Scores are plain losses, whatever was trained on: those of an answer to each row.
fn constant_losses(answer: &ConstantAnswer, examples: &Examples) -> Vec<f32> {
    let plain = TargetRule::default();
    let rows = 0..examples.len() as u32;
    rows.map(|i| answer.step_loss(examples, &[i], &plain) as f32)
        .collect()
}

/// What each row's loss counts in a mean under the run's class weights (of tags, their mean over the row's words), 1 on average. Who
/// trains on weighted losses has learned where these fall, and plain ones may rise.
fn row_weights(examples: &Examples, rule: &TargetRule) -> Vec<f32> {
    let plain = TargetRule::default();
    let own = |i: u32| rule.total(examples, &[i]) / plain.total(examples, &[i]);
    let all: Vec<f64> = (0..examples.len() as u32).map(own).collect();
    // A row of an unknown label has no loss, and no weight.
    let known = || all.iter().filter(|w| !w.is_nan());
    let mean = known().sum::<f64>() / known().count().max(1) as f64;
    let each = all.iter().map(|w| match mean > 0.0 {
        true => (w / mean) as f32,
        false => 1.0,
    });
    each.collect()
}

fn times(losses: &[f32], weights: &[f32]) -> Vec<f32> {
    losses.iter().zip(weights).map(|(x, w)| x * w).collect()
}

/// The history with each row's losses times its weight; the points, which are reported, stay plain.
fn weighed(history: &History, weights: &Losses) -> History {
    let each = |losses: &Losses| Losses {
        train: times(&losses.train, &weights.train),
        valid: times(&losses.valid, &weights.valid),
    };
    History {
        points: history.points.clone(),
        lowest: each(&history.lowest),
        before: each(&history.before),
        last: each(&history.last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Verdict;
    use crate::{Cadence, Options, Targets};
    use hone_bert::Task;

    /// 190 rows of one class and 10 of another. A model that was trained on weighted losses and answers the rare class well has
    /// a larger plain loss than the answer that reads nothing (the entropy, 0.199), and is no worse for it; one that knows
    /// nothing answers one half, and has learned nothing.
    #[test]
    fn class_weights_count_in_the_verdict() {
        let mut all = Examples::new(Task::Classify);
        let classes: Vec<Option<u32>> = (0..200).map(|i| Some(u32::from(i % 20 == 0))).collect();
        for i in 0..200 {
            all.push(i, i as usize + 2, &[1], &[0]);
        }
        all.targets = Targets::Classes(classes.clone());
        let balanced = TargetRule {
            class_weights: TargetRule::balanced(&all, 2),
            ..TargetRule::default()
        };
        let verdict = |rule: &TargetRule, losses: [f32; 2]| {
            let own = row_weights(&all, rule);
            assert!((own.iter().sum::<f32>() - 200.0).abs() < 1e-3);
            let weights = Losses {
                train: own.clone(),
                valid: own,
            };
            let of = |class: &Option<u32>| losses[class.unwrap_or(0) as usize];
            let rows: Vec<f32> = classes.iter().map(of).collect();
            let mut history = History::default();
            let both = Losses {
                train: rows.clone(),
                valid: rows,
            };
            history.add(Point::default(), both);
            let answer = ConstantAnswer::best(Task::Classify, 2, &all, rule);
            let constant = times(&constant_losses(&answer, &all), &weights.train);
            let gap = weighed(&history, &weights).gap(Task::Classify, "accuracy", &constant, 0);
            gap.unwrap().verdict
        };
        let plain = TargetRule::default();
        assert_eq!(verdict(&balanced, [0.3, 0.2]), Verdict::None);
        assert_eq!(verdict(&plain, [0.3, 0.2]), Verdict::Underfitting);
        let half = 2.0f32.ln();
        assert_eq!(verdict(&balanced, [half; 2]), Verdict::Underfitting);
        assert_eq!(verdict(&plain, [0.02, 0.5]), Verdict::None);
        assert_eq!(row_weights(&all, &plain), [1.0; 200]);
    }

    #[test]
    fn weights_of_rows_by_hand() {
        let rule = TargetRule {
            class_weights: vec![1.0, 5.0],
            ..TargetRule::default()
        };
        let mut all = Examples::new(Task::Classify);
        for i in 0..4 {
            all.push(i, i as usize + 2, &[1; 2], &[0; 2]);
        }
        all.targets = Targets::Classes(vec![Some(0), Some(1), Some(0), None]);
        // 1, 5, 1: 7/3 on average.
        let own = row_weights(&all, &rule);
        assert_eq!(own[..3], [1.0, 5.0, 1.0].map(|w| (w / (7.0 / 3.0)) as f32));
        assert!(own[3].is_nan());
        assert_eq!(times(&[2.0, 4.0], &[0.5, 3.0]), [1.0, 12.0]);
        // Of tags the mean over words: 3 and 1, 5 and 3.
        let tags = [
            Some(0),
            Some(1),
            Some(0),
            None,
            None,
            Some(1),
            Some(1),
            Some(0),
        ];
        all.targets = Targets::Tags {
            tokens: tags.to_vec(),
            words: Vec::new(),
            first_pieces: Vec::new(),
            unknown: Vec::new(),
        };
        assert_eq!(
            row_weights(&all, &rule),
            [3.0, 1.0, 5.0, 3.0].map(|w| w / 3.0)
        );
    }

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
