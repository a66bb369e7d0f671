//! A cleaned copy of a data set, and the list of what was changed (`--fix`).
//!
//! In this order: texts of all splits are repaired (encoding, entities, markup, control characters, outer space;
//! tagged words stay as they are); label spellings that differ only in case, space, composed accents or leading zeros
//! become the most frequent one; rows without a text or a label go, pairs without one of their texts too; validation rows
//! whose text stands in test go, training rows whose text stands in validation or test; training and validation texts
//! with more than one label go with all their rows, since nobody can say which is right; of equal rows the first stays.
//! Test rows go only where they cannot be read at all, so that figures stay comparable. Near duplicates are left to the
//! user's judgement.

use super::corpus::{At, group};
use super::labels::{Agreement, chosen, folded, label_of, spellings};
use super::naming::{lent, numbered};
use super::quality;
use super::report::{Place, Split};
use super::rewrite::{Rewriter, extension};
use crate::labels::parts as label_parts;
use crate::{
    Cell, Columns, DataError, Part, TaskKind, are_pairs, label_names, numbering, sha256_file,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A data set to clean, read [as it is](crate::read_as_is).
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The splits.
    pub parts: &'a [(Split, &'a Part)],
    /// How they were read.
    pub columns: &'a Columns,
    /// What the labels ask for.
    pub task: TaskKind,
    /// `labels.txt`, which goes with the copy.
    pub labels: Option<&'a Path>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Fixed {
    /// The copy, a data folder.
    pub folder: PathBuf,
    /// The list of changes, one JSON object a line.
    pub changes: PathBuf,
    /// Rows by split before and after.
    pub rows: Vec<(Split, usize, usize)>,
    /// Rows dropped, by reason.
    pub dropped: BTreeMap<&'static str, usize>,
    /// Texts repaired, by what was done (a text may count for several).
    pub repaired: BTreeMap<&'static str, usize>,
    /// Rows whose label is spelt anew.
    pub relabelled: usize,
}

/// A row's fate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edit {
    pub text: Option<String>,
    pub text_b: Option<String>,
    pub label: Option<Cell>,
    pub dropped: bool,
}

/// Writes the cleaned copy of `source` as the new folder `out`, which must not exist yet or be empty.
pub fn fix(source: &Source<'_>, out: &Path) -> Result<Fixed, DataError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| DataError::Io { path, source }
    };
    let taken = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => out.exists(),
    };
    if taken {
        return Err(DataError::Folder {
            path: out.to_owned(),
            reason: "this is not empty; a cleaned copy needs a folder of its own".to_owned(),
        });
    }
    let names = match (source.labels, source.task) {
        (Some(path), TaskKind::Classify | TaskKind::MultiLabel) => label_names(path)?,
        _ => Vec::new(),
    };
    let train = source.parts.iter().find(|(s, _)| *s == Split::Train);
    let names = match train {
        Some((_, train)) => numbering(train, source.task, &names)?,
        None => &names,
    };
    // Lines are copied from the files: they must be those that were checked.
    for (_, part) in source.parts {
        if sha256_file(&part.path)? != part.sha256 {
            return Err(DataError::Option(format!(
                "{}: this file has changed since it was read; check it again",
                part.path.display()
            )));
        }
    }
    let mut plan = Plan::new(source, names);
    plan.repair();
    plan.respell();
    plan.drop_unreadable();
    plan.drop_alike();
    for (split, part) in source.parts {
        let kept = plan.edits[split].iter().filter(|e| !e.dropped).count();
        if kept == 0 && !part.rows.is_empty() {
            return Err(DataError::Option(format!(
                "{}: nothing would be left of {}",
                part.path.display(),
                split.name()
            )));
        }
    }

    // Everything is written beside and moved into place as a whole. A folder of that name is somebody else's: what an
    // earlier, interrupted copy left has its process's number in it.
    let out: PathBuf = out.components().collect();
    let Some(name) = out.file_name().map(|n| n.to_string_lossy().into_owned()) else {
        return Err(DataError::Folder {
            path: out,
            reason: "a folder with a name of its own was expected".to_owned(),
        });
    };
    let beside = out.with_file_name(format!(".{name}.{}.part", std::process::id()));
    if let Some(parent) = beside.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(io(parent))?;
    }
    fs::create_dir(&beside).map_err(io(&beside))?;
    let mut rows = Vec::new();
    for (split, part) in source.parts {
        let edits = &plan.edits[split];
        let name = format!("{}.{}", split.name(), extension(&part.path));
        let rewriter = Rewriter {
            part,
            columns: source.columns,
            edits,
        };
        rewriter.write(&beside.join(name))?;
        let kept = edits.iter().filter(|e| !e.dropped).count();
        rows.push((*split, part.rows.len(), kept));
    }
    if let Some(labels) = source.labels {
        let to = beside.join("labels.txt");
        fs::copy(labels, &to).map_err(io(labels))?;
    }
    let list = beside.join("changes.jsonl");
    let mut writer = BufWriter::new(fs::File::create(&list).map_err(io(&list))?);
    for change in &plan.changes {
        writeln!(writer, "{change}").map_err(io(&list))?;
    }
    writer.flush().map_err(io(&list))?;
    if out.exists() {
        fs::remove_dir(&out).map_err(io(&out))?;
    }
    fs::rename(&beside, &out).map_err(io(&out))?;
    Ok(Fixed {
        changes: out.join("changes.jsonl"),
        folder: out,
        rows,
        dropped: plan.dropped,
        repaired: plan.repaired,
        relabelled: plan.relabelled,
    })
}

struct Plan<'a> {
    source: &'a Source<'a>,
    /// What `labels.txt` calls numbers.
    names: &'a [String],
    /// The rows as they will be; those that are dropped have no text any more.
    now: Vec<(Split, Part)>,
    edits: BTreeMap<Split, Vec<Edit>>,
    changes: Vec<Value>,
    dropped: BTreeMap<&'static str, usize>,
    repaired: BTreeMap<&'static str, usize>,
    relabelled: usize,
}

impl<'a> Plan<'a> {
    fn new(source: &'a Source<'a>, names: &'a [String]) -> Self {
        Plan {
            source,
            names,
            now: source
                .parts
                .iter()
                .map(|(s, p)| (*s, (*p).clone()))
                .collect(),
            edits: source
                .parts
                .iter()
                .map(|(s, p)| (*s, vec![Edit::default(); p.rows.len()]))
                .collect(),
            changes: Vec::new(),
            dropped: BTreeMap::new(),
            repaired: BTreeMap::new(),
            relabelled: 0,
        }
    }

    /// A line of the list.
    fn change(&mut self, what: &str, split: Split, row: usize, facts: Value) {
        let part = self.source.parts.iter().find(|(s, _)| *s == split);
        let mut line = Map::new();
        line.insert("what".into(), json!(what));
        if let Some((_, part)) = part {
            line.insert("file".into(), json!(part.path.display().to_string()));
            line.insert("split".into(), json!(split));
            line.insert("line".into(), json!(part.rows[row].line));
        }
        if let Value::Object(facts) = facts {
            line.extend(facts);
        }
        self.changes.push(Value::Object(line));
    }

    fn repair(&mut self) {
        for p in 0..self.now.len() {
            let split = self.now[p].0;
            for i in 0..self.now[p].1.rows.len() {
                if !self.now[p].1.rows[i].words.is_empty() {
                    continue;
                }
                for second in [false, true] {
                    let row = &mut self.now[p].1.rows[i];
                    let text = match second {
                        false => &mut row.text,
                        true => match &mut row.text_b {
                            Some(b) => b,
                            None => continue,
                        },
                    };
                    let Some((new, steps)) = quality::repair(text) else {
                        continue;
                    };
                    let before = std::mem::replace(text, new.clone());
                    for step in &steps {
                        *self.repaired.entry(step).or_default() += 1;
                    }
                    let column = if second { "text_b" } else { "text" };
                    let facts = json!({
                        "column": column, "how": steps, "before": before, "after": new,
                    });
                    self.change("repaired", split, i, facts);
                    if let Some(edit) = self.edits.get_mut(&split).map(|e| &mut e[i]) {
                        match second {
                            false => edit.text = Some(new),
                            true => edit.text_b = Some(new),
                        }
                    }
                }
            }
        }
    }

    fn respell(&mut self) {
        let forms = spellings(self.source.parts, self.source.task);
        let keep: HashMap<String, String> = forms
            .into_iter()
            .map(|(form, spellings)| (form, chosen(&spellings)))
            .collect();
        if keep.is_empty() || self.source.task == TaskKind::Tag {
            return;
        }
        let new = |label: &str| {
            let known = keep.get(&folded(label));
            known.map_or(label.to_owned(), String::clone)
        };
        for p in 0..self.now.len() {
            let split = self.now[p].0;
            for i in 0..self.now[p].1.rows.len() {
                let old = self.now[p].1.rows[i].label.clone();
                let label = match (&old, self.source.task) {
                    (Cell::Text(t), TaskKind::MultiLabel) => {
                        let changed = label_parts(t).any(|l| new(l) != l);
                        let all: Vec<String> = label_parts(t).map(&new).collect();
                        match changed {
                            true => Cell::Text(all.join("|")),
                            false => continue,
                        }
                    }
                    (Cell::Text(t), _) => Cell::Text(new(t)),
                    (Cell::List(all), _) => Cell::List(all.iter().map(|l| new(l)).collect()),
                    (Cell::None | Cell::Tags(_), _) => continue,
                };
                if label == old {
                    continue;
                }
                let show = |cell: &Cell| match cell {
                    Cell::Text(t) => json!(t),
                    Cell::List(all) | Cell::Tags(all) => json!(all),
                    Cell::None => Value::Null,
                };
                let facts = json!({"before": show(&old), "after": show(&label)});
                self.change("relabelled", split, i, facts);
                self.relabelled += 1;
                self.now[p].1.rows[i].label = label.clone();
                if let Some(edit) = self.edits.get_mut(&split).map(|e| &mut e[i]) {
                    edit.label = Some(label);
                }
            }
        }
    }

    fn drop_row(&mut self, at: At, why: &'static str, of: Option<Place>) {
        let Some((_, part)) = self.now.iter_mut().find(|(s, _)| *s == at.split) else {
            return;
        };
        let i = at.row as usize;
        let row = &mut part.rows[i];
        let mut facts = Map::new();
        facts.insert("why".into(), json!(why));
        if let Some(of) = of {
            facts.insert("of".into(), json!(of.to_string()));
        }
        facts.insert("before".into(), json!(row.text));
        row.text.clear();
        row.text_b = None;
        *self.dropped.entry(why).or_default() += 1;
        if let Some(edit) = self.edits.get_mut(&at.split).map(|e| &mut e[i]) {
            edit.dropped = true;
        }
        self.change("dropped", at.split, i, Value::Object(facts));
    }

    fn drop_unreadable(&mut self) {
        let task = self.source.task;
        let mut gone = Vec::new();
        for (split, part) in &self.now {
            let pairs = are_pairs(&part.rows);
            let labelled = part.rows.iter().any(|r| label_of(r, task).is_some());
            for (row, i) in part.rows.iter().zip(0u32..) {
                let at = At {
                    split: *split,
                    row: i,
                };
                if row.lacks_text(pairs) {
                    gone.push((at, "no text"));
                } else if labelled && label_of(row, task).is_none() {
                    gone.push((at, "no label"));
                }
            }
        }
        for (at, why) in gone {
            self.drop_row(at, why, None);
        }
    }

    fn drop_alike(&mut self) {
        let parts: Vec<(Split, &Part)> = self.now.iter().map(|(s, p)| (*s, p)).collect();
        let seen = numbered(&parts, self.source.task, self.names);
        let parts = lent(&seen);
        let agreement = Agreement::of(self.source.task, &parts);
        let row = |at: At| {
            let part = parts.iter().find(|(s, _)| *s == at.split);
            part.map(|(_, p)| &p.rows[at.row as usize])
        };
        let place = |at: At| Place {
            split: at.split,
            line: row(at).map_or(0, |r| r.line),
        };
        let mut gone = Vec::new();
        for rows in group(&parts).iter().filter(|g| g.len() > 1) {
            let of = |split: Split| rows.iter().copied().filter(move |at| at.split == split);
            // The later split keeps its rows.
            let mut later: Option<At> = of(Split::Test).next();
            for split in [Split::Valid, Split::Train] {
                let own: Vec<At> = of(split).collect();
                if let Some(kept) = later {
                    let why = "stands in a later split";
                    gone.extend(own.iter().map(|&at| (at, why, Some(place(kept)))));
                    continue;
                }
                later = own.first().copied();
                let labels = own.iter().filter_map(|&at| row(at));
                if agreement.disagree(labels).is_some() {
                    let why = "more than one label";
                    gone.extend(own.iter().map(|&at| (at, why, None)));
                } else {
                    let first = own.first().map(|&at| place(at));
                    gone.extend(own.iter().skip(1).map(|&at| (at, "duplicate", first)));
                }
            }
        }
        gone.sort_by_key(|g| g.0);
        for (at, why, of) in gone {
            self.drop_row(at, why, of);
        }
    }
}
