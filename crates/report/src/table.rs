//! Plain-text tables: columns as wide as a terminal shows their content, numbers right, words left; a last column of sentences goes on in
//! lines of its own.

use std::fmt;
use unicode_width::UnicodeWidthStr;

/// Rows under headings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new(headings: &[&str]) -> Self {
        Table {
            headings: headings.iter().map(|h| h.to_string()).collect(),
            rows: Vec::new(),
        }
    }

    /// Appends a row; missing cells are empty, and those beyond the headings are left out. Control characters are shown as
    /// Rust writes them (`\n`): a label from a file neither breaks the table nor speaks to the terminal.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut row: Vec<String> = cells.into_iter().map(|c| visible(c.into())).collect();
        row.resize(self.headings.len(), String::new());
        self.rows.push(row);
    }
}

/// Whether a character speaks to a terminal instead of being shown: control characters, and those that turn the
/// direction of what comes after them.
fn commands(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text with such characters written out.
fn visible(text: String) -> String {
    match text.contains(commands) {
        false => text,
        true => text
            .chars()
            .map(|c| match commands(c) {
                true => c.escape_default().to_string(),
                false => c.to_string(),
            })
            .collect(),
    }
}

/// Whether a cell should stand right: it begins like a number.
fn numeric(cell: &str) -> bool {
    cell.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+')
}

/// Characters of a line that holds a wrapped column, and the fewest that are left to that.
const LINE: usize = 120;
const NARROWEST: usize = 40;

/// Pieces of a text of at most so many characters each, between words; a longer word is a piece.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match pieces.last_mut() {
            Some(last) if last.width() + 1 + word.width() <= width => {
                last.push(' ');
                *last += word;
            }
            _ => pieces.push(word.to_owned()),
        }
    }
    pieces
}

impl Table {
    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|r| &r[column]);
        let all = cells.chain([&self.headings[column]]);
        all.map(|cell| cell.width()).max().unwrap_or(0)
    }

    /// The rows as lines: the last column's sentences go on below.
    fn lines(&self) -> Vec<Vec<String>> {
        let columns = self.headings.len();
        let Some(last) = columns.checked_sub(1) else {
            return self.rows.clone();
        };
        let others: usize = (0..last).map(|c| self.width(c) + 2).sum();
        let width = LINE.saturating_sub(others).max(NARROWEST);
        let mut lines = Vec::new();
        for row in &self.rows {
            let mut first = row.clone();
            let mut pieces = wrapped(&row[last], width).into_iter();
            first[last] = pieces.next().unwrap_or_default();
            lines.push(first);
            for piece in pieces {
                let mut line = vec![String::new(); columns];
                line[last] = piece;
                lines.push(line);
            }
        }
        lines
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.headings.len();
        let lines = self.lines();
        let width = |c: usize| {
            let cells = lines.iter().map(|r| r[c].width());
            cells.chain([self.headings[c].width()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let right: Vec<bool> = (0..columns)
            .map(|c| {
                let mut filled = self.rows.iter().map(|r| &r[c]).filter(|x| !x.is_empty());
                filled.clone().next().is_some() && filled.all(|x| numeric(x))
            })
            .collect();
        let mut line = |cells: &[String]| {
            let mut text = String::new();
            for (c, cell) in cells.iter().enumerate() {
                let space = " ".repeat(widths[c] - cell.width());
                let (before, after) = if right[c] {
                    (&space[..], "")
                } else {
                    ("", &space[..])
                };
                text += &format!("{before}{cell}{after}");
                if c + 1 < columns {
                    text += "  ";
                }
            }
            writeln!(f, "{}", text.trim_end())
        };
        line(&self.headings)?;
        let rule: Vec<String> = widths.iter().map(|&w| "─".repeat(w)).collect();
        line(&rule)?;
        lines.iter().try_for_each(|row| line(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_cut_between_words() {
        for (width, want) in [
            (4, &["aa", "bb", "abcdef"][..]),
            (5, &["aa bb", "abcdef"]),
            (11, &["aa bb", "abcdef"]),
            (12, &["aa bb abcdef"]),
        ] {
            assert_eq!(wrapped("aa bb abcdef", width), want);
        }
    }

    #[test]
    fn numbers_stand_right_words_left() {
        let mut t = Table::new(&["name", "n"]);
        t.row(["a", "10"]);
        t.row(["bcd", "7"]);
        assert_eq!(t.to_string(), "name   n\n────  ──\na     10\nbcd    7\n");
    }

    #[test]
    fn what_would_break_a_table_is_written_out() {
        let mut t = Table::new(&["label", "n"]);
        t.row(["a\nb", "1"]);
        t.row(["\u{1b}[31mred é", "2"]);
        assert_eq!(
            t.to_string(),
            "label            n\n───────────────  ─\na\\nb             1\n\\u{1b}[31mred é  2\n"
        );
    }

    #[test]
    fn what_a_terminal_shows_in_two_cells_has_two() {
        let mut t = Table::new(&["label", "n"]);
        t.row(["正面情感", "1"]);
        t.row(["bad", "2"]);
        t.row(["a\u{202e}b", "3"]);
        assert_eq!(
            t.to_string(),
            "label       n\n──────────  ─\n正面情感    1\nbad         2\na\\u{202e}b  3\n"
        );
    }

    #[test]
    fn sentences_of_the_last_column_are_wrapped() {
        let mut t = Table::new(&["option", "why"]);
        let why = "because of it ".repeat(12);
        t.row(["lr", why.trim()]);
        t.row(["pool", "short"]);
        let text = t.to_string();
        assert!(text.lines().all(|l| l.chars().count() <= LINE), "{text}");
        assert_eq!(text.lines().count(), 5);
        let words = |s: &str| s.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let found = words(text.split_once("lr").unwrap().1);
        assert_eq!(found, words(&format!("{why} pool short")));
        assert!(
            text.contains("\n        because") || text.contains("\n        of"),
            "{text}"
        );
        // One long word stays whole.
        assert_eq!(wrapped(&"x".repeat(99), 9), ["x".repeat(99)]);
    }
}
