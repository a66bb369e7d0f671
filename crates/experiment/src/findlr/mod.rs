//! The learning-rate range test: how far a few steps at each of ever larger rates lower the loss on texts that are not
//! trained on, and which rate to train with.
//!
//! [`RangeTest`] runs it (`runner`), [`suggest`] reads a curve (`rule`, pure), and [`RangeReport`] is what it found.

mod rule;
mod runner;
#[cfg(test)]
mod tests;

pub use rule::{Curve, Mean, Suggestion, suggest};
pub use runner::{Point, RangeReport, RangeTest, Repeat};

/// Steps of a repeat, where nobody says otherwise.
pub const STEPS: usize = 100;
