//! Groups of rows that the jackknife leaves out one by one: the same rows in every pair.

use hone_data::bundle_of;
use hone_tensor::permutation;
use hone_train::metrics::is_mean_of_rows;

/// Most groups. Leaving out single texts tells most; of larger data this many parts tell as much.
const MOST: usize = 1000;

/// How many texts a group of these rows stands for; 0 where a text may change the metric by more than its share of them.
pub(crate) fn texts_a_group(keys: &[Vec<String>], metric: &str) -> f64 {
    let texts = bundle_of(keys).into_iter().max().map_or(0, |b| b + 1);
    match is_mean_of_rows(metric) {
        true => (f64::from(texts) / MOST as f64).max(1.0),
        false => 0.0,
    }
}

/// The group of each row. Rows of one text, or of one group of the user's, are in one group.
pub(crate) fn groups(keys: &[Vec<String>], seed: u64) -> Vec<u32> {
    groups_of(keys, seed, MOST)
}

fn groups_of(keys: &[Vec<String>], seed: u64, most: usize) -> Vec<u32> {
    let bundles = bundle_of(keys);
    let count = bundles.iter().max().map_or(0, |&b| b as usize + 1);
    if count <= most {
        return bundles;
    }
    let place = permutation(count, seed, u64::MAX);
    let group = |&b: &u32| place[b as usize] % most as u32;
    bundles.iter().map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_text_are_together_and_groups_are_level() {
        let keys: Vec<Vec<String>> = (0..200).map(|i| vec![(i / 2).to_string()]).collect();
        let alone = groups_of(&keys, 3, 100);
        assert!((0..200).all(|i| alone[i] == (i / 2) as u32));
        let dealt = groups_of(&keys, 3, 10);
        assert!((0..100).all(|i| dealt[2 * i] == dealt[2 * i + 1]));
        for g in 0..10 {
            assert_eq!(dealt.iter().filter(|&&d| d == g).count(), 20);
        }
        assert_ne!(dealt, groups_of(&keys, 4, 10));
    }

    #[test]
    fn groups_of_many_texts_stand_for_several() {
        let keys = |n: usize| -> Vec<Vec<String>> { (0..n).map(|i| vec![i.to_string()]).collect() };
        assert_eq!(texts_a_group(&keys(300), "accuracy"), 1.0);
        assert_eq!(texts_a_group(&keys(2500), "accuracy"), 2.5);
        for metric in ["rmse", "macro_f1", "matthews"] {
            assert_eq!(texts_a_group(&keys(2500), metric), 0.0, "{metric}");
        }
    }
}
