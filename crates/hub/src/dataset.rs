//! A data set by name: the list of its files, the hub's own conversion where it has none to read, and the way into the cache.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::cache::{Damaged, FileInfo, Manifest, Opened, Shelf};
use crate::choose::{Choice, Chosen, RoleOf, choose};
use crate::client::Trouble;
use crate::error::{Conversion, HubError};
use crate::hub::Hub;
use crate::names::{RepoId, check_revision};
use crate::remote::{Remote, Room, plain_licence};
use crate::{Event, Role};

/// Where the hub keeps what it made of other formats: `CONFIGURATION/PART/0000.parquet`.
const CONVERSION: &str = "refs/convert/parquet";
/// The revision that conversions are of.
const MAIN: &str = "main";
/// How often to ask before the endpoint counts as out of reach.
const TRIES: u32 = 2;
/// A longer list of files is no list.
const LONGEST: u64 = 64 << 20;

/// A data set on disk, every file of it verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSet {
    /// The folder that holds its training, validation and test texts.
    pub folder: PathBuf,
    /// Where the files came from, with the version.
    pub source: String,
    /// The commit, where the endpoint told.
    pub commit: Option<String>,
    /// The licence, where the set names one.
    pub licence: Option<String>,
    /// The files.
    pub files: Vec<FileInfo>,
    /// Files of the set that were not fetched, by their paths.
    pub left: Vec<String>,
    /// True if nothing was fetched.
    pub from_cache: bool,
}

impl DataSet {
    fn new(files: PathBuf, manifest: Manifest, from_cache: bool) -> Self {
        Self {
            folder: match manifest.base.is_empty() {
                true => files,
                false => files.join(&manifest.base),
            },
            source: manifest.source,
            commit: manifest.commit,
            licence: manifest.licence,
            files: manifest.files,
            left: manifest.left,
            from_cache,
        }
    }
}

impl Hub {
    /// The data set called `name` (`owner/name`, or `owner/name/configuration` where it has several) at `revision` (such as
    /// `"main"`). `role` says which files are read, by their paths from the folder on that holds the parts: these are
    /// fetched, no others, and no program among them is ever run.
    ///
    /// From the cache if it is there and every file still has its length and hash: then the network is not touched. Else
    /// from the endpoint: the set's own files, or, where there are none that `role` knows, what the hub itself made of
    /// `main`.
    ///
    /// # Errors
    /// See [`HubError`]: each says in one line what to do.
    pub fn fetch_data_set(
        &self,
        name: &str,
        revision: &str,
        role: &dyn Fn(&str) -> Role,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<DataSet, HubError> {
        let id = RepoId::data_set(name)?;
        check_revision(revision)?;
        let shelf = Shelf::new(self.cache(), &id);
        let (_lock, damaged) = match shelf.open(revision, on_event)? {
            Opened::Sound(folder, manifest) => {
                return Ok(DataSet::new(shelf.files(&folder), *manifest, true));
            }
            Opened::ToFill(lock, damaged) => (lock, damaged),
        };
        let remote = self.remote(&shelf, revision)?;
        if let Some(mended) = remote.mend(&damaged, role, on_event)? {
            return Ok(mended);
        }
        let listing = remote.listing(revision)?;
        let config = id.config.as_deref();
        match choose(&listing.paths, config, role) {
            Choice::Files(chosen) => {
                let source = remote.source(listing.version());
                remote.fetch_set(&listing, chosen, source, &[], on_event)
            }
            Choice::Absent(known) => remote.fetch_conversion(listing, known, role, on_event),
            other => Err(remote.refused(other, &listing, Conversion::NotAsked)),
        }
    }
}

/// The files of one version of a data set's repository.
struct Listing {
    /// What was asked for.
    revision: String,
    commit: Option<String>,
    licence: Option<String>,
    paths: Vec<String>,
}

impl Listing {
    fn read(revision: &str, text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Answer {
            sha: Option<String>,
            siblings: Vec<Sibling>,
            #[serde(rename = "cardData", default)]
            card: Value,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let answer: Answer = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let is_commit =
            |sha: &String| sha.len() == 40 && sha.bytes().all(|b| b.is_ascii_hexdigit());
        let licence = &answer.card["license"];
        let licence = licence.as_str().or_else(|| licence[0].as_str());
        let mut paths: Vec<String> = answer.siblings.into_iter().map(|s| s.rfilename).collect();
        paths.sort();
        paths.dedup();
        Ok(Self {
            revision: revision.to_owned(),
            commit: answer
                .sha
                .filter(is_commit)
                .map(|sha| sha.to_ascii_lowercase()),
            licence: licence.and_then(plain_licence),
            paths,
        })
    }

    /// The commit, else what was asked for.
    fn version(&self) -> &str {
        self.commit.as_deref().unwrap_or(&self.revision)
    }
}

impl Remote<'_> {
    /// Asks which files a revision or commit has.
    fn listing(&self, revision: &str) -> Result<Listing, HubError> {
        let url = self.endpoint().listing(&self.id().repository(), revision);
        self.asked(TRIES, &mut || {
            let answer = self.client.get_within(&url, self.answer_within)?;
            let mut answer = self.granted(answer)?;
            let mut text = Vec::new();
            let body = answer.response.body_mut().as_reader();
            body.take(LONGEST)
                .read_to_end(&mut text)
                .map_err(|error| Trouble::Net(error.to_string()))?;
            let bad = |why| HubError::BadListing {
                url: url.clone(),
                why,
            };
            Ok(Listing::read(revision, &text).map_err(bad)?)
        })
    }

    /// Fetches what is damaged anew at the commit it was of, if that still exists.
    fn mend(
        &self,
        damaged: &[Damaged],
        role: RoleOf<'_>,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Option<DataSet>, HubError> {
        let config = self.id().config.as_deref();
        for Damaged { manifest, .. } in damaged {
            let Some(commit) = &manifest.commit else {
                continue;
            };
            let listing = match self.listing(commit) {
                Ok(listing) if listing.commit.as_ref() == Some(commit) => listing,
                Ok(_) | Err(HubError::RevisionNotFound { .. }) => continue,
                Err(error) => return Err(error),
            };
            if let Choice::Files(chosen) = choose(&listing.paths, config, role) {
                let source = manifest.source.clone();
                return self
                    .fetch_set(&listing, chosen, source, &manifest.files, on_event)
                    .map(Some);
            }
        }
        Ok(None)
    }

    /// What the hub made of a set whose own files nobody here reads, or whose configurations are no folders. `known`: the
    /// configurations that have folders.
    fn fetch_conversion(
        &self,
        own: Listing,
        known: Vec<String>,
        role: RoleOf<'_>,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<DataSet, HubError> {
        let id = self.id();
        if self.revision != MAIN {
            return Err(self.refused(Choice::Absent(known), &own, Conversion::NotAsked));
        }
        let listing = match self.listing(CONVERSION) {
            Ok(listing) => listing,
            // There is none.
            Err(HubError::RevisionNotFound { .. } | HubError::NotFound { .. }) => {
                return Err(self.refused(Choice::Absent(known), &own, Conversion::Missing));
            }
            Err(error) => return Err(error),
        };
        match choose(&listing.paths, id.config.as_deref(), role) {
            Choice::Files(chosen) => {
                on_event(Event::Note(format!(
                    "{} has no files of its own that are read here: taking the hub's own conversion to Parquet ({CONVERSION})",
                    id.full()
                )));
                let source = format!(
                    "{} ({CONVERSION}, the hub's own conversion)",
                    self.source(listing.version())
                );
                let listing = Listing {
                    licence: own.licence,
                    ..listing
                };
                self.fetch_set(&listing, chosen, source, &[], on_event)
            }
            Choice::Absent(more) => {
                let mut all = [known, more].concat();
                all.sort();
                all.dedup();
                Err(self.refused(Choice::Absent(all), &own, Conversion::Missing))
            }
            other => Err(self.refused(other, &own, Conversion::Missing)),
        }
    }

    /// The error for a list of files of which none can be chosen. `own`: the set's own files.
    fn refused(&self, choice: Choice, own: &Listing, conversion: Conversion) -> HubError {
        let id = self.id();
        let full = id.full();
        match (choice, &id.config) {
            (Choice::Partial(parts), _) => HubError::PartlyConverted { id: full, parts },
            (Choice::Several(configs), _) => HubError::SeveralConfigurations { id: full, configs },
            (Choice::Absent(known), Some(config)) if !known.is_empty() => {
                HubError::NoConfiguration {
                    id: format!("{}/{}", id.owner, id.name),
                    config: config.clone(),
                    known,
                }
            }
            (Choice::Absent(_) | Choice::Files(_), _) => HubError::NoData {
                id: full,
                revision: self.revision.to_owned(),
                others: own.paths.clone(),
                conversion,
            },
        }
    }

    /// Fetches the chosen files and seals the folder.
    fn fetch_set(
        &self,
        listing: &Listing,
        chosen: Chosen,
        source: String,
        known: &[FileInfo],
        on_event: &mut dyn FnMut(Event),
    ) -> Result<DataSet, HubError> {
        let folder = self.shelf.folder(listing.version());
        let place = self.shelf.files(&folder);
        fs::create_dir_all(&place).map_err(HubError::io("make the folder", &place))?;
        let room = Room {
            remote: self,
            version: listing.version(),
            folder: &place,
            pinned: listing.commit.is_some(),
            known,
        };
        let mut files = Vec::new();
        for path in &chosen.files {
            let within = place.join(path);
            if let Some(parent) = within.parent() {
                fs::create_dir_all(parent).map_err(HubError::io("make the folder", parent))?;
            }
            files.push(room.needed(path, on_event)?);
        }
        sweep(&place, &place, &chosen.files)?;
        let mut manifest = Manifest::new(self.id(), self.revision, source, files);
        manifest.commit = listing.commit.clone();
        manifest.licence = listing.licence.clone();
        manifest.base = chosen.base;
        manifest.left = chosen.left;
        manifest.seal(&folder)?;
        Ok(DataSet::new(place, manifest, false))
    }
}

/// Deletes files of an earlier state that are not the set's any more: whoever reads the folder reads all of it.
fn sweep(root: &Path, folder: &Path, keep: &[String]) -> Result<(), HubError> {
    for entry in fs::read_dir(folder).map_err(HubError::io("read", folder))? {
        let path = entry.map_err(HubError::io("read", folder))?.path();
        let kept = |name: &String| root.join(name) == path;
        if path.is_dir() {
            sweep(root, &path, keep)?;
        } else if !keep.iter().any(kept) {
            fs::remove_file(&path).map_err(HubError::io("delete", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_files() {
        let sha = "0123456789abcdef0123456789ABCDEF01234567";
        for (text, commit, licence) in [
            (
                format!(r#"{{"sha": "{sha}", "cardData": {{"license": ["mit", "other"]}}, "siblings": [{{"rfilename": "b"}}, {{"rfilename": "a", "size": 3}}]}}"#),
                Some(sha.to_ascii_lowercase()),
                Some("mit"),
            ),
            (
                r#"{"sha": "main", "cardData": {"license": "a b"}, "siblings": [{"rfilename": "a"}, {"rfilename": "b"}], "gated": false}"#.to_owned(),
                None,
                None,
            ),
            (r#"{"siblings": [{"rfilename": "a"}, {"rfilename": "b"}]}"#.to_owned(), None, None),
        ] {
            let found = Listing::read("main", text.as_bytes()).unwrap();
            assert_eq!(found.paths, ["a", "b"]);
            assert_eq!((found.commit, found.licence.as_deref()), (commit, licence));
        }
        for bad in ["", "[]", "{}", r#"{"siblings": [{"name": "a"}]}"#] {
            assert!(Listing::read("main", bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
