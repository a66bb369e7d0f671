//! `hone check`: what is wrong with a data set, before anything is trained on it.
//!
//! Rows are grouped by their exact text (but for case, space and composed accents), once; everything looser is asked of
//! distinct texts only, so that a text that stands ten thousand times costs no more than one. Near duplicates are candidates
//! of MinHash bands that were compared in full ([`near`](self)), gathered in clusters; texts within others are found by sorting and
//! by an index of their word runs. Nothing here depends on the number of threads.
//!
//! ```
//! use hone_data::{Columns, TaskKind, check, read_as_is};
//!
//! let folder = std::env::temp_dir().join("hone-check-doc");
//! std::fs::create_dir_all(&folder)?;
//! let path = folder.join("reviews.csv");
//! std::fs::write(&path, "text,label\nGood,1\nBad,0\ngood,0\nA <br /> B,1\n")?;
//! let train = read_as_is(&path, &Columns::default())?;
//! let input = check::Input {
//!     parts: &[(check::Split::Train, &train)],
//!     task: TaskKind::Classify,
//!     names: &[],
//!     examples: 5,
//! };
//! let report = check::check(&input, &|_, _| {});
//! let kinds: Vec<check::Kind> = report.findings.iter().map(|f| f.kind).collect();
//! assert_eq!(kinds, [check::Kind::Conflict, check::Kind::Duplicate, check::Kind::Markup]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod alike;
mod contain;
mod corpus;
mod fix;
mod labels;
mod markup;
mod minhash;
mod mojibake;
mod naming;
mod near;
mod quality;
mod quick;
mod report;
mod rewrite;
mod shingles;
mod text;

pub use contain::{RUN, SHARE, WORDS};
pub use fix::{Fixed, Source, fix};
pub use labels::{TOLERANCE, UNEVEN};
pub use minhash::{BANDS, MISS, NEAR, ROWS, bands};
pub use near::SHORT;
pub use quick::quick;
pub use report::{
    Example, Finding, Kind, LabelCount, Overlap, Place, Report, Severity, Split, SplitReport, Words,
};
pub use text::text_key;

use crate::{Part, TaskKind, are_pairs};
use corpus::Corpus;
use report::Collected;
use std::collections::BTreeMap;
use text::excerpt;

/// What to check.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The splits, in the order of [`Split::ALL`], each once.
    pub parts: &'a [(Split, &'a Part)],
    /// What the labels ask for.
    pub task: TaskKind,
    /// Names of integer labels, from `labels.txt` ([`numbering`](crate::numbering)).
    pub names: &'a [String],
    /// Most examples kept of a finding.
    pub examples: usize,
}

/// Checks texts and labels. `progress` hears what is being done, and the share of it that is done.
pub fn check(input: &Input<'_>, progress: &(dyn Fn(&'static str, f64) + Sync)) -> Report {
    progress("reading the texts", 0.0);
    let seen = naming::numbered(input.parts, input.task, input.names);
    let seen = naming::lent(&seen);
    let corpus = Corpus::new(&seen);
    let counts = labels::counts(&seen, input.task, input.names);
    let mut report = Report {
        task: match input.task {
            TaskKind::Classify => "classify",
            TaskKind::MultiLabel => "multilabel",
            TaskKind::Regress => "regress",
            TaskKind::Tag => "tag",
        },
        splits: splits(&corpus, input.task),
        overlaps: Vec::new(),
        labels: Vec::new(),
        findings: Vec::new(),
        definitions: definitions(input.task),
        not_checked: Vec::new(),
    };
    let most = input.examples;
    let mut findings = Vec::new();
    findings.extend(labels::conflicts(&corpus, input.task, most));
    findings.extend(labels::findings(
        input.parts,
        input.task,
        input.names,
        &counts,
        most,
    ));
    findings.extend(texts(&corpus, most));
    let (exact, overlaps) = alike::exact(&corpus, most);
    findings.extend(exact);
    let (near, said) = alike::near(&corpus, input.task, most, progress);
    findings.extend(near);
    report.overlaps = overlaps;
    report.labels = counts;
    report.not_checked.extend(said);
    report.add(findings);
    report
}

fn splits(corpus: &Corpus, task: TaskKind) -> Vec<SplitReport> {
    let each = |&(split, part): &(Split, &Part)| {
        let mut words: Vec<usize> = part
            .rows
            .iter()
            .map(|r| {
                let b = r.text_b.as_deref().unwrap_or("");
                r.text.split_whitespace().count() + b.split_whitespace().count()
            })
            .collect();
        words.sort_unstable();
        let at = |share: f64| {
            let i = (share * words.len() as f64).ceil() as usize;
            words.get(i.saturating_sub(1)).copied().unwrap_or(0)
        };
        let own = || corpus.texts.iter().map(|t| t.rows_in(split).count());
        SplitReport {
            split,
            file: part.path.display().to_string(),
            rows: part.rows.len(),
            distinct_texts: own().filter(|&n| n > 0).count(),
            duplicate_rows: own().map(|n| n.saturating_sub(1)).sum(),
            conflicting_texts: labels::conflicting(corpus, task, split),
            words: Words {
                median: at(0.5),
                p95: at(0.95),
                max: at(1.0),
            },
        }
    };
    corpus.parts.iter().map(each).collect()
}

/// Texts that are empty or damaged.
fn texts(corpus: &Corpus, most: usize) -> Vec<Finding> {
    use rayon::prelude::*;
    let mut empty = Collected::new(most);
    let mut halves = false;
    let mut flawed: BTreeMap<Kind, Collected> = BTreeMap::new();
    for (split, part) in &corpus.parts {
        let pairs = are_pairs(&part.rows);
        halves |= pairs;
        let found: Vec<Vec<(Kind, String)>> = part
            .rows
            .par_iter()
            .map(|row| {
                let mut found = quality::flaws(&row.text);
                for flaw in row.text_b.iter().flat_map(|b| quality::flaws(b)) {
                    if found.iter().all(|f| f.0 != flaw.0) {
                        found.push(flaw);
                    }
                }
                found
            })
            .collect();
        for (row, found) in part.rows.iter().zip(found) {
            let place = Place {
                split: *split,
                line: row.line,
            };
            let example = |note: Option<String>| Example {
                rows: vec![place],
                more_rows: 0,
                text: excerpt(row),
                note,
            };
            if row.lacks_text(pairs) {
                empty.add(|| example(None));
            }
            for (kind, note) in found {
                let collected = flawed.entry(kind).or_insert_with(|| Collected::new(most));
                collected.add(|| example(Some(note).filter(|n| !n.is_empty())));
            }
        }
    }
    let tagged = corpus.parts.iter().any(|(_, p)| {
        let first = p.rows.first();
        first.is_some_and(|r| !r.words.is_empty())
    });
    let mut out = Vec::new();
    out.extend(empty.finding(Kind::Empty, Severity::Warning, true, |n| {
        let what = match halves {
            true => "pairs that lack a text or both",
            false => "rows without a text",
        };
        format!("{what}: {n}")
    }));
    for (kind, found) in flawed {
        let (severity, fixable, what) = match kind {
            Kind::ReplacementCharacter => (
                Severity::Warning,
                false,
                "with U+FFFD, where a character was lost in decoding",
            ),
            Kind::Mojibake => (
                Severity::Warning,
                true,
                "with UTF-8 that was read as Windows-1252, or its bytes as Latin-1",
            ),
            Kind::ControlCharacter => (Severity::Warning, true, "with control characters"),
            Kind::HtmlEntity => (Severity::Warning, true, "with HTML entities"),
            Kind::Markup => (Severity::Warning, true, "with HTML tags"),
            _ => (Severity::Note, true, "with space before or after"),
        };
        // Tagged words are given one by one and stay as they are.
        let fixable = fixable && !tagged;
        out.extend(found.finding(kind, severity, fixable, |n| format!("texts {what}: {n}")));
    }
    out
}

/// What the words of a report mean.
fn definitions(task: TaskKind) -> Vec<String> {
    let conflict = match task {
        TaskKind::Classify => "labels that differ".to_owned(),
        TaskKind::MultiLabel => "sets of labels that differ".to_owned(),
        TaskKind::Tag => "tags that differ anywhere".to_owned(),
        TaskKind::Regress => format!(
            "values further apart than {:.0} % of the range of the training values",
            100.0 * TOLERANCE
        ),
    };
    vec![
        "exact duplicate: texts (of a pair: both) equal but for case, space and composed accents"
            .to_owned(),
        format!("conflict: such texts with {conflict}"),
        format!(
            "near duplicate: Jaccard similarity of the sets of 5-character runs at least {NEAR} (3-character runs where \
             the shorter text has fewer than {SHORT} characters), neither text more than twice as long as the other; \
             characters after lower-casing, words one space apart, without punctuation"
        ),
        format!(
            "truncated copy: a text of at least {WORDS} words that is the beginning of a longer one; contained: \
             {:.0} % of its runs of {RUN} words stand in a longer text; near duplicates are not counted again",
            100.0 * SHARE
        ),
    ]
}
