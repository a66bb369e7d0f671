//! What labels are read as, and what is no label.

use super::*;
use std::path::PathBuf;

fn part(labels: &[&str]) -> Part {
    Part {
        path: PathBuf::from("a.csv"),
        sha256: String::new(),
        classes: Vec::new(),
        notes: Vec::new(),
        rows: labels
            .iter()
            .enumerate()
            .map(|(i, l)| Row {
                line: i + 2,
                text: format!("text {i}"),
                text_b: None,
                label: Cell::Text(l.to_string()),
                words: Vec::new(),
                group: None,
            })
            .collect(),
    }
}

#[test]
fn a_number_is_one_label_however_a_table_writes_it() {
    for (labels, names) in [
        (["1.0", "0", "1", "0.0"], ["0", "1"]),
        (["1.0", "0.0", "1.0", "0.0"], ["0.0", "1.0"]),
        (["+1", "1.0", "1", "0"], ["0", "1"]),
        (["0", "+1", "+1", "-0"], ["0", "+1"]),
    ] {
        let train = part(&labels);
        let set = LabelSet::of(&train, TaskKind::Classify, &[]).unwrap();
        assert_eq!(set.names(), names);
        let (found, unknown) = set
            .labels(&part(&["1", "0.0", "1.0", "0"]), TaskKind::Classify, &[])
            .unwrap();
        assert!(unknown.is_empty(), "{unknown:?}");
        let want = [Some(1), Some(0), Some(1), Some(0)].to_vec();
        assert_eq!(found, Labels::Classes(want));
    }
    let one = LabelSet::of(&part(&["1", "1.0"]), TaskKind::Classify, &[]);
    assert!(matches!(one, Err(DataError::OneClass { .. })));
    // Codes that begin with zeros are not told to be numbers.
    let codes = LabelSet::of(&part(&["07", "7", "8"]), TaskKind::Classify, &[]).unwrap();
    assert_eq!(codes.names(), ["07", "7", "8"]);
    assert_eq!(codes.resolver(&[])("9.0"), None);
}

/// Labels are numbers and names at once: the one reading that fits all of the training part holds for every part.
#[test]
fn names_that_are_numbers_are_read_in_one_way() {
    let stars = list(&["1", "2", "3", "4", "5"]);
    let read = |train: &[&str], names: &[String], other: &[&str]| {
        let (train, task) = (part(train), TaskKind::Classify);
        let names = numbering(&train, task, names).unwrap();
        let set = LabelSet::of(&train, task, names).unwrap();
        let (found, _) = set.labels(&part(other), task, names).unwrap();
        let Labels::Classes(found) = found else {
            panic!("classes");
        };
        let name = |class: Option<u32>| class.map_or("-", |c| &set.names()[c as usize]).to_owned();
        found.into_iter().map(name).collect::<Vec<_>>().join(" ")
    };
    let from_0 = ["0", "1", "2", "3", "4"];
    assert_eq!(read(&from_0, &stars, &from_0), "1 2 3 4 5");
    // A name that is no line's number is unknown, not the class of another number.
    assert_eq!(read(&from_0, &stars, &["4", "5"]), "5 -");
    let from_1 = ["1", "2", "3", "4", "5.0"];
    assert_eq!(read(&from_1, &stars, &["0", "1", "5"]), "- 1 5.0");
    let tens = list(&["10", "20"]);
    assert_eq!(read(&["0", "1"], &tens, &["1", "20"]), "20 20");
    assert_eq!(read(&["20", "10"], &tens, &["10", "20"]), "10 20");
    let turned = list(&["1", "0"]);
    assert_eq!(read(&["1", "0", "x"], &turned, &["1", "0"]), "1 0");
    for (labels, names, line) in [
        (&["1", "2", "3"][..], &stars, 2),
        (&["0", "1"], &turned, 2),
        (&["0", "1", "2", "3", "4", "5"], &stars, 3),
    ] {
        let refused = numbering(&part(labels), TaskKind::Classify, names).unwrap_err();
        let says = refused.to_string();
        assert!(says.starts_with(&format!("a.csv: line {line}: ")), "{says}");
        assert!(says.contains("take labels.txt away"), "{says}");
    }
    // A model's own labels decide where it is asked.
    let set = LabelSet::new(stars.clone());
    let of = |labels: &[&str]| {
        set.numbering(&part(labels), TaskKind::Classify, &stars)
            .ok()
    };
    assert_eq!(of(&["0", "4"]), Some(&*stars));
    assert_eq!(of(&["1", "5"]), Some(&[][..]));
    assert_eq!(of(&["1", "4"]), None);
}

#[test]
fn what_is_missing_makes_no_class_of_a_number() {
    let task = |labels: &[&str]| infer(&part(labels)).0;
    let mut scores = vec![" 1.5", "2", "3.25", "4", "0.5", "1", "2", "3", "4", "5 "];
    assert_eq!(task(&scores), TaskKind::Regress);
    scores.extend(["", "N/A"]);
    assert_eq!(task(&scores), TaskKind::Regress);
    let set = LabelSet::of(&part(&scores[..10]), TaskKind::Regress, &[]).unwrap();
    let error = set
        .labels(&part(&scores), TaskKind::Regress, &[])
        .unwrap_err();
    assert!(
        error.to_string().contains("a finite number was expected"),
        "{error}"
    );
    for strange in ["inf", "NaN", "1e39"] {
        let said = set.labels(&part(&["1.5", strange]), TaskKind::Regress, &[]);
        let said = said.unwrap_err().to_string();
        assert!(said.contains("a finite number was expected"), "{said}");
    }
    scores.push("good");
    assert_eq!(task(&scores), TaskKind::Classify);
    assert_eq!(task(&["1.5 stars", "2.5"]), TaskKind::Classify);
}

#[test]
fn order_and_names() {
    let set = |labels: &[&str], names: &[&str]| {
        let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
        LabelSet::of(&part(labels), TaskKind::Classify, &names)
    };
    assert_eq!(
        set(&["10", "9", "-1"], &[]).unwrap().names(),
        ["-1", "9", "10"]
    );
    assert_eq!(set(&["pos", "neg"], &[]).unwrap().names(), ["neg", "pos"]);
    assert_eq!(
        set(&["1", "0"], &["bad", "good"]).unwrap().names(),
        ["bad", "good"]
    );
    assert_eq!(set(&["10.0", "9.0"], &[]).unwrap().names(), ["9.0", "10.0"]);
    assert_eq!(
        set(&["1.0", "0.0"], &["bad", "good"]).unwrap().names(),
        ["bad", "good"]
    );
    assert!(
        set(&["1", "2"], &["bad", "good"])
            .unwrap_err()
            .to_string()
            .contains("line 3")
    );
    assert!(
        set(&["1", "1"], &[])
            .unwrap_err()
            .to_string()
            .contains("every row")
    );
    assert!(
        set(&["1", ""], &[])
            .unwrap_err()
            .to_string()
            .contains("line 3")
    );
}

#[test]
fn names_stand_alone_or_behind_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.txt");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        label_names(&path)
    };
    let check = |text: &str, want: &[&str]| assert_eq!(read(text).unwrap(), want, "{text:?}");
    check("negative\npositive\n", &["negative", "positive"]);
    check(
        "\u{feff}0 negative\n1\tvery positive\n\n",
        &["negative", "very positive"],
    );
    check("0,bad\r\n1,good\r\n", &["bad", "good"]);
    check("2 good\n0 bad\n1 fair\n", &["bad", "fair", "good"]);
    check("1 bad\n2 good\n", &["1 bad", "2 good"]);
    check("0 bad\n0 good\n", &["0 bad", "0 good"]);
    check(
        "1 star\n2 stars\n3 stars\n",
        &["1 star", "2 stars", "3 stars"],
    );
    check(
        "0 stars\n1 star\n2 stars\n",
        &["0 stars", "1 star", "2 stars"],
    );
    check("0 bad\nfair\n", &["0 bad", "fair"]);
    let error = read("bad\n\ngood\nbad\n").unwrap_err().to_string();
    assert!(
        error.contains("labels.txt: line 4: label \"bad\""),
        "{error}"
    );
}

#[test]
fn tasks_are_inferred() {
    for (labels, want) in [
        (&["1", "0"][..], TaskKind::Classify),
        (&["1", "2.5"], TaskKind::Regress),
        (&["1.5", "good"], TaskKind::Classify),
        (&["0.0", "1.0"], TaskKind::Classify),
        (&["4.0", "1e-1"], TaskKind::Regress),
    ] {
        assert_eq!(infer(&part(labels)).0, want, "{labels:?}");
    }
    let (task, said) = infer(&part(&["good", "good|long", "bad"]));
    assert_eq!(task, TaskKind::Classify);
    assert!(
        said.contains("good|long") && said.contains("--task multilabel"),
        "{said}"
    );
    assert!(!infer(&part(&["good|", "bad"])).1.contains("parted"));
}

#[test]
fn decimal_commas_are_told() {
    let (_, said) = infer(&part(&["1,000", "2,50"]));
    let says = "(line 2: 1,000); write 1.000 (or 1000 if it parts thousands) for --task regress";
    assert!(said.ends_with(says), "{said}");
    let says = "decimal comma (line 2: 4,5); write 4.5 for --task regress";
    for (labels, told) in [
        (&["4,5", "3,0", "-2,5"][..], true),
        (&["4,5", "3", "2.5", ""], true),
        (&["4,5", "3,0", "good"], false),
        (&["1,2,3", "4"], false),
        (&["4,", "a,b"], false),
        (&["yes,4", "4"], false),
    ] {
        let (task, said) = infer(&part(labels));
        assert_eq!(task, TaskKind::Classify, "{labels:?}");
        assert_eq!(said.contains(says), told, "{labels:?}: {said}");
    }
}

#[test]
fn unknown_labels_are_counted() {
    let set = LabelSet::new(vec!["bad".into(), "good".into()]);
    let names = vec!["bad".to_owned(), "good".to_owned()];
    let (labels, unknown) = set
        .labels(
            &part(&["good", "0", "fair", "fair"]),
            TaskKind::Classify,
            &names,
        )
        .unwrap();
    assert_eq!(labels, Labels::Classes(vec![Some(1), Some(0), None, None]));
    assert_eq!(unknown["fair"], 2);
    let (labels, _) = set
        .labels(&part(&["good|bad", "", "good"]), TaskKind::MultiLabel, &[])
        .unwrap();
    let want = Labels::Sets {
        sets: vec![vec![0, 1], vec![], vec![1]],
        unknown: vec![0; 3],
    };
    assert_eq!(labels, want);
    // What the set does not know is counted, each name once a row.
    let (labels, unknown) = set
        .labels(
            &part(&["good|fair|fair|poor", "bad"]),
            TaskKind::MultiLabel,
            &[],
        )
        .unwrap();
    let want = Labels::Sets {
        sets: vec![vec![1], vec![0]],
        unknown: vec![2, 0],
    };
    assert_eq!(labels, want);
    assert_eq!(unknown["poor"], 1);
    let error = set
        .labels(&part(&["1", "x"]), TaskKind::Regress, &[])
        .unwrap_err();
    assert!(error.to_string().contains("line 3"));
}

/// No label is neither a class nor the empty set, in whichever part it stands.
#[test]
fn a_missing_label_is_an_error() {
    let mut rows = part(&["a", "b", "a|b"]);
    let set = LabelSet::of(&rows, TaskKind::MultiLabel, &[]).unwrap();
    assert!(set.labels(&rows, TaskKind::MultiLabel, &[]).is_ok());
    rows.rows[1].label = Cell::None;
    for task in [TaskKind::Classify, TaskKind::MultiLabel, TaskKind::Regress] {
        let error = set.labels(&rows, task, &[]).unwrap_err().to_string();
        assert!(error.contains("expected"), "{task:?}: {error}");
    }
    for task in [TaskKind::Classify, TaskKind::MultiLabel] {
        let error = LabelSet::of(&rows, task, &[]).unwrap_err().to_string();
        assert!(error.starts_with("a.csv: line 3: "), "{error}");
        assert!(error.contains("hone check --fix"), "{error}");
    }
}

#[test]
fn a_column_without_any_label_is_an_error() {
    let error = LabelSet::of(&part(&["", ""]), TaskKind::MultiLabel, &[]).unwrap_err();
    let said = "a.csv: no row has a label; at least one is needed to learn from";
    assert_eq!(error.to_string(), said);
    assert!(LabelSet::of(&part(&["", "a"]), TaskKind::MultiLabel, &[]).is_ok());
}

#[test]
fn labels_of_another_file_are_an_error() {
    let set = LabelSet::new(vec!["bad".to_owned(), "good".to_owned()]);
    let read = |labels: &[&str], task| set.labels(&part(labels), task, &[]);
    let (_, unknown) = read(&["0", "good"], TaskKind::Classify).unwrap();
    assert_eq!(unknown["0"], 1);
    let error = read(&["0", "1"], TaskKind::Classify).unwrap_err();
    let said = "a.csv: none of its labels (0, 1) is one of those that were trained on (bad, good)";
    assert!(error.to_string().starts_with(said), "{error}");
    assert!(error.to_string().contains("labels.txt"), "{error}");
    let error = read(&["fine"], TaskKind::Classify).unwrap_err();
    assert!(!error.to_string().contains("labels.txt"), "{error}");
    assert!(read(&["0|1", ""], TaskKind::MultiLabel).is_err());
    assert!(read(&["", ""], TaskKind::MultiLabel).is_ok());
}

/// What hone check --fix would leave out is wanted there.
#[test]
fn an_empty_label_beside_several_is_the_empty_set() {
    let says = |labels: &[&str]| {
        let error = LabelSet::of(&part(labels), TaskKind::Classify, &[]).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        says(&["a", "", "a|b"]),
        "a.csv: line 3: label \"\": the label is empty; --task multilabel reads an empty field as the empty set, and \"a|b\" of \
         line 4 as several labels"
    );
    let alone = says(&["a", "", "b|"]);
    assert!(
        alone.ends_with("the label is empty; hone check --fix leaves such rows out"),
        "{alone}"
    );
    assert!(LabelSet::of(&part(&["a", "", "a|b"]), TaskKind::MultiLabel, &[]).is_ok());
}

#[test]
fn several_labels_are_told_however_they_are_written() {
    let ways = "which looks like several (part them by | for --task multilabel, or write JSON lines with lists)";
    for (labels, told) in [
        (&["['a', 'b']", "['a']"][..], Some("['a', 'b']")),
        (&["x", "[1, 2]"], Some("[1, 2]")),
        (&["a", "a,b", "b", "a, c", "c"], Some("a,b")),
        (&["a;b", "a;c", "b;c"], Some("a;b")),
        // Of names with commas the parts are nowhere else.
        (&["hotels, bars", "shops, bars", "other"], None),
        (&["a,b", "c"], None),
        (&["[UNK]", "a", "b,"], None),
        (&["a,b", "b", "b,a", ""], Some("a,b")),
        (&["a,,b", "a", "b"], None),
    ] {
        let (task, said) = infer(&part(labels));
        assert_eq!(task, TaskKind::Classify);
        let right = match told {
            Some(label) => said.contains(&format!("\"{label}\" of line")) && said.ends_with(ways),
            None => said.ends_with("(override with --task regress|multilabel)"),
        };
        assert!(right, "{labels:?}: {said}");
    }
}

fn labelled(label: Cell) -> Part {
    let mut part = part(&["x"]);
    part.rows[0].label = label;
    part
}

fn list(all: &[&str]) -> Vec<String> {
    all.iter().map(|l| l.to_string()).collect()
}

#[test]
fn one_tag_teaches_nothing() {
    let of = |tags: &[&str]| {
        let part = labelled(Cell::Tags(list(tags)));
        LabelSet::of(&part, TaskKind::Tag, &[]).map(|set| set.names().len())
    };
    let error = of(&["O", "O"]).unwrap_err().to_string();
    let says = "a.csv: every word has the tag \"O\"; at least two are needed to learn a difference";
    assert_eq!(error, says);
    assert_eq!(of(&["O", "B-x"]).unwrap(), 2);
}

#[test]
fn each_word_has_the_class_of_its_tag() {
    let set = LabelSet::new(list(&["B-x", "O"]));
    let rows = labelled(Cell::Tags(list(&["O", "B-x", "I-x", "O"])));
    let (labels, unknown) = set.labels(&rows, TaskKind::Tag, &[]).unwrap();
    assert_eq!(
        labels,
        Labels::Tags(vec![vec![Some(1), Some(0), None, Some(1)]])
    );
    assert_eq!(unknown, [("I-x".to_owned(), 1)].into());
}

#[test]
fn labels_of_another_kind_are_told() {
    let set = LabelSet::new(list(&["neg", "pos"]));
    for (label, task, says) in [
        (
            Cell::List(list(&["pos", "neg"])),
            TaskKind::Classify,
            "several labels; one label was expected",
        ),
        (
            Cell::List(list(&["pos"])),
            TaskKind::Classify,
            "a list of labels; one label was expected",
        ),
        (
            Cell::Tags(list(&["O"])),
            TaskKind::Classify,
            "a tag for each word; one label was expected",
        ),
        (
            Cell::Text(String::new()),
            TaskKind::Classify,
            "no label; one label was expected",
        ),
        (
            Cell::Text("pos".to_owned()),
            TaskKind::Tag,
            "label \"pos\": a tag for each word was expected",
        ),
        (
            Cell::List(list(&["pos", "neg"])),
            TaskKind::Tag,
            "several labels; a tag for each word was expected",
        ),
        (
            Cell::Tags(list(&["O"])),
            TaskKind::Regress,
            "a tag for each word; a number was expected",
        ),
        (
            Cell::None,
            TaskKind::MultiLabel,
            "no label; a set of labels was expected, if only []",
        ),
    ] {
        let error = set.labels(&labelled(label), task, &[]).unwrap_err();
        assert_eq!(error.to_string(), format!("a.csv: line 2: {says}"));
    }
}
