//! Tests of the products: identities of the microkernel, every form against f64, threads against bits.

use super::kernel::{Ahead, Left, Plus, Rows};
use super::*;
use crate::{Path, Split, Team};
use hone_kernels::Acc;
use proptest::prelude::*;

/// Numbers in (−1, 1), a pure function of their place; seven bits each, so that bf16 holds them exactly and every path
/// computes with the same.
fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let random = hone_tensor::Philox::new(seed);
    (0..len)
        .map(|i| (random.u64_at(0, i as u64) >> 56) as f32 / 128.0 - 1.0)
        .collect()
}

/// Largest error of a sum of `k` products of such numbers, plus `1`: each of the `k + blocks` roundings is at
/// most ε/2 of the sum of magnitudes (Higham 2002, eq. 3.5).
fn bound(k: usize, magnitude: f64) -> f64 {
    let n = (k + k / 64 + 4) as f64;
    n * f64::from(f32::EPSILON) / 2.0 * (magnitude + 1.0)
}

struct Problem {
    rows: usize,
    count: usize,
    depth: usize,
    columns: usize,
    stack: Stack,
}

fn pack_right<K: GemmKernel>(p: &Problem, b: &[f32]) -> (Vec<f32>, usize) {
    // `b` holds `count` matrices `[depth, columns]`.
    let distance = pack::panels_len::<K>(p.depth, p.columns);
    let mut out = vec![f32::NAN; distance * p.count];
    for matrix in 0..p.count {
        let b = &b[matrix * p.depth * p.columns..][..p.depth * p.columns];
        for j in (0..p.columns).step_by(K::NR) {
            let width = K::NR.min(p.columns - j);
            let at = matrix * distance + j * p.depth.div_ceil(K::TERMS);
            let out = &mut out[at..];
            pack::right_panel::<K>(&b[j..], p.columns, p.depth, width, out);
        }
    }
    (out, distance)
}

/// C of one product, and what f64 says with the magnitudes of its terms.
fn run_product<K: GemmKernel>(team: &Team, p: &Problem, onto: &str) -> (Vec<f32>, Vec<(f64, f64)>) {
    let (k, n) = match p.stack {
        Stack::Columns => (p.depth, p.columns * p.count),
        Stack::Depth => (p.depth * p.count, p.columns),
    };
    let a = numbers(p.rows * k, 1);
    let b = numbers(p.count * p.depth * p.columns, 2);
    let bias = numbers(n, 3);
    let mut c = numbers(p.rows * n, 4);
    let before = c.clone();
    let (panels, distance) = pack_right::<K>(p, &b);
    let right = Right {
        panels: &panels,
        distance,
        count: p.count,
        stack: p.stack,
        depth: p.depth,
        columns: p.columns,
    };
    let kind = match onto {
        "bias" => Onto::Bias(&bias),
        "output" => Onto::Output,
        _ => {
            c.fill(f32::NAN);
            Onto::Nothing
        }
    };
    let of_cache = |bytes: usize| {
        let mut out = c.clone();
        let mut room = vec![f32::NAN; words_len::<K>(p.rows, p.count, p.depth)];
        product::<K, _>(
            team,
            Blocking::for_cache(bytes),
            in_words::<K>(team, &a, &right, &mut room),
            right,
            kind,
            &mut out,
            &Plain,
        );
        out
    };
    // Blocks of either size give the same bits.
    let (large, c) = (of_cache(4 << 20), of_cache(256 << 10));
    assert_eq!(bits(&large), bits(&c));
    let element = |kk: usize, j: usize| match p.stack {
        Stack::Columns => {
            let (matrix, j) = (j / p.columns, j % p.columns);
            b[(matrix * p.depth + kk) * p.columns + j]
        }
        Stack::Depth => b[kk * p.columns + j],
    };
    let want = (0..p.rows * n)
        .map(|at| {
            let (i, j) = (at / n, at % n);
            let mut sum = match onto {
                "bias" => f64::from(bias[j]),
                "output" => f64::from(before[at]),
                _ => 0.0,
            };
            let mut magnitude = sum.abs();
            for kk in 0..k {
                let term = f64::from(a[i * k + kk]) * f64::from(element(kk, j));
                sum += term;
                magnitude += term.abs();
            }
            (sum, magnitude)
        })
        .collect();
    (c, want)
}

#[track_caller]
fn close(c: &[f32], want: &[(f64, f64)], k: usize, what: &str) {
    for (at, (x, (y, magnitude))) in c.iter().zip(want).enumerate() {
        let error = (f64::from(*x) - y).abs();
        assert!(
            error <= bound(k, *magnitude),
            "{what}: element {at}: {x} for {y}"
        );
    }
}

#[test]
fn microkernel_identities_are_exact() {
    fn check<K: GemmKernel>() {
        let (mr, nr) = (K::MR, K::NR);
        let identity =
            |n: usize| -> Vec<f32> { (0..n * n).map(|at| f32::from(at % (n + 1) == 0)).collect() };
        // A·I = A with K = NR, read where it lies, row by row.
        let a = numbers(mr * nr, 1);
        let (deep, shallow) = (nr.div_ceil(K::TERMS), mr.div_ceil(K::TERMS));
        let mut words = vec![f32::NAN; mr * deep];
        for i in 0..mr {
            // SAFETY: a row and its words.
            unsafe { K::words(a[i * nr..].as_ptr(), nr, words[i * deep..].as_mut_ptr()) };
        }
        let mut eye = vec![f32::NAN; deep * nr];
        pack::right_panel::<K>(&identity(nr), nr, nr, nr, &mut eye);
        for rows in 1..=mr {
            let mut c = vec![f32::NAN; mr * nr];
            let left = Rows { stride: deep };
            // SAFETY: `mr × nr` elements each; the path was asked for.
            unsafe {
                let (a, b, c) = (words.as_ptr(), eye.as_ptr(), c.as_mut_ptr());
                K::tile(
                    rows,
                    deep,
                    a,
                    left,
                    b,
                    c,
                    nr,
                    Plus::Nothing,
                    Ahead::nothing(b),
                );
            }
            assert_eq!(c[..rows * nr], a[..rows * nr]);
            assert!(
                c[rows * nr..].iter().all(|x| x.is_nan()),
                "rows beyond are left alone"
            );
        }
        // I·B = B with K = MR, packed.
        let mut eye = vec![f32::NAN; mr * shallow];
        pack::left_panels::<K>(&identity(mr), mr, mr, mr, &mut eye);
        let b = numbers(mr * nr, 2);
        let mut panel = vec![f32::NAN; nr * shallow];
        pack::right_panel::<K>(&b, nr, mr, nr, &mut panel);
        let mut c = vec![f32::NAN; mr * nr];
        assert_eq!((K::PACKED.row_stride(), K::PACKED.depth_stride()), (1, mr));
        // SAFETY: as above.
        unsafe {
            let (a, b, c) = (eye.as_ptr(), panel.as_ptr(), c.as_mut_ptr());
            K::tile(
                mr,
                shallow,
                a,
                K::PACKED,
                b,
                c,
                nr,
                Plus::Nothing,
                Ahead::nothing(b),
            );
        }
        assert_eq!(c, b, "I·B");
    }
    for path in Path::every() {
        with_kernel!(path, K => {
            check::<K>();
            check::<<K as GemmKernel>::Grad>();
        });
    }
}

const FORMS: [Stack; 2] = [Stack::Columns, Stack::Depth];

#[test]
fn products_match_f64_at_awkward_sizes() {
    let sizes = [
        (1, 1, 1, 1),
        (5, 1, 24, 52),
        (7, 3, 24, 24),
        (6, 2, 52, 16),
        (13, 3, 17, 33),
        (50, 1, 385, 31),
        (19, 2, 400, 48),
        (101, 1, 800, 40),
        // Two tiles across (as they are forced), each with one panel of the widest kernel more than a group has.
        (2, 1, 400, 888),
    ];
    for path in Path::every() {
        for threads in [1, 3] {
            let team = Team::with_split(threads, Split::Forced);
            for (rows, count, depth, columns) in sizes {
                for stack in FORMS {
                    let p = Problem {
                        rows,
                        count,
                        depth,
                        columns,
                        stack,
                    };
                    for onto in ["nothing", "output", "bias"] {
                        let (c, want) = with_kernel!(path, K => run_product::<K>(&team, &p, onto));
                        let what =
                            format!("{path:?} {rows} {count} {depth} {columns} {stack:?} {onto}");
                        close(&c, &want, depth * count, &what);
                    }
                }
            }
        }
    }
}

fn run_grad<K: GemmKernel>(
    team: &Team,
    (tokens, m, n): (usize, usize, usize),
    acc: Acc,
) -> Vec<f32> {
    let blocking = Blocking::for_cache(128 << 10);
    let scratch = PackScratch::new(team.threads(), blocking).unwrap();
    let (dy, x) = (numbers(tokens * m, 1), numbers(tokens * n, 2));
    let mut dw = match acc {
        Acc::Set => vec![f32::NAN; m * n],
        Acc::Add => numbers(m * n, 3),
    };
    let mut squares = vec![f64::NAN; squares_len::<K::Grad>(m, n)];
    weight_grad::<K::Grad>(
        team,
        blocking,
        &scratch,
        &dy,
        &x,
        tokens,
        acc,
        &mut dw,
        &mut squares,
    );
    let want: f64 = dw.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let sum: f64 = squares.iter().sum();
    assert!((sum - want).abs() <= 1e-12 * want, "{sum} for {want}");
    dw
}

#[test]
fn weight_gradients_match_f64_at_awkward_sizes() {
    let sizes = [
        (1, 1, 1),
        (5, 24, 52),
        (7, 52, 24),
        (300, 13, 17),
        (257, 60, 100),
        (500, 96, 64),
        (600, 61, 35),
        // The left operand packed on every path: depths that are whole pages apart, or further than is read across.
        (520, 1024, 3),
        (9, 1540, 35),
    ];
    for path in Path::every() {
        for threads in [1, 3] {
            let team = Team::with_split(threads, Split::Forced);
            for size in sizes {
                let (tokens, m, n) = size;
                let (dy, x) = (numbers(tokens * m, 1), numbers(tokens * n, 2));
                for acc in [Acc::Set, Acc::Add] {
                    let before = numbers(m * n, 3);
                    let want: Vec<(f64, f64)> = (0..m * n)
                        .map(|at| {
                            let mut sum = if acc == Acc::Add {
                                f64::from(before[at])
                            } else {
                                0.0
                            };
                            let mut magnitude = sum.abs();
                            for t in 0..tokens {
                                let term =
                                    f64::from(dy[t * m + at / n]) * f64::from(x[t * n + at % n]);
                                sum += term;
                                magnitude += term.abs();
                            }
                            (sum, magnitude)
                        })
                        .collect();
                    let dw = with_kernel!(path, K => run_grad::<K>(&team, size, acc));
                    close(&dw, &want, tokens, &format!("{path:?} {size:?} {acc:?}"));
                }
            }
        }
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn bits_do_not_depend_on_threads_or_blocks() {
    for path in Path::every() {
        let p = Problem {
            rows: 77,
            count: 2,
            depth: 500,
            columns: 90,
            stack: Stack::Depth,
        };
        let mut first: Option<(Vec<u32>, Vec<u32>)> = None;
        for threads in [1, 2, 3, 4] {
            for split in [Split::Sized, Split::Forced] {
                let team = Team::with_split(threads, split);
                let (c, _) = with_kernel!(path, K => run_product::<K>(&team, &p, "output"));
                if split == Split::Forced && threads > 1 {
                    assert!(team.last_workers() >= 2, "several workers took part");
                }
                let dw = with_kernel!(path, K => run_grad::<K>(&team, (600, 77, 90), Acc::Add));
                if split == Split::Forced && threads > 1 {
                    assert!(team.last_workers() >= 2, "several workers took part");
                }
                let now = (bits(&c), bits(&dw));
                assert_eq!(
                    first.get_or_insert_with(|| now.clone()),
                    &now,
                    "{path:?} {threads} {split:?}"
                );
            }
        }
    }
}

#[test]
fn no_tokens_is_a_zero_gradient() {
    for path in Path::every() {
        let team = Team::new(1);
        let blocking = Blocking::detect();
        let scratch = PackScratch::new(1, blocking).unwrap();
        let mut dw = [7.0f32; 6];
        with_kernel!(path, K => weight_grad::<K>(&team, blocking, &scratch, &[], &[], 0, Acc::Add, &mut dw, &mut []));
        assert_eq!(dw, [7.0; 6]);
        with_kernel!(path, K => weight_grad::<K>(&team, blocking, &scratch, &[], &[], 0, Acc::Set, &mut dw, &mut []));
        assert_eq!(dw, [0.0; 6]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_shape_matches_f64(
        rows in 1usize..40, count in 1usize..4, depth in 1usize..70, columns in 1usize..70,
        form in 0usize..2, threads in 1usize..4,
    ) {
        let team = Team::with_split(threads, Split::Forced);
        let p = Problem { rows, count, depth, columns, stack: FORMS[form] };
        for path in Path::every() {
            let (c, want) = with_kernel!(path, K => run_product::<K>(&team, &p, "bias"));
            close(&c, &want, depth * count, "bias");
        }
    }
}
