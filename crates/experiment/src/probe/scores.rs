//! How contenders' answers are judged: scores and their intervals, by sums over rows.

use crate::compare::bootstrap;
use hone_train::metrics::{Confusion, f1, wilson};
use hone_train::{Wanted, argmax, shared};

/// Resamples whose answers are spread by less than this part of all rows' spread do not tell what is explained of it.
const LEAST_SPREAD: f64 = 0.01;

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
    /// The log-loss of each row, and that of answering each with how frequent the labels are in all of them.
    Sets(Vec<[f64; 2]>),
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
            Wanted::Sets(all) => {
                let usual = log_odds(all, rows, said.first().map_or(0, Vec::len));
                let loss = |r: usize, z: &[f64]| wanted.loss(r, &mut z.to_vec());
                Judged::Sets(pairs.map(|(r, z)| [loss(r, z), loss(r, &usual)]).collect())
            }
            Wanted::Values(all) => {
                Judged::Apart(pairs.map(|(r, z)| (all[r], z[0] - all[r])).collect())
            }
        }
    }

    /// The score of some of them, by their places here.
    pub fn score(&self, rows: &[u32]) -> f64 {
        match self {
            Judged::Right(all) => {
                let right = rows.iter().filter(|&&r| all[r as usize]).count();
                right as f64 / rows.len().max(1) as f64
            }
            _ => self.explained(rows, 0.0),
        }
    }

    /// The part that is explained of what the answers to some of them are spread by; NaN where that is no more than `least`.
    fn explained(&self, rows: &[u32], least: f64) -> f64 {
        let [apart, spread] = self.apart(rows);
        match spread > least {
            true => 1.0 - apart / spread,
            false => f64::NAN,
        }
    }

    /// How far answers are from the true ones, and how far the usual answer, the same for each row, would be: squares of values
    /// (the usual one is these rows' mean), log-losses of labels.
    fn apart(&self, rows: &[u32]) -> [f64; 2] {
        let n = rows.len().max(1) as f64;
        let rows = rows.iter().map(|&r| r as usize);
        match self {
            Judged::Right(_) => [0.0, 0.0],
            Judged::Sets(all) => rows.fold([0.0, 0.0], |[a, b], r| [a + all[r][0], b + all[r][1]]),
            Judged::Apart(all) => {
                let mean = rows.clone().map(|r| all[r].0).sum::<f64>() / n;
                let add = |[apart, spread]: [f64; 2], r: usize| {
                    let (y, d) = all[r];
                    [apart + d * d, spread + (y - mean) * (y - mean)]
                };
                rows.fold([0.0, 0.0], add)
            }
        }
    }

    /// The score of resampled rows; NaN where they do not tell it.
    fn resampled(&self, rows: &[u32], whole: f64) -> f64 {
        match self {
            Judged::Right(_) => self.score(rows),
            _ => self.explained(rows, LEAST_SPREAD * whole),
        }
    }

    /// What the answers to all of so many rows are spread by.
    fn whole(&self, rows: usize) -> f64 {
        let all: Vec<u32> = (0..rows as u32).collect();
        self.apart(&all)[1]
    }

    /// The 95 % interval of the score of all rows.
    pub fn interval(&self, rows: usize, seed: u64) -> [f64; 2] {
        match self {
            Judged::Right(all) => wilson(all.iter().filter(|r| **r).count(), rows),
            _ => {
                let whole = self.whole(rows);
                let value = |which: usize, drawn: &[u32]| match which {
                    0 => 0.0,
                    _ => self.resampled(drawn, whole),
                };
                bootstrap(rows, seed, value).1
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
        let whole = self.whole(rows);
        let value = |which: usize, drawn: &[u32]| match which {
            0 => other.resampled(drawn, whole),
            _ => self.resampled(drawn, whole),
        };
        let ([theirs, own], interval) = bootstrap(rows, seed, value);
        (own - theirs, interval)
    }
}

/// What answers each of these rows with how frequent the labels are in them.
fn log_odds(sets: &[Vec<u32>], rows: &[u32], labels: usize) -> Vec<f64> {
    let mut times = vec![0.0; labels];
    for &label in rows.iter().flat_map(|&r| &sets[r as usize]) {
        times[label as usize] += 1.0;
    }
    // Labels that none or all have are certain as far as numbers go.
    let certain = f64::EPSILON;
    let n = rows.len() as f64;
    let odds = |k: f64| ((k + certain) / (n - k + certain)).ln();
    times.into_iter().map(odds).collect()
}

/// F1 of all decisions together.
pub(super) fn micro_f1(said: &[Vec<f64>], gold: &[Vec<u32>]) -> f64 {
    let (mut both, mut either) = (0, 0);
    for (said, gold) in said.iter().zip(gold) {
        let [right, all] = shared(gold, said);
        both += right;
        either += all;
    }
    f1(both, either, 0)
}

/// Mean over the classes that occur of each one's F1, as every evaluation has it.
pub(super) fn macro_f1(said: &[usize], gold: &[usize], classes: usize) -> f64 {
    let mut counts = Confusion::new(classes);
    for (&said, &gold) in said.iter().zip(gold) {
        counts.add(Some(gold), said, 0.0);
    }
    counts.finish(&[]).macro_f1
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
        // Probabilities of two labels, of which the first has 2 of 4 rows and the second 1.
        let sets = Wanted::Sets(vec![vec![0], vec![0, 1], vec![], vec![]]);
        let z = |p: f64| (p / (1.0 - p)).ln();
        let said: [&[f64]; 4] = [
            &[z(0.8), z(0.5)],
            &[z(0.5), z(0.75)],
            &[z(0.2), z(0.1)],
            &[0.0, 0.0],
        ];
        let loss = -(0.8 * 0.5 * 0.5 * 0.75 * 0.8 * 0.9 * 0.5 * 0.5f64).ln();
        let best = -(4.0 * 0.5f64.ln() + 0.25f64.ln() + 3.0 * 0.75f64.ln());
        let got = score(sets, &said, &[0, 1, 2, 3]);
        assert!((got - (1.0 - loss / best)).abs() < 1e-12, "{got}");
        // Given 0; 0 and 1; none. Said 0 and 1; 1; none: two of both, three and three.
        let said = [vec![1.0, 0.5], vec![-1.0, 2.0], vec![-3.0, -0.1]];
        let f1 = micro_f1(&said, &[vec![0], vec![0, 1], vec![]]);
        assert!((f1 - 4.0 / 6.0).abs() < 1e-15);
        // Values −1, 0, 1 and 2 spread by 5; one is missed by 1, one by a half.
        let values = Wanted::Values(vec![-1.0, 0.0, 1.0, 2.0]);
        let said: [&[f64]; 4] = [&[-1.0], &[1.0], &[1.0], &[1.5]];
        let got = score(values, &said, &[0, 1, 2, 3]);
        assert!((got - (1.0 - 1.25 / 5.0)).abs() < 1e-15, "{got}");
    }

    #[test]
    fn differences_and_intervals_by_hand() {
        let right = |all: [bool; 4]| Judged::Right(all.to_vec());
        let (a, b) = (
            right([true, true, false, true]),
            right([true, false, true, false]),
        );
        assert_eq!(a.minus(&b, 4, 1), (0.25, paired_interval(2, 1, 4)));
        assert_eq!(a.interval(4, 1), wilson(3, 4));
        // Of values 1 to 4, spread by 5, one contender misses by a half each time, the other by 1.
        let apart = |by: f64| Judged::Apart([1.0, 2.0, 3.0, 4.0].map(|y| (y, by)).to_vec());
        let (difference, _) = apart(0.5).minus(&apart(1.0), 4, 1);
        assert!((difference - (0.8 - 0.2)).abs() < 1e-12, "{difference}");
        // What all or none have is nearly certain, and a number.
        let odds = log_odds(&[vec![0], vec![0]], &[0, 1], 2);
        assert!(
            odds[0] > 30.0 && odds[0].is_finite() && odds[1] == -odds[0],
            "{odds:?}"
        );
    }

    /// Of rows that all but a few have one value, a resample may hold that value alone.
    #[test]
    fn resamples_that_tell_nothing_are_left_out() {
        let values: Vec<f64> = (0..100)
            .map(|i| f64::from(i < 2) + 1e-9 * f64::from(i))
            .collect();
        let (wanted, _) = Wanted::values(values.into_iter());
        let Wanted::Values(all) = &wanted else {
            unreachable!()
        };
        let said: Vec<Vec<f64>> = (0..100).map(|i| vec![0.5 * all[i] + 0.01]).collect();
        let rows: Vec<u32> = (0..100).collect();
        let judged = Judged::of(&wanted, &rows, &said);
        let [low, high] = judged.interval(100, 1);
        assert!(-10.0 < low && low < high && high < 1.0, "{low} {high}");
        let usual = vec![vec![0.0]; 100];
        let usual = Judged::of(&wanted, &rows, &usual);
        let (_, [low, high]) = judged.minus(&usual, 100, 1);
        assert!(-10.0 < low && low < high && high < 1.0, "{low} {high}");
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

    /// Among the answers too, as of a model: the third class is said once and never right, the fourth is nowhere.
    #[test]
    fn macro_f1_is_the_mean_over_classes_that_occur() {
        let f1 = macro_f1(&[0, 0, 1, 2], &[0, 1, 1, 0], 4);
        let want = (2.0 / 4.0 + 2.0 / 3.0 + 0.0) / 3.0;
        assert!((f1 - want).abs() < 1e-12, "{f1}");
    }

    /// Of several labels a text the figure is that of a model's evaluation.
    #[test]
    fn micro_f1_is_that_of_an_evaluation() {
        let said = [vec![1.0, 0.0, -2.0], vec![-1.0, 2.0, 3.0]];
        let gold = [vec![0], vec![1, 2]];
        let mut counts = hone_train::metrics::MultiLabelCounts::new(3);
        for (said, gold) in said.iter().zip(&gold) {
            counts.add(gold, 0, said);
        }
        let want = counts.finish(&["a", "b", "c"].map(str::to_owned)).micro_f1;
        assert_eq!(micro_f1(&said, &gold), want);
        assert_eq!(micro_f1(&[vec![-1.0]], &[vec![]]), 0.0);
    }
}
