//! Rows of several labels: iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011).

use super::{Bundle, bundles};
use crate::folds::{Orders, class_count};
use std::cmp::Ordering;

/// Deals the rows into parts whose sizes have the given weights, every class spread alike.
///
/// Rows that stay together first, large bundles before the others, as small ones then even out what they leave. Then class after
/// class, the one first of which the fewest rows are left: its rows go to the part that lacks most of it, of equal ones to the part
/// that lacks most rows. What is frequent evens out what the rare has left.
pub(crate) fn deal_several(
    keys: &[Vec<String>],
    classes: &[Vec<u32>],
    weights: &[f64],
    seed: u64,
) -> Vec<Vec<u32>> {
    let all = bundles(keys, &vec![0; classes.len()]);
    let sum = weights.iter().sum::<f64>();
    let shares: Vec<f64> = weights.iter().map(|w| w / sum).collect();
    let deal = |order: Vec<usize>| deal_in(order, &all, classes, &shares);
    Orders::new(&all, seed, |_, _| Ordering::Equal).most_even(classes, &shares, deal)
}

/// Deals bundles in one order.
fn deal_in(
    order: Vec<usize>,
    all: &[Bundle],
    classes: &[Vec<u32>],
    shares: &[f64],
) -> Vec<Vec<u32>> {
    let count = class_count(classes);
    let mut left = vec![0usize; count];
    for &class in classes.iter().flatten() {
        left[class as usize] += 1;
    }
    let mut hands = Hands {
        classes,
        shares,
        rows: Dealt::new(classes.len(), shares.len()),
        each: left.iter().map(|&n| Dealt::new(n, shares.len())).collect(),
        parts: vec![Vec::new(); shares.len()],
    };
    let (whole, single): (Vec<&Bundle>, Vec<&Bundle>) = order
        .into_iter()
        .map(|i| &all[i])
        .partition(|bundle| bundle.rows.len() > 1);
    for bundle in whole {
        let part = hands.cheapest(&bundle.rows);
        hands.give(&bundle.rows, part, &mut left);
    }
    let single: Vec<u32> = single
        .into_iter()
        .flat_map(|bundle| &bundle.rows)
        .copied()
        .collect();
    let mut holders: Vec<Vec<u32>> = vec![Vec::new(); count];
    for &row in &single {
        for &class in &classes[row as usize] {
            holders[class as usize].push(row);
        }
    }
    let mut dealt = vec![false; classes.len()];
    let rarest = |left: &[usize]| (0..count).filter(|&c| left[c] > 0).min_by_key(|&c| left[c]);
    while let Some(class) = rarest(&left) {
        for &row in &holders[class] {
            if !std::mem::replace(&mut dealt[row as usize], true) {
                let part = hands.neediest(|hands, part| hands.lacks(&hands.each[class], part));
                hands.give(&[row], part, &mut left);
            }
        }
    }
    for row in single.into_iter().filter(|&row| !dealt[row as usize]) {
        let part = hands.neediest(|_, _| 0.0);
        hands.give(&[row], part, &mut left);
    }
    for part in &mut hands.parts {
        part.sort_unstable();
    }
    hands.parts
}

/// Rows of one class, or all of them.
struct Dealt {
    total: f64,
    /// Those that each part has.
    parts: Vec<f64>,
}

impl Dealt {
    fn new(rows: usize, parts: usize) -> Self {
        Dealt {
            total: rows as f64,
            parts: vec![0.0; parts],
        }
    }
}

/// What was dealt so far.
struct Hands<'a> {
    classes: &'a [Vec<u32>],
    /// What each part is to get of everything.
    shares: &'a [f64],
    rows: Dealt,
    each: Vec<Dealt>,
    parts: Vec<Vec<u32>>,
}

impl Hands<'_> {
    /// Rows that a part lacks.
    fn lacks(&self, of: &Dealt, part: usize) -> f64 {
        of.total * self.shares[part] - of.parts[part]
    }

    /// The part that lacks most by a measure, of equal ones most rows.
    fn neediest(&self, lacks: impl Fn(&Self, usize) -> f64) -> usize {
        let by = |&a: &usize, &b: &usize| {
            let first = lacks(self, b).total_cmp(&lacks(self, a));
            first.then_with(|| {
                self.lacks(&self.rows, b)
                    .total_cmp(&self.lacks(&self.rows, a))
            })
        };
        (0..self.parts.len()).min_by(by).unwrap_or(0)
    }

    /// The part where rows that stay together add least to the squared distances from what it is to get, each class (and all
    /// rows, as one more) in shares of its size.
    fn cheapest(&self, rows: &[u32]) -> usize {
        let mut own: Vec<u32> = rows
            .iter()
            .flat_map(|&r| &self.classes[r as usize])
            .copied()
            .collect();
        own.sort_unstable();
        let cost = |part: usize| {
            let add = |of: &Dealt, more: usize| {
                let more = more as f64;
                (more * more - 2.0 * more * self.lacks(of, part)) / (of.total * of.total)
            };
            let each = own
                .chunk_by(|a, b| a == b)
                .map(|same| add(&self.each[same[0] as usize], same.len()));
            (each.sum::<f64>() + add(&self.rows, rows.len())) / self.shares[part]
        };
        (0..self.parts.len())
            .min_by(|&a, &b| cost(a).total_cmp(&cost(b)))
            .unwrap_or(0)
    }

    fn give(&mut self, rows: &[u32], part: usize, left: &mut [usize]) {
        self.rows.parts[part] += rows.len() as f64;
        for &row in rows {
            for &class in &self.classes[row as usize] {
                self.each[class as usize].parts[part] += 1.0;
                left[class as usize] -= 1;
            }
        }
        self.parts[part].extend(rows);
    }
}

#[cfg(test)]
mod tests {
    use crate::{bundle_of, folds, stratified_split};
    use hone_tensor::Philox;

    /// Rows with labels of which the first are frequent and the last rare.
    fn rows(rows: u64, labels: u32, seed: u64) -> Vec<Vec<u32>> {
        let draws = Philox::new(seed);
        let unit = |row, label| (draws.u64_at(row, label) >> 11) as f64 / (1u64 << 53) as f64;
        let has = |row, label: u32| unit(row, u64::from(label)) < 0.4 / f64::from(1 + label);
        let own = |row| (0..labels).filter(|&l| has(row, l)).collect();
        (0..rows).map(own).collect()
    }

    /// How far a part's number of rows with a label is from its share, of all labels the furthest.
    fn furthest(classes: &[Vec<u32>], part: &[u32], share: f64) -> f64 {
        let labels = classes.iter().flatten().max().unwrap() + 1;
        let off = |label| {
            let has = |own: &Vec<u32>| own.contains(&label);
            let all = classes.iter().filter(|own| has(own)).count() as f64;
            let own = part.iter().filter(|&&r| has(&classes[r as usize])).count() as f64;
            (own - share * all).abs()
        };
        (0..labels).map(off).fold(0.0, f64::max)
    }

    #[test]
    fn every_label_has_its_share() {
        for seed in 0..20 {
            let classes = rows(1000, 20, seed);
            let keys = vec![Vec::new(); 1000];
            for share in [0.1, 0.2, 0.5] {
                let (train, valid) = stratified_split(&keys, &classes, share, seed);
                assert_eq!(train.len() + valid.len(), 1000);
                assert!((valid.len() as f64 - 1000.0 * share).abs() <= 1.0);
                let off = furthest(&classes, &valid, share);
                assert!(off <= 1.0, "{off} rows of a label");
            }
        }
    }

    #[test]
    fn texts_stay_together_and_the_seed_decides() {
        let classes = rows(600, 8, 1);
        let keys: Vec<Vec<String>> = (0..600).map(|i| vec![(i * i % 251).to_string()]).collect();
        let of = |seed| stratified_split(&keys, &classes, 0.2, seed);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        let (train, valid) = of(1);
        let bundle = bundle_of(&keys);
        let of = |part: &[u32]| part.iter().map(|&r| bundle[r as usize]).collect();
        let [a, b]: [std::collections::BTreeSet<u32>; 2] = [of(&train), of(&valid)];
        assert!(a.is_disjoint(&b));
        assert_eq!(train.len() + valid.len(), 600);
        let off = furthest(&classes, &valid, 0.2);
        assert!(off <= 3.0, "{off} rows of a label");
    }

    #[test]
    fn folds_of_several_labels_are_level() {
        for seed in 0..10 {
            let classes = rows(1000, 20, seed);
            let parts = folds(&vec![Vec::new(); 1000], &classes, 5, seed).unwrap();
            assert!(parts.iter().all(|part| part.len() == 200));
            let off = parts.iter().map(|part| furthest(&classes, part, 0.2));
            let off = off.fold(0.0, f64::max);
            assert!(off < 1.0, "{off} rows of a label");
        }
    }
}
