//! The parts of a data set, read, labelled and split, before anything is tokenised.

use crate::TrainError;
use hone_data::check::{Split, quick, text_key};
use hone_data::{
    Cell, Columns, LabelSet, Labels, Part, Row, TaskKind, find, infer, label_names, numbering,
    read_labelled, stratified_split, unread,
};
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where validation texts come from.
#[derive(Debug, Clone, PartialEq)]
pub enum ValidSource {
    /// The folder's own, else a tenth of the training texts.
    Usual,
    /// A file.
    File(PathBuf),
    /// A part of the training texts.
    Fraction(f64),
    /// Nowhere: train on every row and keep the last weights.
    None,
}

impl std::str::FromStr for ValidSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(ValidSource::None);
        }
        let number = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().map(|p| p / 100.0),
            None => text.parse::<f64>(),
        };
        match number {
            Ok(f) if f > 0.0 && f < 1.0 => Ok(ValidSource::Fraction(f)),
            Ok(_) => Err(format!("{text:?}: a fraction between 0 and 1 was expected")),
            Err(_) => Ok(ValidSource::File(PathBuf::from(text))),
        }
    }
}

/// What to read.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSource {
    /// A file, or a folder with train, valid and test.
    pub data: PathBuf,
    /// Validation texts.
    pub valid: ValidSource,
    /// Test texts; the folder's own where none is given.
    pub test: Option<PathBuf>,
    /// Which columns.
    pub columns: Columns,
    /// The task; none: from the labels.
    pub kind: Option<TaskKind>,
    /// Seed of the validation split.
    pub split_seed: u64,
}

/// A data set, read.
#[derive(Debug, Clone, PartialEq)]
pub struct JobData {
    /// What the labels ask for.
    pub kind: TaskKind,
    /// The model's outputs.
    pub labels: LabelSet,
    /// Names of integer labels, from `labels.txt` ([`numbering`]).
    pub names: Vec<String>,
    /// Training part.
    pub train: Part,
    /// Validation part.
    pub valid: Option<Part>,
    /// Test part.
    pub test: Option<Part>,
    /// How the validation part was held out, where it is a part of the training file.
    pub split: Option<SplitOff>,
    /// What else was found and decided, a line each.
    pub notes: Vec<String>,
    /// What should be mended, a line each.
    pub warnings: Vec<String>,
}

/// Rows that were held out of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitOff {
    /// What they are called.
    pub name: &'static str,
    held_out: usize,
    rows: usize,
    by: &'static str,
    seed: u64,
}

impl SplitOff {
    /// Of validation rows, so many of all.
    pub(crate) fn new(held_out: usize, rows: usize, by: &'static str, seed: u64) -> SplitOff {
        SplitOff {
            name: "validation",
            held_out,
            rows,
            by,
            seed,
        }
    }
}

impl fmt::Display for SplitOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} of {} rows, split by {} with --split-seed {}",
            self.name, self.held_out, self.rows, self.by, self.seed
        )
    }
}

impl JobData {
    /// Some rows of the training part as they stand in the file.
    pub fn fitted(&self, rows: &[u32]) -> Part {
        let rows = rows.iter().map(|&r| self.train.rows[r as usize].clone());
        Part {
            rows: rows.collect(),
            ..self.train.clone_empty()
        }
    }
}

/// A data set, read, before it is decided which texts are held out.
#[derive(Debug, Clone, PartialEq)]
pub struct Undivided {
    /// What the labels ask for.
    pub kind: TaskKind,
    /// The model's outputs.
    pub labels: LabelSet,
    /// Names of integer labels, from `labels.txt` ([`numbering`]).
    pub names: Vec<String>,
    /// All training texts.
    pub train: Part,
    /// The folder's own validation file, unread.
    pub valid: Option<PathBuf>,
    test: Option<Part>,
    notes: Vec<String>,
}

impl DataSource {
    /// Reads and splits.
    pub fn read(&self) -> Result<JobData, TrainError> {
        self.divide(self.open()?, &self.valid)
    }

    /// Reads training and test texts.
    pub fn open(&self) -> Result<Undivided, TrainError> {
        let files = find(&self.data)?;
        let mut notes = Vec::new();
        let train = files.training(&self.data)?;
        if let Some(names) = files.ignored() {
            notes.push(format!("other files, not read: {names}"));
        }
        let train = read_labelled(&train, &self.columns)?;
        notes.extend(train.notes.iter().cloned());
        let kind = match self.kind {
            Some(kind) => kind,
            None => {
                let (kind, why) = infer(&train);
                notes.push(why);
                kind
            }
        };
        let names = match &files.labels {
            Some(path) => label_names(path)?,
            None => Vec::new(),
        };
        let names = match kind {
            TaskKind::Classify | TaskKind::MultiLabel => names,
            TaskKind::Regress | TaskKind::Tag => Vec::new(),
        };
        let number =
            |row: &Row| matches!(&row.label, Cell::Text(t) if t.trim().parse::<usize>().is_ok());
        let counted = numbering(&train, kind, &names)?.to_vec();
        if let (Some(path), Some(first)) = (&files.labels, names.first())
            && train.rows.iter().any(number)
        {
            let (path, none) = (path.display(), counted.is_empty());
            notes.push(match none {
                false => format!("labels that are numbers are named by {path}, 0 being {first:?}"),
                true => format!("labels that are numbers are names, not lines of {path}"),
            });
        }
        let names = counted;
        let labels = LabelSet::of(&train, kind, &names)?;
        if let (Some(own), Some(given)) = (&files.test, &self.test) {
            notes.extend(unread(own, Some(given), "--test"));
        }
        let own = self.test.is_none();
        let test = self.test.clone().or(files.test);
        let test = test.map(|p| read_labelled(&p, &self.columns)).transpose()?;
        // Test files of the hub are often without their labels; who names such a file is told that it has none.
        let unlabelled = |part: &Part| own && part.rows.iter().all(|row| row.label == Cell::None);
        let (without, test): (Vec<Part>, Vec<Part>) = test.into_iter().partition(unlabelled);
        notes.extend(without.iter().map(|part| {
            format!(
                "{}: no row has a label, so that nothing is measured on it",
                part.path.display()
            )
        }));
        let test = test.into_iter().next();
        Ok(Undivided {
            kind,
            labels,
            names,
            train,
            valid: files.valid,
            test,
            notes,
        })
    }

    /// Holds out validation texts, and looks at the parts.
    pub fn divide(&self, found: Undivided, valid: &ValidSource) -> Result<JobData, TrainError> {
        let Undivided {
            kind,
            labels,
            names,
            train,
            valid: file,
            test,
            mut notes,
        } = found;
        let split = |train, f: f64| -> Result<_, TrainError> {
            let (found, _) = labels.labels(&train, kind, &names)?;
            Ok(self.split(train, &found, f))
        };
        if let (Some(own), false) = (&file, *valid == ValidSource::Usual) {
            let instead = match valid {
                ValidSource::File(path) => Some(path.as_path()),
                _ => None,
            };
            notes.extend(unread(own, instead, "--valid"));
        }
        let read = |path: &Path| read_labelled(path, &self.columns).map(Some);
        let (train, valid, split) = match (valid, &file) {
            (ValidSource::None, _) => (train, None, None),
            (ValidSource::File(path), _) => (train, read(path)?, None),
            (ValidSource::Usual, Some(path)) => (train, read(path)?, None),
            (ValidSource::Fraction(f), _) if !(0.0..1.0).contains(f) => {
                return Err(TrainError::Option(format!(
                    "--valid {f}: a fraction from 0 to below 1 was expected"
                )));
            }
            (ValidSource::Fraction(f), _) => split(train, *f)?,
            (ValidSource::Usual, None) => split(train, 0.1)?,
        };
        for part in [&valid, &test].into_iter().flatten() {
            notes.extend(part.notes_beside(&train));
        }
        let parts: Vec<(Split, &Part)> = [
            (Split::Train, Some(&train)),
            (Split::Valid, valid.as_ref()),
            (Split::Test, test.as_ref()),
        ]
        .into_iter()
        .filter_map(|(split, part)| Some((split, part?)))
        .collect();
        let warnings = quick(&parts, kind, &names);
        Ok(JobData {
            kind,
            labels,
            names,
            train,
            valid,
            test,
            split,
            notes,
            warnings,
        })
    }

    fn split(
        &self,
        part: Part,
        labels: &Labels,
        fraction: f64,
    ) -> (Part, Option<Part>, Option<SplitOff>) {
        // A range of values has a row for either side.
        let least = 1.0 / fraction.min(1.0 - fraction);
        let classes = in_order(labels.spread(least.ceil() as usize));
        let keys = together(&part);
        let (train, valid) = stratified_split(&keys, &classes, fraction, self.split_seed);
        let by = match labels {
            Labels::Classes(_) => "label",
            Labels::Sets { .. } => "their labels",
            Labels::Values(_) => "value",
            Labels::Tags(_) => "their tags",
        };
        let split = SplitOff::new(valid.len(), part.rows.len(), by, self.split_seed);
        let pick = |index: &[u32]| Part {
            rows: index
                .iter()
                .map(|&i| part.rows[i as usize].clone())
                .collect(),
            ..part.clone_empty()
        };
        let valid = pick(&valid);
        let empty = valid.rows.is_empty();
        (pick(&train), (!empty).then_some(valid), Some(split))
    }
}

/// Classes numbered as they come in the file: what they are called, and in which order, moves no row.
fn in_order(mut classes: Vec<Vec<u32>>) -> Vec<Vec<u32>> {
    let mut number: HashMap<u32, u32> = HashMap::new();
    for class in classes.iter_mut().flatten() {
        let next = number.len() as u32;
        *class = *number.entry(*class).or_insert(next);
    }
    classes
}

/// What keeps each row on one side of a split: its text and, where a group column was named, its group.
pub fn together(part: &Part) -> Vec<Vec<String>> {
    let keys = part.rows.iter().map(|row| {
        let mut key = vec![format!("text\u{0}{}", text_key(row))];
        key.extend(row.group.as_ref().map(|g| format!("group\u{0}{g}")));
        key
    });
    keys.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 80 rows the rows that a tenth holds out, and what is said of them.
    #[track_caller]
    fn held_out(file: &str, text: String) -> (Part, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        std::fs::write(&path, text).unwrap();
        let source = DataSource {
            data: path,
            valid: ValidSource::Usual,
            test: None,
            columns: Columns::default(),
            kind: None,
            split_seed: 0,
        };
        let data = source.read().unwrap();
        let valid = data.valid.unwrap();
        assert_eq!((data.train.rows.len(), valid.rows.len()), (72, 8));
        (valid, data.split.unwrap().to_string())
    }

    #[test]
    fn names_from_a_file_beside_the_texts_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.csv");
        std::fs::write(folder.path().join("labels.txt"), "cat\ndog\n").unwrap();
        let read = |rows: &str| {
            std::fs::write(&path, format!("text,label\n{rows}")).unwrap();
            let source = DataSource {
                data: path.clone(),
                valid: ValidSource::None,
                test: None,
                columns: Columns::default(),
                kind: None,
                split_seed: 0,
            };
            let data = source.read().unwrap();
            let told = data.notes.iter().any(|n| n.contains("labels.txt"));
            (data.labels.names().to_vec(), told)
        };
        let names = vec!["cat".to_owned(), "dog".to_owned()];
        assert_eq!(read("purrs,0\nbarks,1\n"), (names.clone(), true));
        assert_eq!(read("purrs,cat\nbarks,dog\n"), (names, false));
    }

    #[test]
    fn parts_that_are_read_otherwise_are_told_and_those_that_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let rows = "text,label\na,x\nb,y\nc,x\nd,y\ne,x\nf,y\n";
        file("train.csv", rows);
        let valid = file("valid.csv", "text;label\ng;x\n");
        let test = file("test.jsonl", "{\"text\": \"h\", \"label\": \"x\"}\n");
        let other = file("other.csv", "text,label\ni,x\n");
        let notes = |valid: ValidSource, test: Option<PathBuf>| {
            let source = DataSource {
                data: folder.path().to_owned(),
                valid,
                test,
                columns: Columns::default(),
                kind: None,
                split_seed: 0,
            };
            source.read().unwrap().notes
        };
        let unread = |path: &PathBuf, option: &str| {
            format!("{} is not read: {option} was given", path.display())
        };
        let semicolons = format!("{}: fields are separated by semicolons", valid.display());
        let own = notes(ValidSource::Usual, None);
        assert!(own.contains(&semicolons), "{own:?}");
        let told = |name: &str| own.iter().any(|n| n.contains(name));
        assert!(!told("test.jsonl") && !told("is not read"), "{own:?}");
        let same = notes(ValidSource::File(valid.clone()), Some(test.clone()));
        assert!(!same.iter().any(|n| n.contains("is not read:")), "{same:?}");
        for instead in [
            ValidSource::Fraction(0.4),
            ValidSource::None,
            ValidSource::File(other.clone()),
        ] {
            let said = notes(instead, Some(other.clone()));
            assert!(said.contains(&unread(&valid, "--valid")), "{said:?}");
            assert!(said.contains(&unread(&test, "--test")), "{said:?}");
            assert!(!said.contains(&semicolons));
        }
    }

    #[test]
    fn a_folders_test_file_without_labels_is_left_out_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let rows = |label: &str| format!("{{\"text\": \"x\", \"label\": {label}}}\n");
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        write("train.jsonl", rows("\"a\"") + &rows("\"b\""));
        let test = write("test.jsonl", rows("null") + &rows("null"));
        let read = |test: Option<PathBuf>| {
            let source = DataSource {
                data: folder.path().to_owned(),
                valid: ValidSource::None,
                test,
                columns: Columns::default(),
                kind: None,
                split_seed: 0,
            };
            source.read().unwrap()
        };
        let said = format!(
            "{}: no row has a label, so that nothing is measured on it",
            test.display()
        );
        let data = read(None);
        assert!(
            data.test.is_none() && data.notes.contains(&said),
            "{:?}",
            data.notes
        );
        // Who names it hears of it when it is measured; one with any label is a test file.
        assert!(read(Some(test)).test.is_some());
        write("test.jsonl", rows("null") + &rows("\"a\""));
        assert!(read(None).test.is_some());
    }

    #[test]
    fn a_fraction_that_is_none_is_refused() {
        for fraction in [-0.1, 1.0, 2.0, f64::NAN] {
            let files = tempfile::tempdir().unwrap();
            let data = files.path().join("x.csv");
            std::fs::write(&data, "text,label\none,a\ntwo,b\n").unwrap();
            let source = DataSource {
                data,
                valid: ValidSource::Fraction(fraction),
                test: None,
                columns: Columns::default(),
                kind: None,
                split_seed: 0,
            };
            let said = source
                .read()
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default();
            assert!(said.contains("--valid"), "{fraction}: {said}");
        }
    }

    #[test]
    fn labels_of_every_kind_are_spread_alike() {
        let has = |valid: &Part, label: &str| -> usize {
            let own = |row: &&hone_data::Row| match &row.label {
                Cell::List(all) | Cell::Tags(all) => all.iter().any(|l| l == label),
                Cell::Text(one) => one == label,
                Cell::None => false,
            };
            valid.rows.iter().filter(own).count()
        };
        // "b" stands on 20 rows, on ten of them "c" too, "a" on all others.
        let names = |i: usize| match (i % 4, i % 8) {
            (0, 0) => "\"b\", \"c\"",
            (0, _) => "\"b\"",
            _ => "\"a\"",
        };
        let row = |i| format!("{{\"text\": \"row {i}\", \"labels\": [{}]}}\n", names(i));
        let (valid, note) = held_out("sets.jsonl", (0..80).map(row).collect());
        assert_eq!(["a", "b", "c"].map(|l| has(&valid, l)), [6, 2, 1]);
        assert!(
            note.contains("8 of 80 rows, split by their labels"),
            "{note}"
        );

        let tag = |i: usize| if i.is_multiple_of(8) { "B-x" } else { "O" };
        let row = |i| format!("word{i}\tO\nname\t{}\n\n", tag(i));
        let (valid, note) = held_out("tags.conll", (0..80).map(row).collect());
        assert_eq!(has(&valid, "B-x"), 1);
        assert!(note.contains("split by their tags"), "{note}");

        // Eight ranges of ten values: one of each is held out.
        let row = |i: usize| format!("row {i},{}.5\n", i * 7 % 80);
        let rows: String = (0..80).map(row).collect();
        let (valid, note) = held_out("values.csv", format!("text,label\n{rows}"));
        let mut ranges: Vec<usize> = valid
            .rows
            .iter()
            .map(|row| match &row.label {
                Cell::Text(value) => value.parse::<f64>().unwrap() as usize / 10,
                _ => 99,
            })
            .collect();
        ranges.sort_unstable();
        assert_eq!(ranges, (0..8).collect::<Vec<_>>());
        assert!(note.contains("split by value"), "{note}");
    }
}
