//! Splits the rows of a file in two: labels spread alike, rows of one text or of one group on the same side.
//!
//!     cargo run -p hone-data --example split -- FILE OUT [FRACTION] [GROUP]
//!
//! `FILE` is whatever Hone reads of one label a row (CSV, TSV, JSON, fastText). `OUT/train.csv` and `OUT/valid.csv` have
//! the columns text (text_b of pairs), label and the group. `FRACTION` is valid's part of the rows, 0.1 if none is given,
//! `GROUP` the column whose values stay together. For example:
//!
//!     cargo run -p hone-data --example split -- crates/experiment/demo/reviews.csv parts 0.2 pair_id

use hone_data::check::text_key;
use hone_data::{
    Cell, Columns, LabelSet, Row, TaskKind, are_pairs, read_labelled, stratified_split,
};
use std::path::Path;

type Failure = Box<dyn std::error::Error>;

/// Any number: the same rows with another one make other parts.
const SEED: u64 = 0;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (file, out) = match &args[..] {
        [file, out, ..] => (Path::new(file), Path::new(out)),
        _ => return Err("FILE OUT [FRACTION] [GROUP] was expected".into()),
    };
    let fraction: f64 = args.get(2).map_or(Ok(0.1), |text| text.parse())?;
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(format!("{fraction}: a fraction between 0 and 1 was expected").into());
    }
    let columns = Columns {
        group: args.get(3).cloned(),
        ..Columns::default()
    };
    let part = read_labelled(file, &columns)?;

    // What is spread alike: the class of each row.
    let labels = LabelSet::of(&part, TaskKind::Classify, &[])?;
    let (found, _) = labels.labels(&part, TaskKind::Classify, &[])?;
    let classes = found.spread(1);
    // What stays together: rows of the same text, whose copy on the other side would be a leak, and rows of a group.
    let keys: Vec<Vec<String>> = part.rows.iter().map(keys).collect();
    let (train, valid) = stratified_split(&keys, &classes, fraction, SEED);

    std::fs::create_dir_all(out)?;
    for (name, rows) in [("train.csv", &train), ("valid.csv", &valid)] {
        let rows: Vec<&Row> = rows.iter().map(|&r| &part.rows[r as usize]).collect();
        let path = out.join(name);
        write(
            &path,
            &rows,
            are_pairs(&part.rows),
            columns.group.as_deref(),
        )?;
        println!("{}: {} rows", path.display(), rows.len());
        for label in labels.names() {
            let own = rows.iter().filter(|row| said(row) == label);
            println!("  {label}: {}", own.count());
        }
    }
    Ok(())
}

/// The kind of key is part of it, so that no group is called as a text.
fn keys(row: &Row) -> Vec<String> {
    let group = row.group.iter().map(|group| format!("group {group}"));
    group.chain([format!("text {}", text_key(row))]).collect()
}

/// The label as the file has it.
fn said(row: &Row) -> &str {
    match &row.label {
        Cell::Text(label) => label,
        _ => "",
    }
}

fn write(path: &Path, rows: &[&Row], pairs: bool, group: Option<&str>) -> Result<(), Failure> {
    let mut to = csv::Writer::from_path(path)?;
    let second = pairs.then_some("text_b");
    let header = ["text"].into_iter().chain(second).chain(["label"]);
    to.write_record(header.chain(group))?;
    for row in rows {
        let second = second.map(|_| row.text_b.as_deref().unwrap_or(""));
        let own = [&*row.text].into_iter().chain(second).chain([said(row)]);
        to.write_record(own.chain(group.map(|_| row.group.as_deref().unwrap_or(""))))?;
    }
    Ok(to.flush()?)
}
