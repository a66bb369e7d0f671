//! Attention at the sizes models have: heads of 32 and 64 channels up to 512 tokens, and the widest there are.

use half::bf16;
use hone_kernels::conformance::{Batch, Rig};
use hone_kernels::{Attention, Backend, Drop, Qkv, QkvMut, Reference, Workspace};
use hone_kernels_cuda::{CudaBackend, Emulator, Order};
use hone_tensor::{DropKey, Real};
use std::path::Path;

/// Sequence lengths, heads, channels of a head, dropout.
type Case = (&'static [usize], usize, usize, f64);

const CASES: [Case; 7] = [
    (&[512, 3], 1, 64, 0.1),
    (&[512], 1, 32, 0.0),
    (&[65, 64, 63, 1, 33, 32, 31], 2, 64, 0.2),
    (&[65, 64, 63, 1, 33, 32, 31], 2, 32, 0.2),
    (&[40, 17], 2, 48, 0.1),
    (&[40, 17], 1, 128, 0.1),
    (&[20, 50], 2, 100, 0.0),
];

/// Context, log-sums and gradients, for all queries and for the first of each sequence. Inputs are exact in bf16.
fn run<B: Backend>(b: &B, (lengths, heads, head_dim, p): Case) -> Vec<Vec<f64>> {
    let mut rig = Rig::new(b);
    b.reserve(&Workspace {
        tokens: 600,
        sequences: 8,
        longest: 512,
        hidden: heads * head_dim,
        intermediate: 1,
        heads,
        classes: 1,
        answered: 600,
    })
    .expect("workspace");
    let key = DropKey {
        seed: 5,
        step: 9,
        layer: 1,
        site: 2,
        draw: 0,
    };
    let batch = Batch::new(b, lengths, 50);
    let (tokens, sequences, hidden) = (batch.host.tokens(), lengths.len(), heads * head_dim);
    let how = Attention {
        heads,
        head_dim,
        longest: batch.host.longest(),
        drop: Drop::new(key, p),
    };
    let mut draw = |len: usize, size: f64| -> Vec<f64> {
        rig.numbers(len)
            .iter()
            .map(|x| (x * 64.0).round() / 64.0 * size)
            .collect()
    };
    let (qkv, dcontext) = (draw(3 * tokens * hidden, 2.0), draw(tokens * hidden, 1.0));
    let (q, kv) = (
        draw(sequences * hidden, 2.0),
        draw(2 * tokens * hidden, 2.0),
    );
    let dfirst = draw(sequences * hidden, 1.0);
    let rig = rig;
    let saved = |rig: &Rig<'_, B>, queries| {
        let len = B::attention_saved(queries, heads, how.longest);
        rig.master(&vec![f64::NAN; len])
    };
    let mut out = Vec::new();

    let (qkv, dcontext) = (rig.act(&qkv), rig.act(&dcontext));
    let mut context = rig.act(&vec![f64::NAN; tokens * hidden]);
    let mut lse = saved(&rig, tokens);
    let mut dqkv = rig.act(&vec![f64::NAN; 3 * tokens * hidden]);
    let all = || Qkv::All(b.view(&qkv));
    let of = || batch.tokens(b);
    b.attention(
        how,
        of(),
        all(),
        b.all_mut(&mut context),
        b.all_mut(&mut lse),
    );
    b.attention_backward(
        how,
        of(),
        all(),
        b.view(&context),
        b.view(&lse),
        b.view(&dcontext),
        QkvMut::All(b.all_mut(&mut dqkv)),
    );
    out.extend([rig.read(&context), rig.read(&lse), rig.read(&dqkv)]);
    out[1].truncate(tokens * heads);

    let (q, kv, dcontext) = (rig.act(&q), rig.act(&kv), rig.act(&dfirst));
    let mut context = rig.act(&vec![f64::NAN; sequences * hidden]);
    let mut lse = saved(&rig, sequences);
    let mut dq = rig.act(&vec![f64::NAN; sequences * hidden]);
    let mut dkv = rig.act(&vec![f64::NAN; 2 * tokens * hidden]);
    let first = || Qkv::First {
        q: b.view(&q),
        kv: b.view(&kv),
    };
    b.attention(
        how,
        of(),
        first(),
        b.all_mut(&mut context),
        b.all_mut(&mut lse),
    );
    b.attention_backward(
        how,
        of(),
        first(),
        b.view(&context),
        b.view(&lse),
        b.view(&dcontext),
        QkvMut::First {
            dq: b.all_mut(&mut dq),
            dkv: b.all_mut(&mut dkv),
        },
    );
    out.extend([&context, &dq, &dkv].map(|buf| rig.read(buf)));
    out.push(rig.read(&lse));
    out[6].truncate(sequences * heads);
    out
}

fn check<B: Backend>(backend: &B, case: Case, [ref32, ref64]: &[Vec<Vec<f64>>; 2]) {
    let got = run(backend, case);
    let names = [
        "context",
        "lse",
        "dqkv",
        "first context",
        "first dq",
        "first dkv",
        "first lse",
    ];
    for (k, name) in names.iter().enumerate() {
        let distance = |a: &[f64]| {
            let apart = a.iter().zip(&ref64[k]).map(|(a, b)| (a - b).abs());
            apart.fold(
                0.0f64,
                |m, d| if d.is_nan() { f64::INFINITY } else { m.max(d) },
            )
        };
        // Gradients are differences that can cancel: their terms are of the size of 1.
        let largest = ref64[k].iter().fold(1.0f64, |m, x| m.max(x.abs()));
        let epsilon = match name.ends_with("lse") {
            true => B::Master::EPSILON,
            false => B::Act::EPSILON,
        };
        let epsilon = epsilon.max(f32::EPSILON.into());
        let bound = 4.0 * distance(&ref32[k]).max(epsilon * largest);
        let error = distance(&got[k]);
        assert!(
            error <= bound,
            "{case:?}, {name}: {error:.2e}, allowed {bound:.2e}"
        );
    }
}

#[test]
fn heads_of_models_up_to_their_longest_texts() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated");
    let emulator = Emulator::new(&folder, Order::Random(2)).expect("a C++ compiler");
    let rounded = CudaBackend::<Emulator, bf16>::new(emulator.in_order(Order::Reverse));
    let rounded = rounded.expect("memory");
    let single = CudaBackend::<Emulator>::new(emulator).expect("memory");
    for case in CASES {
        let references = [
            run(&Reference::<f32>::default(), case),
            run(&Reference::<f64>::default(), case),
        ];
        check(&single, case, &references);
        check(&rounded, case, &references);
    }
}

#[test]
fn heads_without_a_kernel_are_refused_in_words() {
    let backend =
        CudaBackend::<hone_kernels_cuda::Recorder>::new(Default::default()).expect("memory");
    let said = backend
        .reserve(&Workspace {
            hidden: 400,
            heads: 2,
            ..Workspace::default()
        })
        .expect_err("heads of 200 channels");
    assert!(
        said.to_string().contains("128") && said.to_string().contains("200"),
        "{said}"
    );
}
