//! Where `--data` leads: a file, or a folder with `train`, `valid` and `test`.

use crate::DataError;
use crate::columns::listed;
use crate::read::Format;
use std::path::{Path, PathBuf};

/// The files of a data set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Training texts.
    pub train: Option<PathBuf>,
    /// Validation texts.
    pub valid: Option<PathBuf>,
    /// Test texts.
    pub test: Option<PathBuf>,
    /// `labels.txt`, which names integer labels (as all names in any case).
    pub labels: Option<PathBuf>,
    /// Other files of the folder, not read.
    pub ignored: Vec<PathBuf>,
}

impl Files {
    /// The training texts that were looked for behind `path`, or what stands there instead.
    pub fn training(&self, path: &Path) -> Result<PathBuf, DataError> {
        let seen = match self.ignored() {
            Some(names) => format!("; there are {names}"),
            None => String::new(),
        };
        self.train.clone().ok_or_else(|| DataError::Folder {
            path: path.to_owned(),
            reason: format!("no train.csv (.tsv, .jsonl, .json, .conll, .ft, also .gz) here{seen}"),
        })
    }

    /// Names of the files that are not read, if any.
    pub fn ignored(&self) -> Option<String> {
        let names = self.ignored.iter().filter_map(|p| p.file_name());
        let names: Vec<String> = names.map(|n| n.to_string_lossy().into_owned()).collect();
        (!names.is_empty()).then(|| listed(names.iter().map(String::as_str)))
    }
}

/// What is to be said where an option leaves the folder's own file unread, for another file or for none.
pub fn unread(own: &Path, instead: Option<&Path>, option: &str) -> Option<String> {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let same = instead.is_some_and(|path| real(path) == real(own));
    (!same).then(|| format!("{} is not read: {option} was given", own.display()))
}

/// Finds the files behind a path.
pub fn find(path: &Path) -> Result<Files, DataError> {
    let io = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    let data = std::fs::metadata(path).map_err(io)?;
    if !data.is_dir() {
        let labels = ["labels.txt", "Labels.txt"].map(|name| path.with_file_name(name));
        return Ok(Files {
            train: Some(path.to_owned()),
            labels: labels.into_iter().find(|p| p.is_file()),
            ..Files::default()
        });
    }
    let mut files = Files::default();
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(io)?
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<_, _>>()
        .map_err(io)?;
    entries.sort();
    for entry in entries {
        let name = entry.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let name = name.to_lowercase();
        let stem = name.split('.').next().unwrap_or("");
        // A row-aligned companion such as train.meta.tsv is not the data.
        let plain = name.trim_end_matches(".gz").matches('.').count() == 1;
        let readable = plain && entry.is_file() && Format::at(&entry).is_some();
        let slot = match stem {
            _ if name == "labels.txt" => &mut files.labels,
            "train" if readable => &mut files.train,
            "valid" | "dev" | "val" | "validation" if readable => &mut files.valid,
            "test" if readable => &mut files.test,
            _ => {
                files.ignored.push(entry);
                continue;
            }
        };
        if let Some(first) = slot {
            return Err(DataError::Folder {
                path: path.to_owned(),
                reason: format!(
                    "{} and {} are both candidates for one part; keep one",
                    first.display(),
                    entry.display()
                ),
            });
        }
        *slot = Some(entry);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "train.csv",
            "dev.tsv",
            "labels.txt",
            "train.meta.tsv",
            "README.md",
        ] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let files = find(folder.path()).unwrap();
        assert!(files.train.unwrap().ends_with("train.csv"));
        assert!(files.valid.unwrap().ends_with("dev.tsv"));
        assert!(files.labels.is_some() && files.test.is_none());
        assert_eq!(files.ignored.len(), 2);
        std::fs::write(folder.path().join("valid.csv"), "x").unwrap();
        let error = find(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("dev.tsv") && error.contains("valid.csv"),
            "{error}"
        );
    }

    #[test]
    fn names_in_any_case() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["Train.csv", "DEV.TSV", "Test.CSV.GZ", "Labels.txt"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let files = find(folder.path()).unwrap();
        assert!(files.train.is_some() && files.valid.is_some() && files.test.is_some());
        assert!(files.labels.is_some() && files.ignored.is_empty());
        let files = find(&folder.path().join("Train.csv")).unwrap();
        assert!(files.labels.is_some());
    }

    #[test]
    fn what_is_there_instead_is_told() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["reviews.csv", "a.md", "test.csv"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let files = find(folder.path()).unwrap();
        let error = files.training(folder.path()).unwrap_err().to_string();
        assert!(error.contains("no train.csv"), "{error}");
        assert!(
            error.ends_with("here; there are a.md, reviews.csv"),
            "{error}"
        );
    }

    #[test]
    fn fast_text_is_known_by_how_it_begins() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        write("train.txt", "\u{feff}\n__label__a one\n").unwrap();
        write("valid.txt", "a corpus\n").unwrap();
        write("test.train", "__label__b two\n").unwrap();
        let files = find(folder.path()).unwrap();
        assert!(files.train.unwrap().ends_with("train.txt"));
        assert!(files.test.unwrap().ends_with("test.train"));
        assert_eq!(files.valid, None);
        assert!(files.ignored[0].ends_with("valid.txt"));
    }
}
