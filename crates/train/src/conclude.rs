//! What is asked of a model once it is trained: answers to calibrate on, whether there are rows enough to be sure of
//! anything, and lists of rows worth reading.

use crate::abstain::least_rows;
use crate::calibrate::{Answers, LEAST_ROWS};
use crate::evaluate::{EvalBatches, Prediction, predict};
use crate::events::{Event, Sink};
use crate::examples::Targets;
use crate::fit::Prepared;
use crate::job::Job;
use crate::prepare::task_of;
use crate::reading::Reading;
use crate::row_lists::Listed;
use crate::{Examples, TrainError};
use hone_bert::{Model, Task};
use hone_data::Part;
use hone_kernels::Backend;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

impl Job<'_> {
    /// Writes wrong and uncertain rows of a part beside the model, and keeps the first of them.
    pub(crate) fn list(
        &self,
        (name, reading, prepared, part): (&'static str, &Reading, &Prepared, &Part),
        labels: &[String],
    ) -> Result<Listed, TrainError> {
        let lists = &reading.lists;
        if let Some(out) = self.out {
            fs::create_dir_all(out).map_err(|source| TrainError::Io {
                path: out.to_owned(),
                source,
            })?;
            lists.write_errors(&out.join("errors.csv"), &prepared.examples, part, labels)?;
            if task_of(self.data.kind) != Task::Regress {
                let path = out.join("uncertain.csv");
                lists.write_uncertain(&path, &prepared.examples, part, labels)?;
            }
        }
        Ok(lists.summary(name, &prepared.examples, part, labels))
    }

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
