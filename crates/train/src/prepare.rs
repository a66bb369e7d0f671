//! From rows of files to tokenised examples, with a receipt of what was cut and what was not known.

use crate::examples::{Examples, Targets};
use hone_bert::Task;
use hone_data::{Cell, DataError, LabelSet, Labels, Part, Row, TaskKind, Tokenizer, Truncate};
use serde::Serialize;
use std::collections::BTreeMap;

/// Labels that are named where texts are cut: those that lost most.
const SHOWN: usize = 8;

/// What became of a part's texts.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TextReceipt {
    /// Texts (or pairs).
    pub texts: usize,
    /// Word pieces kept, special ones included.
    pub tokens: usize,
    /// Texts that lost word pieces to `--max-length`.
    pub truncated_texts: usize,
    /// Word pieces lost.
    pub truncated_tokens: usize,
    /// Texts and word pieces lost by label.
    pub truncated_by_label: BTreeMap<String, (usize, usize)>,
    /// Word pieces that the vocabulary does not know.
    pub unknown_tokens: usize,
    /// Words, as the tokenizer splits them.
    pub words: usize,
    /// Rows by label that the model does not know.
    pub unknown_labels: BTreeMap<String, usize>,
}

impl TextReceipt {
    /// What a user should hear, a line each; nothing where nothing was lost.
    pub fn lines(&self, part: &str) -> Vec<String> {
        let mut lines = Vec::new();
        if self.truncated_texts > 0 {
            let mut labels: Vec<_> = self.truncated_by_label.iter().collect();
            labels.sort_by_key(|(_, lost)| std::cmp::Reverse(lost.1));
            let left_out = labels.len().saturating_sub(SHOWN);
            let mut by: Vec<String> = labels
                .iter()
                .take(SHOWN)
                .map(|(label, (texts, tokens))| format!("{label}: {texts} texts, {tokens} pieces"))
                .collect();
            if left_out > 0 {
                by.push(format!("{left_out} more labels"));
            }
            lines.push(format!(
                "{part}: {} of {} texts are longer than --max-length and lost {} word pieces ({})",
                self.truncated_texts,
                self.texts,
                self.truncated_tokens,
                by.join("; ")
            ));
        }
        let share = self.unknown_tokens as f64 / self.words.max(1) as f64;
        if share > 0.01 {
            lines.push(format!(
                "{part}: {:.1} % of the words are unknown to the model's vocabulary",
                100.0 * share
            ));
        }
        for (label, rows) in &self.unknown_labels {
            lines.push(format!(
                "{part}: {rows} rows have the label {label:?}, which the training texts lack; they count as wrong"
            ));
        }
        lines
    }
}

/// The head a task of data asks for.
pub fn task_of(kind: TaskKind) -> Task {
    match kind {
        TaskKind::Classify => Task::Classify,
        TaskKind::MultiLabel => Task::MultiLabel,
        TaskKind::Regress => Task::Regress,
        TaskKind::Tag => Task::Tag,
    }
}

/// The task of data a head answers; none of masked words, which are no labels.
pub fn kind_of(task: Task) -> Option<TaskKind> {
    Some(match task {
        Task::Classify => TaskKind::Classify,
        Task::MultiLabel => TaskKind::MultiLabel,
        Task::Regress => TaskKind::Regress,
        Task::Tag => TaskKind::Tag,
        Task::Mask => return None,
    })
}

/// How texts become tokens.
#[derive(Debug, Clone, Copy)]
pub struct Tokenising<'a> {
    /// The model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Most tokens of a text.
    pub max_length: usize,
    /// What is kept of a longer one.
    pub truncate: Truncate,
}

/// Tokenises rows without labels. Example ids are the rows' places in the part, from 0.
pub fn unlabelled(
    rows: &[Row],
    task: Task,
    how: Tokenising<'_>,
) -> Result<(Examples, TextReceipt), DataError> {
    let mut examples = Examples::new(task);
    let mut receipt = TextReceipt::default();
    let encoded = how
        .tokenizer
        .encode_rows(rows, how.max_length, how.truncate)?;
    for (i, (row, e)) in rows.iter().zip(encoded).enumerate() {
        receipt.texts += 1;
        receipt.tokens += e.ids.len();
        receipt.truncated_texts += usize::from(e.truncated > 0);
        receipt.truncated_tokens += e.truncated;
        receipt.unknown_tokens += e.unknown;
        receipt.words += e.words;
        examples.push(i as u64, row.line, &e.ids, &e.types);
        examples.truncated.push(e.truncated as u32);
        match &mut examples.targets {
            Targets::Tags {
                tokens,
                first_pieces,
                ..
            } => {
                tokens.resize(tokens.len() + e.ids.len(), None);
                first_pieces.push(e.first_pieces);
            }
            // Nothing is hidden yet.
            Targets::Masked(tokens) => tokens.resize(tokens.len() + e.ids.len(), None),
            Targets::Classes(_) | Targets::Sets { .. } | Targets::Values(_) => {}
        }
    }
    Ok((examples, receipt))
}

/// Tokenises a labelled part. `names` are those of [`hone_data::numbering`], for integer labels.
pub fn labelled(
    part: &Part,
    set: &LabelSet,
    task: Task,
    names: &[String],
    how: Tokenising<'_>,
) -> Result<(Examples, TextReceipt), DataError> {
    let (mut examples, mut receipt) = unlabelled(&part.rows, task, how)?;
    let Some(kind) = kind_of(task) else {
        return Ok((examples, receipt));
    };
    let (labels, unknown) = set.labels(part, kind, names)?;
    receipt.unknown_labels = unknown;
    for (i, &lost) in examples.truncated.iter().enumerate() {
        if lost > 0 {
            let label = match &labels {
                Labels::Classes(all) => {
                    all[i].map_or("unknown label", |c| set.names()[c as usize].as_str())
                }
                _ => "all",
            };
            let entry = receipt
                .truncated_by_label
                .entry(label.to_owned())
                .or_default();
            entry.0 += 1;
            entry.1 += lost as usize;
        }
    }
    match (labels, &mut examples) {
        (
            Labels::Tags(all),
            Examples {
                targets:
                    Targets::Tags {
                        tokens,
                        words,
                        first_pieces,
                        unknown,
                    },
                offsets,
                ..
            },
        ) => {
            for (i, tags) in all.iter().enumerate() {
                for (tag, piece) in tags.iter().zip(&first_pieces[i]) {
                    if let Some(piece) = piece {
                        tokens[offsets[i] + *piece as usize] = *tag;
                    }
                }
            }
            if !receipt.unknown_labels.is_empty() {
                *unknown = part.rows.iter().zip(&all).map(strange).collect();
            }
            *words = all;
        }
        (Labels::Classes(all), e) => e.targets = Targets::Classes(all),
        (Labels::Sets { sets, unknown }, e) => e.targets = Targets::Sets { sets, unknown },
        (Labels::Values(all), e) => e.targets = Targets::Values(all),
        (Labels::Tags(_), _) => {}
    }
    Ok((examples, receipt))
}

/// The tags of a row that have no class, by word.
fn strange((row, classes): (&Row, &Vec<Option<u32>>)) -> BTreeMap<usize, String> {
    let Cell::Tags(tags) = &row.label else {
        return BTreeMap::new();
    };
    let each = tags.iter().zip(classes).enumerate();
    each.filter(|(_, (_, class))| class.is_none())
        .map(|(word, (tag, _))| (word, tag.clone()))
        .collect()
}

/// Reads `--task`: `None` for `auto`.
pub fn parse_task(text: &str) -> Result<Option<TaskKind>, String> {
    Ok(Some(match text {
        "auto" => return Ok(None),
        "classify" => TaskKind::Classify,
        "multilabel" => TaskKind::MultiLabel,
        "regress" => TaskKind::Regress,
        "tag" => TaskKind::Tag,
        _ => {
            return Err(format!(
                "{text:?} is none of auto, classify, multilabel, regress, tag"
            ));
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word's tag is its first piece's; special tokens, later pieces and unknown tags have none, and what truncation cuts
    /// is still counted among the words.
    #[test]
    fn tags_lie_on_first_pieces() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/trajectory");
        let tokenizer = Tokenizer::load(&folder, 43).unwrap();
        let sentence = |words: &[&str], tags: &[&str]| {
            let owned = |all: &[&str]| all.iter().map(|w| w.to_string()).collect::<Vec<_>>();
            Row {
                label: hone_data::Cell::Tags(owned(tags)),
                words: owned(words),
                ..Row::text(1, words.join(" "))
            }
        };
        let part = Part {
            path: "tags.conll".into(),
            sha256: String::new(),
            classes: Vec::new(),
            rows: vec![
                sentence(&["was"], &["O"]),
                sentence(
                    &["films", "was", "slowly", "bright"],
                    &["B-X", "O", "B-Y", "B-X"],
                ),
            ],
            notes: Vec::new(),
        };
        let set = LabelSet::new(vec!["O".to_owned(), "B-X".to_owned()]);
        let read = |max_length: usize| {
            let how = Tokenising {
                tokenizer: &tokenizer,
                max_length,
                truncate: Truncate::Head,
            };
            let (examples, receipt) = labelled(&part, &set, Task::Tag, &[], how).unwrap();
            let ids = examples.batch(&[1]).ids;
            (ids, examples.targets, receipt)
        };
        let (ids, targets, receipt) = read(24);
        // [CLS] film ##s was slow ##ly bright [SEP]
        assert_eq!(ids, [2, 5, 41, 38, 9, 42, 10, 3]);
        let Targets::Tags {
            tokens,
            words,
            first_pieces,
            unknown,
        } = targets
        else {
            panic!("tags");
        };
        let (o, x, none) = (Some(0), Some(1), None);
        assert_eq!(
            tokens,
            [
                [none, o, none].as_slice(),
                &[none, x, none, o, none, none, x, none]
            ]
            .concat()
        );
        assert_eq!(words, [vec![o], vec![x, o, none, x]]);
        assert_eq!(
            first_pieces,
            [vec![Some(1)], vec![Some(1), Some(3), Some(4), Some(6)]]
        );
        assert_eq!(receipt.unknown_labels, [("B-Y".to_owned(), 1)].into());
        assert_eq!(unknown, [[].into(), [(2, "B-Y".to_owned())].into()]);
        // Cut after "slow": the last word has no piece left, and is still to be answered.
        let (ids, targets, receipt) = read(6);
        assert_eq!(ids, [2, 5, 41, 38, 9, 3]);
        let Targets::Tags { tokens, words, .. } = targets else {
            panic!("tags");
        };
        assert_eq!(tokens[3..], [none, x, none, o, none, none]);
        assert_eq!(words[1], [x, o, none, x]);
        assert_eq!(receipt.truncated_tokens, 2);
    }

    #[test]
    fn labels_that_lose_most_are_named_first_and_the_rest_counted() {
        let mut receipt = TextReceipt {
            texts: 40,
            truncated_texts: 20,
            truncated_tokens: 99,
            ..TextReceipt::default()
        };
        let lost = [("a", 1), ("b", 7), ("c", 7)];
        receipt.truncated_by_label = lost.map(|(l, n)| (l.to_owned(), (1, n))).into();
        let line = receipt.lines("training").remove(0);
        let by = "(b: 1 texts, 7 pieces; c: 1 texts, 7 pieces; a: 1 texts, 1 pieces)";
        assert!(line.ends_with(by), "{line}");
        let many = (0..77).map(|k| (format!("label {k:02}"), (1, k)));
        receipt.truncated_by_label = many.collect();
        let line = receipt.lines("training").remove(0);
        assert!(
            line.contains("(label 76: 1 texts, 76 pieces; label 75"),
            "{line}"
        );
        assert!(
            line.ends_with("label 69: 1 texts, 69 pieces; 69 more labels)"),
            "{line}"
        );
    }
}
