//! What labels mean: the task they make, the set they form, each row's class.

use crate::DataError;
use crate::columns::listed;
use crate::row::{Cell, Part, Row};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

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
fn integer(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| {
        let x: f64 = text.parse().ok()?;
        (x.fract() == 0.0 && x.abs() < 1e15).then_some(x as i64)
    })
}

/// Where `labels.txt` names it.
fn place(label: &str) -> Option<usize> {
    usize::try_from(integer(label)?).ok()
}

/// A label in the one spelling that its number has: tables of floating-point columns write `1.0` for `1`.
pub(crate) fn canonical(text: &str) -> Cow<'_, str> {
    match text
        .parse::<i64>()
        .is_err()
        .then(|| integer(text))
        .flatten()
    {
        Some(number) => Cow::Owned(number.to_string()),
        None => Cow::Borrowed(text),
    }
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// A number that is no integer: what makes a task a regression.
fn is_fraction(text: &str) -> bool {
    integer(text).is_none() && is_number(text)
}

/// Of so many labels one may be no number, where others are fractions: what is missing (`N/A`) is not what a class is.
const ODD: usize = 10;

/// The task that labels make, and a line that says why and how to override it.
pub fn infer(part: &Part) -> (TaskKind, String) {
    let mut fractions = None;
    let mut several = None;
    let (mut numbers, mut odd) = (0, 0);
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
                if fractions.is_none() && is_fraction(text) {
                    fractions = Some((row.line, text.to_owned()));
                }
                if several.is_none() && parts(text).nth(1).is_some() {
                    several = Some((row.line, text.to_owned()));
                }
            }
            Cell::None => {}
        }
    }
    match fractions {
        Some((line, text)) if ODD * odd <= numbers => (
            TaskKind::Regress,
            format!(
                "task: regress, since the label of line {line} is {text} (override with --task classify)"
            ),
        ),
        _ => (
            TaskKind::Classify,
            match several {
                None => "task: classify, one label a row (override with --task regress|multilabel)"
                    .to_owned(),
                Some((line, text)) => format!(
                    "task: classify, one label a row, \"{text}\" of line {line} too (--task multilabel reads it as \
                     several, parted by |)"
                ),
            },
        ),
    }
}

/// Splits a multi-label field.
pub(crate) fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split('|').map(str::trim).filter(|t| !t.is_empty())
}

pub(crate) fn each_label<'a>(task: TaskKind, row: &'a Row, mut f: impl FnMut(&'a str)) {
    match (&row.label, task) {
        (Cell::Text(t), TaskKind::MultiLabel) => parts(t).for_each(f),
        (Cell::Text(t), _) => f(t),
        (Cell::List(all), _) | (Cell::Tags(all), _) => all.iter().for_each(|t| f(t)),
        (Cell::None, _) => {}
    }
}

/// Names in `labels.txt`: one a line, line 0 first; or with their numbers before them, where these count from 0 and the
/// rest of the lines are names still ("1 star" and "2 stars" are names as they stand).
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
    let behind_number = |(k, (line, text)): (usize, &(usize, &'_ str))| {
        let (number, name) = text.split_once(['\t', ' ', ','])?;
        (number.parse() == Ok(k)).then(|| (*line, name.trim().to_owned()))
    };
    let whole = || lines.iter().map(|&(l, t)| (l, t.to_owned())).collect();
    let numbered: Option<Vec<_>> = lines.iter().enumerate().map(behind_number).collect();
    let names = numbered
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

/// The first line whose name is one of a line above.
fn repeated(names: &[(usize, String)]) -> Option<&(usize, String)> {
    let mut seen = HashSet::new();
    names.iter().find(|(_, name)| !seen.insert(name))
}

impl LabelSet {
    /// The labels of a training part: in order of number if all are integers, else of the alphabet;
    /// integers take their names from `names` (`labels.txt`), where there are any.
    pub fn of(part: &Part, task: TaskKind, names: &[String]) -> Result<LabelSet, DataError> {
        if task == TaskKind::Regress {
            return Ok(LabelSet::new(vec!["value".to_owned()]));
        }
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for row in &part.rows {
            if row.label == Cell::None
                || row.label == Cell::Text(String::new()) && task != TaskKind::MultiLabel
            {
                return Err(DataError::Label {
                    path: part.path.clone(),
                    line: row.line,
                    label: String::new(),
                    reason: "the label is empty; hone check --fix leaves such rows out".to_owned(),
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
        if task == TaskKind::Classify && distinct.len() == 1 {
            return Err(DataError::OneClass {
                path: part.path.clone(),
                label: seen
                    .keys()
                    .next()
                    .map(|l| l.to_string())
                    .unwrap_or_default(),
            });
        }
        let integers = !seen.is_empty() && seen.keys().all(|l| integer(l).is_some());
        let mut labels: Vec<&str> = seen.keys().copied().collect();
        if !integers {
            return Ok(LabelSet::new(
                labels.iter().map(|l| l.to_string()).collect(),
            ));
        }
        // Of one number in several spellings the plainest stays.
        labels.sort_by_key(|l| (integer(l).unwrap_or(0), l.len()));
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

    /// Class of a label as written: by name, by number through `names`, or by a number in another spelling.
    fn resolve(&self, label: &str, names: &[String]) -> Option<u32> {
        let named = || self.class(names.get(place(label)?)?);
        let spelt = || {
            integer(label)?;
            self.numbers.get(&*canonical(label)).copied()
        };
        self.class(label).or_else(named).or_else(spelt)
    }

    /// Labels of a part's rows, and how many rows each label unknown to the set has; an error where all of them are.
    pub fn labels(
        &self,
        part: &Part,
        task: TaskKind,
        names: &[String],
    ) -> Result<(Labels, BTreeMap<String, usize>), DataError> {
        let mut unknown: BTreeMap<String, usize> = BTreeMap::new();
        let wrong = |row: &Row, label: &str, reason: &str| DataError::Label {
            path: part.path.clone(),
            line: row.line,
            label: label.to_owned(),
            reason: reason.to_owned(),
        };
        let mut known = 0;
        let mut class = |label: &str| {
            let found = self.resolve(label, names);
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
                    _ => Err(wrong(row, "", "one label was expected")),
                };
                Labels::Classes(part.rows.iter().map(each).collect::<Result<_, _>>()?)
            }
            TaskKind::MultiLabel => {
                let (mut sets, mut strangers) = (Vec::new(), Vec::new());
                for row in &part.rows {
                    if row.label == Cell::None {
                        return Err(wrong(row, "", "a set of labels was expected, if only []"));
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
                            t,
                            "a finite number was expected (--task classify takes labels as names)",
                        )),
                    },
                    _ => Err(wrong(row, "", "a number was expected")),
                };
                Labels::Values(part.rows.iter().map(each).collect::<Result<_, _>>()?)
            }
            TaskKind::Tag => {
                let each = |row: &Row| match &row.label {
                    Cell::Tags(tags) => Ok(tags.iter().map(|t| class(t)).collect()),
                    _ => Err(wrong(row, "", "a tag for each word was expected")),
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
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn part(labels: &[&str]) -> Part {
        Part {
            path: PathBuf::from("a.csv"),
            sha256: String::new(),
            notes: Vec::new(),
            rows: labels
                .iter()
                .enumerate()
                .map(|(i, l)| Row {
                    line: i + 2,
                    text: format!("text {i}"),
                    text_b: None,
                    label: Cell::Text(l.to_string()),
                    words: Vec::new(),
                    group: None,
                })
                .collect(),
        }
    }

    #[test]
    fn a_number_is_one_label_however_a_table_writes_it() {
        for (labels, names) in [
            (["1.0", "0", "1", "0.0"], ["0", "1"]),
            (["1.0", "0.0", "1.0", "0.0"], ["0.0", "1.0"]),
        ] {
            let train = part(&labels);
            let set = LabelSet::of(&train, TaskKind::Classify, &[]).unwrap();
            assert_eq!(set.names(), names);
            let (found, unknown) = set
                .labels(&part(&["1", "0.0", "1.0", "0"]), TaskKind::Classify, &[])
                .unwrap();
            assert!(unknown.is_empty(), "{unknown:?}");
            let want = [Some(1), Some(0), Some(1), Some(0)].to_vec();
            assert_eq!(found, Labels::Classes(want));
        }
        let one = LabelSet::of(&part(&["1", "1.0"]), TaskKind::Classify, &[]);
        assert!(matches!(one, Err(DataError::OneClass { .. })));
        // Codes that begin with zeros are not told to be numbers.
        let codes = LabelSet::of(&part(&["07", "7", "8"]), TaskKind::Classify, &[]).unwrap();
        assert_eq!(codes.names().len(), 3);
        assert_eq!(codes.resolve("9.0", &[]), None);
    }

    #[test]
    fn what_is_missing_makes_no_class_of_a_number() {
        let task = |labels: &[&str]| infer(&part(labels)).0;
        let mut scores = vec![" 1.5", "2", "3.25", "4", "0.5", "1", "2", "3", "4", "5 "];
        assert_eq!(task(&scores), TaskKind::Regress);
        scores.extend(["", "N/A"]);
        assert_eq!(task(&scores), TaskKind::Regress);
        let set = LabelSet::of(&part(&scores[..10]), TaskKind::Regress, &[]).unwrap();
        let error = set
            .labels(&part(&scores), TaskKind::Regress, &[])
            .unwrap_err();
        assert!(
            error.to_string().contains("a finite number was expected"),
            "{error}"
        );
        scores.push("good");
        assert_eq!(task(&scores), TaskKind::Classify);
        assert_eq!(task(&["1.5 stars", "2.5"]), TaskKind::Classify);
    }

    #[test]
    fn order_and_names() {
        let set = |labels: &[&str], names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
            LabelSet::of(&part(labels), TaskKind::Classify, &names)
        };
        assert_eq!(
            set(&["10", "9", "-1"], &[]).unwrap().names(),
            ["-1", "9", "10"]
        );
        assert_eq!(set(&["pos", "neg"], &[]).unwrap().names(), ["neg", "pos"]);
        assert_eq!(
            set(&["1", "0"], &["bad", "good"]).unwrap().names(),
            ["bad", "good"]
        );
        assert_eq!(set(&["10.0", "9.0"], &[]).unwrap().names(), ["9.0", "10.0"]);
        assert_eq!(
            set(&["1.0", "0.0"], &["bad", "good"]).unwrap().names(),
            ["bad", "good"]
        );
        assert!(
            set(&["1", "2"], &["bad", "good"])
                .unwrap_err()
                .to_string()
                .contains("line 3")
        );
        assert!(
            set(&["1", "1"], &[])
                .unwrap_err()
                .to_string()
                .contains("every row")
        );
        assert!(
            set(&["1", ""], &[])
                .unwrap_err()
                .to_string()
                .contains("line 3")
        );
    }

    #[test]
    fn names_stand_alone_or_behind_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.txt");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            label_names(&path)
        };
        let check = |text: &str, want: &[&str]| assert_eq!(read(text).unwrap(), want, "{text:?}");
        check("negative\npositive\n", &["negative", "positive"]);
        check(
            "\u{feff}0 negative\n1\tvery positive\n\n",
            &["negative", "very positive"],
        );
        check("0,bad\r\n1,good\r\n", &["bad", "good"]);
        check(
            "1 star\n2 stars\n3 stars\n",
            &["1 star", "2 stars", "3 stars"],
        );
        check(
            "0 stars\n1 star\n2 stars\n",
            &["0 stars", "1 star", "2 stars"],
        );
        check("0 bad\nfair\n", &["0 bad", "fair"]);
        let error = read("bad\n\ngood\nbad\n").unwrap_err().to_string();
        assert!(
            error.contains("labels.txt: line 4: label \"bad\""),
            "{error}"
        );
    }

    #[test]
    fn tasks_are_inferred() {
        for (labels, want) in [
            (&["1", "0"][..], TaskKind::Classify),
            (&["1", "2.5"], TaskKind::Regress),
            (&["1.5", "good"], TaskKind::Classify),
            (&["0.0", "1.0"], TaskKind::Classify),
            (&["4.0", "1e-1"], TaskKind::Regress),
        ] {
            assert_eq!(infer(&part(labels)).0, want, "{labels:?}");
        }
        let (task, said) = infer(&part(&["good", "good|long", "bad"]));
        assert_eq!(task, TaskKind::Classify);
        assert!(
            said.contains("good|long") && said.contains("--task multilabel"),
            "{said}"
        );
        assert!(!infer(&part(&["good|", "bad"])).1.contains("parted"));
    }

    #[test]
    fn unknown_labels_are_counted() {
        let set = LabelSet::new(vec!["bad".into(), "good".into()]);
        let names = vec!["bad".to_owned(), "good".to_owned()];
        let (labels, unknown) = set
            .labels(
                &part(&["good", "0", "fair", "fair"]),
                TaskKind::Classify,
                &names,
            )
            .unwrap();
        assert_eq!(labels, Labels::Classes(vec![Some(1), Some(0), None, None]));
        assert_eq!(unknown["fair"], 2);
        let (labels, _) = set
            .labels(&part(&["good|bad", "", "good"]), TaskKind::MultiLabel, &[])
            .unwrap();
        let want = Labels::Sets {
            sets: vec![vec![0, 1], vec![], vec![1]],
            unknown: vec![0; 3],
        };
        assert_eq!(labels, want);
        // What the set does not know is counted, each name once a row.
        let (labels, unknown) = set
            .labels(
                &part(&["good|fair|fair|poor", "bad"]),
                TaskKind::MultiLabel,
                &[],
            )
            .unwrap();
        let want = Labels::Sets {
            sets: vec![vec![1], vec![0]],
            unknown: vec![2, 0],
        };
        assert_eq!(labels, want);
        assert_eq!(unknown["poor"], 1);
        let error = set
            .labels(&part(&["1", "x"]), TaskKind::Regress, &[])
            .unwrap_err();
        assert!(error.to_string().contains("line 3"));
    }

    /// No label is neither a class nor the empty set, in whichever part it stands.
    #[test]
    fn a_missing_label_is_an_error() {
        let mut rows = part(&["a", "b", "a|b"]);
        let set = LabelSet::of(&rows, TaskKind::MultiLabel, &[]).unwrap();
        assert!(set.labels(&rows, TaskKind::MultiLabel, &[]).is_ok());
        rows.rows[1].label = Cell::None;
        for task in [TaskKind::Classify, TaskKind::MultiLabel, TaskKind::Regress] {
            let error = set.labels(&rows, task, &[]).unwrap_err().to_string();
            assert!(error.contains("expected"), "{task:?}: {error}");
        }
        for task in [TaskKind::Classify, TaskKind::MultiLabel] {
            let error = LabelSet::of(&rows, task, &[]).unwrap_err().to_string();
            assert!(error.starts_with("a.csv: line 3: "), "{error}");
            assert!(error.contains("hone check --fix"), "{error}");
        }
    }

    #[test]
    fn a_column_without_any_label_is_an_error() {
        let error = LabelSet::of(&part(&["", ""]), TaskKind::MultiLabel, &[]).unwrap_err();
        let said = "a.csv: no row has a label; at least one is needed to learn from";
        assert_eq!(error.to_string(), said);
        assert!(LabelSet::of(&part(&["", "a"]), TaskKind::MultiLabel, &[]).is_ok());
    }

    #[test]
    fn labels_of_another_file_are_an_error() {
        let set = LabelSet::new(vec!["bad".to_owned(), "good".to_owned()]);
        let read = |labels: &[&str], task| set.labels(&part(labels), task, &[]);
        let (_, unknown) = read(&["0", "good"], TaskKind::Classify).unwrap();
        assert_eq!(unknown["0"], 1);
        let error = read(&["0", "1"], TaskKind::Classify).unwrap_err();
        let said =
            "a.csv: none of its labels (0, 1) is one of those that were trained on (bad, good)";
        assert!(error.to_string().starts_with(said), "{error}");
        assert!(read(&["0|1", ""], TaskKind::MultiLabel).is_err());
        assert!(read(&["", ""], TaskKind::MultiLabel).is_ok());
    }
}
