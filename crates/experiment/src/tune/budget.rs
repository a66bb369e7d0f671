//! How much fits into the time there is: what runs cost, from those that were timed, and how many trials that makes.
//! Nothing here looks at a clock.

use super::halving::{Rung, ladder};

/// What a run has to do: row-passes of training, and rows that are scored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Rows times passes over them.
    pub trained: f64,
    /// Rows that are read and not trained on.
    pub scored: f64,
}

/// Reading a row costs about a third of training on it.
const READING: f64 = 1.0 / 3.0;

impl Work {
    fn units(self) -> f64 {
        self.trained + READING * self.scored
    }
}

/// The speed of this machine on these texts: seconds of a run = `start` + `rate` times its work.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    runs: f64,
    units: f64,
    /// Seconds in which weights moved.
    training: f64,
    trained: f64,
    seconds: f64,
}

impl Pace {
    /// Takes the time of a run: of its steps, and of all of it.
    pub fn add(&mut self, work: Work, training: f64, seconds: f64) {
        self.runs += 1.0;
        self.units += work.units();
        self.trained += work.trained;
        self.training += training;
        self.seconds += seconds;
    }

    /// Seconds of a run that has so much to do; none before one was timed.
    pub fn seconds(&self, work: Work) -> Option<f64> {
        if self.runs == 0.0 || self.trained <= 0.0 {
            return None;
        }
        let rate = self.training / self.trained;
        let start = ((self.seconds - rate * self.units) / self.runs).max(0.0);
        Some(start + rate * work.units())
    }
}

/// What a search costs by its number of trials.
pub struct Search<'a> {
    /// Seconds of a whole run of each trial on part of the rows: (trial, share).
    pub run: &'a dyn Fn(usize, f64) -> f64,
    /// Rungs on part of the rows.
    pub parts: usize,
    /// Trials at most.
    pub most: usize,
}

impl Search<'_> {
    /// Seconds of a search of so many trials of which the first `done` have had their first run. Who survives is not known,
    /// so later rungs cost what trials do on average.
    pub fn seconds(&self, trials: usize, done: usize) -> f64 {
        let rungs = ladder(trials, self.parts);
        let mean = |share: f64| {
            (0..trials).map(|t| (self.run)(t, share)).sum::<f64>() / trials.max(1) as f64
        };
        let first: f64 = (done..trials).map(|t| (self.run)(t, rungs[0].share)).sum();
        let later = rungs[1..]
            .iter()
            .map(|r: &Rung| (r.trials * r.new) as f64 * mean(r.share));
        first * rungs[0].new as f64 + later.sum::<f64>()
    }

    /// The most trials, two at least, whose search fits.
    pub fn trials_that_fit(&self, seconds: f64, done: usize) -> usize {
        let least = done.max(2).min(self.most.max(2));
        let mut fit = least;
        // More trials never cost less, but rungs come in jumps: a step that does not fit ends it.
        for trials in least + 1..=self.most {
            match self.seconds(trials, done) <= seconds {
                true => fit = trials,
                false => break,
            }
        }
        fit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(trained: f64, scored: f64) -> Work {
        Work { trained, scored }
    }

    #[test]
    fn a_pace_finds_start_and_rate_again() {
        // Two seconds to load, a hundredth a row, and a third of that a row that is only read.
        let mut pace = Pace::default();
        assert_eq!(pace.seconds(work(1.0, 0.0)), None);
        for (rows, read) in [(100.0, 30.0), (400.0, 300.0), (250.0, 90.0)] {
            let seconds = 2.0 + 0.01 * (rows + read / 3.0);
            pace.add(work(rows, read), 0.01 * rows, seconds);
        }
        let told = pace.seconds(work(1000.0, 600.0)).unwrap();
        assert!((told - (2.0 + 12.0)).abs() < 1e-9, "{told}");
        // A run that trained on nothing tells no rate.
        let mut pace = Pace::default();
        pace.add(work(0.0, 30.0), 0.0, 1.0);
        assert_eq!(pace.seconds(work(1.0, 0.0)), None);
    }

    /// A clock that is told: every run takes what it takes, and the search is planned anew before every trial.
    fn simulate(budget: f64, cost: impl Fn(usize) -> f64, slower_after: usize) -> (usize, f64) {
        let mut clock = 0.0;
        let believed = |slow: bool| {
            move |t: usize| {
                if slow {
                    2.0 * (1.0 + (t % 3) as f64)
                } else {
                    1.0 + (t % 3) as f64
                }
            }
        };
        let mut done = 0;
        loop {
            let slow = done > slower_after;
            let run = |t: usize, share: f64| share * believed(slow)(t);
            let search = Search {
                run: &run,
                parts: 0,
                most: 200,
            };
            if done >= 2 && search.trials_that_fit(budget - clock, done) <= done {
                break;
            }
            clock += cost(done);
            done += 1;
        }
        let rungs = ladder(done, 0);
        // The survivors are the dearest third, say, in no order.
        for r in &rungs[1..] {
            clock += (0..r.trials).map(&cost).sum::<f64>() * r.new as f64;
        }
        (done, clock)
    }

    #[test]
    fn what_was_planned_fits_and_no_trial_more_would() {
        let cost = |t: usize| 1.0 + (t % 3) as f64;
        for budget in [30.0, 100.0, 400.0] {
            let (n, used) = simulate(budget, cost, usize::MAX);
            assert!(used <= 1.05 * budget, "{budget}: {n} trials took {used}");
            assert!(used >= 0.6 * budget, "{budget}: {n} trials took {used}");
        }
        // The machine becomes half as fast after ten trials: fewer are begun.
        let slow = |t: usize| {
            if t > 10 {
                2.0 * (1.0 + (t % 3) as f64)
            } else {
                1.0 + (t % 3) as f64
            }
        };
        let (n, used) = simulate(400.0, slow, 10);
        assert!(
            n < simulate(400.0, cost, usize::MAX).0 && used <= 1.05 * 400.0,
            "{n} {used}"
        );
    }

    #[test]
    fn two_trials_are_the_least_and_most_the_most() {
        let run = |_: usize, _: f64| 10.0;
        let search = Search {
            run: &run,
            parts: 0,
            most: 12,
        };
        assert_eq!(search.trials_that_fit(1.0, 0), 2);
        assert_eq!(search.trials_that_fit(1e9, 0), 12);
        // 16 + 8 + 8 + 8 runs; four of the sixteen are done.
        let search = Search { most: 16, ..search };
        assert_eq!(search.seconds(16, 0), 400.0);
        assert_eq!(search.seconds(16, 4), 360.0);
    }
}
