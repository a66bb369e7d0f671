//! A hundred AdamW steps of a small BERT beside PyTorch's in double (the fixture of `crates/train/tests/training/trajectory.rs`),
//! and ten with every dropout beside the CPU's backend.

use crate::Work;
use crate::movement::apart;
use anyhow::{Context, Result};
use hone_data::Columns;
use hone_kernels::Backend;
use hone_kernels_cpu::CpuBackend;
use hone_optim::Warmup;
use hone_tensor::{Real, SafetensorsFile};
use hone_train::{DataSource, Event, Job, Options, Select, Sink, ValidSource};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// bf16: losses of a hundred steps at most this far from PyTorch's in double, and every matrix' movement at least this
/// close in direction. On the emulator losses are 0.0013 apart and the least cosine is 0.9993.
const ROUNDED: (f64, f64) = (1e-2, 0.99);

/// The task.
pub struct Trajectory<'a> {
    pub fixtures: &'a Path,
    pub rounded: bool,
}

/// The recipe of `xtask/python/make_fixtures.py`.
fn recipe() -> Options {
    Options {
        epochs: 1.0,
        batch_size: 4,
        lr: 1e-3,
        head_lr: 5e-3,
        layer_decay: 0.8,
        weight_decay: 0.05,
        warmup: Warmup::Steps(10),
        dropout: 0.0,
        attention_dropout: 0.0,
        head_dropout: 0.0,
        shuffle: false,
        select: Select::Last,
        ..Options::default()
    }
}

/// Ten steps with dropout everywhere.
pub fn dropped() -> Options {
    Options {
        max_steps: Some(10),
        dropout: 0.1,
        attention_dropout: 0.2,
        head_dropout: 0.1,
        ..recipe()
    }
}

#[derive(Default)]
struct Losses(Vec<f64>);

impl Sink for Losses {
    fn event(&mut self, event: &Event) {
        if let Event::Step(step) = event {
            self.0.push(step.loss);
        }
    }
}

/// Losses, and weights by name.
pub type Ran = (Vec<f64>, Vec<(String, Vec<f64>)>);

pub fn train<B: Backend>(backend: Arc<B>, folder: &Path, options: &Options) -> Result<Ran> {
    let data = DataSource {
        data: folder.join("train.csv"),
        valid: ValidSource::None,
        test: None,
        columns: Columns::default(),
        kind: None,
        split_seed: 0,
    }
    .read()?;
    let mut losses = Losses::default();
    let done =
        Job::new(folder, &data, options).run(backend, &mut losses, &AtomicBool::new(false))?;
    let (model, b) = (&done.model, done.model.backend());
    let mut weights = Vec::new();
    for p in model.layout().table.params() {
        let mut host = vec![B::Master::default(); p.len()];
        b.download(b.param(model.params(), p.range()), &mut host)?;
        weights.push((p.name.clone(), host.into_iter().map(Real::to_f64).collect()));
    }
    Ok((losses.0, weights))
}

fn furthest(a: &[f64], b: &[f64]) -> f64 {
    let far = |(a, b): (&f64, &f64)| {
        if (a - b).is_nan() {
            f64::INFINITY
        } else {
            (a - b).abs()
        }
    };
    match a.len() == b.len() {
        true => a.iter().zip(b).map(far).fold(0.0, f64::max),
        false => f64::INFINITY,
    }
}

impl Work for Trajectory<'_> {
    fn on<B: Backend>(self, open: &dyn Fn() -> Result<B>) -> Result<Value> {
        let folder = self.fixtures;
        let file = |name: &str| {
            SafetensorsFile::open(&folder.join(name)).with_context(|| "the fixtures".to_owned())
        };
        let (torch, start) = (file("trajectory.safetensors")?, file("model.safetensors")?);
        let (losses, weights) = train(Arc::new(open()?), folder, &recipe())?;
        let loss = furthest(&losses, &torch.read_f64("loss")?);
        let mut complaints = Vec::new();
        let (mut nearest, mut least_cosine) = (0f64, 1f64);
        for (name, got) in &weights {
            // The true gradient of a key's bias is zero: AdamW makes steps of its rounding errors, in PyTorch too.
            if name.ends_with("key.bias") {
                continue;
            }
            let (before, x64) = (
                start.read_f64(name)?,
                torch.read_f64(&format!("w100.{name}"))?,
            );
            if self.rounded {
                let cosine = apart(&x64, got, &before).cosine;
                if name.ends_with("weight") && before.len() > 1 {
                    least_cosine = least_cosine.min(cosine);
                }
                continue;
            }
            let x32 = torch.read_f64(&format!("w100f32.{name}"))?;
            let bound = 4.0 * furthest(&x32, &x64).max(1e-7 * furthest(&x64, &before));
            let error = furthest(got, &x64);
            nearest = nearest.max(error / bound);
            if error > bound {
                complaints.push(format!("{name}: error {error:.3e}, allowed {bound:.3e}"));
            }
        }
        let most = if self.rounded { ROUNDED.0 } else { 1e-4 };
        if loss.is_nan() || loss > most {
            complaints.push(format!("losses are {loss:.3e} apart, allowed {most:.0e}"));
        }
        if self.rounded && (least_cosine.is_nan() || least_cosine < ROUNDED.1) {
            complaints.push(format!(
                "a cosine of {least_cosine:.3}, {} at least",
                ROUNDED.1
            ));
        }
        // Dropout: a mask drawn otherwise would move a loss by tenths.
        let one = train(Arc::new(open()?), folder, &dropped())?;
        let two = train(Arc::new(open()?), folder, &dropped())?;
        let cpu = train(Arc::new(CpuBackend::new(2)), folder, &dropped())?;
        let (with_dropout, most) = (
            furthest(&one.0, &cpu.0),
            if self.rounded { 2e-2 } else { 1e-5 },
        );
        if with_dropout.is_nan() || with_dropout > most {
            complaints.push(format!(
                "with dropout: losses are {with_dropout:.3e} from the CPU's, allowed {most:.0e}"
            ));
        }
        if one != two {
            complaints.push("with dropout: other bits in the second run".to_owned());
        }
        let (first, last) = (losses.first(), losses.last());
        let figures = match self.rounded {
            true => {
                json!({"least_cosine": least_cosine, "cosine_bound": ROUNDED.1, "loss_bound": ROUNDED.0})
            }
            false => json!({"largest_error_over_its_bound": nearest, "loss_bound": 1e-4}),
        };
        Ok(json!({
            "ok": complaints.is_empty(), "steps": losses.len(), "first_loss": first, "last_loss": last,
            "losses_apart": loss, "weights": figures, "losses_apart_with_dropout": with_dropout,
            "complaints": complaints,
        }))
    }
}
