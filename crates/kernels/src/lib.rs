//! The kernel contract: one trait, [`Backend`], that a device implements and the model is written over;
//! a scalar [`Reference`] implementation of it, generic over f32 and f64; and the [`conformance`] suite
//! that every backend must pass. No device code lives here.
//!
//! Shape letters used throughout: T tokens, S sequences, R rows, H hidden, I intermediate, C classes.
//! ```
//! use hone_kernels::{Backend, Reference};
//!
//! let backend = Reference::<f64>::default();
//! let mut y = backend.alloc::<f64>(3).unwrap();
//! let x = backend.from_slice(&[-1.0, 0.0, 1.0]).unwrap();
//! backend.tanh(backend.view(&x), backend.all_mut(&mut y));
//! let mut host = [0.0; 3];
//! backend.download(backend.view(&y), &mut host).unwrap();
//! assert_eq!(host[2], 1.0f64.tanh());
//! ```

mod backend;
pub mod conformance;
mod host;
pub mod math;
mod reference;
mod types;

pub use backend::{Backend, BackendError};
pub use reference::{Reference, ReferenceParams};
pub use types::{
    Acc, Activation, AdamwRow, AdamwStep, Attention, Contrast, Drop, EmbedTables, Loss, Norm,
    NormSums, Qkv, QkvMut, Rows, Tokens, WeightRef, Workspace,
};

/// The examples of the crate's README, which `cargo test --doc` compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadMe;
