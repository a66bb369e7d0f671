//! What is watched while a run goes: how far training and validation texts are apart (`gap`), and whether it learns anything
//! at all (`collapse`), both against the answer that reads no text (`constant`).
//!
//! Watching reads weights and never writes one; it draws from no generator that training draws from.

mod collapse;
mod constant;
mod gap;
mod sample;

pub(crate) use collapse::Guard;
pub use collapse::{Collapse, CollapseGuard, GuardState, Restart};
pub use constant::ConstantAnswer;
pub use gap::{Change, Gap, History, Losses, Point, Score, Side, Verdict};
pub use sample::Watch;
pub(crate) use sample::sample;
