//! Checkpoints: everything a run needs to go on bit for bit, in a folder that appears whole or not at all.
//!
//! `checkpoints/step-N/` holds `weights.safetensors`, `optimizer.safetensors` (m, v),
//! `best.safetensors` (the best weights, where they are not the running ones), `average.safetensors` (where weights
//! are averaged), `watched.safetensors` (losses of rows, where there are validation rows) and `state.json`.

use crate::{Options, TrainError};
use hone_tensor::{free_space, put_in_place, settle};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
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

/// The error of a state that leaves out a tensor: without its count of steps its bias correction would begin anew.
pub(crate) fn no_count(checkpoint: &Path, tensor: &str) -> TrainError {
    TrainError::Checkpoint {
        path: checkpoint.join("state.json"),
        reason: format!("it does not say how many steps {tensor} has taken"),
    }
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

/// The first difference between two runs that would change results, as (what, was, now); none where there is none.
pub type Difference = Option<(String, String, String)>;

/// The fields of a run's options; an error where they are none, since then nothing could be compared.
fn fields(options: &impl Serialize) -> Result<Map<String, Value>, TrainError> {
    let reason = match serde_json::to_value(options) {
        Ok(Value::Object(map)) => return Ok(map),
        Ok(_) => "they have no names".to_owned(),
        Err(e) => e.to_string(),
    };
    let what = "the options";
    Err(TrainError::Incomparable { what, reason })
}

impl Identity {
    /// The first difference that would change results.
    pub fn difference(&self, now: &Identity) -> Result<Difference, TrainError> {
        let text = |i: &Identity| -> Result<Map<String, Value>, TrainError> {
            let mut map = fields(&i.options)?;
            map.insert("max_length".into(), i.max_length.into());
            map.insert("truncate".into(), i.truncate.clone().into());
            for (role, hash) in &i.hashes {
                map.insert(format!("contents of the {role}"), hash.clone().into());
            }
            map.insert("kernel path".into(), i.kernel_path.clone().into());
            map.insert("number of training rows".into(), i.rows.into());
            Ok(map)
        };
        let (was, now) = (text(self)?, text(now)?);
        let keys = was
            .keys()
            .chain(now.keys().filter(|k| !was.contains_key(*k)));
        for key in keys {
            // How often a run is saved changes no result.
            if key == "save_every" || was.get(key) == now.get(key) {
                continue;
            }
            let value =
                |map: &Map<String, Value>| map.get(key).map_or("absent".into(), |v| v.to_string());
            let name = if key.contains(' ') {
                key.clone()
            } else {
                format!("--{}", key.replace('_', "-"))
            };
            return Ok(Some((name, value(&was), value(&now))));
        }
        Ok(None)
    }
}

/// The run folder's checkpoints.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
}

/// What the name of a checkpoint ends with while another of the same step takes its place.
const ASIDE: &str = ".old";

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
        // One of the same step steps aside, where it is still found: at no time is there none.
        if whole.exists() {
            let aside = self.folder.join(format!("{name}{ASIDE}"));
            if aside.exists() {
                fs::remove_dir_all(&aside).map_err(self.error(&aside))?;
            }
            fs::rename(&whole, &aside).map_err(self.error(&aside))?;
        }
        put_in_place(&beside, &whole).map_err(self.error(&whole))?;
        for old in self.whole()? {
            if old != whole {
                fs::remove_dir_all(&old).map_err(self.error(&old))?;
            }
        }
        Ok(whole)
    }

    /// Whole checkpoints, oldest first; one aside comes before the one in its place.
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
        found.sort_by_key(|p| place_of(p));
        Ok(found)
    }

    /// The newest whole checkpoint, where there is one; one that is damaged or of another format is an error.
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
        if let Some(reason) = state.fault(step_of(&path)) {
            return Err(TrainError::Checkpoint { path: file, reason });
        }
        Ok(Some((path, state)))
    }

    /// Refuses a checkpoint of another run.
    pub fn check(&self, path: &Path, state: &State, now: &Identity) -> Result<(), TrainError> {
        match state.identity.difference(now)? {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            version: VERSION,
            step: 7,
            taken: Vec::new(),
            best: None,
            without_improvement: 0,
            train_tokens: 100,
            train_seconds: 1.5,
            seconds: 2.0,
            losses: vec![0.5],
            points: Vec::new(),
            guard: None,
            restart: None,
            identity: Identity {
                options: Options::default(),
                max_length: 64,
                truncate: "head".to_owned(),
                hashes: Vec::new(),
                kernel_path: "portable".to_owned(),
                rows: 9,
            },
        }
    }

    /// What a folder called `step-7` holds is read back, or said to be wrong.
    #[track_caller]
    fn check(change: impl FnOnce(&mut State), says: Option<&str>) {
        let out = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::of(out.path());
        let path = checkpoints.write(&state(), |_| Ok(())).unwrap();
        let mut changed = state();
        change(&mut changed);
        let text = serde_json::to_string(&changed).unwrap();
        fs::write(path.join("state.json"), text).unwrap();
        match (checkpoints.newest(), says) {
            (Ok(found), None) => assert_eq!(found, Some((path, changed))),
            (Err(error), Some(says)) => {
                let line = error.to_string();
                assert!(line.contains(says) && line.contains("state.json"), "{line}");
            }
            (found, _) => panic!("{found:?}"),
        }
    }

    /// Folders of a run's checkpoints.
    fn names(out: &Path) -> Vec<String> {
        let entries = fs::read_dir(out.join("checkpoints")).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn the_newest_alone_stays() {
        let out = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::of(out.path());
        for step in [5, 9, 10] {
            let state = State { step, ..state() };
            checkpoints.write(&state, |_| Ok(())).unwrap();
            assert_eq!(names(out.path()), [format!("step-{step}")]);
        }
        // One that could not be filled leaves what was there.
        let state = State {
            step: 11,
            ..state()
        };
        let full = |_: &Path| Err(TrainError::Interrupted);
        assert!(checkpoints.write(&state, full).is_err());
        assert_eq!(names(out.path()), ["step-10"]);
    }

    /// Wherever a crash comes while a checkpoint takes the place of another of its step, one of them is found.
    #[test]
    fn one_of_the_same_step_steps_aside() {
        let out = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::of(out.path());
        let write = |seconds: f64| {
            let state = State { seconds, ..state() };
            checkpoints.write(&state, |_| Ok(())).unwrap()
        };
        let found = || checkpoints.newest().unwrap().unwrap().1.seconds;
        let whole = write(1.0);
        let aside = whole.with_file_name("step-7.old");
        let beside = whole.with_file_name("step-7.part");
        // Between the two renames: the new one is not in its place yet.
        fs::rename(&whole, &aside).unwrap();
        fs::create_dir(&beside).unwrap();
        assert_eq!(found(), 1.0);
        // The run that goes on from it writes that step again.
        write(2.0);
        assert_eq!(
            (found(), names(out.path())),
            (2.0, vec!["step-7".to_owned()])
        );
        // Before the old one is gone, or half-way through that.
        fs::create_dir(&aside).unwrap();
        fs::write(aside.join("state.json"), "{}").unwrap();
        assert_eq!(found(), 2.0);
        fs::rename(aside.join("state.json"), aside.join("weights.safetensors")).unwrap();
        write(3.0);
        assert_eq!(
            (found(), names(out.path())),
            (3.0, vec!["step-7".to_owned()])
        );
    }

    /// How often a run is saved changes no result; whatever else was asked for does.
    #[test]
    fn a_resumed_run_may_be_saved_more_or_less_often() {
        let was = state().identity;
        let changed = |change: fn(&mut Options)| {
            let mut now = was.clone();
            change(&mut now.options);
            was.difference(&now).unwrap()
        };
        assert_eq!(
            changed(|o| o.save_every = Some(crate::Cadence::Steps(3))),
            None
        );
        let (what, before, now) = changed(|o| o.eval_every = crate::Cadence::Steps(3)).unwrap();
        assert_eq!([what, before, now], ["--eval-every", "\"100%\"", "\"3\""]);
    }

    /// What cannot be written down is not the same as anything.
    #[test]
    fn options_that_cannot_be_compared_are_not_equal() {
        assert!(fields(&Options::default()).unwrap().contains_key("lr"));
        let unnamed = fields(&3).unwrap_err().to_string();
        assert!(
            unnamed.contains("the options cannot be compared"),
            "{unnamed}"
        );
        let keys = std::collections::BTreeMap::from([([1, 2], 3)]);
        assert!(fields(&keys).is_err());
    }

    #[test]
    fn a_state_is_of_this_format_and_of_its_folder() {
        check(|_| {}, None);
        check(|s| s.version = 99, Some("format 99"));
        check(|s| s.step = 1_000_000, Some("of step 1000000"));
        check(|s| s.train_seconds = 1e300, Some("seconds of training"));
        check(|s| s.seconds = -1.0, Some("-1 seconds"));
    }
}
