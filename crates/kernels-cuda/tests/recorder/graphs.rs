//! Regions of operations: what is captured and replayed, and in which order everything comes.

use crate::backend;
use crate::step::{Device, batch};
use hone_kernels::Backend;
use hone_kernels_cuda::Event;

/// What was queued, by name: `step` is the device's step, written before what follows.
fn words(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|e| match e {
            Event::Launch(launch) => launch.kernel.to_owned(),
            Event::Upload(_, 32) => "step".to_owned(),
            Event::Capture(n) => format!("capture {n}"),
            Event::Replay(n) => format!("replay {n}"),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_region_that_repeats_is_captured_and_replayed() {
    let b = backend().with_graphs();
    let shape = b.shapes().expect("graphs want shapes");
    let mut device = Device::new(&b);
    // 288 tokens are a shape; other lengths, other numbers of distinct words.
    let batches = [
        batch(&[64, 64, 64, 64, 32]),
        batch(&[33, 60, 64, 67, 64]),
        batch(&[60, 62, 50, 56, 60]),
        batch(&[64, 63, 64, 64, 33]),
    ];
    for batch in &batches {
        assert_eq!(shape(batch.tokens()), batch.tokens());
    }
    let mut step = |k: usize, number: u32| {
        let mut events = Vec::new();
        b.repeats(|| events = device.step(&b, &batches[k], number));
        assert!(events.is_empty(), "nothing is queued inside: {events:?}");
        words(&b.driver().events())
    };
    let one = step(0, 0);
    let (first, kernels) = one.split_first().expect("events");
    assert_eq!(first, "step", "sizes and draws in one write");
    assert!(kernels.len() >= 8 && kernels[0] == "embed");
    let n = kernels.len();
    // The longest text of 67 has one tile more.
    assert_eq!(step(1, 1), one);
    let replay = format!("replay {n}");
    assert_eq!(step(2, 2), ["step", &format!("capture {n}"), &replay]);
    assert_eq!(step(3, 3), ["step", &replay]);
    assert_eq!(step(0, 4), ["step", &replay]);
    assert_eq!(step(0, 4), [&*replay], "nothing is news");
    assert_eq!(step(1, 5), ["step", &format!("capture {n}"), &replay]);
    let counts = b.graph_counts();
    assert_eq!((counts.single, counts.captured, counts.replayed), (2, 2, 3));
}

#[test]
fn batches_of_odd_sizes_are_queued_one_by_one() {
    let b = backend().with_graphs();
    let mut device = Device::new(&b);
    for _ in 0..3 {
        b.repeats(|| device.step(&b, &batch(&[64, 61, 64]), 0));
    }
    let counts = b.graph_counts();
    assert_eq!((counts.single, counts.captured, counts.replayed), (3, 0, 0));
}

/// A device that captures nothing is told of once, and computes operation by operation.
#[test]
fn a_refused_capture_costs_nothing_but_speed() {
    let (tell, told) = std::sync::mpsc::channel();
    let b = backend().with_graphs().on_refusal(move |why| {
        tell.send(why.to_string()).expect("somebody listens");
    });
    let mut device = Device::new(&b);
    let same = batch(&[64, 64, 64, 64, 32]);
    let mut step = |number| {
        b.driver().forget();
        b.repeats(|| device.step(&b, &same, number));
        words(&b.driver().events())
    };
    let one = step(0);
    b.driver().refuse_captures();
    for number in 1..4 {
        assert_eq!(step(number), one);
    }
    let all: Vec<String> = told.try_iter().collect();
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].contains("no captures"), "{all:?}");
    let counts = b.graph_counts();
    assert_eq!((counts.single, counts.captured, counts.replayed), (4, 0, 0));
    assert!(b.sync().is_ok());
}

/// Whatever needs what was written down queues it first, in order.
#[test]
fn a_region_keeps_its_order() {
    let b = backend().with_graphs();
    let mut device = Device::new(&b);
    let (one, two) = (batch(&[64, 64]), batch(&[64, 32]));
    let mut x = b.alloc::<f32>(64).expect("memory");
    b.driver().forget();
    let kinds = || -> Vec<String> {
        let events = b.driver().events();
        let kinds = events.iter().map(|e| match e {
            Event::Launch(launch) => launch.kernel.to_owned(),
            Event::Upload(_, bytes) => format!("upload {bytes}"),
            Event::Fetch(..) => "fetch".to_owned(),
            other => panic!("{other:?}"),
        });
        kinds.collect()
    };
    b.repeats(|| {
        b.fill(1.0, b.all_mut(&mut x));
        b.upload(b.head_mut(&mut x, 8), &[0.0; 8]).expect("upload");
        b.fill(2.0, b.head_mut(&mut x, 8));
        b.fetch(b.view(&x)).expect("fetch");
    });
    assert_eq!(kinds(), ["fill_32", "upload 32", "fill_32", "fetch"]);
    // Two steps in one region: the first is queued, with its own sizes and masks, before the second's are written.
    for (second, number) in [(&two, 2), (&one, 3)] {
        let mut inside = Vec::new();
        b.repeats(|| {
            device.step(&b, &one, 2);
            device.step(&b, second, number);
            inside = words(&b.driver().events());
        });
        let all = words(&b.driver().events());
        let steps: Vec<usize> = (0..all.len()).filter(|&k| all[k] == "step").collect();
        let kernels = (all.len() - steps.len()) / 2;
        // Masks are drawn from the second kernel on.
        let before = usize::from(number == 3);
        assert_eq!(steps, [0, kernels + before + 1], "{all:?}");
        assert_eq!(inside.len(), kernels + before + 1);
        b.repeats(|| device.step(&b, &two, 9));
    }
}
