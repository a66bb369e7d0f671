//! The collapse guard: a run that by a stated step does no better than the [constant answer](super::ConstantAnswer) has
//! collapsed (Devlin et al. 2019 and Mosbach et al. 2021 saw it with high rates and short warm-ups). It begins anew,
//! once, with a quarter of the rate and a longer warm-up.
//!
//! The rule: over the second half of the steps before the stated one, the training loss is set against what the
//! constant answer would have cost on the same rows. A run that learns costs less. It is judged collapsed where it
//! does not: the mean difference is not below zero.

use crate::Options;
use crate::watch::ConstantAnswer;
use hone_optim::Warmup;
use serde::{Deserialize, Serialize};

/// What the guard does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CollapseGuard {
    /// Nothing.
    Off,
    /// It says so; the run goes on.
    #[default]
    Warn,
    /// The run begins anew, once.
    Restart,
}

impl std::str::FromStr for CollapseGuard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(CollapseGuard::Off),
            "warn" => Ok(CollapseGuard::Warn),
            "restart" => Ok(CollapseGuard::Restart),
            _ => Err(format!("{text}: off, warn or restart was expected")),
        }
    }
}

/// Shorter runs are not judged.
const LEAST_STEPS: usize = 40;
/// Steps after the warm-up by which a run is judged, where half of it is not sooner.
const AFTER_WARMUP: usize = 200;
/// A restart has this part of the rates. Of runs that collapsed at ten or twenty times a usual rate, half of it left
/// some where they were.
const LOWER_RATE: f64 = 0.25;
/// A restart warms up over at least this part of the run.
const LONGER_WARMUP: f64 = 0.2;

/// What the guard has seen so far; a checkpoint keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct GuardState {
    /// Steps of the window.
    pub steps: usize,
    /// Sum of their losses.
    pub loss: f64,
    /// Sum of what the constant answer costs on the same rows.
    pub constant: f64,
}

/// A collapse as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Collapse {
    /// Steps done.
    pub step: usize,
    /// First step of the window.
    pub from: usize,
    /// Mean training loss of the window.
    pub loss: f64,
    /// What the constant answer costs on the same rows.
    pub constant: f64,
}

/// A run that began anew.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    /// Why.
    pub collapse: Collapse,
    /// Rate of the body, instead of `--lr`.
    pub lr: f64,
    /// Rate of the head, instead of `--head-lr`.
    pub head_lr: f64,
    /// Steps of warm-up, instead of `--warmup`.
    pub warmup: usize,
}

impl Restart {
    /// The second try after a collapse of a run with these options over so many steps.
    pub fn after(collapse: Collapse, options: &Options, steps: usize) -> Restart {
        let longer = (LONGER_WARMUP * steps as f64).ceil() as usize;
        Restart {
            collapse,
            lr: LOWER_RATE * options.lr,
            head_lr: LOWER_RATE * options.head_lr,
            warmup: longer.max(2 * options.rising_steps(steps)).min(steps),
        }
    }

    /// The options of the second try.
    pub fn options(&self, options: &Options) -> Options {
        Options {
            lr: self.lr,
            head_lr: self.head_lr,
            warmup: Warmup::Steps(self.warmup),
            ..options.clone()
        }
    }
}

/// Watches the losses of a run.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    constant: ConstantAnswer,
    from: usize,
    at: usize,
    /// What a checkpoint keeps.
    pub state: GuardState,
}

impl Guard {
    /// The step by which a run is judged, whose rate rises for `warmup` steps; `None` where it is too short, or still
    /// warming up by then.
    pub fn judged_at(warmup: usize, steps: usize) -> Option<usize> {
        let at = (steps / 2).min(warmup + AFTER_WARMUP);
        (steps >= LEAST_STEPS && at > warmup).then_some(at)
    }

    /// A guard that judges at a step.
    pub fn new(constant: ConstantAnswer, at: usize) -> Guard {
        Guard {
            constant,
            from: at / 2 + 1,
            at,
            state: GuardState::default(),
        }
    }

    /// Whether a step (from 1) belongs to the window.
    pub fn watches(&self, step: usize) -> bool {
        (self.from..=self.at).contains(&step)
    }

    /// The answer it compares with.
    pub fn constant(&self) -> &ConstantAnswer {
        &self.constant
    }

    /// Takes a step of the window with its loss and the constant answer's; a verdict at the stated step.
    pub fn take(&mut self, step: usize, loss: f64, constant: f64) -> Option<Collapse> {
        debug_assert!(self.watches(step));
        let state = &mut self.state;
        state.steps += 1;
        state.loss += loss;
        state.constant += constant;
        // A checkpoint of an older version kept nothing of the window: then nothing is said.
        let whole = step == self.at && state.steps == self.at + 1 - self.from;
        let collapsed = whole && state.loss >= state.constant;
        collapsed.then(|| Collapse {
            step,
            from: self.from,
            loss: state.loss / state.steps as f64,
            constant: state.constant / state.steps as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Examples, TargetRule};
    use hone_bert::Task;

    #[test]
    fn when_a_run_is_judged() {
        for (warmup, steps, at) in [
            (0, 39, None),
            (0, 40, Some(20)),
            (19, 40, Some(20)),
            (20, 40, None),
            (0, 1000, Some(200)),
            (100, 1000, Some(300)),
        ] {
            assert_eq!(Guard::judged_at(warmup, steps), at, "{warmup} of {steps}");
        }
    }

    #[test]
    fn no_better_than_the_constant_answer_is_a_collapse() {
        let nothing = Examples::new(Task::Classify);
        let answer = ConstantAnswer::best(Task::Classify, 2, &nothing, &TargetRule::default());
        let judge = |first: usize, loss: f64| {
            let mut guard = Guard::new(answer.clone(), 20);
            assert_eq!(
                [10, 11, 20, 21].map(|s| guard.watches(s)),
                [false, true, true, false]
            );
            for step in first..20 {
                assert_eq!(guard.take(step, 0.25, 0.5), None);
            }
            guard.take(20, loss, 0.5)
        };
        // Nine steps a quarter below; the tenth makes up for them, or nearly.
        let (step, from) = (20, 11);
        let (loss, constant) = (0.5, 0.5);
        assert_eq!(
            judge(11, 2.75),
            Some(Collapse {
                step,
                from,
                loss,
                constant
            })
        );
        assert_eq!(judge(11, 2.5), None);
        // Not the whole window was seen.
        assert_eq!(judge(12, 2.75), None);
    }

    #[test]
    fn a_second_try_is_slower() {
        let collapse = Collapse {
            step: 20,
            from: 11,
            loss: 1.0,
            constant: 0.5,
        };
        for (warmup, longer) in [(0, 20), (10, 20), (30, 60), (80, 100)] {
            let options = Options {
                lr: 4e-5,
                head_lr: 8e-5,
                warmup: Warmup::Steps(warmup),
                ..Options::default()
            };
            let second = Restart::after(collapse, &options, 100).options(&options);
            assert_eq!((second.lr, second.head_lr), (1e-5, 2e-5));
            assert_eq!(second.warmup, Warmup::Steps(longer), "{warmup}");
        }
        for (word, guard) in [
            ("off", CollapseGuard::Off),
            ("warn", CollapseGuard::Warn),
            ("restart", CollapseGuard::Restart),
        ] {
            assert_eq!(word.parse(), Ok(guard));
        }
        assert!("on".parse::<CollapseGuard>().is_err());
    }
}
