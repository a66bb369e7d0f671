//! Rows that a finished model did not see, which calibrate it and find its threshold of abstention: whose answers they are,
//! and whether there are enough of them to be sure of anything.

use crate::abstain::{CERTAINTY, least_rows};
use crate::calibrate::{Answers, LEAST_ROWS};
use crate::job::Job;
use crate::prepare::task_of;
use crate::reading::Sureness;
use crate::{Examples, TrainError};
use hone_bert::Task;

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

    /// How certain a rule of abstention is that these rows find: out of fold other models answered them than the one that
    /// is to answer.
    pub(crate) fn certainty(self) -> Option<f64> {
        match self {
            HeldOut::Valid => Some(CERTAINTY),
            HeldOut::OutOfFold(_) => None,
        }
    }

    /// Rows whose label the model knows: an answer to any other could not be right.
    pub(crate) fn rows(self, valid: Option<&Examples>) -> usize {
        match self {
            HeldOut::Valid => valid.map_or(0, |v| v.targets.known()),
            HeldOut::OutOfFold(answers) => answers.len(),
        }
    }

    /// The temperature of answers to these rows; too few of them are an error, however they came to be so few.
    pub(crate) fn temperature(self, answers: &Answers) -> Result<f64, TrainError> {
        enough(answers.len(), self.name())?;
        Ok(answers.temperature())
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

/// Refuses a temperature of too few rows.
fn enough(rows: usize, what: &str) -> Result<(), TrainError> {
    match rows < LEAST_ROWS {
        true => Err(TrainError::Option(format!(
            "--calibrate needs {LEAST_ROWS} {what} at least, there are {rows} with a known label{}",
            instead(what, "--calibrate")
        ))),
        false => Ok(()),
    }
}

impl Job<'_> {
    /// `--calibrate` and `--abstain-precision` need classes, and held-out rows enough; `rows` is the number of those whose
    /// label is known ([`crate::Targets::known`]), `what` names them.
    pub fn can_conclude(&self, rows: usize, what: &str) -> Result<(), TrainError> {
        self.can_calibrate(rows, what)?;
        self.can_abstain(rows, what)
    }

    fn can_calibrate(&self, rows: usize, what: &str) -> Result<(), TrainError> {
        match (self.options.calibrate, task_of(self.data.kind)) {
            (false, _) => Ok(()),
            (true, Task::Classify) => enough(rows, what),
            (true, _) => Err(TrainError::Option(
                "--calibrate is for texts of one class each".to_owned(),
            )),
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
                "--abstain-precision {wanted} needs {needed} {what} at least, there are {rows} with a known label{}",
                instead(what, &format!("--abstain-precision {wanted}"))
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::Targets;

    /// A label that the model does not know tells nothing of what it knows.
    #[test]
    fn rows_of_unknown_labels_are_not_counted() {
        let mut valid = Examples::new(Task::Classify);
        valid.targets = Targets::Classes(vec![Some(0), None, Some(1), None, None]);
        assert_eq!(HeldOut::Valid.rows(Some(&valid)), 2);
        assert_eq!(HeldOut::Valid.rows(None), 0);
        let mut answers = Answers::new(2);
        answers.push(&[1.0, 0.0], 1);
        assert_eq!(HeldOut::OutOfFold(&answers).rows(Some(&valid)), 1);
    }

    /// Whoever brings the answers, too few of them have no temperature.
    #[test]
    fn few_answers_have_no_temperature() {
        let answers = |rows: usize| {
            let mut all = Answers::new(2);
            (0..rows).for_each(|i| all.push(&[1.0, 0.0], i % 2));
            all
        };
        let few = answers(LEAST_ROWS - 1);
        for by in [HeldOut::Valid, HeldOut::OutOfFold(&few)] {
            let said = by.temperature(&few).unwrap_err().to_string();
            let says = format!("200 {} at least, there are 199 with", by.name());
            assert!(said.contains(&says), "{said}");
        }
        assert!(HeldOut::Valid.temperature(&answers(LEAST_ROWS)).is_ok());
    }
}
