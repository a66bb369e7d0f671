//! AdamW's policy: learning-rate schedules, groups of parameters, freezing and unfreezing, and the optimiser
//! state. The arithmetic is the backend's; which numbers it gets is decided here, by pure functions.
//!
//! ```
//! use hone_optim::Schedule;
//!
//! // transformers' get_linear_schedule_with_warmup(10, 100)
//! assert_eq!(Schedule::Linear.factor(0, 10, 100), 0.0);
//! assert_eq!(Schedule::Linear.factor(5, 10, 100), 0.5);
//! assert_eq!(Schedule::Linear.factor(55, 10, 100), 0.5);
//! ```

mod error;
mod freeze;
mod groups;
mod optimizer;
mod pull;
mod schedule;

pub use error::OptimError;
pub use freeze::Unfreeze;
pub use groups::{Group, GroupPolicy, Groups};
pub use optimizer::Optimizer;
pub use pull::Pull;
pub use schedule::{Multipliers, Schedule, Warmup, part_of};

/// The examples of the crate's README, which `cargo test --doc` compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadMe;
