//! `hone train`: read, decide, run, report.

use crate::args::TrainArgs;
use crate::device::{self, on_device};
use crate::{
    Exit, augment, command, dataset, demo, fetch, folder, interrupt, listing, recipe, settings,
    trust,
};
use anyhow::{Context, Result};
use hone_bert::{Config, Task};
use hone_data::are_pairs;
use hone_kernels::Backend;
use hone_report::{JsonLines, Progress, Table, bytes, count, duration, say, show};
use hone_train::metrics::Metrics;
use hone_train::recipe::Recipe;
use hone_train::{
    Ending, Job, KnownFeatures, Options, Output, Sink, Summary, TrainError, Work, task_of,
    write_beside,
};
use std::path::Path;
use std::sync::Arc;

/// Runs the verb.
pub fn run(args: TrainArgs) -> Result<Exit> {
    let of_validation = [
        ("--eval-every", args.eval_every.is_some()),
        ("--metric", args.metric.is_some()),
    ];
    let args = settings::with_config(args)?;
    let device = device::choose_for(&args)?;
    let Some(data) = args.data.clone() else {
        return demo::run(args, &device);
    };
    let source = settings::data_source(&args, &data)?;
    let found = source.open()?;
    let name = args.model.clone().unwrap_or_else(|| "minilm".to_owned());
    let model = fetch::model_folder(&name)?;
    let config = Config::read(&Config::path_in(&model))?;
    let known = KnownFeatures::default();
    let divided = on_device!(&device, backend => recipe::divide(&args, &config, &model, &source, found, &known, backend))?;
    let Some((data_set, (args, recipe))) = divided else {
        return Ok(stopped());
    };
    let valid_rows = data_set.valid.as_ref().map_or(0, |v| v.rows.len());
    let options = settings::options(&args, &config, task_of(data_set.kind), valid_rows)?;
    for (flag, _) in of_validation
        .iter()
        .filter(|(_, typed)| *typed && valid_rows == 0)
    {
        say!("warning: {flag} is about validation texts, of which there are none");
    }
    let (args, augmenter) = augment::of_training(args, &data_set, &model)?;
    let out = folder::open(&args, &data, Work::RUN)?;
    let job = settings::job(
        &args,
        &model,
        &data_set,
        &options,
        augmenter.as_ref(),
        recipe.as_ref(),
        &known,
        Some(&out),
    )?;
    out.or_release(record(&out, &args, &options, recipe.as_ref(), &name))?;
    device.tell();
    on_device!(device, backend => execute(backend, &job, &out, &args))
}

/// A run that was stopped before it was recorded.
pub fn stopped() -> Exit {
    say!("interrupted before the first step; nothing was written");
    Exit::Interrupted
}

fn execute<B: Backend>(
    backend: Arc<B>,
    job: &Job<'_>,
    out: &Output,
    args: &TrainArgs,
) -> Result<Exit> {
    let stop = interrupt::watch()?;
    let mut sink = sinks(out)?;
    let done = job.run(backend, &mut sink, stop);
    drop(sink);
    let Some(done) = unless_interrupted("train", done, out, |done| (done.ending, &done.summary))?
    else {
        return Ok(Exit::Interrupted);
    };
    // Now that there is a model in it.
    if folder::is_newest(args, out) {
        folder::point_latest(out);
    }
    if args.json {
        crate::out::line(serde_json::to_string(&done.summary)?)?;
    }
    let pairs = are_pairs(&job.data.train.rows);
    report(&done.summary, done.model.task(), pairs, args, out);
    Ok(Exit::Done)
}

/// What hears of work in this folder: the person in front, and its log.
pub fn sinks(folder: &Path) -> Result<Vec<Box<dyn Sink>>> {
    let log = folder.join("metrics.jsonl");
    let lines = JsonLines::open(&log).with_context(|| log.display().to_string())?;
    Ok(vec![Box::new(Progress::new()), Box::new(lines)])
}

/// What a run left at its end; none where it was interrupted, of which is said how it is gone on with.
pub fn unless_interrupted<D>(
    verb: &str,
    done: Result<D, TrainError>,
    out: &Output,
    end: impl Fn(&D) -> (Ending, &Summary),
) -> Result<Option<D>> {
    let go_on = |what: &str| {
        let out = command::path(out);
        say!("{what}; go on with: hone {verb} --resume --out {out}");
    };
    if let Err(TrainError::Interrupted) = done {
        match out.resumes() && out.join("checkpoints").exists() {
            true => go_on("interrupted"),
            false => {
                say!("{}", TrainError::Interrupted);
                out.give_back(&[]);
            }
        }
        return Ok(None);
    }
    let done = out.or_release(done)?;
    let (ending, summary) = end(&done);
    if ending == Ending::Interrupted {
        go_on(&format!("interrupted after step {}", summary.steps));
        return Ok(None);
    }
    Ok(Some(done))
}

/// How long a run was and what it held.
pub fn tell_cost(summary: &Summary) {
    say!(
        "done in {}: {} steps, {} tokens at {} tokens/s; weights of step {}",
        duration(summary.seconds),
        count(summary.steps),
        count(summary.train_tokens as usize),
        count(summary.tokens_per_s as usize),
        summary.best_step
    );
    if let Some(peak) = summary.peak_memory_bytes {
        say!(
            "memory: {} planned, {} at most",
            bytes(summary.planned_memory_bytes),
            bytes(peak)
        );
    }
}

/// What a person reads at the end.
fn report(summary: &Summary, task: Task, pairs: bool, args: &TrainArgs, out: &Path) {
    tell_cost(summary);
    for (name, part) in [("valid", &summary.valid), ("test", &summary.test)] {
        if let Some(part) = part {
            let note = match part.used_for_selection {
                true => " (these rows chose the weights)",
                false => "",
            };
            say!("{name}: {}{note}", part.metrics.headline());
        }
    }
    if let Some(c) = &summary.calibration {
        trust::calibrated(c).iter().for_each(|line| say!("{line}"));
    }
    let part = summary.test.as_ref().or(summary.valid.as_ref());
    if let Some(part) = part {
        by_class(&part.metrics);
    }
    if let Some(found) = &summary.abstention {
        let flattered = summary.valid.as_ref().is_some_and(|v| v.used_for_selection);
        let but = flattered.then_some("a little less: the same rows chose the weights");
        let lines = trust::abstained(found, but);
        lines.iter().for_each(|line| say!("{line}"));
    }
    if let Some(listed) = &summary.listed {
        say!("rows of {} worth reading", listed.part);
        let all = [listed.errors, listed.uncertain];
        listing::show(task, &listed.first, all, Some(&out.display().to_string()));
    }
    if let Some(gap) = &summary.gap {
        say!("{}", gap.advice);
    }
    if summary.valid.is_none() && summary.test.is_none() && summary.unread.is_empty() {
        let model = args.model.as_deref().unwrap_or("minilm");
        let without = ["valid", "select", "patience", "json", "resume"];
        let again = command::command("hone crossval", model, args, &[], &without);
        let again = again.unwrap_or_else(|_| "hone crossval".to_owned());
        say!(
            "not measured: every text was trained on; hone eval --data FILE measures it on texts of that file; how good it is \
             says: {again}"
        );
    }
    say!("model: {}", out.display());
    let texts = match pairs {
        true => "--data FILE",
        false => "\"Not bad at all\"",
    };
    say!("try:   hone predict --model {} {texts}", command::path(out));
}

/// Precision and recall of each class, where a person can still read them.
pub fn by_class(metrics: &Metrics) {
    const MOST: usize = 20;
    let Metrics::Classification(found) = metrics else {
        return;
    };
    if found.per_class.len() > MOST {
        return;
    }
    let mut table = Table::new(&["label", "precision", "recall", "F1", "rows"]);
    for class in &found.per_class {
        table.row([
            class.label.clone(),
            format!("{:.3}", class.precision),
            format!("{:.3}", class.recall),
            format!("{:.3}", class.f1),
            class.support.to_string(),
        ]);
    }
    show!("{table}");
}

/// The table of `run.toml` that says what came from where by its name.
pub const FETCHED: &str = "fetched";

/// Where the model and the texts came from that were given by name, with their commits.
fn fetched(args: &TrainArgs, model: &str) -> toml::Table {
    let valid = args.valid.as_deref().map(Path::new);
    let sources = [
        ("model", fetch::source(model)),
        ("data", args.data.as_deref().and_then(dataset::source)),
        ("valid", valid.and_then(dataset::source)),
        ("test", args.test.as_deref().and_then(dataset::source)),
    ];
    let all = sources.into_iter();
    all.filter_map(|(key, source)| Some((key.to_owned(), source?.into())))
        .collect()
}

/// `run.toml`: every option as it was decided, in the words of the command line.
pub fn record(
    out: &Path,
    args: &TrainArgs,
    options: &Options,
    recipe: Option<&Recipe>,
    model: &str,
) -> Result<()> {
    record_as(
        "train",
        toml::Table::new(),
        out,
        args,
        options,
        recipe,
        model,
    )
}

/// The same for another verb, with options of its own.
pub fn record_as(
    verb: &str,
    own: toml::Table,
    out: &Path,
    args: &TrainArgs,
    options: &Options,
    recipe: Option<&Recipe>,
    model: &str,
) -> Result<()> {
    // What goes on keeps the record it began with: a refused --resume must not change it.
    if args.resume && out.join("run.toml").is_file() {
        return Ok(());
    }
    let mut table = toml::Table::try_from(options)?;
    // No clipping is `--clip 0` in the words of the command line; TOML has no word for nothing.
    if options.clip.is_none() {
        table.insert("clip".into(), toml::Value::Float(0.0));
    }
    let shuffle = table.remove("shuffle");
    if shuffle == Some(toml::Value::Boolean(false)) {
        table.insert("no_shuffle".into(), toml::Value::Boolean(true));
    }
    let typed = toml::Table::try_from(args).context("run.toml")?;
    for (key, value) in typed {
        table.entry(key).or_insert(value);
    }
    table.insert("model".into(), model.into());
    if let Some(recipe) = recipe {
        table.insert(recipe::RECORD.into(), recipe::record(recipe).into());
    }
    let fetched = fetched(args, model);
    if !fetched.is_empty() {
        table.insert(FETCHED.into(), fetched.into());
    }
    table.extend(own);
    let text = format!(
        "# Every option of this run; `hone {verb} --config` takes this file.\n{}",
        toml::to_string(&table)?
    );
    Ok(write_beside(&out.join("run.toml"), &text)?)
}
