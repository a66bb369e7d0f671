//! The known faults of real data sets (`../shared/data`, beside the project), counted as its README counts them.

use hone_data::check::{Input, Kind, Split, check};
use hone_data::{Columns, Part, infer, read_as_is};
use std::path::{Path, PathBuf};

/// Rows that repeat a text of their split, texts with more than one label.
type Faults = (usize, usize);

struct Known {
    folder: &'static str,
    train: (&'static str, Faults),
    valid: Option<(&'static str, Faults)>,
    test: Option<(&'static str, Faults)>,
    /// Texts that train and valid, train and test, valid and test share.
    shared: [usize; 3],
}

const KNOWN: &[Known] = &[
    Known {
        folder: "trec",
        train: ("train.csv", (72, 0)),
        valid: None,
        test: Some(("test.csv", (0, 0))),
        shared: [0, 11, 0],
    },
    Known {
        folder: "banking77",
        train: ("train.csv", (4, 0)),
        valid: None,
        test: Some(("test.csv", (1, 0))),
        shared: [0, 7, 0],
    },
    Known {
        folder: "cola",
        train: ("train.csv", (21, 11)),
        valid: Some(("dev.csv", (4, 3))),
        test: None,
        shared: [16, 0, 0],
    },
    Known {
        folder: "sst5",
        train: ("train.csv", (10, 0)),
        valid: Some(("dev.csv", (1, 0))),
        test: Some(("test.csv", (0, 0))),
        shared: [1, 2, 0],
    },
    Known {
        folder: "stsb",
        train: ("train.csv", (44, 4)),
        valid: Some(("dev.csv", (2, 0))),
        test: Some(("test.csv", (1, 0))),
        shared: [6, 7, 2],
    },
    Known {
        folder: "tweeteval_emotion",
        train: ("train.csv", (25, 0)),
        valid: Some(("dev.csv", (0, 0))),
        test: Some(("test.csv", (0, 0))),
        shared: [0, 0, 0],
    },
    Known {
        folder: "mrpc",
        train: ("train.csv", (0, 0)),
        valid: Some(("dev.csv", (0, 0))),
        test: Some(("test.csv", (0, 0))),
        shared: [0, 0, 0],
    },
    Known {
        folder: "rte",
        train: ("train.csv", (2, 0)),
        valid: Some(("dev.csv", (0, 0))),
        test: None,
        shared: [0, 0, 0],
    },
    Known {
        folder: "sst2",
        train: ("train.csv", (371, 5)),
        valid: Some(("dev.csv", (0, 0))),
        test: Some(("test.csv", (0, 0))),
        shared: [0, 1, 0],
    },
];

const IMDB: Known = Known {
    folder: "imdb",
    train: ("train.csv", (96, 0)),
    valid: None,
    test: Some(("test.csv", (199, 0))),
    shared: [0, 123, 0],
};

fn data() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if !path.is_dir() {
        eprintln!("skipped: the data sets are not at ../shared/data");
        return None;
    }
    Some(path)
}

fn faults_are(known: &Known, root: &Path) {
    let folder = root.join(known.folder);
    let wanted = [
        Some((Split::Train, known.train)),
        known.valid.map(|v| (Split::Valid, v)),
        known.test.map(|t| (Split::Test, t)),
    ];
    let wanted: Vec<(Split, (&str, Faults))> = wanted.into_iter().flatten().collect();
    let parts: Vec<(Split, Part)> = wanted
        .iter()
        .map(|(split, (file, _))| {
            let part = read_as_is(&folder.join(file), &Columns::default()).unwrap();
            (*split, part)
        })
        .collect();
    let parts: Vec<(Split, &Part)> = parts.iter().map(|(s, p)| (*s, p)).collect();
    let input = Input {
        parts: &parts,
        task: infer(parts[0].1).0,
        names: &[],
        examples: 1000,
    };
    let report = check(&input, &|_, _| {});
    for ((split, (_, faults)), got) in wanted.iter().zip(&report.splits) {
        assert_eq!(
            (got.duplicate_rows, got.conflicting_texts),
            *faults,
            "{} {split:?}",
            known.folder
        );
    }
    let shared = |a: Split, b: Split| {
        let all = report.overlaps.iter();
        all.filter(|o| (o.a, o.b) == (a, b))
            .map(|o| o.texts)
            .sum::<usize>()
    };
    let got = [
        shared(Split::Train, Split::Valid),
        shared(Split::Train, Split::Test),
        shared(Split::Valid, Split::Test),
    ];
    assert_eq!(got, known.shared, "{}", known.folder);
    if known.folder == "imdb" {
        let markup = report.findings.iter().find(|f| f.kind == Kind::Markup);
        assert!(markup.is_some_and(|f| f.count > 25_000), "<br />");
    }
}

#[test]
fn known_faults_are_found() {
    let Some(root) = data() else { return };
    for known in KNOWN {
        faults_are(known, &root);
    }
}

/// `cargo test --release -p hone-data --test check_known -- --ignored`
#[test]
#[ignore = "50 000 long texts"]
fn known_faults_of_imdb_are_found() {
    let Some(root) = data() else { return };
    faults_are(&IMDB, &root);
}
