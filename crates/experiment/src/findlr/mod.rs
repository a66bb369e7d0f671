//! The learning-rate range test: how far a few steps at each of ever larger rates lower the loss on texts that are not
//! trained on, and which rate to train with.
//!
//! [`RangeTest`] runs it (`runner`), [`suggest_rate`] reads a curve (`rule`, pure), and [`RangeReport`] is what it found.

mod rule;
mod runner;
#[cfg(test)]
mod tests;

pub use rule::{RangeCurve, RangeMean, SuggestedRate, suggest_rate};
pub use runner::{RangePoint, RangeRepeat, RangeReport, RangeTest};
