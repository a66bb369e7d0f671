//! The conformance suite: every operation of a backend against the scalar reference, at ragged and awkward sizes.
//!
//! Each operation is written once, over any backend, and run on three: the one under test, the reference in f32
//! and the reference in f64. The tolerance follows from the reference's own rounding:
//! `max|x − x64| ≤ 4·max(max|ref32 − x64|, ε·max|x64|)`. Where an output is a difference that can cancel (the
//! gradient of a query that sees one key is zero), ε is of the terms instead.
//!
//! ```
//! hone_kernels::conformance::check(&hone_kernels::Reference::<f32>::default());
//! ```

mod arenas;
mod losses;
mod not_numbers;
mod products;
mod rig;
mod rows;
mod sequences;

pub use not_numbers::check_not_numbers;
pub use rig::{Batch, Rig};

use crate::{Backend, Reference};
use hone_tensor::Real;
use rig::Inputs;

/// One output of one operation at one size.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Operation, size and output.
    pub name: String,
    /// Its numbers.
    pub values: Vec<f64>,
    /// Size of the terms whose difference they are, where they can cancel; 0 elsewhere.
    pub terms: f64,
    /// Spacing of the numbers they are held in, f32's where that is finer.
    pub epsilon: f64,
}

/// A part of the suite: what takes hours under a checker is checked a part at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Matrix products and what is fused with them.
    Products,
    /// Operations on rows: LayerNorm, GELU, embeddings, gather and scatter.
    Rows,
    /// Attention.
    Sequences,
    /// Losses.
    Losses,
    /// Norms, the optimiser, averages.
    Arenas,
    /// Rows wider than a block.
    Wide,
    /// Sums over many rows.
    Sums,
    /// Products of many rows.
    ManyRows,
}

impl Part {
    /// All of them, in the suite's order.
    pub const ALL: [Part; 8] = [
        Part::Products,
        Part::Rows,
        Part::Sequences,
        Part::Losses,
        Part::Arenas,
        Part::Wide,
        Part::Sums,
        Part::ManyRows,
    ];

    fn run<B: Backend>(self, rig: &mut Rig<'_, B>) {
        match self {
            Part::Products => products::run(rig),
            Part::Rows => rows::run(rig),
            Part::Sequences => sequences::run(rig),
            Part::Losses => losses::run(rig),
            Part::Arenas => arenas::run(rig),
            Part::Wide => rows::wide(rig),
            Part::Sums => rows::sums(rig),
            Part::ManyRows => products::many_rows(rig),
        }
    }
}

/// Runs every operation.
pub fn outcomes<B: Backend>(backend: &B) -> Vec<Outcome> {
    outcomes_watched(backend, &mut |_| {})
}

/// Runs every operation; `watch` hears the name of each output right after the operation that made it.
pub fn outcomes_watched<B: Backend>(backend: &B, watch: &mut dyn FnMut(&str)) -> Vec<Outcome> {
    run(backend, &Part::ALL, Inputs::Single, watch)
}

fn run<B: Backend>(
    backend: &B,
    parts: &[Part],
    inputs: Inputs,
    watch: &mut dyn FnMut(&str),
) -> Vec<Outcome> {
    let mut rig = Rig::watched(backend, watch);
    rig.inputs = inputs;
    for part in parts {
        part.run(&mut rig);
    }
    rig.outcomes
}

/// How far an output is from the f64 reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Operation, size and output.
    pub name: String,
    /// Largest difference.
    pub error: f64,
    /// The largest that the rule allows.
    pub bound: f64,
    /// What is wrong, in words, where the error is larger.
    pub complaint: Option<String>,
}

/// What the suite compares with: the reference's outputs, in f32 and in f64.
pub struct Expected {
    parts: Vec<Part>,
    inputs: Inputs,
    ref32: Vec<Outcome>,
    ref64: Vec<Outcome>,
}

hone_tensor::brief_debug! { [] Expected, |e| parts: e.parts }

impl Expected {
    /// For backends with these activations; where they are coarser than f32, what all three are given is rounded as
    /// they are.
    pub fn of<Act: Real>() -> Expected {
        Expected::of_parts::<Act>(&Part::ALL)
    }

    /// The same of some parts alone.
    pub fn of_parts<Act: Real>(parts: &[Part]) -> Expected {
        let inputs = match Act::EPSILON > f32::EPSILON.into() {
            true => Inputs::Half,
            false => Inputs::Single,
        };
        Expected {
            parts: parts.to_vec(),
            inputs,
            ref32: run(&Reference::<f32>::default(), parts, inputs, &mut |_| {}),
            ref64: run(&Reference::<f64>::default(), parts, inputs, &mut |_| {}),
        }
    }

    /// Puts a backend through the suite. ε is that of the numbers an output is held in.
    pub fn verdicts<B: Backend>(&self, backend: &B) -> Vec<Verdict> {
        let got = run(backend, &self.parts, self.inputs, &mut |_| {});
        assert_eq!(got.len(), self.ref64.len(), "outputs");
        let references = self.ref32.iter().zip(&self.ref64);
        got.iter()
            .zip(references)
            .map(|(got, (ref32, ref64))| compare(got, ref32, ref64))
            .collect()
    }

    /// Holds a backend against the suite.
    ///
    /// # Panics
    ///
    /// When an output is further from the f64 reference than the rule allows; names all of them.
    #[track_caller]
    pub fn check<B: Backend>(&self, backend: &B) {
        let verdicts = self.verdicts(backend);
        let complaints = verdicts.iter().filter_map(|v| v.complaint.as_deref());
        let wrong: Vec<&str> = complaints.collect();
        assert!(
            wrong.is_empty(),
            "{}: {} of {} outputs are out of tolerance:\n{}",
            backend.path(),
            wrong.len(),
            verdicts.len(),
            wrong.join("\n")
        );
    }
}

/// Puts a backend through the suite.
pub fn verdicts<B: Backend>(backend: &B) -> Vec<Verdict> {
    Expected::of::<B::Act>().verdicts(backend)
}

/// Holds a backend against the suite.
///
/// # Panics
///
/// When an output is further from the f64 reference than the rule allows; names all of them.
#[track_caller]
pub fn check<B: Backend>(backend: &B) {
    Expected::of::<B::Act>().check(backend);
}

/// Judges an output.
fn compare(got: &Outcome, ref32: &Outcome, ref64: &Outcome) -> Verdict {
    assert_eq!(got.name, ref64.name, "the same order of operations");
    assert_eq!(got.values.len(), ref64.values.len(), "{}", got.name);
    let largest = ref64.values.iter().fold(ref64.terms, |m, x| m.max(x.abs()));
    let own = ref32.values.iter().zip(&ref64.values);
    let own = own.fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
    let bound = 4.0 * own.max(got.epsilon * largest);
    let (index, error) = got
        .values
        .iter()
        .zip(&ref64.values)
        .map(|(a, b)| {
            let d = (a - b).abs();
            if d.is_nan() { f64::INFINITY } else { d }
        })
        .enumerate()
        .fold((0, 0.0), |m, x| if x.1 > m.1 { x } else { m });
    let complaint = (error > bound).then(|| {
        format!(
            "{}: number {index} is {:e}, expected {:e}; error {error:.2e}, allowed {bound:.2e}",
            got.name, got.values[index], ref64.values[index]
        )
    });
    Verdict {
        name: got.name.clone(),
        error,
        bound,
        complaint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_passes_its_own_suite() {
        check(&Reference::<f32>::default());
        check(&Reference::<f64>::default());
    }

    #[test]
    fn a_wrong_number_is_found() {
        let outcome = |values: &[f64]| Outcome {
            name: "x".to_owned(),
            values: values.to_vec(),
            terms: 0.0,
            epsilon: f32::EPSILON.into(),
        };
        let x64 = outcome(&[1.0, -2.0]);
        let x32 = outcome(&[1.0 + 1e-8, -2.0]);
        let found = |values: &[f64]| compare(&outcome(values), &x32, &x64).complaint;
        assert_eq!(found(&[1.0, -2.0 + 9e-7]), None);
        assert!(found(&[1.0, -2.0 + 1e-6]).is_some());
        assert!(found(&[f64::NAN, -2.0]).is_some());
    }
}
