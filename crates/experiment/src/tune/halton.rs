//! Where trials lie: a randomised Halton sequence.
//!
//! Any first trials cover each setting's range more evenly than independent draws do (in base 2 any two, four, eight of
//! them are one to each half, quarter, eighth), all are spread over the ranges' products, and the search may end after any of
//! them. Digits are permuted at random, each place of each base by itself (Owen 2017, "A randomized Halton algorithm in
//! R", arXiv:1706.02808), without which high bases go together for hundreds of trials. Randomised low-discrepancy
//! sequences instead of random search are what Bousquet et al. 2017 ("Critical hyper-parameters: no random, no cry",
//! arXiv:1706.03200) recommend. Of listed values each block of as many points has every one once.

use hone_tensor::permutation;

/// Bases: one prime a dimension, so the settings that matter most have the smallest.
const PRIMES: [usize; 16] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53];
/// Digits that count: below this nothing changes.
const RESOLUTION: f64 = 1.0 / (1u64 << 40) as f64;

/// The coordinate of a point, from 0 to below 1: a pure function of its arguments.
pub(super) fn coordinate(seed: u64, index: u64, dimension: usize) -> f64 {
    let base = PRIMES[dimension % PRIMES.len()];
    let (mut rest, mut weight, mut x, mut place) = (index, 1.0, 0.0, 0u64);
    while weight > RESOLUTION {
        weight /= base as f64;
        let digit = (rest % base as u64) as usize;
        rest /= base as u64;
        // Digits that are 0 are permuted too: they are what shifts the sequence as a whole.
        let stream = (dimension as u64 + 1) << 32 | place;
        x += weight * f64::from(permutation(base, seed, stream)[digit]);
        place += 1;
    }
    x
}

/// One of so many things, which have no place between each other: any block of so many points has each of them once, in an
/// order of its own. A base as high as a late dimension's would let the first points all have the same one.
pub(super) fn choice(seed: u64, index: u64, dimension: usize, of: usize) -> usize {
    let (block, place) = (index / of as u64, (index % of as u64) as usize);
    // Beside the streams of the digits.
    let stream = 1 << 63 | (dimension as u64 + 1) << 32 | block;
    permutation(of, seed, stream)[place] as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_of_choices_has_each_once_and_two_settings_go_their_own_ways() {
        for (dimension, of) in [(2, 3), (13, 2), (14, 2), (15, 4)] {
            let mut orders = std::collections::HashSet::new();
            for block in 0..20 {
                let own = (0..of).map(|i| choice(7, (block * of + i) as u64, dimension, of));
                let own: Vec<usize> = own.collect();
                let mut sorted = own.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..of).collect::<Vec<_>>(), "{dimension}");
                orders.insert(own);
            }
            assert!(orders.len() > 1, "{dimension}: {orders:?}");
        }
        let together = (0..400).filter(|&i| choice(7, i, 13, 2) == choice(7, i, 14, 2));
        let together = together.count();
        assert!((150..=250).contains(&together), "{together}");
        assert_ne!(
            (0..20).map(|i| choice(1, i, 14, 2)).collect::<Vec<_>>(),
            (0..20).map(|i| choice(2, i, 14, 2)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn every_stratum_of_every_base_has_its_share() {
        for (dimension, &base) in PRIMES.iter().enumerate() {
            for power in 1..=2 {
                let strata = base.pow(power);
                // Any run of base^k points that begins at a multiple of it.
                for block in 0..3u64 {
                    let mut seen = vec![0; strata];
                    for i in 0..strata as u64 {
                        let x = coordinate(9, block * strata as u64 + i, dimension);
                        assert!((0.0..1.0).contains(&x));
                        seen[(x * strata as f64 + 1e-9) as usize] += 1;
                    }
                    assert!(seen.iter().all(|&n| n == 1), "{base}^{power}: {seen:?}");
                }
            }
        }
    }

    #[test]
    fn coordinates_are_uniform_and_do_not_go_together() {
        let n = 2000u64;
        let column = |d: usize| -> Vec<f64> { (0..n).map(|i| coordinate(4, i, d)).collect() };
        let columns: Vec<Vec<f64>> = (0..8).map(column).collect();
        for (d, xs) in columns.iter().enumerate() {
            // The star discrepancy of independent draws would be about 0.87/sqrt(n) = 0.02.
            let mut sorted = xs.clone();
            sorted.sort_by(f64::total_cmp);
            let far = sorted.iter().enumerate().map(|(i, x)| {
                let (low, high) = (i as f64 / n as f64, (i + 1) as f64 / n as f64);
                (x - low).abs().max((high - x).abs())
            });
            let far = far.fold(0.0, f64::max);
            assert!(far < 0.006, "dimension {d}: {far}");
            for (e, ys) in columns.iter().enumerate().skip(d + 1) {
                let sum: f64 = xs.iter().zip(ys).map(|(x, y)| (x - 0.5) * (y - 0.5)).sum();
                let r = 12.0 * sum / n as f64;
                assert!(r.abs() < 0.06, "{d} and {e}: {r}");
            }
        }
    }

    /// What the permutations are for: without them bases 17 and 19 rise together for their first sixteen points.
    #[test]
    fn high_bases_do_not_rise_together_at_the_start() {
        let together = |seed: u64| {
            let column = |d| -> Vec<f64> { (0..16).map(|i| coordinate(seed, i, d)).collect() };
            let (xs, ys) = (column(6), column(7));
            let mean = |v: &[f64]| v.iter().sum::<f64>() / 16.0;
            let (mx, my) = (mean(&xs), mean(&ys));
            let dot = |a: &[f64], ma: f64, b: &[f64], mb: f64| -> f64 {
                a.iter().zip(b).map(|(x, y)| (x - ma) * (y - mb)).sum()
            };
            dot(&xs, mx, &ys, my) / (dot(&xs, mx, &xs, mx) * dot(&ys, my, &ys, my)).sqrt()
        };
        let mean = (0..50).map(together).sum::<f64>() / 50.0;
        assert!(mean.abs() < 0.15, "{mean}");
    }

    #[test]
    fn seeds_differ_and_a_point_is_a_pure_function() {
        assert_eq!(coordinate(1, 5, 3), coordinate(1, 5, 3));
        assert_ne!(coordinate(1, 5, 3), coordinate(2, 5, 3));
        assert_ne!(coordinate(1, 0, 0), coordinate(2, 0, 0));
    }
}
