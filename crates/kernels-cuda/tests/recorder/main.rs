//! The host's side, from what the recorder wrote down: geometry, sizes, order, and that nothing of a step stands in
//! the arguments of its launches.

mod graphs;
mod step;

use hone_kernels::conformance::outcomes;
use hone_kernels::{Acc, Backend, Norm, NormSums, WeightRef, Workspace};
use hone_kernels_cuda::sources::{FILES, kernels};
use hone_kernels_cuda::{Arg, CudaBackend, Event, Recorder, bucket};
use hone_tensor::{Depth, Kind, ParamTable};
use std::sync::Arc;
use step::{Device, batch, launches, uploads};

type Cuda = CudaBackend<Recorder>;

fn backend() -> Cuda {
    CudaBackend::new(Recorder::new()).expect("memory")
}

#[test]
fn every_kernel_is_launched_with_the_threads_it_is_bound_to() {
    let backend = backend();
    // Nothing runs, so the suite's own comparison of two equal outputs holds as well: both are zeros.
    outcomes(&backend);
    let launches = backend.driver().launches();
    let declared: Vec<_> = FILES.iter().flat_map(|f| kernels(f.1)).collect();
    let mut seen = std::collections::BTreeSet::new();
    for launch in &launches {
        seen.insert(launch.kernel);
        let threads = launch.block[0] * launch.block[1];
        let kernel = declared.iter().find(|k| k.name == launch.kernel);
        assert_eq!(
            kernel.map(|k| k.threads),
            Some(threads),
            "{}",
            launch.kernel
        );
    }
    // Wider heads and bf16's copies are run by the emulator, which compares threads too.
    let unseen: Vec<&str> = FILES
        .iter()
        .filter(|f| f.0 != "attention_mma")
        .flat_map(|f| kernels(f.1))
        .map(|k| k.name)
        .filter(|k| !seen.contains(k))
        .filter(|k| !k.ends_with("_64") && !k.ends_with("_128"))
        .filter(|k| !["add_bias", "round_copy", "fill_8", "fill_16", "fill_64"].contains(k))
        .collect();
    assert!(unseen.is_empty(), "never launched: {unseen:?}");
}

/// Sequences and classes are dimensions of grids, sequences rounded up; more than a card has blocks for are refused
/// before a run, and not by a launch.
#[test]
fn more_than_a_grid_holds_is_refused_beforehand() {
    let b = backend();
    let with = |tokens: usize, sequences: usize, classes: usize| {
        b.reserve(&Workspace {
            tokens,
            sequences,
            longest: 1,
            hidden: 8,
            intermediate: 8,
            heads: 1,
            classes,
            answered: tokens,
        })
        .map_err(|e| e.to_string())
    };
    let reserved = |sequences, classes| with(8, sequences, classes);
    assert_eq!(reserved(61_440, 65_535), Ok(()));
    let said = reserved(61_441, 2).unwrap_err();
    assert!(
        said.contains("61441 texts") && said.contains("65536 blocks"),
        "{said}"
    );
    assert!(reserved(1, 65_536).unwrap_err().contains("65536 classes"));
    // Rounded up to the next of eight borders a doubling, in chunks of 128: 7.5 · 2²⁰ tokens are the last that fit.
    assert_eq!(with(7_864_320, 8, 2), Ok(()));
    let said = with(7_864_321, 8, 2).unwrap_err();
    assert!(
        said.contains("7864321 tokens") && said.contains("65536 blocks"),
        "{said}"
    );
}

#[test]
fn steps_of_one_bucket_make_the_same_launches() {
    let b = backend();
    let mut device = Device::new(&b);
    // 5 sequences, 60 distinct words, 61 to 64 at the longest; 267 and 281 tokens lie in one bucket, 330 do not.
    let first = batch(&[64, 64, 61, 64, 14]);
    let second = batch(&[61, 64, 64, 64, 28]);
    let third = batch(&[64, 64, 64, 64, 74]);
    assert_eq!(bucket(first.tokens()), bucket(second.tokens()));
    assert_ne!(first.tokens(), second.tokens());
    assert_ne!(bucket(first.tokens()), bucket(third.tokens()));
    let one = device.step(&b, &first, 0);
    let two = device.step(&b, &second, 1);
    let three = device.step(&b, &third, 2);
    assert!(launches(&one).len() >= 8);
    assert_eq!(launches(&one), launches(&two), "arguments or grids moved");
    assert_ne!(
        launches(&two),
        launches(&three),
        "a larger bucket has larger grids"
    );
    // What moved went to the device in two small writes: the batch's sizes, and the step that masks are drawn by.
    assert_eq!(uploads(&two), [32, 32]);
    // The host waits for nothing inside a step.
    let waits = |e: &&Event| matches!(e, Event::Sync | Event::Download(..) | Event::Alloc(..));
    assert_eq!(two.iter().filter(waits).count(), 0);
}

#[test]
fn the_same_step_again_uploads_nothing() {
    let b = backend();
    let mut device = Device::new(&b);
    let batch = batch(&[30, 12]);
    device.step(&b, &batch, 4);
    assert!(uploads(&device.step(&b, &batch, 4)).is_empty());
}

#[test]
fn attention_covers_every_tile_and_no_more_than_a_bucket() {
    let b = backend();
    let mut device = Device::new(&b);
    let events = device.step(&b, &batch(&[130, 7, 65]), 0);
    let grid = |kernel: &str| {
        let found = launches(&events).into_iter().find(|l| l.kernel == kernel);
        found.map(|l| l.grid)
    };
    assert_eq!(
        grid("attention_32"),
        Some([3, 2, 3]),
        "tiles of 64 queries, heads, sequences"
    );
    // Tiles of 32, up to a whole 64.
    assert_eq!(grid("attention_keys_32"), Some([6, 2, 3]));
    assert_eq!(grid("attention_queries_32"), Some([6, 2, 3]));
    assert_eq!(
        grid("embed_word_backward"),
        Some([bucket(202) as u32, 1, 1])
    );
}

#[test]
fn products_are_in_three_forms_and_weights_are_read_where_they_lie() {
    let b = backend();
    let mut table = ParamTable::builder();
    table.push("first", &[16, 32], Depth::Layer(0), Kind::Matrix);
    let w = table.push("w", &[48, 32], Depth::Layer(0), Kind::Matrix);
    let params = b.params(Arc::new(table.build())).expect("memory");
    let (rows, out, input) = (10, 48, 32);
    let bias = b.alloc::<f32>(out).expect("memory");
    let mut x = b.alloc::<f32>(rows * input).expect("memory");
    let mut y = b.alloc::<f32>(rows * out).expect("memory");
    let mut dw = b.alloc::<f32>(out * input).expect("memory");
    b.driver().forget();
    let weight = WeightRef::one(w);
    b.linear(
        &params,
        weight,
        b.view(&bias),
        b.view(&x),
        b.all_mut(&mut y),
    );
    b.linear_dgrad(&params, weight, b.view(&y), Acc::Add, b.all_mut(&mut x));
    b.linear_wgrad(
        b.view(&y),
        b.view(&x),
        rows,
        Acc::Set,
        b.all_mut(&mut dw),
        None,
    );
    let products: Vec<_> = b
        .driver()
        .events()
        .into_iter()
        .map(|e| match e {
            Event::Product(p) => p,
            other => panic!("only products: {other:?}"),
        })
        .collect();
    let forms: Vec<_> = products
        .iter()
        .map(|p| {
            (
                p.rows,
                p.columns,
                p.depth,
                p.a.transposed,
                p.b.transposed,
                p.acc,
            )
        })
        .collect();
    assert_eq!(
        forms,
        [
            (rows, out, input, false, true, Acc::Set),
            (rows, input, out, false, false, Acc::Add),
            (out, input, rows, true, false, Acc::Set),
        ]
    );
    assert!(products[0].bias.is_some());
    assert_eq!(products[0].b.address, products[1].b.address);
}

#[test]
fn rates_are_no_arguments_of_adamw() {
    use hone_kernels::{AdamwRow, AdamwStep};
    let b = backend();
    let mut table = ParamTable::builder();
    table.push("w", &[100, 70], Depth::Layer(0), Kind::Matrix);
    table.push("b", &[70], Depth::Layer(0), Kind::Bias);
    let mut params = b.params(Arc::new(table.build())).expect("memory");
    let grads = b.alloc::<f32>(7070).expect("memory");
    let (mut m, mut v) = (
        b.alloc::<f32>(7070).expect("memory"),
        b.alloc::<f32>(7070).expect("memory"),
    );
    let coefficient = b.alloc::<f64>(2).expect("memory");
    let mut step = |lr: f64, step: u32| {
        b.driver().forget();
        let row = |param, grad_offset| AdamwRow {
            param,
            grad_offset,
            lr,
            weight_decay: 0.01,
            start_decay: 0.0,
            step,
        };
        b.adamw(
            &mut params,
            &[row(0, 0), row(1, 7000)],
            None,
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
        b.driver().events()
    };
    let (one, two) = (step(1e-3, 1), step(5e-4, 2));
    assert_eq!(one, two, "rate and step are in the table that is uploaded");
    let launch = launches(&one)[0];
    assert_eq!(
        launch.grid,
        [2, 1, 1],
        "16384 elements a block, tensors apart"
    );
    assert_eq!(launch.args[0], Arg::U32(2));
}

#[test]
fn the_most_memory_is_what_was_held_at_once() {
    let b = backend();
    let before = b.peak_memory().expect("the device's own");
    let first = b.alloc::<f32>(1000).expect("memory");
    drop(b.alloc::<f32>(500).expect("memory"));
    let _second = b.alloc::<u64>(200).expect("memory");
    drop(first);
    let _third = b.alloc::<f32>(10).expect("memory");
    assert_eq!(b.peak_memory(), Some(before + 4 * 1500));
}

#[test]
fn norms_of_many_gradients_are_two_launches_and_an_upload() {
    let b = backend();
    let mut table = ParamTable::builder();
    for k in 0..50 {
        table.push(&format!("w{k}"), &[70, 90], Depth::Layer(0), Kind::Matrix);
    }
    let table = Arc::new(table.build());
    let _params = b.params(table.clone()).expect("memory");
    let grads = b.alloc::<f32>(table.len()).expect("memory");
    let mut out = b.alloc::<f64>(50).expect("memory");
    let params = table.params().iter().enumerate();
    let spans: Vec<_> = params.map(|(k, p)| (p.range(), k)).collect();
    b.driver().forget();
    b.squared_norms(b.view(&grads), &spans, &mut out);
    let events = b.driver().events();
    let kernels: Vec<_> = launches(&events)
        .iter()
        .map(|l| (l.kernel, l.grid))
        .collect();
    assert_eq!(
        kernels,
        [
            // 6 300 elements are two chunks of 4 096.
            ("squared_norms_partial", [100, 1, 1]),
            ("squared_norms_join", [50, 1, 1]),
        ]
    );
    assert_eq!(uploads(&events).len(), 1);
    assert_eq!(events.len(), 3, "an arena made before has made room");
    b.driver().forget();
    b.squared_norms(b.view(&grads), &spans, &mut out);
    assert!(uploads(&b.driver().events()).is_empty(), "it has the table");
    // A larger arena takes the table's room.
    let mut larger = ParamTable::builder();
    for k in 0..99 {
        larger.push(&format!("w{k}"), &[7, 9], Depth::Layer(0), Kind::Matrix);
    }
    let _larger = b.params(Arc::new(larger.build())).expect("memory");
    b.driver().forget();
    b.squared_norms(b.view(&grads), &spans, &mut out);
    assert_eq!(uploads(&b.driver().events()).len(), 1);
    b.driver().forget();
    b.squared_norms(b.view(&grads), &spans[1..], &mut out);
    assert_eq!(uploads(&b.driver().events()).len(), 1, "another table");
    b.driver().forget();
    b.squared_norms(b.view(&grads), &[], &mut out);
    assert!(b.driver().events().is_empty(), "nothing is asked of it");
}

#[test]
fn a_norm_and_its_sums_are_two_launches_where_rows_are_whole_vectors() {
    let b = backend();
    let (rows, most) = (5000, 64);
    b.reserve(&Workspace {
        tokens: rows,
        sequences: 8,
        longest: 512,
        hidden: most,
        intermediate: most,
        heads: 2,
        classes: 2,
        answered: rows,
    })
    .expect("workspace");
    let x = b.alloc::<f32>(rows * most).expect("memory");
    let stats = b.alloc::<f32>(2 * rows).expect("memory");
    let mut dsum = b.alloc::<f32>(rows * most).expect("memory");
    let mut sums = [(); 3].map(|()| b.alloc::<f32>(most).expect("memory"));
    let gain = b.alloc::<f32>(most).expect("memory");
    let mut kernels = |width: usize, of_params: bool, of_bias: bool| {
        b.driver().forget();
        let norm = Norm {
            weight: b.head(&gain, width),
            bias: b.head(&gain, width),
            eps: 1e-12,
        };
        let x = b.head(&x, rows * width);
        let [dweight, dbias, before] = &mut sums;
        let wanted = NormSums {
            acc: Acc::Add,
            params: of_params.then(|| (b.head_mut(dweight, width), b.head_mut(dbias, width))),
            bias_before: of_bias.then(|| b.head_mut(before, width)),
        };
        let dsum = b.head_mut(&mut dsum, rows * width);
        b.add_norm_backward(norm, x, x, b.view(&stats), dsum, None, wanted);
        let all = b.driver().launches();
        all.iter()
            .map(|l| (l.kernel, l.grid[0], l.grid[1]))
            .collect::<Vec<_>>()
    };
    // 5 000 rows are 313 chunks of 16; three sums of 64 columns are joined 32 at a time.
    let joined = |blocks| {
        [
            ("add_norm_backward_sums", 313, 1),
            ("column_join", blocks, 1),
        ]
    };
    assert_eq!(kernels(64, true, true), joined(6));
    assert_eq!(kernels(64, true, false), joined(4));
    assert_eq!(kernels(64, false, true), joined(2));
    let alone = ("add_norm_backward", 1250, 1);
    assert_eq!(kernels(64, false, false), [alone]);
    let apart = ["norm_sums", "column_join", "column_sums", "column_join"];
    let wide = kernels(50, true, true);
    assert_eq!(wide[0], alone);
    assert_eq!(wide[1..].iter().map(|k| k.0).collect::<Vec<_>>(), apart);
}

#[test]
fn few_rows_are_summed_in_one_launch_and_many_in_two() {
    let b = backend();
    let width = 40;
    b.reserve(&Workspace {
        tokens: 5000,
        sequences: 8,
        longest: 512,
        hidden: width,
        intermediate: width,
        heads: 2,
        classes: 2,
        answered: 5000,
    })
    .expect("workspace");
    let x = b.alloc::<f32>(5000 * width).expect("memory");
    let stats = b.alloc::<f32>(2 * 5000).expect("memory");
    let mut sums = [(); 2].map(|()| b.alloc::<f32>(width).expect("memory"));
    for (rows, chunks) in [(416, 1), (2048, 1), (2049, 17), (5000, 40)] {
        b.driver().forget();
        let x = b.head(&x, rows * width);
        let [one, other] = &mut sums;
        b.bias_grad(x, rows, Acc::Add, b.all_mut(one));
        let stats = b.head(&stats, 2 * rows);
        b.norm_param_grad(x, x, stats, Acc::Set, b.all_mut(one), b.all_mut(other));
        let all = b.driver().launches();
        let kernels: Vec<_> = all.iter().map(|l| (l.kernel, l.grid[1])).collect();
        match chunks {
            1 => assert_eq!(kernels, [("column_sums", 1), ("norm_sums", 1)]),
            _ => assert_eq!(
                kernels,
                [
                    ("column_sums", chunks),
                    ("column_join", 1),
                    ("norm_sums", chunks),
                    ("column_join", 1),
                ]
            ),
        }
    }
}
