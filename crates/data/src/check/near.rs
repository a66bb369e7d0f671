//! Near duplicates: pairs of distinct texts whose shingles agree, gathered in clusters.
//!
//! What counts: with a ≤ b the characters of two normalised texts, shingles are runs of 3 characters where
//! a < [`SHORT`], of 5 elsewhere; the pair is near where the Jaccard similarity of the two sets is at least
//! [`NEAR`](super::minhash::NEAR) and b ≤ 2a. So one changed word counts from about eleven words on, one changed
//! letter from about five; the same words in another order may count, since runs reach across few of them. A pair is
//! compared in full, never taken from a sketch.

use super::minhash::{BANDS, NEAR, Sketch};
use super::shingles::{jaccard, of_chars};
use super::text::Normal;
use rayon::prelude::*;

/// Characters below which a text is short.
pub const SHORT: usize = 80;

/// A pair that was compared in full.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Edge {
    pub a: u32,
    pub b: u32,
    pub jaccard: f64,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Near {
    /// Verified pairs that made the clusters.
    pub edges: Vec<Edge>,
    /// Clusters of at least two texts, by first text.
    pub clusters: Vec<Vec<u32>>,
    /// Whether the budget ended before every candidate was compared.
    pub cut: bool,
}

/// Work for which texts are compared, in characters read: it ends only on sets where tens of thousands of texts are
/// alike, but not near (one form filled in again and again), and then this is said.
fn budget(texts: usize) -> u64 {
    1_000_000_000 + 4_000 * texts as u64
}

/// Characters that comparing two sketches is worth.
const SKETCH_COST: u64 = 2;

/// The shingle length of a pair by the characters of its texts; none where one is more than twice as long.
pub(crate) fn shingle_of(a: usize, b: usize) -> Option<usize> {
    let (a, b) = (a.min(b), a.max(b));
    (b <= 2 * a).then_some(if a < SHORT { 3 } else { 5 })
}

/// The similarity of a pair, where it is near.
pub(crate) fn near(a: &Normal, b: &Normal) -> Option<f64> {
    let k = shingle_of(a.chars, b.chars)?;
    let similarity = jaccard(&of_chars(&a.text, k), &of_chars(&b.text, k));
    (similarity >= NEAR).then_some(similarity)
}

/// Which texts belong together.
struct Forest(Vec<u32>);

impl Forest {
    fn root(&mut self, mut i: u32) -> u32 {
        while self.0[i as usize] != i {
            let up = self.0[self.0[i as usize] as usize];
            self.0[i as usize] = up;
            i = up;
        }
        i
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b) as usize] = a.min(b);
    }
}

/// Finds the near duplicates among distinct texts. `progress` hears the share of the work done, up to 1.
pub(crate) fn find(texts: &[&Normal], progress: &(dyn Fn(f64) + Sync)) -> Near {
    let mut search = Search {
        texts,
        forest: Forest((0..texts.len() as u32).collect()),
        edges: Vec::new(),
        left: budget(texts.len()),
    };
    let all = || (0..texts.len() as u32).filter(|&i| texts[i as usize].chars > 0);
    let chars = |i: &u32| texts[*i as usize].chars;
    let short: Vec<u32> = all().filter(|i| chars(i) < 2 * SHORT).collect();
    let long: Vec<u32> = all().filter(|i| chars(i) >= SHORT).collect();
    let total = (short.len() + long.len()).max(1) as f64;
    let share = short.len() as f64 / total;
    search.among(&short, 3, &|p| progress(share * p));
    search.among(&long, 5, &|p| progress(share + (1.0 - share) * p));
    let mut clusters: std::collections::BTreeMap<u32, Vec<u32>> = Default::default();
    for i in 0..texts.len() as u32 {
        let root = search.forest.root(i);
        clusters.entry(root).or_default().push(i);
    }
    Near {
        clusters: clusters.into_values().filter(|c| c.len() > 1).collect(),
        cut: search.left == 0,
        edges: search.edges,
    }
}

struct Search<'a> {
    texts: &'a [&'a Normal],
    forest: Forest,
    edges: Vec<Edge>,
    left: u64,
}

impl Search<'_> {
    /// Pairs among `members` that are judged by runs of `k` characters.
    fn among(&mut self, members: &[u32], k: usize, progress: &dyn Fn(f64)) {
        let sketches: Vec<Sketch> = members
            .par_iter()
            .map(|&i| Sketch::of(&of_chars(&self.texts[i as usize].text, k)))
            .collect();
        progress(0.5);
        let mut order: Vec<(u64, u32)> = Vec::with_capacity(members.len());
        for band in 0..BANDS {
            order.clear();
            order.extend((0..).zip(&sketches).map(|(m, s)| (s.keys[band], m)));
            order.par_sort_unstable();
            for bucket in order.chunk_by(|a, b| a.0 == b.0) {
                if bucket.len() > 1 {
                    let bucket: Vec<u32> = bucket.iter().map(|&(_, m)| m).collect();
                    self.compare(&bucket, members, &sketches, k);
                }
            }
            progress(0.5 + 0.5 * (band + 1) as f64 / BANDS as f64);
        }
    }

    /// Compares the texts of a bucket, each pair that does not belong together yet; where all are alike, that
    /// is one pair a text.
    fn compare(&mut self, bucket: &[u32], members: &[u32], sketches: &[Sketch], k: usize) {
        let texts = self.texts;
        let text = |m: u32| texts[members[m as usize] as usize];
        for (n, &m) in bucket.iter().enumerate() {
            let own = self.forest.root(members[m as usize]);
            let rest = &bucket[n + 1..];
            let mut others = Vec::new();
            for &o in rest {
                if self.forest.root(members[o as usize]) != own {
                    others.push(o);
                }
            }
            if others.is_empty() {
                // Early ends are frequent: all that follow belong to this text, so to each other.
                return;
            }
            self.left = self.left.saturating_sub(others.len() as u64 * SKETCH_COST);
            let judged = |o: u32| shingle_of(text(m).chars, text(o).chars) == Some(k);
            others
                .retain(|&o| judged(o) && sketches[m as usize].may_be_near(&sketches[o as usize]));
            let cost: usize = others.iter().map(|&o| text(o).chars).sum();
            self.left = self.left.saturating_sub(cost as u64);
            if self.left == 0 {
                return;
            }
            if others.is_empty() {
                continue;
            }
            let set = of_chars(&text(m).text, k);
            let like = |&o: &u32| jaccard(&set, &of_chars(&text(o).text, k));
            let likeness: Vec<f64> = match others.len() {
                0..32 => others.iter().map(like).collect(),
                _ => others.par_iter().map(like).collect(),
            };
            for (&o, jaccard) in others.iter().zip(likeness) {
                if jaccard >= NEAR {
                    let (a, b) = (members[m as usize], members[o as usize]);
                    self.forest.join(a, b);
                    self.edges.push(Edge {
                        a: a.min(b),
                        b: a.max(b),
                        jaccard,
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
