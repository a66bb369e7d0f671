//! The endpoint's side: which files make a model, at which commit, and what refusals mean.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::address::Endpoint;
use crate::cache::{FileInfo, Manifest, Shelf};
use crate::client::{Answer, Client, Facts, Trouble};
use crate::download::{Patience, Wanted, download};
use crate::error::HubError;
use crate::names::{Kind, RepoId, is_plain_file_name};
use crate::{Event, Model};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.txt";
const WEIGHTS: &str = "model.safetensors";
const WEIGHT_INDEX: &str = "model.safetensors.index.json";

/// Everything but the weights. Only the first is needed, and one of the next two.
pub(crate) const DESCRIPTION_FILES: &[&str] = &[
    CONFIG,
    TOKENIZER,
    VOCABULARY,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// What to place by hand when there is no network.
pub(crate) const FILES_TO_PLACE: &str =
    "config.json, model.safetensors and tokenizer.json (or vocab.txt)";

/// How long a question about a file may take once the endpoint has answered the first one.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// One fetch of one revision of one model or data set.
pub(crate) struct Remote<'a> {
    pub(crate) client: Client,
    pub(crate) revision: &'a str,
    pub(crate) shelf: &'a Shelf<'a>,
    /// The endpoint must answer the first question within this time.
    pub(crate) answer_within: Duration,
    pub(crate) patience: Patience,
}

impl Remote<'_> {
    /// Asks for the first file's headers: does the endpoint answer, and which commit is it?
    /// `version` is the revision or a commit; `tries` is how often to ask before the endpoint
    /// counts as out of reach.
    pub(crate) fn probe(&self, version: &str, tries: u32) -> Result<Facts, HubError> {
        let url = self.url(version, CONFIG);
        self.asked(tries, &mut || {
            let answer = self.client.head(&url, self.answer_within)?;
            self.granted(answer).map(|answer| answer.facts)
        })
    }

    /// Asks until the network does what it should, `tries` times; then the endpoint is out of reach.
    pub(crate) fn asked<T>(
        &self,
        tries: u32,
        ask: &mut dyn FnMut() -> Result<T, Trouble>,
    ) -> Result<T, HubError> {
        let mut left = tries;
        loop {
            let reason = match ask() {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Net(reason)) => reason,
                Err(Trouble::Final(error)) => return Err(error),
            };
            left = left.saturating_sub(1);
            if left == 0 {
                return Err(self.offline(reason));
            }
            thread::sleep(self.patience.pause);
        }
    }

    /// An answer about something that must be there.
    pub(crate) fn granted(&self, answer: Answer) -> Result<Answer, Trouble> {
        if answer.status >= 500 || answer.status == 429 {
            return Err(Trouble::Net(format!("status {}", answer.status)));
        }
        match self.refusal(&answer) {
            Some(error) => Err(error.into()),
            None if answer.status == 404 => Err(self.not_there(&answer.facts).into()),
            None => Ok(answer),
        }
    }

    fn offline(&self, reason: String) -> HubError {
        let (endpoint, id) = (self.endpoint().as_str().to_owned(), self.id().full());
        match self.id().kind {
            Kind::Model => HubError::Offline {
                endpoint,
                reason,
                id,
                files: FILES_TO_PLACE,
                folder: self.shelf.placed_folder(self.revision),
            },
            Kind::DataSet => HubError::OfflineDataSet {
                endpoint,
                reason,
                id,
            },
        }
    }

    /// Fetches all files at the commit the probe found and seals the folder. `known`: the files
    /// of that very commit, from an earlier fetch.
    pub(crate) fn fetch(
        &self,
        facts: &Facts,
        known: &[FileInfo],
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Model, HubError> {
        let version = facts.commit.as_deref().unwrap_or(self.revision);
        let folder = self.shelf.folder(version);
        fs::create_dir_all(&folder).map_err(HubError::io("make the folder", &folder))?;
        let room = Room {
            remote: self,
            version,
            folder: &folder,
            pinned: facts.commit.is_some(),
            known,
        };

        let mut files = Vec::new();
        for name in DESCRIPTION_FILES {
            files.extend(room.file(name, None, on_event)?);
        }
        let has = |name: &str| files.iter().any(|file: &FileInfo| file.name == name);
        if !has(CONFIG) {
            return Err(self.missing(CONFIG));
        }
        if !has(TOKENIZER) && !has(VOCABULARY) {
            return Err(self.missing("tokenizer.json and no vocab.txt"));
        }
        files.extend(room.weights(on_event)?);

        let licence = self.id().licence.map(str::to_owned);
        let source = self.source(facts.commit.as_deref().unwrap_or(self.revision));
        let mut manifest = Manifest::new(self.id(), self.revision, source, files);
        manifest.commit = facts.commit.clone();
        manifest.licence = licence.or_else(|| self.licence(version));
        manifest.seal(&folder)?;
        Ok(manifest.into_model(folder, false))
    }

    /// The licence named at the top of the model's card; `None` if there is no telling.
    fn licence(&self, version: &str) -> Option<String> {
        let mut answer = self.client.get(&self.url(version, "README.md"), 0).ok()?;
        if answer.status != 200 {
            return None;
        }
        let mut head = Vec::new();
        let mut body = answer.response.body_mut().as_reader().take(1 << 16);
        body.read_to_end(&mut head).ok()?;
        licence_in_card(&String::from_utf8_lossy(&head))
    }

    pub(crate) fn id(&self) -> &RepoId {
        self.shelf.id()
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.client.endpoint()
    }

    fn url(&self, version: &str, file: &str) -> String {
        self.endpoint().file(&self.id().repository(), version, file)
    }

    /// Where a version comes from, for a reader.
    pub(crate) fn source(&self, version: &str) -> String {
        format!("{} @ {version}", self.page())
    }

    fn page(&self) -> String {
        format!("{}/{}", self.endpoint().as_str(), self.id().repository())
    }

    /// The error for an answer that refuses the repository as a whole. The endpoint's own word goes
    /// before the status: it answers 401 for a model that is gated, and 404 for a lone file too.
    fn refusal(&self, answer: &Answer) -> Option<HubError> {
        let endpoint = self.endpoint().as_str().to_owned();
        let id = self.id().full();
        let with_token = self.client.has_token();
        match (answer.status, answer.facts.error_code.as_deref()) {
            (401 | 403, Some("GatedRepo")) | (403, _) => Some(HubError::Gated {
                page: self.page(),
                id,
                with_token,
            }),
            (401, _) => Some(HubError::Unauthorized {
                endpoint,
                id,
                with_token,
            }),
            (404, Some("RepoNotFound" | "RevisionNotFound")) => Some(self.not_there(&answer.facts)),
            (400.., _) if answer.status != 404 => Some(HubError::Status {
                url: self.url(self.revision, ""),
                status: answer.status,
            }),
            _ => None,
        }
    }

    /// The error for a 404 on what everything of this kind has; of a model that is one file.
    fn not_there(&self, facts: &Facts) -> HubError {
        let kind = self.id().kind;
        match facts.error_code.as_deref() {
            Some("EntryNotFound") if kind == Kind::Model => self.missing(CONFIG),
            Some("RevisionNotFound") => HubError::RevisionNotFound {
                id: self.id().full(),
                revision: self.revision.to_owned(),
            },
            _ => HubError::NotFound {
                kind,
                endpoint: self.endpoint().as_str().to_owned(),
                id: self.id().full(),
                revision: self.revision.to_owned(),
            },
        }
    }

    pub(crate) fn missing(&self, file: &str) -> HubError {
        HubError::MissingFile {
            kind: self.id().kind,
            id: self.id().full(),
            revision: self.revision.to_owned(),
            file: file.to_owned(),
        }
    }
}

/// The folder being filled.
pub(crate) struct Room<'a> {
    pub(crate) remote: &'a Remote<'a>,
    pub(crate) version: &'a str,
    pub(crate) folder: &'a Path,
    pub(crate) pinned: bool,
    pub(crate) known: &'a [FileInfo],
}

impl Room<'_> {
    /// One file, with what its headers told if they were asked for.
    fn file(
        &self,
        name: &str,
        facts: Option<Facts>,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Option<FileInfo>, HubError> {
        let facts = facts.unwrap_or_default();
        let known = self.known.iter().find(|file| file.name == name);
        let wanted = Wanted {
            url: self.remote.url(self.version, name),
            name,
            folder: self.folder,
            bytes: facts.bytes.or(known.map(|file| file.bytes)),
            sha256: facts.sha256.or(known.map(|file| file.sha256.clone())),
            pinned: self.pinned,
        };
        let refusal = |answer: &Answer| self.remote.refusal(answer);
        download(
            &self.remote.client,
            wanted,
            self.remote.patience,
            &refusal,
            on_event,
        )
    }

    /// A file that must be there.
    pub(crate) fn needed(
        &self,
        name: &str,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<FileInfo, HubError> {
        let file = match self.ask(name)? {
            Some(facts) => self.file(name, Some(facts), on_event)?,
            None => None,
        };
        file.ok_or_else(|| self.remote.missing(name))
    }

    /// The weights: one file, or a list and the shards it names.
    fn weights(&self, on_event: &mut dyn FnMut(Event)) -> Result<Vec<FileInfo>, HubError> {
        if let Some(facts) = self.ask(WEIGHTS)?
            && let Some(file) = self.file(WEIGHTS, Some(facts), on_event)?
        {
            return Ok(vec![file]);
        }
        let Some(index) = self.file(WEIGHT_INDEX, None, on_event)? else {
            let id = self.remote.id().full();
            return Err(match self.ask("pytorch_model.bin")? {
                Some(_) => HubError::OnlyPytorch { id },
                None if self.ask("pytorch_model.bin.index.json")?.is_some() => {
                    HubError::OnlyPytorch { id }
                }
                None => HubError::NoWeights { id },
            });
        };
        let mut files = vec![index];
        for shard in self.shards()? {
            files.push(self.needed(&shard, on_event)?);
        }
        Ok(files)
    }

    /// The file names in the list of shards.
    fn shards(&self) -> Result<BTreeSet<String>, HubError> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
            #[serde(flatten)]
            _rest: BTreeMap<String, IgnoredAny>,
        }
        let path = self.folder.join(WEIGHT_INDEX);
        let text = fs::read_to_string(&path).map_err(HubError::io("read", &path))?;
        let bad = |why: String| HubError::BadIndex {
            id: self.remote.id().full(),
            path: path.clone(),
            why,
        };
        let index: Index = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        let shards: BTreeSet<String> = index.weight_map.into_values().collect();
        for shard in &shards {
            if !is_plain_file_name(shard) || !shard.ends_with(".safetensors") {
                return Err(bad(format!("{shard:?} is not a plain .safetensors name")));
            }
        }
        if shards.is_empty() {
            return Err(bad("it names no file".to_owned()));
        }
        Ok(shards)
    }

    /// What the endpoint tells about a file; `None` if it does not have it.
    fn ask(&self, name: &str) -> Result<Option<Facts>, HubError> {
        let url = self.remote.url(self.version, name);
        let patience = self.remote.patience;
        let mut tries = 0;
        loop {
            let reason = match self.remote.client.head(&url, HEAD_TIME) {
                Ok(answer) if answer.status < 500 && answer.status != 429 => {
                    return match self.remote.refusal(&answer) {
                        Some(error) => Err(error),
                        None => Ok((answer.status != 404).then_some(answer.facts)),
                    };
                }
                Ok(answer) => format!("status {}", answer.status),
                Err(Trouble::Net(reason)) => reason,
                Err(Trouble::Final(error)) => return Err(error),
            };
            if tries == patience.retries {
                return Err(HubError::Interrupted {
                    url,
                    done: 0,
                    tries: tries + 1,
                    reason,
                });
            }
            thread::sleep(patience.pause * 2_u32.saturating_pow(tries));
            tries += 1;
        }
    }
}

/// `license: mit` between the `---` lines a model's card begins with.
fn licence_in_card(card: &str) -> Option<String> {
    let mut lines = card.lines();
    if lines.next()?.trim() != "---" {
        return None;
    }
    let licence = lines
        .take_while(|line| line.trim() != "---")
        .find_map(|line| line.strip_prefix("license:"))?
        .trim()
        .trim_matches(['"', '\'']);
    plain_licence(licence)
}

/// A licence's name, where it looks like one.
pub(crate) fn plain_licence(licence: &str) -> Option<String> {
    let plain = !licence.is_empty()
        && licence.len() <= 64
        && licence
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte));
    plain.then(|| licence.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_in_cards() {
        let card = "---\nlanguage: en\nlicense: apache-2.0\n---\n# Model\nlicense: mit\n";
        assert_eq!(licence_in_card(card).as_deref(), Some("apache-2.0"));
        for none in [
            "",
            "# Model\nlicense: mit",
            "---\n---\nlicense: mit",
            "---\nlicense:\n- mit\n---",
        ] {
            assert_eq!(licence_in_card(none), None, "{none}");
        }
    }
}
