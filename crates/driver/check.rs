//! `hone check`: is this data fit to train on, and does this model fit it?

use crate::args::{ColumnArgs, DeviceArgs};
use crate::check_model::{self, ModelReport};
use crate::device::{self, Device, on_device};
use crate::progress::Stage;
use crate::{Exit, check_table, dataset, fetch, out, settings};
use anyhow::{Result, anyhow, bail};
use clap::Args;
use hone_data::check::{self, Fixed, Input, Report, Source, Split};
use hone_data::{Files, Part, TaskKind, find, infer, label_names, numbering, read_as_is, unread};
use hone_report::say;
use hone_train::parse_task;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Examples of a finding that a JSON report holds; what is beyond them is counted there.
const JSON_EXAMPLES: usize = 1000;
/// Rows the linear probe is measured on, where no number is given.
const PROBE_ROWS: usize = 2000;

/// `hone check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Labelled texts: CSV, TSV, JSON, CoNLL, fastText (each also .gz), Parquet, a folder with train, valid, test, or a
    /// data set of the Hugging Face hub (org/name, org/name/configuration)
    #[arg(long, value_name = "PATH|NAME")]
    pub data: PathBuf,
    /// Validation texts (a file, or a data set's name), or none [default: the folder's, where there are any]
    #[arg(long, value_name = "PATH|none")]
    pub valid: Option<PathBuf>,
    /// Test texts (a file, or a data set's name), or none [default: the folder's, where there are any]
    #[arg(long, value_name = "PATH|none")]
    pub test: Option<PathBuf>,
    /// Also check whether this model fits: its tokenizer, and a linear probe beside TF-IDF. A folder, a Hugging
    /// Face id (org/name) or a short name (minilm, bert-base, bert-large)
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Print the report as one JSON object on standard output
    #[arg(long)]
    pub json: bool,
    /// Write a cleaned copy and the list of changes to this new folder
    #[arg(long, value_name = "DIR")]
    pub fix: Option<PathBuf>,
    /// Examples shown of each finding [default: 3]
    #[arg(long, value_name = "N")]
    pub examples: Option<usize>,
    /// Most training rows the linear probe is measured on; 0 leaves it out [default: 2000]
    #[arg(long, value_name = "N")]
    pub probe_rows: Option<usize>,
    /// Seed of the probe's rows and folds [default: 0]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// How texts are read
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Where it runs
    #[command(flatten)]
    pub machine: DeviceArgs,
}

/// The report of a check, whole.
#[derive(Debug, Serialize)]
pub struct Whole {
    /// Texts and labels.
    #[serde(flatten)]
    pub report: Report,
    /// Tokenizer and model, where one was named.
    pub model: Option<ModelReport>,
    /// What `--fix` wrote.
    pub fixed: Option<Fixed>,
    /// Seconds of the check.
    pub seconds: f64,
}

/// The splits, read.
pub struct Splits {
    parts: Vec<(Split, Part)>,
    pub task: TaskKind,
    pub names: Vec<String>,
    labels: Option<PathBuf>,
}

impl Splits {
    /// The parts there are.
    pub fn all(&self) -> Vec<(Split, &Part)> {
        self.parts.iter().map(|(s, p)| (*s, p)).collect()
    }

    /// What is learnt from.
    pub fn train(&self) -> &Part {
        &self.parts[0].1
    }
}

fn read(args: &CheckArgs) -> Result<Splits> {
    let columns = settings::columns(&args.columns, None);
    let data = dataset::behind(&args.data)?;
    let files: Files = find(&data)?;
    let train = read_as_is(&files.training(&data)?, &columns)?;
    if let Some(names) = files.ignored() {
        say!("other files, not read: {names}");
    }
    for note in &train.notes {
        say!("{note}");
    }
    let task = match parse_task(args.columns.task.as_deref().unwrap_or("auto"))
        .map_err(|e| anyhow!("--task {e}"))?
    {
        Some(task) => task,
        None => {
            let (task, why) = infer(&train);
            say!("{why}");
            task
        }
    };
    let names = match (&files.labels, task) {
        (Some(path), TaskKind::Classify | TaskKind::MultiLabel) => label_names(path)?,
        _ => Vec::new(),
    };
    let names = numbering(&train, task, &names)?.to_vec();
    let mut parts = vec![(Split::Train, train)];
    let given = |path: &Option<PathBuf>, part| -> Result<Option<PathBuf>> {
        path.as_deref()
            .map(|path| dataset::file_behind(path, part))
            .transpose()
    };
    let valid = given(&args.valid, dataset::Part::Valid)?;
    let test = given(&args.test, dataset::Part::Test)?;
    for (split, option, given, own) in [
        (Split::Valid, "--valid", &valid, files.valid),
        (Split::Test, "--test", &test, files.test),
    ] {
        if let (Some(own), Some(given)) = (&own, given)
            && let Some(line) = unread(own, Some(given), option)
        {
            say!("{line}");
        }
        // As in training, none is no file.
        let path = given.clone().or(own);
        if let Some(path) = path.filter(|p| p.as_os_str() != "none") {
            let part = read_as_is(&path, &columns)?;
            for note in part.notes_beside(&parts[0].1) {
                say!("{note}");
            }
            parts.push((split, part));
        }
    }
    Ok(Splits {
        parts,
        task,
        names,
        labels: files.labels,
    })
}

/// Where it computes. Without a model nothing does: no card is opened that was not asked for.
fn chosen(args: &CheckArgs) -> Result<Device> {
    let mut machine = args.machine.clone();
    if args.model.is_none() {
        machine.device.get_or_insert_with(|| "cpu".to_owned());
    }
    device::choose(&machine)
}

/// Runs the verb.
pub fn run(args: CheckArgs) -> Result<Exit> {
    let started = Instant::now();
    let threads = device::threads(&args.machine)?;
    let device = chosen(&args)?;
    // A wrong word is told before minutes of work, not after.
    settings::truncate(&args.columns)?;
    if let Some(out) = &args.fix {
        fresh(out)?;
    }
    let model = args
        .model
        .as_deref()
        .map(|name| fetch::model_folder(name).map(|folder| (name, folder)))
        .transpose()?;
    let splits = read(&args)?;
    let parts = splits.all();
    let shown = args.examples.unwrap_or(3);
    let input = Input {
        parts: &parts,
        task: splits.task,
        names: &splits.names,
        examples: match args.json {
            true => JSON_EXAMPLES,
            false => shown,
        },
    };
    if model.is_some() {
        device.tell_card();
    }
    let stage = Stage::new();
    let mut report = check::check(&input, &|what, share| stage.at(what, share));
    let model = match &model {
        Some((name, folder)) => {
            let ask = check_model::Ask {
                name,
                folder,
                splits: &splits,
                max_length: args.columns.max_length,
                truncate: settings::truncate(&args.columns)?,
                probe_rows: args.probe_rows.unwrap_or(PROBE_ROWS),
                seed: args.seed.unwrap_or(0),
                threads,
            };
            let (model, findings) =
                on_device!(device, backend => check_model::run(backend, &ask, &stage))?;
            report.add(findings);
            report.not_checked.extend(model.not_checked.clone());
            Some(model)
        }
        None => {
            report.not_checked.push(
                "truncation, unknown words and the fit of a model: they need a model (--model)"
                    .to_owned(),
            );
            None
        }
    };
    stage.end();
    let fixed = match &args.fix {
        Some(out) => {
            let columns = settings::columns(&args.columns, None);
            let source = Source {
                parts: &parts,
                columns: &columns,
                task: splits.task,
                labels: splits.labels.as_deref(),
            };
            let parquet = |(_, part): &(Split, &Part)| {
                part.path
                    .extension()
                    .is_some_and(|e| e.eq_ignore_ascii_case("parquet"))
            };
            let fixed = check::fix(&source, out)?;
            if parts.iter().any(parquet) {
                say!("what was Parquet is written as JSON lines (.jsonl)");
            }
            Some(fixed)
        }
        None => None,
    };
    let whole = Whole {
        report,
        model,
        fixed,
        seconds: started.elapsed().as_secs_f64(),
    };
    match args.json {
        true => out::line(serde_json::to_string(&whole)?)?,
        false => out::text(check_table::text(&whole, shown))?,
    }
    match whole.report.warnings() {
        0 => Ok(Exit::Done),
        n if args.columns.strict => {
            let kinds: Vec<String> = whole.report.findings[..n]
                .iter()
                .map(|f| f.what.clone())
                .collect();
            bail!("{} (errors under --strict)", kinds.join("; "))
        }
        _ => Ok(Exit::Done),
    }
}

/// A cleaned copy is never written over anything.
fn fresh(out: &Path) -> Result<()> {
    let taken = match std::fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => out.exists(),
    };
    if taken {
        bail!(
            "--fix {}: this is not empty; a cleaned copy needs a folder of its own",
            out.display()
        );
    }
    Ok(())
}
