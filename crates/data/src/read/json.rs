//! Rows that are JSON objects, and the way from a record's values to a row, which Parquet's records go too.

use super::{Demands, Reader, Rows, group};
use crate::DataError;
use crate::columns::{Columns, Found};
use crate::labels::canonical;
use crate::objects::{self, Object, Objects, line_of};
use crate::row::{Cell, Row};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use std::path::Path;

/// How words with a tag each are written for Hone.
pub(super) const AS_CONLL: &str = "; words with a tag each are read as CoNLL (.conll): a word first and its tag last on each line, \
     a blank line between sentences";

/// Whether an object holds words with a tag each: a list of words, and another list that is as long. Lists with a text among
/// their items are columns of a table.
pub(super) fn holds_tagged_words(object: &Object<'_>) -> bool {
    let values = (0..object.names.len()).filter_map(|i| object.value(i).ok());
    let values: Vec<Value> = values.collect();
    let lists: Vec<&Vec<Value>> = values.iter().filter_map(Value::as_array).collect();
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

/// The text that a value is.
fn text_of(value: Value, name: &str) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        // As an empty field of a table: no text.
        Value::Null => Ok(String::new()),
        other => Err(format!("{name} must be a string, it is {}", told(&other))),
    }
}

/// The pair of texts that a line of a stream is: a JSON object with both, under names of columns. An error says what is wrong
/// with it, without its place.
pub fn read_pair(line: usize, source: &str, columns: &Columns) -> Result<Row, String> {
    let object = objects::object(source)?;
    let found = columns.find_pair(Path::new("the object"), &object.names);
    let (text, text_b) = found.map_err(|e| match e {
        DataError::Column { wanted, found, .. } => format!("no key {wanted}; the keys are {found}"),
        other => other.to_string(),
    })?;
    let string = |i: usize| text_of(object.value(i)?, &object.names[i]);
    Ok(Row {
        text_b: Some(string(text_b)?),
        ..Row::text(line, string(text)?)
    })
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

/// Which keys the rows' texts and labels stand under.
#[derive(Default)]
struct Keys {
    /// What is said of the first row's.
    first: Vec<String>,
    used: String,
    /// The first row with others, and these.
    others: Option<(usize, String)>,
    differ: usize,
}

impl Keys {
    fn notes(self) -> Vec<String> {
        let mut notes = self.first;
        notes.extend(self.others.map(|(line, used)| {
            format!(
                "rows with other keys than the first row: {} (line {line}: {used})",
                self.differ
            )
        }));
        notes
    }
}

/// A value that is no text, in words: an integer as it is written, since no `f64` holds a long one.
fn number(value: &Value, source: &str) -> String {
    match source.bytes().all(|b| b == b'-' || b.is_ascii_digit()) {
        true => source.to_owned(),
        false => value.to_string(),
    }
}

impl Reader<'_> {
    pub(super) fn json(&self) -> Result<Rows, DataError> {
        let objects = Objects::of(self.text).map_err(|(at, reason)| self.wrong(at, reason))?;
        let mut rows = Vec::with_capacity(objects.rows.len());
        let mut keys = Keys::default();
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
            let row = self.json_row(line, source, &mut keys);
            rows.push(row.map_err(placed)?);
        }
        self.whole(&rows).map_err(placed)?;
        self.names_labels(&rows).map_err(placed)?;
        let mut notes = keys.notes();
        notes.extend(self.alone(&rows));
        notes.extend(objects.note().map(str::to_owned));
        Ok((rows, notes))
    }

    fn json_row(&self, line: usize, source: &str, keys: &mut Keys) -> Result<Row, DataError> {
        let object = objects::object(source).map_err(|reason| {
            let reason = objects::over_lines(self.text).map_or(reason, str::to_owned);
            self.wrong(line, reason)
        })?;
        let tagged = || match holds_tagged_words(&object) {
            true => AS_CONLL,
            false => "",
        };
        let names = &object.names;
        let found = self
            .columns
            .find(self.path, names, self.demands == Demands::Labels)
            .map_err(|e| match e {
                DataError::Column { wanted, found, .. } => {
                    let keys = format!("no key {wanted}; the keys are {found}{}", tagged());
                    self.wrong(line, keys)
                }
                other => other,
            })?;
        let used = self.used(names, &found);
        match keys.first.is_empty() {
            true => (keys.first, keys.used) = (self.notes(names, &found), used),
            false if keys.used == used => {}
            false => {
                keys.others.get_or_insert((line, used));
                keys.differ += 1;
            }
        }
        let value = |i: usize| Ok((object.value(i)?, Cow::Borrowed(&*object.values[i])));
        self.row_of(line, names, &found, tagged, value)
    }

    /// The row that a record is, of whose columns `value` gives what stands there and how it is written (as JSON, and wanted
    /// of numbers and lists alone). `tagged` adds to what is said of a text that is none.
    pub(super) fn row_of<'v>(
        &self,
        line: usize,
        names: &[String],
        found: &Found,
        tagged: impl Fn() -> &'static str,
        value: impl Fn(usize) -> Result<(Value, Cow<'v, str>), String>,
    ) -> Result<Row, DataError> {
        let value = |i: usize| value(i).map_err(|reason| self.wrong(line, reason));
        let string = |i: usize| {
            let text = text_of(value(i)?.0, &names[i]);
            text.map_err(|reason| self.wrong(line, reason + tagged()))
        };
        let grouped = |g: usize| match value(g)? {
            (Value::Null, _) => Ok(None),
            (Value::String(s), _) => Ok(group(&s)),
            (other, source) => Ok(group(&number(&other, &source))),
        };
        let label = |l: usize| {
            let (label, source) = value(l)?;
            self.json_label(line, &label, &source)
        };
        self.not_empty(Row {
            line,
            text: string(found.text)?,
            text_b: found.text_b.map(string).transpose()?,
            label: found.label.map_or(Ok(Cell::None), label)?,
            words: Vec::new(),
            group: found.group.map(grouped).transpose()?.flatten(),
        })
    }

    /// A label, and as it is written.
    fn json_label(&self, line: usize, value: &Value, source: &str) -> Result<Cell, DataError> {
        let one = |v: &Value, source: &str| match v {
            Value::String(s) => Ok(self.label(s)),
            Value::Number(_) | Value::Bool(_) => Ok(number(v, source)),
            other => Err(self.wrong(
                line,
                format!("a label must be a string or a number, it is {other}"),
            )),
        };
        match value {
            // As an empty field of a table: no label.
            Value::Null => Ok(Cell::None),
            Value::Array(list) => {
                let sources: Vec<&RawValue> =
                    serde_json::from_str(source).map_err(|e| self.wrong(line, e.to_string()))?;
                let each = list.iter().zip(sources);
                let labels = each.map(|(v, source)| one(v, source.get()));
                let labels: Vec<String> = labels.collect::<Result<_, _>>()?;
                if self.demands != Demands::Nothing && labels.iter().any(String::is_empty) {
                    let reason = "a label without a name; each label of a list needs one";
                    return Err(self.wrong(line, reason));
                }
                Ok(Cell::List(labels))
            }
            other => Ok(Cell::Text(one(other, source)?)),
        }
    }

    /// Lists of labels hold names.
    pub(super) fn names_labels(&self, rows: &[Row]) -> Result<(), DataError> {
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
    fn rows_under_other_keys_are_told() {
        let note = |text: &str| {
            let (_folder, path) = file("a.jsonl", text.as_bytes());
            let part = read_labelled(&path, &Columns::default()).unwrap();
            part.notes.into_iter().find(|n| n.contains("other keys"))
        };
        let mixed = "{\"text\": \"a\", \"label\": 1}\n{\"sentence\": \"b\", \"score\": 2}\n\n\
                     {\"review\": \"c\", \"label\": 1}\n";
        let says = "rows with other keys than the first row: 2 (line 2: text from column sentence, label from score)";
        assert_eq!(note(mixed).as_deref(), Some(says));
        let same = "{\"text\": \"a\", \"label\": 1}\n{\"k\": 1, \"label\": 1, \"text\": \"b\"}\n";
        assert_eq!(note(same), None);
    }

    /// No number is rounded into another label.
    #[test]
    fn long_integers_are_labels_as_written() {
        let text = b"{\"text\": \"a\", \"label\": 100000000000000000001}\n\
                     {\"text\": \"b\", \"label\": [100000000000000000002, 1.0, true]}\n";
        let (_folder, path) = file("a.jsonl", text);
        let part = read_labelled(&path, &Columns::default()).unwrap();
        assert_eq!(
            part.rows[0].label,
            Cell::Text("100000000000000000001".into())
        );
        let list = ["100000000000000000002", "1.0", "true"].map(str::to_owned);
        assert_eq!(part.rows[1].label, Cell::List(list.to_vec()));
        let (_folder, path) = file("a.csv", b"text,label\na,100000000000000000001\nb,2\n");
        let part = read_labelled(&path, &Columns::default()).unwrap();
        assert_eq!(crate::infer(&part).0, crate::TaskKind::Classify);
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
    fn a_line_that_is_a_pair() {
        let columns = |text: &str, text_b: &str| {
            let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
            Columns {
                text: named(text),
                text_b: named(text_b),
                ..Columns::default()
            }
        };
        let pair = |source: &str, [text, text_b]: [&str; 2]| {
            let row = read_pair(3, source, &columns(text, text_b))?;
            assert_eq!((row.line, &row.label), (3, &Cell::None));
            Ok::<_, String>([row.text, row.text_b.unwrap()])
        };
        let usual = ["", ""];
        for (source, names, want) in [
            (r#"{"text": "a", "text_b": "b"}"#, usual, ["a", "b"]),
            (
                r#"{"Sentence2": "b", "id": [1], "sentence1": "a"}"#,
                usual,
                ["a", "b"],
            ),
            (
                r#"{"text": "a", "text_b": "b"}"#,
                ["text_b", "text"],
                ["b", "a"],
            ),
            (r#"{"q": "a\n", "text_b": null}"#, ["q", ""], ["a\n", ""]),
        ] {
            assert_eq!(pair(source, names).unwrap(), want, "{source}");
        }
        for (source, names, says) in [
            ("a film", usual, "not a JSON object ("),
            ("[1]", usual, "not a JSON object ("),
            (
                r#"{"text": "a"}"#,
                usual,
                "no key text_b|sentence2 (or --text-b-column); the keys are text",
            ),
            (
                r#"{"text_b": "a"}"#,
                usual,
                "no key text|sentence|review|content|sentence1 (or --text-column); the keys are text_b",
            ),
            (r#"{"a": "x"}"#, ["a", "b"], "no key b; the keys are a"),
            (
                r#"{"a": "x"}"#,
                ["a", "a"],
                "the object: --text-column and --text-b-column both name the column a",
            ),
            (
                r#"{"text": "x", "text_b": 1}"#,
                usual,
                "text_b must be a string, it is 1",
            ),
            (
                r#"{"text": "x", "text_b": "\ud800"}"#,
                usual,
                "not a JSON object (",
            ),
        ] {
            let told = pair(source, names).unwrap_err();
            assert!(told.starts_with(says), "{source}: {told}");
        }
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
