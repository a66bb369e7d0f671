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

#[cfg(test)]
mod tests {
    use crate::read::tests::*;
    use crate::read::*;

    /// A number for each label is what models' heads are given; names are what is asked for here.
    #[test]
    fn lists_of_numbers_are_no_names() {
        let rows = |lists: &[&str]| -> String {
            let row = |list: &&str| format!("{{\"text\": \"x\", \"labels\": {list}}}\n");
            "\n".to_owned() + &lists.iter().map(row).collect::<String>()
        };
        for (lists, labels) in [
            (&["[1.0, 0.0, 1.0]", "[0, 1, 0]"][..], 3),
            (&["[0, 1]", "[1, 1]"], 2),
            (&["[true, false, false]"], 3),
        ] {
            let text = rows(lists);
            let says = format!(
                "line 2: lists of label names were expected; each row has a list of {labels} numbers that are 0 or 1"
            );
            check_error("a.jsonl", text.as_bytes(), &says);
            let (_folder, path) = file("a.jsonl", text.as_bytes());
            let read = |read: fn(&Path, &Columns) -> Result<Part, DataError>| {
                read(&path, &Columns::default())
            };
            assert!(read(read_as_is).is_err());
            // Who asks for no labels gets the texts.
            assert_eq!(read(read_file).unwrap().rows.len(), lists.len());
        }
        let array = b"[\n{\"text\": \"x\", \"labels\": [1, 1]}]";
        check_error("a.json", array, "line 2: item 1: lists of label names");
        for lists in [
            &["[0, 1]", "[1, 0]"][..],
            &["[0, 1, 1]", "[1]"],
            &["[0, 2, 2]", "[1, 0, 0]"],
            &["[1, 1]", "\"1\""],
            &["[1]", "[0]"],
            &["[]"],
        ] {
            let (_folder, path) = file("a.jsonl", rows(lists).as_bytes());
            assert!(
                read_labelled(&path, &Columns::default()).is_ok(),
                "{lists:?}"
            );
        }
    }

    #[test]
    fn each_label_of_a_list_has_a_name() {
        let text =
            b"{\"text\": \"x\", \"labels\": []}\n{\"text\": \"y\", \"labels\": [\" \", \"z\"]}\n";
        check_error("a.jsonl", text, "line 2: a label without a name");
        let (_folder, path) = file("a.jsonl", text);
        let part = read_as_is(&path, &Columns::default()).unwrap();
        assert_eq!(part.rows[1].label, Cell::List(vec![" ".into(), "z".into()]));
    }

    #[test]
    fn words_with_tags_in_json_are_sent_to_conll() {
        let says = "words with a tag each are read as CoNLL (.conll)";
        for (text, place) in [
            (
                "{\"tokens\": [\"EU\", \"rejects\"], \"ner_tags\": [3, 0]}",
                "line 1: no key text|sentence|review|content|sentence1 (or --text-column); the keys are tokens, ner_tags; ",
            ),
            (
                "{\"text\": [\"EU\", \"rejects\"], \"labels\": [\"B-ORG\", \"O\"]}",
                "line 1: text must be a string, it is a list; ",
            ),
        ] {
            check_error("a.jsonl", text.as_bytes(), &format!("{place}{says}"));
        }
        for (text, end) in [
            // Columns, not words.
            (
                "{\"text\": [\"a film\", \"plot\"], \"label\": [\"neg\", \"pos\"]}",
                "it is a list",
            ),
            ("{\"text\": {}, \"label\": 1}", "it is an object"),
            (
                "{\"words\": \"x\", \"tags\": [\"a\"]}",
                "the keys are words, tags",
            ),
        ] {
            let (_folder, path) = file("a.jsonl", text.as_bytes());
            let error = read_labelled(&path, &Columns::default()).unwrap_err();
            assert!(error.to_string().ends_with(end), "{error}");
        }
    }
}
