//! BERT's kernels in CUDA C++, their typed launchers, and three drivers that run them: a card, the host (an
//! emulator that proves them without one), and a recorder that runs nothing.
//!
//! The sources lie beside their launchers in `ops/`. [`CudaBackend`] is generic over the driver and over the numbers
//! of activations ([`Act`]: f32, or bf16 over f32 weights).
//!
//! ```
//! use hone_kernels::Backend;
//! use hone_kernels_cuda::{CudaBackend, Recorder};
//!
//! let backend = CudaBackend::<Recorder>::new(Recorder::new()).unwrap();
//! let mut x = backend.alloc::<f32>(1000).unwrap();
//! backend.fill(1.0f32, backend.all_mut(&mut x));
//! assert_eq!(backend.driver().launches()[0].kernel, "fill_32");
//! ```

mod act;
mod backend;
pub mod card;
mod driver;
pub mod emulator;
mod graphs;
pub mod images;
mod live;
mod memory;
mod naming;
mod number;
pub mod nvrtc;
mod ops;
mod params;
mod rate;
mod recorder;
mod scratch;
pub mod sources;
mod step;
mod tape;

pub use act::{Act, Number};
pub use backend::CudaBackend;
pub use card::Card;
pub use driver::{Arg, Driver, Launch, Matrix, Product};
pub use emulator::{Emulator, Order};
pub use graphs::GraphCounts;
pub use memory::{Buf, Coming, View, ViewMut};
pub use params::CudaParams;
pub use rate::ProductRate;
pub use recorder::{Event, Recorded, Recorder};
pub use step::bucket;
pub use tape::Tape;
