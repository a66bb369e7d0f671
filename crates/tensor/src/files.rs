//! Files that stand whole: whoever reads one, also after the machine lost its power, meets the old content or the new.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The name under which `path` is written before it is complete.
fn beside(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Bytes that the file system of an existing folder has left for this user, where the system says.
pub fn free_space(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let found = rustix::fs::statvfs(folder).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// Writes a file beside `path` (`NAME.part`), waits until the disk has it, and renames it into place.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let part = beside(path);
    let written = File::create(&part)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| put_in_place(&part, path));
    if written.is_err() {
        // Half a file helps nobody; the first error is the one to report.
        let _ = fs::remove_file(&part);
    }
    written
}

/// Renames a file or folder that the disk already has ([`settle`]), and waits until it has the new name too.
pub fn put_in_place(part: &Path, path: &Path) -> io::Result<()> {
    fs::rename(part, path)?;
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => settle_names(Path::new(".")),
        Some(folder) => settle_names(folder),
        None => Ok(()),
    }
}

/// Waits until the disk has a file, or a folder with all that is in it.
pub fn settle(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        return File::options().write(true).open(path)?.sync_all();
    }
    for entry in fs::read_dir(path)? {
        settle(&entry?.path())?;
    }
    settle_names(path)
}

/// Waits until the disk has the names in a folder, where that can be asked for: not of every system and every
/// network's file system, nor of a folder that may be written to but not read.
fn settle_names(folder: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(e) if CANNOT_BE_ASKED.contains(&e.kind()) => Ok(()),
        asked => asked,
    }
}

const CANNOT_BE_ASKED: [io::ErrorKind; 3] = [
    io::ErrorKind::InvalidInput,
    io::ErrorKind::Unsupported,
    io::ErrorKind::PermissionDenied,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_content_or_the_new() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        replace_file(&path, b"old").unwrap();
        replace_file(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        // A folder of that name cannot be replaced by a file: what is there stays, and nothing is left beside it.
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        fs::write(taken.join("kept"), "x").unwrap();
        assert!(replace_file(&taken, b"new").is_err());
        assert!(taken.join("kept").is_file() && !beside(&taken).exists());
        assert!(replace_file(&folder.path().join("nowhere/b"), b"new").is_err());
    }

    #[test]
    fn folders_are_put_in_place_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (part, whole) = (folder.path().join("x.part"), folder.path().join("x"));
        fs::create_dir_all(part.join("inner")).unwrap();
        fs::write(part.join("inner/file"), "x").unwrap();
        settle(&part).unwrap();
        put_in_place(&part, &whole).unwrap();
        assert!(whole.join("inner/file").is_file() && !part.exists());
        assert!(settle(&part).is_err());
    }
}
