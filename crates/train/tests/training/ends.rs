//! What comes after the last step can be interrupted, and is done again where the model needs it.

use crate::common::{Record, Run, data, options, weights};
use hone_data::Columns;
use hone_kernels_cpu::CpuBackend;
use hone_train::{Cadence, DataSource, Ending, Options, Select, ValidSource};
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
            out: Some(out),
            resume,
            ..Run::new(&data, &options)
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

/// Rows whose label no training text has tell neither a temperature nor a threshold, however many they are: that is said
/// before the first step.
#[test]
fn rows_of_unknown_labels_are_not_counted() {
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, rows: &[(usize, &str)]| {
        let path = files.path().join(name);
        let rows = rows.iter().flat_map(|&(n, label)| {
            (0..n).map(move |i| format!("{} film,{label}\n", ["slow", "rich"][i % 2]))
        });
        std::fs::write(&path, "text,label\n".to_owned() + &rows.collect::<String>()).unwrap();
        path
    };
    let said = |valid: [usize; 2], options: Options| {
        let known = valid[0] / 2;
        let data = DataSource {
            data: file("train.csv", &[(20, "good"), (20, "bad")]),
            valid: ValidSource::File(file(
                "valid.csv",
                &[
                    (known, "good"),
                    (valid[0] - known, "bad"),
                    (valid[1], "odd"),
                ],
            )),
            test: None,
            columns: Columns::default(),
            kind: None,
            split_seed: 0,
        };
        let mut record = Record::default();
        let data = data.read().unwrap();
        let run = Run::new(&data, &options);
        let done = run.on(Arc::new(CpuBackend::new(2)), &mut record);
        assert_eq!(done.is_err(), record.losses.is_empty());
        match done {
            Ok(done) => format!("{:?}", done.summary.calibration.map(|c| c.held_out.rows)),
            Err(error) => error.to_string(),
        }
    };
    let calibrate = || Options {
        calibrate: true,
        max_steps: Some(2),
        ..few_steps()
    };
    let told = said([2, 240], calibrate());
    assert!(
        told.starts_with("--calibrate needs 200 validation rows at least, there are 2 with"),
        "{told}"
    );
    assert_eq!(said([200, 42], calibrate()), "Some(200)");
    let told = said(
        [2, 240],
        Options {
            abstain_precision: Some(0.9),
            ..few_steps()
        },
    );
    assert!(
        told.starts_with(
            "--abstain-precision 0.9 needs 29 validation rows at least, there are 2 with"
        ),
        "{told}"
    );
}
