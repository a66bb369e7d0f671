//! A whole small BERT on the CUDA kernels, which an emulator runs on the host: a hundred steps beside PyTorch, ten
//! steps with every dropout beside the CPU's backend and the f64 reference, and the same bits in any order of threads.

mod common;

use common::{Record, Run, data, distance, folder, largest, options, weights};
use half::bf16;
use hone_data::masking::Unit;
use hone_kernels::{Backend, Reference};
use hone_kernels_cpu::CpuBackend;
use hone_kernels_cuda::{Card, CudaBackend, Emulator, Event, Number, Order, Recorder, card};
use hone_tensor::SafetensorsFile;
use hone_train::{Average, Done, Options, Pool, Pretraining, RawSource, ValidSource, WordUpdates};
use std::path::Path;
use std::sync::Arc;

fn emulated(order: Order) -> CudaBackend<Emulator> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated");
    let emulator = Emulator::new(&folder, order).expect("a C++ compiler");
    CudaBackend::new(emulator).expect("memory")
}

/// A run, and what it said.
fn ran<B: Backend>(backend: Arc<B>, options: &Options, words: WordUpdates) -> (Record, Done<B>) {
    let mut record = Record::default();
    let done = Run {
        data: &data(ValidSource::None),
        options,
        out: None,
        resume: false,
        words,
        known: None,
    }
    .on(backend, &mut record)
    .unwrap();
    (record, done)
}

/// Losses, and weights by name, of a run.
fn run<B: Backend>(
    backend: B,
    options: &Options,
    words: WordUpdates,
) -> (Vec<f64>, Vec<(String, Vec<f64>)>) {
    let (record, done) = ran(Arc::new(backend), options, words);
    (record.losses, weights(&done))
}

/// A hundred steps, no dropout, beside PyTorch's.
fn moves_as_pytorch_does<B: Backend>(backend: B) {
    let torch = SafetensorsFile::open(&folder().join("trajectory.safetensors")).unwrap();
    let start = SafetensorsFile::open(&folder().join("model.safetensors")).unwrap();
    let (losses, got) = run(backend, &options(), WordUpdates::Deferred);
    assert_eq!(losses.len(), 100);
    assert!(distance(&losses, &torch.read_f64("loss").unwrap()) <= 1e-4);
    let mut worst = Vec::new();
    for (name, got) in got {
        // The true gradient of a key's bias is zero; AdamW makes steps of its rounding errors, in PyTorch too.
        if name.ends_with("key.bias") {
            continue;
        }
        let before = start.read_f64(&name).unwrap();
        let x64 = torch.read_f64(&format!("w100.{name}")).unwrap();
        let x32 = torch.read_f64(&format!("w100f32.{name}")).unwrap();
        let bound = 4.0 * distance(&x32, &x64).max(1e-7 * distance(&x64, &before));
        let error = distance(&got, &x64);
        if error > bound {
            worst.push(format!("{name}: error {error:.3e}, allowed {bound:.3e}"));
        }
    }
    assert!(worst.is_empty(), "{}", worst.join("\n"));
}

#[test]
fn a_hundred_steps_move_as_pytorch_does() {
    moves_as_pytorch_does(emulated(Order::Forward));
}

#[test]
fn on_a_card_too_where_there_is_one() {
    let missing = card::missing();
    if !missing.is_empty() {
        eprintln!("skipped: {} could not be loaded", missing.join(" and "));
        return;
    }
    let images = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    let card = || Card::open(0, Number::F32, Some(&images)).expect("a card that can be opened");
    let backend = || CudaBackend::<Card>::new(card()).expect("memory");
    moves_as_pytorch_does(backend());
    let (one, two) = [(); 2]
        .map(|()| run(backend(), &dropped(), WordUpdates::Dense))
        .into();
    assert!(one == two, "other bits in the second run");
    let cpu = run(CpuBackend::new(1), &dropped(), WordUpdates::Dense);
    assert!(distance(&one.0, &cpu.0) < 1e-5, "{:?} {:?}", one.0, cpu.0);
}

/// Ten steps with dropout everywhere.
fn dropped() -> Options {
    Options {
        max_steps: Some(10),
        dropout: 0.1,
        attention_dropout: 0.2,
        head_dropout: 0.1,
        ..options()
    }
}

#[test]
fn ten_steps_with_dropout_follow_the_cpu() {
    let start = SafetensorsFile::open(&folder().join("model.safetensors")).unwrap();
    let exact = run(Reference::<f64>::default(), &dropped(), WordUpdates::Dense);
    let scalar = run(Reference::<f32>::default(), &dropped(), WordUpdates::Dense);
    let cpu = run(CpuBackend::new(1), &dropped(), WordUpdates::Dense);
    let cuda = run(emulated(Order::Random(7)), &dropped(), WordUpdates::Dense);
    // The same with batches filled to shapes, their fillers behind the texts.
    let graphs = emulated(Order::Random(7)).with_graphs();
    let graphs = run(graphs, &dropped(), WordUpdates::Deferred);
    assert_eq!(exact.0.len(), 10);
    // One mask drawn otherwise would move a loss by far more than this.
    for other in [&cpu, &cuda, &graphs] {
        assert!(
            distance(&other.0, &exact.0) < 1e-5,
            "{:?} {:?}",
            other.0,
            exact.0
        );
    }
    for (k, (name, exact)) in exact.1.iter().enumerate() {
        if name.ends_with("key.bias") {
            continue;
        }
        let movement = start.read_f64(name).map(|before| distance(&before, exact));
        let movement = movement.unwrap_or(largest(exact));
        let own = distance(&scalar.1[k].1, exact).max(distance(&cpu.1[k].1, exact));
        let bound = 4.0 * own.max(1e-6 * movement);
        for cuda in [&cuda, &graphs] {
            let error = distance(&cuda.1[k].1, exact);
            assert!(error <= bound, "{name}: {error:.3e}, allowed {bound:.3e}");
        }
    }
}

/// Steps that are queued as one, beside the same operation by operation.
#[test]
fn graphs_change_no_bit() {
    let options = Options {
        max_steps: Some(40),
        ..dropped()
    };
    let runs = [true, false].map(|captures| {
        let backend = emulated(Order::Forward);
        let backend = Arc::new(match captures {
            true => backend.with_graphs(),
            false => backend.with_shapes(),
        });
        let (record, done) = ran(backend.clone(), &options, WordUpdates::Deferred);
        let counts = backend.graph_counts();
        eprintln!("{counts:?}");
        match captures {
            true => assert!(counts.captured > 2 && counts.replayed > 30, "{counts:?}"),
            false => assert!(counts.single > 80 && counts.replayed == 0, "{counts:?}"),
        }
        // What was planned is what the device held, but for small tables.
        let planned = done.summary.planned_memory_bytes as f64;
        let held = done.summary.peak_memory_bytes.unwrap() as f64;
        assert!((held / planned - 1.0).abs() < 0.2, "{held} of {planned}");
        let first = (record.losses, weights(&done));
        // Another model on the same device, as folds and trials have it, with graphs of the first still kept: memory that
        // was given back holds something else now.
        drop(done);
        let (record, done) = ran(backend.clone(), &options, WordUpdates::Deferred);
        let second = (record.losses, weights(&done));
        assert!(first == second, "a second run differs");
        if captures {
            let again = backend.graph_counts().replayed - counts.replayed;
            assert!(again >= counts.replayed, "{again} after {counts:?}");
        }
        first
    });
    assert!(runs[0] == runs[1], "losses or weights differ");
}

/// What else a step may be: two passes, several, other losses, parts that sleep and wake, weights that are mixed or averaged.
/// All on one device, whose graphs of one run stay for the next.
#[test]
fn practices_as_graphs_change_no_bit() {
    let base = || Options {
        max_steps: Some(16),
        ..dropped()
    };
    let practices = [
        (
            "R-Drop",
            Options {
                r_drop: 0.5,
                ..base()
            },
        ),
        (
            "contrast",
            Options {
                contrast: 1.0,
                ..base()
            },
        ),
        (
            "accumulated",
            Options {
                grad_accum: 2,
                ..base()
            },
        ),
        (
            "cut",
            Options {
                max_tokens: 16,
                ..base()
            },
        ),
        (
            "mean",
            Options {
                pool: Pool::Mean,
                ..base()
            },
        ),
        (
            "focal",
            Options {
                focal_loss: 2.0,
                ..base()
            },
        ),
        (
            "mixed out",
            Options {
                mixout: 0.3,
                ..base()
            },
        ),
        (
            "frozen",
            Options {
                freeze: "1".to_owned(),
                ..base()
            },
        ),
        (
            "averaged",
            Options {
                average: Average::Ema(0.9),
                ..base()
            },
        ),
        (
            "waking",
            Options {
                unfreeze: "step:8".to_owned(),
                ..base()
            },
        ),
    ];
    let [graphs, single] = [true, false].map(|captures| {
        let backend = emulated(Order::Forward);
        Arc::new(match captures {
            true => backend.with_graphs(),
            false => backend.with_shapes(),
        })
    });
    for (name, options) in practices {
        let before = graphs.graph_counts().replayed;
        let [one, other] = [&graphs, &single].map(|backend| {
            let (record, done) = ran(backend.clone(), &options, WordUpdates::Deferred);
            (record.losses, weights(&done))
        });
        assert!(one == other, "{name}: losses or weights differ");
        let replayed = graphs.graph_counts().replayed - before;
        // Batches that hold every text twice are not filled to shapes.
        assert_eq!(
            replayed > 0,
            name != "R-Drop",
            "{name}: {replayed} replayed"
        );
    }
}

#[test]
fn the_same_bits_in_any_order_of_threads() {
    let first = run(emulated(Order::Forward), &dropped(), WordUpdates::Deferred);
    let second = run(emulated(Order::Reverse), &dropped(), WordUpdates::Deferred);
    assert!(first == second, "losses or weights differ");
    // Words that sat steps out take them later: the same bits as at once.
    let at_once = run(emulated(Order::Forward), &dropped(), WordUpdates::Dense);
    assert!(first == at_once, "deferred words differ");
}

/// From the first step's last kernel to the last step's, the host waits for results alone, each read after the next
/// step's last kernel was queued: the device is never out of work.
#[test]
fn the_next_step_is_queued_before_the_host_waits() {
    const STEPS: usize = 6;
    let backend = Arc::new(CudaBackend::<Recorder>::new(Recorder::new()).expect("memory"));
    let options = Options {
        max_steps: Some(STEPS),
        ..dropped()
    };
    let (record, _) = ran(backend.clone(), &options, WordUpdates::Dense);
    assert_eq!(record.losses.len(), STEPS);
    let events = backend.driver().events();
    let updates: Vec<usize> = (0..events.len())
        .filter(|&k| matches!(&events[k], Event::Launch(l) if l.kernel == "adamw"))
        .collect();
    assert_eq!(updates.len(), STEPS);
    // Batch (indices, example ids), the device's step (sizes; masks), targets and weights, touched words, AdamW's table.
    let uploads = |e: &&Event| matches!(e, Event::Upload(..));
    for step in updates.windows(2) {
        let found = events[step[0]..step[1]].iter().filter(uploads).count();
        assert_eq!(found, 7, "copies to the device in a step");
    }
    let mut arrived = 0;
    for k in updates[0]..updates[STEPS - 1] {
        match &events[k] {
            Event::Sync | Event::Download(..) | Event::Alloc(..) | Event::Free(_) => {
                panic!("the host waits inside a step: {:?}", events[k])
            }
            // Losses and norms of a step.
            Event::Arrived(_) => {
                let step = arrived / 2;
                assert!(k > updates[step + 1], "step {step} is waited for too early");
                arrived += 1;
            }
            _ => {}
        }
    }
    assert_eq!(arrived, 2 * (STEPS - 2));
}

#[test]
fn rounded_activations_train_as_far_as_their_rounding_allows() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated");
    let emulator = Emulator::new(&folder, Order::Forward).expect("a C++ compiler");
    let backend = CudaBackend::<Emulator, bf16>::new(emulator).expect("memory");
    let exact = run(Reference::<f64>::default(), &dropped(), WordUpdates::Dense);
    let rounded = run(backend, &dropped(), WordUpdates::Dense);
    // Eight bits of mantissa: some thousandths of a loss. A mask drawn otherwise moves it by tenths.
    let apart = distance(&rounded.0, &exact.0);
    assert!(apart > 1e-6 && apart < 2e-2, "losses are {apart:.1e} apart");
    let start = SafetensorsFile::open(&common::folder().join("model.safetensors")).unwrap();
    for ((name, exact), (_, rounded)) in exact.1.iter().zip(&rounded.1) {
        if !name.ends_with("weight") {
            continue;
        }
        let before = start
            .read_f64(name)
            .unwrap_or_else(|_| vec![0.0; exact.len()]);
        let moved = |x: &[f64]| {
            x.iter()
                .zip(&before)
                .map(|(x, b)| x - b)
                .collect::<Vec<_>>()
        };
        let (a, b) = (moved(exact), moved(rounded));
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let cosine = dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt();
        assert!(cosine > 0.97, "{name} moved elsewhere: cosine {cosine:.4}");
    }
}

/// Pre-training: the head over the vocabulary, with and without graphs, beside the f64 reference.
#[test]
fn masked_words_follow_the_reference() {
    let texts = RawSource {
        data: folder().join("train.csv"),
        valid: ValidSource::Fraction(0.1),
        columns: hone_data::Columns::default(),
        split_seed: 0,
    };
    let (texts, folder) = (texts.read().unwrap(), folder());
    let options = Options {
        max_steps: Some(6),
        metric: "loss".to_owned(),
        ..dropped()
    };
    fn losses<B: Backend>(backend: B, job: &Pretraining<'_>) -> Vec<f64> {
        let mut record = Record::default();
        let stop = record.stop.clone();
        let done = job.run(Arc::new(backend), &mut record, &stop).unwrap();
        let valid = done.summary.valid.unwrap().metrics.loss();
        record.losses.push(valid);
        record.losses
    }
    let job = Pretraining {
        model: &folder,
        texts: &texts,
        options: &options,
        max_length: Some(12),
        share: 0.3,
        unit: Unit::Words,
        out: None,
    };
    let exact = losses(Reference::<f64>::default(), &job);
    assert_eq!(exact.len(), 7);
    let graphs = emulated(Order::Random(7)).with_graphs();
    for found in [
        losses(emulated(Order::Random(7)), &job),
        losses(graphs, &job),
        losses(CpuBackend::new(1), &job),
    ] {
        assert!(distance(&found, &exact) < 1e-5, "{found:?} {exact:?}");
    }
}
