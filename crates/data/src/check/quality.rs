//! Texts one by one: what is damaged in them, and the text as it was meant.

use super::report::Kind;
use super::{markup, mojibake};

/// A character that carries nothing: a control character other than tab and line break, a byte order mark within
/// a text, a space of no width.
fn noise(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r') || matches!(c, '\u{feff}' | '\u{200b}')
}

/// What is wrong with a text, each with the place that shows it.
pub(crate) fn flaws(text: &str) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    if text.contains('\u{fffd}') {
        found.push((Kind::ReplacementCharacter, around(text, '\u{fffd}')));
    }
    if let Some(right) = mojibake::repair(text) {
        found.push((Kind::Mojibake, difference(text, &right)));
    }
    let seen_as_punctuation = |c: char| matches!(c, '\u{80}'..='\u{9f}');
    if let Some(c) = text.chars().find(|&c| noise(c) && !seen_as_punctuation(c)) {
        found.push((Kind::ControlCharacter, format!("U+{:04X}", c as u32)));
    }
    if let Some(entity) = markup::first_entity(text) {
        found.push((Kind::HtmlEntity, entity.to_owned()));
    }
    if let Some(tag) = markup::first_tag(text) {
        found.push((Kind::Markup, tag.chars().take(40).collect()));
    }
    if text.trim() != text && !text.trim().is_empty() {
        found.push((Kind::OuterSpace, String::new()));
    }
    found
}

fn around(text: &str, what: char) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = chars.iter().position(|&c| c == what).unwrap_or(0);
    let near: String = chars[at.saturating_sub(10)..(at + 10).min(chars.len())]
        .iter()
        .collect();
    shown(&near)
}

/// The first words that differ: `cafÃ© → café`.
fn difference(wrong: &str, right: &str) -> String {
    let pairs = wrong.split_whitespace().zip(right.split_whitespace());
    let mut differing = pairs.filter(|(w, r)| w != r);
    differing
        .next()
        .map_or(String::new(), |(w, r)| format!("{} → {r}", shown(w)))
}

/// Characters that a terminal would act on, by their numbers.
fn shown(text: &str) -> String {
    text.chars()
        .map(|c| match c.is_control() {
            true => format!("<U+{:04X}>", c as u32),
            false => c.to_string(),
        })
        .collect()
}

/// The text as it was meant and what was done to it; none where nothing is to be done. What was lost (U+FFFD)
/// stays lost.
pub(crate) fn repair(text: &str) -> Option<(String, Vec<&'static str>)> {
    /// Markup may stand in entities, and these in misread text.
    const ROUNDS: usize = 4;
    if text.trim().is_empty() {
        return None;
    }
    let mut now = text.to_owned();
    let mut steps = Vec::new();
    let mut took = |step: &'static str| {
        if !steps.contains(&step) {
            steps.push(step);
        }
    };
    for _ in 0..ROUNDS {
        let before = now.clone();
        if let Some(new) = mojibake::repair(&now) {
            took("encoding");
            now = new;
        }
        if let Some(new) = markup::without_entities(&now) {
            took("entities");
            now = new;
        }
        if let Some(new) = markup::without_tags(&now) {
            took("markup");
            now = new;
        }
        if now.contains(noise) {
            took("control characters");
            now.retain(|c| !noise(c));
        }
        if now == before {
            break;
        }
    }
    if now.trim() != now {
        took("outer space");
        now = now.trim().to_owned();
    }
    (now != text).then_some((now, steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flaws_are_named_and_repaired_texts_have_none() {
        for (text, kinds, right) in [
            ("fine", &[][..], "fine"),
            ("a\u{fffd}b", &[Kind::ReplacementCharacter], "a\u{fffd}b"),
            ("cafÃ© ok", &[Kind::Mojibake], "café ok"),
            ("a\u{0}b\u{200b}", &[Kind::ControlCharacter], "ab"),
            ("a &lt;br&gt; b", &[Kind::HtmlEntity], "a b"),
            (" x<br/>y\n", &[Kind::Markup, Kind::OuterSpace], "x y"),
            ("  ", &[], "  "),
            (
                "it\u{92}s &amp;amp; so",
                &[Kind::Mojibake, Kind::HtmlEntity],
                "it’s & so",
            ),
        ] {
            let got: Vec<Kind> = flaws(text).into_iter().map(|f| f.0).collect();
            assert_eq!(got, kinds, "{text:?}");
            let repaired = repair(text).map_or(text.to_owned(), |r| r.0);
            assert_eq!(repaired, right, "{text:?}");
            let left = flaws(&repaired);
            assert!(
                left.iter().all(|f| f.0 == Kind::ReplacementCharacter),
                "{text:?}: {left:?}"
            );
        }
    }
}
