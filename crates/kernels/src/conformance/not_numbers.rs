//! What is no number stays none: a model that is ruined must not answer like one that is not.

use super::{Batch, Rig};
use crate::{Activation, Attention, Backend, Loss, Qkv, WeightRef};
use hone_tensor::{Depth, Kind, ParamTable, Real};
use std::sync::Arc;

/// Holds a backend to it: a NaN that goes into attention, an activation, tanh or a loss is seen in whatever depends on
/// it, and in nothing else.
///
/// # Panics
///
/// When one is swallowed, or spreads to what does not depend on it.
#[track_caller]
pub fn check_not_numbers<B: Backend>(backend: &B) {
    let mut rig = Rig::new(backend);
    attention(&mut rig);
    tanh_and_loss(&mut rig);
    for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
        activated(&mut rig, activation);
    }
}

/// `nan(i)` says of output `i` whether it must be no number.
#[track_caller]
fn seen(what: &str, values: &[f64], nan: impl Fn(usize) -> bool) {
    for (i, x) in values.iter().enumerate() {
        assert_eq!(x.is_nan(), nan(i), "{what}, number {i} is {x}");
    }
}

fn attention<B: Backend>(rig: &mut Rig<'_, B>) {
    const LENGTHS: [usize; 2] = [5, 3];
    const RUINED: usize = 2;
    let b = rig.b;
    for (heads, head_dim) in [(2, 8), (2, 32), (1, 5)] {
        let batch = Batch::new(b, &LENGTHS, 40);
        let (rows, hidden) = (batch.host.tokens(), heads * head_dim);
        let how = Attention {
            heads,
            head_dim,
            longest: batch.host.longest(),
            drop: super::rows::drop(0.0),
        };
        // A query's NaN is its own token's; a key's or value's reaches all tokens of the text, in that head.
        for (place, reaches) in [(0, 1), (1, LENGTHS[0]), (2, LENGTHS[0])] {
            let mut qkv = rig.numbers(rows * 3 * hidden);
            qkv[RUINED * 3 * hidden + place * hidden] = f64::NAN;
            let qkv = rig.act(&qkv);
            let mut context = rig.acts(rows * hidden);
            let mut lse = rig.saved(rows, heads, how.longest);
            b.attention(
                how,
                batch.tokens(b),
                Qkv::All(b.view(&qkv)),
                b.all_mut(&mut context),
                b.all_mut(&mut lse),
            );
            let what = format!("attention, {heads} heads of {head_dim}, a NaN at place {place}");
            seen(&what, &rig.read(&context), |i| {
                let (token, channel) = (i / hidden, i % hidden);
                let token = match reaches {
                    1 => token == RUINED,
                    n => token < n,
                };
                // A value's is its channel's alone.
                token && channel < if place == 2 { 1 } else { head_dim }
            });
        }
    }
}

fn tanh_and_loss<B: Backend>(rig: &mut Rig<'_, B>) {
    const ROWS: usize = 9;
    const CLASSES: usize = 3;
    let b = rig.b;
    let mut x = rig.numbers(ROWS * CLASSES);
    x[4] = f64::NAN;
    let on = rig.act(&x);
    let mut y = rig.acts(ROWS * CLASSES);
    b.tanh(b.view(&on), b.all_mut(&mut y));
    seen("tanh", &rig.read(&y), |i| i == 4);
    let logits = rig.master(&x);
    let targets: Vec<f64> = (0..ROWS * CLASSES)
        .map(|i| f64::from(i % CLASSES == 0))
        .collect();
    let targets = rig.master(&targets);
    let weights = rig.master(&[1.0; ROWS]);
    let class: Vec<u32> = (0..ROWS as u32).map(|r| r % CLASSES as u32).collect();
    let class = b.from_slice(&class).expect("memory");
    for kind in ["softmax_loss", "class_loss", "sigmoid_loss", "squared_loss"] {
        let loss = Loss {
            logits: b.view(&logits),
            targets: b.view(&targets),
            weights: b.view(&weights),
            classes: CLASSES,
        };
        let mut losses = b.from_slice(&[0.0f64; ROWS]).expect("memory");
        let mut dlogits = rig.masters(ROWS * CLASSES);
        let (out, d) = (b.all_mut(&mut losses), b.all_mut(&mut dlogits));
        match kind {
            "softmax_loss" => b.softmax_loss(loss, 0.0, out, d),
            "class_loss" => b.class_loss(loss.logits, b.view(&class), loss.weights, out, d),
            "sigmoid_loss" => b.sigmoid_loss(loss, out, d),
            _ => b.squared_loss(loss, out, d),
        }
        seen(kind, &rig.read(&losses), |i| i == 4 / CLASSES);
    }
}

fn activated<B: Backend>(rig: &mut Rig<'_, B>, activation: Activation) {
    const ROWS: usize = 7;
    const WIDTH: usize = 16;
    let b = rig.b;
    let mut table = ParamTable::builder();
    table.push("w", &[WIDTH, WIDTH], Depth::Layer(0), Kind::Matrix);
    let mut params = b.params(Arc::new(table.build())).expect("memory");
    let w: Vec<B::Master> = rig
        .numbers(WIDTH * WIDTH)
        .into_iter()
        .map(Real::from_f64)
        .collect();
    b.set_param(&mut params, 0, 0, &w).expect("a whole tensor");
    let mut x = rig.numbers(ROWS * WIDTH);
    x[3 * WIDTH + 5] = f64::NAN;
    let (x, bias) = (rig.act(&x), rig.masters(WIDTH));
    let (mut pre, mut y) = (rig.acts(ROWS * WIDTH), rig.acts(ROWS * WIDTH));
    b.linear_activation(
        &params,
        WeightRef { first: 0, count: 1 },
        b.view(&bias),
        activation,
        b.view(&x),
        b.all_mut(&mut pre),
        b.all_mut(&mut y),
    );
    let what = format!("linear_activation {activation:?}");
    seen(&what, &rig.read(&y), |i| i / WIDTH == 3);
}
