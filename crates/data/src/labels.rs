//! What labels mean: the task they make, the set they form, each row's class.

mod numbering;
mod several;

use crate::DataError;
use crate::columns::listed;
use crate::row::{Cell, Part, Row};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

pub use numbering::numbering;
pub(crate) use several::{empty_set, unparted};

/// What the labels ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// One label of several.
    Classify,
    /// Any subset of labels. In CSV and TSV the labels of a row are joined by `|`; an empty field is the
    /// empty set. In JSON lines they are a list.
    MultiLabel,
    /// A number.
    Regress,
    /// A tag for each word.
    Tag,
}

/// The names of a model's outputs, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSet {
    names: Vec<String>,
    index: HashMap<String, u32>,
    /// The same by the one spelling of names that are numbers.
    numbers: HashMap<String, u32>,
}

/// Every row's label resolved.
#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    /// Class of each row; `None` where the set does not know the label.
    Classes(Vec<Option<u32>>),
    /// Labels of each row.
    Sets {
        /// Classes of those that the set knows, ascending.
        sets: Vec<Vec<u32>>,
        /// Number of those that it does not know.
        unknown: Vec<u32>,
    },
    /// Value of each row.
    Values(Vec<f32>),
    /// Class of each word of each row.
    Tags(Vec<Vec<Option<u32>>>),
}

impl LabelSet {
    /// From names in order.
    pub fn new(names: Vec<String>) -> Self {
        let index = names.iter().cloned().zip(0..).collect();
        // Of two spellings of a number the first name's counts.
        let numbers = names.iter().enumerate().rev();
        let numbers = numbers
            .filter(|(_, name)| integer(name).is_some())
            .map(|(class, name)| (canonical(name).into_owned(), class as u32))
            .collect();
        LabelSet {
            names,
            index,
            numbers,
        }
    }

    /// The names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Class of a name.
    pub fn class(&self, name: &str) -> Option<u32> {
        self.index.get(name).copied()
    }
}

/// The integer that a label is, written as one or as tables of floating-point columns are ("1.0").
pub(crate) fn integer(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| {
        let x: f64 = text.parse().ok()?;
        (x.fract() == 0.0 && x.abs() < 1e15).then_some(x as i64)
    })
}

/// Where `labels.txt` names it.
pub(crate) fn place(label: &str) -> Option<usize> {
    usize::try_from(integer(label)?).ok()
}

/// Whether digits begin with a zero that the number would not have: `007` may be a code.
pub(crate) fn is_code(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit())
}

/// A label in the one spelling that its number has: tables of floating-point columns write `1.0` for `1`, people `+1`. Codes
/// that begin with zeros stay as they are.
pub(crate) fn canonical(text: &str) -> Cow<'_, str> {
    match integer(text).filter(|_| !is_code(text)) {
        Some(number) => Cow::Owned(number.to_string()),
        None => Cow::Borrowed(text),
    }
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// A number that is no integer: what makes a task a regression. An integer that is too long for a number is a name.
fn is_fraction(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    integer(text).is_none() && is_number(text) && !digits.bytes().all(|b| b.is_ascii_digit())
}

/// A number with a decimal comma (`4,5`).
fn has_decimal_comma(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    unsigned
        .split_once(',')
        .is_some_and(|(whole, rest)| digits(whole) && digits(rest))
}

/// Of so many labels one may be no number, where others are fractions: what is missing (`N/A`) is not what a class is.
const ODD: usize = 10;

/// The task that labels make, and a line that says why and how to override it.
pub fn infer(part: &Part) -> (TaskKind, String) {
    let mut fractions = None;
    let mut comma = None;
    let (mut numbers, mut odd, mut commas) = (0, 0, 0);
    for row in &part.rows {
        match &row.label {
            Cell::Tags(_) => {
                return (
                    TaskKind::Tag,
                    "task: tag, since every word has a tag (--task tag)".to_owned(),
                );
            }
            Cell::List(_) => {
                return (
                    TaskKind::MultiLabel,
                    "task: multilabel, since labels are lists (--task multilabel)".to_owned(),
                );
            }
            Cell::Text(text) => {
                let text = text.trim();
                match is_number(text) {
                    true => numbers += 1,
                    false => odd += usize::from(!text.is_empty()),
                }
                if has_decimal_comma(text) {
                    commas += 1;
                    comma.get_or_insert((row.line, text));
                }
                if fractions.is_none() && is_fraction(text) {
                    fractions = Some((row.line, text.to_owned()));
                }
            }
            Cell::None => {}
        }
    }
    match fractions {
        // Names of classes may be anything.
        Some((line, text)) if ODD * odd <= numbers && part.classes.is_empty() => (
            TaskKind::Regress,
            format!(
                "task: regress, since the label of line {line} is {text} (override with --task classify)"
            ),
        ),
        _ if commas > 0 && commas == odd => {
            let (line, text) = comma.unwrap_or_default();
            let mut plain = text.replace(',', ".");
            // Three digits behind the comma may be thousands.
            if plain
                .rsplit_once('.')
                .is_some_and(|(_, rest)| rest.len() == 3)
            {
                plain = format!(
                    "{plain} (or {} if it parts thousands)",
                    text.replace(',', "")
                );
            }
            let said = format!(
                "task: classify, one label a row, though they look like numbers with a decimal comma (line {line}: \
                 {text}); write {plain} for --task regress",
            );
            (TaskKind::Classify, said)
        }
        _ => (
            TaskKind::Classify,
            match several::told(&part.rows) {
                None => "task: classify, one label a row (override with --task regress|multilabel)"
                    .to_owned(),
                Some(told) => format!("task: classify, one label a row, {told}"),
            },
        ),
    }
}

/// Splits a multi-label field.
pub(crate) fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split('|').map(str::trim).filter(|t| !t.is_empty())
}

/// What a row has where another kind of label was expected.
fn kind_of(label: &Cell) -> &'static str {
    match label {
        Cell::None => "no label",
        Cell::Text(text) if text.is_empty() => "no label",
        Cell::Text(_) => "one label",
        Cell::List(all) if all.len() > 1 => "several labels",
        Cell::List(_) => "a list of labels",
        Cell::Tags(_) => "a tag for each word",
    }
}

pub(crate) fn each_label<'a>(task: TaskKind, row: &'a Row, mut f: impl FnMut(&'a str)) {
    match (&row.label, task) {
        (Cell::Text(t), TaskKind::MultiLabel) => parts(t).for_each(f),
        (Cell::Text(t), _) => f(t),
        (Cell::List(all), _) | (Cell::Tags(all), _) => all.iter().for_each(|t| f(t)),
        (Cell::None, _) => {}
    }
}

/// Names in `labels.txt`: one a line, line 0 first; or with their numbers before them, where these are all from 0 on, in
/// whichever order, and the rest of the lines are names still ("1 star" and "2 stars" are names as they stand).
pub fn label_names(path: &Path) -> Result<Vec<String>, DataError> {
    let text = std::fs::read_to_string(path).map_err(|source| DataError::Io {
        path: path.to_owned(),
        source,
    })?;
    let lines: Vec<(usize, &str)> = (1..)
        .zip(text.trim_start_matches('\u{feff}').lines())
        .map(|(line, text)| (line, text.trim()))
        .filter(|(_, text)| !text.is_empty())
        .collect();
    let whole = || lines.iter().map(|&(l, t)| (l, t.to_owned())).collect();
    let names = by_number(&lines)
        .filter(|names| repeated(names).is_none())
        .unwrap_or_else(whole);
    match repeated(&names) {
        Some((line, name)) => Err(DataError::Label {
            path: path.to_owned(),
            line: *line,
            label: name.clone(),
            reason: "a line above has the same name; each label needs one of its own".to_owned(),
        }),
        None => Ok(names.into_iter().map(|(_, name)| name).collect()),
    }
}

/// Lines and the names on them, by the numbers before these, where the numbers are all from 0 on.
fn by_number(lines: &[(usize, &str)]) -> Option<Vec<(usize, String)>> {
    let mut names = vec![None; lines.len()];
    for &(line, text) in lines {
        let (number, name) = text.split_once(['\t', ' ', ','])?;
        let name = Some((line, name.trim().to_owned()));
        let free = names.get_mut(number.parse::<usize>().ok()?)?;
        if std::mem::replace(free, name).is_some() {
            return None;
        }
    }
    names.into_iter().collect()
}

/// The first line whose name is one of a line above.
fn repeated(names: &[(usize, String)]) -> Option<&(usize, String)> {
    let mut seen = HashSet::new();
    names.iter().find(|(_, name)| !seen.insert(name))
}

impl LabelSet {
    /// The labels of a training part: the classes that it has names for itself; else in order of number if all are integers,
    /// else of the alphabet. Integers take their names from `names` ([`numbering`]), where there are any.
    pub fn of(part: &Part, task: TaskKind, names: &[String]) -> Result<LabelSet, DataError> {
        if task == TaskKind::Regress {
            return Ok(LabelSet::new(vec!["value".to_owned()]));
        }
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for row in &part.rows {
            if row.label == Cell::None
                || row.label == Cell::Text(String::new()) && task != TaskKind::MultiLabel
            {
                let sets = empty_set(&part.rows).filter(|_| row.label != Cell::None);
                let advice =
                    sets.unwrap_or_else(|| "hone check --fix leaves such rows out".to_owned());
                return Err(DataError::Label {
                    path: part.path.clone(),
                    line: row.line,
                    label: String::new(),
                    reason: format!("the label is empty; {advice}"),
                });
            }
            each_label(task, row, |label| {
                seen.entry(label).or_insert(row.line);
            });
        }
        if seen.is_empty() {
            return Err(DataError::NoLabels {
                path: part.path.clone(),
            });
        }
        let distinct: HashSet<Cow<'_, str>> = seen.keys().map(|l| canonical(l)).collect();
        if let (1, Some(only)) = (distinct.len(), seen.keys().next()) {
            let (path, only) = (part.path.clone(), only.to_string());
            match task {
                TaskKind::Classify => return Err(DataError::OneClass { path, label: only }),
                TaskKind::Tag => return Err(DataError::OneTag { path, tag: only }),
                TaskKind::MultiLabel | TaskKind::Regress => {}
            }
        }
        if task != TaskKind::Tag && part.knows(seen.keys().copied()) {
            return Ok(LabelSet::new(part.classes.clone()));
        }
        let integers = seen.keys().all(|l| integer(l).is_some());
        let mut labels: Vec<&str> = seen.keys().copied().collect();
        if !integers {
            return Ok(LabelSet::new(
                labels.iter().map(|l| l.to_string()).collect(),
            ));
        }
        // Of one number in several spellings the plainest stays.
        labels.sort_by_cached_key(|l| (integer(l).unwrap_or(0), canonical(l), l.len()));
        labels.dedup_by_key(|l| canonical(l));
        if names.is_empty() {
            return Ok(LabelSet::new(
                labels.iter().map(|l| l.to_string()).collect(),
            ));
        }
        for label in &labels {
            let known = place(label).is_some_and(|n| n < names.len());
            if !known {
                return Err(DataError::Label {
                    path: part.path.clone(),
                    line: seen[label],
                    label: label.to_string(),
                    reason: format!("labels.txt names 0 to {}", names.len() - 1),
                });
            }
        }
        Ok(LabelSet::new(names.to_vec()))
    }

    /// Class of a name, if it is a number in whichever spelling.
    fn named(&self, label: &str) -> Option<u32> {
        let spelt = || {
            integer(label)?;
            self.numbers.get(&*canonical(label)).copied()
        };
        self.class(label).or_else(spelt)
    }

    /// Labels of a part's rows, and how many rows each label unknown to the set has; an error where all of them are.
    /// `names` are those that numbers stand for ([`numbering`]).
    pub fn labels(
        &self,
        part: &Part,
        task: TaskKind,
        names: &[String],
    ) -> Result<(Labels, BTreeMap<String, usize>), DataError> {
        let mut unknown: BTreeMap<String, usize> = BTreeMap::new();
        let wrong = |row: &Row, expected: &str| match &row.label {
            Cell::Text(label) if !label.is_empty() => DataError::Label {
                path: part.path.clone(),
                line: row.line,
                label: label.to_owned(),
                reason: expected.to_owned(),
            },
            other => DataError::Row {
                path: part.path.clone(),
                line: row.line,
                reason: format!("{}; {expected}", kind_of(other)),
            },
        };
        let mut known = 0;
        let resolve = self.resolver(names);
        let mut class = |label: &str| {
            let found = resolve(label);
            match found {
                Some(_) => known += 1,
                None => *unknown.entry(label.to_owned()).or_default() += 1,
            }
            found
        };
        let labels = match task {
            TaskKind::Classify => {
                let each = |row: &Row| match &row.label {
                    Cell::Text(t) if !t.is_empty() => Ok(class(t)),
                    _ => Err(wrong(row, "one label was expected")),
                };
                Labels::Classes(part.rows.iter().map(each).collect::<Result<_, _>>()?)
            }
            TaskKind::MultiLabel => {
                let (mut sets, mut strangers) = (Vec::new(), Vec::new());
                for row in &part.rows {
                    if row.label == Cell::None {
                        return Err(wrong(row, "a set of labels was expected, if only []"));
                    }
                    let (mut set, mut others) = (Vec::new(), HashSet::new());
                    each_label(task, row, |label| match class(label) {
                        Some(known) => set.push(known),
                        None => _ = others.insert(label),
                    });
                    set.sort_unstable();
                    set.dedup();
                    sets.push(set);
                    strangers.push(others.len() as u32);
                }
                Labels::Sets {
                    sets,
                    unknown: strangers,
                }
            }
            TaskKind::Regress => {
                let each = |row: &Row| match &row.label {
                    Cell::Text(t) => match t.parse::<f32>() {
                        Ok(v) if v.is_finite() => Ok(v),
                        _ => Err(wrong(
                            row,
                            "a finite number was expected (--task classify takes labels as names)",
                        )),
                    },
                    _ => Err(wrong(row, "a number was expected")),
                };
                Labels::Values(part.rows.iter().map(each).collect::<Result<_, _>>()?)
            }
            TaskKind::Tag => {
                let each = |row: &Row| match &row.label {
                    Cell::Tags(tags) => Ok(tags.iter().map(|t| class(t)).collect()),
                    _ => Err(wrong(row, "a tag for each word was expected")),
                };
                Labels::Tags(part.rows.iter().map(each).collect::<Result<_, _>>()?)
            }
        };
        if known == 0 && !unknown.is_empty() {
            return Err(DataError::Strange {
                path: part.path.clone(),
                found: listed(unknown.keys().map(String::as_str)),
                known: listed(self.names.iter().map(String::as_str)),
            });
        }
        Ok((labels, unknown))
    }
}

#[cfg(test)]
mod tests;
