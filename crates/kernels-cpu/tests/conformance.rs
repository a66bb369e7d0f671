//! Every path of the CPU backend through the conformance suite; its bits, and who computed them.

use hone_kernels::Reference;
use hone_kernels::conformance::{check, check_not_numbers, outcomes, outcomes_watched, verdicts};
use hone_kernels_cpu::{CpuBackend, Path, Split, Team};
use std::collections::BTreeMap;

#[test]
fn every_path_is_as_close_to_f64_as_the_reference() {
    for threads in [1, 3] {
        for backend in CpuBackend::every_path(threads) {
            check(&backend);
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    check_not_numbers(&Reference::<f64>::default());
    for backend in CpuBackend::every_path(2) {
        check_not_numbers(&backend);
    }
}

/// Operations whose operands the path in bf16 rounds.
fn rounds(name: &str) -> bool {
    ["linear", "head_linear"]
        .iter()
        .any(|op| name.starts_with(op))
        || ["product with", "backward through"]
            .iter()
            .any(|use_| name.contains(use_))
}

/// What rounding an operand to bf16 changes at most, 2⁻⁹ of it, as a multiple of f32's ε.
const COARSER: f64 = 16384.0;

#[test]
fn products_in_bf16_round_their_operands_and_nothing_else_is_rounded() {
    let Some(path) = Path::rounded() else {
        eprintln!("skipped: this processor does not multiply bf16");
        return;
    };
    for threads in [1, 3] {
        let backend = CpuBackend::with(path, Team::with_split(threads, Split::Forced));
        let mut rounded = 0;
        for v in verdicts(&backend) {
            match rounds(&v.name) {
                true => assert!(
                    v.error <= COARSER * v.bound,
                    "{}: {:e}, {:e} allowed",
                    v.name,
                    v.error,
                    COARSER * v.bound
                ),
                false => assert_eq!(v.complaint, None, "{}", v.name),
            }
            rounded += usize::from(v.complaint.is_some());
        }
        assert!(rounded > 0, "no operand was rounded");
    }
}

/// Operations over a row a text, or over nothing but a few numbers: one thread does them.
const ALONE: [&str; 8] = [
    "softmax_loss",
    "symmetric_kl",
    "sigmoid_loss",
    "squared_loss",
    "scatter_add_rows",
    "clip_coefficient",
    "fill",
    "fetch",
];

/// The operation an output's name begins with, or one that the suite names by its output alone.
fn operation(name: &str) -> String {
    let first = name.split([' ', ',']).next().unwrap_or(name);
    let output = name.rsplit(", ").next().unwrap_or(name);
    let backward = match (first, output) {
        ("add_norm", "dsum" | "dx") => "add_norm_backward",
        ("add_norm", o) if o.starts_with("dweight") || o.starts_with("dbias") => "norm_param_grad",
        ("attention", o) if o.contains('d') => "attention_backward",
        _ => first,
    };
    backward.to_owned()
}

#[test]
fn threads_change_no_bit_of_any_operation_and_all_of_them_work() {
    for path in Path::every() {
        let one = outcomes(&CpuBackend::with(path, Team::new(1)));
        for threads in [2, 3, 4] {
            let backend = CpuBackend::with(path, Team::with_split(threads, Split::Forced));
            let mut workers: BTreeMap<String, usize> = BTreeMap::new();
            let many = outcomes_watched(&backend, &mut |name| {
                // Nobody at all since the last output: the caller did it without the team.
                let nobody = backend.team().take_most_workers() == 0;
                let worked = if nobody {
                    1
                } else {
                    backend.team().last_workers()
                };
                let most = workers.entry(operation(name)).or_default();
                *most = worked.max(*most);
            });
            for (one, many) in one.iter().zip(&many) {
                assert_eq!(one.name, many.name);
                let bits = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert!(
                    bits(&one.values) == bits(&many.values),
                    "{path:?}, {threads} threads: {}",
                    one.name
                );
            }
            workers.retain(|operation, &mut worked| {
                worked < 2 && !ALONE.contains(&operation.as_str())
            });
            assert!(
                workers.is_empty(),
                "{path:?}, {threads} threads: one alone did {workers:?}"
            );
        }
    }
}
