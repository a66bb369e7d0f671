//! Where `--data` leads: a file, or a folder with `train`, `valid` and `test`.

use crate::DataError;
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
    /// `labels.txt`, which names integer labels.
    pub labels: Option<PathBuf>,
    /// Other files of the folder, not read.
    pub ignored: Vec<PathBuf>,
}

/// Finds the files behind a path.
pub fn find(path: &Path) -> Result<Files, DataError> {
    let io = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    let data = std::fs::metadata(path).map_err(io)?;
    if !data.is_dir() {
        let labels = path.with_file_name("labels.txt");
        return Ok(Files {
            train: Some(path.to_owned()),
            labels: labels.is_file().then_some(labels),
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
        if name == "labels.txt" {
            files.labels = Some(entry);
            continue;
        }
        let stem = name.split('.').next().unwrap_or("");
        // A row-aligned companion such as train.meta.tsv is not the data.
        let plain = name.trim_end_matches(".gz").matches('.').count() == 1;
        let readable = plain && entry.is_file() && Format::at(&entry).is_some();
        let slot = match stem {
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
