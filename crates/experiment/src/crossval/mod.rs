//! k-fold cross-validation: what a recipe is worth on data, from models none of which is judged by rows it saw.
//!
//! Every fold starts from the same weights, head included: the head is drawn from `--seed` once, and each fold's
//! weights are hashed before its first step and compared. Order and dropout have a seed of each fold's own.
//! Selection and early stopping read a split of the fold's training part; the held-out rows are scored once, after
//! the fold's weights are final.

mod combine;
mod conclude;
mod plan;
mod record;
mod results;
mod runner;
mod settings;
mod statistics;
#[cfg(test)]
mod tests;

pub use combine::Combined;
pub use conclude::{CrossValReport, FinalFit};
pub use plan::{Fold, FoldPlan};
pub(crate) use plan::{can_pair, can_repeat, derived, hex};
pub use record::FoldRecord;
pub use results::{OutOfFold, SuspectReport};
pub use runner::{Combine, CrossVal};
pub use statistics::{INTERVAL_METHOD, Spread};
