//! The effect of an arm from its pairs, and how sure it is.

use super::Design;
use crate::special::{normal_exceeded, student_exceeded};
use serde::Serialize;
use std::collections::BTreeMap;

/// How an interval comes about, for reports.
pub const INTERVAL_METHOD: &str = "repeated interval of the mean difference: half² = max(t²·s²/J, z²·w) + t²·r; s² the \
    variance over J pairs, w that of the rows within pairs, r that of rows which pairs of different repeats share \
    (both by the jackknife over groups of rows); t with J − 1 degrees of freedom and z at the level that looks \
    (Lan & DeMets 1983) and arms (Holm 1979) leave; where no row changed, as wide as the rule of three over the distinct \
    texts for accuracy, and without end for other metrics; cut where no difference of the metric can be larger";

/// What one pair says of an arm: its metric minus the baseline's, on the same held-out rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Repeat of its fold: held-out rows of two pairs overlap only between repeats.
    pub repeat: usize,
    /// The difference over all its held-out rows.
    pub whole: f64,
    /// The same without one group of them: (group, difference). Rows of one text are in one group, and a group is
    /// the same rows in every pair. Without any, pairs alone say how sure it is.
    pub without: Vec<(u32, f64)>,
}

/// A mean difference and the parts of its variance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// Pairs.
    pub pairs: usize,
    /// Mean difference.
    pub effect: f64,
    /// Standard deviation over the pairs, with J − 1.
    pub std: f64,
    /// Variance of the mean by the spread over pairs: s²/J.
    pub between: f64,
    /// The part of it that the chance of which rows were held out explains alone.
    pub within: f64,
    /// What the spread over pairs does not show: the practice does better on some rows and worse on others in every
    /// pair that holds them out, and further texts would be other rows.
    pub rows: f64,
    /// Distinct texts that were scored, each once however many pairs it was scored in; 0 where nobody counted, or where one of
    /// them may change more than its share.
    pub scored: usize,
}

impl Estimate {
    /// From the pairs of an arm; at least two, or nothing is known.
    ///
    /// With y = δ + a(pair) + b(row) + e, the mean over pairs and rows has the variance σ²(a)/J + σ²(b)/rows +
    /// σ²(e)/(all scores), as of runs crossed with rows (Cameron, Gelbach & Miller 2011, "Robust inference with
    /// multiway clustering"; Gallas 2006 for readers and cases). `between` has all of it but that b is shared by
    /// pairs of different repeats; products of those pairs' row effects estimate that. What a row contributes to
    /// any metric is how much the metric changes without it (delete-a-group jackknife).
    pub fn of(differences: &[Difference]) -> Estimate {
        let pairs = differences.len();
        let j = pairs.max(1) as f64;
        let effect = differences.iter().map(|d| d.whole).sum::<f64>() / j;
        let squares: f64 = differences.iter().map(|d| (d.whole - effect).powi(2)).sum();
        let variance = match pairs {
            0 | 1 => f64::INFINITY,
            n => squares / (n - 1) as f64,
        };
        let mut within = 0.0;
        // Sums over all pairs and over those of each repeat, by group.
        let mut sums: BTreeMap<u32, (f64, BTreeMap<usize, f64>)> = BTreeMap::new();
        for d in differences {
            let groups = d.without.len() as f64;
            let scale = ((groups - 1.0) / groups.max(1.0)).max(0.0).sqrt();
            for &(group, left) in &d.without {
                let u = scale * (d.whole - left);
                within += u * u;
                let (all, own) = sums.entry(group).or_default();
                *all += u;
                *own.entry(d.repeat).or_default() += u;
            }
        }
        let shared: f64 = sums
            .values()
            .map(|(all, own)| all * all - own.values().map(|s| s * s).sum::<f64>())
            .sum();
        Estimate {
            pairs,
            effect,
            std: variance.sqrt(),
            between: variance / j,
            within: within / (j * j),
            scored: sums.len(),
            rows: match pairs {
                0 | 1 => 0.0,
                // `between` lacks a little of σ²(b), because overlapping pairs resemble each other.
                _ => shared.max(0.0) / (j * j) * j / (j - 1.0),
            },
        }
    }

    /// The same where each group stands for so many texts; for 0 where a text may change the metric by more than its share.
    pub fn standing_for(self, texts_a_group: f64) -> Estimate {
        Estimate {
            scored: (self.scored as f64 * texts_a_group) as usize,
            ..self
        }
    }

    /// What may change after all where nothing did, at a two-sided level: of n texts none of which changed, up to
    /// 1 − (level/2)^(1/n) of all may (the rule of three), each by 1 at most. Nothing bounds it where a text may change more than
    /// its share, and pairs that are all the same tell nothing either; where pairs differ, they say what is open.
    pub fn unseen(&self, level: f64) -> f64 {
        match self.scored {
            0 if self.between > 0.0 => 0.0,
            0 => f64::INFINITY,
            n => -(0.5 * level).ln() / n as f64,
        }
    }

    /// Half the width of the interval at a two-sided level. It is never narrower than Student's over the pairs, nor
    /// than what the held-out rows alone leave open.
    pub fn half(&self, level: f64) -> f64 {
        if self.pairs < 2 {
            return f64::INFINITY;
        }
        let t = student_exceeded(0.5 * level, (self.pairs - 1) as f64);
        let z = normal_exceeded(0.5 * level);
        let drawn = half(self.between, self.within, self.rows, t, z);
        match self.within == 0.0 {
            true => drawn.max(self.unseen(level)),
            false => drawn,
        }
    }

    /// The interval at a two-sided level.
    pub fn interval(&self, level: f64) -> [f64; 2] {
        let half = self.half(level);
        [self.effect - half, self.effect + half]
    }

    /// How many pairs a new study of this design would need, about, to tell this effect from nothing or to find it
    /// within the margin at its last look, were it what it seems: `None` where a thousand pairs cannot. An arm may
    /// spend `share` over all looks. Pairs bring no further texts, so what no text showed stays as open as it is.
    pub fn pairs_needed(&self, share: f64, design: &Design) -> Option<usize> {
        let (now, folds) = (self.pairs as f64, design.folds);
        let reach = self.effect.abs().max(design.margin - self.effect.abs());
        if reach <= 0.0 {
            return None;
        }
        // σ²(b)/rows is approached from below as repeats come: (1/n − 1/N) of it is seen so far.
        let seen = 1.0 - folds as f64 / now;
        let rows = match seen > 0.0 {
            true => self.rows / seen,
            false => 0.0,
        };
        let enough = |repeats: usize| {
            let pairs = repeats * folds;
            let level = Design { pairs, ..*design }.level(pairs, share);
            let next = pairs as f64;
            let scale = now / next;
            let there = Estimate {
                pairs,
                between: self.between * scale,
                within: self.within * scale,
                rows: rows * (1.0 - folds as f64 / next).max(0.0),
                ..*self
            };
            there.half(level) <= reach
        };
        // One after the other: the more looks there are, the less the last may spend, so that more pairs may do no longer
        // where the rows' part stays.
        let next = self.pairs / folds + 1;
        let mut repeats = next..=(MOST_PAIRS / folds).max(next);
        repeats.find(|&n| enough(n)).map(|n| n * folds)
    }
}

/// Nobody trains more.
const MOST_PAIRS: usize = 1000;

fn half(between: f64, within: f64, rows: f64, t: f64, z: f64) -> f64 {
    // 0 · ∞ where nothing varies and nothing may be spent.
    let part = |factor: f64, variance: f64| match variance > 0.0 {
        true => factor * factor * variance,
        false => 0.0,
    };
    (part(t, between).max(part(z, within)) + part(t, rows)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_tensor::Philox;

    fn plain(values: &[f64]) -> Vec<Difference> {
        let one = |&whole: &f64| Difference {
            repeat: 1,
            whole,
            without: Vec::new(),
        };
        values.iter().map(one).collect()
    }

    /// By scipy's paired t and by a crossed sum over rows in numpy (`xtask/python/study_fixtures.py`).
    #[test]
    fn intervals_are_scipys_and_row_parts_numpys() {
        #[derive(serde::Deserialize)]
        struct Pair {
            repeat: usize,
            rows: Vec<u32>,
            difference: Vec<f64>,
        }
        #[derive(serde::Deserialize)]
        struct Case {
            pairs: Vec<Pair>,
            effect: f64,
            level: f64,
            student: [f64; 2],
            within: f64,
            rows: f64,
        }
        #[derive(serde::Deserialize)]
        struct File {
            estimates: Vec<Case>,
        }
        let file: File = serde_json::from_str(include_str!("../../fixtures/study.json")).unwrap();
        assert!(file.estimates.len() > 3);
        for case in file.estimates {
            let pairs: Vec<Difference> = case
                .pairs
                .iter()
                .map(|p| {
                    let (n, sum) = (p.rows.len() as f64, p.difference.iter().sum::<f64>());
                    let without = |(&row, y): (&u32, &f64)| (row, (sum - y) / (n - 1.0));
                    Difference {
                        repeat: p.repeat,
                        whole: sum / n,
                        without: p.rows.iter().zip(&p.difference).map(without).collect(),
                    }
                })
                .collect();
            let got = Estimate::of(&pairs);
            let close = |got: f64, want: f64| {
                assert!(
                    (got - want).abs() < 1e-12 + 1e-9 * want.abs(),
                    "{got} {want}"
                );
            };
            close(got.effect, case.effect);
            close(got.within, case.within);
            close(got.rows, case.rows);
            let alone = Estimate {
                within: 0.0,
                rows: 0.0,
                ..got
            };
            let [low, high] = alone.interval(case.level);
            close(low, case.student[0]);
            close(high, case.student[1]);
            // The whole interval holds Student's.
            let [wide_low, wide_high] = got.interval(case.level);
            assert!(wide_low <= low && wide_high >= high);
        }
    }

    #[test]
    fn one_pair_knows_nothing_and_equal_pairs_are_not_certain() {
        assert_eq!(Estimate::of(&plain(&[0.1])).half(0.05), f64::INFINITY);
        assert_eq!(Estimate::of(&plain(&[0.0; 5])).half(0.05), f64::INFINITY);
        // No row of 500 changed: the exact bound is that of Clopper & Pearson for 0 of 500.
        let still: Vec<Difference> = (0..5)
            .map(|pair| Difference {
                repeat: 1,
                whole: 0.0,
                without: (0..100).map(|row| (pair * 100 + row, 0.0)).collect(),
            })
            .collect();
        let (got, exact) = (
            Estimate::of(&still).half(0.05),
            1.0 - 0.025f64.powf(1.0 / 500.0),
        );
        assert!((got / exact - 1.0).abs() < 0.005, "{got} {exact}");
        // Held out again they are no further rows, and a loss or macro F1 may change by any amount on others.
        let again: Vec<Difference> = [1, 2, 3]
            .into_iter()
            .flat_map(|repeat| {
                still
                    .iter()
                    .cloned()
                    .map(move |d| Difference { repeat, ..d })
            })
            .collect();
        assert_eq!(Estimate::of(&again).scored, 500);
        assert_eq!(Estimate::of(&again).half(0.05), got);
        let dealt = Estimate::of(&again).standing_for(4.0);
        assert!((dealt.half(0.05) - got / 4.0).abs() < 1e-12);
        let open = Estimate::of(&again).standing_for(0.0);
        assert_eq!(open.half(0.05), f64::INFINITY);
        // So more pairs tell no more of them.
        let design = Design {
            pairs: 15,
            folds: 5,
            alpha: 0.05,
            margin: 0.005,
            higher_is_better: true,
        };
        assert_eq!(Estimate::of(&again).pairs_needed(0.05, &design), None);
        // Ten of a hundred rows are gained in every pair: luck of the rows is left.
        let pairs: Vec<Difference> = (0..5)
            .map(|pair| Difference {
                repeat: 1,
                whole: 0.1,
                without: (0..100)
                    .map(|row| (pair * 100 + row, (10.0 - f64::from(row < 10)) / 99.0))
                    .collect(),
            })
            .collect();
        let got = Estimate::of(&pairs);
        assert_eq!((got.between, got.rows), (0.0, 0.0));
        // Binomial: z · sqrt(p(1 − p)/n), n rows of all pairs.
        let want = 1.959_963_984_540_054 * (0.1f64 * 0.9 / 500.0).sqrt();
        assert!(
            (got.half(0.05) / want - 1.0).abs() < 0.01,
            "{}",
            got.half(0.05)
        );
    }

    /// Draws like a normal variable: Irwin–Hall.
    fn normal(rng: &Philox, a: u64, b: u64) -> f64 {
        let one = |k: u64| (rng.u64_at(a, b * 12 + k) >> 11) as f64 / (1u64 << 53) as f64;
        (0..12).map(one).sum::<f64>() - 6.0
    }

    /// The mean's true variance, over many data sets, beside what estimates say of it, for pairs that differ, rows
    /// that differ, and both.
    #[test]
    fn the_parts_add_up_to_the_variance_of_the_mean() {
        const STUDIES: usize = 1500;
        let (n, folds, repeats) = (100usize, 4usize, 3usize);
        for (pair_sd, row_sd, noise_sd) in [(0.2, 0.0, 1.0), (0.0, 1.0, 1.0), (0.1, 0.7, 0.5)] {
            let (mut squares, mut said, mut naive) = (0.0, 0.0, 0.0);
            for study in 0..STUDIES {
                let rng = Philox::new(1000 * study as u64 + (10.0 * row_sd) as u64);
                let row_effect: Vec<f64> =
                    (0..n).map(|i| row_sd * normal(&rng, 1, i as u64)).collect();
                let mut pairs = Vec::new();
                for repeat in 1..=repeats {
                    let order = hone_tensor::permutation(n, study as u64, repeat as u64);
                    for fold in 0..folds {
                        let at = (repeat * folds + fold) as u64;
                        let shift = pair_sd * normal(&rng, 2, at);
                        let held: Vec<u32> =
                            order.iter().copied().skip(fold).step_by(folds).collect();
                        let y: Vec<f64> = held
                            .iter()
                            .map(|&r| {
                                let key = at * n as u64 + u64::from(r);
                                shift + row_effect[r as usize] + noise_sd * normal(&rng, 3, key)
                            })
                            .collect();
                        let (m, sum) = (y.len() as f64, y.iter().sum::<f64>());
                        let without = held.iter().zip(&y);
                        pairs.push(Difference {
                            repeat,
                            whole: sum / m,
                            without: without.map(|(&r, y)| (r, (sum - y) / (m - 1.0))).collect(),
                        });
                    }
                }
                let e = Estimate::of(&pairs);
                squares += e.effect * e.effect;
                said += e.between + e.rows;
                naive += e.between;
            }
            let ratio = said / squares;
            // Never much too small; a part that is cut off at zero may make it a little too large.
            assert!((0.9..1.25).contains(&ratio), "{pair_sd} {row_sd}: {ratio}");
            if row_sd > 0.9 {
                assert!(naive / squares < 0.7, "{}", naive / squares);
            }
        }
    }

    /// Against the interval as it is written out: with more pairs all parts shrink but the rows', which is seen the more fully.
    #[test]
    fn pairs_needed_are_the_fewest_that_would_do() {
        let design = Design {
            pairs: 10,
            folds: 5,
            alpha: 0.05,
            margin: 0.005,
            higher_is_better: true,
        };
        let (between, within) = (9e-5, 3e-5);
        for (effect, rows) in [
            (0.05, 0.0),
            (0.018, 0.0),
            (0.01, 0.0),
            (0.01, 3e-6),
            // A thousand pairs, with two hundred looks, would not do.
            (-0.02, 2e-5),
        ] {
            let now = Estimate {
                pairs: 10,
                effect,
                std: 0.03,
                between,
                within,
                rows,
                scored: 1000,
            };
            let half = |pairs: usize| -> f64 {
                let level = Design { pairs, ..design }.level(pairs, 0.05);
                let t = student_exceeded(0.5 * level, pairs as f64 - 1.0);
                let z = normal_exceeded(0.5 * level);
                let n = pairs as f64;
                let drawn = (t * t * between).max(z * z * within) * 10.0 / n;
                (drawn + t * t * rows * (1.0 - 5.0 / n) / (1.0 - 5.0 / 10.0)).sqrt()
            };
            let need = now.pairs_needed(0.05, &design).unwrap();
            assert!(need > 10 && need.is_multiple_of(5), "{effect}: {need}");
            assert!(half(need) <= effect.abs(), "{effect}: {need}");
            let fewer = (15..need).step_by(5);
            assert!(
                fewer.into_iter().all(|n| half(n) > effect.abs()),
                "{effect}: {need}"
            );
            assert_eq!(half(1000) > effect.abs(), effect == -0.02);
        }
    }

    #[test]
    fn what_is_needed_falls_with_the_effect_and_may_be_out_of_reach() {
        let e = |effect: f64, rows: f64| Estimate {
            pairs: 10,
            effect,
            std: 0.03,
            between: 9e-5,
            within: 3e-5,
            rows,
            scored: 1000,
        };
        let design = Design {
            pairs: 10,
            folds: 5,
            alpha: 0.05,
            margin: 0.005,
            higher_is_better: true,
        };
        let need = |effect, rows| e(effect, rows).pairs_needed(0.05, &design);
        let (large, small) = (need(0.018, 0.0).unwrap(), need(0.01, 0.0).unwrap());
        assert!(10 < large && large < small, "{large} {small}");
        // Were the last look granted all of 0.05, 38 pairs would do; its own part is less than a fifth of that.
        assert_eq!(small, 70);
        assert_eq!(need(0.01, 1e-4), None);
        // Nothing at all is found to be within the margin, in time, and never within none.
        assert!(need(0.0, 0.0).unwrap() > 100);
        let none = Design {
            margin: 0.0,
            ..design
        };
        assert_eq!(e(0.0, 0.0).pairs_needed(0.05, &none), None);
    }
}
