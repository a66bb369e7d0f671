//! What a run does, from its start to its last weights: one binary, since each would compile the whole step anew.

#[path = "../common/mod.rs"]
mod common;

mod augment;
mod doubts;
mod ends;
mod pretrain;
mod regularisers;
mod resume;
mod said;
mod start;
mod stops;
mod threads;
mod trajectory;
mod values;
mod watch;
mod words;
