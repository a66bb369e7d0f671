//! The classes by which rows are spread alike over parts, whatever their labels are.

use crate::Labels;

/// Most ranges into which values are put.
const RANGES: usize = 10;

/// Each row's class; none where its label is not known.
pub fn classes(all: &[Option<u32>]) -> Vec<Vec<u32>> {
    all.iter().map(|c| c.iter().copied().collect()).collect()
}

/// Each row's labels; having none is a class too.
pub fn sets(all: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let none = all.iter().flatten().max().map_or(0, |m| m + 1);
    let own = |set: &Vec<u32>| match set.is_empty() {
        true => vec![none],
        false => set.clone(),
    };
    all.iter().map(own).collect()
}

/// The tags that each row's words have.
pub fn tags(all: &[Vec<Option<u32>>]) -> Vec<Vec<u32>> {
    let own = |words: &Vec<Option<u32>>| {
        let mut own: Vec<u32> = words.iter().flatten().copied().collect();
        own.sort_unstable();
        own.dedup();
        own
    };
    all.iter().map(own).collect()
}

/// The range in which each row's value lies: ten of equally many rows, fewer where one had fewer than `least` rows.
pub fn values(all: &[f32], least: usize) -> Vec<Vec<u32>> {
    let ranges = (all.len() / least.max(1)).clamp(1, RANGES);
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|&a, &b| all[a].total_cmp(&all[b]));
    let mut range = vec![Vec::new(); all.len()];
    for (rank, row) in order.into_iter().enumerate() {
        range[row].push((rank * ranges / all.len()) as u32);
    }
    range
}

impl Labels {
    /// The classes by which these rows are spread alike over parts, `least` being the number of rows that a range of values has
    /// at least.
    pub fn spread(&self, least: usize) -> Vec<Vec<u32>> {
        match self {
            Labels::Classes(all) => classes(all),
            Labels::Sets { sets: all, .. } => sets(all),
            Labels::Values(all) => values(all, least),
            Labels::Tags(all) => tags(all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_label_by_hand() {
        let of = |labels: Labels| labels.spread(2);
        assert_eq!(
            of(Labels::Classes(vec![Some(2), None])),
            [vec![2], Vec::new()]
        );
        let labels = Labels::Sets {
            sets: vec![vec![0, 3], vec![], vec![1]],
            unknown: vec![0; 3],
        };
        assert_eq!(of(labels), [vec![0, 3], vec![4], vec![1]]);
        let words = vec![vec![Some(5), Some(0), None, Some(0)], vec![]];
        assert_eq!(of(Labels::Tags(words)), [vec![0, 5], vec![]]);
        // Five rows, two of them at least: two ranges.
        let values = of(Labels::Values(vec![3.0, -1.0, 8.0, 0.0, 2.0]));
        assert_eq!(values.concat(), [1, 0, 1, 0, 0]);
        assert!(of(Labels::Values(Vec::new())).is_empty());
    }
}
