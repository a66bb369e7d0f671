//! The binary from end to end, on a tiny model: whole runs, and everything that can be wrong with what it is given.

mod augment;
mod bad_input;
mod check;
mod crossval;
mod demo;
mod device;
mod find_lr;
mod folders;
mod formats;
mod knowledge;
mod pairs;
mod parquet;
mod practices;
mod pretrain;
mod printed;
mod recipe;
mod resume;
mod runs;
// The stand-in of a hub that the hub crate is tested with.
#[allow(dead_code)]
#[path = "../../crates/hub/tests/hub/server.rs"]
mod server;
mod sets;
mod study;
mod tune;
mod watch;
mod world;
