//! Leaving a run and coming back to it: what of a run in progress goes into a checkpoint, and out of it again.

use crate::TrainError;
use crate::checkpoint::{Checkpoint, Checkpoints, State, VERSION};
use crate::engine::Engine;
use crate::events::{Event, Sink};
use crate::training::{Progress, Training};
use crate::watch::{History, Restart};
use hone_kernels::Backend;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Where a run begins.
#[derive(Debug, Clone)]
pub enum Begin {
    /// With its first step.
    Anew,
    /// The same, though it was begun before: it has no checkpoint yet.
    Again,
    /// After a checkpoint.
    After(Box<Checkpoint>),
}

impl Begin {
    /// With the newest whole checkpoint of the run in `out`; damaged ones that are newer are named.
    pub(crate) fn of(out: &Path, sink: &mut dyn Sink) -> Result<Begin, TrainError> {
        let (found, damaged) = Checkpoints::of(out).newest_whole()?;
        for error in damaged {
            sink.event(&Event::Warning {
                text: format!("{error}; the run goes on from an older checkpoint, which is whole"),
            });
        }
        Ok(match found {
            Some(checkpoint) => Begin::After(Box::new(checkpoint)),
            None => Begin::Again,
        })
    }

    /// How the run began anew before that.
    pub(crate) fn restart(&self) -> Option<Restart> {
        match self {
            Begin::After(checkpoint) => checkpoint.state.restart,
            Begin::Anew | Begin::Again => None,
        }
    }
}

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

    /// Puts back what the checkpoint holds that the run begins at.
    pub(crate) fn restore(
        &mut self,
        engine: &mut Engine<B>,
        now: &mut Progress<B>,
    ) -> Result<(), TrainError> {
        let Checkpoint { path, state } = match std::mem::replace(&mut self.begin, Begin::Anew) {
            Begin::Anew => return Ok(()),
            Begin::Again => {
                self.sink.event(&Event::Resumed {
                    step: 0,
                    evaluated: 0,
                    path: None,
                });
                return Ok(());
            }
            Begin::After(checkpoint) => {
                checkpoint.check_identity(&self.identity)?;
                *checkpoint
            }
        };
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
        self.sink.event(&Event::Resumed {
            step: state.step,
            evaluated: now.evaluated(),
            path: Some(path.display().to_string()),
        });
        Ok(())
    }
}
