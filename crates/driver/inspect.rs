//! `hone inspect`: what a model folder, a tensor file, a run or a data file holds.

use crate::args::InspectArgs;
use crate::{Exit, out};
use anyhow::{Context, Result, anyhow, bail, ensure};
use hone_bert::{Config, weight_files};
use hone_data::{Columns, DataError, LabelSet, Labels, Part, TaskKind, infer, read_file};
use hone_report::{Table, bytes, count};
use hone_tensor::SafetensorsFile;
use hone_train::task_of;
use serde_json::{Value, json};
use std::path::Path;

/// Runs the verb.
pub fn run(args: InspectArgs) -> Result<Exit> {
    let path = args.path.as_path();
    ensure!(path.exists(), "{}: no such file or folder", path.display());
    let found = if path.is_dir() && Config::path_in(path).is_file() {
        model(path)?
    } else if path.is_dir() {
        let run = ["run.toml", "plan.json"]
            .iter()
            .any(|f| path.join(f).is_file());
        let else_ = match run {
            true => "; hone report says what a run has come to",
            false => "",
        };
        bail!(
            "{}: no config.json here; a model folder, a .safetensors file or one data file was expected{else_}",
            path.display()
        );
    } else if path.extension().is_some_and(|e| e == "safetensors") {
        tensors(path)?
    } else {
        data(path)?
    };
    if args.json {
        out::line(found.1)?;
    } else {
        out::text(found.0)?;
    }
    Ok(Exit::Done)
}

fn model(path: &Path) -> Result<(String, Value)> {
    let c = Config::read(&Config::path_in(path))?;
    let mut tensors = 0;
    let mut numbers = 0;
    let mut size = 0;
    for file in weight_files(path)? {
        size += std::fs::metadata(&file)
            .with_context(|| file.display().to_string())?
            .len();
        for t in SafetensorsFile::open(&file)?.tensors() {
            tensors += 1;
            numbers += t.shape.iter().product::<usize>();
        }
    }
    let mut text = format!(
        "BERT: {} layers, hidden {}, {} heads, intermediate {}, vocabulary {}, {} positions\n{} tensors, {} numbers, {}\n",
        c.layers,
        c.hidden,
        c.heads,
        c.intermediate,
        count(c.vocabulary),
        c.positions,
        tensors,
        count(numbers),
        bytes(size)
    );
    if !c.labels.is_empty() {
        text += &format!("labels: {}\n", c.labels.join(", "));
    }
    let mut object = json!({
        "layers": c.layers, "hidden": c.hidden, "heads": c.heads, "intermediate": c.intermediate,
        "vocabulary": c.vocabulary, "positions": c.positions, "tensors": tensors, "numbers": numbers,
        "bytes": size, "labels": c.labels, "architectures": c.architectures,
    });
    let summary = path.join("summary.json");
    if summary.is_file() {
        let json: Value = serde_json::from_str(
            &std::fs::read_to_string(&summary).with_context(|| summary.display().to_string())?,
        )
        .with_context(|| summary.display().to_string())?;
        for part in ["valid", "test"] {
            if let Some(accuracy) = json[part]["accuracy"].as_f64() {
                text += &format!(
                    "{part} accuracy {accuracy:.4} on {} rows\n",
                    json[part]["rows"]
                );
            }
        }
        object["summary"] = json;
    }
    Ok((text, object))
}

fn tensors(path: &Path) -> Result<(String, Value)> {
    let file = SafetensorsFile::open(path)?;
    let mut table = Table::new(&["tensor", "type", "shape"]);
    let mut list = Vec::new();
    for t in file.tensors() {
        table.row([
            t.name.clone(),
            format!("{:?}", t.dtype),
            format!("{:?}", t.shape),
        ]);
        list.push(json!({"name": t.name, "dtype": format!("{:?}", t.dtype), "shape": t.shape}));
    }
    Ok((
        table.to_string(),
        json!({"tensors": list, "metadata": file.metadata()}),
    ))
}

/// How many rows each label has, where each row has one.
fn counted(part: &Part, kind: TaskKind) -> Result<Option<Vec<(String, usize)>>, DataError> {
    if kind != TaskKind::Classify {
        return Ok(None);
    }
    let set = LabelSet::of(part, kind, &[])?;
    let (Labels::Classes(classes), _) = set.labels(part, kind, &[])? else {
        return Ok(None);
    };
    let mut counts: Vec<(String, usize)> = set.names().iter().map(|n| (n.clone(), 0)).collect();
    for class in classes.into_iter().flatten() {
        counts[class as usize].1 += 1;
    }
    Ok(Some(counts))
}

/// Columns are found by their usual names alone.
fn without_options(error: DataError) -> anyhow::Error {
    match error {
        DataError::Column { .. } | DataError::Ambiguous { .. } => {
            anyhow!("{error} (hone check takes that option, hone inspect knows usual names alone)")
        }
        other => other.into(),
    }
}

fn data(path: &Path) -> Result<(String, Value)> {
    let part = read_file(path, &Columns::default()).map_err(without_options)?;
    let (kind, why) = infer(&part);
    let mut text = format!(
        "{} rows\n{}\n{why}\n",
        count(part.rows.len()),
        part.notes.join("\n")
    );
    let mut object =
        json!({"rows": part.rows.len(), "sha256": part.sha256, "task": task_of(kind).name()});
    let counts = counted(&part, kind);
    if let Err(why) = &counts {
        text += &format!("labels are not counted: {why}\n");
    }
    if let Ok(Some(counts)) = counts {
        let mut table = Table::new(&["label", "rows"]);
        let mut labels = serde_json::Map::new();
        for (name, n) in counts {
            table.row([name.clone(), n.to_string()]);
            labels.insert(name, json!(n));
        }
        text += &table.to_string();
        object["labels"] = Value::Object(labels);
    }
    Ok((text, object))
}
