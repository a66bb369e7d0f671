//! fastText's files: a text a line, its labels before it, each a word that begins with `__label__`.

use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What a label begins with.
pub(crate) const MARK: &str = "__label__";

/// Bytes at the beginning of a file by which it is known.
const LOOKED_AT: u64 = 4096;

/// A line in parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Labelled<'t> {
    /// Labels as they stand before the text, with the space behind them.
    pub head: &'t str,
    /// Their names.
    pub labels: Vec<&'t str>,
    /// The text.
    pub text: &'t str,
}

impl<'t> Labelled<'t> {
    /// Of a line, its end left out.
    pub fn of(line: &'t str) -> Labelled<'t> {
        let mut labels = Vec::new();
        let mut rest = line.trim_start();
        while let Some(name) = rest.strip_prefix(MARK) {
            let end = name.find(char::is_whitespace).unwrap_or(name.len());
            labels.push(&name[..end]);
            rest = name[end..].trim_start();
        }
        Labelled {
            head: &line[..line.len() - rest.len()],
            labels,
            text: rest.trim_end(),
        }
    }

    /// A label behind the text, which the text would give away.
    pub fn late(&self) -> Option<&'t str> {
        self.text.split_whitespace().find(|w| w.starts_with(MARK))
    }
}

/// Labels as they stand before a text.
pub(crate) fn head<'l>(labels: impl IntoIterator<Item = &'l str>) -> String {
    let labels = labels.into_iter();
    labels.map(|label| format!("{MARK}{label} ")).collect()
}

/// A text that a line can hold.
pub(crate) fn on_one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

/// Whether a file, through gzip where its name says so, begins with a label.
pub(crate) fn begins_with_label(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    let packed = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("gz"));
    let mut bytes = Vec::new();
    // What cannot be read begins with no label.
    let _ = match packed {
        true => MultiGzDecoder::new(file)
            .take(LOOKED_AT)
            .read_to_end(&mut bytes),
        false => file.take(LOOKED_AT).read_to_end(&mut bytes),
    };
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_first_and_what_is_taken_apart_can_be_put_together() {
        let line = "__label__a  __label__b-2\t a  text __label__ ";
        let found = Labelled::of(line);
        assert_eq!(found.head, "__label__a  __label__b-2\t ");
        assert_eq!(found.labels, ["a", "b-2"]);
        assert_eq!(found.text, "a  text __label__");
        assert_eq!(found.late(), Some("__label__"));
        assert_eq!(head(found.labels), "__label__a __label__b-2 ");
        for (line, labels, text) in [
            ("__label__a", 1, ""),
            ("__label__ x", 1, "x"),
            (" x y", 0, "x y"),
            ("", 0, ""),
        ] {
            let found = Labelled::of(line);
            assert_eq!((found.labels.len(), found.text), (labels, text), "{line:?}");
            assert_eq!(found.late(), None);
        }
    }
}
