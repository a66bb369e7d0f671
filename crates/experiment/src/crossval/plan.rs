//! Which rows each fold fits, selects by and holds out.

use hone_data::{folds, stratified_split};
use hone_tensor::Philox;
use hone_train::{Examples, TrainError};
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// One fold. Rows are places among all examples, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// Its repeat, from 1.
    pub repeat: usize,
    /// Its number within the repeat, from 1.
    pub fold: usize,
    /// Rows that are fitted.
    pub train: Vec<u32>,
    /// Rows of the training part that select weights and stop training.
    pub valid: Vec<u32>,
    /// Rows that are scored once at the end.
    pub held_out: Vec<u32>,
    /// Seed of its order and dropout.
    pub seed: u64,
}

/// All folds of all repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldPlan {
    /// Repeat by repeat.
    pub folds: Vec<Fold>,
    /// Rows whose text stands more than once: all rows of a text are in one fold.
    pub repeated_texts: usize,
    /// SHA-256 of who is where.
    pub sha256: String,
}

/// Most repeats, of folds or of a range test.
const MOST_REPEATS: usize = 1000;
/// Most pairs of a study.
const MOST_PAIRS: usize = 10_000;
/// Most fits of a plan, whose rows are all written down before the first.
const MOST_FITS: usize = 100_000;

/// Refuses numbers of repeats that nobody waits for.
pub(crate) fn can_repeat(repeats: usize) -> Result<(), TrainError> {
    between("repeats", repeats, 1, MOST_REPEATS)
}

/// The same of pairs; of one alone nothing can be told.
pub(crate) fn can_pair(pairs: usize) -> Result<(), TrainError> {
    between("pairs", pairs, 2, MOST_PAIRS)
}

fn between(flag: &str, n: usize, least: usize, most: usize) -> Result<(), TrainError> {
    match (least..=most).contains(&n) {
        true => Ok(()),
        false => Err(TrainError::Option(format!(
            "--{flag} {n}: from {least} to {most} were expected"
        ))),
    }
}

/// Refuses folds that so many rows cannot fill, and more fits than can be planned.
fn can_plan(rows: usize, k: usize, repeats: usize) -> Result<(), TrainError> {
    if k > rows {
        return Err(TrainError::Option(format!(
            "--folds {k}: there are only {rows} rows, and each fold holds out one at least"
        )));
    }
    match k.checked_mul(repeats) {
        Some(fits) if fits <= MOST_FITS => Ok(()),
        _ => Err(TrainError::Option(format!(
            "--folds {k}: {repeats} times as many fits are too many, at most {MOST_FITS} were expected"
        ))),
    }
}

/// A seed that is a pure function of another and of a place; it fits the numbers of JSON exactly.
pub(crate) fn derived(seed: u64, a: usize, b: usize) -> u64 {
    Philox::new(seed).u64_at(a as u64, b as u64) >> 11
}

impl FoldPlan {
    /// `repeats` times `k` folds. `keys` keep rows together (their text, their group); `inner` is the part of a
    /// fold's training rows that selects, none where nothing does or a file of its own does. The first repeat's
    /// folds have `split_seed` itself, further ones and all inner splits seeds derived from it; `seed` is the run's.
    pub fn new(
        examples: &Examples,
        keys: &[Vec<String>],
        k: usize,
        repeats: usize,
        inner: Option<f64>,
        split_seed: u64,
        seed: u64,
    ) -> Result<FoldPlan, TrainError> {
        can_plan(examples.len(), k, repeats)?;
        if repeats == 0 {
            return Err(TrainError::Option(
                "--repeats 0: at least 1 was expected".to_owned(),
            ));
        }
        if let Some(f) = inner.filter(|f| !(0.0..1.0).contains(f)) {
            return Err(TrainError::Option(format!(
                "--valid {f}: a part of the rows, at least 0 and below 1, was expected"
            )));
        }
        let classes = examples.targets.spread(k);
        let mut plan = Vec::with_capacity(k * repeats);
        let mut hash = Sha256::new();
        for repeat in 1..=repeats {
            let split = match repeat {
                1 => split_seed,
                _ => derived(split_seed, repeat, 0),
            };
            let parts = folds(keys, &classes, k, split)?;
            for (fold, held_out) in parts.into_iter().enumerate() {
                let fold = fold + 1;
                let out: HashSet<u32> = held_out.iter().copied().collect();
                let rest: Vec<u32> = (0..examples.len() as u32)
                    .filter(|row| !out.contains(row))
                    .collect();
                let (train, valid) = match inner {
                    None => (rest, Vec::new()),
                    Some(fraction) => {
                        let keys: Vec<Vec<String>> =
                            rest.iter().map(|&r| keys[r as usize].clone()).collect();
                        let classes: Vec<Vec<u32>> =
                            rest.iter().map(|&r| classes[r as usize].clone()).collect();
                        let seed = derived(split_seed, repeat, fold);
                        let (a, b) = stratified_split(&keys, &classes, fraction, seed);
                        let of = |index: Vec<u32>| -> Vec<u32> {
                            index.iter().map(|&i| rest[i as usize]).collect()
                        };
                        (of(a), of(b))
                    }
                };
                if train.is_empty() {
                    return Err(TrainError::Option(format!(
                        "fold {fold}: no rows are left to fit; choose fewer folds or a smaller --valid"
                    )));
                }
                for part in [&train, &valid, &held_out] {
                    hash.update((part.len() as u64).to_le_bytes());
                    part.iter().for_each(|row| hash.update(row.to_le_bytes()));
                }
                plan.push(Fold {
                    repeat,
                    fold,
                    train,
                    valid,
                    held_out,
                    seed: derived(seed, repeat, fold),
                });
            }
        }
        let mut counts = std::collections::HashMap::new();
        for key in keys.iter().filter_map(|k| k.first()) {
            *counts.entry(key).or_insert(0usize) += 1;
        }
        Ok(FoldPlan {
            folds: plan,
            repeated_texts: counts.values().filter(|n| **n > 1).sum(),
            sha256: hex(&hash.finalize()),
        })
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_bert::Task;
    use hone_train::Targets;

    fn examples(targets: Targets, n: usize) -> Examples {
        let mut e = Examples::new(Task::Classify);
        for i in 0..n {
            e.push(i as u64, i + 2, &[1, 2], &[0, 0]);
        }
        e.targets = targets;
        e
    }

    /// Row i has text i/2, so every text stands twice, and group i/10.
    fn keys(n: usize) -> Vec<Vec<String>> {
        (0..n)
            .map(|i| vec![format!("text {}", i / 2), format!("group {}", i / 10)])
            .collect()
    }

    fn all_kinds(n: usize) -> Vec<Targets> {
        let c = |i: usize| (i % 3) as u32;
        vec![
            Targets::Classes((0..n).map(|i| Some(c(i))).collect()),
            Targets::sets((0..n).map(|i| (0..c(i)).collect()).collect()),
            Targets::Values((0..n).map(|i| (i * 7 % 50) as f32).collect()),
            Targets::Tags {
                tokens: Vec::new(),
                words: (0..n).map(|i| vec![Some(c(i)), Some(0)]).collect(),
                first_pieces: Vec::new(),
                unknown: Vec::new(),
            },
        ]
    }

    #[test]
    fn parts_of_a_fold_are_disjoint_whole_and_keep_texts_and_groups_together() {
        for targets in all_kinds(200) {
            let e = examples(targets, 200);
            let keys = keys(200);
            let plan = FoldPlan::new(&e, &keys, 4, 2, Some(0.2), 5, 7).unwrap();
            assert_eq!((plan.folds.len(), plan.repeated_texts), (8, 200));
            for repeat in [1, 2] {
                let own = plan.folds.iter().filter(|f| f.repeat == repeat);
                let mut held: Vec<u32> = own.flat_map(|f| f.held_out.clone()).collect();
                held.sort_unstable();
                assert_eq!(held, (0..200).collect::<Vec<_>>());
            }
            for fold in &plan.folds {
                let parts = [&fold.train, &fold.valid, &fold.held_out];
                let mut all: Vec<u32> = parts.into_iter().flatten().copied().collect();
                all.sort_unstable();
                assert_eq!(all, (0..200).collect::<Vec<_>>());
                assert!(!fold.valid.is_empty());
                let of = |part: &[u32]| -> HashSet<&String> {
                    part.iter().flat_map(|&r| &keys[r as usize]).collect()
                };
                let [a, b, c] = parts.map(|p| of(p));
                assert!(a.is_disjoint(&b) && a.is_disjoint(&c) && b.is_disjoint(&c));
            }
        }
    }

    #[test]
    fn repeats_and_seeds_differ_and_everything_is_reproducible() {
        let e = examples(all_kinds(90).remove(0), 90);
        let keys: Vec<Vec<String>> = (0..90).map(|i| vec![i.to_string()]).collect();
        let of = |split, seed| FoldPlan::new(&e, &keys, 3, 2, Some(0.1), split, seed).unwrap();
        let plan = of(0, 0);
        assert_eq!(plan, of(0, 0));
        assert_ne!(plan.sha256, of(1, 0).sha256);
        assert_eq!(plan.sha256, of(0, 1).sha256);
        let seeds: HashSet<u64> = plan.folds.iter().map(|f| f.seed).collect();
        assert_eq!(seeds.len(), 6);
        assert_ne!(plan.folds[0].held_out, plan.folds[3].held_out);
        let none = FoldPlan::new(&e, &keys, 3, 1, None, 0, 0).unwrap();
        assert!(none.folds.iter().all(|f| f.valid.is_empty()));
        assert!(FoldPlan::new(&e, &keys, 3, 0, None, 0, 0).is_err());
        for (k, repeats, says) in [
            (91, 1, "--folds 91: there are only 90 rows"),
            (
                usize::MAX,
                2,
                "--folds 18446744073709551615: there are only",
            ),
            (3, usize::MAX, "--folds 3: 18446744073709551615 times"),
            (90, 2000, "at most 100000 were expected"),
        ] {
            let error = FoldPlan::new(&e, &keys, k, repeats, None, 0, 0).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        for part in [1.0, 1.5, -0.1, f64::NAN] {
            let error = FoldPlan::new(&e, &keys, 3, 1, Some(part), 0, 0).unwrap_err();
            assert!(error.to_string().contains("--valid"), "{error}");
        }
    }
}
