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

/// `d = d · f(x)` over a piece.
#[inline(always)]
fn scale<V: Vector>(x: &[f32], d: &mut [f32], f: impl Fn(V) -> V) {
    let (x8, x_rest) = x.as_chunks::<LANES>();
    let (d8, d_rest) = d.as_chunks_mut::<LANES>();
    for (x, d) in x8.iter().zip(d8) {
        V::load(d).mul(f(V::load(x))).store(d);
    }
    if !x_rest.is_empty() {
        let mut lanes = [0.0; LANES];
        lanes[..x_rest.len()].copy_from_slice(x_rest);
        f(V::load(&lanes)).store(&mut lanes);
        for (d, f) in d_rest.iter_mut().zip(lanes) {
            *d *= f;
        }
    }
}

/// `y = activation(pre)` over a piece, on the calling thread: what a product's epilogue runs on a hot tile.
pub fn activate_piece(path: Path, kind: Activation, pre: &[f32], y: &mut [f32]) {
    match kind {
        Activation::Gelu => {
            dispatch!(path, V => map::<V>(pre, y, #[inline(always)] |x| activate(Activation::Gelu, x)))
        }
        Activation::GeluTanh => {
            dispatch!(path, V => map::<V>(pre, y, #[inline(always)] |x| activate(Activation::GeluTanh, x)))
        }
        Activation::Relu => {
            dispatch!(path, V => map::<V>(pre, y, #[inline(always)] |x| activate(Activation::Relu, x)))
        }
    }
}

/// `d ← d · activation′(pre)` over a piece, on the calling thread.
pub fn slope_piece(path: Path, kind: Activation, pre: &[f32], d: &mut [f32]) {
    match kind {
        Activation::Gelu => {
            dispatch!(path, V => scale::<V>(pre, d, #[inline(always)] |x| slope(Activation::Gelu, x)))
        }
        Activation::GeluTanh => {
            dispatch!(path, V => scale::<V>(pre, d, #[inline(always)] |x| slope(Activation::GeluTanh, x)))
        }
        Activation::Relu => {
            dispatch!(path, V => scale::<V>(pre, d, #[inline(always)] |x| slope(Activation::Relu, x)))
        }
    }
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
        activate_piece(path, kind, &pre[k * n..][..y.len()], y);
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
