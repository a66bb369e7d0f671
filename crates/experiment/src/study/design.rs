//! How much is looked, and how much of the probability of a false claim each look may spend.

use crate::crossval::can_pair;
use crate::special::{normal_above, normal_exceeded};
use hone_train::TrainError;
use serde::{Deserialize, Serialize};

/// What decides when a study ends and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Design {
    /// Pairs at most, at least 2.
    pub pairs: usize,
    /// Folds of a repeat, at least 2: a pair holds out one of so many parts.
    pub folds: usize,
    /// Probability of any false claim, all looks and all arms together.
    pub alpha: f64,
    /// Differences up to this, in the metric's units, are not worth having; 0: none is too small, and no arm is said to make
    /// no difference.
    pub margin: f64,
    /// Whether a higher metric is the better one.
    pub higher_is_better: bool,
}

impl Design {
    /// Pairs after which a look is taken: whole repeats, in which every row was held out equally often, and the end.
    pub fn looks(&self) -> Vec<usize> {
        let folds = self.folds.max(1);
        let whole = (folds..self.pairs).step_by(folds);
        whole.chain([self.pairs]).collect()
    }

    /// Refuses numbers by which nothing can be decided, in the words of `hone study`; folds are held against the rows later.
    pub fn check(&self) -> Result<(), TrainError> {
        can_pair(self.pairs)?;
        let wrong = |what: String| Err(TrainError::Option(what));
        let Design {
            folds,
            alpha,
            margin,
            ..
        } = *self;
        if folds < 2 {
            return wrong(format!("--folds {folds}: at least 2 were expected"));
        }
        if !(alpha > 0.0 && alpha < 0.5) {
            return wrong(format!(
                "--alpha {alpha}: a number above 0 and below 0.5 was expected"
            ));
        }
        match margin >= 0.0 && margin.is_finite() {
            true => Ok(()),
            false => wrong(format!("--margin {margin}: a number from 0 was expected")),
        }
    }

    /// The two-sided level of the test at the look after `pairs` pairs, where an arm may spend `share` over all
    /// looks: what the O'Brien–Fleming-like spending function of Lan & DeMets (1983, "Discrete sequential boundaries
    /// for clinical trials") grants between the look before and this one. A false claim at some look is then at
    /// most as probable as the sum of the levels, which is `share`, however the looks depend on each other.
    pub fn level(&self, pairs: usize, share: f64) -> f64 {
        let all = self.pairs as f64;
        let before = self.looks().into_iter().rfind(|&n| n < pairs);
        let until = |n: usize| spent(share, n as f64 / all);
        until(pairs) - before.map_or(0.0, until)
    }
}

/// What may be spent of `alpha` by the part `t` of all pairs: 2 − 2Φ(z(α/2)/√t).
fn spent(alpha: f64, t: f64) -> f64 {
    2.0 * normal_above(normal_exceeded(0.5 * alpha) / t.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn design(pairs: usize, folds: usize) -> Design {
        Design {
            pairs,
            folds,
            alpha: 0.05,
            margin: 0.005,
            higher_is_better: true,
        }
    }

    #[test]
    fn looks_are_whole_repeats_and_the_end() {
        for (pairs, folds, want) in [
            (10, 5, vec![5, 10]),
            (12, 5, vec![5, 10, 12]),
            (3, 5, vec![3]),
            (5, 5, vec![5]),
            (10, usize::MAX, vec![10]),
            (usize::MAX, usize::MAX - 1, vec![usize::MAX - 1, usize::MAX]),
        ] {
            assert_eq!(design(pairs, folds).looks(), want);
        }
    }

    #[test]
    fn numbers_of_no_study_are_refused() {
        assert!(design(10, 5).check().is_ok());
        let with = |alpha: f64, margin: f64| Design {
            alpha,
            margin,
            ..design(10, 5)
        };
        for (design, says) in [
            (design(1, 5), "--pairs 1: from 2 to 10000"),
            (design(usize::MAX, 5), "--pairs 18446744073709551615: from"),
            (design(10, 0), "--folds 0: at least 2"),
            (with(0.5, 0.0), "--alpha 0.5: a number above 0"),
            (with(f64::NAN, 0.0), "--alpha NaN"),
            (with(0.05, -0.1), "--margin -0.1: a number from 0"),
            (with(0.05, f64::INFINITY), "--margin inf"),
        ] {
            let said = design.check().unwrap_err().to_string();
            assert!(said.contains(says), "{said}");
        }
    }

    #[test]
    fn levels_add_up_to_the_share_and_grow_with_it() {
        for (pairs, folds) in [(10, 5), (23, 4), (200, 2), (2, 5)] {
            let d = design(pairs, folds);
            let mut before = vec![0.0; d.looks().len()];
            for share in [0.001, 0.0125, 0.05, 0.1, 0.3] {
                let levels: Vec<f64> = d.looks().iter().map(|&n| d.level(n, share)).collect();
                assert!((levels.iter().sum::<f64>() - share).abs() < 1e-12);
                // Holm's procedure over looks needs that (Maurer & Bretz 2013).
                assert!(levels.iter().zip(&before).all(|(now, was)| now >= was));
                before = levels;
            }
        }
    }

    /// By scipy (`xtask/python/study_fixtures.py`).
    #[test]
    fn the_spending_function_is_lans_and_demets() {
        let file: serde_json::Value =
            serde_json::from_str(include_str!("../../fixtures/study.json")).unwrap();
        for case in file["spent"].as_array().unwrap() {
            let [alpha, t, want] = [0, 1, 2].map(|i| case[i].as_f64().unwrap());
            let got = spent(alpha, t);
            assert!((got - want).abs() <= 1e-9 * want, "{alpha} {t}: {got}");
        }
    }
}
