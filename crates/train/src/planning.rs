//! Before the first step: the largest batch, the memory it takes, how long the run will be.

use crate::course::Course;
use crate::engine::Engine;
use crate::events::Event;
use crate::prefix::PrefixCache;
use crate::training::Training;
use crate::validation::Validation;
use crate::{FrozenPrefix, Select, TrainError};
use hone_bert::Limits;
use hone_kernels::Backend;
use std::time::Instant;

impl<B: Backend> Training<'_, B> {
    /// Says so where a checkpoint would not go onto the disk; the older one is removed when the next is whole.
    pub(crate) fn room(&mut self, engine: &Engine<B>) {
        let Some(checkpoints) = &self.checkpoints else {
            return;
        };
        let arena = self.model.layout().table.len() * size_of::<f32>();
        let best = match (self.valid, self.options.select) {
            (Some(_), Select::Best) => arena as u64,
            _ => 0,
        };
        let often = 1 + u64::from(self.options.save_every.is_some());
        let needed = often * (engine.saved_bytes(self.model) + best);
        let free = checkpoints.free_space();
        if let Some(free) = free.filter(|&free| free < needed) {
            let text = format!(
                "checkpoints need {:.1} MB, the disk has {:.1} MB left: the run may not be able to leave one where it is \
                 interrupted",
                needed as f64 / 1e6,
                free as f64 / 1e6
            );
            self.sink.event(&Event::Warning { text });
        }
    }

    /// The cache of frozen layers' outputs, empty or as other runs left it; lent to the engine for the run, an error on the way
    /// leaves the lender an empty one.
    pub(crate) fn lent_prefix(&mut self) -> Option<PrefixCache<B::Act>> {
        match (self.frozen, &mut self.prefix) {
            (FrozenPrefix::Recompute, _) => None,
            (FrozenPrefix::Cache, None) => Some(PrefixCache::over(self.train)),
            (FrozenPrefix::Cache, Some(shared)) => {
                let empty = PrefixCache::over(self.train);
                Some(std::mem::replace(&mut **shared, empty))
            }
        }
    }

    /// Bytes by use: the engine's, those of validation and of the best weights, and the texts' where they lie beside them.
    pub(crate) fn memory(
        &self,
        engine: &Engine<B>,
        validation: Option<&Validation<'_, B>>,
    ) -> Vec<(String, u64)> {
        let mut rows = engine.memory(self.model);
        if let Some(validation) = validation {
            let bytes = self.model.eval_bytes(validation.limits()) as u64;
            rows.push(("validation".to_owned(), bytes + validation.known_bytes()));
            if self.options.select == Select::Best {
                let bytes = self.model.layout().table.len() * size_of::<B::Master>();
                rows.push(("best weights".to_owned(), bytes as u64));
            }
        }
        // A device's own memory holds none of them.
        if self.model.backend().peak_memory().is_none() {
            // Those that change are there once more, as the epoch has them.
            let epoch = self.augment.map_or(0, |_| self.train.bytes() as u64);
            let texts = self.text_bytes.map(|bytes| bytes + epoch);
            rows.extend(texts.map(|bytes| ("texts".to_owned(), bytes)));
        }
        rows
    }

    /// The largest micro-batch of the run, and the tokens of an epoch.
    pub(crate) fn sizes(&mut self, course: &Course) -> Result<(Limits, usize), TrainError> {
        let (plan, epochs) = (&course.plan, course.epochs());
        let Some(texts) = self.augment else {
            return Ok((plan.limits(self.train, epochs), self.train.tokens()));
        };
        if self.frozen == FrozenPrefix::Cache {
            return Err(TrainError::Option(
                "--cache-frozen keeps one output for each text, but the texts change from epoch to epoch (--augment); \
                 leave one of the two out"
                    .to_owned(),
            ));
        }
        let started = Instant::now();
        let Some(drawn) = texts.ahead(plan, epochs)? else {
            return Ok((plan.limits(self.train, epochs), self.train.tokens()));
        };
        self.sink.event(&Event::Note {
            text: format!(
                "augmentation: {} of {} texts of {epochs} epochs are changed, the longest has {} word pieces \
                 (before: {}); drawn in {:.1} s",
                drawn.changed,
                drawn.texts,
                drawn.longest,
                plan.limits(self.train, 1).longest,
                started.elapsed().as_secs_f64()
            ),
        });
        // The trial pass of the forecast reads the texts as they are.
        let limits = drawn.limits.max(plan.limits(self.train, 1));
        Ok((limits, drawn.tokens))
    }

    /// Trial pass over the first batch, which changes nothing, for the forecast.
    pub(crate) fn forecast(
        &mut self,
        engine: &mut Engine<B>,
        course: &Course,
        step: usize,
        [tokens, reading]: [usize; 2],
        memory_bytes: u64,
    ) -> Result<(), TrainError> {
        let plan = &course.plan;
        let order = plan.epoch(course.rows, 0);
        let index = &order[..plan.step_rows.min(order.len())];
        let rule = self.rule();
        // Once to touch the memory (and to fill a cache of frozen layers), once to time it.
        let mut rate = 0.0;
        for _ in 0..2 {
            let started = Instant::now();
            let trial = engine.gradients(self.model, self.train, plan, &rule, index, step)?;
            let trial = trial.read(self.model.backend())?;
            self.model.backend().sync()?;
            rate = trial.tokens as f64 / started.elapsed().as_secs_f64().max(1e-9);
        }
        let left = course.epoch_at(course.steps - step);
        // A forward pass is about a third of a training step.
        let evaluations = reading as f64 * course.validations_after(step) as f64 / 3.0;
        self.sink.event(&Event::Forecast {
            seconds: (tokens as f64 * left + evaluations) / rate,
            tokens_per_s: rate,
            memory_bytes,
        });
        Ok(())
    }
}
