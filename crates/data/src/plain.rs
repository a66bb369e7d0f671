//! Running text: one text a line (a paragraph, a sentence), nothing labelled.

use crate::DataError;
use crate::read::{Format, read_questions};
use crate::row::{Part, Row};
use crate::source::read_text;
use crate::{Columns, read_file};
use std::path::Path;

/// Whether a file's name says that each line is a text: `.txt`, `.txt.gz`.
pub(crate) fn is_plain(path: &Path) -> bool {
    let name = path.to_string_lossy().to_ascii_lowercase();
    name.strip_suffix(".gz").unwrap_or(&name).ends_with(".txt")
}

/// Reads texts to be answered: a data file, whose rows may lack labels and texts, or the lines of a `.txt`.
pub fn read_texts(path: &Path, columns: &Columns) -> Result<Part, DataError> {
    match is_plain(path) {
        true => read_plain(path, columns),
        false => read_questions(path, columns),
    }
}

/// Reads a text file, one text a line, blank lines left out; of a file that ends like a labelled one (`.csv`, …)
/// or begins like fastText's the texts in these columns. Either may be `.gz`.
pub fn read_plain(path: &Path, columns: &Columns) -> Result<Part, DataError> {
    if Format::at(path).is_some() {
        return read_file(path, columns);
    }
    let source = read_text(path)?;
    let (lines, blank): (Vec<_>, Vec<_>) = source
        .text
        .lines()
        .zip(1..)
        .partition(|(line, _)| !line.trim().is_empty());
    let rows: Vec<Row> = lines
        .into_iter()
        .map(|(line, number)| Row::text(number, line.trim()))
        .collect();
    if rows.is_empty() {
        return Err(DataError::Empty {
            path: path.to_owned(),
        });
    }
    let mut notes: Vec<String> = source.note.map(str::to_owned).into_iter().collect();
    if !blank.is_empty() {
        notes.push(format!("blank lines, which are no texts: {}", blank.len()));
    }
    Ok(Part {
        path: path.to_owned(),
        sha256: source.sha256,
        rows,
        classes: Vec::new(),
        notes,
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
            let part = read_plain(&path, &Columns::default()).unwrap();
            let found: Vec<(usize, &str)> = part
                .rows
                .iter()
                .map(|r| (r.line, r.text.as_str()))
                .collect();
            assert_eq!(found, want, "{name}");
            part.notes
        };
        let want = [(1, "One, two."), (3, "three")];
        let notes = check("a.txt", "One, two.\n\n  three \n \n", &want);
        assert_eq!(notes, ["blank lines, which are no texts: 2"]);
        assert!(check("b.txt", "one\n", &[(1, "one")]).is_empty());
        assert!(is_plain(Path::new("a.TXT")) && is_plain(Path::new("b/a.txt.gz")));
        assert!(!is_plain(Path::new("a.txt/b.csv")) && !is_plain(Path::new("txt")));
        check("no-ending", "One, two.\r\n\r\nthree", &want);
        check("a.csv", "text,label\none,1\n", &[(2, "one")]);
        std::fs::write(folder.path().join("b.txt"), "\n \n").unwrap();
        let error = read_plain(&folder.path().join("b.txt"), &Columns::default()).unwrap_err();
        assert!(error.to_string().contains("no rows"), "{error}");
    }
}
