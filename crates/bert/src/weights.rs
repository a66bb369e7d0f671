//! A model's weights from outside a pass: written one by one, said in other units, read back, saved.

use crate::task::Task;
use crate::{BertError, Model, Units, load, save};
use hone_kernels::Backend;
use hone_tensor::{Param, Real};
use std::path::Path;

impl<B: Backend> Model<B> {
    /// The table's row `index`.
    fn param(&self, index: usize) -> Result<&Param, BertError> {
        let params = self.layout.table.params();
        params.get(index).ok_or_else(|| BertError::Values {
            name: format!("number {index}"),
            found: format!("the table has {} rows, counted from 0", params.len()),
        })
    }

    /// Writes one parameter from f32 values.
    pub fn set(&mut self, index: usize, values: &[f32]) -> Result<(), BertError> {
        let param = self.param(index)?;
        if values.len() != param.len() {
            return Err(BertError::Values {
                name: param.name.clone(),
                found: format!("{} values, {} were expected", values.len(), param.len()),
            });
        }
        load::set(self.backend.as_ref(), &mut self.params, index, 0, values)
    }

    /// Draws one parameter anew, as for training from scratch.
    pub fn draw(&mut self, index: usize, seed: u64) -> Result<(), BertError> {
        let std = self.config.initializer_range;
        let values = load::fresh(self.param(index)?, std, seed);
        self.set(index, &values)
    }

    /// Divides every logit by `by` from now on: the classifier's weight and bias are.
    pub fn divide_logits(&mut self, by: f64) -> Result<(), BertError> {
        if !(by.is_finite() && by > 0.0) {
            return Err(BertError::Values {
                name: "the classifier's".to_owned(),
                found: format!("to be divided by {by}; a number above 0 was expected"),
            });
        }
        self.change_classifier(|w| w / by, |b| b / by)
    }

    /// The units the head answers in: those of [`Model::logits`] are values, always.
    pub fn units(&self) -> Units {
        self.units
    }

    /// Has a head that answers values answer them in other units from now on. The same weights say something else then:
    /// for a new head, before it learns anything.
    pub fn answer_in(&mut self, units: Units) {
        debug_assert!(self.task == Task::Regress);
        self.units = units;
    }

    /// Says the same values in other units: the classifier's weight and bias are changed.
    pub fn restate_in(&mut self, units: Units) -> Result<(), BertError> {
        if units == self.units {
            return Ok(());
        }
        let from = self.units;
        let scale = from.deviation / units.deviation;
        self.change_classifier(|w| w * scale, |b| units.output(from.value(b)))?;
        self.units = units;
        Ok(())
    }

    /// Changes each number of the classifier's weight and bias.
    fn change_classifier(
        &mut self,
        weight: impl Fn(f64) -> f64,
        bias: impl Fn(f64) -> f64,
    ) -> Result<(), BertError> {
        let pair = self.layout.classifier;
        let changes: [(usize, &dyn Fn(f64) -> f64); 2] =
            [(pair.weight, &weight), (pair.bias, &bias)];
        for (index, change) in changes {
            let param = &self.layout.table.params()[index];
            let b = self.backend.as_ref();
            let mut values = vec![B::Master::default(); param.len()];
            b.download(b.param(&self.params, param.range()), &mut values)?;
            for x in &mut values {
                *x = B::Master::from_f64(change(x.to_f64()));
            }
            b.set_param(&mut self.params, index, 0, &values)?;
        }
        Ok(())
    }

    /// Every parameter, in table order, as f32.
    pub fn download(&self) -> Result<Vec<Vec<f32>>, BertError> {
        save::download(self.backend.as_ref(), &self.params, &self.layout)
    }

    /// Writes `config.json` and `model.safetensors` for transformers, which knows plain units alone ([`Model::restate_in`]).
    pub fn save(&self, folder: &Path) -> Result<(), BertError> {
        if self.units != Units::PLAIN {
            return Err(BertError::Values {
                name: "the classifier's".to_owned(),
                found: format!("to be saved in units of {:?}", self.units),
            });
        }
        save::save_config(&self.config, self.task, &self.labels, folder)?;
        let path = folder.join("model.safetensors");
        let beside = &self.carried;
        save::save_weights(
            self.backend.as_ref(),
            &self.params,
            &self.layout,
            beside,
            &path,
        )
    }
}
