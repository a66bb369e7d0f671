//! Film reviews built into the program, written for it: a demonstration, not a benchmark.
//!
//! Many voices and kinds: plain ones; irony, negation and mixed feelings, about half of which are minimal
//! contrast pairs (nearly the same words, the opposite verdict; both have the same `pair_id`). Films, people and
//! villages are invented.

use hone_data::stratified_split;

const FILE: &str = include_str!("../demo/reviews.csv");

/// One review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// What it says.
    pub text: String,
    /// `positive` or `negative`.
    pub label: String,
    /// `plain`, `irony`, `negation` or `mixed`.
    pub kind: String,
    /// Two reviews that form a contrast pair share it; empty elsewhere.
    pub pair_id: String,
}

/// All of them.
///
/// # Panics
///
/// Never: the file is part of the program and a test reads it.
pub fn reviews() -> Vec<Review> {
    csv::Reader::from_reader(FILE.as_bytes())
        .records()
        .map(|record| {
            let record = record.unwrap_or_else(|e| unreachable!("the built-in file: {e}"));
            let cell = |i: usize| record.get(i).unwrap_or_default().to_owned();
            Review {
                text: cell(0),
                label: cell(1),
                kind: cell(2),
                pair_id: cell(3),
            }
        })
        .collect()
}

/// Rows for training and for the test: every kind and label alike on both sides, pairs never apart.
pub(crate) fn split(reviews: &[Review], fraction: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let keys: Vec<Vec<String>> = reviews
        .iter()
        .map(|r| match r.pair_id.is_empty() {
            true => vec![],
            false => vec![r.pair_id.clone()],
        })
        .collect();
    let mut names: Vec<(&str, &str)> = reviews.iter().map(|r| (&*r.kind, &*r.label)).collect();
    names.sort_unstable();
    names.dedup();
    let class = |r: &Review| names.binary_search(&(&*r.kind, &*r.label)).unwrap_or(0) as u32;
    let classes: Vec<Vec<u32>> = reviews.iter().map(|r| vec![class(r)]).collect();
    stratified_split(&keys, &classes, fraction, seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashSet};

    #[test]
    fn the_file_is_what_it_says() {
        let all = reviews();
        assert!(all.len() >= 600, "{}", all.len());
        let texts: HashSet<String> = all.iter().map(|r| r.text.to_lowercase()).collect();
        assert_eq!(texts.len(), all.len(), "no text stands twice");
        let mut pairs: BTreeMap<&str, Vec<&Review>> = BTreeMap::new();
        let (mut hard, mut paired) = (0, 0);
        for r in &all {
            assert!(["positive", "negative"].contains(&&*r.label), "{r:?}");
            assert!(
                ["plain", "irony", "negation", "mixed"].contains(&&*r.kind),
                "{r:?}"
            );
            assert!(!r.text.trim().is_empty());
            hard += usize::from(r.kind != "plain");
            if !r.pair_id.is_empty() {
                assert_ne!(r.kind, "plain", "{r:?}");
                paired += 1;
                pairs.entry(&r.pair_id).or_default().push(r);
            }
        }
        for (id, pair) in pairs {
            assert_eq!(pair.len(), 2, "{id}");
            assert_eq!(pair[0].kind, pair[1].kind, "{id}");
            assert_ne!(pair[0].label, pair[1].label, "{id}");
        }
        assert!(
            2 * paired >= hard,
            "{paired} of {hard} hard reviews are in pairs"
        );
    }

    #[test]
    fn pairs_stay_together_and_kinds_are_spread_alike() {
        let all = reviews();
        let (train, test) = split(&all, 0.3, 0);
        assert_eq!(train.len() + test.len(), all.len());
        let ids = |rows: &[u32]| -> HashSet<&str> {
            let ids = rows.iter().map(|&r| &*all[r as usize].pair_id);
            ids.filter(|id| !id.is_empty()).collect()
        };
        assert!(ids(&train).is_disjoint(&ids(&test)));
        for kind in ["plain", "irony", "negation", "mixed"] {
            let part = |rows: &[u32]| {
                let n = rows.iter().filter(|&&r| all[r as usize].kind == kind);
                n.count() as f64
            };
            let share = part(&test) / (part(&train) + part(&test));
            assert!((share - 0.3).abs() < 0.02, "{kind}: {share}");
        }
    }
}
