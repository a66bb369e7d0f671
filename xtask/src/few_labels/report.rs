//! From the journal to verdicts: tables in Markdown, and everything as JSON.

use super::journal::{Journal, Run, metric};
use super::statistics::{Difference, Metric, Paired, average, difference, holm, variance};
use super::systems::{COMPARED, System};
use hone_train::special::student_quantile;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Bootstrap samples of the judged rows.
const DRAWS: usize = 1000;
/// Probability of a false claim, all cells and opponents together.
const ALPHA: f64 = 0.05;
/// A cell whose best system is this good on average has no room for another to be ahead.
const SATURATED: f64 = 0.95;

/// The recipe beside one opponent in one cell.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The set.
    pub set: String,
    /// Training texts.
    pub size: usize,
    /// The opponent.
    pub opponent: &'static str,
    /// Runs that both have.
    pub runs: usize,
    /// Recipe minus opponent.
    pub difference: Difference,
    /// Its p among all comparisons (Holm).
    pub adjusted_p: f64,
    /// `ahead` and `behind` are the recipe's.
    pub verdict: &'static str,
}

/// A system in a cell.
#[derive(Debug, Clone, Serialize)]
pub struct Mean {
    /// The set.
    pub set: String,
    /// Training texts.
    pub size: usize,
    /// The system.
    pub system: &'static str,
    /// Runs.
    pub runs: usize,
    /// What the score is.
    pub metric: Metric,
    /// Mean score.
    pub score: f64,
    /// Standard deviation over runs.
    pub deviation: f64,
    /// Mean accuracy.
    pub accuracy: f64,
    /// Mean processor seconds of training, of runs on the processor; where there are none, mean seconds by the clock.
    pub seconds: f64,
    /// Whether a GPU computed all of them.
    pub on_gpu: bool,
}

/// Trainer's defaults by Hone and by PyTorch on the same subsets.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// The set.
    pub set: String,
    /// Training texts.
    pub size: usize,
    /// Subsets that both have.
    pub runs: usize,
    /// Means of Hone's and PyTorch's scores.
    pub means: [f64; 2],
    /// Their deviations over subsets.
    pub deviations: [f64; 2],
    /// 95 % interval of the mean of the paired differences (Student), Hone minus PyTorch.
    pub interval: [f64; 2],
}

/// Everything that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Systems by cell.
    pub means: Vec<Mean>,
    /// The recipe beside each opponent, by cell.
    pub comparisons: Vec<Comparison>,
    /// Cells in which the best system is as good as can be told.
    pub saturated: Vec<(String, usize)>,
    /// Whether Hone's Trainer defaults are PyTorch's.
    pub checks: Vec<Check>,
}

type Cells<'a> = BTreeMap<(&'a str, usize), BTreeMap<&'a str, Vec<&'a Run>>>;

/// Reads the journal; cells that lack a system, or have a single run, are told without a verdict.
pub fn report(journal: &Journal) -> Report {
    let mut cells: Cells<'_> = BTreeMap::new();
    for run in journal.runs.values() {
        let cell = cells.entry((&run.set, run.size)).or_default();
        cell.entry(&run.system).or_default().push(run);
    }
    let (mut means, mut comparisons, mut checks, mut saturated) = (vec![], vec![], vec![], vec![]);
    for ((set, size), systems) in &cells {
        let (set, size) = (*set, *size);
        let metric = metric(set);
        for system in COMPARED.into_iter().chain([System::PyTorch]) {
            let Some(runs) = systems.get(system.name()) else {
                continue;
            };
            let of = |f: fn(&Run) -> f64| runs.iter().map(|r| f(r)).collect::<Vec<f64>>();
            let scores = of(|r| r.score);
            let on_gpu = runs.iter().all(|r| r.device != "cpu");
            let timed = runs.iter().filter(|r| on_gpu || r.device == "cpu");
            let timed: Vec<f64> = timed.map(|r| r.seconds).collect();
            means.push(Mean {
                set: set.to_owned(),
                size,
                system: system.name(),
                runs: runs.len(),
                metric,
                score: average(&scores),
                deviation: variance(&scores).sqrt(),
                accuracy: average(&of(|r| r.accuracy)),
                seconds: average(&timed),
                on_gpu,
            });
        }
        let best = means
            .iter()
            .filter(|m| m.set == set && m.size == size)
            .map(|m| m.score)
            .fold(0.0, f64::max);
        if best >= SATURATED {
            saturated.push((set.to_owned(), size));
        }
        if let Some(rows) = journal.rows.get(set) {
            for opponent in &COMPARED[1..] {
                let both = pairs(systems, COMPARED[0], *opponent);
                let runs: Vec<[&[u16]; 2]> = both
                    .iter()
                    .map(|[a, b]| [&a.said[..], &b.said[..]])
                    .collect();
                let paired = Paired {
                    metric,
                    classes: rows.labels.len(),
                    truth: &rows.truth,
                    runs: &runs,
                };
                if let Some(found) = difference(&paired, DRAWS, 1) {
                    comparisons.push(Comparison {
                        set: set.to_owned(),
                        size,
                        opponent: opponent.name(),
                        runs: runs.len(),
                        difference: found,
                        adjusted_p: f64::NAN,
                        verdict: "",
                    });
                }
            }
        }
        checks.extend(check(set, size, systems));
    }
    let p: Vec<f64> = comparisons.iter().map(|c| c.difference.p).collect();
    for (comparison, p) in comparisons.iter_mut().zip(holm(&p)) {
        comparison.adjusted_p = p;
        comparison.verdict = match (p < ALPHA, comparison.difference.mean > 0.0) {
            (true, true) => "ahead",
            (true, false) => "behind",
            (false, _) => "no difference shown",
        };
    }
    Report {
        means,
        comparisons,
        saturated,
        checks,
    }
}

/// Runs of two systems on the same subsets.
fn pairs<'a>(systems: &BTreeMap<&str, Vec<&'a Run>>, a: System, b: System) -> Vec<[&'a Run; 2]> {
    let of = |s: System| systems.get(s.name()).map_or(&[][..], |v| &v[..]);
    of(a)
        .iter()
        .filter_map(|a| {
            let b = of(b).iter().find(|b| b.subset == a.subset)?;
            Some([*a, *b])
        })
        .collect()
}

fn check(set: &str, size: usize, systems: &BTreeMap<&str, Vec<&Run>>) -> Option<Check> {
    let both = pairs(systems, System::Trainer, System::PyTorch);
    if both.len() < 2 {
        return None;
    }
    let scores = [0, 1].map(|k| both.iter().map(|p| p[k].score).collect::<Vec<f64>>());
    let apart: Vec<f64> = both.iter().map(|[a, b]| a.score - b.score).collect();
    let error = (variance(&apart) / apart.len() as f64).sqrt();
    let half = student_quantile(0.975, apart.len() as f64 - 1.0) * error;
    let mean = average(&apart);
    Some(Check {
        set: set.to_owned(),
        size,
        runs: both.len(),
        means: [average(&scores[0]), average(&scores[1])],
        deviations: [variance(&scores[0]).sqrt(), variance(&scores[1]).sqrt()],
        interval: [mean - half, mean + half],
    })
}

impl Report {
    /// As Markdown.
    pub fn markdown(&self) -> String {
        // Writing to a String cannot fail.
        let mut text = String::new();
        let names: Vec<&str> = COMPARED
            .iter()
            .map(|s| s.name())
            .filter(|n| self.means.iter().any(|m| m.system == *n))
            .collect();
        let mut cells: Vec<(&str, usize, Metric)> = Vec::new();
        for m in &self.means {
            let cell = (&*m.set, m.size, m.metric);
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        let rule = |columns: usize| format!("|{}\n", "---|".repeat(columns));
        for (title, shown) in [
            ("score, mean of runs ± deviation", true),
            (
                "processor seconds of training, mean of runs (on a GPU seconds by the clock, marked *)",
                false,
            ),
        ] {
            let _ = writeln!(text, "{title}:\n");
            let _ = writeln!(text, "| data | texts | score | {} |", names.join(" | "));
            text += &rule(3 + names.len());
            for (set, size, metric) in &cells {
                let _ = write!(text, "| {set} | {size} | {} |", metric.name());
                for name in &names {
                    let found = self
                        .means
                        .iter()
                        .find(|m| m.set == *set && m.size == *size && m.system == *name);
                    let _ = match (found, shown) {
                        (Some(m), true) => write!(text, " {:.3} ± {:.3} |", m.score, m.deviation),
                        (Some(m), false) if m.on_gpu => write!(text, " {:.1} * |", m.seconds),
                        (Some(m), false) => write!(text, " {:.1} |", m.seconds),
                        (None, _) => write!(text, " – |"),
                    };
                }
                text.push('\n');
            }
            text.push('\n');
        }
        if !self.comparisons.is_empty() {
            text += "recipe minus opponent:\n\n| data | texts | opponent | runs | difference | 95 % interval | p | p, \
                     Holm | the recipe is |\n";
            text += &rule(9);
            for c in &self.comparisons {
                let d = &c.difference;
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {} | {:+.4} | {:+.4} to {:+.4} | {:.4} | {:.4} | {} |",
                    c.set,
                    c.size,
                    c.opponent,
                    c.runs,
                    d.mean,
                    d.interval[0],
                    d.interval[1],
                    d.p,
                    c.adjusted_p,
                    c.verdict
                );
            }
            text.push('\n');
            text += &self.conclusion();
        }
        for c in &self.checks {
            let _ = writeln!(
                text,
                "Trainer's defaults on {} {} ({} subsets): Hone {:.4} ± {:.4}, PyTorch {:.4} ± {:.4}; Hone minus PyTorch \
                 {:+.4} to {:+.4}",
                c.set,
                c.size,
                c.runs,
                c.means[0],
                c.deviations[0],
                c.means[1],
                c.deviations[1],
                c.interval[0],
                c.interval[1]
            );
        }
        text
    }

    /// The two questions, answered.
    fn conclusion(&self) -> String {
        let list = |wanted: &dyn Fn(&Comparison) -> bool, opponents: bool| -> Vec<String> {
            let found = self.comparisons.iter().filter(|c| wanted(c));
            found
                .map(|c| match opponents {
                    true => format!("{} on {} {}", c.opponent, c.set, c.size),
                    false => format!("{} {}", c.set, c.size),
                })
                .collect()
        };
        let said = |names: Vec<String>| match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(", "),
        };
        let open = |c: &Comparison| {
            let full = |(set, size): &(String, usize)| *set == c.set && *size == c.size;
            c.opponent == System::Trainer.name() && !self.saturated.iter().any(full)
        };
        let cells: Vec<String> = self
            .saturated
            .iter()
            .map(|(set, size)| format!("{set} {size}"))
            .collect();
        format!(
            "opponents ahead of the recipe (α {ALPHA}, Holm over {} comparisons): {}\n\
             cells in which the recipe is not shown ahead of Trainer's defaults, of {} unsaturated ones: {}\n\
             saturated cells (the best system's mean at least {SATURATED}): {}\n\n",
            self.comparisons.len(),
            said(list(&|c| c.verdict == "behind", true)),
            list(&open, false).len(),
            said(list(&|c| open(c) && c.verdict != "ahead", false)),
            said(cells),
        )
    }
}
