//! `hone fetch`, the folder behind a `--model` word, and downloads as a person sees them.

use crate::args::FetchArgs;
use crate::{Exit, dataset, out};
use anyhow::{Context, Result, bail};
use hone_hub::{Event, Hub, Model};
use hone_report::{bytes, say, show};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Where the models of this process came from that were given by name.
static FETCHED: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// Where the model of a word came from, with its commit, if this process had it by name.
pub fn source(name: &str) -> Option<String> {
    FETCHED.lock().ok()?.get(name).cloned()
}

/// The folder of a model: a path, or a name the hub knows.
pub fn model_folder(name: &str) -> Result<PathBuf> {
    let path = Path::new(name);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    if path.is_file() {
        bail!(
            "{name}: a model is a folder (config.json, model.safetensors, tokenizer.json), not a file"
        );
    }
    // What looks like a path and is none should not be asked for on the net.
    if name.starts_with(['.', '/', '~']) || name.matches('/').count() > 1 || name.contains('\\') {
        bail!("{name}: no such folder");
    }
    let model = fetched(name)?;
    if let Ok(mut fetched) = FETCHED.lock() {
        fetched.insert(name.to_owned(), model.source);
    }
    Ok(model.folder)
}

/// Fetches by name, `name@revision` where one is wanted, and says what came from where.
fn fetched(name: &str) -> Result<Model> {
    let mut progress = Progress::new();
    let (id, revision) = name.split_once('@').unwrap_or((name, "main"));
    let model = Hub::from_env()?.fetch(id, revision, &mut |event| progress.event(event))?;
    let size: u64 = model.files.iter().map(|f| f.bytes).sum();
    let mut line = format!(
        "model {name}: {} from {}, licence {}",
        bytes(size),
        model.source,
        model.licence.as_deref().unwrap_or("not stated")
    );
    for file in model
        .files
        .iter()
        .filter(|f| f.name.ends_with(".safetensors"))
    {
        line += &format!(", SHA-256 of {} {}", file.name, file.sha256);
    }
    say!("{line}, in {}", model.folder.display());
    Ok(model)
}

/// Downloads for a person: a line that is rewritten on a terminal, a plain line now and then elsewhere.
pub struct Progress {
    terminal: bool,
    file: String,
    started: Instant,
    first: u64,
    said: Instant,
}

impl Progress {
    /// Nothing has come yet.
    pub fn new() -> Self {
        Progress {
            terminal: std::io::stderr().is_terminal(),
            file: String::new(),
            started: Instant::now(),
            first: 0,
            said: Instant::now(),
        }
    }

    /// Shows what a fetch tells.
    pub fn event(&mut self, event: Event) {
        let (file, done, total) = match event {
            Event::Note(text) => {
                say!("{text}");
                return;
            }
            Event::Started { .. } => return,
            Event::Progress { file, done, total } => (file, done, total),
        };
        if file != self.file {
            self.file = file;
            self.started = Instant::now();
            self.first = done;
        }
        let whole = total == Some(done);
        let every = Duration::from_millis(if self.terminal { 200 } else { 10_000 });
        if self.said.elapsed() < every && !(self.terminal && whole) {
            return;
        }
        self.said = Instant::now();
        let rate = (done - self.first) as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        let of = total.map_or(String::new(), |t| format!(" of {}", bytes(t)));
        // Nothing has come yet: nobody knows how long it will take.
        let left = match total {
            Some(t) if rate > 0.0 => {
                let seconds = (t - done.min(t)) as f64 / rate;
                format!(", {} left", hone_report::duration(seconds))
            }
            _ => String::new(),
        };
        let text = format!(
            "{}: {}{of}{left}, {}/s",
            self.file,
            bytes(done),
            bytes(rate as u64)
        );
        match (self.terminal, whole) {
            (true, true) => show!("\r\x1b[K"),
            (true, false) => show!("\r{text}\x1b[K"),
            (false, _) => say!("{text}"),
        }
    }
}

/// Runs the verb.
pub fn run(args: FetchArgs) -> Result<Exit> {
    let name = args.name.as_ref().or(args.data.as_ref());
    let name = name.context("a name is missing")?;
    if Path::new(name).is_dir() {
        bail!("{name}: this is a folder already; fetch takes a name");
    }
    let (folder, files, mut object) = match &args.data {
        None => {
            let model = fetched(name)?;
            let told = json!({
                "cached": model.from_cache, "source": model.source, "licence": model.licence,
            });
            (model.folder, model.files, told)
        }
        Some(name) => {
            let (id, revision) = dataset::split(name);
            let set = dataset::fetched(id, revision)?;
            let told = json!({
                "cached": set.from_cache, "source": set.source, "licence": set.licence,
                "commit": set.commit, "not_fetched": set.left,
            });
            (set.folder, set.files, told)
        }
    };
    let folder = folder.display().to_string();
    match args.json {
        true => {
            let files: Vec<Value> = files
                .iter()
                .map(|f| json!({"name": f.name, "bytes": f.bytes, "sha256": f.sha256}))
                .collect();
            object["folder"] = folder.into();
            object["files"] = files.into();
            out::line(object)?;
        }
        false => out::line(folder)?,
    }
    Ok(Exit::Done)
}
