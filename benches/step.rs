//! A whole training step without the optimiser, forward and backward, on random texts:
//! `cargo bench --bench step`. (`hone bench` times every phase.)

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hone_bert::{Config, Grads, Limits, LossKind, Mode, Model, Pass, Rates, Task};
use hone_kernels::Acc;
use hone_kernels_cpu::CpuBackend;
use hone_tensor::Ragged;
use std::sync::Arc;
use std::time::Duration;

fn step(c: &mut Criterion) {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut group = c.benchmark_group("step");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(5));
    for (name, hidden, layers, intermediate, sequences, length) in [
        ("minilm 32x13", 384, 6, 1536, 32, 13),
        ("minilm 32x128", 384, 6, 1536, 32, 128),
        ("base 16x128", 768, 12, 3072, 16, 128),
    ] {
        let backend = Arc::new(CpuBackend::new(threads));
        let config = Config::with_shape(hidden, layers, 12, intermediate, 30522);
        let labels = vec!["negative".to_owned(), "positive".to_owned()];
        let (model, _) = Model::random(backend.clone(), config, Task::Classify, labels, 0)
            .expect("memory for the model");
        let mut batch = Ragged::new();
        for s in 0..sequences {
            let ids: Vec<u32> = (0..length)
                .map(|t| ((s * 7919 + t * 104_729) % 30522) as u32)
                .collect();
            batch.push(s as u64, &ids, &vec![0; length]);
        }
        let layout = model.layout().grad_layout(|_| true);
        let mut acts = model
            .plan_train(Limits::of(&batch), &layout)
            .expect("memory");
        let mut grads = Grads::new(backend.as_ref(), model.layout(), layout).expect("memory");
        let pass = Pass {
            mode: Mode::Train {
                seed: 0,
                step: 0,
                draw: 0,
            },
            rates: Rates {
                hidden: 0.1,
                attention: 0.1,
                head: 0.1,
            },
            embeddings: true,
            layers: vec![true; layers],
        };
        let targets: Vec<f32> = (0..2 * sequences)
            .map(|i| ((i / 2 + i) % 2) as f32)
            .collect();
        let weights = vec![1.0 / sequences as f32; sequences];
        group.throughput(Throughput::Elements((sequences * length) as u64));
        group.bench_function(name, |bench| {
            bench.iter(|| {
                model
                    .forward(&mut acts, &batch, &pass)
                    .expect("a batch within its limits");
                model
                    .loss(&mut acts, LossKind::of(Task::Classify), &targets, &weights)
                    .expect("targets for every text");
                model
                    .backward(&mut acts, &mut grads, Acc::Set)
                    .expect("a forward pass before");
            });
        });
    }
}

criterion_group!(benches, step);
criterion_main!(benches);
