//! Rows that are JSON objects: one a line, or all of them items of one array, as pandas saves them.

use serde::de::IgnoredAny;

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
