//! Chooses the backend: the one place that names devices. The model is compiled once for each of them.

use crate::args::{DeviceArgs, Precision, TrainArgs};
use anyhow::{Context, Result, bail};
use half::bf16;
use hone_hub::Hub;
use hone_kernels::Backend;
use hone_kernels_cpu::{CpuBackend, Path as KernelPath, Team};
use hone_kernels_cuda::card::{self, Choice};
use hone_kernels_cuda::{Act, Card, CudaBackend};
use hone_report::say;
use hone_train::Checkpoints;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// The backend a run computes on.
pub enum Device {
    /// This machine's processor.
    Cpu(Arc<CpuBackend>),
    /// An NVIDIA card, everything in f32.
    Cuda(Arc<CudaBackend<Card>>),
    /// An NVIDIA card, activations in bfloat16.
    CudaRounded(Arc<CudaBackend<Card, bf16>>),
}

/// Does the same on whichever device it is.
macro_rules! on_device {
    ($device:expr, $backend:ident => $do:expr) => {
        match $device {
            $crate::device::Device::Cpu($backend) => $do,
            $crate::device::Device::Cuda($backend) => $do,
            $crate::device::Device::CudaRounded($backend) => $do,
        }
    };
}
pub(crate) use on_device;

/// More threads than any machine has processors for; each costs memory and time to start.
const MOST_THREADS: usize = 1024;

/// Lowers `--threads`, which holds for kernels and for work on texts.
pub fn threads(args: &DeviceArgs) -> Result<usize> {
    let threads = match args.threads {
        Some(n) if !(1..=MOST_THREADS).contains(&n) => {
            bail!("--threads {n}: from 1 to {MOST_THREADS} was expected")
        }
        Some(n) => n,
        None => std::thread::available_parallelism().map_or(1, |n| n.get().min(MOST_THREADS)),
    };
    hone_data::use_threads(threads);
    Ok(threads)
}

impl Device {
    /// Says where a run computes.
    pub fn tell(&self) {
        let (what, path) = match self {
            Device::Cpu(backend) => ("the CPU", backend.path()),
            Device::Cuda(backend) => ("the GPU", backend.path()),
            Device::CudaRounded(backend) => ("the GPU", backend.path()),
        };
        say!("computing on {what} ({path})");
    }

    /// Says that a card computes; of the CPU, which answers as ever, nothing is said.
    pub fn tell_card(&self) {
        if !matches!(self, Device::Cpu(_)) {
            self.tell();
        }
    }
}

/// What `--device` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Auto,
    Cpu,
    Cuda(usize),
}

fn word(args: &DeviceArgs) -> Result<Word> {
    let word = args.device.as_deref().unwrap_or("auto");
    let number = match word {
        "auto" => return Ok(Word::Auto),
        "cpu" => return Ok(Word::Cpu),
        "cuda" => Some(0),
        _ => word.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
    };
    match number {
        Some(n) => Ok(Word::Cuda(n)),
        None => bail!("--device {word}: auto, cpu or cuda[:N] was expected"),
    }
}

/// A card for activations of one type.
fn opened<A: Act>(number: usize, args: &DeviceArgs) -> Result<Arc<CudaBackend<Card, A>>> {
    let cache = Hub::from_env().map(|hub| hub.cache().join("cuda"));
    // Without a folder kernels are taken from the binary, or compiled at every start.
    let images = match args.tune_products {
        true => Some(cache.context("--tune-products keeps what it times")?),
        false => cache.ok(),
    };
    let choice = match args.tune_products {
        true => Choice::Timed,
        false => Choice::Heuristic,
    };
    let tell = Arc::new(|note: &str| say!("{note}"));
    let card = Card::with(number, A::NUMBER, images.as_deref(), choice, tell)?;
    let backend = CudaBackend::new(card)?;
    Ok(Arc::new(match args.no_graphs {
        true => backend,
        false => backend.with_graphs().on_refusal(|why| {
            say!("steps are queued operation by operation: CUDA graphs are refused ({why})");
        }),
    }))
}

/// The same for the activations that were asked for.
fn gpu(number: usize, args: &DeviceArgs) -> Result<Device> {
    Ok(match args.precision {
        Some(Precision::Bf16) => Device::CudaRounded(opened(number, args)?),
        Some(Precision::F32) | None => Device::Cuda(opened(number, args)?),
    })
}

/// The processor.
fn processor(args: &DeviceArgs) -> Result<Device> {
    if args.tune_products {
        bail!("--tune-products needs --device cuda; the CPU's products have nothing to be timed");
    }
    let threads = threads(args)?;
    let backend = match (args.precision, KernelPath::rounded()) {
        (Some(Precision::F32) | None, _) => CpuBackend::new(threads),
        (Some(Precision::Bf16), Some(path)) => CpuBackend::with(path, Team::new(threads)),
        (Some(Precision::Bf16), None) => bail!(
            "--precision bf16: this processor does not multiply bf16 (AVX-512 BF16 was expected); use f32 or a GPU"
        ),
    };
    Ok(Device::Cpu(Arc::new(backend)))
}

/// The first card where one can be used, else the processor. A machine with NVIDIA's driver is told why its card is not
/// used; others have none.
fn automatic(args: &DeviceArgs) -> Result<Device> {
    if card::has_driver() {
        match gpu(0, args) {
            Ok(device) => return Ok(device),
            Err(why) => say!("no GPU is used: {}", crate::one_line(&why)),
        }
    }
    processor(args)
}

fn open(word: Word, args: &DeviceArgs) -> Result<Device> {
    threads(args)?;
    match word {
        Word::Auto => automatic(args),
        Word::Cpu => processor(args),
        Word::Cuda(n) => gpu(n, args).context("--device cuda does not work here; use --device cpu"),
    }
}

/// Lowers `--device`, `--precision`, `--threads`, `--tune-products`, `--no-graphs`.
pub fn choose(args: &DeviceArgs) -> Result<Device> {
    open(word(args)?, args)
}

/// The same for runs that may be resumed: what began on the processor goes on there, unless another device is named.
/// What began on a card finds it by `auto`; where it cannot, whoever compares the arithmetic paths refuses.
pub fn choose_for(args: &TrainArgs) -> Result<Device> {
    let word = match (word(&args.machine)?, args.resume, &args.out) {
        (Word::Auto, true, Some(out)) => match began_on(out)? {
            Some(path) if !path.starts_with("cuda") => Word::Cpu,
            _ => Word::Auto,
        },
        (word, _, _) => word,
    };
    open(word, &args.machine)
}

/// The arithmetic path that a run, or work of many runs, recorded in its folder.
fn began_on(out: &Path) -> Result<Option<String>> {
    let file = out.join("plan.json");
    if let Ok(plan) = std::fs::read(&file) {
        let plan = serde_json::from_slice(&plan).with_context(|| file.display().to_string())?;
        return Ok(path_in(&plan));
    }
    let newest = Checkpoints::of(out).newest()?;
    Ok(newest.map(|found| found.state.identity.kernel_path))
}

/// The first `kernel_path` in a record.
fn path_in(value: &Value) -> Option<String> {
    match value {
        Value::Object(map) => match map.get("kernel_path") {
            Some(Value::String(path)) => Some(path.clone()),
            _ => map.values().find_map(path_in),
        },
        Value::Array(all) => all.iter().find_map(path_in),
        _ => None,
    }
}
