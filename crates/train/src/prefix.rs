//! Outputs of a frozen prefix, kept by example (`--cache-frozen`): what never changes is computed once.

use crate::{Examples, TrainError};
use hone_bert::{Acts, Model, Pass, RowSet, Saved};
use hone_kernels::Backend;
use std::collections::HashMap;

/// Whether the outputs of frozen lower layers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrozenPrefix {
    /// Made again in every epoch.
    Recompute,
    /// Made once and kept in memory.
    Cache,
}

/// The kept outputs of a frozen prefix, in the host's memory. Several runs that start from the same weights may
/// share one, over all examples that any of them reads.
pub struct PrefixCache<T> {
    layers: Option<usize>,
    width: usize,
    /// Place of each example in the cache, by its id.
    places: HashMap<u64, usize>,
    /// Where each example's tokens would lie, side by side.
    tokens: Vec<usize>,
    /// Where each example's output lies, in rows.
    offsets: Vec<usize>,
    values: Vec<T>,
    filled: Vec<bool>,
    /// A batch's output, side by side.
    staging: Vec<T>,
}

impl<T: Copy + Default> PrefixCache<T> {
    /// A cache for these examples and any selection of them; it takes no memory yet.
    pub fn over(examples: &Examples) -> Self {
        PrefixCache {
            layers: None,
            width: 0,
            places: examples.example_ids.iter().copied().zip(0..).collect(),
            tokens: examples.offsets.clone(),
            offsets: Vec::new(),
            values: Vec::new(),
            filled: Vec::new(),
            staging: Vec::new(),
        }
    }

    /// Makes room for the output of `layers` frozen layers; what an earlier run left of the same stays.
    pub(crate) fn begin<B: Backend<Act = T>>(
        &mut self,
        model: &Model<B>,
        layers: usize,
    ) -> Result<(), TrainError> {
        if self.layers == Some(layers) && self.width == model.config.hidden {
            return Ok(());
        }
        self.width = model.config.hidden;
        let examples = self.tokens.len() - 1;
        self.offsets = match model.prefix_rows(layers) {
            RowSet::All => self.tokens.clone(),
            RowSet::First => (0..=examples).collect(),
        };
        let len = self.offsets.last().map_or(0, |rows| rows * self.width);
        self.values = Vec::new();
        self.values.try_reserve_exact(len).map_err(|_| {
            TrainError::Option(format!(
                "--cache-frozen: {} MB for the outputs of frozen layers are not to be had; train without it",
                (len * size_of::<T>()) >> 20
            ))
        })?;
        self.values.resize(len, T::default());
        self.filled = vec![false; examples];
        self.layers = Some(layers);
        Ok(())
    }

    /// Examples whose output is known.
    pub fn filled(&self) -> usize {
        self.filled.iter().filter(|f| **f).count()
    }

    /// Bytes of it.
    pub fn bytes(&self) -> u64 {
        (self.values.len() * size_of::<T>()) as u64
    }

    /// The model's forward pass over the listed examples, above what is known of them.
    pub(crate) fn forward<B: Backend<Act = T>>(
        &mut self,
        model: &Model<B>,
        acts: &mut Acts<B>,
        examples: &Examples,
        index: &[u32],
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let batch = examples.batch(index);
        let mut places = Vec::with_capacity(index.len());
        for &i in index {
            let id = examples.example_ids[i as usize];
            let place = self.places.get(&id).copied().ok_or_else(|| {
                TrainError::Option(format!(
                    "the cache of frozen layers was made without example {id}"
                ))
            })?;
            places.push(place);
        }
        let (offsets, width) = (&self.offsets, self.width);
        let layers = self.layers.unwrap_or(0);
        let span = |i: usize| offsets[i] * width..offsets[i + 1] * width;
        self.staging.clear();
        if places.iter().all(|&i| self.filled[i]) {
            for &i in &places {
                self.staging.extend_from_slice(&self.values[span(i)]);
            }
            let saved = Saved::Read(&self.staging);
            model.forward_saved(acts, &batch, pass, layers, saved)?;
            return Ok(());
        }
        let len = places.iter().map(|&i| span(i).len()).sum();
        self.staging.resize(len, T::default());
        let saved = Saved::Write(&mut self.staging);
        model.forward_saved(acts, &batch, pass, layers, saved)?;
        let mut at = 0;
        for &i in &places {
            let to = &mut self.values[span(i)];
            to.copy_from_slice(&self.staging[at..at + to.len()]);
            at += to.len();
            self.filled[i] = true;
        }
        Ok(())
    }
}
