//! Words with a tag each, a line for each word.

use super::{Demands, Reader, Rows};
use crate::DataError;
use crate::row::{Cell, Row};
use crate::tagged::{Line, Tagged};

/// What was read of a sentence.
#[derive(Default)]
struct Sentence {
    /// Its first line.
    line: usize,
    words: Vec<String>,
    /// One for each word, or none at all.
    tags: Vec<String>,
}

impl Sentence {
    /// The sentence as a row, if there is one; what follows is another.
    fn take(&mut self) -> Option<Row> {
        let Sentence { line, words, tags } = std::mem::take(self);
        let label = match tags.is_empty() {
            true => Cell::None,
            false => Cell::Tags(tags),
        };
        let text = words.join(" ");
        (!words.is_empty()).then(|| Row {
            label,
            words,
            ..Row::text(line, text)
        })
    }

    fn add(&mut self, line: usize, word: &str, tag: Option<&str>) {
        if self.words.is_empty() {
            self.line = line;
        }
        self.words.push(word.to_owned());
        self.tags.extend(tag.map(str::to_owned));
    }
}

impl Reader<'_> {
    /// A sentence a row. Tags may be absent where nobody asks for labels, from all words or from none.
    pub(super) fn conll(&self) -> Result<Rows, DataError> {
        self.unnamed("a word and, last, its tag")?;
        let file = Tagged::of(self.text);
        let (mut rows, mut comments) = (Vec::new(), 0);
        let mut now = Sentence::default();
        for (line, number) in self.text.lines().zip(1..) {
            match file.line(line, !now.words.is_empty()) {
                Line::Between => rows.extend(now.take()),
                Line::Comment => comments += 1,
                Line::Header => {}
                Line::Word(Some((word, tag))) => now.add(number, word, Some(tag)),
                Line::Untagged(word)
                    if matches!(self.demands, Demands::Texts | Demands::Questions) =>
                {
                    now.add(number, word, None);
                }
                Line::Word(None) | Line::Untagged(_) => {
                    return Err(self.wrong(number, "a word and its tag were expected"));
                }
                Line::Ragged(columns) => {
                    let reason = match file.columns {
                        1 => "a word alone was expected, as in the lines before".to_owned(),
                        wanted => format!(
                            "{columns} columns; {wanted} were expected, as in the lines before"
                        ),
                    };
                    return Err(self.wrong(number, reason));
                }
            }
        }
        rows.extend(now.take());
        let columns = match file.columns {
            1 => "a word a line, without tags",
            _ => "words from the first column, tags from the last",
        };
        let mut notes = vec![columns.to_owned()];
        if file.header.is_some() {
            notes.push("the first line names the columns".to_owned());
        }
        if comments > 0 {
            notes.push(format!(
                "lines of comment (# …) before sentences: {comments}"
            ));
        }
        Ok((rows, notes))
    }
}
