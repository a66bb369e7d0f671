//! The kernels on the emulator through the conformance suite, threads and blocks in three orders.

use half::bf16;
use hone_kernels::conformance::{Batch, Expected, Part, check, check_not_numbers, outcomes};
use hone_kernels::{Acc, Backend, Drop, EmbedTables, Norm, NormSums, Workspace};
use hone_kernels_cuda::{Buf, CudaBackend, Emulator, Order};
use hone_tensor::DropKey;
use std::path::Path;

fn emulator(order: Order) -> Emulator {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated");
    Emulator::new(&folder, order).expect("a C++ compiler")
}

#[test]
fn as_close_to_f64_as_the_reference() {
    check(&CudaBackend::<Emulator>::new(emulator(Order::Forward)).expect("memory"));
}

#[test]
fn what_is_no_number_stays_none() {
    let emulator = emulator(Order::Forward);
    let again = emulator.in_order(Order::Reverse);
    check_not_numbers(&CudaBackend::<Emulator>::new(emulator).expect("memory"));
    check_not_numbers(&CudaBackend::<Emulator, bf16>::new(again).expect("memory"));
}

#[test]
fn the_order_of_threads_changes_no_bit() {
    let first = emulator(Order::Forward);
    let others = [Order::Reverse, Order::Random(1)].map(|order| first.in_order(order));
    let forward = outcomes(&CudaBackend::<Emulator>::new(first).expect("memory"));
    for other in others {
        let other = outcomes(&CudaBackend::<Emulator>::new(other).expect("memory"));
        for (a, b) in forward.iter().zip(&other) {
            assert_eq!(a.name, b.name);
            let bits = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(&a.values) == bits(&b.values), "{}", a.name);
        }
    }
}

/// Each part on a backend of its own: none leans on what another has made, so a checker may run one alone.
#[test]
fn rounded_activations_are_as_close_as_their_rounding_allows() {
    let emulator = emulator(Order::Reverse);
    for part in Part::ALL {
        let again = emulator.in_order(Order::Reverse);
        let backend = CudaBackend::<Emulator, bf16>::new(again).expect("memory");
        Expected::of_parts::<bf16>(&[part]).check(&backend);
    }
}

/// Sums of a LayerNorm's backward pass over chunks of every size, against what they are sums of; and the same bits
/// where the rows are those of a batch, whose launches are made for its bucket.
#[test]
fn chunks_of_every_size_are_summed_whole_and_buckets_change_no_bit() {
    const WIDTH: usize = 16;
    let b = CudaBackend::<Emulator>::new(emulator(Order::Forward)).expect("memory");
    b.reserve(&Workspace {
        tokens: 20_000,
        sequences: 200,
        longest: 160,
        hidden: WIDTH,
        intermediate: WIDTH,
        heads: 1,
        classes: 2,
        answered: 20_000,
    })
    .expect("workspace");
    // Chunks of 8, 16, 32 and 64 rows, the last of each not whole; buckets are larger.
    for sequences in [3, 27, 53, 107] {
        let batch = Batch::new(&b, &vec![157; sequences], 40);
        let rows = batch.host.tokens();
        let numbers = |from: f32, len: usize| -> Vec<f32> {
            let number = |i: usize| from + ((i * 7919 + 13) % 1009) as f32 / 1009.0;
            (0..len).map(number).collect()
        };
        let (dy, x) = (numbers(-0.4, rows * WIDTH), numbers(-0.6, rows * WIDTH));
        let (stats, gain) = (numbers(0.3, 2 * rows), numbers(0.5, WIDTH));
        let on = |x: &[f32]| b.from_slice(x).expect("memory");
        let (dy_on, x_on, stats_on, gain_on) = (on(&dy), on(&x), on(&stats), on(&gain));
        let mut sum: Buf<Emulator, f32> = b.alloc(rows * WIDTH).expect("memory");
        let mut dx = b.alloc(rows * WIDTH).expect("memory");
        let mut dsum = b.alloc(rows * WIDTH).expect("memory");
        let key = DropKey {
            seed: 1,
            step: 2,
            layer: 3,
            site: 1,
            draw: 0,
        };
        let mut run = || {
            let mut sums = [(); 3].map(|()| b.alloc(WIDTH).expect("memory"));
            let [dweight, dbias, before] = &mut sums;
            let norm = Norm {
                weight: b.view(&gain_on),
                bias: b.view(&gain_on),
                eps: 1e-5,
            };
            let drop = Drop::new(key, 0.3).expect("a rate above 0");
            b.add_norm_backward(
                norm,
                b.view(&dy_on),
                b.view(&x_on),
                b.view(&stats_on),
                b.all_mut(&mut dsum),
                Some((drop, batch.rows(&b), b.all_mut(&mut dx))),
                NormSums {
                    acc: Acc::Set,
                    params: Some((b.all_mut(dweight), b.all_mut(dbias))),
                    bias_before: Some(b.all_mut(before)),
                },
            );
            let read = |from: &Buf<Emulator, f32>| {
                let mut host = vec![0.0; b.len(from)];
                b.download(b.view(from), &mut host).expect("a copy");
                host
            };
            (sums.each_ref().map(read), read(&dx))
        };
        let (sums, dx) = run();
        let want = |term: &dyn Fn(usize) -> f64| -> Vec<(f64, f64)> {
            let column = |c: usize| (0..rows).map(move |r| r * WIDTH + c);
            let both = |c| column(c).fold((0.0, 0.0), |s, i| (s.0 + term(i), s.1 + term(i).abs()));
            (0..WIDTH).map(both).collect()
        };
        let normal = |i: usize| {
            let r = i / WIDTH;
            f64::from((x[i] - stats[2 * r]) * stats[2 * r + 1])
        };
        let wanted = [
            want(&|i| f64::from(dy[i]) * normal(i)),
            want(&|i| f64::from(dy[i])),
            want(&|i| f64::from(dx[i])),
        ];
        for (got, want) in sums.iter().zip(&wanted) {
            for (got, (want, terms)) in got.iter().zip(want) {
                let error = (f64::from(*got) - want).abs();
                assert!(error <= 1e-6 * terms, "{rows} rows: {got} for {want}");
            }
        }
        let table: Buf<Emulator, f32> = b.alloc(160 * WIDTH).expect("memory");
        let tables = EmbedTables {
            word: b.view(&table),
            position: b.view(&table),
            token_type: b.view(&table),
        };
        b.embed(tables, batch.tokens(&b), WIDTH, b.all_mut(&mut sum));
        assert!(run() == (sums, dx), "{rows} rows by name");
    }
}
