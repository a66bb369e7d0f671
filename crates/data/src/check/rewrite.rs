//! Writes a file again with some rows changed or left out: the same format (JSON lines of Parquet), the same columns, in the
//! same order.

use super::fix::Edit;
use crate::dialect::Dialect;
use crate::fasttext::{Labelled, head, on_one_line};
use crate::objects::{self, Joiner, Objects};
use crate::read::{Format, to_write};
use crate::tagged::{Line, Tagged};
use crate::{Cell, Columns, DataError, Part};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;

/// What follows the first dot of a name: `csv.gz` of `train.csv.gz`. Dots before the format's own are no part of it. Parquet is
/// written as JSON lines.
pub(crate) fn extension(path: &Path) -> String {
    if Format::of(path) == Some(Format::Parquet) {
        return "jsonl".to_owned();
    }
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    let parts: Vec<&str> = name.split('.').collect();
    let wanted = match parts.last() {
        Some(last) if last.eq_ignore_ascii_case("gz") => 2,
        _ => 1,
    };
    parts[parts.len().saturating_sub(wanted)..].join(".")
}

/// A file and what becomes of its rows.
pub(crate) struct Rewriter<'a> {
    pub part: &'a Part,
    pub columns: &'a Columns,
    pub edits: &'a [Edit],
}

impl Rewriter<'_> {
    /// Writes the changed copy.
    pub fn write(&self, to: &Path) -> Result<(), DataError> {
        let path = &self.part.path;
        let format = Format::at(path).ok_or_else(|| DataError::Format { path: path.clone() })?;
        let source = to_write(path, format)?.text;
        let tagged = self.part.rows.iter().any(|r| !r.words.is_empty());
        let bytes = match format.written() {
            Format::Csv | Format::Tsv if !tagged => {
                self.delimited(&source, Dialect::of(format, &source))?
            }
            Format::Json => self.json(&source)?,
            Format::FastText => self.fast_text(&source),
            _ => self.conll(&source),
        };
        let io = |source| DataError::Io {
            path: to.to_owned(),
            source,
        };
        let packed = to.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
        if !packed {
            return fs::write(to, bytes).map_err(io);
        }
        let mut gz = GzEncoder::new(fs::File::create(to).map_err(io)?, Compression::default());
        gz.write_all(&bytes).map_err(io)?;
        gz.finish().map(|_| ()).map_err(io)
    }

    fn wrong(&self, reason: impl Into<String>) -> DataError {
        DataError::Row {
            path: self.part.path.clone(),
            line: 1,
            reason: reason.into(),
        }
    }

    fn delimited(&self, source: &str, dialect: Dialect) -> Result<Vec<u8>, DataError> {
        let mut reader = dialect.reader(dialect.body(source));
        let first_line = source.split('\n').next().unwrap_or("");
        let crlf = first_line.ends_with('\r');
        let head = dialect.line(crlf).into_bytes();
        let mut writer = dialect.writer(crlf).from_writer(head);
        let wrong = |e: csv::Error| self.wrong(e.to_string());
        let mut records = reader.records();
        let header = records.next().transpose().map_err(wrong)?;
        let header = header.ok_or_else(|| self.wrong("no header"))?;
        let names: Vec<String> = header.iter().map(|n| n.trim().to_owned()).collect();
        let found = self.columns.find(&self.part.path, &names, false)?;
        writer.write_record(&header).map_err(wrong)?;
        for (record, edit) in records.zip(self.edits) {
            let record = record.map_err(wrong)?;
            if edit.dropped {
                continue;
            }
            let label = match &edit.label {
                Some(Cell::Text(t)) => Some(t.as_str()),
                _ => None,
            };
            let field = |(i, old): (usize, &'_ str)| -> String {
                let new = if i == found.text {
                    edit.text.as_deref()
                } else if Some(i) == found.text_b {
                    edit.text_b.as_deref()
                } else if Some(i) == found.label {
                    label
                } else {
                    None
                };
                new.unwrap_or(old).to_owned()
            };
            writer
                .write_record(record.iter().enumerate().map(field))
                .map_err(wrong)?;
        }
        writer.into_inner().map_err(|e| self.wrong(e.to_string()))
    }

    fn json(&self, source: &str) -> Result<Vec<u8>, DataError> {
        let mut out = Vec::new();
        let objects = Objects::of(source).map_err(|(_, reason)| self.wrong(reason))?;
        let mut joiner = Joiner::new(objects.array, "\n");
        for ((_, line), edit) in objects.rows.iter().zip(self.edits) {
            if edit.dropped {
                continue;
            }
            let untouched = edit.text.is_none() && edit.text_b.is_none() && edit.label.is_none();
            if untouched {
                joiner.add(&mut out, line);
                continue;
            }
            let mut object = objects::object(line).map_err(|reason| self.wrong(reason))?;
            let found = self.columns.find(&self.part.path, &object.names, false)?;
            let mut set = |column: Option<usize>, value: Option<Value>| {
                if let (Some(i), Some(value)) = (column, value) {
                    object.set(i, &value);
                }
            };
            set(Some(found.text), edit.text.as_ref().map(|t| json!(t)));
            set(found.text_b, edit.text_b.as_ref().map(|t| json!(t)));
            let label = match &edit.label {
                Some(Cell::Text(t)) => Some(json!(t)),
                Some(Cell::List(all)) => Some(json!(all)),
                _ => None,
            };
            set(found.label, label);
            joiner.add(&mut out, &object.to_string());
        }
        out.extend_from_slice(joiner.close().as_bytes());
        Ok(out)
    }

    /// Lines that change have their labels again, then their text.
    fn fast_text(&self, source: &str) -> Vec<u8> {
        let mut out = String::with_capacity(source.len());
        let mut edits = self.edits.iter();
        for line in source.split_inclusive('\n') {
            let edit = match line.trim().is_empty() {
                true => None,
                false => edits.next(),
            };
            let Some(edit) = edit else {
                out += line;
                continue;
            };
            if edit.dropped {
                continue;
            }
            let content = line.trim_end_matches(['\r', '\n']);
            let old = Labelled::of(content);
            match &edit.label {
                Some(Cell::Text(label)) => out += &head([label.as_str()]),
                Some(Cell::List(all)) => out += &head(all.iter().map(String::as_str)),
                _ => out += old.head,
            }
            match &edit.text {
                Some(text) => out += &on_one_line(text),
                None => out += &content[old.head.len()..],
            }
            out += &line[content.len()..];
        }
        out.into_bytes()
    }

    /// Sentences that are dropped go with the blank line after them; all other lines stay as they are.
    fn conll(&self, source: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut row = 0;
        let (mut inside, mut dropped) = (false, false);
        let file = Tagged::of(source);
        let mut comments = Vec::new();
        for line in source.split_inclusive('\n') {
            let what = file.line(line, inside);
            if what == Line::Header {
                out.extend_from_slice(line.as_bytes());
                continue;
            }
            if what == Line::Comment {
                // It goes or stays with the sentence that it is before.
                comments.extend_from_slice(line.as_bytes());
                continue;
            }
            let blank = what == Line::Between;
            if blank {
                let skip = inside && dropped && line.trim().is_empty();
                inside = false;
                if skip {
                    continue;
                }
            } else if !inside {
                inside = true;
                dropped = self.edits.get(row).is_some_and(|e| e.dropped);
                row += 1;
            }
            let before = std::mem::take(&mut comments);
            if blank || !dropped {
                out.extend_from_slice(&before);
                out.extend_from_slice(line.as_bytes());
            }
        }
        out.extend_from_slice(&comments);
        out
    }
}
