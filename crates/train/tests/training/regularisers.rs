//! L2-SP, averages of weights, focal loss and R-Drop beside PyTorch, and the rules every one of them keeps.

use crate::common::{self, Record, Run, data, folder, options, weights};
use hone_kernels::{Backend, Loss, Reference};
use hone_kernels_cpu::CpuBackend;
use hone_optim::Pull;
use hone_optim::{Schedule, Warmup};
use hone_tensor::SafetensorsFile;
use hone_train::{Average, Options, TrainError, ValidSource};
use std::path::Path;
use std::sync::Arc;

fn torch(name: &str) -> SafetensorsFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/{name}.safetensors"));
    SafetensorsFile::open(&path).unwrap()
}

fn with(change: impl Fn(&mut Options)) -> Options {
    let mut options = options();
    change(&mut options);
    options
}

fn run<B: Backend>(backend: B, options: &Options) -> Result<Vec<(String, Vec<f64>)>, TrainError> {
    let done = Run::new(&data(ValidSource::None), options)
        .on(Arc::new(backend), &mut Record::default())?;
    Ok(weights(&done))
}

fn bits(weights: &[(String, Vec<f64>)]) -> Vec<u64> {
    weights
        .iter()
        .flat_map(|(_, w)| w.iter().map(|x| x.to_bits()))
        .collect()
}

/// The largest distance of `found` from `wanted(name)`, as a part of the largest movement from the start.
fn error(found: &[(String, Vec<f64>)], wanted: impl Fn(&str) -> Vec<f64>) -> f64 {
    let start = SafetensorsFile::open(&folder().join("model.safetensors")).unwrap();
    let mut worst = 0.0f64;
    for (name, found) in found {
        // A key bias has no true gradient: AdamW makes steps of rounding errors.
        if name.ends_with("key.bias") {
            continue;
        }
        let (wanted, start) = (wanted(name), start.read_f64(name).unwrap());
        let largest = |a: &[f64], b: &[f64]| {
            assert_eq!(a.len(), b.len(), "{name}");
            a.iter()
                .zip(b)
                .fold(0.0f64, |m, (a, b)| m.max((a - b).abs()))
        };
        worst = worst.max(largest(found, &wanted) / largest(&wanted, &start));
    }
    worst
}

#[test]
fn a_hundred_steps_move_as_pytorchs_in_double() {
    let [torch, contrast] = ["regularisers", "contrast"].map(torch);
    for (name, options) in [
        ("l2_sp", with(|o| o.l2_sp = Pull::Rate(0.5))),
        ("ema", with(|o| o.average = Average::Ema(0.9))),
        ("tail", with(|o| o.average = Average::Tail(0.25))),
        ("focal", with(|o| o.focal_loss = 2.0)),
        ("contrast", with(|o| o.contrast = 0.7)),
    ] {
        let torch = match name {
            "contrast" => &contrast,
            _ => &torch,
        };
        let of = |backend: &str, found: Vec<(String, Vec<f64>)>, allowed: f64| {
            let error = error(&found, |w| torch.read_f64(&format!("{name}.{w}")).unwrap());
            assert!(
                error <= allowed,
                "{name}, {backend}: {error:.2e} of the movement"
            );
        };
        of(
            "f64",
            run(Reference::<f64>::default(), &options).unwrap(),
            1e-9,
        );
        for backend in CpuBackend::every_path(2) {
            let path = backend.path();
            of(&path, run(backend, &options).unwrap(), 1e-3);
        }
        // None of them is what happens without it.
        let plain = run(Reference::<f64>::default(), &common::options()).unwrap();
        let error = error(&plain, |w| torch.read_f64(&format!("{name}.{w}")).unwrap());
        assert!(error > 1e-2, "{name} is no different: {error:.2e}");
    }
}

#[test]
fn divergence_of_two_draws_as_pytorch_gives_it() {
    let torch = torch("regularisers");
    let b = Reference::<f64>::default();
    let host = |name: &str| torch.read_f64(&format!("kl.{name}")).unwrap();
    let (logits, sixth) = (host("logits"), [1.0 / 6.0; 6]);
    let (logits, weights) = (
        b.from_slice(&logits).unwrap(),
        b.from_slice(&sixth).unwrap(),
    );
    let mut losses = b.alloc::<f64>(6).unwrap();
    let mut dlogits = b.alloc::<f64>(24).unwrap();
    let loss = Loss {
        logits: b.view(&logits),
        targets: b.view(&logits),
        weights: b.view(&weights),
        classes: 4,
    };
    b.symmetric_kl(loss, 0.7, b.all_mut(&mut losses), b.all_mut(&mut dlogits));
    let mut found = vec![0.0; 6];
    b.download(b.view(&losses), &mut found).unwrap();
    assert!((found.iter().sum::<f64>() - host("loss")[0]).abs() < 1e-12);
    let mut found = vec![0.0; 24];
    b.download(b.view(&dlogits), &mut found).unwrap();
    for (found, wanted) in found.iter().zip(host("dlogits")) {
        assert!((found - wanted).abs() < 1e-12, "{found} {wanted}");
    }
}

/// Without dropout both draws are one, so a step is a plain step; with dropout they are not.
#[test]
fn r_drop_is_a_plain_step_where_nothing_is_dropped() {
    let plain = run(Reference::<f64>::default(), &options()).unwrap();
    let twice = run(Reference::<f64>::default(), &with(|o| o.r_drop = 3.0)).unwrap();
    let distance = error(&twice, |name| {
        plain.iter().find(|(n, _)| n == name).unwrap().1.clone()
    });
    assert!(distance < 1e-9, "{distance:.2e}");
    let dropped = |r_drop| with(|o| (o.r_drop, o.dropout, o.max_steps) = (r_drop, 0.2, Some(5)));
    let [weak, strong] =
        [1e-9, 3.0].map(|r| run(Reference::<f64>::default(), &dropped(r)).unwrap());
    assert_ne!(bits(&weak), bits(&strong), "the draws are the same");
}

/// Every draw is keyed by what it is for: micro-batches of any size give the same step.
#[test]
fn micro_batches_change_nothing() {
    for change in [
        |o: &mut Options| (o.r_drop, o.dropout) = (1.0, 0.2),
        |o: &mut Options| o.mixout = 0.5,
        // Not cut by tokens.
        |o: &mut Options| o.contrast = 1.0,
    ] {
        let all = with(|o| {
            change(o);
            o.max_steps = Some(8);
        });
        let single = Options {
            max_tokens: 1,
            ..all.clone()
        };
        let [whole, cut] = [&all, &single].map(|o| run(Reference::<f64>::default(), o).unwrap());
        let distance = error(&cut, |name| {
            whole.iter().find(|(n, _)| n == name).unwrap().1.clone()
        });
        assert!(distance < 1e-9, "{distance:.2e}");
    }
}

/// Stopped after any step and resumed: the same bits, averages and starting weights included.
#[test]
fn stopped_and_resumed() {
    for (name, change) in [
        ("l2_sp", (|o| o.l2_sp = Pull::Rate(0.5)) as fn(&mut Options)),
        ("l2_sp by part", |o| o.l2_sp = Pull::Part(0.5)),
        ("l2_sp while layers wake", |o| {
            (o.l2_sp, o.unfreeze) = (Pull::Part(0.5), "step:3".to_owned());
        }),
        ("mixout", |o| o.mixout = 0.3),
        ("r_drop", |o| (o.r_drop, o.dropout) = (1.0, 0.2)),
        ("contrast", |o| (o.contrast, o.dropout) = (1.0, 0.2)),
        ("ema", |o| o.average = Average::Ema(0.9)),
        ("tail", |o| o.average = Average::Tail(0.5)),
        ("slanted", |o| {
            (o.schedule, o.warmup) = (Schedule::Slanted { ratio: 32.0 }, Warmup::Steps(0));
        }),
        ("exponential", |o| {
            o.schedule = Schedule::Exponential { from: 1e-3 }
        }),
    ] {
        let options = with(|o| {
            change(o);
            o.max_steps = Some(12);
        });
        let whole = run(CpuBackend::new(2), &options).unwrap();
        let out = tempfile::tempdir().unwrap();
        let data = data(ValidSource::None);
        let sitting = |resume: bool, stop_after: Option<usize>| {
            let mut record = Record {
                stop_after,
                ..Record::default()
            };
            Run {
                out: Some(out.path()),
                resume,
                ..Run::new(&data, &options)
            }
            .on(Arc::new(CpuBackend::new(1)), &mut record)
            .unwrap()
        };
        sitting(false, Some(4));
        sitting(true, Some(9));
        let done = sitting(true, None);
        assert_eq!(bits(&weights(&done)), bits(&whole), "{name}");
    }
}

/// Reading the averaged weights leaves the running ones as they are, and what is read is what is kept.
#[test]
fn evaluations_read_the_average_and_change_nothing() {
    let averaged = |valid: ValidSource, test: bool| {
        let mut data = data(valid);
        data.test = test.then(|| data.train.clone());
        let options = with(|o| {
            o.average = Average::Tail(0.5);
            o.eval_every = hone_train::Cadence::Steps(3);
            o.max_steps = Some(12);
        });
        Run::new(&data, &options)
            .on(
                Arc::new(Reference::<f32>::default()),
                &mut Record::default(),
            )
            .unwrap()
    };
    let file = ValidSource::File(folder().join("train.csv"));
    let (read, unread) = (averaged(file, true), averaged(ValidSource::None, false));
    assert_eq!(bits(&weights(&read)), bits(&weights(&unread)));
    let part = |p: &Option<hone_train::PartSummary>| p.as_ref().unwrap().metrics.loss();
    assert_eq!(part(&read.summary.valid), part(&read.summary.test));
}
