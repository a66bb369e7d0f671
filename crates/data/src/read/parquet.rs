//! Rows of Parquet files. Their values go JSON's way to a row; several shards are read as the one part that they are.

use super::json::{AS_CONLL, holds_tagged_words};
use super::{Demands, Reader};
use crate::DataError;
use crate::columns::{Found, listed};
use crate::objects::Object;
use crate::row::{Cell, Part, Row};
use crate::shards::shards;
use crate::source::{Text, hex};
use crate::table::{Fault, Table};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// A fault with its file.
fn told(path: &Path, fault: Fault) -> DataError {
    let (path, reason) = (path.to_owned(), fault.reason);
    match fault.row {
        None => DataError::Parquet { path, reason },
        Some(row) => DataError::Record { path, row, reason },
    }
}

/// What a visitor of rows gives up with.
enum Stop {
    Fault(Fault),
    Error(DataError),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Fault(fault)
    }
}

/// All shards of a part, one at a time.
fn each_table(
    path: &Path,
    hash: &mut Sha256,
    mut each: impl FnMut(&Path, &Table) -> Result<(), DataError>,
) -> Result<Vec<PathBuf>, DataError> {
    let files = shards(path)?;
    for file in &files {
        let bytes = std::fs::read(file).map_err(|source| DataError::Io {
            path: file.clone(),
            source,
        })?;
        hash.update(&bytes);
        let table = Table::open(bytes).map_err(|fault| told(file, fault))?;
        each(file, &table)?;
    }
    Ok(files)
}

/// The first row as an object, for what can be said of it.
fn first_object(table: &Table) -> Object<'static> {
    let names = table.names();
    let mut object = Object::default();
    let columns = table.readable();
    // What cannot be read adds nothing to what is said.
    let _ = table.rows(&columns, |_, values| {
        for (&column, value) in columns.iter().zip(&values) {
            object.names.push(names[column].clone());
            object.values.push(Cow::Owned(value.to_string()));
        }
        Err(Stop::Fault(Fault::of("read enough")))
    });
    object
}

/// The rows of shards as they add up.
#[derive(Default)]
struct Whole {
    rows: Vec<Row>,
    /// Each file, and how many rows stand before its own.
    begins: Vec<(PathBuf, usize)>,
    /// What is said of the first file's columns, and which they are.
    notes: Vec<String>,
    used: String,
    classes: Vec<String>,
    label: Option<String>,
}

impl Whole {
    /// An error of a row by its file and its place there.
    fn placed(&self, error: DataError) -> DataError {
        let DataError::Row { path, line, reason } = error else {
            return error;
        };
        let file = self.begins.iter().rev().find(|(_, before)| *before < line);
        let (path, before) = file.map_or((path, 0), |(file, before)| (file.clone(), *before));
        DataError::Record {
            path,
            row: line - before,
            reason,
        }
    }
}

impl Reader<'_> {
    pub(super) fn parquet(&self) -> Result<Part, DataError> {
        let mut whole = Whole::default();
        let mut hash = Sha256::new();
        let files = each_table(self.path, &mut hash, |file, table| {
            self.add(file, table, &mut whole)
        })?;
        if whole.rows.is_empty() {
            return Err(DataError::Empty {
                path: self.path.to_owned(),
            });
        }
        self.whole(&whole.rows).map_err(|e| whole.placed(e))?;
        self.names_labels(&whole.rows)
            .map_err(|e| whole.placed(e))?;
        let mut notes = whole.notes;
        notes.extend(self.alone(&whole.rows));
        if let (Some(label), Some(first)) = (&whole.label, whole.classes.first()) {
            notes.push(format!("labels that are numbers are named by the file (its ClassLabel {label}), 0 being {first:?}"));
            let none = whole
                .rows
                .iter()
                .filter(|row| row.label == Cell::None)
                .count();
            if none > 0 {
                notes.push(format!("rows without a label (-1 stands for none): {none}"));
            }
        }
        notes.push(match files.len() {
            1 => "Parquet: what is called a line is a row's number".to_owned(),
            n => format!(
                "Parquet: what is called a line is a row's number, counted through all {n} shards"
            ),
        });
        Ok(Part {
            path: self.path.to_owned(),
            sha256: hex(&hash.finalize()),
            rows: whole.rows,
            classes: whole.classes,
            notes,
        })
    }

    /// One file more.
    fn add(&self, file: &Path, table: &Table, whole: &mut Whole) -> Result<(), DataError> {
        let names = table.names();
        let tagged = || match holds_tagged_words(&first_object(table)) {
            true => AS_CONLL,
            false => "",
        };
        let need_label = self.demands == Demands::Labels;
        let found = self
            .columns
            .find(file, &names, need_label)
            .map_err(|e| match e {
                DataError::Column {
                    path,
                    wanted,
                    found,
                    ..
                } => DataError::Column {
                    path,
                    wanted,
                    found,
                    hint: tagged(),
                },
                other => other,
            })?;
        self.agree(file, table, (&names, &found), whole)?;
        let before = whole.rows.len();
        whole.begins.push((file.to_owned(), before));
        let columns: Vec<usize> = in_use(&found).collect();
        let at = |column: usize| columns.iter().position(|&c| c == column).unwrap_or(0);
        let mut rows = Vec::new();
        let each = |row: usize, values: Vec<Value>| {
            let values = RefCell::new(values);
            let value = |column: usize| {
                // A text is taken; one that is also the group is needed twice.
                let value = match found.group {
                    Some(_) => values.borrow()[at(column)].clone(),
                    None => values.borrow_mut()[at(column)].take(),
                };
                let source = match &value {
                    Value::String(_) => Cow::Borrowed(""),
                    other => Cow::Owned(other.to_string()),
                };
                Ok((value, source))
            };
            let row = self.row_of(before + row, &names, &found, tagged, value);
            rows.push(row.map_err(Stop::Error)?);
            Ok(())
        };
        table.rows(&columns, each).map_err(|stop| match stop {
            Stop::Fault(fault) => told(file, fault),
            Stop::Error(error) => whole.placed(error),
        })?;
        whole.rows.append(&mut rows);
        Ok(())
    }

    /// Whether a shard has what the first one has.
    fn agree(
        &self,
        file: &Path,
        table: &Table,
        (names, found): (&[String], &Found),
        whole: &mut Whole,
    ) -> Result<(), DataError> {
        let used = self.used(names, found);
        let classes = found.label.map_or(&[][..], |label| table.classes(label));
        let Some((first, _)) = whole.begins.first() else {
            whole.notes = self.notes(names, found);
            whole.used = used;
            whole.classes = classes.to_vec();
            whole.label = found.label.map(|label| names[label].clone());
            return Ok(());
        };
        let differ = |what: String| {
            Err(DataError::Parquet {
                path: file.to_owned(),
                reason: format!("{what} of {}, a shard of the same part", first.display()),
            })
        };
        if used != whole.used {
            return differ(format!("{used}, and {}", whole.used));
        }
        if classes != whole.classes {
            let shown = |all: &[String]| listed(all.iter().map(String::as_str));
            return differ(format!(
                "the names of its classes ({}) are not those ({})",
                shown(classes),
                shown(&whole.classes)
            ));
        }
        Ok(())
    }
}

/// The columns that are read, each once.
fn in_use(found: &Found) -> impl Iterator<Item = usize> {
    let all = [Some(found.text), found.text_b, found.label, found.group];
    (0..4).filter_map(move |i| all[i].filter(|column| !all[..i].contains(&Some(*column))))
}

/// A Parquet file as JSON lines, for what writes rows again with all columns; an error where one of them is not read.
pub(super) fn as_json_lines(path: &Path) -> Result<Text, DataError> {
    let mut text = String::new();
    let mut hash = Sha256::new();
    each_table(path, &mut hash, |file, table| {
        let names = table.names();
        let wanted: Vec<usize> = (0..names.len()).collect();
        if let Some((column, what)) = wanted
            .iter()
            .find_map(|&c| Some((&names[c], table.unread(c)?)))
        {
            return Err(DataError::Parquet {
                path: file.to_owned(),
                reason: format!(
                    "the column {column} holds {what}, which are not written again; save the file without it"
                ),
            });
        }
        let line = |_: usize, values: Vec<Value>| {
            let values = values.iter().map(|value| Cow::Owned(value.to_string()));
            let object = Object {
                names: names.clone(),
                values: values.collect(),
            };
            text += &object.to_string();
            text.push('\n');
            Ok::<(), Fault>(())
        };
        table.rows(&wanted, line).map_err(|fault| told(file, fault))
    })?;
    Ok(Text {
        text,
        sha256: hex(&hash.finalize()),
        note: None,
    })
}

#[cfg(test)]
mod tests;
