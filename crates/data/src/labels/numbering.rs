//! Whether labels that are numbers count the lines of `labels.txt` or are names, as the names there may be numbers too.

use super::{LabelSet, each_label, integer, place};
use crate::DataError;
use crate::TaskKind;
use crate::columns::listed;
use crate::row::Part;
use std::collections::BTreeMap;

/// The labels of a part, and the line on which each stands first.
fn distinct(part: &Part, task: TaskKind) -> BTreeMap<&str, usize> {
    let mut labels = BTreeMap::new();
    for row in &part.rows {
        each_label(task, row, |label| {
            if !label.trim().is_empty() {
                labels.entry(label.trim()).or_insert(row.line);
            }
        });
    }
    labels
}

/// What is said where a file has names for its classes and `labels.txt` has others.
fn disagreement(part: &Part, names: &[String]) -> Option<String> {
    let differ = !names.is_empty() && !part.classes.is_empty() && names != part.classes;
    let shown = |all: &[String]| listed(all.iter().map(String::as_str));
    differ.then(|| {
        format!(
            "the file names its classes {} and labels.txt beside it names them {}; take labels.txt away, or let it say the same",
            shown(&part.classes),
            shown(names)
        )
    })
}

/// What numbers among the labels stand for, decided once by those of the training part: `names` (`labels.txt`), whose lines
/// they count from 0, or nothing where they are names themselves (also where the file has names of its own, which `labels.txt`
/// may not contradict). The way in which more of them are read is taken; an
/// error where two ways read as many and differ.
pub fn numbering<'n>(
    train: &Part,
    task: TaskKind,
    names: &'n [String],
) -> Result<&'n [String], DataError> {
    if names.is_empty() {
        return Ok(names);
    }
    let labels = distinct(train, task);
    let set = match labels.keys().all(|l| integer(l).is_some()) {
        true => LabelSet::new(names.to_vec()),
        false => LabelSet::new(labels.keys().map(|l| l.to_string()).collect()),
    };
    set.numbering(train, task, names)
}

impl LabelSet {
    /// [`numbering`] of a part whose labels should be this set's.
    pub fn numbering<'n>(
        &self,
        part: &Part,
        task: TaskKind,
        names: &'n [String],
    ) -> Result<&'n [String], DataError> {
        if let Some(reason) = disagreement(part, names) {
            return Err(DataError::Folder {
                path: part.path.clone(),
                reason,
            });
        }
        if !part.classes.is_empty() {
            return Ok(&[]);
        }
        let labels = distinct(part, task);
        let numbers = || labels.keys().filter(|l| integer(l).is_some());
        let by_name = numbers().filter(|l| self.named(l).is_some()).count();
        let by_line = numbers().filter(|l| self.line(l, names).is_some()).count();
        if by_name != by_line {
            let lines = by_line > by_name;
            return Ok(if lines { names } else { &[] });
        }
        match numbers().find(|l| self.is_twofold(l, names)) {
            None => Ok(names),
            // Beside words numbers are names.
            Some(_) if numbers().count() < labels.len() => Ok(&[]),
            Some(label) => Err(DataError::Label {
                path: part.path.clone(),
                line: labels[label],
                label: label.to_string(),
                reason: format!(
                    "labels.txt has this name, and {:?} is on the line of this number (the first is 0); if labels are \
                     names, take labels.txt away; if they are numbers, give it names that are none",
                    place(label).map_or("", |n| &names[n])
                ),
            }),
        }
    }

    /// Class of the name that a number's line has.
    fn line(&self, label: &str, names: &[String]) -> Option<u32> {
        self.named(names.get(place(label)?)?)
    }

    /// Whether a label is one class as a name and another one as the number of a line.
    fn is_twofold(&self, label: &str, names: &[String]) -> bool {
        let ways = (self.named(label), self.line(label, names));
        matches!(ways, (Some(name), Some(line)) if name != line)
    }

    /// How a label as written finds its class: a number through `names`, which are those of [`numbering`], all others by
    /// name. Where names are numbers of other lines, a number is never a name, lest two labels be one class.
    pub(crate) fn resolver<'a>(&'a self, names: &'a [String]) -> impl Fn(&str) -> Option<u32> + 'a {
        let strict = (0..names.len()).any(|n| self.is_twofold(&n.to_string(), names));
        move |label| {
            let named = || {
                self.named(label)
                    .filter(|_| !strict || integer(label).is_none())
            };
            self.line(label, names).or_else(named)
        }
    }
}
