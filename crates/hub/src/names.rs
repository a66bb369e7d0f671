//! Names: the short ones this release knows, and the rules for a full id of a model or a data set.

use std::fmt;

use crate::error::HubError;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Weights, with a tokenizer.
    Model,
    /// Texts.
    DataSet,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::DataSet => "data set",
        })
    }
}

/// A model this release knows by a short name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShortName {
    /// What a user types.
    pub name: &'static str,
    /// The full id, `owner/name`.
    pub id: &'static str,
    /// The model's licence, as an SPDX id.
    pub licence: &'static str,
    /// One line about the model.
    pub about: &'static str,
}

const SHORT_NAMES: &[ShortName] = &[
    ShortName {
        name: "minilm",
        id: "sentence-transformers/all-MiniLM-L6-v2",
        licence: "Apache-2.0",
        about: "6 layers, 384 wide, 22.7 M parameters, English: small and quick",
    },
    ShortName {
        name: "bert-base",
        id: "google-bert/bert-base-uncased",
        licence: "Apache-2.0",
        about: "12 layers, 768 wide, 110 M parameters, English, lower-cased",
    },
    ShortName {
        name: "bert-large",
        id: "google-bert/bert-large-uncased",
        licence: "Apache-2.0",
        about: "24 layers, 1024 wide, 335 M parameters, English, lower-cased",
    },
];

/// The short names, in the order to show them.
///
/// ```
/// assert!(hone_hub::short_names().iter().any(|short| short.name == "minilm"));
/// ```
pub fn short_names() -> &'static [ShortName] {
    SHORT_NAMES
}

/// True for what may be a data set's name: `owner/name` or `owner/name/configuration`.
///
/// ```
/// assert!(hone_hub::is_data_set_name("nyu-mll/glue/sst2"));
/// assert!(!hone_hub::is_data_set_name("./glue") && !hone_hub::is_data_set_name("glue"));
/// ```
pub fn is_data_set_name(text: &str) -> bool {
    RepoId::data_set(text).is_ok()
}

/// A checked id and what is known about it beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RepoId {
    pub(crate) kind: Kind,
    pub(crate) owner: String,
    pub(crate) name: String,
    /// The one meant of a data set's configurations.
    pub(crate) config: Option<String>,
    pub(crate) licence: Option<&'static str>,
}

impl RepoId {
    /// Reads a model's short name or full id; anything else is an error that names the short names.
    pub(crate) fn model(text: &str) -> Result<Self, HubError> {
        let known = SHORT_NAMES
            .iter()
            .find(|short| short.name == text || short.id == text);
        let full = known.map_or(text, |short| short.id);
        let Some((owner, name)) = full.split_once('/') else {
            return Err(HubError::UnknownName {
                name: text.to_owned(),
                known: listed(text),
            });
        };
        check_part(Kind::Model, text, owner)?;
        check_part(Kind::Model, text, name)?;
        Ok(Self {
            kind: Kind::Model,
            owner: owner.to_owned(),
            name: name.to_owned(),
            config: None,
            licence: known.map(|short| short.licence),
        })
    }

    /// Reads a data set's id, with a configuration behind it where one is meant.
    pub(crate) fn data_set(text: &str) -> Result<Self, HubError> {
        let bad = |why| HubError::BadId {
            id: text.to_owned(),
            kind: Kind::DataSet,
            why,
        };
        let words: Vec<&str> = text.split('/').collect();
        let (owner, name, config) = match words[..] {
            [owner, name] => (owner, name, None),
            [owner, name, config] => (owner, name, Some(config)),
            _ => return Err(bad("it is owner/name or owner/name/configuration")),
        };
        check_part(Kind::DataSet, text, owner)?;
        check_part(Kind::DataSet, text, name)?;
        if config.is_some_and(|config| !is_plain_file_name(config)) {
            return Err(bad(
                "a configuration has letters, digits, '.', '_' and '-' only",
            ));
        }
        Ok(Self {
            kind: Kind::DataSet,
            owner: owner.to_owned(),
            name: name.to_owned(),
            config: config.map(str::to_owned),
            licence: None,
        })
    }

    /// The full id as it is typed: `owner/name`, or `owner/name/configuration`.
    pub(crate) fn full(&self) -> String {
        match &self.config {
            None => format!("{}/{}", self.owner, self.name),
            Some(config) => format!("{}/{}/{config}", self.owner, self.name),
        }
    }

    /// Where it lies below an endpoint.
    pub(crate) fn repository(&self) -> String {
        match self.kind {
            Kind::Model => format!("{}/{}", self.owner, self.name),
            Kind::DataSet => format!("datasets/{}/{}", self.owner, self.name),
        }
    }
}

/// The short names in one line, with the full id first that `text` seems to mean.
fn listed(text: &str) -> String {
    let meant = SHORT_NAMES
        .iter()
        .find(|short| short.id.ends_with(&format!("/{text}")))
        .map(|short| format!("{} (did you mean this one?), ", short.id));
    let names: Vec<&str> = SHORT_NAMES.iter().map(|short| short.name).collect();
    format!("{}{}", meant.unwrap_or_default(), names.join(", "))
}

/// One half of an id: these rules keep it a plain folder name on every system.
fn check_part(kind: Kind, id: &str, part: &str) -> Result<(), HubError> {
    let why = if part.is_empty() {
        "an id is owner/name, and one half is empty"
    } else if part.len() > 96 {
        "a half may have at most 96 characters"
    } else if !part
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    {
        "only letters, digits, '.', '_' and '-' may stand in it, around one '/'"
    } else if part.starts_with(['.', '-']) || part.ends_with(['.', '-']) {
        "a half may not begin or end with '.' or '-'"
    } else if part.contains("..") || part.contains("--") {
        "'..' and '--' may not stand in it"
    } else {
        return Ok(());
    };
    Err(HubError::BadId {
        id: id.to_owned(),
        kind,
        why,
    })
}

/// A branch, tag or commit: these rules keep it safe in a folder name and in an address.
pub(crate) fn check_revision(revision: &str) -> Result<(), HubError> {
    let fine = revision.len() <= 128
        && revision
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric())
        && revision
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte))
        && !revision.ends_with(['/', '.'])
        && !["..", "--", "//", "/.", "./"]
            .iter()
            .any(|bad| revision.contains(bad));
    if fine {
        Ok(())
    } else {
        Err(HubError::BadRevision {
            revision: revision.to_owned(),
        })
    }
}

/// True for a name that may be joined to a folder: one plain component.
pub(crate) fn is_plain_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && !name.starts_with(['.', '-'])
        && !name.ends_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// True for a path that may be joined to a folder and leads nowhere else.
pub(crate) fn is_plain_path(path: &str) -> bool {
    path.len() <= 400 && path.split('/').all(is_plain_file_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_valid_ids() {
        for short in short_names() {
            let id = RepoId::model(short.name).unwrap();
            assert_eq!(id.full(), short.id);
            assert_eq!(id.licence, Some(short.licence));
            assert_eq!(RepoId::model(short.id).unwrap(), id);
        }
    }

    #[test]
    fn unknown_name_lists_the_known_ones() {
        let line = RepoId::model("bert-base-uncased").unwrap_err().to_string();
        assert!(line.contains("google-bert/bert-base-uncased"), "{line}");
        assert!(line.contains("minilm"), "{line}");
    }

    #[test]
    fn ids_that_leave_their_folder_are_refused() {
        for id in [
            "a/../b", "../b", "a/..", "a/b/c", "/b", "a/", "a b/c", "a/b?x", "a/b#x", "a--b/c",
            "a/.b", "a/b%2f", "a/b\\c", "a/ü", "-a/b", "a/b\n",
        ] {
            assert!(RepoId::model(id).is_err(), "{id}");
        }
        assert!(RepoId::model("microsoft/MiniLM-L12_v2.0").is_ok());
    }

    #[test]
    fn names_of_data_sets() {
        for (text, repository, config) in [
            ("stanfordnlp/imdb", "datasets/stanfordnlp/imdb", None),
            ("nyu-mll/glue/sst2", "datasets/nyu-mll/glue", Some("sst2")),
            ("a/b/20220301.en", "datasets/a/b", Some("20220301.en")),
        ] {
            let id = RepoId::data_set(text).unwrap();
            assert_eq!(
                (id.full().as_str(), id.repository().as_str()),
                (text, repository)
            );
            assert_eq!(id.config.as_deref(), config);
        }
        for bad in [
            "imdb", "./imdb", "/a/b", "a/b/", "a//b", "a/b/c/d", "a/..", "a/b/..", "a/b/.c", "~/b",
            "a\\b", "a/b c", "a/b@main", "../a/b", "-", "",
        ] {
            assert!(!is_data_set_name(bad), "{bad}");
        }
    }

    #[test]
    fn revisions() {
        for fine in [
            "main",
            "v1.0",
            "refs/pr/12",
            "86b5e0934494bd15c9632b12f734a8a67f723594",
        ] {
            assert!(check_revision(fine).is_ok(), "{fine}");
        }
        for bad in [
            "", "..", "a/../b", "/a", "a/", "-x", "a b", "a@b", "a//b", "a/.b",
        ] {
            assert!(check_revision(bad).is_err(), "{bad}");
        }
    }
}
