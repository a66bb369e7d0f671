//! Matrix products at BERT's shapes as a share of the processor's multiply-add peak, beside `matrixmultiply`,
//! `gemm` and ndarray's `dot`: `cargo bench --bench gemm [-- FILTER…]`; each of the processor's SIMD paths, or
//! those whose names begin as given (`cpu-avx2`). That in bf16 has a peak of its own; its opponents compute in f32.
//!
//! On a shared machine the peak itself moves within seconds, so opponents and peak take turns of a few
//! milliseconds, the order reversed every time, and medians are compared. Weights are cold, as they are in
//! training: every call takes the next of so many copies that no cache holds them all.

use hone_kernels::{Acc, Backend, WeightRef, Workspace};
use hone_kernels_cpu::{Buf, CpuBackend, Path, Team};
use hone_tensor::{Depth, Kind, ParamTable, Philox};
use ndarray::{Array2, linalg::general_mat_mul};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that all copies of a weight take together at least: twice a large third-level cache.
const COLD: usize = 96 << 20;
/// Turns of each contestant.
const ROUNDS: usize = 24;
/// Time of a turn.
const TURN: Duration = Duration::from_millis(4);

const MODELS: [(&str, usize, usize); 2] = [("minilm", 384, 1536), ("base", 768, 3072)];
/// Tokens: 32 phrases of SST-2, 32 texts of 32, 16 texts of 128.
const TOKENS: [usize; 3] = [416, 1024, 2048];

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let (paths, wanted): (Vec<String>, Vec<String>) =
        words.into_iter().partition(|word| word.starts_with("cpu-"));
    for path in Path::every() {
        let chosen = match paths.is_empty() {
            true => path != Path::Portable || Path::detect() == path,
            false => paths.iter().any(|name| path.name().starts_with(name)),
        };
        if chosen {
            table(path, &wanted);
        }
    }
}

fn table(path: Path, wanted: &[String]) {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let backend = Arc::new(CpuBackend::with(path, Team::new(threads)));
    backend
        .reserve(&Workspace {
            tokens: 2048,
            sequences: 64,
            longest: 128,
            hidden: 768,
            intermediate: 3072,
            heads: 12,
            classes: 2,
            answered: 2048,
        })
        .expect("memory");
    println!(
        "{}, {threads} threads; share of the multiply-add peak, and GFLOP/s; opponents on {threads} threads too, ndarray on one",
        path.name()
    );
    println!(
        "{:<34} {:>10} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "product", "peak", "forward", "dgrad", "wgrad", "matrixmult.", "gemm", "ndarray"
    );
    for (model, hidden, intermediate) in MODELS {
        for (name, input, out) in [
            ("qkv", hidden, 3 * hidden),
            ("attention", hidden, hidden),
            ("intermediate", hidden, intermediate),
            ("output", intermediate, hidden),
        ] {
            for rows in TOKENS {
                let label = format!("{model}/{name}/{rows}x{input}x{out}");
                if wanted.is_empty() || wanted.iter().any(|w| label.contains(w.as_str())) {
                    measure(&backend, &label, threads, (rows, input, out));
                }
            }
        }
    }
}

fn numbers(b: &CpuBackend, len: usize) -> Buf<f32> {
    let random = Philox::new(1);
    let values: Vec<f32> = (0..len)
        .map(|i| (random.u64_at(0, i as u64) >> 40) as f32 / (1 << 23) as f32 - 1.0)
        .collect();
    b.from_slice(&values).expect("memory")
}

/// One row of the table.
fn measure(
    b: &Arc<CpuBackend>,
    label: &str,
    threads: usize,
    (rows, input, out): (usize, usize, usize),
) {
    let copies = COLD.div_ceil(4 * input * out);
    let mut table = ParamTable::builder();
    for i in 0..copies {
        table.push(
            &format!("weight{i}"),
            &[out, input],
            Depth::Layer(0),
            Kind::Matrix,
        );
    }
    let mut params = b.params(Arc::new(table.build())).expect("memory");
    let mut host = vec![0f32; out * input];
    b.download(b.view(&numbers(b, out * input)), &mut host)
        .expect("a copy");
    for i in 0..copies {
        b.set_param(&mut params, i, 0, &host)
            .expect("a whole matrix");
    }
    b.ready_backward(&params, 0).expect("memory");
    let (bias, x, dy) = (
        numbers(b, out),
        numbers(b, rows * input),
        numbers(b, rows * out),
    );
    let (mut y, mut dx) = (numbers(b, rows * out), numbers(b, rows * input));
    let mut dw: Vec<Buf<f32>> = (0..copies).map(|_| numbers(b, out * input)).collect();
    let left = Array2::<f32>::ones((rows, input));
    let right: Vec<Array2<f32>> = (0..copies)
        .map(|_| Array2::<f32>::ones((out, input)))
        .collect();
    let (mut c1, mut c2, mut c3) = (
        Array2::<f32>::zeros((rows, out)),
        Array2::<f32>::zeros((rows, out)),
        Array2::<f32>::zeros((rows, out)),
    );

    let flops = (2 * rows * input * out) as f64;
    let mut next = 0usize;
    let mut rates: [Vec<f64>; 6] = Default::default();
    let mut peaks: Vec<f64> = Vec::new();
    for round in 0..ROUNDS {
        let mut shares = [0f64; 6];
        for turn in 0..6 {
            let who = if round % 2 == 0 { turn } else { 5 - turn };
            let mut call = || {
                next = (next + 1) % copies;
                match who {
                    0 => b.linear(
                        &params,
                        WeightRef::one(next),
                        b.view(&bias),
                        b.view(&x),
                        b.all_mut(&mut y),
                    ),
                    1 => b.linear_dgrad(
                        &params,
                        WeightRef::one(next),
                        b.view(&dy),
                        Acc::Set,
                        b.all_mut(&mut dx),
                    ),
                    2 => b.linear_wgrad(
                        b.view(&dy),
                        b.view(&x),
                        rows,
                        Acc::Set,
                        b.all_mut(&mut dw[next]),
                        None,
                    ),
                    3 => matrixmultiply_dot(&left, &right[next], &mut c1),
                    4 => gemm_dot(threads, &left, &right[next], &mut c2),
                    _ => general_mat_mul(1.0, &left, &right[next].t(), 0.0, &mut c3),
                }
            };
            call();
            let (start, mut calls) = (Instant::now(), 0u32);
            while calls == 0 || start.elapsed() < TURN {
                call();
                calls += 1;
            }
            shares[who] = flops * f64::from(calls) / start.elapsed().as_secs_f64() / 1e9;
        }
        peaks.push(b.fma_rate());
        for (all, share) in rates.iter_mut().zip(shares) {
            all.push(share);
        }
    }
    let peak = median(&mut peaks);
    print!("{label:<34} {peak:>10.0}");
    for all in &mut rates {
        let rate = median(all);
        print!(" {:>5.1} {:>3.0} %", rate, 100.0 * rate / peak);
    }
    println!();
}

/// `x · Wᵀ` by `matrixmultiply`.
fn matrixmultiply_dot(x: &Array2<f32>, w: &Array2<f32>, c: &mut Array2<f32>) {
    let ((m, k), n) = (x.dim(), w.nrows());
    // SAFETY: lengths and strides are those of three whole row-major arrays.
    #[expect(unsafe_code, reason = "the opponent's interface")]
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            x.as_ptr(),
            k as isize,
            1,
            w.as_ptr(),
            1,
            k as isize,
            0.0,
            c.as_mut_ptr(),
            n as isize,
            1,
        );
    }
}

/// `x · Wᵀ` by `gemm`.
fn gemm_dot(threads: usize, x: &Array2<f32>, w: &Array2<f32>, c: &mut Array2<f32>) {
    let ((m, k), n) = (x.dim(), w.nrows());
    let parallel = match threads {
        1 => gemm::Parallelism::None,
        n => gemm::Parallelism::Rayon(n),
    };
    // SAFETY: as above.
    #[expect(unsafe_code, reason = "the opponent's interface")]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            false,
            x.as_ptr(),
            1,
            k as isize,
            w.as_ptr(),
            k as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            parallel,
        );
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
