//! A hundred AdamW steps beside PyTorch: warm-up, decay, clipping, layer-wise rates, no dropout.
//! What is compared is movement, w₁₀₀ − w₀, a tensor at a time; weights themselves would hide it.

use crate::common::{Record, Run, data, distance, folder, largest, options, weights};
use hone_kernels::{Backend, Reference};
use hone_kernels_cpu::CpuBackend;
use hone_tensor::SafetensorsFile;
use hone_train::ValidSource;
use std::sync::Arc;

/// `allowed(movement in f64, PyTorch's f32 error)` bounds a tensor's error.
fn check<B: Backend>(backend: B, loss_tolerance: f64, allowed: impl Fn(&[f64], f64) -> f64) {
    let torch = SafetensorsFile::open(&folder().join("trajectory.safetensors")).unwrap();
    let start = SafetensorsFile::open(&folder().join("model.safetensors")).unwrap();
    let path = backend.path();
    let mut record = Record::default();
    let done = Run::new(&data(ValidSource::None), &options())
        .on(Arc::new(backend), &mut record)
        .unwrap();
    assert_eq!(done.summary.steps, 100);
    let losses = torch.read_f64("loss").unwrap();
    let loss = distance(&record.losses, &losses);
    assert!(
        loss <= loss_tolerance,
        "{path}: losses differ by {loss:.3e}"
    );
    let norms = torch.read_f64("norm").unwrap();
    assert!(distance(&record.norms, &norms) <= 10.0 * loss_tolerance * largest(&norms));
    let mut worst = Vec::new();
    let mut moved = 0;
    for (name, got) in weights(&done) {
        let before = start.read_f64(&name).unwrap();
        let x64 = torch.read_f64(&format!("w100.{name}")).unwrap();
        let x32 = torch.read_f64(&format!("w100f32.{name}")).unwrap();
        let movement: Vec<f64> = x64.iter().zip(&before).map(|(a, b)| a - b).collect();
        // The true gradient of a key's bias is zero; AdamW makes steps of its rounding errors, in PyTorch too.
        if name.ends_with("key.bias") {
            continue;
        }
        moved += usize::from(largest(&movement) > 1e-3);
        let (error, bound) = (
            distance(&got, &x64),
            allowed(&movement, distance(&x32, &x64)),
        );
        if error > bound {
            worst.push(format!("{name}: error {error:.3e}, allowed {bound:.3e}"));
        }
    }
    assert!(moved > 20, "only {moved} tensors moved");
    assert!(worst.is_empty(), "{path}:\n{}", worst.join("\n"));
}

#[test]
fn f64_reference_moves_as_pytorch_in_double() {
    check(Reference::<f64>::default(), 1e-9, |movement, _| {
        1e-9 * largest(movement)
    });
}

#[test]
fn f32_moves_within_four_times_pytorchs_own_error() {
    let allowed = |movement: &[f64], torch: f64| 4.0 * torch.max(1e-7 * largest(movement));
    check(Reference::<f32>::default(), 1e-4, allowed);
    for backend in CpuBackend::every_path(2) {
        check(backend, 1e-4, allowed);
    }
}
