//! Plain-text tables: columns as wide as their content, numbers right, words left.

use std::fmt;

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

    /// Appends a row; missing cells are empty.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).collect();
        row.resize(self.headings.len(), String::new());
        self.rows.push(row);
    }
}

/// Whether a cell should stand right: it begins like a number.
fn numeric(cell: &str) -> bool {
    cell.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+')
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.headings.len();
        let width = |c: usize| {
            let cells = self.rows.iter().map(|r| r[c].chars().count());
            cells
                .chain([self.headings[c].chars().count()])
                .max()
                .unwrap_or(0)
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
                let space = " ".repeat(widths[c] - cell.chars().count());
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
        self.rows.iter().try_for_each(|row| line(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_words_left() {
        let mut t = Table::new(&["name", "n"]);
        t.row(["a", "10"]);
        t.row(["bcd", "7"]);
        assert_eq!(t.to_string(), "name   n\n────  ──\na     10\nbcd    7\n");
    }
}
