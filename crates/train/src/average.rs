//! Averages of weights over steps: what is evaluated, selected and saved instead of the running weights.

use hone_bert::Model;
use hone_kernels::{Backend, BackendError};
use hone_optim::part_of;
use hone_tensor::Real;
use serde::{Deserialize, Serialize};

/// Which steps' weights are averaged.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Average {
    /// None: the running weights are the run's.
    #[default]
    None,
    /// `a ← d·a + (1 − d)·w` after step t, with d = min(decay, (t − 1)/(t + 8)): it begins with the weights of the
    /// first step and soon forgets them.
    Ema(f64),
    /// The mean over the last such part of the run, every step alike (Izmailov et al. 2018).
    Tail(f64),
}

impl Average {
    /// The share of the weights after step `step` (from 1) of `steps` in the average; `None` before it begins.
    pub fn share(self, step: usize, steps: usize) -> Option<f64> {
        match self {
            Average::None => None,
            Average::Ema(decay) => {
                let t = step as f64;
                Some(1.0 - decay.min((t - 1.0) / (t + 8.0)))
            }
            Average::Tail(part) => {
                let before = tail(part, steps) - 1;
                (step > before).then(|| 1.0 / (step - before) as f64)
            }
        }
    }

    /// Why the weights after step `selected` (from 1) of `steps` are no average, though one of the run's last part was
    /// asked for; `None` where they are, or none was.
    pub fn missed(self, selected: usize, steps: usize) -> Option<String> {
        match self {
            Average::Tail(part) if self.share(selected, steps).is_none() => Some(format!(
                "nothing was averaged: the weights kept are those of step {selected}, and --average {} takes the mean \
                 from step {} of {steps} on",
                String::from(self),
                tail(part, steps)
            )),
            _ => None,
        }
    }
}

/// The first step (from 1) of the last `part` of a run.
fn tail(part: f64, steps: usize) -> usize {
    steps + 1 - part_of(part, steps).clamp(1, steps)
}

impl std::str::FromStr for Average {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text}: none, ema:DECAY (0.999) or last:PART of the run (0.25) was expected")
        };
        if text == "none" {
            return Ok(Average::None);
        }
        let (kind, number) = text.split_once(':').ok_or_else(wrong)?;
        let number: f64 = number.parse().map_err(|_| wrong())?;
        match kind {
            "ema" if (0.0..1.0).contains(&number) => Ok(Average::Ema(number)),
            "last" if number > 0.0 && number <= 1.0 => Ok(Average::Tail(number)),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Average {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Average> for String {
    fn from(average: Average) -> String {
        match average {
            Average::None => "none".to_owned(),
            Average::Ema(decay) => format!("ema:{decay}"),
            Average::Tail(part) => format!("last:{part}"),
        }
    }
}

/// The average as it stands.
pub(crate) struct Averaging<B: Backend> {
    rule: Average,
    steps: usize,
    arena: B::Buf<B::Master>,
}

impl<B: Backend> Averaging<B> {
    /// Room for the average of a run of so many steps, or `None` where nothing is averaged.
    pub fn new(
        model: &Model<B>,
        rule: Average,
        steps: usize,
    ) -> Result<Option<Self>, BackendError> {
        if rule == Average::None {
            return Ok(None);
        }
        let b = model.backend();
        Ok(Some(Averaging {
            rule,
            steps,
            arena: b.alloc(model.layout().table.len())?,
        }))
    }

    /// Takes in the weights after step `step`, from 1.
    pub fn take(&mut self, model: &Model<B>, step: usize) {
        let Some(share) = self.rule.share(step, self.steps) else {
            return;
        };
        let b = model.backend();
        let weights = b.param(model.params(), 0..model.layout().table.len());
        let average = b.all_mut(&mut self.arena);
        if share == 1.0 {
            b.copy(weights, average);
        } else {
            let (share, kept) = parts::<B::Master>(share);
            b.axpby(share, weights, kept, average);
        }
    }

    /// Whether the average holds anything after step `step`.
    pub fn begun(&self, step: usize) -> bool {
        step > 0 && self.rule.share(step, self.steps).is_some()
    }

    /// Exchanges the model's weights and the average. Done twice, nothing has changed.
    pub fn exchange(&mut self, model: &mut Model<B>) {
        let b = model.backend().clone();
        b.param_swap(model.params_mut(), &mut self.arena);
    }

    /// The average, to be saved.
    pub fn arena(&self) -> &B::Buf<B::Master> {
        &self.arena
    }

    /// Puts back a saved average.
    pub fn restore(&mut self, arena: B::Buf<B::Master>) {
        self.arena = arena;
    }
}

/// What the weights count in an average and what it keeps of itself, as numbers that `M` holds and whose sum is 1: rounded
/// each by itself, an average of weights that do not change would still move away from them.
fn parts<M: Real>(share: f64) -> (f64, f64) {
    let held = |x: f64| M::from_f64(x).to_f64();
    // What a number from 0.5 to 1 leaves of 1 is exact.
    match share < 0.5 {
        true => {
            let kept = held(1.0 - share);
            (1.0 - kept, kept)
        }
        false => {
            let share = held(share);
            (share, 1.0 - share)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty thousand steps on which nothing moves, in f32 as kernels compute.
    #[test]
    fn an_average_of_what_does_not_move_stays() {
        for rule in [
            Average::Ema(0.999),
            Average::Ema(0.9999),
            Average::Tail(1.0),
        ] {
            let mut average = 0.0f32;
            for step in 1..=20_000 {
                let (share, kept) = parts::<f32>(rule.share(step, 20_000).unwrap_or(1.0));
                let (share, kept) = (share as f32, kept as f32);
                assert_eq!(f64::from(share) + f64::from(kept), 1.0, "{rule:?}, {step}");
                average = share * 0.7 + kept * average;
            }
            assert!((average - 0.7).abs() < 1e-6, "{rule:?}: {average}");
        }
    }

    /// The average of w = 1, 2, 3, … by the shares, and by the definition.
    #[test]
    fn shares_give_the_means_they_are_named_after() {
        let by_shares = |rule: Average, steps: usize| {
            let mut average = 0.0;
            for step in 1..=steps {
                if let Some(share) = rule.share(step, steps) {
                    average = share * step as f64 + (1.0 - share) * average;
                }
            }
            average
        };
        // The last quarter of 20 steps are 16 to 20; all of three are 1 to 3; a sliver is the last step.
        for (rule, steps, want) in [
            (Average::Tail(0.25), 20, 18.0),
            (Average::Tail(1.0), 3, 2.0),
            (Average::Tail(1e-9), 7, 7.0),
            // The last seven of a hundred, though 0.07 · 100 is a little more than 7; half of seven are four.
            (Average::Tail(0.07), 100, 97.0),
            (Average::Tail(0.5), 7, 5.5),
            (Average::Ema(0.0), 9, 9.0),
        ] {
            let found = by_shares(rule, steps);
            assert!((found - want).abs() < 1e-12, "{rule:?}: {found}");
        }
        // d = 0, 1/10, 2/11, then the decay.
        let found = by_shares(Average::Ema(0.2), 4);
        let two = 0.1 + 0.9 * 2.0;
        let three = (2.0 * two + 9.0 * 3.0) / 11.0;
        let want = 0.2 * three + 0.8 * 4.0;
        assert!((found - want).abs() < 1e-12, "{found} {want}");
    }

    #[test]
    fn weights_before_the_tail_are_no_average() {
        let missed = |average: Average, selected| average.missed(selected, 20);
        assert_eq!(
            missed(Average::Tail(0.25), 15).as_deref(),
            Some(
                "nothing was averaged: the weights kept are those of step 15, and --average last:0.25 takes the mean \
                 from step 16 of 20 on"
            )
        );
        assert_eq!(missed(Average::Tail(0.25), 16), None);
        assert_eq!(missed(Average::Ema(0.9), 1), None);
        assert_eq!(missed(Average::None, 1), None);
    }

    #[test]
    fn words_and_back() {
        for text in ["none", "ema:0.999", "last:0.25", "last:1"] {
            let average: Average = text.parse().unwrap();
            assert_eq!(String::from(average), text);
        }
        for text in [
            "ema", "ema:1", "last:0", "last:1.5", "swa:0.5", "swa:1", "ema:x", "last:nan",
        ] {
            assert!(text.parse::<Average>().is_err(), "{text}");
        }
    }
}
