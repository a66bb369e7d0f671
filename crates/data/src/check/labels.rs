//! What labels tell: texts with more than one, spellings, labels that a split lacks, how even they are.

use super::corpus::{At, Corpus};
use super::report::{Collected, Example, Finding, Kind, LabelCount, Place, Severity, Split};
use super::text::{composed, excerpt};
use crate::labels::{canonical, each_label, empty_set, is_code, parts, unparted};
use crate::{Cell, Part, Row, TaskKind};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// In what spellings of a label differ that a model keeps apart and a person would not.
pub(super) const ALIKE: &str = "case, space, composed accents or leading zeros";
/// Part of the range of the training values within which two values of one text agree (regression).
pub const TOLERANCE: f64 = 0.05;
/// From so many times as many rows of the most frequent label as of the rarest, labels are called uneven.
pub const UNEVEN: f64 = 10.0;

/// A row's label in one spelling: what two rows of a text are compared by. `None` where there is none (of a
/// regression: no number; of a list: where one has no name).
/// Sets are compared as sets, tags in their order.
pub(crate) fn label_of(row: &Row, task: TaskKind) -> Option<String> {
    let set = |labels: BTreeSet<Cow<'_, str>>| labels.into_iter().collect::<Vec<_>>().join("|");
    match (&row.label, task) {
        (Cell::None, _) => None,
        (Cell::Text(t), TaskKind::MultiLabel) => Some(set(parts(t).map(canonical).collect())),
        (Cell::Text(t), TaskKind::Regress) => {
            let value = t.trim();
            let number = value.parse::<f64>().is_ok_and(f64::is_finite);
            number.then(|| value.to_owned())
        }
        (Cell::Text(t), _) => Some(canonical(t.trim()).into_owned()).filter(|t| !t.is_empty()),
        (Cell::List(all), _) if all.iter().any(|l| l.trim().is_empty()) => None,
        (Cell::List(all), _) => Some(set(all.iter().map(|l| canonical(l.trim())).collect())),
        (Cell::Tags(all), _) => Some(all.join(" ")),
    }
}

/// How labels are compared.
pub(crate) struct Agreement {
    task: TaskKind,
    /// Values no further apart agree.
    tolerance: f64,
}

impl Agreement {
    /// For regression the tolerance comes from the training part.
    pub fn of(task: TaskKind, parts: &[(Split, &Part)]) -> Agreement {
        let train = parts.iter().filter(|(s, _)| *s == Split::Train);
        let values = train
            .flat_map(|(_, p)| &p.rows)
            .filter_map(|r| label_of(r, task)?.parse::<f64>().ok())
            .filter(|v| v.is_finite());
        let (low, high) = match task {
            TaskKind::Regress => values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
                (l.min(v), h.max(v))
            }),
            _ => (0.0, 0.0),
        };
        Agreement {
            task,
            tolerance: TOLERANCE * (high - low).max(0.0),
        }
    }

    /// The labels of a text's rows where they disagree: as written, each once.
    pub fn disagree<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> Option<BTreeSet<String>> {
        let labels: BTreeSet<String> = rows.filter_map(|r| label_of(r, self.task)).collect();
        if labels.len() < 2 {
            return None;
        }
        if self.task == TaskKind::Regress {
            let values = labels.iter().filter_map(|l| l.parse::<f64>().ok());
            let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
                (l.min(v), h.max(v))
            });
            if high - low <= self.tolerance {
                return None;
            }
        }
        Some(labels)
    }
}

/// Distinct texts that have more than one label in a split (values: that differ at all).
pub(crate) fn conflicting(corpus: &Corpus, task: TaskKind, split: Split) -> usize {
    let strict = Agreement {
        task,
        tolerance: 0.0,
    };
    let texts = corpus.texts.iter();
    texts
        .filter(|t| {
            let rows = t.rows_in(split).filter_map(|at| corpus.row(at));
            t.rows.len() > 1 && strict.disagree(rows).is_some()
        })
        .count()
}

/// Texts with more than one label, within splits and across them.
pub(crate) fn conflicts(corpus: &Corpus, task: TaskKind, most: usize) -> Option<Finding> {
    let agreement = Agreement::of(task, &corpus.parts);
    let mut found = Collected::new(most);
    let mut within: BTreeMap<Split, usize> = BTreeMap::new();
    let mut across = 0;
    for text in corpus.texts.iter().filter(|t| t.rows.len() > 1) {
        let rows = |at: &[At]| -> Vec<&Row> { at.iter().filter_map(|a| corpus.row(*a)).collect() };
        let Some(labels) = agreement.disagree(rows(&text.rows).into_iter()) else {
            continue;
        };
        let mut apart = false;
        for split in Split::ALL {
            let own: Vec<At> = text.rows_in(split).collect();
            if agreement.disagree(rows(&own).into_iter()).is_some() {
                *within.entry(split).or_default() += 1;
                apart = true;
            }
        }
        across += usize::from(!apart);
        found.add(|| Example {
            rows: text.rows.iter().map(|at| corpus.place(*at)).collect(),
            more_rows: 0,
            text: corpus.row(text.rows[0]).map(excerpt).unwrap_or_default(),
            note: Some(match task {
                TaskKind::Tag => format!("{} taggings", labels.len()),
                _ => {
                    let all: Vec<String> = labels.into_iter().collect();
                    format!("labels {}", all.join(", "))
                }
            }),
        });
    }
    let mut where_: Vec<String> = within
        .iter()
        .map(|(split, n)| format!("{n} within {}", split.name()))
        .collect();
    if across > 0 {
        where_.push(format!("{across} only across splits"));
    }
    // What stands in test alone is left there.
    let fixable = across > 0 || within.keys().any(|s| *s != Split::Test);
    found.finding(Kind::Conflict, Severity::Warning, fixable, |n| {
        let what = match task {
            TaskKind::Regress => "texts with values further apart than the tolerance",
            TaskKind::Tag => "texts that are tagged in more than one way",
            TaskKind::MultiLabel => "texts with more than one set of labels",
            TaskKind::Classify => "texts with more than one label",
        };
        format!("{what}: {n} ({})", where_.join(", "))
    })
}

/// Rows by label, in order of number or alphabet.
pub(crate) fn counts(
    parts: &[(Split, &Part)],
    task: TaskKind,
    names: &[String],
) -> Vec<LabelCount> {
    if task == TaskKind::Regress {
        return Vec::new();
    }
    let mut all: BTreeMap<Cow<'_, str>, LabelCount> = BTreeMap::new();
    for (split, part) in parts {
        for row in &part.rows {
            each_label(task, row, |label| {
                let label = canonical(label.trim());
                if label.is_empty() {
                    return;
                }
                let count = all.entry(label.clone()).or_insert_with(|| LabelCount {
                    label: label.into_owned(),
                    train: 0,
                    valid: 0,
                    test: 0,
                });
                *count.of_mut(*split) += 1;
            });
        }
    }
    let mut all: Vec<LabelCount> = all.into_values().collect();
    all.sort_by_key(|c| c.label.parse::<i64>().unwrap_or(i64::MIN));
    for count in &mut all {
        let name = count.label.parse::<usize>().ok().and_then(|n| names.get(n));
        if let Some(name) = name {
            count.label = format!("{} ({name})", count.label);
        }
    }
    all
}

/// Labels whose spellings differ only in [`ALIKE`]: the form they share, and its spellings by rows.
pub(crate) fn spellings(
    parts: &[(Split, &Part)],
    task: TaskKind,
) -> BTreeMap<String, BTreeMap<String, usize>> {
    let mut forms: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    if task == TaskKind::Regress {
        return forms;
    }
    for row in parts.iter().flat_map(|(_, p)| &p.rows) {
        each_label(task, row, |label| {
            let form = folded(label);
            if !form.is_empty() {
                let spellings = forms.entry(form).or_default();
                *spellings.entry(label.to_owned()).or_default() += 1;
            }
        });
    }
    forms.retain(|_, spellings| spellings.len() > 1);
    forms
}

/// A label without case, superfluous space and zeros before a number, its accents composed.
pub(crate) fn folded(label: &str) -> String {
    let composed = composed(label);
    let words: Vec<&str> = composed.split_whitespace().collect();
    let form = words.join(" ").to_lowercase();
    match form.trim_start_matches('0') {
        "" if is_code(&form) => "0".to_owned(),
        number if is_code(&form) => number.to_owned(),
        _ => form,
    }
}

/// The spelling to keep: of most rows, without outer space; of equally frequent ones the first of the alphabet.
pub(crate) fn chosen(spellings: &BTreeMap<String, usize>) -> String {
    let mut trimmed: BTreeMap<String, usize> = BTreeMap::new();
    for (spelling, n) in spellings {
        let words: Vec<&str> = spelling.split_whitespace().collect();
        *trimmed.entry(words.join(" ")).or_default() += n;
    }
    let best = trimmed
        .into_iter()
        .max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(&a.0)));
    best.map(|b| b.0).unwrap_or_default()
}

/// `"True" 3×, "true" 1×`.
pub(super) fn counted(spellings: &BTreeMap<String, usize>) -> String {
    let each = spellings.iter().map(|(s, n)| format!("{s:?} {n}×"));
    each.collect::<Vec<_>>().join(", ")
}

/// Whether so many labels with a single training row, of so many that training rows have, look like names or numbers of
/// rows: half of them, and not two rows in all.
pub(super) fn look_like_names(lone: usize, labels: usize) -> bool {
    labels > 2 && 2 * lone >= labels
}

/// Labels that stand on one training row: nothing tells what they have in common with another.
fn lone(task: TaskKind, counts: &[LabelCount], most: usize) -> Option<Finding> {
    if task == TaskKind::Tag {
        return None;
    }
    let mut found = Collected::new(most);
    for count in counts.iter().filter(|c| c.train == 1) {
        found.add(|| Example {
            rows: Vec::new(),
            more_rows: 0,
            text: count.label.clone(),
            note: None,
        });
    }
    let labels = counts.iter().filter(|c| c.train > 0).count();
    let names = look_like_names(counts.iter().filter(|c| c.train == 1).count(), labels);
    let (severity, asked) = match names {
        true => (Severity::Warning, ": are these labels (--label-column)?"),
        false => (Severity::Note, ""),
    };
    found.finding(Kind::LoneLabel, severity, false, |n| {
        format!("labels of {labels} that a single training row has{asked}: {n}")
    })
}

/// Where a label of `--task multilabel` looks like several: a line that says so of each part that has one.
pub(super) fn joined(parts: &[(Split, &Part)], task: TaskKind) -> Vec<String> {
    let said = |(_, part): &(Split, &Part)| {
        let (line, label) = unparted(&part.rows)?;
        Some(format!(
            "labels that look like several and are read as one: {label:?} (line {line} of {}); part them by |, or write \
             JSON lines with lists",
            part.path.display()
        ))
    };
    match task {
        TaskKind::MultiLabel => parts.iter().filter_map(said).collect(),
        _ => Vec::new(),
    }
}

/// All that is to be said about the set of labels.
pub(crate) fn findings(
    parts: &[(Split, &Part)],
    task: TaskKind,
    names: &[String],
    counts: &[LabelCount],
    most: usize,
) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut unnamed = Collected::new(most);
    for count in counts.iter().filter(|_| !names.is_empty()) {
        let number = count.label.parse::<i64>();
        if number.is_ok_and(|n| n < 0 || n >= names.len() as i64) {
            unnamed.add(|| Example {
                rows: Vec::new(),
                more_rows: 0,
                text: count.label.clone(),
                note: None,
            });
        }
    }
    out.extend(
        unnamed.finding(Kind::LabelMissing, Severity::Warning, false, |n| {
            format!(
                "labels that labels.txt does not name: {n} (it names 0 to {})",
                names.len() - 1
            )
        }),
    );
    let mut varied = Collected::new(most);
    for spellings in spellings(parts, task).values() {
        varied.add(|| Example {
            rows: Vec::new(),
            more_rows: 0,
            text: counted(spellings),
            note: None,
        });
    }
    out.extend(varied.finding(
        Kind::LabelSpelling,
        Severity::Warning,
        task != TaskKind::Tag,
        |n| format!("labels with spellings that differ only in {ALIKE}: {n}"),
    ));

    out.extend(joined(parts, task).into_iter().map(|what| Finding {
        kind: Kind::JoinedLabels,
        severity: Severity::Warning,
        count: 1,
        what,
        examples: Vec::new(),
        examples_left_out: 0,
        fixable: false,
    }));

    let present: Vec<Split> = parts.iter().map(|p| p.0).collect();
    let mut none = Collected::new(most);
    // A part without any label is left as it is.
    let mut fixable = false;
    for (split, part) in parts {
        let labelled = part.rows.iter().filter(|r| label_of(r, task).is_some());
        fixable |= (1..part.rows.len()).contains(&labelled.count());
        for row in &part.rows {
            if label_of(row, task).is_none() {
                none.add(|| Example {
                    rows: vec![Place {
                        split: *split,
                        line: row.line,
                    }],
                    more_rows: 0,
                    text: excerpt(row),
                    note: None,
                });
            }
        }
    }
    // Rows that another task would read are not lost for want of a label.
    let sets = parts.iter().find_map(|(_, part)| match task {
        TaskKind::Classify => empty_set(&part.rows),
        _ => None,
    });
    fixable &= sets.is_none();
    out.extend(
        none.finding(Kind::NoLabel, Severity::Warning, fixable, |n| {
            let what = match task {
                TaskKind::Regress => "rows without a number to learn",
                TaskKind::MultiLabel => "rows without a label, or with one that has no name",
                TaskKind::Classify | TaskKind::Tag => "rows without a label",
            };
            let told = sets.map_or(String::new(), |told| format!("; {told}"));
            format!("{what}: {n}{told}")
        }),
    );

    let only = match task {
        TaskKind::Classify => Some("every training row has the same label; nothing can be learnt"),
        TaskKind::Tag => Some("every training word has the same tag; nothing can be learnt"),
        TaskKind::MultiLabel | TaskKind::Regress => None,
    };
    if let (Some(what), 1) = (only, counts.iter().filter(|c| c.train > 0).count()) {
        out.push(Finding {
            kind: Kind::OneLabel,
            severity: Severity::Warning,
            count: 1,
            what: what.to_owned(),
            examples: Vec::new(),
            examples_left_out: 0,
            fixable: false,
        });
    }
    for split in present.iter().copied().filter(|s| *s != Split::Train) {
        let lacks = |a: Split, b: Split| -> Vec<&LabelCount> {
            let counted = counts.iter();
            counted.filter(|c| c.of(a) > 0 && c.of(b) == 0).collect()
        };
        let only = |labels: &[&LabelCount], of: Split, severity, what: String| {
            let mut found = Collected::new(most);
            for c in labels {
                found.add(|| Example {
                    rows: Vec::new(),
                    more_rows: 0,
                    text: format!("{} ({} rows)", c.label, c.of(of)),
                    note: None,
                });
            }
            found.finding(Kind::LabelMissing, severity, false, |n| {
                format!("{what}: {n}")
            })
        };
        let unknown = lacks(split, Split::Train);
        let what = format!(
            "labels of {} that train lacks (their rows count as wrong)",
            split.name()
        );
        out.extend(only(&unknown, split, Severity::Warning, what));
        let absent = lacks(Split::Train, split);
        let what = format!("labels of train that {} lacks", split.name());
        out.extend(only(&absent, Split::Train, Severity::Note, what));
    }
    out.extend(lone(task, counts, most));
    out.extend(uneven(task, counts));
    out
}

fn uneven(task: TaskKind, counts: &[LabelCount]) -> Option<Finding> {
    let total: usize = counts.iter().map(|c| c.train).sum();
    let seen = || counts.iter().filter(|c| c.train > 0);
    let most = seen().max_by_key(|c| c.train)?;
    let least = seen().min_by_key(|c| c.train)?;
    let ratio = most.train as f64 / least.train as f64;
    // That most words of a tagged text carry no entity is no fault.
    (ratio >= UNEVEN && task != TaskKind::Tag).then(|| Finding {
        kind: Kind::Imbalance,
        severity: Severity::Note,
        count: 1,
        what: format!(
            "label {} has {ratio:.0} times as many training rows as {} ({} and {}); the majority alone reaches {:.3}: \
             look at macro-F1, consider --class-weights auto",
            most.label,
            least.label,
            most.train,
            least.train,
            most.train as f64 / total as f64
        ),
        examples: Vec::new(),
        examples_left_out: 0,
        fixable: false,
    })
}
