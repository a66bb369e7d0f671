//! Texts that stand within longer ones: whole beginnings (truncated copies), and any part of them.
//!
//! A truncated copy is a text of at least [`WORDS`] words that is, character by character after normalisation, the
//! beginning of a longer one; the last word may be cut. All of them are found, by sorting. A contained text has at
//! least [`WORDS`] words, of whose runs of [`RUN`] words at least [`SHARE`] stand in a text of more words. Candidates
//! share at least half of [`SAMPLE`] runs drawn at random (by hash) from the shorter one: one that is contained is
//! missed with a probability below 0.001. Then the share is counted in full.

use super::shingles::{containment, of_words};
use super::text::Normal;
use rayon::prelude::*;

/// Fewest words of a text that is looked for in others; shorter ones stand in many by chance.
pub const WORDS: usize = 8;
/// Words of a run.
pub const RUN: usize = 5;
/// Share of a text's runs that must stand in the other.
pub const SHARE: f64 = 0.9;
/// Runs of a text by which it is looked for.
pub const SAMPLE: usize = 8;
/// A run sampled from more texts than this is a stock phrase and no sign of anything.
pub const STOCK: usize = 256;

/// How a text stands in a longer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    /// As its beginning.
    Beginning,
    /// Anywhere.
    Within,
}

/// A text within a longer one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Inside {
    pub part: u32,
    pub whole: u32,
    pub how: How,
    /// Share of the part's runs that stand in the whole.
    pub share: f64,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Contained {
    /// One whole for each part and each kind of whole (see [`find`]), the best first by share, then by place.
    pub found: Vec<Inside>,
    /// Texts made of stock phrases alone, which could be looked for as beginnings only.
    pub stock_only: usize,
}

/// Bits that say which runs are looked for at all.
struct Bits(Vec<u64>);

impl Bits {
    const LOG: u32 = 24;

    fn at(x: u64) -> (usize, u64) {
        let i = x >> (64 - Self::LOG);
        ((i >> 6) as usize, 1 << (i & 63))
    }

    fn new(all: &[(u64, u32)]) -> Bits {
        let mut bits = vec![0u64; 1 << (Self::LOG - 6)];
        for (x, _) in all {
            let (word, bit) = Bits::at(*x);
            bits[word] |= bit;
        }
        Bits(bits)
    }

    fn may_hold(&self, x: u64) -> bool {
        let (word, bit) = Bits::at(x);
        self.0[word] & bit != 0
    }
}

/// Finds texts within others. `kinds` of a text are bits (the splits it stands in): for each text one whole is
/// kept for each kind. `same(a, b)` says which pairs are near duplicates, and counted there.
pub(crate) fn find(
    texts: &[&Normal],
    kinds: &[u8],
    same: impl Fn(u32, u32) -> bool + Sync,
    progress: &(dyn Fn(f64) + Sync),
) -> Contained {
    let mut best = Best {
        kinds,
        slots: vec![[None; 3]; texts.len()],
    };
    beginnings(texts, &same, &mut best);
    progress(0.2);
    let stock_only = within(texts, &same, &mut best, &|p| progress(0.2 + 0.8 * p));
    let mut found: Vec<Inside> = best.slots.into_iter().flatten().flatten().collect();
    found.sort_by_key(|i| (i.part, i.whole));
    found.dedup_by(|a, b| (a.part, a.whole) == (b.part, b.whole));
    Contained { found, stock_only }
}

/// The best whole of each text by kind.
struct Best<'a> {
    kinds: &'a [u8],
    slots: Vec<[Option<Inside>; 3]>,
}

impl Best<'_> {
    fn offer(&mut self, new: Inside) {
        let kinds = self.kinds[new.whole as usize];
        for (k, slot) in self.slots[new.part as usize].iter_mut().enumerate() {
            let better = slot.is_none_or(|old| {
                let key = |i: &Inside| (i.how, -i.share, i.whole);
                key(&new).partial_cmp(&key(&old)) == Some(std::cmp::Ordering::Less)
            });
            if kinds >> k & 1 == 1 && better {
                *slot = Some(new);
            }
        }
    }
}

/// In sorted order a text stands before all that begin with it, and everything between begins with it too.
fn beginnings(texts: &[&Normal], same: &impl Fn(u32, u32) -> bool, best: &mut Best<'_>) {
    let mut order: Vec<u32> = (0..texts.len() as u32).collect();
    order.par_sort_by_key(|&i| (texts[i as usize].text.as_str(), i));
    let text = |i: u32| texts[i as usize].text.as_str();
    let mut open: Vec<u32> = Vec::new();
    for &i in &order {
        while open.last().is_some_and(|&o| !text(i).starts_with(text(o))) {
            open.pop();
        }
        // Of nested beginnings the longest is the nearest relation; the others are told of their own wholes.
        for &o in &open {
            if text(o).len() < text(i).len() && !same(o, i) {
                best.offer(Inside {
                    part: o,
                    whole: i,
                    how: How::Beginning,
                    share: 1.0,
                });
            }
        }
        if texts[i as usize].words >= WORDS && open.len() < DEEP {
            open.push(i);
        }
    }
}

/// Beginnings of beginnings that are followed; texts nested deeper are told as parts of these.
const DEEP: usize = 64;

fn runs(text: &Normal) -> Vec<u64> {
    let mut runs = of_words(&text.text, RUN);
    runs.sort_unstable();
    runs.dedup();
    runs
}

fn within(
    texts: &[&Normal],
    same: &(impl Fn(u32, u32) -> bool + Sync),
    best: &mut Best<'_>,
    progress: &dyn Fn(f64),
) -> usize {
    // The smallest hashes of a text's runs are a uniform sample of them.
    let mut index: Vec<(u64, u32)> = (0..texts.len() as u32)
        .into_par_iter()
        .filter(|&i| texts[i as usize].words >= WORDS)
        .flat_map_iter(|i| {
            let runs = runs(texts[i as usize]);
            runs.into_iter().take(SAMPLE).map(move |r| (r, i))
        })
        .collect();
    index.par_sort_unstable();
    let mut searchable = vec![0u8; texts.len()];
    let mut kept = Vec::with_capacity(index.len());
    for run in index.chunk_by(|a, b| a.0 == b.0) {
        if run.len() <= STOCK {
            kept.extend_from_slice(run);
            run.iter().for_each(|&(_, i)| searchable[i as usize] += 1);
        }
    }
    let stock_only = (0..texts.len())
        .filter(|&i| texts[i].words >= WORDS && searchable[i] == 0)
        .count();
    let bits = Bits::new(&kept);
    progress(0.3);

    const CHUNK: usize = 4096;
    let all: Vec<u32> = (0..texts.len() as u32).collect();
    for (n, chunk) in all.chunks(CHUNK).enumerate() {
        let found: Vec<Vec<Inside>> = chunk
            .par_iter()
            .map(|&whole| {
                let text = texts[whole as usize];
                if text.words <= WORDS {
                    return Vec::new();
                }
                let set = runs(text);
                let mut hits: Vec<u32> = Vec::new();
                for &r in set.iter().filter(|&&r| bits.may_hold(r)) {
                    let from = kept.partition_point(|&(x, _)| x < r);
                    let same = kept[from..].iter().take_while(|&&(x, _)| x == r);
                    hits.extend(same.map(|&(_, i)| i));
                }
                hits.sort_unstable();
                hits.chunk_by(|a, b| a == b)
                    .filter_map(|run| {
                        let part = run[0];
                        let enough = 2 * run.len() >= usize::from(searchable[part as usize]);
                        let shorter = texts[part as usize].words < text.words;
                        if !(enough && shorter) || same(part, whole) {
                            return None;
                        }
                        let share = containment(&runs(texts[part as usize]), &set);
                        let how = How::Within;
                        (share >= SHARE).then_some(Inside {
                            part,
                            whole,
                            how,
                            share,
                        })
                    })
                    .collect()
            })
            .collect();
        found.into_iter().flatten().for_each(|i| best.offer(i));
        progress(0.3 + 0.7 * ((n + 1) * CHUNK).min(texts.len()) as f64 / texts.len().max(1) as f64);
    }
    stock_only
}

#[cfg(test)]
mod tests;
