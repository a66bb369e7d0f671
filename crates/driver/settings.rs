//! From what the user typed to what the program means: flags over `--config` over defaults.

use crate::args::{ColumnArgs, TrainArgs};
use crate::dataset::{self, Part};
use crate::{augment, recipe, train};
use anyhow::{Context, Result, anyhow, bail};
use hone_bert::{Config, Task};
use hone_data::augment::Augmenter;
use hone_data::{Columns, Truncate};
use hone_optim::{Schedule, Warmup};
use hone_report::say;
use hone_train::recipe::Recipe;
use hone_train::{
    ClassWeights, DataSource, FrozenPrefix, Init, InitHead, Job, JobData, KnownFeatures, Options,
    Output, Select, Strictness, ValidSource, WordUpdates, metrics, parse_task,
};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Below this many validation rows their noise would choose the weights.
const ROWS_TO_SELECT: usize = 200;
/// A new head starts from nothing; it learns at this many times the body's rate.
const HEAD_RATE: f64 = 10.0;

/// Lays the flags over the file that `--config` names. Unknown keys are errors.
pub fn with_config(args: TrainArgs) -> Result<TrainArgs> {
    Ok(with_config_and(args, &[])?.0)
}

/// What a run that goes on was begun with, where nothing else says it: its folder's own record.
fn recorded(args: &TrainArgs) -> Option<PathBuf> {
    let file = args.out.as_ref()?.join("run.toml");
    (args.resume && args.data.is_none() && file.is_file()).then_some(file)
}

/// The same for a verb with options of its own, which the file may hold too.
pub fn with_config_and(args: TrainArgs, own: &[&str]) -> Result<(TrainArgs, OwnOptions)> {
    let mut others = toml::Table::new();
    let Some(path) = args.config.clone().or_else(|| recorded(&args)) else {
        return Ok((args, OwnOptions::default()));
    };
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        let before = e.span().and_then(|at| text.get(..at.start));
        let line = before.map_or(String::new(), |b| {
            format!(" line {}:", b.matches('\n').count() + 1)
        });
        anyhow!("{}:{line} {}", path.display(), e.message())
    })?;
    let mut merged = Map::new();
    let known = known_keys()?;
    for (key, value) in table {
        let key = key.replace('-', "_");
        if own.contains(&key.as_str()) {
            others.insert(key, value);
            continue;
        }
        // Records of why, where the values stand among the other options, and of what came from where.
        if [recipe::RECORD, train::FETCHED].contains(&key.as_str()) {
            continue;
        }
        if !known.contains(&key) {
            bail!("{}: unknown key {key}", path.display());
        }
        let value = understood(&key, serde_json::to_value(value)?)
            .map_err(|e| anyhow!("{}: {key}: {e}", path.display()))?;
        merged.insert(key, value);
    }
    let Value::Object(typed) = serde_json::to_value(&args)? else {
        bail!("options must form an object");
    };
    // A number of steps says the same as one of epochs; what was chosen by rows needs rows.
    if typed.contains_key("epochs") {
        merged.remove("max_steps");
    }
    let none = typed.get("valid").is_some_and(|valid| valid == "none");
    if none && merged.get("select").is_some_and(|select| select == "best") {
        merged.remove("select");
    }
    if typed.contains_key("max_steps") {
        merged.remove("epochs");
    }
    // The record of a run that is not gone on with describes another run like it, which has a folder of its own.
    if !args.resume && merged.get("out").is_some_and(|out| holds(out, &path)) {
        merged.remove("out");
    }
    for (key, twin) in [("lr", "head_lr"), ("dropout", "head_dropout")] {
        if typed.contains_key(key)
            && let (false, Some(kept)) = (typed.contains_key(twin), merged.get(twin))
        {
            let flag = twin.replace('_', "-");
            say!(
                "note: --{flag} {kept} is what {} says; what is given of --{key} does not change it",
                path.display()
            );
        }
    }
    merged.extend(typed);
    let mut out: TrainArgs = serde_json::from_value(Value::Object(merged))
        .map_err(|e| anyhow!("{}: {e}", path.display()))?;
    out.config = args.config;
    out.json = args.json;
    out.resume = args.resume;
    let table = others;
    Ok((out, OwnOptions { path, table }))
}

/// Whether a folder, as an option names it, is the one this file lies in.
fn holds(folder: &Value, file: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    let own = file.parent().map(|p| match p.as_os_str().is_empty() {
        true => Path::new("."),
        false => p,
    });
    let named = folder.as_str().and_then(|f| real(Path::new(f)));
    named.is_some() && own.and_then(real) == named
}

/// A value that the flag of this key takes; a number where it takes a word ("0.06", "10%") may stand unquoted.
fn understood(key: &str, value: Value) -> Result<Value, serde_json::Error> {
    let alone = |value: &Value| -> Result<(), serde_json::Error> {
        let one = Map::from_iter([(key.to_owned(), value.clone())]);
        serde_json::from_value::<TrainArgs>(Value::Object(one)).map(|_| ())
    };
    let word = Value::String(value.to_string());
    match alone(&value) {
        Err(_) if value.is_number() && alone(&word).is_ok() => Ok(word),
        Err(error) => Err(error),
        Ok(()) => Ok(value),
    }
}

/// A verb's own options as they stand in the file that `--config` names; what was typed wins.
#[derive(Debug, Default)]
pub struct OwnOptions {
    path: PathBuf,
    table: toml::Table,
}

impl OwnOptions {
    fn or<T>(
        &self,
        key: &str,
        given: Option<T>,
        read: impl Fn(&toml::Value) -> Option<T>,
        expected: &str,
    ) -> Result<Option<T>> {
        match (given, self.table.get(key)) {
            (None, Some(value)) => read(value)
                .map(Some)
                .ok_or_else(|| anyhow!("{}: {key}: {expected} was expected", self.path.display())),
            (given, _) => Ok(given),
        }
    }

    /// A whole number from 0.
    pub fn number(&self, key: &str, given: Option<usize>) -> Result<Option<usize>> {
        let read = |v: &toml::Value| v.as_integer().and_then(|n| usize::try_from(n).ok());
        self.or(key, given, read, "a whole number")
    }

    /// Any number.
    pub fn real(&self, key: &str, given: Option<f64>) -> Result<Option<f64>> {
        let read = |v: &toml::Value| v.as_float().or(v.as_integer().map(|n| n as f64));
        self.or(key, given, read, "a number")
    }

    /// A word.
    pub fn word(&self, key: &str, given: Option<String>) -> Result<Option<String>> {
        let read = |v: &toml::Value| v.as_str().map(str::to_owned);
        self.or(key, given, read, "a text")
    }

    /// Something that is on or off.
    pub fn flag(&self, key: &str, given: bool) -> Result<bool> {
        let given = given.then_some(true);
        let found = self.or(key, given, toml::Value::as_bool, "true or false")?;
        Ok(found.unwrap_or(false))
    }

    /// Several words.
    pub fn list(&self, key: &str, given: Vec<String>) -> Result<Vec<String>> {
        let read = |v: &toml::Value| {
            let all = v.as_array()?.iter();
            all.map(|v| v.as_str().map(str::to_owned)).collect()
        };
        let given = (!given.is_empty()).then_some(given);
        Ok(self
            .or(key, given, read, "a list of texts")?
            .unwrap_or_default())
    }
}

/// The run that these options ask for; it goes on where they say so.
pub fn job<'a>(
    args: &TrainArgs,
    model: &'a Path,
    data: &'a JobData,
    options: &'a Options,
    augment: Option<&'a Augmenter>,
    recipe: Option<&'a Recipe>,
    known: &'a KnownFeatures,
    out: Option<&'a Output>,
) -> Result<Job<'a>> {
    Ok(Job {
        model,
        data,
        options,
        max_length: args.columns.max_length,
        truncate: truncate(&args.columns)?,
        strict: match args.columns.strict {
            true => Strictness::Fail,
            false => Strictness::Warn,
        },
        out,
        frozen: frozen(args),
        words: WordUpdates::Deferred,
        augment,
        recipe,
        known: Some(known),
    })
}

/// Every key a config file may have: the long flags, by clap's own list.
fn known_keys() -> Result<Vec<String>> {
    use clap::CommandFactory;
    let cli = crate::args::Cli::command();
    let train = cli
        .find_subcommand("train")
        .context("the train verb is missing")?;
    Ok(train
        .get_arguments()
        .filter_map(|a| a.get_long())
        .filter(|l| !["config", "json", "resume", "help"].contains(l))
        .map(|l| l.replace('-', "_"))
        .collect())
}

/// Parses an option's word, or takes the default.
fn word<T: FromStr<Err = String>>(flag: &str, text: Option<&str>, default: &str) -> Result<T> {
    text.unwrap_or(default)
        .parse()
        .map_err(|e: String| anyhow!("--{flag} {e}"))
}

/// A seed; run.toml holds no larger ones.
pub fn seed(flag: &str, value: Option<u64>) -> Result<u64> {
    match value.unwrap_or(0) {
        seed if i64::try_from(seed).is_err() => {
            bail!("--{flag} {seed}: at most {} was expected", i64::MAX)
        }
        seed => Ok(seed),
    }
}

/// Which columns are read.
pub fn columns(args: &ColumnArgs, group: Option<&String>) -> Columns {
    Columns {
        text: args.text_column.clone(),
        text_b: args.text_b_column.clone(),
        label: args.label_column.clone(),
        group: group.cloned(),
    }
}

/// What is kept of a longer text.
pub fn truncate(args: &ColumnArgs) -> Result<Truncate> {
    word("truncate", args.truncate.as_deref(), "head")
}

/// Most word pieces of a text: as many as are asked for, else the model's limit.
pub fn max_length(asked: Option<usize>, config: &Config) -> Result<usize> {
    match asked {
        Some(n) if !(3..=config.positions).contains(&n) => bail!(
            "--max-length {n}: from 3 to the model's {} positions was expected",
            config.positions
        ),
        asked => Ok(asked.unwrap_or(config.positions)),
    }
}

/// Where validation texts come from; what has a name is fetched.
pub fn valid_source(args: &TrainArgs) -> Result<ValidSource> {
    match &args.valid {
        Some(text) => match word("valid", Some(text), "")? {
            ValidSource::File(path) => {
                dataset::file_behind(&path, Part::Valid).map(ValidSource::File)
            }
            other => Ok(other),
        },
        None => Ok(ValidSource::Usual),
    }
}

/// What data is read; what has a name is fetched.
pub fn data_source(args: &TrainArgs, data: &Path) -> Result<DataSource> {
    let test = args.test.as_deref();
    Ok(DataSource {
        data: dataset::behind(data)?,
        valid: valid_source(args)?,
        test: test
            .map(|test| dataset::file_behind(test, Part::Test))
            .transpose()?,
        columns: columns(&args.columns, args.group_column.as_ref()),
        kind: parse_task(args.columns.task.as_deref().unwrap_or("auto"))
            .map_err(|e| anyhow!("--task {e}"))?,
        split_seed: seed("split-seed", args.split_seed)?,
    })
}

/// What becomes of the outputs of frozen lower layers.
pub fn frozen(args: &TrainArgs) -> FrozenPrefix {
    match args.cache_frozen {
        true => FrozenPrefix::Cache,
        false => FrozenPrefix::Recompute,
    }
}

/// All hyperparameters, decided.
pub fn options(
    args: &TrainArgs,
    config: &Config,
    task: Task,
    valid_rows: usize,
) -> Result<Options> {
    max_length(args.columns.max_length, config)?;
    let schedule = word::<Schedule>("schedule", args.schedule.as_deref(), "linear")?;
    // Some rise by themselves; a warm-up that is given is the rising part of one-cycle and slanted.
    let usual = match schedule.rises_by_itself() {
        true => "0",
        false => "0.06",
    };
    let warmup = word::<Warmup>("warmup", args.warmup.as_deref(), usual)?;
    if !schedule.takes_warmup() && warmup.steps(1000) > 0 {
        bail!(
            "--warmup: --schedule {} grows from its first step to its last; leave --warmup out",
            String::from(schedule)
        );
    }
    let usual = Options::default();
    let lr = args.lr.unwrap_or(usual.lr);
    let clip = args.clip.unwrap_or(1.0);
    let names = metrics::names(task);
    let metric = args.metric.as_deref().unwrap_or(names[0]).replace('-', "_");
    let metric = metrics::short(&metric);
    if !names.contains(&metric) {
        bail!(
            "--metric {metric}: for this task one of {} was expected",
            names.join(", ")
        );
    }
    let select = match args.select.as_deref() {
        Some("best") => Select::Best,
        Some("last") => Select::Last,
        Some(other) => bail!("--select {other}: best or last was expected"),
        None if valid_rows < ROWS_TO_SELECT => Select::Last,
        None => Select::Best,
    };
    if select == Select::Best && args.select.is_some() && valid_rows == 0 {
        bail!(
            "--select best needs validation rows, and none are held out; --valid 0.1 holds out a tenth"
        );
    }
    if args.patience.is_some() && valid_rows == 0 {
        bail!(
            "--patience needs validation rows, and none are held out; --valid 0.1 holds out a tenth"
        );
    }
    if let Some(n) = args.reinit_top.filter(|n| *n > config.layers) {
        bail!("--reinit-top {n}: the model has {} layers", config.layers);
    }
    if args.collapse_guard.as_deref() == Some("restart")
        && (args.focal_loss.is_some_and(|x| x > 0.0) || args.r_drop.is_some_and(|x| x > 0.0))
    {
        bail!(
            "--collapse-guard restart compares the training loss with the entropy of the labels, which is another \
             quantity under --focal-loss or --r-drop: leave one of them out"
        );
    }
    let dropout = args.dropout.unwrap_or(config.hidden_dropout);
    let options = Options {
        init: match args.init.as_deref() {
            None | Some("pretrained") => Init::Pretrained,
            Some("random") => Init::Random,
            Some(other) => bail!("--init {other}: pretrained or random was expected"),
        },
        new_head: args.new_head,
        init_head: match args.init_head.as_deref() {
            None | Some("random") => InitHead::Random,
            Some("probe") => InitHead::Probe,
            Some(other) => bail!("--init-head {other}: random or probe was expected"),
        },
        pool: word("pool", args.pool.as_deref(), config.pool.name())?,
        standardize: word(
            "standardize",
            args.standardize.as_deref(),
            match task {
                Task::Regress => "auto",
                _ => "never",
            },
        )?,
        reinit_top: args.reinit_top.unwrap_or(0),
        epochs: args.epochs.unwrap_or(usual.epochs),
        max_steps: args.max_steps,
        batch_size: args.batch_size.unwrap_or(usual.batch_size),
        max_tokens: args.max_tokens.unwrap_or(usual.max_tokens),
        grad_accum: args.grad_accum.unwrap_or(1),
        lr,
        head_lr: args.head_lr.unwrap_or(HEAD_RATE * lr),
        layer_decay: args.layer_decay.unwrap_or(usual.layer_decay),
        weight_decay: args.weight_decay.unwrap_or(usual.weight_decay),
        beta1: args.beta1.unwrap_or(usual.beta1),
        beta2: args.beta2.unwrap_or(usual.beta2),
        eps: args.eps.unwrap_or(usual.eps),
        clip: (clip != 0.0).then_some(clip),
        schedule,
        warmup,
        dropout,
        attention_dropout: args.attention_dropout.unwrap_or(config.attention_dropout),
        head_dropout: args
            .head_dropout
            .or(args.dropout)
            .or(config.classifier_dropout)
            .unwrap_or(dropout),
        label_smoothing: args.label_smoothing.unwrap_or(0.0),
        class_weights: match args.class_weights.as_deref() {
            None | Some("none") => ClassWeights::None,
            Some("auto") => ClassWeights::Auto,
            Some(other) => bail!("--class-weights {other}: none or auto was expected"),
        },
        focal_loss: args.focal_loss.unwrap_or(0.0),
        r_drop: args.r_drop.unwrap_or(0.0),
        contrast: args.contrast.unwrap_or(usual.contrast),
        contrast_temperature: args
            .contrast_temperature
            .unwrap_or(usual.contrast_temperature),
        l2_sp: word("l2-sp", args.l2_sp.as_deref(), "0")?,
        mixout: args.mixout.unwrap_or(0.0),
        average: word("average", args.average.as_deref(), "none")?,
        freeze: args.freeze.clone().unwrap_or_else(|| "none".to_owned()),
        unfreeze: args.unfreeze.clone().unwrap_or_else(|| "none".to_owned()),
        seed: seed("seed", args.seed)?,
        shuffle: !args.no_shuffle,
        augment: augment::plan(&args.augmenting)?.to_string(),
        eval_every: word("eval-every", args.eval_every.as_deref(), "1.0")?,
        metric: metric.to_owned(),
        patience: args.patience,
        select,
        calibrate: args.calibrate,
        abstain_precision: args.abstain_precision,
        collapse_guard: word("collapse-guard", args.collapse_guard.as_deref(), "warn")?,
        save_every: args
            .save_every
            .as_deref()
            .map(|text| word("save-every", Some(text), ""))
            .transpose()?,
    };
    // A program may train for nothing; whoever types that mistakes something.
    for (flag, value) in [
        ("epochs", options.epochs),
        ("lr", options.lr),
        ("head-lr", options.head_lr),
    ] {
        if !(value > 0.0 && value.is_finite()) {
            bail!("--{flag} {value}: a positive number was expected");
        }
    }
    options.check()?;
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(flags: &[&str]) -> TrainArgs {
        use clap::Parser;
        let words = ["hone", "train"].into_iter().chain(flags.iter().copied());
        match crate::args::Cli::try_parse_from(words).map(|c| c.verb) {
            Ok(crate::args::Verb::Train(args)) => *args,
            other => panic!("{flags:?}: {other:?}"),
        }
    }

    fn bert() -> Config {
        Config::with_shape(16, 2, 2, 32, 50)
    }

    #[test]
    fn flags_win_over_the_file_and_unknown_keys_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(
            &path,
            "lr = 1e-3\nbatch-size = 8\nwarmup = 10\nstrict = true\n",
        )
        .unwrap();
        let flag = path.to_str().unwrap();
        let merged = with_config(args(&["--config", flag, "--lr", "2e-3"])).unwrap();
        assert_eq!((merged.lr, merged.batch_size), (Some(2e-3), Some(8)));
        assert_eq!(merged.warmup.as_deref(), Some("10"));
        assert!(merged.columns.strict);
        // What a typed flag takes the place of.
        std::fs::write(&path, "max_steps = 20\nselect = \"best\"\n").unwrap();
        let typed = |flags: &[&str]| with_config(args(&[&["--config", flag], flags].concat()));
        assert_eq!(typed(&["--lr", "1e-3"]).unwrap().max_steps, Some(20));
        let merged = typed(&["--epochs", "5", "--valid", "none"]).unwrap();
        assert_eq!((merged.max_steps, merged.select), (None, None));
        let merged = typed(&["--valid", "0.2"]).unwrap();
        assert_eq!(merged.select.as_deref(), Some("best"));
        std::fs::write(&path, "learning_rate = 1e-3\n").unwrap();
        let error = with_config(args(&["--config", flag]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("unknown key learning_rate"), "{error}");
        // What is wrong is named by key, or where it is no TOML by line; a number may stand for a word.
        for (text, why) in [
            ("seed = 1\nlr = \"fast\"\n", ": lr: "),
            ("seed = -1\n", ": seed: "),
            ("seed = 1\n\nlr =\n", ": line 3: "),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = with_config(args(&["--config", flag])).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
        std::fs::write(&path, "freeze = 2\nvalid = 0.2\n").unwrap();
        let merged = with_config(args(&["--config", flag])).unwrap();
        let words = (merged.freeze.as_deref(), merged.valid.as_deref());
        assert_eq!(words, (Some("2"), Some("0.2")));
    }

    #[test]
    fn defaults_depend_on_data_and_model() {
        let o = options(&args(&[]), &bert(), Task::Classify, 1000).unwrap();
        assert_eq!((o.select, o.lr, o.head_lr), (Select::Best, 5e-5, 5e-4));
        let o = options(&args(&[]), &bert(), Task::Classify, 100).unwrap();
        assert_eq!(o.select, Select::Last);
        let o = options(&args(&["--dropout", "0"]), &bert(), Task::Regress, 100).unwrap();
        assert_eq!(
            (o.dropout, o.head_dropout, o.attention_dropout),
            (0.0, 0.0, 0.1)
        );
        assert_eq!(o.metric, "pearson");
        for (asked, task, metric) in [
            ("root-mean-squared-error", Task::Regress, "rmse"),
            ("mae", Task::Regress, "mae"),
            ("subset_accuracy", Task::MultiLabel, "accuracy"),
        ] {
            let o = options(&args(&["--metric", asked]), &bert(), task, 100).unwrap();
            assert_eq!(o.metric, metric);
        }
    }

    #[test]
    fn schedules_that_rise_by_themselves_have_no_other_warm_up_unless_it_is_given() {
        for (flags, steps) in [
            (&[][..], 6),
            (&["--schedule", "cosine"], 6),
            (&["--schedule", "slanted"], 0),
            (&["--schedule", "slanted:10", "--warmup", "0.25"], 25),
            (&["--schedule", "one-cycle"], 0),
            (&["--schedule", "one-cycle", "--warmup", "12"], 12),
        ] {
            let o = options(&args(flags), &bert(), Task::Classify, 500).unwrap();
            assert_eq!(o.warmup.steps(100), steps, "{flags:?}");
        }
    }

    #[test]
    fn wrong_values_name_their_flag() {
        for (flags, says) in [
            (&["--lr", "-1"][..], "--lr"),
            (&["--batch-size", "0"], "--batch-size"),
            (
                &["--batch-size", "4294967296"],
                "--batch-size 4294967296: at most",
            ),
            (&["--grad-accum", "18446744073709551615"], "--grad-accum"),
            (&["--max-steps", "4294967296"], "--max-steps"),
            (
                &["--seed", "9223372036854775808"],
                "--seed 9223372036854775808: at most",
            ),
            (&["--dropout", "1"], "--dropout"),
            (&["--schedule", "step"], "--schedule"),
            (&["--warmup", "2.5"], "--warmup"),
            (
                &["--schedule", "exponential:1e-3", "--warmup", "0.1"],
                "--warmup: --schedule exponential:0.001",
            ),
            (&["--metric", "bleu"], "--metric"),
            (&["--patience", "0"], "--patience"),
            (&["--select", "first"], "--select"),
            (&["--collapse-guard", "on"], "--collapse-guard"),
            (&["--abstain-precision", "1"], "--abstain-precision"),
            (&["--layer-decay", "1.5"], "--layer-decay"),
            (&["--eval-every", "x"], "--eval-every"),
        ] {
            let error = options(&args(flags), &bert(), Task::Classify, 500).unwrap_err();
            assert!(error.to_string().starts_with(says), "{error}");
        }
    }
}
