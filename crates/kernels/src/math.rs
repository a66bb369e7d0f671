//! Scalar arithmetic the reference is generic over, and the activations' formulas.

use crate::Activation;
use hone_tensor::Real;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

/// f32 or f64 with the functions BERT needs.
pub trait Scalar:
    Real
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
{
    /// eˣ.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Error function.
    fn erf(self) -> Self;
    /// `self` to the power of `exponent`.
    fn powf(self, exponent: Self) -> Self;
    /// Shorthand of [`Real::from_f64`].
    fn of(x: f64) -> Self {
        Self::from_f64(x)
    }
}

macro_rules! scalar {
    ($t:ty, $erf:path) => {
        impl Scalar for $t {
            fn exp(self) -> Self {
                self.exp()
            }
            fn ln(self) -> Self {
                self.ln()
            }
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            fn tanh(self) -> Self {
                self.tanh()
            }
            fn erf(self) -> Self {
                $erf(self)
            }
            fn powf(self, exponent: Self) -> Self {
                self.powf(exponent)
            }
        }
    };
}
scalar!(f32, libm::erff);
scalar!(f64, libm::erf);

const SQRT_HALF: f64 = std::f64::consts::FRAC_1_SQRT_2;
/// 1/√(2π).
const DENSITY: f64 = 0.398_942_280_401_432_7;
/// √(2/π).
const TANH_SCALE: f64 = 0.797_884_560_802_865_4;
const TANH_CUBIC: f64 = 0.044_715;

/// The activation's value.
pub fn activation<F: Scalar>(kind: Activation, x: F) -> F {
    let half = F::of(0.5);
    let one = F::of(1.0);
    match kind {
        Activation::Gelu => half * x * (one + (x * F::of(SQRT_HALF)).erf()),
        Activation::GeluTanh => {
            let inner = F::of(TANH_SCALE) * (x + F::of(TANH_CUBIC) * x * x * x);
            half * x * (one + inner.tanh())
        }
        Activation::Relu => {
            // What is no number stays none.
            if x <= F::of(0.0) { F::of(0.0) } else { x }
        }
    }
}

/// The activation's derivative; relu's is 0 at 0.
pub fn activation_derivative<F: Scalar>(kind: Activation, x: F) -> F {
    let half = F::of(0.5);
    let one = F::of(1.0);
    match kind {
        Activation::Gelu => {
            half * (one + (x * F::of(SQRT_HALF)).erf()) + x * F::of(DENSITY) * (-half * x * x).exp()
        }
        Activation::GeluTanh => {
            let inner = F::of(TANH_SCALE) * (x + F::of(TANH_CUBIC) * x * x * x);
            let t = inner.tanh();
            let slope = F::of(TANH_SCALE) * (one + F::of(3.0 * TANH_CUBIC) * x * x);
            half * (one + t) + half * x * (one - t * t) * slope
        }
        Activation::Relu => {
            if x > F::of(0.0) {
                one
            } else {
                F::of(0.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_match_finite_differences() {
        for kind in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
            for k in -40..40 {
                let x = k as f64 * 0.17 + 0.013;
                let h = 1e-6;
                let numeric = (activation(kind, x + h) - activation(kind, x - h)) / (2.0 * h);
                let exact = activation_derivative(kind, x);
                assert!(
                    (numeric - exact).abs() < 1e-8,
                    "{kind:?} at {x}: {numeric} {exact}"
                );
            }
        }
    }

    #[test]
    fn gelu_known_values() {
        // scipy: x * scipy.stats.norm.cdf(x)
        assert!((activation(Activation::Gelu, 1.0f64) - 0.841_344_746_068_542_9).abs() < 1e-15);
        assert!((activation(Activation::Gelu, -2.0f64) + 0.045_500_263_896_358_41).abs() < 1e-15);
    }
}
