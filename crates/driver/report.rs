//! `hone report`: what a run did, and what its encoder forgot.

use crate::args::DeviceArgs;
use crate::device::{self, on_device};
use crate::knowledge::{self, Asked, Base, KnowledgeArgs};
use crate::progress::Stage;
use crate::report_run::RunReport;
use crate::{Exit, infer, interrupt, out, settings};
use anyhow::{Context, Result, bail};
use clap::Args;
use hone_bert::Model;
use hone_data::Truncate;
use hone_experiment::knowledge::{
    Known, LayerCka, Measured, Moved, layer_cka, mean_cka, weights_moved,
};
use hone_kernels::Backend;
use hone_report::{Table, say};
use hone_train::{Tokenising, write_beside};
use serde::Serialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// `hone report`.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Folder of a run, or of any fine-tuned model
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// What is measured of the encoder, before and after
    #[command(flatten)]
    pub knowledge: KnowledgeArgs,
    /// Most word pieces of a text that is measured [default: the model's limit]
    #[arg(long, value_name = "N", help_heading = "What is kept")]
    pub max_length: Option<usize>,
    /// Write the run's curves to this SVG file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
    /// Where it runs
    #[command(flatten)]
    pub machine: DeviceArgs,
}

/// What became of an encoder.
#[derive(Debug, Serialize)]
struct Kept {
    base: Base,
    measures: Vec<Measured>,
    weights: Vec<Moved>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cka: Option<Vec<LayerCka>>,
    files: Vec<knowledge::Read>,
    warnings: Vec<String>,
}

/// Runs the verb.
pub fn run(args: ReportArgs) -> Result<Exit> {
    if !args.dir.is_dir() {
        bail!("{}: no such folder", args.dir.display());
    }
    let asked = args.knowledge.base.is_some() || args.knowledge.files();
    let run = RunReport::read(&args.dir)?;
    if !asked && !run.says_something() {
        bail!("{}", run.missing());
    }
    if let Some(path) = &args.svg {
        let svg = run.svg().with_context(|| {
            format!(
                "--svg {}: no metrics.jsonl with steps in {}",
                path.display(),
                args.dir.display()
            )
        })?;
        out::may_write("svg", path, out::SVG, &[])?;
        write_beside(path, &svg)?;
    }
    let kept = match asked {
        false => None,
        true => {
            let device = device::choose(&args.machine)?;
            device.tell_card();
            let kept = on_device!(device, backend => measure(backend, &args, &run))?;
            let Some(kept) = kept else {
                say!("interrupted");
                return Ok(Exit::Interrupted);
            };
            Some(kept)
        }
    };
    if args.json {
        let mut object = run.json();
        if let Some(kept) = &kept {
            object["knowledge"] = serde_json::to_value(kept)?;
        }
        out::line(object)?;
        return Ok(Exit::Done);
    }
    let mut text = run.text();
    if let Some(kept) = &kept {
        if !text.is_empty() {
            text.push('\n');
        }
        text += &as_text(kept, &args.dir);
    }
    out::text(text)?;
    if let Some(path) = &args.svg {
        say!("curves: {}", path.display());
    }
    Ok(Exit::Done)
}

fn measure<B: Backend>(
    backend: Arc<B>,
    args: &ReportArgs,
    run: &RunReport,
) -> Result<Option<Kept>> {
    let threads = device::threads(&args.machine)?;
    let (tuned, tokenizer) = infer::whole(backend, &args.dir)?;
    let base = knowledge::base(&args.knowledge, run.options.as_ref(), &args.dir)?;
    let (before, loaded) = knowledge::open_base(&base, &tuned, &tokenizer)?;
    let warnings = knowledge::doubts(&base, run.options.as_ref(), run.summary.as_ref());
    for line in &warnings {
        say!("warning: {line}");
    }
    let how = Tokenising {
        tokenizer: &tokenizer,
        max_length: settings::max_length(args.max_length, tuned.config())?,
        truncate: Truncate::Head,
    };
    let mut asked = knowledge::read(&args.knowledge, how, tuned.config().hidden, threads)?;
    asked.measures.pools = knowledge::pools(tuned.config(), tuned.task());
    let stage = Stage::new();
    let found = take(&before, &tuned, &asked, &stage)?;
    stage.end();
    let Some(([base_knows, tuned_knows], cka)) = found else {
        return Ok(None);
    };
    let weights = weights_moved(&before, &tuned, |p| loaded.contains(&p.name))?;
    Ok(Some(Kept {
        measures: asked.measures.change(&base_knows, &tuned_knows),
        base,
        weights,
        cka,
        files: asked.files,
        warnings,
    }))
}

/// All that reads texts, of both encoders; `None` where the user asked to stop.
fn take<B: Backend>(
    before: &Model<B>,
    tuned: &Model<B>,
    asked: &Asked,
    stage: &Stage,
) -> Result<Option<([Known; 2], Option<Vec<LayerCka>>)>> {
    let stop = interrupt::watch()?;
    let going = || !stop.load(Ordering::SeqCst);
    let known = |what: &'static str, model: &Model<B>| {
        asked.measures.of(model, |share| {
            stage.at(what, share);
            going()
        })
    };
    let Some(base_knows) = known("the base", before)? else {
        return Ok(None);
    };
    let Some(tuned_knows) = known("the fine-tuned model", tuned)? else {
        return Ok(None);
    };
    let mut cka = None;
    if let Some(texts) = &asked.text {
        let total = texts.len().max(1) as f64;
        let threads = asked.measures.threads;
        let found = layer_cka(before, tuned, texts, threads, |done| {
            stage.at("representations", done as f64 / total);
            going()
        })?;
        if found.is_none() {
            return Ok(None);
        }
        cka = found;
    }
    Ok(Some(([base_knows, tuned_knows], cka)))
}

/// A measure as a table names it.
pub fn title(m: &Measured) -> String {
    let pool = match (m.measure, m.pool) {
        ("similarity", "cls") => ", [CLS]",
        ("similarity", _) => ", mean over tokens",
        _ => "",
    };
    let figure = match m.figure {
        "spearman" => "Spearman",
        other => other,
    };
    format!("{} {}{pool}: {figure}", m.measure, m.name)
}

fn as_text(kept: &Kept, dir: &Path) -> String {
    let mut text = format!("{} beside {}\n", dir.display(), kept.base.name);
    if !kept.measures.is_empty() {
        let mut table = Table::new(&[
            "measure",
            "rows",
            "before",
            "after",
            "change [95 % interval, paired]",
        ]);
        for m in &kept.measures {
            let c = &m.change;
            table.row([
                title(m),
                c.rows.to_string(),
                format!("{:.4}", c.before),
                format!("{:.4}", c.after),
                format!(
                    "{:+.4} [{:+.4}, {:+.4}]",
                    c.change, c.change_interval[0], c.change_interval[1]
                ),
            ]);
        }
        text += &format!("\n{table}");
    }
    let mut headings = vec!["part", "weights moved"];
    headings.extend(kept.cka.as_ref().map(|_| "CKA of outputs"));
    let mut table = Table::new(&headings);
    for moved in &kept.weights {
        let mut row = vec![moved.part.clone(), format!("{:.4}", moved.relative)];
        let found = kept.cka.iter().flatten().find(|l| l.part == moved.part);
        row.extend(found.map(|l| format!("{:.4}", l.cka)));
        table.row(row);
    }
    text += &format!("\n{table}");
    if let Some(cka) = &kept.cka {
        let texts = kept.files.iter().find(|f| f.measure == "text");
        let (tokens, file) = texts.map_or((0, String::new()), |f| {
            (f.tokens, knowledge::short(&f.file))
        });
        text += &format!(
            "mean CKA of the layers: {:.4}, over {} word pieces of {file}\n",
            mean_cka(cka),
            hone_report::count(tokens)
        );
    }
    text
}

/// For programs.
impl RunReport {
    fn json(&self) -> serde_json::Value {
        json!({
            "folder": self.dir, "summary": self.summary, "options": self.options, "curve": self.curve,
            "interpolation": self.interpolation,
        })
    }
}
