//! `hone fetch`, and the folder behind a `--model` word.

use crate::Exit;
use crate::args::FetchArgs;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// The folder of a model: a path, or a name the hub knows.
pub fn model_folder(name: &str) -> Result<PathBuf> {
    let path = Path::new(name);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    bail!("{name}: no such folder")
}

/// Runs the verb.
pub fn run(args: FetchArgs) -> Result<Exit> {
    let folder = model_folder(&args.name)?;
    println!("{}", folder.display());
    Ok(Exit::Done)
}
