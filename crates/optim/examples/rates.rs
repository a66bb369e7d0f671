//! A schedule and the rates of each depth, as a table: what AdamW is told at which step.
//!
//!     cargo run -p hone-optim --example rates -- [SCHEDULE [LAYER_DECAY]]
//!
//! `SCHEDULE` is `linear` if none is given, else as `--schedule` takes it; `LAYER_DECAY` is 0.95. For example:
//!
//!     cargo run -p hone-optim --example rates -- one-cycle 0.8

use hone_optim::{GroupPolicy, Schedule, Warmup};
use hone_tensor::Depth;
use std::process::ExitCode;

type Failure = Box<dyn std::error::Error>;

const STEPS: usize = 100;
const LAYERS: usize = 6;

fn main() -> ExitCode {
    match tell() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn tell() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let schedule: Schedule = args.first().map_or("linear", String::as_str).parse()?;
    let layer_decay = match args.get(1) {
        None => 0.95,
        Some(text) => match text.parse() {
            Ok(x) if x > 0.0 && x <= 1.0 => x,
            _ => return Err(format!("{text:?}: a number above 0, at most 1, was expected").into()),
        },
    };
    let policy = GroupPolicy {
        lr: 2e-5,
        head_lr: 1e-4,
        layer_decay,
        weight_decay: 0.01,
        layers: LAYERS,
    };
    let warmup = match schedule.takes_warmup() {
        true => Warmup::Fraction(0.1).steps(STEPS),
        false => 0,
    };
    let depths = [Depth::Embeddings]
        .into_iter()
        .chain((0..LAYERS).map(Depth::Layer))
        .chain([Depth::Head]);
    let depths: Vec<Depth> = depths.collect();
    print!("{:>5} {:>7}", "step", "factor");
    for depth in &depths {
        print!(" {:>10}", format!("{depth:?}"));
    }
    println!();
    for step in (0..STEPS).step_by(10).chain([STEPS - 1]) {
        let factor = schedule.factor(step, warmup, STEPS);
        print!("{:>5} {factor:>7.4}", step + 1);
        for &depth in &depths {
            print!(" {:>10.2e}", factor * policy.lr_at(depth));
        }
        println!();
    }
    Ok(())
}
