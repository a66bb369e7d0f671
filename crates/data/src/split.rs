//! Splits: stratified, whole groups, exact duplicates together, a pure function of a seed.

use hone_tensor::permutation;
use std::collections::{BTreeMap, HashMap};

/// Items that must stay together, with the stratum most of them have.
pub(crate) struct Bundle {
    pub rows: Vec<u32>,
    stratum: usize,
}

/// Rows that share a key (a group, or a text) form a bundle.
pub(crate) fn bundles(keys: &[Vec<String>], strata: &[usize]) -> Vec<Bundle> {
    // Union-find over rows through each key.
    let mut parent: Vec<usize> = (0..strata.len()).collect();
    fn root(parent: &mut [usize], mut i: usize) -> usize {
        while parent[i] != i {
            parent[i] = parent[parent[i]];
            i = parent[i];
        }
        i
    }
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (row, keys) in keys.iter().enumerate() {
        for key in keys {
            let other = *first.entry(key).or_insert(row);
            let (a, b) = (root(&mut parent, other), root(&mut parent, row));
            parent[a.max(b)] = a.min(b);
        }
    }
    let mut by_root: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for row in 0..strata.len() {
        let r = root(&mut parent, row);
        by_root.entry(r).or_default().push(row as u32);
    }
    by_root
        .into_values()
        .map(|rows| {
            let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
            for &r in &rows {
                *counts.entry(strata[r as usize]).or_default() += 1;
            }
            let stratum = counts
                .iter()
                .max_by_key(|(s, n)| (**n, std::cmp::Reverse(**s)))
                .map_or(0, |(s, _)| *s);
            Bundle { rows, stratum }
        })
        .collect()
}

/// The bundle of each row, from 0: rows that share a string in `keys` (their group, their text) are in one.
pub fn bundle_of(keys: &[Vec<String>]) -> Vec<u32> {
    let mut own = vec![0; keys.len()];
    for (number, bundle) in bundles(keys, &vec![0; keys.len()]).into_iter().enumerate() {
        for row in bundle.rows {
            own[row as usize] = number as u32;
        }
    }
    own
}

/// Deals the rows into parts whose sizes have the given weights, every stratum spread alike.
///
/// `strata[row]` is its class (0 for all where there is none); rows that share a string in `keys[row]`
/// (their group, their lower-cased text) come into one part.
fn deal(keys: &[Vec<String>], strata: &[usize], weights: &[f64], seed: u64) -> Vec<Vec<u32>> {
    let all = bundles(keys, strata);
    let order = permutation(all.len(), seed, 0);
    let mut parts: Vec<Vec<u32>> = vec![Vec::new(); weights.len()];
    let total: f64 = weights.iter().sum();
    let strata_count = strata.iter().max().map_or(0, |m| m + 1);
    let mut sizes = vec![0usize; strata_count];
    for &s in strata {
        sizes[s] += 1;
    }
    let mut dealt = vec![vec![0usize; weights.len()]; strata_count];
    // Large bundles first: small ones then even out what they leave.
    let mut by_size: Vec<usize> = order.iter().map(|&i| i as usize).collect();
    by_size.sort_by_key(|&i| std::cmp::Reverse(all[i].rows.len()));
    for i in by_size {
        let bundle = &all[i];
        let s = bundle.stratum;
        let lack = |part: usize| {
            let want = sizes[s] as f64 * weights[part] / total;
            want - dealt[s][part] as f64
        };
        let part = (0..weights.len())
            .max_by(|&a, &b| lack(a).total_cmp(&lack(b)).then(b.cmp(&a)))
            .unwrap_or(0);
        for &row in &bundle.rows {
            dealt[strata[row as usize]][part] += 1;
        }
        parts[part].extend(&bundle.rows);
    }
    for part in &mut parts {
        part.sort_unstable();
    }
    parts
}

/// Rows for training and, a `fraction` of all, for validation.
pub fn stratified_split(
    keys: &[Vec<String>],
    strata: &[usize],
    fraction: f64,
    seed: u64,
) -> (Vec<u32>, Vec<u32>) {
    let mut parts = deal(keys, strata, &[1.0 - fraction, fraction], seed).into_iter();
    (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn without_groups_each_class_is_split_alike(
            strata in prop::collection::vec(0usize..3, 40..300),
            seed in 0u64..50,
        ) {
            let keys = vec![Vec::new(); strata.len()];
            let (train, valid) = stratified_split(&keys, &strata, 0.2, seed);
            prop_assert_eq!(train.len() + valid.len(), strata.len());
            for class in 0..3 {
                let n = strata.iter().filter(|&&s| s == class).count() as f64;
                let got = valid.iter().filter(|&&r| strata[r as usize] == class).count() as f64;
                prop_assert!((got - 0.2 * n).abs() <= 1.0, "class {}: {} of {}", class, got, n);
            }
        }
    }

    #[test]
    fn rows_that_share_a_key_are_one_bundle() {
        let keys = [&["a"][..], &["b"], &["a", "g"], &["c"], &["d", "g"]];
        let keys = keys.map(|k| k.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(bundle_of(&keys), [0, 1, 0, 2, 0]);
    }

    #[test]
    fn the_seed_decides() {
        let strata = vec![0; 100];
        let keys = vec![Vec::new(); 100];
        let split = |seed| stratified_split(&keys, &strata, 0.1, seed).1;
        assert_eq!(split(1), split(1));
        assert_ne!(split(1), split(2));
        assert_eq!(split(1).len(), 10);
    }
}
