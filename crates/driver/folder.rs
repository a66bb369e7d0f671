//! Which folder work writes to where nobody names one, and which of them is the newest.

use crate::args::TrainArgs;
use crate::interrupt;
use anyhow::{Context, Result, bail};
use hone_report::say;
use hone_train::{Output, OutputError, TrainError, Work};
use std::fs;
use std::path::{Path, PathBuf};

/// Where runs are that nobody names a folder for.
const RUNS: &str = "runs";
/// What points at the newest of them.
const LATEST: &str = "latest";
/// The folder of `--out`, else a new one named after the data. What is in it is gone on with by --resume; else it must be empty
/// or not there yet.
pub fn open(args: &TrainArgs, data: &Path, work: Work) -> Result<Output> {
    let path = match &args.out {
        Some(out) => out.clone(),
        None if args.resume => {
            bail!(
                "--resume needs --out, the folder of the {} to continue",
                work.name
            )
        }
        None => next_run(data, "")?,
    };
    if !args.resume {
        return new(&path, work);
    }
    // From here on an interrupt is answered, and leaves nothing half written.
    interrupt::watch()?;
    let opened = Output::resume(&path, work);
    if let Err(TrainError::Output(OutputError::Done { .. })) = opened {
        // An end that was cut off left this to be done.
        let (model, latest) = (path.join("model.safetensors"), Path::new(RUNS).join(LATEST));
        if is_newest(args, &path) && model.is_file() && !latest.exists() {
            point_latest(&path);
        }
    }
    Ok(opened?)
}

/// An empty folder, made where there is none.
pub fn new(path: &Path, work: Work) -> Result<Output> {
    interrupt::watch()?;
    Ok(Output::new(path, work)?)
}

/// `runs/NAME-N`, the first N that is free, a word behind the name.
pub fn next_run(data: &Path, word: &str) -> Result<PathBuf> {
    let stem = data
        .file_name()
        .and_then(|n| n.to_str())
        .map_or("run", |n| n.split(['.', '@']).next().unwrap_or("run"));
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
