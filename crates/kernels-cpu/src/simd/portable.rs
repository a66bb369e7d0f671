//! The portable path: an array of eight, in plain Rust.

use super::{Block, SIDE, Square, Vector, lanes};
use hone_tensor::Philox;

const LANES: usize = 8;

/// Eight f32 in an array.
#[derive(Debug, Clone, Copy)]
pub struct Portable([f32; LANES]);

macro_rules! each {
    ($a:expr, $b:expr, $f:expr) => {{
        let (a, b) = ($a.0, $b.0);
        let mut out = [0.0; LANES];
        for i in 0..LANES {
            out[i] = $f(a[i], b[i]);
        }
        Portable(out)
    }};
}

impl Vector for Portable {
    lanes!(8);
    type Eight = Portable;
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Portable([x; LANES])
    }
    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        Portable(*from)
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        *to = self.0;
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        each!(self, other, |a: f32, b: f32| a + b)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        each!(self, other, |a: f32, b: f32| a - b)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        each!(self, other, |a: f32, b: f32| a * b)
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        each!(self, other, |a: f32, b: f32| a / b)
    }
    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        self.mul(by).add(plus)
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        each!(self, other, |a: f32, b: f32| if a < b { a } else { b })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        each!(self, other, |a: f32, b: f32| if a > b { a } else { b })
    }
    #[inline(always)]
    fn round(self) -> Self {
        let mut out = self.0;
        for x in &mut out {
            // Adding and taking away 1.5·2²³ leaves the nearest integer for |x| below 2²².
            const MAGIC: f32 = 12_582_912.0;
            *x = (*x + MAGIC) - MAGIC;
        }
        Portable(out)
    }
    #[inline(always)]
    fn exp2_integral(self) -> Self {
        let mut out = self.0;
        for x in &mut out {
            *x = f32::from_bits(((*x as i32 + 127) as u32) << 23);
        }
        Portable(out)
    }
    #[inline(always)]
    fn where_less(self, a: Self, b: Self, other: Self) -> Self {
        let mut out = other.0;
        for i in 0..LANES {
            if a.0[i] < b.0[i] {
                out[i] = self.0[i];
            }
        }
        Portable(out)
    }
    #[inline(always)]
    fn with_sign_of(magnitude: Self, sign: Self) -> Self {
        each!(magnitude, sign, |m: f32, s: f32| m.copysign(s))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        let x = self.0;
        ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        let mut best = self.0[0];
        for x in self.0 {
            if x > best {
                best = x;
            }
        }
        best
    }
    #[inline(always)]
    fn keep32(
        key: [u32; 2],
        first: Block,
        counter: [u32; 2],
        threshold: u32,
        scale: Self,
        x: &mut [f32; 32],
    ) {
        let philox = Philox::with_key(key);
        for b in 0..8 {
            let at = first.plus(b as u32);
            let words = philox.at([at.block, at.row, counter[0], counter[1]]);
            for k in 0..4 {
                x[4 * b + k] *= if words[k] < threshold {
                    0.0
                } else {
                    scale.0[0]
                };
            }
        }
    }
}

impl Square for Portable {
    #[inline(always)]
    fn transpose(rows: [Self; SIDE]) -> [Self; SIDE] {
        let mut out = [Portable([0.0; SIDE]); SIDE];
        for i in 0..SIDE {
            for j in 0..SIDE {
                out[i].0[j] = rows[j].0[i];
            }
        }
        out
    }
}
