//! BERT by hand: configuration, Hugging Face names, encoder and heads, forward and backward, over any
//! [`hone_kernels::Backend`]. It plans its activations; it never names a device and holds no loop.
//!
//! ```
//! use hone_bert::{Config, Limits, Model, Pass, Task};
//! use hone_kernels::Reference;
//! use hone_tensor::Ragged;
//! use std::sync::Arc;
//!
//! let labels = vec!["bad".to_owned(), "good".to_owned()];
//! let config = Config::with_shape(16, 2, 2, 32, 50);
//! let backend = Arc::new(Reference::<f32>::default());
//! let (model, receipt) = Model::random(backend, config, Task::Classify, labels, 1)?;
//! let mut batch = Ragged::new();
//! batch.push(0, &[2, 17, 9, 3], &[0, 0, 0, 0]);
//! let mut acts = model.plan_eval(Limits::of(&batch))?;
//! model.forward(&mut acts, &batch, &Pass::eval())?;
//! assert_eq!(model.logits(&acts)?.len(), 2);
//! # Ok::<(), hone_bert::BertError>(())
//! ```

mod acts;
mod batch;
mod config;
mod embeddings;
mod error;
mod grads;
mod head;
mod hidden;
mod inspect;
mod layer;
mod layout;
mod load;
mod masked;
mod model;
mod pass;
mod passes;
mod plan;
mod pool;
mod save;
mod task;
mod units;
mod weights;

pub use acts::RowSet;
pub use batch::{DeviceBatch, Limits};
pub use config::Config;
pub use error::BertError;
pub use grads::{GradNorm, Grads};
pub use inspect::NamedActivation;
pub use layout::Layout;
pub use load::{HeadChoice, Receipt, canonical, holds_head, weight_files};
pub use masked::Masked;
pub use model::Model;
pub use pass::{Mode, Pass, Rates};
pub use passes::{LossKind, Saved};
pub use plan::Acts;
pub use pool::Pool;
pub use task::Task;
pub use units::Units;

/// The examples of the crate's README, which `cargo test --doc` compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadMe;
