//! How far training and validation texts are apart, and a verdict on the fit.
//!
//! The rule is statistical. Every validation also scores a fixed sample of training rows, in the same way (no dropout,
//! texts as they are). Losses of the same rows at two evaluations are compared by a paired t-test, training rows with
//! validation rows by Welch's (1947), all one-sided at `LEVEL`:
//!
//! 1. *Rise*: the validation loss at the last evaluation is above its lowest. The lowest is chosen among those before,
//!    so the level is divided by their number (Bonferroni). A rise is **overfitting** where the training loss fell
//!    significantly over the same span, else **unstable**: more steps made both worse.
//! 2. Without a rise: the training sample does not beat the [constant answer](super::ConstantAnswer), so nothing was
//!    learned; or both losses fell significantly from the evaluation before the last, and training and validation rows
//!    are not apart: **underfitting**.
//! 3. Without either: training and validation rows are significantly apart, **mild**: known better than new texts, which
//!    is usual and did no harm so far; else **none**.
//!
//! Under class weights rows count in these means as they did in training, and the constant answer is the one that is best then.
//!
//! So where evaluations differ by chance alone, overfitting is found in at most one of twenty runs.

use crate::TrainError;
use crate::special::student_above;
use hone_bert::Task;
use hone_tensor::{SafetensorsFile, write_safetensors};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// File of a checkpoint with the losses of rows.
const FILE: &str = "watched.safetensors";
/// Level of every test.
pub const LEVEL: f64 = 0.05;
/// Fewest rows of either part of which anything is said.
const LEAST_ROWS: usize = 20;

/// What a part's rows had at an evaluation; zeros where none were scored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Mean loss, as the metrics define it.
    pub loss: f64,
    /// The selecting metric.
    pub metric: f64,
}

/// One evaluation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Steps done.
    pub step: usize,
    /// Of the sampled training rows.
    pub train: Score,
    /// Of the validation rows.
    pub valid: Score,
}

/// Losses by row at one evaluation; NaN where a row has no known label.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Losses {
    /// Of the sampled training rows.
    pub train: Vec<f32>,
    /// Of the validation rows.
    pub valid: Vec<f32>,
}

/// Everything that a verdict needs of a run so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Every evaluation.
    pub points: Vec<Point>,
    /// Rows at the evaluation with the lowest validation loss.
    pub lowest: Losses,
    /// Rows at the evaluation before the last.
    pub before: Losses,
    /// Rows at the last evaluation.
    pub last: Losses,
}

/// A mean difference of losses and its test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Change {
    /// The mean difference.
    pub mean: f64,
    /// Rows compared.
    pub rows: usize,
    /// One-sided p-value.
    pub p: f64,
    /// Level it is held against.
    pub level: f64,
}

impl Change {
    fn significant(&self) -> bool {
        self.p < self.level
    }
}

/// Scores of both parts under the same weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Side {
    /// Steps done.
    pub step: usize,
    /// Of the sampled training rows.
    pub train: Score,
    /// Of the validation rows.
    pub valid: Score,
    /// Validation loss minus training loss.
    pub loss_gap: f64,
}

/// What the two losses say of the fit at the last evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing speaks against the run.
    None,
    /// Known texts are answered better than new ones; new ones have not suffered.
    Mild,
    /// Validation loss rose while training loss fell.
    Overfitting,
    /// Validation loss rose and training loss did not fall.
    Unstable,
    /// Both still fall and are not apart, or nothing was learned.
    Underfitting,
    /// Too few rows to tell.
    Unknown,
}

/// `gap` in `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gap {
    /// The verdict on the last evaluation.
    pub verdict: Verdict,
    /// What that means, and what to do.
    pub advice: String,
    /// Name of the metric in the scores.
    pub metric: String,
    /// Evaluations.
    pub evaluations: usize,
    /// Training rows in the sample.
    pub train_rows: usize,
    /// Validation rows.
    pub valid_rows: usize,
    /// Under the weights that were kept, where they were evaluated.
    pub kept: Option<Side>,
    /// At the last evaluation.
    pub last: Side,
    /// Step of the lowest validation loss.
    pub lowest_valid_step: usize,
    /// Lowest validation loss.
    pub lowest_valid_loss: f64,
    /// The selecting metric then.
    pub lowest_valid_metric: f64,
    /// Validation loss since its lowest; none where the last is the lowest.
    pub valid_rise: Option<Change>,
    /// Training loss over the same span (negative: it fell).
    pub train_fall: Option<Change>,
    /// Validation minus training loss at the last evaluation.
    pub apart: Change,
}

/// Mean, variance of the mean and number of the values that are there.
fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64, usize) {
    let known = values.filter(|x| !x.is_nan());
    let n = known.clone().count();
    let mean = known.clone().sum::<f64>() / n.max(1) as f64;
    let squares: f64 = known.map(|x| (x - mean).powi(2)).sum();
    let variance = squares / (n.max(2) - 1) as f64;
    (mean, variance / n.max(1) as f64, n)
}

/// One-sided p of a mean above zero; where nothing varies the sign decides.
fn above_zero(mean: f64, variance: f64, df: f64) -> f64 {
    match variance > 0.0 {
        true => student_above(mean / variance.sqrt(), df),
        false if mean > 0.0 => 0.0,
        false => 1.0,
    }
}

fn wide(x: &[f32]) -> impl Iterator<Item = f64> + Clone + '_ {
    x.iter().map(|&x| f64::from(x))
}

/// Whether losses of the same rows rose (`sign` 1) or fell (−1) from `a` to `b`.
fn paired(a: &[f32], b: &[f32], sign: f64, level: f64) -> Change {
    let (mean, variance, rows) = moments(wide(a).zip(wide(b)).map(|(a, b)| b - a));
    let p = above_zero(sign * mean, variance, rows.max(2) as f64 - 1.0);
    Change {
        mean,
        rows,
        p,
        level,
    }
}

/// Whether the rows of `b` have a higher loss than those of `a` (Welch).
fn apart(a: &[f32], b: &[f32]) -> Change {
    let (mean_a, var_a, n_a) = moments(wide(a));
    let (mean_b, var_b, n_b) = moments(wide(b));
    let (mean, variance) = (mean_b - mean_a, var_a + var_b);
    let df = |v: f64, n: usize| v * v / (n.max(2) - 1) as f64;
    let below = df(var_a, n_a) + df(var_b, n_b);
    let df = if below > 0.0 {
        variance * variance / below
    } else {
        1.0
    };
    Change {
        mean,
        rows: n_a + n_b,
        p: above_zero(mean, variance, df),
        level: LEVEL,
    }
}

impl History {
    /// Takes an evaluation.
    pub fn add(&mut self, point: Point, losses: Losses) {
        let lowest = self.lowest_point().map(|p| p.valid.loss);
        self.points.push(point);
        if lowest.is_none_or(|l| point.valid.loss < l) {
            self.lowest = losses.clone();
        }
        self.before = std::mem::replace(&mut self.last, losses);
    }

    fn arenas(&mut self) -> [(&'static str, &mut Vec<f32>); 6] {
        [
            ("lowest.train", &mut self.lowest.train),
            ("lowest.valid", &mut self.lowest.valid),
            ("before.train", &mut self.before.train),
            ("before.valid", &mut self.before.valid),
            ("last.train", &mut self.last.train),
            ("last.valid", &mut self.last.valid),
        ]
    }

    /// Writes the losses into a checkpoint's folder; the points stand in its state.
    pub(crate) fn save(&self, folder: &Path) -> Result<(), TrainError> {
        let mut copy = self.clone();
        let arenas = copy.arenas();
        let filled = arenas.iter().filter(|(_, x)| !x.is_empty());
        let rows: Vec<_> = filled.map(|(name, x)| (*name, [x.len()], &x[..])).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let tensors = rows.iter().map(|(name, shape, x)| (*name, &shape[..], *x));
        Ok(write_safetensors(&folder.join(FILE), tensors, &[])?)
    }

    /// Reads back what [`History::save`] wrote. A checkpoint of an older version has nothing.
    pub(crate) fn read(folder: &Path, points: Vec<Point>) -> Result<History, TrainError> {
        let mut history = History {
            points,
            ..History::default()
        };
        let path = folder.join(FILE);
        if path.is_file() {
            let file = SafetensorsFile::open(&path)?;
            for (name, x) in history.arenas() {
                if file.get(name).is_some() {
                    *x = file.read_f32(name)?;
                }
            }
        }
        Ok(history)
    }

    /// The evaluation with the lowest validation loss, the first of equals.
    fn lowest_point(&self) -> Option<&Point> {
        let points = self.points.iter();
        points.reduce(|a, b| if b.valid.loss < a.valid.loss { b } else { a })
    }

    /// The verdict on a model of this task; `constant` are the losses of the answer that reads no text on the sampled training rows,
    /// `kept_step` the step whose weights are kept. `None` where nothing was evaluated.
    pub fn gap(&self, task: Task, metric: &str, constant: &[f32], kept_step: usize) -> Option<Gap> {
        let (last, lowest) = (self.points.last()?, self.lowest_point()?);
        let side = |p: &Point| Side {
            step: p.step,
            train: p.train,
            valid: p.valid,
            loss_gap: p.valid.loss - p.train.loss,
        };
        let k = self.points.len();
        let rise = (lowest.step != last.step).then(|| {
            let level = LEVEL / (k - 1) as f64;
            paired(&self.lowest.valid, &self.last.valid, 1.0, level)
        });
        let fall = rise.map(|_| paired(&self.lowest.train, &self.last.train, -1.0, LEVEL));
        let apart = apart(&self.last.train, &self.last.valid);
        let learned = paired(constant, &self.last.train, -1.0, LEVEL).significant();
        let falling = paired(&self.before.valid, &self.last.valid, -1.0, LEVEL).significant()
            && paired(&self.before.train, &self.last.train, -1.0, LEVEL).significant();
        let known = |losses: &[f32]| losses.iter().filter(|x| !x.is_nan()).count();
        let (train_rows, valid_rows) = (known(&self.last.train), known(&self.last.valid));
        let is = |change: Option<Change>| change.is_some_and(|c| c.significant());
        let verdict = if train_rows.min(valid_rows) < LEAST_ROWS {
            Verdict::Unknown
        } else if is(rise) && is(fall) {
            Verdict::Overfitting
        } else if is(rise) {
            Verdict::Unstable
        } else if !learned || (falling && !apart.significant()) {
            Verdict::Underfitting
        } else if apart.significant() {
            Verdict::Mild
        } else {
            Verdict::None
        };
        let mut gap = Gap {
            verdict,
            advice: String::new(),
            metric: metric.to_owned(),
            evaluations: k,
            train_rows,
            valid_rows,
            kept: self.points.iter().find(|p| p.step == kept_step).map(side),
            last: side(last),
            lowest_valid_step: lowest.step,
            lowest_valid_loss: lowest.valid.loss,
            lowest_valid_metric: lowest.valid.metric,
            valid_rise: rise,
            train_fall: fall,
            apart,
        };
        gap.advice = gap.sentence(task, learned, falling);
        Some(gap)
    }
}

impl Gap {
    fn sentence(&self, task: Task, learned: bool, falling: bool) -> String {
        let (train, valid) = (self.last.train.loss, self.last.valid.loss);
        let since = self.lowest_valid_step;
        let low = self.lowest_valid_loss;
        let kept = match &self.kept {
            Some(kept) if kept.step <= since => " (the weights kept are from before)",
            _ => "",
        };
        // What this task takes.
        let regularisers = match task {
            Task::Classify | Task::Tag => "--dropout, --label-smoothing, --r-drop",
            Task::MultiLabel | Task::Regress | Task::Mask => "--dropout, --weight-decay, --l2-sp",
        };
        let (answer, or_else) = match task {
            Task::Mask => ("the same word everywhere", ""),
            _ => (
                "the best single answer to all of them",
                ", or the texts do not tell the labels",
            ),
        };
        match self.verdict {
            Verdict::Unknown => format!(
                "no verdict on the fit: {} training and {} validation rows were scored, {LEAST_ROWS} of each are \
                 needed",
                self.train_rows, self.valid_rows
            ),
            Verdict::Overfitting => format!(
                "overfitting: since step {since} the validation loss rose from {low:.4} to {valid:.4} while the \
                 training loss fell to {train:.4} ({} {:.4}, now {:.4}){kept}; fewer --epochs, --patience 1 with --select best, or more \
                 regularisation ({regularisers}) would help",
                self.metric, self.lowest_valid_metric, self.last.valid.metric
            ),
            Verdict::Unstable => format!(
                "unstable: since step {since} the validation loss rose from {low:.4} to {valid:.4} and the training \
                 loss did not fall ({train:.4}){kept}; a lower --lr or a longer --warmup would help"
            ),
            Verdict::Underfitting if !learned => format!(
                "underfitting: on training texts the model is no better than {answer} (loss {train:.4}); more --epochs or \
                 another --lr would help{or_else}"
            ),
            Verdict::Underfitting => format!(
                "underfitting: training loss ({train:.4}) and validation loss ({valid:.4}) still fell at the end and \
                 are not apart; more --epochs or a higher --lr would help"
            ),
            Verdict::Mild => format!(
                "no overfitting: training texts are known better than new ones (loss {train:.4} and {valid:.4}), and \
                 new ones have not suffered{}{}",
                if falling {
                    "; both losses still fell at the end, more --epochs may help"
                } else {
                    ""
                },
                self.once()
            ),
            Verdict::None => format!(
                "no overfitting: training loss {train:.4} and validation loss {valid:.4} are not apart{}",
                self.once()
            ),
        }
    }

    /// What a single evaluation cannot show.
    fn once(&self) -> &'static str {
        match self.evaluations {
            1 => {
                " (from one evaluation; whether the validation loss had risen is seen with --eval-every 0.5)"
            }
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests;
