//! The kernels on the emulator through the conformance suite, threads and blocks in three orders.

use half::bf16;
use hone_kernels::conformance::{check, outcomes};
use hone_kernels_cuda::{CudaBackend, Emulator, Order};
use std::path::Path;

fn emulator(order: Order) -> Emulator {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated");
    Emulator::new(&folder, order).expect("a C++ compiler")
}

#[test]
fn as_close_to_f64_as_the_reference() {
    check(&CudaBackend::<Emulator>::new(emulator(Order::Forward)).expect("memory"));
}

#[test]
fn the_order_of_threads_changes_no_bit() {
    let first = emulator(Order::Forward);
    let others = [Order::Reverse, Order::Random(1)].map(|order| first.in_order(order));
    let forward = outcomes(&CudaBackend::<Emulator>::new(first).expect("memory"));
    for other in others {
        let other = outcomes(&CudaBackend::<Emulator>::new(other).expect("memory"));
        for (a, b) in forward.iter().zip(&other) {
            assert_eq!(a.name, b.name);
            let bits = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(&a.values) == bits(&b.values), "{}", a.name);
        }
    }
}

#[test]
fn rounded_activations_are_as_close_as_their_rounding_allows() {
    check(&CudaBackend::<Emulator, bf16>::new(emulator(Order::Reverse)).expect("memory"));
}
