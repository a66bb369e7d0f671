//! Developer tasks, run as `cargo xtask TASK`: nothing the product needs.

mod bundle;
mod compare;
mod cuda;
mod few_labels;
mod gpu_table;
mod halve;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "Developer tasks")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run PyTorch and Hone in turn on the same work; print medians, ratios and the bars
    Compare(compare::Args),
    /// Compile the CUDA kernels with NVRTC; print what they cost, fail where one is over its budget
    Cuda(cuda::Args),
    /// Compare `hone train` as it comes with its opponents at few labels: scores, differences, verdicts, seconds
    FewLabels(few_labels::Args),
    /// Make a folder with everything that is to be proven and measured on a machine with a card, and its runner
    GpuBundle(bundle::Args),
    /// README's table of a card, from the document that the bundle's runner wrote
    GpuTable(gpu_table::Args),
}

fn main() -> anyhow::Result<ExitCode> {
    match Args::parse().task {
        Task::Compare(args) => compare::run(&args)?,
        Task::Cuda(args) => cuda::run(&args)?,
        Task::FewLabels(args) => return few_labels::run(&args),
        Task::GpuBundle(args) => bundle::run(&args)?,
        Task::GpuTable(args) => gpu_table::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
