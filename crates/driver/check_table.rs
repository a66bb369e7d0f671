//! The report of `hone check` for people.

use crate::check::Whole;
use crate::check_model::ModelReport;
use hone_data::check::{Finding, Fixed, Report, Severity, Split};
use hone_experiment::ProbeLine;
use hone_report::{Table, count, duration};
use std::fmt::Write;

/// Labels listed; more are counted.
const LABELS: usize = 20;

/// The whole report, with so many examples of each finding.
pub fn text(whole: &Whole, examples: usize) -> String {
    let report = &whole.report;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{}", splits(report));
    if !report.labels.is_empty() {
        let _ = writeln!(out, "{}", labels(report));
    }
    if let Some(model) = &whole.model {
        let _ = writeln!(out, "{}", tokens(model));
    }
    for (severity, name) in [(Severity::Warning, "warnings"), (Severity::Note, "notes")] {
        let findings: Vec<&Finding> = report
            .findings
            .iter()
            .filter(|f| f.severity == severity)
            .collect();
        if findings.is_empty() {
            let _ = writeln!(out, "no {name}");
            continue;
        }
        let _ = writeln!(out, "{name}:");
        for f in findings {
            finding(&mut out, f, examples, whole.fixed.is_some());
        }
    }
    if let Some(fixed) = &whole.fixed {
        out += &fix(fixed);
    }
    let _ = writeln!(out, "\nwhat the words mean:");
    for line in &report.definitions {
        let _ = writeln!(out, "  {line}");
    }
    if !report.not_checked.is_empty() {
        let _ = writeln!(out, "not checked:");
        for line in &report.not_checked {
            let _ = writeln!(out, "  {line}");
        }
    }
    let _ = writeln!(out, "checked in {}", duration(whole.seconds));
    out
}

fn splits(report: &Report) -> Table {
    let mut table = Table::new(&[
        "split",
        "rows",
        "distinct",
        "repeated",
        "two labels",
        "words: median",
        "95 %",
        "most",
        "file",
    ]);
    for s in &report.splits {
        table.row([
            s.split.name().to_owned(),
            count(s.rows),
            count(s.distinct_texts),
            count(s.duplicate_rows),
            count(s.conflicting_texts),
            count(s.words.median),
            count(s.words.p95),
            count(s.words.max),
            s.file.clone(),
        ]);
    }
    table
}

fn labels(report: &Report) -> String {
    let present: Vec<Split> = report.splits.iter().map(|s| s.split).collect();
    let mut headings = vec!["label"];
    for split in &present {
        headings.extend([split.name(), "share"]);
    }
    let total = |split: Split| report.labels.iter().map(|l| l.of(split)).sum::<usize>();
    let mut table = Table::new(&headings);
    for label in report.labels.iter().take(LABELS) {
        let mut row = vec![label.label.clone()];
        for &split in &present {
            let n = label.of(split);
            row.push(count(n));
            row.push(format!("{:.3}", n as f64 / total(split).max(1) as f64));
        }
        table.row(row);
    }
    let mut out = table.to_string();
    if report.labels.len() > LABELS {
        let _ = writeln!(
            out,
            "… {} more labels (--json has all)",
            report.labels.len() - LABELS
        );
    }
    out
}

fn tokens(model: &ModelReport) -> String {
    let mut table = Table::new(&[
        "split",
        "words",
        "pieces a word",
        "unknown",
        "texts cut",
        "pieces lost",
    ]);
    let percent = |n: usize, of: usize| format!("{:.1} %", 100.0 * n as f64 / of.max(1) as f64);
    for t in &model.tokens {
        table.row([
            t.split.name().to_owned(),
            count(t.words),
            format!("{:.2}", t.pieces_per_word),
            format!("{:.3} %", 100.0 * t.unknown_rate),
            count(t.cut_texts),
            percent(t.lost_pieces, t.pieces),
        ]);
    }
    let mut out = format!(
        "{}, at most {} pieces:\n{table}",
        model.name, model.max_length
    );
    let train = model.tokens.iter().find(|t| t.split == Split::Train);
    if let Some(train) = train.filter(|t| t.cut_texts > 0 && t.by_label.len() > 1) {
        let mut table = Table::new(&["label", "texts", "cut", "pieces lost", "of its pieces"]);
        for l in train.by_label.iter().take(LABELS) {
            table.row([
                l.label.clone(),
                count(l.texts),
                percent(l.cut_texts, l.texts),
                count(l.lost_pieces),
                percent(l.lost_pieces, l.pieces),
            ]);
        }
        let _ = write!(out, "\ntraining texts that are cut, by label:\n{table}");
        if train.by_label.len() > LABELS {
            let _ = writeln!(
                out,
                "… {} more labels (--json has all)",
                train.by_label.len() - LABELS
            );
        }
    }
    if let Some(probe) = &model.probe {
        let any = |f1: fn(&ProbeLine) -> Option<f64>| probe.lines.iter().any(|l| f1(l).is_some());
        let mut head = vec!["answers by", probe.measure.name(), "95 % interval"];
        head.extend(any(|l| l.macro_f1).then_some("macro-F1"));
        head.extend(any(|l| l.micro_f1).then_some("micro-F1"));
        head.push("seconds");
        let mut table = Table::new(&head);
        for l in &probe.lines {
            let mut cells = vec![
                l.name.clone(),
                format!("{:.3}", l.score),
                format!("{:.3} to {:.3}", l.interval[0], l.interval[1]),
            ];
            cells.extend(l.macro_f1.or(l.micro_f1).map(|f1| format!("{f1:.3}")));
            cells.push(format!("{:.1}", l.seconds));
            table.row(cells);
        }
        let _ = write!(
            out,
            "\n{} training rows, {} folds, each row judged by what the others taught:\n{table}",
            count(probe.rows),
            probe.folds
        );
    }
    if let Some(verdict) = &model.verdict {
        let _ = writeln!(out, "{verdict}");
    }
    out
}

fn finding(out: &mut String, f: &Finding, examples: usize, fixed: bool) {
    let mends = match (f.fixable, fixed) {
        (true, false) => "  [--fix]",
        _ => "",
    };
    let _ = writeln!(out, "  {}{mends}", f.what);
    let shown = f.examples.len().min(examples);
    for e in &f.examples[..shown] {
        let mut places: Vec<String> = e.rows.iter().map(ToString::to_string).collect();
        if e.more_rows > 0 {
            places.push(format!("{} more", e.more_rows));
        }
        let place = match places.is_empty() {
            true => String::new(),
            false => places.join(", ") + "  ",
        };
        let note = e
            .note
            .as_ref()
            .map_or(String::new(), |n| format!("  ({n})"));
        let _ = writeln!(out, "    {place}{}{note}", e.text);
    }
    let left = f.examples.len() - shown + f.examples_left_out;
    if left > 0 && shown > 0 {
        let _ = writeln!(out, "    … {} more (--examples N, --json)", count(left));
    }
}

fn fix(fixed: &Fixed) -> String {
    let mut out = format!("\ncleaned copy: {}\n", fixed.folder.display());
    for (split, before, after) in &fixed.rows {
        let _ = writeln!(
            out,
            "  {}: {} of {} rows",
            split.name(),
            count(*after),
            count(*before)
        );
    }
    for (why, n) in &fixed.dropped {
        let _ = writeln!(out, "  dropped, {why}: {}", count(*n));
    }
    for (how, n) in &fixed.repaired {
        let _ = writeln!(out, "  texts repaired, {how}: {}", count(*n));
    }
    if fixed.relabelled > 0 {
        let _ = writeln!(out, "  labels spelt anew: {}", count(fixed.relabelled));
    }
    let _ = writeln!(out, "  every change: {}", fixed.changes.display());
    out
}
