//! A data file with changed copies of its rows, in the format (of Parquet JSON lines) and with the columns it has.

use super::draws::Key;
use super::outcome::{Outcome, Why};
use super::{Augmenter, Changed};
use crate::dialect::Dialect;
use crate::fasttext::{Labelled, on_one_line};
use crate::objects::{self, Joiner, Objects};
use crate::read::{Format, looks_tagged, to_write};
use crate::row::{Part, Row};
use crate::tagged::{self, Tagged};
use crate::{Columns, DataError};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Tries at a copy before it is given up: one that equals its text teaches nothing new.
const TRIES: u32 = 4;
/// Rows made at once, between two signs of progress.
const CHUNK: usize = 512;

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies {
    /// Changed copies of each row.
    pub number: u32,
    /// Whether the rows themselves are written too, each before its copies; of tagged texts with the comments before them.
    pub originals: bool,
    /// Seed of all draws.
    pub seed: u64,
    /// A column added that holds the line of the row a copy was made from.
    pub origin: Option<String>,
}

/// What an operator did, over all copies.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Texts it was drawn for.
    pub texts: usize,
    /// Texts it changed.
    pub changed: usize,
    /// Words changed in them (marks, for punctuation).
    pub words: usize,
    /// Texts that stayed the same, by reason.
    pub same: BTreeMap<Why, usize>,
}

/// What became of a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Receipt {
    /// Rows read.
    pub rows: usize,
    /// Copies asked for.
    pub asked: usize,
    /// Copies written; the others would have repeated a text.
    pub copies: usize,
    /// Operators by name.
    pub operators: BTreeMap<&'static str, Tally>,
}

impl Receipt {
    fn count(&mut self, steps: &[(super::Operator, Outcome)], repeats: bool) {
        for (operator, outcome) in steps {
            let tally = self.operators.entry(operator.name()).or_default();
            tally.texts += 1;
            match outcome {
                Outcome::Changed(_) if repeats => {
                    *tally.same.entry(Why::Duplicate).or_default() += 1;
                }
                Outcome::Changed(words) => {
                    tally.changed += 1;
                    tally.words += words;
                }
                Outcome::Same(why) => *tally.same.entry(*why).or_default() += 1,
            }
        }
    }
}

/// Copies of one row, and what the last try at each did.
fn copies_of(
    augmenter: &Augmenter,
    row: &Row,
    example: usize,
    copies: &Copies,
) -> Vec<(Changed, bool)> {
    let mut all: Vec<(Changed, bool)> = Vec::new();
    for number in 0..copies.number {
        let mut last = None;
        for attempt in 0..TRIES {
            let key = Key {
                seed: copies.seed,
                epoch: number * TRIES + attempt,
                example: example as u64,
            };
            let made = augmenter.copy(row, key);
            let same = |other: &Row| other.text == made.row.text && other.text_b == made.row.text_b;
            let repeats = same(row) || all.iter().any(|(c, repeats)| !repeats && same(&c.row));
            let done = !repeats;
            last = Some((made, repeats));
            if done {
                break;
            }
        }
        all.extend(last);
    }
    all
}

/// Records as they stand in the file, one for each row.
enum Raw<'a> {
    Delimited {
        dialect: Dialect,
        header: csv::StringRecord,
        records: Vec<csv::StringRecord>,
        text: usize,
        text_b: Option<usize>,
    },
    Json(Objects<'a>),
    Conll(Sentences<'a>),
    FastText(Vec<&'a str>),
}

impl<'a> Raw<'a> {
    fn read(
        text: &'a str,
        format: Format,
        columns: &Columns,
        path: &Path,
    ) -> Result<Raw<'a>, DataError> {
        let wrong = |line: usize, reason: String| DataError::Row {
            path: path.to_owned(),
            line,
            reason,
        };
        match format {
            Format::Tsv if looks_tagged(text, columns) => Ok(Raw::Conll(sentences(text))),
            Format::Conll => Ok(Raw::Conll(sentences(text))),
            Format::FastText => {
                let lines = text.lines().filter(|l| !l.trim().is_empty());
                Ok(Raw::FastText(lines.collect()))
            }
            // Parquet's rows are JSON lines by now.
            Format::Json | Format::Parquet => Objects::of(text)
                .map(Raw::Json)
                .map_err(|(at, reason)| wrong(at, reason)),
            Format::Csv | Format::Tsv => {
                let dialect = Dialect::of(format, text);
                let mut records = dialect
                    .reader(dialect.body(text))
                    .records()
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|e| wrong(1, e.to_string()))?;
                if records.is_empty() {
                    return Err(DataError::Empty {
                        path: path.to_owned(),
                    });
                }
                let header = records.remove(0);
                let names: Vec<String> = header.iter().map(|n| n.trim().to_owned()).collect();
                let found = columns.find(path, &names, false)?;
                Ok(Raw::Delimited {
                    dialect,
                    header,
                    records,
                    text: found.text,
                    text_b: found.text_b,
                })
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Raw::Delimited { records, .. } => records.len(),
            Raw::Json(objects) => objects.rows.len(),
            Raw::Conll(file) => file.sentences.len(),
            Raw::FastText(lines) => lines.len(),
        }
    }
}

/// A tagged file.
#[derive(Default)]
struct Sentences<'a> {
    /// Names of the columns.
    header: Option<&'a str>,
    sentences: Vec<Sentence<'a>>,
    /// Lines that stand behind the last sentence, as those before one.
    after: Vec<&'a str>,
}

/// A sentence as it stands in a tagged file.
#[derive(Default)]
struct Sentence<'a> {
    /// Lines before it that are no words: comments, the beginning of a document and a blank line behind it.
    before: Vec<&'a str>,
    /// A line each.
    words: Vec<&'a str>,
}

/// Lines of each sentence, as the reader groups them.
fn sentences(text: &str) -> Sentences<'_> {
    let file = Tagged::of(text);
    let mut all = Sentences::default();
    let mut now = Sentence::default();
    for line in text.lines().map(|l| l.trim_end_matches('\r')) {
        match file.line(line, !now.words.is_empty()) {
            tagged::Line::Word(_) | tagged::Line::Untagged(_) | tagged::Line::Ragged(_) => {
                now.words.push(line);
            }
            tagged::Line::Comment => now.before.push(line),
            tagged::Line::Header if all.header.is_none() => all.header = Some(line),
            tagged::Line::Header => now.before.push(line),
            tagged::Line::Between => {
                if !now.words.is_empty() {
                    all.sentences.push(std::mem::take(&mut now));
                }
                if !line.trim().is_empty() {
                    now.before.extend([line, ""]);
                }
            }
        }
    }
    match now.words.is_empty() {
        true => all.after = now.before,
        false => all.sentences.push(now),
    }
    all
}

/// Bytes out, through gzip where the name says so.
enum Out {
    Plain(BufWriter<File>),
    Gzip(Box<flate2::write::GzEncoder<BufWriter<File>>>),
}

impl Out {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Out::Plain(w) => w,
            Out::Gzip(w) => w.as_mut(),
        }
    }

    fn finish(self) -> std::io::Result<()> {
        match self {
            Out::Plain(mut w) => w.flush(),
            Out::Gzip(w) => w.finish()?.flush(),
        }
    }
}

/// Why a column cannot be added: what it holds would be lost, of a file that was augmented before the very groups.
fn taken(path: &Path, name: &str) -> DataError {
    DataError::Option(format!(
        "--origin-column {name}: {} has a column of that name; give another",
        path.display()
    ))
}

/// Writes copies of each row of `part`, which was read from `part.path` with these columns, to `out`.
/// `progress` hears how many rows are done, and says whether to go on.
pub fn write_copies(
    part: &Part,
    columns: &Columns,
    out: &Path,
    augmenter: &Augmenter,
    copies: &Copies,
    mut progress: impl FnMut(usize) -> bool,
) -> Result<Option<Receipt>, DataError> {
    let unknown = |path: &Path| DataError::Format {
        path: path.to_owned(),
    };
    let from = Format::at(&part.path).ok_or_else(|| unknown(&part.path))?;
    // fastText's files are called anything that is no other format's name.
    let to = Format::of(out).or_else(|| (from == Format::FastText).then_some(from));
    if from == Format::Parquet && to != Some(Format::Json) {
        return Err(DataError::Option(format!(
            "{}: copies of a Parquet file are written as JSON lines; give a name that ends in .jsonl or .jsonl.gz",
            out.display()
        )));
    }
    let written = from.written();
    if to.ok_or_else(|| unknown(out))? != written {
        return Err(DataError::Option(format!(
            "{}: the copies keep the format of {}; give both the same ending (.gz may differ)",
            out.display(),
            part.path.display()
        )));
    }
    let source = to_write(&part.path, from)?;
    let raw = Raw::read(&source.text, written, columns, &part.path)?;
    if raw.len() != part.rows.len() || source.sha256 != part.sha256 {
        return Err(DataError::Row {
            path: part.path.clone(),
            line: 1,
            reason: "the file changed while it was read".to_owned(),
        });
    }
    let without_columns = match raw {
        Raw::Conll(_) => Some("tagged texts"),
        Raw::FastText(_) => Some("fastText's lines"),
        _ => None,
    };
    if let (Some(what), Some(_)) = (without_columns, &copies.origin) {
        return Err(DataError::Option(format!(
            "--origin-column: {what} have no columns to add one to"
        )));
    }
    if let (Some(name), Raw::Delimited { header, .. }) = (&copies.origin, &raw)
        && header
            .iter()
            .any(|h| h.trim().eq_ignore_ascii_case(name.trim()))
    {
        return Err(taken(&part.path, name));
    }
    let mut beside = out.as_os_str().to_owned();
    beside.push(".part");
    let beside = Path::new(&beside);
    let io = |source| DataError::Io {
        path: out.to_owned(),
        source,
    };
    let file = BufWriter::new(File::create(beside).map_err(io)?);
    let zipped = out
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("gz"));
    let mut sink = match zipped {
        true => Out::Gzip(Box::new(flate2::write::GzEncoder::new(
            file,
            flate2::Compression::default(),
        ))),
        false => Out::Plain(file),
    };
    let mut receipt = Receipt {
        rows: part.rows.len(),
        asked: part.rows.len() * copies.number as usize,
        ..Receipt::default()
    };
    let first = source.text.lines().next().unwrap_or_default();
    let crlf = source.text[first.len()..].starts_with("\r\n");
    let array = matches!(&raw, Raw::Json(objects) if objects.array);
    let mut pen = Pen {
        raw: &raw,
        copies,
        columns,
        path: &part.path,
        crlf,
        joiner: Joiner::new(array, if crlf { "\r\n" } else { "\n" }),
    };
    let mut write = || -> Result<bool, DataError> {
        pen.head(sink.writer()).map_err(io)?;
        for (chunk, rows) in part.rows.chunks(CHUNK).enumerate() {
            let first = chunk * CHUNK;
            let made: Vec<Vec<(Changed, bool)>> = rows
                .par_iter()
                .enumerate()
                .map(|(i, row)| copies_of(augmenter, row, first + i, copies))
                .collect();
            let mut text = Vec::new();
            for (i, list) in made.iter().enumerate() {
                let row = &part.rows[first + i];
                if copies.originals {
                    pen.row(&mut text, first + i, row, None)?;
                }
                for (changed, repeats) in list {
                    receipt.count(&changed.steps, *repeats);
                    if !repeats {
                        pen.row(&mut text, first + i, row, Some(&changed.row))?;
                        receipt.copies += 1;
                    }
                }
            }
            sink.writer().write_all(&text).map_err(io)?;
            if !progress(first + rows.len()) {
                return Ok(false);
            }
        }
        pen.tail(sink.writer()).map_err(io)?;
        Ok(true)
    };
    let whole = write();
    let closed = sink.finish().map_err(io);
    match (whole, closed) {
        (Ok(true), Ok(())) => {
            std::fs::rename(beside, out).map_err(io)?;
            Ok(Some(receipt))
        }
        (whole, closed) => {
            // What is unfinished holds nothing of use.
            let _ = std::fs::remove_file(beside);
            closed?;
            whole.map(|_| None)
        }
    }
}

/// Writes rows in the format they were read in.
struct Pen<'a> {
    raw: &'a Raw<'a>,
    copies: &'a Copies,
    columns: &'a Columns,
    path: &'a Path,
    crlf: bool,
    joiner: Joiner,
}

impl Pen<'_> {
    fn end(&self) -> &'static str {
        if self.crlf { "\r\n" } else { "\n" }
    }

    fn record(&self, to: &mut dyn Write, dialect: Dialect, fields: &[&str]) -> std::io::Result<()> {
        let mut line = Vec::new();
        {
            let mut writer = dialect.writer(self.crlf).from_writer(&mut line);
            writer.write_record(fields).map_err(std::io::Error::other)?;
            writer.flush()?;
        }
        to.write_all(&line)
    }

    fn lines(&self, to: &mut dyn Write, lines: &[&str]) -> std::io::Result<()> {
        lines
            .iter()
            .try_for_each(|line| write!(to, "{line}{}", self.end()))
    }

    /// What stands before all rows.
    fn head(&self, to: &mut dyn Write) -> std::io::Result<()> {
        match self.raw {
            Raw::Delimited {
                dialect, header, ..
            } => {
                let mut names: Vec<&str> = header.iter().collect();
                names.extend(self.copies.origin.as_deref());
                to.write_all(dialect.line(self.crlf).as_bytes())?;
                self.record(to, *dialect, &names)
            }
            Raw::Conll(file) => self.lines(to, file.header.as_slice()),
            Raw::Json(_) | Raw::FastText(_) => Ok(()),
        }
    }

    /// What stands behind them.
    fn tail(&self, to: &mut dyn Write) -> std::io::Result<()> {
        if let (Raw::Conll(file), true) = (self.raw, self.copies.originals) {
            self.lines(to, &file.after)?;
        }
        to.write_all(self.joiner.close().as_bytes())
    }

    /// Row `i` as it is, or with the texts of a copy.
    fn row(
        &mut self,
        to: &mut Vec<u8>,
        i: usize,
        row: &Row,
        copy: Option<&Row>,
    ) -> Result<(), DataError> {
        let io = |source| DataError::Io {
            path: self.path.to_owned(),
            source,
        };
        let line = row.line.to_string();
        match self.raw {
            Raw::Delimited {
                dialect,
                records,
                text,
                text_b,
                ..
            } => {
                let mut fields: Vec<&str> = records[i].iter().collect();
                if let Some(copy) = copy {
                    fields[*text] = &copy.text;
                    if let (Some(at), Some(b)) = (*text_b, &copy.text_b) {
                        fields[at] = b;
                    }
                }
                if self.copies.origin.is_some() {
                    fields.push(&line);
                }
                self.record(to, *dialect, &fields).map_err(io)
            }
            Raw::Json(objects) => {
                let (_, source) = objects.rows[i];
                let mut object = objects::object(source).map_err(|reason| DataError::Row {
                    path: self.path.to_owned(),
                    line: row.line,
                    reason,
                })?;
                if let Some(copy) = copy {
                    let found = self.columns.find(self.path, &object.names, false)?;
                    let texts = [
                        (Some(found.text), Some(&copy.text)),
                        (found.text_b, copy.text_b.as_ref()),
                    ];
                    for (at, text) in texts {
                        if let (Some(at), Some(text)) = (at, text) {
                            object.set(at, &text.as_str().into());
                        }
                    }
                }
                if let Some(name) = &self.copies.origin {
                    if object.names.contains(name) {
                        return Err(taken(self.path, name));
                    }
                    object.names.push(name.clone());
                    object.values.push(line.into());
                }
                let text = match (copy, &self.copies.origin) {
                    (None, None) => source.to_owned(),
                    _ => object.to_string(),
                };
                self.joiner.add(to, &text);
                Ok(())
            }
            Raw::FastText(lines) => {
                let head = Labelled::of(lines[i]).head;
                match copy {
                    Some(copy) => write!(to, "{head}{}", on_one_line(&copy.text)),
                    None => write!(to, "{}", lines[i]),
                }
                .map_err(io)?;
                to.extend_from_slice(self.end().as_bytes());
                Ok(())
            }
            Raw::Conll(file) => {
                let Sentence { before, words } = &file.sentences[i];
                // What is said of a sentence or a document is not said of its copies.
                if copy.is_none() {
                    self.lines(to, before).map_err(io)?;
                }
                for (k, line) in words.iter().enumerate() {
                    let word = row.words.get(k).map_or("", String::as_str);
                    match (copy, line.find(word)) {
                        (Some(copy), Some(at)) => {
                            let new = copy.words.get(k).map_or(word, String::as_str);
                            write!(to, "{}{new}{}", &line[..at], &line[at + word.len()..])
                        }
                        _ => write!(to, "{line}"),
                    }
                    .map_err(io)?;
                    to.extend_from_slice(self.end().as_bytes());
                }
                to.extend_from_slice(self.end().as_bytes());
                Ok(())
            }
        }
    }
}
