//! Hyperparameters searched: random trials, successive halving, a winner that is judged anew, and what each setting
//! matters.
//!
//! **Trials** are points of a randomised low-discrepancy sequence over a [`Space`]; each is a pure function of seed and
//! number, and trial 0 is the options as given. **Rungs** give the better half more rows, then more replicates
//! ([`ladder`] says why no run is cut short). **The winner** and the given options are refitted with fresh seeds on all
//! training rows and judged on rows that no trial saw ([`Verdict`]). **Sensitivity** moves each setting of the winner
//! by factors of 2 and 4 ([`Moved`]).
//!
//! A budget is kept by planning from the seconds that runs took so far, again before every trial; what it decided
//! stands in `trials.jsonl`, so that a search that goes on takes the same course. Without a budget nothing depends on
//! a clock.
//!
//! ```
//! use hone_experiment::tune::{Space, ladder};
//! use hone_train::Options;
//!
//! let base = Options::default();
//! let space = Space::parse("lr=1e-5..2e-4,batch-size=16|32", &base).unwrap();
//! assert_eq!(space.configuration(&base, 1, 0).to_string(), "lr 5e-5, batch-size 32");
//! assert_eq!(space.configuration(&base, 1, 7), space.configuration(&base, 1, 7));
//! // Eight trials once, the best four twice, the best two four times.
//! let rungs: Vec<_> = ladder(8, 0).iter().map(|r| (r.trials, r.replicates)).collect();
//! assert_eq!(rungs, [(8, 1), (4, 2), (2, 4)]);
//! ```

mod attempt;
mod budget;
mod halton;
mod halving;
mod journal;
mod refit;
mod report;
mod runner;
mod search;
mod sensitivity;
mod setting;
mod settings;
mod space;
#[cfg(test)]
mod tests;

pub use halving::{Rung, ladder};
pub use journal::{Purpose, RunRecord};
pub use refit::{Judged, Verdict};
pub use report::{RowsReport, TrialReport, TuneReport, Winner};
pub use runner::{
    BEST, Chooser, Limit, MOST_ASKED, MOST_SEEDS, MOST_TRIALS, Sensitivity, Tune, Untouched,
};
pub use search::{Found, RungReport, Standing};
pub use sensitivity::{FACTORS, Moved, SettingMoves};
pub use setting::{Scale, Setting, Value};
pub use space::{Configuration, Range, Space};
