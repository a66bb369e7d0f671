//! Chooses the backend: the one place that names devices. The model is compiled once for each of them.

use crate::args::{DeviceArgs, Precision};
use anyhow::{Context, Result, bail};
use half::bf16;
use hone_hub::Hub;
use hone_kernels_cpu::CpuBackend;
use hone_kernels_cuda::card::Choice;
use hone_kernels_cuda::{Act, Card, CudaBackend};
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

/// Lowers `--threads`, which holds for kernels and for work on texts.
pub fn threads(args: &DeviceArgs) -> Result<usize> {
    let threads = match args.threads {
        Some(0) => bail!("--threads 0: at least 1 was expected"),
        Some(n) => n,
        None => std::thread::available_parallelism().map_or(1, |n| n.get()),
    };
    hone_data::use_threads(threads);
    Ok(threads)
}

/// What `--device` names. `auto` is the processor: the card's backend has not run on a card yet.
enum Word {
    Cpu,
    Cuda(usize),
}

fn word(args: &DeviceArgs) -> Result<Word> {
    let word = args.device.as_deref().unwrap_or("auto");
    let number = match word {
        "auto" | "cpu" => return Ok(Word::Cpu),
        "cuda" => Some(0),
        _ => word.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
    };
    match number {
        Some(n) => Ok(Word::Cuda(n)),
        None => bail!("--device {word}: auto, cpu or cuda[:N] was expected"),
    }
}

/// A card for activations of one type.
fn card<A: Act>(number: usize, args: &DeviceArgs) -> Result<Arc<CudaBackend<Card, A>>> {
    let images = Hub::from_env()?.cache().join("cuda");
    let choice = match args.tune_products {
        true => Choice::Timed,
        false => Choice::Heuristic,
    };
    let opened = Card::with(number, A::NUMBER, &images, choice).and_then(CudaBackend::new);
    let backend = opened.context("--device cuda does not work here; use --device cpu")?;
    Ok(Arc::new(backend))
}

/// The processor.
fn processor(args: &DeviceArgs) -> Result<Arc<CpuBackend>> {
    if args.precision == Some(Precision::Bf16) {
        bail!("--precision bf16 needs --device cuda; the CPU computes in f32");
    }
    if args.tune_products {
        bail!("--tune-products needs --device cuda; the CPU's products have nothing to be timed");
    }
    Ok(Arc::new(CpuBackend::new(threads(args)?)))
}

/// Lowers `--device`, `--precision`, `--threads`.
pub fn choose(args: &DeviceArgs) -> Result<Device> {
    threads(args)?;
    match (word(args)?, args.precision) {
        (Word::Cpu, _) => Ok(Device::Cpu(processor(args)?)),
        (Word::Cuda(n), Some(Precision::Bf16)) => Ok(Device::CudaRounded(card(n, args)?)),
        (Word::Cuda(n), _) => Ok(Device::Cuda(card(n, args)?)),
    }
}

/// The same for a verb that computes on the processor alone so far.
pub fn cpu(args: &DeviceArgs) -> Result<Arc<CpuBackend>> {
    match word(args)? {
        Word::Cpu => processor(args),
        Word::Cuda(_) => bail!(
            "--device cuda: only train, eval, predict and bench know a GPU so far; use --device cpu"
        ),
    }
}
