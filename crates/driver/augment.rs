//! Augmentation at the command line: the flags of `hone train`, and `hone augment`, which writes a file.

// Doc comments of flags are the text of --help, where brackets are brackets.
#![allow(rustdoc::broken_intra_doc_links)]

use crate::args::{ColumnArgs, TrainArgs};
use crate::{Exit, dataset, fetch, interrupt, out, settings};
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use hone_bert::Config;
use hone_data::augment::{
    Augmenter, Copies, Operator, Plan, Protection, Receipt, Sources, WordNet, WordTable,
    write_copies,
};
use hone_data::{LabelSet, Part, TaskKind, Tokenizer, find, infer, label_names, read_file};
use hone_report::{Table, count, duration, say, show};
use hone_train::{JobData, ModelWords, parse_task};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// How texts are changed, the same words for `train` and `augment`.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentFlags {
    /// Changed texts: eda[:A], or operators joined by commas, of which each copy gets one: synonym[:A],
    /// neighbours[:A], insert[:A], swap[:A] (A of the words, 0.1), delete[:P] (of the words, 0.1), typing[:P] (of the
    /// letters, 0.02), case[:P], punctuation[:P] (of the texts, 1); a+b does both; keep:P leaves that share of the
    /// texts of an epoch as they are (0.2) [default: none; of hone augment: eda, of tagged words synonym]
    #[arg(long, value_name = "SPEC", help_heading = "Augmentation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augment: Option<String>,
    /// WordNet's database (the folder with index.noun), or none: synonyms are then neighbours in the model's
    /// embeddings [default: WNSEARCHDIR, or /usr/share/wordnet where it is installed]
    #[arg(long, value_name = "DIR|none", help_heading = "Augmentation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wordnet: Option<String>,
    /// Words that must not change, besides negations, numbers and the labels' names: a file with one a line, or
    /// words joined by commas
    #[arg(long, value_name = "FILE|WORDS", help_heading = "Augmentation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protect: Option<String>,
}

/// `hone augment`.
#[derive(Debug, Clone, Args)]
pub struct AugmentArgs {
    /// Texts, labelled or not: CSV, TSV, JSON, CoNLL, fastText (each also .gz), Parquet (then --out is JSON lines)
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// The file to write, in the same format
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Changed copies of each text
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub copies: u32,
    /// Write the copies alone, without the texts they were made from
    #[arg(long)]
    pub copies_only: bool,
    /// Add a column with the line of the text a copy was made from, for --group-column: the copies of a text
    /// then stay on one side of a split
    #[arg(long, value_name = "NAME")]
    pub origin_column: Option<String>,
    /// A model folder or name: its word embeddings say which words are neighbours
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Seed of all draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
    /// How texts are changed
    #[command(flatten)]
    pub how: AugmentFlags,
    /// Column of the text [default: text, sentence, review, content or sentence1]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub text_column: Option<String>,
    /// Column of the second text of a pair [default: text_b or sentence2, where there is one]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub text_b_column: Option<String>,
    /// Column of the label [default: label, labels, sentiment, class or score, where there is one]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub label_column: Option<String>,
    /// auto, classify, multilabel, regress or tag [default: auto, from the labels]
    #[arg(long, value_name = "TASK", help_heading = "Data")]
    pub task: Option<String>,
}

/// The plan of the flags.
pub fn plan(flags: &AugmentFlags) -> Result<Plan> {
    parse(flags.augment.as_deref().unwrap_or("none"))
}

fn parse(text: &str) -> Result<Plan> {
    text.parse().map_err(|e: String| anyhow!("--augment {e}"))
}

/// Where Debian's wordnet-base puts the database.
const INSTALLED: &str = "/usr/share/wordnet";

/// The database that is named, else the one that is installed.
fn wordnet(flags: &AugmentFlags) -> Result<Option<Arc<WordNet>>> {
    let folder = match flags.wordnet.as_deref() {
        Some("none") => return Ok(None),
        Some(named) => PathBuf::from(named),
        None => {
            let named = std::env::var_os("WNSEARCHDIR").map(PathBuf::from);
            let usual = [named, Some(PathBuf::from(INSTALLED))];
            let found = usual
                .into_iter()
                .flatten()
                .find(|p| p.join("index.noun").is_file());
            match found {
                Some(folder) => folder,
                None => return Ok(None),
            }
        }
    };
    if !folder.join("index.noun").is_file() {
        bail!(
            "--wordnet {}: no index.noun here; WordNet's database was expected (on Debian the package wordnet-base \
             puts it into {INSTALLED}), or none",
            folder.display()
        );
    }
    Ok(Some(Arc::new(WordNet::open(&folder)?)))
}

/// Words the user lists.
fn listed(flags: &AugmentFlags) -> Result<Vec<String>> {
    let Some(text) = &flags.protect else {
        return Ok(Vec::new());
    };
    let path = Path::new(text);
    let words: Vec<String> = if path.is_file() {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("--protect {}", path.display()))?;
        text.lines().map(|l| l.trim().to_owned()).collect()
    } else if text.contains(['/', '\\']) || text.ends_with(".txt") {
        bail!("--protect {text}: no such file");
    } else {
        text.split(',').map(|w| w.trim().to_owned()).collect()
    };
    Ok(words.into_iter().filter(|w| !w.is_empty()).collect())
}

/// What a model lends: its words, and their embeddings where neighbours are looked for.
fn model_words(model: &Path, matrix: bool) -> Result<(ModelWords, bool)> {
    let config = Config::read(&Config::path_in(model))?;
    let tokenizer = Tokenizer::load(model, config.vocabulary)?;
    let uncased = tokenizer.uncased()?;
    let words = match matrix {
        true => ModelWords::read(model, &tokenizer)?,
        false => ModelWords {
            words: tokenizer.whole_words(),
            matrix: Vec::new(),
            width: config.hidden,
        },
    };
    Ok((words, uncased))
}

/// Everything an augmenter is made of.
struct Made {
    augmenter: Augmenter,
    wordnet: Option<PathBuf>,
}

fn make(
    flags: &AugmentFlags,
    plan: Plan,
    model: Option<&Path>,
    part: &Part,
    task: TaskKind,
    labels: &[String],
) -> Result<Made> {
    plan.check(task).map_err(|e| anyhow!("--augment {e}"))?;
    let net = match plan.substitutes() {
        true => wordnet(flags)?,
        false => None,
    };
    let near = plan.uses(Operator::Neighbours) || (plan.substitutes() && net.is_none());
    let words = model.map(|m| model_words(m, near)).transpose()?;
    let pairs = part.rows.iter().any(|r| r.text_b.is_some());
    for line in plan.warnings(task, pairs) {
        say!("warning: {line}");
    }
    if plan.uses(Operator::Case) && words.as_ref().is_some_and(|(_, uncased)| *uncased) {
        say!(
            "warning: the model reads capitals and small letters alike, so case noise changes nothing for it"
        );
    }
    // Without the matrix the words still say which slips make other words.
    let table: Option<WordTable<'_>> = words.as_ref().map(|(words, _)| words.table());
    let sources = Sources {
        wordnet: net.clone(),
        words: table,
    };
    let protection = Protection::new(labels, &listed(flags)?);
    let started = Instant::now();
    let augmenter = Augmenter::new(plan, protection, &part.rows, task, &sources)?;
    for line in &augmenter.notes {
        say!("{line}");
    }
    if !augmenter.notes.is_empty() {
        say!(
            "augmentation: words looked up in {:.1} s",
            started.elapsed().as_secs_f64()
        );
    }
    Ok(Made {
        augmenter,
        wordnet: net.map(|n| n.path().to_owned()),
    })
}

/// Names of labels whose words are protected: those of a set of classes.
fn label_words(kind: TaskKind, labels: &LabelSet, names: &[String]) -> Vec<String> {
    match kind {
        TaskKind::Regress => Vec::new(),
        _ => labels.names().iter().chain(names).cloned().collect(),
    }
}

/// What changes the training texts of a run, and the flags with what was decided: which WordNet.
pub fn of_training(
    mut args: TrainArgs,
    data: &JobData,
    model: &Path,
) -> Result<(TrainArgs, Option<Augmenter>)> {
    let plan = plan(&args.augmenting)?;
    if plan.is_none() {
        for (flag, value) in [
            ("wordnet", &args.augmenting.wordnet),
            ("protect", &args.augmenting.protect),
        ] {
            if value.is_some() && args.config.is_none() {
                bail!("--{flag} says how texts are changed; --augment must say that they are");
            }
        }
        return Ok((args, None));
    }
    if args.cache_frozen {
        bail!(
            "--cache-frozen keeps one output for each text, but --augment changes the texts from epoch to epoch; leave \
             one of the two out"
        );
    }
    let substitutes = plan.substitutes();
    let labels = label_words(data.kind, &data.labels, &data.names);
    let made = make(
        &args.augmenting,
        plan,
        Some(model),
        &data.train,
        data.kind,
        &labels,
    )?;
    if substitutes {
        let found = made.wordnet.map(|p| p.display().to_string());
        args.augmenting.wordnet = Some(found.unwrap_or_else(|| "none".to_owned()));
    }
    Ok((args, Some(made.augmenter)))
}

/// Runs `hone augment`.
pub fn run(mut args: AugmentArgs) -> Result<Exit> {
    if args.data.is_dir() {
        bail!(
            "{}: one file is augmented, the training texts; validation and test texts should stay as they are",
            args.data.display()
        );
    }
    if args.out.exists() {
        bail!(
            "{}: there is such a file already; remove it or choose another --out",
            args.out.display()
        );
    }
    if args.copies == 0 || args.copies > 1000 {
        bail!("--copies {}: from 1 to 1000 was expected", args.copies);
    }
    let asked = args.how.augment.as_deref().map(parse).transpose()?;
    if asked.as_ref().is_some_and(Plan::is_none) {
        bail!("--augment none leaves nothing to write");
    }
    let columns = settings::columns(
        &ColumnArgs {
            text_column: args.text_column.clone(),
            text_b_column: args.text_b_column.clone(),
            label_column: args.label_column.clone(),
            ..ColumnArgs::default()
        },
        None,
    );
    args.data = dataset::file_behind(&args.data, dataset::Part::Train)?;
    let part = read_file(&args.data, &columns)?;
    for note in &part.notes {
        say!("{note}");
    }
    let stem = args.data.file_name().unwrap_or_default().to_string_lossy();
    let stem = stem.to_lowercase();
    if ["valid", "dev", "val.", "validation", "test"]
        .iter()
        .any(|p| stem.starts_with(p))
    {
        say!(
            "warning: {stem} sounds like texts to measure with; a figure on changed texts is another figure"
        );
    }
    let task = parse_task(args.task.as_deref().unwrap_or("auto"))
        .map_err(|e| anyhow!("--task {e}"))?
        .unwrap_or_else(|| infer(&part).0);
    let names = match find(&args.data)?.labels {
        Some(path) => label_names(&path)?,
        None => Vec::new(),
    };
    // Names are protected whether or not the labels could be trained on.
    let labels = LabelSet::of(&part, task, &[])
        .map(|set| label_words(task, &set, &names))
        .unwrap_or(names);
    let model = args.model.as_deref().map(fetch::model_folder).transpose()?;
    let plan = match (asked, task) {
        (Some(plan), _) => plan,
        // What leaves every tag at its word.
        (None, TaskKind::Tag) => parse("synonym")?,
        (None, _) => parse("eda")?,
    };
    let spec = plan.to_string();
    let made = make(&args.how, plan, model.as_deref(), &part, task, &labels)?;
    let copies = Copies {
        number: args.copies,
        originals: !args.copies_only,
        seed: args.seed,
        origin: args.origin_column.clone(),
    };
    let stop = interrupt::watch()?;
    let started = Instant::now();
    let mut shown = Shown::new(part.rows.len());
    let receipt = write_copies(
        &part,
        &columns,
        &args.out,
        &made.augmenter,
        &copies,
        |rows| {
            shown.rows(rows);
            !stop.load(Ordering::SeqCst)
        },
    )?;
    let Some(receipt) = receipt else {
        say!("interrupted: {} was not written", args.out.display());
        return Ok(Exit::Interrupted);
    };
    let seconds = started.elapsed().as_secs_f64();
    report(&receipt, &args, seconds);
    if args.json {
        let mut object = serde_json::to_value(&receipt)?;
        object["augment"] = json!(spec);
        object["seed"] = json!(args.seed);
        object["wordnet"] = json!(made.wordnet);
        object["out"] = json!(args.out);
        object["seconds"] = json!(seconds);
        out::line(object)?;
    }
    Ok(Exit::Done)
}

/// Progress: a line that is rewritten on a terminal, a plain line every ten seconds elsewhere.
struct Shown {
    total: usize,
    started: Instant,
    said: Instant,
    terminal: bool,
}

impl Shown {
    fn new(total: usize) -> Shown {
        Shown {
            total,
            started: Instant::now(),
            said: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    fn rows(&mut self, rows: usize) {
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let rate = rows as f64 / seconds;
        let left = duration((self.total - rows) as f64 / rate.max(1e-9));
        let line = format!(
            "{}/{} texts, {} texts/s, {left} left",
            count(rows),
            count(self.total),
            count(rate as usize)
        );
        if self.terminal {
            let end = if rows == self.total {
                "\r\x1b[K"
            } else {
                "\x1b[K"
            };
            show!("\r{line}{end}");
        } else if self.said.elapsed().as_secs() >= 10 {
            self.said = Instant::now();
            say!("{line}");
        }
    }
}

/// What a person reads at the end.
fn report(receipt: &Receipt, args: &AugmentArgs, seconds: f64) {
    let mut table = Table::new(&[
        "operator",
        "texts",
        "changed",
        "words each",
        "the same, and why",
    ]);
    for (name, tally) in &receipt.operators {
        let why: Vec<String> = tally
            .same
            .iter()
            .map(|(why, n)| format!("{}: {}", count(*n), why.says()))
            .collect();
        table.row([
            (*name).to_owned(),
            count(tally.texts),
            count(tally.changed),
            format!("{:.2}", tally.words as f64 / tally.changed.max(1) as f64),
            why.join("; "),
        ]);
    }
    show!("{table}");
    let originals = match args.copies_only {
        true => String::new(),
        false => format!("{} rows and ", count(receipt.rows)),
    };
    say!(
        "{}: {originals}{} of {} copies, in {}",
        args.out.display(),
        count(receipt.copies),
        count(receipt.asked),
        duration(seconds)
    );
    if args.origin_column.is_none() && !args.copies_only {
        say!(
            "split before augmenting, or the copies of a text stand on both sides; --origin-column and \
             train's --group-column keep them together"
        );
    }
}
