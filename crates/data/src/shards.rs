//! Parquet files that are parts of one: `train-00000-of-00002.parquet` and `train-00001-of-00002.parquet`, as the Hugging Face
//! hub names them, also with a fingerprint behind (`train-00000-of-00002-0123456789abcdef.parquet`), or, as its own conversion
//! of other formats has them, `train/0000.parquet` and `train/0001.parquet`.

use crate::DataError;
use crate::folder::Slot;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a file's name says of it, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shard {
    /// `train` of `train-00000-of-00002.parquet`.
    pub part: String,
    /// From 0.
    number: usize,
    /// How many there are, where the name tells.
    of: Option<usize>,
}

impl Shard {
    /// None where the name is not a shard's.
    pub fn of(path: &Path) -> Option<Shard> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let stem = name.strip_suffix(".parquet")?;
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if stem.len() == 4 && digits(stem) {
            let part = path.parent()?.file_name()?.to_str()?.to_lowercase();
            return Some(Shard {
                number: stem.parse().ok()?,
                part: Slot::of(&part).map(|_| part)?,
                of: None,
            });
        }
        let (part, numbers) = stem.rsplit_once("-of-")?;
        let (part, number) = part.rsplit_once('-')?;
        let of = match numbers.split_once('-') {
            None => numbers,
            Some((of, print)) => {
                let hex = |b: u8| b.is_ascii_hexdigit();
                print.bytes().all(hex).then_some(of)?
            }
        };
        let parse = |text: &str| digits(text).then(|| text.parse::<usize>().ok())?;
        let (number, of) = (parse(number)?, parse(of)?);
        (number < of).then(|| Shard {
            part: part.to_owned(),
            number,
            of: Some(of),
        })
    }

    /// Whether both belong to one part.
    pub fn beside(&self, other: &Shard) -> bool {
        self.part == other.part && self.of == other.of
    }

    /// Whether it is a number in a part's folder.
    pub fn is_numbered(&self) -> bool {
        self.of.is_none()
    }

    /// The name of another one of so many.
    fn named(&self, number: usize, of: usize) -> String {
        match self.of {
            Some(_) => format!("{}-{number:05}-of-{of:05}.parquet", self.part),
            None => format!("{}/{number:04}.parquet", self.part),
        }
    }
}

/// The files that a path stands for: all shards in order where it is one of several, else itself. An error names a shard
/// that is not there. Where the names do not tell how many there are, those up to the last one that is there are meant, and a
/// number without a first one beside it (`train/2023.parquet`) is no shard.
pub(crate) fn shards(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let own = match Shard::of(path) {
        Some(own) if own.of != Some(1) => own,
        _ => return Ok(vec![path.to_owned()]),
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let io = |source| DataError::Io {
        path: folder.to_owned(),
        source,
    };
    let mut found: BTreeMap<usize, PathBuf> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let there = path.with_file_name(entry.map_err(io)?.file_name());
        let Some(shard) = Shard::of(&there).filter(|s| s.beside(&own)) else {
            continue;
        };
        if let Some(first) = found.insert(shard.number, there.clone()) {
            return Err(DataError::Folder {
                path: first,
                reason: format!("{} is the same shard; keep one", there.display()),
            });
        }
    }
    let of = match (own.of, found.last_key_value()) {
        (Some(of), _) => of,
        (None, Some((last, _))) if found.contains_key(&0) => last + 1,
        (None, _) => return Ok(vec![path.to_owned()]),
    };
    match (0..of).find(|number| !found.contains_key(number)) {
        None => Ok(found.into_values().collect()),
        Some(missing) => Err(DataError::Folder {
            path: folder.to_owned(),
            reason: format!(
                "{} is not here, and the {of} shards are one part; fetch it (or rename the one that is to be read alone)",
                own.named(missing, of)
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_shards() {
        for (name, want) in [
            ("train-00000-of-00002.parquet", Some(("train", 0, Some(2)))),
            ("a/Test-00001-of-00002.Parquet", Some(("test", 1, Some(2)))),
            (
                "train-00000-of-00001-b42a775f407cee45.parquet",
                Some(("train", 0, Some(1))),
            ),
            ("my-set-3-of-4.parquet", Some(("my-set", 3, Some(4)))),
            ("a/train/0001.parquet", Some(("train", 1, None))),
            ("Validation/0000.parquet", Some(("validation", 0, None))),
            ("partial-train/0000.parquet", None),
            ("train/1.parquet", None),
            ("train/000a.parquet", None),
            ("train/0000.csv", None),
            ("0000.parquet", None),
            ("train-00002-of-00002.parquet", None),
            ("train-00000-of-00001-copy.parquet", None),
            ("train-+1-of-00002.parquet", None),
            ("train-0-of-99999999999999999999.parquet", None),
            ("model-00000-of-00002.safetensors", None),
            ("train.parquet", None),
        ] {
            let found = Shard::of(Path::new(name));
            let found = found.as_ref().map(|s| (&*s.part, s.number, s.of));
            assert_eq!(found, want, "{name}");
        }
    }

    #[test]
    fn one_shard_stands_for_all() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, "x").unwrap();
            path
        };
        let second = file("train-00001-of-00003-0b.parquet");
        let first = file("train-00000-of-00003-0a.parquet");
        file("train-00000-of-00001.parquet");
        file("test-00002-of-00003.parquet");
        let error = shards(&second).unwrap_err().to_string();
        assert!(
            error.contains("train-00002-of-00003.parquet is not here"),
            "{error}"
        );
        let third = file("train-00002-of-00003.parquet");
        let all = [first.clone(), second.clone(), third];
        for path in &all {
            assert_eq!(shards(path).unwrap(), all);
        }
        file("train-00000-of-00003.parquet");
        let error = shards(&first).unwrap_err().to_string();
        assert!(error.contains("the same shard; keep one"), "{error}");
        let alone = folder.path().join("train-00000-of-00001.parquet");
        assert_eq!(shards(&alone).unwrap(), [alone]);
    }

    #[test]
    fn numbers_in_a_parts_folder_are_shards_from_the_first_on() {
        for (there, asked, wanted) in [
            (&["train/0000.parquet", "train/0001.parquet"][..], 1, Ok(2)),
            (&["test/0000.parquet", "test/0001.csv"], 0, Ok(1)),
            (
                &["train/0000.parquet", "train/0002.parquet"],
                0,
                Err("train/0001.parquet is not here, and the 3 shards are one part"),
            ),
            // A year is a name.
            (&["train/2022.parquet", "train/2023.parquet"], 1, Ok(1)),
            (&["a/0000.parquet", "a/0001.parquet"], 1, Ok(1)),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let files: Vec<PathBuf> = there.iter().map(|f| folder.path().join(f)).collect();
            for file in &files {
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, "x").unwrap();
            }
            match (shards(&files[asked]), wanted) {
                (Ok(found), Ok(1)) => assert_eq!(found, [files[asked].clone()]),
                (Ok(found), Ok(_)) => assert_eq!(found, files),
                (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
                (found, _) => panic!("{there:?}: {found:?}"),
            }
        }
    }
}
