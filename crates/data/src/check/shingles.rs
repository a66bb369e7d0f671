//! Sets of shingles (Broder 1997): runs of characters for likeness, runs of words for containment.

/// A bijection of 64-bit numbers that scatters them (the finaliser of splitmix64, Steele et al. 2014).
pub(crate) fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Hashes of all runs of `k` characters (at most 6) of a normalised text with a space on either side, ascending,
/// each once. A shorter text is one run.
pub(crate) fn of_chars(text: &str, k: usize) -> Vec<u64> {
    debug_assert!((1..=6).contains(&k));
    let mask = (1u128 << (21 * k)) - 1;
    let mut run = 0u128;
    let mut out = Vec::with_capacity(text.len() + 2);
    let hash = |run: u128| mix(run as u64 ^ mix((run >> 64) as u64));
    let chars = std::iter::once(' ').chain(text.chars()).chain([' ']);
    let mut seen = 0;
    for c in chars {
        run = (run << 21 | c as u128) & mask;
        seen += 1;
        if seen >= k {
            out.push(hash(run));
        }
    }
    if out.is_empty() {
        out.push(hash(run));
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// Hashes of all runs of `k` words of a normalised text, in its order; none of a shorter text.
pub(crate) fn of_words(text: &str, k: usize) -> Vec<u64> {
    let words: Vec<u64> = text
        .split(' ')
        .filter(|w| !w.is_empty())
        .map(|w| {
            // FNV-1a over bytes.
            mix(w.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
                (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
            }))
        })
        .collect();
    words
        .windows(k)
        .map(|run| mix(run.iter().fold(0u64, |h, &w| mix(h) ^ w)))
        .collect()
}

/// How many numbers two ascending sets share.
fn shared(a: &[u64], b: &[u64]) -> usize {
    let (mut i, mut j, mut n) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        let (x, y) = (a[i], b[j]);
        n += usize::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    n
}

/// |A ∩ B| / |A ∪ B| of ascending sets.
pub(crate) fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let both = shared(a, b);
    both as f64 / (a.len() + b.len() - both).max(1) as f64
}

/// |A ∩ B| / |A| of ascending sets.
pub(crate) fn containment(a: &[u64], b: &[u64]) -> f64 {
    shared(a, b) as f64 / a.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of splitmix64 (Vigna's splitmix64.c) from the states 0 and 1234567.
    #[test]
    fn numbers_are_scattered_as_by_splitmix64() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
    }
    use std::collections::BTreeSet;

    /// The same sets as strings.
    fn strings(text: &str, k: usize) -> BTreeSet<String> {
        let chars: Vec<char> = format!(" {text} ").chars().collect();
        match chars.len() < k {
            true => BTreeSet::from([chars.iter().collect()]),
            false => chars.windows(k).map(|w| w.iter().collect()).collect(),
        }
    }

    #[test]
    fn sets_and_their_measures() {
        let texts = [
            "",
            "a",
            "ok",
            "aaaa aaaa",
            "a fine film",
            "a finer film",
            "好 电 影",
        ];
        for k in [3, 5] {
            for a in texts {
                assert_eq!(of_chars(a, k).len(), strings(a, k).len(), "{a:?}");
                for b in texts {
                    let (x, y) = (strings(a, k), strings(b, k));
                    let both = x.intersection(&y).count() as f64;
                    let (p, q) = (of_chars(a, k), of_chars(b, k));
                    assert_eq!(jaccard(&p, &q), both / x.union(&y).count() as f64);
                    assert_eq!(containment(&p, &q), both / x.len() as f64);
                }
            }
        }
        assert_eq!(of_words("a b c d", 5).len(), 0);
        let (a, b) = (of_words("a b c d e", 3), of_words("x b c d y", 3));
        assert_eq!(a.len(), 3);
        assert_eq!(a[1], b[1]);
        assert_ne!(a[0], b[0]);
    }
}
