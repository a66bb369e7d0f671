//! Pre-training on masked words: it learns, any number of threads gives its bits, and so does going on after an interruption;
//! what it saves is gone on with and fine-tuned.

use crate::common::{Record, distance, folder, largest, output};
use hone_bert::{HeadChoice, Model, Task};
use hone_data::Columns;
use hone_data::masking::Unit;
use hone_kernels::{Backend, Reference};
use hone_kernels_cpu::{CpuBackend, Path as KernelPath, Split, Team};
use hone_tensor::{Real, SafetensorsFile};
use hone_train::{
    Cadence, Ending, Event, Options, Pretrained, Pretraining, RawSource, RawTexts, Select,
    TrainError, ValidSource,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn texts(valid: ValidSource) -> RawTexts {
    RawSource {
        data: folder().join("train.csv"),
        valid,
        columns: Columns::default(),
        split_seed: 0,
    }
    .read()
    .unwrap()
}

fn options() -> Options {
    Options {
        max_steps: Some(24),
        batch_size: 16,
        lr: 1e-3,
        head_lr: 5e-3,
        eval_every: Cadence::Steps(7),
        metric: "loss".to_owned(),
        select: Select::Best,
        dropout: 0.1,
        ..Options::default()
    }
}

/// A run with a model of the fixture's shape, or of another folder.
fn run<B: Backend>(
    backend: Arc<B>,
    model: &Path,
    options: &Options,
    (out, resume): (Option<&Path>, bool),
    stop_after: Option<usize>,
) -> (Result<Pretrained<B>, TrainError>, Record) {
    let texts = texts(ValidSource::Fraction(0.2));
    let mut record = Record {
        stop_after,
        ..Record::default()
    };
    let stop = record.stop.clone();
    stop.store(false, Ordering::SeqCst);
    let out = output(out, resume).unwrap();
    let done = Pretraining {
        model,
        texts: &texts,
        options,
        max_length: Some(12),
        share: 0.3,
        unit: Unit::Words,
        out: out.as_ref(),
    }
    .run(backend, &mut record, &stop);
    (done, record)
}

fn weights<B: Backend>(model: &Model<B>) -> Vec<f64> {
    let whole = 0..model.layout().table.len();
    let mut host = vec![B::Master::default(); whole.len()];
    let b = model.backend();
    b.download(b.param(model.params(), whole), &mut host)
        .unwrap();
    host.into_iter().map(Real::to_f64).collect()
}

const NOWHERE: (Option<&Path>, bool) = (None, false);

#[test]
fn it_learns_and_threads_change_no_bit() {
    let team = |threads| {
        let team = Team::with_split(threads, Split::Forced);
        Arc::new(CpuBackend::with(KernelPath::detect(), team))
    };
    let (one, record) = run(team(1), &folder(), &options(), NOWHERE, None);
    let one = one.unwrap();
    let before = one.summary.before.as_ref().unwrap().loss();
    let after = one.summary.valid.as_ref().unwrap().metrics.loss();
    // A new head says all of 43 words alike.
    assert!((before - 43f64.ln()).abs() < 0.5, "{before}");
    // The words of these texts are drawn from 38 alike: there is little to learn.
    assert!(after < before - 0.05, "{before} {after}");
    let chosen = record.events.iter().filter_map(|event| match event {
        Event::Evaluated { selected, .. } => Some(*selected),
        _ => None,
    });
    assert_eq!(chosen.fold(f64::INFINITY, f64::min), after);
    for threads in [2, 3] {
        let (many, other) = run(team(threads), &folder(), &options(), NOWHERE, None);
        assert!(weights(&one.model) == weights(&many.unwrap().model));
        assert_eq!(record.losses, other.losses);
    }
}

/// Each epoch masks other words; what is validated stays the same, whatever the seed.
#[test]
fn epochs_mask_anew_and_validation_does_not() {
    let b = || Arc::new(Reference::<f64>::default());
    let still = Options {
        lr: 0.0,
        head_lr: 0.0,
        dropout: 0.0,
        attention_dropout: 0.0,
        shuffle: false,
        max_steps: Some(62),
        ..options()
    };
    let (done, record) = run(b(), &folder(), &still, NOWHERE, None);
    let valid = |record: &Record| {
        let all = record.events.iter().filter_map(|event| match event {
            Event::Evaluated { selected, .. } => Some(*selected),
            _ => None,
        });
        all.collect::<Vec<f64>>()
    };
    let first = valid(&record)[0];
    assert!(valid(&record).iter().all(|&loss| loss == first));
    assert_eq!(done.unwrap().summary.before.unwrap().loss(), first);
    // 483 windows in the same order: the same masks would have the same losses.
    let (first, second) = record.losses.split_at(31);
    assert_eq!(first.len(), second.len());
    let alike = first.iter().zip(second).filter(|(a, b)| a == b);
    assert_eq!(alike.count(), 0);
}

/// A step is the mean over its masked words, however it is cut into micro-batches.
#[test]
fn micro_batches_change_nothing_but_rounding() {
    let with = |options: &Options| {
        let b = Arc::new(Reference::<f64>::default());
        weights(&run(b, &folder(), options, NOWHERE, None).0.unwrap().model)
    };
    let short = Options {
        max_steps: Some(4),
        ..options()
    };
    let whole = with(&short);
    let cut = Options {
        max_tokens: 40,
        ..short.clone()
    };
    let accumulated = Options {
        batch_size: 4,
        grad_accum: 4,
        ..short
    };
    for other in [cut, accumulated] {
        let other = with(&other);
        let far = distance(&whole, &other);
        assert!(far > 0.0 && far < 1e-9 * largest(&whole), "{far}");
    }
}

#[test]
fn it_goes_on_bit_for_bit_and_what_it_saves_is_a_model() {
    let out = tempfile::tempdir().unwrap();
    let b = || Arc::new(CpuBackend::new(2));
    let (whole, told) = run(b(), &folder(), &options(), NOWHERE, None);
    let whole = whole.unwrap();
    let path = out.path().join("run");
    let at = |resume| (Some(path.as_path()), resume);
    let (stopped, _) = run(b(), &folder(), &options(), at(false), Some(9));
    assert_eq!(stopped.unwrap().ending, Ending::Interrupted);
    assert!(!path.join("model.safetensors").exists());
    // With other masks it would be another run.
    let other = Options {
        seed: 1,
        ..options()
    };
    let refused = run(b(), &folder(), &other, at(true), None).0;
    assert!(refused.unwrap_err().to_string().contains("seed"));
    let (done, rest) = run(b(), &folder(), &options(), at(true), None);
    let done = done.unwrap();
    assert!(weights(&whole.model) == weights(&done.model));
    assert_eq!(told.losses[9..], rest.losses);
    assert!(!path.join("checkpoints").exists());

    // The folder holds the head and the encoder, and the pooler as it was.
    let file = |folder: &Path| SafetensorsFile::open(&folder.join("model.safetensors")).unwrap();
    let (was, is) = (file(&folder()), file(&path));
    for name in ["bert.pooler.dense.weight", "bert.pooler.dense.bias"] {
        assert_eq!(was.read_f32(name).unwrap(), is.read_f32(name).unwrap());
    }
    let load = |task, labels| Model::load(b(), &path, task, labels, &HeadChoice::Stored, 0);
    let (again, receipt) = load(Task::Mask, Vec::new()).unwrap();
    assert!(
        receipt.initialised.is_empty() && receipt.ignored.is_empty(),
        "{receipt}"
    );
    assert!(weights(&again) == weights(&done.model));
    let labels = vec!["a".to_owned(), "b".to_owned()];
    let (tuned, receipt) = load(Task::Classify, labels).unwrap();
    let drawn: Vec<&str> = receipt
        .initialised
        .iter()
        .map(|(name, _)| &name[..])
        .collect();
    assert_eq!(drawn, ["classifier.weight", "classifier.bias"]);
    assert!(
        receipt
            .ignored
            .iter()
            .all(|name| name.starts_with("cls.predictions."))
    );
    let row = tuned
        .layout()
        .table
        .index("bert.encoder.layer.0.output.dense.weight");
    let own = tuned.download().unwrap().swap_remove(row.unwrap());
    assert_eq!(
        own,
        is.read_f32("bert.encoder.layer.0.output.dense.weight")
            .unwrap()
    );
    // Nothing here answers labels.
    let said = Model::open(b(), &path).map(|_| ()).unwrap_err().to_string();
    assert!(
        said.contains("BertForMaskedLM") && said.contains("hone train"),
        "{said}"
    );

    // Gone on with from that folder, the head begins where it was.
    let (more, _) = run(b(), &path, &options(), NOWHERE, None);
    let before = more.unwrap().summary.before.unwrap().loss();
    let after = done.summary.valid.unwrap().metrics.loss();
    assert!((before - after).abs() < 1e-6, "{before} {after}");
}

/// Nothing of a long text is cut off, and equal texts stay on one side of the split.
#[test]
fn every_piece_is_read() {
    let all = texts(ValidSource::None);
    assert_eq!((all.train.rows.len(), all.valid.is_none()), (400, true));
    let (_, record) = run(
        Arc::new(Reference::<f32>::default()),
        &folder(),
        &Options {
            max_steps: Some(1),
            ..options()
        },
        NOWHERE,
        None,
    );
    let notes: Vec<&str> = record
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Note { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert!(
        notes
            .iter()
            .any(|n| n.starts_with("training: 320 texts in 483 windows")),
        "{notes:?}"
    );
    assert!(
        notes.iter().any(|n| n.ends_with("nothing is cut off")),
        "{notes:?}"
    );
    let half = texts(ValidSource::Fraction(0.5));
    let key = |part: &hone_data::Part| -> std::collections::BTreeSet<String> {
        part.rows.iter().map(|row| row.text.clone()).collect()
    };
    assert!(key(&half.train).is_disjoint(&key(&half.valid.unwrap())));
}

#[test]
fn options_about_labels_are_refused() {
    for (options, says) in [
        (
            Options {
                label_smoothing: 0.1,
                ..options()
            },
            "--label-smoothing",
        ),
        (
            Options {
                r_drop: 1.0,
                ..options()
            },
            "--r-drop",
        ),
        (
            Options {
                collapse_guard: hone_train::watch::CollapseGuard::Restart,
                ..options()
            },
            "--collapse-guard restart",
        ),
    ] {
        let b = Arc::new(Reference::<f32>::default());
        let said = run(b, &folder(), &options, NOWHERE, None).0.unwrap_err();
        assert!(said.to_string().contains(says), "{said}");
    }
}
