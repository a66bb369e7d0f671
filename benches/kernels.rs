//! The hot kernels at BERT's shapes: `cargo bench --bench kernels`.
//!
//! Products report operations a second (1 Gelem/s is 1 GFLOP/s); the others report bytes that they must move.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hone_bert::{Config, DeviceBatch, Limits};
use hone_kernels::{
    Acc, Activation, AdamwRow, AdamwStep, Attention, Backend, Norm, NormSums, Qkv, QkvMut,
    WeightRef, Workspace,
};
use hone_kernels_cpu::{Buf, CpuBackend};
use hone_tensor::{Depth, Kind, ParamTable, Philox, Ragged};
use ndarray::Array2;
use std::sync::Arc;
use std::time::Duration;

type Cpu = CpuBackend;

/// Tokens of a step: 32 short texts, and 16 of 128 tokens.
const TOKENS: [usize; 2] = [512, 2048];
/// Hidden and intermediate size of MiniLM and BERT-base.
const MODELS: [(&str, usize, usize); 2] = [("minilm", 384, 1536), ("base", 768, 3072)];

fn backend() -> Arc<Cpu> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let b = Arc::new(CpuBackend::new(threads));
    b.reserve(&Workspace {
        tokens: 2048,
        sequences: 128,
        longest: 512,
        hidden: 768,
        intermediate: 3072,
        heads: 12,
        classes: 2,
        answered: 2048,
    })
    .expect("memory for the benches");
    b
}

fn numbers(b: &Cpu, len: usize) -> Buf<f32> {
    let random = Philox::new(1);
    let values: Vec<f32> = (0..len)
        .map(|i| (random.u64_at(0, i as u64) >> 40) as f32 / (1 << 23) as f32 - 1.0)
        .collect();
    b.from_slice(&values).expect("memory for the benches")
}

fn quick(c: &mut Criterion) -> criterion::BenchmarkGroup<'_, criterion::measurement::WallTime> {
    let mut group = c.benchmark_group("kernels");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    group
}

fn products(c: &mut Criterion) {
    let b = backend();
    let mut group = quick(c);
    for (model, hidden, intermediate) in MODELS {
        for (layer, input, out) in [
            ("qkv", hidden, 3 * hidden),
            ("attention_output", hidden, hidden),
            ("intermediate", hidden, intermediate),
            ("output", intermediate, hidden),
        ] {
            let mut table = ParamTable::builder();
            table.push("weight", &[out, input], Depth::Layer(0), Kind::Matrix);
            let mut params = b.params(Arc::new(table.build())).expect("memory");
            let mut host = vec![0f32; out * input];
            b.download(b.view(&numbers(&b, out * input)), &mut host)
                .expect("a copy");
            b.set_param(&mut params, 0, 0, &host)
                .expect("a whole matrix");
            b.ready_backward(&params, 0).expect("memory");
            let weight = WeightRef::one(0);
            let bias = numbers(&b, out);
            for rows in TOKENS {
                let (x, dy) = (numbers(&b, rows * input), numbers(&b, rows * out));
                let mut y = numbers(&b, rows * out);
                let mut pre = numbers(&b, rows * out);
                let mut dx = numbers(&b, rows * input);
                let mut dw = numbers(&b, out * input);
                group.throughput(Throughput::Elements(2 * (rows * input * out) as u64));
                let id = |form: &str| BenchmarkId::new(form, format!("{model}/{layer}/{rows}"));
                group.bench_function(id("forward"), |bench| {
                    bench.iter(|| {
                        b.linear(
                            &params,
                            weight,
                            b.view(&bias),
                            b.view(&x),
                            b.all_mut(&mut y),
                        );
                    });
                });
                if layer == "intermediate" {
                    group.bench_function(id("forward_gelu"), |bench| {
                        bench.iter(|| {
                            b.linear_activation(
                                &params,
                                weight,
                                b.view(&bias),
                                Activation::Gelu,
                                b.view(&x),
                                b.all_mut(&mut pre),
                                b.all_mut(&mut y),
                            );
                        });
                    });
                }
                group.bench_function(id("dgrad"), |bench| {
                    bench.iter(|| {
                        b.linear_dgrad(&params, weight, b.view(&dy), Acc::Set, b.all_mut(&mut dx));
                    });
                });
                group.bench_function(id("wgrad"), |bench| {
                    bench.iter(|| {
                        b.linear_wgrad(
                            b.view(&dy),
                            b.view(&x),
                            rows,
                            Acc::Set,
                            b.all_mut(&mut dw),
                            None,
                        );
                    });
                });
                // The opponent: ndarray's dot, one thread.
                let (left, right) = (
                    Array2::<f32>::ones((rows, input)),
                    Array2::<f32>::ones((out, input)),
                );
                group.bench_function(id("ndarray_dot"), |bench| {
                    bench.iter(|| left.dot(&right.t()));
                });
            }
        }
    }
}

/// A batch of `sequences` texts of `length` tokens on the device.
fn batch(b: &Cpu, config: &Config, sequences: usize, length: usize) -> DeviceBatch<Cpu> {
    let mut ragged = Ragged::new();
    for s in 0..sequences {
        let ids: Vec<u32> = (0..length)
            .map(|t| ((s * 7919 + t * 104_729) % config.vocabulary) as u32)
            .collect();
        ragged.push(s as u64, &ids, &vec![0; length]);
    }
    let mut out = DeviceBatch::new(b, Limits::of(&ragged)).expect("memory");
    out.load(b, config, &ragged)
        .expect("a batch within its limits");
    out
}

fn attention(c: &mut Criterion) {
    let b = backend();
    let mut group = quick(c);
    for (model, hidden, heads) in [("minilm", 384, 12), ("base", 768, 12)] {
        let config = Config::with_shape(hidden, 1, heads, 4 * hidden, 30522);
        for (sequences, length) in [(32, 16), (16, 128), (4, 512)] {
            let rows = sequences * length;
            let batch = batch(&b, &config, sequences, length);
            let tokens = batch.tokens(&b);
            let how = Attention {
                heads,
                head_dim: hidden / heads,
                longest: length,
                drop: None,
            };
            let qkv = numbers(&b, rows * 3 * hidden);
            let dcontext = numbers(&b, rows * hidden);
            let mut context = numbers(&b, rows * hidden);
            let mut lse = numbers(&b, rows * heads);
            let mut dqkv = numbers(&b, rows * 3 * hidden);
            let flops = 4 * rows * length * hidden;
            let id = |what: &str| BenchmarkId::new(what, format!("{model}/{sequences}x{length}"));
            group.throughput(Throughput::Elements(flops as u64));
            group.bench_function(id("attention"), |bench| {
                bench.iter(|| {
                    b.attention(
                        how,
                        tokens,
                        Qkv::All(b.view(&qkv)),
                        b.all_mut(&mut context),
                        b.all_mut(&mut lse),
                    );
                });
            });
            group.throughput(Throughput::Elements(5 * flops as u64 / 2));
            group.bench_function(id("attention_backward"), |bench| {
                bench.iter(|| {
                    b.attention_backward(
                        how,
                        tokens,
                        Qkv::All(b.view(&qkv)),
                        b.view(&context),
                        b.view(&lse),
                        b.view(&dcontext),
                        QkvMut::All(b.all_mut(&mut dqkv)),
                    );
                });
            });
        }
    }
}

fn sweeps(c: &mut Criterion) {
    let b = backend();
    let mut group = quick(c);
    for (model, hidden, _) in MODELS {
        let rows = 2048;
        let (weight, bias) = (numbers(&b, hidden), numbers(&b, hidden));
        let norm = || Norm {
            weight: b.view(&weight),
            bias: b.view(&bias),
            eps: 1e-12,
        };
        let residual = numbers(&b, rows * hidden);
        let mut x = numbers(&b, rows * hidden);
        let mut y = numbers(&b, rows * hidden);
        let mut stats = numbers(&b, rows * 2);
        let id = |what: &str| BenchmarkId::new(what, format!("{model}/{rows}"));
        group.throughput(Throughput::Bytes((4 * 4 * rows * hidden) as u64));
        group.bench_function(id("add_norm"), |bench| {
            bench.iter(|| {
                let (x, y, stats) = (b.all_mut(&mut x), b.all_mut(&mut y), b.all_mut(&mut stats));
                b.add_norm(norm(), None, Some(b.view(&residual)), x, stats, y);
            });
        });
        let dy = numbers(&b, rows * hidden);
        group.throughput(Throughput::Bytes((3 * 4 * rows * hidden) as u64));
        group.bench_function(id("add_norm_backward"), |bench| {
            bench.iter(|| {
                b.add_norm_backward(
                    norm(),
                    b.view(&dy),
                    b.view(&x),
                    b.view(&stats),
                    b.all_mut(&mut y),
                    None,
                    NormSums::none(),
                );
            });
        });
    }
    // 10.6 M numbers, MiniLM's encoder: w, g, m and v are read, w, m and v written.
    let n = 10_600_000;
    let mut table = ParamTable::builder();
    table.push("word", &[n / 100, 100], Depth::Embeddings, Kind::Embedding);
    let mut params = b.params(Arc::new(table.build())).expect("memory");
    let grads = numbers(&b, n);
    let (mut m, mut v) = (
        numbers(&b, n),
        b.from_slice(&vec![1e-3f32; n]).expect("memory"),
    );
    let coefficient = b.from_slice(&[1.0f64, 1.0]).expect("memory");
    let row = AdamwRow {
        param: 0,
        grad_offset: 0,
        lr: 1e-5,
        weight_decay: 0.01,
        start_decay: 0.0,
        step: 10,
    };
    let step = AdamwStep {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
    };
    group.throughput(Throughput::Bytes(28 * n as u64));
    group.bench_function("adamw", |bench| {
        bench.iter(|| {
            let (m, v) = (b.all_mut(&mut m), b.all_mut(&mut v));
            b.adamw(
                &mut params,
                &[row],
                None,
                b.view(&grads),
                m,
                v,
                b.view(&coefficient),
                step,
            );
        });
    });
}

criterion_group!(benches, products, attention, sweeps);
criterion_main!(benches);
