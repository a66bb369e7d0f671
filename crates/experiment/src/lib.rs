//! Experiments around training: baselines that a fine-tuned model must beat, and the demonstration that a first
//! run gives.
//!
//! ```
//! use hone_experiment::TfIdf;
//!
//! let texts = ["a fine film", "a dull film", "fine and funny", "dull and long"];
//! let model = TfIdf::fit(&texts, &[1, 0, 1, 0], 2);
//! assert_eq!(model.predict("such a fine story"), 1);
//! ```

mod demo;
mod probe;
mod reviews;
mod tfidf;

pub use demo::{Contender, Demo, DemoReport, Judged, KINDS};
pub use hone_train::Logistic;
pub use probe::{FOLDS, PENALTIES, Probe, ProbeLine, ProbeReport, Verdict, paired_interval};
pub use reviews::{Review, reviews};
pub use tfidf::TfIdf;
