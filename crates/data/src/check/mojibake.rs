//! UTF-8 that was read as Windows-1252 (or Latin-1): found by undoing it, not by a list of odd characters. Where the
//! characters may be what was meant, the rest of the text decides.

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

/// Marks that close a word or a sentence.
const ENDS: &[char] = &['…', '–', '—', '’', '”', '»'];
/// Marks that may stand behind a name or a number.
const SIGNS: &[char] = &[NO_BREAK, '®', '™', '©', '¹', '²', '³', '°'];
/// Marks that may follow a letter one after the other.
const TYPOGRAPHIC: &[char] = &[
    '…', '‘', '’', '“', '”', '–', '—', '»', '®', '™', '©', '¹', '²', '³', NO_BREAK,
];
const NO_BREAK: char = '\u{a0}';

/// How far a character that stands byte by byte is to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Nothing else reads like this.
    Sure,
    /// A capital before a mark (`PÅ”`): believed where a sure one stands in the text.
    Capital,
    /// A rare letter (`NESTLÉ™`, `fiancé…”`): believed where the text is in a script of such.
    Rare,
}

/// A character of UTF-8 that stands in a text byte by byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hidden {
    /// Where it begins.
    at: usize,
    /// Characters that it takes up.
    len: usize,
    c: char,
    trust: Trust,
}

impl Hidden {
    /// At a place of a text.
    fn of(text: &[char], at: usize) -> Option<Hidden> {
        let lead = byte_of(text[at])?;
        let len = match lead {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return None,
        };
        let own = text.get(at..at + len)?;
        let bytes: Option<Vec<u8>> = own.iter().map(|&c| byte_of(c)).collect();
        let c = std::str::from_utf8(&bytes?).ok()?.chars().next()?;
        // What Windows-1252 holds may have been misread in its turn.
        let latin = matches!(c, '\u{a0}'..='\u{17f}') || byte_of(c).is_some();
        let trust = match len {
            2 if !latin && !c.is_alphabetic() => return None,
            2 if !latin => Trust::Rare,
            2 if may_be_meant(lead, &text[..at], &text[at + 1..]) => Trust::Capital,
            3.. if lead != 0xe2 && own[1..].iter().all(|c| TYPOGRAPHIC.contains(c)) => Trust::Rare,
            _ => Trust::Sure,
        };
        Some(Hidden { at, len, c, trust })
    }

    /// Whether it is a letter of no western European script.
    fn foreign(&self) -> bool {
        self.c > '\u{17f}' && self.c.is_alphabetic()
    }
}

/// Whether a capital (of this byte) and the mark behind it, which are a Latin letter's bytes, may be what was meant. A
/// capital right behind a small letter is none.
fn may_be_meant(lead: u8, before: &[char], from_mark: &[char]) -> bool {
    let (mark, next) = (from_mark[0], from_mark.get(1));
    let ends = ENDS.contains(&mark);
    let goes_on = mark != NO_BREAK && next.is_some_and(|c| c.is_alphanumeric());
    let capitals = before.last().is_some_and(|c| c.is_uppercase());
    let small = before.last().is_some_and(|c| c.is_lowercase());
    let meant = match lead {
        // No word ends in Â, so that what is behind it is its second byte; but for what parts clauses.
        0xc2 => ends && capitals,
        // Ã alone is no word, and é is what is misread most.
        0xc3 => (ends || SIGNS.contains(&mark) && mark != '©') && capitals,
        _ => (ends || SIGNS.contains(&mark)) && !small,
    };
    meant && !goes_on
}

/// All that stand in a text, in its order. None begins within another: what leads never follows.
fn all_hidden(text: &[char]) -> Vec<Hidden> {
    let mut all: Vec<Hidden> = Vec::new();
    for at in 0..text.len() {
        all.extend(Hidden::of(text, at));
    }
    all
}

/// Which of them are believed: texts are misread whole, and letters of other scripts come in runs.
fn believed(mut all: Vec<Hidden>) -> Vec<Hidden> {
    let sure = |h: &Hidden| h.trust == Trust::Sure;
    let run = |pair: &[Hidden]| {
        let (a, b) = (pair[0], pair[1]);
        a.at + a.len == b.at && a.c != b.c && a.foreign() && b.foreign()
    };
    let foreign = all.iter().any(|h| sure(h) && h.foreign()) || all.windows(2).any(run);
    let any = foreign || all.iter().any(sure);
    all.retain(|h| match h.trust {
        Trust::Sure => true,
        Trust::Capital => any,
        Trust::Rare => foreign,
    });
    all
}

fn once(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    let found = believed(all_hidden(&chars));
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for hidden in &found {
        out.extend(&chars[done..hidden.at]);
        out.push(hidden.c);
        done = hidden.at + hidden.len;
    }
    out.extend(&chars[done..]);
    (!found.is_empty()).then_some(out)
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
            "voilà, à la carte",
            "QUALITé",
            "LEGO®",
            "FRANCE\u{a0}!",
            "20\u{a0}m², 5°",
            "się są",
            "Żółw i ŁÓDŹ",
            "Příliš žluťoučký kůň",
            "я и ты",
            "một người Việt",
            "ƒ é",
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
            "“my fiancé…” she",
            "“No sé…” dijo",
            "“Perché…” chiese",
            "the “café”—which was closed—",
            "‘cliché’—again",
            "“Café”…",
            "«está»… «está»—y",
            "« voilà\u{a0}»",
            "naïveté”¹",
            "NESCAFÉ® et NESTLÉ™",
            "LIBERTÉ\u{a0}!",
            "VOTRE SANTÉ\u{a0}: bien",
            "QUELLE BEAUTÉ\u{a0}»",
            "TERMINÉ¹ et CAFÉ©",
            "IRMÃ\u{a0}e AMANHÃ¹",
            "Å\u{a0}x",
            "SKYTTENÅ\u{a0}x",
            "VAN GOGHÊ…",
            "GRÖß\u{a0}x",
            "É…É…",
        ] {
            assert_eq!(repair(text), None, "{text}");
        }
    }
}
