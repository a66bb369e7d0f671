//! What stands at a place of a text: a word, a stray ending, markup, an address; lengths in bytes, by eye and
//! not by grammar.

/// Endings that tokenised texts set apart.
const CLITICS: &[&str] = &[
    "s", "re", "ve", "ll", "d", "m", "t", "em", "n", "til", "cause",
];
/// Words whose `'s` is "is", "has" or "us".
const NO_POSSESSIVE: &[&str] = &[
    "it",
    "he",
    "she",
    "that",
    "this",
    "what",
    "who",
    "where",
    "when",
    "how",
    "why",
    "there",
    "here",
    "let",
    "everything",
    "something",
    "nothing",
];

pub(super) fn apostrophe(c: char) -> bool {
    c == '\'' || c == '’'
}

/// Bytes of the longest tag and of the longest entity: what is no end of theirs is not looked for.
const TAG: usize = 201;
const ENTITY: usize = 11;

/// Length in bytes of a tag of markup or a character entity at the start of `text`.
pub(super) fn markup(text: &str) -> Option<usize> {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some('<'), Some(c)) if c == '/' || c == '!' || c.is_ascii_alphabetic() => {
            let end = text.bytes().take(TAG).position(|b| b == b'>')?;
            (!text[1..end].contains('<')).then_some(end + 1)
        }
        (Some('&'), Some(c)) if c == '#' || c.is_ascii_alphabetic() => {
            let end = text.bytes().take(ENTITY).position(|b| b == b';')?;
            let inside = &text[1..end];
            let plain = inside
                .chars()
                .all(|c| c == '#' || c.is_ascii_alphanumeric());
            (plain && inside.len() > 1).then_some(end + 1)
        }
        _ => None,
    }
}

/// Marks that close what stands before them, and are no part of it.
pub(super) const CLOSING: &str = ".,;:!?)\"'”’]";

/// Length in bytes of something at the start of a chunk that reads as one thing and is no word.
pub(super) fn special(text: &str) -> Option<usize> {
    if let Some(end) = markup(text) {
        return Some(end);
    }
    let end = text
        .find(|c: char| c.is_whitespace() || c == '<')
        .unwrap_or(text.len());
    let chunk = text[..end].trim_end_matches(|c: char| CLOSING.contains(c));
    let mut chars = chunk.chars();
    let first = chars.next()?;
    let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let lower = chunk.to_lowercase();
    let address = lower.contains("://") || lower.starts_with("www.");
    let mail = chunk
        .split_once('@')
        .is_some_and(|(a, b)| !a.is_empty() && b.contains('.'));
    let named = (first == '@' || first == '#') && letter(chars.next());
    let bracket = lower.len() == 5
        && lower.starts_with('-')
        && lower.ends_with("b-")
        && lower[1..3].chars().all(|c| c.is_ascii_alphabetic());
    (address || mail || named || bracket).then_some(chunk.len())
}

/// Length in bytes of the word at the start of `text`, 0 where there is none.
pub(super) fn word(text: &str) -> usize {
    let mut end = 0;
    let mut before = ' ';
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map_or(' ', |&(_, c)| c);
        let inside = match c {
            c if c.is_alphanumeric() => true,
            // Combining marks belong to their letter.
            '\u{300}'..='\u{36f}' => end > 0,
            '-' => before.is_alphanumeric() && next.is_alphanumeric(),
            c if apostrophe(c) => before.is_alphanumeric() && next.is_alphabetic(),
            '.' | ',' => before.is_ascii_digit() && next.is_ascii_digit(),
            '_' => end > 0,
            _ => false,
        };
        if !inside {
            break;
        }
        end = at + c.len_utf8();
        before = c;
    }
    end
}

/// Length in bytes of a stray ending such as `'s` at the start of `text`.
pub(super) fn clitic(text: &str, before: Option<char>) -> Option<usize> {
    let first = text.chars().next()?;
    if !apostrophe(first) || before.is_some_and(|c| !c.is_whitespace()) {
        return None;
    }
    let rest = &text[first.len_utf8()..];
    let end = rest
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(rest.len());
    CLITICS
        .contains(&rest[..end].to_lowercase().as_str())
        .then_some(first.len_utf8() + end)
}

/// Splits a possessive ending off.
pub(super) fn possessive(word: &str) -> (&str, &str) {
    let Some(stem) = word.strip_suffix(['s', 'S']) else {
        return (word, "");
    };
    let Some(last) = stem.chars().last().filter(|&c| apostrophe(c)) else {
        return (word, "");
    };
    let stem = &stem[..stem.len() - last.len_utf8()];
    if stem.is_empty() || NO_POSSESSIVE.contains(&stem.to_lowercase().as_str()) {
        return (word, "");
    }
    (stem, &word[stem.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_ends_within_its_bounds() {
        let tag = |inside: usize| format!("<a{}> b", "x".repeat(inside - 1));
        assert_eq!(markup(&tag(199)), Some(201));
        assert_eq!(markup(&tag(200)), None);
        for (text, len) in [
            ("&amp; b", Some(5)),
            ("&#123456; b", Some(9)),
            ("&abcdefghi; b", Some(11)),
            ("&abcdefghij; b", None),
            ("&a; b", None),
            ("<i <b>", None),
            ("<3> b", None),
        ] {
            assert_eq!(markup(text), len, "{text}");
        }
    }

    #[test]
    fn many_open_marks_take_no_time() {
        let started = std::time::Instant::now();
        let text = "&a <!a ".repeat(200_000);
        let found = text
            .match_indices(['&', '<'])
            .filter_map(|(at, _)| markup(&text[at..]));
        assert_eq!(found.count(), 0);
        assert!(started.elapsed().as_secs() < 20);
    }
}
