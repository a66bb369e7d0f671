//! The conformance suite as a report: how far each output is from the f64 reference, and whether bits repeat.

use crate::Work;
use anyhow::Result;
use hone_kernels::Backend;
use hone_kernels::conformance::{Expected, Part, outcomes};
use serde_json::{Value, json};

/// Operations beside the f64 reference.
pub struct Conformance {
    pub parts: Vec<Part>,
}

/// A part by its name.
pub fn part(name: &str) -> Result<Part, String> {
    let same = |part: &Part| format!("{part:?}").eq_ignore_ascii_case(name);
    let names: Vec<String> = Part::ALL
        .iter()
        .map(|p| format!("{p:?}").to_lowercase())
        .collect();
    Part::ALL
        .into_iter()
        .find(same)
        .ok_or_else(|| format!("no such part; there are {}", names.join(", ")))
}

impl Work for Conformance {
    fn on<B: Backend>(self, open: &dyn Fn() -> Result<B>) -> Result<Value> {
        let backend = open()?;
        let mut verdicts = Expected::of_parts::<B::Act>(&self.parts).verdicts(&backend);
        let wrong: Vec<String> = verdicts
            .iter()
            .filter_map(|v| v.complaint.clone())
            .collect();
        let outputs = verdicts.len();
        let share = |v: &hone_kernels::conformance::Verdict| match v.error > 0.0 {
            true => v.error / v.bound,
            false => 0.0,
        };
        verdicts.sort_by(|a, b| share(b).total_cmp(&share(a)));
        let nearest: Vec<Value> = verdicts[..outputs.min(5)]
            .iter()
            .map(|v| json!({"output": v.name, "error": v.error, "allowed": v.bound}))
            .collect();
        Ok(json!({
            "ok": wrong.is_empty(), "path": backend.path(), "outputs": outputs, "wrong": wrong.len(),
            "complaints": wrong[..wrong.len().min(40)], "nearest_to_their_bounds": nearest,
        }))
    }
}

/// Every operation several times.
pub struct Repeat {
    pub times: usize,
}

impl Work for Repeat {
    fn on<B: Backend>(self, open: &dyn Fn() -> Result<B>) -> Result<Value> {
        let backend = open()?;
        let one = outcomes(&backend);
        let mut different: Vec<&str> = Vec::new();
        let bits = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        for _ in 1..self.times {
            for (a, b) in one.iter().zip(&outcomes(&backend)) {
                if bits(&a.values) != bits(&b.values) && !different.contains(&&*a.name) {
                    different.push(&a.name);
                }
            }
        }
        Ok(json!({
            "ok": different.is_empty(), "outputs": one.len(), "times": self.times,
            "different": different.len(), "of_these": different[..different.len().min(40)],
        }))
    }
}
