//! What stands behind a `--data` word: a file, a folder, or a data set that the hub knows by name.

use crate::fetch;
use anyhow::{Context, Result, anyhow, bail};
use hone_data::{Role, find, has_data_ending};
use hone_hub::{DataSet, is_data_set_name};
use hone_report::say;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What the words of this process led to, each asked for once: a data set from the cache is hashed whole whenever it is.
static FETCHED: Mutex<BTreeMap<String, DataSet>> = Mutex::new(BTreeMap::new());

/// One part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Training texts.
    Train,
    /// Validation texts.
    Valid,
    /// Test texts.
    Test,
}

/// The path that a word is or, where there is none and it may be a data set's name, the folder of that set.
pub fn behind(word: &Path) -> Result<PathBuf> {
    Ok(named(word)?.map_or_else(|| word.to_owned(), |set| set.folder))
}

/// The same where one file is meant: of a data set its file of this part. A folder stays what it is.
pub fn file_behind(word: &Path, part: Part) -> Result<PathBuf> {
    let Some(set) = named(word)? else {
        return Ok(word.to_owned());
    };
    let files = find(&set.folder)?;
    let (file, what) = match part {
        Part::Train => (files.train, "training"),
        Part::Valid => (files.valid, "validation"),
        Part::Test => (files.test, "test"),
    };
    let file =
        file.with_context(|| format!("{}: this data set has no {what} texts", word.display()))?;
    say!("{}: its {what} texts, {}", word.display(), file.display());
    Ok(file)
}

/// Where a word's texts came from, with their commit, if this process had them by name.
pub fn source(word: &Path) -> Option<String> {
    let fetched = FETCHED.lock().ok()?;
    Some(fetched.get(word.to_str()?)?.source.clone())
}

/// The data set of a word that is no path. A path always wins, and what looks like one is not asked for on the net.
fn named(word: &Path) -> Result<Option<DataSet>> {
    let there = !matches!(word.try_exists(), Ok(false));
    let Some(text) = word.to_str().filter(|_| !there) else {
        return Ok(None);
    };
    let (id, revision) = split(text);
    // Whoever reads it says that it is not there.
    if has_data_ending(Path::new(id)) {
        return Ok(None);
    }
    if !is_data_set_name(id) {
        let word = !id.is_empty() && !id.contains(['/', '\\', '.', '~']);
        if word && id != "none" {
            bail!(
                "{text}: no such file or folder; a data set of the Hugging Face hub is named owner/name"
            );
        }
        return Ok(None);
    }
    let seen = |fetched: &BTreeMap<String, DataSet>| fetched.get(text).cloned();
    if let Some(set) = FETCHED.lock().ok().as_deref().and_then(seen) {
        return Ok(Some(set));
    }
    let set = fetched(id, revision).map_err(|error| {
        anyhow!("{text}: no such file or folder; as the name of a data set: {error:#}")
    })?;
    if let Ok(mut fetched) = FETCHED.lock() {
        fetched.insert(text.to_owned(), set.clone());
    }
    Ok(Some(set))
}

/// A name and the revision behind its `@`.
pub fn split(text: &str) -> (&str, &str) {
    text.split_once('@').unwrap_or((text, "main"))
}

/// Fetches a data set, and says what came from where and what did not.
pub fn fetched(id: &str, revision: &str) -> Result<DataSet> {
    let role = |path: &str| match Role::of(Path::new(path)) {
        Role::Part => hone_hub::Role::Part,
        Role::Labels => hone_hub::Role::Beside,
        Role::Other => hone_hub::Role::Other,
    };
    let mut progress = fetch::Progress::new();
    let hub = hone_hub::Hub::from_env()?;
    let set = hub.fetch_data_set(id, revision, &role, &mut |event| progress.event(event))?;
    say!(
        "data set {id}: {} from {}, licence {}, in {}",
        hone_report::bytes(set.files.iter().map(|f| f.bytes).sum()),
        set.source,
        set.licence.as_deref().unwrap_or("not stated"),
        set.folder.display()
    );
    if !set.left.is_empty() {
        say!("other files of the set, not fetched: {}", some(&set.left));
    }
    Ok(set)
}

/// The first of some names, and how many more there are.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let first = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
