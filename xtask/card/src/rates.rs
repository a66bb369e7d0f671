//! Each operation's time, and its share of what a large product and a large copy reach on the same device.

use crate::Peak;
use crate::ops::{Cost, Shape, Visit, each};
use anyhow::Result;
use hone_kernels::Backend;
use hone_tensor::Real;
use serde_json::{Value, json};
use std::time::Instant;

/// Measurements of each operation; the median counts.
const TURNS: usize = 5;
/// Seconds that a measurement lasts at least, so that queueing it costs nothing.
const AT_LEAST: f64 = 0.02;

struct Timed<'b, B: Backend> {
    b: &'b B,
    product: f64,
    copy: f64,
    only: &'b str,
    rows: Vec<Value>,
}

/// Seconds of one run of something.
fn seconds<B: Backend>(b: &B, run: &mut dyn FnMut()) -> Result<f64> {
    let mut stretch = |times: usize| -> Result<f64> {
        b.sync()?;
        let start = Instant::now();
        for _ in 0..times {
            run();
        }
        b.sync()?;
        Ok(start.elapsed().as_secs_f64())
    };
    stretch(1)?;
    let once = stretch(1)?;
    let times = ((AT_LEAST / once).ceil() as usize).clamp(1, 1000);
    let mut turns = Vec::new();
    for _ in 0..TURNS {
        turns.push(stretch(times)? / times as f64);
    }
    turns.sort_by(f64::total_cmp);
    Ok(turns[TURNS / 2])
}

impl<B: Backend> Visit<B> for Timed<'_, B> {
    fn operation(&mut self, name: &str, cost: Cost, run: &mut dyn FnMut()) -> Result<()> {
        if !name.starts_with(self.only) {
            return Ok(());
        }
        let seconds = seconds(self.b, run)?;
        let (rate, bytes) = (cost.flop / seconds, cost.bytes / seconds);
        self.rows.push(json!({
            "operation": name, "microseconds": seconds * 1e6, "gflop_per_s": rate / 1e9, "gb_per_s": bytes / 1e9,
            "share_of_product": rate / self.product, "share_of_copy": bytes / self.copy,
        }));
        Ok(())
    }

    fn tensor<T: Real>(&mut self, _: &B, _: &str, _: &[usize], _: &B::Buf<T>) -> Result<()> {
        Ok(())
    }
}

/// Times every operation whose name begins with `only`.
pub fn measure<B: Backend>(b: &B, shape: &Shape, only: &str, product: Peak<'_>) -> Result<Value> {
    let tokens: usize = shape.lengths.iter().sum();
    // As large as the largest of the layer's buffers, and no cache.
    let len = (tokens * shape.hidden * 16).clamp(1 << 22, 1 << 28);
    let (from, mut to) = (b.alloc::<f32>(len)?, b.alloc::<f32>(len)?);
    let copying = seconds(b, &mut || b.copy(b.view(&from), b.all_mut(&mut to)))?;
    drop((from, to));
    let mut products = Vec::new();
    for _ in 0..2 * TURNS {
        products.push(product()? * 1e9);
    }
    products.sort_by(f64::total_cmp);
    let mut timed = Timed {
        b,
        product: products[products.len() / 2],
        copy: 8.0 * len as f64 / copying,
        only,
        rows: Vec::new(),
    };
    each(b, shape, &mut timed)?;
    Ok(json!({
        "ok": true, "path": b.path(), "tokens": tokens, "texts": shape.lengths.len(), "hidden": shape.hidden,
        "product_gflop_per_s": timed.product / 1e9, "best_product_gflop_per_s": products.last().map(|x| x / 1e9),
        "copy_gb_per_s": timed.copy / 1e9, "operations": timed.rows,
    }))
}
