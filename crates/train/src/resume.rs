//! Leaving a run and coming back to it: what of a run in progress goes into a checkpoint, and out of it again.

use crate::TrainError;
use crate::checkpoint::{State, VERSION};
use crate::engine::Engine;
use crate::events::Event;
use crate::training::{Progress, Training};
use crate::watch::History;
use hone_kernels::Backend;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

impl<B: Backend> Training<'_, B> {
    /// Writes a checkpoint, where there is a place for it.
    pub(crate) fn save(&mut self, engine: &Engine<B>, now: &Progress<B>) -> Result<(), TrainError> {
        let Some(checkpoints) = &self.checkpoints else {
            return Ok(());
        };
        let state = State {
            version: VERSION,
            step: now.step,
            taken: engine.taken(self.model),
            best: now.best,
            without_improvement: now.without_improvement,
            train_tokens: now.train_tokens,
            train_seconds: now.train_time.as_secs_f64(),
            seconds: now.earlier + now.started.elapsed().as_secs_f64(),
            losses: now.losses.iter().copied().collect(),
            points: now.history.points.clone(),
            guard: now.guard.as_ref().map(|guard| guard.state),
            restart: self.restart,
            identity: self.identity.clone(),
            // They are written first.
            files: BTreeMap::new(),
        };
        let model = &*self.model;
        let path = checkpoints.write(&state, |folder| {
            engine.save(model, folder)?;
            if let Some(best) = &now.best_weights {
                engine.save_arena(model, best, &folder.join("best.safetensors"))?;
            }
            now.history.save(folder)
        })?;
        self.sink.event(&Event::Checkpoint {
            step: now.step,
            path: path.display().to_string(),
        });
        Ok(())
    }

    /// Puts back what the newest checkpoint holds.
    pub(crate) fn restore(
        &mut self,
        engine: &mut Engine<B>,
        now: &mut Progress<B>,
    ) -> Result<(), TrainError> {
        let Some(checkpoints) = &self.checkpoints else {
            return Ok(());
        };
        let Some((path, state)) = checkpoints.newest()? else {
            self.sink.event(&Event::Note {
                text: "no checkpoint yet: starting from the beginning".to_owned(),
            });
            return Ok(());
        };
        checkpoints.check(&path, &state, &self.identity)?;
        engine.restore(self.model, &path, &state.taken)?;
        let best: &Path = &path.join("best.safetensors");
        if best.is_file() {
            now.best_weights = Some(engine.read_arena(self.model, best)?);
        }
        now.history = History::read(&path, state.points)?;
        if let (Some(guard), Some(state)) = (&mut now.guard, state.guard) {
            guard.state = state;
        }
        now.step = state.step;
        now.best = state.best;
        now.without_improvement = state.without_improvement;
        now.train_tokens = state.train_tokens;
        now.train_time = Duration::from_secs_f64(state.train_seconds.max(0.0));
        now.earlier = state.seconds;
        now.losses = state.losses.into();
        self.sink.event(&Event::Note {
            text: format!("resumed after step {} from {}", state.step, path.display()),
        });
        Ok(())
    }
}
