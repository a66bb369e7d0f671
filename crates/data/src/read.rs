//! Readers: CSV, TSV and fastText here, JSON, Parquet and CoNLL in modules of their own. Each says the line of what it cannot
//! read.

mod conll;
mod json;
mod parquet;

use crate::DataError;
use crate::columns::{Columns, Found, listed};
use crate::dialect::Dialect;
use crate::fasttext::{Labelled, MARK, begins_with_label};
use crate::labels::canonical;
use crate::row::{Cell, Part, Row, are_pairs};
use crate::source::{Text, read_text};
use crate::tagged::{is_place, is_tag_column};
pub use json::read_pair;
use std::ops::Range;
use std::path::Path;

/// Formats by a name's ending, or by how a file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Tsv,
    Json,
    Conll,
    FastText,
    Parquet,
}

impl Format {
    /// By the ending, `.gz` left out (Parquet is packed within).
    pub fn of(path: &Path) -> Option<Format> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        if name.ends_with(".parquet") {
            return Some(Format::Parquet);
        }
        let stem = name.strip_suffix(".gz").unwrap_or(&name);
        Some(match stem.rsplit_once('.')?.1 {
            "csv" => Format::Csv,
            "tsv" => Format::Tsv,
            "jsonl" | "ndjson" | "json" => Format::Json,
            "conll" | "bio" | "iob" => Format::Conll,
            "ft" => Format::FastText,
            _ => return None,
        })
    }

    /// By the ending; of a file with another one by how it begins, since fastText's are called anything.
    pub fn at(path: &Path) -> Option<Format> {
        Format::of(path).or_else(|| begins_with_label(path).then_some(Format::FastText))
    }

    /// The format in which rows of this one are written again: its own, but for Parquet's, which become JSON lines.
    pub fn written(self) -> Format {
        match self {
            Format::Parquet => Format::Json,
            other => other,
        }
    }
}

/// What a reader refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demands {
    /// Texts that are empty.
    Texts,
    /// Neither these nor labels: whoever answers says of an empty text that it has no answer.
    Questions,
    /// Texts that are empty, pairs with one text, and files without a label column.
    Labels,
    /// None of these; labels keep the spaces around them.
    Nothing,
}

/// Reads a file; labels may be absent.
pub fn read_file(path: &Path, columns: &Columns) -> Result<Part, DataError> {
    read(path, columns, Demands::Texts)
}

/// Reads a file of texts to be answered, which may be empty and need no label.
pub(crate) fn read_questions(path: &Path, columns: &Columns) -> Result<Part, DataError> {
    read(path, columns, Demands::Questions)
}

/// Reads a file in which every row must have a label.
pub fn read_labelled(path: &Path, columns: &Columns) -> Result<Part, DataError> {
    read(path, columns, Demands::Labels)
}

/// Reads a file with all its faults, for [`check`](crate::check): empty texts stay, labels keep the spaces
/// around them.
pub fn read_as_is(path: &Path, columns: &Columns) -> Result<Part, DataError> {
    read(path, columns, Demands::Nothing)
}

fn read(path: &Path, columns: &Columns, demands: Demands) -> Result<Part, DataError> {
    let format = Format::at(path).ok_or_else(|| DataError::Format {
        path: path.to_owned(),
    })?;
    let source = match format {
        // No text, and as many files as it has shards.
        Format::Parquet => Text::default(),
        _ => read_text(path)?,
    };
    let reader = Reader {
        path,
        columns,
        demands,
        text: &source.text,
    };
    let (rows, mut notes) = match format {
        Format::Csv => reader.delimited(Dialect::of(format, &source.text))?,
        // A file of two columns without a header, tags in the second, is CoNLL under another name.
        Format::Tsv if looks_tagged(&source.text, columns) => reader.conll()?,
        Format::Tsv => reader.delimited(Dialect::of(format, &source.text))?,
        Format::Json => reader.json()?,
        Format::Conll => reader.conll()?,
        Format::FastText => reader.fast_text()?,
        Format::Parquet => return reader.parquet(),
    };
    if rows.is_empty() {
        return Err(DataError::Empty {
            path: path.to_owned(),
        });
    }
    notes.extend(source.note.map(str::to_owned));
    Ok(Part {
        path: path.to_owned(),
        sha256: source.sha256,
        rows,
        classes: Vec::new(),
        notes,
    })
}

/// The text of a file whose rows are [written](Format::written) again.
pub(crate) fn to_write(path: &Path, format: Format) -> Result<Text, DataError> {
    match format {
        Format::Parquet => parquet::as_json_lines(path),
        _ => read_text(path),
    }
}

/// The two fields of a line, if it has two.
fn two_fields(line: &str) -> Option<(&str, &str)> {
    let (first, second) = line.split_once('\t')?;
    (!second.contains('\t')).then(|| (first.trim(), second.trim()))
}

/// Whether two fields name columns of which one holds texts and none tags.
fn name_a_text(first: &str, second: &str) -> bool {
    let text = Columns::is_usual_text;
    text(second) || text(first) && !is_tag_column(second) && !is_place(second)
}

/// Whether a TSV is a tagged text: two columns without the usual names of texts and labels, the first with single words,
/// the second with BIO tags or blank lines between some of the words. Words may hold spaces where all tags are BIO's.
pub(crate) fn looks_tagged(text: &str, columns: &Columns) -> bool {
    const LOOKED_AT: usize = 2000;
    let lines = || text.trim_end().lines().take(LOOKED_AT);
    let Some((word, tag)) = lines().next().and_then(two_fields) else {
        return false;
    };
    if columns.named().is_some() || Columns::are_usual(&[word, tag]) || name_a_text(word, tag) {
        return false;
    }
    let single = |line: &str| {
        let comment = line.starts_with('#');
        let word = two_fields(line).map(|f| f.0);
        comment || word.is_some_and(|word| !word.contains(char::is_whitespace))
    };
    let (blank, others): (Vec<&str>, Vec<&str>) = lines().partition(|l| l.trim().is_empty());
    let words = others.into_iter().all(single);
    // The first line may name the columns.
    let mut first = lines().take(2).filter_map(two_fields);
    if !first.any(|(_, tag)| is_place(tag)) {
        return words && !blank.is_empty();
    }
    let below = lines().skip(usize::from(!is_place(tag)));
    let mut tags = below.filter_map(two_fields).map(|f| f.1);
    let mut entities = tags.clone();
    words || tags.all(is_place) && entities.any(|tag| tag.contains('-'))
}

/// Line numbers of rising byte positions.
struct Lines<'a> {
    text: &'a [u8],
    byte: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Lines {
            text: text.as_bytes(),
            byte: 0,
            line: 1,
        }
    }

    /// Line of the record at `byte`; what is left of the line end before it belongs to the line above.
    fn at(&mut self, byte: usize) -> usize {
        let mut end = byte;
        while matches!(self.text.get(end), Some(b'\n' | b'\r')) {
            end += 1;
        }
        let passed = self.byte.min(end)..end;
        let ends = passed.filter(|&i| ends_line(self.text[i], self.text.get(i + 1)));
        self.line += ends.count();
        self.byte = end;
        self.line
    }
}

/// Whether a byte ends a line: a line feed, or a carriage return that no line feed follows.
fn ends_line(byte: u8, next: Option<&u8>) -> bool {
    byte == b'\n' || byte == b'\r' && next != Some(&b'\n')
}

/// A group in one spelling, as labels are compared; rows without one stand for themselves.
fn group(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| canonical(text).into_owned())
}

/// What is wrong with the quotation marks of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Misquoted {
    /// Still within quotation marks at its end, which is then the file's.
    Open,
    /// A field goes on behind the mark that closes it, so that what follows was read as its text, lines and all.
    Amid,
}

/// Whether a CSV record's quotation marks do not enclose whole fields, and how many lines below its first the field
/// begins. Within a field that does not begin with one, a quotation mark is a character like any other; spaces may
/// stand behind one that closes.
fn misquoted(record: &str, delimiter: u8) -> Option<(Misquoted, usize)> {
    let mut bytes = record.trim_start_matches(['\r', '\n']).bytes().peekable();
    let (mut quoted, mut begins, mut closed) = (false, true, false);
    let (mut line, mut field) = (0, 0);
    while let Some(byte) = bytes.next() {
        line += usize::from(ends_line(byte, bytes.peek()));
        let end = byte == delimiter || matches!(byte, b'\n' | b'\r');
        if quoted {
            if byte == b'"' && bytes.next_if_eq(&b'"').is_none() {
                (quoted, closed) = (false, true);
            }
            continue;
        }
        match byte {
            _ if end => (begins, closed) = (true, false),
            b'"' if begins => (quoted, begins, field) = (true, false, line),
            b' ' if closed => {}
            _ if closed => return Some((Misquoted::Amid, field)),
            _ => begins = false,
        }
    }
    quoted.then_some((Misquoted::Open, field))
}

/// Texts that quotation marks enclose in a format that knows no quotes, where most are or one has doubled marks within.
fn enclosed(rows: &[Row]) -> Option<String> {
    let inside = |row: &Row| {
        let text = row.text.strip_prefix('"')?;
        text.strip_suffix('"').map(|inside| inside.contains("\"\""))
    };
    let found: Vec<bool> = rows.iter().filter_map(inside).collect();
    let told = found.contains(&true) || 2 * found.len() > rows.len();
    told.then(|| {
        format!(
            "quotation marks enclose {} of {} texts and are read as part of them, as .tsv has it; where they only enclose, \
             name the file .csv",
            found.len(),
            rows.len()
        )
    })
}

/// Fields that begin with a space and then a quotation mark, where most texts do: only a mark that begins a field encloses it.
fn spaced(rows: &[Row]) -> Option<String> {
    let told = |text: &str| text.starts_with(' ') && text.trim_start().starts_with('"');
    let found = rows.iter().filter(|row| {
        let label = matches!(&row.label, Cell::Text(label) if label.trim_start().starts_with('"'));
        label || told(&row.text) || row.text_b.as_deref().is_some_and(told)
    });
    let found = found.count();
    (2 * found > rows.len()).then(|| {
        format!(
            "rows with a space before a quotation mark: {found} of {}; the marks are read as part of the field, since those \
             that enclose one stand right behind the separator",
            rows.len()
        )
    })
}

struct Reader<'a> {
    path: &'a Path,
    columns: &'a Columns,
    demands: Demands,
    text: &'a str,
}

type Rows = (Vec<Row>, Vec<String>);

impl Reader<'_> {
    fn wrong(&self, line: usize, reason: impl Into<String>) -> DataError {
        DataError::Row {
            path: self.path.to_owned(),
            line,
            reason: reason.into(),
        }
    }

    /// A text that is all space carries nothing to learn from.
    fn not_empty(&self, row: Row) -> Result<Row, DataError> {
        let may = matches!(self.demands, Demands::Nothing | Demands::Questions);
        match row.lacks_text(false) && !may {
            true => Err(self.wrong(row.line, "the text is empty; remove the row")),
            false => Ok(row),
        }
    }

    /// Nor does one text of a pair, where others have both.
    fn whole(&self, rows: &[Row]) -> Result<(), DataError> {
        if self.demands != Demands::Labels || !are_pairs(rows) {
            return Ok(());
        }
        match rows.iter().find(|row| row.lacks_text(true)) {
            Some(row) => Err(self.wrong(row.line, "the second text is empty; remove the row")),
            None => Ok(()),
        }
    }

    /// How many rows stand for themselves where a column of groups was named.
    fn alone(&self, rows: &[Row]) -> Option<String> {
        let column = self.columns.group.as_ref()?;
        let alone = rows.iter().filter(|row| row.group.is_none()).count();
        (alone > 0)
            .then(|| format!("rows without a group ({column}), each a group of its own: {alone}"))
    }

    /// Quotation marks that do not enclose a field are no matter of taste: what follows them belongs elsewhere.
    fn enclosing(&self, line: usize, fault: Option<(Misquoted, usize)>) -> Result<(), DataError> {
        let reason = match fault {
            None => return Ok(()),
            Some((Misquoted::Open, _)) => "a quotation mark opens here and never closes",
            Some((Misquoted::Amid, _)) => {
                "a field begins with a quotation mark here and goes on behind the one that closes it; a text with \
                 quotation marks needs them around it, and each of its own twice"
            }
        };
        Err(self.wrong(line + fault.map_or(0, |f| f.1), reason))
    }

    /// A label as it is kept.
    fn label(&self, text: &str) -> String {
        match self.demands {
            Demands::Nothing => text.to_owned(),
            _ => text.trim().to_owned(),
        }
    }

    /// Which columns are read.
    fn used(&self, names: &[String], found: &Found) -> String {
        let name = |i: usize| names[i].as_str();
        let mut line = format!("text from column {}", name(found.text));
        if let Some(b) = found.text_b {
            line += &format!(", second text from {}", name(b));
        }
        if let Some(l) = found.label {
            line += &format!(", label from {}", name(l));
        }
        line
    }

    fn notes(&self, names: &[String], found: &Found) -> Vec<String> {
        let mut line = self.used(names, found);
        let ignored = found.ignored(names);
        if !ignored.is_empty() {
            line += &format!("; columns not used: {}", listed(ignored.into_iter()));
        }
        vec![line]
    }

    fn delimited(&self, dialect: Dialect) -> Result<Rows, DataError> {
        let text = dialect.body(self.text);
        let mut reader = dialect.reader(text);
        let mut records = reader.records();
        let mut lines = Lines::new(text);
        let fault = |record: Range<usize>| {
            let record = text.get(record).unwrap_or_default();
            let quotes = dialect.quoting && record.contains('"');
            quotes.then(|| misquoted(record, dialect.delimiter))?
        };
        let Some(header) = records.next() else {
            return Err(DataError::Empty {
                path: self.path.to_owned(),
            });
        };
        let header = header.map_err(|e| self.wrong(1, e.to_string()))?;
        let end = records.reader().position().byte() as usize;
        let line = lines.at(header.position().map_or(0, |p| p.byte() as usize));
        self.enclosing(line, fault(0..end))?;
        let names: Vec<String> = header.iter().map(|n| n.trim().to_owned()).collect();
        let found = self
            .columns
            .find(self.path, &names, self.demands == Demands::Labels)?;
        let mut notes = self.notes(&names, &found);
        notes.extend(dialect.note().map(str::to_owned));
        let mut rows = Vec::new();
        while let Some(record) = records.next() {
            let record = record.map_err(|e| {
                let line = e.position().map_or(0, |p| p.line() as usize);
                self.wrong(line, e.to_string())
            })?;
            let start = record.position().map_or(0, |p| p.byte() as usize);
            let end = records.reader().position().byte() as usize;
            let line = lines.at(start);
            self.enclosing(line, fault(start..end))?;
            if record.len() != names.len() {
                let hint = match dialect.quoting {
                    true => format!(
                        "; a text with {}, a quotation mark or a line break needs quotes",
                        dialect.separator()
                    ),
                    false => String::new(),
                };
                return Err(self.wrong(
                    line,
                    format!(
                        "{} fields, the header has {}{hint}",
                        record.len(),
                        names.len()
                    ),
                ));
            }
            rows.push(
                self.not_empty(Row {
                    line,
                    text: record[found.text].to_owned(),
                    text_b: found.text_b.map(|b| record[b].to_owned()),
                    label: found
                        .label
                        .map_or(Cell::None, |l| Cell::Text(self.label(&record[l]))),
                    words: Vec::new(),
                    group: found.group.and_then(|g| group(&record[g])),
                })?,
            );
        }
        self.whole(&rows)?;
        notes.extend(self.alone(&rows));
        notes.extend(match dialect.quoting {
            true => spaced(&rows),
            false => enclosed(&rows),
        });
        Ok((rows, notes))
    }

    /// Columns that were asked for of a format that has none.
    fn unnamed(&self, found: &str) -> Result<(), DataError> {
        match self.columns.named() {
            None => Ok(()),
            Some(named) => Err(DataError::Column {
                path: self.path.to_owned(),
                wanted: named.to_owned(),
                found: format!("{found}; they have no names"),
                hint: "",
            }),
        }
    }

    /// One label a line, or a list for each where any line has several.
    fn fast_text(&self) -> Result<Rows, DataError> {
        self.unnamed("labels and, behind them, the text")?;
        let lines = (1..).zip(self.text.lines());
        let lines: Vec<(usize, Labelled<'_>)> = lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(number, line)| (number, Labelled::of(line)))
            .collect();
        let differ = |line: &Labelled<'_>| line.labels.iter().any(|l| *l != line.labels[0]);
        let several = lines.iter().any(|(_, line)| differ(line));
        let mut rows = Vec::with_capacity(lines.len());
        for (number, line) in lines {
            if line.labels.is_empty() && self.demands == Demands::Labels {
                let reason = format!("no label; {MARK}NAME was expected before the text");
                return Err(self.wrong(number, reason));
            }
            if line.labels.contains(&"") && self.demands != Demands::Nothing {
                let reason = format!("a label without a name; {MARK}NAME was expected");
                return Err(self.wrong(number, reason));
            }
            if let Some(late) = line.late() {
                let reason = format!("{late} stands behind the text; labels come before it");
                return Err(self.wrong(number, reason));
            }
            let names = line.labels.iter().map(|l| (*l).to_owned());
            rows.push(self.not_empty(Row {
                label: match line.labels.first() {
                    None => Cell::None,
                    Some(_) if several => Cell::List(names.collect()),
                    Some(one) => Cell::Text((*one).to_owned()),
                },
                ..Row::text(number, line.text)
            })?);
        }
        let note = format!("fastText: labels are the words with {MARK}, the text is behind them");
        Ok((rows, vec![note]))
    }
}

#[cfg(test)]
mod tests;
