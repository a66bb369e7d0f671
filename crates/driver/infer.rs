//! A fine-tuned model opened, and `hone eval`.

use crate::args::{ColumnArgs, EvalArgs};
use crate::device::{self, on_device};
use crate::progress::Stage;
use crate::{Exit, command, dataset, knowledge, listing, out, settings, train, trust};
use anyhow::{Context, Result, anyhow, bail};
use hone_bert::{Model, Task};
use hone_data::{LabelSet, Part, Row, Tokenizer, Truncate, are_pairs};
use hone_kernels::Backend;
use hone_report::{count, duration, say};
use hone_train::{
    Abstain, EvalBatches, Examples, Reading, TextReceipt, Tokenising, labelled, parse_task,
    read_set, task_of, trained_on_pairs,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// The model named, or the newest run.
pub fn folder(model: Option<PathBuf>) -> Result<PathBuf> {
    let path = match model {
        Some(path) => path,
        None => {
            let latest = PathBuf::from("runs/latest");
            if !latest.exists() {
                bail!("runs/latest: no run here yet; train one, or name a model with --model");
            }
            match std::fs::read_link(&latest) {
                Ok(run) => say!("model: runs/{} (runs/latest)", run.display()),
                Err(_) => say!("model: runs/latest"),
            }
            latest
        }
    };
    if !path.is_dir() {
        bail!("{}: no such folder", path.display());
    }
    if !hone_bert::Config::path_in(&path).is_file() {
        if path.join("run.toml").is_file() {
            bail!(
                "{0}: no model here yet, the run in it is not done; go on with: hone train --resume --out {1}",
                path.display(),
                command::path(&path)
            );
        }
        bail!(
            "{}: no config.json here; the folder of a fine-tuned model was expected",
            path.display()
        );
    }
    Ok(path)
}

/// A fine-tuned model, and how its texts are cut.
pub struct Opened<B: Backend> {
    /// The model.
    pub model: Model<B>,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    max_length: usize,
    truncate: Truncate,
}

impl<B: Backend> Opened<B> {
    /// How its texts become tokens.
    pub fn tokenising(&self) -> Tokenising<'_> {
        Tokenising {
            tokenizer: &self.tokenizer,
            max_length: self.max_length,
            truncate: self.truncate,
        }
    }
}

/// How the model's own run cut its texts, which its folder remembers: what is not said now is as it was then.
fn as_trained(path: &Path, columns: &ColumnArgs, tokenizer: &Tokenizer) -> Result<ColumnArgs> {
    let mut columns = columns.clone();
    let Some(run) = knowledge::run_toml(path)? else {
        // No run of Hone's, or only its model: the tokenizer's own word is the nearest to how it was trained.
        if columns.truncate.is_none() && tokenizer.truncate() == Some(Truncate::Tail) {
            columns.truncate = Some("tail".to_owned());
            say!("of a longer text its tail is read, as tokenizer_config.json has it (--truncate)");
        }
        return Ok(columns);
    };
    let mut said = Vec::new();
    if columns.max_length.is_none()
        && let Some(n) = run.get("max_length").and_then(toml::Value::as_integer)
    {
        columns.max_length = usize::try_from(n).ok();
        said.push(format!("at most {n} word pieces"));
    }
    if columns.truncate.is_none()
        && let Some(part) = run.get("truncate").and_then(toml::Value::as_str)
    {
        columns.truncate = Some(part.to_owned());
        said.push(format!("of a longer text its {part}"));
    }
    if !said.is_empty() {
        say!("texts are read as in training: {}", said.join(", "));
    }
    Ok(columns)
}

/// A fine-tuned model and its tokenizer; tensors of its files that it has no use for are told of.
pub fn whole<B: Backend>(backend: Arc<B>, path: &Path) -> Result<(Model<B>, Tokenizer)> {
    let (model, receipt) = Model::open(backend, path)?;
    if let Some((name, why)) = receipt.initialised.first() {
        bail!(
            "{}: {name} would have to be drawn anew ({why}); this is no whole fine-tuned model",
            path.display()
        );
    }
    if !receipt.ignored.is_empty() {
        say!("{}", receipt.ignored_line());
    }
    let tokenizer = Tokenizer::load(path, model.config().vocabulary)?;
    for note in tokenizer.notes() {
        say!("{note}");
    }
    Ok((model, tokenizer))
}

/// Reads a fine-tuned model's folder.
pub fn open<B: Backend>(backend: Arc<B>, path: &Path, columns: &ColumnArgs) -> Result<Opened<B>> {
    let (model, tokenizer) = whole(backend, path)?;
    let asked = columns.task.as_deref().unwrap_or("auto");
    let asked = parse_task(asked).map_err(|e| anyhow!("--task {e}"))?;
    if let Some(asked) = asked.map(task_of).filter(|task| *task != model.task()) {
        bail!(
            "--task {}: {} was trained to {}",
            asked.name(),
            path.display(),
            model.task().name()
        );
    }
    let columns = as_trained(path, columns, &tokenizer)?;
    let max_length = settings::max_length(columns.max_length, model.config())?;
    Ok(Opened {
        model,
        tokenizer,
        max_length,
        truncate: settings::truncate(&columns)?,
    })
}

/// Progress of a reading of so many texts.
pub fn progress(total: usize) -> impl FnMut(usize) -> bool {
    let stage = Stage::new();
    move |rows| {
        match rows == total {
            true => stage.end(),
            false => stage.at("texts read", rows as f64 / total.max(1) as f64),
        }
        true
    }
}

/// Runs `hone eval`.
pub fn eval(mut args: EvalArgs) -> Result<Exit> {
    let path = folder(args.model.clone())?;
    args.data = dataset::behind(&args.data)?;
    listing::may_write(&args.lists, &[&args.data])?;
    let device = device::choose(&args.machine)?;
    device.tell_card();
    on_device!(device, backend => eval_on(backend, &path, &args))
}

/// Labelled texts as a model reads them; what should be mended is said, or an error with --strict.
pub fn labelled_for<B: Backend>(
    opened: &Opened<B>,
    data: &Path,
    columns: &ColumnArgs,
) -> Result<(Part, Examples, TextReceipt)> {
    let model = &opened.model;
    let files = hone_data::find(data)?;
    // Of a folder the test part is meant; of a file, the file.
    let (file, what) = match (data.is_dir(), files.test) {
        (false, _) => (files.train, None),
        (true, Some(test)) => (Some(test), Some("the folder's test texts")),
        (true, None) => (
            files.valid,
            Some("the folder's validation texts, since it has no test texts"),
        ),
    };
    let file =
        file.with_context(|| format!("{}: no test or validation file here", data.display()))?;
    if let Some(what) = what {
        say!("{}: {what}", file.display());
    }
    let part = hone_data::read_labelled(&file, &settings::columns(columns, None))?;
    let names = match &files.labels {
        Some(path) if model.task() != Task::Tag && model.task() != Task::Regress => {
            hone_data::label_names(path)?
        }
        _ => Vec::new(),
    };
    tell_pairs(model, &part.rows);
    tell_words(model, &part.rows);
    let set = LabelSet::new(model.labels().to_vec());
    let kind =
        hone_train::kind_of(model.task()).context("this model says masked words, no labels")?;
    let names = set.numbering(&part, kind, &names)?;
    let how = opened.tokenising();
    let (examples, receipt) = labelled(&part, &set, model.task(), names, how)?;
    for line in receipt.lines("data") {
        if columns.strict {
            bail!("{line} (an error under --strict)");
        }
        say!("warning: {line}");
    }
    Ok((part, examples, receipt))
}

/// Says where rows are words with a tag each, and the model answers whole texts.
pub fn tell_words<B: Backend>(model: &Model<B>, rows: &[Row]) {
    if model.task() != Task::Tag && rows.iter().any(|row| !row.words.is_empty()) {
        say!(
            "warning: these are words, one a line, and this model tags none: it reads the words between two blank \
             lines as one text"
        );
    }
}

/// Says where texts are pairs and those of training were not, or the other way round.
pub fn tell_pairs<B: Backend>(model: &Model<B>, rows: &[Row]) {
    let given = are_pairs(rows);
    match trained_on_pairs(&model.config().source) {
        Some(true) if !given => say!(
            "warning: this model was trained on pairs of texts, and these have no second one (--data with columns of both, or - \
             with a JSON object of both a line)"
        ),
        Some(false) if given => {
            say!("warning: this model was trained on single texts, and these are pairs");
        }
        _ => {}
    }
}

/// The model's rule of abstention, where it is asked for.
pub fn abstain<B: Backend>(asked: bool, path: &Path, model: &Model<B>) -> Result<Option<Abstain>> {
    if !asked {
        return Ok(None);
    }
    if model.task() != Task::Classify {
        bail!(
            "{}: --abstain is for texts of one class each",
            path.display()
        );
    }
    let rule = Abstain::read(&model.config().source)
        .map_err(|e| anyhow!("{}: {e}", path.display()))?
        .with_context(|| {
            format!(
                "{}: --abstain: this model has no threshold; train it with --abstain-precision",
                path.display()
            )
        })?;
    Ok(Some(rule))
}

/// Says where rows are those that the model was trained on: figures of them are no measure of it.
pub fn tell_known(path: &Path, part: &Part, strict: bool) -> Result<()> {
    let summary = knowledge::json_file(path, "summary.json")?;
    if !knowledge::is_file_of(summary.as_ref(), "training file", &part.sha256) {
        return Ok(());
    }
    let line = format!(
        "{} is the file that {} was trained on: it may know these rows by heart",
        part.path.display(),
        path.display()
    );
    if strict {
        bail!("{line} (an error under --strict)");
    }
    say!("warning: {line}");
    Ok(())
}

fn eval_on<B: Backend>(backend: Arc<B>, path: &Path, args: &EvalArgs) -> Result<Exit> {
    let opened = open(backend, path, &args.columns)?;
    let model = &opened.model;
    listing::can_list(&args.lists, model.task())?;
    let abstain = abstain(args.abstain, path, model)?;
    let (part, examples, receipt) = labelled_for(&opened, &args.data, &args.columns)?;
    part.notes.iter().for_each(|note| say!("{note}"));
    tell_known(path, &part, args.columns.strict)?;
    let batches = EvalBatches::USUAL;
    let mut acts = model.plan_eval(batches.limits(&examples))?;
    let started = Instant::now();
    let Reading {
        metrics,
        lists,
        sureness,
        ..
    } = read_set(
        model,
        &mut acts,
        &examples,
        batches,
        progress(examples.len()),
    )?
    .context("the evaluation was stopped")?;
    let seconds = started.elapsed().as_secs_f64();
    let answered = abstain.map(|rule| (rule, rule.on(&sureness)));
    if args.json {
        let mut object = serde_json::to_value(&metrics)?;
        if let Value::Object(map) = &mut object {
            map.insert("seconds".into(), json!(seconds));
            map.insert(
                "tokens_per_s".into(),
                json!(receipt.tokens as f64 / seconds.max(1e-9)),
            );
            map.insert("texts".into(), serde_json::to_value(&receipt)?);
            if let Some((rule, answered)) = answered {
                let mut object = serde_json::to_value(answered)?;
                object["above"] = json!(rule.above);
                object["wanted"] = json!(rule.precision);
                map.insert("abstention".into(), object);
            }
        }
        out::line(object)?;
    } else {
        out::line(metrics.headline())?;
        if let Some((rule, answered)) = answered {
            out::line(trust::answers_given(&rule, &answered))?;
        }
        train::by_class(&metrics);
        say!(
            "{} texts in {} ({} tokens/s)",
            count(examples.len()),
            duration(seconds),
            count((receipt.tokens as f64 / seconds.max(1e-9)) as usize)
        );
        let listed = lists.summary("data", &examples, &part, model.labels());
        listing::show(
            model.task(),
            &listed.first,
            [listed.errors, listed.uncertain],
            None,
        );
    }
    // Last, so that a file that cannot be written costs no figure.
    listing::write(&args.lists, &lists, model, &examples, &part)?;
    Ok(Exit::Done)
}
