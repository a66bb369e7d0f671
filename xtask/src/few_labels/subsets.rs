//! A data set's rows for training and for judging, and the small training sets that are drawn from the first.
//!
//! A folder has `train.csv` and `test.csv` (else `dev.csv`), or `all.csv`, of which 1 000 rows are judged. Rows whose text
//! (both texts of a pair, lower case) stands among the judged ones, or stood before, are not trained on.

use super::python_random::PythonRandom;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeSet, HashSet};
use std::path::Path;

/// Seed of the order of judged rows.
const TEST_SEED: u64 = 12345;
/// Judged rows at most.
const TEST_ROWS: usize = 2000;
/// Judged rows of a set that is not divided.
const OF_ALL: usize = 1000;

/// A row as it stands in its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    cells: Vec<String>,
    /// The text.
    pub text: String,
    /// The second text of a pair.
    pub text_b: Option<String>,
    /// Place of its label among the set's.
    pub label: usize,
}

impl Row {
    fn key(&self) -> (String, String) {
        let second = self.text_b.as_deref().unwrap_or_default();
        (self.text.to_lowercase(), second.to_lowercase())
    }
}

/// A data set.
pub struct Set {
    /// Its name, that of its folder.
    pub name: String,
    /// Labels: by number where all are numbers, else by name.
    pub labels: Vec<String>,
    /// Rows that may be trained on.
    pub pool: Vec<Row>,
    /// Rows that judge.
    pub test: Vec<Row>,
    columns: Vec<String>,
}

impl Set {
    /// Reads a folder.
    pub fn read(folder: &Path) -> Result<Set> {
        let name = folder
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .context("a data set's folder has a name")?;
        let file = |name: &str| folder.join(name);
        let (columns, mut pool, mut test) = if file("train.csv").is_file() {
            let (columns, pool) = rows(&file("train.csv"))?;
            let held = match file("test.csv").is_file() {
                true => file("test.csv"),
                false => file("dev.csv"),
            };
            let (own, mut test) = rows(&held)?;
            if own != columns {
                bail!("{}: other columns than train.csv has", held.display());
            }
            PythonRandom::new(TEST_SEED).shuffle(&mut test);
            test.truncate(TEST_ROWS);
            (columns, pool, test)
        } else {
            let (columns, mut all) = rows(&file("all.csv"))?;
            PythonRandom::new(TEST_SEED).shuffle(&mut all);
            let pool = all.split_off(OF_ALL.min(all.len()));
            (columns, pool, all)
        };
        let mut seen: HashSet<(String, String)> = test.iter().map(|(r, _)| r.key()).collect();
        pool.retain(|(r, _)| seen.insert(r.key()));
        let names: BTreeSet<&str> = pool.iter().chain(&test).map(|(_, l)| &**l).collect();
        let mut labels: Vec<String> = names.into_iter().map(str::to_owned).collect();
        if labels.iter().all(|l| l.parse::<i64>().is_ok()) {
            labels.sort_by_key(|l| l.parse::<i64>().unwrap_or_default());
        }
        let number = |all: Vec<(Row, String)>| -> Vec<Row> {
            let place = |label: &str| labels.iter().position(|l| l == label).unwrap_or_default();
            let rows = all.into_iter();
            rows.map(|(row, label)| Row {
                label: place(&label),
                ..row
            })
            .collect()
        };
        let (pool, test) = (
            number(std::mem::take(&mut pool)),
            number(std::mem::take(&mut test)),
        );
        Ok(Set {
            name,
            labels,
            pool,
            test,
            columns,
        })
    }

    /// So many rows of the pool, drawn by a seed.
    pub fn draw(&self, rows: usize, seed: u64) -> Result<Vec<&Row>> {
        if rows > self.pool.len() {
            bail!(
                "{}: {rows} training texts were asked for, there are {}",
                self.name,
                self.pool.len()
            );
        }
        let mut all: Vec<&Row> = self.pool.iter().collect();
        PythonRandom::new(seed).shuffle(&mut all);
        all.truncate(rows);
        Ok(all)
    }

    /// Writes rows with the set's columns.
    pub fn write<'r>(&self, path: &Path, rows: impl IntoIterator<Item = &'r Row>) -> Result<()> {
        let named = || path.display().to_string();
        let mut out = csv::Writer::from_path(path).with_context(named)?;
        out.write_record(&self.columns).with_context(named)?;
        for row in rows {
            out.write_record(&row.cells).with_context(named)?;
        }
        out.flush().with_context(named)
    }
}

/// The rows of a file that have a text, and their labels.
fn rows(path: &Path) -> Result<(Vec<String>, Vec<(Row, String)>)> {
    let named = || path.display().to_string();
    let mut reader = csv::Reader::from_path(path).with_context(named)?;
    let columns: Vec<String> = reader
        .headers()
        .with_context(named)?
        .iter()
        .map(str::to_owned)
        .collect();
    let find = |name: &str| columns.iter().position(|c| c == name);
    let (Some(text), Some(label)) = (find("text"), find("label")) else {
        bail!("{}: columns text and label were expected", path.display());
    };
    let second = find("text_b");
    let mut found = Vec::new();
    for record in reader.records() {
        let cells: Vec<String> = record
            .with_context(named)?
            .iter()
            .map(str::to_owned)
            .collect();
        if cells[text].trim().is_empty() {
            continue;
        }
        let row = Row {
            text: cells[text].clone(),
            text_b: second.map(|b| cells[b].clone()),
            label: 0,
            cells,
        };
        let name = row.cells[label].clone();
        found.push((row, name));
    }
    Ok((columns, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn what_is_judged_is_not_trained_on_and_nothing_twice() {
        let train = "text,label\na b,10\nA B,10\nc,2\n ,2\nd,10\nT one,2\n";
        let test = "text,label\nt ONE,2\nx,10\n";
        let folder = folder(&[("train.csv", train), ("test.csv", test)]);
        let set = Set::read(folder.path()).unwrap();
        let texts: Vec<&str> = set.pool.iter().map(|r| &*r.text).collect();
        assert_eq!(texts, ["a b", "c", "d"]);
        assert_eq!(
            (set.test.len(), &*set.labels),
            (2, &["2".to_owned(), "10".to_owned()][..])
        );
        assert_eq!(set.pool[0].label, 1);
        let draw = |seed| set.draw(2, seed).unwrap();
        assert_eq!(draw(1), draw(1));
        assert!((0..20).any(|s| draw(s) != draw(1)));
        assert!(set.draw(4, 1).is_err());
        let out = folder.path().join("out.csv");
        set.write(&out, set.draw(3, 5).unwrap()).unwrap();
        let (_, mut again) = rows(&out).unwrap();
        again.sort_by(|a, b| a.0.text.cmp(&b.0.text));
        let again: Vec<&str> = again.iter().map(|r| &*r.0.text).collect();
        assert_eq!(again, texts);
    }

    #[test]
    fn pairs_are_known_by_both_texts_and_all_is_divided() {
        let train = "text,text_b,label\na,b,0\na,c,1\n";
        let dev = "text,text_b,label\nA,B,0\n";
        let pairs = folder(&[("train.csv", train), ("dev.csv", dev)]);
        let set = Set::read(pairs.path()).unwrap();
        assert_eq!(
            (set.pool.len(), set.pool[0].text_b.as_deref()),
            (1, Some("c"))
        );
        let mut all = "text,label\n".to_owned();
        (0..1200).for_each(|i| all += &format!("t{i},{}\n", i % 2));
        let whole = folder(&[("all.csv", &all)]);
        let set = Set::read(whole.path()).unwrap();
        assert_eq!((set.pool.len(), set.test.len()), (200, 1000));
    }
}
