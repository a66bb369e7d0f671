//! `hone crossval`: what a recipe is worth on data, by k folds.

use crate::args::TrainArgs;
use crate::device::{self, on_device};
use crate::folder;
use crate::recipe::{Ask, Valid};
use crate::{Exit, augment, command, fetch, interrupt, out, settings, train, trust};
use anyhow::{Context, Result, bail};
use clap::Args;
use hone_bert::Config;
use hone_experiment::{Combine, CrossVal, CrossValReport};
use hone_kernels::Backend;
use hone_report::{Table, bytes, count, duration, say};
use hone_train::{JobData, KnownFeatures, Output, ValidSource, metrics, task_of};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Part of a fold's training rows that selects weights, unless `--valid` says otherwise.
const INNER: f64 = 0.1;

/// `hone crossval`.
#[derive(Debug, Clone, Default, Args)]
pub struct CrossvalArgs {
    /// Folds: every row is held out once in each repeat [default: 5]
    #[arg(long, value_name = "K", help_heading = "Folds")]
    pub folds: Option<usize>,
    /// Repeats, each with other folds [default: 1]
    #[arg(long, value_name = "R", help_heading = "Folds")]
    pub repeats: Option<usize>,
    /// Average the folds' weights into one model, in soup/ of the output folder [default: no]
    #[arg(long, help_heading = "Folds", conflicts_with = "vote")]
    pub soup: bool,
    /// Average the folds' probabilities on the test texts [default: no]
    #[arg(long, help_heading = "Folds")]
    pub vote: bool,
    /// Then train on all rows, for the median of the epochs (with --max-steps: of the steps) that the folds chose; the
    /// output folder becomes that model's [default: no]
    #[arg(long, help_heading = "Folds")]
    pub final_fit: bool,
    /// Keep every fold's model in folds/R-K of the output folder [default: no]
    #[arg(long, help_heading = "Folds")]
    pub keep_folds: bool,
    /// Everything that train takes; --valid is the part of each fold's training texts that selects
    #[command(flatten)]
    pub train: TrainArgs,
}

const OWN: [&str; 6] = [
    "folds",
    "repeats",
    "soup",
    "vote",
    "final_fit",
    "keep_folds",
];

impl CrossvalArgs {
    /// Lays the flags over the file that `--config` names.
    fn with_config(self) -> Result<CrossvalArgs> {
        let (train, file) = settings::with_config_and(self.train, &OWN)?;
        let all = CrossvalArgs {
            folds: file.number("folds", self.folds)?,
            repeats: file.number("repeats", self.repeats)?,
            soup: file.flag("soup", self.soup)?,
            vote: file.flag("vote", self.vote)?,
            final_fit: file.flag("final_fit", self.final_fit)?,
            keep_folds: file.flag("keep_folds", self.keep_folds)?,
            train,
        };
        if all.soup && all.vote {
            bail!("--soup and --vote: choose one");
        }
        Ok(all)
    }

    fn combine(&self) -> Combine {
        match (self.soup, self.vote) {
            (true, _) => Combine::Soup,
            (_, true) => Combine::Vote,
            _ => Combine::Nothing,
        }
    }
}

/// All rows as one training part, and the part of a fold's training rows that selects.
pub fn read(args: &TrainArgs, data: &Path) -> Result<(JobData, Option<f64>)> {
    let source = settings::data_source(args, data)?;
    let (valid, inner) = match &source.valid {
        ValidSource::Usual => (&ValidSource::None, Some(INNER)),
        ValidSource::Fraction(f) => (&ValidSource::None, Some(*f)),
        given => (given, None),
    };
    let mut found = source.open()?;
    let unread = found.valid.take_if(|_| inner.is_some());
    let mut set = source.divide(found, valid)?;
    set.notes.extend(unread.map(|file| {
        format!(
            "{} is not read: each fold selects by a part of its own training texts (--valid FILE selects by that)",
            file.display()
        )
    }));
    Ok((set, inner))
}

/// Training texts of a fit by all but one of so many folds.
pub fn fitted_texts(rows: usize, folds: usize) -> usize {
    (rows as f64 * (folds - 1) as f64 / folds as f64).round() as usize
}

/// Whether a recipe may decide which part of a fit's texts selects.
pub fn held_out_by(args: &TrainArgs) -> Valid {
    match &args.valid {
        Some(_) => Valid::Decided,
        None => Valid::OpenInFolds,
    }
}

/// Runs the verb.
pub fn run(args: CrossvalArgs) -> Result<Exit> {
    let args = args.with_config()?;
    let device = device::choose_for(&args.train)?;
    let Some(data) = args.train.data.clone() else {
        bail!("--data is missing: name a file or folder of labelled texts");
    };
    let (folds, repeats) = (args.folds.unwrap_or(5), args.repeats.unwrap_or(1));
    if folds < 2 {
        bail!("--folds {folds}: at least 2 were expected");
    }
    if repeats == 0 {
        bail!("--repeats 0: at least 1 was expected");
    }
    let (mut data_set, inner) = read(&args.train, &data)?;
    if let Some(test) = &data_set.test
        && !(args.soup || args.vote || args.final_fit)
    {
        data_set.notes.push(format!(
            "the {} test texts are scored by no model: the folds' models are judged by their held-out rows; --final-fit, \
             --soup or --vote makes a model that is scored on them",
            count(test.rows.len())
        ));
    }
    let name = args.train.model.clone();
    let name = name.as_deref().unwrap_or("minilm");
    let model = fetch::model_folder(name)?;
    let config = Config::read(&Config::path_in(&model))?;
    let fit = |rows| fitted_texts(rows, folds);
    let ask = Ask::divided(
        &args.train,
        &config,
        &model,
        &data_set,
        held_out_by(&args.train),
        &fit,
    );
    let known = KnownFeatures::default();
    let filled =
        on_device!(&device, backend => ask.fill_measured(&data_set.train, &known, backend))?;
    let Some((filled, recipe)) = filled else {
        return Ok(train::stopped());
    };
    let inner = inner.filter(|_| filled.valid.as_deref() != Some("none"));
    let args = CrossvalArgs {
        train: filled,
        ..args
    };
    let fitted = data_set.train.rows.len() as f64 * (folds - 1) as f64 / folds as f64;
    let valid_rows = match (&data_set.valid, inner) {
        (Some(part), _) => part.rows.len(),
        (None, Some(fraction)) => (fitted * fraction) as usize,
        (None, None) => 0,
    };
    let options = settings::options(&args.train, &config, task_of(data_set.kind), valid_rows)?;
    let (decided, augmenter) = augment::of_training(args.train.clone(), &data_set, &model)?;
    let args = CrossvalArgs {
        train: decided,
        ..args
    };
    let folder = folder::open(&args.train, &data, CrossVal::WORK)?;
    let mut own = toml::Table::new();
    own.insert("folds".into(), toml::Value::Integer(folds as i64));
    own.insert("repeats".into(), toml::Value::Integer(repeats as i64));
    for (key, value) in [
        ("soup", args.soup),
        ("vote", args.vote),
        ("final_fit", args.final_fit),
        ("keep_folds", args.keep_folds),
    ] {
        own.insert(key.into(), value.into());
    }
    folder.or_release(train::record_as(
        "crossval",
        own,
        &folder,
        &args.train,
        &options,
        recipe.as_ref(),
        name,
    ))?;
    let job = settings::job(
        &args.train,
        &model,
        &data_set,
        &options,
        augmenter.as_ref(),
        recipe.as_ref(),
        &known,
        Some(&folder),
    )?;
    let crossval = CrossVal {
        job: &job,
        folds,
        repeats,
        inner,
        split_seed: args.train.split_seed.unwrap_or(0),
        combine: args.combine(),
        final_fit: args.final_fit,
        // A vote has no folder of its own: its models are the folds'.
        keep_models: args.keep_folds || args.vote,
    };
    device.tell();
    on_device!(&device, backend => execute(backend, &crossval, &folder, &args))
}

fn execute<B: Backend>(
    backend: &Arc<B>,
    crossval: &CrossVal<'_>,
    folder: &Output,
    args: &CrossvalArgs,
) -> Result<Exit> {
    let stop = interrupt::watch()?;
    let mut sink = train::sinks(folder)?;
    let report = crossval.run(backend, &mut sink, stop);
    drop(sink);
    let Some(report) = folder.or_release(report)? else {
        say!(
            "interrupted; finished folds are kept; go on with: hone crossval --resume --out {}",
            command::path(folder)
        );
        return Ok(Exit::Interrupted);
    };
    if args.soup {
        // predict and eval look there for how texts are cut.
        let (from, to) = (folder.join("run.toml"), folder.join("soup/run.toml"));
        fs::copy(&from, &to).with_context(|| to.display().to_string())?;
    }
    if args.final_fit && folder::is_newest(&args.train, folder) {
        folder::point_latest(folder);
    }
    if args.train.json {
        out::line(serde_json::to_string(&report)?)?;
    } else {
        out::text(as_text(&report, crossval, folder))?;
    }
    Ok(Exit::Done)
}

/// What a person reads at the end.
fn as_text(report: &CrossValReport, crossval: &CrossVal<'_>, folder: &Path) -> String {
    let names: Vec<&str> = metrics::names(task_of(crossval.job.data.kind)).to_vec();
    let mut headings = vec!["fold", "fitted", "held out", "epochs"];
    headings.extend(&names);
    headings.push("seconds");
    let mut table = Table::new(&headings);
    let value = |m: &metrics::Metrics, name: &str| {
        m.value(name).map_or(String::new(), |x| format!("{x:.4}"))
    };
    for r in &report.per_fold {
        let mut row = vec![
            format!("{}-{}", r.repeat, r.fold),
            r.train_rows.to_string(),
            r.held_out_rows.to_string(),
            format!("{:.2}", r.best_epochs),
        ];
        row.extend(names.iter().map(|name| value(&r.held_out, name)));
        row.push(format!("{:.1}", r.seconds));
        table.row(row);
    }
    let mut text = format!("{table}\n");
    let mut spreads = Table::new(&[
        "metric",
        "mean",
        "std",
        "95 % interval (corrected resampled t)",
    ]);
    for name in &names {
        if let Some(s) = report.metrics.get(*name) {
            spreads.row([
                (*name).to_owned(),
                format!("{:.4}", s.mean),
                format!("{:.4}", s.std),
                s.interval.map_or("–".to_owned(), |[low, high]| {
                    format!("{low:.4} to {high:.4}")
                }),
            ]);
        }
    }
    text += &format!("{spreads}\n");
    for (i, pooled) in report.pooled.iter().enumerate() {
        text += &format!(
            "all held-out rows, repeat {}: {}\n",
            i + 1,
            pooled.headline()
        );
    }
    if let Some(s) = &report.suspects {
        text += &format!(
            "labels worth a look: {} of {} rows in {}, the most doubtful first ({:.1} % of all labels are estimated to be wrong; \
             a model that answers many rows wrong doubts many that are right)\n",
            count(s.suspects),
            count(report.rows),
            folder.join("suspects.csv").display(),
            100.0 * s.estimated_noise
        );
        if let Some(caution) = s.caution {
            text += &format!("  but {caution}\n");
        }
    }
    if let Some(c) = &report.combined {
        if let Some(test) = &c.test {
            text += &format!(
                "test, {} of {} models: {}\n",
                c.how,
                c.models,
                test.headline()
            );
        }
        if let Some(own) = &c.folder {
            let own: PathBuf = folder.join(own);
            text += &format!(
                "soup: hone predict --model {} \"Not bad at all\"\n",
                command::path(&own)
            );
        }
    }
    if let Some(f) = &report.final_fit {
        text += &format!("model of all rows ({}): {}\n", f.length(), f.note);
        let calibrated = f.summary.calibration.iter().flat_map(trust::calibrated);
        let abstained = f.summary.abstention.iter();
        let but = "if the final model, of all texts, answers as well as those of the folds did";
        let abstained = abstained.flat_map(|found| trust::abstained(found, Some(but)));
        for line in calibrated.chain(abstained) {
            text += &format!("{line}\n");
        }
        if let Some(test) = &f.summary.test {
            text += &format!("test, model of all rows: {}\n", test.metrics.headline());
        }
        text += &format!(
            "try: hone predict --model {} \"Not bad at all\"\n",
            command::path(folder)
        );
    }
    text += &format!("{} in all", duration(report.seconds));
    if let Some(peak) = report.peak_memory_bytes {
        text += &format!(", {} of memory at most", bytes(peak));
    }
    text + &format!("; {}\n", folder.join("crossval.json").display())
}
