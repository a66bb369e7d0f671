//! Checkpoints: everything a run needs to go on bit for bit, in a folder that appears whole or not at all.
//!
//! `checkpoints/step-N/` holds `weights.safetensors`, `optimizer.safetensors` (m, v),
//! `best.safetensors` (the best weights, where they are not the running ones), `average.safetensors` (where weights
//! are averaged), `watched.safetensors` (losses of rows, where there are validation rows) and `state.json`.

use crate::TrainError;
use crate::identity::Identity;
use hone_data::sha256_file;
use hone_tensor::{free_space, put_in_place, settle};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The format that this version writes and reads.
pub(crate) const VERSION: u32 = 1;

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
    /// SHA-256 of the files beside it, by name. Checkpoints of older versions do not tell.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// The best evaluation so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps done then.
    pub step: usize,
    /// The selecting metric's value.
    pub value: f64,
}

impl State {
    /// Why a state cannot be gone on with, where that can be seen from it and the step its folder is called after.
    fn fault(&self, step: Option<usize>) -> Option<String> {
        if self.version != VERSION {
            return Some(format!(
                "a checkpoint of format {}, this version reads {VERSION}",
                self.version
            ));
        }
        if Some(self.step) != step {
            return Some(format!(
                "it is of step {}, its folder of another",
                self.step
            ));
        }
        let times = [self.train_seconds, self.seconds];
        let bad = times
            .iter()
            .find(|t| Duration::try_from_secs_f64(**t).is_err());
        bad.map(|t| format!("{t} seconds of training"))
    }
}

/// A checkpoint that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// What it holds beside tensors.
    pub state: State,
}

impl Checkpoint {
    /// Reads a checkpoint's state; one that is damaged or of another format is an error.
    fn read(path: PathBuf) -> Result<Checkpoint, TrainError> {
        let file = path.join("state.json");
        if !file.is_file() {
            let reason = "it is missing: this checkpoint is damaged".to_owned();
            return Err(TrainError::Checkpoint { path: file, reason });
        }
        let text = fs::read_to_string(&file).map_err(|source| TrainError::Io {
            path: file.clone(),
            source,
        })?;
        let state: State = serde_json::from_str(&text).map_err(|e| TrainError::Checkpoint {
            path: file.clone(),
            reason: format!("not a state this version wrote ({e})"),
        })?;
        if let Some(reason) = state.fault(step_of(&path)) {
            return Err(TrainError::Checkpoint { path: file, reason });
        }
        Ok(Checkpoint { path, state })
    }

    /// Refuses one whose files are not as they were written.
    fn check_files(&self) -> Result<(), TrainError> {
        for (name, hash) in &self.state.files {
            let file = self.path.join(name);
            let reason = match file.is_file() {
                false => "it is missing: this checkpoint is damaged",
                true if sha256_file(&file)? != *hash => {
                    "it is damaged: it does not hold what was written"
                }
                true => continue,
            };
            return Err(TrainError::Checkpoint {
                path: file,
                reason: reason.to_owned(),
            });
        }
        Ok(())
    }

    /// Refuses one of another run.
    pub(crate) fn check_identity(&self, now: &Identity) -> Result<(), TrainError> {
        match self.state.identity.difference(now)? {
            None => Ok(()),
            Some((what, was, now)) => Err(TrainError::Changed {
                path: self.path.clone(),
                what,
                was,
                now,
            }),
        }
    }
}

/// The error of a state that leaves out a tensor: without its count of steps its bias correction would begin anew.
pub(crate) fn no_count(checkpoint: &Path, tensor: &str) -> TrainError {
    TrainError::Checkpoint {
        path: checkpoint.join("state.json"),
        reason: format!("it does not say how many steps {tensor} has taken"),
    }
}

/// The run folder's checkpoints.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
}

/// What the name of a checkpoint ends with while another of the same step takes its place.
const ASIDE: &str = ".old";
/// What the name of a folder ends with while it is being removed.
const GONE: &str = ".gone";

/// The name of a folder that is being removed.
fn gone(folder: &Path) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(GONE);
    PathBuf::from(name)
}

/// Removes a folder that may not be there: wherever a crash comes, under its name it is found whole or not at all.
fn remove(folder: &Path) -> io::Result<()> {
    let gone = gone(folder);
    let removed = |done: io::Result<()>| match done {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    };
    removed(fs::remove_dir_all(&gone))?;
    removed(fs::rename(folder, &gone))?;
    removed(fs::remove_dir_all(&gone))
}

/// SHA-256 of the files of a folder, by name.
fn hashes(folder: &Path) -> Result<BTreeMap<String, String>, TrainError> {
    let io = |source| TrainError::Io {
        path: folder.to_owned(),
        source,
    };
    let entries = fs::read_dir(folder).map_err(io)?;
    let hash = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        Ok((name, sha256_file(&entry.path())?))
    };
    entries.map(hash).collect()
}

/// Steps of a checkpoint's folder name, and whether it is the one in its place, not the one aside.
fn place_of(path: &Path) -> Option<(usize, bool)> {
    let name = path.file_name()?.to_str()?.strip_prefix("step-")?;
    let step = name.strip_suffix(ASIDE).unwrap_or(name);
    Some((step.parse().ok()?, step == name))
}

/// Steps of a checkpoint's folder name.
fn step_of(path: &Path) -> Option<usize> {
    place_of(path).map(|(step, _)| step)
}

impl Checkpoints {
    /// Those of the run in `out`.
    pub fn of(out: &Path) -> Self {
        Checkpoints {
            folder: out.join("checkpoints"),
        }
    }

    /// Bytes that their disk has left, where the system says.
    pub(crate) fn free_space(&self) -> Option<u64> {
        // Their folder is made with the first of them.
        free_space(self.folder.parent()?)
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
            let files = hashes(&beside)?;
            let state = State {
                files,
                ..state.clone()
            };
            let text =
                serde_json::to_string_pretty(&state).map_err(|e| TrainError::Checkpoint {
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
        // One of the same step steps aside, where it is still found: at no time is there none.
        if whole.exists() {
            let aside = self.folder.join(format!("{name}{ASIDE}"));
            remove(&aside).map_err(self.error(&aside))?;
            fs::rename(&whole, &aside).map_err(self.error(&aside))?;
        }
        put_in_place(&beside, &whole).map_err(self.error(&whole))?;
        for old in self.all()? {
            if old != whole {
                remove(&old).map_err(self.error(&old))?;
            }
        }
        Ok(whole)
    }

    /// Checkpoints, oldest first; one aside comes before the one in its place.
    fn all(&self) -> Result<Vec<PathBuf>, TrainError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.error(&self.folder)(e)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(self.error(&self.folder))?.path();
            if step_of(&path).is_some() {
                found.push(path);
            }
        }
        found.sort_by_key(|p| place_of(p));
        Ok(found)
    }

    /// The newest checkpoint whose state can be read, where there is one; where there are some and none can, the newest one's
    /// error. The files beside it are looked at by [`Checkpoints::newest_whole`].
    pub fn newest(&self) -> Result<Option<Checkpoint>, TrainError> {
        Ok(self.newest_that(|_| Ok(()))?.0)
    }

    /// The newest checkpoint that holds what was written, where there is one, and what is wrong with each newer one; where
    /// there are some and none is whole, the newest one's error.
    pub fn newest_whole(&self) -> Result<(Option<Checkpoint>, Vec<TrainError>), TrainError> {
        self.newest_that(Checkpoint::check_files)
    }

    fn newest_that(
        &self,
        check: impl Fn(&Checkpoint) -> Result<(), TrainError>,
    ) -> Result<(Option<Checkpoint>, Vec<TrainError>), TrainError> {
        let mut damaged = Vec::new();
        for path in self.all()?.into_iter().rev() {
            let read = Checkpoint::read(path);
            match read.and_then(|found| check(&found).map(|()| found)) {
                Ok(found) => return Ok((Some(found), damaged)),
                Err(error) => damaged.push(error),
            }
        }
        match damaged.into_iter().next() {
            None => Ok((None, Vec::new())),
            Some(error) => Err(error),
        }
    }

    /// Removes all checkpoints: the run is done and its model saved.
    pub fn clear(&self) -> Result<(), TrainError> {
        remove(&self.folder).map_err(self.error(&self.folder))
    }
}

#[cfg(test)]
mod tests;
