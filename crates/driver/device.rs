//! Chooses the backend: the one place that names devices.

use crate::args::{DeviceArgs, Precision};
use anyhow::{Result, bail};
use hone_kernels_cpu::CpuBackend;
use std::sync::Arc;

/// The backend a run computes on.
pub enum Device {
    /// This machine's processor.
    Cpu(Arc<CpuBackend>),
}

/// Lowers `--threads`.
pub fn threads(args: &DeviceArgs) -> Result<usize> {
    match args.threads {
        Some(0) => bail!("--threads 0: at least 1 was expected"),
        Some(n) => Ok(n),
        None => Ok(std::thread::available_parallelism().map_or(1, |n| n.get())),
    }
}

/// Lowers `--device`, `--precision`, `--threads`.
pub fn choose(args: &DeviceArgs) -> Result<Device> {
    let word = args.device.as_deref().unwrap_or("auto");
    let threads = threads(args)?;
    match word {
        "auto" | "cpu" => {
            if args.precision == Some(Precision::Bf16) {
                bail!("--precision bf16 needs --device cuda; the CPU computes in f32");
            }
            Ok(Device::Cpu(Arc::new(CpuBackend::new(threads))))
        }
        _ if word == "cuda" || word.starts_with("cuda:") => {
            bail!("--device {word}: this build has no CUDA backend yet; use --device cpu")
        }
        _ => bail!("--device {word}: auto, cpu or cuda[:N] was expected"),
    }
}
