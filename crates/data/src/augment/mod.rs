//! Augmentation: more texts like those at hand, changed so that their labels should still hold.
//!
//! A [`Plan`] says what is done, an [`Augmenter`] does it to a row, a [`Key`] decides every draw. Nothing here
//! learns from the data: the only things that cross rows are WordNet and neighbours in the model's own
//! embeddings, so augmenting one part of a data set cannot tell it anything of another.

mod draws;
mod eda;
mod family;
mod file;
mod line;
mod neighbours;
mod noise;
mod outcome;
mod plan;
mod polarity;
mod protect;
mod scan;
mod substitutes;
#[cfg(test)]
mod tests;
mod wordnet;

pub use draws::Key;
pub use file::{Copies, Receipt, write_copies};
pub use neighbours::WordTable;
pub use outcome::{Outcome, Why};
pub use plan::{Operator, Plan, Step};
pub use protect::Protection;
pub use substitutes::Substitute;
pub use wordnet::WordNet;

use crate::row::{Cell, Row};
use crate::{DataError, TaskKind};
use draws::Draws;
use line::{Kind, Line};
use rayon::prelude::*;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use substitutes::Substitutes;

/// What substitutes come from.
#[derive(Debug, Clone, Default)]
pub struct Sources<'a> {
    /// WordNet, where it is there.
    pub wordnet: Option<Arc<WordNet>>,
    /// A model's words, where there is a model.
    pub words: Option<WordTable<'a>>,
}

/// Changes rows by a plan.
pub struct Augmenter {
    plan: Plan,
    protection: Protection,
    synonyms: Substitutes,
    neighbours: Substitutes,
    wordnet: Option<Arc<WordNet>>,
    vocabulary: HashSet<String>,
    /// What substitutes come from and how many words have some, a line each.
    pub notes: Vec<String>,
}

hone_tensor::brief_debug! { [] Augmenter, |a| plan: a.plan, vocabulary: a.vocabulary.len(), notes: a.notes }

/// What became of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// The row as it is now; its label is the old one.
    pub row: Row,
    /// What each operator did, for each text of the row; empty where the row was kept.
    pub steps: Vec<(Operator, Outcome)>,
}

impl Changed {
    /// Whether any text is other than it was.
    pub fn any(&self) -> bool {
        self.steps
            .iter()
            .any(|(_, o)| matches!(o, Outcome::Changed(_)))
    }
}

/// Streams of draws: 0 chooses, the others work.
const CHOICE: u32 = 0;

impl Augmenter {
    /// Makes ready for the words of these rows: their substitutes are looked up once.
    pub fn new(
        plan: Plan,
        protection: Protection,
        rows: &[Row],
        task: TaskKind,
        sources: &Sources<'_>,
    ) -> Result<Augmenter, DataError> {
        plan.check(task).map_err(DataError::Option)?;
        let synonyms = plan.uses(Operator::Synonym) || plan.uses(Operator::Insert);
        let wanted: BTreeSet<String> = match synonyms || plan.uses(Operator::Neighbours) {
            true => rows
                .par_iter()
                .map(|row| words_of(row, &protection))
                .reduce(BTreeSet::new, |mut a, mut b| {
                    if a.len() < b.len() {
                        std::mem::swap(&mut a, &mut b);
                    }
                    a.extend(b);
                    a
                }),
            false => BTreeSet::new(),
        };
        let mut out = Augmenter {
            plan,
            protection,
            synonyms: Substitutes::default(),
            neighbours: Substitutes::default(),
            wordnet: sources.wordnet.clone(),
            vocabulary: sources
                .words
                .iter()
                .flat_map(|t| t.words.iter().map(|(w, _)| w.clone()))
                .collect(),
            notes: Vec::new(),
        };
        let near = |out: &Augmenter| {
            let table = sources.words.as_ref();
            table.map(|table| {
                let found = neighbours::neighbours(table, &wanted, out.wordnet.as_deref());
                Substitutes::new(found, &out.protection)
            })
        };
        if out.plan.uses(Operator::Neighbours) {
            out.neighbours = near(&out).ok_or_else(|| {
                DataError::Option(
                    "neighbours are found in a model's word embeddings; name one with --model"
                        .to_owned(),
                )
            })?;
            out.say(
                "neighbours in the model's embeddings",
                out.neighbours.len(),
                wanted.len(),
            );
        }
        match (&out.wordnet, synonyms) {
            (Some(net), true) => {
                let found: Vec<_> = wanted
                    .par_iter()
                    .map(|w| (w.clone(), net.synonyms(w)))
                    .collect();
                let from = format!("synonyms from WordNet in {}", net.path().display());
                out.synonyms = Substitutes::new(found, &out.protection);
                out.say(&from, out.synonyms.len(), wanted.len());
            }
            (None, true) => {
                let found = match out.neighbours.len() {
                    0 => near(&out),
                    _ => Some(out.neighbours.clone()),
                };
                out.synonyms = found.ok_or_else(|| {
                    DataError::Option(
                        "synonyms need WordNet (--wordnet DIR; on Debian the package wordnet-base) or a model's word \
                         embeddings (--model)"
                            .to_owned(),
                    )
                })?;
                let from = "no WordNet: synonyms are neighbours in the model's embeddings";
                out.say(from, out.synonyms.len(), wanted.len());
            }
            (_, false) => {}
        }
        Ok(out)
    }

    fn say(&mut self, what: &str, some: usize, all: usize) {
        self.notes.push(format!(
            "augmentation: {what}, {some} of {all} distinct words have some"
        ));
    }

    /// SHA-256 by role of what decides the texts besides data and plan.
    pub fn hashes(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        if let Some(net) = &self.wordnet {
            all.push(("WordNet".to_owned(), net.sha256().to_owned()));
        }
        if let Some(hash) = self.protection.listed_hash() {
            all.push(("protected words".to_owned(), hash));
        }
        all
    }

    /// What is done.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The row as an epoch sees it: as it is in the share of draws that the plan keeps, else changed by one
    /// chain.
    pub fn draw(&self, row: &Row, key: Key) -> Changed {
        let mut draws = key.draws(CHOICE);
        match draws.happens(self.plan.keep()) {
            true => Changed {
                row: row.clone(),
                steps: Vec::new(),
            },
            false => self.apply(row, key, &mut draws),
        }
    }

    /// A changed copy of the row, whatever the plan keeps.
    pub fn copy(&self, row: &Row, key: Key) -> Changed {
        self.apply(row, key, &mut key.draws(CHOICE))
    }

    fn apply(&self, row: &Row, key: Key, choice: &mut Draws) -> Changed {
        let mut out = Changed {
            row: row.clone(),
            steps: Vec::new(),
        };
        let Some(chain) = choice.pick(self.plan.chains()) else {
            return out;
        };
        for (i, step) in chain.iter().enumerate() {
            let draws =
                |text: u32| key.draws(1 + (text << 16 | (i as u32) << 8 | step.operator as u32));
            if !row.words.is_empty() {
                let entities = entities(&out.row);
                let mut line = Line::of_words(&out.row.words, &entities, &self.protection);
                out.steps
                    .push((step.operator, self.work(&mut line, *step, &mut draws(0))));
                out.row.words = line.words();
                out.row.text = out.row.words.join(" ");
                continue;
            }
            let texts = [Some(&mut out.row.text), out.row.text_b.as_mut()];
            for (k, text) in texts.into_iter().flatten().enumerate() {
                let mut line = Line::parse(text, &self.protection);
                let outcome = self.work(&mut line, *step, &mut draws(k as u32));
                if matches!(outcome, Outcome::Changed(_)) {
                    *text = line.text();
                }
                out.steps.push((step.operator, outcome));
            }
        }
        out
    }

    fn work(&self, line: &mut Line, step: Step, draws: &mut Draws) -> Outcome {
        let p = step.strength;
        match step.operator {
            Operator::Synonym => eda::substitute(line, p, &self.synonyms, draws),
            Operator::Neighbours => eda::substitute(line, p, &self.neighbours, draws),
            Operator::Insert => eda::insert(line, p, &self.synonyms, draws),
            Operator::Swap => eda::swap(line, p, draws),
            Operator::Delete => eda::delete(line, p, draws),
            Operator::Typing => noise::typing(line, p, |w| self.knows(w), draws),
            Operator::Case => noise::case(line, p, draws),
            Operator::Punctuation => noise::punctuation(line, p, draws),
        }
    }

    /// Whether a lower-case word is some word, as far as anybody here knows.
    fn knows(&self, word: &str) -> bool {
        protect::is_stop(word)
            || self.protection.keeps(word)
            || polarity::polarity(word) != 0
            || self.vocabulary.contains(word)
            || self.wordnet.as_ref().is_some_and(|n| n.knows(word))
    }
}

/// Which words are part of an entity: any tag but `O`.
fn entities(row: &Row) -> Vec<bool> {
    match &row.label {
        Cell::Tags(tags) => tags.iter().map(|t| t != "O").collect(),
        _ => Vec::new(),
    }
}

/// Words of a row that might give way to others, in lower case.
fn words_of(row: &Row, protection: &Protection) -> BTreeSet<String> {
    let lines = match row.words.is_empty() {
        false => vec![Line::of_words(&row.words, &[], protection)],
        true => [Some(&row.text), row.text_b.as_ref()]
            .into_iter()
            .flatten()
            .map(|t| Line::parse(t, protection))
            .collect(),
    };
    lines
        .into_iter()
        .flat_map(|l| l.parts)
        .filter(|p| p.kind == Kind::Word && !p.protected && !protect::is_stop(&p.lower))
        .map(|p| p.lower)
        .collect()
}
