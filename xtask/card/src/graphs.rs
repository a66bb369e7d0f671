//! Steps queued as one beside the same steps operation by operation.

use crate::trajectory::{dropped, train};
use anyhow::Result;
use hone_kernels_cuda::{Act, CudaBackend, Driver};
use hone_train::Options;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// A hundred steps with dropout on both.
pub fn compare<D: Driver, A: Act>(
    captured: CudaBackend<D, A>,
    single: CudaBackend<D, A>,
    fixtures: &Path,
) -> Result<Value> {
    let options = Options {
        max_steps: Some(100),
        ..dropped()
    };
    let mut runs = Vec::new();
    let mut seconds = Vec::new();
    let mut counts = Vec::new();
    for backend in [captured, single] {
        let backend = Arc::new(backend);
        let start = Instant::now();
        runs.push(train(backend.clone(), fixtures, &options)?);
        seconds.push(start.elapsed().as_secs_f64());
        counts.push(backend.graph_counts());
    }
    let [first, last] = [runs[0].0.first(), runs[0].0.last()];
    let same = runs[0] == runs[1];
    let [graphs, one_by_one] = [counts[0], counts[1]];
    let replays = graphs.replayed > 0 && one_by_one.replayed + one_by_one.captured == 0;
    Ok(json!({
        "ok": same && replays, "same_bits": same, "steps": runs[0].0.len(), "first_loss": first, "last_loss": last,
        "regions": {"one_by_one": graphs.single, "captured": graphs.captured, "replayed": graphs.replayed},
        "seconds": {"graphs": seconds[0], "one_by_one": seconds[1]},
    }))
}
