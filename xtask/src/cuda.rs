//! `cargo xtask cuda`: the kernels under NVIDIA's compiler, as a table of what they cost; no card is needed.

use anyhow::{Context, Result, bail};
use hone_kernels_cuda::nvrtc::{ARCHITECTURES, Nvrtc, costs};
use hone_kernels_cuda::{images, sources};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// Folder with libnvrtc: the Python package nvidia-cuda-nvrtc (13.0) unpacked, or CUDA's lib64 [default: where
    /// the system finds libraries]
    #[arg(long, value_name = "DIR")]
    nvrtc: Option<PathBuf>,
    /// Architectures to compile for
    #[arg(long, value_name = "SM", value_delimiter = ',', default_values = ARCHITECTURES)]
    arch: Vec<String>,
    /// Write the images here, under the names they have in the cache's folder cuda: a machine without a compiler
    /// finds them there, and the feature cuda-images in target/cuda-images
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
}

/// Compiles every file for every architecture and both types of activations; fails where a kernel spills or is over
/// its budget.
pub fn run(args: &Args) -> Result<()> {
    let nvrtc = match Nvrtc::load(args.nvrtc.as_deref()) {
        Ok(nvrtc) => nvrtc,
        Err(said) => bail!("NVRTC could not be loaded: {said}; give its folder as --nvrtc DIR"),
    };
    let (major, minor) = nvrtc.version().map_err(anyhow::Error::msg)?;
    println!("NVRTC {major}.{minor}\n");
    println!(
        "{:<26}{:<8}{:<6}{:>10}{:>9}{:>9}",
        "kernel", "arch", "acts", "registers", "shared", "spilled"
    );
    let mut complaints = Vec::new();
    for (name, text) in sources::FILES {
        let unit = sources::expand(name, text);
        for arch in &args.arch {
            for &act in sources::acts(name) {
                let made = nvrtc
                    .compile(name, &unit, arch, act)
                    .map_err(anyhow::Error::msg)?;
                for cost in costs(&made.log) {
                    println!(
                        "{:<26}{arch:<8}{:<6}{:>10}{:>9}{:>9}",
                        cost.kernel,
                        act.name(),
                        cost.registers,
                        cost.shared,
                        cost.spilled
                    );
                    complaints.extend(
                        cost.complaint()
                            .map(|c| format!("{arch} {}: {c}", act.name())),
                    );
                }
                if let Some(folder) = &args.images {
                    let file = images::file_name(name, &unit, arch, act);
                    images::keep(folder, &file, &made.image)
                        .with_context(|| format!("{}: {file}", folder.display()))?;
                }
            }
        }
    }
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    Ok(())
}
