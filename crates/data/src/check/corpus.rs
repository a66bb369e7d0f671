//! All rows of all splits, by distinct text.

use super::report::{Place, Split};
use super::text::{Normal, key_hash, text_key};
use crate::{Part, Row};
use rayon::prelude::*;
use std::collections::HashMap;

/// A row of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub split: Split,
    pub row: u32,
}

/// Rows whose texts are equal but for case.
#[derive(Debug, Clone)]
pub(crate) struct Distinct {
    /// In order of split and row.
    pub rows: Vec<At>,
    pub normal: Normal,
}

impl Distinct {
    /// Its first row in a split.
    pub fn first_in(&self, split: Split) -> Option<At> {
        self.rows.iter().copied().find(|at| at.split == split)
    }

    pub fn rows_in(&self, split: Split) -> impl Iterator<Item = At> {
        self.rows.iter().copied().filter(move |a| a.split == split)
    }
}

/// The splits of a data set and their distinct texts, those without a text left out.
pub(crate) struct Corpus<'a> {
    pub parts: Vec<(Split, &'a Part)>,
    pub texts: Vec<Distinct>,
}

/// How rows are grouped.
type Groups = Vec<Vec<At>>;

/// Groups of rows with equal keys, in the order of their first rows.
pub(crate) fn group(parts: &[(Split, &Part)]) -> Groups {
    let mut groups: Groups = Vec::new();
    let mut known: HashMap<u64, Vec<u32>> = HashMap::new();
    let row_of = |at: At| -> Option<&Row> {
        let (_, part) = parts.iter().find(|(s, _)| *s == at.split)?;
        part.rows.get(at.row as usize)
    };
    for (split, part) in parts {
        let hashes: Vec<Option<u64>> = part
            .rows
            .par_iter()
            .map(|r| (!blank(r)).then(|| key_hash(r)))
            .collect();
        for (i, hash) in hashes.into_iter().enumerate() {
            let Some(hash) = hash else { continue };
            let at = At {
                split: *split,
                row: i as u32,
            };
            let alike = known.entry(hash).or_default();
            let own = text_key_if(!alike.is_empty(), &part.rows[i]);
            let same = alike.iter().copied().find(|&g| {
                let first = row_of(groups[g as usize][0]);
                first.map(text_key) == own
            });
            match same {
                Some(g) => groups[g as usize].push(at),
                None => {
                    alike.push(groups.len() as u32);
                    groups.push(vec![at]);
                }
            }
        }
    }
    groups
}

fn text_key_if(wanted: bool, row: &Row) -> Option<String> {
    wanted.then(|| text_key(row))
}

/// Whether a row carries no text. Of a pair both texts count.
fn blank(row: &Row) -> bool {
    row.text.trim().is_empty() && row.text_b.as_ref().is_none_or(|b| b.trim().is_empty())
}

impl<'a> Corpus<'a> {
    pub fn new(parts: &[(Split, &'a Part)]) -> Corpus<'a> {
        let groups = group(parts);
        let parts = parts.to_vec();
        let find = |at: At| parts.iter().find(|(s, _)| *s == at.split);
        let texts = groups
            .into_par_iter()
            .map(|rows| Distinct {
                normal: find(rows[0])
                    .map(|(_, p)| Normal::of(&p.rows[rows[0].row as usize]))
                    .unwrap_or_default(),
                rows,
            })
            .collect();
        Corpus { parts, texts }
    }

    pub fn part(&self, split: Split) -> Option<&'a Part> {
        let found = self.parts.iter().find(|(s, _)| *s == split);
        found.map(|(_, p)| *p)
    }

    pub fn row(&self, at: At) -> Option<&'a Row> {
        self.part(at.split)?.rows.get(at.row as usize)
    }

    /// Where a reader finds it.
    pub fn place(&self, at: At) -> Place {
        Place {
            split: at.split,
            line: self.row(at).map_or(0, |r| r.line),
        }
    }
}
