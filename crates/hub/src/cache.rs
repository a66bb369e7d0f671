//! A model's place in the cache: files, and a manifest written when they are all there.

use crate::HubError;
use crate::names::Id;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Name of the manifest.
pub(crate) const MANIFEST: &str = "hone-hub.json";

/// What a model's folder holds and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Address or package it came from.
    pub source: String,
    /// Commit, where the hub named one.
    pub commit: Option<String>,
    /// Licence, where known.
    pub licence: Option<String>,
    /// Every file.
    pub files: Vec<FileEntry>,
}

/// A file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Name inside the folder.
    pub name: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// Size of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum()
    }
}

/// Why a cached model cannot be served.
pub(crate) enum VerifyError {
    Absent,
    Damaged { file: String, why: String },
    Io(HubError),
}

/// A model's folder in the cache.
pub(crate) struct Slot {
    pub folder: PathBuf,
}

impl Slot {
    pub fn new(cache: &Path, id: &Id) -> Slot {
        let mut name = format!("{}--{}", id.owner, id.name);
        if let Some(revision) = &id.revision {
            name += &format!("@{revision}");
        }
        Slot {
            folder: cache.join("models").join(name),
        }
    }

    /// The manifest, if every file is as it says.
    pub fn verify(&self) -> Result<Manifest, VerifyError> {
        let path = self.folder.join(MANIFEST);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(VerifyError::Absent),
            Err(e) => return Err(VerifyError::Io(HubError::io(path)(e))),
        };
        let manifest: Manifest = serde_json::from_str(&text).map_err(|e| VerifyError::Damaged {
            file: MANIFEST.to_owned(),
            why: e.to_string(),
        })?;
        for file in &manifest.files {
            let path = self.folder.join(&file.name);
            let damaged = |why: String| VerifyError::Damaged {
                file: file.name.clone(),
                why,
            };
            match fs::metadata(&path) {
                Err(_) => return Err(damaged("it is missing".to_owned())),
                Ok(meta) if meta.len() != file.bytes => {
                    return Err(damaged(format!(
                        "{} bytes instead of {}",
                        meta.len(),
                        file.bytes
                    )));
                }
                Ok(_) => {}
            }
            match sha256(&path) {
                Ok(found) if found == file.sha256 => {}
                Ok(_) => return Err(damaged("its SHA-256 has changed".to_owned())),
                Err(e) => return Err(VerifyError::Io(e)),
            }
        }
        Ok(manifest)
    }

    /// Removes a file and the manifest: the folder is then not whole.
    pub fn drop_file(&self, name: &str) -> Result<(), HubError> {
        for name in [name, MANIFEST] {
            let path = self.folder.join(name);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(HubError::io(path)(e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The entry of a file that is here.
    pub fn entry(&self, name: &str) -> Result<FileEntry, HubError> {
        let path = self.folder.join(name);
        let bytes = fs::metadata(&path).map_err(HubError::io(&path))?.len();
        Ok(FileEntry {
            name: name.to_owned(),
            bytes,
            sha256: sha256(&path)?,
        })
    }

    /// Writes the manifest: the model is whole.
    pub fn finish(&self, manifest: &Manifest) -> Result<(), HubError> {
        let path = self.folder.join(MANIFEST);
        let text = serde_json::to_string_pretty(manifest).map_err(|e| HubError::Answer {
            url: path.display().to_string(),
            reason: e.to_string(),
        })?;
        let beside = self.folder.join(format!("{MANIFEST}.part"));
        fs::write(&beside, text + "\n").map_err(HubError::io(&beside))?;
        fs::rename(&beside, &path).map_err(HubError::io(&path))
    }
}

/// SHA-256 of a file, hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String, HubError> {
    let mut file = File::open(path).map_err(HubError::io(path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let n = file.read(&mut buffer).map_err(HubError::io(path))?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
    }
    Ok(hex(&hash.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
