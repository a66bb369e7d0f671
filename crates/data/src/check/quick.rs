//! The quick part, which every training run does: texts that stand in two splits, texts with more than one label, labels
//! that are one but for their spelling, labels that look like names of rows.

use super::corpus::{At, group};
use super::labels::{ALIKE, Agreement, counted, joined, look_like_names, spellings};
use super::naming::{lent, numbered};
use super::report::Split;
use crate::labels::each_label;
use crate::{Part, TaskKind, are_pairs};
use std::collections::BTreeMap;

/// What a run should hear about its data, a line each: exact matches of the texts' keys, found by hash in
/// one pass. Lines name the first rows on both sides, and the number of all.
///
/// A number and what `names` (`labels.txt`) calls it are one label.
pub fn quick(parts: &[(Split, &Part)], task: TaskKind, names: &[String]) -> Vec<String> {
    let written = parts;
    let seen = numbered(parts, task, names);
    let parts = &*lent(&seen);
    let groups = group(parts);
    let part = |split: Split| parts.iter().find(|(s, _)| *s == split).map(|(_, p)| *p);
    let line = |at: At| {
        let row = part(at.split).and_then(|p| p.rows.get(at.row as usize));
        row.map_or(0, |r| r.line)
    };
    let mut out = Vec::new();
    for (a, b) in [
        (Split::Train, Split::Valid),
        (Split::Train, Split::Test),
        (Split::Valid, Split::Test),
    ] {
        let (Some(part_a), Some(part_b)) = (part(a), part(b)) else {
            continue;
        };
        let mut texts = 0;
        let (mut lines_a, mut lines_b) = (Vec::new(), Vec::new());
        for rows in &groups {
            let lines = |split: Split| rows.iter().filter(move |at| at.split == split);
            if lines(a).next().is_some() && lines(b).next().is_some() {
                texts += 1;
                lines_a.extend(lines(a).map(|at| line(*at)));
                lines_b.extend(lines(b).map(|at| line(*at)));
            }
        }
        if texts > 0 {
            out.push(format!(
                "texts that stand in {} and in {}: {texts}, {} and {}",
                long(a),
                long(b),
                lines_of(&mut lines_a, part_a),
                lines_of(&mut lines_b, part_b),
            ));
        }
    }
    let pairs = |split: Split| part(split).map(|p| are_pairs(&p.rows));
    for split in [Split::Valid, Split::Test] {
        if let (Some(trained), Some(read)) = (pairs(Split::Train), pairs(split))
            && trained != read
        {
            let of = |pairs| if pairs { "pairs" } else { "single texts" };
            out.push(format!(
                "the training part holds {}, but {} {}",
                of(trained),
                long(split),
                of(read)
            ));
        }
    }
    let agreement = Agreement::of(task, parts);
    let mut texts = 0;
    let mut lines: BTreeMap<Split, Vec<usize>> = BTreeMap::new();
    for rows in groups.iter().filter(|g| g.len() > 1) {
        let all = rows
            .iter()
            .filter_map(|at| part(at.split)?.rows.get(at.row as usize));
        if agreement.disagree(all).is_some() {
            texts += 1;
            for at in rows {
                lines.entry(at.split).or_default().push(line(*at));
            }
        }
    }
    if texts > 0 {
        let places: Vec<String> = lines
            .iter_mut()
            .filter_map(|(split, lines)| Some(lines_of(lines, part(*split)?)))
            .collect();
        out.push(format!(
            "texts with more than one label: {texts}, {}",
            places.join(" and ")
        ));
    }
    out.extend(spelt(written, task));
    out.extend(joined(written, task));
    out.extend(part(Split::Train).and_then(|train| named(train, task)));
    out
}

/// Labels that differ only in [`ALIKE`], which a model keeps apart.
fn spelt(parts: &[(Split, &Part)], task: TaskKind) -> Option<String> {
    const SHOWN: usize = 3;
    let found = spellings(parts, task);
    let (first, n) = (found.values().take(SHOWN), found.len());
    let shown: Vec<String> = first.map(counted).collect();
    let more = if n > SHOWN { "; …" } else { "" };
    // Tags of words are not rewritten.
    let mend = match task {
        TaskKind::Tag => "",
        _ => "; hone check --fix makes them one",
    };
    (n > 0).then(|| {
        format!(
            "labels with spellings that differ only in {ALIKE}: {n} ({}{more}){mend}",
            shown.join("; ")
        )
    })
}

/// Labels that only one row has, where most are like that.
fn named(train: &Part, task: TaskKind) -> Option<String> {
    if matches!(task, TaskKind::Regress | TaskKind::Tag) {
        return None;
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &train.rows {
        each_label(task, row, |label| {
            *counts.entry(label.trim()).or_default() += 1;
        });
    }
    let lone = counts.values().filter(|&&n| n == 1).count();
    look_like_names(lone, counts.len()).then(|| {
        format!(
            "labels that a single training row has: {lone} of {}; are these labels (--label-column)?",
            counts.len()
        )
    })
}

/// A split in a sentence.
fn long(split: Split) -> &'static str {
    match split {
        Split::Train => "the training part",
        Split::Valid => "the validation part",
        Split::Test => "the test part",
    }
}

/// `3 rows (lines 5, 9, 12 of a.csv)`.
fn lines_of(lines: &mut Vec<usize>, part: &Part) -> String {
    const SHOWN: usize = 5;
    lines.sort_unstable();
    lines.dedup();
    let mut text: Vec<String> = lines.iter().take(SHOWN).map(usize::to_string).collect();
    if lines.len() > SHOWN {
        text.push("…".to_owned());
    }
    let (rows, word) = match lines.len() {
        1 => ("1 row".to_owned(), "line"),
        n => (format!("{n} rows"), "lines"),
    };
    let path = part.path.display();
    format!("{rows} ({word} {} of {path})", text.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cell, Row};
    use std::path::PathBuf;

    fn part(name: &str, rows: &[(&str, &str)]) -> Part {
        Part {
            path: PathBuf::from(name),
            sha256: String::new(),
            classes: Vec::new(),
            notes: Vec::new(),
            rows: (2..)
                .zip(rows)
                .map(|(line, (text, label))| Row {
                    label: Cell::Text(label.to_string()),
                    ..Row::text(line, *text)
                })
                .collect(),
        }
    }

    #[test]
    fn leaks_and_conflicts_name_their_rows() {
        let train = part(
            "a.csv",
            &[("Good", "1"), ("bad", "0"), ("BAD", "1"), ("x", "0")],
        );
        let test = part("b.csv", &[("new", "0"), ("good", "1")]);
        let both = [(Split::Train, &train), (Split::Test, &test)];
        assert_eq!(
            quick(&both, TaskKind::Classify, &[]),
            [
                "texts that stand in the training part and in the test part: 1, 1 row (line 2 of a.csv) and 1 row \
                 (line 3 of b.csv)",
                "texts with more than one label: 1, 2 rows (lines 3, 4 of a.csv)"
            ]
        );
        // A label differs across splits; values agree within a twentieth of their range.
        let train = part(
            "a.csv",
            &[("same", "1.0"), ("far", "0"), ("near", "5.0"), ("far", "5")],
        );
        let test = part("b.csv", &[("Same", "1.5"), ("near", "4.8")]);
        let both = [(Split::Train, &train), (Split::Test, &test)];
        let said = quick(&both, TaskKind::Regress, &[]);
        assert!(
            said[1].starts_with("texts with more than one label: 2,"),
            "{said:?}"
        );
        assert!(said[1].contains("lines 2, 3, 5 of a.csv"), "{said:?}");
        assert!(said[1].contains("line 2 of b.csv"), "{said:?}");
        let spelt = part(
            "a.csv",
            &[("one", "True"), ("two", "true"), ("three", "false")],
        );
        assert_eq!(
            quick(&[(Split::Train, &spelt)], TaskKind::Classify, &[])[0],
            "labels with spellings that differ only in case, space, composed accents or leading zeros: 1 (\"True\" 1×, \
             \"true\" 1×); hone check --fix makes them one"
        );
        for (one, other) in [("caf\u{e9}", "cafe\u{301}"), ("007", "7"), ("00", "0")] {
            let spelt = part("a.csv", &[("one", one), ("two", other), ("three", "tea")]);
            let said = quick(&[(Split::Train, &spelt)], TaskKind::Classify, &[]);
            let says = format!("leading zeros: 1 ({:?} 1×", one.min(other));
            assert!(said[0].contains(&says), "{said:?}");
        }
        let named = part(
            "a.csv",
            &[("one", "r1"), ("two", "r2"), ("three", "x"), ("four", "x")],
        );
        assert_eq!(
            quick(&[(Split::Train, &named)], TaskKind::Classify, &[]),
            ["labels that a single training row has: 2 of 3; are these labels (--label-column)?"]
        );
        // What only --task multilabel reads as several would be a label of its own.
        let rows = [
            ("one", "x, y"),
            ("two", "x"),
            ("three", "y|z"),
            ("four", "x|z"),
        ];
        let sets = part("a.csv", &rows);
        let said = |task| quick(&[(Split::Train, &sets)], task, &[]);
        let says = "labels that look like several and are read as one: \"x, y\" (line 2 of a.csv); part them by |, or write \
                    JSON lines with lists";
        assert_eq!(said(TaskKind::MultiLabel)[0], says);
        assert!(
            !said(TaskKind::Classify)
                .iter()
                .any(|s| s.contains("several"))
        );
        let clean = part("a.csv", &[("one", "1"), ("two", "0")]);
        assert!(quick(&[(Split::Train, &clean)], TaskKind::Classify, &[]).is_empty());
    }

    #[test]
    fn a_number_and_its_name_are_no_conflict() {
        let train = part("a.csv", &[("one", "0"), ("two", "1"), ("three", "0")]);
        let test = part("b.csv", &[("four", "bad"), ("TWO", "good")]);
        let both = [(Split::Train, &train), (Split::Test, &test)];
        let names = ["bad", "good"].map(str::to_owned);
        let said = quick(&both, TaskKind::Classify, &names);
        assert!(
            matches!(&*said, [leak] if leak.starts_with("texts that stand in")),
            "{said:?}"
        );
        let said = quick(&both, TaskKind::Classify, &[]);
        assert!(
            said[1].starts_with("texts with more than one label: 1"),
            "{said:?}"
        );
    }
}
