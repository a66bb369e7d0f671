//! Does the emulator notice a missing barrier? Each `__syncthreads()` and `__syncwarp()` of the kernels is removed in
//! turn, and the conformance suite has to fail.
//!
//! The whole table, attention included, takes about a minute:
//! `cargo test -p hone-kernels-cuda --test mutation -- --ignored --nocapture`.

use half::bf16;
use hone_kernels::conformance::check;
use hone_kernels::{Backend, BackendError};
use hone_kernels_cuda::emulator::Sources;
use hone_kernels_cuda::{CudaBackend, Emulator, Number, Order};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

const BARRIERS: [&str; 2] = ["__syncthreads();", "__syncwarp();"];
const ORDERS: [Order; 3] = [Order::Forward, Order::Reverse, Order::Random(3)];

/// A barrier: file, line, what it is, and the file without it.
struct Mutant {
    file: &'static str,
    line: usize,
    barrier: &'static str,
    text: String,
}

fn mutants(only: impl Fn(&str) -> bool) -> Vec<Mutant> {
    let mut out = Vec::new();
    for (file, text) in Sources::embedded().files {
        if !only(file) {
            continue;
        }
        for barrier in BARRIERS {
            for (at, _) in text.match_indices(barrier) {
                let mut without = text.clone();
                without.replace_range(at..at + barrier.len(), ";");
                out.push(Mutant {
                    file,
                    line: text[..at].lines().count(),
                    barrier,
                    text: without,
                });
            }
        }
    }
    out
}

/// In which order of threads the suite fails, and what it says first.
fn caught(mutant: &Mutant, folder: &Path) -> Option<(Order, String)> {
    let mut sources = Sources::embedded().with(mutant.file, mutant.text.clone());
    let rounded = hone_kernels_cuda::sources::acts(mutant.file) == [Number::Bf16];
    sources.acts = vec![if rounded { Number::Bf16 } else { Number::F32 }];
    let emulator =
        Emulator::with_sources(folder, Order::Forward, &sources).expect("a C++ compiler");
    ORDERS.into_iter().find_map(|order| {
        let emulator = emulator.in_order(order);
        let said = match rounded {
            true => fails(CudaBackend::<Emulator, bf16>::new(emulator)),
            false => fails(CudaBackend::<Emulator, f32>::new(emulator)),
        }?;
        let said = said
            .downcast_ref::<String>()
            .map_or("a panic", String::as_str);
        let first = said.lines().nth(1).or(said.lines().next()).unwrap_or("");
        Some((order, first.chars().take(110).collect()))
    })
}

/// What the suite panics with.
fn fails<B: Backend>(backend: Result<B, BackendError>) -> Option<Box<dyn Any + Send>> {
    let backend = backend.expect("memory");
    catch_unwind(AssertUnwindSafe(|| check(&backend))).err()
}

fn every_one_is_caught(mutants: &[Mutant]) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated");
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found: Vec<_> = mutants.iter().map(|m| caught(m, &folder)).collect();
    std::panic::set_hook(loud);
    let mut alive = Vec::new();
    for (m, found) in mutants.iter().zip(found) {
        let name = format!("{}.cu:{} {}", m.file, m.line, m.barrier);
        match found {
            Some((order, said)) => println!("{name:<36} {order:?}: {said}"),
            None => alive.push(name),
        }
    }
    assert!(alive.is_empty(), "not noticed:\n{}", alive.join("\n"));
}

#[test]
fn barriers_of_sums_are_missed_when_gone() {
    let mutants = mutants(|file| !file.starts_with("attention"));
    assert!(mutants.len() >= 6);
    every_one_is_caught(&mutants);
}

#[test]
#[ignore = "about a minute of compiling"]
fn every_barrier_is_missed_when_gone() {
    let mutants = mutants(|_| true);
    assert!(mutants.len() >= 20);
    every_one_is_caught(&mutants);
}
