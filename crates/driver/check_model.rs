//! The part of `hone check` that needs a model: what its tokenizer makes of the texts, and whether its frozen features
//! say more than words.

use crate::check::Splits;
use crate::progress::Stage;
use crate::settings;
use anyhow::Result;
use hone_bert::{Config, HeadChoice, Model};
use hone_data::check::{Example, Finding, Kind, Place, Severity, Split, text_key};
use hone_data::{
    Cell, LabelSet, Labels, Part, Row, TaskKind, Tokenizer, Truncate, are_pairs, stratified_split,
};
use hone_experiment::{FOLDS, Probe, ProbeReport, Verdict};
use hone_kernels::Backend;
use hone_train::{EvalBatches, Pool, Tokenising, Wanted, features_each, unlabelled};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Share of unknown words from which it is said.
const UNKNOWN: f64 = 0.01;
/// Pieces a word from which the vocabulary is called foreign; English prose has about 1.2 under BERT's own.
const PIECES: f64 = 2.0;

/// What is asked.
pub struct Ask<'a> {
    pub name: &'a str,
    pub folder: &'a Path,
    pub splits: &'a Splits,
    pub max_length: Option<usize>,
    pub truncate: Truncate,
    pub probe_rows: usize,
    pub seed: u64,
    pub threads: usize,
}

/// What a label's texts lose.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Lost {
    /// As written.
    pub label: String,
    /// Texts.
    pub texts: usize,
    /// Texts that are cut.
    pub cut_texts: usize,
    /// Word pieces of all texts, before cutting.
    pub pieces: usize,
    /// Word pieces lost.
    pub lost_pieces: usize,
}

/// What the tokenizer makes of a split.
#[derive(Debug, Clone, Serialize)]
pub struct TokenReport {
    pub split: Split,
    /// Words, as the tokenizer splits them.
    pub words: usize,
    /// Word pieces before cutting, special ones left out.
    pub pieces: usize,
    pub pieces_per_word: f64,
    pub unknown_pieces: usize,
    /// Unknown pieces a word.
    pub unknown_rate: f64,
    pub cut_texts: usize,
    pub lost_pieces: usize,
    /// By label; one line for all where a text has no single label.
    pub by_label: Vec<Lost>,
}

/// Fit of tokenizer and model.
#[derive(Debug, Clone, Serialize)]
pub struct ModelReport {
    pub name: String,
    pub max_length: usize,
    pub tokens: Vec<TokenReport>,
    pub probe: Option<ProbeReport>,
    /// One sentence on what the probe says.
    pub verdict: Option<String>,
    #[serde(skip)]
    pub not_checked: Vec<String>,
}

/// Runs it.
pub fn run<B: Backend>(
    backend: Arc<B>,
    ask: &Ask<'_>,
    stage: &Stage,
) -> Result<(ModelReport, Vec<Finding>)> {
    let config = Config::read(&Config::path_in(ask.folder))?;
    let tokenizer = Tokenizer::load(ask.folder, config.vocabulary)?;
    let max_length = settings::max_length(ask.max_length, &config)?;
    let how = Tokenising {
        tokenizer: &tokenizer,
        max_length,
        truncate: ask.truncate,
    };
    let mut report = ModelReport {
        name: ask.name.to_owned(),
        max_length,
        tokens: Vec::new(),
        probe: None,
        verdict: None,
        not_checked: Vec::new(),
    };
    let mut findings = Vec::new();
    let parts = ask.splits.all();
    for (n, (split, part)) in parts.iter().enumerate() {
        stage.at("tokenising", n as f64 / parts.len() as f64);
        let (tokens, found) = tokenise(*split, part, ask.splits.task, how)?;
        report.tokens.push(tokens);
        findings.extend(found);
    }
    match probe(backend, ask, how, stage)? {
        Ok(probe) => {
            let (sentence, finding) = judge(ask.name, &probe);
            report.verdict = Some(sentence);
            findings.extend(finding);
            report.probe = Some(probe);
        }
        Err(why) => report.not_checked.push(format!("the linear probe: {why}")),
    }
    Ok((report, findings))
}

fn single_label(row: &Row, task: TaskKind) -> Option<&str> {
    match (&row.label, task) {
        (Cell::Text(t), TaskKind::Classify) => Some(t.trim()),
        _ => None,
    }
}

/// Whether a row has what the task learns from.
fn has_label(row: &Row, task: TaskKind) -> bool {
    match (&row.label, task) {
        (Cell::Text(t), TaskKind::Regress) => t.trim().parse::<f32>().is_ok_and(f32::is_finite),
        (Cell::Text(t), TaskKind::Classify) => !t.trim().is_empty(),
        (label, TaskKind::MultiLabel) => *label != Cell::None,
        _ => false,
    }
}

/// Rows tokenised at a time, so that the pieces of a whole set are never held.
const CHUNK: usize = 4096;

fn tokenise(
    split: Split,
    part: &Part,
    task: TaskKind,
    how: Tokenising<'_>,
) -> Result<(TokenReport, Vec<Finding>)> {
    let kind = hone_train::task_of(task);
    let mut by_label: BTreeMap<&str, Lost> = BTreeMap::new();
    let (mut words, mut unknown) = (0, 0);
    let mut longest: Vec<(u32, usize)> = Vec::new();
    for (n, rows) in part.rows.chunks(CHUNK).enumerate() {
        let (examples, receipt) = unlabelled(rows, kind, how)?;
        words += receipt.words;
        unknown += receipt.unknown_tokens;
        for (i, row) in rows.iter().enumerate() {
            let special = if row.text_b.is_some() { 3 } else { 2 };
            let lost = examples.truncated()[i];
            let label = single_label(row, task).unwrap_or("all");
            let entry = by_label.entry(label).or_default();
            entry.texts += 1;
            entry.cut_texts += usize::from(lost > 0);
            entry.pieces += examples.length(i).saturating_sub(special) + lost as usize;
            entry.lost_pieces += lost as usize;
            if lost > 0 {
                longest.push((lost, n * CHUNK + i));
            }
        }
    }
    let by_label: Vec<Lost> = by_label
        .into_iter()
        .map(|(label, lost)| Lost {
            label: label.to_owned(),
            ..lost
        })
        .collect();
    let sum = |f: fn(&Lost) -> usize| by_label.iter().map(f).sum::<usize>();
    let (texts, pieces) = (sum(|l| l.texts), sum(|l| l.pieces));
    let report = TokenReport {
        split,
        words,
        pieces,
        pieces_per_word: pieces as f64 / words.max(1) as f64,
        unknown_pieces: unknown,
        unknown_rate: unknown as f64 / words.max(1) as f64,
        cut_texts: sum(|l| l.cut_texts),
        lost_pieces: sum(|l| l.lost_pieces),
        by_label,
    };
    let mut findings = Vec::new();
    let mut say = |kind, severity, count, what, examples| {
        findings.push(Finding {
            kind,
            severity,
            count,
            what,
            examples,
            examples_left_out: 0,
            fixable: false,
        });
    };
    if report.cut_texts > 0 {
        longest.sort_by_key(|&(lost, row)| (std::cmp::Reverse(lost), row));
        let examples = longest
            .iter()
            .take(3)
            .map(|&(lost, i)| Example {
                rows: vec![Place {
                    split,
                    line: part.rows[i].line,
                }],
                more_rows: 0,
                text: part.rows[i].text.chars().take(60).collect(),
                note: Some(format!("{lost} pieces lost")),
            })
            .collect();
        let what = format!(
            "{} of {texts} texts of {} are longer than {} pieces and lose {:.1} % of all pieces",
            report.cut_texts,
            split.name(),
            how.max_length,
            100.0 * report.lost_pieces as f64 / pieces.max(1) as f64
        );
        say(
            Kind::TooLong,
            Severity::Note,
            report.cut_texts,
            what,
            examples,
        );
    }
    if report.unknown_rate > UNKNOWN {
        let what = format!(
            "{:.1} % of the words of {} hold a piece that the model's vocabulary does not know",
            100.0 * report.unknown_rate,
            split.name()
        );
        say(
            Kind::UnknownWords,
            Severity::Warning,
            unknown,
            what,
            Vec::new(),
        );
    }
    if report.pieces_per_word > PIECES {
        let what = format!(
            "a word of {} falls into {:.2} pieces on average: the vocabulary was made for another language or field",
            split.name(),
            report.pieces_per_word
        );
        say(
            Kind::ManyPieces,
            Severity::Warning,
            pieces,
            what,
            Vec::new(),
        );
    }
    Ok((report, findings))
}

/// The probe, or why there is none.
fn probe<B: Backend>(
    backend: Arc<B>,
    ask: &Ask<'_>,
    how: Tokenising<'_>,
    stage: &Stage,
) -> Result<std::result::Result<ProbeReport, String>> {
    if ask.probe_rows == 0 {
        return Ok(Err("left out (--probe-rows 0)".to_owned()));
    }
    let task = ask.splits.task;
    if task == TaskKind::Tag {
        return Ok(Err(
            "it answers texts, and these labels are of words".to_owned()
        ));
    }
    let whole = ask.splits.train();
    let pairs = are_pairs(&whole.rows);
    let usable = |row: &&Row| !row.lacks_text(pairs) && has_label(row, task);
    let mut part = whole.clone_empty();
    part.rows = whole.rows.iter().filter(usable).cloned().collect();
    for row in &mut part.rows {
        if let Cell::Text(label) = &mut row.label {
            *label = label.trim().to_owned();
        }
    }
    let set = match LabelSet::of(&part, task, &ask.splits.names) {
        Ok(set) => set,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let labels = match set.labels(&part, task, &ask.splits.names) {
        Ok((labels, _)) => labels,
        Err(error) => return Ok(Err(error.to_string())),
    };
    // A stratified part of the rows, in the file's order.
    let chosen: Vec<u32> = match part.rows.len() > ask.probe_rows {
        false => (0..part.rows.len() as u32).collect(),
        true => {
            let share = ask.probe_rows as f64 / part.rows.len() as f64;
            let keys = vec![Vec::new(); part.rows.len()];
            let classes = labels.spread((1.0 / share).ceil() as usize);
            let mut rows = stratified_split(&keys, &classes, share, ask.seed).1;
            rows.truncate(ask.probe_rows);
            rows
        }
    };
    let (wanted, outputs) = match wanted(labels, &chosen, set.names().len()) {
        Some(found) if chosen.len() >= 2 * FOLDS => found,
        _ => {
            return Ok(Err(format!(
                "it needs at least two labels and {} rows that have them",
                2 * FOLDS
            )));
        }
    };
    let rows: Vec<Row> = chosen
        .iter()
        .map(|&r| part.rows[r as usize].clone())
        .collect();
    let names = set.names().to_vec();
    stage.at("frozen features", 0.0);
    let kind = hone_train::task_of(task);
    let (model, _) = Model::load(
        backend,
        ask.folder,
        kind,
        names.clone(),
        &HeadChoice::New,
        0,
    )?;
    let (examples, _) = unlabelled(&rows, kind, how)?;
    let total = examples.tokens().max(1) as f64;
    let pools = [Pool::Mean, Pool::Cls];
    let features = features_each(&model, &examples, &pools, EvalBatches::USUAL, |rows| {
        let done: usize = (0..rows).map(|i| examples.length(i)).sum();
        stage.at("frozen features", done as f64 / total);
        true
    })?;
    let Some(features) = features else {
        return Ok(Err("it was stopped".to_owned()));
    };
    let texts: Vec<String> = rows
        .iter()
        .map(|r| match &r.text_b {
            Some(b) => format!("{} {b}", r.text),
            None => r.text.clone(),
        })
        .collect();
    let keys: Vec<Vec<String>> = rows.iter().map(|r| vec![text_key(r)]).collect();
    let probe = Probe {
        texts: &texts,
        wanted: &wanted,
        outputs,
        keys: &keys,
        features: &[("mean over tokens", &features[0]), ("[CLS]", &features[1])],
        seed: ask.seed,
    };
    Ok(Ok(probe.run(ask.threads, |share| {
        stage.at("linear probe", share)
    })?))
}

/// What the chosen rows should be answered with, and how many outputs that takes; `None` where all have the same answer.
fn wanted(labels: Labels, chosen: &[u32], names: usize) -> Option<(Wanted, usize)> {
    let chosen = chosen.iter().map(|&r| r as usize);
    match labels {
        Labels::Classes(all) => {
            let classes: Vec<usize> = chosen.map(|r| all[r].unwrap_or(0) as usize).collect();
            let two = classes.iter().any(|c| *c != classes[0]);
            two.then_some((Wanted::Classes(classes), names))
        }
        Labels::Sets { sets: all, .. } => {
            let sets: Vec<Vec<u32>> = chosen.map(|r| all[r].clone()).collect();
            let two = sets.iter().any(|s| *s != sets[0]);
            two.then_some((Wanted::Sets(sets), names))
        }
        Labels::Values(all) => {
            let values: Vec<f64> = chosen.map(|r| f64::from(all[r])).collect();
            let two = values.iter().any(|v| *v != values[0]);
            two.then(|| (Wanted::values(values.into_iter()).0, 1))
        }
        Labels::Tags(_) => None,
    }
}

/// What a probe says, in one sentence, and a finding where it is bad news.
fn judge(name: &str, probe: &ProbeReport) -> (String, Option<Finding>) {
    let [low, high] = probe.difference_interval;
    let difference = format!(
        "{} {:+.3} [{low:+.3}, {high:+.3}] on {} rows",
        probe.measure.name(),
        probe.difference,
        probe.rows
    );
    let warn = |what: &str| Finding {
        kind: Kind::TaskMismatch,
        severity: Severity::Warning,
        count: 1,
        what: what.to_owned(),
        examples: Vec::new(),
        examples_left_out: 0,
        fixable: false,
    };
    match probe.verdict {
        Verdict::Fits => {
            let text = format!("frozen features of {name} tell more than words do: {difference}");
            (text, None)
        }
        Verdict::TaskMismatch => {
            let text = format!(
                "task mismatch: frozen features of {name} tell less than TF-IDF does ({difference}), so they were not \
                 made for what these labels ask; fine-tuning may still make up for it: compare the trained model with \
                 TF-IDF, or try one trained on texts like these"
            );
            let finding = warn(&text);
            (text, Some(finding))
        }
        Verdict::NoDifferenceShown => {
            let text = format!(
                "no difference between frozen features of {name} and TF-IDF could be shown ({difference}): no mismatch \
                 is proven, and no fit; more --probe-rows would tell more"
            );
            (text, None)
        }
        Verdict::NothingLearnt => {
            let text = format!(
                "neither frozen features of {name} nor TF-IDF could be shown to beat the {} ({difference} \
                 between them): these rows do not tell whether the model fits; judge by a trained one",
                probe.measure.usual()
            );
            (text, None)
        }
    }
}
