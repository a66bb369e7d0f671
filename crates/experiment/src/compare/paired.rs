//! Statistics of two models on the same rows: McNemar, Tango's interval, a paired bootstrap.

use crate::special::{bisect, coin_at, coin_below};
use hone_tensor::Philox;
use serde::Serialize;

/// Draws of the bootstrap.
const DRAWS: usize = 2000;
/// Fewest rows whose resamples say what further rows may be like: of one row all are the same.
const LEAST_ROWS: usize = 20;

/// Rows by who is right, and what follows from their numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairedShares {
    /// Both right.
    pub both: usize,
    /// Only the first.
    pub only_a: usize,
    /// Only the second.
    pub only_b: usize,
    /// None.
    pub neither: usize,
    /// Share of right rows of the second minus that of the first.
    pub difference: f64,
    /// Its 95 % score interval (Tango 1998).
    pub interval: [f64; 2],
    /// McNemar's test, exact (binomial), two-sided.
    pub mcnemar_exact: f64,
    /// The same with half of the point probability (Fagerland, Lydersen & Laake 2013): less timid.
    pub mcnemar_mid_p: f64,
}

impl PairedShares {
    /// From both models' verdicts, row by row.
    ///
    /// # Panics
    ///
    /// Where they are not of equally many rows.
    pub fn of(a: &[bool], b: &[bool]) -> PairedShares {
        assert_eq!(a.len(), b.len(), "verdicts of both models on the same rows");
        let count = |x: bool, y: bool| a.iter().zip(b).filter(|p| (*p.0, *p.1) == (x, y)).count();
        let (only_a, only_b) = (count(true, false), count(false, true));
        let n = a.len();
        let [exact, mid] = mcnemar(only_a, only_b);
        PairedShares {
            both: count(true, true),
            only_a,
            only_b,
            neither: count(false, false),
            difference: (only_b as f64 - only_a as f64) / n.max(1) as f64,
            interval: tango(only_b, only_a, n),
            mcnemar_exact: exact,
            mcnemar_mid_p: mid,
        }
    }
}

/// Exact and mid-p McNemar of the two kinds of discordant rows.
fn mcnemar(b: usize, c: usize) -> [f64; 2] {
    let (n, least) = (b + c, b.min(c));
    if n == 0 {
        return [1.0, 1.0];
    }
    let point = coin_at(n, least);
    if b == c {
        return [1.0, 1.0 - 0.5 * point];
    }
    let exact = (2.0 * coin_below(n, least)).min(1.0);
    [exact, exact - point]
}

/// Tango's 95 % score interval of (b − c)/n: where the score statistic with the constrained maximum-likelihood
/// estimate of P(c) is ±1.96.
fn tango(b: usize, c: usize, n: usize) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    if n == 0 {
        return [-1.0, 1.0];
    }
    let (b, c, n) = (b as f64, c as f64, n as f64);
    let score = |delta: f64| {
        let half = (2.0 * n - b + c) * delta - b - c;
        let rest = -c * delta * (1.0 - delta);
        let q = ((half * half - 8.0 * n * rest).max(0.0).sqrt() - half) / (4.0 * n);
        let variance = n * (2.0 * q + delta * (1.0 - delta));
        (b - c - n * delta) / variance.max(1e-300).sqrt()
    };
    let seen = (b - c) / n;
    [
        bisect(-1.0, seen, |x| score(x) > Z),
        bisect(seen, 1.0, |x| score(x) > -Z),
    ]
}

/// A metric of both models that is no share of rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairedMetric {
    /// Its name.
    pub metric: String,
    /// Of the first.
    pub a: f64,
    /// Of the second.
    pub b: f64,
    /// Second minus first.
    pub difference: f64,
    /// 95 % interval: percentiles of the difference over 2 000 resamples of the rows, both models on the same; resamples in
    /// which the metric is no number are left out. None of fewer than 20 rows, nor where nothing varied.
    pub interval: Option<[f64; 2]>,
}

impl PairedMetric {
    /// `value(model, rows)` is the metric of model 0 or 1 over the listed rows.
    pub(crate) fn of(
        metric: &str,
        rows: usize,
        seed: u64,
        value: impl Fn(usize, &[u32]) -> f64,
    ) -> PairedMetric {
        let (models, [low, high]) = bootstrap(rows, seed, value);
        PairedMetric {
            metric: metric.to_owned(),
            a: models[0],
            b: models[1],
            difference: models[1] - models[0],
            interval: (rows >= LEAST_ROWS && low < high).then_some([low, high]),
        }
    }
}

/// The paired bootstrap: `value(model, rows)` is the metric of model 0 or 1 over the listed rows. The value of both over all rows, and
/// the 95 % interval of the difference.
pub(crate) fn bootstrap(
    rows: usize,
    seed: u64,
    value: impl Fn(usize, &[u32]) -> f64,
) -> ([f64; 2], [f64; 2]) {
    let all: Vec<u32> = (0..rows as u32).collect();
    let models = [value(0, &all), value(1, &all)];
    let random = Philox::new(seed);
    let mut found: Vec<f64> = (0..DRAWS as u64)
        .map(|draw| {
            let pick = |k: u64| {
                let word = random.u64_at(draw, k);
                ((u128::from(word) * rows as u128) >> 64) as u32
            };
            let drawn: Vec<u32> = (0..rows as u64).map(pick).collect();
            value(1, &drawn) - value(0, &drawn)
        })
        .filter(|difference| difference.is_finite())
        .collect();
    found.sort_by(f64::total_cmp);
    let last = found.len().saturating_sub(1) as f64;
    let at = |share: f64| {
        let place = (last * share).round() as usize;
        found.get(place).copied().unwrap_or(f64::NAN)
    };
    (models, [at(0.025), at(0.975)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// McNemar by statsmodels and scipy, Tango's interval by numerical maximisation
    /// (`xtask/python/crossval_fixtures.py statistics`).
    #[test]
    fn tests_and_intervals_are_those_of_scipy() {
        #[derive(serde::Deserialize)]
        struct Case {
            b: usize,
            c: usize,
            n: usize,
            exact: f64,
            mid: f64,
            interval: [f64; 2],
        }
        #[derive(serde::Deserialize)]
        struct File {
            pairs: Vec<Case>,
        }
        let file: File =
            serde_json::from_str(include_str!("../../fixtures/statistics.json")).unwrap();
        for case in file.pairs {
            let (b, c, n) = (case.b, case.c, case.n);
            let [exact, mid] = mcnemar(c, b);
            assert!((exact - case.exact).abs() < 1e-10, "{b} {c}: {exact}");
            assert!((mid - case.mid).abs() < 1e-10, "{b} {c}: {mid}");
            let got = tango(b, c, n);
            for (got, want) in got.iter().zip(case.interval) {
                assert!((got - want).abs() < 1e-6, "{b} {c} {n}: {got} {want}");
            }
        }
    }

    #[test]
    fn shares_count_rows_by_who_is_right() {
        let a = [true, true, false, false, true];
        let b = [true, false, true, false, false];
        let s = PairedShares::of(&a, &b);
        assert_eq!((s.both, s.only_a, s.only_b, s.neither), (1, 2, 1, 1));
        assert!((s.difference + 0.2).abs() < 1e-15);
        assert!(s.interval[0] < s.difference && s.difference < s.interval[1]);
    }

    #[test]
    #[should_panic(expected = "verdicts of both models on the same rows")]
    fn verdicts_on_other_rows_are_refused() {
        PairedShares::of(&[true, false], &[true]);
    }

    /// For a mean the bootstrap's interval is near mean ± 1.96 standard errors; with 1.645 it would be off by 0.03.
    #[test]
    fn the_bootstrap_of_a_mean_is_the_normal_interval() {
        let n = 512;
        let value = |row: u32| f64::from(row % 7) - 3.0;
        // What both models have varies far more, and counts for nothing: both are read on the same rows.
        let of = |n: usize, value: &dyn Fn(u32) -> f64| {
            PairedMetric::of("mean", n, 1, |model, rows| {
                let both = |r: u32| 64.0 * f64::from(r % 5);
                let each = rows.iter().map(|&r| both(r) + model as f64 * value(r));
                each.sum::<f64>() / rows.len() as f64
            })
        };
        let found = of(n, &value);
        let [low, high] = found.interval.unwrap();
        // Values −3 … 3 evenly: standard deviation 2.
        let half = 1.96 * 2.0 / (n as f64).sqrt();
        assert!((low + half - found.difference).abs() < 0.012, "{found:?}");
        assert!((high - half - found.difference).abs() < 0.012, "{found:?}");
        // A few rows are no sample of others, and what never varies is not certain.
        assert!(of(19, &value).interval.is_none() && of(20, &value).interval.is_some());
        assert!(of(n, &|_| 1.0).interval.is_none());
    }
}
