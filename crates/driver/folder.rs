//! The folder that work writes to: empty when it begins, given back when nothing began.

use crate::args::TrainArgs;
use crate::interrupt;
use anyhow::{Context, Result, bail};
use hone_report::say;
use hone_train::Checkpoints;
use std::fs::{self, File, TryLockError};
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// Where runs are that nobody names a folder for.
const RUNS: &str = "runs";
/// What points at the newest of them.
const LATEST: &str = "latest";
/// What a run leaves in its folder before its first step, or by which a folder is known to hold one.
const BEGUN: [&str; 4] = ["run.toml", "plan.json", "trials.jsonl", "metrics.jsonl"];
/// The same of one that got further.
const KEPT: [&str; 3] = ["summary.json", "checkpoints", "model.safetensors"];

/// A folder to write to. What is in it is this run's own: a new run's was empty.
pub struct Output {
    path: PathBuf,
    /// Whether there was no such folder before.
    made: bool,
    /// Whether a run goes on in it.
    resumed: bool,
    /// Held until the work is done, so that no other takes the same folder.
    _lock: Option<File>,
}

/// Keeps other processes out of a folder for as long as the file is open. A file system that cannot do that lets everybody
/// in.
fn lock(path: &Path) -> Result<Option<File>> {
    // Only Unix opens folders.
    let Ok(folder) = File::open(path) else {
        return Ok(None);
    };
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => bail!(
            "{}: another hone is at work in this folder; wait for it, or choose another --out",
            path.display()
        ),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// What is in a folder.
#[derive(Debug, PartialEq, Eq)]
enum Held {
    /// Nothing, or there is none.
    Nothing,
    /// A run, by this file.
    Run(String),
    /// What is no run's, this first.
    Others(String),
}

impl Held {
    /// `done` is what tells that work of the kind that asks is in it.
    fn of(path: &Path, done: &str) -> Result<Held> {
        if path.is_file() {
            bail!(
                "--out {}: this is a file; a folder was expected",
                path.display()
            );
        }
        if !path.exists() {
            return Ok(Held::Nothing);
        }
        let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<String> = names
            .collect::<std::io::Result<_>>()
            .with_context(|| path.display().to_string())?;
        names.sort();
        let own = |name: &str| name == done || BEGUN.contains(&name) || KEPT.contains(&name);
        let run = names.iter().position(|name| own(name));
        Ok(match (run, names.is_empty()) {
            (Some(at), _) => Held::Run(names.swap_remove(at)),
            (None, false) => Held::Others(names.swap_remove(0)),
            (None, true) => Held::Nothing,
        })
    }
}

impl Deref for Output {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Output {
    /// `--out`, else a new one named after the data. `what` is gone on with by --resume unless the folder has `done`, the file
    /// that is left at the end; else the folder must be empty or not there yet.
    pub fn open(args: &TrainArgs, data: &Path, what: &str, done: &str) -> Result<Output> {
        let path = match &args.out {
            Some(out) => out.clone(),
            None if args.resume => {
                bail!("--resume needs --out, the folder of the {what} to continue")
            }
            None => next_run(data, "")?,
        };
        // Whoever always says --resume, as a script that begins again after a failure does, begins where nothing is yet.
        let held = Held::of(&path, done)?;
        if !args.resume || held == Held::Nothing {
            return Output::new(path, done);
        }
        let lock = lock(&path)?;
        if path.join(done).exists() {
            // What an end that was cut off left to be tidied.
            Checkpoints::of(&path).clear()?;
            let (model, latest) = (path.join("model.safetensors"), Path::new(RUNS).join(LATEST));
            if is_newest(args, &path) && model.is_file() && !latest.exists() {
                point_latest(&path);
            }
            bail!(
                "{}: this {what} is done; nothing is left to resume",
                path.display()
            );
        }
        if let Held::Others(found) = held {
            bail!(
                "{}: no {what} is here to go on with, but {found}; a run needs a folder of its own",
                path.display()
            );
        }
        interrupt::watch()?;
        Ok(Output {
            path,
            made: false,
            resumed: true,
            _lock: lock,
        })
    }

    /// An empty folder, made where there is none; `done` is what tells that work of this kind is in it.
    pub fn new(path: PathBuf, done: &str) -> Result<Output> {
        // From here on an interrupt is answered, and leaves nothing half written.
        interrupt::watch()?;
        let made = !path.exists();
        if made {
            fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        let lock = lock(&path)?;
        match Held::of(&path, done)? {
            Held::Run(found) => bail!(
                "{}: this folder already holds a run ({found}); continue it with --resume or choose another --out",
                path.display()
            ),
            Held::Others(found) => bail!(
                "{}: this folder is not empty ({found}); a run needs a folder of its own, choose another --out",
                path.display()
            ),
            Held::Nothing => Ok(Output {
                path,
                made,
                resumed: false,
                _lock: lock,
            }),
        }
    }

    /// What was done; else a folder in which nothing began is given back, so that the mended command can have it. What a
    /// step left stays.
    pub fn or_release<T, E: Into<anyhow::Error>>(&self, done: Result<T, E>) -> Result<T> {
        let read = |name: &str| fs::read_to_string(self.join(name)).unwrap_or_default();
        let stepped = || read("metrics.jsonl").contains("\"event\":\"step\"");
        // A search's journal begins with a line of its own.
        let tried = || read("trials.jsonl").lines().count() > 1;
        if done.is_err() && !self.join("checkpoints").exists() && !stepped() && !tried() {
            self.give_back(&["work"]);
        }
        done.map_err(Into::into)
    }

    /// Removes what a new run wrote at its start, these folders, and then itself, where it was made for this and nothing else
    /// is in it. A run that goes on keeps what it had.
    pub fn give_back(&self, folders: &[&str]) {
        if self.resumed {
            return;
        }
        for name in BEGUN {
            let _ = fs::remove_file(self.join(name));
        }
        for name in folders {
            let _ = fs::remove_dir_all(self.join(name));
        }
        if self.made {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// `runs/NAME-N`, the first N that is free, a word behind the name.
pub fn next_run(data: &Path, word: &str) -> Result<PathBuf> {
    let stem = data
        .file_name()
        .and_then(|n| n.to_str())
        .map_or("run", |n| n.split('.').next().unwrap_or("run"));
    // A folder's train.csv says less than the folder.
    let name = match (stem, data.parent().and_then(Path::file_name)) {
        ("train", Some(parent)) => parent.to_string_lossy().into_owned(),
        _ => stem.to_owned(),
    };
    let runs = Path::new(RUNS);
    fs::create_dir_all(runs).with_context(|| runs.display().to_string())?;
    (1..)
        .map(|n| runs.join(format!("{name}{word}-{n}")))
        .find(|p| !p.exists())
        .context("no free name under runs/")
}

/// Whether a finished run is the newest of those that name themselves: one that went on was named by what it printed.
pub fn is_newest(args: &TrainArgs, out: &Path) -> bool {
    args.out.is_none() || args.resume && out.parent() == Some(Path::new(RUNS))
}

/// `runs/latest`, which predict and eval use when no model is named.
pub fn point_latest(out: &Path) {
    if let (Some(name), Some(parent)) = (out.file_name(), out.parent()) {
        point_latest_at(parent, Path::new(name));
    }
}

/// The same for a model in `parent/target`.
pub fn point_latest_at(parent: &Path, target: &Path) {
    let latest = parent.join(LATEST);
    let beside = parent.join(format!("{LATEST}.part"));
    let _ = fs::remove_file(&beside);
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(target, &beside);
    #[cfg(not(unix))]
    let linked = fs::write(&beside, target.to_string_lossy().as_bytes());
    if let Err(error) = linked.and_then(|()| fs::rename(&beside, &latest)) {
        say!(
            "warning: {}: {error}; name the run with --model",
            latest.display()
        );
    }
}
