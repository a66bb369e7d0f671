//! Lanes of f32: operations are written once over [`Vector`] and compiled for each path.
//!
//! A kernel's inner loop is a generic `#[inline(always)]` function; [`dispatch!`] compiles it inside a
//! function that has the path's target features. Bits depend on the path alone: it has a fixed number of lanes,
//! and every sum over them is taken in one fixed order.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod math;
mod portable;

#[cfg(target_arch = "x86_64")]
pub use avx2::{Avx2, transpose8, with_avx2};
#[cfg(target_arch = "x86_64")]
pub use avx512::{Avx512, with_avx512};
pub use math::{activate, activate_and_slope, exp, tanh};
pub use portable::Portable;

/// Lanes of the widest [`Vector`]: a multiple of every path's number.
pub const MOST_LANES: usize = 16;
/// Rows and columns of a [`Square`].
pub const SIDE: usize = 8;

/// Where in rows of draws one begins.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    /// Row.
    pub row: u32,
    /// Block in it, below `per_row`.
    pub block: u32,
    /// Blocks of a row, 1 at least; `u32::MAX` where there is one row.
    pub per_row: u32,
}

impl Block {
    /// So many blocks further on.
    #[inline(always)]
    pub fn plus(self, blocks: u32) -> Block {
        let mut next = Block {
            block: self.block + blocks,
            ..self
        };
        while next.block >= next.per_row {
            next.block -= next.per_row;
            next.row += 1;
        }
        next
    }
}

/// Some f32 in a register, or in an array that stands for one.
///
/// Methods that take pointers are unsafe for the usual reason; all methods of a path's type may only be
/// called inside that path's [`dispatch!`].
pub trait Vector: Copy {
    /// How many.
    const LANES: usize;
    /// An array of so many.
    type Lanes: Copy + AsRef<[f32]> + AsMut<[f32]>;
    /// One of zeros.
    const ZEROS: Self::Lanes;
    /// Vectors of the same path that can be turned.
    type Eight: Square;
    /// Whole arrays of a slice, and what is left behind them.
    fn chunks(x: &[f32]) -> (&[Self::Lanes], &[f32]);
    /// The same to write to.
    fn chunks_mut(x: &mut [f32]) -> (&mut [Self::Lanes], &mut [f32]);
    /// One value in all lanes.
    fn splat(x: f32) -> Self;
    /// From an array.
    fn load(from: &Self::Lanes) -> Self;
    /// To an array.
    fn store(self, to: &mut Self::Lanes);
    /// Lane by lane.
    fn add(self, other: Self) -> Self;
    /// Lane by lane.
    fn sub(self, other: Self) -> Self;
    /// Lane by lane.
    fn mul(self, other: Self) -> Self;
    /// Lane by lane.
    fn div(self, other: Self) -> Self;
    /// `self · by + plus`; rounded once where the path has fused multiply-add.
    fn mul_add(self, by: Self, plus: Self) -> Self;
    /// Lane by lane; `other` where either is no number.
    fn min(self, other: Self) -> Self;
    /// Lane by lane; `other` where either is no number.
    fn max(self, other: Self) -> Self;
    /// To the nearest integer, ties to even; |self| below 2²².
    fn round(self) -> Self;
    /// 2 to the power of integral lanes from −126 to 127.
    fn exp2_integral(self) -> Self;
    /// `self` where `a < b`, else `other`.
    fn where_less(self, a: Self, b: Self, other: Self) -> Self;
    /// Sign of `self`, magnitude of `magnitude`.
    fn with_sign_of(magnitude: Self, sign: Self) -> Self;
    /// ((0+4)+(2+6))+((1+5)+(3+7)) of eight; of sixteen, lanes eight apart are added first.
    fn sum(self) -> f32;
    /// The largest lane.
    fn largest(self) -> f32;
    /// Multiplies `x` by the dropout mask of eight blocks of four neighbours: zero where the draw is below
    /// `threshold`, `scale` elsewhere. Element 4b + k is word k of Philox at `[block, row, c2, c3]`; blocks count
    /// on from `first`, and behind the last of a row's comes the first of the next row.
    fn keep32(
        key: [u32; 2],
        first: Block,
        counter: [u32; 2],
        threshold: u32,
        scale: Self,
        x: &mut [f32; 32],
    );
}

/// Eight lanes, of which eight rows are a square.
pub trait Square: Vector<Lanes = [f32; SIDE]> {
    /// Rows become columns: lane `j` of `out[i]` is lane `i` of `rows[j]`.
    fn transpose(rows: [Self; SIDE]) -> [Self; SIDE];
}

/// The methods of a [`Vector`] that its number of lanes decides.
macro_rules! lanes {
    ($n:literal) => {
        const LANES: usize = $n;
        type Lanes = [f32; $n];
        const ZEROS: [f32; $n] = [0.0; $n];
        #[inline(always)]
        fn chunks(x: &[f32]) -> (&[[f32; $n]], &[f32]) {
            x.as_chunks()
        }
        #[inline(always)]
        fn chunks_mut(x: &mut [f32]) -> (&mut [[f32; $n]], &mut [f32]) {
            x.as_chunks_mut()
        }
    };
}
use lanes;

/// Runs `$body` with `$V` naming the path's vector type, compiled with the path's target features.
macro_rules! dispatch {
    ($path:expr, $V:ident => $body:expr) => {
        match $path {
            $crate::path::Path::Portable => {
                type $V = $crate::simd::Portable;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::path::Path::Avx2 => {
                type $V = $crate::simd::Avx2;
                $crate::simd::with_avx2(
                    #[inline(always)]
                    || $body,
                )
            }
            #[cfg(target_arch = "x86_64")]
            $crate::path::Path::Avx512 | $crate::path::Path::Avx512Bf16 => {
                type $V = $crate::simd::Avx512;
                $crate::simd::with_avx512(
                    #[inline(always)]
                    || $body,
                )
            }
            #[cfg(not(target_arch = "x86_64"))]
            $crate::path::Path::Avx2
            | $crate::path::Path::Avx512
            | $crate::path::Path::Avx512Bf16 => {
                type $V = $crate::simd::Portable;
                $body
            }
        }
    };
}
pub(crate) use dispatch;

#[cfg(test)]
mod tests;
