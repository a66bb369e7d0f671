//! `hone pretrain`: a model says masked words of your own texts, before it is fine-tuned on labelled ones.

use crate::args::TrainArgs;
use crate::device::{self, on_device};
use crate::{Exit, command, dataset, fetch, folder, interrupt, settings, train};
use anyhow::{Result, anyhow, bail};
use clap::Args;
use hone_bert::{Config, Task, holds_head};
use hone_data::masking::Unit;
use hone_kernels::Backend;
use hone_report::say;
use hone_train::{Options, Output, Pretrained, Pretraining, RawSource, Summary, Work};
use std::path::Path;
use std::sync::Arc;

/// `hone pretrain`.
#[derive(Debug, Clone, Default, Args)]
pub struct PretrainArgs {
    /// Share of each text's word pieces that is masked [default: 0.15]
    #[arg(long, value_name = "SHARE", help_heading = "Masking")]
    pub mask_share: Option<f64>,
    /// What is masked together: words, all pieces of a word, or pieces, each by itself [default: words]
    #[arg(long, value_name = "UNIT", help_heading = "Masking")]
    pub mask_unit: Option<String>,
    /// What train takes, but for what is about labels
    #[command(flatten)]
    pub train: TrainArgs,
}

const OWN: [&str; 2] = ["mask_share", "mask_unit"];

/// Options of train that are about labels, or about heads that answer them, by their names in clap.
const ELSEWHERE: [&str; 23] = [
    "test",
    "recipe",
    "label_column",
    "task",
    "truncate",
    "strict",
    "head_dropout",
    "label_smoothing",
    "class_weights",
    "focal_loss",
    "r_drop",
    "contrast",
    "contrast_temperature",
    "cache_frozen",
    "init_head",
    "pool",
    "standardize",
    "reinit_top",
    "augment",
    "wordnet",
    "protect",
    "calibrate",
    "abstain_precision",
];

/// An option as the help of this verb has it: what is about labels is left out, and nothing is chosen by a recipe.
pub fn shown(option: clap::Arg) -> clap::Arg {
    let elsewhere = ELSEWHERE.contains(&option.get_id().as_str());
    let help = option.get_help().map(ToString::to_string);
    let plain = help.map(|text| {
        let text = text.replace("by --recipe; standard: ", "");
        text.replace("by --recipe; ", "")
    });
    match plain {
        Some(plain) => option.help(plain).hide(elsewhere),
        None => option.hide(elsewhere),
    }
}

/// The first of [`ELSEWHERE`] that was typed.
fn misplaced(args: &TrainArgs) -> Result<Option<String>> {
    let serde_json::Value::Object(typed) = serde_json::to_value(args)? else {
        bail!("options must form an object");
    };
    let found = ELSEWHERE.iter().find(|name| typed.contains_key(**name));
    Ok(found.map(|name| name.replace('_', "-")))
}

/// What the encoder and its head learn at where that head is new: it has all to learn, and until it has, what reaches the
/// encoder is noise.
const UNDER_A_NEW_HEAD: (f64, f64) = (1e-5, 1e-3);

/// Rates that were not given. A head that has learned learns as the encoder does.
fn rates(args: &mut TrainArgs, model: &Path, config: &Config) -> Result<()> {
    let scratch = args.init.as_deref() == Some("random");
    let new = args.new_head || !holds_head(model, config, Task::Mask, &[])?;
    let (lr, head) = match new && !scratch {
        true => UNDER_A_NEW_HEAD,
        false => (Options::default().lr, 0.0),
    };
    let lr = *args.lr.get_or_insert(lr);
    args.head_lr.get_or_insert(head.max(lr));
    Ok(())
}

/// Runs the verb.
pub fn run(all: PretrainArgs) -> Result<Exit> {
    if let Some(flag) = misplaced(&all.train)? {
        bail!("--{flag} is no option of pretrain, whose texts have no labels");
    }
    let (mut args, file) = settings::with_config_and(all.train, &OWN)?;
    let share = file.real("mask_share", all.mask_share)?.unwrap_or(0.15);
    if !(share > 0.0 && share < 1.0) {
        bail!("--mask-share {share}: a share between 0 and 1 was expected");
    }
    let word = file.word("mask_unit", all.mask_unit)?;
    let word = word.unwrap_or_else(|| "words".to_owned());
    let unit: Unit = word.parse().map_err(|e| anyhow!("--mask-unit {e}"))?;
    let device = device::choose_for(&args)?;
    let Some(data) = args.data.clone() else {
        bail!(
            "--data is missing: name a file of texts (of a .txt each line is one), or a folder with train and valid"
        );
    };
    let source = RawSource {
        data: dataset::behind(&data)?,
        valid: settings::valid_source(&args)?,
        columns: settings::columns(&args.columns, args.group_column.as_ref()),
        split_seed: settings::seed("split-seed", args.split_seed)?,
    };
    let texts = source.read()?;
    let name = args.model.clone().unwrap_or_else(|| "minilm".to_owned());
    let model = fetch::model_folder(&name)?;
    let config = Config::read(&Config::path_in(&model))?;
    rates(&mut args, &model, &config)?;
    let valid_rows = texts.valid.as_ref().map_or(0, |v| v.rows.len());
    let options = settings::options(&args, &config, Task::Mask, valid_rows)?;
    let out = match (&args.out, args.resume) {
        (None, false) => folder::new(&folder::next_run(&data, "-pretrained")?, Work::RUN)?,
        _ => folder::open(&args, &data, Work::RUN)?,
    };
    let mut own = toml::Table::new();
    own.insert("mask_share".into(), share.into());
    own.insert("mask_unit".into(), word.into());
    let recorded = train::record_as("pretrain", own, &out, &args, &options, None, &name);
    out.or_release(recorded)?;
    let job = Pretraining {
        model: &model,
        texts: &texts,
        options: &options,
        max_length: args.columns.max_length,
        share,
        unit,
        out: Some(&out),
    };
    device.tell();
    on_device!(device, backend => execute(backend, &job, &out, &args))
}

fn execute<B: Backend>(
    backend: Arc<B>,
    job: &Pretraining<'_>,
    out: &Output,
    args: &TrainArgs,
) -> Result<Exit> {
    let stop = interrupt::watch()?;
    let mut sink = train::sinks(out)?;
    let done = job.run(backend, &mut sink, stop);
    drop(sink);
    let done =
        train::unless_interrupted("pretrain", done, out, |done| (done.ending, &done.summary))?;
    let Some(Pretrained { summary, .. }) = done else {
        return Ok(Exit::Interrupted);
    };
    if args.json {
        crate::out::line(serde_json::to_string(&summary)?)?;
    }
    report(&summary, out);
    Ok(Exit::Done)
}

/// What a person reads at the end.
fn report(summary: &Summary, out: &Path) {
    train::tell_cost(summary);
    if let Some(before) = &summary.before {
        say!("valid, before: {}", before.headline());
    }
    if let Some(valid) = &summary.valid {
        say!("valid, after:  {}", valid.metrics.headline());
    }
    if let Some(gap) = &summary.gap {
        say!("{}", gap.advice);
    }
    say!("model: {}", out.display());
    say!(
        "next:  hone train --model {} --data FILE, with your labelled texts",
        command::path(out)
    );
}
