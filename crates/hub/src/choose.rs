//! Which files of a data set's repository are fetched: those of the one configuration that is meant, by their paths alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::names::is_plain_path;

/// What a file is to whoever reads the folder it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Texts of one part: training, validation or test.
    Part,
    /// Something to read beside them.
    Beside,
    /// Nothing that is read.
    Other,
}

/// Says what a file is by its path from the folder on that holds the parts, such as `train.csv` or `train/0000.parquet`.
pub(crate) type RoleOf<'a> = &'a dyn Fn(&str) -> Role;

/// The files of one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// The folder where its parts lie; empty for the repository's own.
    pub(crate) base: String,
    pub(crate) files: Vec<String>,
    /// What was there beside them.
    pub(crate) left: Vec<String>,
}

/// What a list of files comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    Files(Chosen),
    /// Several configurations, and none was named.
    Several(Vec<String>),
    /// The one that was named is not among these; there may be none at all.
    Absent(Vec<String>),
    /// The parts that are here are the beginnings of parts.
    Partial(Vec<String>),
}

/// The folder that a path's part lies in, if it is one; a part may be a file or a folder of numbers. Other files in a folder
/// that is called after a part (`train/train.csv` beside `test/test.csv`) are nobody's: that folder is no configuration.
fn base_of<'a>(path: &'a str, role: RoleOf<'_>) -> Option<&'a str> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    if role(file) == Role::Part {
        let numbers = format!("{}/0000.parquet", name_of(folder));
        return (role(&numbers) != Role::Part).then_some(folder);
    }
    let (base, part) = folder.rsplit_once('/').unwrap_or(("", folder));
    let numbered = !part.is_empty() && role(&format!("{part}/{file}")) == Role::Part;
    numbered.then_some(base)
}

/// The part whose beginning a path holds, as the hub's conversion of a large set has it: `partial-train/0000.parquet`.
fn beginning<'a>(path: &'a str, role: RoleOf<'_>) -> Option<(&'a str, &'a str)> {
    let (folder, file) = path.rsplit_once('/')?;
    let (base, part) = folder.rsplit_once('/').unwrap_or(("", folder));
    let part = part.strip_prefix("partial-")?;
    (role(&format!("{part}/{file}")) == Role::Part).then_some((base, part))
}

/// A configuration's name: the last folder of its path.
fn name_of(base: &str) -> &str {
    base.rsplit_once('/').map_or(base, |(_, name)| name)
}

/// Chooses among the files of a repository. Parts in the repository's own folder are the set; else those in the one folder
/// that has some, or in the folder of the configuration that is meant.
pub(crate) fn choose(paths: &[String], config: Option<&str>, role: RoleOf<'_>) -> Choice {
    let mut bases: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut begun: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for path in paths.iter().filter(|path| is_plain_path(path)) {
        if let Some(base) = base_of(path, role) {
            bases.entry(base).or_default().push(path);
        } else if let Some((base, part)) = beginning(path, role) {
            bases.entry(base).or_default();
            begun.entry(base).or_default().insert(part);
        }
    }
    let meant = |base: &&str| config.is_none_or(|config| name_of(base) == config);
    let found: Vec<&str> = match config {
        None if bases.contains_key("") => vec![""],
        _ => bases.keys().copied().filter(meant).collect(),
    };
    let base = match found[..] {
        [base] => base,
        [] => {
            let names = bases.keys().filter(|base| !base.is_empty());
            return Choice::Absent(names.map(|base| name_of(base).to_owned()).collect());
        }
        _ => return Choice::Several(found.into_iter().map(|b| name_of(b).to_owned()).collect()),
    };
    if let Some(parts) = begun.get(base) {
        return Choice::Partial(parts.iter().map(|part| (*part).to_owned()).collect());
    }
    let below = |path: &str| -> Option<String> {
        match base {
            "" => Some(path.to_owned()),
            base => Some(path.strip_prefix(base)?.strip_prefix('/')?.to_owned()),
        }
    };
    let (mut files, mut left) = (Vec::new(), Vec::new());
    for path in paths {
        let rest = below(path);
        let read = rest.as_deref().map(role).unwrap_or(Role::Other) != Role::Other;
        if read && is_plain_path(path) {
            files.push(path.clone());
        } else if config.is_none() || rest.is_some() {
            // Whoever names one configuration knows that there are others.
            left.push(path.clone());
        }
    }
    Choice::Files(Chosen {
        base: base.to_owned(),
        files,
        left,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a reader of JSON lines and of folders of numbers would say.
    fn role(path: &str) -> Role {
        let part = |name: &str| ["train", "test"].contains(&name);
        match path.split_once('/') {
            Some((folder, file)) if part(folder) && file.ends_with("0.parquet") => Role::Part,
            None if part(path.trim_end_matches(".jsonl")) && path.ends_with(".jsonl") => Role::Part,
            None if path == "labels.txt" => Role::Beside,
            _ => Role::Other,
        }
    }

    fn all(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn files(base: &str, files: &[&str], left: &[&str]) -> Choice {
        Choice::Files(Chosen {
            base: base.to_owned(),
            files: all(files),
            left: all(left),
        })
    }

    #[track_caller]
    fn check(paths: &[&str], config: Option<&str>, wanted: Choice) {
        assert_eq!(choose(&all(paths), config, &role), wanted);
    }

    #[test]
    fn one_configuration_is_chosen() {
        let own = ["README.md", "a/train.jsonl", "labels.txt", "train.jsonl"];
        check(&own, None, files("", &[own[2], own[3]], &[own[0], own[1]]));
        check(&own, Some("a"), files("a", &[own[1]], &[]));

        let within = ["data/extra.jsonl", "data/train.jsonl", "set.py"];
        let chosen = files("data", &[within[1]], &[within[0], within[2]]);
        check(&within, None, chosen);
        let chosen = files("data", &[within[1]], &[within[0]]);
        check(&within, Some("data"), chosen);

        let numbers = ["default/test/0.parquet", "default/train/0.parquet"];
        check(&numbers, None, files("default", &numbers, &[]));

        let deep = ["data/de/train.jsonl", "data/en/test.jsonl"];
        check(&deep, Some("en"), files("data/en", &deep[1..], &[]));
        check(&deep, None, Choice::Several(all(&["de", "en"])));
    }

    #[test]
    fn what_cannot_be_chosen() {
        check(&["a.py", "b.zip"], None, Choice::Absent(all(&[])));
        check(&["a/train.jsonl"], Some("b"), Choice::Absent(all(&["a"])));
        let by_part = ["test/test.jsonl", "train/train.jsonl"];
        check(&by_part, None, Choice::Absent(all(&[])));
        let begun = ["a/partial-train/0.parquet", "a/test/0.parquet"];
        check(&begun, None, Choice::Partial(all(&["train"])));
        let begun = [begun[0], begun[1], "b/train/0.parquet"];
        check(&begun, None, Choice::Several(all(&["a", "b"])));
        check(&begun, Some("b"), files("b", &begun[2..], &[]));
        // Names that could lead elsewhere are nobody's parts.
        for path in [
            "../train.jsonl",
            "a//train.jsonl",
            "/train.jsonl",
            "a b/train.jsonl",
            ".a/train.jsonl",
        ] {
            check(&[path], None, Choice::Absent(all(&[])));
        }
    }
}
