//! The working folder of a cell that trains in a process of its own. It is kept where that process was interrupted, so that
//! an hour's training is not thrown away.

use super::subsets::{Row, Set};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// What an interrupted cell has taken so far: `spent.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Spent {
    /// Seconds of training: of the processor, or by the clock where a GPU computed.
    seconds: f64,
    /// What computed.
    device: String,
}

/// A cell's working folder.
#[derive(Debug)]
pub struct Cell {
    folder: PathBuf,
    /// Seconds of what was trained before; none where it is begun now.
    pub before: Option<f64>,
}

impl Cell {
    /// Goes on with a cell that was interrupted. Anything else that lies in its folder was ended before it could say what it
    /// took, and is begun anew.
    ///
    /// The record is taken off while the cell runs: what is ended then has no known time.
    pub fn open(folder: PathBuf, device: &str) -> Result<Cell> {
        let named = || folder.display().to_string();
        let path = folder.join("spent.json");
        let before = match path.is_file() {
            true => {
                let text = fs::read_to_string(&path).with_context(named)?;
                let spent: Spent =
                    serde_json::from_str(&text).with_context(|| path.display().to_string())?;
                if spent.device != device {
                    bail!(
                        "{}: this cell began with --device {}, now it is {device}; go on as it began, or remove this folder",
                        folder.display(),
                        spent.device
                    );
                }
                fs::remove_file(&path).with_context(|| path.display().to_string())?;
                Some(spent.seconds)
            }
            false => {
                if folder.exists() {
                    fs::remove_dir_all(&folder).with_context(named)?;
                }
                None
            }
        };
        fs::create_dir_all(&folder).with_context(named)?;
        Ok(Cell { folder, before })
    }

    /// The folder of the run.
    pub fn run(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// Whether training is done, so that only the answers are missing.
    pub fn is_trained(&self) -> bool {
        self.before.is_some() && self.run().join("summary.json").is_file()
    }

    /// Subset and judged rows as files.
    pub fn files(&self, set: &Set, train: &[&Row]) -> Result<(PathBuf, PathBuf)> {
        let (own, test) = (self.folder.join("train.csv"), self.folder.join("test.csv"));
        set.write(&own, train.iter().copied())?;
        set.write(&test, &set.test)?;
        Ok((own, test))
    }

    /// Notes what an interrupted cell has taken so far, so that the next one goes on.
    pub fn keep(&self, seconds: f64, device: &str) -> Result<()> {
        let spent = Spent {
            seconds,
            device: device.to_owned(),
        };
        let (path, beside) = (
            self.folder.join("spent.json"),
            self.folder.join("spent.json.new"),
        );
        fs::write(&beside, serde_json::to_string(&spent)? + "\n")
            .and_then(|()| fs::rename(&beside, &path))
            .with_context(|| path.display().to_string())
    }
}

/// Removes the folder of a cell that is done, and the one around it once that is empty.
pub fn remove(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    if let Some(around) = folder.parent() {
        let _ = fs::remove_dir(around);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_cell_whose_time_is_known_goes_on() {
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join("work").join("a-100-1-recipe");
        let open = |device| Cell::open(folder.clone(), device);
        let checkpoint = folder.join("run").join("checkpoints");
        let cell = open("cpu").unwrap();
        assert_eq!(cell.before, None);
        fs::create_dir_all(&checkpoint).unwrap();
        cell.keep(1.5, "cpu").unwrap();
        let error = open("cuda").unwrap_err().to_string();
        assert!(error.contains("began with --device cpu, now it is cuda"));
        let cell = open("cpu").unwrap();
        assert_eq!((cell.before, cell.is_trained()), (Some(1.5), false));
        assert!(checkpoint.is_dir());
        // It was ended without a word: what it took is not known.
        assert_eq!(open("cpu").unwrap().before, None);
        assert!(!checkpoint.exists());
        remove(&folder);
        assert!(!folder.exists() && !around.path().join("work").exists());
    }
}
