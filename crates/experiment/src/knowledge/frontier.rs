//! Which of several settings are worth having: those that no other beats in everything.

use hone_train::metrics::better;
use std::str::FromStr;

/// Of each point whether it is on the Pareto frontier: no other is at least as good in every figure and better in one.
/// Figures are the better the larger; one that is no number is worse than any.
pub fn frontier(points: &[Vec<f64>]) -> Vec<bool> {
    let clean = |x: f64| if x.is_nan() { f64::NEG_INFINITY } else { x };
    let beats = |a: &[f64], b: &[f64]| {
        let pairs = || a.iter().zip(b).map(|(a, b)| (clean(*a), clean(*b)));
        pairs().all(|(a, b)| a >= b) && pairs().any(|(a, b)| a > b)
    };
    points
        .iter()
        .map(|p| !points.iter().any(|other| beats(other, p)))
        .collect()
}

/// How one setting is chosen by the task's figure on some rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Keep {
    /// The best; of equals the smallest α, which is nearest to the base.
    Best,
    /// The smallest α whose figure is at most so much below the best one.
    Within(f64),
}

impl Keep {
    /// The index among `alphas` with these figures of `metric`; `None` where there are none.
    pub fn choose(self, metric: &str, alphas: &[f64], figures: &[f64]) -> Option<usize> {
        let mut best = *figures.first()?;
        for &figure in figures {
            if better(metric, figure, best) {
                best = figure;
            }
        }
        let room = match self {
            Keep::Best => 0.0,
            Keep::Within(room) => room,
        };
        // Room is a decimal that a person wrote: 0.90 is 0.01 below 0.91, whatever the last bit says.
        let slack = 1e-9 * best.abs().max(1.0);
        (0..alphas.len())
            .filter(|&i| (figures[i] - best).abs() <= room + slack)
            .min_by(|&i, &j| alphas[i].total_cmp(&alphas[j]))
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: best, or within:X of the best (within:0.01) was expected");
        if text == "best" {
            return Ok(Keep::Best);
        }
        match text.strip_prefix("within:").map(str::parse::<f64>) {
            Some(Ok(room)) if room >= 0.0 && room.is_finite() => Ok(Keep::Within(room)),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_beats_in_everything_is_not_on_the_frontier() {
        let check = |points: &[[f64; 2]], want: &[bool]| {
            let points: Vec<Vec<f64>> = points.iter().map(|p| p.to_vec()).collect();
            assert_eq!(frontier(&points), want, "{points:?}");
        };
        check(
            &[[0.5, 0.9], [0.8, 0.8], [0.7, 0.7], [0.9, 0.1]],
            &[true, true, false, true],
        );
        // As good in one and better in the other beats; twins do not beat each other.
        check(&[[0.5, 0.9], [0.5, 0.8]], &[true, false]);
        check(&[[0.5, 0.9], [0.5, 0.9]], &[true, true]);
        check(&[[0.5, f64::NAN], [0.5, 0.0]], &[false, true]);
    }

    #[test]
    fn rules_choose_what_they_say() {
        let alphas = [1.0, 0.0, 0.2, 0.4, 0.6];
        let figures = [0.91, 0.5, 0.88, 0.90, 0.91];
        let check = |rule: &str, want: f64| {
            let keep: Keep = rule.parse().unwrap();
            let found = keep.choose("accuracy", &alphas, &figures).unwrap();
            assert_eq!(alphas[found], want, "{rule}");
        };
        check("best", 0.6);
        check("within:0", 0.6);
        check("within:0.01", 0.4);
        check("within:0.05", 0.2);
        check("within:1", 0.0);
        for text in ["", "worst", "within:", "within:-1", "within:nan", "within"] {
            assert!(text.parse::<Keep>().is_err(), "{text}");
        }
        assert_eq!(Keep::Best.choose("accuracy", &[], &[]), None);
    }
}
