//! What a run left in its folder, as people read it: what was trained, how the curves went, the figures.

use crate::command;
use crate::knowledge::{json_file, run_toml};
use crate::recipe::RECORD;
use anyhow::{Context, Result};
use hone_report::{Curve, Curves, Table, bytes, count, duration};
use hone_train::Options;
use hone_train::metrics::Metrics;
use hone_train::recipe::OPTIONS;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Bound::{Excluded, Included};
use std::path::{Path, PathBuf};

/// Points of a curve where there was no validation.
const POINTS: usize = 10;
/// Points of the training loss in a picture: the mean of as many steps as that takes.
const SMOOTH: usize = 100;

/// One point of the learning curve.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Steps done.
    step: usize,
    /// Epochs done.
    epoch: f64,
    /// Mean training loss of the steps since the point before.
    train_loss: f64,
    /// Validation loss.
    valid_loss: Option<f64>,
    /// The metric that selects, on validation rows.
    selected: Option<f64>,
}

/// A run's folder, read.
pub struct RunReport {
    /// The folder.
    pub dir: PathBuf,
    /// `summary.json`.
    pub summary: Option<Value>,
    /// `interpolation.json`.
    pub interpolation: Option<Value>,
    /// `run.toml`.
    pub options: Option<toml::Table>,
    /// The learning curve.
    pub curve: Vec<Point>,
    losses: Vec<(usize, f64)>,
    crossval: bool,
}

impl RunReport {
    /// Reads what there is; a damaged file is an error.
    pub fn read(dir: &Path) -> Result<RunReport> {
        let crossval = dir.join("crossval.json").is_file();
        let log = dir.join("metrics.jsonl");
        // The log of a cross-validation or a study, both of which have a plan, is of many runs.
        let many = crossval || dir.join("plan.json").is_file();
        let (steps, evaluations) = match log.is_file() && !many {
            true => read_log(&log)?,
            false => Default::default(),
        };
        Ok(RunReport {
            dir: dir.to_owned(),
            summary: json_file(dir, "summary.json")?,
            interpolation: json_file(dir, "interpolation.json")?,
            options: run_toml(dir)?,
            curve: curve(&steps, evaluations),
            losses: steps.iter().map(|(step, s)| (*step, s.1)).collect(),
            crossval,
        })
    }

    /// Whether there is anything to tell.
    pub fn says_something(&self) -> bool {
        self.summary.is_some() || self.interpolation.is_some()
    }

    /// Why there is not.
    pub fn missing(&self) -> String {
        let dir = self.dir.display();
        let quoted = command::path(&self.dir);
        if self.crossval {
            return format!(
                "{dir}: this is a cross-validation; its figures are in {dir}/crossval.json"
            );
        }
        if self.dir.join("study.json").is_file() {
            return format!("{dir}: this is a study; its figures are in {dir}/study.json");
        }
        if self.dir.join("tune.json").is_file() {
            return format!(
                "{dir}: this is a search; its figures are in {dir}/tune.json, its model is {dir}/best"
            );
        }
        if self.dir.join("plan.json").is_file() {
            return format!(
                "{dir}: an unfinished cross-validation, study or search; go on with the verb that began it and --resume --out {quoted}"
            );
        }
        if self.options.is_some() && !self.dir.join("model.safetensors").is_file() {
            return format!(
                "{dir}: no summary.json, so this run is not done; go on with: hone train --resume --out {quoted}"
            );
        }
        format!(
            "{dir}: no summary.json here; a folder that hone train wrote was expected, or --base to see what this \
             model forgot"
        )
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Some(i) = &self.interpolation {
            text += &interpolated(i);
        }
        let Some(summary) = &self.summary else {
            return text;
        };
        text += &format!("{}\n", self.dir.display());
        if let Some(options) = &self.options {
            text += &trained(options, summary);
        }
        if !self.curve.is_empty() {
            text += &format!("\n{}", self.table());
            text += &format!("every step: {}\n", self.dir.join("metrics.jsonl").display());
        }
        text.push('\n');
        for part in ["valid", "test"] {
            if let Ok(metrics) = serde_json::from_value::<Metrics>(summary[part].clone()) {
                let chose = summary[part]["used_for_selection"] == true;
                let note = if chose {
                    " (these rows chose the weights)"
                } else {
                    ""
                };
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{part}: {}{note}", metrics.headline());
            }
        }
        if let Some(t) = summary["calibration"]["temperature"].as_f64() {
            let _ = writeln!(text, "calibrated: logits divided by {t:.3}");
        }
        let number = |key: &str| summary[key].as_f64().unwrap_or(0.0);
        let _ = write!(
            text,
            "{}, {} tokens/s",
            duration(number("seconds")),
            count(number("tokens_per_s") as usize)
        );
        if let Some(peak) = summary["peak_memory_bytes"].as_u64() {
            let _ = write!(text, ", {} of memory at most", bytes(peak));
        }
        let word = |key: &str| summary[key].as_str().unwrap_or("?");
        let _ = writeln!(
            text,
            "; hone {} on {}; {}",
            word("version"),
            word("kernel_path"),
            match word("ending") {
                "done" => "all steps done".to_owned(),
                other => format!("ended: {other}"),
            }
        );
        text
    }

    fn table(&self) -> Table {
        let validated = self.curve.iter().any(|p| p.valid_loss.is_some());
        let metric = self.metric();
        let mut headings = vec!["step", "epoch", "train loss"];
        if validated {
            headings.extend(["valid loss", metric]);
        }
        headings.push("");
        let mut table = Table::new(&headings);
        let best = self
            .summary
            .as_ref()
            .and_then(|s| s["best_step"].as_u64())
            .map(|s| s as usize);
        for p in &self.curve {
            let mut row = vec![
                p.step.to_string(),
                format!("{:.2}", p.epoch),
                format!("{:.4}", p.train_loss),
            ];
            if validated {
                row.extend(
                    [p.valid_loss, p.selected]
                        .map(|x| x.map_or(String::new(), |x| format!("{x:.4}"))),
                );
            }
            row.push(match Some(p.step) == best {
                true => "kept".to_owned(),
                false => String::new(),
            });
            table.row(row);
        }
        table
    }

    fn metric(&self) -> &str {
        let named = self.options.as_ref().and_then(|o| o.get("metric"));
        named.and_then(toml::Value::as_str).unwrap_or("metric")
    }

    /// A picture of the curves; `None` where no step was logged.
    pub fn svg(&self) -> Option<String> {
        if self.losses.is_empty() {
            return None;
        }
        let width = self.losses.len().div_ceil(SMOOTH);
        let middle = |part: &[(usize, f64)]| {
            let n = part.len() as f64;
            let at = part.iter().map(|(step, _)| *step as f64).sum::<f64>() / n;
            (at, part.iter().map(|(_, loss)| loss).sum::<f64>() / n)
        };
        let of = |pick: fn(&Point) -> Option<f64>| -> Vec<(f64, f64)> {
            let points = self.curve.iter();
            points
                .filter_map(|p| Some((p.step as f64, pick(p)?)))
                .collect()
        };
        let mut curves = vec![Curve {
            name: match width {
                1 => "train loss".to_owned(),
                n => format!("train loss, mean of {n} steps"),
            },
            points: self.losses.chunks(width).map(middle).collect(),
        }];
        for (name, points) in [
            ("valid loss".to_owned(), of(|p| p.valid_loss)),
            (format!("valid {}", self.metric()), of(|p| p.selected)),
        ] {
            if !points.is_empty() {
                curves.push(Curve { name, points });
            }
        }
        let picture = Curves {
            title: self.dir.display().to_string(),
            x: "step".to_owned(),
            y: "loss, metric".to_owned(),
            curves,
            ..Curves::default()
        };
        Some(picture.to_svg())
    }
}

type Steps = BTreeMap<usize, (f64, f64)>;

/// Epoch and loss of each step, and the validations. Logs of earlier versions have some steps twice, with the same bits;
/// of a run that began anew the last try counts.
fn read_log(path: &Path) -> Result<(Steps, BTreeMap<usize, Value>)> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let (mut steps, mut evaluations) = (Steps::new(), BTreeMap::new());
    let mut lines = text.lines().zip(1..).peekable();
    while let Some((line, number)) = lines.next() {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            // The last line of a run that was killed may be half a line.
            if lines.peek().is_none() {
                continue;
            }
            anyhow::bail!("{}: line {number}: no JSON", path.display());
        };
        let kind = event["event"].as_str();
        if kind == Some("collapsed") && !event["restart"].is_null() {
            // What came before was another try.
            steps.clear();
            evaluations.clear();
        }
        let Some(step) = event["step"].as_u64() else {
            continue;
        };
        let step = step as usize;
        match kind {
            Some("step") => {
                let number = |key: &str| event[key].as_f64().unwrap_or(f64::NAN);
                steps.insert(step, (number("epoch"), number("loss")));
            }
            Some("evaluated") => {
                evaluations.insert(step, event);
            }
            _ => {}
        }
    }
    Ok((steps, evaluations))
}

fn curve(steps: &Steps, evaluations: BTreeMap<usize, Value>) -> Vec<Point> {
    let ends: Vec<usize> = match evaluations.is_empty() {
        false => evaluations.keys().copied().collect(),
        true => {
            let all: Vec<usize> = steps.keys().copied().collect();
            let n = all.len().min(POINTS);
            (1..=n).map(|k| all[k * all.len() / n - 1]).collect()
        }
    };
    let mut before = 0;
    let mut points = Vec::new();
    for end in ends {
        let since = (Excluded(before), Included(end));
        let own: Vec<f64> = steps.range(since).map(|(_, s)| s.1).collect();
        let event = evaluations.get(&end);
        let number = |value: &Value| value.as_f64();
        points.push(Point {
            step: end,
            epoch: event
                .and_then(|e| number(&e["epoch"]))
                .or(steps.get(&end).map(|s| s.0))
                .unwrap_or(0.0),
            // NaN of no steps.
            train_loss: own.iter().sum::<f64>() / own.len() as f64,
            valid_loss: event.and_then(|e| number(&e["metrics"]["loss"])),
            selected: event.and_then(|e| number(&e["selected"])),
        });
        before = end;
    }
    points
}

/// What was trained, and with which options that are not the usual ones.
fn trained(options: &toml::Table, summary: &Value) -> String {
    let shown = |key: &str| match options.get(key) {
        Some(toml::Value::String(s)) => s.clone(),
        Some(toml::Value::Float(x)) if *x != 0.0 && x.abs() < 1e-3 => format!("{x:e}"),
        Some(toml::Value::Float(x)) => x.to_string(),
        Some(other) => other.to_string(),
        None => "?".to_owned(),
    };
    let length = match options.get("max_steps") {
        Some(n) => format!("{n} steps"),
        None => format!("{} epochs", shown("epochs")),
    };
    let mut text = format!(
        "{} on {}: {} texts, {length}, batch {}, rate {} (head {}), seed {}\n",
        shown("model"),
        shown("data"),
        count(summary["train_texts"]["texts"].as_u64().unwrap_or(0) as usize),
        shown("batch_size"),
        shown("lr"),
        shown("head_lr"),
        shown("seed"),
    );
    const SAID: [&str; 8] = [
        "epochs",
        "max_steps",
        "batch_size",
        "lr",
        "head_lr",
        "seed",
        "metric",
        "select",
    ];
    let usual = toml::Table::try_from(Options::default()).unwrap_or_default();
    let other: Vec<String> = usual
        .iter()
        .filter(|(key, value)| {
            let found = options.get(*key);
            !SAID.contains(&key.as_str()) && found.is_some_and(|f| f != *value)
        })
        .map(|(key, _)| format!("{} {}", key.replace('_', "-"), shown(key)))
        .collect();
    // Options that are usually absent.
    const ABSENT: [&str; 5] = [
        "patience",
        "abstain_precision",
        "save_every",
        "no_shuffle",
        "group_column",
    ];
    let given = ABSENT.iter().filter(|key| options.contains_key(**key));
    let given = given.map(|key| format!("{} {}", key.replace('_', "-"), shown(key)));
    let other: Vec<String> = other.into_iter().chain(given).collect();
    if !other.is_empty() {
        text += &format!("not as usual: {}\n", other.join(", "));
    }
    if let Some(chose) = options.get(RECORD).and_then(toml::Value::as_table) {
        let names: Vec<String> = OPTIONS
            .iter()
            .filter(|o| chose.contains_key(**o) && options.contains_key(**o))
            .map(|o| format!("{} {}", o.replace('_', "-"), shown(o)))
            .collect();
        if !names.is_empty() {
            text += &format!("chosen by the recipe: {}\n", names.join(", "));
        }
    }
    let again = &summary["restart"];
    if let (Some(lr), Some(head)) = (again["lr"].as_f64(), again["head_lr"].as_f64()) {
        text += &format!(
            "collapsed by step {}; begun anew with rate {lr:e} (head {head:e}) and {} steps of warm-up\n",
            again["collapse"]["step"], again["warmup"]
        );
    }
    text
}

/// What an interpolated folder is.
fn interpolated(i: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut text = format!(
        "interpolated: alpha {} between {} (0) and {} (1), chosen by {}\n",
        i["alpha"],
        word(&i["base"]["name"]),
        word(&i["tuned"]["folder"]),
        word(&i["rule"]),
    );
    if let Some(file) = i["data"]["file"].as_str() {
        text += &format!("measured on {} rows of {file}\n", i["data"]["rows"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reading of the weights as they began, which no run writes, and steps without a loss.
    #[test]
    fn a_log_of_odd_lines_is_read() {
        let evaluated = |step: usize| serde_json::json!({"step": step, "selected": 0.5});
        let steps = Steps::from([(2, (1.0, 0.5))]);
        let evaluations = [0, 2, usize::MAX].map(|s| (s, evaluated(s)));
        let points = curve(&steps, evaluations.into());
        let losses: Vec<f64> = points.iter().map(|p| p.train_loss).collect();
        assert!(losses[0].is_nan() && losses[1] == 0.5 && losses[2].is_nan());
        assert_eq!(points[0].selected, Some(0.5));
    }

    #[test]
    fn of_a_run_that_began_anew_the_second_try_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("metrics.jsonl");
        let step = |step: usize, loss: f64| {
            format!("{{\"event\":\"step\",\"step\":{step},\"epoch\":1.0,\"loss\":{loss}}}\n")
        };
        let told = "{\"event\":\"collapsed\",\"restart\":null}\n";
        let again = "{\"event\":\"collapsed\",\"restart\":{\"lr\":1e-5}}\n";
        let first = step(1, 3.0) + &step(2, 3.0) + &step(3, 3.0);
        std::fs::write(&log, first.clone() + told).unwrap();
        assert_eq!(read_log(&log).unwrap().0.len(), 3);
        // The second try ended sooner, and its last line is half a line.
        std::fs::write(&log, first + again + &step(1, 1.0) + "{\"event\":").unwrap();
        let (steps, _) = read_log(&log).unwrap();
        assert_eq!(steps.into_iter().collect::<Vec<_>>(), [(1, (1.0, 1.0))]);
    }
}
