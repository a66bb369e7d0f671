//! Products in the three training forms, their epilogues, bias gradients, heads.

use super::Rig;
use crate::{Acc, Activation, Backend, WeightRef};
use hone_tensor::{Depth, Kind, ParamTable};
use std::sync::Arc;

/// Rows, inputs, outputs of one matrix, matrices side by side (which lie so only where their size is a multiple
/// of the alignment).
const SIZES: [(usize, usize, usize, usize); 9] = [
    (1, 1, 1, 1),
    (7, 5, 3, 1),
    (13, 32, 17, 3),
    (61, 33, 17, 1),
    (61, 48, 100, 1),
    (97, 400, 50, 2),
    (97, 401, 50, 1),
    (6, 16, 16, 3),
    (37, 64, 48, 3),
];

pub(super) fn run<B: Backend>(rig: &mut Rig<'_, B>) {
    let b = rig.b;
    for (rows, input, out, count) in SIZES {
        let size = format!("{rows}x{input}x{count}·{out}");
        let mut table = ParamTable::builder();
        for i in 0..count {
            table.push(
                &format!("w{i}"),
                &[out, input],
                Depth::Layer(0),
                Kind::Matrix,
            );
        }
        let wide = out * count;
        table.push("b", &[wide], Depth::Layer(0), Kind::Bias);
        let table = table.build();
        let of_bias = table.params()[count].range();
        let mut params = b.params(Arc::new(table)).expect("memory");
        // Copies for products backward are made of weights that are there, and follow those that come.
        let ready = |params: &B::Params| b.ready_backward(params, 0).expect("memory");
        if rows % 2 == 0 {
            ready(&params);
        }
        for i in 0..=count {
            let w = rig.numbers(if i < count { out * input } else { wide });
            let host: Vec<B::Master> = w.iter().map(|&x| hone_tensor::Real::from_f64(x)).collect();
            let (block, rest) = host.split_at(host.len() / 3 / 64 * 64);
            for (first, values) in [(block.len(), rest), (0, block)] {
                b.set_param(&mut params, i, first, values)
                    .expect("a block of a tensor");
            }
        }
        ready(&params);
        let weight = WeightRef { first: 0, count };
        let bias = rig.masters(wide);
        let x = rig.acts(rows * input);
        let dy = rig.acts(rows * wide);
        let mut y = rig.acts(rows * wide);
        b.linear(
            &params,
            weight,
            b.view(&bias),
            b.view(&x),
            b.all_mut(&mut y),
        );
        rig.keep(format!("linear {size}"), &y);
        // As models have it: a backend may keep a copy of the arena, and read the bias from there.
        b.linear(
            &params,
            weight,
            b.param(&params, of_bias),
            b.view(&x),
            b.all_mut(&mut y),
        );
        rig.keep(format!("linear {size}, the arena's bias"), &y);
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
            let mut pre = rig.acts(rows * wide);
            b.linear_activation(
                &params,
                weight,
                b.view(&bias),
                activation,
                b.view(&x),
                b.all_mut(&mut pre),
                b.all_mut(&mut y),
            );
            rig.keep(
                format!("linear_activation {activation:?} {size}, pre"),
                &pre,
            );
            rig.keep(format!("linear_activation {activation:?} {size}"), &y);
            // Far enough out that the activation's tails are seen.
            let before: Vec<f64> = rig.numbers(rows * input).iter().map(|x| 12.0 * x).collect();
            let before = rig.act(&before);
            let mut dpre = rig.acts(rows * input);
            let mut again = rig.acts(rows * input);
            let mut db = rig.masters(input);
            b.linear_dgrad_activation(
                &params,
                weight,
                b.view(&dy),
                activation,
                b.view(&before),
                b.all_mut(&mut dpre),
                Some(b.all_mut(&mut again)),
                None,
            );
            rig.keep(
                format!("linear_dgrad_activation {activation:?} {size}"),
                &dpre,
            );
            rig.keep(
                format!("linear_dgrad_activation {activation:?} {size}, again"),
                &again,
            );
            for (y, acc) in [(true, Acc::Set), (false, Acc::Set), (false, Acc::Add)] {
                let name = |what: &str| {
                    format!("linear_dgrad_activation {activation:?} {size}, y {y}, {acc:?}, {what}")
                };
                let mut dpre = rig.acts(rows * input);
                let mut again = rig.acts(rows * input);
                b.linear_dgrad_activation(
                    &params,
                    weight,
                    b.view(&dy),
                    activation,
                    b.view(&before),
                    b.all_mut(&mut dpre),
                    y.then(|| b.all_mut(&mut again)),
                    Some((acc, b.all_mut(&mut db))),
                );
                rig.keep(name("dpre"), &dpre);
                rig.keep(name("y"), &again);
                rig.keep_of_rounded(name("db"), &db);
            }
        }
        for acc in [Acc::Set, Acc::Add] {
            let mut dx = rig.acts(rows * input);
            b.linear_dgrad(&params, weight, b.view(&dy), acc, b.all_mut(&mut dx));
            rig.keep(format!("linear_dgrad {acc:?} {size}"), &dx);
            let mut dw = rig.masters(wide * input);
            let mut squared: B::Buf<f64> = b.alloc(count).expect("memory");
            b.linear_wgrad(
                b.view(&dy),
                b.view(&x),
                rows,
                acc,
                b.all_mut(&mut dw),
                Some(b.all_mut(&mut squared)),
            );
            rig.keep(format!("linear_wgrad {acc:?} {size}"), &dw);
            rig.keep(format!("linear_wgrad {acc:?} {size}, squared"), &squared);
            b.linear_wgrad(b.view(&dy), b.view(&x), rows, acc, b.all_mut(&mut dw), None);
            rig.keep(format!("linear_wgrad {acc:?} {size}, no norm"), &dw);
            let mut db = rig.masters(wide);
            b.bias_grad(b.view(&dy), rows, acc, b.all_mut(&mut db));
            rig.keep(format!("bias_grad {acc:?} {size}"), &db);
        }
        if count == 1 {
            let mut logits = rig.masters(rows * out);
            b.head_linear(
                &params,
                weight,
                b.view(&bias),
                b.view(&x),
                b.all_mut(&mut logits),
            );
            rig.keep(format!("head_linear {size}"), &logits);
            for acc in [Acc::Set, Acc::Add] {
                let mut dx = rig.acts(rows * input);
                let mut dw = rig.masters(out * input);
                let mut db = rig.masters(out);
                b.head_linear_backward(
                    &params,
                    weight,
                    b.view(&logits),
                    b.view(&x),
                    acc,
                    Some(b.all_mut(&mut dx)),
                    Some(b.all_mut(&mut dw)),
                    Some(b.all_mut(&mut db)),
                );
                // Alone each is the same.
                let mut alone = rig.acts(rows * input);
                b.head_linear_backward(
                    &params,
                    weight,
                    b.view(&logits),
                    b.view(&x),
                    acc,
                    Some(b.all_mut(&mut alone)),
                    None,
                    None,
                );
                rig.keep(
                    format!("head_linear_backward {acc:?} {size}, dx alone"),
                    &alone,
                );
                rig.keep(format!("head_linear_backward {acc:?} {size}, dx"), &dx);
                rig.keep(format!("head_linear_backward {acc:?} {size}, dw"), &dw);
                rig.keep(format!("head_linear_backward {acc:?} {size}, db"), &db);
            }
        }
    }
}

/// Bias gradients over more rows than any backend sums in one piece, and LayerNorm's.
pub(super) fn many_rows<B: Backend>(rig: &mut Rig<'_, B>) {
    let b = rig.b;
    for (rows, width) in [(2049, 9), (2500, 32), (2305, 2), (2500, 136)] {
        let size = format!("{rows}x{width}");
        let (dy, x) = (rig.acts(rows * width), rig.acts(rows * width));
        let stats = rig.moments(rows);
        for acc in [Acc::Set, Acc::Add] {
            let mut db = rig.masters(width);
            b.bias_grad(b.view(&dy), rows, acc, b.all_mut(&mut db));
            rig.keep(format!("bias_grad {acc:?} {size}"), &db);
            let (mut dweight, mut dbias) = (rig.masters(width), rig.masters(width));
            b.norm_param_grad(
                b.view(&dy),
                b.view(&x),
                b.view(&stats),
                acc,
                b.all_mut(&mut dweight),
                b.all_mut(&mut dbias),
            );
            rig.keep(format!("norm_param_grad {acc:?} {size}, dweight"), &dweight);
            rig.keep(format!("norm_param_grad {acc:?} {size}, dbias"), &dbias);
        }
    }
}
