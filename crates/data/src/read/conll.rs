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

#[cfg(test)]
mod tests {
    use crate::read::tests::*;
    use crate::read::*;

    #[test]
    fn lines_of_words_have_the_columns_of_the_first() {
        let text = "EU NNP B-NP B-ORG\nrejects O\n\nPeter NNP B-NP B-PER\n";
        let says = "line 2: 2 columns; 4 were expected, as in the lines before";
        check_error("a.conll", text.as_bytes(), says);
        let (_folder, path) = file("a.conll", text.as_bytes());
        for read in [read_file, read_as_is] {
            let error = read(&path, &Columns::default()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let says = "line 3: 3 columns; 2 were expected";
        check_error("a.conll", b"EU\tO\n\nNew York O\n", says);
        check_error("a.conll", b"EU O\nrejects\n", "line 2: a word and its tag");
    }

    #[test]
    fn words_may_lack_tags_where_labels_are_not_asked_for() {
        let text = "-DOCSTART-\n\n# id 1\nI\nsaw\r\n#\n\n\nPeter\n";
        let (_folder, path) = file("a.conll", text.as_bytes());
        let part = crate::read_texts(&path, &Columns::default()).unwrap();
        let found: Vec<(usize, &str)> = part.rows.iter().map(|r| (r.line, &*r.text)).collect();
        assert_eq!(found, [(4, "I saw #"), (9, "Peter")]);
        assert_eq!(part.rows[0].words, ["I", "saw", "#"]);
        assert!(part.rows.iter().all(|r| r.label == Cell::None));
        assert_eq!(part.notes[0], "a word a line, without tags");
        check_error(
            "a.conll",
            text.as_bytes(),
            "line 4: a word and its tag were expected",
        );
        assert!(read_as_is(&path, &Columns::default()).is_err());
        // Some tags are a mistake somewhere.
        for (text, says) in [
            (
                "I\nsaw O\n",
                "line 2: a word alone was expected, as in the lines before",
            ),
            ("I O\nsaw\n", "line 2: a word and its tag were expected"),
        ] {
            let (_folder, path) = file("a.conll", text.as_bytes());
            let error = read_file(&path, &Columns::default()).unwrap_err();
            assert!(error.to_string().ends_with(says), "{error}");
        }
    }
}
