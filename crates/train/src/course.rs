//! The course of a run: how many steps it has, which texts make one, and after which of them something is due. Nothing of it
//! changes while the run goes.

use crate::batches::{BatchPlan, Order};
use crate::options::can_run;
use crate::{Options, TrainError};

/// Steps of a run, and what comes when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    /// How epochs are ordered and cut into steps.
    pub plan: BatchPlan,
    /// Training texts.
    pub rows: usize,
    /// Optimiser steps.
    pub steps: usize,
    /// Those of an epoch.
    pub per_epoch: usize,
    /// Steps between two validations.
    pub every: usize,
    /// Steps between two checkpoints; none: only where the run is interrupted.
    save: Option<usize>,
}

impl Course {
    /// The course of a run over `rows` texts, each of which a step computes `draws` times.
    pub fn of(options: &Options, rows: usize, draws: usize) -> Result<Course, TrainError> {
        let plan = BatchPlan {
            step_rows: options.step_rows(),
            micro_rows: options.batch_size,
            // Texts that are held against each other stay together.
            max_tokens: match options.drawn_together() {
                Some(_) => usize::MAX,
                None => options.max_tokens / draws,
            },
            order: match options.shuffle {
                true => Order::Shuffled { seed: options.seed },
                false => Order::File,
            },
        };
        let per_epoch = plan.steps_per_epoch(rows);
        let steps = options.steps(per_epoch);
        can_run(rows, steps)?;
        Ok(Course {
            plan,
            rows,
            steps,
            per_epoch,
            every: options.eval_every.steps(per_epoch),
            save: options.save_every.map(|cadence| cadence.steps(per_epoch)),
        })
    }

    /// Epochs of which the run has at least a step.
    pub fn epochs(&self) -> usize {
        self.steps.div_ceil(self.per_epoch)
    }

    /// Epochs that are done after this step.
    pub fn epoch_at(&self, step: usize) -> f64 {
        step as f64 / self.per_epoch as f64
    }

    /// Whether this is the last step.
    pub fn ends(&self, step: usize) -> bool {
        step == self.steps
    }

    /// Whether the validation part is read after this step.
    pub fn validates(&self, step: usize) -> bool {
        step.is_multiple_of(self.every) || self.ends(step)
    }

    /// Whether a checkpoint is due after this step, though nobody asks the run to stop.
    pub fn saves(&self, step: usize) -> bool {
        self.save.is_some_and(|n| step.is_multiple_of(n)) && !self.ends(step)
    }

    /// Times that the validation part is read from this step to the end.
    pub fn validations_after(&self, step: usize) -> usize {
        ((self.steps - step) / self.every).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cadence;

    /// Ten texts by four: three steps an epoch, seven in all.
    fn course(options: Options) -> Course {
        let options = Options {
            batch_size: 4,
            max_steps: Some(7),
            ..options
        };
        Course::of(&options, 10, 1).unwrap()
    }

    fn steps(is: impl Fn(usize) -> bool) -> Vec<usize> {
        (1..=7).filter(|&step| is(step)).collect()
    }

    #[test]
    fn what_is_due_comes_in_its_steps() {
        let usual = course(Options::default());
        assert_eq!((usual.per_epoch, usual.epochs()), (3, 3));
        assert_eq!(steps(|s| usual.validates(s)), [3, 6, 7]);
        assert!(steps(|s| usual.saves(s)).is_empty());
        assert_eq!((usual.epoch_at(3), usual.epoch_at(6)), (1.0, 2.0));
        assert_eq!([0, 3, 6].map(|s| usual.validations_after(s)), [2, 1, 1]);
        // The end has a checkpoint of its own, or a model.
        let often = course(Options {
            eval_every: Cadence::Steps(2),
            save_every: Some(Cadence::Steps(1)),
            ..Options::default()
        });
        assert_eq!(steps(|s| often.validates(s)), [2, 4, 6, 7]);
        assert_eq!(steps(|s| often.saves(s)), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn texts_that_are_drawn_twice_count_twice() {
        let options = Options {
            max_tokens: 100,
            ..Options::default()
        };
        let tokens = |draws| Course::of(&options, 10, draws).unwrap().plan.max_tokens;
        assert_eq!((tokens(1), tokens(2)), (100, 50));
    }
}
