//! The kernel contract: one trait, [`Backend`], that a device implements and the model is written over;
//! a scalar [`Reference`] implementation of it, generic over f32 and f64; and the [`conformance`] suite
//! that every backend must pass. No device code lives here.
//!
//! Shape letters used throughout: T tokens, S sequences, R rows, H hidden, I intermediate, C classes.
//!

mod backend;
mod types;

pub use backend::{Backend, BackendError};
pub use types::{
    Acc, Activation, AdamwRow, AdamwStep, Attention, Drop, EmbedTables, Loss, Norm, Qkv, QkvMut,
    Rows, Tokens, WeightRef, Workspace,
};
