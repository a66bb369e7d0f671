//! Rows as they stand in a file, before labels have a meaning.

use std::fmt;
use std::path::PathBuf;

/// A label as it was written.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// The file has no label column.
    None,
    /// One value.
    Text(String),
    /// A JSON list of labels.
    List(Vec<String>),
    /// A tag for each word.
    Tags(Vec<String>),
}

/// In one field of a table: several labels parted by `|`, tags by spaces.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::None => Ok(()),
            Cell::Text(text) => f.write_str(text),
            Cell::List(all) => f.write_str(&all.join("|")),
            Cell::Tags(all) => f.write_str(&all.join(" ")),
        }
    }
}

/// One row of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Line on which it begins, from 1.
    pub line: usize,
    /// The text; words joined by spaces where they are tagged.
    pub text: String,
    /// The second text of a pair.
    pub text_b: Option<String>,
    /// The label.
    pub label: Cell,
    /// Words, where they are tagged.
    pub words: Vec<String>,
    /// Value of the group column, where one was named.
    pub group: Option<String>,
}

impl Row {
    /// A text without a label.
    pub fn text(line: usize, text: impl Into<String>) -> Row {
        Row {
            line,
            text: text.into(),
            text_b: None,
            label: Cell::None,
            words: Vec::new(),
            group: None,
        }
    }

    /// Whether what it should be learnt from is missing: its text, or either text where rows are pairs.
    pub fn lacks_text(&self, pairs: bool) -> bool {
        self.text.trim().is_empty() || pairs && self.second().is_none()
    }

    /// The second text, where there is one that is not all space.
    pub(crate) fn second(&self) -> Option<&str> {
        self.text_b.as_deref().filter(|b| !b.trim().is_empty())
    }
}

/// All rows of one file.
#[derive(Clone, PartialEq)]
pub struct Part {
    /// Where they came from.
    pub path: PathBuf,
    /// SHA-256 of the file as it lies on disk ([`sha256_file`](crate::sha256_file)).
    pub sha256: String,
    /// In the file's order.
    pub rows: Vec<Row>,
    /// Names of the classes in their order, where the file says so (Parquet's ClassLabel); its labels are these.
    pub classes: Vec<String>,
    /// What was found and taken, a line each.
    pub notes: Vec<String>,
}

hone_tensor::brief_debug! { [] Part, |p| path: p.path, sha256: p.sha256, rows: p.rows.len(), notes: p.notes }

/// Whether these texts are pairs: any has a second text, so that all should.
pub fn are_pairs(rows: &[Row]) -> bool {
    rows.iter().any(|row| row.second().is_some())
}

impl Part {
    /// Whether the file itself names its classes, and these are among them.
    pub(crate) fn knows<'l>(&self, mut labels: impl Iterator<Item = &'l str>) -> bool {
        !self.classes.is_empty()
            && labels.all(|label| self.classes.iter().any(|class| class == label))
    }

    /// What was found and taken here and not in the training part, a line each with the file's name.
    pub fn notes_beside(&self, train: &Part) -> Vec<String> {
        let own = self.notes.iter().filter(|note| !train.notes.contains(note));
        own.map(|note| format!("{}: {note}", self.path.display()))
            .collect()
    }

    /// The same file without its rows, for a part of them.
    pub fn clone_empty(&self) -> Part {
        Part {
            path: self.path.clone(),
            sha256: self.sha256.clone(),
            rows: Vec::new(),
            classes: self.classes.clone(),
            notes: self.notes.clone(),
        }
    }
}
