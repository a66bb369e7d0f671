//! Learning-rate schedules, step for step those of transformers
//! (`optimization.py`, `get_*_schedule_with_warmup`) and PyTorch (`OneCycleLR`).

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use std::str::FromStr;

/// Shape of the learning rate over a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Schedule {
    /// Down to 0 in a straight line.
    Linear,
    /// Down to 0 along half a cosine.
    Cosine,
    /// Unchanged after warm-up.
    Constant,
    /// Down to 0 as a power of what is left (1 where none is given, as in transformers).
    Polynomial {
        /// The exponent.
        power: f64,
    },
    /// Up from 1/25 of the peak along a cosine, down to 1/250 000 (Smith & Topin 2018, as
    /// `torch.optim.lr_scheduler.OneCycleLR`; the warm-up is its rising part, 30 % where none is given).
    OneCycle,
}

impl Schedule {
    const DIV: f64 = 25.0;
    const FINAL_DIV: f64 = 1e4;
    const RISING: f64 = 0.3;

    /// Multiplier of the learning rate at `step` (from 0) of `total`, `warmup` of them rising.
    pub fn factor(self, step: usize, warmup: usize, total: usize) -> f64 {
        if self == Schedule::OneCycle {
            return one_cycle(step, warmup, total);
        }
        if step < warmup {
            return step as f64 / warmup.max(1) as f64;
        }
        let span = total.saturating_sub(warmup).max(1) as f64;
        let done = (step - warmup) as f64 / span;
        let left = (total as f64 - step as f64) / span;
        match self {
            Schedule::Linear => left.max(0.0),
            Schedule::Cosine => (0.5 * (1.0 + (PI * 0.5 * 2.0 * done).cos())).max(0.0),
            Schedule::Polynomial { .. } if step > total => 0.0,
            Schedule::Polynomial { power } => (1.0 - done).max(0.0).powf(power),
            Schedule::Constant | Schedule::OneCycle => 1.0,
        }
    }
}

fn one_cycle(step: usize, warmup: usize, total: usize) -> f64 {
    let last = total.saturating_sub(1) as f64;
    let rising = match warmup {
        0 => Schedule::RISING * total as f64 - 1.0,
        n => n as f64 - 1.0,
    };
    let start = 1.0 / Schedule::DIV;
    let end = start / Schedule::FINAL_DIV;
    let cosine = |from: f64, to: f64, part: f64| to + (from - to) / 2.0 * (1.0 + (PI * part).cos());
    let at = (step as f64).min(last);
    if at <= rising {
        cosine(start, 1.0, at / rising.max(f64::MIN_POSITIVE))
    } else {
        cosine(
            1.0,
            end,
            (at - rising) / (last - rising).max(f64::MIN_POSITIVE),
        )
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, power) = match text.split_once(':') {
            Some((word, power)) => (word, Some(power)),
            None => (text, None),
        };
        Ok(match (word, power) {
            ("linear", None) => Schedule::Linear,
            ("cosine", None) => Schedule::Cosine,
            ("constant", None) => Schedule::Constant,
            ("one-cycle", None) => Schedule::OneCycle,
            ("polynomial", power) => match power.unwrap_or("1").parse::<f64>() {
                Ok(power) if power > 0.0 && power.is_finite() => Schedule::Polynomial { power },
                _ => return Err(format!("{text:?}: the power must be a positive number")),
            },
            _ => {
                return Err(format!(
                    "{text:?} is none of linear, cosine, constant, polynomial[:POWER], one-cycle"
                ));
            }
        })
    }
}

impl TryFrom<String> for Schedule {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> String {
        match schedule {
            Schedule::Linear => "linear".to_owned(),
            Schedule::Cosine => "cosine".to_owned(),
            Schedule::Constant => "constant".to_owned(),
            Schedule::OneCycle => "one-cycle".to_owned(),
            Schedule::Polynomial { power } => format!("polynomial:{power}"),
        }
    }
}

/// How long the rate rises: an integer is steps; `0.06` or `6%` is a part of all steps, rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Warmup {
    /// So many steps.
    Steps(usize),
    /// Such a part of all steps.
    Fraction(f64),
}

impl Warmup {
    /// Steps of a run of `total`.
    pub fn steps(self, total: usize) -> usize {
        match self {
            Warmup::Steps(n) => n,
            Warmup::Fraction(f) => (f * total as f64).ceil() as usize,
        }
    }
}

impl FromStr for Warmup {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?}: an integer is steps; a fraction such as 0.06 or 6% is of all steps")
        };
        if let Ok(steps) = text.parse() {
            return Ok(Warmup::Steps(steps));
        }
        let (number, unit) = match text.strip_suffix('%') {
            Some(percent) => (percent.trim(), 100.0),
            None => (text, 1.0),
        };
        let fraction = number.parse::<f64>().map_err(|_| wrong())? / unit;
        (0.0..=1.0)
            .contains(&fraction)
            .then_some(Warmup::Fraction(fraction))
            .ok_or_else(wrong)
    }
}

impl TryFrom<String> for Warmup {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Warmup> for String {
    fn from(warmup: Warmup) -> String {
        match warmup {
            Warmup::Steps(n) => n.to_string(),
            Warmup::Fraction(f) => format!("{}%", f * 100.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (text, want) in [
            ("linear", Schedule::Linear),
            ("polynomial:1.5", Schedule::Polynomial { power: 1.5 }),
            ("polynomial", Schedule::Polynomial { power: 1.0 }),
            ("one-cycle", Schedule::OneCycle),
        ] {
            assert_eq!(text.parse(), Ok(want));
            assert_eq!(String::from(want).parse(), Ok(want));
        }
        for text in ["", "lin", "linear:2", "polynomial:x", "polynomial:-1"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
        for (text, steps) in [
            ("7", 7),
            ("0.06", 6),
            ("6%", 6),
            ("0.051", 6),
            ("0", 0),
            ("1.0", 100),
        ] {
            assert_eq!(text.parse::<Warmup>().unwrap().steps(100), steps, "{text}");
        }
        for text in ["-1", "1.5", "200%", "x", ""] {
            assert!(text.parse::<Warmup>().is_err(), "{text}");
        }
    }

    #[test]
    fn one_cycle_ends_meet() {
        let f = |s| Schedule::OneCycle.factor(s, 0, 100);
        assert!((f(0) - 0.04).abs() < 1e-15);
        assert!((f(29) - 1.0).abs() < 1e-15);
        assert!((f(99) - 4e-6).abs() < 1e-12);
    }
}
