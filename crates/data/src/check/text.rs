//! Texts as comparisons see them: the key of exact equality, and the normalised words of everything looser.

use crate::Row;
use std::borrow::Cow;
use std::hash::Hasher;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Stands between the two texts of a pair.
const BETWEEN: char = '\u{1f}';

/// Characters with their accents composed (Unicode's NFC).
pub(super) fn composed(text: &str) -> Cow<'_, str> {
    match text.is_ascii() {
        true => Cow::Borrowed(text),
        false => Cow::Owned(text.nfc().collect()),
    }
}

fn push_key(out: &mut String, text: &str) {
    for (i, word) in composed(text).split_whitespace().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        *out += &word.to_lowercase();
    }
}

/// What makes two rows exact duplicates: the text, or the texts of a pair, in lower case, one space between words and
/// none around, accents composed.
pub fn text_key(row: &Row) -> String {
    let mut key = String::with_capacity(row.text.len());
    push_key(&mut key, &row.text);
    if let Some(b) = &row.text_b {
        key.push('\u{0}');
        push_key(&mut key, b);
    }
    key
}

/// A 64-bit hash of [`text_key`]; equal hashes are compared in full before anything is said.
pub(crate) fn key_hash(row: &Row) -> u64 {
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    hasher.write(text_key(row).as_bytes());
    hasher.finish()
}

/// A text's normalised words: lower case, one space between, no punctuation, apostrophes dropped (`don't` is
/// `dont`); Chinese and Japanese characters are words of their own. A text without letters and digits
/// keeps its other characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Normal {
    pub text: String,
    /// Characters of `text`.
    pub chars: usize,
    /// Words of `text`.
    pub words: usize,
}

/// Whether a character is written without spaces around its word.
fn ideograph(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{2fa1f}')
}

fn push_words(out: &mut String, text: &str) {
    let begin = out.len();
    let mut space = begin > 0;
    for c in composed(text).chars().flat_map(char::to_lowercase) {
        if c == '\'' || c == '’' {
            continue;
        }
        if !c.is_alphanumeric() {
            // A mark that composes with nothing belongs to its letter all the same.
            space |= !is_combining_mark(c);
            continue;
        }
        let alone = ideograph(c);
        if (space || alone) && !out.is_empty() && !out.ends_with(' ') {
            out.push(' ');
        }
        out.push(c);
        space = alone;
    }
    if out.len() == begin {
        if begin > 0 {
            out.push(' ');
        }
        let rest = text.chars().filter(|c| !c.is_whitespace());
        out.extend(rest.flat_map(char::to_lowercase));
    }
}

impl Normal {
    /// Of a row; the texts of a pair stand one after the other.
    pub fn of(row: &Row) -> Normal {
        let mut text = String::with_capacity(row.text.len());
        push_words(&mut text, &row.text);
        if let Some(b) = &row.text_b {
            text.push(' ');
            text.push(BETWEEN);
            push_words(&mut text, b);
        }
        Normal {
            chars: text.chars().count(),
            words: text.split(' ').filter(|w| !w.is_empty()).count(),
            text,
        }
    }
}

/// The beginning of a text for a message, on one line.
pub(crate) fn excerpt(row: &Row) -> String {
    const CHARS: usize = 60;
    let whole = match &row.text_b {
        Some(b) => format!("{} | {b}", row.text),
        None => row.text.clone(),
    };
    let mut out: String = whole
        .chars()
        .take(CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if whole.chars().nth(CHARS).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalised_words() {
        for (text, want, words) in [
            ("It's a GOOD film,  good!", "its a good film good", 5),
            ("Ça va?\n(oui)", "ça va oui", 3),
            ("好电影 ok", "好 电 影 ok", 4),
            ("!!! :-)", "!!!:-)", 1),
            ("  ", "", 0),
            ("Cafe\u{301} cre\u{300}me", "café crème", 2),
            ("x\u{302}y", "xy", 1),
        ] {
            let got = Normal::of(&Row::text(1, text));
            assert_eq!((&*got.text, got.words), (want, words), "{text:?}");
            assert_eq!(got.chars, want.chars().count());
        }
        let pair = |a: &str, b: &str| Row {
            text_b: Some(b.to_owned()),
            ..Row::text(1, a)
        };
        assert_eq!(Normal::of(&pair("A b.", "C?")).text, "a b \u{1f} c");
        assert_ne!(text_key(&pair("a", "b")), text_key(&pair("a b", "")));
        let key = |text: &str| text_key(&Row::text(1, text));
        assert_eq!(key(" Good\u{a0} film\n, Cafe\u{301} "), "good film , café");
        assert_eq!(text_key(&pair("A ", " b")), text_key(&pair("a", "B")));
        assert_ne!(key("good film, yes"), key("good film , yes"));
    }
}
