//! A run goes on from its newest whole checkpoint, to the same weights.

use crate::common::{self, Record, Run, data, options, weights};
use hone_kernels_cpu::CpuBackend;
use hone_optim::Warmup;
use hone_train::{
    Cadence, Ending, Event, Job, Options, Output, Select, TrainError, ValidSource, Work,
};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What a damaged checkpoint says, and where the run then goes on.
fn told(record: &Record) -> (Vec<&str>, Vec<(usize, usize)>) {
    let (mut warnings, mut from) = (Vec::new(), Vec::new());
    for event in &record.events {
        match event {
            Event::Warning { text } if text.contains("checkpoint") => warnings.push(text.as_str()),
            Event::Resumed {
                step, evaluated, ..
            } => from.push((*step, *evaluated)),
            _ => {}
        }
    }
    (warnings, from)
}

#[test]
fn a_damaged_checkpoint_is_passed_over_where_an_older_one_is_whole() {
    let data = data(ValidSource::Fraction(0.3));
    let options = Options {
        max_steps: Some(14),
        eval_every: Cadence::Steps(3),
        select: Select::Best,
        dropout: 0.1,
        ..options()
    };
    let folder = tempfile::tempdir().unwrap();
    let run = |out: &Path, resume, stop_after| {
        let mut record = Record {
            stop_after,
            ..Record::default()
        };
        let run = Run {
            out: Some(out),
            resume,
            ..Run::new(&data, &options)
        };
        let done = run.on(Arc::new(CpuBackend::new(2)), &mut record);
        (done, record)
    };
    let whole = weights(&run(&folder.path().join("whole"), false, None).0.unwrap());
    let out = folder.path().join("damaged");
    let checkpoint = |step: usize| out.join(format!("checkpoints/step-{step}"));
    let kept = folder.path().join("kept");
    assert_eq!(
        run(&out, false, Some(4)).0.unwrap().ending,
        Ending::Interrupted
    );
    // As a crash between two checkpoints leaves it: both stand there.
    fs::rename(checkpoint(4), &kept).unwrap();
    fs::create_dir(checkpoint(4)).unwrap();
    for file in fs::read_dir(&kept).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), checkpoint(4).join(file.file_name())).unwrap();
    }
    assert_eq!(
        run(&out, true, Some(8)).0.unwrap().ending,
        Ending::Interrupted
    );
    fs::rename(&kept, checkpoint(4)).unwrap();
    let damaged = checkpoint(8).join("optimizer.safetensors");
    let bytes = fs::read(&damaged).unwrap();
    fs::write(&damaged, &bytes[..bytes.len() - 1]).unwrap();
    // Its own step is saved anew.
    let (done, record) = run(&out, true, Some(8));
    assert_eq!(done.unwrap().ending, Ending::Interrupted);
    let (warnings, from) = told(&record);
    assert_eq!(from, [(4, 3)]);
    assert!(
        warnings.len() == 1 && warnings[0].contains("step-8/optimizer.safetensors: it is damaged"),
        "{warnings:?}"
    );
    assert!(checkpoint(8).is_dir() && !checkpoint(4).exists());
    let (done, record) = run(&out, true, None);
    assert_eq!(told(&record), (Vec::new(), vec![(8, 6)]));
    assert!(weights(&done.unwrap()) == whole);
    assert!(!out.join("checkpoints").exists());
}

/// Where none is whole the run does not begin once more.
#[test]
fn no_whole_checkpoint_is_an_error() {
    let data = data(ValidSource::None);
    let options = Options {
        max_steps: Some(6),
        ..options()
    };
    let out = tempfile::tempdir().unwrap();
    let run = |resume, stop_after| {
        let mut record = Record {
            stop_after,
            ..Record::default()
        };
        let run = Run {
            out: Some(out.path()),
            resume,
            ..Run::new(&data, &options)
        };
        (
            run.on(Arc::new(CpuBackend::new(1)), &mut record)
                .map(|done| done.ending),
            record.losses.len(),
        )
    };
    assert!(matches!(run(false, Some(2)), (Ok(Ending::Interrupted), 2)));
    fs::remove_file(out.path().join("checkpoints/step-2/weights.safetensors")).unwrap();
    let (done, steps) = run(true, None);
    assert!(matches!(done, Err(TrainError::Checkpoint { .. })) && steps == 0);
}

/// A second run with the folder of a first one is refused before its first step, and the first one's model stays.
#[test]
fn a_second_run_does_not_take_the_first_ones_place() {
    let data = data(ValidSource::None);
    let options = Options {
        max_steps: Some(2),
        warmup: Warmup::Steps(0),
        ..options()
    };
    let folder = tempfile::tempdir().unwrap();
    let out = Output::new(folder.path(), Work::RUN).unwrap();
    let model = common::folder();
    let job = Job {
        out: Some(&out),
        ..Job::new(&model, &data, &options)
    };
    let run = || {
        let mut record = Record::default();
        let stop = AtomicBool::new(false);
        let done = job.run(Arc::new(CpuBackend::new(1)), &mut record, &stop);
        (record.losses.len(), done.map(drop))
    };
    assert!(matches!(run(), (2, Ok(()))));
    let saved = std::fs::read(out.join("model.safetensors")).unwrap();
    let (steps, again) = run();
    let said = again.unwrap_err().to_string();
    assert!(
        steps == 0 && said.contains("already holds a run (summary.json)"),
        "{said}"
    );
    assert!(saved == std::fs::read(out.join("model.safetensors")).unwrap());
}
