//! What a check finds in small sets, as a table: the kinds and how often.

use hone_data::check::{Input, Kind, Report, Severity, Split, check};
use hone_data::{Cell, Part, Row, TaskKind};
use std::path::PathBuf;

/// Rows `text|label`, of a pair `text ## text|label`.
fn part(rows: &[&str]) -> Part {
    let row = |(line, row): (usize, &&str)| {
        let (text, label) = row.rsplit_once('|').unwrap();
        let (text, text_b) = match text.split_once(" ## ") {
            Some((a, b)) => (a, Some(b.to_owned())),
            None => (text, None),
        };
        Row {
            text_b,
            label: Cell::Text(label.to_owned()),
            ..Row::text(line, text)
        }
    };
    Part {
        path: PathBuf::from("a.csv"),
        sha256: String::new(),
        classes: Vec::new(),
        notes: Vec::new(),
        rows: (2..).zip(rows).map(row).collect(),
    }
}

fn report(train: &[&str], test: &[&str], task: TaskKind, names: &[&str]) -> Report {
    let (train, test) = (part(train), part(test));
    let mut parts = vec![(Split::Train, &train)];
    if !test.rows.is_empty() {
        parts.push((Split::Test, &test));
    }
    let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
    let input = Input {
        parts: &parts,
        task,
        names: &names,
        examples: 10,
    };
    check(&input, &|_, _| {})
}

#[track_caller]
fn found(train: &[&str], test: &[&str], task: TaskKind, want: &[(Kind, usize)]) {
    let report = report(train, test, task, &[]);
    // So few rows have labels of one row each; that has a test of its own.
    let others = report.findings.iter().filter(|f| f.kind != Kind::LoneLabel);
    let got: Vec<(Kind, usize)> = others.map(|f| (f.kind, f.count)).collect();
    assert_eq!(got, want, "{:#?}", report.findings);
    for f in &report.findings {
        assert!(
            !f.what.contains('\n') && f.examples.len() + f.examples_left_out > 0
                || f.examples.is_empty()
        );
    }
}

const LONG: &str = "the harbour was quiet that morning and nobody had seen the old grey boat come in from the north";

#[test]
fn texts_that_are_alike() {
    let one = TaskKind::Classify;
    let cut = &format!("{}|0", &LONG[..60]);
    let words: Vec<&str> = LONG.split(' ').collect();
    let inside = &format!("{}|0", words[2..14].join(" "));
    let near = &format!("{}|0", LONG.replace("grey", "gray"));
    let long = &format!("{LONG}|0");
    let other = "something else entirely|1";
    found(&[long, other], &[], one, &[]);
    found(&[long, other, cut], &[], one, &[(Kind::TruncatedCopy, 1)]);
    found(&[long, other, inside], &[], one, &[(Kind::Contained, 1)]);
    found(&[long, other, near], &[], one, &[(Kind::NearDuplicate, 2)]);
    found(&[long, other, long], &[], one, &[(Kind::Duplicate, 1)]);
    let missing = (Kind::LabelMissing, 1);
    found(
        &[long, other],
        &[cut],
        one,
        &[(Kind::ContainedLeak, 1), missing],
    );
    found(
        &[cut, other],
        &[long],
        one,
        &[(Kind::ContainedLeak, 1), missing],
    );
    found(
        &[long, other],
        &[inside],
        one,
        &[(Kind::ContainedLeak, 1), missing],
    );
    found(
        &[long, other],
        &[near],
        one,
        &[(Kind::NearLeak, 1), missing],
    );
    found(
        &[long, other],
        &[&long.to_uppercase()],
        one,
        &[(Kind::Leak, 1), missing],
    );
    // A pair is one text: another second text makes another pair.
    let (a, b) = (
        "where is it ## over there|0",
        "where is it ## nowhere to be found at all|1",
    );
    found(
        &[a, b, "Where is it ## Over there|0"],
        &[],
        one,
        &[(Kind::Duplicate, 1)],
    );
    found(
        &[a, b, "where is it ## over there|1"],
        &[],
        one,
        &[(Kind::Conflict, 1), (Kind::Duplicate, 1)],
    );
}

#[test]
fn labels_by_task() {
    let (a, b) = ("some text here|", "another one there|");
    let row = |text: &str, label: &str| format!("{text}{label}");
    let check = |rows: &[(&str, &str)], task: TaskKind, want: &[(Kind, usize)]| {
        let rows: Vec<String> = rows.iter().map(|(t, l)| row(t, l)).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        found(&rows, &[], task, want);
    };
    let twice = (Kind::Duplicate, 1);
    let conflict = (Kind::Conflict, 1);
    check(
        &[(a, "x"), (a, "y"), (b, "x")],
        TaskKind::Classify,
        &[conflict, twice],
    );
    check(
        &[(a, "x"), (b, "x")],
        TaskKind::Classify,
        &[(Kind::OneLabel, 1)],
    );
    check(
        &[(a, "x"), (b, "")],
        TaskKind::Classify,
        &[(Kind::NoLabel, 1), (Kind::OneLabel, 1)],
    );
    let spelt = (Kind::LabelSpelling, 1);
    check(
        &[(a, "Very good"), (b, "very  good ")],
        TaskKind::Classify,
        &[spelt],
    );
    // Values within a twentieth of the range agree.
    let third = "a third text of its own|";
    check(
        &[(a, "1.0"), (a, "1.2"), (third, "0"), (b, "5")],
        TaskKind::Regress,
        &[twice],
    );
    check(
        &[(a, "1.0"), (a, "1.3"), (third, "0"), (b, "5")],
        TaskKind::Regress,
        &[conflict, twice],
    );
    check(
        &[(a, "1.0"), (b, "much")],
        TaskKind::Regress,
        &[(Kind::NoLabel, 1)],
    );
}

/// A pair that lacks a text teaches nothing of pairs.
#[test]
fn pairs_with_one_text() {
    let rows = [
        "one of many ## and its other|0",
        "two of it ##  |1",
        " ## three more|0",
        "four now|1",
    ];
    let report = report(&rows, &[], TaskKind::Classify, &[]);
    let empty = report.findings.iter().find(|f| f.kind == Kind::Empty);
    let empty = empty.unwrap();
    assert_eq!((empty.count, empty.fixable), (3, true));
    assert_eq!(empty.what, "pairs that lack a text or both: 3");
    found(
        &["one of many ## |0", "two of it|1"],
        &[],
        TaskKind::Classify,
        &[],
    );
}

/// What a cleaned copy leaves as it is is not promised.
#[test]
fn a_part_without_labels_is_left_alone() {
    let fixable = |test: &[&str]| {
        let report = report(
            &["one of many|0", "two of it|1"],
            test,
            TaskKind::Classify,
            &[],
        );
        let none = report
            .findings
            .into_iter()
            .find(|f| f.kind == Kind::NoLabel);
        none.map(|f| f.fixable)
    };
    assert_eq!(fixable(&["three more|", "four now|"]), Some(false));
    assert_eq!(fixable(&["three more|", "four now|1"]), Some(true));
}

/// Rows with these labels.
fn labelled(labels: &[Cell], task: TaskKind) -> Report {
    let texts = ["one of many|", "two of it|", "three more|"];
    let mut part = part(&texts[..labels.len()]);
    for (row, label) in part.rows.iter_mut().zip(labels) {
        row.label = label.clone();
    }
    let input = Input {
        parts: &[(Split::Train, &part)],
        task,
        names: &[],
        examples: 1,
    };
    check(&input, &|_, _| {})
}

/// What a report says of a kind, and whether that is mended.
fn said(report: &Report, kind: Kind) -> Option<(&str, bool)> {
    let found = report.findings.iter().find(|f| f.kind == kind);
    found.map(|f| (&*f.what, f.fixable))
}

/// Where other rows have several labels, an empty field is the empty set, and no row to leave out.
#[test]
fn empty_labels_beside_several() {
    let text = |label: &str| Cell::Text(label.to_owned());
    let report = labelled(&[text("a"), text(""), text("b")], TaskKind::Classify);
    let plain = Some(("rows without a label: 1", true));
    assert_eq!(said(&report, Kind::NoLabel), plain);
    let report = labelled(&[text("a|b"), text(""), text("b")], TaskKind::Classify);
    let sets = "rows without a label: 1; --task multilabel reads an empty field as the empty set, and \"a|b\" of line 2 as \
                several labels";
    assert_eq!(said(&report, Kind::NoLabel), Some((sets, false)));
}

/// Fields of --task multilabel that are parted by something else than `|` are one label each.
#[test]
fn labels_joined_by_commas_or_in_a_list() {
    let text = |label: &str| Cell::Text(label.to_owned());
    for joined in ["x, y", "x;y", "['x', 'y']"] {
        let labels = [text("x"), text(joined), text("y|x")];
        let report = labelled(&labels, TaskKind::MultiLabel);
        let (what, fixable) = said(&report, Kind::JoinedLabels).unwrap();
        assert!(
            what.contains(&format!("{joined:?} (line 3 of")) && !fixable,
            "{what}"
        );
        assert_eq!(
            said(&labelled(&labels, TaskKind::Classify), Kind::JoinedLabels),
            None
        );
    }
    let whole = labelled(
        &[text("hotels, bars|shops"), text("shops")],
        TaskKind::MultiLabel,
    );
    assert_eq!(said(&whole, Kind::JoinedLabels), None);
}

#[test]
fn labels_of_a_list_without_a_name() {
    let list = |all: &[&str]| Cell::List(all.iter().map(|l| l.to_string()).collect());
    let sets = [list(&["", "z"]), list(&["z"]), list(&[])];
    let report = labelled(&sets, TaskKind::MultiLabel);
    let what = "rows without a label, or with one that has no name: 1";
    assert_eq!(said(&report, Kind::NoLabel), Some((what, true)));
}

#[test]
fn words_of_one_tag() {
    let tags = |all: &[&str]| Cell::Tags(all.iter().map(|l| l.to_string()).collect());
    let what = "every training word has the same tag; nothing can be learnt";
    let report = labelled(&[tags(&["O", "O"]), tags(&["O"])], TaskKind::Tag);
    assert_eq!(said(&report, Kind::OneLabel), Some((what, false)));
    let report = labelled(&[tags(&["O", "B-x"]), tags(&["O"])], TaskKind::Tag);
    assert_eq!(said(&report, Kind::OneLabel), None);
}

/// Sets are compared as sets, tags in their order.
#[test]
fn sets_and_tags() {
    let with = |labels: [Cell; 2]| {
        let mut part = part(&["one two|", "One two|", "other words|"]);
        for (row, label) in part.rows.iter_mut().zip(labels) {
            row.label = label;
        }
        part
    };
    let list = |all: &[&str]| Cell::List(all.iter().map(|l| l.to_string()).collect());
    let tags = |all: &[&str]| Cell::Tags(all.iter().map(|l| l.to_string()).collect());
    for (task, labels, conflicts) in [
        (
            TaskKind::MultiLabel,
            [list(&["p", "q"]), list(&["q", "p"])],
            0,
        ),
        (TaskKind::MultiLabel, [list(&["p", "q"]), list(&["p"])], 1),
        (TaskKind::MultiLabel, [list(&[]), list(&["p"])], 1),
        (TaskKind::Tag, [tags(&["O", "B-x"]), tags(&["O", "B-x"])], 0),
        (TaskKind::Tag, [tags(&["O", "B-x"]), tags(&["B-x", "O"])], 1),
    ] {
        let part = with(labels.clone());
        let parts = [(Split::Train, &part)];
        let input = Input {
            parts: &parts,
            task,
            names: &[],
            examples: 1,
        };
        let report = check(&input, &|_, _| {});
        let found = report.findings.iter().filter(|f| f.kind == Kind::Conflict);
        assert_eq!(found.count(), conflicts, "{labels:?}");
        assert_eq!(report.splits[0].conflicting_texts, conflicts, "{labels:?}");
    }
}

#[test]
fn counts_names_and_what_splits_lack() {
    let rows: Vec<String> = (0..22)
        .map(|i| format!("row {i} of many|{}", i / 20))
        .collect();
    let train: Vec<&str> = rows.iter().map(String::as_str).collect();
    let report = report(
        &train,
        &["unseen words|3", "more of it|0"],
        TaskKind::Classify,
        &["no", "yes"],
    );
    let labels: Vec<(&str, usize, usize)> = report
        .labels
        .iter()
        .map(|l| (l.label.as_str(), l.train, l.test))
        .collect();
    assert_eq!(labels, [("0 (no)", 20, 1), ("1 (yes)", 2, 0), ("3", 0, 1)]);
    let said: Vec<(Severity, &str)> = report
        .findings
        .iter()
        .filter(|f| matches!(f.kind, Kind::LabelMissing | Kind::Imbalance))
        .map(|f| (f.severity, f.what.as_str()))
        .collect();
    assert_eq!(said.len(), 4, "{said:?}");
    assert!(
        said[0].1.contains("labels.txt does not name: 1"),
        "{said:?}"
    );
    assert!(
        said[1].1.contains("labels of test that train lacks"),
        "{said:?}"
    );
    assert_eq!(
        said[2],
        (Severity::Note, "labels of train that test lacks: 1")
    );
    assert!(said[3].1.contains("10 times as many"), "{said:?}");
    assert_eq!(report.warnings(), 2);
}

#[test]
fn a_number_and_what_labels_txt_calls_it_are_one_label() {
    let train = [
        "one of many|0",
        "two of many|1",
        "three of many|0",
        "four of many|1",
    ];
    let test = ["Two of MANY|yes", "five of many|no"];
    let report = report(&train, &test, TaskKind::Classify, &["no", "yes"]);
    let labels: Vec<(&str, usize, usize)> = report
        .labels
        .iter()
        .map(|l| (l.label.as_str(), l.train, l.test))
        .collect();
    assert_eq!(labels, [("0 (no)", 2, 1), ("1 (yes)", 2, 1)]);
    let kinds: Vec<Kind> = report.findings.iter().map(|f| f.kind).collect();
    assert_eq!(kinds, [Kind::Leak], "{:#?}", report.findings);
}

#[test]
fn labels_of_a_single_row() {
    let lone = |train: &[&str], task: TaskKind| {
        let report = report(train, &["a text of the test part|zz"], task, &[]);
        let found = report.findings.into_iter();
        let mut found = found.filter(|f| f.kind == Kind::LoneLabel);
        found.next().map(|f| (f.severity, f.what, f.count))
    };
    let classes = TaskKind::Classify;
    let train = [
        "one thing|a",
        "two of it|a",
        "three more|b",
        "four now|c",
        "five|c",
    ];
    let (severity, what, count) = lone(&train, classes).unwrap();
    assert_eq!((severity, count), (Severity::Note, 1), "{what}");
    assert_eq!(what, "labels of 3 that a single training row has: 1");
    // Numbers of rows are no labels.
    let train = ["one thing|r1", "two of it|r2", "three more|r3"];
    let (severity, what, count) = lone(&train, classes).unwrap();
    assert_eq!((severity, count), (Severity::Warning, 3));
    assert!(
        what.contains("are these labels (--label-column)?"),
        "{what}"
    );
    assert_eq!(
        lone(&["one thing|1.5", "two of it|2.5"], TaskKind::Regress),
        None
    );
    assert_eq!(lone(&train[..0], classes), None);
}

/// A form filled in thousands of times, on both sides of a split: every test text is told, in a bounded report.
#[test]
fn a_form_on_both_sides() {
    let text = |i: usize| {
        format!(
            "your order number {} has left our house in the north and will be with you on the day we said|{}",
            i * 7919 % 100_003,
            i % 2
        )
    };
    let (train, test): (Vec<String>, Vec<String>) = (
        (0..4000).map(text).collect(),
        (4000..6000).map(text).collect(),
    );
    let train: Vec<&str> = train.iter().map(String::as_str).collect();
    let test: Vec<&str> = test.iter().map(String::as_str).collect();
    let report = report(&train, &test, TaskKind::Classify, &[]);
    let count = |kind: Kind| -> usize {
        let all = report.findings.iter().filter(|f| f.kind == kind);
        all.map(|f| f.count).sum()
    };
    assert_eq!(count(Kind::NearLeak), 2000);
    assert_eq!(count(Kind::NearDuplicate), 6000);
    assert_eq!(count(Kind::Contained) + count(Kind::ContainedLeak), 0);
    assert!(serde_json::to_string(&report).unwrap().len() < 30_000);
}
