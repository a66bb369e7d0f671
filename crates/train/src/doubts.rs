//! Options that do less than they seem to in the run that is planned: said before its first step, or an error where the run
//! would do nothing.

use crate::course::Course;
use crate::engine::Engine;
use crate::events::Event;
use crate::standardize::hardly_reached;
use crate::training::Training;
use crate::watch::{CollapseGuard, Guard};
use crate::{Average, InitHead, Options, Standardize, Targets, TrainError};
use hone_bert::Units;
use hone_kernels::Backend;
use hone_optim::Warmup;
use hone_tensor::Depth;

impl<B: Backend> Training<'_, B> {
    /// Says what the options will not do in a run of so many steps.
    pub(crate) fn doubts(&mut self, engine: &Engine<B>, course: &Course) -> Result<(), TrainError> {
        let (options, steps) = (self.options, course.steps);
        let soonest = self.soonest_stop(course);
        let doubts = [
            long_warmup(options, steps)?,
            engine.asleep(self.model),
            early_average(options, soonest.is_some_and(|at| at < steps)),
            one_draw(options),
            nobody_else(options),
            soonest.and_then(|at| self.long_patience(at, course)),
            engine.unmixed(),
            engine.drawn_and_frozen(self.model, options.reinit_top),
            self.far_values(),
        ];
        for text in doubts.into_iter().flatten() {
            self.sink.event(&Event::Warning { text });
        }
        Ok(())
    }
}

impl<B: Backend> Training<'_, B> {
    /// Values that a head which begins at random, near 0, can hardly reach, in plain units.
    fn far_values(&self) -> Option<String> {
        let Targets::Values(values) = &self.train.targets else {
            return None;
        };
        let values = || values.iter().map(|&v| f64::from(v));
        let params = self.model.layout().table.params();
        let mut rows = params.iter().zip(self.pretrained);
        let random = self.options.init_head == InitHead::Random
            && rows.any(|(p, loaded)| p.depth == Depth::Head && !loaded);
        let [low, high] = values().fold([f64::INFINITY, f64::NEG_INFINITY], |[l, h], v| {
            [l.min(v), h.max(v)]
        });
        let plain = self.options.standardize == Standardize::Never;
        (random && plain && hardly_reached(Units::of(values()))).then(|| {
            format!(
                "the values go from {low} to {high}, and a new head begins near 0 and moves by about its learning rate a step: \
                 --standardize auto has it learn them in units of their own mean and deviation"
            )
        })
    }

    /// The first step after which patience can be at its end: the first validation is the best so far.
    fn soonest_stop(&self, course: &Course) -> Option<usize> {
        let patience = self.options.patience.filter(|_| self.valid.is_some())?;
        Some(patience.saturating_add(1).saturating_mul(course.every))
    }

    /// Patience that is longer than the run, or that may end a run before the collapse guard has judged it.
    fn long_patience(&self, soonest: usize, course: &Course) -> Option<String> {
        let (options, steps) = (self.options, course.steps);
        let patience = options.patience.unwrap_or(0);
        if soonest >= steps {
            return Some(format!(
                "--patience {patience}: the run has {} validations, so it cannot stop before its last",
                steps.div_ceil(course.every)
            ));
        }
        let judged = Guard::judged_at(options.rising_steps(steps), steps)?;
        let guarded = options.collapse_guard == CollapseGuard::Restart && soonest < judged;
        guarded.then(|| {
            format!(
                "--patience {patience}: it can stop the run after step {soonest}, before the collapse guard has judged it \
                 at step {judged}; a run that collapses may then end instead of beginning anew"
            )
        })
    }
}

/// A warm-up of a count of steps that is no shorter than the run.
fn long_warmup(options: &Options, steps: usize) -> Result<Option<String>, TrainError> {
    let warmup = match options.warmup {
        Warmup::Steps(n) if n >= steps && options.schedule.takes_warmup() => n,
        _ => return Ok(None),
    };
    let largest = options.multipliers(0..steps, steps).largest;
    if largest == 0.0 {
        return Err(TrainError::Option(format!(
            "--warmup {warmup}: the run has {steps} step, whose rate would be 0, so nothing would move; give fewer steps, \
             or a part of the run such as 6%"
        )));
    }
    Ok(Some(format!(
        "--warmup {warmup}: the run has {steps} steps, so the rate reaches {:.0} % of its peak and never falls; give fewer \
         steps, or a part of the run such as 6%",
        100.0 * largest
    )))
}

/// An average over the end of a run that may stop before it.
fn early_average(options: &Options, stops: bool) -> Option<String> {
    match (options.average, stops) {
        (Average::Tail(_), true) => Some(format!(
            "--average {}: a run that --patience stops before its last part averages nothing; an average from the start is \
             --average ema:0.999",
            String::from(options.average)
        )),
        _ => None,
    }
}

/// Two passes over each text that drop nothing.
fn one_draw(options: &Options) -> Option<String> {
    // Layers that never train drop nothing.
    let still = options.freeze == "all" && options.unfreeze == "none";
    let dropped = match still {
        true => options.head_dropout,
        false => options.dropout + options.attention_dropout + options.head_dropout,
    };
    (options.r_drop > 0.0 && dropped == 0.0).then(|| {
        format!(
            "--r-drop {}: where nothing is dropped both passes over a text are the same, which takes twice as long and changes \
             nothing; give --dropout, or leave --r-drop out",
            options.r_drop
        )
    })
}

/// A contrast of texts that are alone in their batches.
fn nobody_else(options: &Options) -> Option<String> {
    let alone = options.batch_size == 1 && options.r_drop == 0.0;
    (options.contrast > 0.0 && alone).then(|| {
        format!(
            "--contrast {}: a batch holds one text, which is held against no other, so nothing changes; give a larger \
             --batch-size (--grad-accum does not help), or leave --contrast out",
            options.contrast
        )
    })
}
