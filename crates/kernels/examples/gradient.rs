//! A backward operation beside finite differences of its forward: the gradient of the softmax loss, on the reference in f64.
//!
//!     cargo run -p hone-kernels --example gradient
//!
//! Whoever adds an operation begins here; the conformance suite then compares every other backend with the reference.

use hone_kernels::{Backend, BackendError, Loss, Reference};

const CLASSES: usize = 3;
/// The focal exponent: easy rows count less.
const FOCAL: f64 = 2.0;
/// Half the distance of the two points of a difference.
const STEP: f64 = 1e-6;

/// The weighted sum of the rows' losses, and its gradient to the logits.
fn loss(host: &Reference<f64>, logits: &[f64]) -> Result<(f64, Vec<f64>), BackendError> {
    // The first row's class is 2; the second is 0 or 1 with some probability. The last is left out by its weight.
    let targets = host.from_slice(&[0.0, 0.0, 1.0, 0.75, 0.25, 0.0, 0.0, 1.0, 0.0])?;
    let weights = host.from_slice(&[0.5, 0.5, 0.0])?;
    let logits = host.from_slice(logits)?;
    let mut losses = host.alloc(3)?;
    let mut gradient = host.alloc(3 * CLASSES)?;
    let of = Loss {
        logits: host.view(&logits),
        targets: host.view(&targets),
        weights: host.view(&weights),
        classes: CLASSES,
    };
    let (out, dlogits) = (host.all_mut(&mut losses), host.all_mut(&mut gradient));
    host.softmax_loss(of, FOCAL, out, dlogits);
    let mut values = vec![0.0; 3 * CLASSES];
    host.download(host.view(&gradient), &mut values)?;
    let mut each = [0.0; 3];
    host.download(host.view(&losses), &mut each)?;
    Ok((each.iter().sum(), values))
}

fn main() -> Result<(), BackendError> {
    let host = Reference::<f64>::default();
    let logits = [0.3, -1.2, 0.8, 2.0, 0.1, -0.4, 1.0, 1.0, 1.0];
    let (value, gradient) = loss(&host, &logits)?;
    println!("loss {value:.6}");
    println!("row class  gradient by hand  by differences  apart");
    for (i, by_hand) in gradient.iter().enumerate() {
        let at = |moved: f64| {
            let mut logits = logits;
            logits[i] += moved;
            loss(&host, &logits).map(|(value, _)| value)
        };
        let by_differences = (at(STEP)? - at(-STEP)?) / (2.0 * STEP);
        println!(
            "{:3} {:5}  {by_hand:16.10} {by_differences:15.10}  {:.0e}",
            i / CLASSES,
            i % CLASSES,
            (by_hand - by_differences).abs()
        );
    }
    Ok(())
}
