//! What an encoder knew before fine-tuning and still knows after it, and the way back between the two.
//!
//! [`Measures`] are tasks of the user's that have nothing to do with the fine-tuning: pairs of texts whose scores the
//! cosine of two sentence vectors should rank ([`TextPairs`]), and other labels that a linear probe reads off frozen
//! features ([`ProbeSet`]). [`Measures::of`] takes them of one encoder, [`Measures::change`] compares two on the same
//! rows. How far the encoder moved is a matter of weights ([`weights_moved`]) and of representations ([`layer_cka`]).
//! [`Blend`] stands anywhere between both encoders, [`Walk`] measures it on the way; [`frontier`] says where nothing better
//! is to be had.
//!
//! None of it reads the head. All results are the same for any number of threads.
//!
//! ```
//! use hone_experiment::knowledge::linear_cka;
//!
//! // Four rows of two features; turned by 90° and doubled they are the same representation.
//! let x = [1.0, 0.0, 2.0, 1.0, 0.0, 3.0, -1.0, 2.0];
//! let turned: Vec<f64> = x.chunks(2).flat_map(|r| [-2.0 * r[1], 2.0 * r[0]]).collect();
//! assert!((linear_cka(&x, &turned, 2, 2) - 1.0).abs() < 1e-12);
//! ```

mod blend;
mod cka;
mod drift;
mod encoders;
mod frontier;
mod measures;
mod probes;
mod ranks;
mod similarity;
#[cfg(test)]
mod tests;
mod walk;

pub use blend::Blend;
pub use cka::{LayerCka, layer_cka, linear_cka, mean_cka};
pub use drift::{Moved, weights_moved};
pub use encoders::load_base;
pub use frontier::{Keep, frontier};
pub use measures::{Known, Measured, Measures};
pub use probes::ProbeSet;
pub use similarity::TextPairs;
pub use walk::{Point, TaskFigure, Walk};

use serde::Serialize;

/// A figure before and after, on the same rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Rows it was taken on.
    pub rows: usize,
    /// Before.
    pub before: f64,
    /// Its 95 % interval.
    pub before_interval: [f64; 2],
    /// After.
    pub after: f64,
    /// Its 95 % interval.
    pub after_interval: [f64; 2],
    /// After minus before.
    pub change: f64,
    /// Its 95 % interval; rows are paired.
    pub change_interval: [f64; 2],
}
