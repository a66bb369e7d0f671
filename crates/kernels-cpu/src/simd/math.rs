//! exp, tanh and the activations over lanes.

use super::Vector;
use hone_kernels::Activation;

/// eˣ to about one unit in the last place; 0 below −87.3 and the largest power there is above 88.3. What is no number
/// stays none: bounds stand left, since `min` and `max` answer with the right operand then.
#[inline(always)]
pub fn exp<V: Vector>(x: V) -> V {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts: n times the first is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const LOWEST: f32 = -87.3;
    let clamped = V::splat(LOWEST).max(V::splat(88.3).min(x));
    let n = clamped.mul(V::splat(LOG2_E)).round();
    let r = n.mul_add(V::splat(-LN2_HIGH), clamped);
    let r = n.mul_add(V::splat(-LN2_LOW), r);
    // Taylor to the seventh power: the rest is below 6e-9 for |r| ≤ ln 2 / 2.
    let mut p = V::splat(1.0 / 5040.0);
    for c in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        p = p.mul_add(r, V::splat(c));
    }
    V::splat(0.0).where_less(x, V::splat(LOWEST), p.mul(n.exp2_integral()))
}

/// tanh x. Small arguments take the Taylor series, where 1 − 2/(e²ˣ + 1) would cancel.
#[inline(always)]
pub fn tanh<V: Vector>(x: V) -> V {
    let size = V::with_sign_of(x, V::splat(1.0));
    let e = exp(size.add(size));
    let one = V::splat(1.0);
    let far = one.sub(V::splat(2.0).div(e.add(one)));
    let s = size.mul(size);
    let mut near = V::splat(-1382.0 / 155_925.0);
    for c in [62.0 / 2835.0, -17.0 / 315.0, 2.0 / 15.0, -1.0 / 3.0, 1.0] {
        near = near.mul_add(s, V::splat(c));
    }
    let near = near.mul(size);
    V::with_sign_of(near.where_less(size, V::splat(0.25), far), x)
}

/// Φ(x) and e^(−x²/2), which share an exponential.
///
/// erfc(z)·e^(z²) is a polynomial in t = 1/(1 + 0.39 z), fitted over z ≥ 0 by iteratively reweighted least
/// squares against scipy's `erfcx`: erf is within 8.3e-9 before rounding.
#[inline(always)]
fn normal<V: Vector>(x: V) -> (V, V) {
    const FIT: [f32; 6] = [
        -0.227_537_27,
        0.886_665,
        -0.635_401_3,
        0.649_560_2,
        0.091_388_084,
        0.235_325_27,
    ];
    let one = V::splat(1.0);
    let half = V::splat(0.5);
    let size = V::with_sign_of(x, one);
    let t = one.div(size.mul_add(V::splat(0.39 * std::f32::consts::FRAC_1_SQRT_2), one));
    let bell = exp(x.mul(x).mul(V::splat(-0.5)));
    let mut p = V::splat(FIT[0]);
    for c in &FIT[1..] {
        p = p.mul_add(t, V::splat(*c));
    }
    // Half the upper tail: ½·erfc(|x|/√2).
    let tail = p.mul(t).mul(bell).mul(half);
    let cdf = tail.where_less(x, V::splat(0.0), one.sub(tail));
    (cdf, bell)
}

const DENSITY: f32 = 0.398_942_3;
const TANH_SCALE: f32 = 0.797_884_6;
const TANH_CUBIC: f32 = 0.044_715;

/// The activation's value.
#[inline(always)]
pub fn activate<V: Vector>(kind: Activation, x: V) -> V {
    match kind {
        Activation::Gelu => normal(x).0.mul(x),
        Activation::GeluTanh => {
            let half = V::splat(0.5).mul(x);
            half.mul_add(tanh(inner(x)), half)
        }
        Activation::Relu => V::splat(0.0).max(x),
    }
}

#[inline(always)]
fn inner<V: Vector>(x: V) -> V {
    let cubic = x.mul(x).mul(V::splat(TANH_CUBIC));
    cubic.mul_add(x, x).mul(V::splat(TANH_SCALE))
}

/// The activation's value, the bits of [`activate`], and its derivative; relu's is 0 at 0.
#[inline(always)]
pub fn activate_and_slope<V: Vector>(kind: Activation, x: V) -> (V, V) {
    match kind {
        Activation::Gelu => {
            let (cdf, bell) = normal(x);
            let slope = x.mul(V::splat(DENSITY)).mul_add(bell, cdf);
            (cdf.mul(x), slope)
        }
        Activation::GeluTanh => {
            let (one, half) = (V::splat(1.0), V::splat(0.5));
            let half_x = half.mul(x);
            let t = tanh(inner(x));
            let rate = x.mul(x).mul_add(
                V::splat(3.0 * TANH_CUBIC * TANH_SCALE),
                V::splat(TANH_SCALE),
            );
            let steep = one.sub(t.mul(t)).mul(rate).mul(x).mul(half);
            (half_x.mul_add(t, half_x), half.mul_add(t, half).add(steep))
        }
        Activation::Relu => {
            let zero = V::splat(0.0);
            (zero.max(x), V::splat(1.0).where_less(zero, x, zero))
        }
    }
}
