//! The `hone` binary: parse, choose a backend, wire, exit code; nothing else.
//!
//! Exit codes: 0 done; 1 failed, with one line that says what and how to mend it; 2 wrong usage;
//! 130 interrupted, after a checkpoint was written.

mod args;
mod augment;
mod bench;
mod check;
mod check_model;
mod check_table;
mod command;
mod compare;
mod crossval;
mod dataset;
mod demo;
mod device;
mod fetch;
mod find_lr;
mod folder;
mod infer;
mod inspect;
mod interpolate;
mod interpolate_table;
mod interrupt;
mod knowledge;
mod listing;
mod out;
mod predict;
mod pretrain;
mod progress;
mod recipe;
mod report;
mod report_run;
mod settings;
mod study;
mod study_arms;
mod train;
mod trust;
mod tune;
mod tune_report;

use args::{Cli, Verb};
use clap::Parser;
use hone_report::say;
use std::process::ExitCode;

/// How a verb ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All done.
    Done,
    /// The user asked to stop.
    Interrupted,
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Train(args) => train::run(*args),
        Verb::Pretrain(args) => pretrain::run(*args),
        Verb::Crossval(args) => crossval::run(*args),
        Verb::Study(args) => study::run(*args),
        Verb::Tune(args) => tune::run(*args),
        Verb::FindLr(args) => find_lr::run(*args),
        Verb::Compare(args) => compare::run(args),
        Verb::Interpolate(args) => interpolate::run(*args),
        Verb::Report(args) => report::run(*args),
        Verb::Augment(args) => augment::run(args),
        Verb::Eval(args) => infer::eval(args),
        Verb::Check(args) => check::run(*args),
        Verb::Predict(args) => predict::predict(args),
        Verb::Inspect(args) => inspect::run(args),
        Verb::Fetch(args) => fetch::run(args),
        Verb::Bench(args) => bench::run(args),
    };
    match result {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Interrupted) => ExitCode::from(130),
        Err(error) => {
            // A reader that went away is no failure.
            if is_broken_pipe(&error) {
                return ExitCode::SUCCESS;
            }
            say!("error: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// A chain of causes on one line; a cause that the line above it already quotes is not said twice.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if line.contains(&text) {
            continue;
        }
        if !line.is_empty() {
            line += ": ";
        }
        line += &text;
    }
    // What the library says of memory, in the words of this command line.
    if line.contains("out of memory on ") {
        line += "; a smaller --max-tokens, or --batch-size, needs less";
    }
    line.replace('\n', " ")
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
