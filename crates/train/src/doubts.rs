//! Options that do less than they seem to in the run that is planned: said before its first step, or an error where the run
//! would do nothing.

use crate::engine::Engine;
use crate::events::Event;
use crate::training::Training;
use crate::{Average, Options, TrainError};
use hone_kernels::Backend;
use hone_optim::Warmup;

impl<B: Backend> Training<'_, B> {
    /// Says what the options will not do in a run of so many steps.
    pub(crate) fn doubts(&mut self, engine: &Engine<B>, steps: usize) -> Result<(), TrainError> {
        let options = self.options;
        let doubts = [
            long_warmup(options, steps)?,
            engine.asleep(self.model),
            early_average(options),
            one_draw(options),
        ];
        for text in doubts.into_iter().flatten() {
            self.sink.event(&Event::Warning { text });
        }
        Ok(())
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
fn early_average(options: &Options) -> Option<String> {
    match (options.average, options.patience) {
        (Average::Tail(_), Some(_)) => Some(format!(
            "--average {}: a run that --patience stops before its last part averages nothing; an average from the start is \
             --average ema:0.999",
            String::from(options.average)
        )),
        _ => None,
    }
}

/// Two passes over each text that drop nothing.
fn one_draw(options: &Options) -> Option<String> {
    let dropped = options.dropout + options.attention_dropout + options.head_dropout;
    (options.r_drop > 0.0 && dropped == 0.0).then(|| {
        format!(
            "--r-drop {}: with every dropout 0 both passes over a text are the same, which takes twice as long and changes \
             nothing; give --dropout, or leave --r-drop out",
            options.r_drop
        )
    })
}
