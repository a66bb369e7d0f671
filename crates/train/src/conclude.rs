//! What is asked of a model once it is trained: answers to calibrate on, and whether there are rows enough to be sure of
//! anything.

use crate::abstain::least_rows;
use crate::calibrate::{Answers, LEAST_ROWS};
use crate::evaluate::{EvalBatches, Prediction, predict};
use crate::events::{Event, Sink};
use crate::examples::Targets;
use crate::job::Job;
use crate::prepare::task_of;
use crate::reading::Sureness;
use crate::{Examples, TrainError};
use hone_bert::{Model, Task};
use hone_kernels::Backend;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Whose answers calibrate a finished model and find its threshold of abstention.
#[derive(Debug, Clone, Copy)]
pub enum HeldOut<'a> {
    /// The model's own, to the validation part.
    Valid,
    /// Those of a cross-validation's models, each to rows that it did not see, for a model of all rows.
    OutOfFold(&'a Answers),
}

impl HeldOut<'_> {
    /// As people are told.
    pub(crate) fn name(self) -> &'static str {
        match self {
            HeldOut::Valid => "validation rows",
            HeldOut::OutOfFold(_) => "out-of-fold rows",
        }
    }

    /// How sure the answers are under a temperature; `valid` is the model's own.
    pub(crate) fn sureness(
        self,
        temperature: f64,
        valid: Option<&[Sureness]>,
    ) -> Option<Vec<Sureness>> {
        match self {
            HeldOut::Valid => valid.map(<[Sureness]>::to_vec),
            HeldOut::OutOfFold(answers) => Some(answers.sureness(temperature)),
        }
    }
}

/// What gives more rows that the model did not see, where validation rows are too few.
fn instead(what: &str, flag: &str) -> String {
    match what.starts_with("validation") {
        true => format!(
            "; hone crossval --final-fit {flag} reads the folds' answers to every row instead"
        ),
        false => String::new(),
    }
}

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

    /// `--calibrate` and `--abstain-precision` need classes, and held-out rows enough; `what` names the rows.
    pub fn can_conclude(&self, rows: usize, what: &str) -> Result<(), TrainError> {
        self.can_calibrate(rows, what)?;
        self.can_abstain(rows, what)
    }

    fn can_calibrate(&self, rows: usize, what: &str) -> Result<(), TrainError> {
        let wrong = |what: String| Err(TrainError::Option(what));
        match self.options.calibrate {
            true if task_of(self.data.kind) != Task::Classify => {
                wrong("--calibrate is for texts of one class each".to_owned())
            }
            true if rows < LEAST_ROWS => wrong(format!(
                "--calibrate needs {LEAST_ROWS} {what} at least, there are {rows}{}",
                instead(what, "--calibrate")
            )),
            _ => Ok(()),
        }
    }

    fn can_abstain(&self, rows: usize, what: &str) -> Result<(), TrainError> {
        let Some(wanted) = self.options.abstain_precision else {
            return Ok(());
        };
        let needed = least_rows(wanted);
        if task_of(self.data.kind) != Task::Classify {
            return Err(TrainError::Option(
                "--abstain-precision is for texts of one class each".to_owned(),
            ));
        }
        if rows < needed {
            return Err(TrainError::Option(format!(
                "--abstain-precision {wanted} needs {needed} {what} at least, there are {rows}{}",
                instead(what, &format!("--abstain-precision {wanted}"))
            )));
        }
        Ok(())
    }
}
