//! What a run reports while it goes: plain facts for sinks to draw, write or count.

use crate::metrics::Metrics;
use crate::recipe::Recipe;
use crate::watch::{Collapse, Restart, Score};
use serde::Serialize;

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Hyperparameters were chosen by a recipe.
    Recipe(Recipe),
    /// The run is planned; nothing has been computed yet.
    Planned(Plan),
    /// Time and memory expected, from one trial pass over the first batch.
    Forecast {
        /// Seconds of the whole run, evaluations included.
        seconds: f64,
        /// Tokens per second of training.
        tokens_per_s: f64,
        /// Bytes the run will hold.
        memory_bytes: u64,
    },
    /// One optimiser step is done.
    Step(Step),
    /// The validation part was read.
    Evaluated {
        /// Steps done.
        step: usize,
        /// Epochs done.
        epoch: f64,
        /// What was found ([`Metrics::brief`]).
        metrics: Box<Metrics>,
        /// Value of the metric that selects.
        selected: f64,
        /// Whether it is the best so far.
        best: bool,
        /// Training rows that were scored in the same way.
        train_rows: usize,
        /// What they had.
        train: Score,
    },
    /// A fold of a cross-validation begins.
    Fold {
        /// Its number over all repeats, from 1.
        number: usize,
        /// Folds of all repeats.
        of: usize,
        /// Its repeat, from 1.
        repeat: usize,
        /// Rows that are fitted.
        train_rows: usize,
        /// Rows that select.
        valid_rows: usize,
        /// Rows that are held out.
        held_out_rows: usize,
        /// Seconds until the last fold is done, by the rate of those before it.
        seconds_left: Option<f64>,
    },
    /// A fold's held-out rows were scored, which happens once.
    FoldDone {
        /// Its number over all repeats, from 1.
        number: usize,
        /// Folds of all repeats.
        of: usize,
        /// What was found on the held-out rows.
        held_out: Box<Metrics>,
        /// Seconds of the fold.
        seconds: f64,
        /// Memory of its own that the process still holds, where the system says.
        memory_bytes: Option<u64>,
    },
    /// A trial of a study begins: one recipe in one pair.
    Trial {
        /// Its number, from 1.
        number: usize,
        /// Trials at most, if no arm stops early.
        of: usize,
        /// The pair, from 1.
        pair: usize,
        /// Name of the recipe.
        arm: String,
        /// Rows that are fitted, those that select included.
        train_rows: usize,
        /// Rows that are held out.
        held_out_rows: usize,
        /// Seconds until the last trial is done at most, by those before it.
        seconds_left: Option<f64>,
    },
    /// A trial's held-out rows were scored, which happens once.
    TrialDone {
        /// Its number, from 1.
        number: usize,
        /// Trials at most.
        of: usize,
        /// The pair, from 1.
        pair: usize,
        /// Name of the recipe.
        arm: String,
        /// What is compared.
        metric: String,
        /// Its value on the held-out rows.
        value: f64,
        /// The value minus the baseline's in the same pair; none for the baseline.
        difference: Option<f64>,
        /// Seconds of the trial.
        seconds: f64,
        /// Memory of its own that the process still holds, where the system says.
        memory_bytes: Option<u64>,
    },
    /// A study looked at an arm.
    Look {
        /// Pairs so far.
        pairs: usize,
        /// Pairs at most.
        of: usize,
        /// Name of the arm.
        arm: String,
        /// Its effect.
        effect: f64,
        /// The interval it is judged by at this look.
        interval: [f64; 2],
        /// The verdict, or `open`.
        verdict: String,
    },
    /// A run of a search for hyperparameters begins.
    Candidate {
        /// Its name in `trials.jsonl`.
        run: String,
        /// Where it stands in the search.
        place: String,
        /// What is searched, as this run has it.
        settings: String,
        /// Rows that are fitted.
        train_rows: usize,
        /// Rows of which the value will be.
        scored_rows: usize,
        /// Seconds until the search is done, as far as is known.
        seconds_left: Option<f64>,
    },
    /// A run of a search is done.
    CandidateDone {
        /// Its name in `trials.jsonl`.
        run: String,
        /// Where it stands in the search.
        place: String,
        /// What is searched for.
        metric: String,
        /// Its value; none where the run failed.
        value: Option<f64>,
        /// Why it failed.
        failed: Option<String>,
        /// Seconds of the run.
        seconds: f64,
        /// Memory of its own that the process still holds, where the system says.
        memory_bytes: Option<u64>,
    },
    /// Evaluation is under way.
    Evaluating {
        /// Rows read.
        rows: usize,
        /// Rows to read.
        total: usize,
        /// Seconds so far.
        seconds: f64,
    },
    /// The collapse guard found that the run learns nothing.
    Collapsed {
        /// What was found.
        collapse: Collapse,
        /// How it begins anew; none: it goes on.
        restart: Option<Restart>,
    },
    /// A checkpoint is whole on disk.
    Checkpoint {
        /// Steps done.
        step: usize,
        /// Its folder.
        path: String,
    },
    /// A run that was begun before goes on; what was told of later steps is told again.
    Resumed {
        /// Steps done; 0: it begins once more, for there was no checkpoint yet.
        step: usize,
        /// The step at which the validation part was last read; 0: at none.
        evaluated: usize,
        /// Folder of the checkpoint.
        path: Option<String>,
    },
    /// Training ended before the last step.
    Stopped {
        /// Steps done.
        step: usize,
        /// Why.
        reason: String,
    },
    /// Something the user should know.
    Note {
        /// One line.
        text: String,
    },
    /// Something the user should mend.
    Warning {
        /// One line.
        text: String,
    },
}

/// What a run is going to do.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Training examples.
    pub rows: usize,
    /// Tokens of an epoch.
    pub tokens: usize,
    /// Validation examples.
    pub valid_rows: usize,
    /// Optimiser steps.
    pub steps: usize,
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
    /// Steps of warm-up.
    pub warmup_steps: usize,
    /// The groups of parameters, a line each.
    pub groups: Vec<String>,
    /// Memory by use, bytes.
    pub memory: Vec<(String, u64)>,
}

/// One optimiser step.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Step {
    /// Steps done, this one included.
    pub step: usize,
    /// Steps of the run.
    pub steps: usize,
    /// Epochs done.
    pub epoch: f64,
    /// Mean loss of the step's rows.
    pub loss: f64,
    /// Beside it the contrast's, times its strength, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contrast: Option<f64>,
    /// Learning rate of the top encoder layer.
    pub lr: f64,
    /// Learning rate of the head.
    pub head_lr: f64,
    /// Gradient norm before clipping.
    pub grad_norm: f64,
    /// Tokens of the step.
    pub tokens: usize,
    /// Seconds of training so far, evaluations left out.
    pub train_seconds: f64,
    /// Tokens of training so far.
    pub train_tokens: u64,
}

/// Receives events. Sinks are made by `hone-report`.
pub trait Sink {
    /// Takes one event.
    fn event(&mut self, event: &Event);
}

/// Several sinks as one.
impl Sink for Vec<Box<dyn Sink + '_>> {
    fn event(&mut self, event: &Event) {
        for sink in self {
            sink.event(event);
        }
    }
}

/// No sink.
impl Sink for () {
    fn event(&mut self, _: &Event) {}
}
