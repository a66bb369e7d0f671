//! What of CUDA this machine has, by name; with a card also a first operation on it.
//!
//!     cargo run -p hone-kernels-cuda --example card -- [NUMBER]
//!
//! `NUMBER` is the card's, 0 if none is given. Without a card it says what is missing, and that is all: the same program runs
//! on either kind of machine.

use hone_kernels::Backend;
use hone_kernels_cuda::nvrtc::Nvrtc;
use hone_kernels_cuda::{Act, Card, CudaBackend, card, images};
use std::process::ExitCode;

/// Numbers to fill on the card.
const LEN: usize = 1 << 20;

fn main() -> ExitCode {
    let ordinal = match std::env::args().nth(1).map(|text| text.parse::<usize>()) {
        None => 0,
        Some(Ok(ordinal)) => ordinal,
        Some(Err(_)) => {
            eprintln!("NUMBER: the card's number, from 0, was expected");
            return ExitCode::FAILURE;
        }
    };
    let found = |there: bool| if there { "found" } else { "missing" };
    println!("NVIDIA's driver: {}", found(card::has_driver()));
    match Nvrtc::load(None) {
        Ok(compiler) => println!("NVRTC: {}", compiler.path().display()),
        Err(_) => println!("NVRTC: missing; images of the kernels stand in for it"),
    }
    println!(
        "images of the kernels in this binary: {}",
        images::embedded()
    );
    let missing = card::missing();
    if !missing.is_empty() {
        println!(
            "no card can be used here: {} missing; models run on the processor",
            missing.join(", ")
        );
        return ExitCode::SUCCESS;
    }
    match fill(ordinal) {
        Ok(line) => println!("{line}"),
        Err(error) => {
            eprintln!("card {ordinal}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Fills numbers on the card, and says on which.
fn fill(ordinal: usize) -> Result<String, hone_kernels::BackendError> {
    let b = CudaBackend::<Card>::new(Card::open(ordinal, <f32 as Act>::NUMBER, None)?)?;
    let mut x = b.alloc::<f32>(LEN)?;
    b.fill(0.5, b.all_mut(&mut x));
    let mut first = [0.0; 4];
    b.download(b.head(&x, first.len()), &mut first)?;
    let peak = b.peak_memory().unwrap_or(0) / 1_000_000;
    Ok(format!(
        "{}: {LEN} numbers filled, the first are {first:?}; {peak} MB at most",
        b.path()
    ))
}
