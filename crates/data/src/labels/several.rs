//! Fields of a table that hold several labels, where one label a row is what they are read as.

use super::parts;
use crate::row::{Cell, Row};
use std::collections::{BTreeSet, HashMap};

/// Lines and labels of rows, those without one left out.
fn written(rows: &[Row]) -> impl Iterator<Item = (usize, &str)> {
    rows.iter().filter_map(|row| match &row.label {
        Cell::Text(text) if !text.trim().is_empty() => Some((row.line, text.trim())),
        _ => None,
    })
}

/// The first label that is several to `--task multilabel`, and its line.
fn parted(rows: &[Row]) -> Option<(usize, &str)> {
    written(rows).find(|(_, text)| parts(text).nth(1).is_some())
}

/// What an empty field would be, where other fields hold several labels.
pub(crate) fn empty_set(rows: &[Row]) -> Option<String> {
    parted(rows).map(|(line, text)| {
        format!(
            "--task multilabel reads an empty field as the empty set, and \"{text}\" of line {line} as several labels"
        )
    })
}

/// What a label is that looks like several, and how they are to be written.
pub(super) fn told(rows: &[Row]) -> Option<String> {
    if let Some((line, text)) = parted(rows) {
        return Some(format!(
            "\"{text}\" of line {line} too (--task multilabel reads it as several, parted by |)"
        ));
    }
    let (line, text) = unparted(rows)?;
    Some(format!(
        "\"{text}\" of line {line} too, which looks like several (part them by | for --task multilabel, or write JSON lines \
         with lists)"
    ))
}

/// The first label that looks like several without being parted by `|`, and its line.
pub(crate) fn unparted(rows: &[Row]) -> Option<(usize, &str)> {
    let list = || each(rows).find(|(_, text)| is_list(text));
    list()
        .or_else(|| joined(rows, ','))
        .or_else(|| joined(rows, ';'))
}

/// Lines and labels as `--task multilabel` parts them.
fn each(rows: &[Row]) -> impl Iterator<Item = (usize, &str)> {
    written(rows).flat_map(|(line, text)| parts(text).map(move |label| (line, label)))
}

/// Whether a label is a list as Python and JSON write it: brackets, and quotation marks or commas between them.
fn is_list(text: &str) -> bool {
    let inside = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    inside.is_some_and(|t| t.contains(['\'', '"', ',']))
}

/// The parts of a label between separators, each once.
fn between(text: &str, separator: char) -> BTreeSet<&str> {
    text.split(separator).map(str::trim).collect()
}

/// The first label whose every part, between separators, is a label or a part of another label too. A separator within a
/// name ("hotels, bars") leaves parts that are nowhere else.
fn joined(rows: &[Row], separator: char) -> Option<(usize, &str)> {
    let labels: BTreeSet<&str> = each(rows).map(|(_, text)| text).collect();
    let mut holders: HashMap<&str, usize> = HashMap::new();
    for part in labels.iter().flat_map(|label| between(label, separator)) {
        *holders.entry(part).or_default() += 1;
    }
    let elsewhere = |part: &str| !part.is_empty() && holders.get(part).is_some_and(|&n| n > 1);
    each(rows).find(|(_, text)| {
        let parts = between(text, separator);
        parts.len() > 1 && parts.into_iter().all(elsewhere)
    })
}
