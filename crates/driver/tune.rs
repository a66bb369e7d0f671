//! `hone tune`: a search for hyperparameters that fits into a time.

// Doc comments of flags are the text of --help, where brackets are brackets.
#![allow(rustdoc::broken_intra_doc_links)]

use crate::args::TrainArgs;
use crate::command::{self, train_command};
use crate::device::{self, on_device};
use crate::folder;
use crate::recipe::{Ask, Valid};
use crate::tune_report::{as_text, measured_any, picture};
use crate::{Exit, augment, fetch, interrupt, out, settings, train};
use anyhow::{Result, anyhow, bail};
use clap::Args;
use hone_bert::Config;
use hone_experiment::tune::{
    BEST, Chooser, Limit, MOST_ASKED, MOST_SEEDS, Sensitivity, Setting, Space, Tune, TuneReport,
    Untouched,
};
use hone_kernels::Backend;
use hone_report::say;
use hone_train::recipe::Recipe;
use hone_train::{
    JobData, KnownFeatures, Options, Output, ValidSource, fits_task, task_of, write_beside,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// `hone tune`.
#[derive(Debug, Clone, Default, Args)]
pub struct TuneArgs {
    /// Minutes for everything: search, refits and sensitivity [default: 30, unless --trials is given]
    #[arg(long, value_name = "MINUTES", help_heading = "Search")]
    pub budget: Option<f64>,
    /// Trials, the given options included; without --budget nothing depends on a clock [default: as many as the
    /// budget has room for]
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub trials: Option<usize>,
    /// What is tuned, and nothing else: NAME=LOW..HIGH, NAME=A|B|C, or NAME alone for its usual range, joined by commas (quote
    /// it: | is a pipe to the shell).
    /// Names: lr, epochs, batch-size, head-ratio (--head-lr over --lr), layer-decay, warmup, dropout, weight-decay,
    /// attention-dropout, label-smoothing, l2-sp, mixout, r-drop, init-head, pool, schedule, contrast [default: the first eight:
    /// lr and head-ratio a quarter to four times what is given, epochs and batch-size a half to twice, layer-decay
    /// 0.75..1, warmup 0..0.2, dropout 0..0.2, weight-decay 0.001..0.1]. A schedule brings its own warm-up, unless --warmup
    /// is given or tuned
    #[arg(long, value_name = "SPACE", help_heading = "Search")]
    pub space: Option<String>,
    /// Trials choose by folds of the training texts, one of so many a replicate; not where --valid and --test are both
    /// files: then the validation texts choose [default: 5]
    #[arg(long, value_name = "K", help_heading = "Search")]
    pub folds: Option<usize>,
    /// Part of the training texts that no trial sees, where there is neither a test nor a validation file; it is split off
    /// with --split-seed, and the last figure is measured on it [default: 0.2]
    #[arg(long, value_name = "FRACTION", help_heading = "Search")]
    pub holdout: Option<f64>,
    /// Fresh seeds with which the winner and the given options are trained anew and compared, 1000 at most [default: 3]
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub seeds: Option<usize>,
    /// Which settings of the winner are moved by factors of 2 and 4 to see what they matter: off, lr or all [default: all,
    /// as far as the budget goes; lr with --trials alone]
    #[arg(long, value_name = "WHICH", help_heading = "Search")]
    pub sensitivity: Option<String>,
    /// Whether trials with another schedule keep the warm-up that is given here: it was typed. A record of a search says so
    /// under `trial_warmup`, because there every option stands, typed or not.
    #[arg(skip)]
    pub keeps_warmup: bool,
    /// Everything that train takes is what the search starts from and compares with; --metric is what is searched for
    #[command(flatten)]
    pub train: TrainArgs,
}

const OWN: [&str; 8] = [
    "budget",
    "trials",
    "space",
    "folds",
    "holdout",
    "seeds",
    "sensitivity",
    TRIAL_WARMUP,
];
/// What trials with another schedule have for a warm-up: `given` or `own`.
const TRIAL_WARMUP: &str = "trial_warmup";
/// Minutes, where nobody says otherwise.
const BUDGET: f64 = 30.0;
/// Part of the texts that is kept for the last figure.
const HOLDOUT: f64 = 0.2;

impl TuneArgs {
    /// Lays the flags over the file that `--config` names.
    fn with_config(self) -> Result<TuneArgs> {
        let typed = self.train.warmup.is_some();
        let (train, file) = settings::with_config_and(self.train, &OWN)?;
        let keeps_warmup = match file.word(TRIAL_WARMUP, None)?.as_deref() {
            _ if typed => true,
            Some("given") => true,
            Some("own") => false,
            Some(other) => bail!("{TRIAL_WARMUP} {other}: given or own was expected"),
            None => train.warmup.is_some(),
        };
        Ok(TuneArgs {
            keeps_warmup,
            budget: file.real("budget", self.budget)?,
            trials: file.number("trials", self.trials)?,
            space: file.word("space", self.space)?,
            folds: file.number("folds", self.folds)?,
            holdout: file.real("holdout", self.holdout)?,
            seeds: file.number("seeds", self.seeds)?,
            sensitivity: file.word("sensitivity", self.sensitivity)?,
            train,
        })
    }

    fn limit(&self) -> Result<Limit> {
        let minutes = match (self.budget, self.trials) {
            (None, Some(_)) => None,
            (given, _) => Some(given.unwrap_or(BUDGET)),
        };
        if let Some(minutes) = minutes
            && !(minutes > 0.0 && minutes.is_finite())
        {
            bail!("--budget {minutes}: a positive number of minutes was expected");
        }
        if let Some(n @ 0..2) = self.trials {
            bail!(
                "--trials {n}: at least 2 were expected; the first one has the options as they are given"
            );
        }
        if let Some(n) = self.trials
            && n > MOST_ASKED
        {
            bail!("--trials {n}: at most {MOST_ASKED} were expected");
        }
        Ok(Limit {
            seconds: minutes.map(|m| 60.0 * m),
            trials: self.trials,
        })
    }

    fn sensitivity(&self, limit: Limit) -> Result<Sensitivity> {
        Ok(match self.sensitivity.as_deref() {
            Some("off") => Sensitivity::Off,
            Some("lr") => Sensitivity::Rate,
            Some("all") => Sensitivity::All,
            Some(other) => bail!("--sensitivity {other}: off, lr or all was expected"),
            None if limit.seconds.is_none() => Sensitivity::Rate,
            None => Sensitivity::All,
        })
    }

    /// The same in a space, with what is to be said of it: a rate that is not tuned is not moved.
    fn sensitivity_in(
        &self,
        space: &Space,
        wanted: Sensitivity,
    ) -> Result<(Sensitivity, Option<&'static str>)> {
        match wanted {
            Sensitivity::Rate if space.has(Setting::Lr) => Ok((wanted, None)),
            Sensitivity::Rate if self.sensitivity.is_some() => bail!(
                "--sensitivity lr: lr is not tuned, so it is not moved; name it in --space, or all to move what is tuned"
            ),
            Sensitivity::Rate => Ok((
                Sensitivity::Off,
                Some(
                    "no setting is moved in the end: lr is not tuned (--sensitivity all moves what is)",
                ),
            )),
            other => Ok((other, None)),
        }
    }
}

/// The texts, and who sees which of them.
struct Rows {
    data: JobData,
    chooser: Chooser,
    untouched: Untouched,
    /// `--valid` of the command that repeats the winner.
    valid: Option<String>,
}

/// Reads the texts. The rows of the last figure are test texts; else a validation file, by which then nothing is chosen;
/// else a part that is split off.
fn read(args: &TuneArgs, data: &Path) -> Result<Rows> {
    let train = &args.train;
    let mut source = settings::data_source(train, data)?;
    let files = hone_data::find(&source.data)?;
    let test = train.test.is_some() || files.test.is_some();
    let valid = match &source.valid {
        ValidSource::File(_) => true,
        ValidSource::Usual => files.valid.is_some(),
        ValidSource::None => false,
        ValidSource::Fraction(f) => bail!(
            "--valid {f}: trials choose by folds of the training texts (--folds), and --holdout is the part that no \
             trial sees; name a file, or leave it out"
        ),
    };
    let holdout = args.holdout.unwrap_or(HOLDOUT);
    if !(holdout > 0.0 && holdout < 1.0) {
        bail!("--holdout {holdout}: a fraction between 0 and 1 was expected");
    }
    if args.holdout.is_some() && (test || valid) {
        let which = if test { "test" } else { "validation" };
        bail!("--holdout: there is a {which} file, and no trial sees that; leave one of them out");
    }
    let folds = args.folds.unwrap_or(5);
    if folds < 2 {
        bail!("--folds {folds}: at least 2 were expected");
    }
    let folds = Chooser::Folds(folds);
    let mut note = None;
    let (chooser, untouched, valid) = match (test, valid) {
        (true, true) => {
            if args.folds.is_some() {
                bail!("--folds: the validation texts choose here; leave it out, or --valid none");
            }
            (Chooser::Valid, Untouched::Test, train.valid.clone())
        }
        (true, false) => {
            source.valid = ValidSource::None;
            (folds, Untouched::Test, Some("none".to_owned()))
        }
        (false, true) => {
            note = Some(
                "there is no test file: the validation texts are kept for the last figure and choose nothing \
                 (with --test FILE they would choose)",
            );
            (folds, Untouched::Valid, train.valid.clone())
        }
        (false, false) => {
            if source.valid == ValidSource::None {
                bail!(
                    "--valid none: there is no test file, so a part of the texts is kept for the last figure \
                     (--holdout); leave it out, or name --test FILE"
                );
            }
            source.valid = ValidSource::Fraction(holdout);
            (folds, Untouched::Valid, Some(holdout.to_string()))
        }
    };
    let mut set = source.read()?;
    if let (Untouched::Valid, Some(split)) = (untouched, &mut set.split) {
        split.name = "held out for the last figure";
    }
    set.notes.extend(note.map(str::to_owned));
    let part = match untouched {
        Untouched::Test => &set.test,
        Untouched::Valid => &set.valid,
    };
    if part.as_ref().is_none_or(|p| p.rows.is_empty()) {
        bail!("no rows are left for the last figure; name them with --test FILE");
    }
    Ok(Rows {
        data: set,
        chooser,
        untouched,
        valid,
    })
}

/// Runs the verb.
pub fn run(args: TuneArgs) -> Result<Exit> {
    let began = Instant::now();
    let args = args.with_config()?;
    let device = device::choose_for(&args.train)?;
    let Some(data) = args.train.data.clone() else {
        bail!("--data is missing: name a file or folder of labelled texts");
    };
    let limit = args.limit()?;
    let sensitivity = args.sensitivity(limit)?;
    let seeds = args.seeds.unwrap_or(3);
    if !(1..=MOST_SEEDS).contains(&seeds) {
        bail!("--seeds {seeds}: from 1 to {MOST_SEEDS} were expected");
    }
    let rows = read(&args, &data)?;
    if rows.chooser != Chooser::Valid {
        let chosen = args.train.select.as_deref().is_some_and(|s| s != "last");
        if chosen || args.train.patience.is_some() {
            bail!(
                "--select best and --patience need validation texts that choose: name both --valid FILE and --test FILE"
            );
        }
    }
    let name = args.train.model.clone();
    let name = name.as_deref().unwrap_or("minilm");
    let model = fetch::model_folder(name)?;
    let config = Config::read(&Config::path_in(&model))?;
    let valid_rows = match (&rows.data.valid, rows.chooser) {
        (Some(part), Chooser::Valid) => part.rows.len(),
        _ => 0,
    };
    let task = task_of(rows.data.kind);
    let fit = |texts| texts;
    let ask = Ask::divided(
        &args.train,
        &config,
        &model,
        &rows.data,
        Valid::Decided,
        &fit,
    );
    let known = KnownFeatures::default();
    let filled =
        on_device!(&device, backend => ask.fill_measured(&rows.data.train, &known, backend))?;
    let Some((filled, recipe)) = filled else {
        return Ok(train::stopped());
    };
    let args = TuneArgs {
        train: filled,
        ..args
    };
    let base = settings::options(&args.train, &config, task, valid_rows)?;
    if base.calibrate {
        bail!("--calibrate: a search compares models as they are; calibrate the one of train");
    }
    if base.abstain_precision.is_some() {
        bail!("--abstain-precision: a search compares models as they are; use it in train");
    }
    let space = match &args.space {
        None => Space::usual(&base),
        Some(text) => Space::parse(text, &base).map_err(|e| anyhow!("--space {e}"))?,
    };
    let space = space.keeping_warmup(args.keeps_warmup);
    fits_task(&base, task)?;
    space
        .fits_task(&base, task)
        .map_err(|e| anyhow!("--space {e}"))?;
    let (sensitivity, unmoved) = args.sensitivity_in(&space, sensitivity)?;
    let (train_args, augmenter) = augment::of_training(args.train.clone(), &rows.data, &model)?;
    let args = TuneArgs {
        train: train_args,
        ..args
    };
    let folder = folder::open(&args.train, &data, Tune::WORK)?;
    folder.or_release(record(
        &args,
        limit,
        &space,
        &rows,
        seeds,
        sensitivity,
        &base,
        recipe.as_ref(),
        &folder,
        name,
    ))?;
    let mut rows = rows;
    rows.data.notes.extend(unmoved.map(str::to_owned));
    if rows.chooser != Chooser::Valid && base.eval_every != Options::default().eval_every {
        let said =
            "--eval-every changes nothing: where folds choose, runs are read at their end alone";
        rows.data.notes.push(said.to_owned());
    }
    if args.space.is_none() {
        rows.data.notes.extend(Space::left_out(&base));
    }
    let job = settings::job(
        &args.train,
        &model,
        &rows.data,
        &base,
        augmenter.as_ref(),
        recipe.as_ref(),
        &known,
        Some(&folder),
    )?;
    let tune = Tune {
        job: &job,
        space: &space,
        chooser: rows.chooser,
        untouched: rows.untouched,
        limit,
        seeds,
        sensitivity,
        split_seed: args.train.split_seed.unwrap_or(0),
        began,
    };
    let done = Finish {
        args: &args.train,
        valid: rows.valid.clone(),
        space: &space,
        model: name,
        folder: &folder,
    };
    device.tell();
    on_device!(&device, backend => execute(backend, &tune, &done))
}

/// `run.toml`: every option as it was decided, the space and the limits among them.
fn record(
    args: &TuneArgs,
    limit: Limit,
    space: &Space,
    rows: &Rows,
    seeds: usize,
    sensitivity: Sensitivity,
    base: &Options,
    recipe: Option<&Recipe>,
    folder: &Path,
    model: &str,
) -> Result<()> {
    let mut own = toml::Table::new();
    if let Some(seconds) = limit.seconds {
        own.insert("budget".into(), (seconds / 60.0).into());
    }
    if let Some(n) = limit.trials {
        own.insert("trials".into(), (n as i64).into());
    }
    own.insert("space".into(), space.to_string().into());
    if let Chooser::Folds(k) = rows.chooser {
        own.insert("folds".into(), (k as i64).into());
    }
    // A fraction is split off only where there is no file.
    if rows
        .valid
        .as_deref()
        .is_some_and(|v| v.parse::<f64>().is_ok())
    {
        own.insert("holdout".into(), args.holdout.unwrap_or(HOLDOUT).into());
    }
    own.insert("seeds".into(), (seeds as i64).into());
    own.insert("sensitivity".into(), sensitivity.name().into());
    let warmup = if space.keeps_warmup() { "given" } else { "own" };
    own.insert(TRIAL_WARMUP.into(), warmup.into());
    train::record_as("tune", own, folder, &args.train, base, recipe, model)
}

/// What is done once the figures are there.
struct Finish<'a> {
    args: &'a TrainArgs,
    valid: Option<String>,
    space: &'a Space,
    model: &'a str,
    folder: &'a Output,
}

fn execute<B: Backend>(backend: &Arc<B>, tune: &Tune<'_>, done: &Finish<'_>) -> Result<Exit> {
    let stop = interrupt::watch()?;
    let folder = done.folder;
    let mut sink = train::sinks(folder)?;
    let report = tune.run(backend, &mut sink, stop);
    drop(sink);
    let Some(report) = folder.or_release(report)? else {
        say!(
            "interrupted; finished runs are kept; go on with: hone tune --resume --out {}",
            command::path(folder)
        );
        return Ok(Exit::Interrupted);
    };
    let command = done.command(&report, tune.chooser)?;
    if measured_any(&report) {
        let svg = picture(&report).to_svg();
        write_beside(&folder.join("sensitivity.svg"), &svg)?;
    }
    let mut object = serde_json::to_value(&report)?;
    object["command"] = json!(command);
    // Last: its presence says that the search is done.
    let text = serde_json::to_string_pretty(&object)? + "\n";
    write_beside(&folder.join("tune.json"), &text)?;
    if folder::is_newest(done.args, folder)
        && let (Some(runs), Some(own)) = (folder.parent(), folder.file_name())
    {
        folder::point_latest_at(runs, &PathBuf::from(own).join(BEST));
    }
    match done.args.json {
        true => out::line(serde_json::to_string::<Value>(&object)?)?,
        false => out::text(as_text(&report, &command, folder))?,
    }
    Ok(Exit::Done)
}

impl Finish<'_> {
    /// The command that repeats the saved model; `run.toml` beside that model says the same.
    fn command(&self, report: &TuneReport, chooser: Chooser) -> Result<String> {
        let best = &report.best;
        let mut args = TrainArgs {
            valid: self.valid.clone(),
            seed: Some(best.options.seed),
            out: None,
            resume: false,
            json: false,
            // All of it is said; nothing is left to choose.
            recipe: Some("standard".to_owned()),
            ..self.args.clone()
        };
        // Nothing chooses among steps where nothing but untouched rows could.
        if chooser != Chooser::Valid {
            args.select = Some("last".to_owned());
        }
        let folder = self.folder.join(BEST);
        train::record(&folder, &args, &best.options, None, self.model)?;
        train_command(self.model, &args, &self.space.flags(&best.options))
    }
}
