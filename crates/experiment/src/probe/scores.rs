//! How contenders' answers are judged: scores and their intervals, by sums over rows.

use crate::compare::bootstrap;
use hone_train::metrics::wilson;
use hone_train::{Wanted, argmax, shared};

/// Half the width of a 95 % interval in standard errors.
const Z: f64 = 1.959_963_984_540_054;

/// 95 % interval of the difference of two paired shares, where the first alone is right `b` times and the second
/// alone `c` times of `n` (Bonett & Price 2012, "Adjusted Wald confidence interval for a difference of binomial
/// proportions based on paired data").
pub fn paired_interval(b: usize, c: usize, n: usize) -> [f64; 2] {
    let total = n as f64 + 2.0;
    let (p, q) = ((b as f64 + 1.0) / total, (c as f64 + 1.0) / total);
    let error = ((p + q - (p - q) * (p - q)) / total).sqrt();
    [p - q - Z * error, p - q + Z * error]
}

/// One contender's answers, each judged by itself; scores are made of sums over rows.
pub(super) enum Judged {
    /// Whether each row is right.
    Right(Vec<bool>),
    /// Labels of each row that are given and said, and those that are given plus those that are said.
    Shared(Vec<[usize; 2]>),
    /// Each value, and how far the answer is from it.
    Apart(Vec<(f64, f64)>),
}

impl Judged {
    /// Outputs of these rows beside what was wanted of them.
    pub fn of(wanted: &Wanted, rows: &[u32], said: &[Vec<f64>]) -> Judged {
        let pairs = rows.iter().map(|&r| r as usize).zip(said);
        match wanted {
            Wanted::Classes(all) => {
                Judged::Right(pairs.map(|(r, z)| argmax(z) == all[r]).collect())
            }
            Wanted::Sets(all) => Judged::Shared(pairs.map(|(r, z)| shared(&all[r], z)).collect()),
            Wanted::Values(all) => {
                Judged::Apart(pairs.map(|(r, z)| (all[r], z[0] - all[r])).collect())
            }
        }
    }

    /// The score of some of them, by their places here.
    pub fn score(&self, rows: &[u32]) -> f64 {
        let n = rows.len().max(1) as f64;
        let rows = rows.iter().map(|&r| r as usize);
        match self {
            Judged::Right(all) => rows.filter(|&r| all[r]).count() as f64 / n,
            Judged::Shared(all) => {
                let add = |[a, b]: [usize; 2], r: usize| [a + all[r][0], b + all[r][1]];
                let [both, either] = rows.fold([0, 0], add);
                2.0 * both as f64 / either.max(1) as f64
            }
            Judged::Apart(all) => {
                let mean = rows.clone().map(|r| all[r].0).sum::<f64>() / n;
                let add = |(apart, spread): (f64, f64), r: usize| {
                    let (y, d) = all[r];
                    (apart + d * d, spread + (y - mean) * (y - mean))
                };
                let (apart, spread) = rows.fold((0.0, 0.0), add);
                1.0 - apart / spread.max(f64::MIN_POSITIVE)
            }
        }
    }

    /// The 95 % interval of the score of all rows.
    pub fn interval(&self, rows: usize, seed: u64) -> [f64; 2] {
        match self {
            Judged::Right(all) => wilson(all.iter().filter(|r| **r).count(), rows),
            _ => {
                let value = |which: usize, drawn: &[u32]| match which {
                    0 => 0.0,
                    _ => self.score(drawn),
                };
                bootstrap("", rows, seed, value).interval
            }
        }
    }

    /// This score minus another's on the same rows, with its 95 % interval.
    pub fn minus(&self, other: &Judged, rows: usize, seed: u64) -> (f64, [f64; 2]) {
        if let (Judged::Right(a), Judged::Right(b)) = (self, other) {
            let only =
                |x: &[bool], y: &[bool]| x.iter().zip(y).filter(|(x, y)| **x && !**y).count();
            let (p, q) = (only(a, b), only(b, a));
            let difference = (p as f64 - q as f64) / rows as f64;
            return (difference, paired_interval(p, q, rows));
        }
        let value = |which: usize, drawn: &[u32]| match which {
            0 => other.score(drawn),
            _ => self.score(drawn),
        };
        let found = bootstrap("", rows, seed, value);
        (found.difference, found.interval)
    }
}

/// Mean over the classes that occur of each one's F1.
pub(super) fn macro_f1(said: &[usize], gold: &[usize], classes: usize) -> f64 {
    let mut hit = vec![0usize; classes];
    let mut given = vec![0usize; classes];
    let mut there = vec![0usize; classes];
    for (&s, &g) in said.iter().zip(gold) {
        given[s] += 1;
        there[g] += 1;
        hit[g] += usize::from(s == g);
    }
    let present = (0..classes).filter(|&c| there[c] > 0);
    let f1: Vec<f64> = present
        .map(|c| 2.0 * hit[c] as f64 / (given[c] + there[c]) as f64)
        .collect();
    f1.iter().sum::<f64>() / f1.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_by_hand() {
        let score = |wanted: Wanted, said: &[&[f64]], rows: &[u32]| {
            let said: Vec<Vec<f64>> = said.iter().map(|z| z.to_vec()).collect();
            let all: Vec<u32> = (0..said.len() as u32).collect();
            Judged::of(&wanted, &all, &said).score(rows)
        };
        let classes = Wanted::Classes(vec![0, 1, 1]);
        let said: [&[f64]; 3] = [&[1.0, 0.0], &[1.0, 0.0], &[0.0, 2.0]];
        assert_eq!(score(classes, &said, &[0, 1, 1, 2]), 0.5);
        // Given 0; 0 and 1; none. Said 0 and 1; 1; none: two of both, three and three.
        let sets = Wanted::Sets(vec![vec![0], vec![0, 1], vec![]]);
        let said: [&[f64]; 3] = [&[1.0, 0.5], &[-1.0, 2.0], &[-3.0, -0.1]];
        assert!((score(sets, &said, &[0, 1, 2]) - 4.0 / 6.0).abs() < 1e-15);
        // Values −1, 0, 1 and 2 spread by 5; one is missed by 1, one by a half.
        let values = Wanted::Values(vec![-1.0, 0.0, 1.0, 2.0]);
        let said: [&[f64]; 4] = [&[-1.0], &[1.0], &[1.0], &[1.5]];
        let got = score(values, &said, &[0, 1, 2, 3]);
        assert!((got - (1.0 - 1.25 / 5.0)).abs() < 1e-15, "{got}");
    }

    /// Bonett & Price by hand; and the interval covers.
    #[test]
    fn paired_intervals() {
        let [low, high] = paired_interval(20, 10, 100);
        let (p, q) = (21.0f64 / 102.0, 11.0 / 102.0);
        let error = ((p + q - (p - q) * (p - q)) / 102.0).sqrt();
        assert!((low - (p - q - 1.96 * error)).abs() < 1e-4, "{low}");
        assert!((high - (p - q + 1.96 * error)).abs() < 1e-4, "{high}");
        let [low, high] = paired_interval(0, 0, 50);
        assert!(low < 0.0 && high > 0.0);
    }

    #[test]
    fn macro_f1_is_the_mean_over_classes_that_occur() {
        let f1 = macro_f1(&[0, 0, 1, 2], &[0, 1, 1, 0], 3);
        let want = (2.0 / 4.0 + 2.0 / 3.0) / 2.0;
        assert!((f1 - want).abs() < 1e-12, "{f1}");
    }
}
