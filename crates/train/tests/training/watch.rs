//! What is watched while a run goes: a verdict on a run that learns by heart, that watching moves no weight, and a
//! collapse that is caught, mended and resumed.

use crate::common::{self, Record, Run, data, options, weights};
use hone_kernels_cpu::CpuBackend;
use hone_optim::Warmup;
use hone_train::watch::{CollapseGuard, Verdict, Watch};
use hone_train::{Cadence, Ending, Event, JobData, Options, Select, ValidSource};
use std::sync::Arc;

fn backend() -> Arc<CpuBackend> {
    Arc::new(CpuBackend::new(2))
}

/// Few training texts and many epochs at a high rate.
fn by_heart() -> (JobData, Options) {
    let mut data = data(ValidSource::Fraction(0.5));
    data.train.rows.truncate(48);
    let options = Options {
        epochs: 40.0,
        batch_size: 8,
        lr: 3e-3,
        head_lr: 3e-3,
        layer_decay: 1.0,
        weight_decay: 0.0,
        shuffle: true,
        eval_every: Cadence::Epochs(4.0),
        ..options()
    };
    (data, options)
}

#[test]
fn a_run_that_learns_by_heart_is_called_overfitting() {
    let (data, options) = by_heart();
    let mut record = Record::default();
    let done = Run::new(&data, &options)
        .on(backend(), &mut record)
        .unwrap();
    let gap = done.summary.gap.unwrap();
    assert_eq!(gap.verdict, Verdict::Overfitting, "{gap:?}");
    assert!(gap.advice.contains("fewer --epochs"), "{}", gap.advice);
    assert_eq!(
        (gap.evaluations, gap.train_rows, gap.valid_rows),
        (10, 32, data.valid.as_ref().unwrap().rows.len())
    );
    assert_eq!(gap.last.step, done.summary.steps);
    assert_eq!(gap.kept, Some(gap.last));
    let valid = done.summary.valid.unwrap().metrics;
    assert_eq!(gap.last.valid.loss, valid.loss());
    assert_eq!(Some(gap.last.valid.metric), valid.value("accuracy"));
    assert!(gap.last.train.loss < 0.1 && gap.last.valid.loss > gap.lowest_valid_loss);
    // The log has both scores of every evaluation.
    let scores: Vec<f64> = record
        .events
        .iter()
        .filter_map(|e| match e {
            Event::Evaluated {
                train, train_rows, ..
            } => {
                assert_eq!(*train_rows, 32);
                Some(train.loss)
            }
            _ => None,
        })
        .collect();
    assert_eq!(scores.len(), 10);
    assert_eq!(scores.last(), Some(&gap.last.train.loss));

    // One epoch of all the texts is no such thing.
    let data = common::data(ValidSource::Fraction(0.25));
    let short = common::options();
    let done = Run::new(&data, &short)
        .on(backend(), &mut Record::default())
        .unwrap();
    let gap = done.summary.gap.unwrap();
    assert!(
        !matches!(gap.verdict, Verdict::Overfitting | Verdict::Unstable),
        "{gap:?}"
    );
}

#[test]
fn watching_moves_no_weight() {
    let (mut data, options) = by_heart();
    let options = Options {
        max_steps: Some(30),
        dropout: 0.1,
        attention_dropout: 0.1,
        head_dropout: 0.1,
        collapse_guard: CollapseGuard::Off,
        ..options
    };
    let bits = |data: &JobData, options: &Options| {
        let done = Run::new(data, options).on(backend(), &mut Record::default());
        weights(&done.unwrap())
    };
    let often = Options {
        eval_every: Cadence::Steps(3),
        collapse_guard: CollapseGuard::Warn,
        ..options.clone()
    };
    let watched = bits(&data, &often);
    data.valid = None;
    assert!(watched == bits(&data, &options));
}

/// A rate of nothing learns nothing: the guard sees it, and the run that begins anew is, bit for bit, the run that
/// would have begun with a quarter of the rate and the longer warm-up.
#[test]
fn a_collapsed_run_begins_anew_and_resumes() {
    let (data, options) = by_heart();
    let hopeless = Options {
        max_steps: Some(60),
        lr: 1e-9,
        head_lr: 1e-9,
        warmup: Warmup::Steps(4),
        eval_every: Cadence::Steps(20),
        select: Select::Best,
        collapse_guard: CollapseGuard::Restart,
        ..options
    };
    let mut record = Record::default();
    let done = Run::new(&data, &hopeless)
        .on(backend(), &mut record)
        .unwrap();
    let restart = done.summary.restart.unwrap();
    assert_eq!((restart.collapse.from, restart.collapse.step), (16, 30));
    assert!(restart.collapse.loss >= restart.collapse.constant);
    assert_eq!((restart.lr, restart.warmup), (2.5e-10, 12));
    assert_eq!(done.summary.steps, 60);
    // Half of the first try, then all of the second, which collapses too and is told so, once.
    assert_eq!(record.losses.len(), 30 + 60);
    let told: Vec<bool> = record
        .events
        .iter()
        .filter_map(|e| match e {
            Event::Collapsed { restart, .. } => Some(restart.is_some()),
            _ => None,
        })
        .collect();
    assert_eq!(told, [true, false]);
    let plain = Options {
        lr: restart.lr,
        head_lr: restart.head_lr,
        warmup: Warmup::Steps(restart.warmup),
        collapse_guard: CollapseGuard::Off,
        ..hopeless.clone()
    };
    let second = Run::new(&data, &plain).on(backend(), &mut Record::default());
    assert!(weights(&done) == weights(&second.unwrap()));

    // Interrupted in the second try; the same in the middle of its validation, which then comes first; and before the
    // verdict of the first try, of whose window the checkpoint has seen five steps.
    for (stop_after, losses) in [(45, 15), (40, 20), (20, 10 + 60)] {
        let folder = tempfile::tempdir().unwrap();
        let mut record = Record {
            stop_after: Some(stop_after),
            ..Record::default()
        };
        let with_out = |resume: bool| Run {
            out: Some(folder.path()),
            resume,
            ..Run::new(&data, &hopeless)
        };
        let broken = with_out(false).on(backend(), &mut record).unwrap();
        assert_eq!(broken.ending, Ending::Interrupted);
        let mut record = Record::default();
        let resumed = with_out(true).on(backend(), &mut record).unwrap();
        assert_eq!(record.losses.len(), losses, "{stop_after}");
        assert_eq!(resumed.summary.restart, Some(restart));
        assert_eq!(resumed.summary.gap, done.summary.gap);
        assert!(weights(&resumed) == weights(&done), "{stop_after}");
    }
}

/// Runs of many score no training rows beside the validation rows: not a bit changes, and there is no verdict.
#[test]
fn what_is_watched_moves_no_weight() {
    let (data, options) = by_heart();
    let model = common::folder();
    let job = hone_train::Job::new(&model, &data, &options);
    let texts = job.tokenise(&mut ()).unwrap();
    let [beside, alone] = [Watch::Sample, Watch::Nothing].map(|watch| {
        let fit = hone_train::Fit {
            train: &texts.train.examples,
            augment: None,
            valid: texts.valid.as_ref().map(|v| &v.examples),
            watch,
            head_seed: 1,
            marks: Default::default(),
            prefix: None,
            begun: None,
        };
        let mut record = Record::default();
        let stop = record.stop.clone();
        let fitted = job.fit(fit, backend(), &mut record, &stop).unwrap();
        (fitted.model.download().unwrap(), fitted.outcome)
    });
    assert!(beside.0 == alone.0);
    let metrics = |outcome: &hone_train::Outcome| outcome.valid.clone().unwrap().metrics;
    assert_eq!(metrics(&beside.1), metrics(&alone.1));
    assert!(beside.1.gap.is_some() && alone.1.gap.is_none());
}

#[test]
fn a_run_that_learns_is_left_alone() {
    let (data, options) = by_heart();
    let bits = |collapse_guard: CollapseGuard| {
        let options = Options {
            collapse_guard,
            ..options.clone()
        };
        let done = Run::new(&data, &options)
            .on(backend(), &mut Record::default())
            .unwrap();
        assert_eq!(done.summary.restart, None);
        weights(&done)
    };
    assert!(bits(CollapseGuard::Restart) == bits(CollapseGuard::Off));
    let focal = Options {
        focal_loss: 2.0,
        collapse_guard: CollapseGuard::Restart,
        ..options.clone()
    };
    let refused = Run::new(&data, &focal).on(backend(), &mut Record::default());
    let error = refused.err().unwrap().to_string();
    assert!(
        error.contains("--collapse-guard") && error.contains("--focal-loss"),
        "{error}"
    );
}
