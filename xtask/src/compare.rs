//! `cargo xtask compare`: PyTorch and Hone by turns on the same work.
//!
//! On a shared machine a figure alone says little, so opponents take turns (A B B A …), medians of useful
//! (non-padding) tokens a second are compared, and whoever reads the table reads ratios.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

#[derive(clap::Args)]
pub struct Args {
    /// A Python with torch and transformers
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// The binary, built with `cargo build --release`
    #[arg(long, default_value = "target/release/hone")]
    hone: PathBuf,
    /// Turns of each opponent
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// MiniLM's folder; with --sst2, real texts are compared as well
    #[arg(long)]
    model: Option<PathBuf>,
    /// Folder with SST-2's train.csv (columns text, label)
    #[arg(long)]
    sst2: Option<PathBuf>,
    /// Only works whose name contains this (also: curves, start)
    #[arg(long)]
    only: Option<String>,
    /// Only opponents whose name contains this (grouped, dynamic, max)
    #[arg(long)]
    rival: Option<String>,
    /// Arithmetic of both: products in bfloat16 are PyTorch's autocast there
    #[arg(long, value_parser = ["f32", "bf16"], default_value = "f32")]
    precision: String,
    /// Write all measurements here as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Something to measure: a name, and each opponent's command.
struct Work {
    name: String,
    hone: Vec<String>,
    rivals: Vec<(String, Vec<String>)>,
}

/// One opponent's turns.
#[derive(Default)]
struct Turns {
    rates: Vec<f64>,
    memory: Vec<f64>,
    /// Share of the multiply-add peak, where the opponent measures it.
    peak: Vec<f64>,
    planned: Vec<f64>,
    versions: String,
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn works(args: &Args, scratch: &Path) -> Vec<Work> {
    let mut all = Vec::new();
    for (shape, batch, length, hone_steps, rival_steps) in [
        ("minilm", 32, 32, 8, 5),
        ("minilm", 32, 128, 3, 3),
        ("base", 16, 128, 2, 2),
        ("minilm", 4, 512, 3, 3),
    ] {
        let size = format!("--shape {shape} --batch {batch} --length {length}");
        all.push(Work {
            name: format!("{shape} {batch}x{length}"),
            hone: words(&format!("bench {size} --steps {hone_steps} --json")),
            rivals: vec![(
                "PyTorch".to_owned(),
                words(&format!("step {size} --steps {rival_steps}")),
            )],
        });
    }
    if let (Some(model), Some(sst2)) = (&args.model, &args.sst2) {
        let data = sst2.join("train.csv");
        let (model, data) = (model.display(), data.display());
        let hone = format!(
            "train --model {model} --data {data} --valid none --max-steps 100 --max-length 128 --lr 5e-5 \
             --head-lr 5e-5 --out {}/run --json",
            scratch.display()
        );
        let rival = |padding: &str, steps: usize| {
            let command =
                format!("tune --model {model} --data {data} --padding {padding} --steps {steps}");
            (format!("PyTorch, {padding}"), words(&command))
        };
        all.push(Work {
            name: "SST-2, 32 texts".to_owned(),
            hone: words(&hone),
            rivals: vec![
                rival("grouped", 100),
                rival("dynamic", 60),
                rival("max", 12),
            ],
        });
    }
    all.retain(|work| args.wants(&work.name));
    if let Some(only) = &args.rival {
        for work in &mut all {
            work.rivals.retain(|(name, _)| name.contains(only));
        }
        all.retain(|work| !work.rivals.is_empty());
    }
    all
}

impl Args {
    fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| name.contains(only))
    }
}

pub fn run(args: &Args) -> Result<()> {
    if !args.hone.is_file() {
        bail!(
            "{} is missing: run `cargo build --release` first",
            args.hone.display()
        );
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/rival.py");
    let scratch = std::env::temp_dir().join(format!("hone-compare-{}", std::process::id()));
    let rival_in = |precision: &str, command: &[String]| {
        let mut c = Command::new(&args.python);
        c.arg(&script).args(command);
        if precision == "bf16" {
            c.arg("--bf16");
        }
        object(c)
    };
    let rival = |command: &[String]| rival_in(&args.precision, command);
    let hone = |command: &[String]| {
        let _ = std::fs::remove_dir_all(&scratch);
        std::fs::create_dir_all(&scratch)?;
        let mut c = Command::new(&args.hone);
        // PyTorch computes on the processor here.
        c.args(command)
            .args(["--device", "cpu", "--precision", &args.precision]);
        let mut result = object(c)?;
        let log = scratch.join("run/metrics.jsonl");
        if log.is_file() {
            result["tokens_per_s"] = json!(settled_rate(&log, &result)?);
        }
        Ok::<Value, anyhow::Error>(result)
    };
    let mut record = Vec::new();
    let works = works(args, &scratch);
    if !works.is_empty() {
        println!(
            "| work | opponent | tokens/s | Hone tokens/s | ratio | Hone's share of peak | memory, ratio | plan off by |"
        );
        println!("|---|---|---|---|---|---|---|---|");
    }
    for work in works {
        let mut own = Turns::default();
        let mut theirs: Vec<Turns> = work.rivals.iter().map(|_| Turns::default()).collect();
        for turn in 0..args.repeats {
            let mut order: Vec<Option<usize>> = std::iter::once(None)
                .chain((0..work.rivals.len()).map(Some))
                .collect();
            if turn % 2 == 1 {
                order.reverse();
            }
            for who in order {
                match who {
                    None => own.add(&hone(&work.hone)?)?,
                    Some(k) => theirs[k].add(&rival(&work.rivals[k].1)?)?,
                }
            }
        }
        for ((name, _), rival) in work.rivals.iter().zip(&theirs) {
            let (a, b) = (median(&own.rates), median(&rival.rates));
            println!(
                "| {} | {name} ({}) | {b:.0} | {a:.0} | **{:.2}×** | {} | {:.2}× | {} |",
                work.name,
                rival.versions,
                a / b,
                percent(&own.peak),
                median(&own.memory) / median(&rival.memory),
                match (own.planned.is_empty(), own.memory.is_empty()) {
                    (false, false) => format!(
                        "{:+.1} %",
                        100.0 * (median(&own.memory) / median(&own.planned) - 1.0)
                    ),
                    _ => "–".to_owned(),
                }
            );
            record.push(json!({
                "work": work.name, "opponent": name, "versions": rival.versions,
                "hone_tokens_per_s": own.rates, "opponent_tokens_per_s": rival.rates,
                "hone_peak_fraction": own.peak, "hone_memory_bytes": own.memory,
                "hone_planned_bytes": own.planned, "opponent_memory_bytes": rival.memory,
            }));
        }
    }
    if let (Some(model), Some(sst2)) = (&args.model, &args.sst2) {
        if args.wants("curves") || args.wants("start") {
            std::fs::create_dir_all(&scratch)?;
            rival(&words(&format!(
                "start --model {} --data {} --out {}",
                model.display(),
                sst2.join("train.csv").display(),
                scratch.join("start").display()
            )))?;
        }
        if args.wants("curves") {
            record.push(curves(args, sst2, &scratch, &rival_in)?);
        }
        if args.wants("start") {
            record.push(start(args, &scratch)?);
        }
    }
    let _ = std::fs::remove_dir_all(&scratch);
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&record)?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Steps at the start of a run that do not count, for either opponent (`SKIP` of `rival.py`).
const SKIP: u64 = 3;

/// Tokens a second of a run after its first steps, words settled at its end included.
fn settled_rate(log: &Path, summary: &Value) -> Result<f64> {
    let events = std::fs::read_to_string(log)?;
    let skipped = events
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|event| event["event"] == "step" && event["step"] == SKIP)
        .with_context(|| format!("{}: no step {SKIP}", log.display()))?;
    let number = |value: &Value| value.as_f64().context("a summary without a figure");
    let tokens = number(&summary["train_tokens"])?;
    let seconds = tokens / number(&summary["tokens_per_s"])?;
    Ok((tokens - number(&skipped["train_tokens"])?)
        / (seconds - number(&skipped["train_seconds"])?))
}

/// Losses of a hundred steps without dropout, in the file's order, both from one folder with a head; in bf16 how far each
/// is from PyTorch's in f32.
fn curves(
    args: &Args,
    sst2: &Path,
    scratch: &Path,
    rival: &dyn Fn(&str, &[String]) -> Result<Value>,
) -> Result<Value> {
    const STEPS: usize = 100;
    let (folder, out) = (scratch.join("start"), scratch.join("curve"));
    let data = sst2.join("train.csv");
    let theirs = |precision: &str| -> Result<Vec<f64>> {
        let command = format!(
            "curve --model {} --data {} --steps {STEPS}",
            folder.display(),
            data.display()
        );
        let found = rival(precision, &words(&command))?;
        let losses = found["losses"].as_array().into_iter().flatten();
        let losses: Vec<f64> = losses.filter_map(Value::as_f64).collect();
        match losses.len() {
            STEPS => Ok(losses),
            n => bail!("{n} losses instead of {STEPS}"),
        }
    };
    let single = theirs("f32")?;
    let mut c = Command::new(&args.hone);
    c.args(words(&format!(
        "train --model {} --data {} --valid none --max-steps {STEPS} --lr 5e-5 --head-lr 5e-5 --no-shuffle \
         --dropout 0 --attention-dropout 0 --head-dropout 0 --device cpu --precision {} --out {} --json",
        folder.display(),
        data.display(),
        args.precision,
        out.display()
    )));
    object(c)?;
    let events = std::fs::read_to_string(out.join("metrics.jsonl"))?;
    let own: Vec<f64> = events
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["event"] == "step")
        .filter_map(|event| event["loss"].as_f64())
        .collect();
    if own.len() != STEPS {
        bail!("{} losses instead of {STEPS}", own.len());
    }
    println!(
        "\nLosses of {STEPS} steps without dropout, first {:.4}, last {:.4}: {}.",
        own[0],
        own[STEPS - 1],
        apart(&own, &single)
    );
    let mut record = json!({"losses": own, "opponent_losses": single});
    if args.precision != "f32" {
        let rounded = theirs(&args.precision)?;
        println!(
            "PyTorch in {}: {}.",
            args.precision,
            apart(&rounded, &single)
        );
        record["opponent_rounded_losses"] = json!(rounded);
    }
    Ok(record)
}

/// How far losses are from PyTorch's in f32.
fn apart(losses: &[f64], single: &[f64]) -> String {
    let all = losses.iter().zip(single).map(|(a, b)| (a - b).abs());
    let squares: f64 = all.clone().map(|d| d * d).sum();
    format!(
        "at most {:.1e} from PyTorch's in f32, {:.1e} root mean square",
        all.fold(0.0, f64::max),
        (squares / single.len() as f64).sqrt()
    )
}

/// From the start of the process to the first forward pass and its printed result.
fn start(args: &Args, scratch: &Path) -> Result<Value> {
    let folder = scratch.join("start");
    let mut seconds = Vec::new();
    for _ in 0..args.repeats {
        let mut c = Command::new(&args.hone);
        c.args(["predict", "--device", "cpu", "--model"])
            .arg(&folder);
        c.arg("Not bad at all");
        let start = Instant::now();
        let out = c.output()?;
        seconds.push(start.elapsed().as_secs_f64());
        if !out.status.success() {
            bail!("{}", String::from_utf8_lossy(&out.stderr).trim());
        }
    }
    println!(
        "From the start of the process to the label of one text: {:.2} s.",
        median(&seconds)
    );
    Ok(json!({"start_seconds": seconds}))
}

/// The JSON object a command prints, on the last line of its standard output.
fn object(mut command: Command) -> Result<Value> {
    let shown = format!("{command:?}");
    let out = command.output().with_context(|| shown.clone())?;
    if !out.status.success() {
        bail!("{shown}: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    let text = String::from_utf8_lossy(&out.stdout);
    // A summary is one object over several lines, a measurement one line.
    serde_json::from_str(text.trim())
        .with_context(|| format!("{shown} printed no JSON object: {}", text.trim()))
}

impl Turns {
    fn add(&mut self, one: &Value) -> Result<()> {
        let number = |key: &str| one[key].as_f64();
        let rate = number("tokens_per_s").context("no tokens_per_s")?;
        self.rates.push(rate);
        self.memory.extend(number("peak_memory_bytes"));
        self.peak.extend(number("peak_fraction"));
        self.planned.extend(number("planned_memory_bytes"));
        if let (Some(torch), Some(transformers)) =
            (one["torch"].as_str(), one["transformers"].as_str())
        {
            self.versions = format!("{torch}, transformers {transformers}");
        }
        Ok(())
    }
}

fn percent(shares: &[f64]) -> String {
    match shares.is_empty() {
        true => "–".to_owned(),
        false => format!("{:.0} %", 100.0 * median(shares)),
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}
