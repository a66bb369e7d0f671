//! UTF-8 that was read as Windows-1252 (or Latin-1): found by undoing it, not by a list of odd characters.

/// Windows-1252's characters of the bytes 0x80 to 0x9f (WHATWG Encoding; the five it lacks are control characters).
const UPPER: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// What a number of U+0080 to U+009F means where Windows-1252's byte is meant; other characters are themselves.
pub(super) fn windows_1252(c: char) -> char {
    match c {
        '\u{80}'..='\u{9f}' => UPPER[c as usize - 0x80],
        _ => c,
    }
}

/// The byte that Windows-1252 or Latin-1 shows as this character; none for ASCII.
fn byte_of(c: char) -> Option<u8> {
    match c {
        '\u{80}'..='\u{ff}' => Some(c as u8),
        _ => UPPER.iter().position(|&u| u == c).map(|i| 0x80 + i as u8),
    }
}

/// A character of UTF-8 that stands in `text` byte by byte, and the characters it takes up.
fn hidden(before: Option<char>, text: &[char]) -> Option<(char, usize)> {
    let lead = byte_of(text[0])?;
    let len = match lead {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let bytes: Option<Vec<u8>> = text.get(..len)?.iter().map(|&c| byte_of(c)).collect();
    let bytes = bytes?;
    let c = std::str::from_utf8(&bytes).ok()?.chars().next()?;
    // "ÀÉ…" and "NÃ”" may be what was meant: a capital at a word's end before punctuation. Two letters that make
    // a rare one are believed only where the second is no sentence's punctuation.
    if len == 2 {
        let capitals = before.is_some_and(char::is_uppercase);
        let ends = matches!(text[1], '…' | '–' | '—' | '’' | '”' | '»');
        let goes_on = text.get(2).is_some_and(|c| c.is_alphanumeric());
        // What Windows-1252 holds may have been misread in its turn.
        let latin = matches!(c, '\u{a0}'..='\u{17f}') || byte_of(c).is_some();
        if ends && !goes_on && (capitals || !latin || lead > 0xc3) {
            return None;
        }
        let letter = c.is_alphabetic() || lead == 0xc2;
        if !(letter || latin) {
            return None;
        }
    }
    Some((c, len))
}

fn once(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let (mut i, mut changed) = (0, false);
    while i < chars.len() {
        let before = i.checked_sub(1).map(|b| chars[b]);
        match hidden(before, &chars[i..]) {
            Some((c, len)) => {
                out.push(c);
                i += len;
                changed = true;
            }
            None => {
                out.push(chars[i]);
                i += 1;
            }
        }
    }
    changed.then_some(out)
}

/// The text with UTF-8 read rightly, also where it was misread up to three times, and with Windows-1252's
/// punctuation in place of control characters (U+0080 to U+009F); none where nothing of this stands in it.
///
/// What is changed is exactly what comes back when the new character is encoded as UTF-8 and read as Windows-1252.
pub fn repair(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let mut new: Option<String> = None;
    for _ in 0..3 {
        match once(new.as_deref().unwrap_or(text)) {
            Some(next) => new = Some(next),
            None => break,
        }
    }
    let punctuation = |c: char| Some(windows_1252(c)).filter(|u| *u != c);
    let now = new.as_deref().unwrap_or(text);
    if now.chars().any(|c| punctuation(c).is_some()) {
        new = Some(now.chars().map(|c| punctuation(c).unwrap_or(c)).collect());
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads UTF-8 as Windows-1252.
    fn misread(text: &str) -> String {
        let char_of = |b: u8| match b {
            0x80..=0x9f => UPPER[b as usize - 0x80],
            _ => b as char,
        };
        text.bytes().map(char_of).collect()
    }

    #[test]
    fn what_was_misread_is_read_rightly() {
        for text in [
            "café",
            "It’s “fine” – really…",
            "naïve São Paulo",
            "10 € or £5",
            "émigré",
            "Привет",
            "κόσμος",
            "日本語",
            "😀 ok",
            "a\u{a0}b",
            "CIÓN",
            "CAFÉ",
        ] {
            let wrong = misread(text);
            assert_eq!(repair(&wrong).as_deref(), Some(text), "{wrong}");
            if text.is_ascii() {
                continue;
            }
            let twice = misread(&wrong);
            assert_eq!(repair(&twice).as_deref(), Some(text), "{twice}");
        }
        assert_eq!(
            repair("well\u{85} it\u{92}s").as_deref(),
            Some("well… it’s")
        );
    }

    #[test]
    fn what_is_right_stays() {
        for text in [
            "plain",
            "café",
            "CAFÉ…",
            "NÃO",
            "“MANHÔ",
            "É”",
            "SKÅ– nej",
            "Ångström",
            "À la carte",
            "¿Qué?",
            "ÄÖÜ",
            "Ñandú",
            "«Où?»",
            "Привет",
            "日本語",
            "😀",
            "naïve – “ok”…",
            "Ærø",
            "PÅ”",
            "Ð",
            "ÑÉ",
            "1 000 €",
        ] {
            assert_eq!(repair(text), None, "{text}");
        }
    }
}
