//! Experiments around training: baselines that a fine-tuned model must beat, cross-validation, a range test of learning
//! rates, labels that are probably wrong, two models on the same rows, and the demonstration that a first run gives.
//!
//! ```
//! use hone_experiment::TfIdf;
//!
//! let texts = ["a fine film", "a dull film", "fine and funny", "dull and long"];
//! let model = TfIdf::fit(&texts, &[1, 0, 1, 0], 2);
//! assert_eq!(model.predict("such a fine story"), 1);
//! ```

mod compare;
mod crossval;
mod demo;
mod findlr;
#[cfg(test)]
mod fixture;
mod guard;
mod held_out;
pub mod knowledge;
mod probe;
mod reviews;
pub mod study;
mod suspects;
mod table;
mod tfidf;
pub mod tune;

use hone_train::special;

pub use compare::{
    Answer, Answers, Change, Comparison, PairedMetric, PairedShares, answers, compare,
};
pub use crossval::{
    Combine, Combined, CrossVal, CrossValReport, FinalFit, Fold, FoldPlan, FoldRecord,
    INTERVAL_METHOD, OutOfFold, Spread, SuspectReport,
};
pub use demo::{Contender, Demo, DemoReport, Judged, KINDS};
pub use findlr::{
    RangeCurve, RangeMean, RangePoint, RangeRepeat, RangeReport, RangeTest, SuggestedRate,
    suggest_rate,
};
pub use hone_train::Logistic;
pub use probe::{
    FOLDS, Measure, PENALTIES, Probe, ProbeLine, ProbeReport, Verdict, paired_interval,
};
pub use reviews::{Review, reviews};
pub use suspects::{ConfidentJoint, RankBy, confident_joint, suspects};
pub use table::csv_text;
pub use tfidf::TfIdf;

/// The examples of the crate's README, which `cargo test --doc` compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadMe;
