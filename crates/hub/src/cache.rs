//! The cache on disk: one folder per version of a model, sealed by a manifest written last.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::HubError;
use crate::names::{ModelId, is_plain_file_name};
use crate::{Event, Model, digest};

/// The manifest's name in a model's folder.
const MANIFEST: &str = "hone-hub.json";
const FORMAT: u32 = 1;

/// The source of files that somebody placed by hand.
const PLACED: &str = "files placed by hand";

/// One file of a model, as it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// The file's name in the model's folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in lower-case hex.
    pub sha256: String,
}

/// What a folder holds and where it came from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    id: String,
    pub(crate) source: String,
    /// The revision asked for, such as `main`.
    revision: String,
    /// The commit it meant, where the endpoint told.
    pub(crate) commit: Option<String>,
    pub(crate) licence: Option<String>,
    /// Seconds since 1970, to try the newest folder first.
    saved: u64,
    pub(crate) files: Vec<FileInfo>,
}

impl Manifest {
    pub(crate) fn new(id: &ModelId, revision: &str, source: String, files: Vec<FileInfo>) -> Self {
        Self {
            format: FORMAT,
            id: id.full(),
            source,
            revision: revision.to_owned(),
            commit: None,
            licence: id.licence.map(str::to_owned),
            saved: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            files,
        }
    }

    /// Writes the manifest; from here on the folder counts as complete.
    pub(crate) fn seal(&self, folder: &Path) -> Result<(), HubError> {
        let path = folder.join(MANIFEST);
        let draft = folder.join(format!("{MANIFEST}.part"));
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| HubError::io("write", &path)(error.into()))?;
        fs::write(&draft, text + "\n").map_err(HubError::io("write", &draft))?;
        put_in_place(&draft, &path)
    }

    /// The manifest in `folder`, if there is a readable one.
    fn read(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join(MANIFEST)).ok()?;
        let manifest: Self = serde_json::from_str(&text).ok()?;
        let plain = manifest
            .files
            .iter()
            .all(|file| is_plain_file_name(&file.name));
        (manifest.format == FORMAT && plain && !manifest.files.is_empty()).then_some(manifest)
    }

    pub(crate) fn into_model(self, folder: PathBuf, from_cache: bool) -> Model {
        Model {
            folder,
            source: self.source,
            licence: self.licence,
            files: self.files,
            from_cache,
        }
    }
}

/// A sealed folder of which some files are not what the manifest says.
#[derive(Debug)]
pub(crate) struct Damaged {
    pub(crate) folder: PathBuf,
    pub(crate) manifest: Manifest,
    /// Each damaged file with what is wrong with it.
    pub(crate) files: Vec<(String, String)>,
}

impl Damaged {
    /// Says which files are damaged. They stay until sound ones take their places: what is left of them
    /// is better than nothing where nothing can be fetched. Files placed by hand are looked at anew.
    pub(crate) fn tell(&self, on_event: &mut dyn FnMut(Event)) {
        for (name, why) in &self.files {
            if self.manifest.source == PLACED {
                on_event(Event::Note(format!(
                    "{name} in {} has changed since it was placed there ({why})",
                    self.folder.display()
                )));
                continue;
            }
            on_event(Event::Note(format!(
                "{name} in {} is damaged ({why}): it has to be fetched again",
                self.folder.display()
            )));
        }
    }
}

/// What the cache holds of one revision.
#[derive(Debug)]
pub(crate) enum Found {
    Sound(Model),
    /// Nothing to use as it is; perhaps folders to mend.
    Nothing(Vec<Damaged>),
}

/// All cached versions of one model.
#[derive(Debug)]
pub(crate) struct Shelf<'a> {
    root: PathBuf,
    id: &'a ModelId,
}

impl<'a> Shelf<'a> {
    pub(crate) fn new(cache: &Path, id: &'a ModelId) -> Self {
        let root = cache
            .join("models")
            .join(format!("{}--{}", id.owner, id.name));
        Self { root, id }
    }

    /// The model.
    pub(crate) fn id(&self) -> &ModelId {
        self.id
    }

    /// The folder for a commit or revision.
    pub(crate) fn folder(&self, version: &str) -> PathBuf {
        self.root.join(version.replace('/', "--"))
    }

    /// The folder where files placed by hand are looked for: no revision contains '@', so no
    /// download ever writes there.
    pub(crate) fn placed_folder(&self, revision: &str) -> PathBuf {
        self.folder(&format!("placed@{revision}"))
    }

    /// Looks for `revision`, newest folder first, and checks every file's length and hash.
    pub(crate) fn find(&self, revision: &str) -> Result<Found, HubError> {
        let mut folders = Vec::new();
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Found::Nothing(Vec::new()));
            }
            Err(error) => return Err(HubError::io("read", &self.root)(error)),
        };
        for entry in entries {
            let folder = entry.map_err(HubError::io("read", &self.root))?.path();
            if let Some(manifest) = Manifest::read(&folder)
                && manifest.id == self.id.full()
                && (manifest.revision == revision || manifest.commit.as_deref() == Some(revision))
            {
                folders.push((folder, manifest));
            }
        }
        folders.sort_by(|a, b| b.1.saved.cmp(&a.1.saved).then_with(|| a.0.cmp(&b.0)));
        let mut damaged = Vec::new();
        for (folder, manifest) in folders {
            let files: Vec<_> = manifest
                .files
                .iter()
                .filter_map(|file| Some((file.name.clone(), fault(&folder, file)?)))
                .collect();
            if files.is_empty() {
                return Ok(Found::Sound(manifest.into_model(folder, true)));
            }
            damaged.push(Damaged {
                folder,
                manifest,
                files,
            });
        }
        Ok(Found::Nothing(damaged))
    }

    /// Takes the model's lock, so that two processes do not write the same files; waits for the
    /// other one if need be. The lock goes when the file is dropped.
    pub(crate) fn lock(&self, on_event: &mut dyn FnMut(Event)) -> Result<File, HubError> {
        fs::create_dir_all(&self.root).map_err(HubError::io("make the folder", &self.root))?;
        let path = self.root.join(".lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(HubError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                on_event(Event::Note(format!(
                    "another process is fetching {}: waiting for it",
                    self.id.full()
                )));
                file.lock().map_err(HubError::io("lock", &path))?;
            }
            // Some network disks have no locks; one process at a time works there all the same.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(HubError::io("lock", &path)(error)),
        }
        Ok(file)
    }

    /// Seals files that somebody placed by hand, if they make a whole model.
    pub(crate) fn adopt_placed(
        &self,
        revision: &str,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Option<Model>, HubError> {
        let folder = self.placed_folder(revision);
        let there = |name: &str| folder.join(name).is_file();
        let whole = there("config.json")
            && there("model.safetensors")
            && (there("tokenizer.json") || there("vocab.txt"));
        if !whole {
            return Ok(None);
        }
        let names = crate::remote::DESCRIPTION_FILES
            .iter()
            .chain(&["model.safetensors"])
            .filter(|name| there(name));
        let mut files = Vec::new();
        for name in names {
            files.push(describe(&folder, name)?);
        }
        on_event(Event::Note(format!(
            "using the files placed in {}",
            folder.display()
        )));
        let manifest = Manifest::new(self.id, revision, PLACED.to_owned(), files);
        manifest.seal(&folder)?;
        Ok(Some(manifest.into_model(folder, true)))
    }
}

/// Length and hash of a file that is there.
pub(crate) fn describe(folder: &Path, name: &str) -> Result<FileInfo, HubError> {
    let path = folder.join(name);
    let (bytes, sha256) = digest::of_file(&path).map_err(HubError::io("read", &path))?;
    Ok(FileInfo {
        name: name.to_owned(),
        bytes,
        sha256,
    })
}

/// What is wrong with a file, if anything is. The length is looked at first, as it costs nothing.
fn fault(folder: &Path, file: &FileInfo) -> Option<String> {
    let path = folder.join(&file.name);
    let bytes = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Some("it is missing".to_owned());
        }
        Err(error) => return Some(error.to_string()),
    };
    if bytes != file.bytes {
        return Some(format!("{bytes} bytes instead of {}", file.bytes));
    }
    match digest::of_file(&path) {
        Ok((_, sha256)) if sha256 == file.sha256 => None,
        Ok(_) => Some("its SHA-256 differs".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

/// Gives a file its name once the disk has all of it: whatever happens then, what has the name is whole.
pub(crate) fn put_in_place(part: &Path, path: &Path) -> Result<(), HubError> {
    let file = File::options().write(true).open(part);
    file.and_then(|file| file.sync_all())
        .map_err(HubError::io("write", part))?;
    fs::rename(part, path).map_err(HubError::io("rename", part))
}

/// Deletes a file; that it is not there is fine.
pub(crate) fn remove_if_there(path: &Path) -> Result<(), HubError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(HubError::io("delete", path)(error))
        }
        _ => Ok(()),
    }
}
