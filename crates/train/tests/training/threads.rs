//! Fifty steps, dropout included, on any number of threads: the same bits in every weight.

use crate::common::{Record, Run, data, options, weights};
use hone_kernels_cpu::{CpuBackend, Path, Split, Team};
use hone_train::{Options, ValidSource};
use std::sync::Arc;

#[test]
fn fifty_steps_have_the_same_bits_on_any_number_of_threads() {
    let data = data(ValidSource::None);
    let options = Options {
        max_steps: Some(50),
        batch_size: 8,
        dropout: 0.1,
        attention_dropout: 0.1,
        head_dropout: 0.1,
        shuffle: true,
        ..options()
    };
    for path in Path::all() {
        let run = |threads: usize| {
            let team = Team::with_split(threads, Split::Forced);
            let backend = Arc::new(CpuBackend::with(path, team));
            let mut record = Record::default();
            let run = Run::new(&data, &options);
            let done = run.on(backend.clone(), &mut record).unwrap();
            assert_eq!(done.summary.steps, 50);
            let workers = backend.team().take_most_workers();
            assert!(
                workers >= threads.min(2),
                "{workers} of {threads} threads worked"
            );
            (weights(&done), record.losses)
        };
        let one = run(1);
        for threads in [2, 3, 4] {
            assert!(run(threads) == one, "{path:?}, {threads} threads");
        }
    }
}
