//! `hone study`: does a practice help on this data?

use crate::args::TrainArgs;
use crate::device::{self, on_device};
use crate::folder;
use crate::recipe::Ask;
use crate::study_arms::{self, ArmArgs};
use crate::{Exit, augment, command, crossval, dataset, fetch, interrupt, out, settings, train};
use anyhow::{Context, Result, bail};
use clap::Args;
use hone_bert::{Config, Task};
use hone_data::augment::Augmenter;
use hone_experiment::study::{Arm, ArmReport, Design, Study, StudyReport, Verdict};
use hone_kernels::Backend;
use hone_report::{Forest, ForestRow, Table, bytes, duration, say};
use hone_train::watch::CollapseGuard;
use hone_train::{
    JobData, KnownFeatures, Options, Output, fits_task, metrics, task_of, write_beside,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `hone study`.
#[derive(Debug, Clone, Default, Args)]
pub struct StudyArgs {
    /// An arm, "NAME: FLAGS": train's flags in which it differs from the options given here; may be given several
    /// times
    #[arg(
        long = "arm",
        value_name = "NAME: FLAGS",
        help_heading = "Study",
        allow_hyphen_values = true
    )]
    pub arms: Vec<String>,
    /// Arms by name, joined by commas: head-start, mean-pool, layer-decay, unfreeze, reinit, longer, r-drop, contrast,
    /// l2-sp, mixout, augment, label-smoothing, average, bias-only; their flags are printed
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        help_heading = "Study"
    )]
    pub practices: Vec<String>,
    /// Pairs at most; a pair is a fold and a seed, in which baseline and arms are each trained once [default: 10]
    #[arg(long, value_name = "N", help_heading = "Study")]
    pub pairs: Option<usize>,
    /// A pair holds out one of so many parts of the texts; there is a look after so many pairs [default: 5]
    #[arg(long, value_name = "K", help_heading = "Study")]
    pub folds: Option<usize>,
    /// Differences of the metric up to this are not worth having: an arm whose interval lies within is reported as no
    /// difference [default: 0.005, half a point; none for loss, rmse and mae, whose unit only you know: without it no arm is said to make
    /// no difference]
    #[arg(long, value_name = "X", help_heading = "Study")]
    pub margin: Option<f64>,
    /// Probability of any false claim, all looks and arms together [default: 0.05]
    #[arg(long, value_name = "P", help_heading = "Study")]
    pub alpha: Option<f64>,
    /// Everything that train takes is the baseline; --metric is what is compared, --valid the part of a pair's
    /// training texts that selects
    #[command(flatten)]
    pub train: TrainArgs,
}

/// `arm` is the flag's name, `arms` what a record says.
const OWN: [&str; 7] = [
    "arms",
    "arm",
    "practices",
    "pairs",
    "folds",
    "margin",
    "alpha",
];

impl StudyArgs {
    /// Lays the flags over the file that `--config` names.
    fn with_config(self) -> Result<StudyArgs> {
        let (train, file) = settings::with_config_and(self.train, &OWN)?;
        Ok(StudyArgs {
            arms: file.list("arm", file.list("arms", self.arms)?)?,
            practices: file.list("practices", self.practices)?,
            pairs: file.number("pairs", self.pairs)?,
            folds: file.number("folds", self.folds)?,
            margin: file.real("margin", self.margin)?,
            alpha: file.real("alpha", self.alpha)?,
            train,
        })
    }

    fn design(&self, metric: &str) -> Result<Design> {
        let design = Design {
            pairs: self.pairs.unwrap_or(10),
            folds: self.folds.unwrap_or(5),
            alpha: self.alpha.unwrap_or(0.05),
            margin: self.margin.unwrap_or_else(|| usual_margin(metric)),
            higher_is_better: metrics::better(metric, 1.0, 0.0),
        };
        let Design {
            pairs,
            folds,
            alpha,
            margin,
            ..
        } = design;
        if pairs < 2 {
            bail!(
                "--pairs {pairs}: at least 2 were expected; one pair cannot tell an effect from luck"
            );
        }
        if folds < 2 {
            bail!("--folds {folds}: at least 2 were expected");
        }
        if !(alpha > 0.0 && alpha < 0.5) {
            bail!("--alpha {alpha}: a number above 0 and below 0.5 was expected");
        }
        if !(margin >= 0.0 && margin.is_finite()) {
            bail!("--margin {margin}: a number from 0 was expected");
        }
        Ok(design)
    }
}

/// Half a point, for a metric that is a part of 1. What is little of a loss or an error nobody knows who does not know its unit:
/// for those no difference is too small.
fn usual_margin(metric: &str) -> f64 {
    match metrics::range(metric)[1].is_finite() {
        true => 0.005,
        false => 0.0,
    }
}

/// All training texts as one part; the test texts stay unread.
fn read(args: &TrainArgs, data: &Path) -> Result<(JobData, Option<f64>)> {
    let data = dataset::behind(data)?;
    let found = hone_data::find(&data)?;
    let file = found.train.unwrap_or(data);
    let unread = args.test.as_ref().or(found.test.as_ref());
    let own = TrainArgs {
        test: None,
        ..args.clone()
    };
    let (mut set, inner) = crossval::read(&own, &file)?;
    let others = [
        (unread, "keep it for the recipe that you choose in the end"),
        (
            found.valid.as_ref().filter(|_| args.valid.is_none()),
            "each pair selects by a part of its own training texts (--valid FILE selects by that)",
        ),
    ];
    for (path, why) in others {
        if let Some(path) = path {
            set.notes
                .push(format!("{} is not read: {why}", path.display()));
        }
    }
    Ok((set, inner))
}

/// Runs the verb.
pub fn run(args: StudyArgs) -> Result<Exit> {
    let args = args.with_config()?;
    let device = device::choose_for(&args.train)?;
    let Some(data) = args.train.data.clone() else {
        bail!("--data is missing: name a file or folder of labelled texts");
    };
    study_arms::arms(&args.train, &args.train, &args.practices, &args.arms)?;
    args.design("accuracy")?;
    let (data_set, inner) = read(&args.train, &data)?;
    let name = args.train.model.as_deref().unwrap_or("minilm");
    let model = fetch::model_folder(name)?;
    let config = Config::read(&Config::path_in(&model))?;
    let task = task_of(data_set.kind);
    let folds = args.folds.unwrap_or(5);
    let fit = |rows| crossval::fitted_texts(rows, folds);
    let valid = crossval::held_out_by(&args.train);
    let ask = Ask::divided(&args.train, &config, &model, &data_set, valid, &fit);
    // What was typed is recorded, so a study that goes on asks again and gets the same.
    let ask = Ask { out: None, ..ask };
    let known = KnownFeatures::default();
    let filled =
        on_device!(&device, backend => ask.fill_measured(&data_set.train, &known, backend))?;
    let Some((base_args, chosen)) = filled else {
        return Ok(train::stopped());
    };
    let inner = inner.filter(|_| base_args.valid.as_deref() != Some("none"));
    let typed = study_arms::arms(&args.train, &base_args, &args.practices, &args.arms)?;
    let fitted = data_set.train.rows.len() as f64 * (folds - 1) as f64 / folds as f64;
    let valid_rows = match (&data_set.valid, inner) {
        (Some(part), _) => part.rows.len(),
        (None, Some(fraction)) => (fitted * fraction) as usize,
        (None, None) => 0,
    };
    let (base, augmenter) = recipe(&base_args, &config, task, valid_rows, &data_set, &model)?;
    // Words that augmentation protects or exchanges are no options.
    let words = |a: &Option<Augmenter>| a.as_ref().map(Augmenter::hashes);
    let base_words = words(&augmenter);
    let mut recipes: Vec<(ArmArgs, Options, Option<Augmenter>)> = Vec::new();
    let read = |arm: &ArmArgs| {
        let named = || format!("arm {}", arm.name);
        let (options, augmenter) =
            recipe(&arm.args, &config, task, valid_rows, &data_set, &model).with_context(named)?;
        let idle = same(&base, &options) && words(&augmenter) == base_words;
        Ok::<_, anyhow::Error>((!idle).then_some((options, augmenter)))
    };
    for mut arm in typed {
        let mut found = read(&arm)?;
        if found.is_none()
            && let Some(other) = study_arms::without(&args.train, &base_args, &arm)?
        {
            say!(
                "{}: the baseline has it already ({}); what is measured is the baseline without it ({})",
                arm.name,
                arm.flags,
                other.flags
            );
            arm = other;
            found = read(&arm)?;
        }
        let Some((options, augmenter)) = found else {
            bail!(
                "arm {}: {} changes nothing of the baseline",
                arm.name,
                arm.flags
            );
        };
        recipes.push((arm, options, augmenter));
    }
    let design = args.design(&base.metric)?;
    let folder = folder::open(&args.train, &data, Study::WORK)?;
    folder.or_release(record(&args, design, &folder, name))?;
    let job = settings::job(
        &args.train,
        &model,
        &data_set,
        &base,
        augmenter.as_ref(),
        chosen.as_ref(),
        &known,
        Some(&folder),
    )?;
    let arms: Vec<Arm<'_>> = recipes
        .iter()
        .map(|(arm, options, augmenter)| Arm {
            name: arm.name.clone(),
            flags: arm.flags.clone(),
            options: options.clone(),
            frozen: settings::frozen(&arm.args),
            augment: augmenter.as_ref(),
        })
        .collect();
    let study = Study {
        job: &job,
        arms: &arms,
        design,
        inner,
        split_seed: args.train.split_seed.unwrap_or(0),
    };
    device.tell();
    on_device!(&device, backend => execute(backend, &study, &folder, args.train.json))
}

/// Whether two recipes do the same.
fn same(a: &Options, b: &Options) -> bool {
    // How often a run is saved changes no result, nor does a guard that only warns.
    let guard = |options: &Options| match options.collapse_guard {
        CollapseGuard::Restart => CollapseGuard::Restart,
        CollapseGuard::Off | CollapseGuard::Warn => CollapseGuard::Off,
    };
    let without = |options: &Options| Options {
        save_every: None,
        collapse_guard: guard(options),
        ..options.clone()
    };
    without(a) == without(b)
}

/// A recipe's hyperparameters, and what changes its texts.
fn recipe(
    args: &TrainArgs,
    config: &Config,
    task: Task,
    valid_rows: usize,
    data: &JobData,
    model: &Path,
) -> Result<(Options, Option<Augmenter>)> {
    let options = settings::options(args, config, task, valid_rows)?;
    fits_task(&options, task)?;
    if options.calibrate {
        bail!("--calibrate: the models of a study are not kept; calibrate the one of train");
    }
    if options.abstain_precision.is_some() {
        bail!("--abstain-precision: the models of a study are not kept; use it in train");
    }
    let (_, augmenter) = augment::of_training(args.clone(), data, model)?;
    Ok((options, augmenter))
}

/// `run.toml`: what was typed, not what was decided, because what an arm means depends on it (its `--lr` moves a
/// `--head-lr` that nobody gave). Every recipe's options as decided stand in `plan.json`.
fn record(args: &StudyArgs, design: Design, folder: &Path, model: &str) -> Result<()> {
    // What goes on keeps the record it began with: a refused --resume must not change it.
    if args.train.resume && folder.join("run.toml").is_file() {
        return Ok(());
    }
    let mut table = toml::Table::try_from(&args.train)?;
    table.insert("model".into(), model.into());
    table.insert("arms".into(), args.arms.clone().into());
    table.insert("practices".into(), args.practices.clone().into());
    table.insert("pairs".into(), (design.pairs as i64).into());
    table.insert("folds".into(), (design.folds as i64).into());
    table.insert("margin".into(), design.margin.into());
    table.insert("alpha".into(), design.alpha.into());
    let text = format!(
        "# The options given to this study; `hone study --config` takes this file. plan.json has every recipe's options \
         as decided.\n{}",
        toml::to_string(&table)?
    );
    Ok(write_beside(&folder.join("run.toml"), &text)?)
}

fn execute<B: Backend>(
    backend: &Arc<B>,
    study: &Study<'_>,
    folder: &Output,
    json: bool,
) -> Result<Exit> {
    let stop = interrupt::watch()?;
    let mut sink = train::sinks(folder)?;
    let report = study.run(backend, &mut sink, stop);
    drop(sink);
    let Some(report) = folder.or_release(report)? else {
        say!(
            "interrupted; finished trials are kept; go on with: hone study --resume --out {}",
            command::path(folder)
        );
        return Ok(Exit::Interrupted);
    };
    write_beside(&folder.join("study.svg"), &picture(&report).to_svg())?;
    match json {
        true => out::line(serde_json::to_string(&report)?)?,
        false => out::text(as_text(&report, folder))?,
    }
    Ok(Exit::Done)
}

/// The verdict as a person reads it, and what would tell more.
fn verdict(arm: &ArmReport) -> String {
    let decision = &arm.decision;
    match (decision.verdict, decision.pairs_needed) {
        (Verdict::Undecided, Some(n)) => format!("undecided; about {n} pairs would tell"),
        (Verdict::Undecided, None) => {
            "undecided; more texts would tell, more pairs hardly".to_owned()
        }
        (other, _) => match &arm.failed {
            Some(failure) => format!("failed in pair {}", failure.pair),
            None => other.name().to_owned(),
        },
    }
}

/// What a person reads at the end.
fn as_text(report: &StudyReport, folder: &Path) -> String {
    let mut table = Table::new(&[
        "arm", "pairs", "baseline", "effect", "interval", "verdict", "time", "tokens", "memory",
    ]);
    let mut failed = String::new();
    for arm in &report.arms {
        let d = &arm.decision;
        // An arm that failed in its first pair has no figures.
        let known = |figure: String| match d.estimate.pairs {
            0 => "–".to_owned(),
            _ => figure,
        };
        table.row([
            arm.name.clone(),
            d.estimate.pairs.to_string(),
            known(format!("{:.4}", arm.baseline_mean)),
            known(format!("{:+.4}", d.estimate.effect)),
            known(format!("{:+.4} to {:+.4}", d.interval[0], d.interval[1])),
            verdict(arm),
            known(format!("×{:.2}", arm.cost.seconds_ratio)),
            known(format!("×{:.2}", arm.cost.tokens_ratio)),
            known(bytes(arm.cost.planned_memory_bytes)),
        ]);
        if let Some(failure) = &arm.failed {
            failed += &format!(
                "{} failed in pair {}: {}\n",
                arm.name, failure.pair, failure.reason
            );
        }
    }
    let base = &report.baseline;
    let paths: Vec<PathBuf> = ["study.json", "study.svg"].map(|n| folder.join(n)).into();
    let mut text = format!(
        "{} of models trained on these texts, on further texts of their kind; the baseline's {:.4} over {} pairs, {} and \
         {} a trial\n\n{table}{failed}\n",
        report.metric,
        base.mean,
        base.pairs,
        duration(base.cost.seconds),
        bytes(base.cost.planned_memory_bytes),
    );
    let small = match report.design.margin {
        margin if margin > 0.0 => format!("differences up to {margin} count as none"),
        _ => format!(
            "no difference of {} counts as none: --margin, in its unit, would say which does",
            report.metric
        ),
    };
    text += &format!(
        "verdicts hold over all looks and arms: the probability of any false claim is at most {}; {small}\n",
        report.design.alpha
    );
    text += &format!("{} in all", duration(report.seconds));
    if let Some(peak) = report.peak_memory_bytes {
        text += &format!(", {} of memory at most", bytes(peak));
    }
    text + &format!("; {}, {}\n", paths[0].display(), paths[1].display())
}

/// Effects and intervals, the pairs behind them as faint dots.
fn picture(report: &StudyReport) -> Forest {
    let row = |arm: &ArmReport| ForestRow {
        name: arm.name.clone(),
        effect: arm.decision.estimate.effect,
        interval: arm.decision.interval,
        points: arm.differences.clone(),
        note: format!("{}, time ×{:.2}", verdict(arm), arm.cost.seconds_ratio),
        group: match arm.decision.verdict {
            Verdict::NoDifference => 0,
            Verdict::Hurts => 1,
            Verdict::Helps => 2,
            Verdict::Failed => 3,
            Verdict::Undecided => 4,
        },
    };
    Forest {
        title: format!(
            "Does it help? {} texts, {} pairs at most",
            report.rows, report.design.pairs
        ),
        x: format!("{}, arm minus baseline", report.metric),
        margin: report.design.margin,
        rows: report.arms.iter().map(row).collect(),
    }
}
