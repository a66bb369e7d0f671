//! Is one system ahead of another, over small training sets and judged rows? Pure functions.
//!
//! Both systems were trained on the same sets (runs) and judged by the same rows. The mean difference of their scores
//! has a variance with three parts: of training sets, of judged rows, and of both together (one model's luck with one
//! row). The runs' variance is that of their differences; the rows' is taken by a bootstrap over rows, the same rows for
//! every run; each holds the part of both together, so it is taken off once (two crossed random factors; Owen 2007, "The
//! pigeonhole bootstrap", says why neither alone will do). Student's distribution has the degrees of freedom that
//! Satterthwaite's formula gives the runs' part, since there are few of them.

use hone_tensor::Philox;
use hone_train::special::{student_above, student_exceeded};
use serde::Serialize;

/// What scores are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Mean of the classes' F1, over classes that a row has or is given (as scikit-learn's).
    MacroF1,
    /// Matthews's correlation coefficient.
    Matthews,
}

impl Metric {
    /// As tables say it.
    pub fn name(self) -> &'static str {
        match self {
            Metric::MacroF1 => "macro-F1",
            Metric::Matthews => "Matthews",
        }
    }

    /// The score of these answers; row `i` counts `weights[i]` times. An answer outside the classes is wrong.
    pub fn score(self, truth: &[u16], said: &[u16], weights: &[u32], classes: usize) -> f64 {
        let (mut hit, mut given, mut there) =
            (vec![0.0; classes], vec![0.0; classes], vec![0.0; classes]);
        let mut n = 0.0;
        for ((&t, &s), &w) in truth.iter().zip(said).zip(weights) {
            let (t, s, w) = (t as usize, s as usize, f64::from(w));
            n += w;
            there[t] += w;
            if s < classes {
                given[s] += w;
                if s == t {
                    hit[t] += w;
                }
            }
        }
        match self {
            Metric::MacroF1 => {
                let (mut sum, mut count) = (0.0, 0.0);
                for c in 0..classes {
                    if given[c] + there[c] > 0.0 {
                        sum += 2.0 * hit[c] / (given[c] + there[c]);
                        count += 1.0;
                    }
                }
                if count > 0.0 { sum / count } else { 0.0 }
            }
            Metric::Matthews => {
                let right: f64 = hit.iter().sum();
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let spread = |x: &[f64]| n * n - dot(x, x);
                let below = (spread(&given) * spread(&there)).sqrt();
                match below > 0.0 {
                    true => (right * n - dot(&given, &there)) / below,
                    false => 0.0,
                }
            }
        }
    }
}

/// Answers of two systems to the same rows, trained on the same sets.
pub struct Paired<'a> {
    /// What is compared.
    pub metric: Metric,
    /// Classes.
    pub classes: usize,
    /// Class of each row.
    pub truth: &'a [u16],
    /// Answers of both systems, by run.
    pub runs: &'a [[&'a [u16]; 2]],
}

/// The first system minus the second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Mean over runs.
    pub mean: f64,
    /// Standard error over training sets and rows.
    pub error: f64,
    /// Its degrees of freedom.
    pub df: f64,
    /// 95 % interval.
    pub interval: [f64; 2],
    /// Probability of a difference at least as far from zero, if there were none.
    pub p: f64,
}

/// The difference, by `draws` bootstrap samples of the rows. Needs two runs at least: one tells nothing of training sets.
pub fn difference(paired: &Paired<'_>, draws: usize, seed: u64) -> Option<Difference> {
    let (rows, runs) = (paired.truth.len(), paired.runs.len());
    if runs < 2 || rows == 0 || draws < 2 {
        return None;
    }
    let differences = |weights: &[u32]| -> Vec<f64> {
        let score = |said: &[u16]| {
            paired
                .metric
                .score(paired.truth, said, weights, paired.classes)
        };
        paired
            .runs
            .iter()
            .map(|[a, b]| score(a) - score(b))
            .collect()
    };
    let each = differences(&vec![1; rows]);
    let mean = average(&each);
    let of_runs = variance(&each) / runs as f64;
    let random = Philox::new(seed);
    let mut means = Vec::with_capacity(draws);
    let mut alone = vec![Vec::with_capacity(draws); runs];
    let mut weights = vec![0u32; rows];
    for draw in 0..draws {
        weights.fill(0);
        for row in 0..rows {
            let at = (u128::from(random.u64_at(draw as u64, row as u64)) * rows as u128) >> 64;
            weights[at as usize] += 1;
        }
        let drawn = differences(&weights);
        means.push(average(&drawn));
        alone.iter_mut().zip(drawn).for_each(|(all, d)| all.push(d));
    }
    let of_rows = variance(&means);
    let of_one_run = average(&alone.iter().map(|d| variance(d)).collect::<Vec<f64>>());
    // A run's own rows' variance is the shared part and its own; the mean's is the shared part and 1/runs of that.
    let of_both = ((of_one_run - of_rows) / (runs as f64 - 1.0)).max(0.0);
    let total = (of_runs + of_rows - of_both).max(of_runs).max(of_rows);
    let error = total.sqrt();
    let df = match of_runs > 0.0 {
        true => total * total / (of_runs * of_runs / (runs as f64 - 1.0)),
        false => f64::INFINITY,
    };
    // Beyond this Student's distribution is the normal one.
    let df = df.min(1e6);
    let p = match (error > 0.0, mean == 0.0) {
        (true, _) => 2.0 * student_above(mean.abs() / error, df),
        (false, true) => 1.0,
        (false, false) => 0.0,
    };
    let half = student_exceeded(0.025, df) * error;
    Some(Difference {
        mean,
        error,
        df,
        interval: [mean - half, mean + half],
        p: p.min(1.0),
    })
}

/// Holm's step-down adjustment: each p as it counts among all of them.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut out = vec![0.0; p.len()];
    let mut largest: f64 = 0.0;
    for (rank, &i) in order.iter().enumerate() {
        largest = largest.max((p.len() - rank) as f64 * p[i]).min(1.0);
        out[i] = largest;
    }
    out
}

/// The mean; of nothing, zero.
pub fn average(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len().max(1) as f64
}

/// The sample variance.
pub fn variance(x: &[f64]) -> f64 {
    let mean = average(x);
    let sum: f64 = x.iter().map(|v| (v - mean) * (v - mean)).sum();
    sum / (x.len() as f64 - 1.0).max(1.0)
}

#[cfg(test)]
mod tests;
