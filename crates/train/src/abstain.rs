//! Abstention: the confidence above which a classifier's answers are right as often as wanted, found on held-out rows
//! with a guarantee, and what is answered above it.
//!
//! Answers are sorted by confidence. For the `m` most confident ones, the threshold is the confidence of the next row,
//! so that the `m` rows above it are a sample of everything above that threshold, and the number of right ones among
//! them is binomial; the exact test of "they are right too seldom" is Clopper and Pearson's. Testing every `m` would
//! find one that passes by luck. So `LEVELS` coverages are chosen before any label is looked at, tested from the most
//! confident answers downwards, and share the error by Wiens' (2003) fallback procedure: each has its part, and one
//! that passes hands its whole part on to the next. (This is fixed-sequence testing as "Learn then test", Angelopoulos
//! et al. 2021, uses it, with several starts; the goal is that of "Selective classification for deep neural networks",
//! Geifman & El-Yaniv 2017, whose bound divides the error evenly.) The widest coverage that passes is taken. Where
//! surer answers are right at least as often, as they should be, the chance that the answers above the threshold are
//! right less often than wanted is at most 1 − `CERTAINTY`. (Rows that also chose the weights or a temperature flatter
//! the model a little, and with it the rule.) Out of fold the rows were answered by other models than the one that is kept, which
//! may answer worse above the same threshold: the rule is an estimate then, and has no certainty.

use crate::TrainError;
use crate::held_out::HeldOut;
use crate::metrics::wilson;
use crate::reading::Sureness;
use crate::special::{binomial_at_least, bisect};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// With how much certainty the wanted precision holds.
pub const CERTAINTY: f64 = 0.95;
/// Coverages that are tested: a twentieth, two twentieths, … of the rows.
const LEVELS: usize = 20;
/// Where `config.json` keeps it; transformers leaves fields that it does not know alone.
const FIELD: &str = "hone_abstain";

/// A rule for answering, as a model's `config.json` keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abstain {
    /// Answers are given where the probability of the answer is above this.
    pub above: f64,
    /// Share of right answers among those that are given.
    pub precision: f64,
    /// How certain that is; none where other models answered the held-out rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certainty: Option<f64>,
    /// Share of the held-out rows that were answered.
    pub coverage: f64,
    /// Held-out rows.
    pub rows: usize,
}

/// What a threshold does on labelled rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Answered {
    /// Rows.
    pub rows: usize,
    /// Rows that were answered.
    pub answered: usize,
    /// Their share.
    pub coverage: f64,
    /// Right answers among them.
    pub right: usize,
    /// Their share.
    pub precision: f64,
    /// Its Wilson 95 % interval.
    pub precision_interval: [f64; 2],
}

/// `abstention` in `summary.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Abstention {
    /// Wanted precision.
    pub wanted: f64,
    /// With how much certainty; none where other models answered the rows, which makes it an estimate.
    pub certainty: Option<f64>,
    /// What was found; none where no coverage passed.
    pub rule: Option<Abstain>,
    /// Which rows found it: `validation rows` or `out-of-fold rows`.
    pub by: &'static str,
    /// On those: the lower bound of the precision by itself, at the same certainty, where there is one.
    pub lower_bound: Option<f64>,
    /// On those.
    pub held_out: Option<Answered>,
    /// On the test rows.
    pub test: Option<Answered>,
}

/// The lower bound of a share, `right` of `n`, at a certainty (Clopper & Pearson 1934, one-sided).
pub fn lower_bound(right: usize, n: usize, certainty: f64) -> f64 {
    match right {
        0 => 0.0,
        _ => bisect(0.0, 1.0, |p| {
            binomial_at_least(n, right, p) < 1.0 - certainty
        }),
    }
}

/// Fewest rows, all of them right, that show a precision at the certainty by themselves.
pub fn least_rows(precision: f64) -> usize {
    ((1.0 - CERTAINTY).ln() / precision.ln()).ceil() as usize
}

impl Abstain {
    /// The widest rule with this precision, from held-out rows; `None` where none can be shown to have it.
    pub fn find(rows: &[Sureness], precision: f64) -> Option<Abstain> {
        let n = rows.len();
        let mut sorted = rows.to_vec();
        sorted.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        let mut right = vec![0usize; n + 1];
        for (i, row) in sorted.iter().enumerate() {
            right[i + 1] = right[i] + usize::from(row.right);
        }
        // A level whose rows, all of them right, would not show it alone has no part of the error.
        let levels: Vec<usize> = (1..=LEVELS)
            .map(|k| k * n / LEVELS)
            .filter(|&m| m >= least_rows(precision))
            .collect();
        let part = (1.0 - CERTAINTY) / levels.len().max(1) as f64;
        let mut handed_on = 0.0;
        let mut found = None;
        for m in levels {
            let above = sorted.get(m).map_or(0.0, |next| next.confidence);
            // Rows of the same confidence stand or fall together: those strictly above.
            let given = sorted.partition_point(|row| row.confidence > above);
            let level = part + handed_on;
            if binomial_at_least(given, right[given], precision) <= level {
                found = Some(Abstain {
                    above,
                    precision,
                    certainty: Some(CERTAINTY),
                    coverage: given as f64 / n as f64,
                    rows: n,
                });
                handed_on = level;
            } else {
                handed_on = 0.0;
            }
        }
        found
    }

    /// Whether an answer of this confidence is given.
    pub fn answers(&self, confidence: f64) -> bool {
        confidence > self.above
    }

    /// What it does on labelled rows.
    pub fn on(&self, rows: &[Sureness]) -> Answered {
        let given = rows.iter().filter(|r| self.answers(r.confidence));
        let answered = given.clone().count();
        let right = given.filter(|r| r.right).count();
        Answered {
            rows: rows.len(),
            answered,
            coverage: answered as f64 / rows.len().max(1) as f64,
            right,
            precision: right as f64 / answered.max(1) as f64,
            precision_interval: wilson(right, answered),
        }
    }

    /// The rule in the fields of a `config.json`.
    pub fn read(fields: &Map<String, Value>) -> Result<Option<Abstain>, TrainError> {
        let Some(value) = fields.get(FIELD) else {
            return Ok(None);
        };
        let rule = serde_json::from_value(value.clone());
        rule.map(Some).map_err(|e| {
            TrainError::Option(format!("config.json: {FIELD} is not what Hone wrote ({e})"))
        })
    }

    /// Puts a rule among the fields of a `config.json`, or takes away the one that is there; a rule that could not be read
    /// again is an error.
    pub fn write(
        rule: Option<&Abstain>,
        fields: &mut Map<String, Value>,
    ) -> Result<(), TrainError> {
        let Some(rule) = rule else {
            fields.remove(FIELD);
            return Ok(());
        };
        let written = serde_json::to_value(rule).and_then(|value| {
            // What is no number is written as nothing.
            serde_json::from_value::<Abstain>(value.clone()).map(|_| value)
        });
        let value = written.map_err(|e| {
            TrainError::Option(format!("config.json: {FIELD} would be no rule ({e})"))
        })?;
        fields.insert(FIELD.to_owned(), value);
        Ok(())
    }
}

impl Abstention {
    /// Finds a rule on held-out rows and reads it on test rows; `by` says whose answers to them these are.
    pub fn of(
        wanted: f64,
        by: HeldOut<'_>,
        held_out: &[Sureness],
        test: Option<&[Sureness]>,
    ) -> Abstention {
        let certainty = by.certainty();
        let rule = Abstain::find(held_out, wanted).map(|rule| Abstain { certainty, ..rule });
        let answered = rule.map(|r| r.on(held_out));
        Abstention {
            wanted,
            certainty,
            rule,
            by: by.name(),
            lower_bound: answered
                .zip(certainty)
                .map(|(a, certainty)| lower_bound(a.right, a.answered, certainty)),
            held_out: answered,
            test: rule.zip(test).map(|(r, rows)| r.on(rows)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_tensor::Philox;

    /// scipy.stats.beta.ppf(0.05, k, n − k + 1).
    #[test]
    fn bounds_are_scipys() {
        for (right, n, want) in [
            (59, 59, 0.950_492_390_111_773),
            (95, 100, 0.897_746_622_356_725_5),
            (1, 10, 0.005_116_196_891_823_701),
            (0, 5, 0.0),
        ] {
            let got = lower_bound(right, n, 0.95);
            assert!((got - want).abs() < 1e-9, "{right} of {n}: {got}");
        }
        assert_eq!((least_rows(0.95), least_rows(0.9)), (59, 29));
    }

    /// Rows of a classifier whose answer of confidence c is right with probability `right(c)`.
    fn drawn(n: usize, seed: u64, right: impl Fn(f64) -> f64) -> Vec<Sureness> {
        let random = Philox::new(seed);
        let unit =
            |i: usize, k: u64| (random.u64_at(k, i as u64) >> 11) as f64 / (1u64 << 53) as f64;
        (0..n)
            .map(|i| {
                let confidence = 0.5 + 0.5 * unit(i, 1).sqrt();
                Sureness {
                    confidence,
                    right: unit(i, 2) < right(confidence),
                }
            })
            .collect()
    }

    /// The true precision above a threshold, by adding up over a fine grid of the confidences drawn above
    /// (density 8·(c − ½) on ½ … 1).
    fn true_precision(above: f64, right: &impl Fn(f64) -> f64) -> f64 {
        let (mut mass, mut good) = (0.0, 0.0);
        let from = above.max(0.5);
        for i in 0..2000 {
            let c = from + (1.0 - from) * (i as f64 + 0.5) / 2000.0;
            mass += c - 0.5;
            good += (c - 0.5) * right(c);
        }
        good / mass
    }

    /// The promise: over many held-out sets, the rule found is less precise than wanted in at most one of twenty.
    #[test]
    fn what_is_promised_holds() {
        // Calibrated; the same everywhere, a hair below what is wanted; overconfident; a step.
        let kinds: [(&str, fn(f64) -> f64); 4] = [
            ("calibrated", |c| c),
            ("flat", |_| 0.8999),
            ("overconfident", |c| 0.5 + 0.9 * (c - 0.5)),
            ("step", |c| if c > 0.85 { 0.97 } else { 0.7 }),
        ];
        for (name, right) in kinds {
            for n in [100, 400, 2000] {
                let runs = 1500;
                let (mut broken, mut found) = (0, 0);
                for seed in 0..runs {
                    if let Some(rule) = Abstain::find(&drawn(n, seed, right), 0.9) {
                        found += 1;
                        broken += usize::from(true_precision(rule.above, &right) < 0.9);
                    }
                }
                let share = broken as f64 / runs as f64;
                // 5 %, and three standard errors.
                assert!(share < 0.05 + 0.017, "{name}, {n} rows: {share}");
                if name == "calibrated" && n == 2000 {
                    assert!(found > runs * 9 / 10, "it finds little: {found}");
                }
            }
        }
    }

    /// Beside the definition, by brute force: the test sums binomial terms, the rows above are counted one by one.
    #[test]
    fn the_rule_is_the_widest_level_that_passes() {
        let tail = |n: usize, k: usize, p: f64| -> f64 {
            let mut term = (n as f64 * p.ln()).exp();
            let mut sum = 0.0;
            for i in (k..=n).rev() {
                sum += term;
                term *= i as f64 / (n - i + 1) as f64 * (1.0 - p) / p;
            }
            sum
        };
        let mut some = 0;
        // A twentieth of 580 rows are the fewest that can show it.
        for (n, seed) in (0..60).map(|seed| ([300, 580][seed as usize % 2], seed)) {
            let rows = drawn(n, seed, |c| c);
            let mut sorted: Vec<f64> = rows.iter().map(|r| r.confidence).collect();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let usable: Vec<usize> = (1..=20).map(|k| n / 20 * k).filter(|&m| m >= 29).collect();
            let (mut carried, mut want) = (0.0, None);
            for &m in &usable {
                let above = if m == n { 0.0 } else { sorted[m] };
                let given: Vec<&Sureness> = rows.iter().filter(|r| r.confidence > above).collect();
                let right = given.iter().filter(|r| r.right).count();
                let level = 0.05 / usable.len() as f64 + carried;
                let passes = tail(given.len(), right, 0.9) <= level;
                carried = if passes { level } else { 0.0 };
                want = if passes { Some(above) } else { want };
            }
            assert_eq!(Abstain::find(&rows, 0.9).map(|r| r.above), want, "{seed}");
            some += usize::from(want.is_some());
        }
        assert!((10..60).contains(&some), "{some}");
    }

    #[test]
    fn what_a_rule_does_by_hand() {
        let rows = [(0.9, true), (0.8, false), (0.65, true), (0.7, true)];
        let rows = rows.map(|(confidence, right)| Sureness { confidence, right });
        // Sixty right answers show nine of ten of all rows.
        let all = Abstain::find(&[rows[0]; 60], 0.9).unwrap();
        assert_eq!((all.above, all.coverage, all.rows), (0.0, 1.0, 60));
        let on = Abstain { above: 0.65, ..all }.on(&rows);
        assert_eq!((on.rows, on.answered, on.right), (4, 3, 2));
        assert_eq!((on.coverage, on.precision), (0.75, 2.0 / 3.0));
        assert_eq!(on.precision_interval, wilson(2, 3));
    }

    #[test]
    fn a_rule_survives_config_json() {
        let rows = drawn(2000, 1, |c| c);
        let rule = Abstain::find(&rows, 0.9).unwrap();
        let mut fields = Map::new();
        Abstain::write(Some(&rule), &mut fields).unwrap();
        let text = serde_json::to_string(&fields).unwrap();
        let back = serde_json::from_str(&text).unwrap();
        assert_eq!(Abstain::read(&back).unwrap(), Some(rule));
        // An estimate of other models' answers has no certainty to be read back.
        let estimate = Abstain {
            certainty: None,
            ..rule
        };
        let mut other = Map::new();
        Abstain::write(Some(&estimate), &mut other).unwrap();
        assert!(other[FIELD].get("certainty").is_none());
        assert_eq!(Abstain::read(&other).unwrap(), Some(estimate));
        let on = rule.on(&rows);
        assert_eq!(on.coverage, rule.coverage);
        assert!(on.precision > 0.9);
        fields.insert(FIELD.to_owned(), Value::from(3));
        let said = Abstain::read(&fields).unwrap_err().to_string();
        assert!(said.contains("config.json: hone_abstain"), "{said}");
        let none = Abstain {
            above: f64::NAN,
            ..rule
        };
        let said = Abstain::write(Some(&none), &mut fields).unwrap_err();
        assert!(said.to_string().contains("config.json: hone_abstain"));
        Abstain::write(None, &mut fields).unwrap();
        assert_eq!(Abstain::read(&fields).unwrap(), None);
    }
}
