//! `hone find-lr`: a learning-rate range test, and the rate to train with.

use crate::args::TrainArgs;
use crate::command::train_command;
use crate::device::{self, on_device};
use crate::folder;
use crate::{Exit, augment, fetch, interrupt, out, recipe, settings, train};
use anyhow::{Result, bail};
use clap::Args;
use hone_bert::Config;
use hone_experiment::{RangeReport, RangeTest, SuggestedRate, csv_text};
use hone_kernels::Backend;
use hone_optim::GroupPolicy;
use hone_report::{Curve, Curves, Mark, Progress, Scale, Table, duration, say};
use hone_tensor::Depth;
use hone_train::{KnownFeatures, Options, Output, task_of, write_beside};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Rows of the printed table at most; the CSV file has every measurement.
const SHOWN: usize = 26;

/// `hone find-lr`.
#[derive(Debug, Clone, Default, Args)]
pub struct FindLrArgs {
    /// Rate of the body at the first step [default: 1e-7]
    #[arg(long, value_name = "RATE", help_heading = "Range test")]
    pub from: Option<f64>,
    /// Rate of the body at the last step; the test ends sooner where the loss diverges [default: 1e-2]
    #[arg(long, value_name = "RATE", help_heading = "Range test")]
    pub to: Option<f64>,
    /// Steps from one to the other, each by the same factor [default: 100; fewer where that would be more than ten
    /// passes over the texts, but at least 40]
    #[arg(long, value_name = "N", help_heading = "Range test")]
    pub steps: Option<usize>,
    /// Repeats with other seeds, whose mean is read [default: 2]
    #[arg(long, value_name = "N", help_heading = "Range test")]
    pub repeats: Option<usize>,
    /// Training texts that each repeat sets aside to measure the loss on, a fifth of all at most [default: 64]
    #[arg(long, value_name = "N", help_heading = "Range test")]
    pub held_out: Option<usize>,
    /// Everything that train takes: --lr and --head-lr give the ratio of head to body, what concerns a whole run is
    /// handed on to the command that is printed
    #[command(flatten)]
    pub train: TrainArgs,
}

const OWN: [&str; 5] = ["from", "to", "steps", "repeats", "held_out"];

/// The verb's own options, decided.
struct Range {
    from: f64,
    to: f64,
    steps: Option<usize>,
    repeats: usize,
    held_out: usize,
}

impl FindLrArgs {
    /// Lays the flags over the file that `--config` names.
    fn with_config(self) -> Result<(TrainArgs, Range)> {
        let (train, file) = settings::with_config_and(self.train, &OWN)?;
        let rate = |key: &str, given: Option<f64>, usual: f64| {
            let value = file.real(key, given)?.unwrap_or(usual);
            match value.is_finite() && value > 0.0 {
                true => Ok(value),
                false => bail!("--{key} {value}: a positive number was expected"),
            }
        };
        let number = |key: &str, given: Option<usize>, least: usize| {
            let value = file.number(key, given)?;
            match value {
                Some(n) if n < least => bail!(
                    "--{} {n}: at least {least} was expected",
                    key.replace('_', "-")
                ),
                _ => Ok(value),
            }
        };
        let range = Range {
            from: rate("from", self.from, 1e-7)?,
            to: rate("to", self.to, 1e-2)?,
            steps: number("steps", self.steps, 10)?,
            repeats: number("repeats", self.repeats, 1)?.unwrap_or(2),
            held_out: number("held_out", self.held_out, 1)?.unwrap_or(64),
        };
        if range.from >= range.to {
            bail!(
                "--from {:e} --to {:e}: the rate must grow; --to must be the larger one",
                range.from,
                range.to
            );
        }
        Ok((train, range))
    }
}

/// Runs the verb.
pub fn run(all: FindLrArgs) -> Result<Exit> {
    let (mut args, range) = all.with_config()?;
    // The rule was measured with a head that begins with nothing: one that begins fitted has little left to fall.
    args.recipe.get_or_insert_with(|| "standard".to_owned());
    let device = device::choose(&args.machine)?;
    let Some(data) = args.data.clone() else {
        bail!("--data is missing: name a file or folder of labelled texts");
    };
    if args.resume {
        bail!("--resume: a range test is short and keeps nothing to go on from; run it again");
    }
    // What cannot be written is said before minutes of work.
    let out = args
        .out
        .as_deref()
        .map(|out| folder::new(out, RangeTest::WORK));
    let out = out.transpose()?;
    let source = settings::data_source(&args, &data)?;
    let found = source.open()?;
    let name = args.model.clone().unwrap_or_else(|| "minilm".to_owned());
    let model = fetch::model_folder(&name)?;
    let config = Config::read(&Config::path_in(&model))?;
    let known = KnownFeatures::default();
    let divided = on_device!(&device, backend => recipe::divide(&args, &config, &model, &source, found, &known, backend))?;
    let Some((mut data_set, (args, recipe))) = divided else {
        return Ok(train::stopped());
    };
    let valid_rows = data_set.valid.as_ref().map_or(0, |v| v.rows.len());
    // The rows that a run would train on, and no others.
    (data_set.valid, data_set.test) = (None, None);
    let options = settings::options(&args, &config, task_of(data_set.kind), valid_rows)?;
    let (args, augmenter) = augment::of_training(args, &data_set, &model)?;
    let job = settings::job(
        &args,
        &model,
        &data_set,
        &options,
        augmenter.as_ref(),
        recipe.as_ref(),
        &known,
        None,
    )?;
    let test = RangeTest {
        job: &job,
        from: range.from,
        to: range.to,
        steps: range.steps,
        repeats: range.repeats,
        held_out: range.held_out,
    };
    let found = Found {
        args: &args,
        data: &data,
        model: &name,
        options: &options,
        layers: config.layers,
    };
    device.tell();
    on_device!(&device, backend => execute(backend, &test, &found, out))
}

fn execute<B: Backend>(
    backend: &Arc<B>,
    test: &RangeTest<'_>,
    found: &Found<'_>,
    out: Option<Output>,
) -> Result<Exit> {
    let started = Instant::now();
    let stop = interrupt::watch()?;
    let mut sink = Progress::new();
    let report = test.run(backend, &mut sink, stop);
    drop(sink);
    let report = match &out {
        Some(out) => out.or_release(report)?,
        None => report?,
    };
    let Some(report) = report else {
        if let Some(out) = out {
            out.give_back(&[]);
        }
        say!("interrupted; nothing was written");
        return Ok(Exit::Interrupted);
    };
    let folder = match out {
        Some(folder) => folder,
        None => folder::new(&folder::next_run(found.data, "-lr")?, RangeTest::WORK)?,
    };
    let object = found.object(&report, &folder)?;
    write_beside(&folder.join("lr.svg"), &found.picture(&report).to_svg())?;
    write_beside(&folder.join("lr.csv"), &csv_text(&columns(&report))?)?;
    let text = serde_json::to_string_pretty(&object)? + "\n";
    write_beside(&folder.join("lr.json"), &text)?;
    let Some(suggestion) = &report.suggestion else {
        bail!(
            "no rate lowered the loss of the held-out texts: the curve is {}; try another --from and --to, more --steps \
             or a larger --held-out",
            folder.join("lr.svg").display()
        );
    };
    match found.args.json {
        true => out::line(serde_json::to_string(&object)?)?,
        false => out::text(found.text(&report, suggestion, &folder)?)?,
    }
    say!(
        "range test done in {}",
        duration(started.elapsed().as_secs_f64())
    );
    Ok(Exit::Done)
}

/// What the answer is made of besides the measurements.
struct Found<'a> {
    args: &'a TrainArgs,
    data: &'a Path,
    model: &'a str,
    options: &'a Options,
    layers: usize,
}

/// Two digits: no range test knows more.
fn rounded(rate: f64) -> f64 {
    format!("{rate:.1e}").parse().unwrap_or(rate)
}

/// Body's and head's rate as they are printed.
fn rates(report: &RangeReport, suggestion: &SuggestedRate) -> (f64, f64) {
    let lr = rounded(suggestion.lr);
    (lr, rounded(lr * report.head_ratio))
}

impl Found<'_> {
    /// The command to go on with: what was given here, with the rates that were found.
    fn command(&self, report: &RangeReport, suggestion: &SuggestedRate) -> Result<String> {
        let (lr, head_lr) = rates(report, suggestion);
        let mut over = vec![("lr", format!("{lr:e}"))];
        // What the recipe chose is said; nothing is left to choose.
        if self.args.recipe.as_deref() == Some("auto") {
            over.push(("recipe", "standard".to_owned()));
        }
        if self.args.head_lr.is_some() {
            over.push(("head_lr", format!("{head_lr:e}")));
        }
        train_command(self.model, self.args, &over)
    }

    /// What `--json` prints and `lr.json` holds.
    fn object(&self, report: &RangeReport, folder: &Path) -> Result<Value> {
        let mut object = serde_json::to_value(report)?;
        let (Value::Object(map), Some(s)) = (&mut object, &report.suggestion) else {
            return Ok(object);
        };
        map.insert("cautions".into(), json!(report.cautions()));
        let (lr, head_lr) = rates(report, s);
        map.insert("lr".into(), json!(lr));
        map.insert("head_lr".into(), json!(head_lr));
        map.insert("command".into(), json!(self.command(report, s)?));
        map.insert(
            "plot".into(),
            json!(folder.join("lr.svg").display().to_string()),
        );
        Ok(object)
    }
}

/// The curve as CSV: the mean and every repeat, a line a measurement.
fn columns(report: &RangeReport) -> Vec<Vec<String>> {
    let mut head: Vec<String> = ["lr", "head_lr", "loss", "smoothed"]
        .map(str::to_owned)
        .into();
    head.extend((1..=report.repeats.len()).map(|n| format!("repeat_{n}")));
    let mut lines = vec![head];
    let longest = report.repeats.iter().max_by_key(|r| r.points.len());
    for (i, point) in longest.iter().flat_map(|r| r.points.iter().enumerate()) {
        let cell = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
        let mut line = vec![
            point.lr.to_string(),
            point.head_lr.to_string(),
            cell(report.mean.losses.get(i).copied()),
            cell(report.mean.smoothed.get(i).copied()),
        ];
        let each = report.repeats.iter();
        line.extend(each.map(|r| cell(r.points.get(i).map(|p| p.loss))));
        lines.push(line);
    }
    lines
}

impl Found<'_> {
    fn picture(&self, report: &RangeReport) -> Curves {
        // What diverged would flatten everything else.
        let top = 1.6 * report.mean.start;
        let line = |name: String, points: Vec<(f64, f64)>| Curve {
            name,
            points: points
                .into_iter()
                .map(|(x, y)| (x, if y <= top { y } else { f64::NAN }))
                .collect(),
        };
        let mean = &report.mean;
        let smoothed = mean
            .rates
            .iter()
            .copied()
            .zip(mean.smoothed.iter().copied());
        let mut curves = vec![line("mean, smoothed".to_owned(), smoothed.collect())];
        for (n, repeat) in report.repeats.iter().enumerate() {
            let points = repeat.points.iter().map(|p| (p.lr, p.loss)).collect();
            curves.push(line(format!("repeat {}", n + 1), points));
        }
        Curves {
            title: format!("range test: {} on {}", self.model, self.data.display()),
            x: "learning rate of the body".to_owned(),
            y: "loss of held-out training texts".to_owned(),
            scale: Scale::Log10,
            marks: report
                .suggestion
                .iter()
                .map(|s| Mark {
                    x: s.lr,
                    name: format!("suggested: {:e}", rounded(s.lr)),
                })
                .collect(),
            curves,
        }
    }

    /// What a person reads at the end.
    fn text(&self, report: &RangeReport, s: &SuggestedRate, folder: &Path) -> Result<String> {
        let mean = &report.mean;
        let mut table = Table::new(&["body", "head", "loss", "smoothed", ""]);
        let every = mean.rates.len().div_ceil(SHOWN).max(1);
        let shown = || (0..mean.rates.len()).filter(|i| i % every == every - 1);
        let far = |i: usize| (mean.rates[i].ln() - s.lr.ln()).abs();
        let nearest = shown().min_by(|&a, &b| far(a).total_cmp(&far(b)));
        for i in shown() {
            table.row([
                format!("{:.1e}", mean.rates[i]),
                format!("{:.1e}", mean.rates[i] * report.head_ratio),
                format!("{:.4}", mean.losses[i]),
                format!("{:.4}", mean.smoothed[i]),
                match nearest == Some(i) {
                    true => "← suggested".to_owned(),
                    false => String::new(),
                },
            ]);
        }
        let mut text = format!(
            "{table}\nloss of {} held-out training texts, mean of {} repeats; before training {:.4}\n",
            report.held_out_rows,
            report.repeats.len(),
            mean.start
        );
        let ended = report.repeats.iter().filter(|r| r.diverged).count();
        if ended > 0 {
            text += &format!(
                "the loss diverged in {ended} of {} repeats\n",
                report.repeats.len()
            );
        }
        let (lr, head_lr) = rates(report, s);
        text += &format!(
            "of the smoothed loss, half of the fall is done at body rate {:.1e}, and the lowest, {:.4}, is at {:.1e}\n\n\
             suggested: body {lr:e}, head {head_lr:e} (three times the rate of half the fall; head to body {})\n",
            s.middle_lr,
            s.lowest_loss,
            s.lowest_lr,
            (report.head_ratio * 1e4).round() / 1e4
        );
        let alone: Vec<String> = s
            .alone
            .iter()
            .map(|one| one.map_or("none".to_owned(), |x| format!("{x:.1e}")))
            .collect();
        if alone.len() > 1 {
            text += &format!("  each repeat alone: {}\n", alone.join(", "));
        }
        if s.unsure() {
            text += "  the repeats disagree: more --repeats or a larger --held-out make it surer\n";
        }
        for caution in report.cautions() {
            text += &format!("  warning: {caution}\n");
        }
        if s.at_end {
            text +=
                "  the loss still fell at the last rate: a larger --to would show where it turns\n";
        }
        if self.options.layer_decay != 1.0 {
            let policy = GroupPolicy {
                lr,
                head_lr,
                layer_decay: self.options.layer_decay,
                weight_decay: self.options.weight_decay,
                layers: self.layers,
            };
            let mut each = vec![format!("head {head_lr:.2e}")];
            for layer in (0..self.layers).rev() {
                let rate = policy.lr_at(Depth::Layer(layer));
                each.push(format!("layer {layer} {rate:.2e}"));
            }
            each.push(format!(
                "embeddings {:.2e}",
                policy.lr_at(Depth::Embeddings)
            ));
            text += &format!("  per layer: {}\n", each.join(", "));
        }
        Ok(text
            + &format!(
                "go on with: {}\ncurve: {}, lr.csv, lr.json\n",
                self.command(report, s)?,
                folder.join("lr.svg").display()
            ))
    }
}
