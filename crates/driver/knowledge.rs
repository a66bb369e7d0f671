//! What `hone report` and `hone interpolate` measure of an encoder beside its task: reads the user's files, names the
//! base, and says what makes the comparison doubtful.

use crate::fetch;
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use hone_bert::{Config, Model, Pool, Task, weight_files};
use hone_data::{
    Columns, TaskKind, Tokenizer, label_names, numbering, read_labelled, read_plain, sha256_file,
};
use hone_experiment::knowledge::{Measures, ProbeSet, TextPairs, load_base};
use hone_kernels::Backend;
use hone_report::{count, say};
use hone_tensor::permutation;
use hone_train::{Examples, TextReceipt, Tokenising, unlabelled};
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Lines of a text tokenised at a time, until there are tokens enough.
const LINES: usize = 256;
/// Tokens a feature below which representations look more alike than they are.
const TOKENS_A_FEATURE: usize = 10;

/// The base, and what is measured.
#[derive(Debug, Clone, Args)]
pub struct KnowledgeArgs {
    /// Model that the run began with: a folder, a Hugging Face id (org/name) or a short name (minilm) [default: the
    /// one that run.toml in DIR names]
    #[arg(long, value_name = "MODEL")]
    pub base: Option<String>,
    /// Pairs of texts with a score each (columns text, text_b, score, as in STS-B): how well the cosine of their
    /// vectors ranks them; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "What is kept")]
    pub similarity: Vec<PathBuf>,
    /// Labelled texts of another task: what a linear probe, fitted in five folds, reads off the frozen features; may
    /// be repeated
    #[arg(long, value_name = "FILE", help_heading = "What is kept")]
    pub probe: Vec<PathBuf>,
    /// Any text, one a line (or the texts of a data file): how alike each layer's outputs stayed (linear CKA)
    #[arg(long, value_name = "FILE", help_heading = "What is kept")]
    pub text: Option<PathBuf>,
    /// Most rows of each --probe, drawn with labels as frequent as in the file
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1000,
        help_heading = "What is kept"
    )]
    pub probe_rows: usize,
    /// Most word pieces of --text, in texts drawn from all of it
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10_000,
        help_heading = "What is kept"
    )]
    pub text_tokens: usize,
    /// Seed of what is drawn: rows, folds, resamples
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        help_heading = "What is kept"
    )]
    pub seed: u64,
}

impl KnowledgeArgs {
    /// Whether any file is given.
    pub fn files(&self) -> bool {
        !self.similarity.is_empty() || !self.probe.is_empty() || self.text.is_some()
    }
}

/// The model a run began with.
#[derive(Debug, Clone, Serialize)]
pub struct Base {
    /// As it was named.
    pub name: String,
    /// Where it lies.
    #[serde(skip)]
    pub folder: PathBuf,
    /// SHA-256 of its weight files.
    pub weights_sha256: Vec<String>,
}

/// A file that was read, for the record.
#[derive(Debug, Clone, Serialize)]
pub struct Read {
    /// `similarity`, `probe` or `text`.
    pub measure: &'static str,
    /// Where.
    pub file: PathBuf,
    /// SHA-256 as it lies on disk.
    pub sha256: String,
    /// Texts read (two of each pair).
    pub texts: usize,
    /// Word pieces of them.
    pub tokens: usize,
}

/// Everything asked, tokenised.
pub struct Asked {
    /// Similarity and probes.
    pub measures: Measures,
    /// Texts for the comparison of representations.
    pub text: Option<Examples>,
    /// What was read.
    pub files: Vec<Read>,
}

/// `run.toml` of a run's folder.
pub fn run_toml(dir: &Path) -> Result<Option<toml::Table>> {
    let file = dir.join("run.toml");
    if !file.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let table = text
        .parse()
        .map_err(|e: toml::de::Error| anyhow!("{}: {}", file.display(), e.message()))?;
    Ok(Some(table))
}

/// Whether a file with this hash played a part in a run ("training file", "test file"), by its summary.
pub fn is_file_of(summary: Option<&Value>, role: &str, sha256: &str) -> bool {
    summary.and_then(|s| s["hashes"][role].as_str()) == Some(sha256)
}

/// A JSON file of a run's folder, where it has one.
pub fn json_file(dir: &Path, name: &str) -> Result<Option<Value>> {
    let file = dir.join(name);
    if !file.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let value = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
    Ok(Some(value))
}

/// The base that is named, or recorded.
pub fn base(args: &KnowledgeArgs, run: Option<&toml::Table>, dir: &Path) -> Result<Base> {
    let recorded = || run.and_then(|r| r.get("model")?.as_str().map(str::to_owned));
    let (name, folder) = match (&args.base, recorded()) {
        (Some(name), _) => (name.clone(), fetch::model_folder(name)?),
        (None, Some(name)) => {
            let folder = fetch::model_folder(&name).with_context(|| {
                format!(
                    "{} began with {name}, says its run.toml; if that lies elsewhere now, name it with --base",
                    dir.display()
                )
            })?;
            (name, folder)
        }
        (None, None) => bail!(
            "{}: no run.toml here says what this model began as; name it with --base",
            dir.display()
        ),
    };
    let files = weight_files(&folder)?;
    let hashes = files.iter().map(|f| sha256_file(f));
    Ok(Base {
        weights_sha256: hashes.collect::<Result<_, _>>()?,
        name,
        folder,
    })
}

/// What makes a comparison of `dir` with its base doubtful, a line each.
pub fn doubts(base: &Base, run: Option<&toml::Table>, summary: Option<&Value>) -> Vec<String> {
    let mut lines = Vec::new();
    let began = summary.and_then(|s| s["hashes"]["model's weights"].as_str());
    if let (Some(began), [found]) = (began, &base.weights_sha256[..])
        && began != found
    {
        lines.push(format!(
            "{}: its weights are not those the run began with (SHA-256 {found}, summary.json has {began})",
            base.name
        ));
    }
    let word = |key: &str| run.and_then(|r| r.get(key));
    if word("init").and_then(toml::Value::as_str) == Some("random") {
        lines.push(
            "the run began with random weights (--init random): between it and the base lies no path of training"
                .to_owned(),
        );
    }
    if let Some(n) = word("reinit_top").and_then(toml::Value::as_integer)
        && n > 0
    {
        lines.push(format!(
            "the run drew its upper {n} layers anew (--reinit-top): they began as something else than the base's"
        ));
    }
    lines
}

/// The base's encoder beside the tuned one. Vocabularies must agree, too.
pub fn open_base<B: Backend>(
    base: &Base,
    tuned: &Model<B>,
    tokenizer: &Tokenizer,
) -> Result<(Model<B>, Vec<String>)> {
    let (model, receipt) = load_base(&base.folder, tuned)?;
    let own = Tokenizer::load(&base.folder, model.config().vocabulary)?;
    if !own.same_vocabulary(tokenizer) {
        bail!(
            "{}: its vocabulary is not the fine-tuned model's; this is not what that began as, name it with --base",
            base.name
        );
    }
    Ok((model, receipt.loaded))
}

/// Ways of pooling that mean something to a model.
pub fn pools(config: &Config, task: Task) -> Vec<Pool> {
    match config.pool {
        Pool::Cls if task.pools() => vec![Pool::Mean, Pool::Cls],
        _ => vec![Pool::Mean],
    }
}

/// The last folder and the name of a file: enough to tell files apart in a table.
pub fn short(path: &Path) -> String {
    let name = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned());
    match (path.parent().and_then(name), name(path)) {
        (Some(folder), Some(file)) => format!("{folder}/{file}"),
        (None, Some(file)) => file,
        _ => path.display().to_string(),
    }
}

/// A data file, or a folder's training part, and the names of its labels.
fn labelled_part(path: &Path) -> Result<(hone_data::Part, Vec<String>)> {
    let files = hone_data::find(path)?;
    let file = files
        .train
        .with_context(|| format!("{}: no train.csv here; name a file", path.display()))?;
    let part = read_labelled(&file, &Columns::default())?;
    let names = match &files.labels {
        Some(path) => label_names(path)?,
        None => Vec::new(),
    };
    let names = numbering(&part, TaskKind::Classify, &names)?.to_vec();
    Ok((part, names))
}

/// Reads all files that are named, their texts cut like this, for an encoder of so many features.
pub fn read(
    args: &KnowledgeArgs,
    how: Tokenising<'_>,
    hidden: usize,
    threads: usize,
) -> Result<Asked> {
    let mut asked = Asked {
        measures: Measures {
            seed: args.seed,
            threads,
            ..Measures::default()
        },
        text: None,
        files: Vec::new(),
    };
    let mut record = |measure, path: &Path, sha256: String, receipt: &TextReceipt| {
        for line in receipt.lines(&short(path)) {
            say!("warning: {line}");
        }
        asked.files.push(Read {
            measure,
            file: path.to_owned(),
            sha256,
            texts: receipt.texts,
            tokens: receipt.tokens,
        });
    };
    for path in &args.similarity {
        let part = read_labelled(path, &Columns::default())?;
        let (pairs, receipt) = TextPairs::read(short(path), &part, how)?;
        record("similarity", path, part.sha256, &receipt);
        asked.measures.similarity.push(pairs);
    }
    for path in &args.probe {
        let (part, names) = labelled_part(path)?;
        let (set, receipt) =
            ProbeSet::read(short(path), &part, &names, args.probe_rows, args.seed, how)?;
        record("probe", path, part.sha256, &receipt);
        asked.measures.probes.push(set);
    }
    if let Some(path) = &args.text {
        let part = read_plain(path, &Columns::default())?;
        part.notes.iter().for_each(|note| say!("{note}"));
        let rows = sample(&part.rows, args, how)?;
        let (examples, receipt) = unlabelled(&rows, Task::Classify, how)?;
        if examples.tokens() < TOKENS_A_FEATURE * hidden {
            say!(
                "warning: {} word pieces of {} for {} features: so few make representations look more alike than they \
                 are; give more text, or raise --text-tokens",
                count(examples.tokens()),
                short(path),
                hidden
            );
        }
        record("text", path, part.sha256, &receipt);
        asked.text = Some(examples);
    }
    Ok(asked)
}

/// Texts drawn from all of a file until there are word pieces enough, in the file's order.
fn sample(
    rows: &[hone_data::Row],
    args: &KnowledgeArgs,
    how: Tokenising<'_>,
) -> Result<Vec<hone_data::Row>> {
    let order = permutation(rows.len(), args.seed, 0);
    let mut chosen: Vec<u32> = Vec::new();
    let mut tokens = 0;
    'all: for lines in order.chunks(LINES) {
        let some: Vec<_> = lines.iter().map(|&i| rows[i as usize].clone()).collect();
        let (examples, _) = unlabelled(&some, Task::Classify, how)?;
        for (k, &i) in lines.iter().enumerate() {
            if tokens + examples.length(k) > args.text_tokens && !chosen.is_empty() {
                break 'all;
            }
            tokens += examples.length(k);
            chosen.push(i);
        }
    }
    chosen.sort_unstable();
    Ok(chosen.iter().map(|&i| rows[i as usize].clone()).collect())
}
