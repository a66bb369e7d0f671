//! `hone bench`: training steps on random texts, timed phase by phase.

use crate::args::{BenchArgs, Shape};
use crate::device::{self, Device};
use crate::out;
use crate::{Exit, fetch};
use anyhow::{Context, Result, bail};
use hone_bert::{Config, Grads, Limits, LossKind, Mode, Model, Pass, Rates, Task};
use hone_kernels::{Acc, AdamwStep, Backend};
use hone_kernels_cuda::{Act, Card, CudaBackend, ProductRate};
use hone_optim::{GroupPolicy, Optimizer};
use hone_report::{bytes, count};
use hone_tensor::{Philox, Ragged};
use hone_train::peak_memory;
use serde_json::json;
use std::path::Path;
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
    let lengths = match &args.lengths {
        Some(path) => read_lengths(path)?,
        None => vec![args.length],
    };
    let fits = |n: &usize| (2..=config.positions).contains(n);
    if args.batch == 0 || args.steps == 0 || args.back_to_back == 0 || !lengths.iter().all(fits) {
        bail!(
            "--batch, --steps and --back-to-back must be at least 1, --length (and each of --lengths) from 2 to {}",
            config.positions
        );
    }
    let args = Work { args, lengths };
    match device::choose(&args.args.machine)? {
        Device::Cpu(backend) => {
            let peak = backend.clone();
            let peak = Yardstick {
                measure: &|| Ok(peak.fma_rate()),
                bytes: 0,
            };
            time(backend, config, &args, &peak)
        }
        Device::Cuda(backend) => on_card(backend, config, &args),
        Device::CudaRounded(backend) => on_card(backend, config, &args),
    }
}

/// On a card the limit is what one large product reaches.
fn on_card<A: Act>(
    backend: Arc<CudaBackend<Card, A>>,
    config: Config,
    args: &Work,
) -> Result<Exit> {
    let (card, rate) = (backend.clone(), ProductRate::new(&backend, 8192)?);
    let peak = Yardstick {
        measure: &|| Ok(rate.measure(&card)?),
        bytes: rate.bytes(),
    };
    time(backend, config, args, &peak)
}

/// What steps are held against, and the device memory that measuring it takes beside theirs.
struct Yardstick<'a> {
    measure: &'a dyn Fn() -> Result<f64>,
    bytes: u64,
}

/// What was asked for, and the lengths of texts, over and over.
struct Work {
    args: BenchArgs,
    lengths: Vec<usize>,
}

/// A file with a number a line.
fn read_lengths(path: &Path) -> Result<Vec<usize>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("--lengths {shown}"))?;
    let mut lengths = Vec::new();
    for (k, line) in text.lines().enumerate() {
        match line.trim().parse() {
            Ok(n) => lengths.push(n),
            Err(_) => bail!(
                "{shown}, line {}: a number of word pieces was expected",
                k + 1
            ),
        }
    }
    if lengths.is_empty() {
        bail!("{shown}: no lengths in it");
    }
    Ok(lengths)
}

/// A batch of random token ids, the same for the same step.
fn batch(config: &Config, work: &Work, step: usize) -> Ragged {
    let random = Philox::new(7);
    let mut batch = Ragged::new();
    for s in 0..work.args.batch {
        let text = step * work.args.batch + s;
        let length = work.lengths[text % work.lengths.len()];
        let id = |t: usize| {
            let word = random.u64_at(text as u64, t as u64);
            (word % config.vocabulary as u64) as u32
        };
        let ids: Vec<u32> = (0..length).map(id).collect();
        batch.push(s as u64, &ids, &vec![0; length]);
    }
    batch
}

/// Multiply-adds of a step's matrix products, counted as two operations each, as executed: the last layer's
/// queries, output and feed-forward run for first rows alone.
fn flops(c: &Config, batch: &Ragged) -> f64 {
    let lengths = || batch.cu_seqlens.windows(2).map(|w| f64::from(w[1] - w[0]));
    let (t, s, h, i) = (
        batch.tokens() as f64,
        batch.sequences() as f64,
        c.hidden as f64,
        c.intermediate as f64,
    );
    let dense = |rows: f64, input: f64, out: f64| 2.0 * rows * input * out;
    let attention = |pairs: f64| 2.0 * 2.0 * pairs * h;
    let full = dense(t, h, 3.0 * h) + dense(t, h, h) + 2.0 * dense(t, h, i);
    let last = dense(t, h, 2.0 * h) + 2.0 * dense(s, h, h) + 2.0 * dense(s, h, i);
    let products = (c.layers as f64 - 1.0) * full + last + dense(s, h, h);
    // Every token against its text, in the last layer first tokens alone.
    let pairs: f64 = lengths().map(|n| n * n).sum();
    let scores = (c.layers as f64 - 1.0) * attention(pairs) + attention(t);
    // Backward: two products for each of forward's; attention recomputes its scores besides.
    3.0 * products + 3.5 * scores
}

/// The longest batches that are to come.
fn limits(config: &Config, work: &Work) -> Limits {
    let batches = (0..work.steps()).map(|step| batch(config, work, step));
    batches.fold(Limits::default(), |most, batch| {
        most.max(Limits::of(&batch))
    })
}

impl Work {
    /// Steps in all.
    fn steps(&self) -> usize {
        WARM_UP + self.args.steps * self.args.back_to_back
    }
}

fn median(x: &mut [f64]) -> f64 {
    x.sort_by(f64::total_cmp);
    x[x.len() / 2]
}

fn time<B: Backend>(
    backend: Arc<B>,
    config: Config,
    args: &Work,
    peak: &Yardstick<'_>,
) -> Result<Exit> {
    let labels = vec!["0".to_owned(), "1".to_owned()];
    let (mut model, _) = Model::random(backend.clone(), config, Task::Classify, labels, 0)?;
    let b = backend.as_ref();
    let layout = model.layout().grad_layout(|_| true);
    let limits = limits(model.config(), args);
    let shape = b.shapes();
    let limits = shape.map_or(limits, |shape| limits.shaped(shape));
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
        layers: model.config().layers,
    };
    let groups = policy.groups(&model.layout().table.clone(), |_| true);
    let mut coefficient = b.alloc::<f64>(2)?;
    let mut targets: Vec<f32> = (0..args.args.batch * 2)
        .map(|i| ((i / 2 + i) % 2) as f32)
        .collect();
    let mut weights = vec![1.0 / args.args.batch as f32; args.args.batch];
    let mut phases: [Vec<f64>; 3] = Default::default();
    let (mut milliseconds, mut per_token, mut per_flop) = (Vec::new(), Vec::new(), Vec::new());
    let mut peaks = Vec::new();
    let warm_up = std::iter::repeat_n(1, WARM_UP);
    let stretches = warm_up.chain(std::iter::repeat_n(args.args.back_to_back, args.args.steps));
    let mut step = 0;
    for (turn, steps) in stretches.enumerate() {
        let batches: Vec<Ragged> = (step..step + steps)
            .map(|step| batch(model.config(), args, step))
            .collect();
        // Texts that fill them are computed and not counted.
        let filled: Vec<Ragged> = batches
            .iter()
            .map(|batch| match shape {
                Some(shape) => batch.clone().shaped(shape),
                None => batch.clone(),
            })
            .collect();
        // The machine's own limit, in turn with the steps: on a shared machine it moves within seconds.
        let mut rate = 0.0f64;
        for _ in 0..PEAK_TURNS {
            rate = rate.max((peak.measure)()?);
        }
        let start = Instant::now();
        let mut at = [start; 2];
        // As in training: what a step gave is read once the next is queued.
        let mut before = None;
        for ragged in &filled {
            let pass = Pass {
                mode: Mode::Train {
                    seed: 0,
                    step: step as u32,
                    draw: 0,
                },
                rates: Rates {
                    hidden: model.config().hidden_dropout,
                    attention: model.config().attention_dropout,
                    head: model.config().hidden_dropout,
                },
                embeddings: true,
                layers: vec![true; model.config().layers],
            };
            model.forward(&mut acts, ragged, &pass)?;
            let task = LossKind::of(Task::Classify);
            targets.resize(2 * ragged.sequences(), 0.0);
            weights.resize(ragged.sequences(), 0.0);
            let losses = model.queue_loss(&mut acts, task, &targets, &weights)?;
            if steps == 1 {
                b.sync()?;
                at[0] = Instant::now();
            }
            model.backward(&mut acts, &mut grads, Acc::Set)?;
            if steps == 1 {
                b.sync()?;
                at[1] = Instant::now();
            }
            let norms =
                grads.queue_norms(b, model.layout(), |_| true, Some(1.0), &mut coefficient)?;
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
            if let Some((losses, norms)) = before.replace((losses, norms)) {
                b.arrived(losses)?;
                b.arrived(norms)?;
            }
            step += 1;
        }
        b.sync()?;
        let end = Instant::now();
        if turn >= WARM_UP {
            for (phase, span) in phases
                .iter_mut()
                .zip([at[0] - start, at[1] - at[0], end - at[1]])
            {
                phase.push(span.as_secs_f64() * 1e3);
            }
            let seconds = (end - start).as_secs_f64();
            let tokens: usize = batches.iter().map(Ragged::tokens).sum();
            let flop: f64 = batches.iter().map(|b| flops(model.config(), b)).sum();
            milliseconds.push(seconds * 1e3 / steps as f64);
            per_token.push(seconds / tokens as f64);
            per_flop.push(seconds / flop);
            peaks.push(rate);
        }
    }
    let phases = phases.map(|mut p| median(&mut p));
    let total = median(&mut milliseconds);
    let peak_gflops = median(&mut peaks);
    let tokens_per_s = 1.0 / median(&mut per_token);
    let gflops = 1e-9 / median(&mut per_flop);
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
    let held = peak_memory(b).map(|most| most.saturating_sub(peak.bytes));
    if args.args.json {
        let length = args.args.lengths.is_none().then_some(args.args.length);
        let mut ms = json!({});
        if args.args.back_to_back == 1 {
            for (name, phase) in ["forward", "backward", "optimizer"].iter().zip(phases) {
                ms[name] = json!(phase);
            }
        }
        ms["total"] = json!(total);
        let object = json!({
            "batch": args.args.batch, "length": length, "kernel_path": b.path(), "ms": ms,
            "back_to_back": args.args.back_to_back, "tokens_per_s": tokens_per_s,
            "gflop_per_s": gflops, "peak_gflop_per_s": peak_gflops,
            "peak_fraction": gflops / peak_gflops,
            "planned_memory_bytes": planned, "peak_memory_bytes": held,
            "memory": memory.iter().map(|(k, v)| (k.clone(), json!(v))).collect::<serde_json::Map<_, _>>(),
        });
        out::line(object)?;
        return Ok(Exit::Done);
    }
    let [forward, backward, optimizer] = phases;
    out::line(match args.args.back_to_back {
        1 => format!(
            "forward {forward:.1} ms, backward {backward:.1} ms, optimiser {optimizer:.1} ms, step {total:.1} ms"
        ),
        n => format!("step {total:.1} ms, {n} at a time"),
    })?;
    out::line(format!(
        "{} tokens/s, {gflops:.1} GFLOP/s, {:.1} % of the {peak_gflops:.0} GFLOP/s this machine reaches ({})",
        count(tokens_per_s as usize),
        100.0 * gflops / peak_gflops,
        b.path()
    ))?;
    let parts: Vec<String> = memory
        .iter()
        .map(|(k, n)| format!("{k} {}", bytes(*n)))
        .collect();
    out::line(format!("planned {} ({})", bytes(planned), parts.join(", ")))?;
    if let Some(peak) = held {
        out::line(format!("peak memory {}", bytes(peak)))?;
    }
    Ok(Exit::Done)
}
