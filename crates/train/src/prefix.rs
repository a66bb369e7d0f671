//! Outputs of a frozen prefix, kept by example (`--cache-frozen`): what never changes is computed once.

use crate::{Examples, TrainError};
use hone_bert::{Acts, Model, Pass, RowSet, Saved};
use hone_kernels::Backend;
use hone_tensor::{Depth, Real};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Whether the outputs of frozen lower layers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrozenPrefix {
    /// Made again in every epoch.
    Recompute,
    /// Made once and kept in memory.
    Cache,
}

/// The kept outputs of a frozen prefix, in the host's memory. Several runs that start from the same weights may
/// share one, over all examples that any of them reads; a run whose frozen weights are others makes its own anew.
pub struct PrefixCache<T> {
    layers: Option<usize>,
    width: usize,
    /// The frozen part that made what is kept ([`made_by`]).
    made_by: u64,
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

hone_tensor::brief_debug! {
    [T] PrefixCache<T>, |c|
    layers: c.layers, width: c.width, examples: c.places.len(), numbers: c.values.len()
}

/// Tells frozen parts apart: a hash of all that the output of `layers` layers is computed with. Shape alone would let
/// another model train on this one's outputs.
pub(crate) fn made_by<B: Backend>(model: &Model<B>, layers: usize) -> Result<u64, TrainError> {
    let (b, c) = (model.backend().as_ref(), model.config());
    let mut hash = DefaultHasher::new();
    (layers, c.heads, c.activation as u8, c.norm_eps.to_bits()).hash(&mut hash);
    for param in model.layout().table.params() {
        let below = match param.depth {
            Depth::Embeddings => true,
            Depth::Layer(l) => l < layers,
            Depth::Pooler | Depth::Head => false,
        };
        if below {
            let mut values = vec![B::Master::default(); param.len()];
            b.download(b.param(model.params(), param.range()), &mut values)?;
            for x in values {
                hash.write_u64(x.to_f64().to_bits());
            }
        }
    }
    Ok(hash.finish())
}

impl<T: Copy + Default> PrefixCache<T> {
    /// A cache for these examples and any selection of them; it takes no memory yet.
    pub fn over(examples: &Examples) -> Self {
        PrefixCache {
            layers: None,
            width: 0,
            made_by: 0,
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
        let made_by = made_by(model, layers)?;
        let same = self.layers == Some(layers) && self.width == model.config().hidden;
        if same && self.made_by == made_by {
            return Ok(());
        }
        self.made_by = made_by;
        self.width = model.config().hidden;
        self.layers = Some(layers);
        self.make_room(model, layers)
    }

    /// Another cache of the same frozen layers' outputs, for other examples.
    pub(crate) fn beside<B: Backend<Act = T>>(
        &self,
        model: &Model<B>,
        examples: &Examples,
    ) -> Result<Self, TrainError> {
        let mut other = PrefixCache {
            layers: self.layers,
            width: self.width,
            made_by: self.made_by,
            ..PrefixCache::over(examples)
        };
        other.make_room(model, self.layers.unwrap_or(0))?;
        Ok(other)
    }

    fn make_room<B: Backend<Act = T>>(
        &mut self,
        model: &Model<B>,
        layers: usize,
    ) -> Result<(), TrainError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use hone_bert::{Config, Limits, Task};
    use hone_kernels::Reference;
    use std::sync::Arc;

    type R = Reference<f64>;

    fn model(seed: u64, change: impl FnOnce(&mut Config)) -> Model<R> {
        let mut config = Config::with_shape(8, 2, 2, 12, 20);
        config.initializer_range = 0.3;
        change(&mut config);
        let labels = vec!["a".to_owned(), "b".to_owned()];
        let backend = Arc::new(R::default());
        let made = Model::random(backend, config, Task::Classify, labels, seed);
        made.unwrap().0
    }

    /// Logits over a cache, and over none.
    fn both(cache: &mut PrefixCache<f64>, model: &Model<R>, examples: &Examples) -> [Vec<f64>; 2] {
        const LAYERS: usize = 1;
        let index: Vec<u32> = (0..examples.len() as u32).collect();
        let batch = examples.batch(&index);
        let limits = Limits::of(&batch);
        let layout = model.layout().grad_layout(|p| match p.depth {
            Depth::Embeddings => false,
            Depth::Layer(l) => l >= LAYERS,
            Depth::Pooler | Depth::Head => true,
        });
        let mut acts = model.plan_train(limits, &layout).unwrap();
        model.keep_prefix(&mut acts, limits).unwrap();
        cache.begin(model, LAYERS).unwrap();
        let pass = Pass::eval();
        cache
            .forward(model, &mut acts, examples, &index, &pass)
            .unwrap();
        let over = model.logits(&acts).unwrap();
        model.forward(&mut acts, &batch, &pass).unwrap();
        [over, model.logits(&acts).unwrap()]
    }

    /// A reading above a cache is the reading without one, and the second time nothing below is computed: it does not matter
    /// any more what the embeddings hold.
    #[test]
    fn a_second_reading_computes_no_frozen_layer() {
        use crate::evaluate::{EvalBatches, predict_above};
        let mut examples = Examples::new(Task::Classify);
        for (id, n) in [4usize, 7, 2, 5].into_iter().enumerate() {
            let ids: Vec<u32> = (0..n).map(|t| ((5 * id + 3 * t) % 20) as u32).collect();
            examples.push(id as u64, id + 1, &ids, &vec![0; n]);
        }
        let mut model = model(1, |_| {});
        let batches = EvalBatches {
            rows: 3,
            tokens: 12,
        };
        let limits = batches.limits(&examples);
        let mut acts = model.plan_eval(limits).unwrap();
        model.keep_prefix(&mut acts, limits).unwrap();
        let other = Examples::new(Task::Classify);
        let mut training = PrefixCache::over(&other);
        training.begin(&model, 1).unwrap();
        let mut known = training.beside(&model, &examples).unwrap();
        let mut read = |known: Option<&mut PrefixCache<f64>>, model: &Model<R>| {
            let mut logits = Vec::new();
            let each = |p: crate::Prediction<'_>| logits.extend_from_slice(p.logits);
            predict_above(known, model, &mut acts, &examples, batches, each, |_| true).unwrap();
            logits
        };
        let want = read(None, &model);
        assert_eq!(read(Some(&mut known), &model), want);
        assert_eq!(known.filled(), 4);
        let words = model.layout().words().0;
        model.draw(words, 7).unwrap();
        assert_eq!(read(Some(&mut known), &model), want);
        assert_ne!(read(None, &model), want);
    }

    /// Models of one shape do not read each other's outputs; one whose frozen part is the same does.
    #[test]
    fn a_cache_is_of_the_weights_that_filled_it() {
        let mut examples = Examples::new(Task::Classify);
        for (id, n) in [4usize, 7, 2].into_iter().enumerate() {
            let ids: Vec<u32> = (0..n).map(|t| ((5 * id + 3 * t) % 20) as u32).collect();
            examples.push(id as u64, id + 1, &ids, &vec![0; n]);
        }
        let mut cache = PrefixCache::over(&examples);
        let first = model(1, |_| {});
        let [over, plain] = both(&mut cache, &first, &examples);
        assert_eq!(over, plain);
        let other_top = {
            let mut model = model(1, |_| {});
            let head = model.layout().table.index("classifier.weight").unwrap();
            model.draw(head, 9).unwrap();
            model
        };
        cache.begin(&other_top, 1).unwrap();
        assert_eq!(cache.filled(), 3);
        for other in [
            other_top,
            model(2, |_| {}),
            model(2, |c| c.norm_eps = 0.5),
            model(2, |c| c.activation = hone_kernels::Activation::Relu),
            first,
        ] {
            let [over, plain] = both(&mut cache, &other, &examples);
            assert_eq!(over, plain);
            let [again, _] = both(&mut cache, &other, &examples);
            assert_eq!(again, plain);
        }
    }
}
