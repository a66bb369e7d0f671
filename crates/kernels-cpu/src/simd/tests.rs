//! Lanes against scalars, on every path.

use super::*;
use crate::path::Path;
use hone_kernels::{Activation, math};
use hone_tensor::Philox;

/// Whole vectors of every path.
const LANES: usize = MOST_LANES;

/// Applies a vector function to one array on a path.
macro_rules! over {
    ($path:expr, $x:expr, $f:expr) => {{
        let x: [f32; LANES] = $x;
        let mut out = [0.0f32; LANES];
        dispatch!($path, V => {
            for (x, out) in V::chunks(&x).0.iter().zip(V::chunks_mut(&mut out).0) {
                $f(V::load(x)).store(out);
            }
        });
        out
    }};
}

fn grid() -> Vec<[f32; LANES]> {
    let x: Vec<f32> = (-4000..4000).map(|i| i as f32 * 0.0031 + 0.0007).collect();
    let mut all: Vec<[f32; LANES]> = x.as_chunks::<LANES>().0.to_vec();
    let extreme = [-1e15, -104.0, -87.31, 88.0, 1e-20, -1e-20, 0.0, -0.0];
    all.push(std::array::from_fn(|i| extreme[i % extreme.len()]));
    all
}

fn check(
    name: &str,
    got: &dyn Fn(Path, [f32; LANES]) -> [f32; LANES],
    want: &dyn Fn(f64) -> f64,
    bound: &dyn Fn(f64) -> f64,
) {
    for path in Path::all() {
        for x in grid() {
            let y = got(path, x);
            for i in 0..LANES {
                let exact = want(f64::from(x[i]));
                let error = (f64::from(y[i]) - exact).abs();
                assert!(
                    error <= bound(exact),
                    "{name} {path:?} at {}: {} for {exact}",
                    x[i],
                    y[i]
                );
            }
        }
    }
}

const EPS: f64 = f32::EPSILON as f64;

#[test]
fn exp_and_tanh() {
    check("exp", &|p, x| over!(p, x, exp), &f64::exp, &|y| {
        1.5 * EPS * y + 2e-38
    });
    check("tanh", &|p, x| over!(p, x, tanh), &f64::tanh, &|y| {
        3.0 * EPS * y.abs()
    });
}

#[test]
fn activations_and_slopes() {
    for kind in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
        // Twice the rounding of the largest intermediate value, which is x or 1.
        check(
            "value",
            &|p, x| over!(p, x, |v| activate(kind, v)),
            &|x| {
                if x < -1e9 {
                    0.0
                } else {
                    math::activation(kind, x)
                }
            },
            &|y| 2.0 * EPS * y.abs().max(1.0),
        );
        for path in Path::all() {
            for x in (-800..800).map(|i| i as f32 / 50.0) {
                let alone = over!(path, [x; LANES], |v| activate(kind, v));
                let beside = over!(path, [x; LANES], |v| activate_and_slope(kind, v).0);
                assert_eq!(alone, beside, "{kind:?} {x}");
            }
        }
        check(
            "slope",
            &|p, x| over!(p, x, |v| activate_and_slope(kind, v).1),
            &|x| {
                if x < -1e9 {
                    0.0
                } else {
                    math::activation_derivative(kind, x)
                }
            },
            // 1 + tanh cancels where tanh nears −1, and x multiplies what is left.
            &|_| 6.0 * EPS,
        );
    }
}

/// The sum that a vector promises of its lanes.
fn in_order(x: &[f32]) -> f32 {
    match x.len() {
        8 => ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7])),
        n => {
            let (low, high) = x.split_at(n / 2);
            let halves: Vec<f32> = low.iter().zip(high).map(|(a, b)| a + b).collect();
            in_order(&halves)
        }
    }
}

#[test]
fn lane_arithmetic() {
    let eight = [1.5f32, -2.0, 3.25, 0.0, -0.5, 2.5, 1e6, -7.75];
    let a: [f32; LANES] = std::array::from_fn(|i| eight[i % 8] * if i < 8 { 1.0 } else { 3.0 });
    let powers = [-126.0, 0.0, 1.0, 127.0, 3.0, -1.0, 2.0, 10.0];
    let powers: [f32; LANES] = std::array::from_fn(|i| powers[i % 8]);
    for path in Path::all() {
        let rounded = over!(path, a, Vector::round);
        assert_eq!(rounded, a.map(f32::round_ties_even), "{path:?}");
        let two = over!(path, powers, Vector::exp2_integral);
        assert_eq!(two, powers.map(|n| 2f32.powi(n as i32)), "{path:?}");
        let signed = over!(path, a, |v| V::with_sign_of(v, V::splat(-1.0)));
        assert_eq!(signed, a.map(|x| -x.abs()), "{path:?}");
        dispatch!(path, V => {
            for lanes in V::chunks(&a).0 {
                let v = V::load(lanes);
                assert_eq!(v.sum(), in_order(lanes.as_ref()), "{path:?}");
                let most = lanes.iter().copied().fold(f32::MIN, f32::max);
                assert_eq!(v.largest(), most, "{path:?}");
                let mut less = V::ZEROS;
                let zero = V::splat(0.0);
                v.where_less(v, zero, V::splat(9.0)).store(&mut less);
                for (got, x) in less.iter().zip(lanes) {
                    assert_eq!(*got, if *x < 0.0 { *x } else { 9.0 }, "{path:?}");
                }
            }
        });
    }
}

#[test]
fn squares_turn() {
    for path in Path::all() {
        let at = |i: usize, j: usize| (10 * i + j) as f32;
        let rows: [[f32; SIDE]; SIDE] = std::array::from_fn(|i| std::array::from_fn(|j| at(i, j)));
        let mut turned = [[0.0; SIDE]; SIDE];
        dispatch!(path, V => {
            type Eight = <V as Vector>::Eight;
            let columns = Eight::transpose(rows.map(|row| Eight::load(&row)));
            for (column, out) in columns.into_iter().zip(&mut turned) {
                column.store(out);
            }
        });
        for (i, row) in turned.iter().enumerate() {
            for (j, x) in row.iter().enumerate() {
                assert_eq!(*x, at(j, i), "{path:?}");
            }
        }
    }
}

#[test]
fn masks_are_philox_word_for_word() {
    for path in Path::all() {
        for (key, per_row, counter) in [
            ([1, 2], 1, [4, 5]),
            ([1, 2], 2, [4, 5]),
            ([1, 2], 5, [4, 5]),
            ([1, 2], 12, [4, 5]),
            ([u32::MAX, 7], u32::MAX, [u32::MAX, 9]),
        ] {
            let first = Block {
                row: 6,
                block: per_row.min(1000) - 1,
                per_row,
            };
            for threshold in [1u32, 1 << 29, 1 << 31, u32::MAX] {
                let mut x = [2.0f32; 32];
                dispatch!(path, V => V::keep32(key, first, counter, threshold, V::splat(3.0), &mut x));
                for (c, x) in x.iter().enumerate() {
                    let block = u64::from(first.block) + c as u64 / 4;
                    let (row, block) = (block / u64::from(per_row), block % u64::from(per_row));
                    let at = [block as u32, 6 + row as u32, counter[0], counter[1]];
                    let word = Philox::with_key(key).at(at)[c % 4];
                    assert_eq!(*x, if word < threshold { 0.0 } else { 6.0 }, "channel {c}");
                }
            }
        }
    }
}
