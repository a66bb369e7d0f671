//! Frozen features that stay known: a text that several runs of a process begin with is read through the encoder once.
//!
//! The pass that chooses a pool, heads that begin fitted, folds, pairs, trials and second tries all ask for the hidden states of
//! the same texts by the same weights. What is known is told by the weights, the kernels' path, the text's tokens and the
//! pool: nothing that a value depends on is left out. Tagged words are read anew.

use crate::features::{Features, features};
use crate::prefix::made_by;
use crate::{EvalBatches, Examples, TrainError};
use hone_bert::{Model, Pool};
use hone_kernels::Backend;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Texts kept of each pool; further ones are read whenever they are asked for. Of a model of 1024 channels they are 33 MB.
const MOST_KEPT: usize = 8000;

/// Pooled hidden states `[hidden]` of texts that were read, for [`crate::Job::known`]: texts × hidden × 4 bytes for each pool
/// that is asked for, of 8 000 texts at most, and those of one encoder at a time.
#[derive(Default)]
pub struct KnownFeatures(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// The kernels' path and the hash of the weights.
    encoder: (String, u64),
    cls: Rows,
    mean: Rows,
}

/// Rows side by side, by the SHA-256 of their texts' tokens.
#[derive(Default)]
struct Rows {
    places: HashMap<[u8; 32], usize>,
    values: Vec<f32>,
}

impl Rows {
    fn get(&self, key: &[u8; 32], hidden: usize) -> Option<&[f32]> {
        let place = self.places.get(key)?;
        Some(&self.values[place * hidden..][..hidden])
    }

    fn keep(&mut self, key: [u8; 32], row: &[f32]) {
        let place = self.places.len();
        if place < MOST_KEPT && !self.places.contains_key(&key) {
            self.places.insert(key, place);
            self.values.extend_from_slice(row);
        }
    }
}

impl Kept {
    fn of(&mut self, pool: Pool) -> &mut Rows {
        match pool {
            Pool::Cls => &mut self.cls,
            Pool::Mean => &mut self.mean,
        }
    }
}

hone_tensor::brief_debug! { [] KnownFeatures, |k| texts: k.texts() }

impl KnownFeatures {
    /// Texts of which something is known, of each pool.
    fn texts(&self) -> [usize; 2] {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        [&kept.cls, &kept.mean].map(|rows| rows.places.len())
    }

    /// What is known of this model; of another one nothing is any more.
    fn open<B: Backend>(&self, model: &Model<B>) -> Result<MutexGuard<'_, Kept>, TrainError> {
        let encoder = (
            model.backend().path(),
            made_by(model, model.config().layers)?,
        );
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.encoder != encoder {
            *kept = Kept {
                encoder,
                ..Kept::default()
            };
        }
        Ok(kept)
    }

    /// Remembers features of these examples. Where rows are not computed alone nothing is: a run that was stopped and goes on
    /// reads them in other batches, and must find the same bits.
    pub(crate) fn keep<B: Backend>(
        &self,
        model: &Model<B>,
        examples: &Examples,
        pool: Pool,
        features: &Features,
    ) -> Result<(), TrainError> {
        if !B::ROWS_ALONE {
            return Ok(());
        }
        let mut kept = self.open(model)?;
        for i in 0..examples.len() {
            kept.of(pool).keep(examples.text_key(i), features.row(i));
        }
        Ok(())
    }

    /// As [`features`]; what is not known is read, each text once, and known from then on.
    pub(crate) fn features<B: Backend>(
        &self,
        model: &Model<B>,
        examples: &Examples,
        pool: Pool,
        batches: EvalBatches,
        mut progress: impl FnMut(usize) -> bool,
    ) -> Result<Option<Features>, TrainError> {
        if !B::ROWS_ALONE {
            return features(model, examples, pool, batches, progress);
        }
        let hidden = model.config().hidden;
        let mut kept = self.open(model)?;
        let rows = kept.of(pool);
        let keys: Vec<[u8; 32]> = (0..examples.len()).map(|i| examples.text_key(i)).collect();
        let (mut unknown, mut places) = (Vec::new(), HashMap::new());
        for (i, key) in (0..).zip(&keys) {
            if !rows.places.contains_key(key) && !places.contains_key(key) {
                places.insert(key, unknown.len());
                unknown.push(i);
            }
        }
        let known = examples.len() - unknown.len();
        let part = examples.select(&unknown);
        let read = features(model, &part, pool, batches, |done| progress(known + done))?;
        let Some(read) = read else {
            return Ok(None);
        };
        let mut values = Vec::with_capacity(examples.len() * hidden);
        for key in &keys {
            let row = match places.get(key) {
                Some(&place) => Some(read.row(place)),
                None => rows.get(key, hidden),
            };
            values.extend_from_slice(row.unwrap_or_default());
        }
        for (&i, row) in unknown.iter().zip(read.values.chunks_exact(hidden)) {
            rows.keep(keys[i as usize], row);
        }
        Ok(Some(Features {
            rows: examples.len(),
            hidden,
            values,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Targets, features_each};
    use hone_bert::{Config, Task};
    use hone_kernels_cpu::CpuBackend;
    use std::sync::Arc;

    fn model(seed: u64, change: impl FnOnce(&mut Config)) -> Model<CpuBackend> {
        let mut config = Config::with_shape(64, 3, 4, 96, 50);
        config.initializer_range = 0.2;
        change(&mut config);
        let labels = vec!["a".to_owned(), "b".to_owned()];
        let backend = Arc::new(CpuBackend::new(1));
        let made = Model::random(backend, config, Task::Classify, labels, seed);
        made.unwrap().0
    }

    /// Texts of many lengths; the last is the first one again, and the one before differs from it by its types alone.
    fn examples() -> Examples {
        let mut all = Examples::new(Task::Classify);
        let lengths = [5, 1, 17, 3, 40, 2, 9, 33, 5, 5];
        for (i, n) in lengths.into_iter().enumerate() {
            let text = if i >= 8 { 0 } else { i };
            let ids: Vec<u32> = (0..n).map(|t| ((7 * text + 3 * t) % 50) as u32).collect();
            all.push(i as u64, i + 1, &ids, &vec![u8::from(i == 8); n]);
        }
        all.targets = Targets::Classes(vec![Some(0); lengths.len()]);
        all
    }

    const ONE: EvalBatches = EvalBatches {
        rows: 1,
        tokens: 40,
    };
    const FEW: EvalBatches = EvalBatches {
        rows: 3,
        tokens: 40,
    };

    /// What is known has the bits that reading it alone, in other batches and another order, would give; and is not read.
    #[test]
    fn what_is_known_is_not_read_and_is_the_same() {
        let (model, all) = (model(1, |_| {}), examples());
        for pool in [Pool::Cls, Pool::Mean] {
            let known = KnownFeatures::default();
            let ask = |index: &[u32]| {
                let (part, mut heard) = (all.select(index), Vec::new());
                let hear = |rows| {
                    heard.push(rows);
                    true
                };
                let got = known.features(&model, &part, pool, ONE, hear).unwrap();
                let want = features(&model, &part, pool, EvalBatches::USUAL, |_| true).unwrap();
                assert!(got == want, "{} {index:?}", pool.name());
                heard
            };
            // What each text that is read brings the number of those done to: one that stands twice is read once.
            assert_eq!(ask(&[4, 0, 9]), [2, 3]);
            assert!(ask(&[0, 4, 9, 0]).is_empty());
            assert_eq!(ask(&[8, 7, 6, 5, 4, 3, 2, 1, 0]), [3, 4, 5, 6, 7, 8, 9]);
            assert!(ask(&(0..10).collect::<Vec<u32>>()).is_empty());
        }
        // Both pools come from one pass where the pool is to be chosen.
        let pools = [Pool::Cls, Pool::Mean];
        let both = features_each(&model, &all, &pools, EvalBatches::USUAL, |_| true).unwrap();
        let known = KnownFeatures::default();
        for (pool, kept) in pools.into_iter().zip(&both.unwrap()) {
            known.keep(&model, &all, pool, kept).unwrap();
            let part = all.select(&[3, 8, 0, 7]);
            let got = known.features(&model, &part, pool, FEW, |_| panic!("it is known"));
            let want = features(&model, &part, pool, FEW, |_| true).unwrap();
            assert!(got.unwrap() == want, "{}", pool.name());
        }
    }

    /// No model is told what another one says, and a head is none of it.
    #[test]
    fn what_another_encoder_says_is_not_known() {
        let all = examples();
        let known = KnownFeatures::default();
        let read = |model: &Model<CpuBackend>| {
            let mut heard = 0;
            let hear = |_| {
                heard += 1;
                true
            };
            let got = known.features(model, &all, Pool::Mean, EvalBatches::USUAL, hear);
            let want = features(model, &all, Pool::Mean, FEW, |_| true).unwrap();
            assert!(got.unwrap() == want);
            heard
        };
        let first = model(1, |_| {});
        assert_eq!([read(&first), read(&first)], [1, 0]);
        let mut other_head = model(1, |_| {});
        let head = other_head.layout().table.index("classifier.weight");
        other_head.draw(head.unwrap(), 9).unwrap();
        assert_eq!(read(&other_head), 0);
        let mut other_word = model(1, |_| {});
        let words = other_word.layout().words().0;
        other_word.draw(words, 9).unwrap();
        for other in [
            other_word,
            model(2, |_| {}),
            model(1, |c| c.norm_eps = 0.5),
            model(1, |c| c.activation = hone_kernels::Activation::Relu),
            first,
        ] {
            assert_eq!([read(&other), read(&other)], [1, 0]);
        }
    }

    /// A reading that is stopped is none, and what is beyond the room is read again.
    #[test]
    fn stopped_readings_and_texts_beyond_the_room_are_not_known() {
        let (model, all) = (model(1, |_| {}), examples());
        let known = KnownFeatures::default();
        let stopped = known.features(&model, &all, Pool::Mean, FEW, |_| false);
        assert_eq!(stopped.unwrap(), None);
        assert!(known.0.lock().unwrap().mean.places.is_empty());
        let mut rows = Rows::default();
        for i in 0..MOST_KEPT + 5 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&i.to_le_bytes());
            rows.keep(key, &[i as f32]);
            rows.keep(key, &[-1.0]);
            let got = rows.get(&key, 1).map(|row| row[0]);
            assert_eq!(got, (i < MOST_KEPT).then_some(i as f32));
        }
        assert_eq!(rows.values.len(), MOST_KEPT);
    }
}
