//! Rows worth reading: the wrong ones, the most confident mistakes first, and those the model was least certain of.
//!
//! Of a row is kept where it stands, what was said and two numbers; texts and labels are looked up when the lists are
//! written. Of the least certain rows, and of the values that are farthest off (every value is off by something),
//! the first `MOST` are kept, however large the set.

use crate::answer::{RowAnswer, Said};
use crate::examples::{Examples, Targets};
use crate::{TrainError, write_beside};
use hone_bert::Task;
use hone_data::Part;
use serde::Serialize;
use std::path::Path;

/// Rows of a list that could have every row of the set.
pub const MOST: usize = 100;

/// Rows of a list that are shown at the end of a run.
pub const SHOWN: usize = 5;

/// A row of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedRow {
    /// Its place in the set.
    pub index: usize,
    /// What was said of it.
    pub answer: RowAnswer,
}

/// The rows of one set.
#[derive(Debug, Clone, PartialEq)]
pub struct RowLists {
    task: Task,
    /// What comes after these keys has `MOST` rows before it: of the errors, of the least certain.
    cuts: [f64; 2],
    /// Wrong rows, the surest mistake first; of values the `MOST` that are farthest off.
    pub errors: Vec<ListedRow>,
    /// At most `MOST` rows, the least certain first; none for values, which have no probability.
    pub uncertain: Vec<ListedRow>,
}

/// A row as people read it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowText {
    /// Line of the file on which it begins, from 1.
    pub row: usize,
    /// Its label.
    pub label: String,
    /// What the model said.
    pub answer: String,
    /// Probability of that (see [`RowAnswer::confidence`]), or how far off a value is.
    pub measure: f64,
    /// The text; of a pair both, with ` | ` between them.
    pub text: String,
}

/// What the lists say of a set, in `summary.json`; the rows themselves are in files beside it.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// The set: `test`, else `valid`.
    pub part: &'static str,
    /// Rows of `errors.csv`.
    pub errors: usize,
    /// Rows of `uncertain.csv`.
    pub uncertain: usize,
    /// The first of each, for the end of a run.
    #[serde(skip)]
    pub first: [Vec<RowText>; 2],
}

/// Adds a row to a list of the first `MOST` by `key`, which never holds twice as many. Most rows of a large set are
/// turned away at the door: they would come after the last.
fn add_bounded(
    rows: &mut Vec<ListedRow>,
    cut: &mut f64,
    key: impl Fn(&RowAnswer) -> f64,
    index: usize,
    answer: &RowAnswer,
) {
    if key(answer) >= *cut {
        return;
    }
    rows.push(ListedRow {
        index,
        answer: answer.clone(),
    });
    if rows.len() >= 2 * MOST {
        sort(rows, &key);
        rows.truncate(MOST);
        *cut = key(&rows[MOST - 1].answer);
    }
}

/// The smallest key first; of equals the row that stands first.
fn sort(rows: &mut [ListedRow], key: impl Fn(&RowAnswer) -> f64) {
    rows.sort_by(|a, b| {
        let keys = key(&a.answer).total_cmp(&key(&b.answer));
        keys.then(a.index.cmp(&b.index))
    });
}

fn wrong_first(answer: &RowAnswer) -> f64 {
    -answer.wrong_by
}

fn unsure_first(answer: &RowAnswer) -> f64 {
    answer.margin
}

impl RowLists {
    /// Nothing listed yet.
    pub fn new(task: Task) -> RowLists {
        RowLists {
            task,
            cuts: [f64::INFINITY; 2],
            errors: Vec::new(),
            uncertain: Vec::new(),
        }
    }

    /// Takes a row; rows come in the order of the set.
    pub fn push(&mut self, index: usize, answer: RowAnswer) {
        let [errors, uncertain] = &mut self.cuts;
        if self.task == Task::Regress {
            add_bounded(&mut self.errors, errors, wrong_first, index, &answer);
            return;
        }
        add_bounded(&mut self.uncertain, uncertain, unsure_first, index, &answer);
        if !answer.right {
            self.errors.push(ListedRow { index, answer });
        }
    }

    /// Brings both lists into order.
    pub fn finish(&mut self) {
        sort(&mut self.errors, wrong_first);
        sort(&mut self.uncertain, unsure_first);
        self.uncertain.truncate(MOST);
        if self.task == Task::Regress {
            self.errors.truncate(MOST);
        }
    }

    /// The first rows of a list, as people read them.
    pub fn texts<'a>(
        &'a self,
        rows: &'a [ListedRow],
        set: &'a Examples,
        part: &'a Part,
        labels: &'a [String],
    ) -> impl Iterator<Item = RowText> + 'a {
        rows.iter().map(move |row| {
            let source = &part.rows[row.index];
            RowText {
                row: source.line,
                label: gold(set, part, row.index, labels),
                answer: said(&row.answer.said, labels),
                measure: match self.task {
                    Task::Regress => row.answer.wrong_by,
                    _ => row.answer.confidence,
                },
                text: match &source.text_b {
                    Some(b) => format!("{} | {b}", source.text),
                    None => source.text.clone(),
                },
            }
        })
    }

    /// How many rows the lists of a part have, and the first `SHOWN` of each.
    pub fn summary(
        &self,
        part: &'static str,
        set: &Examples,
        rows: &Part,
        labels: &[String],
    ) -> Listed {
        let first = |list| self.texts(list, set, rows, labels).take(SHOWN).collect();
        Listed {
            part,
            errors: self.errors.len(),
            uncertain: self.uncertain.len(),
            first: [first(&self.errors), first(&self.uncertain)],
        }
    }

    /// Writes `errors.csv` and, where there are probabilities, `uncertain.csv` into a folder.
    pub(crate) fn write_both(
        &self,
        folder: &Path,
        set: &Examples,
        part: &Part,
        labels: &[String],
    ) -> Result<(), TrainError> {
        self.write_errors(&folder.join("errors.csv"), set, part, labels)?;
        match self.task {
            Task::Regress => Ok(()),
            _ => self.write_uncertain(&folder.join("uncertain.csv"), set, part, labels),
        }
    }

    /// Writes the wrong rows as CSV.
    pub fn write_errors(
        &self,
        path: &Path,
        set: &Examples,
        part: &Part,
        labels: &[String],
    ) -> Result<(), TrainError> {
        let measure = match self.task {
            Task::Regress => "error",
            _ => "probability",
        };
        let table = Table {
            set,
            part,
            labels,
            head: &["row", "label", "answer", measure],
        };
        table.write(path, &self.errors, |row| {
            vec![
                said(&row.answer.said, labels),
                row.answer.wrong_by.to_string(),
            ]
        })
    }

    /// Writes the least certain rows as CSV.
    pub fn write_uncertain(
        &self,
        path: &Path,
        set: &Examples,
        part: &Part,
        labels: &[String],
    ) -> Result<(), TrainError> {
        let table = Table {
            set,
            part,
            labels,
            head: &["row", "label", "answer", "probability", "margin"],
        };
        table.write(path, &self.uncertain, |row| {
            vec![
                said(&row.answer.said, labels),
                row.answer.confidence.to_string(),
                row.answer.margin.to_string(),
            ]
        })
    }
}

/// A list on its way into a file.
struct Table<'a> {
    set: &'a Examples,
    part: &'a Part,
    labels: &'a [String],
    head: &'a [&'a str],
}

impl Table<'_> {
    fn write(
        &self,
        path: &Path,
        rows: &[ListedRow],
        cells: impl Fn(&ListedRow) -> Vec<String>,
    ) -> Result<(), TrainError> {
        let wrong = |e: String| {
            TrainError::Option(format!("{}: cannot be written as CSV: {e}", path.display()))
        };
        let pairs = self.part.rows.iter().any(|r| r.text_b.is_some());
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut line: Vec<String> = self.head.iter().map(|h| (*h).to_owned()).collect();
        line.push("text".to_owned());
        line.extend(pairs.then(|| "text_b".to_owned()));
        writer
            .write_record(&line)
            .map_err(|e| wrong(e.to_string()))?;
        for row in rows {
            let source = &self.part.rows[row.index];
            let mut line = vec![
                source.line.to_string(),
                gold(self.set, self.part, row.index, self.labels),
            ];
            line.extend(cells(row));
            line.push(source.text.clone());
            if pairs {
                line.push(source.text_b.clone().unwrap_or_default());
            }
            writer
                .write_record(&line)
                .map_err(|e| wrong(e.to_string()))?;
        }
        let bytes = writer.into_inner().map_err(|e| wrong(e.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|e| wrong(e.to_string()))?;
        write_beside(path, &text)
    }
}

fn names(
    classes: impl Iterator<Item = Option<u32>>,
    labels: &[String],
    other: &str,
) -> Vec<String> {
    classes
        .map(|c| {
            c.and_then(|c| labels.get(c as usize).cloned())
                .unwrap_or_else(|| other.to_owned())
        })
        .collect()
}

fn said(said: &Said, labels: &[String]) -> String {
    match said {
        Said::Class(c) => names([Some(*c)].into_iter(), labels, "").concat(),
        Said::Set(all) => names(all.iter().map(|c| Some(*c)), labels, "").join("|"),
        Said::Value(value) => value.to_string(),
        Said::Tags(all) => names(all.iter().copied(), labels, "O").join(" "),
    }
}

/// The row's label by the model's names; as the file has it where the model does not know it.
fn gold(set: &Examples, part: &Part, index: usize, labels: &[String]) -> String {
    let written = || part.rows[index].label.to_string();
    match &set.targets {
        Targets::Classes(all) => match all[index].and_then(|c| labels.get(c as usize)) {
            Some(name) => name.clone(),
            None => written(),
        },
        Targets::Sets { sets, unknown } if unknown[index] == 0 => {
            names(sets[index].iter().map(|c| Some(*c)), labels, "").join("|")
        }
        Targets::Sets { .. } | Targets::Values(_) | Targets::Tags { .. } | Targets::Masked(_) => {
            written()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(right: bool, confidence: f64) -> RowAnswer {
        RowAnswer {
            said: Said::Class(1),
            right,
            loss: 0.0,
            confidence,
            margin: 2.0 * confidence - 1.0,
            wrong_by: if right { 0.0 } else { confidence },
        }
    }

    /// Many rows, beside sorting all of them.
    #[test]
    fn lists_are_the_beginnings_of_everything_sorted() {
        let sure = |i: usize| 0.5 + ((i * 7919) % 997) as f64 / 2000.0;
        let n = 5000;
        let mut lists = RowLists::new(Task::Classify);
        for i in 0..n {
            lists.push(i, answer(i % 3 > 0, sure(i)));
            assert!(lists.uncertain.len() < 2 * MOST);
        }
        lists.finish();
        let mut all: Vec<usize> = (0..n).collect();
        all.sort_by(|&a, &b| sure(a).total_cmp(&sure(b)).then(a.cmp(&b)));
        let found: Vec<usize> = lists.uncertain.iter().map(|r| r.index).collect();
        assert_eq!(found, all[..MOST]);
        let mut wrong: Vec<usize> = (0..n).filter(|i| i % 3 == 0).collect();
        wrong.sort_by(|&a, &b| sure(b).total_cmp(&sure(a)).then(a.cmp(&b)));
        let found: Vec<usize> = lists.errors.iter().map(|r| r.index).collect();
        assert_eq!(found, wrong);
    }

    #[test]
    fn of_values_the_farthest_are_kept() {
        let mut lists = RowLists::new(Task::Regress);
        for i in 0..1000 {
            lists.push(
                i,
                RowAnswer {
                    said: Said::Value(0.0),
                    wrong_by: i as f64,
                    ..answer(false, 0.0)
                },
            );
        }
        lists.finish();
        assert_eq!((lists.errors.len(), lists.uncertain.len()), (MOST, 0));
        assert_eq!(lists.errors[0].index, 999);
        assert_eq!(lists.errors[MOST - 1].index, 1000 - MOST);
    }
}
