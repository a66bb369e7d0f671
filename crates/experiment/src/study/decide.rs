//! Verdicts: what may be said of each arm after a look, so that false claims stay rare over all looks and arms.

use super::design::Design;
use super::estimate::{Difference, Estimate};
use serde::Serialize;

/// What a study says of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The metric gets better.
    Helps,
    /// The metric gets worse.
    Hurts,
    /// Whatever difference there is lies within the margin.
    NoDifference,
    /// The pairs are spent, and nothing of this is known.
    Undecided,
    /// A trial ended in numbers that are none.
    Failed,
}

impl Verdict {
    /// As a person reads it.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Helps => "helps",
            Verdict::Hurts => "hurts",
            Verdict::NoDifference => "no difference within the margin",
            Verdict::Undecided => "undecided",
            Verdict::Failed => "failed",
        }
    }
}

/// A verdict and what it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// Whether "no effect at all" was rejected; the effect may still lie within the margin.
    pub zero_rejected: bool,
    /// The effect.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// The repeated interval at `level`.
    pub interval: [f64; 2],
    /// Two-sided level of the test at this look: what looks and arms left of α.
    pub level: f64,
    /// How many pairs a study would need to decide, about; absent where it is decided, or where only more texts
    /// would help.
    pub pairs_needed: Option<usize>,
}

impl Decision {
    /// The same where no difference can be larger than `widest`: two pairs alone leave intervals that reach beyond that.
    pub fn within(self, widest: f64) -> Decision {
        Decision {
            interval: self.interval.map(|x| x.clamp(-widest, widest)),
            ..self
        }
    }
}

/// The arms of a study, from look to look.
///
/// At each look Holm's procedure (1979) runs over the arms: with m whose null hypothesis stands, each may spend α/m
/// over all looks ([`Design::level`]); what an arm that is rejected had passes to the others. That is the graphical
/// procedure for group-sequential tests of Maurer & Bretz (2013), which keeps the probability of any false rejection
/// within α as long as levels grow with the share that is spent, whatever the arms have in common (here: their
/// baseline). An arm also stops when its interval lies within the margin; stopping early can only lose claims.
#[derive(Debug, Clone)]
pub struct Decisions {
    design: Design,
    arms: Vec<Option<Decision>>,
    texts_a_group: f64,
}

impl Decisions {
    /// Of so many arms none is decided.
    pub fn new(design: Design, arms: usize) -> Decisions {
        Decisions {
            design,
            arms: vec![None; arms],
            texts_a_group: 1.0,
        }
    }

    /// The same where a group of rows stands for so many texts (see [`Estimate::standing_for`]).
    pub fn standing_for(self, texts_a_group: f64) -> Decisions {
        Decisions {
            texts_a_group,
            ..self
        }
    }

    /// What is decided so far, arm by arm.
    pub fn arms(&self) -> &[Option<Decision>] {
        &self.arms
    }

    /// An arm of which a trial failed stops with the pairs that it has. It was not rejected, so what it may spend passes to no
    /// other.
    pub fn fail(&mut self, arm: usize, differences: &[Difference]) {
        let pairs = differences.len();
        let mut decision = judge(
            &self.design,
            self.estimate(differences),
            self.level(pairs.max(1)),
        );
        if pairs == 0 {
            decision.estimate.effect = f64::NAN;
        }
        self.arms[arm] = Some(Decision {
            verdict: Verdict::Failed,
            zero_rejected: false,
            ..decision
        });
    }

    /// Whether every arm is.
    pub fn all_decided(&self) -> bool {
        self.arms.iter().all(Option::is_some)
    }

    /// What an arm looks like after so many pairs: its verdict, or the interval it would be judged by.
    pub fn seen(&self, arm: usize, pairs: usize, differences: &[Difference]) -> Decision {
        self.arms[arm]
            .unwrap_or_else(|| judge(&self.design, self.estimate(differences), self.level(pairs)))
    }

    /// Looks at the differences of each arm after `pairs` pairs; what is said of arms that are decided is not read.
    /// At the last look every arm is decided, and be it as undecided.
    pub fn look(&mut self, pairs: usize, differences: &[&Vec<Difference>]) {
        let estimates: Vec<Option<Estimate>> = self
            .arms
            .iter()
            .zip(differences)
            .map(|(decided, d)| decided.is_none().then(|| self.estimate(d)))
            .collect();
        // Each round of Holm's procedure has a larger share than the one before.
        loop {
            let level = self.level(pairs);
            let mut rejected = false;
            for (arm, estimate) in self.arms.iter_mut().zip(&estimates) {
                let Some(estimate) = estimate.filter(|_| arm.is_none()) else {
                    continue;
                };
                let decision = judge(&self.design, estimate, level);
                if decision.zero_rejected {
                    *arm = Some(decision);
                    rejected = true;
                }
            }
            if !rejected {
                break;
            }
        }
        let (level, last) = (self.level(pairs), pairs >= self.design.pairs);
        let share = self.share();
        for (arm, estimate) in self.arms.iter_mut().zip(estimates) {
            let Some(estimate) = estimate.filter(|_| arm.is_none()) else {
                continue;
            };
            let mut decision = judge(&self.design, estimate, level);
            if last && decision.verdict == Verdict::Undecided {
                decision.pairs_needed = estimate.pairs_needed(share, &self.design);
            }
            if last || decision.verdict == Verdict::NoDifference {
                *arm = Some(decision);
            }
        }
    }

    fn estimate(&self, differences: &[Difference]) -> Estimate {
        let part = (differences.len() as f64 / self.design.folds as f64).min(1.0);
        // Of a group of several texts a pair holds out a part.
        let texts = match self.texts_a_group > 1.0 {
            true => part * self.texts_a_group,
            false => self.texts_a_group,
        };
        Estimate::of(differences).standing_for(texts)
    }

    /// What an arm whose null hypothesis stands may spend over all looks.
    fn share(&self) -> f64 {
        let standing = self.arms.iter().filter(|a| stands(a)).count();
        self.design.alpha / standing.max(1) as f64
    }

    /// What it may spend at this one.
    fn level(&self, pairs: usize) -> f64 {
        self.design.level(pairs, self.share())
    }
}

/// Whether "no effect" is not rejected: it is open, or the arm stopped without that.
fn stands(arm: &Option<Decision>) -> bool {
    arm.as_ref().is_none_or(|d| !d.zero_rejected)
}

/// What may be said at a level.
fn judge(design: &Design, estimate: Estimate, level: f64) -> Decision {
    let interval = estimate.interval(level);
    let [low, high] = interval;
    let zero_rejected = low > 0.0 || high < 0.0;
    let within = low >= -design.margin && high <= design.margin;
    let verdict = if within && design.margin > 0.0 {
        Verdict::NoDifference
    } else if zero_rejected {
        match (low > 0.0) == design.higher_is_better {
            true => Verdict::Helps,
            false => Verdict::Hurts,
        }
    } else {
        Verdict::Undecided
    };
    Decision {
        verdict,
        zero_rejected,
        estimate,
        interval,
        level,
        pairs_needed: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn design(pairs: usize) -> Design {
        Design {
            pairs,
            folds: 5,
            alpha: 0.05,
            margin: 0.005,
            higher_is_better: true,
        }
    }

    /// Pairs around `effect`, `spread` up and down.
    fn pairs(n: usize, effect: f64, spread: f64) -> Vec<Difference> {
        let one = |i: usize| Difference {
            repeat: i / 5 + 1,
            whole: effect + spread * if i.is_multiple_of(2) { 1.0 } else { -1.0 },
            without: Vec::new(),
        };
        (0..n).map(one).collect()
    }

    #[test]
    fn each_verdict() {
        for (effect, spread, higher, want) in [
            (0.03, 0.005, true, Verdict::Helps),
            (-0.03, 0.005, true, Verdict::Hurts),
            (0.03, 0.005, false, Verdict::Hurts),
            (-0.03, 0.005, false, Verdict::Helps),
            (0.001, 0.002, true, Verdict::NoDifference),
            (0.0, 0.0, true, Verdict::Undecided),
            (0.01, 0.03, true, Verdict::Undecided),
        ] {
            let mut d = Decisions::new(
                Design {
                    higher_is_better: higher,
                    ..design(10)
                },
                1,
            );
            d.look(10, &[&pairs(10, effect, spread)]);
            let got = d.arms()[0].unwrap();
            assert_eq!(got.verdict, want, "{effect} {spread}");
            // Where nothing ever varies, no number of pairs would tell.
            let tells = want == Verdict::Undecided && spread > 0.0;
            assert_eq!(got.pairs_needed.is_some(), tells);
        }
        // Two pairs tell next to nothing, and nothing that cannot be.
        let mut d = Decisions::new(design(2), 1);
        d.look(2, &[&pairs(2, 0.1, 0.2)]);
        let got = d.arms()[0].unwrap();
        assert!(got.interval[0] < -1.0 && got.interval[1] > 1.0);
        assert_eq!(got.within(1.0).interval, [-1.0, 1.0]);
        assert_eq!(got.within(f64::INFINITY), got);
        // Without a margin nothing is too little, and nothing is said to be no difference.
        for (effect, spread, want) in [
            (0.002, 0.001, Verdict::Helps),
            (0.0, 0.0, Verdict::Undecided),
        ] {
            let none = Design {
                margin: 0.0,
                ..design(10)
            };
            let mut d = Decisions::new(none, 1);
            d.look(10, &[&pairs(10, effect, spread)]);
            assert_eq!(d.arms()[0].unwrap().verdict, want);
        }
        // Surely there, and surely too little to be worth having.
        let mut d = Decisions::new(design(10), 1);
        d.look(10, &[&pairs(10, 0.002, 0.001)]);
        let got = d.arms()[0].unwrap();
        assert!(got.zero_rejected && got.verdict == Verdict::NoDifference);
    }

    /// A hundred groups in which nothing changed, in every pair.
    #[test]
    fn texts_that_never_change_count_once_and_not_before_they_are_held_out() {
        let still = |n: usize| -> Vec<Difference> {
            let one = |d: Difference| Difference {
                without: (0..100).map(|group| (group, 0.0)).collect(),
                ..d
            };
            pairs(n, 0.0, 0.0).into_iter().map(one).collect()
        };
        for (n, texts_a_group, want) in [
            (2, 10.0, 400),
            (5, 10.0, 1000),
            (10, 10.0, 1000),
            (2, 1.0, 100),
            (10, 0.0, 0),
        ] {
            let d = Decisions::new(design(20), 1).standing_for(texts_a_group);
            let got = d.seen(0, n, &still(n));
            assert_eq!(got.estimate.scored, want, "{n} {texts_a_group}");
            // Of macro F1, of which a text may change more than its share, nothing is known then.
            assert_eq!(got.interval[1].is_finite(), want > 0);
        }
    }

    #[test]
    fn an_early_look_asks_for_more_and_leaves_the_open_open() {
        let clear = pairs(5, 0.03, 0.002);
        let fair = pairs(5, 0.03, 0.015);
        let mut d = Decisions::new(design(10), 2);
        d.look(5, &[&clear, &fair]);
        assert_eq!(d.arms()[0].unwrap().verdict, Verdict::Helps);
        assert!(d.arms()[1].is_none() && !d.all_decided());
        // As the only look the fair one would do.
        let mut once = Decisions::new(design(5), 2);
        once.look(5, &[&clear, &fair]);
        assert_eq!(once.arms()[1].unwrap().verdict, Verdict::Helps);
        // A verdict stays, whatever comes later.
        d.look(10, &[&pairs(10, -0.5, 0.0), &pairs(10, 0.0, 0.03)]);
        assert_eq!(d.arms()[0].unwrap().verdict, Verdict::Helps);
        assert_eq!(d.arms()[0].unwrap().estimate.pairs, 5);
        assert!(d.all_decided());
    }

    /// With a single look the procedure is Holm's: rejections by statsmodels from the p-values of the same t tests
    /// (`xtask/python/study_fixtures.py`).
    #[test]
    fn one_look_is_holms_procedure() {
        #[derive(serde::Deserialize)]
        struct Case {
            differences: Vec<Vec<f64>>,
            rejected: Vec<bool>,
        }
        #[derive(serde::Deserialize)]
        struct File {
            holm: Vec<Case>,
        }
        let file: File = serde_json::from_str(include_str!("../../fixtures/study.json")).unwrap();
        let mut all = Vec::new();
        for case in file.holm {
            let n = case.differences[0].len();
            let arms: Vec<Vec<Difference>> = case
                .differences
                .iter()
                .map(|values| {
                    let one = |&whole: &f64| Difference {
                        repeat: 1,
                        whole,
                        without: Vec::new(),
                    };
                    values.iter().map(one).collect()
                })
                .collect();
            let mut d = Decisions::new(
                Design {
                    folds: n,
                    ..design(n)
                },
                arms.len(),
            );
            d.look(n, &arms.iter().collect::<Vec<_>>());
            let got: Vec<bool> = d.arms().iter().map(|a| a.unwrap().zero_rejected).collect();
            assert_eq!(got, case.rejected);
            all.extend(got);
        }
        assert!(all.contains(&true) && all.contains(&false));
    }

    #[test]
    fn an_arm_that_fails_is_decided_and_leaves_nothing_to_the_others() {
        let mut d = Decisions::new(design(10), 2);
        d.fail(0, &pairs(3, 0.5, 0.001));
        let failed = d.arms()[0].unwrap();
        assert_eq!(
            (failed.verdict, failed.zero_rejected),
            (Verdict::Failed, false)
        );
        assert_eq!(failed.estimate.pairs, 3);
        let near = pairs(10, 0.0085, 0.01);
        d.look(10, &[&pairs(3, 0.5, 0.001), &near]);
        let other = d.arms()[1].unwrap();
        assert_eq!(d.arms()[0], Some(failed));
        assert!((other.level - design(10).level(10, 0.025)).abs() < 1e-15);
        // Of no pair nothing is known.
        d.fail(1, &[]);
        assert!(d.arms()[1].unwrap().estimate.effect.is_nan());
    }

    #[test]
    fn what_one_arm_leaves_the_others_get() {
        let (clear, near) = (pairs(10, 0.05, 0.001), pairs(10, 0.0085, 0.01));
        let say = |arms: &[&Vec<Difference>]| {
            let mut d = Decisions::new(design(10), arms.len());
            d.look(10, arms);
            d.arms()[0].unwrap().zero_rejected
        };
        assert!(say(&[&near]));
        assert!(say(&[&near, &clear]), "the clear one passes its share on");
        assert!(!say(&[&near, &pairs(10, 0.0, 0.03)]));
        // Two-sided p of t = 3·effect/spread with nine degrees of freedom: 0.04, 0.02 and next to none, which α/3, α/2
        // and α reject one after the other.
        let chain = [&pairs(10, 0.008, 0.01), &pairs(10, 0.0094, 0.01), &clear];
        let once = Design {
            folds: 10,
            ..design(10)
        };
        let mut d = Decisions::new(once, 3);
        d.look(10, &chain);
        let levels = d.arms().iter().map(|arm| arm.unwrap().level);
        for (level, of) in levels.zip([1.0, 2.0, 3.0]) {
            assert!((level - 0.05 / of).abs() < 1e-9, "{level}");
        }
        assert!(d.arms().iter().all(|arm| arm.unwrap().zero_rejected));
        // An arm that stopped as no difference keeps its share: nothing was rejected.
        let same = pairs(10, 0.0, 1e-4);
        let mut d = Decisions::new(design(20), 2);
        d.look(10, &[&pairs(10, 0.0, 0.03), &same]);
        assert_eq!(d.arms()[1].unwrap().verdict, Verdict::NoDifference);
        d.look(20, &[&pairs(20, 0.0, 0.03), &same]);
        let level = d.arms()[0].unwrap().level;
        assert!((level - design(20).level(20, 0.025)).abs() < 1e-15);
    }
}
