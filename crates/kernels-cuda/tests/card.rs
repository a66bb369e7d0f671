//! The kernels on a real card, where there is one: the suite the emulator passes, and the same bits run after run.
//! Without a driver each test says that it skips.

use half::bf16;
use hone_kernels::conformance::{check, outcomes};
use hone_kernels_cuda::{Act, Card, CudaBackend, card};
use std::path::Path;

/// The first card.
fn first<A: Act>() -> Option<CudaBackend<Card, A>> {
    let missing = card::missing();
    if !missing.is_empty() {
        eprintln!("skipped: {} could not be loaded", missing.join(" and "));
        return None;
    }
    let images = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    let card = Card::open(0, A::NUMBER, Some(&images)).expect("a card that can be opened");
    Some(CudaBackend::new(card).expect("memory"))
}

fn the_same_bits_again<A: Act>() {
    let Some(backend) = first::<A>() else { return };
    let one = outcomes(&backend);
    for _ in 0..3 {
        for (a, b) in one.iter().zip(&outcomes(&backend)) {
            let bits = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(&a.values) == bits(&b.values), "{}", a.name);
        }
    }
}

#[test]
fn f32_is_as_close_to_f64_as_the_reference() {
    if let Some(backend) = first::<f32>() {
        check(&backend);
    }
}

#[test]
fn bf16_is_as_close_as_its_rounding_allows() {
    if let Some(backend) = first::<bf16>() {
        check(&backend);
    }
}

#[test]
fn the_same_bits_run_after_run() {
    the_same_bits_again::<f32>();
    the_same_bits_again::<bf16>();
}
