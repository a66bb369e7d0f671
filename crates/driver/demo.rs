//! `hone train` with no data: the demonstration on built-in film reviews, and what it prints.

use crate::args::TrainArgs;
use crate::device::{Device, on_device};
use crate::folder;
use crate::{Exit, fetch, interrupt, out, settings, train};
use anyhow::{Context, Result, bail};
use hone_bert::Config;
use hone_experiment::{Demo, DemoReport, Judged, KINDS};
use hone_kernels::Backend;
use hone_report::{JsonLines, Progress, Table, duration, say};
use hone_train::{Ending, Event, Job, Output, Sink, Work, peak_memory, task_of, write_beside};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const MODEL: &str = "minilm";

/// Small data and a short run ask for higher rates than the usual ones.
fn recipe(args: TrainArgs, data: &Path) -> TrainArgs {
    TrainArgs {
        model: Some(MODEL.to_owned()),
        data: Some(data.to_owned()),
        valid: Some("none".to_owned()),
        epochs: Some(4.0),
        batch_size: Some(16),
        lr: Some(1e-4),
        head_lr: Some(1e-3),
        new_head: true,
        recipe: Some("standard".to_owned()),
        ..args
    }
}

/// What may be said without naming data: where it runs and where it writes.
fn check(args: &TrainArgs) -> Result<()> {
    let Value::Object(typed) = serde_json::to_value(args)? else {
        bail!("options must form an object");
    };
    let allowed = ["out", "seed", "device", "precision", "threads"];
    if let (true, Some(out)) = (args.resume, &args.out) {
        bail!(
            "{}: no run is here to go on with (no run.toml)",
            out.display()
        );
    }
    if args.resume {
        bail!("--resume: the demonstration is not resumed; it takes two minutes");
    }
    match typed.keys().find(|k| !allowed.contains(&k.as_str())) {
        None => Ok(()),
        Some(key) => bail!(
            "--data is missing: --{} asks for a run of your own; name a file or folder of labelled texts \
             (without any option this is a demonstration)",
            key.replace('_', "-")
        ),
    }
}

/// Runs it.
pub fn run(args: TrainArgs, device: &Device) -> Result<Exit> {
    check(&args)?;
    let started = Instant::now();
    let model = fetch::model_folder(MODEL)?;
    let folder = folder::open(&args, Path::new("demo"), Work::RUN)?;
    let demo = Demo::write(&folder.join("data"))?;
    let named = args.out.is_some();
    let args = recipe(args, demo.folder());
    let data = settings::data_source(&args, demo.folder())?.read()?;
    let config = Config::read(&Config::path_in(&model))?;
    let options = settings::options(&args, &config, task_of(data.kind), 0)?;
    let job = Job {
        truncate: settings::truncate(&args.columns)?,
        out: Some(&folder),
        frozen: settings::frozen(&args),
        ..Job::new(&model, &data, &options)
    };
    train::record(&folder, &args, &options, None, MODEL)?;
    device.tell();
    let exit =
        on_device!(device, backend => execute(backend, &demo, &job, &folder, args.json, started))?;
    if exit == Exit::Done && !named {
        folder::point_latest(&folder);
    }
    Ok(exit)
}

/// The run from scratch says how far it is and nothing else: its particulars are those of the run after it.
struct Quiet(Progress);

impl Sink for Quiet {
    fn event(&mut self, event: &Event) {
        if let Event::Step(_) | Event::Forecast { .. } = event {
            self.0.event(event);
        }
    }
}

fn execute<B: Backend>(
    backend: &Arc<B>,
    demo: &Demo,
    job: &Job<'_>,
    folder: &Output,
    json: bool,
    started: Instant,
) -> Result<Exit> {
    let stop = interrupt::watch()?;
    say!(
        "A demonstration, not a benchmark: {} short film reviews written for this program, {} to learn from and {} \
         to be judged by. The same network learns twice, first from scratch.",
        demo.train.len() + demo.test.len(),
        demo.train.len(),
        demo.test.len()
    );
    let log = folder.join("metrics.jsonl");
    let lines = JsonLines::open(&log).with_context(|| log.display().to_string())?;
    let mut quiet = Quiet(Progress::new());
    let mut tuned: Vec<Box<dyn Sink>> = vec![Box::new(Progress::new()), Box::new(lines)];
    let report = demo.run(backend, job, [&mut quiet, &mut tuned], stop)?;
    drop((quiet, tuned));
    if report.ending == Ending::Interrupted {
        say!("interrupted; nothing of the demonstration is kept");
        folder.give_back(&["data", "checkpoints"]);
        return Ok(Exit::Interrupted);
    }
    let object = as_json(demo, &report);
    write_beside(&folder.join("demo.json"), &format!("{object:#}\n"))?;
    let peak = peak_memory(backend.as_ref());
    match json {
        true => out::line(&object)?,
        false => out::text(as_text(demo, &report, job, folder, started, peak))?,
    }
    Ok(Exit::Done)
}

fn kind_table(demo: &Demo, report: &DemoReport) -> Table {
    let mut headings = vec!["test reviews", "number"];
    headings.extend(report.contenders.iter().map(|c| c.name));
    let mut table = Table::new(&headings);
    for kind in KINDS {
        let is = |i: usize| demo.test[i].kind == kind;
        let number = (0..demo.test.len()).filter(|&i| is(i)).count();
        let mut row = vec![kind.to_owned(), number.to_string()];
        row.extend(
            report
                .contenders
                .iter()
                .map(|c| format!("{:.3}", c.accuracy(is).0)),
        );
        table.row(row);
    }
    table
}

fn as_text(
    demo: &Demo,
    report: &DemoReport,
    job: &Job<'_>,
    folder: &Path,
    started: Instant,
    peak: Option<u64>,
) -> String {
    let mut table = Table::new(&["model", "test accuracy", "95 % interval", "seconds"]);
    for c in &report.contenders {
        let (share, [low, high], _) = c.accuracy(|_| true);
        table.row([
            c.name.to_owned(),
            format!("{share:.3}"),
            format!("{low:.3} to {high:.3}"),
            format!("{:.1}", c.seconds),
        ]);
    }
    let quote = |j: &&Judged| {
        let review = &demo.test[j.index];
        format!(
            "  [{}] \"{}\"\n      {} at {:.0} %{}\n",
            review.kind,
            review.text,
            j.label,
            100.0 * j.probability,
            if j.right {
                String::new()
            } else {
                format!(", but it is {}", review.label)
            }
        )
    };
    let list = |all: Vec<&Judged>| -> String { all.iter().map(quote).collect() };
    let o = job.options;
    let shown = folder.display();
    format!(
        "\n{table}\nAccuracy by kind of review:\n{}\nRight, where TF-IDF is misled by single words:\n{}\nWrong, though sure:\n{}\n\
         Two learning rates: {:e} for the pre-trained body, {:e} for the new classification layer.\n\
         {} in all{}. Model: {shown}; the reviews: {shown}/data.\n\n\
         Try it:\n\n    cargo run --release -- predict \"Not bad at all\"\n\n\
         The same on your own texts, a CSV with columns text and label:\n\n    \
         cargo run --release -- train --model {MODEL} --data reviews.csv\n",
        kind_table(demo, report),
        list(report.right(&demo.test, 3)),
        list(report.wrong(&demo.test, 3)),
        o.lr,
        o.head_lr,
        duration(started.elapsed().as_secs_f64()),
        peak.map_or(String::new(), |n| format!(
            ", {} of memory at most",
            hone_report::bytes(n)
        )),
    )
}

fn as_json(demo: &Demo, report: &DemoReport) -> Value {
    let contenders: Vec<Value> = report
        .contenders
        .iter()
        .map(|c| {
            let (accuracy, interval, rows) = c.accuracy(|_| true);
            let kinds: serde_json::Map<String, Value> = KINDS
                .iter()
                .map(|kind| {
                    let (accuracy, interval, rows) = c.accuracy(|i| demo.test[i].kind == *kind);
                    let cell = json!({"accuracy": accuracy, "interval": interval, "rows": rows});
                    ((*kind).to_owned(), cell)
                })
                .collect();
            json!({
                "name": c.name, "accuracy": accuracy, "interval": interval, "rows": rows,
                "seconds": c.seconds, "kinds": kinds,
            })
        })
        .collect();
    json!({"contenders": contenders, "summary": report.summary})
}
