//! Does a practice help on this data? Recipes that differ by a few options, each beside the baseline on the same
//! rows, judged by rows that neither saw, until a verdict stands or the pairs are spent.
//!
//! **A pair** is a fold and a seed: baseline and arm are fitted to the same rows, start from the same drawn weights,
//! read them in the same order, and are scored on the same held-out rows. Further repeats deal the folds anew.
//!
//! **What is claimed.** The effect is the mean difference of the metric, for models trained on these texts, on
//! further texts of their kind. Three things make it uncertain, and the interval knows them all ([`Estimate`]):
//! seeds and folds (the spread over pairs), the chance of which rows a pair holds out, and that all pairs together
//! judge by one sample of rows, which comes again in every repeat. What it cannot know is another set of training
//! texts.
//!
//! **When to stop.** A look is taken after each repeat; the probability of a false claim is spent over the looks and,
//! by Holm's procedure, over the arms ([`Decisions`]), so that neither peeking nor many arms make false wins.
//!
//! ```
//! use hone_experiment::study::{Decisions, Design, Difference, Verdict};
//!
//! let design = Design { pairs: 5, folds: 5, alpha: 0.05, margin: 0.005, higher_is_better: true };
//! let pairs: Vec<Difference> = [0.021, 0.034, 0.027, 0.03, 0.024]
//!     .map(|whole| Difference { repeat: 1, whole, without: Vec::new() })
//!     .into();
//! let mut decisions = Decisions::new(design, 1);
//! decisions.look(5, &[&pairs]);
//! assert_eq!(decisions.arms()[0].as_ref().unwrap().verdict, Verdict::Helps);
//! ```

mod decide;
mod design;
mod estimate;
mod plan;
mod record;
mod report;
mod runner;
mod settings;
#[cfg(test)]
mod tests;

pub use decide::{Decision, Decisions, Verdict};
pub use design::Design;
pub use estimate::{Difference, Estimate, INTERVAL_METHOD};
pub(crate) use plan::{groups, texts_a_group};
pub(crate) use record::without;
pub use record::{Failure, TrialRecord};
pub use report::{ArmReport, BaselineReport, Cost, StudyReport};
pub use runner::{Arm, BASELINE, Study};
