//! What each setting of the winner matters: one at a time is moved by factors of 2 and 4 both ways, and trained.
//!
//! The moved runs and the winner itself are run on **fresh replicates**: those of the search are the ones that
//! chose the winner, so beside them everything else looks worse than it is. All are whole runs; a surface fitted to the
//! trials of the search would cost nothing, and would know least where it matters, off the best by a factor of 4.

use super::attempt::{Wanted, Went};
use super::halving::MOST_REPLICATES;
use super::journal::Purpose;
use super::runner::{Chooser, Course, Sensitivity};
use super::search::Found;
use super::setting::{Setting, Value};
use super::space::{Configuration, Range};
use crate::special::student_exceeded;
use hone_kernels::Backend;
use hone_train::metrics::is_mean_of_rows;
use hone_train::{Options, Sink, TrainError};
use serde::Serialize;
use serde_json::json;

/// Fresh replicates of every move.
pub(super) const ROUNDS: usize = 2;
/// As many where a budget leaves time.
pub(super) const MOST_ROUNDS: usize = 5;
/// By what a number is multiplied, and how that is written.
pub const FACTORS: [(f64, &str); 4] = [(0.25, "×1/4"), (0.5, "×1/2"), (2.0, "×2"), (4.0, "×4")];

/// How the intervals of changes of a metric come about, for reports.
pub(super) fn interval_method(chooser: Chooser, metric: &str) -> String {
    let (factor, source, but) = match chooser {
        Chooser::Folds(_) => (
            "(1/n + held-out rows / training rows) · 2s²",
            " (Nadeau & Bengio 2003)",
            "",
        ),
        Chooser::Valid => (
            "2s²/n",
            "",
            ". Replicates differ by their seeds alone: what other training or validation texts would change is not in it",
        ),
    };
    let least = match one_row(metric, 1) > 0.0 {
        true => "; never narrower than one row",
        false => "",
    };
    format!(
        "t(0.975, df) · sqrt({factor}) around the mean of n paired differences{source}, s² of the runs of a setting's moves \
         and of the winner less the means of moves and of rounds, df = (n − 1) · moves{least}. Told apart is what leaves out \
         0 at the level 0.05 over all measured moves of all settings (Bonferroni){but}"
    )
}

/// What one of so many rows can change of a metric; 0 where that may be more than its share, as of a loss or of macro F1.
fn one_row(metric: &str, rows: usize) -> f64 {
    match is_mean_of_rows(metric) {
        true => 1.0 / rows.max(1) as f64,
        false => 0.0,
    }
}

/// A setting moved to one value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moved {
    /// By how much, or to which word.
    pub what: String,
    /// The factor, where it is one.
    pub factor: Option<f64>,
    /// The value it came to.
    pub value: Value,
    /// The metric minus the winner's, on the same fresh replicates.
    pub differences: Vec<f64>,
    /// Runs that ended in numbers that are none.
    pub failed: usize,
    /// Mean difference; none where a run failed.
    pub change: Option<f64>,
    /// Its 95 % interval.
    pub interval: Option<[f64; 2]>,
    /// Whether it is told from nothing: of all moves of all settings that change nothing, with a probability of at most 0.05
    /// any is.
    pub told_apart: bool,
}

/// A setting and its moves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SettingMoves {
    /// Its name.
    pub setting: String,
    /// What the winner has.
    pub value: Value,
    /// What was measured.
    pub moves: Vec<Moved>,
    /// What was not, and why, a line each.
    pub left_out: Vec<String>,
}

/// A move to try.
struct Try {
    what: String,
    factor: Option<f64>,
    value: Value,
}

/// The moves of a setting that has this value, and why there are not more.
fn moves_of(setting: Setting, range: &Range, value: &Value) -> (Vec<Try>, Vec<String>) {
    let (mut tries, mut left_out) = (Vec::new(), Vec::new());
    if let (Value::Word(_), Range::OneOf(all)) = (value, range) {
        // Words have no factor: the other ones are tried.
        let others = all.iter().filter(|v| *v != value);
        tries.extend(others.map(|v| Try {
            what: v.to_string(),
            factor: None,
            value: v.clone(),
        }));
        return (tries, left_out);
    }
    let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
    for (factor, what) in FACTORS {
        match setting.times(value, factor) {
            Ok(moved) => tries.push(Try {
                what: what.to_owned(),
                factor: Some(factor),
                value: moved,
            }),
            Err(why) => match reasons.iter_mut().find(|(known, _)| *known == why) {
                Some((_, all)) => all.push(what),
                None => reasons.push((why, vec![what])),
            },
        }
    }
    left_out.extend(
        reasons
            .into_iter()
            .map(|(why, all)| format!("{}: {why}", all.join(", "))),
    );
    (tries, left_out)
}

/// What two runs of a setting's moves differ by without cause: the variance of the difference, and its degrees of freedom.
/// The winner, from whose run of the same round each is taken, is one more column, and what a round adds to all its runs falls
/// out.
fn spread(moves: &[Moved]) -> Option<(f64, usize)> {
    let whole = moves.iter().filter(|m| m.failed == 0);
    let columns: Vec<&[f64]> = whole.map(|m| &m.differences[..]).collect();
    let rounds = columns.first()?.len();
    let count = (columns.len() + 1) as f64;
    let by_round: Vec<f64> = (0..rounds)
        .map(|r| columns.iter().map(|c| c[r]).sum::<f64>() / count)
        .collect();
    let middle = mean(&by_round);
    let still = vec![0.0; rounds];
    let squares: f64 = columns
        .iter()
        .chain([&&still[..]])
        .flat_map(|column| {
            let own = mean(column);
            let rest = column.iter().zip(&by_round);
            rest.map(move |(d, round)| (d - own - round + middle).powi(2))
        })
        .sum();
    let freedom = rounds.saturating_sub(1) * columns.len();
    (freedom > 0).then(|| (2.0 * squares / freedom as f64, freedom))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Sets each move's interval from the spread of its setting's, and whether it is told from nothing. Where nothing varied and a row
/// may change any amount, nothing is known.
fn intervals(settings: &mut [SettingMoves], ratio: f64, one_row: f64) {
    let measured = |m: &&Moved| m.failed == 0 && m.differences.len() > 1;
    let all = settings.iter().flat_map(|s| &s.moves);
    let cells = all.filter(measured).count().max(1) as f64;
    for setting in settings {
        let spread = spread(&setting.moves);
        for m in setting.moves.iter_mut().filter(|m| m.failed == 0) {
            let (change, n) = (mean(&m.differences), m.differences.len() as f64);
            m.change = (n > 0.0).then_some(change);
            if let Some((variance, freedom)) = spread
                && variance.max(one_row) > 0.0
            {
                let half = |level: f64| {
                    let t = student_exceeded(0.5 * level, freedom as f64);
                    (t * ((1.0 / n + ratio) * variance).sqrt()).max(one_row)
                };
                m.interval = Some([change - half(0.05), change + half(0.05)]);
                m.told_apart = change.abs() > half(0.05 / cells);
            }
        }
    }
}

impl<B: Backend> Course<'_, B> {
    /// Runs of the sensitivity, where no budget says how many.
    pub(super) fn moves_planned(&self) -> usize {
        let settings = self.moved_settings().count();
        match settings {
            0 => 0,
            n => ROUNDS * (1 + FACTORS.len() * n),
        }
    }

    fn moved_settings(&self) -> impl Iterator<Item = (Setting, &Range)> {
        let which = self.tune.sensitivity;
        self.tune
            .space
            .settings()
            .filter(move |(s, _)| match which {
                Sensitivity::Off => false,
                Sensitivity::Rate => *s == Setting::Lr,
                Sensitivity::All => true,
            })
    }

    /// Moves the winner's settings; `None` where the user asked to stop.
    pub(super) fn moves(
        &mut self,
        found: &Found,
        sink: &mut dyn Sink,
    ) -> Result<Option<Vec<SettingMoves>>, TrainError> {
        let (winner, _) = self.trial(found.winner);
        let settings: Vec<(Setting, Range)> =
            self.moved_settings().map(|(s, r)| (s, r.clone())).collect();
        let mut all: Vec<(Setting, SettingMoves, Vec<Try>)> = Vec::new();
        for (setting, range) in settings {
            let value = winner.0.iter().find(|(name, _)| name == setting.name());
            let Some((_, value)) = value else { continue };
            let (tries, left_out) = moves_of(setting, &range, value);
            let moves = SettingMoves {
                setting: setting.name().to_owned(),
                value: value.clone(),
                moves: Vec::new(),
                left_out,
            };
            all.push((setting, moves, tries));
        }
        let budget = self.tune.limit.seconds;
        let mut rounds = vec![0; all.len()];
        self.outlook = self.cost(
            &winner,
            all.iter().flat_map(|(s, _, t)| t.iter().map(|t| (*s, t))),
            ROUNDS,
        );
        for at in 0..all.len() {
            let (setting, _, tries) = &all[at];
            // Without a move the winner need not run either.
            if tries.is_empty() {
                rounds[at] = ROUNDS;
                continue;
            }
            let cost = self.cost(&winner, tries.iter().map(|t| (*setting, t)), ROUNDS);
            let decision = format!("no time for moves of {}", setting.name());
            if let Some(budget) = budget
                && self.journal.decided(&decision).is_none()
                && !self.known(setting.name(), tries, 1)
                && self.elapsed() + cost > budget
            {
                self.decide(&decision, json!({ "seconds": cost }))?;
            }
            if self.journal.decided(&decision).is_some() {
                continue;
            }
            for round in 1..=ROUNDS {
                match self.round(&winner, &all[at..=at], round, sink)? {
                    Went::Stopped => return Ok(None),
                    Went::NoTime => break,
                    Went::Done(_) => rounds[at] = round,
                }
            }
        }
        // What a budget leaves goes into further rounds of everything that was measured.
        let whole = rounds.iter().all(|&r| r == ROUNDS);
        let whole = whole && all.iter().any(|(_, _, tries)| !tries.is_empty());
        if let (Some(budget), true) = (budget, whole) {
            for round in ROUNDS + 1..=MOST_ROUNDS {
                let moves = all.iter().flat_map(|(s, _, t)| t.iter().map(|t| (*s, t)));
                let cost = self.cost(&winner, moves, 1);
                let decision = format!("round {round} of moves");
                if self.journal.decided(&decision).is_none() {
                    let fits = self.elapsed() + cost <= budget;
                    self.decide(&decision, json!({ "begins": fits }))?;
                }
                let begins = |v: &serde_json::Value| v["begins"] == true;
                if !self.journal.decided(&decision).is_some_and(begins) {
                    break;
                }
                match self.round(&winner, &all, round, sink)? {
                    Went::Stopped => return Ok(None),
                    Went::NoTime => break,
                    Went::Done(_) => rounds.iter_mut().for_each(|r| *r = round),
                }
            }
        }
        let (fitted, scored) = self.sizes();
        let ratio = match self.tune.chooser {
            Chooser::Folds(_) => scored as f64 / fitted.max(1) as f64,
            Chooser::Valid => 0.0,
        };
        for ((_, report, tries), rounds) in all.iter_mut().zip(&rounds) {
            if *rounds < ROUNDS {
                report.left_out.push("no time was left".to_owned());
                continue;
            }
            for t in tries.iter() {
                let mut differences = Vec::new();
                let mut failed = 0;
                for round in 1..=*rounds {
                    let value = |name: &str| self.journal.run(name)?.value;
                    let still = value(&move_name(None, round));
                    match (value(&move_name(Some((&report.setting, t)), round)), still) {
                        (Some(moved), Some(still)) => differences.push(moved - still),
                        _ => failed += 1,
                    }
                }
                report.moves.push(Moved {
                    what: t.what.clone(),
                    factor: t.factor,
                    value: t.value.clone(),
                    differences,
                    failed,
                    change: None,
                    interval: None,
                    told_apart: false,
                });
            }
        }
        let mut found: Vec<SettingMoves> = all.into_iter().map(|(_, report, _)| report).collect();
        let least = one_row(&self.tune.job.options.metric, scored);
        intervals(&mut found, ratio, least);
        Ok(Some(found))
    }

    /// Whether a setting's moves were begun before.
    fn known(&self, setting: &str, tries: &[Try], round: usize) -> bool {
        let first = tries.first().map(|t| move_name(Some((setting, t)), round));
        first.is_some_and(|name| self.journal.run(&name).is_some())
    }

    fn moved(
        &self,
        winner: &Configuration,
        setting: Setting,
        value: &Value,
    ) -> (Configuration, Options) {
        let mut configuration = winner.clone();
        for (name, v) in &mut configuration.0 {
            if name == setting.name() {
                v.clone_from(value);
            }
        }
        let options = self
            .tune
            .space
            .options(self.tune.job.options, &configuration);
        (configuration, options)
    }

    /// Seconds of some moves, with the winner beside them.
    fn cost<'t>(
        &self,
        winner: &Configuration,
        moves: impl Iterator<Item = (Setting, &'t Try)>,
        rounds: usize,
    ) -> f64 {
        let seconds = |o: &Options| self.seconds(o, 1.0, Purpose::Sensitivity);
        let each: f64 = moves
            .map(|(s, t)| seconds(&self.moved(winner, s, &t.value).1))
            .sum();
        let options = self.tune.space.options(self.tune.job.options, winner);
        let still = (1..=rounds).filter(|&r| self.journal.run(&move_name(None, r)).is_none());
        rounds as f64 * each + still.count() as f64 * seconds(&options)
    }

    /// One fresh replicate of the winner and of some moves.
    fn round(
        &mut self,
        winner: &Configuration,
        all: &[(Setting, SettingMoves, Vec<Try>)],
        round: usize,
        sink: &mut dyn Sink,
    ) -> Result<Went, TrainError> {
        let options = self.tune.space.options(self.tune.job.options, winner);
        let mut runs = vec![(
            move_name(None, round),
            winner.clone(),
            options,
            "as it is".to_owned(),
        )];
        for (setting, report, tries) in all {
            for t in tries {
                let (configuration, options) = self.moved(winner, *setting, &t.value);
                let name = move_name(Some((&report.setting, t)), round);
                let place = format!("{} {} = {}", setting.name(), t.what, t.value);
                runs.push((name, configuration, options, place));
            }
        }
        let mut last = Went::NoTime;
        for (name, settings, options, place) in runs {
            let wanted = Wanted {
                name,
                purpose: Purpose::Sensitivity,
                trial: None,
                settings: &settings,
                options,
                share: 1.0,
                replicate: MOST_REPLICATES + round,
                place: format!("sensitivity, round {round}, the winner with {place}"),
                deadline: self.tune.limit.seconds,
            };
            last = self.attempt(wanted, sink)?;
            if !matches!(last, Went::Done(_)) {
                return Ok(last);
            }
        }
        Ok(last)
    }
}

fn move_name(moved: Option<(&str, &Try)>, round: usize) -> String {
    let Some((setting, t)) = moved else {
        return format!("moved-nothing-{round}");
    };
    let what = match t.factor {
        Some(factor) => format!("x{factor}"),
        None => t.what.clone(),
    };
    // Words may hold a colon.
    let what: String = what
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect();
    format!("moved-{setting}-{what}-{round}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_tensor::Philox;

    fn number(x: f64) -> Value {
        Value::Number(x)
    }

    #[test]
    fn moves_stay_where_a_setting_can_be() {
        let check = |setting: Setting, value: f64, want: &[f64], why: &str| {
            let (tries, left_out) = moves_of(setting, &Range::Between(0.0, 1.0), &number(value));
            let got: Vec<f64> = tries
                .iter()
                .map(|t| match t.value {
                    Value::Number(x) => x,
                    Value::Word(_) => f64::NAN,
                })
                .collect();
            assert_eq!(got, want, "{setting:?} {value}");
            assert!(
                left_out.join("; ").contains(why),
                "{setting:?}: {left_out:?}"
            );
        };
        check(Setting::Lr, 4e-5, &[1e-5, 2e-5, 8e-5, 1.6e-4], "");
        check(
            Setting::BatchSize,
            2.0,
            &[1.0, 4.0, 8.0],
            "×1/4: 0.5 is not a whole number",
        );
        // Half of nothing, and more than all.
        check(Setting::Dropout, 0.0, &[], "×1/4, ×1/2, ×2, ×4: it is 0");
        check(Setting::Dropout, 0.3, &[0.075, 0.15, 0.6], "×4: 1.2 is not");
        // The distance from 1 is what doubles.
        check(Setting::LayerDecay, 0.9, &[0.975, 0.95, 0.8, 0.6], "");
        check(Setting::LayerDecay, 1.0, &[], "1 is no decay");
        check(
            Setting::LayerDecay,
            0.7,
            &[0.925, 0.85, 0.4],
            "×4: -0.2 is not",
        );
        let words = Range::OneOf(["cls", "mean"].map(|w| Value::Word(w.into())).into());
        let (tries, _) = moves_of(Setting::Pool, &words, &Value::Word("cls".into()));
        assert_eq!((tries.len(), &*tries[0].what), (1, "mean"));
        // Parts of the way are words too, and have no factor.
        let parts = Range::OneOf(["20%", "50%"].map(|w| Value::Word(w.into())).into());
        let (tries, left_out) = moves_of(Setting::L2Sp, &parts, &Value::Word("50%".into()));
        assert_eq!((tries.len(), &*tries[0].what), (1, "20%"));
        assert!(left_out.is_empty(), "{left_out:?}");
    }

    #[test]
    fn a_row_bounds_what_has_a_bound() {
        for (metric, want) in [("accuracy", 0.02), ("macro_f1", 0.0), ("loss", 0.0)] {
            assert_eq!(one_row(metric, 50), want, "{metric}");
            for chooser in [Chooser::Folds(5), Chooser::Valid] {
                let said = interval_method(chooser, metric).contains("one row");
                assert_eq!(said, want > 0.0, "{metric}");
            }
        }
    }

    fn setting(moves: Vec<Moved>) -> SettingMoves {
        SettingMoves {
            setting: String::new(),
            value: number(1.0),
            moves,
            left_out: Vec::new(),
        }
    }

    fn moved(differences: Vec<f64>, failed: usize) -> Moved {
        Moved {
            what: String::new(),
            factor: None,
            value: number(1.0),
            differences,
            failed,
            change: None,
            interval: None,
            told_apart: false,
        }
    }

    /// By hand: four moves and the winner went up by 0.02, 0.02, 0, 0.1 and 0 from one round to the other, 0.028 on average, so
    /// s² = sum of (distance from that)²/2 over four degrees of freedom; t(0.975, 4) = 2.776445.
    #[test]
    fn the_spread_is_pooled_over_the_moves_of_a_setting() {
        let pairs = [[0.01, 0.03], [-0.02, 0.0], [-0.05, -0.05], [-0.3, -0.2]];
        let mut moves: Vec<Moved> = pairs.iter().map(|d| moved(d.to_vec(), 0)).collect();
        moves.push(moved(vec![0.9], 1));
        let mut all = [setting(moves)];
        intervals(&mut all, 0.25, 0.001);
        let squares = 2.0 * 0.008f64.powi(2) + 2.0 * 0.028f64.powi(2) + 0.072f64.powi(2);
        let variance = 2.0 * squares / 2.0 / 4.0;
        let half = 2.776_445_105 * (0.75 * variance).sqrt();
        let moves = &all[0].moves;
        for (m, change) in moves.iter().zip([0.02, -0.01, -0.05, -0.25]) {
            let [low, high] = m.interval.unwrap();
            assert!((m.change.unwrap() - change).abs() < 1e-12);
            assert!(
                (low - (change - half)).abs() < 1e-9,
                "{low} {}",
                change - half
            );
            assert!((high - (change + half)).abs() < 1e-9);
        }
        let told: Vec<bool> = moves.iter().map(|m| m.told_apart).collect();
        assert_eq!(told, [false, false, false, true, false]);
        assert_eq!((moves[4].change, moves[4].interval), (None, None));
        // Nothing that varies is not certainty: one row may always turn.
        let mut still = [setting(vec![moved(vec![0.0, 0.0], 0)])];
        intervals(&mut still, 0.25, 0.01);
        assert_eq!(still[0].moves[0].interval, Some([-0.01, 0.01]));
    }

    /// Eight settings of four moves, whose runs and the winner's differ by luck alone, and by that of the round.
    #[test]
    fn a_table_of_noise_has_a_mark_once_in_twenty_at_most() {
        let random = Philox::new(5);
        let unit =
            |a: u64, b: u64| ((random.u64_at(a, b) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let normal = |table: u64, at: u64| {
            let [u, v] = [unit(table, 2 * at), unit(table, 2 * at + 1)];
            (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        };
        let marked = |table: u64, rounds: u64, planted: f64| {
            let run =
                |cell: u64, r: u64| normal(table, 40 * r + cell) + 3.0 * normal(table, 900 + r);
            let one = |cell: u64| {
                let luck = (0..rounds).map(|r| run(cell, r) - run(39, r));
                let effect = if cell == 0 { planted } else { 0.0 };
                moved(luck.map(|d| d + effect).collect(), 0)
            };
            let group = |s: u64| setting((4 * s..4 * s + 4).map(one).collect());
            let mut all: Vec<SettingMoves> = (0..8).map(group).collect();
            intervals(&mut all, 0.0, 0.0);
            all.iter().flat_map(|s| &s.moves).any(|m| m.told_apart)
        };
        for rounds in [2, 5] {
            let found = (0..1000).filter(|&t| marked(t, rounds, 0.0)).count();
            assert!(found <= 55, "{rounds}: {found} of 1000");
            assert!((0..100).all(|t| marked(t, rounds, 60.0)));
        }
    }
}
