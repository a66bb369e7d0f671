//! The nouns every other crate speaks: element types, ragged batches, the parameter table,
//! counter-based random numbers, safetensors files and files that stand whole. No device memory and no arithmetic live here.
//!
//! ```
//! use hone_tensor::{Depth, Kind, ParamTable};
//!
//! let mut table = ParamTable::builder();
//! table.push("classifier.weight", &[2, 384], Depth::Head, Kind::Matrix);
//! table.push("classifier.bias", &[2], Depth::Head, Kind::Bias);
//! let table = table.build();
//! assert_eq!(table.get("classifier.bias").unwrap().shape, [2]);
//! ```

mod brief;
mod element;
mod error;
mod files;
mod init;
mod ragged;
mod rng;
mod store;
mod table;
mod views;

pub use element::{DType, Element, Real};
pub use error::TensorError;
pub use files::{free_space, put_in_place, replace_file, settle};
pub use init::{PhiloxRng, normal};
pub use ragged::{Filler, Ragged, TokenBuckets};
pub use rng::{DropKey, Philox, permutation};
pub use store::{SafetensorsFile, StoredTensor, write_safetensors, write_safetensors_in_blocks};
pub use table::{Depth, GradLayout, Kind, Param, ParamTable, ParamTableBuilder};
pub use views::{matrix, matrix_mut};

/// The examples of the crate's README, which `cargo test --doc` compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadMe;
