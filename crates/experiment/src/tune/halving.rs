//! Successive halving: which trials go on, on how many rows and with how many replicates. Nothing here runs anything.
//!
//! Jamieson & Talwalkar 2016 ("Non-stochastic best arm identification and hyperparameter optimization", algorithm 1):
//! every rung costs the same, half of its trials go on to the next. What they are given more of is the question. Steps
//! are not it: half of a run with a falling rate is not the first half of a run, and where epochs are tuned themselves,
//! halves of two runs are not alike. So **every run is a whole one with its own schedule**, and a rung gives
//!
//! - more rows, as long as there are thousands of them: a quarter, a half, then all;
//! - then more replicates, each with other rows to choose by and other luck, because that is what separates
//!   good settings of fine-tuning: one run tells them apart badly (Dodge et al. 2020, arXiv:2002.06305). Replicates are
//!   the same for all trials, and those that a trial has stay with it: nothing is computed twice.

use hone_train::metrics::better;

/// Runs on part of the rows begin only where so many are left: with fewer, other settings are best than on all.
const LEAST_ROWS: usize = 1000;
/// Most rungs on part of the rows.
const MOST_PARTS: usize = 2;
/// Most replicates that choose.
pub const MOST_REPLICATES: usize = 8;

/// What every trial of a rung has had at its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rung {
    /// Trials in it.
    pub trials: usize,
    /// Part of the rows that a run is fitted to.
    pub share: f64,
    /// Replicates on that part, those of the rung before included.
    pub replicates: usize,
    /// Of them new.
    pub new: usize,
}

/// Rungs on part of the rows that this many rows bear.
pub fn parts(rows: usize, trials: usize) -> usize {
    let bear = |parts: usize| rows >> parts >= LEAST_ROWS && rungs(trials) > parts;
    (0..=MOST_PARTS).rev().find(|&p| bear(p)).unwrap_or(0)
}

/// Rungs until two or three trials are left.
fn rungs(trials: usize) -> usize {
    (trials.max(2).ilog2() as usize).max(1)
}

/// All rungs of a search, `parts` of them on part of the rows.
pub fn ladder(trials: usize, parts: usize) -> Vec<Rung> {
    let mut left = trials;
    let mut before = (0.0, 0);
    // Whatever becomes of the number of trials, the last rung has all rows.
    let count = rungs(trials).max(parts + 1);
    let rung = |k: usize| {
        let share = 0.5f64.powi(parts.saturating_sub(k) as i32);
        let replicates = (1usize << k.saturating_sub(parts)).min(MOST_REPLICATES);
        let new = match before.0 == share {
            true => replicates - before.1,
            false => replicates,
        };
        let trials = left;
        before = (share, replicates);
        left = survivors(left);
        Rung {
            trials,
            share,
            replicates,
            new,
        }
    };
    (0..count).map(rung).collect()
}

/// How many of a rung's trials go on: half, and not fewer than two, which can still be compared.
pub fn survivors(trials: usize) -> usize {
    trials.div_ceil(2).max(2).min(trials)
}

/// Trials from best to worst by their value; a failed one has none and comes last. Of equals the lower number is first,
/// so that nothing is put before the given options without a reason.
pub fn ranking(values: &[(usize, Option<f64>)], metric: &str) -> Vec<usize> {
    let mut order: Vec<&(usize, Option<f64>)> = values.iter().collect();
    order.sort_by(|a, b| {
        let (x, y) = (a.1.unwrap_or(f64::NAN), b.1.unwrap_or(f64::NAN));
        let first = match (better(metric, x, y), better(metric, y, x)) {
            (true, _) => std::cmp::Ordering::Less,
            (_, true) => std::cmp::Ordering::Greater,
            _ => std::cmp::Ordering::Equal,
        };
        first.then(a.0.cmp(&b.0))
    });
    order.into_iter().map(|(trial, _)| *trial).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_cost_the_same_and_halve_by_hand() {
        let shape = |n, p| -> Vec<(usize, f64, usize, usize)> {
            let all = ladder(n, p).into_iter();
            all.map(|r| (r.trials, r.share, r.replicates, r.new))
                .collect()
        };
        assert_eq!(
            shape(16, 0),
            [
                (16, 1.0, 1, 1),
                (8, 1.0, 2, 1),
                (4, 1.0, 4, 2),
                (2, 1.0, 8, 4)
            ]
        );
        assert_eq!(
            shape(16, 2),
            [
                (16, 0.25, 1, 1),
                (8, 0.5, 1, 1),
                (4, 1.0, 1, 1),
                (2, 1.0, 2, 1)
            ]
        );
        assert_eq!(shape(5, 0), [(5, 1.0, 1, 1), (3, 1.0, 2, 1)]);
        assert_eq!(shape(2, 0), [(2, 1.0, 1, 1)]);
        // Fewer trials than were planned still end on all rows.
        assert_eq!(
            shape(3, 2),
            [(3, 0.25, 1, 1), (2, 0.5, 1, 1), (2, 1.0, 1, 1)]
        );
        // Every rung on part of the rows costs what the others do: 16/4 = 8/2 = 4.
        for r in &ladder(64, 2)[..3] {
            assert_eq!(r.trials as f64 * r.share * r.new as f64, 16.0);
        }
        // Beyond eight replicates nothing is added.
        assert_eq!(ladder(256, 0).last().unwrap().replicates, MOST_REPLICATES);
        assert_eq!(ladder(256, 0).last().unwrap().new, 0);
    }

    #[test]
    fn part_of_the_rows_is_for_thousands() {
        for (rows, trials, want) in [
            (400, 64, 0),
            (1999, 64, 0),
            (2000, 64, 1),
            (4000, 64, 2),
            (60_000, 64, 2),
            (60_000, 4, 1),
            (60_000, 3, 0),
        ] {
            assert_eq!(parts(rows, trials), want, "{rows} {trials}");
        }
    }

    #[test]
    fn failures_come_last_and_equals_in_their_order() {
        let values = [
            (0, Some(0.8)),
            (1, None),
            (2, Some(0.9)),
            (3, Some(0.8)),
            (4, Some(f64::NAN)),
        ];
        assert_eq!(ranking(&values, "accuracy"), [2, 0, 3, 1, 4]);
        assert_eq!(ranking(&values, "loss"), [0, 3, 2, 1, 4]);
    }

    /// The whole search on drawn values beside one that is written out: every trial's mean over its replicates, sorted,
    /// the better half kept.
    #[test]
    fn a_search_on_drawn_values_is_that_of_brute_force() {
        let value = |trial: usize, replicate: usize| {
            let word = hone_tensor::Philox::new(3).u64_at(trial as u64, replicate as u64);
            // Few values, so that there are ties.
            (word % 7) as f64
        };
        for n in 2..40 {
            let mut alive: Vec<usize> = (0..n).collect();
            for rung in ladder(n, 0) {
                alive.truncate(rung.trials);
                let mean = |t: usize| {
                    (0..rung.replicates).map(|r| value(t, r)).sum::<f64>() / rung.replicates as f64
                };
                let values: Vec<_> = alive.iter().map(|&t| (t, Some(mean(t)))).collect();
                alive = ranking(&values, "accuracy");
            }
            let (mut brute, mut replicates): (Vec<usize>, usize) = ((0..n).collect(), 1);
            loop {
                let sum = |t: &usize| (0..replicates).map(|r| value(*t, r)).sum::<f64>();
                brute.sort_by(|a, b| sum(b).total_cmp(&sum(a)).then(a.cmp(b)));
                // The last of the halvings that 2, 4, 8, … trials have.
                if 4 * replicates > n {
                    break;
                }
                brute.truncate(brute.len().div_ceil(2));
                replicates *= 2;
            }
            assert_eq!(alive[0], brute[0], "{n}");
        }
    }
}
