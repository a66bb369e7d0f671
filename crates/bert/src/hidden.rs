//! The encoder's hidden states, read out for features and for comparisons of encoders: no head, no dropout.

use crate::acts::RowSet;
use crate::{Acts, BertError, Limits, Model, Pass};
use hone_kernels::Backend;
use hone_tensor::Ragged;

impl<B: Backend> Model<B> {
    /// Buffers of [`Model::hidden`] for batches up to `limits`, with these rows of the last layer, whatever the
    /// head reads of it.
    pub fn plan_hidden(&self, limits: Limits, rows: RowSet) -> Result<Acts<B>, BertError> {
        self.plan(limits, self.config.layers, None, rows)
    }

    /// The last layer's output, `[T, H]` (`[S, H]` where first rows were planned), into `out`.
    pub fn hidden(
        &self,
        acts: &mut Acts<B>,
        batch: &Ragged,
        out: &mut Vec<B::Act>,
    ) -> Result<(), BertError> {
        let b = self.backend().as_ref();
        self.begin(acts, batch, &Pass::eval())?;
        self.embed(acts);
        self.encode(acts, 0..self.config.layers);
        let n = acts.last.count(acts.batch.size()) * self.config.hidden;
        out.clear();
        out.resize(n, B::Act::default());
        b.download(b.head(&acts.stream.x, n), out)?;
        Ok(())
    }

    /// Every layer's output of a batch, `[T, H]` each, into `out`: that of the embeddings, then layer 0's, 1's, …;
    /// the last is what [`Model::hidden`] gives. Needs all rows planned ([`RowSet::All`]).
    pub fn hidden_by_layer(
        &self,
        acts: &mut Acts<B>,
        batch: &Ragged,
        out: &mut Vec<Vec<B::Act>>,
    ) -> Result<(), BertError> {
        if acts.last != RowSet::All {
            let found = "hidden states of every layer need all rows planned".to_owned();
            return Err(BertError::Batch(found));
        }
        let b = self.backend().as_ref();
        self.begin(acts, batch, &Pass::eval())?;
        let n = acts.batch.size().tokens * self.config.hidden;
        out.resize_with(self.config.layers + 1, Vec::new);
        self.embed(acts);
        for (l, out) in out.iter_mut().enumerate() {
            if l > 0 {
                self.encode(acts, l - 1..l);
            }
            out.clear();
            out.resize(n, B::Act::default());
            b.download(b.head(&acts.stream.x, n), out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Task};
    use hone_kernels::Reference;
    use hone_tensor::Real;
    use std::sync::Arc;

    /// Against the activations that the fixtures compare with transformers.
    #[test]
    fn every_layers_output_is_that_of_a_pass() {
        let mut config = Config::with_shape(16, 3, 2, 32, 50);
        config.initializer_range = 0.2;
        let backend = Arc::new(Reference::<f64>::default());
        let labels = vec!["a".to_owned(), "b".to_owned()];
        let (model, _) = Model::random(backend, config, Task::Tag, labels, 3).unwrap();
        let mut batch = Ragged::new();
        for (i, n) in [5, 1, 9].into_iter().enumerate() {
            let ids: Vec<u32> = (0..n).map(|t| (7 * i as u32 + 3 * t) % 50).collect();
            batch.push(i as u64, &ids, &vec![0; ids.len()]);
        }
        let limits = Limits::of(&batch);
        let grads = model.layout().table.grad_layout(|_| true);
        let mut acts = model.plan_train(limits, &grads).unwrap();
        model.forward(&mut acts, &batch, &Pass::eval()).unwrap();
        let named = model.activations(&mut acts).unwrap();
        let mut acts = model.plan_hidden(limits, RowSet::All).unwrap();
        let mut found = Vec::new();
        model
            .hidden_by_layer(&mut acts, &batch, &mut found)
            .unwrap();
        for (l, found) in found.iter().enumerate() {
            let name = match l {
                0 => "embeddings".to_owned(),
                l => format!("layer.{}.output", l - 1),
            };
            let want = &named.iter().find(|a| a.name == name).unwrap().values;
            assert_eq!(found.len(), want.len(), "{name}");
            for (found, want) in found.iter().zip(want) {
                assert!((found.to_f64() - want).abs() < 1e-12, "{name}");
            }
        }
        let mut last = Vec::new();
        model.hidden(&mut acts, &batch, &mut last).unwrap();
        assert_eq!(&last, found.last().unwrap());
        let mut first = model.plan_hidden(limits, RowSet::First).unwrap();
        assert!(
            model
                .hidden_by_layer(&mut first, &batch, &mut found)
                .is_err()
        );
    }
}
