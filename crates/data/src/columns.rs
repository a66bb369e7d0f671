//! Which columns hold texts and labels.

use crate::DataError;
use std::path::Path;

/// Columns named by the user; the usual names are looked for where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// The text.
    pub text: Option<String>,
    /// The second text of a pair.
    pub text_b: Option<String>,
    /// The label.
    pub label: Option<String>,
    /// The group.
    pub group: Option<String>,
}

const TEXT: &[&str] = &["text", "sentence", "review", "content", "sentence1"];
const TEXT_B: &[&str] = &["text_b", "sentence2"];
const LABEL: &[&str] = &["label", "labels", "sentiment", "class", "score"];

/// Positions of the columns in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub text: usize,
    pub text_b: Option<usize>,
    pub label: Option<usize>,
    pub group: Option<usize>,
}

/// Names of columns as a line shows them: a long one is cut, one of no characters is `""`, and of many the first.
pub(crate) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 20;
    const LONG: usize = 40;
    let mut names = names.map(|name| match name.char_indices().nth(LONG) {
        None if name.is_empty() => "\"\"".to_owned(),
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", &name[..end]),
    });
    let mut line = names.by_ref().take(SHOWN).collect::<Vec<_>>().join(", ");
    match names.count() {
        0 => {}
        more => line += &format!(" and {more} more"),
    }
    line
}

fn same(a: &str, b: &str) -> bool {
    a.trim().eq_ignore_ascii_case(b.trim())
}

struct Header<'a> {
    path: &'a Path,
    names: &'a [String],
    /// Columns that have a part to play, and the options that say so.
    taken: Vec<(usize, &'static str)>,
}

impl Header<'_> {
    fn absent(&self, wanted: &str) -> DataError {
        DataError::Column {
            path: self.path.to_owned(),
            wanted: wanted.to_owned(),
            found: listed(self.shown().iter().map(String::as_str)),
            hint: self.hint(),
        }
    }

    /// The columns' names, and the option that has taken one.
    fn shown(&self) -> Vec<String> {
        let taken = |i: usize| self.taken.iter().find(|t| t.0 == i);
        let names = self.names.iter().enumerate();
        names
            .map(|(i, name)| match taken(i) {
                Some((_, flag)) => format!("{name} (the one of {flag})"),
                None => name.clone(),
            })
            .collect()
    }

    /// What a header that names nothing usual looks like.
    fn hint(&self) -> &'static str {
        let number = |n: &String| n.parse::<f64>().is_ok();
        match self.names {
            names if names.iter().any(number) || names.iter().any(|n| n.len() > 60) => {
                " (the first line names the columns; this seems to be a row)"
            }
            names if names.iter().all(|n| !Columns::is_usual(n)) => {
                " (the first line names the columns; if this is a row, write a line with names above it)"
            }
            _ => "",
        }
    }

    /// The column that a user named; two of that name are ambiguous.
    fn named(&self, wanted: &str) -> Result<usize, DataError> {
        let all = |is: &dyn Fn(&str) -> bool| -> Vec<usize> {
            let names = self.names.iter().enumerate();
            names.filter(|(_, n)| is(n)).map(|(i, _)| i).collect()
        };
        let mut found = all(&|name| name == wanted);
        if found.is_empty() {
            found = all(&|name| same(name, wanted));
        }
        match *found {
            [] => Err(self.absent(wanted)),
            [one] => Ok(one),
            [..] => Err(DataError::Option(format!(
                "{}: {} columns are named {wanted}; the one that is read needs a name of its own",
                self.path.display(),
                found.len()
            ))),
        }
    }

    /// Takes the columns that the user named: whoever is looked for by usual names comes after all of them.
    fn take(&mut self, named: [(&Option<String>, &'static str); 3]) -> Result<(), DataError> {
        for (name, flag) in named {
            let Some(name) = name else {
                continue;
            };
            let column = self.named(name)?;
            if let Some((_, other)) = self.taken.iter().find(|t| t.0 == column) {
                return Err(DataError::Option(format!(
                    "{}: {other} and {flag} both name the column {}",
                    self.path.display(),
                    self.names[column]
                )));
            }
            self.taken.push((column, flag));
        }
        Ok(())
    }

    fn taken_by(&self, flag: &str) -> Option<usize> {
        self.taken.iter().find(|t| t.1 == flag).map(|t| t.0)
    }

    /// The column under a usual name; two of them are ambiguous.
    fn usual(
        &self,
        usual: &[&str],
        what: &'static str,
        flag: &'static str,
    ) -> Result<Option<usize>, DataError> {
        let mut hits = usual
            .iter()
            .flat_map(|u| (0..self.names.len()).filter(move |&i| same(&self.names[i], u)))
            .filter(|i| self.taken.iter().all(|t| t.0 != *i));
        let Some(first) = hits.next() else {
            return Ok(None);
        };
        match hits.next() {
            Some(second) => Err(DataError::Ambiguous {
                path: self.path.to_owned(),
                what,
                first: self.names[first].clone(),
                second: self.names[second].clone(),
                flag,
            }),
            None => Ok(Some(first)),
        }
    }
}

impl Columns {
    /// A column that the user named, if any.
    pub(crate) fn named(&self) -> Option<&str> {
        let all = [&self.text, &self.text_b, &self.label, &self.group];
        all.into_iter().flatten().next().map(String::as_str)
    }

    /// Whether this is a usual name of any column.
    fn is_usual(name: &str) -> bool {
        let mut all = [TEXT, TEXT_B, LABEL].into_iter().flatten();
        all.any(|usual| same(name, usual))
    }

    /// Whether this is a text's usual name.
    pub(crate) fn is_usual_text(name: &str) -> bool {
        TEXT.iter().any(|usual| same(name, usual))
    }

    /// Whether these are a text's and a label's usual names.
    pub(crate) fn are_usual(names: &[&str]) -> bool {
        let any = |usual: &[&str]| names.iter().any(|n| usual.iter().any(|u| same(n, u)));
        any(TEXT) && any(LABEL)
    }

    /// Finds the columns in a header. A label column may be absent unless `need_label`.
    pub(crate) fn find(
        &self,
        path: &Path,
        names: &[String],
        need_label: bool,
    ) -> Result<Found, DataError> {
        let mut header = Header {
            path,
            names,
            taken: Vec::new(),
        };
        header.take([
            (&self.text, "--text-column"),
            (&self.text_b, "--text-b-column"),
            (&self.label, "--label-column"),
        ])?;
        let find = |usual, what, flag| match header.taken_by(flag) {
            Some(column) => Ok(Some(column)),
            None => header.usual(usual, what, flag),
        };
        let text = find(TEXT, "the text", "--text-column")?
            .ok_or_else(|| header.absent(&format!("{} (or --text-column)", TEXT.join("|"))))?;
        let text_b = find(TEXT_B, "the second text", "--text-b-column")?;
        let label = find(LABEL, "the label", "--label-column")?;
        if need_label && label.is_none() {
            return Err(header.absent(&format!("{} (or --label-column)", LABEL.join("|"))));
        }
        // Pairs may well be grouped by one of their texts.
        let group = self.group.as_ref().map(|g| header.named(g)).transpose()?;
        Ok(Found {
            text,
            text_b,
            label,
            group,
        })
    }

    /// The columns of both texts of a pair.
    pub(crate) fn find_pair(
        &self,
        path: &Path,
        names: &[String],
    ) -> Result<(usize, usize), DataError> {
        let found = self.find(path, names, false)?;
        let header = Header {
            path,
            names,
            taken: Vec::new(),
        };
        let absent = || header.absent(&format!("{} (or --text-b-column)", TEXT_B.join("|")));
        Ok((found.text, found.text_b.ok_or_else(absent)?))
    }
}

impl Found {
    /// Names of columns that are not used.
    pub fn ignored<'a>(&self, names: &'a [String]) -> Vec<&'a str> {
        let used = [Some(self.text), self.text_b, self.label, self.group];
        (0..names.len())
            .filter(|i| !used.contains(&Some(*i)))
            .map(|i| names[i].as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(columns: &Columns, names: &[&str]) -> Result<Found, String> {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let found = columns.find(Path::new("a.csv"), &names, false);
        found.map_err(|e| e.to_string())
    }

    #[test]
    fn a_first_line_that_may_be_a_row_is_told() {
        let told = |names: &[&str]| find(&Columns::default(), names).unwrap_err();
        let row = "(the first line names the columns; if this is a row, write a line with names above it)";
        let error = told(&["bad film 0", "neg"]);
        assert_eq!(
            error,
            format!(
                "a.csv: no column text|sentence|review|content|sentence1 (or --text-column); the columns are bad film 0, neg \
                 {row}"
            )
        );
        assert!(told(&["good", "1"]).contains("this seems to be a row"));
        for names in [["words", "label"], ["words", "Sentence2"]] {
            let error = told(&names);
            assert!(!error.contains("first line"), "{error}");
        }
    }

    #[test]
    fn usual_names_are_a_texts_and_a_labels() {
        for (names, usual) in [
            (&["id", "Review", "label"][..], true),
            (&["review", "stars"], false),
            (&["id", "label"], false),
        ] {
            assert_eq!(Columns::are_usual(names), usual, "{names:?}");
        }
    }

    #[test]
    fn a_column_plays_one_part() {
        let pairs = ["sentence1", "sentence2", "label"];
        let of = |text: Option<&str>, text_b: Option<&str>, group: Option<&str>| Columns {
            text: text.map(str::to_owned),
            text_b: text_b.map(str::to_owned),
            label: None,
            group: group.map(str::to_owned),
        };
        let found = find(&of(Some("sentence2"), None, None), &pairs).unwrap();
        assert_eq!((found.text, found.text_b), (1, None));
        // The other way about, and grouped by a text that is one of the pair.
        let turned = of(Some("sentence2"), Some("sentence1"), Some("sentence1"));
        let found = find(&turned, &pairs).unwrap();
        assert_eq!(
            (found.text, found.text_b, found.group),
            (1, Some(0), Some(0))
        );
        // A column that plays another part is not looked for as if it were not there.
        let played = find(&of(None, Some("text"), None), &["text", "label"]).unwrap_err();
        assert!(
            played.contains("the columns are text (the one of --text-b-column), label"),
            "{played}"
        );
        let twice = find(&of(Some("label"), Some("label"), None), &pairs).unwrap_err();
        assert_eq!(
            twice,
            "a.csv: --text-column and --text-b-column both name the column label"
        );
        let both = find(&of(Some("body"), None, None), &["body", "label", "body"]).unwrap_err();
        let says = "a.csv: 2 columns are named body; the one that is read needs a name of its own";
        assert_eq!(both, says);
        let exact = find(&of(Some("body"), None, None), &["Body", "body", "label"]).unwrap();
        assert_eq!(exact.text, 1);
        let otherwise = find(&of(Some("body"), None, None), &[" Body", "label"]).unwrap();
        assert_eq!(otherwise.text, 0);
        // A label column read as the text is no label.
        assert_eq!(
            find(&of(Some("label"), None, None), &pairs).unwrap().label,
            None
        );
    }
}
