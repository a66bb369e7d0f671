//! Which kernels this processor can run, and what a product with weights reaches of its peak on each.
//!
//!     cargo run --release -p hone-kernels-cpu --example peak -- [THREADS]
//!
//! Without `--release` the wide kernels are many times slower. The product is the first half of MiniLM's feed-forward: 512 tokens, from 384 channels to 1536.

use hone_kernels::{Backend, WeightRef, Workspace};
use hone_kernels_cpu::{CpuBackend, Path, Team};
use hone_tensor::{Depth, Kind, ParamTable};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

const TOKENS: usize = 512;
const WIDTHS: [usize; 2] = [384, 1536];
const TURNS: usize = 5;

fn main() -> ExitCode {
    let threads = match std::env::args().nth(1).map(|text| text.parse::<usize>()) {
        None => 1,
        Some(Ok(threads @ 1..=1024)) => threads,
        Some(_) => {
            eprintln!("THREADS: a number from 1 to 1024 was expected");
            return ExitCode::FAILURE;
        }
    };
    println!("chosen unless asked: {}", Path::detect().name());
    for path in Path::every() {
        let backend = CpuBackend::with(path, Team::new(threads));
        match rate(&backend) {
            Ok(rate) => {
                let peak = backend.fma_peak();
                let share = 100.0 * rate / peak;
                println!(
                    "{:16} peak {peak:6.0} GFLOP/s, product {rate:6.0} ({share:.0} %)",
                    path.name()
                );
            }
            Err(error) => eprintln!("{}: {error}", path.name()),
        }
    }
    ExitCode::SUCCESS
}

/// GFLOP/s of the fastest turn.
fn rate(b: &CpuBackend) -> Result<f64, Failure> {
    let [from, to] = WIDTHS;
    // Before any kernel: none of them allocates.
    b.reserve(&Workspace {
        tokens: TOKENS,
        sequences: 1,
        longest: TOKENS,
        hidden: from,
        intermediate: to,
        heads: 12,
        classes: 2,
        answered: TOKENS,
    })?;
    let mut table = ParamTable::builder();
    let weight = table.push("weight", &[to, from], Depth::Layer(0), Kind::Matrix);
    let bias = table.push("bias", &[to], Depth::Layer(0), Kind::Bias);
    let table = Arc::new(table.build());
    let mut params = b.params(table.clone())?;
    let drawn: Vec<f32> = (0..to * from).map(number).collect();
    b.set_param(&mut params, weight, 0, &drawn)?;
    let x = b.from_slice(&(0..TOKENS * from).map(number).collect::<Vec<f32>>())?;
    let mut y = b.alloc(TOKENS * to)?;
    let mut fastest = f64::INFINITY;
    for _ in 0..TURNS {
        let began = Instant::now();
        let bias = b.param(&params, table.params()[bias].range());
        b.linear(
            &params,
            WeightRef::one(weight),
            bias,
            b.view(&x),
            b.all_mut(&mut y),
        );
        fastest = fastest.min(began.elapsed().as_secs_f64());
    }
    Ok(2.0 * (TOKENS * from * to) as f64 / fastest / 1e9)
}

/// Any numbers around 0.
fn number(i: usize) -> f32 {
    (i.wrapping_mul(2_654_435_761) % 2001) as f32 / 1000.0 - 1.0
}
