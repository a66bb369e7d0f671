//! Learning-rate schedules, step for step those of transformers
//! (`optimization.py`, `get_*_schedule_with_warmup`), PyTorch (`OneCycleLR`) and ULMFiT (slanted triangular), and the
//! exponential growth of a range test.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use std::ops::Range;
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
    /// Up from 1/`ratio` of the peak in a short straight line, down to it in a long one (Howard & Ruder 2018, "Universal
    /// language model fine-tuning for text classification", equation 3; the warm-up is its rising part, `cut_frac` = a
    /// tenth where none is given).
    Slanted {
        /// The peak is this many times the lowest rate (32 in the paper).
        ratio: f64,
    },
    /// Up from `from` of the peak to the peak by one factor a step, without a warm-up: a range test (Smith 2017,
    /// "Cyclical learning rates for training neural networks", §3.3, in logarithmic steps).
    Exponential {
        /// Multiplier of the first step.
        from: f64,
    },
}

/// What a schedule multiplies a peak rate by over several steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Multipliers {
    /// Their sum.
    pub sum: f64,
    /// The largest.
    pub largest: f64,
}

impl Multipliers {
    /// Those of no steps.
    pub const NONE: Multipliers = Multipliers {
        sum: 0.0,
        largest: 0.0,
    };
}

impl Schedule {
    const DIV: f64 = 25.0;
    const FINAL_DIV: f64 = 1e4;
    const RISING: f64 = 0.3;
    const RATIO: f64 = 32.0;
    /// ULMFiT's 1/cut_frac.
    const CUT: usize = 10;

    /// Whether the rising part is the schedule's own where no warm-up is given.
    pub fn rises_by_itself(self) -> bool {
        use Schedule::{Exponential, OneCycle, Slanted};
        matches!(self, OneCycle | Slanted { .. } | Exponential { .. })
    }

    /// Whether a warm-up has a part in it.
    pub fn takes_warmup(self) -> bool {
        !matches!(self, Schedule::Exponential { .. })
    }

    /// Steps of so many in which the rate rises, where `warmup` was given (0: none was).
    pub fn rising(self, warmup: usize, total: usize) -> usize {
        match (self, warmup) {
            (Schedule::OneCycle, 0) => (Self::RISING * total as f64) as usize,
            (Schedule::Slanted { .. }, 0) => (total / Self::CUT).max(1),
            (_, n) => n,
        }
    }

    /// The multipliers of some of a run's `total` steps (from 0).
    pub fn multipliers(self, steps: Range<usize>, warmup: usize, total: usize) -> Multipliers {
        steps.fold(Multipliers::NONE, |all, step| {
            let factor = self.factor(step, warmup, total);
            Multipliers {
                sum: all.sum + factor,
                largest: all.largest.max(factor),
            }
        })
    }

    /// Multiplier of the learning rate at `step` (from 0) of `total`, `warmup` of them rising.
    pub fn factor(self, step: usize, warmup: usize, total: usize) -> f64 {
        match self {
            Schedule::OneCycle => return one_cycle(step, warmup, total),
            Schedule::Slanted { ratio } => return slanted(step, warmup, total, ratio),
            Schedule::Exponential { from } => return exponential(step, total, from),
            _ => {}
        }
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let span = total.saturating_sub(warmup).max(1) as f64;
        let done = (step - warmup) as f64 / span;
        let left = (total as f64 - step as f64) / span;
        match self {
            Schedule::Linear => left.max(0.0),
            Schedule::Cosine => (0.5 * (1.0 + (PI * 0.5 * 2.0 * done).cos())).max(0.0),
            Schedule::Polynomial { power } => left.max(0.0).powf(power),
            _ => 1.0,
        }
    }
}

/// Equation 3 of the paper, where its p would fall below 0 (the last steps, when `total` is no multiple of ten) 0.
fn slanted(step: usize, warmup: usize, total: usize, ratio: f64) -> f64 {
    let (cut, falling) = match warmup {
        0 => {
            let cut = Schedule::Slanted { ratio }.rising(0, total);
            (cut, cut * (Schedule::CUT - 1))
        }
        n => (n, total.saturating_sub(n).max(1)),
    };
    let p = match step < cut {
        true => step as f64 / cut as f64,
        false => 1.0 - (step - cut) as f64 / falling as f64,
    };
    (1.0 + p.max(0.0) * (ratio - 1.0)) / ratio
}

fn exponential(step: usize, total: usize, from: f64) -> f64 {
    let last = total.saturating_sub(1).max(1) as f64;
    from.powf(1.0 - (step as f64 / last).min(1.0))
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
        let (word, number) = match text.split_once(':') {
            Some((word, number)) => (word, Some(number)),
            None => (text, None),
        };
        let parsed = number.map(str::parse::<f64>);
        let given = |usual: f64, fits: fn(f64) -> bool, expected: &str| match &parsed {
            None => Ok(usual),
            Some(Ok(x)) if x.is_finite() && fits(*x) => Ok(*x),
            Some(_) => Err(format!("{text:?}: {expected}")),
        };
        Ok(match (word, number) {
            ("linear", None) => Schedule::Linear,
            ("cosine", None) => Schedule::Cosine,
            ("constant", None) => Schedule::Constant,
            ("one-cycle", None) => Schedule::OneCycle,
            ("polynomial", _) => Schedule::Polynomial {
                power: given(1.0, |x| x > 0.0, "the power must be a positive number")?,
            },
            ("slanted", _) => Schedule::Slanted {
                ratio: given(
                    Schedule::RATIO,
                    |x| x >= 1.0,
                    "the ratio must be a number from 1",
                )?,
            },
            ("exponential", Some(_)) => Schedule::Exponential {
                from: given(
                    1.0,
                    |x| x > 0.0 && x <= 1.0,
                    "a number above 0, at most 1, was expected",
                )?,
            },
            _ => {
                return Err(format!(
                    "{text:?} is none of linear, cosine, constant, polynomial[:POWER], one-cycle, slanted[:RATIO], \
                     exponential:FROM"
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
            Schedule::Slanted { ratio } => format!("slanted:{ratio}"),
            Schedule::Exponential { from } => format!("exponential:{from}"),
        }
    }
}

/// A part (or a multiple) of so many, rounded up as whole numbers have it: 7 % of 100 are 7, though 0.07 · 100 is a
/// little more.
pub fn part_of(part: f64, whole: usize) -> usize {
    (part * whole as f64 * (1.0 - 1e-12)).ceil() as usize
}

/// How long the rate rises: an integer is steps; `0.06` or `6%` is a part of all steps, rounded up, but never the last
/// step: a run of one step would otherwise have a rate of 0.
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
            Warmup::Fraction(f) => part_of(f, total).min(total.saturating_sub(1)),
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
            // Per cent where that is read as the same number (0.014 is not), else the fraction.
            Warmup::Fraction(f) => match format!("{}%", f * 100.0) {
                text if text.parse() == Ok(warmup) => text,
                _ => f.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file has is what was typed, to the last bit: one step more of a thousand would be another run.
    #[test]
    fn warm_ups_come_back_as_they_were() {
        for k in 0..=1000 {
            for warmup in [
                Warmup::Fraction(f64::from(k) / 1000.0),
                Warmup::Steps(k as usize),
            ] {
                assert_eq!(String::from(warmup).parse(), Ok(warmup), "{k}");
            }
        }
    }

    #[test]
    fn words() {
        for (text, want) in [
            ("linear", Schedule::Linear),
            ("polynomial:1.5", Schedule::Polynomial { power: 1.5 }),
            ("polynomial", Schedule::Polynomial { power: 1.0 }),
            ("one-cycle", Schedule::OneCycle),
            ("slanted", Schedule::Slanted { ratio: 32.0 }),
            ("slanted:10", Schedule::Slanted { ratio: 10.0 }),
            ("slanted:1", Schedule::Slanted { ratio: 1.0 }),
            ("exponential:1e-5", Schedule::Exponential { from: 1e-5 }),
            ("exponential:1", Schedule::Exponential { from: 1.0 }),
        ] {
            assert_eq!(text.parse(), Ok(want));
            assert_eq!(String::from(want).parse(), Ok(want));
        }
        for text in [
            "",
            "lin",
            "linear:2",
            "polynomial:x",
            "polynomial:-1",
            "polynomial:0",
            "slanted:",
            "slanted:0.5",
            "slanted:inf",
            "exponential",
            "exponential:0",
            "exponential:2",
        ] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
        for (text, steps) in [
            ("7", 7),
            ("0.06", 6),
            ("6%", 6),
            ("0.051", 6),
            ("0", 0),
            ("1.0", 99),
        ] {
            assert_eq!(text.parse::<Warmup>().unwrap().steps(100), steps, "{text}");
        }
        for text in ["-1", "1.5", "200%", "x", ""] {
            assert!(text.parse::<Warmup>().is_err(), "{text}");
        }
    }

    /// As whole numbers have it: 0.07 · 100 is 7.000000000000001.
    #[test]
    fn percents_are_rounded_up_and_no_further() {
        for percent in 0..100usize {
            for total in 1..2000 {
                let part: Warmup = format!("{percent}%").parse().unwrap();
                let want = (percent * total).div_ceil(100).min(total - 1);
                assert_eq!(part.steps(total), want, "{percent} % of {total}");
            }
        }
    }

    #[test]
    fn a_part_of_the_run_leaves_a_step_at_a_rate_above_zero() {
        for (total, steps) in [(1, 0), (2, 1), (3, 1), (17, 2), (100, 6)] {
            let warmup = Warmup::Fraction(0.06).steps(total);
            assert_eq!(warmup, steps, "{total}");
            for schedule in [
                Schedule::Linear,
                Schedule::Cosine,
                Schedule::Polynomial { power: 2.0 },
            ] {
                let all = schedule.multipliers(0..total, warmup, total);
                assert_eq!(all.largest, 1.0, "{schedule:?} over {total}");
            }
        }
        assert_eq!(Warmup::Fraction(0.0).steps(5), 0);
        assert_eq!(Warmup::Fraction(1.0).steps(0), 0);
    }

    /// The rates of torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=10) in torch 2, with its own pct_start of
    /// 0.3 and with 0.5.
    #[test]
    fn one_cycle_is_torchs_step_for_step() {
        let (third, half) = (
            [0.04, 0.52, 1.0],
            [0.04, 0.1805887450304573, 0.52, 0.8594112549695427, 1.0],
        );
        let falls = [
            0.9504846320134737,
            0.8117456539497631,
            0.6112620219362893,
            0.38874197806371075,
            0.18825834605023697,
            0.049519367986526286,
            4e-6,
        ];
        let steeply = [
            0.904508879153485,
            0.654509879153485,
            0.3454941208465151,
            0.09549512084651508,
            4e-6,
        ];
        for (warmup, rises, falls) in [
            (0, &third[..], &falls[..]),
            (3, &third, &falls),
            (5, &half, &steeply),
        ] {
            for (step, want) in rises.iter().chain(falls).enumerate() {
                let got = Schedule::OneCycle.factor(step, warmup, 10);
                assert!(
                    (got - want).abs() < 1e-14,
                    "{warmup}, {step}: {got}, {want}"
                );
            }
        }
    }

    /// The rate goes up through the steps that `rising` counts, and down after them.
    #[test]
    fn the_rate_rises_for_as_long_as_is_said() {
        for (schedule, by_itself) in [
            (Schedule::Linear, false),
            (Schedule::Cosine, false),
            (Schedule::Polynomial { power: 2.0 }, false),
            (Schedule::OneCycle, true),
            (Schedule::Slanted { ratio: 32.0 }, true),
        ] {
            assert_eq!(schedule.rises_by_itself(), by_itself, "{schedule:?}");
            assert!(schedule.takes_warmup(), "{schedule:?}");
            for warmup in [0, 7] {
                let n = schedule.rising(warmup, 50);
                assert_eq!(n > 0, by_itself || warmup > 0, "{schedule:?}");
                let f = |step| schedule.factor(step, warmup, 50);
                assert!((1..n).all(|step| f(step) > f(step - 1)), "{schedule:?}");
                assert!(
                    (n + 1..50).all(|step| f(step) < f(step - 1)),
                    "{schedule:?}"
                );
                let all = schedule.multipliers(0..50, warmup, 50);
                assert!((all.sum - (0..50).map(f).sum::<f64>()).abs() < 1e-12);
            }
        }
        let range_test = Schedule::Exponential { from: 1e-5 };
        assert!(range_test.rises_by_itself() && !range_test.takes_warmup());
    }

    /// Howard & Ruder 2018, equation 3, as it stands there.
    fn paper(t: f64, total: f64, cut_frac: f64, ratio: f64) -> f64 {
        let cut = (total * cut_frac).floor();
        let p = match t < cut {
            true => t / cut,
            false => 1.0 - (t - cut) / (cut * (1.0 / cut_frac - 1.0)),
        };
        (1.0 + p * (ratio - 1.0)) / ratio
    }

    #[test]
    fn slanted_is_the_papers_closed_form_step_for_step() {
        for (total, ratio) in [(10, 32.0), (100, 32.0), (130, 10.0), (1000, 32.0)] {
            for step in 0..total {
                let got = Schedule::Slanted { ratio }.factor(step, 0, total);
                let want = paper(step as f64, total as f64, 0.1, ratio);
                assert!(
                    (got - want).abs() < 1e-14,
                    "{step} of {total}: {got}, {want}"
                );
            }
        }
        // Another cut: the warm-up. A quarter of 80 steps.
        for step in 0..80 {
            let got = Schedule::Slanted { ratio: 32.0 }.factor(step, 20, 80);
            assert!((got - paper(step as f64, 80.0, 0.25, 32.0)).abs() < 1e-14);
        }
        // Where the tenth is no whole number the paper's line ends below 0 rates; here it ends at the lowest.
        let f = |step, total| Schedule::Slanted { ratio: 32.0 }.factor(step, 0, total);
        assert!(paper(62.0, 63.0, 0.1, 32.0) < 0.0);
        for total in [1, 2, 9, 11, 19, 63, 99] {
            for step in 0..total {
                let want = paper(step as f64, total as f64, 0.1, 32.0);
                if total >= 10 && want >= 1.0 / 32.0 {
                    assert!((f(step, total) - want).abs() < 1e-14);
                }
                assert!((1.0 / 32.0..=1.0).contains(&f(step, total)));
            }
        }
        assert_eq!((f(0, 100), f(10, 100)), (1.0 / 32.0, 1.0));
    }

    #[test]
    fn exponential_grows_by_one_factor_from_end_to_end() {
        let schedule = Schedule::Exponential { from: 1e-5 };
        let rate = |step| 1e-2 * schedule.factor(step, 7, 101);
        assert!((rate(0) / 1e-7 - 1.0).abs() < 1e-12);
        assert_eq!(rate(100), 1e-2);
        for step in 0..100 {
            let factor = rate(step + 1) / rate(step);
            assert!((factor / 1e5f64.powf(0.01) - 1.0).abs() < 1e-12, "{step}");
        }
        assert_eq!(schedule.factor(0, 0, 1), 1e-5);
    }
}
