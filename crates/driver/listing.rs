//! Wrong and uncertain rows, as `train` and `eval` show and write them.

use crate::args::ListArgs;
use crate::out;
use anyhow::{Result, bail};
use hone_bert::{Model, Task};
use hone_data::Part;
use hone_kernels::Backend;
use hone_report::{Table, count, say, show};
use hone_train::{Examples, RowLists, RowText};
use std::path::Path;

/// Characters of a text or an answer that are shown.
const TEXT: usize = 60;

/// How these lists begin.
const LIST: &str = "row,label,answer,";

/// Files that cannot be written, or must not be, are refused before anything is done; these are read.
pub fn may_write(args: &ListArgs, read: &[&Path]) -> Result<()> {
    for (flag, path) in [("errors", &args.errors), ("uncertain", &args.uncertain)] {
        if let Some(path) = path {
            out::may_write(flag, path, LIST, read)?;
        }
    }
    if args.errors.is_some() && args.errors == args.uncertain {
        bail!("--errors and --uncertain name the same file; each list needs its own");
    }
    Ok(())
}

/// A task that has no such list is refused before anything is read.
pub fn can_list(args: &ListArgs, task: Task) -> Result<()> {
    if args.uncertain.is_some() && task == Task::Regress {
        bail!(
            "--uncertain: a model of values gives no probabilities; --errors lists the values that are farthest off"
        );
    }
    Ok(())
}

/// Writes what was asked for.
pub fn write<B: Backend>(
    args: &ListArgs,
    lists: &RowLists,
    model: &Model<B>,
    set: &Examples,
    part: &Part,
) -> Result<()> {
    if let Some(path) = &args.errors {
        lists.write_errors(path, set, part, model.labels())?;
        say!(
            "errors: {} rows in {}",
            count(lists.errors.len()),
            path.display()
        );
    }
    if let Some(path) = &args.uncertain {
        lists.write_uncertain(path, set, part, model.labels())?;
        say!(
            "least certain: {} rows in {}",
            count(lists.uncertain.len()),
            path.display()
        );
    }
    Ok(())
}

/// The first characters of a text, on one line.
fn short(text: &str) -> String {
    let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = words.char_indices().nth(TEXT) {
        words.truncate(at);
        words.push('…');
    }
    words
}

/// Shows the first rows of both lists.
pub fn show(task: Task, first: &[Vec<RowText>; 2], all: [usize; 2], files: Option<&str>) {
    let titles = match task {
        Task::Regress => ["farthest off", "least certain"],
        _ => ["most confident errors", "least certain answers"],
    };
    let measure = match task {
        Task::Regress => "error",
        _ => "p",
    };
    // A value is as long as a float is; three places tell how far off it is.
    let shown = |text: &str| match (task, text.parse::<f32>()) {
        (Task::Regress, Ok(value)) => format!("{value:.3}"),
        _ => short(text),
    };
    for (((title, rows), all), name) in titles
        .iter()
        .zip(first)
        .zip(all)
        .zip(["errors", "uncertain"])
    {
        if rows.is_empty() {
            continue;
        }
        let place = files.map_or(String::new(), |folder| {
            format!("; {} in {folder}/{name}.csv", count(all))
        });
        say!("{title} (the first {}{place}):", rows.len());
        let mut table = Table::new(&["line", "label", "answer", measure, "text"]);
        for row in rows {
            table.row([
                row.row.to_string(),
                shown(&row.label),
                shown(&row.answer),
                format!("{:.3}", row.measure),
                short(&row.text),
            ]);
        }
        show!("{table}");
    }
}
