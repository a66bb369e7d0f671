//! Where `--data` leads: a file, or a folder with `train`, `valid` and `test`, each a file or shards of one; of a data set of
//! the Hugging Face hub these may lie in a folder within (`data`, `plain_text`), or be folders of numbers (`train/0000.parquet`).

use crate::DataError;
use crate::columns::listed;
use crate::plain::is_plain;
use crate::read::Format;
use crate::shards::{Shard, shards};
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
            reason: format!(
                "no train.csv (.tsv, .jsonl, .json, .conll, .ft, also .gz; .parquet, train-00000-of-00001.parquet) here{seen}"
            ),
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
    find_by(path, |file| Format::at(file).is_some())
}

/// As [`find`], where a part may also be a `.txt` with a text a line ([`crate::read_texts`]).
pub fn find_texts(path: &Path) -> Result<Files, DataError> {
    find_by(path, |file| Format::at(file).is_some() || is_plain(file))
}

fn find_by(path: &Path, readable: fn(&Path) -> bool) -> Result<Files, DataError> {
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
    let files = in_folder(path, readable)?;
    if files.train.is_some() || files.valid.is_some() || files.test.is_some() {
        return Ok(files);
    }
    let within: Vec<&PathBuf> = files.ignored.iter().filter(|p| holds_parquet(p)).collect();
    match within[..] {
        [] => Ok(files),
        [only] => {
            let inner = in_folder(only, readable)?;
            let others = files.ignored.iter().filter(|p| *p != only).cloned();
            Ok(Files {
                labels: inner.labels.or(files.labels),
                ignored: others.chain(inner.ignored).collect(),
                ..inner
            })
        }
        [_, _, ..] => {
            let names = within.iter().filter_map(|p| p.file_name()?.to_str());
            Err(DataError::Folder {
                path: path.to_owned(),
                reason: format!(
                    "no train, valid or test file here, but in several folders: {}; name one of them",
                    listed(names)
                ),
            })
        }
    }
}

/// Entries of a folder in the order of their names.
fn entries(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let all = std::fs::read_dir(path).and_then(|all| all.map(|e| Ok(e?.path())).collect());
    let mut all: Vec<PathBuf> = all.map_err(|source| DataError::Io {
        path: path.to_owned(),
        source,
    })?;
    all.sort();
    Ok(all)
}

/// What a file is to whoever reads the folder that it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Training, validation or test texts.
    Part,
    /// Names of labels that are numbers.
    Labels,
    /// Something that is not read.
    Other,
}

impl Role {
    /// By a path from the folder on, without a look into it: `train.csv`, `test-00000-of-00001.parquet`, `train/0000.parquet`,
    /// `labels.txt`. For files that are not here yet; fastText's under other endings are not known by their names.
    ///
    /// ```
    /// use hone_data::Role;
    /// # use std::path::Path;
    /// assert_eq!(Role::of(Path::new("dev.jsonl.gz")), Role::Part);
    /// assert_eq!(Role::of(Path::new("unsupervised-00000-of-00001.parquet")), Role::Other);
    /// ```
    pub fn of(path: &Path) -> Role {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let depth = path.components().count();
        let numbered = Shard::of(path).is_some_and(|shard| shard.is_numbered());
        match Slot::of_file(path).filter(|_| Format::of(path).is_some()) {
            Some(_) if depth == 1 || depth == 2 && numbered => Role::Part,
            None if depth == 1 && name.eq_ignore_ascii_case(LABELS) => Role::Labels,
            _ => Role::Other,
        }
    }
}

/// Whether a name ends as those of data files do (`.csv`, `.jsonl.gz`, `.parquet`, also `.txt`), whether there is one or not.
pub fn has_data_ending(path: &Path) -> bool {
    let text = |e: &std::ffi::OsStr| e.eq_ignore_ascii_case("txt") || e.eq_ignore_ascii_case("gz");
    Format::of(path).is_some() || path.extension().is_some_and(text)
}

/// Names of integer labels, in any case.
const LABELS: &str = "labels.txt";
/// The first file of a part that is a folder of numbers.
const FIRST: &str = "0000.parquet";

/// The part of a data set that a name is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Train,
    Valid,
    Test,
}

impl Slot {
    /// By a name without its ending, in lower case.
    pub fn of(stem: &str) -> Option<Slot> {
        Some(match stem {
            "train" => Slot::Train,
            "valid" | "dev" | "val" | "validation" => Slot::Valid,
            "test" => Slot::Test,
            _ => return None,
        })
    }

    /// By a file's name, whatever its ending.
    fn of_file(path: &Path) -> Option<Slot> {
        let name = path.file_name()?.to_str()?.to_lowercase();
        if let Some(shard) = Shard::of(path) {
            return Slot::of(&shard.part);
        }
        // A row-aligned companion such as train.meta.tsv is not the data.
        let plain = name.trim_end_matches(".gz").matches('.').count() == 1;
        Slot::of(name.split('.').next()?).filter(|_| plain)
    }
}

/// The first file of a part that is a folder of numbers.
fn first_within(path: &Path) -> Option<PathBuf> {
    let first = path.join(FIRST);
    (Shard::of(&first).is_some() && first.is_file()).then_some(first)
}

/// Whether a folder holds a part in Parquet.
fn holds_parquet(path: &Path) -> bool {
    let part = |entry: PathBuf| {
        let file = Format::of(&entry) == Some(Format::Parquet) && Slot::of_file(&entry).is_some();
        file || first_within(&entry).is_some()
    };
    // One that cannot be looked into is as one that holds none.
    let entries = path.is_dir().then(|| entries(path).ok()).flatten();
    entries.is_some_and(|all| all.into_iter().any(part))
}

/// Finds the files that lie in a folder.
fn in_folder(path: &Path, readable: fn(&Path) -> bool) -> Result<Files, DataError> {
    let mut files = Files::default();
    for entry in entries(path)? {
        let name = entry.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let labels = name.eq_ignore_ascii_case(LABELS);
        // Of a folder of numbers the first stands for all of them.
        let numbers = first_within(&entry);
        let file = numbers.clone().unwrap_or_else(|| entry.clone());
        let readable = file.is_file() && readable(&file);
        let slot = match Slot::of_file(&file).filter(|_| readable) {
            _ if labels => &mut files.labels,
            Some(Slot::Train) => &mut files.train,
            Some(Slot::Valid) => &mut files.valid,
            Some(Slot::Test) => &mut files.test,
            None => {
                files.ignored.push(entry);
                continue;
            }
        };
        if let Some(first) = slot {
            let (own, first_shard) = (Shard::of(&file), Shard::of(first));
            if own.is_some_and(|own| first_shard.is_some_and(|first| first.beside(&own))) {
                continue;
            }
            return Err(DataError::Folder {
                path: path.to_owned(),
                reason: format!(
                    "{} and {} are both candidates for one part; keep one",
                    first.display(),
                    file.display()
                ),
            });
        }
        let all = shards(&file)?;
        if numbers.is_some() {
            let others = entries(&entry)?.into_iter().filter(|p| !all.contains(p));
            files.ignored.extend(others);
        }
        // The first of several shards stands for all of them.
        *slot = all.into_iter().next();
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

    /// A folder with these files.
    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        folder
    }

    /// Names of the parts and of what is ignored, below the folder.
    fn found(folder: &Path) -> Result<[Vec<String>; 4], String> {
        let files = find(folder).map_err(|e| e.to_string())?;
        let below = |path: &PathBuf| path.strip_prefix(folder).unwrap().display().to_string();
        let names = |paths: Option<PathBuf>| paths.iter().map(below).collect::<Vec<_>>();
        let ignored = files.ignored.iter().map(below).collect();
        Ok([
            names(files.train),
            names(files.valid),
            names(files.test),
            ignored,
        ])
    }

    #[test]
    fn shards_are_parts_and_a_missing_one_is_named() {
        let hub = [
            "train-00001-of-00002.parquet",
            "train-00000-of-00002.parquet",
            "validation-00000-of-00001-0123456789abcdef.parquet",
            "test.parquet",
            "unsupervised-00000-of-00001.parquet",
        ];
        let parts = found(folder(&hub).path()).unwrap();
        assert_eq!(
            parts,
            [
                vec![hub[1].to_owned()],
                vec![hub[2].to_owned()],
                vec![hub[3].to_owned()],
                vec![hub[4].to_owned()]
            ]
        );
        for (files, says) in [
            (
                &hub[..1],
                "train-00000-of-00002.parquet is not here, and the 2 shards are one part",
            ),
            (
                &[hub[0], hub[1], "train.csv"],
                "are both candidates for one part; keep one",
            ),
            (
                &[hub[0], hub[1], "train-00000-of-00001.parquet"],
                "are both candidates",
            ),
            (
                &["test.parquet", "test-00000-of-00001.parquet"],
                "are both candidates",
            ),
        ] {
            let error = found(folder(files).path()).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn texts_may_be_lines() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["train.txt", "dev.txt.gz", "labels.txt", "notes.txt"] {
            std::fs::write(folder.path().join(name), "a text\n").unwrap();
        }
        // Labelled ones are not.
        let files = find(folder.path()).unwrap();
        assert_eq!(
            (files.train, files.valid, files.ignored.len()),
            (None, None, 3)
        );
        let files = find_texts(folder.path()).unwrap();
        assert!(files.train.unwrap().ends_with("train.txt"));
        assert!(files.valid.unwrap().ends_with("dev.txt.gz"));
        assert!(files.labels.is_some());
        assert_eq!(files.ignored.len(), 1);
        std::fs::write(folder.path().join("train.csv"), "text\na\n").unwrap();
        let error = find_texts(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("train.csv") && error.contains("train.txt"),
            "{error}"
        );
    }

    #[test]
    fn parts_may_lie_in_one_folder_within() {
        let train = "train-00000-of-00001.parquet";
        let inner = |name: &str| format!("{name}/{train}");
        let [data, other] = ["plain_text", "b"].map(inner);
        let whole = folder(&[
            "README.md",
            &data,
            "plain_text/extra-00000-of-00001.parquet",
            "c/train.csv",
        ]);
        let ignored =
            ["README.md", "c", "plain_text/extra-00000-of-00001.parquet"].map(str::to_owned);
        assert_eq!(
            found(whole.path()).unwrap(),
            [vec![data.clone()], vec![], vec![], ignored.to_vec()]
        );
        let several = found(folder(&[&data, &other]).path()).unwrap_err();
        assert!(several.ends_with("no train, valid or test file here, but in several folders: b, plain_text; name one of them"));
        // Parts that lie here are the parts.
        let here = found(folder(&["test.csv", &data]).path()).unwrap();
        assert_eq!(
            here,
            [
                vec![],
                vec![],
                vec!["test.csv".to_owned()],
                vec!["plain_text".to_owned()]
            ]
        );
    }

    #[test]
    fn parts_may_be_folders_of_numbers() {
        // As the hub's own conversion has them, below the name of a configuration or without it.
        let below = |name: &str| {
            let all = [
                "train/0000.parquet",
                "train/0001.parquet",
                "train/notes.md",
                "validation/0000.parquet",
                "test/0000.parquet",
                "partial-extra/0000.parquet",
            ];
            all.map(|file| format!("{name}{file}"))
        };
        for name in ["", "default/"] {
            let all = below(name);
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            let [train, valid, test, ignored] = found(folder(&all).path()).unwrap();
            assert_eq!(
                [train, valid, test],
                [0, 3, 4].map(|i| vec![all[i].to_owned()])
            );
            assert_eq!(ignored, [format!("{name}partial-extra"), all[2].to_owned()]);
        }
        for (files, says) in [
            (
                &["train/0000.parquet", "train/0002.parquet"][..],
                "train/0001.parquet is not here",
            ),
            (
                &["train/0000.parquet", "train.csv"],
                "are both candidates for one part; keep one",
            ),
            (
                &["val/0000.parquet", "validation/0000.parquet"],
                "are both candidates",
            ),
            (
                &["a/train/0000.parquet", "b/test/0000.parquet"],
                "in several folders: a, b; name one of them",
            ),
        ] {
            let error = found(folder(files).path()).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn roles_by_name() {
        for (path, role, data) in [
            ("train.csv", Role::Part, true),
            ("Dev.TSV.gz", Role::Part, true),
            ("test-00001-of-00002.parquet", Role::Part, true),
            ("validation/0003.parquet", Role::Part, true),
            ("Labels.txt", Role::Labels, true),
            ("train.meta.tsv", Role::Other, true),
            ("train.py", Role::Other, false),
            ("train/train.csv", Role::Other, true),
            ("a/labels.txt", Role::Other, true),
            ("unsupervised-00000-of-00001.parquet", Role::Other, true),
            ("partial-train/0000.parquet", Role::Other, true),
            ("imdb", Role::Other, false),
            ("v1.0", Role::Other, false),
        ] {
            let path = Path::new(path);
            assert_eq!((Role::of(path), has_data_ending(path)), (role, data));
        }
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
