//! Options that do less than they seem to are told, and a run that would do nothing is an error.

use crate::common::{Record, Run, data, distance, folder, options, weights};
use hone_kernels::Reference;
use hone_optim::{Pull, Warmup};
use hone_tensor::SafetensorsFile;
use hone_train::watch::CollapseGuard;
use hone_train::{Average, Cadence, Event, Options, Plan, Pool, Select, TrainError, ValidSource};
use std::collections::BTreeMap;
use std::sync::Arc;

type R = Reference<f64>;

/// What a run of a few steps left and said.
struct Ran {
    weights: BTreeMap<String, Vec<f64>>,
    plan: Plan,
    warnings: Vec<String>,
}

fn ran(change: impl Fn(&mut Options), valid: ValidSource) -> Result<Ran, TrainError> {
    let mut options = Options {
        max_steps: Some(4),
        warmup: Warmup::Steps(0),
        ..options()
    };
    change(&mut options);
    let mut record = Record::default();
    let done = Run::new(&data(valid), &options).on(Arc::new(R::default()), &mut record)?;
    let mut plans = record.events.iter().filter_map(|event| match event {
        Event::Planned(plan) => Some(plan.clone()),
        _ => None,
    });
    Ok(Ran {
        weights: weights(&done).into_iter().collect(),
        plan: plans.next().unwrap(),
        warnings: record
            .events
            .iter()
            .filter_map(|event| match event {
                // The fixture has texts with two labels.
                Event::Warning { text } if !text.starts_with("texts with") => Some(text.clone()),
                _ => None,
            })
            .collect(),
    })
}

/// How far each tensor is from where it began.
fn drift(weights: &BTreeMap<String, Vec<f64>>) -> BTreeMap<String, f64> {
    let start = SafetensorsFile::open(&folder().join("model.safetensors")).unwrap();
    weights
        .iter()
        .map(|(name, now)| {
            let began = start.read_f64(name).unwrap();
            (name.clone(), distance(&began, now))
        })
        .collect()
}

#[test]
fn a_plan_says_what_its_options_will_not_do() {
    type Case = (fn(&mut Options), &'static [&'static str]);
    let cases: [Case; 16] = [
        (|_| {}, &[]),
        (
            |o| o.warmup = Warmup::Steps(100),
            &["--warmup 100: the run has 4 steps, so the rate reaches 3 %"],
        ),
        (|o| o.warmup = Warmup::Steps(3), &[]),
        (|o| o.warmup = Warmup::Fraction(1.0), &[]),
        (
            |o| o.unfreeze = "epoch".to_owned(),
            &["--unfreeze epoch: layers 0 to 1 and the embeddings would wake in epoch 2 or later"],
        ),
        (|o| o.unfreeze = "step:1".to_owned(), &[]),
        (
            |o| o.r_drop = 1.0,
            &["--r-drop 1: where nothing is dropped both passes over a text are the same"],
        ),
        (|o| (o.r_drop, o.head_dropout) = (1.0, 0.1), &[]),
        (
            |o| (o.contrast, o.batch_size, o.grad_accum) = (1.0, 1, 4),
            &["--contrast 1: a batch holds one text"],
        ),
        (|o| (o.contrast, o.batch_size) = (1.0, 2), &[]),
        (
            |o| {
                (o.average, o.patience) = (Average::Tail(0.5), Some(2));
                o.eval_every = Cadence::Steps(1);
            },
            &[
                "--average last:0.5: a run that --patience stops before its last part averages nothing",
            ],
        ),
        (
            |o| (o.patience, o.eval_every) = (Some(1), Cadence::Steps(2)),
            &["--patience 1: the run has 2 validations, so it cannot stop before its last"],
        ),
        (
            |o| {
                (o.patience, o.eval_every) = (Some(2), Cadence::Steps(2));
                (o.max_steps, o.collapse_guard) = (Some(60), CollapseGuard::Restart);
            },
            &[
                "--patience 2: it can stop the run after step 6, before the collapse guard has judged it at step 30",
            ],
        ),
        (
            |o| (o.r_drop, o.dropout, o.freeze) = (1.0, 0.1, "all".to_owned()),
            &["--r-drop 1: where nothing is dropped"],
        ),
        (
            |o| {
                (o.mixout, o.freeze) = (0.7, "all".to_owned());
                (o.pool, o.new_head) = (Pool::Mean, true);
            },
            &["--mixout: no pre-trained matrix trains in this run"],
        ),
        (
            |o| (o.reinit_top, o.freeze) = (1, "all".to_owned()),
            &["--reinit-top 1: 1 of these layers are drawn anew and then never train"],
        ),
    ];
    for (change, says) in cases {
        let found = ran(change, ValidSource::Fraction(0.1)).unwrap().warnings;
        assert_eq!(found.len(), says.len(), "{found:?}");
        for (found, says) in found.iter().zip(says) {
            assert!(found.starts_with(says), "{found}");
        }
    }
}

#[test]
fn a_run_of_one_step_moves() {
    for warmup in [Warmup::Fraction(0.06), Warmup::Fraction(1.0)] {
        let one = ran(
            |o| (o.max_steps, o.warmup) = (Some(1), warmup),
            ValidSource::None,
        )
        .unwrap();
        assert_eq!(one.plan.warmup_steps, 0);
        assert!(drift(&one.weights)["classifier.bias"] > 0.0);
    }
    let still = ran(
        |o| (o.max_steps, o.warmup) = (Some(1), Warmup::Steps(1)),
        ValidSource::None,
    );
    let said = still.err().unwrap().to_string();
    assert!(said.contains("--warmup 1: the run has 1 step"), "{said}");
}

/// What would wake too late is counted and named as frozen, and the rest moves as though it were.
#[test]
fn what_never_wakes_is_frozen_in_the_plan() {
    let with = |freeze: &str, unfreeze: &str| {
        let change = |o: &mut Options| {
            (o.freeze, o.unfreeze) = (freeze.to_owned(), unfreeze.to_owned());
        };
        ran(change, ValidSource::None).unwrap()
    };
    let (never, frozen) = (with("none", "epoch"), with("all", "none"));
    assert_eq!(never.plan.groups, frozen.plan.groups);
    assert!(never.plan.groups[1].contains("layer 0 frozen, embeddings frozen"));
    assert_eq!(never.weights, frozen.weights);
    let upper = with("none", "step:3");
    assert!(upper.plan.groups[1].contains("layer 1 1.00e-3, layer 0 frozen"));
    let moved = drift(&upper.weights);
    for (name, by) in &moved {
        let sleeps = name.contains("layer.0.") || name.contains("embeddings");
        assert_eq!(*by == 0.0, sleeps, "{name}: {by}");
    }
}

/// The best evaluation is the first, before the part that is averaged.
#[test]
fn an_average_that_never_began_is_told() {
    let nothing = |select: Select, patience: Option<usize>, average: Average| {
        let change = |o: &mut Options| {
            (o.lr, o.head_lr, o.max_steps) = (1e-30, 1e-30, Some(12));
            (o.select, o.patience, o.average) = (select, patience, average);
            o.eval_every = Cadence::Steps(2);
        };
        let said = ran(change, ValidSource::Fraction(0.1)).unwrap().warnings;
        let at_the_end = said
            .last()
            .filter(|text| text.contains("nothing was averaged"));
        at_the_end.cloned()
    };
    let tail = Average::Tail(0.25);
    for (select, patience, step) in [
        (Select::Best, None, 2),
        (Select::Best, Some(2), 2),
        (Select::Last, Some(2), 6),
    ] {
        let said = nothing(select, patience, tail).unwrap();
        let says = format!(
            "are those of step {step}, and --average last:0.25 takes the mean from step 10 of 12"
        );
        assert!(said.contains(&says), "{said}");
    }
    assert_eq!(nothing(Select::Last, None, tail), None);
    assert_eq!(nothing(Select::Best, Some(2), Average::Ema(0.9)), None);
    assert_eq!(nothing(Select::Best, Some(2), Average::None), None);
}

/// A pooler at ten times the rate is drawn back as far as all else, and swings nowhere.
#[test]
fn a_part_of_the_way_holds_at_every_rate() {
    let with = |pull: Pull| {
        let change = |o: &mut Options| (o.l2_sp, o.head_lr, o.max_steps) = (pull, 1e-2, Some(12));
        ran(change, ValidSource::None)
    };
    let (free, held) = (with(Pull::NONE).unwrap(), with(Pull::Part(0.9)).unwrap());
    let (free, drawn) = (drift(&free.weights), drift(&held.weights));
    // A key bias has no true gradient: AdamW makes steps of rounding errors.
    for (name, drawn) in drawn.iter().filter(|(n, _)| !n.ends_with("key.bias")) {
        assert!(
            drawn <= &(1.5 * free[name]),
            "{name}: {drawn} {}",
            free[name]
        );
    }
    let line = &held.plan.groups[1];
    assert!(
        line.contains("without gradients 90.00 % of the way"),
        "{line}"
    );
    let said = with(Pull::Rate(200.0)).err().unwrap().to_string();
    assert!(
        said.starts_with("--l2-sp 200: at its peak rate of 1.00e-2"),
        "{said}"
    );
}
