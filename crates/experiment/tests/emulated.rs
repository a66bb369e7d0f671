//! A cross-validation, a study and a range test on the CUDA kernels, which an emulator runs on the host, beside the same
//! on the CPU: many runs, one after another, on one backend.

use hone_data::{Columns, Truncate};
use hone_experiment::study::{Arm, Design, Study, StudyReport};
use hone_experiment::{Combine, CrossVal, CrossValReport, RangeTest};
use hone_kernels::Backend;
use hone_kernels_cpu::CpuBackend;
use hone_kernels_cuda::{CudaBackend, Emulator, Order};
use hone_optim::Warmup;
use hone_train::{
    DataSource, FrozenPrefix, Job, JobData, Options, Output, Pool, Strictness, ValidSource,
    WordUpdates,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn emulated() -> Arc<CudaBackend<Emulator>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated");
    let emulator = Emulator::new(&folder, Order::Random(3)).expect("a C++ compiler");
    Arc::new(CudaBackend::new(emulator).expect("memory"))
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../train/fixtures/trajectory")
}

/// 64 texts in three classes.
fn data() -> JobData {
    let mut data = DataSource {
        data: model().join("train.csv"),
        valid: ValidSource::None,
        test: None,
        columns: Columns::default(),
        kind: None,
        split_seed: 0,
    }
    .read()
    .unwrap();
    data.train.rows.truncate(64);
    data
}

/// Two steps with dropout that move the weights.
fn options() -> Options {
    Options {
        max_steps: Some(2),
        batch_size: 8,
        new_head: true,
        lr: 2e-3,
        head_lr: 2e-2,
        warmup: Warmup::Steps(1),
        dropout: 0.1,
        attention_dropout: 0.1,
        head_dropout: 0.1,
        seed: 3,
        ..Options::default()
    }
}

/// A job of these options that writes into `out`.
fn with_job<T>(options: &Options, out: &Path, f: impl FnOnce(&Job<'_>) -> T) -> T {
    let (model, data) = (model(), data());
    let output = Output::new(out, CrossVal::WORK).unwrap();
    f(&Job {
        model: &model,
        data: &data,
        options,
        max_length: None,
        truncate: Truncate::Head,
        strict: Strictness::Warn,
        out: Some(&output),
        frozen: match &*options.freeze {
            "none" => FrozenPrefix::Recompute,
            _ => FrozenPrefix::Cache,
        },
        words: WordUpdates::Deferred,
        augment: None,
        recipe: None,
        known: None,
    })
}

fn cross_validated<B: Backend>(backend: Arc<B>) -> CrossValReport {
    let out = tempfile::tempdir().unwrap();
    // The lower layer is frozen: its outputs are kept on the host, for all folds.
    let options = Options {
        freeze: "0".to_owned(),
        ..options()
    };
    with_job(&options, out.path(), |job| {
        let crossval = CrossVal {
            job,
            folds: 2,
            repeats: 1,
            inner: Some(0.25),
            split_seed: 1,
            combine: Combine::Soup,
            final_fit: true,
            keep_models: false,
        };
        let stop = AtomicBool::new(false);
        crossval.run(&backend, &mut (), &stop).unwrap().unwrap()
    })
}

fn near(what: &str, cuda: f64, cpu: f64) {
    assert!((cuda - cpu).abs() < 1e-5, "{what}: {cuda} beside {cpu}");
}

#[test]
fn a_cross_validation_is_the_cpus() {
    let cpu = cross_validated(Arc::new(CpuBackend::new(1)));
    let cuda = cross_validated(emulated());
    assert_eq!(cuda.encoder_sha256, cpu.encoder_sha256);
    assert_eq!(cuda.head_sha256, cpu.head_sha256);
    assert_eq!(cuda.plan_sha256, cpu.plan_sha256);
    assert!(cpu.shared_frozen_examples > 0);
    assert_eq!(cuda.shared_frozen_examples, cpu.shared_frozen_examples);
    assert_eq!(cuda.per_fold.len(), 2);
    for (cuda, cpu) in cuda.per_fold.iter().zip(&cpu.per_fold) {
        assert_eq!(cuda.steps, 2);
        near("training", cuda.train_loss, cpu.train_loss);
        near("held out", cuda.held_out.loss(), cpu.held_out.loss());
    }
    let [cuda, cpu] = [cuda, cpu].map(|report| report.final_fit.unwrap().summary.train_loss);
    near("all rows", cuda, cpu);
}

fn studied<B: Backend>(backend: Arc<B>) -> StudyReport {
    let out = tempfile::tempdir().unwrap();
    let base = Options {
        metric: "loss".to_owned(),
        ..options()
    };
    let arms = [Arm {
        name: "mean-pool".to_owned(),
        flags: "--pool mean".to_owned(),
        options: Options {
            pool: Pool::Mean,
            ..base.clone()
        },
        frozen: FrozenPrefix::Recompute,
        augment: None,
    }];
    with_job(&base, out.path(), |job| {
        let study = Study {
            job,
            arms: &arms,
            design: Design {
                pairs: 2,
                folds: 2,
                alpha: 0.05,
                margin: 0.0,
                higher_is_better: false,
            },
            inner: None,
            split_seed: 1,
        };
        let stop = AtomicBool::new(false);
        study.run(&backend, &mut (), &stop).unwrap().unwrap()
    })
}

#[test]
fn a_study_is_the_cpus() {
    let cpu = studied(Arc::new(CpuBackend::new(1)));
    let cuda = studied(emulated());
    let values = |report: &StudyReport| {
        let arm = &report.arms[0];
        [&report.baseline.values[..], &arm.differences[..]].concat()
    };
    let (cuda, cpu) = (values(&cuda), values(&cpu));
    assert_eq!(cuda.len(), 4);
    for (cuda, cpu) in cuda.iter().zip(&cpu) {
        near("a pair", *cuda, *cpu);
    }
    // What is compared is no zero beside a zero.
    assert!(cpu.iter().all(|x| x.abs() > 1e-4), "{cpu:?}");
}

fn ranged<B: Backend>(backend: Arc<B>) -> Vec<f64> {
    let out = tempfile::tempdir().unwrap();
    with_job(&options(), out.path(), |job| {
        let test = RangeTest {
            job,
            from: 1e-5,
            to: 1e-3,
            steps: Some(10),
            repeats: 2,
            held_out: 8,
        };
        let stop = AtomicBool::new(false);
        let report = test.run(&backend, &mut (), &stop).unwrap().unwrap();
        report.mean.losses
    })
}

#[test]
fn a_range_test_is_the_cpus() {
    let cpu = ranged(Arc::new(CpuBackend::new(1)));
    let cuda = ranged(emulated());
    // Measured before every other step.
    assert_eq!(cuda.len(), cpu.len());
    assert!(cpu.len() >= 5);
    for (cuda, cpu) in cuda.iter().zip(&cpu) {
        near("a rate", *cuda, *cpu);
    }
    assert!((cpu[4] - cpu[0]).abs() > 1e-3, "{cpu:?}");
}
