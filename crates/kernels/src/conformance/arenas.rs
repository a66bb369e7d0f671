//! Whole arenas: AdamW, norms and clipping, averaging, exchange, fill and copy.

use super::Rig;
use crate::{Acc, AdamwRow, AdamwStep, Backend, WeightRef};
use hone_tensor::{Depth, Kind, ParamTable, Real};
use std::sync::Arc;

pub(super) fn run<B: Backend>(rig: &mut Rig<'_, B>) {
    let b = rig.b;
    let mut table = ParamTable::builder();
    for (name, shape, kind) in [
        ("matrix", &[37, 21][..], Kind::Matrix),
        ("bias", &[37], Kind::Bias),
        ("frozen", &[5, 3], Kind::Matrix),
        ("words", &[70, 21], Kind::Embedding),
    ] {
        table.push(name, shape, Depth::Layer(0), kind);
    }
    let table = Arc::new(table.build());
    let mut params = b.params(table.clone()).expect("memory");
    for (i, param) in table.params().iter().enumerate() {
        let host: Vec<B::Master> = rig
            .numbers(param.len())
            .into_iter()
            .map(B::Master::from_f64)
            .collect();
        b.set_param(&mut params, i, 0, &host)
            .expect("a whole tensor");
    }
    b.ready_backward(&params, 0).expect("memory");
    let lens: Vec<usize> = table.params().iter().map(|p| p.len()).collect();
    let rows = [
        (0, 0, 1e-2, 0.1, 0.0, 3),
        (1, lens[0], 5e-2, 0.0, 0.5, 3),
        (3, lens[0] + lens[1], 1e-3, 0.1, 0.3, 1),
    ];
    let rows = rows.map(
        |(param, grad_offset, lr, weight_decay, start_decay, step)| AdamwRow {
            param,
            grad_offset,
            lr,
            weight_decay,
            start_decay,
            step,
        },
    );
    let start = rig.masters(table.len());
    let trained = lens[0] + lens[1] + lens[3];
    let grads = rig.masters(trained);
    let mut m = rig.masters(trained);
    let v: Vec<f64> = rig.numbers(trained).iter().map(|x| x * x).collect();
    let mut v = rig.master(&v);
    let squared = b.from_slice(&[4.0f64, 2.25]).expect("memory");
    let mut coefficient = b.from_slice(&[0.0f64; 2]).expect("memory");
    for max in [None, Some(10.0), Some(1.0)] {
        b.clip_coefficient(b.view(&squared), max, b.all_mut(&mut coefficient));
        rig.keep(format!("clip_coefficient {max:?}"), &coefficient);
    }
    let step = AdamwStep {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
    };
    b.adamw(
        &mut params,
        &rows,
        Some(b.view(&start)),
        b.view(&grads),
        b.all_mut(&mut m),
        b.all_mut(&mut v),
        b.view(&coefficient),
        step,
    );
    rig.keep("adamw, m", &m);
    rig.keep("adamw, v", &v);
    let arena = |rig: &mut Rig<'_, B>, params: &B::Params, name: &str| {
        let mut copy = rig.masters(table.len());
        b.copy(b.param(params, 0..table.len()), b.all_mut(&mut copy));
        rig.keep(name, &copy);
        // Copies that a backend keeps of its matrices follow every change.
        for (index, out, input) in [(0, 37, 21), (2, 5, 3)] {
            let weight = WeightRef::one(index);
            let (bias, x, dy) = (rig.masters(out), rig.acts(4 * input), rig.acts(4 * out));
            let (mut y, mut dx) = (rig.acts(4 * out), rig.acts(4 * input));
            b.linear(params, weight, b.view(&bias), b.view(&x), b.all_mut(&mut y));
            rig.keep(format!("{name}, product with {index}"), &y);
            b.linear_dgrad(params, weight, b.view(&dy), Acc::Set, b.all_mut(&mut dx));
            rig.keep(format!("{name}, backward through {index}"), &dx);
        }
    };
    arena(rig, &params, "adamw, weights");
    sat_out(rig, &table, &grads, &coefficient, step);
    let x = rig.masters(lens[0]);
    b.param_axpby(&mut params, 0, 0.25, b.view(&x), 0.5);
    arena(rig, &params, "param_axpby");
    let mut other = rig.masters(table.len());
    b.param_swap(&mut params, &mut other);
    arena(rig, &params, "param_swap, weights");
    rig.keep("param_swap, other", &other);
    // Norms are of gradients: an arena with a tensor of that size comes before.
    const LONGEST: usize = 40_000;
    let mut table = ParamTable::builder();
    table.push("w", &[LONGEST], Depth::Layer(0), Kind::Bias);
    let _arena = b.params(Arc::new(table.build())).expect("memory");
    for len in [1, 5, 4096, 10_001, LONGEST] {
        let x = rig.masters(len);
        let mut out = b.from_slice(&[0.0f64]).expect("memory");
        b.squared_norm(b.view(&x), b.all_mut(&mut out));
        rig.keep(format!("squared_norm {len}"), &out);
        let mut y = rig.masters(len);
        b.axpby(0.5, b.view(&x), -2.0, b.all_mut(&mut y));
        rig.keep(format!("axpby {len}"), &y);
        // What was fetched is what was there then, whatever is written afterwards.
        let coming = b.fetch(b.view(&y)).expect("a copy");
        b.fill(B::Master::from_f64(0.75), b.all_mut(&mut y));
        let arrived: Vec<B::Master> = b.arrived(coming).expect("a copy");
        let arrived: Vec<f64> = arrived.into_iter().map(Real::to_f64).collect();
        let arrived = rig.master(&arrived);
        rig.keep(format!("fetch {len}"), &arrived);
        rig.keep(format!("fill {len}"), &y);
    }
    many_norms(rig, LONGEST);
    long_tensors(rig);
}

/// AdamW over tensors that a device deals to several blocks, whose gradients begin at 16 bytes and elsewhere, pulled
/// towards a start and not.
fn long_tensors<B: Backend>(rig: &mut Rig<'_, B>) {
    let b = rig.b;
    let mut table = ParamTable::builder();
    let lens = [20_003, 40_000, 5_001];
    for (k, len) in lens.into_iter().enumerate() {
        table.push(&format!("w{k}"), &[len], Depth::Layer(0), Kind::Bias);
    }
    let table = Arc::new(table.build());
    let mut params = b.params(table.clone()).expect("memory");
    for (index, len) in lens.into_iter().enumerate() {
        let values = rig.numbers(len).into_iter().map(B::Master::from_f64);
        let values: Vec<B::Master> = values.collect();
        b.set_param(&mut params, index, 0, &values)
            .expect("a whole tensor");
    }
    let row = |param, grad_offset, start_decay| AdamwRow {
        param,
        grad_offset,
        lr: 1e-2,
        weight_decay: 0.1,
        start_decay,
        step: 2,
    };
    let rows = [row(0, 40_000, 0.0), row(1, 0, 0.5), row(2, 60_003, 0.0)];
    let trained = lens.iter().sum();
    let (start, grads, mut m) = (
        rig.masters(table.len()),
        rig.masters(trained),
        rig.masters(trained),
    );
    let v: Vec<f64> = rig.numbers(trained).iter().map(|x| x * x).collect();
    let mut v = rig.master(&v);
    let coefficient = b.from_slice(&[1.0f64, 0.5]).expect("memory");
    b.adamw(
        &mut params,
        &rows,
        Some(b.view(&start)),
        b.view(&grads),
        b.all_mut(&mut m),
        b.all_mut(&mut v),
        b.view(&coefficient),
        AdamwStep {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
        },
    );
    rig.keep("adamw of long tensors, m", &m);
    rig.keep("adamw of long tensors, v", &v);
    for param in table.params() {
        let mut weights = rig.masters(param.len());
        b.copy(b.param(&params, param.range()), b.all_mut(&mut weights));
        rig.keep(format!("adamw of long tensors, {}", param.name), &weights);
    }
}

/// Norms of many parts of an arena at once: the very bits of each by itself, and nothing else is written.
fn many_norms<B: Backend>(rig: &mut Rig<'_, B>, len: usize) {
    let b = rig.b;
    let x = rig.masters(len);
    // Of one element, none, whole chunks on and off a border of 16 bytes, parts that overlap; out of order.
    let spans = [
        (5..6, 3),
        (0..4096, 0),
        (4097..8193, 9),
        (8200..8200, 1),
        (8200..18_201, 7),
        (3..len, 4),
        (len..len, 2),
        (len - 1..len, 6),
        (16_383..16_390, 10),
    ];
    let untouched = -1.0;
    // One list ends with a long part, in which threads of a team can be seen to share.
    for n in [0, 1, 6, spans.len()] {
        let mut out = b.from_slice(&[untouched; 12]).expect("memory");
        b.squared_norms(b.view(&x), &spans[..n], &mut out);
        rig.keep(format!("squared_norms of {n} spans"), &out);
        let many = rig.read(&out);
        for (k, &got) in many.iter().enumerate() {
            let span = spans[..n].iter().find(|s| s.1 == k);
            let want = span.map_or(untouched, |(span, _)| {
                let mut one = b.from_slice(&[untouched]).expect("memory");
                let of_span = b.slice(b.view(&x), span.clone());
                b.squared_norm(of_span, b.all_mut(&mut one));
                rig.read(&one)[0]
            });
            // A device that runs nothing has zeros everywhere.
            assert!(
                got.to_bits() == want.to_bits() || many.iter().all(|&x| x == 0.0),
                "squared_norms, {n} spans, number {k}: {got:e}, by itself {want:e}"
            );
        }
    }
}

/// Rows of the word table that take the steps they sat out: as close to the reference as everything else, and the
/// very bits of taking every step with a gradient of zero.
fn sat_out<B: Backend>(
    rig: &mut Rig<'_, B>,
    table: &Arc<ParamTable>,
    grads: &B::Buf<B::Master>,
    coefficient: &B::Buf<f64>,
    step: AdamwStep,
) {
    const WORDS: usize = 3;
    const STEPS: usize = 900;
    let b = rig.b;
    let param = &table.params()[WORDS];
    let (width, len) = (param.shape[1], param.len());
    let words = rig.numbers(len);
    // Moments of all sizes, so that some decay to nothing; whole rows that never had any.
    let mut moments = rig.numbers(len);
    for (i, x) in moments.iter_mut().enumerate() {
        *x *= [1e-2, 1e-20, 0.0, 1.0][i / width % 4];
    }
    let squares: Vec<f64> = moments.iter().map(|x| x * x).collect();
    let history: Vec<AdamwRow> = (0..STEPS)
        .map(|k| AdamwRow {
            param: WORDS,
            grad_offset: 0,
            lr: 1e-3 / (1 + k) as f64,
            weight_decay: 0.1,
            start_decay: 0.0,
            step: 2 + k as u32,
        })
        .collect();
    let start = |rig: &Rig<'_, B>| {
        let mut params = b.params(table.clone()).expect("memory");
        let host: Vec<B::Master> = words.iter().map(|&x| B::Master::from_f64(x)).collect();
        b.set_param(&mut params, WORDS, 0, &host)
            .expect("the words");
        (params, rig.master(&moments), rig.master(&squares))
    };
    let read = |rig: &Rig<'_, B>, params: &B::Params| {
        let mut copy = rig.master(&words);
        b.copy(b.param(params, param.range()), b.all_mut(&mut copy));
        copy
    };
    // Every third row has a gradient at the last step, and sat out all, none or some of those before.
    let rows: Vec<u32> = (0..param.shape[0] as u32).step_by(3).collect();
    let since: Vec<u32> = (0..rows.len())
        .map(|k| [0, STEPS as u32 - 1, 3, 500][k % 4])
        .collect();
    let (mut params, mut m, mut v) = start(rig);
    b.adamw_rows(
        &mut params,
        &history,
        b.view(&b.from_slice(&rows).expect("memory")),
        b.view(&b.from_slice(&since).expect("memory")),
        Some((b.head(grads, len), b.view(coefficient))),
        b.all_mut(&mut m),
        b.all_mut(&mut v),
        step,
    );
    let weights = read(rig, &params);
    rig.keep("adamw_rows, weights", &weights);
    rig.keep("adamw_rows, m", &m);
    rig.keep("adamw_rows, v", &v);

    // All rows without gradients at once, and the same a step at a time.
    let all: Vec<u32> = (0..param.shape[0] as u32).collect();
    let (mut params, mut m, mut v) = start(rig);
    b.adamw_rows(
        &mut params,
        &history,
        b.view(&b.from_slice(&all).expect("memory")),
        b.view(&b.from_slice(&vec![0; all.len()]).expect("memory")),
        None,
        b.all_mut(&mut m),
        b.all_mut(&mut v),
        step,
    );
    let (mut dense, mut dense_m, mut dense_v) = start(rig);
    let nothing = rig.master(&vec![0.0; len]);
    for now in &history {
        b.adamw(
            &mut dense,
            std::slice::from_ref(now),
            None,
            b.view(&nothing),
            b.all_mut(&mut dense_m),
            b.all_mut(&mut dense_v),
            b.view(coefficient),
            step,
        );
    }
    for (what, late, dense) in [
        ("weights", read(rig, &params), read(rig, &dense)),
        ("m", m, dense_m),
        ("v", v, dense_v),
    ] {
        let bits = |buf: &B::Buf<B::Master>| -> Vec<u64> {
            rig.read(buf).into_iter().map(f64::to_bits).collect()
        };
        assert!(
            bits(&late) == bits(&dense),
            "adamw_rows, {what}: other bits"
        );
    }
}
