//! Substitutes from a model's own word embeddings, where there is no thesaurus: the nearest whole words by
//! cosine, once the mean of all is taken off (Mu and Viswanath 2018: what all words share says nothing).
//!
//! Nearness there is shared context, not shared meaning: opposites and members of one class lie as near as
//! synonyms. Refused are known opposites (WordNet's where it is given, else a built-in list and endings), words
//! of another verdict, members of closed classes, other forms of the same word, and words that end in another way
//! (`films` takes no singular). WordNet, where it is given,
//! also says which words are of one part of speech and form.

use super::family::related;
use super::polarity::{opposed, polarity};
use super::protect::is_stop;
use super::substitutes::Substitute;
use super::wordnet::WordNet;
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap};

/// A model's whole words and its word embeddings `[vocabulary, width]`.
#[derive(Clone, Copy)]
pub struct WordTable<'a> {
    /// Pieces that are whole words, with their rows.
    pub words: &'a [(String, u32)],
    /// The matrix, row by row.
    pub matrix: &'a [f32],
    /// Numbers of a row.
    pub width: usize,
}

hone_tensor::brief_debug! { [] WordTable<'_>, |t| words: t.words.len(), width: t.width }

/// Least cosine of a neighbour.
const NEAR: f32 = 0.5;
/// Neighbours looked at, and most that are kept.
const LOOKED: usize = 24;
const KEPT: usize = 8;
/// Words looked up at once: a block of products of 128 × 20 000 stays in the cache of a core in parts.
const BLOCK: usize = 128;

/// Endings that a neighbour must share.
fn ending(word: &str) -> &'static str {
    ["ing", "ed", "ly", "est", "ness", "ss", "s"]
        .into_iter()
        .find(|e| word.ends_with(e))
        .map_or("", |e| if e == "ss" { "" } else { e })
}

/// The kept words and their rows, centred, each of length 1.
fn rows<'a>(table: &WordTable<'a>) -> (Vec<&'a str>, Array2<f32>) {
    let kept: Vec<&(String, u32)> = table
        .words
        .iter()
        .filter(|(w, row)| {
            w.chars().count() >= 3
                && w.chars().all(char::is_alphabetic)
                && w.to_lowercase() == *w
                && (*row as usize + 1) * table.width <= table.matrix.len()
        })
        .collect();
    let mut matrix = Array2::<f32>::zeros((kept.len(), table.width));
    for (mut to, (_, row)) in matrix.axis_iter_mut(Axis(0)).zip(kept.iter().copied()) {
        let from = *row as usize * table.width;
        let from = &table.matrix[from..from + table.width];
        to.iter_mut().zip(from).for_each(|(t, f)| *t = *f);
    }
    if let Some(mean) = matrix.mean_axis(Axis(0)) {
        for mut row in matrix.axis_iter_mut(Axis(0)) {
            row -= &mean;
            let norm = row.dot(&row).sqrt().max(f32::MIN_POSITIVE);
            row /= norm;
        }
    }
    (kept.iter().map(|(w, _)| w.as_str()).collect(), matrix)
}

/// Places of the largest values from `NEAR` on, the largest first, at most `LOOKED`.
fn nearest(cosines: &[f32], own: usize) -> Vec<(usize, f32)> {
    let mut found: Vec<(usize, f32)> = cosines
        .iter()
        .enumerate()
        .filter(|&(i, &c)| i != own && c >= NEAR)
        .map(|(i, &c)| (i, c))
        .collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    found.truncate(LOOKED);
    found
}

/// Substitutes of each of `wanted` that the table holds.
pub(super) fn neighbours(
    table: &WordTable<'_>,
    wanted: &BTreeSet<String>,
    net: Option<&WordNet>,
) -> Vec<(String, Vec<Substitute>)> {
    let (words, matrix) = rows(table);
    let place: HashMap<&str, usize> = words.iter().copied().zip(0..).collect();
    let asked: Vec<usize> = wanted
        .iter()
        .filter(|w| !is_stop(w))
        .filter_map(|w| place.get(w.as_str()).copied())
        .collect();
    let all: ArrayView2<f32> = matrix.view();
    asked
        .par_chunks(BLOCK)
        .flat_map_iter(|block| {
            let cosines = matrix.select(Axis(0), block).dot(&all.t());
            block
                .iter()
                .enumerate()
                .map(|(k, &own)| {
                    let row = cosines.row(k);
                    let near = nearest(row.as_slice().unwrap_or(&[]), own);
                    let near = near.into_iter().map(|(i, c)| (words[i], c));
                    (words[own].to_owned(), fitting(words[own], near, net))
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Of the nearest words, those that may stand in this one's place.
fn fitting<'a>(
    own: &str,
    near: impl Iterator<Item = (&'a str, f32)>,
    net: Option<&WordNet>,
) -> Vec<Substitute> {
    let against = net.map(|n| n.opposites(own)).unwrap_or_default();
    near.filter(|(other, _)| {
        !is_stop(other)
            && ending(other) == ending(own)
            && !related(own, other)
            && polarity(own) == polarity(other)
            && !opposed(own, other)
            && net.is_none_or(|n| {
                n.alike(own, other)
                    && !n.meets(&against, other)
                    && !n.meets(&n.opposites(other), own)
            })
    })
    .take(KEPT)
    .map(|(other, cosine)| Substitute {
        word: other.to_owned(),
        weight: cosine,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_without_opposites_forms_and_strangers() {
        // Rows in three directions; good and bad lie together, as in any embedding.
        let vectors: Vec<(&str, [f32; 3])> = vec![
            ("film", [1.0, 0.1, 0.0]),
            ("movie", [1.0, 0.12, 0.0]),
            ("films", [1.0, 0.11, 0.0]),
            ("movies", [1.0, 0.13, 0.01]),
            ("good", [0.0, 1.0, 0.1]),
            ("great", [0.0, 1.0, 0.12]),
            ("bad", [0.0, 1.0, 0.11]),
            ("monday", [0.1, 0.0, 1.0]),
            ("tuesday", [0.1, 0.0, 1.01]),
            ("the", [1.0, 0.1, 0.01]),
        ];
        let words: Vec<(String, u32)> = vectors
            .iter()
            .zip(0..)
            .map(|((w, _), i)| ((*w).to_owned(), i))
            .collect();
        let matrix: Vec<f32> = vectors.iter().flat_map(|(_, v)| *v).collect();
        let table = WordTable {
            words: &words,
            matrix: &matrix,
            width: 3,
        };
        let wanted = vectors.iter().map(|(w, _)| (*w).to_owned()).collect();
        let found: HashMap<String, Vec<String>> = neighbours(&table, &wanted, None)
            .into_iter()
            .map(|(w, list)| (w, list.into_iter().map(|s| s.word).collect()))
            .collect();
        for (word, want) in [
            ("film", &["movie"][..]),
            ("films", &["movies"]),
            ("good", &["great"]),
            ("bad", &[]),
            ("monday", &[]),
        ] {
            assert_eq!(found[word], want, "{word}");
        }
        assert!(!found.contains_key("the"));
    }

    /// Cosines by definition, one at a time.
    #[test]
    fn blocks_find_what_a_plain_loop_finds() {
        let n = 300;
        let width = 16;
        let mut words = Vec::new();
        for i in 0..n {
            let letters = [i / 26 % 26, i % 26, 25 - i % 26].map(|k| (b'a' + k as u8) as char);
            words.push((letters.iter().collect::<String>() + "q", i as u32));
        }
        let philox = hone_tensor::Philox::new(3);
        let matrix: Vec<f32> = (0..n * width)
            .map(|i| (philox.u64_at(0, i as u64) >> 40) as f32 / (1u64 << 24) as f32 - 0.5)
            .collect();
        let table = WordTable {
            words: &words,
            matrix: &matrix,
            width,
        };
        let mean: Vec<f64> = (0..width)
            .map(|j| {
                (0..n)
                    .map(|i| f64::from(matrix[i * width + j]))
                    .sum::<f64>()
                    / n as f64
            })
            .collect();
        let centred = |i: usize| -> Vec<f64> {
            (0..width)
                .map(|j| f64::from(matrix[i * width + j]) - mean[j])
                .collect()
        };
        let cosine = |a: &[f64], b: &[f64]| {
            let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(p, q)| p * q).sum::<f64>();
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        let wanted = words.iter().map(|(w, _)| w.clone()).collect();
        let found: HashMap<String, Vec<Substitute>> =
            neighbours(&table, &wanted, None).into_iter().collect();
        let mut compared = 0;
        for i in 0..n {
            let own = centred(i);
            for s in &found[&words[i].0] {
                let j = words.iter().position(|(w, _)| *w == s.word).unwrap();
                assert!((f64::from(s.weight) - cosine(&own, &centred(j))).abs() < 1e-5);
                compared += 1;
            }
            let best = (0..n)
                .filter(|&j| j != i && !related(&words[i].0, &words[j].0))
                .map(|j| cosine(&own, &centred(j)))
                .fold(f64::MIN, f64::max);
            if let Some(first) = found[&words[i].0].first() {
                assert!((f64::from(first.weight) - best).abs() < 1e-5);
            }
        }
        assert!(compared > 100, "{compared}");
    }
}
