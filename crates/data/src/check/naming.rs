//! Labels as training sees them: with `labels.txt` a number and the name that it gives to it are one label.

use super::report::Split;
use crate::labels::{LabelSet, each_label, parts as label_parts, place};
use crate::{Cell, Part, TaskKind};
use std::borrow::Cow;

/// The splits with every label that `names` (those of [`numbering`](crate::numbering)) numbers written as its number, where
/// some labels are numbers and some are names; else as they are.
pub(crate) fn numbered<'a>(
    splits: &[(Split, &'a Part)],
    task: TaskKind,
    names: &[String],
) -> Vec<(Split, Cow<'a, Part>)> {
    let plain = || {
        splits
            .iter()
            .map(|(s, p)| (*s, Cow::Borrowed(*p)))
            .collect()
    };
    if names.is_empty() {
        return plain();
    }
    let set = LabelSet::new(names.to_vec());
    let resolve = set.resolver(names);
    let by_number = |label: &str| place(label).filter(|n| *n < names.len());
    let (mut numbers, mut named) = (false, false);
    for row in splits.iter().flat_map(|(_, part)| &part.rows) {
        each_label(task, row, |label| {
            numbers |= by_number(label.trim()).is_some();
            named |= set.class(label.trim()).is_some();
        });
    }
    if !(numbers && named) {
        return plain();
    }
    let new = |label: &str| resolve(label.trim()).map(|class| class.to_string());
    let all = |labels: &mut dyn Iterator<Item = &str>| -> Vec<String> {
        labels
            .map(|l| new(l).unwrap_or_else(|| l.to_owned()))
            .collect()
    };
    let renamed = |part: &Part| {
        let mut part = part.clone();
        for row in &mut part.rows {
            row.label = match &row.label {
                Cell::Text(t) if task == TaskKind::MultiLabel => {
                    Cell::Text(all(&mut label_parts(t)).join("|"))
                }
                Cell::Text(t) => Cell::Text(new(t).unwrap_or_else(|| t.clone())),
                Cell::List(list) => Cell::List(all(&mut list.iter().map(String::as_str))),
                other => other.clone(),
            };
        }
        part
    };
    let owned = splits.iter().map(|(s, p)| (*s, Cow::Owned(renamed(p))));
    owned.collect()
}

/// The same, lent.
pub(crate) fn lent<'a>(splits: &'a [(Split, Cow<'_, Part>)]) -> Vec<(Split, &'a Part)> {
    splits.iter().map(|(s, p)| (*s, p.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Row, numbering};
    use std::path::PathBuf;

    fn part(labels: &[&str]) -> Part {
        let row = |(line, label): (usize, &&str)| Row {
            label: Cell::Text((*label).to_owned()),
            ..Row::text(line, "x")
        };
        Part {
            path: PathBuf::from("a.csv"),
            sha256: String::new(),
            classes: Vec::new(),
            notes: Vec::new(),
            rows: (2..).zip(labels).map(row).collect(),
        }
    }

    #[track_caller]
    fn seen(train: &[&str], valid: &[&str], task: TaskKind, want: [&[&str]; 2]) {
        let (train, valid) = (part(train), part(valid));
        let splits = [(Split::Train, &train), (Split::Valid, &valid)];
        let names = ["bad".to_owned(), "good".to_owned()];
        let found = numbered(&splits, task, numbering(&train, task, &names).unwrap());
        for ((_, part), want) in found.iter().zip(want) {
            let labels: Vec<&Cell> = part.rows.iter().map(|r| &r.label).collect();
            let want: Vec<Cell> = want.iter().map(|l| Cell::Text((*l).to_owned())).collect();
            assert_eq!(labels, want.iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_number_and_its_name_are_one_label() {
        let one = TaskKind::Classify;
        let want: [&[&str]; 2] = [&["0", "1"], &["0", "1", "else", "7"]];
        seen(&["0", "1"], &["bad", "good ", "else", "7"], one, want);
        seen(&["bad", "good"], &["0", "1.0", "else", "7"], one, want);
        // Where all are names, or all numbers, nothing changes.
        seen(
            &["bad", "good"],
            &["good"],
            one,
            [&["bad", "good"], &["good"]],
        );
        seen(&["0", "1.0"], &["1"], one, [&["0", "1.0"], &["1"]]);
        // Of training labels that are no numbers, "1" is one of its own.
        let own: [&[&str]; 2] = [&["bad", "good", "1"], &["0", "1"]];
        seen(&["bad", "good", "1"], &["0", "1"], one, own);
        let sets = TaskKind::MultiLabel;
        seen(&["0|1", ""], &["good|x"], sets, [&["0|1", ""], &["1|x"]]);
    }
}
