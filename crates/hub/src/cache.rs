//! The cache on disk: one folder per version of a model or a data set, sealed by a manifest written last.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::HubError;
use crate::names::{Kind, RepoId, is_plain_file_name, is_plain_path};
use crate::{Event, Model, digest};

/// The manifest's name in the folder of a version.
const MANIFEST: &str = "hone-hub.json";
/// Where a data set's files are within it: whoever reads them finds nothing else there.
const FILES: &str = "files";
const FORMAT: u32 = 1;

/// The source of files that somebody placed by hand.
const PLACED: &str = "files placed by hand";

/// One file of a model or a data set, as it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// The file's name in the model's folder; of a data set its path in the repository.
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
    /// Of a data set: the folder in the repository where its parts lie.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) base: String,
    /// Of a data set: files that were not fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) left: Vec<String>,
}

impl Manifest {
    pub(crate) fn new(id: &RepoId, revision: &str, source: String, files: Vec<FileInfo>) -> Self {
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
            base: String::new(),
            left: Vec::new(),
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

    /// The manifest in `folder`, if there is a readable one whose names lead nowhere else.
    fn read(folder: &Path, kind: Kind) -> Option<Self> {
        let text = fs::read_to_string(folder.join(MANIFEST)).ok()?;
        let manifest: Self = serde_json::from_str(&text).ok()?;
        let mut names = manifest.files.iter().map(|file| &file.name);
        let plain = match kind {
            Kind::Model => names.all(|name| is_plain_file_name(name)),
            Kind::DataSet => {
                names.all(|name| is_plain_path(name))
                    && (manifest.base.is_empty() || is_plain_path(&manifest.base))
            }
        };
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
    Sound(PathBuf, Box<Manifest>),
    /// Nothing to use as it is; perhaps folders to mend.
    Nothing(Vec<Damaged>),
}

/// What there is to begin with.
pub(crate) enum Opened {
    /// A folder that can be used as it is.
    Sound(PathBuf, Box<Manifest>),
    /// Nothing, or folders to mend; and the lock of whoever fills one.
    ToFill(File, Vec<Damaged>),
}

/// All cached versions of one model, or of one configuration of a data set.
#[derive(Debug)]
pub(crate) struct Shelf<'a> {
    root: PathBuf,
    id: &'a RepoId,
}

impl<'a> Shelf<'a> {
    pub(crate) fn new(cache: &Path, id: &'a RepoId) -> Self {
        let kind = match id.kind {
            Kind::Model => "models",
            Kind::DataSet => "datasets",
        };
        // No half of an id holds "--".
        let name = id.full().replace('/', "--");
        let root = cache.join(kind).join(name);
        Self { root, id }
    }

    /// The model or data set.
    pub(crate) fn id(&self) -> &RepoId {
        self.id
    }

    /// Where the files are in the folder of a version.
    pub(crate) fn files(&self, folder: &Path) -> PathBuf {
        match self.id.kind {
            Kind::Model => folder.to_owned(),
            Kind::DataSet => folder.join(FILES),
        }
    }

    /// What is sound of `revision`; else takes the lock, looks again and says what is damaged.
    pub(crate) fn open(
        &self,
        revision: &str,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Opened, HubError> {
        if let Found::Sound(folder, manifest) = self.find(revision)? {
            return Ok(Opened::Sound(folder, manifest));
        }
        let lock = self.lock(on_event)?;
        // Another process may have fetched it while this one waited for the lock.
        let damaged = match self.find(revision)? {
            Found::Sound(folder, manifest) => return Ok(Opened::Sound(folder, manifest)),
            Found::Nothing(damaged) => damaged,
        };
        for folder in &damaged {
            folder.tell(on_event);
        }
        Ok(Opened::ToFill(lock, damaged))
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
            if let Some(manifest) = Manifest::read(&folder, self.id.kind)
                && manifest.id == self.id.full()
                && (manifest.revision == revision || manifest.commit.as_deref() == Some(revision))
            {
                folders.push((folder, manifest));
            }
        }
        folders.sort_by(|a, b| b.1.saved.cmp(&a.1.saved).then_with(|| a.0.cmp(&b.0)));
        let mut damaged = Vec::new();
        for (folder, manifest) in folders {
            let place = self.files(&folder);
            let files: Vec<_> = manifest
                .files
                .iter()
                .filter_map(|file| Some((file.name.clone(), fault(&place, file)?)))
                .collect();
            if files.is_empty() {
                return Ok(Found::Sound(folder, Box::new(manifest)));
            }
            damaged.push(Damaged {
                folder,
                manifest,
                files,
            });
        }
        Ok(Found::Nothing(damaged))
    }

    /// Takes the lock, so that two processes do not write the same files; waits for the
    /// other one if need be. The lock goes when the file is dropped.
    fn lock(&self, on_event: &mut dyn FnMut(Event)) -> Result<File, HubError> {
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
