//! The encoder's last hidden states, read out for features: no head, no dropout.

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
}
