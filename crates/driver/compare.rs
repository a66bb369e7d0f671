//! `hone compare`: two fine-tuned models on the same labelled texts, and the rows on which they differ.

use crate::args::{ColumnArgs, DeviceArgs};
use crate::device::{self, on_device};
use crate::{Exit, dataset, infer, out};
use anyhow::{Context, Result, bail};
use clap::Args;
use hone_bert::Task;
use hone_data::Part;
use hone_experiment::{Answers, Change, Comparison, answers, compare};
use hone_kernels::Backend;
use hone_report::{Table, count, say};
use hone_train::write_beside;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Changed rows that are shown of each kind.
const SHOWN: usize = 5;

/// `hone compare`.
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// Folder of the first model
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// Folder of the second model
    #[arg(value_name = "B")]
    pub b: PathBuf,
    /// Labelled texts that neither model was trained on, or a data set's name: of a set its test texts
    #[arg(long, value_name = "PATH|NAME")]
    pub data: PathBuf,
    /// Write the rows whose answer changed to this CSV file [default: the first few are shown]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Seed of the bootstrap, where the task needs one
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
    /// How texts are read
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Where it runs
    #[command(flatten)]
    pub machine: DeviceArgs,
}

/// Runs the verb.
pub fn run(mut args: CompareArgs) -> Result<Exit> {
    for path in [&args.a, &args.b] {
        if !path.is_dir() {
            bail!("{}: no such folder", path.display());
        }
    }
    args.data = dataset::behind(&args.data)?;
    if let Some(path) = &args.out {
        out::may_write("out", path, "row,change,label,", &[&args.data])?;
    }
    let device = device::choose(&args.machine)?;
    device.tell_card();
    on_device!(&device, backend => execute(backend, &args))
}

/// One model's answers; the model's memory is returned before the next one is read.
fn read<B: Backend>(
    backend: &Arc<B>,
    path: &Path,
    args: &CompareArgs,
    expected: Option<Task>,
) -> Result<(Task, Part, Answers)> {
    let opened = infer::open(backend.clone(), path, &args.columns)?;
    let task = opened.model.task();
    if let Some(expected) = expected.filter(|t| *t != task) {
        bail!(
            "{} answers another task ({}) than {} ({}); there is nothing to compare",
            path.display(),
            task.name(),
            args.a.display(),
            expected.name()
        );
    }
    let (part, examples, _) = infer::labelled_for(&opened, &args.data, &args.columns)?;
    infer::tell_known(path, &part, args.columns.strict)?;
    let found = answers(&opened.model, &examples, infer::progress(examples.len()))?
        .context("the evaluation was stopped")?;
    Ok((task, part, found))
}

fn execute<B: Backend>(backend: &Arc<B>, args: &CompareArgs) -> Result<Exit> {
    let (task, part, a) = read(backend, &args.a, args, None)?;
    let (_, _, b) = read(backend, &args.b, args, Some(task))?;
    let found = compare(task, &a, &b, args.seed);
    let rows = Rows {
        part: &part,
        a: &a,
        b: &b,
    };
    if let Some(path) = &args.out {
        rows.write(&found, path)?;
    }
    if args.json {
        let mut object = serde_json::to_value(&found)?;
        if let Value::Object(map) = &mut object {
            let changed = |c: Change| found.changed.iter().filter(|r| r.1 == c).count();
            map.insert("changed".into(), json!({
                "better": changed(Change::Better), "worse": changed(Change::Worse), "other": changed(Change::Other),
            }));
        }
        out::line(object)?;
        return Ok(Exit::Done);
    }
    out::text(as_text(args, &found))?;
    match &args.out {
        Some(path) => say!(
            "{} changed rows: {}",
            count(found.changed.len()),
            path.display()
        ),
        None => out::text(rows.first(&found))?,
    }
    Ok(Exit::Done)
}

fn as_text(args: &CompareArgs, found: &Comparison) -> String {
    let mut text = format!(
        "A {}\n  {}\nB {}\n  {}\n",
        args.a.display(),
        found.a.headline(),
        args.b.display(),
        found.b.headline()
    );
    if let Some(s) = &found.shares {
        let mut table = Table::new(&["", "B right", "B wrong"]);
        table.row([
            "A right".to_owned(),
            s.both.to_string(),
            s.only_a.to_string(),
        ]);
        table.row([
            "A wrong".to_owned(),
            s.only_b.to_string(),
            s.neither.to_string(),
        ]);
        text += &format!(
            "\n{table}\nrows right, B minus A: {:+.4} [{:+.4}, {:+.4}] (95 %, Tango's score interval)\n\
             McNemar: exact p = {}, mid-p = {}\n",
            s.difference,
            s.interval[0],
            s.interval[1],
            probability(s.mcnemar_exact),
            probability(s.mcnemar_mid_p)
        );
    }
    if let Some(m) = &found.metric {
        text += &format!(
            "\n{}, B minus A: {:+.4}{} ({})\n",
            m.metric,
            m.difference,
            between(m.interval),
            match m.interval {
                Some(_) => "95 %, paired bootstrap over rows",
                None => "no interval: fewer than 20 rows, or nothing varied over them",
            }
        );
    }
    text
}

/// An interval behind a difference, where there is one.
pub fn between(ends: Option<[f64; 2]>) -> String {
    ends.map_or(String::new(), |[low, high]| {
        format!(" [{low:+.4}, {high:+.4}]")
    })
}

/// A probability of chance: three digits, however small.
fn probability(p: f64) -> String {
    match p < 1e-3 {
        true => format!("{p:.2e}"),
        false => format!("{p:.3}"),
    }
}

/// The compared rows with both answers.
struct Rows<'a> {
    part: &'a Part,
    a: &'a Answers,
    b: &'a Answers,
}

impl Rows<'_> {
    fn write(&self, found: &Comparison, path: &Path) -> Result<()> {
        let pairs = self.part.rows.iter().any(|r| r.text_b.is_some());
        let mut lines = vec![];
        let mut head = vec!["row", "change", "label", "a", "b", "p_a", "p_b", "text"];
        head.extend(pairs.then_some("text_b"));
        lines.push(head.into_iter().map(str::to_owned).collect::<Vec<_>>());
        for &(i, change) in &found.changed {
            let (row, a, b) = (&self.part.rows[i], &self.a.rows[i], &self.b.rows[i]);
            let mut line = vec![
                row.line.to_string(),
                change.name().to_owned(),
                row.label.to_string(),
                a.said.clone(),
                b.said.clone(),
                a.probability.to_string(),
                b.probability.to_string(),
                row.text.clone(),
            ];
            if pairs {
                line.push(row.text_b.clone().unwrap_or_default());
            }
            lines.push(line);
        }
        Ok(write_beside(path, &hone_experiment::csv_text(&lines)?)?)
    }

    /// The first changed rows of each kind.
    fn first(&self, found: &Comparison) -> String {
        let mut text = String::new();
        for (change, title) in [
            (Change::Better, "B is better"),
            (Change::Worse, "B is worse"),
            (Change::Other, "both are wrong, in other ways"),
        ] {
            let all: Vec<usize> = found
                .changed
                .iter()
                .filter(|r| r.1 == change)
                .map(|r| r.0)
                .collect();
            if all.is_empty() {
                continue;
            }
            text += &format!("\n{title}: {} rows\n", all.len());
            for &i in all.iter().take(SHOWN) {
                let (row, a, b) = (&self.part.rows[i], &self.a.rows[i], &self.b.rows[i]);
                text += &format!(
                    "  line {}: {:?} is {}; A says {}, B {}\n",
                    row.line,
                    row.text.chars().take(80).collect::<String>(),
                    row.label,
                    a.said,
                    b.said
                );
            }
            if all.len() > SHOWN {
                text += "  … (--out FILE writes all)\n";
            }
        }
        text
    }
}
