//! `hone bench`: training steps on random texts, timed phase by phase.

use crate::args::{BenchArgs, Shape};
use crate::device::{self, Device};
use crate::out;
use crate::{Exit, fetch};
use anyhow::{Result, bail};
use hone_bert::{Config, Grads, Limits, LossKind, Mode, Model, Pass, Rates, Task};
use hone_kernels::{Acc, AdamwStep, Backend};
use hone_kernels_cuda::{Act, Card, CudaBackend, ProductRate};
use hone_optim::{GroupPolicy, Optimizer};
use hone_report::{bytes, count};
use hone_tensor::{Philox, Ragged};
use hone_train::peak_memory;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// Steps before the clock counts.
const WARM_UP: usize = 2;
/// Measurements of the peak before each step: multiply-adds for a millisecond or two each, or one of a card's products.
/// The best counts.
const PEAK_TURNS: usize = 4;

/// Runs the verb.
pub fn run(args: BenchArgs) -> Result<Exit> {
    let config = match (&args.model, args.shape) {
        (Some(name), _) => Config::read(&Config::path_in(&fetch::model_folder(name)?))?,
        (None, Some(Shape::Base)) => Config::with_shape(768, 12, 12, 3072, 30522),
        (None, Some(Shape::Large)) => Config::with_shape(1024, 24, 16, 4096, 30522),
        (None, _) => Config::with_shape(384, 6, 12, 1536, 30522),
    };
    if args.batch == 0 || args.steps == 0 || !(2..=config.positions).contains(&args.length) {
        bail!(
            "--batch and --steps must be at least 1, --length from 2 to {}",
            config.positions
        );
    }
    match device::choose(&args.machine)? {
        Device::Cpu(backend) => {
            let peak = backend.clone();
            time(backend, config, &args, &|| Ok(peak.fma_rate()))
        }
        Device::Cuda(backend) => on_card(backend, config, &args),
        Device::CudaRounded(backend) => on_card(backend, config, &args),
    }
}

/// On a card the limit is what one large product reaches.
fn on_card<A: Act>(
    backend: Arc<CudaBackend<Card, A>>,
    config: Config,
    args: &BenchArgs,
) -> Result<Exit> {
    let (card, rate) = (backend.clone(), ProductRate::new(&backend, 8192)?);
    time(backend, config, args, &|| Ok(rate.measure(&card)?))
}

/// A batch of random token ids, the same for the same step.
fn batch(config: &Config, args: &BenchArgs, step: usize) -> Ragged {
    let random = Philox::new(7);
    let mut batch = Ragged::new();
    for s in 0..args.batch {
        let id = |t: usize| {
            let word = random.u64_at((step * args.batch + s) as u64, t as u64);
            (word % config.vocabulary as u64) as u32
        };
        let ids: Vec<u32> = (0..args.length).map(id).collect();
        batch.push(s as u64, &ids, &vec![0; args.length]);
    }
    batch
}

/// Multiply-adds of a step's matrix products, counted as two operations each, as executed: the last layer's
/// queries, output and feed-forward run for first rows alone.
fn flops(c: &Config, args: &BenchArgs) -> f64 {
    let (t, s, h, i) = (
        (args.batch * args.length) as f64,
        args.batch as f64,
        c.hidden as f64,
        c.intermediate as f64,
    );
    let n = args.length as f64;
    let dense = |rows: f64, input: f64, out: f64| 2.0 * rows * input * out;
    let attention = |queries: f64| 2.0 * 2.0 * queries * n * h;
    let full = dense(t, h, 3.0 * h) + dense(t, h, h) + 2.0 * dense(t, h, i);
    let last = dense(t, h, 2.0 * h) + 2.0 * dense(s, h, h) + 2.0 * dense(s, h, i);
    let products = (c.layers as f64 - 1.0) * full + last + dense(s, h, h);
    let scores = (c.layers as f64 - 1.0) * attention(t) + attention(s);
    // Backward: two products for each of forward's; attention recomputes its scores besides.
    3.0 * products + 3.5 * scores
}

fn median(x: &mut [f64]) -> f64 {
    x.sort_by(f64::total_cmp);
    x[x.len() / 2]
}

fn time<B: Backend>(
    backend: Arc<B>,
    config: Config,
    args: &BenchArgs,
    peak: &dyn Fn() -> Result<f64>,
) -> Result<Exit> {
    let labels = vec!["0".to_owned(), "1".to_owned()];
    let (mut model, _) = Model::random(backend.clone(), config, Task::Classify, labels, 0)?;
    let b = backend.as_ref();
    let layout = model.layout().grad_layout(|_| true);
    let limits = Limits::of(&batch(&model.config, args, 0));
    let mut acts = model.plan_train(limits, &layout)?;
    let mut grads = Grads::new(b, model.layout(), layout.clone())?;
    let constants = AdamwStep {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
    };
    let mut optimizer = Optimizer::new(b, layout.clone(), constants)?;
    let policy = GroupPolicy {
        lr: 1e-5,
        head_lr: 1e-5,
        layer_decay: 1.0,
        weight_decay: 0.01,
        layers: model.config.layers,
    };
    let groups = policy.groups(&model.layout().table.clone(), |_| true);
    let mut coefficient = b.alloc::<f64>(2)?;
    let targets: Vec<f32> = (0..args.batch * 2)
        .map(|i| ((i / 2 + i) % 2) as f32)
        .collect();
    let weights = vec![1.0 / args.batch as f32; args.batch];
    let mut phases: [Vec<f64>; 4] = Default::default();
    let mut peaks = Vec::new();
    for step in 0..WARM_UP + args.steps {
        let ragged = batch(&model.config, args, step);
        let pass = Pass {
            mode: Mode::Train {
                seed: 0,
                step: step as u32,
                draw: 0,
            },
            rates: Rates {
                hidden: model.config.hidden_dropout,
                attention: model.config.attention_dropout,
                head: model.config.hidden_dropout,
            },
            embeddings: true,
            layers: vec![true; model.config.layers],
        };
        // The machine's own limit, in turn with the steps: on a shared machine it moves within seconds.
        let mut rate = 0.0f64;
        for _ in 0..PEAK_TURNS {
            rate = rate.max(peak()?);
        }
        let start = Instant::now();
        model.forward(&mut acts, &ragged, &pass)?;
        model.loss(&mut acts, LossKind::of(Task::Classify), &targets, &weights)?;
        b.sync()?;
        let forward = Instant::now();
        model.backward(&mut acts, &mut grads, Acc::Set)?;
        b.sync()?;
        let backward = Instant::now();
        grads.norms(b, model.layout(), |_| true, Some(1.0), &mut coefficient)?;
        optimizer.step(
            b,
            model.params_mut(),
            &groups,
            1.0,
            |_| true,
            None,
            grads.view(b),
            b.view(&coefficient),
            grads.touched(),
        )?;
        b.sync()?;
        let end = Instant::now();
        if step >= WARM_UP {
            for (phase, span) in phases.iter_mut().zip([
                forward - start,
                backward - forward,
                end - backward,
                end - start,
            ]) {
                phase.push(span.as_secs_f64() * 1e3);
            }
            peaks.push(rate);
        }
    }
    let [forward, backward, optimizer_ms, total] = phases.map(|mut p| median(&mut p));
    let peak_gflops = median(&mut peaks);
    let tokens = (args.batch * args.length) as f64;
    let gflops = flops(&model.config, args) / total / 1e6;
    let memory: Vec<(String, u64)> = [
        ("parameters", model.layout().table.len() * 4),
        ("gradients", model.layout().table.len() * 4),
        ("optimiser", model.layout().table.len() * 8),
        ("activations", model.train_bytes(limits, &layout)),
    ]
    .into_iter()
    .chain(b.memory(model.params()))
    .map(|(what, n)| (what.to_owned(), n as u64))
    .collect();
    let planned: u64 = memory.iter().map(|(_, n)| n).sum();
    if args.json {
        let object = json!({
            "batch": args.batch, "length": args.length, "kernel_path": b.path(),
            "ms": {"forward": forward, "backward": backward, "optimizer": optimizer_ms, "total": total},
            "tokens_per_s": tokens / total * 1e3,
            "gflop_per_s": gflops, "peak_gflop_per_s": peak_gflops,
            "peak_fraction": gflops / peak_gflops,
            "planned_memory_bytes": planned, "peak_memory_bytes": peak_memory(),
            "memory": memory.iter().map(|(k, v)| (k.clone(), json!(v))).collect::<serde_json::Map<_, _>>(),
        });
        out::line(object)?;
        return Ok(Exit::Done);
    }
    out::line(format!(
        "forward {forward:.1} ms, backward {backward:.1} ms, optimiser {optimizer_ms:.1} ms, step {total:.1} ms"
    ))?;
    out::line(format!(
        "{} tokens/s, {gflops:.1} GFLOP/s, {:.1} % of the {peak_gflops:.0} GFLOP/s this machine reaches ({})",
        count((tokens / total * 1e3) as usize),
        100.0 * gflops / peak_gflops,
        b.path()
    ))?;
    let parts: Vec<String> = memory
        .iter()
        .map(|(k, n)| format!("{k} {}", bytes(*n)))
        .collect();
    out::line(format!("planned {} ({})", bytes(planned), parts.join(", ")))?;
    if let Some(peak) = peak_memory() {
        out::line(format!("peak memory {}", bytes(peak)))?;
    }
    Ok(Exit::Done)
}
