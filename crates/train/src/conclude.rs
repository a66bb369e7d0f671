//! What is asked of a model once it is trained: answers to calibrate on, and whether there are rows enough to be sure of
//! anything.

use crate::abstain::least_rows;
use crate::calibrate::{Answers, LEAST_ROWS};
use crate::evaluate::{EvalBatches, Prediction, predict};
use crate::events::{Event, Sink};
use crate::examples::Targets;
use crate::fit::Prepared;
use crate::job::Job;
use crate::prepare::task_of;
use crate::{Examples, TrainError};
use hone_bert::{Model, Task};
use hone_kernels::Backend;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

impl Job<'_> {
    /// Logits and labels of a part, rows without a known label left out; `None` where the user asked to stop.
    pub(crate) fn answers<B: Backend>(
        &self,
        model: &Model<B>,
        examples: &Examples,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
        started: Instant,
    ) -> Result<Option<Answers>, TrainError> {
        let batches = EvalBatches::USUAL;
        let mut acts = model.plan_eval(batches.limits(examples))?;
        let mut all = Answers::new(model.classes());
        let mut each = |p: Prediction<'_>| {
            if let Targets::Classes(classes) = &examples.targets
                && let Some(class) = classes[p.index]
            {
                all.push(p.logits, class as usize);
            }
        };
        let total = examples.len();
        let whole = predict(model, &mut acts, examples, batches, &mut each, |rows| {
            sink.event(&Event::Evaluating {
                rows,
                total,
                seconds: started.elapsed().as_secs_f64(),
            });
            !stop.load(Ordering::SeqCst)
        })?;
        Ok(whole.then_some(all))
    }

    /// `--calibrate` needs classes, and held-out rows enough.
    pub(crate) fn can_calibrate(&self, valid: Option<&Prepared>) -> Result<(), TrainError> {
        let rows = valid.map_or(0, |v| v.examples.len());
        let wrong = |what: String| Err(TrainError::Option(what));
        match self.options.calibrate {
            true if task_of(self.data.kind) != Task::Classify => {
                wrong("--calibrate is for texts of one class each".to_owned())
            }
            true if rows < LEAST_ROWS => wrong(format!(
                "--calibrate needs {LEAST_ROWS} validation rows at least, there are {rows}"
            )),
            _ => Ok(()),
        }
    }

    /// `--abstain-precision` needs classes, and held-out rows enough.
    pub(crate) fn can_abstain(&self, valid: Option<&Prepared>) -> Result<(), TrainError> {
        let Some(wanted) = self.options.abstain_precision else {
            return Ok(());
        };
        let (rows, needed) = (valid.map_or(0, |v| v.examples.len()), least_rows(wanted));
        if task_of(self.data.kind) != Task::Classify {
            return Err(TrainError::Option(
                "--abstain-precision is for texts of one class each".to_owned(),
            ));
        }
        if rows < needed {
            return Err(TrainError::Option(format!(
                "--abstain-precision {wanted} needs {needed} validation rows at least, there are {rows}"
            )));
        }
        Ok(())
    }
}
