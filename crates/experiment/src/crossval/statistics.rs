//! What the folds say together: mean, spread, and an interval that knows their training parts overlap.

use crate::special::student_quantile;
use serde::Serialize;

/// How [`Spread::interval`] comes about, for reports.
pub const INTERVAL_METHOD: &str = "corrected resampled t (Nadeau & Bengio 2003): mean ± t(0.975, n − 1) · \
    sqrt((1/n + held-out rows / training rows) · s²), n folds of all repeats; cut to the values that the metric can have; \
    none where all folds have one value, which tells nothing of how much they would vary";

/// One metric over all folds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spread {
    /// Mean of the folds.
    pub mean: f64,
    /// Standard deviation of the folds, with n − 1.
    pub std: f64,
    /// Folds of all repeats.
    pub folds: usize,
    /// Degrees of freedom, n − 1.
    pub degrees_of_freedom: usize,
    /// 95 % interval by [`INTERVAL_METHOD`]; none of a single fold, nor where all have the same value.
    pub interval: Option<[f64; 2]>,
}

impl Spread {
    /// Sums up `values`, one a fold. `ratio` is held-out rows over training rows: folds' scores vary less than
    /// those of independent training sets would, and the ratio makes good for it (Nadeau & Bengio 2003, section 5;
    /// for repeated folds Bouckaert & Frank 2004). `range` is the least and the greatest value that the metric can have.
    pub fn of(values: &[f64], ratio: f64, [least, greatest]: [f64; 2]) -> Spread {
        let n = values.len();
        let count = n.max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
        let freedom = n.saturating_sub(1);
        let variance = squares / freedom.max(1) as f64;
        let vary = values.iter().any(|x| *x != values[0]);
        let interval = vary.then(|| {
            let t = student_quantile(0.975, freedom as f64);
            let half = t * ((1.0 / count + ratio) * variance).sqrt();
            [(mean - half).max(least), (mean + half).min(greatest)]
        });
        Spread {
            mean,
            std: variance.sqrt(),
            folds: n,
            degrees_of_freedom: freedom,
            interval,
        }
    }
}

/// The middle value; of an even number the mean of the middle two.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => 0.0,
        (n, half) if n % 2 == 1 => sorted[half],
        (_, half) => 0.5 * (sorted[half - 1] + sorted[half]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_train::metrics::range;

    /// By numpy and scipy (`xtask/python/crossval_fixtures.py statistics`).
    #[test]
    fn the_corrected_interval_is_that_of_its_formula() {
        #[derive(serde::Deserialize)]
        struct Case {
            train: f64,
            test: f64,
            scores: Vec<f64>,
            mean: f64,
            std: f64,
            interval: [f64; 2],
        }
        #[derive(serde::Deserialize)]
        struct File {
            resampled: Vec<Case>,
        }
        let file: File =
            serde_json::from_str(include_str!("../../fixtures/statistics.json")).unwrap();
        for case in file.resampled {
            let everything = [f64::NEG_INFINITY, f64::INFINITY];
            let got = Spread::of(&case.scores, case.test / case.train, everything);
            let interval = got.interval.unwrap();
            let pairs = [
                (got.mean, case.mean),
                (got.std, case.std),
                (interval[0], case.interval[0]),
                (interval[1], case.interval[1]),
            ];
            for (got, want) in pairs {
                assert!((got - want).abs() < 1e-10, "{got} {want}");
            }
        }
    }

    #[test]
    fn intervals_hold_what_a_metric_can_be_and_ties_have_none() {
        let of = |values: &[f64], metric: &str| Spread::of(values, 0.25, range(metric)).interval;
        let [low, high] = of(&[1.0, 1.0, 0.98, 1.0, 1.0], "accuracy").unwrap();
        assert!(low < 0.996 && high == 1.0, "{low} {high}");
        assert_eq!(of(&[-0.9, 0.9, 0.1], "matthews"), Some([-1.0, 1.0]));
        let [low, high] = of(&[0.01, 0.9, 2.0], "loss").unwrap();
        assert!(low == 0.0 && high > 2.0, "{low} {high}");
        for tied in [&[1.0; 5][..], &[0.1; 3], &[0.5], &[]] {
            assert_eq!(of(tied, "accuracy"), None, "{tied:?}");
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[3.0, 1.0, 2.0, 2.5]), 2.25);
    }
}
