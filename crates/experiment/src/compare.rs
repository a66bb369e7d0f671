//! Two models on the same labelled rows: does one do better, and on which rows do they differ.
//!
//! Rows that are right or wrong as a whole (the class; every label of a set; every tag of a text) are compared by
//! McNemar's test and Tango's interval; what is no share of rows (Pearson, micro-F1, entity F1) by a paired
//! bootstrap over rows.

use crate::special::{bisect, coin_at, coin_below};
use hone_bert::{Model, Task};
use hone_kernels::Backend;
use hone_tensor::Philox;
use hone_train::metrics::{Metrics, entities};
use hone_train::{
    EvalBatches, Examples, Prediction, Scorer, Targets, TrainError, argmax, predict, sigmoid,
    softmax, word_classes,
};
use serde::Serialize;

/// Draws of the bootstrap.
const DRAWS: usize = 2000;

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
    pub fn of(a: &[bool], b: &[bool]) -> PairedShares {
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
    /// 95 % interval: percentiles of the difference over 2 000 resamples of the rows, both models on the same.
    pub interval: [f64; 2],
}

/// The paired bootstrap: `value(model, rows)` is the metric of model 0 or 1 over the listed rows.
fn bootstrap(
    metric: &str,
    rows: usize,
    seed: u64,
    value: impl Fn(usize, &[u32]) -> f64,
) -> PairedMetric {
    let all: Vec<u32> = (0..rows as u32).collect();
    let (a, b) = (value(0, &all), value(1, &all));
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
        .collect();
    found.sort_by(f64::total_cmp);
    let at = |share: f64| found[((DRAWS - 1) as f64 * share).round() as usize];
    PairedMetric {
        metric: metric.to_owned(),
        a,
        b,
        difference: b - a,
        interval: [at(0.025), at(0.975)],
    }
}

/// What one model answered to one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The answer, as people read it: the label, labels joined by `|`, the value, tags joined by spaces.
    pub said: String,
    /// How sure the model is of it: the label's probability; 0 where there is no such number.
    pub probability: f64,
    /// Whether the row is right as a whole; for values never.
    pub right: bool,
    /// Distance from the true value, for values.
    pub error: f64,
    /// What the metric is summed from: right, said and true labels or entities; the value and the true one.
    parts: [f64; 3],
}

/// A model's answers to all rows.
#[derive(Debug, Clone)]
pub struct Answers {
    /// Row by row.
    pub rows: Vec<Answer>,
    /// Its metrics.
    pub metrics: Metrics,
}

/// Reads `examples`, whose targets are numbered by the model's own labels.
pub fn answers<B: Backend>(
    model: &Model<B>,
    examples: &Examples,
    progress: impl FnMut(usize) -> bool,
) -> Result<Option<Answers>, TrainError> {
    let mut acts = model.plan_eval(EvalBatches::USUAL.limits(examples))?;
    let mut scorer = Scorer::new(model.task, &model.labels);
    let mut rows = Vec::with_capacity(examples.len());
    let whole = predict(
        model,
        &mut acts,
        examples,
        EvalBatches::USUAL,
        |p| {
            scorer.push(examples, p);
            rows.push(answer(model.task, &model.labels, examples, p));
        },
        progress,
    )?;
    Ok(whole.then(|| Answers {
        rows,
        metrics: scorer.finish(),
    }))
}

fn answer(task: Task, labels: &[String], examples: &Examples, p: Prediction<'_>) -> Answer {
    let i = p.index;
    let plain = |said: String, probability: f64, right: bool| Answer {
        said,
        probability,
        right,
        error: 0.0,
        parts: [0.0; 3],
    };
    match (task, &examples.targets) {
        (Task::Classify, Targets::Classes(all)) => {
            let best = argmax(p.logits);
            let probability = softmax(p.logits)[best];
            plain(
                labels[best].clone(),
                probability,
                all[i] == Some(best as u32),
            )
        }
        (Task::MultiLabel, Targets::Sets(all)) => {
            let given: Vec<u32> = (0..labels.len() as u32)
                .filter(|&c| p.logits[c as usize] >= 0.0)
                .collect();
            let mut names: Vec<&str> = given.iter().map(|&c| labels[c as usize].as_str()).collect();
            // Two models may number the same labels differently.
            names.sort_unstable();
            let least = p.logits.iter().map(|&z| sigmoid(z.abs()));
            let right = given.iter().filter(|c| all[i].contains(c)).count();
            Answer {
                parts: [right as f64, given.len() as f64, all[i].len() as f64],
                ..plain(names.join("|"), least.fold(1.0, f64::min), given == all[i])
            }
        }
        (Task::Regress, Targets::Values(all)) => {
            let (value, truth) = (p.logits[0], f64::from(all[i]));
            Answer {
                error: (value - truth).abs(),
                parts: [value, truth, 0.0],
                ..plain(value.to_string(), 0.0, false)
            }
        }
        (
            Task::Tag,
            Targets::Tags {
                words,
                first_pieces,
                unknown,
                ..
            },
        ) => {
            let said = word_classes(&first_pieces[i], p, labels.len());
            let name = |c: &Option<u32>, other: &'static str| -> String {
                c.map_or(other.to_owned(), |c| labels[c as usize].clone())
            };
            let said: Vec<String> = said.iter().map(|c| name(c, "O")).collect();
            let gold: Vec<String> = words[i]
                .iter()
                .map(|c| c.map_or(unknown.clone(), |c| labels[c as usize].clone()))
                .collect();
            let refs = |x: &[String]| -> Vec<(usize, usize, String)> {
                let tags: Vec<&str> = x.iter().map(String::as_str).collect();
                let spans = entities(&tags).into_iter();
                spans.map(|(s, e, kind)| (s, e, kind.to_owned())).collect()
            };
            let (spans, true_spans) = (refs(&said), refs(&gold));
            let right = spans.iter().filter(|s| true_spans.contains(s)).count();
            Answer {
                parts: [right as f64, spans.len() as f64, true_spans.len() as f64],
                ..plain(said.join(" "), 0.0, said == gold)
            }
        }
        _ => plain(String::new(), 0.0, false),
    }
}

/// How a row changed from the first model to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Wrong, then right (for values: nearer).
    Better,
    /// Right, then wrong (for values: farther).
    Worse,
    /// Wrong in another way (for values: as far on the other side).
    Other,
}

impl Change {
    /// As files say it.
    pub fn name(self) -> &'static str {
        match self {
            Change::Better => "better",
            Change::Worse => "worse",
            Change::Other => "other",
        }
    }
}

/// The comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Rows compared.
    pub rows: usize,
    /// Rows that are right as a whole; absent for values.
    pub shares: Option<PairedShares>,
    /// The task's other metric by bootstrap; absent for classes.
    pub metric: Option<PairedMetric>,
    /// The first model's metrics.
    pub a: Metrics,
    /// The second's.
    pub b: Metrics,
    /// Rows whose answer changed, by their place: the better ones, the worse ones, then the others; values by how
    /// much their error changed.
    #[serde(skip)]
    pub changed: Vec<(usize, Change)>,
}

/// Compares two models' answers to the same rows. `seed` is the bootstrap's.
pub fn compare(task: Task, a: &Answers, b: &Answers, seed: u64) -> Comparison {
    let n = a.rows.len().min(b.rows.len());
    let right = |x: &Answers| -> Vec<bool> { x.rows.iter().map(|r| r.right).collect() };
    let part = |model: usize, row: u32| match model {
        0 => a.rows[row as usize].parts,
        _ => b.rows[row as usize].parts,
    };
    let f1 = |model: usize, rows: &[u32]| {
        let (mut right, mut both) = (0.0, 0.0);
        for &row in rows {
            let [r, said, truth] = part(model, row);
            right += r;
            both += said + truth;
        }
        if both > 0.0 { 2.0 * right / both } else { 0.0 }
    };
    let pearson = |model: usize, rows: &[u32]| {
        let n = rows.len().max(1) as f64;
        let (mut x, mut y) = (0.0, 0.0);
        for &row in rows {
            let [value, truth, _] = part(model, row);
            x += value / n;
            y += truth / n;
        }
        let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
        for &row in rows {
            let [value, truth, _] = part(model, row);
            let (dx, dy) = (value - x, truth - y);
            xy += dx * dy;
            xx += dx * dx;
            yy += dy * dy;
        }
        if xx > 0.0 && yy > 0.0 {
            xy / (xx * yy).sqrt()
        } else {
            0.0
        }
    };
    let metric = match task {
        Task::Classify => None,
        Task::MultiLabel => Some(bootstrap("micro_f1", n, seed, f1)),
        Task::Tag => Some(bootstrap("entity_f1", n, seed, f1)),
        Task::Regress => Some(bootstrap("pearson", n, seed, pearson)),
    };
    let mut changed: Vec<(usize, Change)> = (0..n)
        .filter(|&i| a.rows[i].said != b.rows[i].said)
        .map(|i| {
            let (x, y) = (&a.rows[i], &b.rows[i]);
            let change = match task {
                Task::Regress if y.error < x.error => Change::Better,
                Task::Regress if y.error > x.error => Change::Worse,
                _ if y.right && !x.right => Change::Better,
                _ if x.right && !y.right => Change::Worse,
                _ => Change::Other,
            };
            (i, change)
        })
        .collect();
    let by = |i: usize| (a.rows[i].error - b.rows[i].error).abs();
    changed.sort_by(|x, y| {
        let far = by(y.0).total_cmp(&by(x.0));
        x.1.cmp(&y.1).then(far).then(x.0.cmp(&y.0))
    });
    Comparison {
        rows: n,
        shares: (task != Task::Regress).then(|| PairedShares::of(&right(a), &right(b))),
        metric,
        a: a.metrics.clone(),
        b: b.metrics.clone(),
        changed,
    }
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
        let file: File = serde_json::from_str(include_str!("../fixtures/statistics.json")).unwrap();
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

    /// For a mean the bootstrap's interval is near mean ± 1.96 standard errors.
    #[test]
    fn the_bootstrap_of_a_mean_is_the_normal_interval() {
        let n = 400;
        let value = |row: u32| f64::from(row % 7) - 3.0;
        let found = bootstrap("mean", n, 1, |model, rows| match model {
            0 => 0.0,
            _ => rows.iter().map(|&r| value(r)).sum::<f64>() / rows.len() as f64,
        });
        // Values −3 … 3 evenly: standard deviation 2.
        let half = 1.96 * 2.0 / (n as f64).sqrt();
        assert!(
            (found.interval[0] + half - found.difference).abs() < 0.03,
            "{found:?}"
        );
        assert!(
            (found.interval[1] - half - found.difference).abs() < 0.03,
            "{found:?}"
        );
    }
}
