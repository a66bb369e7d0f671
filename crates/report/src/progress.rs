//! Progress on standard error: a bar with rate and time left on a terminal, plain lines elsewhere.

use crate::{Table, bytes, count, duration};
use hone_train::recipe::Recipe;
use hone_train::{Event, Sink, Step};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often plain lines are printed at most.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Draws events for a person.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    last_plain: Option<Instant>,
    recent: Recent,
    steps: usize,
}

/// Loss smoothed over recent steps, for the eye.
#[derive(Debug, Clone, Copy, Default)]
struct Recent {
    loss: Option<f64>,
}

impl Recent {
    fn add(&mut self, loss: f64) -> f64 {
        let smoothed = self.loss.map_or(loss, |old| 0.95 * old + 0.05 * loss);
        self.loss = Some(smoothed);
        smoothed
    }
}

impl Progress {
    /// Bars on a terminal, lines elsewhere.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            // A wrong template would be a mistake in this file; the default style is no worse than a panic.
            // The text is last: it is cut where the terminal ends.
            if let Ok(style) =
                ProgressStyle::with_template("{bar:20} {pos}/{len} steps  {eta} left  {wide_msg}")
            {
                bar.set_style(style);
            }
            bar
        });
        Progress {
            bar,
            last_plain: None,
            recent: Recent::default(),
            steps: 0,
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say!("{text}")),
            None => say!("{text}"),
        }
    }

    /// What a recipe chose, and why: a line where it chose nothing, else a table.
    fn recipe(&self, recipe: &Recipe) {
        self.say(&format!("recipe: {}", recipe.facts));
        if recipe.chosen.is_empty() {
            return;
        }
        let mut table = Table::new(&["option", "chosen", "why"]);
        let name = |option: &str| option.replace('_', "-");
        for choice in &recipe.chosen {
            let value = choice
                .value
                .as_ref()
                .map_or(String::new(), |v| v.to_string());
            table.row([name(&choice.option), value, choice.why.clone()]);
        }
        for (option, value) in &recipe.given {
            table.row([name(option), value.to_string(), "given".to_owned()]);
        }
        self.say(table.to_string().trim_end());
    }

    fn step(&mut self, step: &Step) {
        let loss = self.recent.add(step.loss);
        let rate = step.train_tokens as f64 / step.train_seconds.max(1e-9);
        let text = format!("loss {}  {} tokens/s", shown(loss), count(rate as usize));
        match &self.bar {
            Some(bar) => {
                bar.set_length(step.steps as u64);
                bar.set_position(step.step as u64);
                bar.set_message(text);
            }
            None => {
                let due = self.last_plain.is_none_or(|t| t.elapsed() >= PLAIN_EVERY);
                if due || step.step == step.steps {
                    let left =
                        step.train_seconds / step.step as f64 * (step.steps - step.step) as f64;
                    say!(
                        "step {}/{}  epoch {:.2}  {text}  lr {:.2e}  {} left",
                        step.step,
                        step.steps,
                        step.epoch,
                        step.lr,
                        duration(left)
                    );
                    self.last_plain = Some(Instant::now());
                }
            }
        }
    }

    /// A validation that takes long: how far it is.
    fn evaluating(&mut self, rows: usize, total: usize, seconds: f64) {
        let left = seconds / rows.max(1) as f64 * total.saturating_sub(rows) as f64;
        let text = format!(
            "reading {}/{} texts, {} left",
            count(rows),
            count(total),
            duration(left)
        );
        match &self.bar {
            Some(bar) => bar.set_message(text),
            None => {
                let recent = |t: Instant| t.elapsed() < PLAIN_EVERY;
                if rows < total
                    && seconds >= PLAIN_EVERY.as_secs_f64()
                    && !self.last_plain.is_some_and(recent)
                {
                    say!("{text}");
                    self.last_plain = Some(Instant::now());
                }
            }
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Progress::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Sink for Progress {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Planned(plan) => {
                self.steps = plan.steps;
                self.say(&format!(
                    "{} training texts, {} tokens; {} for validation; {} steps of which {} warm up",
                    count(plan.rows),
                    count(plan.tokens),
                    count(plan.valid_rows),
                    count(plan.steps),
                    plan.warmup_steps
                ));
                for line in &plan.groups {
                    self.say(line);
                }
                let parts: Vec<String> = plan
                    .memory
                    .iter()
                    .map(|(what, n)| format!("{what} {}", bytes(*n)))
                    .collect();
                self.say(&format!("memory: {}", parts.join(", ")));
            }
            Event::Forecast {
                seconds,
                tokens_per_s,
                memory_bytes,
            } => self.say(&format!(
                "forecast: {} at {} tokens/s, {} of memory",
                duration(*seconds),
                count(*tokens_per_s as usize),
                bytes(*memory_bytes)
            )),
            Event::Step(step) => self.step(step),
            Event::Evaluating {
                rows,
                total,
                seconds,
            } => self.evaluating(*rows, *total, *seconds),
            Event::Evaluated {
                step,
                epoch,
                metrics,
                best,
                train_rows,
                train,
                ..
            } => {
                let beside = match train_rows {
                    0 => String::new(),
                    n => format!("; {} training texts: loss {}", count(*n), shown(train.loss)),
                };
                self.say(&format!(
                    "step {step}  epoch {epoch:.2}  valid: {}{beside}{}",
                    metrics.headline(),
                    if *best { "  (best)" } else { "" }
                ));
            }
            Event::Fold {
                number,
                of,
                train_rows,
                valid_rows,
                held_out_rows,
                seconds_left,
                ..
            } => {
                self.recent = Recent::default();
                self.last_plain = None;
                let left = seconds_left.map_or(String::new(), |s| {
                    format!("; {} left for all folds", duration(s))
                });
                self.say(&format!(
                    "fold {number}/{of}: {} texts to fit, {} to select, {} held out{left}",
                    count(*train_rows),
                    count(*valid_rows),
                    count(*held_out_rows)
                ));
            }
            Event::FoldDone {
                number,
                of,
                held_out,
                seconds,
                ..
            } => self.say(&format!(
                "fold {number}/{of}  held out: {}, in {}",
                held_out.headline(),
                duration(*seconds)
            )),
            Event::Collapsed { collapse, restart } => {
                let found = format!(
                    "collapsed: the training loss of steps {} to {} is {:.4}; the best single answer to all texts would \
                     cost {:.4}",
                    collapse.from, collapse.step, collapse.loss, collapse.constant
                );
                match restart {
                    Some(r) => {
                        self.recent = Recent::default();
                        self.say(&format!(
                            "{found}; the run begins anew with rate {:.2e} (head {:.2e}) and {} steps of warm-up",
                            r.lr, r.head_lr, r.warmup
                        ));
                    }
                    None => self.say(&format!(
                        "warning: {found}: nothing was learned so far; try another --lr (a lower one, if it once learned) or a longer \
                         --warmup"
                    )),
                }
            }
            Event::Trial {
                number,
                of,
                pair,
                arm,
                train_rows,
                held_out_rows,
                seconds_left,
            } => {
                self.recent = Recent::default();
                self.last_plain = None;
                let left = seconds_left.map_or(String::new(), |s| {
                    format!("; {} left at most", duration(s))
                });
                self.say(&format!(
                    "trial {number}/{of}: pair {pair}, {arm}, {} texts to fit, {} held out{left}",
                    count(*train_rows),
                    count(*held_out_rows)
                ));
            }
            Event::TrialDone {
                number,
                of,
                pair,
                arm,
                metric,
                value,
                difference,
                seconds,
                ..
            } => {
                let beside = difference.map_or(String::new(), |d| format!(" ({d:+.4})"));
                self.say(&format!(
                    "trial {number}/{of}  pair {pair}, {arm}: {metric} {value:.4}{beside}, in {}",
                    duration(*seconds)
                ));
            }
            Event::Look {
                pairs,
                of,
                arm,
                effect,
                interval: [low, high],
                verdict,
            } => self.say(&format!(
                "look after {pairs} of {of} pairs  {arm}: {effect:+.4} [{low:+.4}, {high:+.4}]  {verdict}"
            )),
            Event::Candidate {
                place,
                settings,
                train_rows,
                seconds_left,
                ..
            } => {
                self.recent = Recent::default();
                self.last_plain = None;
                let left =
                    seconds_left.map_or(String::new(), |s| format!("; {} left", duration(s)));
                self.say(&format!(
                    "{place}: {settings}; {} texts to fit{left}",
                    count(*train_rows)
                ));
            }
            Event::CandidateDone {
                place,
                metric,
                value,
                failed,
                seconds,
                ..
            } => {
                let found = match (value, failed) {
                    (Some(value), _) => format!("{metric} {value:.4}"),
                    (None, why) => format!("failed ({})", why.as_deref().unwrap_or(metric)),
                };
                self.say(&format!("{place}: {found}, in {}", duration(*seconds)));
            }
            Event::Checkpoint { path, .. } => self.say(&format!("checkpoint: {path}")),
            Event::Resumed { step, path, .. } => self.say(&match path {
                Some(path) => format!("resumed after step {step} from {path}"),
                None => "no checkpoint yet: starting from the beginning".to_owned(),
            }),
            Event::Stopped { step, reason } => {
                self.say(&format!("stopped after step {step}: {reason}"));
            }
            Event::Recipe(recipe) => self.recipe(recipe),
            Event::Note { text } => self.say(text),
            Event::Warning { text } => self.say(&format!("warning: {text}")),
        }
    }
}
/// A loss in few characters, whatever its size.
fn shown(loss: f64) -> String {
    match loss.abs() < 1e6 {
        true => format!("{loss:.4}"),
        false => format!("{loss:.3e}"),
    }
}
