//! How strongly pre-trained weights are drawn back to where they began.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// The strength of L2-SP (Li et al. 2018) in AdamW's form: a step of rate η takes `η·λ` of the way back.
///
/// What a λ does depends on the sum of the rates: over a run it takes a weight that no gradient moves `1 − e^(−λ·Ση)` of
/// the way back. Fine-tuning's rates are small and its steps few, so a λ of 0.01, usual in other forms, does nothing;
/// hence the part can be given instead.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "Written")]
pub enum Pull {
    /// λ.
    Rate(f64),
    /// The part of the way that is gone back over the run, from 0 to below 1.
    Part(f64),
}

/// As files have it: a number is λ.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Word(String),
}

impl Pull {
    /// Nothing is drawn back.
    pub const NONE: Pull = Pull::Rate(0.0);
    /// A smaller part of the way than this does nothing that could be measured.
    pub const LEAST: f64 = 0.01;

    /// Whether nothing is drawn back.
    pub fn is_none(self) -> bool {
        matches!(self, Pull::Rate(0.0) | Pull::Part(0.0))
    }

    /// λ of a tensor whose rates over the run have this sum; one that never moves has none.
    pub fn rate(self, rates: f64) -> f64 {
        match self {
            Pull::Rate(rate) => rate,
            Pull::Part(_) if rates <= 0.0 => 0.0,
            Pull::Part(part) => -(-part).ln_1p() / rates,
        }
    }

    /// The part of the way of a tensor whose rates over the run have this sum.
    pub fn part(self, rates: f64) -> f64 {
        match self {
            Pull::Rate(rate) => -(-rate * rates).exp_m1(),
            Pull::Part(part) => part,
        }
    }
}

impl FromStr for Pull {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text}: a number from 0, or a part of the way such as 50%, was expected");
        let number = |text: &str| text.trim().parse::<f64>().map_err(|_| wrong());
        let (pull, fits) = match text.strip_suffix('%') {
            Some(percent) => {
                let part = number(percent)? / 100.0;
                (Pull::Part(part), (0.0..1.0).contains(&part))
            }
            None => {
                let rate = number(text)?;
                (Pull::Rate(rate), rate >= 0.0 && rate.is_finite())
            }
        };
        fits.then_some(pull).ok_or_else(wrong)
    }
}

impl TryFrom<Written> for Pull {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(x) => x.to_string().parse(),
            Written::Word(text) => text.parse(),
        }
    }
}

impl From<Pull> for String {
    fn from(pull: Pull) -> String {
        match pull {
            Pull::Rate(rate) => rate.to_string(),
            Pull::Part(part) => format!("{}%", part * 100.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (text, want) in [
            ("0", Pull::NONE),
            ("12.5", Pull::Rate(12.5)),
            ("50%", Pull::Part(0.5)),
            ("0 %", Pull::Part(0.0)),
        ] {
            assert_eq!(text.parse(), Ok(want));
            assert_eq!(String::from(want).parse(), Ok(want));
        }
        for k in 0..10_000 {
            let pull: Pull = format!("{}%", f64::from(k) / 100.0).parse().unwrap();
            assert_eq!(String::from(pull).parse(), Ok(pull), "{k}");
        }
        for text in ["", "-1", "100%", "-5%", "half", "inf", "NaN"] {
            let said = text.parse::<Pull>().unwrap_err();
            assert!(said.starts_with(text), "{said}");
        }
        let read = |json: &str| serde_json::from_str::<Pull>(json);
        assert_eq!(read("0.5").unwrap(), Pull::Rate(0.5));
        assert_eq!(read("\"20%\"").unwrap(), Pull::Part(0.2));
        assert!(read("-1").is_err());
    }

    /// Against the steps themselves: w ← w − η·λ·(w − w⁰).
    #[test]
    fn the_part_is_what_steps_go_back() {
        let rates: Vec<f64> = (0..1000).map(|k| 1e-4 * f64::from(k) / 1000.0).collect();
        let sum: f64 = rates.iter().sum();
        let gone = |pull: Pull| {
            let away = rates
                .iter()
                .fold(1.0, |away, rate| away * (1.0 - rate * pull.rate(sum)));
            1.0 - away
        };
        for pull in [Pull::Part(0.5), Pull::Part(0.9), Pull::Rate(3.0)] {
            let part = pull.part(sum);
            assert!((gone(pull) - part).abs() < 2e-3, "{pull:?}: {part}");
        }
        assert!((Pull::Part(0.5).rate(sum) - 2.0f64.ln() / sum).abs() < 1e-9);
        assert!(Pull::Rate(0.01).part(sum) < Pull::LEAST);
        assert!(Pull::NONE.is_none() && Pull::Part(0.0).is_none() && !Pull::Rate(1.0).is_none());
    }
}
