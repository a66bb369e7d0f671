//! Lanes against scalars, on every path.

use super::*;
use crate::path::Path;
use hone_kernels::{Activation, math};
use hone_tensor::Philox;

/// Applies a vector function to one array on a path.
macro_rules! over {
    ($path:expr, $x:expr, $f:expr) => {{
        let x: [f32; LANES] = $x;
        let mut out = [0.0f32; LANES];
        dispatch!($path, V => $f(V::load(&x)).store(&mut out));
        out
    }};
}

fn grid() -> Vec<[f32; LANES]> {
    let x: Vec<f32> = (-4000..4000).map(|i| i as f32 * 0.0031 + 0.0007).collect();
    let mut all: Vec<[f32; LANES]> = x.as_chunks::<LANES>().0.to_vec();
    all.push([-1e15, -104.0, -87.31, 88.0, 1e-20, -1e-20, 0.0, -0.0]);
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

#[test]
fn lane_arithmetic() {
    let a = [1.5f32, -2.0, 3.25, 0.0, -0.5, 2.5, 1e10, -7.75];
    for path in Path::all() {
        assert_eq!(
            over!(path, a, Vector::round),
            [2.0, -2.0, 3.0, 0.0, -0.0, 2.0, 1e10, -8.0].map(|x: f32| {
                if path == Path::Portable && x == 1e10 {
                    1e10
                } else {
                    x
                }
            })
        );
        assert_eq!(
            over!(
                path,
                [-126.0, 0.0, 1.0, 127.0, 3.0, -1.0, 2.0, 10.0],
                Vector::exp2_integral
            )[..4],
            [f32::MIN_POSITIVE, 1.0, 2.0, 2f32.powi(127)]
        );
        let sum = dispatch!(path, V => V::load(&a).sum());
        assert_eq!(
            sum,
            ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
        );
        assert_eq!(dispatch!(path, V => V::load(&a).largest()), 1e10);
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
