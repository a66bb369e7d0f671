//! Whole texts as windows of at most so many tokens: nothing of a long text is dropped.

use super::Tokenizer;
use crate::{DataError, Row};
use rayon::prelude::*;

impl Tokenizer {
    /// `[CLS] text [SEP]` in at most `most` tokens each: one window where that is enough, else as few as can hold the text, of
    /// about the same length, cut before words where one is near. Where a text's window stands in the text nothing tells.
    pub fn windows(&self, text: &str, most: usize) -> Result<Vec<Vec<u32>>, DataError> {
        let pieces = self.pieces(text)?.ids;
        let room = most.saturating_sub(2).max(1);
        let count = pieces.len().div_ceil(room).max(1);
        let mut windows = Vec::with_capacity(count);
        let mut rest = &pieces[..];
        for left in (1..=count).rev() {
            // What is left must fit into the windows that are left.
            let least = rest.len().saturating_sub(room * (left - 1));
            let even = rest.len().div_ceil(left);
            let begins = |&at: &usize| at == rest.len() || !self.continues(rest[at]);
            let end = (least.max(1)..=even.min(rest.len())).rev().find(begins);
            let (window, after) = rest.split_at(end.unwrap_or(even.min(rest.len())));
            let ids = [&[self.cls], window, &[self.sep]].concat();
            windows.push(ids);
            rest = after;
        }
        Ok(windows)
    }

    /// The windows of many rows in parallel, in order; of a pair those of either text.
    pub fn windows_of(&self, rows: &[Row], most: usize) -> Result<Vec<Vec<Vec<u32>>>, DataError> {
        let of = |row: &Row| {
            let joined = match row.words.is_empty() {
                true => None,
                false => Some(row.words.join(" ")),
            };
            let first = joined.as_deref().unwrap_or(&row.text);
            let texts = std::iter::once(first).chain(row.second());
            let texts = texts.filter(|text| !text.trim().is_empty());
            let windows: Result<Vec<_>, DataError> =
                texts.map(|text| self.windows(text, most)).collect();
            Ok(windows?.concat())
        };
        rows.par_iter().map(of).collect()
    }

    /// How many of these are unknown pieces, and how many words they are; special pieces are none.
    pub fn count(&self, ids: &[u32]) -> (usize, usize) {
        let special = |id: &u32| [self.cls, self.sep].contains(id);
        let ids = ids.iter().filter(|id| !special(id));
        let unknown = ids.clone().filter(|&&id| Some(id) == self.unk).count();
        (unknown, ids.filter(|&&id| !self.continues(id)).count())
    }

    /// Whether a piece goes on with the word before it.
    fn continues(&self, id: u32) -> bool {
        let piece = self.inner.id_to_token(id);
        piece.is_some_and(|piece| piece.starts_with("##"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn tokenizer() -> Tokenizer {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../train/fixtures/trajectory");
        Tokenizer::load(&folder, 43).unwrap()
    }

    /// Windows put together are the text, none is too long, and none begins within a word.
    #[test]
    fn windows_hold_the_whole_text() {
        let tokenizer = tokenizer();
        for (words, most) in [(1, 8), (3, 8), (40, 8), (41, 13), (97, 24), (200, 5)] {
            let texts = ["films was slowly", "bright dull", "slowly"];
            let text: Vec<&str> = (0..words).map(|i| texts[i % 3]).collect();
            let text = text.join(" ");
            let whole = tokenizer.encode(&text, None, usize::MAX, crate::Truncate::Head);
            let whole = whole.unwrap().ids;
            let windows = tokenizer.windows(&text, most).unwrap();
            let mut found = Vec::new();
            for window in &windows {
                assert!((3..=most).contains(&window.len()), "{words} {most}");
                assert_eq!((window[0], window[window.len() - 1]), (2, 3));
                assert!(
                    !tokenizer.continues(window[1]),
                    "{words} {most}: {window:?}"
                );
                found.extend_from_slice(&window[1..window.len() - 1]);
            }
            assert_eq!(found, whole[1..whole.len() - 1], "{words} {most}");
            let fewest = found.len().div_ceil(most - 2);
            assert!(windows.len() == fewest, "{words} {most}: {}", windows.len());
        }
    }

    /// A word longer than a window is cut all the same.
    #[test]
    fn a_word_may_be_longer_than_a_window() {
        let windows = tokenizer().windows("slowly", 3).unwrap();
        assert_eq!(windows, [vec![2, 9, 3], vec![2, 42, 3]]);
    }

    #[test]
    fn both_texts_of_a_pair_are_read() {
        let pair = Row {
            text_b: Some("dull".to_owned()),
            ..Row::text(1, "bright")
        };
        let words = Row {
            words: vec!["bright".to_owned(), "dull".to_owned()],
            ..Row::text(2, "bright dull")
        };
        let windows = tokenizer().windows_of(&[pair, words], 8).unwrap();
        assert_eq!(windows[0], [vec![2, 10, 3], vec![2, 11, 3]]);
        assert_eq!(windows[1], [vec![2, 10, 11, 3]]);
    }
}
