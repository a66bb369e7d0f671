//! Names: the short ones this release knows, and the rules for a full model id.

use crate::error::HubError;

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

/// A checked model id and what is known about it beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelId {
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) licence: Option<&'static str>,
}

impl ModelId {
    /// Reads a short name or a full id; anything else is an error that names the short names.
    pub(crate) fn parse(text: &str) -> Result<Self, HubError> {
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
        check_part(text, owner)?;
        check_part(text, name)?;
        Ok(Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
            licence: known.map(|short| short.licence),
        })
    }

    /// The full id, `owner/name`.
    pub(crate) fn full(&self) -> String {
        format!("{}/{}", self.owner, self.name)
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
fn check_part(id: &str, part: &str) -> Result<(), HubError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_valid_ids() {
        for short in short_names() {
            let id = ModelId::parse(short.name).unwrap();
            assert_eq!(id.full(), short.id);
            assert_eq!(id.licence, Some(short.licence));
            assert_eq!(ModelId::parse(short.id).unwrap(), id);
        }
    }

    #[test]
    fn unknown_name_lists_the_known_ones() {
        let line = ModelId::parse("bert-base-uncased").unwrap_err().to_string();
        assert!(line.contains("google-bert/bert-base-uncased"), "{line}");
        assert!(line.contains("minilm"), "{line}");
    }

    #[test]
    fn ids_that_leave_their_folder_are_refused() {
        for id in [
            "a/../b", "../b", "a/..", "a/b/c", "/b", "a/", "a b/c", "a/b?x", "a/b#x", "a--b/c",
            "a/.b", "a/b%2f", "a/b\\c", "a/ü", "-a/b", "a/b\n",
        ] {
            assert!(ModelId::parse(id).is_err(), "{id}");
        }
        assert!(ModelId::parse("microsoft/MiniLM-L12_v2.0").is_ok());
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
