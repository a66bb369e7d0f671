//! HTML left in texts: tags and entities, found and taken out.

use super::mojibake::windows_1252;

/// Tags that are taken for markup; `<3` and `<unk>` are text.
const TAGS: &[&str] = &[
    "a",
    "article",
    "b",
    "blockquote",
    "body",
    "br",
    "button",
    "center",
    "code",
    "dd",
    "del",
    "div",
    "dl",
    "dt",
    "em",
    "font",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "hr",
    "html",
    "i",
    "iframe",
    "img",
    "input",
    "ins",
    "li",
    "link",
    "meta",
    "nav",
    "ol",
    "option",
    "p",
    "pre",
    "q",
    "s",
    "script",
    "section",
    "select",
    "small",
    "span",
    "strike",
    "strong",
    "style",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "title",
    "tr",
    "tt",
    "u",
    "ul",
];

/// Tags within a line: what they enclose is not apart from what surrounds it.
const INLINE: &[&str] = &[
    "a", "b", "code", "del", "em", "font", "i", "ins", "q", "s", "small", "span", "strike",
    "strong", "sub", "sup", "tt", "u",
];

const ENTITIES: &[(&str, char)] = &[
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("copy", '©'),
    ("reg", '®'),
    ("trade", '™'),
    ("hellip", '…'),
    ("mdash", '—'),
    ("ndash", '–'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("laquo", '«'),
    ("raquo", '»'),
    ("bull", '•'),
    ("middot", '·'),
    ("deg", '°'),
    ("euro", '€'),
    ("pound", '£'),
    ("cent", '¢'),
    ("yen", '¥'),
    ("sect", '§'),
    ("times", '×'),
    ("frac12", '½'),
    ("iexcl", '¡'),
    ("iquest", '¿'),
    ("szlig", 'ß'),
    ("aacute", 'á'),
    ("agrave", 'à'),
    ("acirc", 'â'),
    ("atilde", 'ã'),
    ("auml", 'ä'),
    ("aring", 'å'),
    ("aelig", 'æ'),
    ("ccedil", 'ç'),
    ("eacute", 'é'),
    ("egrave", 'è'),
    ("ecirc", 'ê'),
    ("euml", 'ë'),
    ("iacute", 'í'),
    ("icirc", 'î'),
    ("iuml", 'ï'),
    ("ntilde", 'ñ'),
    ("oacute", 'ó'),
    ("ograve", 'ò'),
    ("ocirc", 'ô'),
    ("ouml", 'ö'),
    ("oslash", 'ø'),
    ("uacute", 'ú'),
    ("ugrave", 'ù'),
    ("ucirc", 'û'),
    ("uuml", 'ü'),
    ("Eacute", 'É'),
    ("Auml", 'Ä'),
    ("Ouml", 'Ö'),
    ("Uuml", 'Ü'),
];

/// Where the last comment of a text ends: none that begins behind it does, so that none has to be read to the end.
fn last_comment_end(text: &str) -> usize {
    text.rfind("-->").map_or(0, |at| at + 3)
}

/// The tag that `text`, which begins with `<`, begins with: its bytes, and whether it stands within a line. Of a comment
/// the end is looked for where there is one.
fn tag(text: &str, comments_end: bool) -> Option<(usize, bool)> {
    const LONGEST: usize = 300;
    if text.starts_with("<!--") {
        let end = comments_end.then(|| text.find("-->")).flatten()?;
        return Some((end + 3, false));
    }
    let inside = text.strip_prefix('<')?;
    let inside = inside.strip_prefix('/').unwrap_or(inside);
    let name_end = inside.find(|c: char| !c.is_ascii_alphanumeric())?;
    let name = inside[..name_end].to_ascii_lowercase();
    if !TAGS.contains(&name.as_str()) {
        return None;
    }
    // After the name come a space and attributes, or the end.
    let rest = &inside[name_end..];
    if !rest.starts_with([' ', '\t', '\n', '\r', '/', '>']) {
        return None;
    }
    let end = rest
        .find(['<', '>'])
        .filter(|&e| rest[e..].starts_with('>'))?;
    // "a<b and b>c" is no tag: what stands after a name gives something a value.
    let attributes = rest[..end].trim_end_matches('/').trim();
    if !attributes.is_empty() && !attributes.contains('=') {
        return None;
    }
    let len = text.len() - rest.len() + end + 1;
    (len <= LONGEST).then_some((len, INLINE.contains(&name.as_str())))
}

/// The entity that `text`, which begins with `&`, begins with: its bytes and its character, none where it stands
/// for nothing that can be shown.
fn entity(text: &str) -> Option<(usize, Option<char>)> {
    let end = text.bytes().take(12).position(|b| b == b';')?;
    let name = text.get(1..end)?;
    let code = match name.strip_prefix('#') {
        Some(n) => match n.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => n.parse().ok()?,
        },
        None => {
            let found = ENTITIES.iter().find(|(n, _)| *n == name)?;
            found.1 as u32
        }
    };
    // As browsers read them: numbers of control characters are Windows-1252's bytes.
    let c = match windows_1252(char::from_u32(code)?) {
        '\t' | '\n' | '\r' => ' ',
        c => c,
    };
    Some((end + 1, Some(c).filter(|c| !c.is_control())))
}

/// Whether a tag stands in the text, and the first.
pub fn first_tag(text: &str) -> Option<&str> {
    let mut starts = text.match_indices('<').map(|(i, _)| i).peekable();
    starts.peek()?;
    let end = last_comment_end(text);
    starts
        .filter_map(|i| tag(&text[i..], i < end).map(|(len, _)| &text[i..i + len]))
        .next()
}

/// Whether an entity stands in the text, and the first.
pub fn first_entity(text: &str) -> Option<&str> {
    let starts = text.match_indices('&').map(|(i, _)| i);
    starts
        .filter_map(|i| entity(&text[i..]).map(|(len, _)| &text[i..i + len]))
        .next()
}

/// The text without tags: one space stands for those that part lines, nothing for those within a line.
pub fn without_tags(text: &str) -> Option<String> {
    first_tag(text)?;
    let end = last_comment_end(text);
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while let Some(c) = text[i..].chars().next() {
        match (c == '<').then(|| tag(&text[i..], i < end)).flatten() {
            Some((len, inline)) => {
                i += len;
                let spaced = |s: Option<char>| s.is_none_or(char::is_whitespace);
                if !inline && !spaced(out.chars().last()) && !spaced(text[i..].chars().next()) {
                    out.push(' ');
                } else if !inline && out.ends_with(' ') {
                    i += text[i..].len() - text[i..].trim_start_matches(' ').len();
                }
            }
            None => {
                out.push(c);
                i += c.len_utf8();
            }
        }
    }
    Some(out)
}

/// The text with entities as the characters they stand for.
pub fn without_entities(text: &str) -> Option<String> {
    first_entity(text)?;
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while let Some(c) = text[i..].chars().next() {
        match (c == '&').then(|| entity(&text[i..])).flatten() {
            Some((len, c)) => {
                out.extend(c);
                i += len;
            }
            None => {
                out.push(c);
                i += c.len_utf8();
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_taken_out_and_text_stays() {
        for (text, want) in [
            ("good.<br /><br />Bad", Some("good. Bad")),
            ("good. <br>Bad", Some("good. Bad")),
            ("a <br /> b", Some("a b")),
            ("wonder<i>ful</i>", Some("wonderful")),
            ("<p class=\"x\">a</p>", Some("a")),
            ("a<!-- no -->b", Some("a b")),
            ("a<!-- no --><!-- b -->c<!-- d", Some("a c<!-- d")),
            ("a --><!-- b", None),
            ("I <3 you, a<b and b>c", None),
            ("<unk> and <user>", None),
            ("a < b > c", None),
            ("<br", None),
            ("1 <p < 2", None),
        ] {
            assert_eq!(without_tags(text).as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn comments_that_never_close_take_no_time() {
        let started = std::time::Instant::now();
        let text = "<!-- a ".repeat(200_000);
        assert_eq!(without_tags(&text), None);
        assert_eq!(
            without_tags(&("<br>".to_owned() + &text)).map(|t| t.len()),
            Some(text.len())
        );
        assert!(started.elapsed().as_secs() < 20);
    }

    #[test]
    fn entities_are_decoded_and_ampersands_stay() {
        for (text, want) in [
            ("Tom &amp; Jerry", Some("Tom & Jerry")),
            ("&#39;ok&#x27;", Some("'ok'")),
            ("&eacute;t&eacute; &euro;5", Some("été €5")),
            ("a&#1;b", Some("ab")),
            ("x&#9;y&#10;z", Some("x y z")),
            ("can&#146;t &#x96; no", Some("can’t – no")),
            ("AT&T; R&D", None),
            ("&amp without", None),
            ("&日本;", None),
        ] {
            assert_eq!(without_entities(text).as_deref(), want, "{text:?}");
        }
    }
}
