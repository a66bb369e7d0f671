//! A layer's twelve matrix products at several numbers of tokens, by cuBLASLt's own first algorithms and by the fastest of
//! those it names: what timing them gains.

use anyhow::{Result, ensure};
use hone_kernels::{Acc, Backend, WeightRef, Workspace};
use hone_tensor::{Depth, Element, Kind, ParamTable, Philox, Real};
use serde_json::{Value, json};
use std::sync::Arc;

/// Measurements of a product in a round; the median counts.
const TURNS: usize = 5;
/// Rounds of each choice, by turns.
const ROUNDS: usize = 3;
/// Operations that a measurement repeats a product up to, and how often at most.
const OPERATIONS: f64 = 1e11;
const REPEATS: f64 = 16.0;
/// Numbers that are drawn; longer buffers repeat them. Odd, so that rows differ.
const DRAWN: usize = 65_521;

/// Seconds of what is queued, by the device's own clock where it has one.
pub type Clock<'a> = &'a dyn Fn(&mut dyn FnMut()) -> Result<f64>;

/// A layer on one backend, with room for so many tokens.
pub struct Layer<'b, B: Backend> {
    b: &'b B,
    clock: Clock<'b>,
    params: B::Params,
    /// Name, outputs, inputs.
    products: [(&'static str, usize, usize); 4],
    /// Where each bias lies in the arena.
    biases: Vec<std::ops::Range<usize>>,
    x: B::Buf<B::Act>,
    dy: B::Buf<B::Act>,
    out: B::Buf<B::Act>,
    dw: B::Buf<B::Master>,
}

/// A product's time.
pub struct Timed {
    pub name: String,
    pub flop: f64,
    pub seconds: f64,
}

fn numbers<T: Real + Element>(len: usize, scale: f64) -> Vec<T> {
    let random = Philox::new(1);
    let number = |k: u64| scale * ((random.u64_at(0, k) >> 44) as f64 / f64::from(1 << 19) - 1.0);
    let drawn: Vec<T> = (0..DRAWN.min(len) as u64)
        .map(|k| T::from_f64(number(k)))
        .collect();
    drawn.iter().copied().cycle().take(len).collect()
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    x[x.len() / 2]
}

impl<'b, B: Backend> Layer<'b, B> {
    pub fn new(b: &'b B, hidden: usize, tokens: usize, clock: Clock<'b>) -> Result<Self> {
        let (h, inner) = (hidden, 4 * hidden);
        let products = [
            ("qkv", 3 * h, h),
            ("output", h, h),
            ("up", inner, h),
            ("down", h, inner),
        ];
        b.reserve(&Workspace {
            tokens,
            sequences: 1,
            longest: tokens,
            hidden,
            intermediate: inner,
            heads: hidden.div_ceil(64),
            classes: 2,
            answered: tokens,
        })?;
        let mut table = ParamTable::builder();
        for (name, out, input) in products {
            table.push(name, &[out, input], Depth::Layer(0), Kind::Matrix);
        }
        // In the arena, so that they have a rounded copy, as a model's have: the product adds them then.
        for (name, out, _) in products {
            let name = format!("{name}.bias");
            table.push(&name, &[out], Depth::Layer(0), Kind::Bias);
        }
        let table = Arc::new(table.build());
        let mut params = b.params(table.clone())?;
        for (index, param) in table.params().iter().enumerate() {
            b.set_param(
                &mut params,
                index,
                0,
                &numbers::<B::Master>(param.len(), 0.05),
            )?;
        }
        b.ready_backward(&params, 0)?;
        let biases = table.params()[4..].iter().map(|p| p.range()).collect();
        Ok(Layer {
            b,
            clock,
            params,
            products,
            biases,
            x: b.from_slice(&numbers::<B::Act>(tokens * inner, 1.0))?,
            dy: b.from_slice(&numbers::<B::Act>(tokens * inner, 1.0))?,
            out: b.alloc(tokens * inner)?,
            dw: b.alloc(inner * h)?,
        })
    }

    /// Seconds of one of what `run` queues.
    fn time(&self, flop: f64, run: &mut dyn FnMut()) -> Result<f64> {
        run();
        self.b.sync()?;
        let repeats = (OPERATIONS / flop).clamp(1.0, REPEATS) as usize;
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            let all = (self.clock)(&mut || (0..repeats).for_each(|_| run()))?;
            turns.push(all / repeats as f64);
        }
        Ok(median(turns))
    }

    /// Every product of `t` tokens.
    pub fn round(&mut self, t: usize) -> Result<Vec<Timed>> {
        let b = self.b;
        let mut timed = Vec::new();
        for (index, (name, out, input)) in self.products.into_iter().enumerate() {
            let weight = WeightRef::one(index);
            let flop = 2.0 * (t * out * input) as f64;
            // Taken apart, so that what is written is no part of what is read.
            let mut y = std::mem::replace(&mut self.out, b.alloc(0)?);
            let mut dw = std::mem::replace(&mut self.dw, b.alloc(0)?);
            let mut put = |form: &str, seconds: f64| {
                timed.push(Timed {
                    name: format!("{name}.{form}"),
                    flop,
                    seconds,
                });
            };
            let bias = self.biases[index].clone();
            let forward = self.time(flop, &mut || {
                let bias = b.param(&self.params, bias.clone());
                let x = b.head(&self.x, t * input);
                b.linear(&self.params, weight, bias, x, b.head_mut(&mut y, t * out));
            });
            put("forward", forward?);
            let dgrad = self.time(flop, &mut || {
                let (dy, dx) = (b.head(&self.dy, t * out), b.head_mut(&mut y, t * input));
                b.linear_dgrad(&self.params, weight, dy, Acc::Set, dx);
            });
            put("dgrad", dgrad?);
            let wgrad = self.time(flop, &mut || {
                let (dy, x) = (b.head(&self.dy, t * out), b.head(&self.x, t * input));
                b.linear_wgrad(dy, x, t, Acc::Set, b.head_mut(&mut dw, out * input), None);
            });
            put("wgrad", wgrad?);
            (self.out, self.dw) = (y, dw);
        }
        Ok(timed)
    }
}

/// The medians of a number of rounds.
fn medians(rounds: Vec<Vec<Timed>>) -> Vec<Timed> {
    let mut rounds = rounds.into_iter();
    let Some(mut all) = rounds.next() else {
        return Vec::new();
    };
    let rest: Vec<Vec<Timed>> = rounds.collect();
    for (k, product) in all.iter_mut().enumerate() {
        let others = rest.iter().map(|round| round[k].seconds);
        product.seconds = median(others.chain([product.seconds]).collect());
    }
    all
}

/// The products by the heuristic's choice and, where there is one, by the timed choice, by turns.
pub fn compare<B: Backend>(
    heuristic: &mut Layer<'_, B>,
    mut tuned: Option<&mut Layer<'_, B>>,
    tokens: &[usize],
) -> Result<Value> {
    ensure!(!tokens.contains(&0), "--tokens: at least 1 was expected");
    let mut rows = Vec::new();
    let mut sums = Vec::new();
    for &t in tokens {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        let mut tuning = None;
        if let Some(tuned) = tuned.as_deref_mut() {
            // What is not kept yet is timed here.
            let start = std::time::Instant::now();
            tuned.round(t)?;
            tuning = Some(start.elapsed().as_secs_f64());
        }
        for _ in 0..ROUNDS {
            one.push(heuristic.round(t)?);
            if let Some(tuned) = tuned.as_deref_mut() {
                other.push(tuned.round(t)?);
            }
        }
        let (one, other) = (medians(one), medians(other));
        let shown = |p: &Timed| json!({"microseconds": p.seconds * 1e6, "tflop_per_s": p.flop / p.seconds / 1e12});
        let sum = |all: &[Timed]| all.iter().map(|p| p.seconds * 1e6).sum::<f64>();
        for (k, product) in one.iter().enumerate() {
            let tuned = other.get(k);
            rows.push(json!({
                "tokens": t, "product": product.name, "heuristic": shown(product), "timed": tuned.map(shown),
                "gain": tuned.map(|tuned| product.seconds / tuned.seconds),
            }));
        }
        sums.push(json!({
            "tokens": t, "heuristic_microseconds": sum(&one),
            "timed_microseconds": (!other.is_empty()).then(|| sum(&other)),
            "gain": (!other.is_empty()).then(|| sum(&one) / sum(&other)),
            "first_round_seconds": tuning,
        }));
    }
    let path = heuristic.b.path();
    let timed = tuned.map(|layer| layer.b.path());
    Ok(json!({"ok": true, "path": path, "timed_path": timed, "layers": sums, "products": rows}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_kernels_cpu::CpuBackend;
    use hone_kernels_cuda::{CudaBackend, Event, Number, Recorder};
    use std::time::Instant;

    #[test]
    fn twelve_products_a_layer_on_the_processor() {
        let b = CpuBackend::new(1);
        let clock = |run: &mut dyn FnMut()| {
            let start = Instant::now();
            run();
            Ok(start.elapsed().as_secs_f64())
        };
        let layer = || Layer::new(&b, 64, 8, &clock).unwrap();
        let found = compare(&mut layer(), Some(&mut layer()), &[8, 3]).unwrap();
        let rows = found["products"].as_array().unwrap();
        assert_eq!(rows.len(), 24);
        assert_eq!(rows[0]["product"], "qkv.forward");
        assert_eq!(rows[23]["product"], "down.wgrad");
        for row in rows {
            assert!(
                row["heuristic"]["microseconds"].as_f64() > Some(0.0),
                "{row}"
            );
            assert!(row["gain"].as_f64() > Some(0.0), "{row}");
        }
        let alone = compare(&mut layer(), None, &[8]).unwrap();
        assert!(alone["products"][0]["timed"].is_null());
        assert!(compare(&mut layer(), None, &[0]).is_err());
    }

    /// On a card's backend they are products and nothing else: biases are added by them, gradients of weights are f32.
    #[test]
    fn a_cards_products_are_what_is_timed() {
        let b = CudaBackend::<Recorder, half::bf16>::new(Recorder::new()).unwrap();
        let clock = |run: &mut dyn FnMut()| {
            run();
            Ok(1.0)
        };
        let mut layer = Layer::new(&b, 64, 8, &clock).unwrap();
        b.driver().forget();
        layer.round(5).unwrap();
        let mut seen = Vec::new();
        for event in b.driver().events() {
            match event {
                Event::Product(p) => {
                    let now = (p.rows, p.columns, p.depth, p.bias.is_some(), p.c_number);
                    if seen.last() != Some(&now) {
                        seen.push(now);
                    }
                }
                Event::Launch(launch) => panic!("{}", launch.kernel),
                _ => {}
            }
        }
        let bf16 = Number::Bf16;
        let of = |out, input| {
            [
                (5, out, input, true, bf16),
                (5, input, out, false, bf16),
                (out, input, 5, false, Number::F32),
            ]
        };
        let want: Vec<_> = [of(192, 64), of(64, 64), of(256, 64), of(64, 256)].concat();
        assert_eq!(seen, want);
    }
}
