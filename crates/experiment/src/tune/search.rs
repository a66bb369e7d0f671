//! The rungs: which trials are run, ranked and kept, and what a budget leaves of that.

use super::attempt::{Wanted, Went};
use super::budget::Search;
use super::halving::{ladder, ranking};
use super::journal::Purpose;
use super::runner::{Course, Sensitivity};
use hone_kernels::Backend;
use hone_train::{Event, Options, Sink, TrainError};
use serde::Serialize;
use serde_json::json;

/// A trial at the end of a rung.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Standing {
    /// The trial.
    pub trial: usize,
    /// Mean of the metric over the replicates; none where one of them failed.
    pub mean: Option<f64>,
}

/// A rung that was finished, or as far as time allowed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RungReport {
    /// Part of the rows that its runs were fitted to.
    pub share: f64,
    /// Replicates that all of its trials have.
    pub replicates: usize,
    /// Its trials, the best first.
    pub trials: Vec<Standing>,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// Trials that were begun.
    pub trials: usize,
    /// Rung by rung.
    pub rungs: Vec<RungReport>,
    /// The best of the last rung.
    pub winner: usize,
    /// Where it ended before it was through.
    pub cut_short: Option<String>,
}

/// The name of a search run.
pub(super) fn run_name(trial: usize, share: f64, replicate: usize) -> String {
    match share < 1.0 {
        true => format!("trial-{trial}-part-{share}-{replicate}"),
        false => format!("trial-{trial}-{replicate}"),
    }
}

/// The decision that a run was not begun or not ended for want of time.
pub(super) fn no_time_for(run: &str) -> String {
    format!("no time for {run}")
}

/// A search of no more trials than this takes the time of the sensitivity too: to know what settings matter is worth little
/// where hardly any were tried.
const FEW: usize = 8;

/// What part of the budget is kept for the sensitivity.
fn kept_for(sensitivity: Sensitivity) -> f64 {
    match sensitivity {
        Sensitivity::Off => 0.0,
        Sensitivity::Rate => 0.15,
        Sensitivity::All => 0.35,
    }
}

impl<B: Backend> Course<'_, B> {
    /// Searches; `None` where the user asked to stop.
    pub(super) fn search(&mut self, sink: &mut dyn Sink) -> Result<Option<Found>, TrainError> {
        let (limit, metric) = (self.tune.limit, self.tune.job.options.metric.clone());
        // The measure of all plans, and the first replicate of the given options.
        match self.one(0, 1.0, 1, "measuring the pace", limit.seconds, sink)? {
            Went::Stopped => return Ok(None),
            Went::NoTime => {
                return Err(TrainError::Option(format!(
                    "--budget {}: too small for these texts: one run of the options as given takes longer than these \
                     minutes",
                    limit.seconds.unwrap_or(f64::INFINITY) / 60.0
                )));
            }
            // Refits would fail too, when all time is spent.
            Went::Done(record) if record.ending == "failed" => {
                return Err(TrainError::Option(format!(
                    "the options as given, with which all is compared, fail: {}",
                    record.failed.unwrap_or_default()
                )));
            }
            Went::Done(_) => {}
        }
        let (parts, mut told) = self.first_plan(sink)?;
        let share = ladder(2, parts)[0].share;
        let mut trials = 0;
        let mut cut_short = None;
        loop {
            let planned = match (limit.seconds, limit.trials) {
                (None, _) => self.trials.len(),
                (Some(_), _) => self.planned_trials(parts, trials, share)?,
            };
            if planned <= trials {
                break;
            }
            // Of trials that are done no plan is made.
            let known = self.journal.run(&run_name(trials, share, 1)).is_some();
            if planned != told && !known {
                let text = format!("planned anew: {planned} trials");
                sink.event(&Event::Note { text });
                told = planned;
            }
            self.outlook = self.to_come(parts, trials, planned);
            let place = format!("rung 1, trial {trials} of {planned}");
            match self.one(trials, share, 1, &place, self.hard_end(), sink)? {
                Went::Stopped => return Ok(None),
                Went::NoTime => {
                    cut_short = Some(format!("no time was left for trial {trials}"));
                    break;
                }
                Went::Done(_) => trials += 1,
            }
        }
        // The given options are always among those that are compared.
        trials = trials.max(1);
        let mut rungs = vec![self.rung((0..trials).collect(), share, 1, &metric)];
        self.say_rung(&rungs, sink);
        for (k, rung) in ladder(trials, parts).into_iter().enumerate().skip(1) {
            let before = &rungs[k - 1];
            let mut alive: Vec<usize> = before.trials.iter().map(|s| s.trial).collect();
            alive.truncate(rung.trials);
            let (fits, planned) =
                self.survivors_that_fit(k, trials, &alive, rung.share, rung.new)?;
            if fits < 2 {
                let text = format!("no time was left for rung {}", k + 1);
                cut_short = Some(text);
                break;
            }
            alive.truncate(fits);
            self.outlook = planned + self.later();
            let mut whole = rung.replicates - rung.new;
            'rung: for replicate in whole + 1..=rung.replicates {
                for (i, &trial) in alive.iter().enumerate() {
                    let place = format!(
                        "rung {}, trial {trial} ({} of {}), replicate {replicate} of {}",
                        k + 1,
                        i + 1,
                        alive.len(),
                        rung.replicates
                    );
                    match self.one(trial, rung.share, replicate, &place, self.hard_end(), sink)? {
                        Went::Stopped => return Ok(None),
                        Went::NoTime => {
                            let text = format!("no time was left for the end of rung {}", k + 1);
                            cut_short = Some(text);
                            break 'rung;
                        }
                        Went::Done(_) => {}
                    }
                }
                whole = replicate;
            }
            if whole > 0 {
                rungs.push(self.rung(alive, rung.share, whole, &metric));
                self.say_rung(&rungs, sink);
            }
            if cut_short.is_some() {
                break;
            }
        }
        if let Some(why) = &cut_short {
            let text = format!("{why}: the best so far stands");
            sink.event(&Event::Note { text });
        }
        let winner = rungs
            .last()
            .and_then(|r| r.trials.first())
            .map_or(0, |s| s.trial);
        Ok(Some(Found {
            trials,
            rungs,
            winner,
            cut_short,
        }))
    }

    /// One run of a trial.
    fn one(
        &mut self,
        trial: usize,
        share: f64,
        replicate: usize,
        place: &str,
        deadline: Option<f64>,
        sink: &mut dyn Sink,
    ) -> Result<Went, TrainError> {
        let (settings, options) = self.trial(trial);
        let wanted = Wanted {
            name: run_name(trial, share, replicate),
            purpose: Purpose::Search,
            trial: Some(trial),
            settings: &settings,
            options,
            share,
            replicate,
            place: place.to_owned(),
            deadline,
        };
        self.attempt(wanted, sink)
    }

    /// Trials of a rung, ranked by the mean over the replicates that all of them have.
    fn rung(&self, trials: Vec<usize>, share: f64, replicates: usize, metric: &str) -> RungReport {
        let mean = |trial: usize| -> Option<f64> {
            let value = |r: usize| self.journal.run(&run_name(trial, share, r))?.value;
            let all: Option<Vec<f64>> = (1..=replicates).map(value).collect();
            all.map(|all| all.iter().sum::<f64>() / replicates as f64)
        };
        let values: Vec<(usize, Option<f64>)> = trials.into_iter().map(|t| (t, mean(t))).collect();
        let order = ranking(&values, metric);
        RungReport {
            share,
            replicates,
            trials: order
                .into_iter()
                .map(|trial| Standing {
                    trial,
                    mean: mean(trial),
                })
                .collect(),
        }
    }

    fn say_rung(&self, rungs: &[RungReport], sink: &mut dyn Sink) {
        let Some(rung) = rungs.last() else { return };
        let text = |s: &Standing| match s.mean {
            Some(mean) => format!("trial {} {mean:.4}", s.trial),
            None => format!("trial {} failed", s.trial),
        };
        let best: Vec<String> = rung.trials.iter().take(3).map(text).collect();
        let given = rung.trials.iter().position(|s| s.trial == 0);
        let given = given.map_or("is out".to_owned(), |at| format!("is number {}", at + 1));
        let part = match rung.share < 1.0 {
            true => format!(", {} of the rows", rung.share),
            false => String::new(),
        };
        sink.event(&Event::Note {
            text: format!(
                "rung {} done ({} trials, replicates {}{part}): {}; trial 0, the given options, {given}",
                rungs.len(),
                rung.trials.len(),
                rung.replicates,
                best.join(", ")
            ),
        });
    }

    /// Seconds of all refits, as far as settings are known.
    fn refit_seconds(&self, winner: Option<usize>) -> f64 {
        let seconds = |o: &Options| self.seconds(o, 1.0, Purpose::Refit);
        let given = seconds(self.tune.job.options);
        let other = match winner {
            Some(0) => 0.0,
            Some(trial) => seconds(&self.trial(trial).1),
            None => self.average(&seconds),
        };
        self.tune.seeds as f64 * (given + other)
    }

    /// Over the first draws of the space.
    fn average(&self, seconds: &dyn Fn(&Options) -> f64) -> f64 {
        const DRAWS: usize = 64;
        let drawn = &self.trials[1..self.trials.len().min(1 + DRAWS)];
        let all = drawn.iter().map(|(_, options)| seconds(options));
        all.sum::<f64>() / drawn.len() as f64
    }

    /// When a run of the search must be done at the latest: refits come after it.
    fn hard_end(&self) -> Option<f64> {
        Some(self.tune.limit.seconds? - self.refit_seconds(None))
    }

    /// Seconds that are left for a search of so many trials: the refits have their part, and the sensitivity.
    fn search_left(&self, budget: f64, trials: usize) -> f64 {
        let kept = match trials <= FEW {
            true => 0.0,
            false => kept_for(self.tune.sensitivity) * budget,
        };
        budget - kept - self.refit_seconds(None) - self.elapsed()
    }

    /// Seconds of what comes after the search.
    fn later(&self) -> f64 {
        self.refit_seconds(None) + self.after_refits()
    }

    /// Seconds of the sensitivity: its part of the budget, or what its runs will take.
    pub(super) fn after_refits(&self) -> f64 {
        match self.tune.limit.seconds {
            Some(budget) => kept_for(self.tune.sensitivity) * budget,
            None => {
                let seconds = |o: &Options| self.seconds(o, 1.0, Purpose::Search);
                self.moves_planned() as f64 * self.average(&seconds)
            }
        }
    }

    fn to_come(&self, parts: usize, done: usize, trials: usize) -> f64 {
        let run = |t: usize, share: f64| self.seconds(&self.trials[t].1, share, Purpose::Search);
        let search = Search {
            run: &run,
            parts,
            most: trials,
        };
        search.seconds(trials, done) + self.later()
    }

    fn fit(&self, parts: usize, done: usize, budget: f64) -> usize {
        let most = self.trials.len();
        let cost = |share: f64| -> Vec<f64> {
            let all = (0..most).map(|t| self.seconds(&self.trials[t].1, share, Purpose::Search));
            all.collect()
        };
        // A rung's share is one of few; every trial's seconds are computed once.
        let shares: Vec<(f64, Vec<f64>)> = [0.25, 0.5, 1.0].map(|s| (s, cost(s))).into();
        let run = |t: usize, share: f64| {
            let of = shares.iter().find(|(s, _)| *s == share);
            of.map_or(0.0, |(_, all)| all[t])
        };
        let search = Search {
            run: &run,
            parts,
            most,
        };
        let many = search.trials_that_fit(self.search_left(budget, usize::MAX), done);
        let few = search.trials_that_fit(self.search_left(budget, FEW), done);
        many.max(few.min(FEW.max(done)))
    }

    /// Plans from the pace of the first run: rungs on part of the rows, and about how many trials there will be.
    fn first_plan(&mut self, sink: &mut dyn Sink) -> Result<(usize, usize), TrainError> {
        const DECISION: &str = "plan";
        if let Some(known) = self.journal.decided(DECISION) {
            let number = |key: &str| known[key].as_u64().unwrap_or(0) as usize;
            return Ok((number("parts"), number("trials")));
        }
        let (parts, trials) = match (self.tune.limit.seconds, self.tune.limit.trials) {
            (None, _) => (self.parts(self.trials.len()), self.trials.len()),
            (Some(budget), _) => {
                let base = self.tune.job.options;
                let two = self.seconds(base, 1.0, Purpose::Search)
                    + self.refit_seconds(None) / self.tune.seeds.max(1) as f64;
                let needed = self.elapsed() + two;
                if needed > budget {
                    return Err(TrainError::Option(format!(
                        "--budget {}: too small for these texts: one run, one other trial and one refit take about {:.1} \
                         minutes; a search worth the name some ten times that",
                        budget / 60.0,
                        needed / 60.0
                    )));
                }
                let all = (0..=2).rev().map(|p| (p, self.fit(p, 0, budget)));
                let mut all = all.filter(|&(p, n)| self.parts(n) >= p);
                all.next().unwrap_or((0, 2))
            }
        };
        let rungs = ladder(trials, parts);
        let shape: Vec<String> = rungs
            .iter()
            .map(|r| match r.share < 1.0 {
                true => format!("{} trials on {} of the rows", r.trials, r.share),
                false if r.replicates == 1 => format!("{} trials once", r.trials),
                false => format!("{} trials {} times", r.trials, r.replicates),
            })
            .collect();
        let run = self.seconds(self.tune.job.options, 1.0, Purpose::Search);
        let budget = self.tune.limit.seconds.unwrap_or(f64::INFINITY);
        self.outlook = self.to_come(parts, 0, trials);
        sink.event(&Event::Note {
            text: format!(
                "plan: {}; then {} seeds of refits; a run of the given options takes {run:.1} s, all about {:.1} min",
                shape.join(", "),
                self.tune.seeds,
                (self.elapsed() + self.outlook).min(budget) / 60.0
            ),
        });
        let value = json!({ "parts": parts, "trials": trials, "seconds_a_run": run });
        self.decide(DECISION, value)?;
        Ok((parts, trials))
    }

    /// How many trials the first rung has, as it looks now; once it has ended, as it was decided.
    fn planned_trials(
        &mut self,
        parts: usize,
        done: usize,
        share: f64,
    ) -> Result<usize, TrainError> {
        const DECISION: &str = "rung 1 ends";
        if let Some(known) = self.journal.decided(DECISION) {
            return Ok(known["trials"].as_u64().unwrap_or(0) as usize);
        }
        // What was begun was decided then, and so was what there was no time for.
        let next = run_name(done, share, 1);
        if self.journal.run(&next).is_some() {
            return Ok(self.known_trials(share).max(done + 1));
        }
        if self.journal.decided(&no_time_for(&next)).is_some() {
            return Ok(done + 1);
        }
        let budget = self.tune.limit.seconds.unwrap_or(f64::INFINITY);
        let planned = self.fit(parts, done, budget);
        if planned <= done {
            self.decide(DECISION, json!({ "trials": done }))?;
        }
        Ok(planned)
    }

    /// Trials whose first run is done.
    fn known_trials(&self, share: f64) -> usize {
        let known = |t: &usize| self.journal.run(&run_name(*t, share, 1)).is_some();
        (0..).take_while(known).count()
    }

    /// How many of the survivors the time allows, and the seconds they take.
    fn survivors_that_fit(
        &mut self,
        k: usize,
        trials: usize,
        alive: &[usize],
        share: f64,
        new: usize,
    ) -> Result<(usize, f64), TrainError> {
        let seconds = |t: usize| self.seconds(&self.trials[t].1, share, Purpose::Search);
        let cost = |n: usize| alive[..n].iter().map(|&t| seconds(t)).sum::<f64>() * new as f64;
        let Some(budget) = self.tune.limit.seconds else {
            return Ok((alive.len(), cost(alive.len())));
        };
        let decision = format!("rung {}", k + 1);
        if let Some(known) = self.journal.decided(&decision) {
            let n = known["trials"].as_u64().unwrap_or(0) as usize;
            return Ok((n, cost(n.min(alive.len()))));
        }
        let left = self.search_left(budget, trials);
        let fits = (2..=alive.len()).rev().find(|&n| cost(n) <= left);
        let n = fits.unwrap_or(0);
        let planned = cost(n);
        self.decide(&decision, json!({ "trials": n, "survivors": alive }))?;
        Ok((n, planned))
    }
}
