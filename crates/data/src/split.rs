//! Splits: stratified, whole groups, exact duplicates together, a pure function of a seed; bundles are dealt in the orders of folds.

mod iterative;

use crate::folds::Orders;
use hone_tensor::permutation;
pub(crate) use iterative::deal_several;
use std::cmp::{Ordering, Reverse};
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
                .max_by_key(|(s, n)| (**n, Reverse(**s)))
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

/// Rows dealt so far, and what was to be dealt.
struct Hands<'a> {
    strata: &'a [usize],
    /// Weight of each part, and of all.
    weights: &'a [f64],
    total: f64,
    /// Rows of each stratum.
    sizes: Vec<usize>,
    /// Of them in each part.
    dealt: Vec<Vec<usize>>,
    /// Bundles of each stratum in each part, in the order in which they were dealt.
    held: Vec<Vec<Vec<usize>>>,
}

impl Hands<'_> {
    /// Rows that a part has of a stratum beyond its share.
    fn excess(&self, stratum: usize, part: usize) -> f64 {
        let share = self.sizes[stratum] as f64 * self.weights[part] / self.total;
        self.dealt[stratum][part] as f64 - share
    }

    /// What is least where a bundle had best go: for one row what the part has too much already; for several what they add
    /// to χ² (squared distances from the part's share of each stratum, in shares), since by rows alone all large bundles
    /// would go to the larger part, and the smaller one have none but small ones.
    fn cost(&self, bundle: &Bundle, part: usize) -> f64 {
        if bundle.rows.len() == 1 {
            return self.excess(bundle.stratum, part);
        }
        let mut own: Vec<usize> = bundle
            .rows
            .iter()
            .map(|&r| self.strata[r as usize])
            .collect();
        own.sort_unstable();
        let each = own.chunk_by(|a, b| a == b).map(|same| {
            let (stratum, rows) = (same[0], same.len() as f64);
            let share = self.sizes[stratum] as f64 * self.weights[part];
            (rows * rows + 2.0 * rows * self.excess(stratum, part)) / share
        });
        each.sum()
    }

    fn give(&mut self, number: usize, bundle: &Bundle, part: usize) {
        for &row in &bundle.rows {
            self.dealt[self.strata[row as usize]][part] += 1;
        }
        self.held[bundle.stratum][part].push(number);
    }

    /// Takes back the last bundle of a stratum, where that is a single row.
    fn take_single(&mut self, all: &[Bundle], stratum: usize, part: usize) -> Option<usize> {
        let held = &mut self.held[stratum][part];
        let last = held.pop_if(|last| all[*last].rows.len() == 1)?;
        self.dealt[stratum][part] -= 1;
        Some(last)
    }

    /// What rounding each stratum by itself has left too much in one part and too little in another is moved, one row
    /// of a stratum that is the better for it: of twenty classes of six rows a tenth are twelve rows, and neither none nor
    /// twenty. Where parts are within a row of their size already, nothing moves.
    fn even_out(&mut self, all: &[Bundle]) {
        let parts = 0..self.weights.len();
        let strata = 0..self.sizes.len();
        let of_all = |part| strata.clone().map(|s| self.excess(s, part)).sum::<f64>();
        let mut over: Vec<f64> = parts.clone().map(of_all).collect();
        loop {
            let by = |a: &usize, b: &usize| over[*a].total_cmp(&over[*b]);
            let ends = (parts.clone().max_by(by), parts.clone().min_by(by));
            let (Some(from), Some(to)) = ends else {
                return;
            };
            if over[from] - over[to] <= 2.0 {
                return;
            }
            let gain = |s: usize| self.excess(s, from) - self.excess(s, to);
            let mut better: Vec<usize> = strata.clone().filter(|&s| gain(s) > 0.0).collect();
            better.sort_by(|&a, &b| gain(b).total_cmp(&gain(a)));
            let mut taken = better.into_iter().map(|s| self.take_single(all, s, from));
            let Some(bundle) = taken.find_map(|bundle| bundle) else {
                return;
            };
            self.give(bundle, &all[bundle], to);
            over[from] -= 1.0;
            over[to] += 1.0;
        }
    }
}

/// Whether rows have several classes.
pub(crate) fn have_several(classes: &[Vec<u32>]) -> bool {
    classes.iter().any(|own| own.len() > 1)
}

/// Deals the rows into parts whose sizes have the given weights, every class spread alike.
///
/// `classes[row]` are the row's classes: one, or several where it has several labels, or none; rows that share a string in
/// `keys[row]` (their group, their text) come into one part.
fn deal(keys: &[Vec<String>], classes: &[Vec<u32>], weights: &[f64], seed: u64) -> Vec<Vec<u32>> {
    if have_several(classes) {
        return deal_several(keys, classes, weights, seed);
    }
    let only = |own: &Vec<u32>| own.first().map_or(0, |&class| class as usize);
    let strata: Vec<usize> = classes.iter().map(only).collect();
    let all = bundles(keys, &strata);
    let total = weights.iter().sum::<f64>();
    let shares: Vec<f64> = weights.iter().map(|w| w / total).collect();
    let deal = |order| deal_strata(order, &all, &strata, weights);
    Orders::new(&all, seed, |_, _| Ordering::Equal).most_even(classes, &shares, deal)
}

/// Deals bundles in one order; rows are of one class each, or none, which counts as the first.
fn deal_strata(
    order: Vec<usize>,
    all: &[Bundle],
    strata: &[usize],
    weights: &[f64],
) -> Vec<Vec<u32>> {
    let strata_count = strata.iter().max().map_or(0, |m| m + 1);
    let mut hands = Hands {
        strata,
        weights,
        total: weights.iter().sum(),
        sizes: vec![0; strata_count],
        dealt: vec![vec![0; weights.len()]; strata_count],
        held: vec![vec![Vec::new(); weights.len()]; strata_count],
    };
    for &s in strata {
        hands.sizes[s] += 1;
    }
    for i in order {
        let bundle = &all[i];
        let cost = |part: usize| hands.cost(bundle, part);
        let part = (0..weights.len())
            .min_by(|&a, &b| cost(a).total_cmp(&cost(b)))
            .unwrap_or(0);
        hands.give(i, bundle, part);
    }
    hands.even_out(all);
    let mut parts = vec![Vec::new(); weights.len()];
    for stratum in &hands.held {
        for (part, bundles) in stratum.iter().enumerate() {
            parts[part].extend(bundles.iter().flat_map(|&b| all[b].rows.iter().copied()));
        }
    }
    for part in &mut parts {
        part.sort_unstable();
    }
    parts
}

/// The rows of which holding them out costs least: the smallest bundle, of equal ones one whose classes have most rows, of
/// these the first that the seed draws. None where all rows are one bundle.
fn smallest(keys: &[Vec<String>], classes: &[Vec<u32>], seed: u64) -> Option<Vec<u32>> {
    let mut all = bundles(keys, &vec![0; keys.len()]);
    if all.len() < 2 {
        return None;
    }
    let mut rows: HashMap<u32, usize> = HashMap::new();
    for &class in classes.iter().flatten() {
        *rows.entry(class).or_default() += 1;
    }
    let rarest = |bundle: &Bundle| {
        let own = bundle.rows.iter().flat_map(|&r| &classes[r as usize]);
        own.map(|class| rows[class]).min()
    };
    let drawn = permutation(all.len(), seed, 0).into_iter();
    let cost = |&i: &u32| {
        let bundle = &all[i as usize];
        (bundle.rows.len(), Reverse(rarest(bundle)))
    };
    let chosen = drawn.min_by_key(cost)?;
    Some(all.swap_remove(chosen as usize).rows)
}

/// Rows for training and, a `fraction` of all, for validation, each in ascending order. A fraction above 0 holds one row out
/// at least, with those that stay with it, unless all rows stay together.
///
/// `classes` and `keys` are those of [`folds`](crate::folds()): what is spread alike, and what stays together.
///
/// # Panics
///
/// Where `keys` and `classes` are not of equally many rows, or `fraction` is not from 0 to 1.
pub fn stratified_split(
    keys: &[Vec<String>],
    classes: &[Vec<u32>],
    fraction: f64,
    seed: u64,
) -> (Vec<u32>, Vec<u32>) {
    assert_eq!(keys.len(), classes.len(), "keys and classes of each row");
    assert!(
        (0.0..=1.0).contains(&fraction),
        "a fraction of {fraction} of the rows: 0 to 1 was expected"
    );
    let mut parts = deal(keys, classes, &[1.0 - fraction, fraction], seed).into_iter();
    let (mut train, valid) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    if fraction == 0.0 || !valid.is_empty() {
        return (train, valid);
    }
    let valid = smallest(keys, classes, seed).unwrap_or_default();
    train.retain(|row| valid.binary_search(row).is_err());
    (train, valid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn each(strata: &[usize]) -> Vec<Vec<u32>> {
        strata.iter().map(|&class| vec![class as u32]).collect()
    }

    proptest! {
        #[test]
        fn without_groups_each_class_is_split_alike(
            strata in prop::collection::vec(0usize..3, 40..300),
            seed in 0u64..50,
        ) {
            let keys = vec![Vec::new(); strata.len()];
            let (train, valid) = stratified_split(&keys, &each(&strata), 0.2, seed);
            prop_assert_eq!(train.len() + valid.len(), strata.len());
            for class in 0..3 {
                let n = strata.iter().filter(|&&s| s == class).count() as f64;
                let got = valid.iter().filter(|&&r| strata[r as usize] == class).count() as f64;
                prop_assert!((got - 0.2 * n).abs() <= 1.0, "class {}: {} of {}", class, got, n);
            }
        }
    }

    /// Labels that come in any company, none of them first.
    #[test]
    fn each_of_several_labels_is_split_alike() {
        let own = |row: u32| (0..4).filter(|c| row.is_multiple_of(c + 2)).collect();
        let classes: Vec<Vec<u32>> = (0..600).map(own).collect();
        for seed in 0..10 {
            let (_, valid) = stratified_split(&vec![Vec::new(); 600], &classes, 0.2, seed);
            assert!(
                valid.len().abs_diff(120) <= 1,
                "seed {seed}: {}",
                valid.len()
            );
            // 300, 200, 150 and 120 rows have them.
            for (class, want) in (0..).zip([60usize, 40, 30, 24]) {
                let got = valid
                    .iter()
                    .filter(|&&r| classes[r as usize].contains(&class));
                let got = got.count();
                assert!(
                    got.abs_diff(want) <= 1,
                    "seed {seed}, {class}: {got} of {want}"
                );
            }
        }
    }

    /// Rounding each of many small classes the same way is no tenth.
    #[test]
    fn parts_have_their_size_however_small_the_classes() {
        for rows in 2..12 {
            let strata: Vec<usize> = (0..20 * rows).map(|i| i % 20).collect();
            let keys = vec![Vec::new(); strata.len()];
            for fraction in [0.1, 0.2, 0.5] {
                let (_, valid) = stratified_split(&keys, &each(&strata), fraction, 3);
                let want = fraction * strata.len() as f64;
                let off = (valid.len() as f64 - want).abs();
                assert!(off <= 1.0, "{rows} rows a class: {} of {want}", valid.len());
                for class in 0..20 {
                    let got = valid.iter().filter(|&&r| strata[r as usize] == class);
                    let want = fraction * rows as f64;
                    assert!((got.count() as f64 - want).abs() <= 1.0);
                }
            }
            let folds = deal(&keys, &each(&strata), &[1.0; 5], 3);
            let sizes: Vec<usize> = folds.iter().map(Vec::len).collect();
            let apart = sizes.iter().max().unwrap() - sizes.iter().min().unwrap();
            assert!(apart <= 2, "{sizes:?}");
        }
    }

    #[test]
    fn rows_that_share_a_key_are_one_bundle() {
        let keys = [&["a"][..], &["b"], &["a", "g"], &["c"], &["d", "g"]];
        let keys = keys.map(|k| k.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(bundle_of(&keys), [0, 1, 0, 2, 0]);
    }

    /// Groups of 10, 5 and 5 rows make two halves only if the 10 come first; of 100 rows a tenth can be single rows, and
    /// no group of 60 or 15 of them.
    #[test]
    fn large_bundles_come_first() {
        let grouped = |sizes: &[usize]| -> Vec<Vec<String>> {
            let rows = |(group, &size): (usize, &usize)| vec![vec![group.to_string()]; size];
            sizes.iter().enumerate().flat_map(rows).collect()
        };
        let (halves, tenth) = (
            grouped(&[5, 10, 5]),
            grouped(&[&[1; 25][..], &[15, 60]].concat()),
        );
        for seed in 0..20 {
            for own in [vec![0], vec![0, 1]] {
                let classes = vec![own; 100];
                let (a, b) = stratified_split(&halves, &classes[..20], 0.5, seed);
                assert_eq!(
                    (a.len(), b.len()),
                    (10, 10),
                    "{:?}, seed {seed}",
                    classes[0]
                );
                let parts = crate::folds(&halves, &classes[..20], 2, seed).unwrap();
                assert_eq!((parts[0].len(), parts[1].len()), (10, 10), "seed {seed}");
                let (_, valid) = stratified_split(&tenth, &classes, 0.1, seed);
                assert_eq!(valid.len(), 10, "{:?}, seed {seed}", classes[0]);
                assert!(valid.iter().all(|&row| row < 25), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_bundle_counts_as_the_class_that_most_of_its_rows_have() {
        let keys = [0, 0, 0, 1, 1, 1, 2, 2].map(|group: u32| vec![group.to_string()]);
        let all = bundles(&keys, &[2, 0, 0, 0, 3, 3, 5, 4]);
        let strata: Vec<usize> = all.iter().map(|bundle| bundle.stratum).collect();
        // Of two that are equal the first class.
        assert_eq!(strata, [0, 3, 4]);
    }

    /// Two hundred groups of one to twenty rows: those held out are as large as the others, and a tenth of the rows.
    #[test]
    fn groups_of_every_size_are_held_out() {
        for (seed, own) in (0..10).flat_map(|seed| [(seed, vec![0]), (seed, vec![0, 1])]) {
            let mut keys = Vec::new();
            for group in 0..200 {
                keys.extend(vec![vec![format!("group {group}")]; 1 + group % 20]);
            }
            let classes = vec![own; keys.len()];
            let (train, valid) = stratified_split(&keys, &classes, 0.1, seed);
            assert_eq!(train.len() + valid.len(), 2100);
            assert!((valid.len() as i64 - 210).abs() <= 2, "{}", valid.len());
            let mut groups: Vec<&str> = valid.iter().map(|&r| &*keys[r as usize][0]).collect();
            groups.dedup();
            // 10.5 rows a group in all.
            let mean = valid.len() as f64 / groups.len() as f64;
            assert!(
                (9.0..12.5).contains(&mean),
                "seed {seed}: {mean} rows a group"
            );
        }
    }

    /// Twenty groups, each of one row of class 2 and four of class 0 or 1: halves have five groups of either kind.
    #[test]
    fn groups_of_mixed_classes_are_spread_by_their_majority() {
        let class = |i: u32| if i.is_multiple_of(5) { 2 } else { i / 5 % 2 };
        let classes: Vec<Vec<u32>> = (0..100).map(|i| vec![class(i)]).collect();
        let keys: Vec<Vec<String>> = (0..100).map(|i| vec![(i / 5).to_string()]).collect();
        for seed in 0..20 {
            let (_, valid) = stratified_split(&keys, &classes, 0.5, seed);
            let of = |class| {
                valid
                    .iter()
                    .filter(|&&r| classes[r as usize][0] == class)
                    .count()
            };
            assert_eq!([of(0), of(1), of(2)], [20, 20, 10], "seed {seed}");
        }
    }

    #[test]
    fn all_or_none_may_be_held_out() {
        let (keys, classes) = (vec![Vec::new(); 6], each(&[0, 1, 0, 1, 0, 1]));
        let sizes = |fraction| {
            let (train, valid) = stratified_split(&keys, &classes, fraction, 0);
            (train.len(), valid.len())
        };
        assert_eq!((sizes(0.0), sizes(1.0)), ((6, 0), (0, 6)));
    }

    /// Of fifty rows of one class and ten of another a hundredth is rounded to none.
    #[test]
    fn a_small_fraction_holds_out_a_row() {
        let strata: Vec<usize> = (0..60).map(|i| usize::from(i >= 50)).collect();
        let alone = vec![Vec::new(); 60];
        for seed in 0..10 {
            for (several, fraction) in [(false, 0.01), (true, 0.01), (true, 1e-4)] {
                let mut classes = each(&strata);
                classes[0].extend(several.then_some(2));
                let (train, valid) = stratified_split(&alone, &classes, fraction, seed);
                assert_eq!((train.len(), valid.len()), (59, 1), "seed {seed}");
                // Of the class that can best do without it.
                assert!((1..50).contains(&valid[0]) && !train.contains(&valid[0]));
            }
        }
        let held = |keys: &[&str], fraction: f64| {
            let keys: Vec<Vec<String>> = keys.iter().map(|k| vec![(*k).to_owned()]).collect();
            let (train, valid) = stratified_split(&keys, &each(&strata[..keys.len()]), fraction, 0);
            assert_eq!(train.len() + valid.len(), keys.len());
            valid
        };
        assert_eq!(held(&["a", "b"], 0.1).len(), 1);
        // What stays together is held out together, or not at all.
        assert_eq!(held(&["a", "a", "a", "b", "b"], 0.01), [3, 4]);
        assert!(held(&["a", "a"], 0.1).is_empty());
        assert!(held(&["a"], 0.1).is_empty());
        assert!(held(&["a", "b", "c"], 0.0).is_empty());
    }

    #[test]
    fn what_cannot_be_split_is_refused() {
        let says = |keys: usize, fraction: f64| {
            let split = || {
                stratified_split(
                    &vec![vec!["a".to_owned()]; keys],
                    &each(&[0, 1]),
                    fraction,
                    0,
                )
            };
            let panic = std::panic::catch_unwind(split).unwrap_err();
            panic.downcast_ref::<String>().unwrap().clone()
        };
        for fraction in [1.5, -0.1, f64::NAN, f64::INFINITY] {
            assert!(
                says(2, fraction).contains("0 to 1 was expected"),
                "{fraction}"
            );
        }
        for keys in [1, 3] {
            assert!(says(keys, 0.5).contains("keys and classes"), "{keys}");
        }
    }

    #[test]
    fn the_seed_decides() {
        let strata = vec![0; 100];
        let keys = vec![Vec::new(); 100];
        let split = |seed| stratified_split(&keys, &each(&strata), 0.1, seed).1;
        assert_eq!(split(1), split(1));
        assert_ne!(split(1), split(2));
        assert_eq!(split(1).len(), 10);
    }

    /// What documents say of texts without groups, a few of them repeated, was measured with these splits.
    #[test]
    fn rows_that_stand_alone_are_split_as_ever() {
        let classes: Vec<Vec<u32>> = (0..1000).map(|i| vec![i * i % 7 % 4]).collect();
        let alone = vec![Vec::new(); 1000];
        let repeated: Vec<Vec<String>> = (0..1000).map(|i| vec![(i % 950).to_string()]).collect();
        for (keys, want) in [
            (&alone, 0x3eb0_84e1_56fb_2fbb_u64),
            (&repeated, 0x2263_5309_2748_a06e),
        ] {
            let mut number = 0xcbf2_9ce4_8422_2325_u64;
            for seed in 0..4 {
                for fraction in [0.1, 0.2, 0.5] {
                    for row in stratified_split(keys, &classes, fraction, seed).1 {
                        number = (number ^ u64::from(row)).wrapping_mul(0x0100_0000_01b3);
                    }
                }
            }
            assert_eq!(number, want);
        }
    }

    /// Groups of 4 to 28 rows, no two of one size, of three classes: every seed holds out other ones, and always a fifth of the rows
    /// and nearly of each class.
    #[test]
    fn seeds_hold_out_groups_of_different_sizes_differently_and_evenly() {
        let (mut keys, mut classes) = (Vec::new(), Vec::new());
        for group in 0..25u32 {
            for row in 0..4 + group * 7 % 25 {
                keys.push(vec![group.to_string()]);
                classes.push(vec![(group * group + row * (1 + group % 3)) % 11 % 3]);
            }
        }
        let count = |rows: &[u32], class| {
            rows.iter()
                .filter(|&&r| classes[r as usize] == [class])
                .count() as f64
        };
        let all: Vec<u32> = (0..classes.len() as u32).collect();
        let mut seen = HashSet::new();
        for seed in 0..10 {
            let (_, valid) = stratified_split(&keys, &classes, 0.2, seed);
            let off = valid.len() as f64 / all.len() as f64 - 0.2;
            assert!(off.abs() < 0.005, "seed {seed}: {off}");
            for class in 0..3 {
                let off = count(&valid, class) / count(&all, class) - 0.2;
                assert!(off.abs() < 0.015, "seed {seed}, class {class}: {off}");
            }
            seen.insert(valid);
        }
        assert_eq!(seen.len(), 10);
    }
}
