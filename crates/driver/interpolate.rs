//! `hone interpolate`: weights between a pre-trained model and its fine-tuned one, the task's figure and what is kept
//! at each place, and the model of one place.

use crate::args::{ColumnArgs, DeviceArgs};
use crate::device::{self, on_device};
use crate::interpolate_table::{Told, picture};
use crate::knowledge::{self, Base, KnowledgeArgs};
use crate::progress::Stage;
use crate::{Exit, dataset, infer, interrupt, out};
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use hone_bert::{Pool, weight_files};
use hone_data::sha256_file;
use hone_experiment::knowledge::{Blend, Keep, Walk};
use hone_kernels::Backend;
use hone_report::say;
use hone_train::metrics;
use hone_train::{save_folder, write_beside};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Places of the grid, where no number is given.
const STEPS: usize = 11;

/// `hone interpolate`.
#[derive(Debug, Clone, Args)]
pub struct InterpolateArgs {
    /// Folder of the fine-tuned model
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// What is measured of the encoder
    #[command(flatten)]
    pub knowledge: KnowledgeArgs,
    /// Labelled texts of the task that neither were trained on nor will judge the result; of a folder its validation
    /// part
    #[arg(long, value_name = "PATH|NAME")]
    pub data: Option<PathBuf>,
    /// Places between both models, ends included [default: 11]
    #[arg(long, value_name = "N", conflicts_with = "alpha")]
    pub steps: Option<usize>,
    /// One place: 0 is the base's encoder, 1 the fine-tuned one; measured beside both ends
    #[arg(long, value_name = "A", conflicts_with = "keep")]
    pub alpha: Option<f64>,
    /// Which place --out takes, by the figure on --data: best, or within:X, the one nearest to the base of those at
    /// most X below the best
    #[arg(long, value_name = "RULE")]
    pub keep: Option<String>,
    /// Write the model of --alpha or --keep to this new folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write a picture of all figures over alpha to this SVG file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
    /// How --data is read; the other files have their columns under the usual names, and are cut alike
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Where it runs
    #[command(flatten)]
    pub machine: DeviceArgs,
}

/// Rows the task was measured on.
#[derive(Debug, Clone, Serialize)]
pub struct Rows {
    /// Their file.
    pub file: PathBuf,
    sha256: String,
    /// How many.
    pub rows: usize,
    /// Whether alpha was chosen by them.
    used_for_selection: bool,
}

/// Where the model is measured and which place is wanted.
pub struct Plan {
    alphas: Vec<f64>,
    /// How a place is chosen.
    pub keep: Option<Keep>,
    /// The place that is written, where it needs no choice.
    alpha: Option<f64>,
    /// The same as it was asked for.
    pub rule: String,
}

fn plan(args: &InterpolateArgs) -> Result<Plan> {
    let measured = args.data.is_some() || args.knowledge.files();
    let keep = args.keep.as_deref().map(str::parse::<Keep>).transpose();
    let keep = keep.map_err(|e| anyhow!("--keep {e}"))?;
    if let Some(alpha) = args.alpha
        && !(0.0..=1.0).contains(&alpha)
    {
        bail!(
            "--alpha {alpha}: a number from 0 (the base) to 1 (the fine-tuned model) was expected"
        );
    }
    if keep.is_some() && args.data.is_none() {
        bail!("--keep chooses by the figure on --data; name the rows, or a place with --alpha");
    }
    if args.out.is_some() && keep.is_none() && args.alpha.is_none() {
        bail!("--out needs to know which place: --alpha A, or --keep best|within:X");
    }
    if !measured && args.out.is_none() {
        bail!(
            "nothing to do: give --data (or --similarity, --probe, --text), or --alpha and --out"
        );
    }
    if args.svg.is_some() && !measured {
        bail!("--svg draws figures: give --data, --similarity, --probe or --text");
    }
    let alphas = match (args.alpha, args.steps.unwrap_or(STEPS)) {
        (Some(_), _) if !measured => Vec::new(),
        (Some(a), _) => {
            let mut all = vec![0.0, a, 1.0];
            all.dedup();
            all
        }
        (None, 0 | 1) => bail!(
            "--steps {}: at least 2 was expected, the two ends",
            args.steps.unwrap_or(STEPS)
        ),
        (None, n) => (0..n).map(|i| i as f64 / (n - 1) as f64).collect(),
    };
    Ok(Plan {
        alphas,
        keep,
        alpha: args.alpha,
        rule: match (&args.keep, args.alpha) {
            (Some(rule), _) => format!("--keep {rule}"),
            (None, Some(_)) => "--alpha".to_owned(),
            (None, None) => "nothing".to_owned(),
        },
    })
}

/// Runs the verb.
pub fn run(mut args: InterpolateArgs) -> Result<Exit> {
    if !args.dir.is_dir() {
        bail!("{}: no such folder", args.dir.display());
    }
    let plan = plan(&args)?;
    if let Some(data) = &mut args.data {
        *data = dataset::behind(data)?;
    }
    if let Some(path) = &args.svg {
        out::may_write("svg", path, out::SVG, &[])?;
    }
    if let Some(out) = &args.out {
        let taken = match std::fs::read_dir(out) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => out.exists(),
        };
        if taken {
            bail!(
                "--out {}: this is not empty; an interpolated model needs a folder of its own",
                out.display()
            );
        }
    }
    let device = device::choose(&args.machine)?;
    device.tell_card();
    on_device!(device, backend => execute(backend, &args, &plan))
}

/// The file of `--data`; of a folder the validation part, since its test part is for judging the result.
fn task_file(data: &Path) -> Result<PathBuf> {
    if !data.is_dir() {
        return Ok(data.to_owned());
    }
    hone_data::find(data)?.valid.with_context(|| {
        format!(
            "{}: no validation file here; name a file of rows that were not trained on (test rows are for judging the \
             result)",
            data.display()
        )
    })
}

/// What rows of the run mean for what is read off them.
fn row_warnings(rows: &Rows, summary: Option<&Value>, plan: &Plan) -> Vec<String> {
    let name = rows.file.display();
    let of = |role: &str| knowledge::is_file_of(summary, role, &rows.sha256);
    let stem = rows.file.file_name().and_then(|n| n.to_str());
    let called_test = stem.is_some_and(|n| n.split('.').next() == Some("test"));
    let mut lines = Vec::new();
    if of("training file") {
        lines.push(format!(
            "{name} is the run's training file (SHA-256 in summary.json): the fine-tuned end knows these rows by \
             heart, so every figure leans to it"
        ));
    } else if of("test file") || called_test {
        let what = match of("test file") {
            true => "is the run's test file",
            false => "is called test",
        };
        let then = match plan.keep {
            Some(_) => {
                "alpha is chosen by test rows, so their figure is no test of the result any more"
            }
            None => "whoever chooses an alpha by these figures has no test rows left",
        };
        lines.push(format!("{name} {what}: {then}; measure on validation rows"));
    }
    lines
}

fn execute<B: Backend>(backend: Arc<B>, args: &InterpolateArgs, plan: &Plan) -> Result<Exit> {
    let threads = device::threads(&args.machine)?;
    let run = knowledge::run_toml(&args.dir)?;
    let summary = knowledge::json_file(&args.dir, "summary.json")?;
    let base = knowledge::base(&args.knowledge, run.as_ref(), &args.dir)?;
    let opened = infer::open(backend, &args.dir, &args.columns)?;
    let (start, _) = knowledge::open_base(&base, &opened.model, &opened.tokenizer)?;
    let mut warnings = knowledge::doubts(&base, run.as_ref(), summary.as_ref());
    let mut examples = None;
    let mut rows = None;
    if let Some(data) = &args.data {
        let file = task_file(data)?;
        let (part, found, _) = infer::labelled_for(&opened, &file, &args.columns)?;
        let read = Rows {
            file,
            sha256: part.sha256,
            rows: found.len(),
            used_for_selection: plan.keep.is_some(),
        };
        warnings.extend(row_warnings(&read, summary.as_ref(), plan));
        (examples, rows) = (Some(found), Some(read));
    }
    for line in &warnings {
        if args.columns.strict {
            bail!("{line} (an error under --strict)");
        }
        say!("warning: {line}");
    }
    let mut asked = knowledge::read(
        &args.knowledge,
        opened.tokenising(),
        opened.model.config().hidden,
        threads,
    )?;
    // What the encoder keeps, not what the head reads of it: one way of pooling, the field's usual one.
    asked.measures.pools = vec![Pool::Mean];
    let walk = Walk {
        examples: examples.as_ref(),
        measures: &asked.measures,
        text: asked.text.as_ref(),
        threads,
        seed: args.knowledge.seed,
    };
    let task = opened.model.task();
    let own = run.as_ref().and_then(|r| r.get("metric")?.as_str());
    if let (Some(own), true) = (
        own.filter(|m| *m != metrics::names(task)[0]),
        args.data.is_some(),
    ) {
        say!(
            "the run selected by {own}; places are compared by {}, which has an interval",
            metrics::names(task)[0]
        );
    }
    let mut blend = Blend::new(start, opened.model)?;
    let stop = interrupt::watch()?;
    let stage = Stage::new();
    let points = walk.run(&mut blend, task, &plan.alphas, &mut |share| {
        stage.at("interpolating", share);
        !stop.load(Ordering::SeqCst)
    });
    stage.end();
    let Some(points) = points? else {
        say!("interrupted; nothing was written");
        return Ok(Exit::Interrupted);
    };
    let kept = match plan.keep {
        None => plan.alpha,
        Some(keep) => keep.of(&points),
    };
    if kept.is_some_and(|alpha| alpha < 1.0) && blend.has_threshold() {
        let line = "the fine-tuned model's abstention threshold was found on its own answers: it stays behind";
        say!("warning: {line}");
        warnings.push(line.to_owned());
    }
    let tuned_files = weight_files(&args.dir)?;
    let tuned_hashes = tuned_files.iter().map(|f| sha256_file(f));
    let at = |alpha: f64| points.iter().find(|p| p.alpha == alpha);
    let receipt = json!({
        "alpha": kept,
        "rule": plan.rule,
        "base": base,
        "tuned": {
            "folder": args.dir,
            "weights_sha256": tuned_hashes.collect::<Result<Vec<_>, _>>()?,
        },
        "head": "pooler and classifier of the fine-tuned model",
        "data": rows,
        "files": asked.files,
        "at_alpha": kept.and_then(at),
        "warnings": warnings,
        "version": env!("CARGO_PKG_VERSION"),
        "kernel_path": blend.base().backend().path(),
    });
    if let (Some(out), Some(alpha)) = (&args.out, kept) {
        blend.set(alpha)?;
        save(&blend, &args.dir, out, alpha, &base, &receipt)?;
    }
    if let Some(path) = &args.svg {
        write_beside(path, &picture(&points, &args.dir))?;
    }
    if args.json {
        let mut object = receipt;
        object["points"] = serde_json::to_value(&points)?;
        out::line(object)?;
        return Ok(Exit::Done);
    }
    let told = Told {
        args,
        plan,
        base: &base,
        files: &asked.files,
        rows: rows.as_ref(),
        points: &points,
        kept,
    };
    out::text(told.text())?;
    Ok(Exit::Done)
}

/// The model folder, how its texts are cut, and the receipt.
fn save<B: Backend>(
    blend: &Blend<B>,
    dir: &Path,
    out: &Path,
    alpha: f64,
    base: &Base,
    receipt: &Value,
) -> Result<()> {
    save_folder(blend.model(), dir, None, out)?;
    let run = dir.join("run.toml");
    if run.is_file() {
        let text = std::fs::read_to_string(&run).with_context(|| run.display().to_string())?;
        let options = text.lines().filter(|l| !l.starts_with('#'));
        let options: String = options.flat_map(|l| [l, "\n"]).collect();
        let text = format!(
            "# Options of the run in {}, whose encoder was moved back towards {} (alpha {alpha}): interpolation.json \
             says how.\n{options}",
            dir.display(),
            base.name
        );
        write_beside(&out.join("run.toml"), &text)?;
    }
    let text = serde_json::to_string_pretty(receipt)? + "\n";
    Ok(write_beside(&out.join("interpolation.json"), &text)?)
}
