//! Rows that are JSON objects.

use super::{Demands, Reader, Rows};
use crate::DataError;
use crate::labels::canonical;
use crate::objects::{self, Objects, line_of};
use crate::row::{Cell, Row};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// How words with a tag each are written for Hone.
const AS_CONLL: &str = "; words with a tag each are read as CoNLL (.conll): a word first and its tag last on each line, \
     a blank line between sentences";

/// Whether an object holds words with a tag each: a list of words, and another list that is as long. Lists with a text among
/// their items are columns of a table.
fn holds_tagged_words(object: &Map<String, Value>) -> bool {
    let lists: Vec<&Vec<Value>> = object.values().filter_map(Value::as_array).collect();
    let of_texts = |list: &[Value]| {
        let mut texts = list.iter().filter_map(Value::as_str);
        texts.any(|t| t.is_empty() || t.contains(char::is_whitespace))
    };
    let words = |list: &[Value]| !list.is_empty() && list.iter().all(Value::is_string);
    let as_long = |list: &[Value]| lists.iter().filter(|l| l.len() == list.len()).count() > 1;
    let tagged = lists.iter().any(|list| words(list) && as_long(list));
    tagged && !lists.iter().any(|list| of_texts(list))
}

/// What is said to be in the place of a text.
fn told(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => other.to_string(),
    }
}

/// How many numbers each row's list has, where all have as many, each 0 or 1, and one stands twice in a list: a number for
/// each label, as a model's head is given them.
fn places(rows: &[Row]) -> Option<usize> {
    let list = |row: &Row| match &row.label {
        Cell::List(all) => Some(all.iter().map(|l| canonical(l).into_owned()).collect()),
        _ => None,
    };
    let lists: Vec<Vec<String>> = rows.iter().map(list).collect::<Option<_>>()?;
    let len = lists.first()?.len();
    let switch = |label: &String| matches!(&**label, "0" | "1" | "false" | "true");
    let alike = |list: &Vec<String>| list.len() == len && list.iter().all(switch);
    let repeats = |list: &Vec<String>| list.iter().collect::<HashSet<_>>().len() < len;
    (lists.iter().all(alike) && lists.iter().any(repeats)).then_some(len)
}

impl Reader<'_> {
    pub(super) fn json(&self) -> Result<Rows, DataError> {
        let objects = Objects::of(self.text).map_err(|(at, reason)| self.wrong(at, reason))?;
        let mut rows = Vec::with_capacity(objects.rows.len());
        let mut notes = Vec::new();
        // Of an array the line is found and the item's number told.
        let placed = |e: DataError| match e {
            DataError::Row { line, reason, .. } if objects.array => {
                let item = line.checked_sub(1).and_then(|i| objects.rows.get(i));
                let line_there = item.map_or(1, |(_, source)| line_of(self.text, source));
                self.wrong(line_there, format!("item {line}: {reason}"))
            }
            other => other,
        };
        for &(line, source) in &objects.rows {
            let row = self.json_row(line, source, &mut notes);
            rows.push(row.map_err(placed)?);
        }
        self.whole(&rows).map_err(placed)?;
        self.names_labels(&rows).map_err(placed)?;
        notes.extend(self.alone(&rows));
        notes.extend(objects.note().map(str::to_owned));
        Ok((rows, notes))
    }

    fn json_row(
        &self,
        line: usize,
        source: &str,
        notes: &mut Vec<String>,
    ) -> Result<Row, DataError> {
        let object = objects::object(source).map_err(|reason| {
            let reason = objects::over_lines(self.text).map_or(reason, str::to_owned);
            self.wrong(line, reason)
        })?;
        let tagged = || match holds_tagged_words(&object) {
            true => AS_CONLL,
            false => "",
        };
        let names: Vec<String> = object.keys().cloned().collect();
        let found = self
            .columns
            .find(self.path, &names, self.demands == Demands::Labels)
            .map_err(|e| match e {
                DataError::Column { wanted, found, .. } => {
                    let keys = format!("no key {wanted}; the keys are {found}{}", tagged());
                    self.wrong(line, keys)
                }
                other => other,
            })?;
        if notes.is_empty() {
            *notes = self.notes(&names, &found);
        }
        let string = |i: usize| match &object[&names[i]] {
            Value::String(s) => Ok(s.clone()),
            // As an empty field of a table: no text.
            Value::Null => Ok(String::new()),
            other => Err(self.wrong(
                line,
                format!(
                    "{} must be a string, it is {}{}",
                    names[i],
                    told(other),
                    tagged()
                ),
            )),
        };
        let grouped = |g: usize| match &object[&names[g]] {
            Value::Null => None,
            Value::String(s) if s.trim().is_empty() => None,
            other => Some(other.to_string()),
        };
        self.not_empty(Row {
            line,
            text: string(found.text)?,
            text_b: found.text_b.map(string).transpose()?,
            label: match found.label {
                None => Cell::None,
                Some(l) => self.json_label(line, &object[&names[l]])?,
            },
            words: Vec::new(),
            group: found.group.and_then(grouped),
        })
    }

    fn json_label(&self, line: usize, value: &Value) -> Result<Cell, DataError> {
        let one = |v: &Value| match v {
            Value::String(s) => Ok(self.label(s)),
            Value::Number(n) => Ok(n.to_string()),
            Value::Bool(b) => Ok(b.to_string()),
            other => Err(self.wrong(
                line,
                format!("a label must be a string or a number, it is {other}"),
            )),
        };
        match value {
            // As an empty field of a table: no label.
            Value::Null => Ok(Cell::None),
            Value::Array(list) => {
                let labels: Vec<String> = list.iter().map(one).collect::<Result<_, _>>()?;
                if self.demands != Demands::Nothing && labels.iter().any(String::is_empty) {
                    let reason = "a label without a name; each label of a list needs one";
                    return Err(self.wrong(line, reason));
                }
                Ok(Cell::List(labels))
            }
            other => Ok(Cell::Text(one(other)?)),
        }
    }

    /// Lists of labels hold names.
    fn names_labels(&self, rows: &[Row]) -> Result<(), DataError> {
        match (self.demands, places(rows)) {
            (Demands::Texts | Demands::Questions, _) | (_, None) => Ok(()),
            (_, Some(labels)) => {
                let reason = format!(
                    "lists of label names were expected; each row has a list of {labels} numbers that are 0 or 1, one for \
                     each label: write the names of those that are 1"
                );
                Err(self.wrong(rows[0].line, reason))
            }
        }
    }
}
