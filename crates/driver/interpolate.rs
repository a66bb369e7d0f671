//! `hone interpolate`: weights between a pre-trained model and its fine-tuned one, the task's figure and what is kept
//! at each place, and the model of one place.

use crate::args::{ColumnArgs, DeviceArgs};
use crate::device::{self, Device};
use crate::knowledge::{self, Base, KnowledgeArgs, Read};
use crate::progress::Stage;
use crate::{Exit, infer, interrupt, out, report, settings};
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use hone_bert::{Pool, weight_files};
use hone_data::sha256_file;
use hone_experiment::knowledge::{Blend, Keep, Known, Measured, Measures, frontier, layer_cka};
use hone_experiment::{Answers, answers, compare};
use hone_kernels::Backend;
use hone_report::{Curve, Curves, Table, count, say};
use hone_train::metrics::{self, Metrics};
use hone_train::{Examples, save_folder, write_beside};
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
    #[arg(long, value_name = "PATH")]
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
    /// How --data is read; the other files have their columns under the usual names
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Where it runs
    #[command(flatten)]
    pub machine: DeviceArgs,
}

/// Rows the task was measured on.
#[derive(Debug, Clone, Serialize)]
struct Rows {
    file: PathBuf,
    sha256: String,
    rows: usize,
    /// Whether alpha was chosen by them.
    used_for_selection: bool,
}

/// The task's figure at one place.
#[derive(Debug, Clone, Serialize)]
struct TaskFigure {
    metric: &'static str,
    value: f64,
    /// Minus that of the fine-tuned model, on the same rows.
    against_tuned: f64,
    /// Its 95 % interval (Tango's, or a paired bootstrap).
    against_tuned_interval: [f64; 2],
    metrics: Metrics,
}

/// One place.
#[derive(Debug, Clone, Serialize)]
struct Point {
    alpha: f64,
    task: Option<TaskFigure>,
    /// Before: the base; after: here.
    against_base: Vec<Measured>,
    /// Before: the fine-tuned model; after: here.
    against_tuned: Vec<Measured>,
    /// Mean linear CKA of the layers with the base's.
    cka: Option<f64>,
    /// Whether no other place is better in one figure and as good in all.
    frontier: bool,
}

/// Where the model is measured and which place is wanted.
struct Plan {
    alphas: Vec<f64>,
    keep: Option<Keep>,
    /// The place that is written, where it needs no choice.
    alpha: Option<f64>,
    rule: String,
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
pub fn run(args: InterpolateArgs) -> Result<Exit> {
    if !args.dir.is_dir() {
        bail!("{}: no such folder", args.dir.display());
    }
    let plan = plan(&args)?;
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
    match device::choose(&args.machine)? {
        Device::Cpu(backend) => execute(backend, &args, &plan),
    }
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
    let of =
        |role: &str| summary.and_then(|s| s["hashes"][role].as_str()) == Some(rows.sha256.as_str());
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

/// What is measured at each place.
struct Measuring<'a> {
    examples: Option<&'a Examples>,
    measures: &'a Measures,
    text: Option<&'a Examples>,
    threads: usize,
    seed: u64,
}

/// What was found at one place.
struct Found {
    answers: Option<Answers>,
    known: Known,
    cka: Option<f64>,
}

impl Measuring<'_> {
    /// Measures the model where it stands; `None` where `progress`, which hears the share, asked to stop.
    fn at<B: Backend>(
        &self,
        blend: &Blend<B>,
        progress: &mut dyn FnMut(f64) -> bool,
    ) -> Result<Option<Found>> {
        // In tokens read; probes are fitted too, and representations need both encoders and their products.
        let tokens = |e: Option<&Examples>| e.map_or(0, Examples::tokens) as f64;
        let own = self.measures.similarity.iter().map(|p| p.texts.tokens());
        let sets = self.measures.probes.iter().map(|p| 2 * p.texts.tokens());
        let [task, knowledge, text] = [
            tokens(self.examples),
            own.chain(sets).sum::<usize>() as f64,
            3.0 * tokens(self.text),
        ];
        let total = (task + knowledge + text).max(1.0);
        let model = blend.model();
        let answers = match self.examples {
            None => None,
            Some(examples) => {
                let rows = examples.len().max(1) as f64;
                let found = answers(model, examples, |done| {
                    progress(task * done as f64 / rows / total)
                })?;
                match found {
                    None => return Ok(None),
                    found => found,
                }
            }
        };
        let known = self
            .measures
            .of(model, |share| progress((task + knowledge * share) / total))?;
        let Some(known) = known else {
            return Ok(None);
        };
        let cka = match self.text {
            None => None,
            Some(texts) => {
                let rows = texts.len().max(1) as f64;
                let found = layer_cka(blend.base(), model, texts, self.threads, |done| {
                    progress((task + knowledge + text * done as f64 / rows) / total)
                })?;
                match found {
                    None => return Ok(None),
                    Some(layers) => Some(report::mean(&layers)),
                }
            }
        };
        Ok(Some(Found {
            answers,
            known,
            cka,
        }))
    }

    fn point(&self, task: hone_bert::Task, alpha: f64, here: &Found, ends: [&Found; 2]) -> Point {
        let [base, tuned] = ends;
        let figure = here
            .answers
            .as_ref()
            .zip(tuned.answers.as_ref())
            .map(|(a, t)| {
                let metric = metrics::names(task)[0];
                let value = a.metrics.value(metric).unwrap_or(f64::NAN);
                let found = compare(task, t, a, self.seed);
                let shares = found.shares.filter(|_| metric == "accuracy");
                let paired = shares.map(|s| (s.difference, s.interval));
                let paired = paired.or(found.metric.map(|m| (m.difference, m.interval)));
                let (difference, interval) = paired.unwrap_or((f64::NAN, [f64::NAN; 2]));
                TaskFigure {
                    metric,
                    value,
                    against_tuned: difference,
                    against_tuned_interval: interval,
                    metrics: a.metrics.clone(),
                }
            });
        Point {
            alpha,
            task: figure,
            against_base: self.measures.change(&base.known, &here.known),
            against_tuned: self.measures.change(&tuned.known, &here.known),
            cka: here.cka,
            frontier: false,
        }
    }
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
        &opened.tokenizer,
        &opened.model.config,
        args.columns.max_length,
        settings::truncate(&args.columns)?,
        threads,
    )?;
    // What the encoder keeps, not what the head reads of it: one way of pooling, the field's usual one.
    asked.measures.pools = vec![Pool::Mean];
    let measuring = Measuring {
        examples: examples.as_ref(),
        measures: &asked.measures,
        text: asked.text.as_ref(),
        threads,
        seed: args.knowledge.seed,
    };
    let task = opened.model.task;
    let mut blend = Blend::new(start, opened.model)?;
    let Some(mut points) = walk(&mut blend, &measuring, task, &plan.alphas)? else {
        say!("interrupted; nothing was written");
        return Ok(Exit::Interrupted);
    };
    mark(&mut points);
    let kept = match plan.keep {
        None => plan.alpha,
        Some(keep) => choose(keep, &points),
    };
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

/// Measures all places: both ends first, which the others are compared with.
fn walk<B: Backend>(
    blend: &mut Blend<B>,
    measuring: &Measuring<'_>,
    task: hone_bert::Task,
    alphas: &[f64],
) -> Result<Option<Vec<Point>>> {
    if alphas.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let stop = interrupt::watch()?;
    let stage = Stage::new();
    let middle = alphas.iter().copied().filter(|a| *a > 0.0 && *a < 1.0);
    let order: Vec<f64> = [0.0, 1.0].into_iter().chain(middle).collect();
    let mut found = Vec::new();
    for (k, &alpha) in order.iter().enumerate() {
        blend.set(alpha)?;
        let here = measuring.at(blend, &mut |share| {
            stage.at("interpolating", (k as f64 + share) / order.len() as f64);
            !stop.load(Ordering::SeqCst)
        })?;
        let Some(here) = here else {
            stage.end();
            return Ok(None);
        };
        found.push((alpha, here));
    }
    stage.end();
    let ends = [&found[0].1, &found[1].1];
    let mut points: Vec<Point> = found
        .iter()
        .map(|(alpha, here)| measuring.point(task, *alpha, here, ends))
        .collect();
    points.sort_by(|a, b| a.alpha.total_cmp(&b.alpha));
    Ok(Some(points))
}

/// The figures that count, the larger the better: the task's, and each measure's; representations only where nothing
/// says what the encoder can do.
fn figures(point: &Point) -> Vec<(String, f64)> {
    let mut all = Vec::new();
    if let Some(t) = &point.task {
        all.push((t.metric.to_owned(), t.value));
    }
    for m in &point.against_base {
        all.push((format!("{} {}", m.measure, m.name), m.change.after));
    }
    if let (true, Some(cka)) = (point.against_base.is_empty(), point.cka) {
        all.push(("CKA".to_owned(), cka));
    }
    all
}

fn mark(points: &mut [Point]) {
    let all: Vec<Vec<f64>> = points
        .iter()
        .map(|p| figures(p).into_iter().map(|f| f.1).collect())
        .collect();
    for (point, on) in points.iter_mut().zip(frontier(&all)) {
        point.frontier = on;
    }
}

fn choose(keep: Keep, points: &[Point]) -> Option<f64> {
    let alphas: Vec<f64> = points.iter().map(|p| p.alpha).collect();
    let tasks = points.iter().filter_map(|p| p.task.as_ref());
    let figures: Vec<f64> = tasks.clone().map(|t| t.value).collect();
    let metric = tasks.map(|t| t.metric).next()?;
    keep.choose(metric, &alphas, &figures).map(|i| alphas[i])
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
    save_folder(blend.model(), dir, out)?;
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

fn picture(points: &[Point], dir: &Path) -> String {
    let mut curves: Vec<Curve> = Vec::new();
    for p in points {
        let mut all = figures(p);
        if let (false, Some(cka)) = (p.against_base.is_empty(), p.cka) {
            all.push(("CKA".to_owned(), cka));
        }
        for (name, value) in all {
            match curves.iter_mut().find(|c| c.name == name) {
                Some(curve) => curve.points.push((p.alpha, value)),
                None => curves.push(Curve {
                    name,
                    points: vec![(p.alpha, value)],
                }),
            }
        }
    }
    let picture = Curves {
        title: format!("from the base (0) to {} (1)", dir.display()),
        x: "alpha".to_owned(),
        y: "figure".to_owned(),
        curves,
        ..Curves::default()
    };
    picture.to_svg()
}

/// What a person reads.
struct Told<'a> {
    args: &'a InterpolateArgs,
    plan: &'a Plan,
    base: &'a Base,
    files: &'a [Read],
    rows: Option<&'a Rows>,
    points: &'a [Point],
    kept: Option<f64>,
}

impl Told<'_> {
    fn text(&self) -> String {
        let mut text = String::new();
        if !self.points.is_empty() {
            text += &format!(
                "alpha 0: {}; alpha 1: {}\n\n{}\n",
                self.base.name,
                self.args.dir.display(),
                self.table()
            );
            text += &self.notes();
        }
        if let Some(kept) = self.kept {
            text += &self.chosen(kept);
        }
        if let (Some(out), Some(alpha)) = (&self.args.out, self.kept) {
            let out = out.display();
            text += &format!(
                "model of alpha {alpha}: {out}\ntry: hone predict --model {out} \"Not bad at all\"\n"
            );
        }
        if let Some(path) = &self.args.svg {
            text += &format!("picture: {}\n", path.display());
        }
        text
    }

    fn table(&self) -> Table {
        let first = &self.points[0];
        let mut headings = vec!["alpha".to_owned()];
        headings.extend(first.task.as_ref().map(|t| t.metric.to_owned()));
        let names = first.against_base.iter();
        headings.extend(names.map(|m| format!("{} {}", m.measure, m.name)));
        headings.extend(first.cka.map(|_| "CKA".to_owned()));
        headings.push("frontier".to_owned());
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        let mut table = Table::new(&headings);
        for p in self.points {
            let mut row = vec![label(p.alpha)];
            row.extend(p.task.as_ref().map(|t| format!("{:.4}", t.value)));
            let values = p.against_base.iter();
            row.extend(values.map(|m| format!("{:.4}", m.change.after)));
            row.extend(p.cka.map(|c| format!("{c:.4}")));
            row.push(if p.frontier { "*" } else { "" }.to_owned());
            table.row(row);
        }
        table
    }

    fn notes(&self) -> String {
        let mut text = String::new();
        if let Some(rows) = self.rows {
            text += &format!(
                "{}: {} rows of {}; the head is the fine-tuned one everywhere, so near alpha 0 this says how old \
                 features suit it, not what they hold\n",
                self.points[0].task.as_ref().map_or("task", |t| t.metric),
                count(rows.rows),
                rows.file.display()
            );
        }
        for m in &self.points[0].against_base {
            text += &format!("{}, {} rows\n", report::title(m), count(m.change.rows));
        }
        if let Some(f) = self.files.iter().find(|f| f.measure == "text") {
            text += &format!(
                "CKA: mean over the layers, with the base, over {} word pieces of {}\n",
                count(f.tokens),
                knowledge::short(&f.file)
            );
        }
        let of: Vec<String> = figures(&self.points[0]).into_iter().map(|f| f.0).collect();
        text + &format!(
            "frontier (*): no other alpha is better in one of {} and as good in all\n",
            of.join(", ")
        )
    }

    /// How the chosen place differs from the fine-tuned model, with intervals.
    fn chosen(&self, kept: f64) -> String {
        let Some(p) = self.points.iter().find(|p| p.alpha == kept) else {
            return String::new();
        };
        let interval = |x: f64, i: [f64; 2]| format!("{x:+.4} [{:+.4}, {:+.4}]", i[0], i[1]);
        let mut parts = Vec::new();
        if let Some(t) = &p.task {
            parts.push(format!(
                "{} {}",
                t.metric,
                interval(t.against_tuned, t.against_tuned_interval)
            ));
        }
        for m in &p.against_tuned {
            let c = &m.change;
            let found = interval(c.change, c.change_interval);
            parts.push(format!("{} {} {found}", m.measure, m.name));
        }
        let mut text = format!(
            "\nalpha {} ({}) against the fine-tuned model, 95 % intervals on the same rows: {}\n",
            label(kept),
            self.plan.rule,
            parts.join("; ")
        );
        if let (Some(_), Some(rows)) = (self.plan.keep, self.rows) {
            text += &format!(
                "alpha was chosen by the {} rows of {}: judge the result on other rows (hone eval)\n",
                count(rows.rows),
                rows.file.display()
            );
        }
        text
    }
}

/// A place without a tail of digits.
fn label(alpha: f64) -> String {
    let text = format!("{alpha:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
