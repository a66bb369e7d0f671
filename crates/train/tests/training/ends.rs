//! What comes after the last step can be interrupted, and is done again where the model needs it.

use crate::common::{Record, Run, data, options, weights};
use hone_kernels_cpu::CpuBackend;
use hone_train::{Cadence, Ending, Options, Select, ValidSource, WordUpdates};
use std::sync::Arc;

const STEPS: usize = 12;

fn few_steps() -> Options {
    Options {
        max_steps: Some(STEPS),
        eval_every: Cadence::Steps(4),
        select: Select::Best,
        ..options()
    }
}

/// A run whose reading of test texts is cut off, gone on with, and the same in one piece: the same model and figures.
#[track_caller]
fn check(options: Options, ends: Ending, resumes: bool) {
    let mut data = data(ValidSource::Fraction(0.6));
    data.test.clone_from(&data.valid);
    let folder = tempfile::tempdir().unwrap();
    let [whole, broken] = ["whole", "broken"].map(|name| folder.path().join(name));
    let run = |out, resume, cut_after| {
        let mut record = Record {
            cut_after,
            ..Record::default()
        };
        let run = Run {
            data: &data,
            options: &options,
            out: Some(out),
            resume,
            words: WordUpdates::Deferred,
        };
        run.on(Arc::new(CpuBackend::new(2)), &mut record).unwrap()
    };
    let last = Some(STEPS).filter(|_| options.patience.is_none());
    let done = run(&whole, false, None);
    let cut_after = last.or(Some(done.summary.steps));
    let cut = run(&broken, false, cut_after);
    assert_eq!(cut.ending, ends);
    assert_eq!(broken.join("checkpoints").exists(), resumes);
    assert_eq!(broken.join("summary.json").exists(), !resumes);
    if !resumes {
        assert_eq!(cut.summary.unread, ["test"]);
        assert_eq!(weights(&cut), weights(&done));
        return;
    }
    let again = run(&broken, true, None);
    assert_eq!(again.ending, done.ending);
    assert_eq!(weights(&again), weights(&done));
    let json = |summary| {
        let mut json = serde_json::to_value(summary).unwrap();
        let fields = json.as_object_mut().unwrap();
        for timed in [
            "seconds",
            "tokens_per_s",
            "peak_memory_bytes",
            "planned_memory_bytes",
        ] {
            fields.remove(timed);
        }
        json
    };
    assert_eq!(json(&again.summary), json(&done.summary));
    assert!(!broken.join("checkpoints").exists());
}

#[test]
fn figures_alone_are_left_out() {
    check(few_steps(), Ending::Done, false);
}

#[test]
fn a_threshold_is_found_after_all() {
    let options = Options {
        abstain_precision: Some(0.6),
        ..few_steps()
    };
    check(options, Ending::Interrupted, true);
}

#[test]
fn a_temperature_is_found_after_a_run_that_stopped_early() {
    let options = Options {
        calibrate: true,
        max_steps: Some(400),
        patience: Some(1),
        ..few_steps()
    };
    check(options, Ending::Interrupted, true);
}
