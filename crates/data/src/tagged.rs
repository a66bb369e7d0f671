//! Tagged texts as CoNLL's files have them: a word a line, its tag in the last column, a blank line after each sentence.

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'t> {
    /// Between sentences: blank, or the beginning of a document.
    Between,
    /// `# …` before a sentence.
    Comment,
    /// Names of columns, before all sentences.
    Header,
    /// A word and its tag, or what should be both.
    Word(Option<(&'t str, &'t str)>),
    /// A word, in a file whose words have no tags.
    Untagged(&'t str),
    /// A word with so many columns, more or fewer than the file has.
    Ragged(usize),
}

/// How a file writes its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tagged<'t> {
    /// The first line, where it names the columns.
    pub header: Option<&'t str>,
    /// How many columns it has; 0 where no line tells.
    pub columns: usize,
    places: bool,
}

/// Names that a column of words and one of tags go by.
const WORDS: &[&str] = &["token", "tokens", "word", "words", "form", "text"];
const TAGS: &[&str] = &[
    "tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags", "pos", "upos", "bio",
];

fn is_one_of(field: &str, names: &[&str]) -> bool {
    names.iter().any(|n| field.eq_ignore_ascii_case(n))
}

/// Whether this is a name that columns of tags go by.
pub(crate) fn is_tag_column(name: &str) -> bool {
    is_one_of(name, TAGS)
}

/// Whether a line names a column of words and, last, one of tags.
fn names_columns(line: &str) -> bool {
    let fields = fields(line);
    let words = fields.first().is_some_and(|f| is_one_of(f, WORDS));
    fields.len() > 1 && words && fields.last().is_some_and(|f| is_tag_column(f))
}

/// Whether a tag says a place in an entity (`B-x`), or that there is none.
pub(crate) fn is_place(tag: &str) -> bool {
    match tag.split_once('-') {
        Some((place, _)) => matches!(place, "B" | "I" | "E" | "S" | "L" | "U" | "M"),
        None => matches!(tag, "O" | "B" | "I" | "E" | "S"),
    }
}

/// Columns of a line: between tabs where it has any, else between spaces. A space that does not break is part of a word.
fn fields(line: &str) -> Vec<&str> {
    match line.contains('\t') {
        true => line.split('\t').map(str::trim).collect(),
        false => line.split_ascii_whitespace().collect(),
    }
}

fn between(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with("-DOCSTART-")
}

impl<'t> Tagged<'t> {
    /// As the first line that can be nothing but a word says.
    pub fn of(text: &'t str) -> Tagged<'t> {
        let mut words = text.lines().filter(|l| !between(l) && !l.starts_with('#'));
        let mut first = words.next();
        let header = first.filter(|line| names_columns(line));
        if header.is_some() {
            first = words.next();
        }
        let first = first.map(fields).unwrap_or_default();
        Tagged {
            header,
            columns: first.len(),
            places: first.len() > 1 && first.last().is_some_and(|tag| is_place(tag)),
        }
    }

    /// What a line is, at the beginning of a sentence or `inside` one. The word `#` is a word where it has a tag: as many
    /// columns as others, and a place in an entity where others have one.
    pub fn line<'l>(&self, line: &'l str, inside: bool) -> Line<'l> {
        if between(line) {
            return Line::Between;
        }
        if !inside && self.header == Some(line.trim_end_matches(['\r', '\n'])) {
            return Line::Header;
        }
        let fields = fields(line);
        let (word, tag) = match (fields.first(), fields.last()) {
            (Some(&word), Some(&tag)) if fields.len() > 1 => (word, tag),
            (Some(&word), _) => (word, ""),
            _ => ("", ""),
        };
        let fits = fields.len() == self.columns && (!self.places || is_place(tag));
        if !inside && line.starts_with('#') && self.columns > 0 && !fits {
            return Line::Comment;
        }
        match fields[..] {
            [word] if self.columns == 1 => return Line::Untagged(word),
            // A word alone lacks its tag, whatever else there should be.
            [_] | [] => {}
            _ if self.columns == 0 || fields.len() == self.columns => {}
            _ => return Line::Ragged(fields.len()),
        }
        Line::Word((!word.trim().is_empty() && !tag.is_empty()).then_some((word, tag)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_no_words_and_words_no_comments() {
        let word = |w, t| Line::Word(Some((w, t)));
        // MultiCoNER: comments have as many fields as words have columns.
        let file = Tagged::of("# id 1 domain=en\nthe _ _ O\nfilm _ _ B-X\n");
        assert_eq!(file.line("# id 2 domain=en", false), Line::Comment);
        assert_eq!(file.line("# _ _ O", false), word("#", "O"));
        assert_eq!(file.line("# id 2 domain=en", true), word("#", "domain=en"));
        let file = Tagged::of("#\tO\ngood\tB-a\n");
        assert_eq!(file.line("#\tO", false), word("#", "O"));
        assert_eq!(file.line("#film\tO", false), word("#film", "O"));
        assert_eq!(file.line("# sent_id = 3", false), Line::Comment);
        assert_eq!(file.line("good", false), Line::Word(None));
        assert_eq!(file.line(" \t", true), Line::Between);
        assert_eq!(file.line("-DOCSTART- -X- O", false), Line::Between);
        // Plain names tell by their number of columns alone.
        let file = Tagged::of("the DET\nfilm NOUN\n");
        assert_eq!(file.line("# text = the film", false), Line::Comment);
        assert_eq!(file.line("# SYM", false), word("#", "SYM"));
        assert_eq!(Tagged::of("# O\n").line("# O", false), word("#", "O"));
    }

    #[test]
    fn names_of_columns_are_no_word() {
        let word = |w, t| Line::Word(Some((w, t)));
        let file = Tagged::of("Token\tNER\r\ntag\tO\r\n\r\nwords\tB-x\r\n");
        assert_eq!(file.header, Some("Token\tNER"));
        assert_eq!(file.line("Token\tNER\r\n", false), Line::Header);
        assert_eq!(file.line("tag\tO", false), word("tag", "O"));
        assert_eq!(file.line("# sent 2", false), Line::Comment);
        for text in ["text O\ntag O\n", "tag token\n", "words\n"] {
            assert_eq!(Tagged::of(text).header, None, "{text:?}");
        }
    }

    #[test]
    fn lines_have_as_many_columns_as_the_first() {
        let word = |w, t| Line::Word(Some((w, t)));
        let file = Tagged::of("EU NNP B-NP B-ORG\n");
        assert_eq!(file.line("calls VBZ B-VP O", true), word("calls", "O"));
        assert_eq!(file.line("rejects O", true), Line::Ragged(2));
        assert_eq!(file.line("New York NNP B-NP O", false), Line::Ragged(5));
        assert_eq!(file.line("# text = the film", true), Line::Ragged(5));
        assert_eq!(file.line("rejects", true), Line::Word(None));
        // A space that does not break parts no columns.
        let file = Tagged::of("10\u{a0}000 O\nfilms O\n");
        assert_eq!(file.line("10\u{a0}000 O", true), word("10\u{a0}000", "O"));
        assert_eq!(file.line("\u{a0} O", true), Line::Word(None));
        // Words without tags.
        let file = Tagged::of("I\nsaw\n#\n");
        assert_eq!(file.line("I", false), Line::Untagged("I"));
        assert_eq!(file.line("#", false), Line::Untagged("#"));
        assert_eq!(file.line("# text = I saw", false), Line::Comment);
        assert_eq!(file.line("saw\tO", true), Line::Ragged(2));
    }
}
