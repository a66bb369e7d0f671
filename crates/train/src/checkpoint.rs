//! Checkpoints: everything a run needs to go on bit for bit, in a folder that appears whole or not at all.
//!
//! `checkpoints/step-N/` holds `model.safetensors` (weights), `optimizer.safetensors` (m, v),
//! `best.safetensors` (the best weights, where they are not the running ones), `average.safetensors` (where weights
//! are averaged), `watched.safetensors` (losses of rows, where there are validation rows) and `state.json`.

use crate::{Options, TrainError};
use hone_tensor::{put_in_place, settle};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is not a tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Format of the folder.
    pub version: u32,
    /// Steps done.
    pub step: usize,
    /// Steps each tensor has taken, by name.
    pub taken: Vec<(String, u32)>,
    /// Best value of the selecting metric so far.
    pub best: Option<Best>,
    /// Evaluations since the best.
    pub without_improvement: usize,
    /// Tokens trained on.
    pub train_tokens: u64,
    /// Seconds of training.
    pub train_seconds: f64,
    /// Seconds of the run, all sittings.
    pub seconds: f64,
    /// Losses of the last steps, at most an epoch's worth.
    pub losses: Vec<f64>,
    /// Scores of the evaluations so far; the losses of their rows are in `watched.safetensors`.
    #[serde(default)]
    pub points: Vec<crate::watch::Point>,
    /// What the collapse guard has seen.
    #[serde(default)]
    pub guard: Option<crate::watch::GuardState>,
    /// How the run began anew, where it did.
    #[serde(default)]
    pub restart: Option<crate::watch::Restart>,
    /// The run's identity: a changed one is an error.
    pub identity: Identity,
}

/// The best evaluation so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps done then.
    pub step: usize,
    /// The selecting metric's value.
    pub value: f64,
}

/// What decides a run's bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Every hyperparameter.
    pub options: Options,
    /// Most tokens of a text.
    pub max_length: usize,
    /// What is kept of a longer text.
    pub truncate: String,
    /// SHA-256 of the training and validation files and of the model's weights, by role.
    pub hashes: Vec<(String, String)>,
    /// The arithmetic path (`avx2`, `portable`, …).
    pub kernel_path: String,
    /// Training examples.
    pub rows: usize,
}

impl Identity {
    /// The first difference that would change results, as (what, was, now).
    pub fn difference(&self, now: &Identity) -> Option<(String, String, String)> {
        let text = |i: &Identity| {
            let mut map = serde_json::to_value(&i.options)
                .ok()
                .and_then(|v| v.as_object().cloned())
                .unwrap_or_default();
            map.insert("max_length".into(), i.max_length.into());
            map.insert("truncate".into(), i.truncate.clone().into());
            for (role, hash) in &i.hashes {
                map.insert(format!("contents of the {role}"), hash.clone().into());
            }
            map.insert("kernel path".into(), i.kernel_path.clone().into());
            map.insert("number of training rows".into(), i.rows.into());
            map
        };
        let (was, now) = (text(self), text(now));
        let keys = was
            .keys()
            .chain(now.keys().filter(|k| !was.contains_key(*k)));
        for key in keys {
            // How often a run is saved changes no result.
            if key == "save_every" || was.get(key) == now.get(key) {
                continue;
            }
            let value = |map: &serde_json::Map<String, serde_json::Value>| {
                map.get(key).map_or("absent".into(), |v| v.to_string())
            };
            let name = if key.contains(' ') {
                key.clone()
            } else {
                format!("--{}", key.replace('_', "-"))
            };
            return Some((name, value(&was), value(&now)));
        }
        None
    }
}

/// The run folder's checkpoints.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
}

/// Steps of a checkpoint's folder name.
fn step_of(path: &Path) -> Option<usize> {
    path.file_name()?
        .to_str()?
        .strip_prefix("step-")?
        .parse()
        .ok()
}

impl Checkpoints {
    /// Those of the run in `out`.
    pub fn of(out: &Path) -> Self {
        Checkpoints {
            folder: out.join("checkpoints"),
        }
    }

    fn error(&self, path: &Path) -> impl Fn(io::Error) -> TrainError {
        let path = path.to_owned();
        move |source| TrainError::Io {
            path: path.clone(),
            source,
        }
    }

    /// Writes a checkpoint: `fill` puts the files into a folder beside, which then gets its name;
    /// older ones are removed after that.
    pub fn write(
        &self,
        state: &State,
        fill: impl FnOnce(&Path) -> Result<(), TrainError>,
    ) -> Result<PathBuf, TrainError> {
        let name = format!("step-{}", state.step);
        let beside = self.folder.join(format!("{name}.part"));
        let whole = self.folder.join(&name);
        if beside.exists() {
            fs::remove_dir_all(&beside).map_err(self.error(&beside))?;
        }
        fs::create_dir_all(&beside).map_err(self.error(&beside))?;
        let filled = fill(&beside).and_then(|()| {
            let text = serde_json::to_string_pretty(state).map_err(|e| TrainError::Checkpoint {
                path: beside.clone(),
                reason: e.to_string(),
            })?;
            let path = beside.join("state.json");
            fs::write(&path, text).map_err(self.error(&path))?;
            // Older checkpoints go once the disk has this one, not before.
            settle(&beside).map_err(self.error(&beside))
        });
        if let Err(error) = filled {
            // The failed attempt holds nothing of use; what was saved before stays.
            let _ = fs::remove_dir_all(&beside);
            return Err(error);
        }
        if whole.exists() {
            fs::remove_dir_all(&whole).map_err(self.error(&whole))?;
        }
        put_in_place(&beside, &whole).map_err(self.error(&whole))?;
        for old in self.whole()? {
            if step_of(&old) != Some(state.step) {
                fs::remove_dir_all(&old).map_err(self.error(&old))?;
            }
        }
        Ok(whole)
    }

    /// Whole checkpoints, oldest first.
    fn whole(&self) -> Result<Vec<PathBuf>, TrainError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.error(&self.folder)(e)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(self.error(&self.folder))?.path();
            if step_of(&path).is_some() && path.join("state.json").is_file() {
                found.push(path);
            }
        }
        found.sort_by_key(|p| step_of(p));
        Ok(found)
    }

    /// The newest whole checkpoint, where there is one.
    pub fn newest(&self) -> Result<Option<(PathBuf, State)>, TrainError> {
        let Some(path) = self.whole()?.pop() else {
            return Ok(None);
        };
        let file = path.join("state.json");
        let text = fs::read_to_string(&file).map_err(self.error(&file))?;
        let state: State = serde_json::from_str(&text).map_err(|e| TrainError::Checkpoint {
            path: file.clone(),
            reason: format!("not a state this version wrote ({e})"),
        })?;
        Ok(Some((path, state)))
    }

    /// Refuses a checkpoint of another run.
    pub fn check(&self, path: &Path, state: &State, now: &Identity) -> Result<(), TrainError> {
        match state.identity.difference(now) {
            None => Ok(()),
            Some((what, was, now)) => Err(TrainError::Changed {
                path: path.to_owned(),
                what,
                was,
                now,
            }),
        }
    }

    /// Removes all checkpoints: the run is done and its model saved.
    pub fn clear(&self) -> Result<(), TrainError> {
        match fs::remove_dir_all(&self.folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.error(&self.folder)(e)),
            _ => Ok(()),
        }
    }
}
