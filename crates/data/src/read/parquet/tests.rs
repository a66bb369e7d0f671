//! Rows of Parquet beside the same rows of JSON, names of classes, shards, and what is refused.

use crate::read::{read_as_is, read_file, read_labelled};
use crate::row::{Cell, Part};
use crate::{Columns, DataError, LabelSet, TaskKind, infer, numbering, sha256_file};
use std::fs;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/parquet")
        .join(name)
}

fn columns(text: &str, label: &str, group: &str) -> Columns {
    let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    Columns {
        text: named(text),
        text_b: named("required").filter(|_| text != "required"),
        label: named(label),
        group: named(group),
    }
}

fn labels(part: &Part) -> Vec<String> {
    part.rows.iter().map(|row| row.label.to_string()).collect()
}

#[track_caller]
fn refused(name: &str, columns: &Columns, says: &str) {
    let error = read_labelled(&fixture(name), columns)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(says) && !error.contains('\n'),
        "{name}: {error}"
    );
}

/// Whatever stands in a column, both formats make the same rows or the same fault of it.
#[test]
fn a_row_means_what_it_means_in_json() {
    let json = fixture("types.jsonl");
    let first = fs::read_to_string(&json).unwrap();
    let first: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(first.lines().next().unwrap()).unwrap();
    let mut rows = 0;
    for name in ["types.parquet", "types-v2.parquet"] {
        for label in first.keys() {
            for (text, group) in [
                ("large", "u64"),
                ("text", "coded"),
                ("required", "f32"),
                ("coded", "large"),
                ("i8", "text"),
            ] {
                let columns = columns(text, label, group);
                for read in [read_file, read_labelled, read_as_is] {
                    match (read(&json, &columns), read(&fixture(name), &columns)) {
                        (Ok(want), Ok(found)) => {
                            assert_eq!(found.rows, want.rows, "{name}: {columns:?}");
                            assert_eq!(found.notes[0], want.notes[0]);
                            rows += found.rows.len();
                        }
                        (Err(want), Err(found)) => {
                            let want = want.to_string();
                            let place = want
                                .split(": ")
                                .nth(1)
                                .map(|line| line.replace("line", "row"));
                            let (want, found) = (want.split(": ").skip(2), found.to_string());
                            let end = want.collect::<Vec<_>>().join(": ");
                            let end = place
                                .filter(|p| p.starts_with("row"))
                                .map_or(end.clone(), |p| format!("{p}: {end}"));
                            assert!(found.ends_with(&end), "{columns:?}: {end}, {found}");
                        }
                        (want, found) => panic!("{name}: {columns:?}: {want:?}, {found:?}"),
                    }
                }
            }
        }
    }
    assert!(rows > 500, "{rows}");
}

#[test]
fn shards_are_one_part_and_their_numbers_have_names() {
    let path = fixture("imdb/train-00000-of-00002.parquet");
    let part = read_labelled(&path, &Columns::default()).unwrap();
    let texts: Vec<(usize, &str)> = part
        .rows
        .iter()
        .map(|r| (r.line, &r.text[..r.text.len() - 12]))
        .collect();
    let want = [
        "one film number 0",
        "one film number 1",
        "one film number 2",
        "two film number 0",
        "two film number 1",
    ];
    assert_eq!(texts, (1..).zip(want).collect::<Vec<_>>());
    assert_eq!(labels(&part), ["neg", "pos", "neg", "pos", "pos"]);
    assert_eq!(part.classes, ["neg", "pos"]);
    for note in [
        "text from column text, label from label",
        "labels that are numbers are named by the file (its ClassLabel label), 0 being \"neg\"",
        "Parquet: what is called a line is a row's number, counted through all 2 shards",
    ] {
        assert!(part.notes.iter().any(|n| n == note), "{:?}", part.notes);
    }
    // All shards are hashed, and whichever is named.
    let other = read_labelled(
        &fixture("imdb/train-00001-of-00002.parquet"),
        &Columns::default(),
    )
    .unwrap();
    assert_eq!(other.rows, part.rows);
    let both = [&path, &fixture("imdb/train-00001-of-00002.parquet")].map(|p| fs::read(p).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let joined = folder.path().join("joined");
    fs::write(&joined, both.concat()).unwrap();
    assert_eq!(part.sha256, sha256_file(&joined).unwrap());
    assert_eq!(part.sha256, sha256_file(&path).unwrap());
}

#[test]
fn classes_have_the_files_order_whether_seen_or_not() {
    for name in ["sets.parquet", "sets-old.parquet"] {
        let part = read_labelled(&fixture(name), &Columns::default()).unwrap();
        assert_eq!(labels(&part), ["joy", "anger|fear", "", "fear"], "{name}");
        let (kind, _) = infer(&part);
        assert_eq!(kind, TaskKind::MultiLabel);
        assert_eq!(
            LabelSet::of(&part, kind, &[]).unwrap().names(),
            ["joy", "anger", "fear"]
        );
        let mut two = part.clone();
        two.rows
            .retain(|row| row.label != Cell::List(vec!["joy".to_owned()]));
        assert_eq!(LabelSet::of(&two, kind, &[]).unwrap().names().len(), 3);
        // Rows of other files may be beside it.
        two.rows[0].label = Cell::List(vec!["else".to_owned(), "fear".to_owned()]);
        assert_eq!(
            LabelSet::of(&two, kind, &[]).unwrap().names(),
            ["else", "fear"]
        );
    }
    // Names that are numbers make no regression.
    let mut part = read_labelled(
        &fixture("imdb/train-00000-of-00002.parquet"),
        &Columns::default(),
    )
    .unwrap();
    part.classes = ["1.5", "0.5"].map(str::to_owned).to_vec();
    for (row, label) in part
        .rows
        .iter_mut()
        .zip(["0.5", "1.5", "0.5", "1.5", "1.5"])
    {
        row.label = Cell::Text(label.to_owned());
    }
    assert_eq!(infer(&part).0, TaskKind::Classify);
    assert_eq!(
        LabelSet::of(&part, TaskKind::Classify, &[])
            .unwrap()
            .names(),
        ["1.5", "0.5"]
    );
}

#[test]
fn labels_txt_may_say_the_same_and_nothing_else() {
    let part = read_labelled(
        &fixture("imdb/train-00000-of-00002.parquet"),
        &Columns::default(),
    )
    .unwrap();
    let names = |all: [&str; 2]| all.map(str::to_owned);
    assert!(
        numbering(&part, TaskKind::Classify, &names(["neg", "pos"]))
            .unwrap()
            .is_empty()
    );
    let error = numbering(&part, TaskKind::Classify, &names(["pos", "neg"]))
        .unwrap_err()
        .to_string();
    let says = "the file names its classes neg, pos and labels.txt beside it names them pos, neg; take labels.txt away";
    assert!(error.contains(says), "{error}");
}

#[test]
fn minus_one_is_no_label() {
    let part = read_labelled(&fixture("unlabelled-test.parquet"), &Columns::default()).unwrap();
    assert!(part.rows.iter().all(|row| row.label == Cell::None));
    let note = "rows without a label (-1 stands for none): 2";
    assert!(part.notes.iter().any(|n| n == note), "{:?}", part.notes);
    let error = LabelSet::of(&part, TaskKind::Classify, &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("line 1: label \"\": the label is empty"),
        "{error}"
    );
}

#[test]
fn what_is_refused_is_named() {
    let usual = Columns::default();
    let label = |name: &str| Columns {
        label: Some(name.to_owned()),
        ..Columns::default()
    };
    refused(
        "null-text.parquet",
        &usual,
        "null-text.parquet: row 3: the text is empty; remove the row",
    );
    refused(
        "binary.parquet",
        &usual,
        "binary.parquet: row 3: text is not valid UTF-8 (byte 1 of it)",
    );
    refused(
        "outside.parquet",
        &usual,
        "row 3: label is 2, and the file has names of classes for 0 to 1",
    );
    refused(
        "types.parquet",
        &usual,
        "no column label|labels|sentiment|class|score (or --label-column); the columns are text, large",
    );
    refused(
        "types.parquet",
        &label("nowhere"),
        "no column nowhere; the columns are text, large, coded, i8",
    );
    for (column, what) in [
        ("when", "dates or times"),
        ("nested", "objects"),
        ("price", "decimal numbers"),
        ("deep", "lists of lists or of objects"),
    ] {
        refused(
            "other-types.parquet",
            &label(column),
            &format!("the column {column} holds {what}; "),
        );
    }
    // Columns that are not used may hold anything.
    assert_eq!(
        read_labelled(&fixture("other-types.parquet"), &usual)
            .unwrap()
            .rows
            .len(),
        4
    );
    let text = Columns {
        text: Some("label".to_owned()),
        label: Some("text".to_owned()),
        ..Columns::default()
    };
    refused(
        "other-types.parquet",
        &text,
        "row 1: label must be a string, it is 0",
    );
    refused(
        "tagged.parquet",
        &usual,
        "the columns are tokens, ner_tags; words with a tag each are read as CoNLL (.conll)",
    );
    // A check sees all faults, and predictions need no labels.
    assert_eq!(
        read_as_is(&fixture("null-text.parquet"), &usual)
            .unwrap()
            .rows[2]
            .text,
        ""
    );
    assert_eq!(
        crate::read_texts(&fixture("types.parquet"), &usual)
            .unwrap()
            .rows
            .len(),
        8
    );
}

/// A folder with these copies of fixtures.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in files {
        fs::copy(fixture(from), folder.path().join(to)).unwrap();
    }
    folder
}

#[test]
fn shards_agree_and_faults_name_theirs() {
    let (first, second) = ("t-00000-of-00002.parquet", "t-00001-of-00002.parquet");
    let hub = "imdb/train-00000-of-00002.parquet";
    for (files, says) in [
        (
            [(hub, first), ("null-text.parquet", second)],
            &[
                "t-00001-of-00002.parquet: the names of its classes () are not those (neg, pos) of",
                "t-00000-of-00002.parquet",
            ][..],
        ),
        (
            [
                ("packed-none.parquet", first),
                ("null-text.parquet", second),
            ],
            &["t-00001-of-00002.parquet: row 3: the text is empty"],
        ),
        (
            [("packed-none.parquet", first), ("sets.parquet", second)],
            &[
                "t-00001-of-00002.parquet: text from column text, label from labels, and text from column text, label from label of",
            ],
        ),
        (
            [
                ("packed-none.parquet", first),
                ("packed-brotli.parquet", second),
            ],
            &["t-00001-of-00002.parquet: the column text is compressed with Brotli"],
        ),
    ] {
        let folder = folder(&files);
        let error = read_labelled(&folder.path().join(first), &Columns::default()).unwrap_err();
        let told = error.to_string();
        assert!(says.iter().all(|s| told.contains(s)), "{told}");
        assert!(matches!(
            error,
            DataError::Parquet { .. } | DataError::Record { .. }
        ));
    }
}
