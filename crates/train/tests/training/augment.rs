//! Augmented training texts: the same bits after a stop, never a validation text, never a batch beyond the plan.

use crate::common::{Record, data, folder, options, output, weights};
use hone_bert::Config;
use hone_data::augment::{Augmenter, Protection, Sources};
use hone_data::{TaskKind, Tokenizer, Truncate};
use hone_kernels_cpu::CpuBackend;
use hone_train::{
    BatchPlan, Done, EpochTexts, Epochs, Event, Job, JobData, Options, Order, Select, Tokenising,
    TrainError, ValidSource, task_of,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Moves, drops and misspells words of the tiny vocabulary; slips lengthen texts in pieces.
const SPEC: &str = "swap:0.3,delete:0.3,typing:0.3+case:0.5,keep:0.1";

fn augmenter(spec: &str, data: &JobData) -> Augmenter {
    let protection = Protection::new(data.labels.names(), &[]);
    let plan = spec.parse().unwrap();
    Augmenter::new(
        plan,
        protection,
        &data.train.rows,
        TaskKind::Classify,
        &Sources::default(),
    )
    .unwrap()
}

fn run(
    data: &JobData,
    options: &Options,
    augment: Option<&Augmenter>,
    out: Option<&Path>,
    resume: bool,
    record: &mut Record,
) -> Result<Done<CpuBackend>, TrainError> {
    let stop = record.stop.clone();
    stop.store(false, Ordering::SeqCst);
    let out = output(out, resume)?;
    Job {
        out: out.as_ref(),
        augment,
        ..Job::new(&folder(), data, options)
    }
    .run(Arc::new(CpuBackend::new(2)), record, &stop)
}

fn three_epochs() -> Options {
    Options {
        epochs: 3.0,
        batch_size: 16,
        shuffle: true,
        dropout: 0.1,
        augment: SPEC.to_owned(),
        ..options()
    }
}

#[test]
fn a_stopped_run_goes_on_with_the_same_texts() {
    let data = data(ValidSource::Fraction(0.2));
    let augmenter = augmenter(SPEC, &data);
    let options = three_epochs();
    let whole = run(
        &data,
        &options,
        Some(&augmenter),
        None,
        false,
        &mut Record::default(),
    )
    .unwrap();
    let out = tempfile::tempdir().unwrap();
    // Within the second epoch.
    let mut record = Record {
        stop_after: Some(27),
        ..Record::default()
    };
    run(
        &data,
        &options,
        Some(&augmenter),
        Some(out.path()),
        false,
        &mut record,
    )
    .unwrap();
    // Another specification is another run.
    const OTHER: &str = "swap:0.3,keep:0.1";
    let other = Options {
        augment: OTHER.to_owned(),
        ..options.clone()
    };
    let error = run(
        &data,
        &other,
        Some(&self::augmenter(OTHER, &data)),
        Some(out.path()),
        true,
        &mut Record::default(),
    );
    let error = error.err().unwrap().to_string();
    assert!(
        error.contains("--augment") && error.contains("checkpoint"),
        "{error}"
    );
    let resumed = run(
        &data,
        &options,
        Some(&augmenter),
        Some(out.path()),
        true,
        &mut Record::default(),
    )
    .unwrap();
    assert_eq!(weights(&whole), weights(&resumed));
    let plain = Options {
        augment: "none".to_owned(),
        ..options
    };
    let plain = run(&data, &plain, None, None, false, &mut Record::default()).unwrap();
    assert_ne!(weights(&whole), weights(&plain));
}

/// At a rate of nothing the weights stay, so the validation figures tell what texts were read.
#[test]
fn validation_texts_are_never_changed() {
    let data = data(ValidSource::Fraction(0.2));
    let augmenter = augmenter("swap:0.9,delete:0.9,keep:0", &data);
    let still = Options {
        lr: 0.0,
        head_lr: 0.0,
        dropout: 0.0,
        select: Select::Best,
        ..three_epochs()
    };
    let figures = |augment: Option<&Augmenter>| {
        let mut record = Record::default();
        let named = augment.map_or("none".to_owned(), |a| a.plan().to_string());
        let still = Options {
            augment: named,
            ..still.clone()
        };
        let done = run(&data, &still, augment, None, false, &mut record).unwrap();
        let valid: Vec<String> = record
            .events
            .iter()
            .filter_map(|e| match e {
                Event::Evaluated { metrics, .. } => Some(format!("{metrics:?}")),
                _ => None,
            })
            .collect();
        (valid, done.summary.train_loss)
    };
    let (plain, plain_loss) = figures(None);
    let (changed, changed_loss) = figures(Some(&augmenter));
    assert_eq!(plain, changed);
    assert!(!plain.is_empty());
    assert_ne!(plain_loss, changed_loss, "the training texts are changed");
}

#[test]
fn epochs_drawn_ahead_are_those_that_are_trained_on() {
    let data = data(ValidSource::None);
    let augmenter = augmenter(SPEC, &data);
    let config = Config::read(&Config::path_in(&folder())).unwrap();
    let tokenizer = Tokenizer::load(&folder(), config.vocabulary).unwrap();
    let texts = EpochTexts {
        augmenter: &augmenter,
        part: &data.train,
        labels: &data.labels,
        task: task_of(data.kind),
        names: &data.names,
        how: Tokenising {
            tokenizer: &tokenizer,
            max_length: 12,
            truncate: Truncate::Head,
        },
        seed: 5,
    };
    let plan = BatchPlan {
        step_rows: 16,
        micro_rows: 8,
        max_tokens: 70,
        order: Order::Shuffled { seed: 5 },
    };
    let ahead = texts.ahead(&plan, 3).unwrap().unwrap();
    let mut longest = 0;
    for epoch in [2, 0, 1] {
        let (examples, _) = texts.epoch(epoch).unwrap();
        assert_eq!(examples.len(), data.train.rows.len());
        let order = plan.epoch(examples.len(), epoch);
        for step in order.chunks(16) {
            for micro in plan.micro_batches(&examples, step) {
                let tokens: usize = micro.iter().map(|&i| examples.length(i as usize)).sum();
                assert!(tokens <= ahead.limits.tokens && micro.len() <= ahead.limits.sequences);
                longest = longest.max(
                    micro
                        .iter()
                        .map(|&i| examples.length(i as usize))
                        .max()
                        .unwrap(),
                );
            }
        }
        // Drawn again, in whatever order: the same.
        assert_eq!(texts.epoch(epoch).unwrap().0, examples);
    }
    assert_eq!(
        (ahead.longest, ahead.texts),
        (longest, 3 * data.train.rows.len())
    );
    // One draw of ten is kept, and some of the rest come out as they were.
    let share = ahead.changed as f64 / ahead.texts as f64;
    assert!((0.5..0.91).contains(&share), "{share}");
}

/// `run.toml` tells of what was done: options that name another augmentation than the job has are refused.
#[test]
fn an_augmentation_that_is_named_is_given() {
    let data = data(ValidSource::None);
    let given = augmenter(SPEC, &data);
    for (named, augmenter) in [
        (SPEC, None),
        ("none", Some(&given)),
        ("swap:0.9", Some(&given)),
        ("bogus", None),
    ] {
        let options = Options {
            augment: named.to_owned(),
            ..three_epochs()
        };
        let ran = run(
            &data,
            &options,
            augmenter,
            None,
            false,
            &mut Record::default(),
        );
        let said = ran.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(said.starts_with(&format!("--augment {named}")), "{said}");
    }
}
