//! Running text: one text a line (a paragraph, a sentence), nothing labelled.

use crate::DataError;
use crate::read::Format;
use crate::row::{Part, Row};
use crate::source::read_text;
use crate::{Columns, read_file};
use std::path::Path;

/// Reads a text file, one text a line, blank lines left out; of a file that ends like a labelled one (`.csv`, …)
/// its texts. Either may be `.gz`.
pub fn read_plain(path: &Path) -> Result<Part, DataError> {
    if Format::of(path).is_some() {
        return read_file(path, &Columns::default());
    }
    let source = read_text(path)?;
    let lines = source.text.lines().zip(1..);
    let rows: Vec<Row> = lines
        .filter(|(line, _)| !line.trim().is_empty())
        .map(|(line, number)| Row::text(number, line.trim()))
        .collect();
    if rows.is_empty() {
        return Err(DataError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(Part {
        path: path.to_owned(),
        sha256: source.sha256,
        rows,
        notes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_texts_and_data_files_give_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, content: &str, want: &[(usize, &str)]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            let part = read_plain(&path).unwrap();
            let found: Vec<(usize, &str)> = part
                .rows
                .iter()
                .map(|r| (r.line, r.text.as_str()))
                .collect();
            assert_eq!(found, want, "{name}");
        };
        let want = [(1, "One, two."), (3, "three")];
        check("a.txt", "One, two.\n\n  three \n \n", &want);
        check("no-ending", "One, two.\r\n\r\nthree", &want);
        check("a.csv", "text,label\none,1\n", &[(2, "one")]);
        std::fs::write(folder.path().join("b.txt"), "\n \n").unwrap();
        let error = read_plain(&folder.path().join("b.txt")).unwrap_err();
        assert!(error.to_string().contains("no rows"), "{error}");
    }
}
