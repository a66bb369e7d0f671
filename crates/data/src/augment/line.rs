//! A text as words and what stands between them, so that a word can change while spaces, punctuation and
//! everything that is no word stay as they are.

use super::protect::{Protection, ends_clause, is_negation};
use super::scan::{apostrophe, clitic, markup, possessive, special, word};

/// What kind of word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Letters, perhaps with hyphens.
    Word,
    /// Letters with an apostrophe that is no possessive: `they're`, `isn't`.
    Contraction,
    /// Something with a digit: `10`, `3.5`, `2nd`.
    Number,
    /// A stray ending of a tokenised text: `'s`, `n't`; it belongs to the word before.
    Clitic,
    /// A web address, a mention, a hashtag, a tag of markup, a bracket of the Penn Treebank.
    Special,
}

/// One word, with what stands before it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    /// Spaces and punctuation before it.
    pub gap: String,
    /// The word as written, a possessive ending left out.
    pub word: String,
    /// That ending: `'s`.
    pub suffix: String,
    /// Its kind.
    pub kind: Kind,
    /// The word in lower case.
    pub lower: String,
    /// Whether a sentence begins here.
    pub start: bool,
    /// Number of the negation whose scope this is in, from 1; 0 outside.
    pub scope: u32,
    /// Whether a negation, a label word, a word of number or another that must not change.
    pub protected: bool,
    /// Whether not even its case may change: the user listed it, or it is no plain word.
    pub exact: bool,
    /// Whether it has an entity's tag.
    pub entity: bool,
}

/// A text in parts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    /// The words in order.
    pub parts: Vec<Part>,
    /// What follows the last.
    pub tail: String,
}

/// How a word is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Lower,
    Capital,
    Upper,
    Mixed,
}

impl Shape {
    pub fn of(word: &str) -> Shape {
        let mut letters = word.chars().filter(|c| c.is_alphabetic());
        let Some(first) = letters.next() else {
            return Shape::Lower;
        };
        let (mut lower, mut upper) = (0, 0);
        for c in letters {
            if c.is_uppercase() {
                upper += 1;
            } else {
                lower += 1;
            }
        }
        match (first.is_uppercase(), lower, upper) {
            (false, _, 0) => Shape::Lower,
            (true, _, 0) => Shape::Capital,
            (true, 0, _) => Shape::Upper,
            _ => Shape::Mixed,
        }
    }

    /// A lower-case word written this way.
    pub fn dress(self, word: &str) -> String {
        match self {
            Shape::Upper => word.to_uppercase(),
            Shape::Capital => {
                let mut chars = word.chars();
                let first = chars.next().into_iter().flat_map(char::to_uppercase);
                first.chain(chars).collect()
            }
            Shape::Lower | Shape::Mixed => word.to_owned(),
        }
    }
}

fn part(gap: &str, text: &str, kind: Kind) -> Part {
    let (word, suffix) = match kind {
        Kind::Word => possessive(text),
        _ => (text, ""),
    };
    let lower = word.to_lowercase().replace('’', "'");
    let kind = match kind {
        Kind::Word if word.chars().any(char::is_numeric) => Kind::Number,
        Kind::Word if lower == "n't" => Kind::Clitic,
        Kind::Word if word.chars().any(apostrophe) => Kind::Contraction,
        other => other,
    };
    Part {
        gap: gap.to_owned(),
        word: word.to_owned(),
        suffix: suffix.to_owned(),
        kind,
        lower,
        start: false,
        scope: 0,
        protected: false,
        exact: kind == Kind::Special,
        entity: false,
    }
}

impl Part {
    /// A word put in, which no rule binds.
    pub fn inserted(gap: String, word: String) -> Part {
        part(&gap, &word, Kind::Word)
    }
}

impl Line {
    /// Cuts a text.
    pub fn parse(text: &str, protection: &Protection) -> Line {
        let mut parts = Vec::new();
        let (mut gap, mut at) = (0, 0);
        while at < text.len() {
            let rest = &text[at..];
            let before = text[..at].chars().next_back();
            // Addresses and the like begin chunks; markup may begin anywhere.
            let fresh = before.is_none_or(|c| c.is_whitespace() || "(\"“[>;".contains(c));
            let found = match fresh {
                true => special(rest),
                false => markup(rest),
            };
            let found = found.max(protection.phrase(rest, before));
            let (end, kind) = match (found, clitic(rest, before), word(rest)) {
                (Some(end), _, _) => (end, Kind::Special),
                (None, Some(end), _) => (end, Kind::Clitic),
                (None, None, 0) => {
                    at += rest.chars().next().map_or(1, char::len_utf8);
                    continue;
                }
                (None, None, end) => (end, Kind::Word),
            };
            parts.push(part(&text[gap..at], &rest[..end], kind));
            at += end;
            gap = at;
        }
        let mut line = Line {
            parts,
            tail: text[gap..].to_owned(),
        };
        line.mark(protection);
        line
    }

    /// Words that are tagged one by one; `entities` says which are part of an entity. What is no plain word
    /// stays as it is.
    pub fn of_words(words: &[String], entities: &[bool], protection: &Protection) -> Line {
        let mut line = Line {
            parts: Vec::with_capacity(words.len()),
            tail: String::new(),
        };
        for (i, text) in words.iter().enumerate() {
            let gap = if i == 0 { "" } else { " " };
            let kind = match special(text).is_none() && word(text) == text.len() {
                true => Kind::Word,
                false => Kind::Special,
            };
            let mut part = part(gap, text, kind);
            part.entity = entities.get(i).copied().unwrap_or(false);
            line.parts.push(part);
        }
        for i in 0..words.len() {
            let run = protection.run(&words[i..]);
            line.parts[i..i + run]
                .iter_mut()
                .for_each(|p| p.exact = true);
        }
        line.mark(protection);
        line
    }

    /// Which words begin sentences, stand under a negation, or must stay.
    fn mark(&mut self, protection: &Protection) {
        let mut scope = 0;
        let mut scopes = 0;
        for i in 0..self.parts.len() {
            let first = i == 0;
            let after_mark = i > 0 && self.parts[i - 1].word.ends_with(['.', '!', '?']);
            let part = &mut self.parts[i];
            part.start = first
                || after_mark
                || part.gap.contains(['.', '!', '?', '\n', '"', '“', ':', '('])
                || part.gap.contains(" - ");
            if ends_clause(&part.gap, &part.lower) {
                scope = 0;
            }
            part.scope = scope;
            if is_negation(&part.lower) {
                scopes += 1;
                scope = scopes;
            }
            part.exact |= protection.listed(&part.lower);
            part.protected = part.exact
                || part.kind == Kind::Clitic
                || part.kind == Kind::Number
                || protection.keeps(&part.lower);
        }
        for i in 1..self.parts.len() {
            // `ca n't` is one negation in two pieces.
            if self.parts[i].kind == Kind::Clitic && is_negation(&self.parts[i].lower) {
                self.parts[i - 1].protected = true;
            }
            // A sentence begins after markup such as <br />.
            if self.parts[i - 1].word.starts_with('<') {
                self.parts[i].start = true;
            }
        }
    }

    /// The text again.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            text += &part.gap;
            text += &part.word;
            text += &part.suffix;
        }
        text + &self.tail
    }

    /// The words again, of a line made by [`Line::of_words`].
    pub fn words(&self) -> Vec<String> {
        self.parts
            .iter()
            .map(|p| format!("{}{}", p.word, p.suffix))
            .collect()
    }

    /// Whether a stray ending belongs to word `i`, so that it cannot leave its place.
    pub fn bound(&self, i: usize) -> bool {
        let clitic = |i: usize| {
            self.parts
                .get(i)
                .is_some_and(|p: &Part| p.kind == Kind::Clitic)
        };
        clitic(i) || clitic(i + 1)
    }

    /// Whether the text is written in capitals throughout.
    pub fn shouts(&self) -> bool {
        let mut words = self
            .parts
            .iter()
            .filter(|p| p.kind == Kind::Word && p.word.chars().count() > 1);
        words.clone().next().is_some() && words.all(|p| Shape::of(&p.word) == Shape::Upper)
    }

    /// Whether word `i` looks like a name or an abbreviation: capitals where no sentence begins.
    pub fn name(&self, i: usize) -> bool {
        let part = &self.parts[i];
        match Shape::of(&part.word) {
            Shape::Lower => false,
            Shape::Capital => !part.start,
            Shape::Upper => !self.shouts() && part.word.chars().count() < 4,
            Shape::Mixed => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line::parse(text, &Protection::default())
    }

    #[test]
    fn words_and_what_is_no_word() {
        for (text, words) in [
            ("A well-acted film.", &["A", "well-acted", "film"][..]),
            ("it's the film's end", &["it's", "the", "film", "end"]),
            ("it 's n't , really", &["it", "'s", "n't", "really"]),
            ("'tis (good) \"film\"!", &["tis", "good", "film"]),
            (
                "see http://a.b/c?d=e, @me and #fun.",
                &["see", "http://a.b/c?d=e", "@me", "and", "#fun"],
            ),
            (
                "end.<br /><br />Next &amp; last",
                &["end", "<br />", "<br />", "Next", "&amp;", "last"],
            ),
            (
                "-lrb- a 7.5/10 -rrb-",
                &["-lrb-", "a", "7.5", "10", "-rrb-"],
            ),
            (
                "me@home.org is 1,000 x < y",
                &["me@home.org", "is", "1,000", "x", "y"],
            ),
            ("naïve café, über", &["naïve", "café", "über"]),
            ("...", &[]),
        ] {
            let line = line(text);
            let got: Vec<&str> = line.parts.iter().map(|p| p.word.as_str()).collect();
            assert_eq!(got, words, "{text}");
            assert_eq!(line.text(), text);
        }
    }

    #[test]
    fn kinds_possessives_starts_and_scopes() {
        let l = line("The film's plot isn't bad, it is 2nd-rate. Not Rose's day");
        let kinds: Vec<Kind> = l.parts.iter().map(|p| p.kind).collect();
        use Kind::*;
        assert_eq!(
            kinds,
            [
                Word,
                Word,
                Word,
                Contraction,
                Word,
                Word,
                Word,
                Number,
                Word,
                Word,
                Word
            ]
        );
        assert_eq!(l.parts[1].suffix, "'s");
        let scopes: Vec<u32> = l.parts.iter().map(|p| p.scope).collect();
        assert_eq!(scopes, [0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 2]);
        assert!(l.parts[8].start && !l.parts[9].start);
        assert!(l.name(9) && !l.name(0));
        assert!(l.parts[3].protected && l.parts[7].protected && !l.parts[2].protected);
    }

    #[test]
    fn shapes() {
        for (word, shape, dressed) in [
            ("film", Shape::Lower, "movie"),
            ("Film", Shape::Capital, "Movie"),
            ("FILM", Shape::Upper, "MOVIE"),
            ("A", Shape::Capital, "Movie"),
            ("iPod", Shape::Mixed, "movie"),
            ("Well-acted", Shape::Capital, "Movie"),
        ] {
            assert_eq!(Shape::of(word), shape, "{word}");
            assert_eq!(shape.dress("movie"), dressed);
        }
    }

    #[test]
    fn tagged_words_stay_one_to_one() {
        let words: Vec<String> = ["I", "don't", "like", "U.S.", "@you", "film's"]
            .map(String::from)
            .to_vec();
        let l = Line::of_words(&words, &[false; 6], &Protection::default());
        assert_eq!(l.words(), words);
        assert_eq!(l.parts[3].kind, Kind::Special);
        assert_eq!(l.text(), words.join(" "));
    }
}
