//! Rows that are JSON objects: one a line, or all of them items of one array, as pandas saves them.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// The source of each row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Objects<'t> {
    /// Where it stands (its line; in an array its number, from 1) and the JSON itself.
    pub rows: Vec<(usize, &'t str)>,
    /// Whether the file is one array.
    pub array: bool,
}

/// What a row's place is called.
const ITEMS: &str = "the file is one JSON array; what is called a line is an item's number in it";

impl<'t> Objects<'t> {
    /// The rows of a file, or the line and cause of what makes it none. What a row holds is not looked at.
    pub fn of(text: &'t str) -> Result<Objects<'t>, (usize, String)> {
        match text.trim_start().strip_prefix('[') {
            Some(items) => match items_of(items) {
                Ok(rows) => Ok(Objects { rows, array: true }),
                Err((number, rest, reason)) => {
                    Err((line_of(text, rest), format!("item {number}: {reason}")))
                }
            },
            None => {
                let lines = (1..).zip(text.lines());
                Ok(Objects {
                    rows: lines.filter(|(_, l)| !l.trim().is_empty()).collect(),
                    array: false,
                })
            }
        }
    }

    /// What a reader should be told.
    pub fn note(&self) -> Option<&'static str> {
        self.array.then_some(ITEMS)
    }
}

/// The object that a row's source is. An error says what is wrong and where; a key that stands twice is one, since one of
/// its values would be lost.
pub(crate) fn object(source: &str) -> Result<Object<'_>, String> {
    serde_json::from_str(source).map_err(|e| {
        let place = match e.line() {
            0 => String::new(),
            1 => format!(" at its character {}", e.column()),
            line => format!(" on its line {line}, character {}", e.column()),
        };
        format!("not a JSON object ({}{place})", cause(&e))
    })
}

/// What is wrong, without the place.
fn cause(error: &serde_json::Error) -> String {
    let told = error.to_string();
    let end = told.rfind(" at line ").unwrap_or(told.len());
    told[..end].to_owned()
}

/// Keys in their order, and their values as they are written: a number that no `f64` holds goes through unaltered.
#[derive(Debug, Default)]
pub(crate) struct Object<'s> {
    /// The keys, of which none stands twice.
    pub names: Vec<String>,
    /// The value of each.
    pub values: Vec<Cow<'s, str>>,
}

impl Object<'_> {
    /// What a value is; an error where it cannot be held.
    pub fn value(&self, at: usize) -> Result<Value, String> {
        let name = &self.names[at];
        serde_json::from_str(&self.values[at])
            .map_err(|e| format!("not a JSON object ({} in its {name})", cause(&e)))
    }

    /// Puts a value in the place of another.
    pub fn set(&mut self, at: usize, value: &Value) {
        self.values[at] = Cow::Owned(value.to_string());
    }
}

/// As it is written on a line.
impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.names.iter().zip(&self.values).enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{}:{value}", json!(name))?;
        }
        f.write_str("}")
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Object<'de>, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Object<'de>, A::Error> {
                let (mut object, mut seen) = (Object::default(), HashSet::new());
                while let Some((key, value)) = entries.next_entry::<String, &RawValue>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(format!("the key {key:?} stands twice")));
                    }
                    object.names.push(key);
                    object.values.push(Cow::Borrowed(value.get()));
                }
                Ok(object)
            }
        }
        from.deserialize_map(Keys)
    }
}

/// What is to be said of a file whose objects go over several lines, each of which was taken for a row.
pub(crate) fn over_lines(text: &str) -> Option<&'static str> {
    let lines = text.lines().filter(|l| !l.trim().is_empty()).count();
    let values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let values = values.collect::<Result<Vec<_>, _>>().ok()?.len();
    match values {
        _ if !text.trim_start().starts_with('{') || values >= lines => None,
        1 => Some(
            "one object a line, or one array of objects, was expected; this is a single object over many lines",
        ),
        _ => Some(
            "one object a line, or one array of objects, was expected; these objects go over several lines each",
        ),
    }
}

/// The line on which a part of a text begins.
pub(crate) fn line_of(text: &str, part: &str) -> usize {
    let before = part.as_ptr() as usize - text.as_ptr() as usize;
    let before = &text.as_bytes()[..before.min(text.len())];
    1 + before.iter().filter(|&&b| b == b'\n').count()
}

/// The items of an array, whose opening bracket is left out; or the number, the text from there on and the cause of what
/// is wrong.
fn items_of(text: &str) -> Result<Vec<(usize, &str)>, (usize, &str, String)> {
    let mut items = Vec::new();
    let mut rest = text.trim_start();
    if let Some(end) = rest.strip_prefix(']') {
        rest = end;
    } else {
        loop {
            let number = items.len() + 1;
            if !rest.starts_with('{') {
                return Err((number, rest, "not a JSON object".to_owned()));
            }
            let mut item = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
            match item.next() {
                Some(Ok(_)) => {}
                Some(Err(e)) => return Err((number, rest, format!("not a JSON object ({e})"))),
                None => return Err((number, rest, "the array never closes".to_owned())),
            }
            let (whole, after) = rest.split_at(item.byte_offset());
            items.push((number, whole));
            let after = after.trim_start();
            if let Some(next) = after.strip_prefix(',') {
                rest = next.trim_start();
            } else if let Some(end) = after.strip_prefix(']') {
                rest = end;
                break;
            } else {
                let what = match after.is_empty() {
                    true => "the array never closes",
                    false => "a comma or the array's end must follow",
                };
                return Err((number, after, what.to_owned()));
            }
        }
    }
    match rest.trim().is_empty() {
        true => Ok(items),
        false => {
            let what = "something follows the array's end";
            Err((items.len(), rest.trim_start(), what.to_owned()))
        }
    }
}

/// Puts rows together as the file was: lines, or an array with a line for each item.
#[derive(Debug)]
pub(crate) struct Joiner {
    array: bool,
    end: &'static str,
    begun: bool,
}

impl Joiner {
    /// Of rows in an array or not, in lines that end like this.
    pub fn new(array: bool, end: &'static str) -> Joiner {
        Joiner {
            array,
            end,
            begun: false,
        }
    }

    /// One row more.
    pub fn add(&mut self, to: &mut Vec<u8>, row: &str) {
        let (before, after) = match (self.array, std::mem::replace(&mut self.begun, true)) {
            (false, _) => (["", ""], self.end),
            (true, false) => (["[", self.end], ""),
            (true, true) => ([",", self.end], ""),
        };
        for part in [before[0], before[1], row, after] {
            to.extend_from_slice(part.as_bytes());
        }
    }

    /// What closes the file.
    pub fn close(&self) -> &'static str {
        match (self.array, self.begun) {
            (false, _) => "",
            (true, true) if self.end == "\r\n" => "\r\n]\r\n",
            (true, true) => "\n]\n",
            (true, false) => "[]\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(array: bool, rows: &[&str]) -> String {
        let mut joiner = Joiner::new(array, "\n");
        let mut out = Vec::new();
        rows.iter().for_each(|row| joiner.add(&mut out, row));
        String::from_utf8(out).unwrap() + joiner.close()
    }

    #[test]
    fn lines_and_items() {
        let lines = Objects::of("{\"a\": 1}\n\n{\"a\": 2}\n").unwrap();
        assert_eq!(lines.rows, [(1, "{\"a\": 1}"), (3, "{\"a\": 2}")]);
        assert!(!lines.array);
        let text = "\n [ {\"a\": \"],{\"},\n {\n \"a\": [{}]\n} ] \n";
        let items = Objects::of(text).unwrap();
        let rows = ["{\"a\": \"],{\"}", "{\n \"a\": [{}]\n}"];
        assert_eq!(items.rows, [(1, rows[0]), (2, rows[1])]);
        assert!(items.array && items.note().is_some());
        for rows in [&rows[..], &rows[..1], &[]] {
            let text = joined(true, rows);
            let again: Vec<&str> = Objects::of(&text)
                .unwrap()
                .rows
                .iter()
                .map(|r| r.1)
                .collect();
            assert_eq!(again, rows, "{text}");
        }
        assert_eq!(joined(false, &rows[..1]), format!("{}\n", rows[0]));
        assert_eq!(joined(false, &[]), "");
    }

    #[test]
    fn what_is_no_object() {
        for (source, cause) in [
            (
                r#"{"a": 1, "a": 2}"#,
                r#"the key "a" stands twice at its character 16"#,
            ),
            (r#"{"a": }"#, "expected value at its character 7"),
            ("{\"a\": 1,\n}", "trailing comma on its line 2, character 1"),
            (
                "[1]",
                "invalid type: sequence, expected an object at its character 0",
            ),
            (r#"{"a": 1} x"#, "trailing characters at its character 10"),
        ] {
            assert_eq!(
                object(source).unwrap_err(),
                format!("not a JSON object ({cause})")
            );
        }
        let nested = object(r#"{"b": {"a": 1}, "a": [2]}"#).unwrap();
        assert_eq!(nested.names, ["b", "a"]);
        let mut whole = object("{\"n\\n\": 100000000000000000001, \"t\": \"x\"}").unwrap();
        whole.set(1, &json!("y"));
        let half = object(r#"{"t": "\ud800"}"#).unwrap().value(0).unwrap_err();
        assert!(
            half.starts_with("not a JSON object (") && half.ends_with(" in its t)"),
            "{half}"
        );
        let written = r#"{"n\n":100000000000000000001,"t":"y"}"#;
        assert_eq!(whole.to_string(), written);
    }

    #[test]
    fn objects_over_many_lines() {
        for (text, says) in [
            ("{\n\"a\": 1\n}\n", Some("a single object over many lines")),
            ("\n{\"a\":\n1}", Some("a single object over many lines")),
            (
                "{\n\"a\": 1\n}\n{\n\"a\": 2\n}",
                Some("these objects go over several lines each"),
            ),
            ("{\"a\": 1, \"a\": 2}\n\n{\"a\": 1}\n", None),
            ("{\n\"a\": }\n", None),
            ("[\n1]", None),
        ] {
            let told = over_lines(text);
            let right = match says {
                Some(says) => told.is_some_and(|t| t.ends_with(says)),
                None => told.is_none(),
            };
            assert!(right, "{text:?}: {told:?}");
        }
    }

    #[test]
    fn what_is_no_array_of_objects() {
        for (text, line, cause) in [
            ("[1]", 1, "item 1: not a JSON object"),
            ("[{\"a\": 1}\n {\"a\": 1}]", 2, "item 1: a comma"),
            ("[{\"a\": 1}", 1, "item 1: the array never closes"),
            ("[{\"a\": 1},\n\n", 3, "item 2: not a JSON object"),
            (
                "[{\"a\": 1},\n{\"a\": ]",
                2,
                "item 2: not a JSON object (expected value",
            ),
            ("[{\"a\": 1}]\nx", 2, "item 1: something follows"),
            ("\n[", 2, "item 1: not a JSON object"),
        ] {
            let (place, reason) = Objects::of(text).unwrap_err();
            assert!(
                place == line && reason.starts_with(cause),
                "{text}: {place} {reason}"
            );
        }
    }
}
