//! What works a row at a time: LayerNorm with residual and dropout, tanh, dropout, gather and scatter.

use super::{Batch, Rig};
use crate::{Acc, Activation, Backend, Drop, Norm, NormSums};
use hone_tensor::DropKey;

/// Dropout as a layer has it.
pub(super) fn drop(p: f64) -> Option<Drop> {
    let key = DropKey {
        seed: 11,
        step: 5,
        layer: 2,
        site: 1,
        draw: 0,
    };
    Drop::new(key, p)
}

pub(super) fn run<B: Backend>(rig: &mut Rig<'_, B>) {
    // Up to more than a warp of 16-byte vectors holds.
    of_widths(rig, &[1, 7, 16, 20, 50, 128, 300]);
}

/// Rows of whole vectors: some for each thread of a warp, and more than its registers are to hold.
pub(super) fn wide<B: Backend>(rig: &mut Rig<'_, B>) {
    of_widths(rig, &[520, 1040]);
}

/// LayerNorm's backward pass with what it sums over rows: all of it and each alone, of no more rows than are worked on
/// at once and of several chunks, of rows that are whole vectors and of others.
pub(super) fn sums<B: Backend>(rig: &mut Rig<'_, B>) {
    let b = rig.b;
    let many = [40, 64, 1, 30, 57, 64, 44];
    let cases: [(&[usize], usize); 8] = [
        (&[1], 768),
        (&[2, 1], 1024),
        (&[3, 14], 768),
        (&[30, 11, 2], 1024),
        (&many, 264),
        (&many, 24),
        (&[30, 3], 50),
        (&[20, 15], 1040),
    ];
    for (lengths, width) in cases {
        let batch = Batch::new(b, lengths, 40);
        let rows = batch.host.tokens();
        let (weight, bias) = (rig.masters(width), rig.masters(width));
        let norm = || Norm {
            weight: b.view(&weight),
            bias: b.view(&bias),
            eps: 1e-5,
        };
        let stats = rig.moments(rows);
        for (p, acc, of_params, of_bias) in [
            (0.1, Acc::Set, true, true),
            (0.0, Acc::Add, true, true),
            (0.1, Acc::Add, true, false),
            (0.6, Acc::Add, false, true),
            (0.0, Acc::Set, false, true),
        ] {
            let size = format!("{rows}x{width}");
            let wanted = format!("parameters {of_params}, bias {of_bias}");
            let name = |what: &str| format!("norm_sums {size}, p {p}, {acc:?}, {wanted}, {what}");
            let (x, dy) = (rig.acts(rows * width), rig.acts(rows * width));
            let (mut dsum, mut dropped) = (rig.acts(rows * width), rig.acts(rows * width));
            let mut of = [(); 3].map(|()| rig.masters(width));
            let before = of.each_ref().map(|sum| rig.read(sum));
            let [dweight, dbias, bias_before] = &mut of;
            let params = (b.all_mut(dweight), b.all_mut(dbias));
            let sums = NormSums {
                acc,
                params: of_params.then_some(params),
                bias_before: of_bias.then(|| b.all_mut(bias_before)),
            };
            b.add_norm_backward(
                norm(),
                b.view(&dy),
                b.view(&x),
                b.view(&stats),
                b.all_mut(&mut dsum),
                drop(p).map(|d| (d, batch.rows(b), b.all_mut(&mut dropped))),
                sums,
            );
            rig.keep(name("dsum"), &dsum);
            if p > 0.0 {
                rig.keep(name("dx"), &dropped);
            }
            if of_params {
                rig.keep(name("dweight"), &of[0]);
                rig.keep(name("dbias"), &of[1]);
            }
            if of_bias {
                // A backend may sum dx as it was rounded.
                rig.keep_of_rounded(name("bias before"), &of[2]);
            }
            for (k, wanted) in [of_params, of_params, of_bias].into_iter().enumerate() {
                let kept = rig.read(&of[k]) == before[k];
                assert!(wanted || kept, "{}", name("a sum that is not wanted"));
            }
        }
    }
}

fn of_widths<B: Backend>(rig: &mut Rig<'_, B>, widths: &[usize]) {
    let b = rig.b;
    // More rows than any backend sums in one piece.
    let lengths = [5, 1, 17, 8, 2, 40];
    let batch = Batch::new(b, &lengths, 40);
    let rows = batch.host.tokens();
    for &width in widths {
        let size = format!("{rows}x{width}");
        let (weight, bias) = (rig.masters(width), rig.masters(width));
        let norm = || Norm {
            weight: b.view(&weight),
            bias: b.view(&bias),
            eps: 1e-5,
        };
        for p in [0.0, 0.1, 0.6] {
            for residual in [true, false] {
                let name =
                    |what: &str| format!("add_norm {size}, p {p}, residual {residual}, {what}");
                // Where the sum is what was given, nothing is rounded before its statistics are taken.
                let keep_of_sum = match p > 0.0 || residual {
                    true => Rig::keep_of_rounded::<String>,
                    false => Rig::keep::<B::Master, String>,
                };
                let mut x = rig.acts(rows * width);
                let other = rig.acts(rows * width);
                let mut stats = rig.masters(2 * rows);
                let mut y = rig.acts(rows * width);
                b.add_norm(
                    norm(),
                    drop(p).map(|d| (d, batch.rows(b))),
                    residual.then(|| b.view(&other)),
                    b.all_mut(&mut x),
                    b.all_mut(&mut stats),
                    b.all_mut(&mut y),
                );
                // A width of 1 has no variance: what is left is rounding, divided by √ε.
                if width > 1 {
                    rig.keep(name("sum"), &x);
                    keep_of_sum(rig, name("statistics"), &stats);
                }
                rig.keep(name("y"), &y);
                let mut again = rig.acts(rows * width);
                b.norm_apply(norm(), b.view(&x), b.view(&stats), b.all_mut(&mut again));
                assert_eq!(
                    rig.read(&again),
                    rig.read(&y),
                    "norm_apply makes the same bits"
                );
                if width == 1 {
                    continue;
                }
                let dy = rig.acts(rows * width);
                let mut dsum = rig.acts(rows * width);
                let mut dropped = rig.acts(rows * width);
                b.add_norm_backward(
                    norm(),
                    b.view(&dy),
                    b.view(&x),
                    b.view(&stats),
                    b.all_mut(&mut dsum),
                    drop(p).map(|d| (d, batch.rows(b), b.all_mut(&mut dropped))),
                    NormSums::none(),
                );
                rig.keep(name("dsum"), &dsum);
                if p > 0.0 {
                    rig.keep(name("dx"), &dropped);
                }
                for acc in [Acc::Set, Acc::Add] {
                    let (mut dweight, mut dbias) = (rig.masters(width), rig.masters(width));
                    b.norm_param_grad(
                        b.view(&dy),
                        b.view(&x),
                        b.view(&stats),
                        acc,
                        b.all_mut(&mut dweight),
                        b.all_mut(&mut dbias),
                    );
                    keep_of_sum(rig, name(&format!("dweight {acc:?}")), &dweight);
                    rig.keep(name(&format!("dbias {acc:?}")), &dbias);
                }
            }
        }
        let x: Vec<f64> = rig.numbers(rows * width).iter().map(|x| 10.0 * x).collect();
        let x = rig.act(&x);
        let mut y = rig.acts(rows * width);
        b.tanh(b.view(&x), b.all_mut(&mut y));
        rig.keep(format!("tanh {size}"), &y);
        let mut d = rig.acts(rows * width);
        b.tanh_backward(b.view(&y), b.all_mut(&mut d));
        rig.keep(format!("tanh_backward {size}"), &d);
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
            let mut d = rig.acts(rows * width);
            b.activation_backward(activation, width, b.view(&x), b.all_mut(&mut d));
            rig.keep(format!("activation_backward {activation:?} {size}"), &d);
        }
        let mut x = rig.acts(rows * width);
        if let Some(drop) = drop(0.3) {
            b.dropout(drop, batch.rows(b), width, b.all_mut(&mut x));
        }
        rig.keep(format!("dropout {size}"), &x);
        let mut w = rig.masters(rows * width);
        if let Some(drop) = drop(0.6) {
            b.mask_weights(drop, 1 << 40 | 5, width, b.all_mut(&mut w));
        }
        rig.keep(format!("mask_weights {size}"), &w);
        let index = b.from_slice(&[3u32, 0, 30, 7]).expect("memory");
        let mut some = rig.acts(4 * width);
        b.gather_rows(b.view(&x), b.view(&index), width, b.all_mut(&mut some));
        rig.keep(format!("gather_rows {size}"), &some);
        b.scatter_add_rows(b.view(&some), b.view(&index), width, b.all_mut(&mut x));
        rig.keep(format!("scatter_add_rows {size}"), &x);
        let borders = b.from_slice(&batch.host.cu_seqlens).expect("memory");
        let sequences = batch.host.sequences();
        let mut means = rig.acts(sequences * width);
        b.mean_tokens(b.view(&x), b.view(&borders), width, b.all_mut(&mut means));
        rig.keep(format!("mean_tokens {size}"), &means);
        let dy = rig.acts(sequences * width);
        b.mean_tokens_backward(b.view(&dy), b.view(&borders), width, b.all_mut(&mut x));
        rig.keep(format!("mean_tokens_backward {size}"), &x);
    }
}
