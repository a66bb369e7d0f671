//! Words that a step's texts do not hold take the step later: the same bits as at once, whatever happens between.

use crate::common::{Record, Run, data, options, weights};
use hone_kernels::{Backend, Reference};
use hone_kernels_cpu::CpuBackend;
use hone_train::{Cadence, Options, Select, ValidSource, WordUpdates};
use std::sync::Arc;

fn check<B: Backend>(backend: impl Fn() -> B, options: &Options) {
    let data = data(ValidSource::Fraction(0.2));
    let run = |words: WordUpdates| {
        let mut record = Record::default();
        let run = Run {
            words,
            ..Run::new(&data, options)
        };
        let done = run.on(Arc::new(backend()), &mut record).unwrap();
        let valid = done.summary.valid.as_ref().map(|v| v.metrics.clone());
        (weights(&done), record.losses, valid)
    };
    assert!(run(WordUpdates::Deferred) == run(WordUpdates::Dense));
}

#[test]
fn deferred_updates_of_words_are_the_dense_ones() {
    // Evaluations between, best weights kept, rows in several micro-batches.
    let evaluating = Options {
        max_steps: Some(60),
        batch_size: 2,
        grad_accum: 2,
        eval_every: Cadence::Steps(7),
        select: Select::Best,
        shuffle: true,
        ..options()
    };
    check(|| CpuBackend::new(2), &evaluating);
    check(Reference::<f64>::default, &evaluating);
    // Embeddings that wake in the middle.
    let waking = Options {
        unfreeze: "step:5".to_owned(),
        ..evaluating.clone()
    };
    check(|| CpuBackend::new(2), &waking);
    // Long enough for moments to decay to nothing.
    let long = Options {
        max_steps: Some(1200),
        batch_size: 1,
        grad_accum: 1,
        eval_every: Cadence::Steps(1000),
        ..evaluating
    };
    check(|| CpuBackend::new(2), &long);
}
