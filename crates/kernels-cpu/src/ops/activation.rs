//! The feed-forward's nonlinearity and the pooler's tanh.

use super::LEAST_ELEMENTS;
use crate::path::Path;
use crate::simd::{LANES, Vector, activate, dispatch, slope, tanh};
use crate::team::{Parts, Team};
use hone_kernels::Activation;

/// `y = f(x)` over a piece.
#[inline(always)]
fn map<V: Vector>(x: &[f32], y: &mut [f32], f: impl Fn(V) -> V) {
    let (x8, x_rest) = x.as_chunks::<LANES>();
    let (y8, y_rest) = y.as_chunks_mut::<LANES>();
    for (x, y) in x8.iter().zip(y8) {
        f(V::load(x)).store(y);
    }
    if !x_rest.is_empty() {
        let mut lanes = [0.0; LANES];
        lanes[..x_rest.len()].copy_from_slice(x_rest);
        let got = f(V::load(&lanes));
        got.store(&mut lanes);
        y_rest.copy_from_slice(&lanes[..x_rest.len()]);
    }
}

/// `out = f(x, out)` over a tile, `size.0` rows of `size.1` elements at one distance in both matrices.
///
/// # Safety
/// Both tiles exist, and nobody else has access to the second meanwhile.
#[inline(always)]
unsafe fn tile<V: Vector>(
    x: *const f32,
    out: *mut f32,
    stride: usize,
    size: (usize, usize),
    f: impl Fn(V, V) -> V,
) {
    let whole = size.1 / LANES * LANES;
    for r in 0..size.0 {
        for c in (0..whole).step_by(LANES) {
            // SAFETY: eight elements of row r of both tiles, from column c on.
            let (x, out) = unsafe {
                (
                    &*x.add(r * stride + c).cast::<[f32; LANES]>(),
                    &mut *out.add(r * stride + c).cast::<[f32; LANES]>(),
                )
            };
            f(V::load(x), V::load(out)).store(out);
        }
        for c in whole..size.1 {
            // SAFETY: one element of row r of both tiles.
            let (x, out) = unsafe { (*x.add(r * stride + c), &mut *out.add(r * stride + c)) };
            let mut lane = [0.0; LANES];
            f(V::splat(x), V::splat(*out)).store(&mut lane);
            *out = lane[0];
        }
    }
}

/// Calls `$run` with the function of `(x, out)` that `$kind` stands for in `$f`: a function that is known
/// when it is compiled, so that eight lanes go through it without a branch.
macro_rules! each_kind {
    ($kind:expr, $f:ident, |$x:ident, $out:ident, $y:ident| $value:expr, $run:ident) => {
        match $kind {
            Activation::Gelu => $run!(
                #[inline(always)]
                |$x, $out| {
                    let $y = $f(Activation::Gelu, $x);
                    $value
                }
            ),
            Activation::GeluTanh => $run!(
                #[inline(always)]
                |$x, $out| {
                    let $y = $f(Activation::GeluTanh, $x);
                    $value
                }
            ),
            Activation::Relu => $run!(
                #[inline(always)]
                |$x, $out| {
                    let $y = $f(Activation::Relu, $x);
                    $value
                }
            ),
        }
    };
}

/// `y = activation(pre)` over a tile, on the calling thread: what a product's epilogue runs while a tile is
/// hot. One call for the whole tile, since its rows overlap in the processor and calls would keep them apart.
///
/// # Safety
/// `pre` and `y` each reach `size.0` rows of `size.1` elements, `stride` apart; nobody else has access to
/// those of `y` meanwhile.
pub unsafe fn activate_tile(
    path: Path,
    kind: Activation,
    pre: *const f32,
    y: *mut f32,
    stride: usize,
    size: (usize, usize),
) {
    macro_rules! run {
        ($($f:tt)*) => {
            // SAFETY: handed on from the caller.
            dispatch!(path, V => unsafe { tile::<V>(pre, y, stride, size, $($f)*) })
        };
    }
    each_kind!(kind, activate, |x, _out, y| y, run);
}

/// `d ← d · activation′(pre)` over a tile, on the calling thread.
///
/// # Safety
/// As [`activate_tile`], with `d` for `y`.
pub unsafe fn slope_tile(
    path: Path,
    kind: Activation,
    pre: *const f32,
    d: *mut f32,
    stride: usize,
    size: (usize, usize),
) {
    macro_rules! run {
        ($($f:tt)*) => {
            // SAFETY: handed on from the caller.
            dispatch!(path, V => unsafe { tile::<V>(pre, d, stride, size, $($f)*) })
        };
    }
    each_kind!(kind, slope, |x, d, y| d.mul(y), run);
}

/// Whole vectors per chunk, so that which elements share a register does not depend on the cut.
fn chunk(team: &Team, len: usize) -> usize {
    team.chunk_len(len, LEAST_ELEMENTS).next_multiple_of(LANES)
}

/// See [`hone_kernels::Backend::activation`].
pub fn forward(team: &Team, path: Path, kind: Activation, pre: &[f32], y: &mut [f32]) {
    assert_eq!(pre.len(), y.len(), "activation");
    let n = chunk(team, y.len());
    team.chunks_mut(y, n, &|k, y| {
        let pre = &pre[k * n..][..y.len()];
        // SAFETY: one row as long as both slices.
        unsafe { activate_tile(path, kind, pre.as_ptr(), y.as_mut_ptr(), 0, (1, y.len())) };
    });
}

/// See [`hone_kernels::Backend::tanh`].
pub fn tanh_forward(team: &Team, path: Path, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "tanh");
    let n = chunk(team, y.len());
    team.chunks_mut(y, n, &|k, y| {
        let x = &x[k * n..][..y.len()];
        // A closure, since only closures can be told to inline into the path's function.
        #[allow(clippy::redundant_closure)]
        let () = dispatch!(path, V => map::<V>(x, y, #[inline(always)] |x| tanh(x)));
    });
}

/// See [`hone_kernels::Backend::tanh_backward`].
pub fn tanh_backward(team: &Team, y: &[f32], d: &mut [f32]) {
    assert_eq!(y.len(), d.len(), "tanh_backward");
    let n = chunk(team, d.len());
    let parts = Parts::new(d);
    team.run(y.len().div_ceil(n), &|k| {
        let range = k * n..((k + 1) * n).min(y.len());
        // SAFETY: chunks are disjoint, and each runs once.
        let d = unsafe { parts.range(range.clone()) };
        for (d, &y) in d.iter_mut().zip(&y[range]) {
            *d *= 1.0 - y * y;
        }
    });
}
