//! Every backward against central differences of its forward, in f64.
//!
//! Of an operation y = f(x) and drawn numbers c, the scalar L = Σ c·y has the gradient that the backward gives for
//! dy = c. Each element of x is moved by ±10⁻⁵ and L's change compared.

use hone_kernels::conformance::{Batch, Rig};
use hone_kernels::{
    Acc, Activation, Attention, Backend, Contrast, Drop, EmbedTables, Loss, Norm, NormSums, Qkv,
    QkvMut, Reference, WeightRef,
};
use hone_tensor::{Depth, DropKey, Kind, ParamTable};
use std::sync::Arc;

type R = Reference<f64>;
type Buf = <R as Backend>::Buf<f64>;

const STEP: f64 = 1e-5;

/// Compares `gradient` with differences of `f` around `x`.
#[track_caller]
fn check(what: &str, x: &[f64], gradient: &[f64], mut f: impl FnMut(&[f64]) -> f64) {
    assert_eq!(x.len(), gradient.len(), "{what}");
    let largest = gradient.iter().fold(0.0f64, |m, g| m.max(g.abs()));
    assert!(largest > 0.0, "{what}: all of the gradient is zero");
    let mut moved = x.to_vec();
    for i in 0..x.len() {
        moved[i] = x[i] + STEP;
        let up = f(&moved);
        moved[i] = x[i] - STEP;
        let down = f(&moved);
        moved[i] = x[i];
        let found = (up - down) / (2.0 * STEP);
        let error = (found - gradient[i]).abs();
        assert!(
            error <= 1e-7 * largest.max(1.0),
            "{what}: element {i} has gradient {:e}, differences give {found:e}",
            gradient[i]
        );
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn drop(site: u8) -> Option<Drop> {
    let key = DropKey {
        seed: 3,
        step: 1,
        layer: 0,
        site,
        draw: 0,
    };
    Drop::new(key, 0.3)
}

fn buf(b: &R, x: &[f64]) -> Buf {
    b.from_slice(x).unwrap()
}

fn zeros(b: &R, len: usize) -> Buf {
    b.alloc(len).unwrap()
}

fn host(b: &R, x: &Buf) -> Vec<f64> {
    let mut out = vec![0.0; b.len(x)];
    b.download(b.view(x), &mut out).unwrap();
    out
}

fn params(b: &R, out: usize, input: usize, w: &[f64]) -> <R as Backend>::Params {
    let mut table = ParamTable::builder();
    table.push("w", &[out, input], Depth::Layer(0), Kind::Matrix);
    let mut params = b.params(Arc::new(table.build())).unwrap();
    b.set_param(&mut params, 0, 0, w).unwrap();
    params
}

#[test]
fn products() {
    let b = R::default();
    let mut rig = Rig::new(&b);
    let (rows, input, out) = (4, 5, 3);
    let (w, bias) = (rig.numbers(out * input), rig.numbers(out));
    let (x, c) = (rig.numbers(rows * input), rig.numbers(rows * out));
    let one = WeightRef::one(0);
    for head in [false, true] {
        let f = |w: &[f64], bias: &[f64], x: &[f64]| {
            let mut y = zeros(&b, rows * out);
            let (p, bias, x) = (params(&b, out, input, w), buf(&b, bias), buf(&b, x));
            match head {
                true => b.head_linear(&p, one, b.view(&bias), b.view(&x), b.all_mut(&mut y)),
                false => b.linear(&p, one, b.view(&bias), b.view(&x), b.all_mut(&mut y)),
            }
            dot(&host(&b, &y), &c)
        };
        let (p, dy, xs) = (params(&b, out, input, &w), buf(&b, &c), buf(&b, &x));
        let mut dx = zeros(&b, rows * input);
        let (mut dw, mut db) = (zeros(&b, out * input), zeros(&b, out));
        if head {
            b.head_linear_backward(
                &p,
                one,
                b.view(&dy),
                b.view(&xs),
                Acc::Set,
                Some(b.all_mut(&mut dx)),
                Some(b.all_mut(&mut dw)),
                Some(b.all_mut(&mut db)),
            );
        } else {
            b.linear_dgrad(&p, one, b.view(&dy), Acc::Set, b.all_mut(&mut dx));
            b.linear_wgrad(
                b.view(&dy),
                b.view(&xs),
                rows,
                Acc::Set,
                b.all_mut(&mut dw),
                None,
            );
            b.bias_grad(b.view(&dy), rows, Acc::Set, b.all_mut(&mut db));
        }
        check("product, x", &x, &host(&b, &dx), |x| f(&w, &bias, x));
        check("product, weight", &w, &host(&b, &dw), |w| f(w, &bias, &x));
        check("product, bias", &bias, &host(&b, &db), |o| f(&w, o, &x));
    }
}

/// The feed-forward pair: an activation, then a product.
#[test]
fn activations() {
    let b = R::default();
    let mut rig = Rig::new(&b);
    let (rows, input, out) = (3, 4, 6);
    for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
        let w = rig.numbers(out * input);
        let pre: Vec<f64> = rig.numbers(rows * input).iter().map(|x| 3.0 * x).collect();
        let c = rig.numbers(rows * out);
        let (p, none) = (params(&b, out, input, &w), zeros(&b, out));
        let eye: Vec<f64> = (0..input * input)
            .map(|i| f64::from(u8::from(i % (input + 1) == 0)))
            .collect();
        let (one, nothing) = (params(&b, input, input, &eye), zeros(&b, input));
        let f = |pre: &[f64]| {
            let (mut act, mut y) = (zeros(&b, rows * input), zeros(&b, rows * out));
            b.linear_activation(
                &one,
                WeightRef::one(0),
                b.view(&nothing),
                activation,
                b.view(&buf(&b, pre)),
                b.all_mut(&mut zeros(&b, rows * input)),
                b.all_mut(&mut act),
            );
            b.linear(
                &p,
                WeightRef::one(0),
                b.view(&none),
                b.view(&act),
                b.all_mut(&mut y),
            );
            dot(&host(&b, &y), &c)
        };
        let (dy, before) = (buf(&b, &c), buf(&b, &pre));
        let mut d = zeros(&b, rows * input);
        let (dy, before) = (b.view(&dy), b.view(&before));
        b.linear_dgrad_activation(
            &p,
            WeightRef::one(0),
            dy,
            activation,
            before,
            b.all_mut(&mut d),
            None,
            None,
        );
        check(&format!("{activation:?}"), &pre, &host(&b, &d), f);
        // In two passes the same.
        let mut alone = zeros(&b, rows * input);
        b.linear_dgrad(&p, WeightRef::one(0), dy, Acc::Set, b.all_mut(&mut alone));
        b.activation_backward(activation, input, before, b.all_mut(&mut alone));
        assert_eq!(host(&b, &alone), host(&b, &d));
    }
}

#[test]
fn tanh_dropout_and_gather() {
    let b = R::default();
    let mut rig = Rig::new(&b);
    let batch = Batch::new(&b, &[3, 1, 4], 9);
    let (rows, width) = (batch.host.tokens(), 5);
    let (x, c) = (rig.numbers(rows * width), rig.numbers(rows * width));
    let tanh = |x: &[f64]| {
        let mut y = zeros(&b, rows * width);
        b.tanh(b.view(&buf(&b, x)), b.all_mut(&mut y));
        y
    };
    let mut d = buf(&b, &c);
    b.tanh_backward(b.view(&tanh(&x)), b.all_mut(&mut d));
    check("tanh", &x, &host(&b, &d), |x| dot(&host(&b, &tanh(x)), &c));

    let masked = |x: &[f64]| {
        let mut y = buf(&b, x);
        b.dropout(drop(0).unwrap(), batch.rows(&b), width, b.all_mut(&mut y));
        host(&b, &y)
    };
    check("dropout", &x, &masked(&c), |x| dot(&masked(x), &c));

    let index = b.from_slice(&[6u32, 0, 3]).unwrap();
    let c = rig.numbers(3 * width);
    let mut dx = zeros(&b, rows * width);
    b.scatter_add_rows(
        b.view(&buf(&b, &c)),
        b.view(&index),
        width,
        b.all_mut(&mut dx),
    );
    check("gather", &x, &host(&b, &dx), |x| {
        let mut y = zeros(&b, 3 * width);
        b.gather_rows(
            b.view(&buf(&b, x)),
            b.view(&index),
            width,
            b.all_mut(&mut y),
        );
        dot(&host(&b, &y), &c)
    });
}

#[test]
fn embeddings() {
    let b = R::default();
    let mut rig = Rig::new(&b);
    let (vocabulary, positions, width) = (9, 6, 4);
    let batch = Batch::new(&b, &[3, 1, 6], vocabulary);
    let rows = batch.host.tokens();
    let tokens = || batch.tokens(&b);
    let tables = [vocabulary, positions, 2].map(|n| rig.numbers(n * width));
    let c = rig.numbers(rows * width);
    let f = |tables: [&[f64]; 3]| {
        let [word, position, token_type] = tables.map(|t| buf(&b, t));
        let tables = EmbedTables {
            word: b.view(&word),
            position: b.view(&position),
            token_type: b.view(&token_type),
        };
        let mut sum = zeros(&b, rows * width);
        b.embed(tables, tokens(), width, b.all_mut(&mut sum));
        dot(&host(&b, &sum), &c)
    };
    let [word, position, token_type] = &tables;
    let d = buf(&b, &c);
    let mut got = zeros(&b, vocabulary * width);
    b.embed_word_backward(b.view(&d), tokens(), width, b.all_mut(&mut got));
    check("words", word, &host(&b, &got), |w| {
        f([w, position, token_type])
    });
    let mut got = zeros(&b, positions * width);
    b.embed_position_backward(b.view(&d), tokens(), width, Acc::Set, b.all_mut(&mut got));
    check("positions", position, &host(&b, &got), |p| {
        f([word, p, token_type])
    });
    let mut got = zeros(&b, 2 * width);
    b.embed_type_backward(b.view(&d), tokens(), width, Acc::Set, b.all_mut(&mut got));
    check("types", token_type, &host(&b, &got), |t| {
        f([word, position, t])
    });
}

#[test]
fn residual_dropout_and_layer_norm() {
    let b = R::default();
    let mut rig = Rig::new(&b);
    let batch = Batch::new(&b, &[3, 1, 2], 9);
    let (rows, width) = (batch.host.tokens(), 5);
    let n = rows * width;
    for drop in [None, drop(1)] {
        let (weight, bias) = (rig.numbers(width), rig.numbers(width));
        let (x, residual, c) = (rig.numbers(n), rig.numbers(n), rig.numbers(n));
        let forward = |weight: &[f64], bias: &[f64], x: &[f64], residual: &[f64]| {
            let (weight, bias, residual) = (buf(&b, weight), buf(&b, bias), buf(&b, residual));
            let norm = Norm {
                weight: b.view(&weight),
                bias: b.view(&bias),
                eps: 1e-3,
            };
            let (mut sum, mut stats, mut y) = (buf(&b, x), zeros(&b, 2 * rows), zeros(&b, n));
            let drop = drop.map(|d| (d, batch.rows(&b)));
            let (sum_mut, stats_mut) = (b.all_mut(&mut sum), b.all_mut(&mut stats));
            b.add_norm(
                norm,
                drop,
                Some(b.view(&residual)),
                sum_mut,
                stats_mut,
                b.all_mut(&mut y),
            );
            (sum, stats, dot(&host(&b, &y), &c))
        };
        let (sum, stats, _) = forward(&weight, &bias, &x, &residual);
        let (w, o, dy) = (buf(&b, &weight), buf(&b, &bias), buf(&b, &c));
        let norm = Norm {
            weight: b.view(&w),
            bias: b.view(&o),
            eps: 1e-3,
        };
        let (mut dsum, mut dx) = (zeros(&b, n), zeros(&b, n));
        let dropped = drop.map(|d| (d, batch.rows(&b), b.all_mut(&mut dx)));
        let (dy, saved, stats) = (b.view(&dy), b.view(&sum), b.view(&stats));
        let none = NormSums::none();
        b.add_norm_backward(norm, dy, saved, stats, b.all_mut(&mut dsum), dropped, none);
        let dx = if drop.is_some() { &dx } else { &dsum };
        let what = |name: &str| format!("LayerNorm, dropout {}, {name}", drop.is_some());
        let f = |w: &[f64], o: &[f64], x: &[f64], r: &[f64]| forward(w, o, x, r).2;
        check(&what("x"), &x, &host(&b, dx), |x| {
            f(&weight, &bias, x, &residual)
        });
        check(&what("residual"), &residual, &host(&b, &dsum), |r| {
            f(&weight, &bias, &x, r)
        });
        let (mut dw, mut db) = (zeros(&b, width), zeros(&b, width));
        b.norm_param_grad(
            dy,
            saved,
            stats,
            Acc::Set,
            b.all_mut(&mut dw),
            b.all_mut(&mut db),
        );
        check(&what("weight"), &weight, &host(&b, &dw), |w| {
            f(w, &bias, &x, &residual)
        });
        check(&what("bias"), &bias, &host(&b, &db), |o| {
            f(&weight, o, &x, &residual)
        });
    }
}

#[test]
fn attention() {
    let b = R::default();
    let mut rig = Rig::new(&b);
    let batch = Batch::new(&b, &[4, 1, 3], 9);
    let (rows, sequences, heads, head_dim) = (batch.host.tokens(), 3, 2, 3);
    let hidden = heads * head_dim;
    for drop in [None, drop(2)] {
        let how = Attention {
            heads,
            head_dim,
            longest: 4,
            drop,
        };
        let run = |qkv: Qkv<'_, R>, queries: usize| {
            let (mut context, mut lse) = (zeros(&b, queries * hidden), zeros(&b, queries * heads));
            let (context_mut, lse_mut) = (b.all_mut(&mut context), b.all_mut(&mut lse));
            b.attention(how, batch.tokens(&b), qkv, context_mut, lse_mut);
            (context, lse)
        };
        let what = |name: &str| format!("attention, dropout {}, {name}", drop.is_some());
        let (qkv, c) = (rig.numbers(rows * 3 * hidden), rig.numbers(rows * hidden));
        let forward = |qkv: &[f64]| run(Qkv::All(b.view(&buf(&b, qkv))), rows);
        let (context, lse) = forward(&qkv);
        let (all, dc) = (buf(&b, &qkv), buf(&b, &c));
        let mut d = zeros(&b, rows * 3 * hidden);
        let (context, lse) = (b.view(&context), b.view(&lse));
        let (all, dc, out) = (
            Qkv::All(b.view(&all)),
            b.view(&dc),
            QkvMut::All(b.all_mut(&mut d)),
        );
        b.attention_backward(how, batch.tokens(&b), all, context, lse, dc, out);
        check(&what("q, k and v"), &qkv, &host(&b, &d), |x| {
            dot(&host(&b, &forward(x).0), &c)
        });

        let (q, kv) = (
            rig.numbers(sequences * hidden),
            rig.numbers(rows * 2 * hidden),
        );
        let c = rig.numbers(sequences * hidden);
        let forward = |q: &[f64], kv: &[f64]| {
            let (q, kv) = (buf(&b, q), buf(&b, kv));
            let (q, kv) = (b.view(&q), b.view(&kv));
            run(Qkv::First { q, kv }, sequences)
        };
        let (context, lse) = forward(&q, &kv);
        let (qs, kvs, dc) = (buf(&b, &q), buf(&b, &kv), buf(&b, &c));
        let (mut dq, mut dkv) = (zeros(&b, sequences * hidden), zeros(&b, rows * 2 * hidden));
        let first = Qkv::First {
            q: b.view(&qs),
            kv: b.view(&kvs),
        };
        let out = QkvMut::First {
            dq: b.all_mut(&mut dq),
            dkv: b.all_mut(&mut dkv),
        };
        let (context, lse, dc) = (b.view(&context), b.view(&lse), b.view(&dc));
        b.attention_backward(how, batch.tokens(&b), first, context, lse, dc, out);
        let f = |q: &[f64], kv: &[f64]| dot(&host(&b, &forward(q, kv).0), &c);
        check(&what("first rows' q"), &q, &host(&b, &dq), |q| f(q, &kv));
        check(&what("their k and v"), &kv, &host(&b, &dkv), |kv| f(&q, kv));
    }
}

#[test]
fn losses() {
    let b = R::default();
    let mut rig = Rig::new(&b);
    let (rows, classes) = (4, 3);
    let logits: Vec<f64> = rig
        .numbers(rows * classes)
        .iter()
        .map(|x| 3.0 * x)
        .collect();
    let mut soft: Vec<f64> = rig
        .numbers(rows * classes)
        .iter()
        .map(|x| x.abs() + 0.1)
        .collect();
    for row in soft.chunks_mut(classes) {
        let total: f64 = row.iter().sum();
        row.iter_mut().for_each(|x| *x /= total);
    }
    let weights = [0.5, 0.0, 1.25, 0.125];
    for (name, focal) in [
        ("softmax", 0.0),
        ("focal", 2.0),
        ("sigmoid", 0.0),
        ("squared", 0.0),
    ] {
        let run = |logits: &[f64]| {
            let (logits, targets, weights) = (buf(&b, logits), buf(&b, &soft), buf(&b, &weights));
            let loss = Loss {
                logits: b.view(&logits),
                targets: b.view(&targets),
                weights: b.view(&weights),
                classes,
            };
            let (mut losses, mut d) = (zeros(&b, rows), zeros(&b, rows * classes));
            match name {
                "sigmoid" => b.sigmoid_loss(loss, b.all_mut(&mut losses), b.all_mut(&mut d)),
                "squared" => b.squared_loss(loss, b.all_mut(&mut losses), b.all_mut(&mut d)),
                _ => b.softmax_loss(loss, focal, b.all_mut(&mut losses), b.all_mut(&mut d)),
            }
            (host(&b, &losses).iter().sum::<f64>(), host(&b, &d))
        };
        let (_, d) = run(&logits);
        assert!(
            d[classes..2 * classes].iter().all(|d| *d == 0.0),
            "{name}: a row without weight"
        );
        check(name, &logits, &d, |z| run(z).0);
    }
    // Two draws of two rows, on top of gradients that are there already.
    let weights = [0.5, 1.25, 0.5, 1.25];
    let run = |logits: &[f64]| {
        let (logits, weights) = (buf(&b, logits), buf(&b, &weights));
        let loss = Loss {
            logits: b.view(&logits),
            targets: b.view(&logits),
            weights: b.view(&weights),
            classes,
        };
        let (mut losses, mut d) = (zeros(&b, rows), zeros(&b, rows * classes));
        b.symmetric_kl(loss, 0.7, b.all_mut(&mut losses), b.all_mut(&mut d));
        (host(&b, &losses).iter().sum::<f64>(), host(&b, &d))
    };
    check("symmetric_kl", &logits, &run(&logits).1, |z| run(z).0);
}

#[test]
fn means_over_tokens() {
    let b = R::default();
    let mut rig = Rig::new(&b);
    let (width, borders) = (5, [0u32, 3, 4, 9]);
    let (x, c) = (rig.numbers(9 * width), rig.numbers(3 * width));
    let borders = b.from_slice(&borders).unwrap();
    let run = |x: &[f64]| {
        let mut y = zeros(&b, 3 * width);
        b.mean_tokens(
            b.view(&buf(&b, x)),
            b.view(&borders),
            width,
            b.all_mut(&mut y),
        );
        dot(&host(&b, &y), &c)
    };
    let mut dx = zeros(&b, 9 * width);
    b.mean_tokens_backward(
        b.view(&buf(&b, &c)),
        b.view(&borders),
        width,
        b.all_mut(&mut dx),
    );
    check("mean_tokens", &x, &host(&b, &dx), run);
}

#[test]
fn contrasts() {
    let b = R::default();
    let mut rig = Rig::new(&b);
    let (rows, width) = (6, 4);
    let x = rig.numbers(rows * width);
    // Two classes; one row without weight, one without company.
    let targets = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.5, 0.5];
    let weights = [0.5, 1.25, 0.75, 0.0, 0.125, 1.0];
    let contrast = Contrast {
        strength: 0.7,
        temperature: 0.4,
    };
    let (targets, weights) = (buf(&b, &targets), buf(&b, &weights));
    let forward = |x: &[f64]| {
        let (mut losses, mut kept) = (zeros(&b, rows), zeros(&b, Contrast::kept(rows)));
        b.contrast(
            contrast,
            b.view(&buf(&b, x)),
            b.view(&targets),
            b.view(&weights),
            b.all_mut(&mut losses),
            b.all_mut(&mut kept),
        );
        (host(&b, &losses), kept)
    };
    let (losses, kept) = forward(&x);
    assert_eq!((losses[3], losses[5]), (0.0, 0.0));
    assert!([0, 1, 2, 4].iter().all(|&r| losses[r] > 0.0), "{losses:?}");
    let mut dx = zeros(&b, rows * width);
    b.contrast_backward(
        contrast,
        b.view(&buf(&b, &x)),
        width,
        b.view(&kept),
        b.all_mut(&mut dx),
    );
    let dx = host(&b, &dx);
    assert!(dx[3 * width..4 * width].iter().all(|d| *d == 0.0));
    check("contrast", &x, &dx, |x| forward(x).0.iter().sum());
}
