//! The folder that work writes to: empty when it begins, nobody else's meanwhile, given back when nothing began.

use crate::{Checkpoints, TrainError};
use std::fs::{self, File, TryLockError};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a run leaves in its folder before its first step, or by which a folder is known to hold one.
const BEGUN: [&str; 4] = ["run.toml", "plan.json", "trials.jsonl", "metrics.jsonl"];
/// The same of one that got further.
const KEPT: [&str; 3] = ["summary.json", "checkpoints", "model.safetensors"];
/// What is there before the first step of work alone: whoever begins it may have put a recipe and an open log there.
const PLANS: [&str; 2] = ["plan.json", "trials.jsonl"];

/// A kind of work that has a folder of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// What it is called.
    pub name: &'static str,
    /// The file that is left at its end, by which a folder is known to hold it whole.
    pub done: &'static str,
}

impl Work {
    /// A [`Job`](crate::Job).
    pub const RUN: Work = Work {
        name: "run",
        done: "summary.json",
    };
}

/// Why work cannot have a folder.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// It is no folder.
    #[error("--out {}: this is a file; a folder was expected", path.display())]
    File {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else works in it.
    #[error("{}: another hone is at work in this folder; wait for it, or choose another --out", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// A run is in it.
    #[error(
        "{}: this folder already holds a run ({found}); continue it with --resume or choose another --out",
        path.display()
    )]
    Holds {
        /// The folder.
        path: PathBuf,
        /// The file that tells.
        found: String,
    },
    /// Something else is in it.
    #[error(
        "{}: this folder is not empty ({found}); a run needs a folder of its own, choose another --out",
        path.display()
    )]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// What, the first of it.
        found: String,
    },
    /// What is to be gone on with has come to its end.
    #[error("{}: this {work} is done; nothing is left to resume", path.display())]
    Done {
        /// The folder.
        path: PathBuf,
        /// The kind of work.
        work: &'static str,
    },
    /// What is to be gone on with is not there, but something else is.
    #[error(
        "{}: no {work} is here to go on with, but {found}; a run needs a folder of its own",
        path.display()
    )]
    Nothing {
        /// The folder.
        path: PathBuf,
        /// The kind of work.
        work: &'static str,
        /// What is there, the first of it.
        found: String,
    },
}

/// How work begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// In a new folder.
    Anew,
    /// To be gone on with, where nothing was yet.
    Again,
    /// After what is there.
    After,
}

/// A folder to write to, kept from other processes while this lives. What is in it is its work's own: it was empty, or it is
/// gone on with.
///
/// ```
/// use hone_train::{Output, Work};
///
/// let folder = std::env::temp_dir().join(format!("hone-output-{}", std::process::id()));
/// let output = Output::new(&folder, Work::RUN)?;
/// // Whoever comes second is told so, and so is who would write over what a run left.
/// assert!(Output::new(&folder, Work::RUN).unwrap_err().to_string().contains("at work in this folder"));
/// std::fs::write(output.join("summary.json"), "{}")?;
/// drop(output);
/// assert!(Output::new(&folder, Work::RUN).unwrap_err().to_string().contains("already holds a run"));
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    work: Work,
    begins: Begins,
    /// Whether there was no such folder before.
    made: bool,
    /// Held until the work is done.
    lock: Option<Arc<File>>,
}

impl Deref for Output {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Output {
    /// An empty folder, made where there is none.
    pub fn new(path: &Path, work: Work) -> Result<Output, TrainError> {
        Output::empty(path, work, Begins::Anew)
    }

    /// A folder whose work is gone on with: from the start where nothing is in it yet, as for a script that begins again after a
    /// failure.
    pub fn resume(path: &Path, work: Work) -> Result<Output, TrainError> {
        let held = Held::of(path, work)?;
        if held == Held::Nothing {
            return Output::empty(path, work, Begins::Again);
        }
        let lock = lock(path)?;
        let own = || path.to_owned();
        if path.join(work.done).exists() {
            // What an end that was cut off left to be tidied.
            Checkpoints::of(path).clear()?;
            let (path, work) = (own(), work.name);
            return Err(OutputError::Done { path, work }.into());
        }
        if let Held::Others(found) = held {
            let (path, work) = (own(), work.name);
            return Err(OutputError::Nothing { path, work, found }.into());
        }
        Ok(Output {
            path: own(),
            work,
            begins: Begins::After,
            made: false,
            lock,
        })
    }

    fn empty(path: &Path, work: Work, begins: Begins) -> Result<Output, TrainError> {
        let own = || path.to_owned();
        let made = !path.exists();
        if made {
            fs::create_dir_all(path).map_err(|source| TrainError::Io {
                path: own(),
                source,
            })?;
        }
        let lock = lock(path)?;
        match Held::of(path, work)? {
            Held::Run(found) => Err(OutputError::Holds { path: own(), found }.into()),
            Held::Others(found) => Err(OutputError::NotEmpty { path: own(), found }.into()),
            Held::Nothing => Ok(Output {
                path: own(),
                work,
                begins,
                made,
                lock,
            }),
        }
    }

    /// A folder inside, for a part of the work; it is gone on with where the whole is.
    pub fn part(&self, folder: PathBuf) -> Output {
        Output {
            path: folder,
            made: false,
            lock: self.lock.clone(),
            ..*self
        }
    }

    /// The same for a part that begins with its first step.
    pub fn new_part(&self, folder: PathBuf) -> Output {
        Output {
            begins: Begins::Anew,
            ..self.part(folder)
        }
    }

    /// Whether the work was asked to be gone on with.
    pub fn resumes(&self) -> bool {
        self.begins != Begins::Anew
    }

    /// Refuses work that would write over what other work, begun with this same value, left here.
    pub fn check_unused(&self) -> Result<(), TrainError> {
        let begun = KEPT.iter().chain(&PLANS).filter(|_| !self.resumes());
        let mut left = [self.work.done].into_iter().chain(begun.copied());
        match left.find(|name| self.path.join(name).exists()) {
            None => Ok(()),
            Some(found) => Err(OutputError::Holds {
                path: self.path.clone(),
                found: found.to_owned(),
            }
            .into()),
        }
    }

    /// What was done; else a folder in which nothing began is given back, so that the mended command can have it. What a
    /// step left stays.
    pub fn or_release<T, E>(&self, done: Result<T, E>) -> Result<T, E> {
        let read = |name: &str| fs::read_to_string(self.path.join(name)).unwrap_or_default();
        let stepped = || read("metrics.jsonl").contains("\"event\":\"step\"");
        // A search's journal begins with a line of its own.
        let tried = || read("trials.jsonl").lines().count() > 1;
        if done.is_err() && !self.path.join("checkpoints").exists() && !stepped() && !tried() {
            self.give_back(&["work"]);
        }
        done
    }

    /// Removes what new work wrote at its start, these folders, and then itself, where it was made for this and nothing else
    /// is in it. Work that goes on keeps what it had.
    pub fn give_back(&self, folders: &[&str]) {
        if self.begins == Begins::After {
            return;
        }
        for name in BEGUN {
            let _ = fs::remove_file(self.path.join(name));
        }
        for name in folders {
            let _ = fs::remove_dir_all(self.path.join(name));
        }
        if self.made {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Keeps other processes out of a folder for as long as the file is open. A file system that cannot do that lets everybody
/// in.
fn lock(path: &Path) -> Result<Option<Arc<File>>, TrainError> {
    // Only Unix opens folders.
    let Ok(folder) = File::open(path) else {
        return Ok(None);
    };
    match folder.try_lock() {
        Ok(()) => Ok(Some(Arc::new(folder))),
        Err(TryLockError::WouldBlock) => Err(OutputError::Busy {
            path: path.to_owned(),
        }
        .into()),
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
    /// `work` is the kind that asks.
    fn of(path: &Path, work: Work) -> Result<Held, TrainError> {
        let io = |source| TrainError::Io {
            path: path.to_owned(),
            source,
        };
        if path.is_file() {
            return Err(OutputError::File {
                path: path.to_owned(),
            }
            .into());
        }
        if !path.exists() {
            return Ok(Held::Nothing);
        }
        let entries = fs::read_dir(path).map_err(io)?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<String> = names.collect::<std::io::Result<_>>().map_err(io)?;
        names.sort();
        let own = |name: &str| name == work.done || BEGUN.contains(&name) || KEPT.contains(&name);
        let run = names.iter().position(|name| own(name));
        Ok(match (run, names.is_empty()) {
            (Some(at), _) => Held::Run(names.swap_remove(at)),
            (None, false) => Held::Others(names.swap_remove(0)),
            (None, true) => Held::Nothing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in a folder decides who may have it; nothing in it changes, and what cannot be had is told in one line.
    #[test]
    fn who_may_have_a_folder() {
        enum How {
            New,
            Resume,
        }
        #[track_caller]
        fn check(files: &[&str], how: How, says: Result<bool, &str>) {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("out");
            for name in files {
                fs::create_dir_all(&path).unwrap();
                fs::write(path.join(name), name).unwrap();
            }
            let got = match how {
                How::New => Output::new(&path, Work::RUN),
                How::Resume => Output::resume(&path, Work::RUN),
            };
            match (got.map(|out| out.resumes()), says) {
                (Ok(resumes), Ok(wanted)) => assert_eq!(resumes, wanted),
                (Err(error), Err(wanted)) => {
                    let said = error.to_string();
                    assert!(said.contains(wanted) && !said.contains('\n'), "{said}");
                }
                (got, _) => panic!("{got:?}, {says:?} was expected"),
            }
            for name in files {
                assert_eq!(fs::read_to_string(path.join(name)).unwrap(), *name);
            }
        }
        let begun = ["run.toml", "metrics.jsonl"];
        check(&[], How::New, Ok(false));
        check(&[], How::Resume, Ok(true));
        check(&begun, How::New, Err("already holds a run (metrics.jsonl)"));
        check(&begun, How::Resume, Ok(true));
        let done = ["run.toml", "summary.json"];
        check(&done, How::New, Err("already holds a run (run.toml)"));
        check(&done, How::Resume, Err("this run is done"));
        let others = ["notes.txt"];
        check(&others, How::New, Err("is not empty (notes.txt)"));
        let nothing = "no run is here to go on with, but notes.txt";
        check(&others, How::Resume, Err(nothing));
        let file = tempfile::NamedTempFile::new().unwrap();
        let said = Output::new(file.path(), Work::RUN).unwrap_err().to_string();
        assert!(said.contains("this is a file"), "{said}");
    }

    /// A part keeps the whole folder, and whoever comes meanwhile is told so, even to go on.
    #[cfg(unix)]
    #[test]
    fn nobody_comes_between() {
        let root = tempfile::tempdir().unwrap();
        let out = Output::new(root.path(), Work::RUN).unwrap();
        fs::write(root.path().join("run.toml"), "").unwrap();
        let part = out.part(root.path().join("folds/1-1"));
        drop(out);
        for again in [Output::new, Output::resume] {
            let said = again(root.path(), Work::RUN).unwrap_err().to_string();
            assert!(said.contains("at work in this folder"), "{said}");
        }
        drop(part);
        assert!(Output::resume(root.path(), Work::RUN).unwrap().resumes());
    }

    /// A second run with the same value would write over the first one's checkpoints and model.
    #[test]
    fn one_value_is_for_one_run() {
        let begin = [Output::new, Output::resume];
        for (begin, left, free) in [
            (begin[0], "metrics.jsonl", true),
            (begin[0], "checkpoints", false),
            (begin[0], "plan.json", false),
            (begin[0], "summary.json", false),
            (begin[1], "checkpoints", true),
            (begin[1], "summary.json", false),
        ] {
            let root = tempfile::tempdir().unwrap();
            let out = begin(root.path(), Work::RUN).unwrap();
            fs::write(root.path().join(left), "").unwrap();
            assert_eq!(out.check_unused().is_ok(), free, "{left}");
        }
    }

    /// What nothing came of is given back; what a step left, or was there before, is not.
    #[test]
    fn a_folder_in_which_nothing_began_is_given_back() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("out");
        for (written, text, stays) in [
            ("run.toml", "", false),
            ("metrics.jsonl", "{\"event\":\"plan\"}\n", false),
            ("metrics.jsonl", "{\"event\":\"step\"}\n", true),
        ] {
            let out = Output::new(&path, Work::RUN).unwrap();
            fs::write(path.join(written), text).unwrap();
            assert!(out.or_release(Err::<(), ()>(())).is_err());
            assert_eq!(path.exists(), stays, "{written}: {text}");
        }
        let again = Output::resume(&path, Work::RUN).unwrap();
        again.give_back(&[]);
        assert!(path.join("metrics.jsonl").exists());
    }
}
