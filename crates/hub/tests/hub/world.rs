//! A made-up model and made-up data sets, an endpoint that serves them as the real one would, and a hub to fetch them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hone_hub::{DataSet, Event, Hub, HubError, Model, Role};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::server::{Reply, Request};

pub const ID: &str = "owner/tiny";
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// File names and contents.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The made-up model: 300 kB of weights.
pub fn tiny() -> Files {
    let weights: Vec<u8> = (0..300_000_u32)
        .map(|i| (i.wrapping_mul(31) >> 3) as u8)
        .collect();
    [
        ("config.json", b"{\"model_type\": \"bert\"}".to_vec()),
        ("tokenizer.json", b"{\"version\": \"1.0\"}".to_vec()),
        ("vocab.txt", b"[PAD]\n[UNK]\n".to_vec()),
        ("added_tokens.json", b"{}".to_vec()),
        ("model.safetensors", weights),
        ("README.md", b"---\nlicense: mit\n---\n# Tiny\n".to_vec()),
    ]
    .map(|(name, content)| (name.to_owned(), content))
    .into()
}

pub fn sha256(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file a request asks for, if it asks for one of the model's.
pub fn file_of(request: &Request) -> Option<String> {
    let rest = request.path.strip_prefix(&format!("/{ID}/resolve/"))?;
    let (revision, file) = rest.split_once('/')?;
    ["main", COMMIT]
        .contains(&revision)
        .then(|| file.to_owned())
}

/// Answers as the hub does: the commit with every file, a SHA-256 with weights only, ranges.
pub fn answer(files: &Files, request: &Request) -> Reply {
    let Some(name) = file_of(request) else {
        return Reply::status(404).with("X-Error-Code", "RepoNotFound");
    };
    match files.get(&name) {
        Some(content) => with_facts(&name, content, ranged(content, request)),
        None => Reply::status(404)
            .with("X-Error-Code", "EntryNotFound")
            .with("X-Repo-Commit", COMMIT),
    }
}

/// The made-up data set.
pub const SET: &str = "owner/set";
/// The commit of what the hub made of it.
pub const CONVERTED: &str = "cccccccccccccccccccccccccccccccccccccccc";

/// A data set's repository: its own files, and the hub's conversion where there is one.
#[derive(Debug, Clone, Default)]
pub struct Repository {
    pub main: Files,
    pub conversion: Option<Files>,
}

/// What a made-up file holds: no two are alike.
pub fn content(path: &str) -> Vec<u8> {
    path.bytes().cycle().take(4000).collect()
}

impl Repository {
    /// Files by their paths.
    pub fn new(main: &[&str], conversion: Option<&[&str]>) -> Self {
        let files = |paths: &[&str]| {
            let named = paths.iter().map(|path| ((*path).to_owned(), content(path)));
            named.collect()
        };
        Self {
            main: files(main),
            conversion: conversion.map(files),
        }
    }

    /// Commit and files of a revision as it stands in an address.
    fn at(&self, revision: &str) -> Option<(&str, &Files)> {
        match revision {
            "main" | COMMIT => Some((COMMIT, &self.main)),
            "refs%2Fconvert%2Fparquet" | CONVERTED => Some((CONVERTED, self.conversion.as_ref()?)),
            _ => None,
        }
    }

    /// Answers as the hub does: the list of a revision's files with its commit, and the files.
    pub fn answer(&self, request: &Request) -> Reply {
        let unknown = |code| Reply::status(404).with("X-Error-Code", code);
        if let Some(revision) = request
            .path
            .strip_prefix(&format!("/api/datasets/{SET}/revision/"))
        {
            let Some((commit, files)) = self.at(revision) else {
                return unknown("RevisionNotFound");
            };
            let names = files
                .keys()
                .map(|name| format!("{{\"rfilename\": {name:?}}}"));
            let names: Vec<String> = names.collect();
            let names = names.join(", ");
            let body = format!(
                "{{\"id\": {SET:?}, \"sha\": {commit:?}, \"gated\": false, \"siblings\": [{names}], \
                 \"cardData\": {{\"license\": \"mit\"}}}}"
            );
            return Reply {
                status: 200,
                body: body.into_bytes(),
                ..Reply::default()
            };
        }
        let file = request
            .path
            .strip_prefix(&format!("/datasets/{SET}/resolve/"))
            .and_then(|rest| rest.split_once('/'));
        let Some((revision, name)) = file else {
            return unknown("RepoNotFound");
        };
        match self.at(revision).map(|(_, files)| files.get(name)) {
            Some(Some(content)) => with_facts(name, content, ranged(content, request)),
            Some(None) => unknown("EntryNotFound"),
            None => unknown("RevisionNotFound"),
        }
    }
}

/// What a reader of Parquet and CSV makes of a name: training and test texts, and names of labels.
pub fn role(path: &str) -> Role {
    let part = |name: &str| ["train", "test"].iter().any(|part| name.starts_with(part));
    match path.split_once('/') {
        Some((folder, file)) if ["train", "test"].contains(&folder) && file == "0000.parquet" => {
            Role::Part
        }
        None if part(path) && (path.ends_with(".parquet") || path.ends_with(".csv")) => Role::Part,
        None if path == "labels.txt" => Role::Beside,
        _ => Role::Other,
    }
}

/// The hub's own headers.
pub fn with_facts(name: &str, content: &[u8], reply: Reply) -> Reply {
    let reply = reply.with("X-Repo-Commit", COMMIT);
    if name.ends_with(".safetensors") || name.ends_with(".parquet") {
        reply
            .with("X-Linked-Etag", format!("\"{}\"", sha256(content)))
            .with("X-Linked-Size", content.len().to_string())
    } else {
        // A git blob's id, which is no SHA-256.
        reply.with(
            "X-Linked-Etag",
            "\"fb140275c155a9c7c5a3b3e0e77a9e839594a938\"",
        )
    }
}

/// The content, or the part of it that was asked for.
pub fn ranged(content: &[u8], request: &Request) -> Reply {
    let range = request.header("range");
    let start = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    match start.map(|start| start.parse::<usize>().unwrap()) {
        None => Reply {
            status: 200,
            body: content.to_vec(),
            ..Reply::default()
        },
        Some(start) if start < content.len() => Reply {
            status: 206,
            body: content[start..].to_vec(),
            ..Reply::default()
        }
        .with(
            "Content-Range",
            format!("bytes {start}-{}/{}", content.len() - 1, content.len()),
        ),
        Some(_) => Reply::status(416),
    }
}

/// A cache folder and what was told during the fetches into it.
pub struct World {
    pub cache: TempDir,
    pub events: Vec<Event>,
}

impl World {
    pub fn new() -> Self {
        Self {
            cache: tempfile::tempdir().unwrap(),
            events: Vec::new(),
        }
    }

    /// A hub that does not wait, and has no pip.
    pub fn hub(&self, endpoint: &str) -> Hub {
        Hub::new(endpoint, self.cache.path())
            .with_retry_pause(Duration::from_millis(2))
            .with_answer_within(Duration::from_millis(500))
            .with_pip("/nowhere/pip", [""; 0])
    }

    pub fn fetch(&mut self, hub: &Hub, name: &str) -> Result<Model, HubError> {
        self.events.clear();
        hub.fetch(name, "main", &mut |event| self.events.push(event))
    }

    /// Fetches the made-up model.
    pub fn tiny(&mut self, endpoint: &str) -> Result<Model, HubError> {
        let hub = self.hub(endpoint);
        self.fetch(&hub, ID)
    }

    /// Fetches a data set.
    pub fn set(&mut self, hub: &Hub, name: &str) -> Result<DataSet, HubError> {
        self.events.clear();
        hub.fetch_data_set(name, "main", &role, &mut |event| self.events.push(event))
    }

    pub fn notes(&self) -> String {
        let notes = self.events.iter().filter_map(|event| match event {
            Event::Note(line) => Some(line.as_str()),
            _ => None,
        });
        notes.collect::<Vec<_>>().join("\n")
    }
}

/// Checks that the folder holds the made-up model, and the model's description matches it.
pub fn assert_whole(model: &Model, files: &Files) {
    let mut seen = 0;
    for (name, content) in files {
        if name == "README.md" {
            continue;
        }
        assert!(
            &std::fs::read(model.folder.join(name)).unwrap() == content,
            "{name}"
        );
        let info = model.files.iter().find(|file| &file.name == name).unwrap();
        assert_eq!(info.bytes, content.len() as u64, "{name}");
        assert_eq!(info.sha256, sha256(content), "{name}");
        seen += 1;
    }
    assert_eq!(model.files.len(), seen);
    assert_eq!(parts(&model.folder), 0);
}

/// How many unfinished files there are.
pub fn parts(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|end| end == "part")
        })
        .count()
}
