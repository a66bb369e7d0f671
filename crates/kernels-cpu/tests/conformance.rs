//! Every path of the CPU backend through the conformance suite.

use hone_kernels::conformance;
use hone_kernels_cpu::CpuBackend;

#[test]
fn every_path_is_as_close_to_f64_as_the_reference() {
    for threads in [1, 3] {
        for backend in CpuBackend::every_path(threads) {
            conformance::check(&backend);
        }
    }
}
