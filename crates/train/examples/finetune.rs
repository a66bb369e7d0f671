//! A whole run: a model folder and labelled texts in, figures and, where a folder is named, a fine-tuned model out.
//!
//!     cargo run -p hone-train --example finetune -- [MODEL FILE [OUT]]
//!
//! `MODEL` is a Hugging Face folder, `FILE` has the columns text and label; without them a tiny model learns texts that are
//! made up here. `OUT` must be new or empty.

use hone_data::{Cell, Columns, LabelSet, Part, Row, TaskKind};
use hone_kernels_cpu::CpuBackend;
use hone_train::{DataSource, Event, Job, JobData, Options, Output, Sink, ValidSource, Work};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

type Failure = Box<dyn std::error::Error>;

/// Prints what a person would want to hear; a real program draws a bar, writes a log, or sets `stop`.
struct Lines;

impl Sink for Lines {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Note { text } => println!("{text}"),
            Event::Warning { text } => println!("warning: {text}"),
            Event::Step(step) if step.step % 40 == 0 => {
                println!(
                    "step {} of {}: loss {:.4}",
                    step.step, step.steps, step.loss
                );
            }
            _ => {}
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (model, data, options, out) = match &args[..] {
        [] => {
            let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/trajectory");
            // It knows nothing yet and can be moved far.
            let options = Options {
                max_steps: Some(200),
                batch_size: 16,
                lr: 3e-3,
                head_lr: 1e-2,
                ..Options::default()
            };
            (tiny, in_memory()?, options, None)
        }
        [model, file, out @ ..] if out.len() < 2 => {
            let data = DataSource {
                data: file.clone(),
                valid: ValidSource::Fraction(0.1),
                test: None,
                columns: Columns::default(),
                kind: None,
                split_seed: 0,
            };
            (model.clone(), data.read()?, Options::default(), out.first())
        }
        _ => return Err("nothing, MODEL FILE or MODEL FILE OUT was expected".into()),
    };
    // Who may not have the folder is told before any work is done.
    let out = out.map(|out| Output::new(out, Work::RUN)).transpose()?;
    let job = Job {
        out: out.as_ref(),
        ..Job::new(&model, &data, &options)
    };
    let stop = AtomicBool::new(false);
    let done = job.run(Arc::new(CpuBackend::new(1)), &mut Lines, &stop)?;
    if let Some(valid) = &done.summary.valid {
        println!("{}", valid.metrics.headline());
    }
    if let Some(out) = &out {
        println!("model: {}", out.display());
    }
    Ok(())
}

/// Texts of a few words that the tiny model's vocabulary has: every fifth is held out.
fn in_memory() -> Result<JobData, Failure> {
    let mut parts = [Vec::new(), Vec::new()];
    let praise = ["bright", "warm", "rich", "sharp"].map(|word| (word, "good"));
    let blame = ["slow", "dull", "cold", "rough"].map(|word| (word, "bad"));
    let mut number = 0;
    for noun in ["film", "plot", "actor", "music"] {
        for how in ["", "never ", "always "] {
            for (word, label) in praise.iter().chain(&blame) {
                // Who says never means the other.
                let label = match (how, *label) {
                    ("never ", "good") => "bad",
                    ("never ", _) => "good",
                    (_, label) => label,
                };
                number += 1;
                let mut row = Row::text(number, format!("{noun} was {how}{word}"));
                row.label = Cell::Text(label.to_owned());
                parts[usize::from(number % 5 == 0)].push(row);
            }
        }
    }
    let [train, valid] = parts.map(|rows| Part {
        path: "texts in memory".into(),
        sha256: String::new(),
        rows,
        classes: Vec::new(),
        notes: Vec::new(),
    });
    let kind = TaskKind::Classify;
    Ok(JobData {
        kind,
        labels: LabelSet::of(&train, kind, &[])?,
        names: Vec::new(),
        train,
        valid: Some(valid),
        test: None,
        split: None,
        notes: Vec::new(),
        warnings: Vec::new(),
    })
}
