//! Outputs of a frozen prefix, kept by example (`--cache-frozen`): what never changes is computed once.

use crate::{Examples, TrainError};
use hone_bert::{Acts, Model, Pass, RowSet, Saved};
use hone_kernels::Backend;

/// Whether the outputs of frozen lower layers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrozenPrefix {
    /// Made again in every epoch.
    Recompute,
    /// Made once and kept in memory.
    Cache,
}

/// The kept outputs of a frozen prefix, in the host's memory.
pub(crate) struct PrefixCache<T> {
    layers: usize,
    width: usize,
    /// Where each example's output lies, in rows.
    offsets: Vec<usize>,
    values: Vec<T>,
    filled: Vec<bool>,
    /// A batch's output, side by side.
    staging: Vec<T>,
}

impl<T: Copy + Default> PrefixCache<T> {
    /// Room for the output of `layers` frozen layers over all examples.
    pub fn new<B: Backend<Act = T>>(
        model: &Model<B>,
        examples: &Examples,
        layers: usize,
    ) -> Result<Self, TrainError> {
        let width = model.config.hidden;
        let offsets = match model.prefix_rows(layers) {
            RowSet::All => examples.offsets.clone(),
            RowSet::First => (0..=examples.len()).collect(),
        };
        let len = offsets.last().map_or(0, |rows| rows * width);
        let mut values = Vec::new();
        values.try_reserve_exact(len).map_err(|_| {
            TrainError::Option(format!(
                "--cache-frozen: {} MB for the outputs of frozen layers are not to be had; train without it",
                (len * size_of::<T>()) >> 20
            ))
        })?;
        values.resize(len, T::default());
        Ok(PrefixCache {
            layers,
            width,
            offsets,
            values,
            filled: vec![false; examples.len()],
            staging: Vec::new(),
        })
    }

    /// Bytes of it.
    pub fn bytes(&self) -> u64 {
        (self.values.len() * size_of::<T>()) as u64
    }

    /// The model's forward pass over the listed examples, above what is known of them.
    pub fn forward<B: Backend<Act = T>>(
        &mut self,
        model: &Model<B>,
        acts: &mut Acts<B>,
        examples: &Examples,
        index: &[u32],
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let batch = examples.batch(index);
        let (offsets, width) = (&self.offsets, self.width);
        let span = |i: u32| offsets[i as usize] * width..offsets[i as usize + 1] * width;
        self.staging.clear();
        if index.iter().all(|&i| self.filled[i as usize]) {
            for &i in index {
                self.staging.extend_from_slice(&self.values[span(i)]);
            }
            let saved = Saved::Read(&self.staging);
            model.forward_saved(acts, &batch, pass, self.layers, saved)?;
            return Ok(());
        }
        let len = index.iter().map(|&i| span(i).len()).sum();
        self.staging.resize(len, T::default());
        let saved = Saved::Write(&mut self.staging);
        model.forward_saved(acts, &batch, pass, self.layers, saved)?;
        let mut at = 0;
        for &i in index {
            let to = &mut self.values[span(i)];
            to.copy_from_slice(&self.staging[at..at + to.len()]);
            at += to.len();
            self.filled[i as usize] = true;
        }
        Ok(())
    }
}
