//! Tokenised examples with their targets, as the loop reads them: flat and compact, whatever file they came from.

use crate::TrainError;
use hone_bert::{Masked, Task};
use hone_data::spread;
use hone_tensor::Ragged;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What each example should be answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// Class of each example; `None` for a label the model does not know (counts as wrong).
    Classes(Vec<Option<u32>>),
    /// Labels of each example.
    Sets {
        /// Classes of those that the model knows, ascending.
        sets: Vec<Vec<u32>>,
        /// Number of those that it does not know (the example counts as wrong, each of them as missed).
        unknown: Vec<u32>,
    },
    /// Value of each example.
    Values(Vec<f32>),
    /// Per token (special tokens and later word pieces have none), `[tokens]` of the store; and the whole
    /// gold sequences of words, cut by no truncation.
    Tags {
        /// Class of each stored token.
        tokens: Vec<Option<u32>>,
        /// Class of each word of each example; `None` for a tag the model does not know.
        words: Vec<Vec<Option<u32>>>,
        /// Token (within its example) of each word's first piece; `None` where truncation cut it off.
        first_pieces: Vec<Vec<Option<u32>>>,
        /// The text of each tag that the model does not know, by word, `[examples]`; empty where it knows all of them.
        unknown: Vec<BTreeMap<usize, String>>,
    },
    /// The word pieces that stood at masked tokens (pre-training), `[tokens]` of the store.
    Masked(Vec<Option<u32>>),
}

impl Targets {
    /// Sets of labels that the model knows, all of them.
    pub fn sets(sets: Vec<Vec<u32>>) -> Targets {
        Targets::Sets {
            unknown: vec![0; sets.len()],
            sets,
        }
    }

    /// How many examples (of masked words: words) have an answer that the model could give.
    pub fn known(&self) -> usize {
        match self {
            Targets::Classes(all) => all.iter().flatten().count(),
            Targets::Sets { sets, .. } => sets.len(),
            Targets::Values(all) => all.len(),
            Targets::Tags { words, .. } => words.len(),
            Targets::Masked(tokens) => tokens.iter().flatten().count(),
        }
    }

    /// Refuses targets that are not of so many examples, or name a class that a model of so many labels does not have.
    pub(crate) fn fit(&self, examples: usize, labels: usize) -> Result<(), TrainError> {
        let (targets, most) = match self {
            Targets::Classes(all) => (all.len(), all.iter().flatten().max()),
            Targets::Sets { sets, .. } => (sets.len(), sets.iter().flatten().max()),
            Targets::Values(all) => (all.len(), None),
            Targets::Tags { words, .. } => (words.len(), None),
            Targets::Masked(_) => (examples, None),
        };
        let wrong = match most.filter(|&&class| class as usize >= labels) {
            Some(class) => format!("a target is class {class}, and the model has {labels} labels"),
            None if targets != examples => {
                format!("{targets} targets of {examples} examples: a target for each was expected")
            }
            None => return Ok(()),
        };
        Err(TrainError::Targets(wrong))
    }

    /// The gold tags of example `i`, as the entities are read from them: those that the model does not know by their own text, since
    /// their entities are to be missed, and those beside them to end where they end. Of other tasks none.
    pub fn gold_tags<'a>(&'a self, i: usize, labels: &'a [String]) -> Vec<&'a str> {
        let Targets::Tags { words, unknown, .. } = self else {
            return Vec::new();
        };
        let own = |word| Some(unknown.get(i)?.get(&word)?.as_str());
        let name = |(word, class): (usize, &Option<u32>)| match class {
            Some(class) => labels[*class as usize].as_str(),
            None => own(word).unwrap_or("?"),
        };
        words[i].iter().enumerate().map(name).collect()
    }

    /// What they are, in words.
    pub fn name(&self) -> &'static str {
        match self {
            Targets::Classes(_) => "one class each",
            Targets::Sets { .. } => "any labels",
            Targets::Values(_) => "a value each",
            Targets::Tags { .. } => "tagged words",
            Targets::Masked(_) => "masked words",
        }
    }

    /// The classes by which examples are spread alike over parts, `least` being the number of examples that a range of values
    /// has at least.
    pub fn spread(&self, least: usize) -> Vec<Vec<u32>> {
        match self {
            Targets::Classes(all) => spread::classes(all),
            Targets::Sets { sets: all, .. } => spread::sets(all),
            Targets::Values(all) => spread::values(all, least),
            Targets::Tags { words, .. } => spread::tags(words),
            // They are made of texts that are split already.
            Targets::Masked(_) => Vec::new(),
        }
    }
}

/// Examples ready for batching.
#[derive(Clone, PartialEq)]
pub struct Examples {
    ids: Vec<u32>,
    types: Vec<u8>,
    pub(crate) offsets: Vec<usize>,
    pub(crate) truncated: Vec<u32>,
    pub(crate) example_ids: Vec<u64>,
    pub(crate) rows: Vec<usize>,
    /// The answers, one for each example: what trains on them or scores them refuses others.
    pub targets: Targets,
}

hone_tensor::brief_debug! { [] Examples, |e| examples: e.len(), tokens: e.tokens(), targets: e.targets.name() }

impl Examples {
    /// An empty set for `task`.
    pub fn new(task: Task) -> Self {
        Examples {
            ids: Vec::new(),
            types: Vec::new(),
            offsets: vec![0],
            truncated: Vec::new(),
            example_ids: Vec::new(),
            rows: Vec::new(),
            targets: match task {
                Task::Classify => Targets::Classes(Vec::new()),
                Task::MultiLabel => Targets::sets(Vec::new()),
                Task::Regress => Targets::Values(Vec::new()),
                Task::Mask => Targets::Masked(Vec::new()),
                Task::Tag => Targets::Tags {
                    tokens: Vec::new(),
                    words: Vec::new(),
                    first_pieces: Vec::new(),
                    unknown: Vec::new(),
                },
            },
        }
    }

    /// Appends one example's tokens; push its target into [`Examples::targets`] beside it.
    pub fn push(&mut self, example_id: u64, row: usize, ids: &[u32], types: &[u8]) {
        debug_assert_eq!(ids.len(), types.len());
        self.ids.extend_from_slice(ids);
        self.types.extend_from_slice(types);
        self.offsets.push(self.ids.len());
        self.example_ids.push(example_id);
        self.rows.push(row);
    }

    /// SHA-256 of all that training reads of them: tokens, keys of draws, answers.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        let mut numbers = |all: &mut dyn Iterator<Item = u64>| {
            all.for_each(|number| hash.update(number.to_le_bytes()));
        };
        let class = |class: &Option<u32>| class.map_or(u64::MAX, u64::from);
        numbers(&mut self.offsets.iter().map(|&at| at as u64));
        numbers(&mut self.ids.iter().map(|&id| u64::from(id)));
        numbers(&mut self.types.iter().map(|&part| u64::from(part)));
        numbers(&mut self.example_ids.iter().copied());
        match &self.targets {
            Targets::Classes(all) => numbers(&mut all.iter().map(class)),
            Targets::Sets { sets, unknown } => {
                let own = |set: &Vec<u32>| -> Vec<u64> {
                    let all = set.iter().map(|&label| u64::from(label));
                    std::iter::once(set.len() as u64).chain(all).collect()
                };
                numbers(&mut sets.iter().flat_map(own));
                numbers(&mut unknown.iter().map(|&n| u64::from(n)));
            }
            Targets::Values(all) => {
                numbers(&mut all.iter().map(|value| u64::from(value.to_bits())));
            }
            Targets::Tags { tokens, .. } | Targets::Masked(tokens) => {
                numbers(&mut tokens.iter().map(class));
            }
        }
        let bytes = hash.finalize();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// SHA-256 of all that a model reads of example `i`: tokens and their types.
    pub(crate) fn text_key(&self, i: usize) -> [u8; 32] {
        let mut hash = Sha256::new();
        for id in &self.ids[self.span(i)] {
            hash.update(id.to_le_bytes());
        }
        hash.update(&self.types[self.span(i)]);
        hash.finalize().into()
    }

    /// The listed examples, in that order, with the ids and rows they have here.
    pub fn select(&self, index: &[u32]) -> Examples {
        let at = |i: &u32| *i as usize;
        let truncated = match self.truncated.len() == self.len() {
            true => index.iter().map(|i| self.truncated[at(i)]).collect(),
            false => Vec::new(),
        };
        let targets = match &self.targets {
            Targets::Classes(all) => Targets::Classes(index.iter().map(|i| all[at(i)]).collect()),
            Targets::Sets { sets, unknown } => Targets::Sets {
                sets: index.iter().map(|i| sets[at(i)].clone()).collect(),
                unknown: index.iter().map(|i| unknown[at(i)]).collect(),
            },
            Targets::Values(all) => Targets::Values(index.iter().map(|i| all[at(i)]).collect()),
            Targets::Masked(tokens) => Targets::Masked(self.of_tokens(tokens, index)),
            Targets::Tags {
                tokens,
                words,
                first_pieces,
                unknown,
            } => Targets::Tags {
                tokens: self.of_tokens(tokens, index),
                words: index.iter().map(|i| words[at(i)].clone()).collect(),
                first_pieces: index.iter().map(|i| first_pieces[at(i)].clone()).collect(),
                unknown: match unknown.is_empty() {
                    true => Vec::new(),
                    false => index.iter().map(|i| unknown[at(i)].clone()).collect(),
                },
            },
        };
        let mut chosen = Examples {
            ids: Vec::new(),
            types: Vec::new(),
            offsets: vec![0],
            truncated,
            example_ids: Vec::with_capacity(index.len()),
            rows: Vec::with_capacity(index.len()),
            targets,
        };
        for i in index.iter().map(at) {
            let span = self.span(i);
            let (ids, types) = (&self.ids[span.clone()], &self.types[span]);
            chosen.push(self.example_ids[i], self.rows[i], ids, types);
        }
        chosen
    }

    /// The same texts with some tokens hidden: `hide` changes the tokens of example `i` and says what stood there.
    pub(crate) fn hidden(
        &self,
        hide: impl Fn(usize, &mut [u32]) -> Vec<Option<u32>> + Sync,
    ) -> Examples {
        let mut hidden = self.clone();
        let mut said = vec![None; hidden.ids.len()];
        let (mut ids, mut rest) = (&mut hidden.ids[..], &mut said[..]);
        let mut texts = Vec::with_capacity(self.len());
        for i in 0..self.len() {
            let (of_ids, of_said);
            (of_ids, ids) = ids.split_at_mut(self.length(i));
            (of_said, rest) = rest.split_at_mut(self.length(i));
            texts.push((of_ids, of_said));
        }
        texts
            .into_par_iter()
            .enumerate()
            .for_each(|(i, (ids, said))| said.copy_from_slice(&hide(i, ids)));
        hidden.targets = Targets::Masked(said);
        hidden
    }

    /// What is known of each token of the listed examples.
    fn of_tokens(&self, tokens: &[Option<u32>], index: &[u32]) -> Vec<Option<u32>> {
        let spans = index.iter().map(|&i| self.span(i as usize));
        spans.flat_map(|span| &tokens[span]).copied().collect()
    }

    /// The words that are masked in the listed examples, as rows of their batch; each counts `weight`.
    pub fn masked(&self, index: &[u32], weight: f32) -> Masked {
        let mut masked = Masked::default();
        let Targets::Masked(tokens) = &self.targets else {
            return masked;
        };
        let spans = index.iter().map(|&i| self.span(i as usize));
        for (said, row) in spans.flat_map(|span| &tokens[span]).zip(0..) {
            if let Some(word) = said {
                masked.at.push(row);
                masked.words.push(*word);
                masked.weights.push(weight);
            }
        }
        masked
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.example_ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Word pieces each example lost to truncation; empty where nobody counted.
    pub fn truncated(&self) -> &[u32] {
        &self.truncated
    }

    /// Stable keys of the examples' dropout draws.
    pub fn example_ids(&self) -> &[u64] {
        &self.example_ids
    }

    /// Row of each example in its file, from 1, for messages.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// Tokens of example `i`.
    pub fn length(&self, i: usize) -> usize {
        self.offsets[i + 1] - self.offsets[i]
    }

    /// Tokens of the listed examples.
    pub(crate) fn tokens_of(&self, index: &[u32]) -> usize {
        index.iter().map(|&i| self.length(i as usize)).sum()
    }

    /// Tokens of all examples.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Bytes that they take, but for answers by example, which are few.
    pub(crate) fn bytes(&self) -> usize {
        let answers = match &self.targets {
            Targets::Tags { tokens, .. } | Targets::Masked(tokens) => size_of_val(&tokens[..]),
            _ => 0,
        };
        let keys = size_of_val(&self.offsets[..]) + size_of_val(&self.example_ids[..]);
        let tokens = size_of_val(&self.ids[..]) + size_of_val(&self.types[..]);
        tokens + keys + size_of_val(&self.rows[..]) + answers
    }

    /// Where example `i` lies among the stored tokens.
    pub fn span(&self, i: usize) -> std::ops::Range<usize> {
        self.offsets[i]..self.offsets[i + 1]
    }

    /// Token ids of the listed examples, ascending, each once.
    pub fn distinct_ids(&self, index: &[u32]) -> Vec<u32> {
        let spans = index.iter().map(|&i| self.span(i as usize));
        let mut ids: Vec<u32> = spans.flat_map(|span| &self.ids[span]).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The ragged batch of the listed examples.
    pub fn batch(&self, index: &[u32]) -> Ragged {
        let mut batch = Ragged::new();
        let mut types = Vec::new();
        for &i in index {
            let span = self.span(i as usize);
            types.clear();
            types.extend(self.types[span.clone()].iter().map(|&t| u32::from(t)));
            batch.push(self.example_ids[i as usize], &self.ids[span], &types);
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_keeps_ids_rows_tokens_and_answers_of_every_task() {
        for task in [
            Task::Classify,
            Task::MultiLabel,
            Task::Regress,
            Task::Tag,
            Task::Mask,
        ] {
            let mut all = Examples::new(task);
            for i in 0..5u32 {
                let ids: Vec<u32> = (0..=i).map(|t| 10 * i + t).collect();
                all.push(
                    u64::from(i),
                    i as usize + 2,
                    &ids,
                    &vec![i as u8; ids.len()],
                );
                all.truncated.push(i);
                match &mut all.targets {
                    Targets::Classes(t) => t.push((i > 0).then_some(i)),
                    Targets::Sets { sets, unknown } => {
                        sets.push(vec![i, i + 1]);
                        unknown.push(i);
                    }
                    Targets::Values(t) => t.push(i as f32),
                    Targets::Masked(t) => t.extend(ids.iter().map(|&t| (t % 3 == 0).then_some(t))),
                    Targets::Tags {
                        tokens,
                        words,
                        first_pieces,
                        unknown,
                    } => {
                        tokens.extend(ids.iter().map(|&t| Some(t)));
                        words.push(vec![Some(i), None]);
                        first_pieces.push(vec![Some(0), None]);
                        unknown.push([(1, format!("B-{i}"))].into());
                    }
                }
            }
            let index = [4, 0, 3];
            let some = all.select(&index);
            assert_eq!(some.example_ids, [4, 0, 3]);
            assert_eq!(some.rows, [6, 2, 5]);
            assert_eq!(some.truncated, [4, 0, 3]);
            assert_eq!(some.batch(&[0, 1, 2]), all.batch(&index), "{task:?}");
            match &some.targets {
                Targets::Classes(t) => assert_eq!(t, &[Some(4), None, Some(3)]),
                Targets::Sets { sets, unknown } => {
                    assert_eq!((&sets[2][..], &unknown[..]), (&[3, 4][..], &[4, 0, 3][..]));
                }
                Targets::Values(t) => assert_eq!(t, &[4.0, 0.0, 3.0]),
                Targets::Masked(_) => {
                    // Texts of 5, 1 and 4 pieces: 40 to 44, 0, 30 to 33.
                    let masked = some.masked(&[0, 1, 2], 0.5);
                    assert_eq!(masked.at, [2, 5, 6, 9]);
                    assert_eq!(masked.words, [42, 0, 30, 33]);
                    assert_eq!(masked.weights, [0.5; 4]);
                    assert_eq!(masked, all.masked(&index, 0.5));
                }
                Targets::Tags { tokens, words, .. } => {
                    assert_eq!(
                        tokens[5..],
                        [Some(0), Some(30), Some(31), Some(32), Some(33)]
                    );
                    assert_eq!(words[0], [Some(4), None]);
                    let labels: Vec<String> = (0..5).map(|c| format!("I-{c}")).collect();
                    assert_eq!(some.targets.gold_tags(2, &labels), ["I-3", "B-3"]);
                }
            }
        }
    }
}
