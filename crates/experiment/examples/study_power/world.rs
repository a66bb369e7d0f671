//! Studies that nobody trains: scores of held-out rows drawn as those of fine-tuned models behave, so that the true
//! effect is known.
//!
//! A model answers a row rightly where `mean + difficulty(row) + own(row, arm) + pool(arm) + luck(run) +
//! fold(row, pair) + noise(row, run)` is above zero, all normal. Difficulties are the same for all arms; `own` is how
//! an arm does better on some rows and worse on others, in every run; `luck` is what the seed does to a whole run;
//! `fold` is what a pair's training rows do to a row, whatever the recipe; `pool` is what this set of training texts
//! does to an arm as a whole. Rows come again in every repeat, as in real resampling.

use hone_experiment::study::{Decision, Decisions, Design, Difference, Verdict};
use hone_tensor::{Philox, permutation};

/// A kind of study.
#[derive(Debug, Clone, Copy)]
pub struct World {
    /// Texts; a pair holds out one of `folds` parts of them.
    pub rows: usize,
    /// Folds of a repeat.
    pub folds: usize,
    /// Pairs at most.
    pub pairs: usize,
    /// Arms.
    pub arms: usize,
    /// Accuracy of the baseline.
    pub accuracy: f64,
    /// Gain of every arm.
    pub effect: f64,
    /// Standard deviation of a run's accuracy by its seed.
    pub seed_sd: f64,
    /// Standard deviation of an arm's accuracy by the set of training texts: shared by all its pairs.
    pub pool_sd: f64,
    /// Size of `own`, where difficulties have 1.
    pub row_sd: f64,
    /// Size of `noise`, and of `fold`.
    pub noise_sd: f64,
}

/// What many studies said.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Studies.
    pub studies: usize,
    /// Those that claimed a gain for some arm.
    pub helps: usize,
    /// Those that claimed anything for some arm.
    pub claims: usize,
    /// Arms, and those of them that are said to help.
    pub arms: usize,
    /// See `arms`.
    pub arms_help: usize,
    /// Arms whose interval holds the true effect.
    pub covered: usize,
    /// Pairs that arms took.
    pub pairs: usize,
    /// Share of held-out rows on which arm and baseline differ.
    pub differ: f64,
}

/// Normal draws.
struct Draws {
    rng: Philox,
    next: u64,
    spare: Option<f64>,
}

impl Draws {
    fn uniform(&mut self) -> f64 {
        self.next += 1;
        ((self.rng.u64_at(self.next, 0) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (radius, angle) = (
            (-2.0 * self.uniform().ln()).sqrt(),
            2.0 * std::f64::consts::PI * self.uniform(),
        );
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }
}

/// The z below which a share of a normal variable lies.
fn probit(share: f64) -> f64 {
    let (mut low, mut high) = (-10.0, 10.0);
    for _ in 0..100 {
        let z = 0.5 * (low + high);
        match 0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2) < share {
            true => low = z,
            false => high = z,
        }
    }
    0.5 * (low + high)
}

impl World {
    /// One study: the decision for every arm, and the share of rows on which arm and baseline differ.
    pub fn study(&self, seed: u64) -> (Vec<Decision>, f64) {
        let mut draws = Draws {
            rng: Philox::new(seed),
            next: 0,
            spare: None,
        };
        // From accuracies to latent scores: the slope of Φ at the baseline's accuracy.
        let base = probit(self.accuracy);
        let usual = (1.0 + 2.0 * self.noise_sd * self.noise_sd).sqrt();
        let slope = (-0.5 * base * base).exp() / (2.0 * std::f64::consts::PI).sqrt() / usual;
        let (luck_sd, pool_sd) = (self.seed_sd / slope, self.pool_sd / slope);
        let spread = |own: f64, pool: f64| {
            let noise = 2.0 * self.noise_sd * self.noise_sd;
            (1.0 + noise + luck_sd * luck_sd + own * own + pool * pool).sqrt()
        };
        let n = self.rows;
        let difficulty: Vec<f64> = (0..n).map(|_| draws.normal()).collect();
        // The baseline is an arm without a gain and without rows of its own.
        let mut shift = vec![base * spread(0.0, 0.0)];
        let mut own = vec![vec![0.0; n]];
        for _ in 0..self.arms {
            let mean = probit(self.accuracy + self.effect) * spread(self.row_sd, pool_sd);
            shift.push(mean + pool_sd * draws.normal());
            own.push((0..n).map(|_| self.row_sd * draws.normal()).collect());
        }
        let design = Design {
            pairs: self.pairs,
            folds: self.folds,
            alpha: 0.05,
            margin: 0.0,
            higher_is_better: true,
        };
        let looks = design.looks();
        let mut decisions = Decisions::new(design, self.arms);
        let mut pairs: Vec<Vec<Difference>> = vec![Vec::new(); self.arms];
        let (mut differ, mut scored) = (0.0, 0.0);
        for pair in 0..self.pairs {
            let (repeat, fold) = (pair / self.folds + 1, pair % self.folds);
            let order = permutation(n, seed, repeat as u64);
            let held: Vec<usize> = order
                .into_iter()
                .map(|r| r as usize)
                .skip(fold)
                .step_by(self.folds)
                .collect();
            let by_fold: Vec<f64> = held
                .iter()
                .map(|_| self.noise_sd * draws.normal())
                .collect();
            let right = |arm: usize, draws: &mut Draws| -> Vec<f64> {
                let luck = shift[arm] + luck_sd * draws.normal();
                let each = held.iter().zip(&by_fold);
                each.map(|(&r, fold)| {
                    let noise = self.noise_sd * draws.normal();
                    let score = luck + difficulty[r] + own[arm][r] + fold + noise;
                    f64::from(score > 0.0)
                })
                .collect()
            };
            let baseline = right(0, &mut draws);
            for arm in 0..self.arms {
                let y: Vec<f64> = right(arm + 1, &mut draws)
                    .iter()
                    .zip(&baseline)
                    .map(|(a, b)| a - b)
                    .collect();
                differ += y.iter().map(|d| d.abs()).sum::<f64>();
                scored += y.len() as f64;
                let (m, sum) = (y.len() as f64, y.iter().sum::<f64>());
                pairs[arm].push(Difference {
                    repeat,
                    whole: sum / m,
                    without: held
                        .iter()
                        .zip(&y)
                        .map(|(&r, d)| (r as u32, (sum - d) / (m - 1.0)))
                        .collect(),
                });
            }
            if looks.contains(&(pair + 1)) {
                decisions.look(pair + 1, &pairs.iter().collect::<Vec<_>>());
                if decisions.all_decided() {
                    break;
                }
            }
        }
        let all = decisions.arms().iter().flatten().copied().collect();
        (all, differ / scored)
    }

    /// Many studies, with seeds from `first` on.
    pub fn tally(&self, studies: usize, first: u64) -> Tally {
        let mut tally = Tally::default();
        for seed in first..first + studies as u64 {
            let (arms, differ) = self.study(seed);
            let any = |f: fn(&Decision) -> bool| usize::from(arms.iter().any(f));
            tally.studies += 1;
            tally.helps += any(|d| d.verdict == Verdict::Helps);
            tally.claims += any(|d| d.zero_rejected);
            tally.differ += differ / studies as f64;
            for d in &arms {
                tally.arms += 1;
                tally.arms_help += usize::from(d.verdict == Verdict::Helps);
                let [low, high] = d.interval;
                tally.covered += usize::from(low <= self.effect && self.effect <= high);
                tally.pairs += d.estimate.pairs;
            }
        }
        tally
    }
}

/// The largest rate under which so few of so many would still be seen once in twenty times: the exact upper bound
/// (Clopper & Pearson 1934), one-sided, 95 %.
pub fn upper_bound(seen: usize, of: usize) -> f64 {
    let at_most = |p: f64| {
        // P(X = k) from k to k + 1, in logarithms at the start.
        let mut term = of as f64 * (-p).ln_1p();
        let mut sum = 0.0;
        for k in 0..=seen {
            sum += term.exp();
            term += (p / (1.0 - p) * (of - k) as f64 / (k + 1) as f64).ln();
        }
        sum
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..100 {
        let p = 0.5 * (low + high);
        match at_most(p) > 0.05 {
            true => low = p,
            false => high = p,
        }
    }
    high
}
