//! MinHash sketches and their bands: which texts are worth comparing.
//!
//! The sketch is the fast similarity sketch (Dahlgaard, Knudsen & Thorup 2017, "Fast similarity sketching",
//! algorithm 1): as many minima as wanted in one or a few passes over a set, each equal for two sets with a
//! probability of exactly their Jaccard similarity, also where a set is smaller than the sketch. Bands of
//! [`ROWS`] minima make candidates (Leskovec, Rajaraman & Ullman, "Mining of massive datasets", 3.4).

use super::shingles::mix;

/// Jaccard similarity from which texts are near duplicates.
pub const NEAR: f64 = 0.8;
/// Probability that a pair of similarity [`NEAR`] shares no band; closer pairs are missed more rarely still.
pub const MISS: f64 = 0.001;
/// Minima in a band. With fewer, unlike texts would meet too often; with more, sketches would grow.
pub const ROWS: usize = 6;
/// Bands: the fewest that miss no more than [`MISS`], see [`bands`].
pub const BANDS: usize = 23;
/// Minima of a sketch.
pub const BINS: usize = ROWS * BANDS;

/// The fewest bands of `rows` minima such that a pair of similarity `s` shares none with probability at most
/// `miss`: the least b with (1 − sʳ)ᵇ ≤ miss.
pub fn bands(rows: usize, s: f64, miss: f64) -> usize {
    (miss.ln() / (1.0 - s.powi(rows as i32)).ln()).ceil() as usize
}

/// A text's sketch, as far as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Sketch {
    /// One key a band.
    pub keys: [u64; BANDS],
    /// Eight bits of each minimum, for an estimate.
    pub bits: [u8; BINS],
}

impl Sketch {
    /// Of a set of scattered hashes.
    pub fn of(set: &[u64]) -> Sketch {
        let mut least = [u64::MAX; BINS];
        let mut empty = BINS;
        for round in 0..2 * BINS {
            let seed = mix(round as u64);
            for &x in set {
                let h = mix(x ^ seed);
                // After BINS rounds at random each bin gets one round of its own, so that none stays empty.
                let bin = match round.checked_sub(BINS) {
                    None => (((h >> 32) * BINS as u64) >> 32) as usize,
                    Some(bin) => bin,
                };
                let value = (round as u64) << 32 | h & 0xffff_ffff;
                if value < least[bin] {
                    empty -= usize::from(least[bin] == u64::MAX);
                    least[bin] = value;
                }
            }
            if empty == 0 {
                break;
            }
        }
        let mut sketch = Sketch {
            keys: [0; BANDS],
            bits: [0; BINS],
        };
        for (key, band) in sketch.keys.iter_mut().zip(least.chunks_exact(ROWS)) {
            *key = band.iter().fold(0, |h, &v| mix(h ^ v));
        }
        for (bits, v) in sketch.bits.iter_mut().zip(least) {
            *bits = (mix(v) >> 56) as u8;
        }
        sketch
    }

    /// Whether the similarity can be [`NEAR`] or more. Minima that agree by the bits kept are counted; a pair
    /// of that similarity falls more than six standard deviations below its mean with a probability below 1e-8.
    pub fn may_be_near(&self, other: &Sketch) -> bool {
        let equal = self.bits.iter().zip(&other.bits);
        let equal: u32 = equal.map(|(a, b)| u32::from(a == b)).sum();
        equal >= Sketch::least_equal()
    }

    fn least_equal() -> u32 {
        let n = BINS as f64;
        (n * NEAR - 6.0 * (n * NEAR * (1.0 - NEAR)).sqrt()) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 138 minima 110.4 agree at a similarity of 0.8, give or take 4.7: six of these fewer are 82.2.
    #[test]
    fn sketches_of_unlike_sets_are_told_apart() {
        assert_eq!(Sketch::least_equal(), 82);
        let of = |from: u64| Sketch::of(&(from..from + 100).map(mix).collect::<Vec<_>>());
        assert!(of(0).may_be_near(&of(5)));
        assert!(!of(0).may_be_near(&of(60)) && !of(0).may_be_near(&of(100)));
    }

    #[test]
    fn bands_are_computed() {
        assert_eq!(BANDS, bands(ROWS, NEAR, MISS));
        for rows in 1..12 {
            let b = bands(rows, NEAR, MISS) as i32;
            let missed = |b: i32| (1.0 - NEAR.powi(rows as i32)).powi(b);
            assert!(missed(b) <= MISS && missed(b - 1) > MISS, "{rows}");
        }
    }

    /// Minima agree as often as the sets' similarity says, and pairs meet as often as bands of independent
    /// minima would, from sets much smaller to much larger than the sketch.
    #[test]
    fn minima_agree_as_often_as_sets_do() {
        for (size, trials) in [(10u64, 3000u64), (40, 3000), (200, 1000), (1500, 300)] {
            // Of 10 numbers in all, 8 are shared.
            let one = size / 10;
            let (mut equal, mut met, mut may) = (0usize, 0usize, 0usize);
            for t in 0..trials {
                let number = |i: u64| mix(t << 32 | i);
                let a: Vec<u64> = (0..9 * one).map(number).collect();
                let b: Vec<u64> = (one..10 * one).map(number).collect();
                let (a, b) = (Sketch::of(&a), Sketch::of(&b));
                equal += a.bits.iter().zip(&b.bits).filter(|(x, y)| x == y).count();
                met += usize::from(a.keys.iter().zip(&b.keys).any(|(x, y)| x == y));
                may += usize::from(a.may_be_near(&b));
            }
            let n = trials as f64;
            let share = equal as f64 / (n * BINS as f64);
            let want = 0.8 + 0.2 / 256.0;
            assert!((share - want).abs() < 0.005, "{size}: {share}");
            assert!(met as f64 / n >= 0.996, "{size}: {met} of {trials} met");
            assert_eq!(may as u64, trials, "{size}");
        }
    }
}
