//! The binary from end to end, on a tiny model: whole runs, and everything that can be wrong with what it is given.

mod augment;
mod bad_input;
mod check;
mod crossval;
mod demo;
mod knowledge;
mod find_lr;
mod practices;
mod runs;
mod watch;
mod study;
mod world;
