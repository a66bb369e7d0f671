//! The feed-forward's nonlinearity and the pooler's tanh.

use super::LEAST_ELEMENTS;
use crate::gemm::Epilogue;
use crate::path::Path;
use crate::simd::{MOST_LANES, Vector, activate, activate_and_slope, dispatch, tanh};
use crate::team::{Parts, Team};
use hone_kernels::Activation;

/// `y = f(x)` over a piece.
#[inline(always)]
fn map<V: Vector>(x: &[f32], y: &mut [f32], f: impl Fn(V) -> V) {
    let (x8, x_rest) = V::chunks(x);
    let (y8, y_rest) = V::chunks_mut(y);
    for (x, y) in x8.iter().zip(y8) {
        f(V::load(x)).store(y);
    }
    if !x_rest.is_empty() {
        let mut lanes = V::ZEROS;
        lanes.as_mut()[..x_rest.len()].copy_from_slice(x_rest);
        let got = f(V::load(&lanes));
        got.store(&mut lanes);
        y_rest.copy_from_slice(&lanes.as_ref()[..x_rest.len()]);
    }
}

/// Calls `each(at, n)` for every vector of a tile: `n` elements, as many as lanes or (at the end of a row) fewer, `at`
/// elements behind the tile's first.
#[inline(always)]
fn vectors<V: Vector>(stride: usize, size: (usize, usize), mut each: impl FnMut(usize, usize)) {
    let whole = size.1 / V::LANES * V::LANES;
    for r in 0..size.0 {
        for c in (0..whole).step_by(V::LANES) {
            each(r * stride + c, V::LANES);
        }
        if whole < size.1 {
            each(r * stride + whole, size.1 - whole);
        }
    }
}

/// Up to as many elements as lanes; zeros behind them.
///
/// # Safety
/// `n` elements lie at `from`.
#[inline(always)]
unsafe fn load<V: Vector>(from: *const f32, n: usize) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        if n == V::LANES {
            return V::load(&*from.cast());
        }
        let mut lanes = V::ZEROS;
        lanes.as_mut()[..n].copy_from_slice(std::slice::from_raw_parts(from, n));
        V::load(&lanes)
    }
}

/// The first `n` lanes.
///
/// # Safety
/// `n` elements lie at `to`, and nobody else has access to them.
#[inline(always)]
unsafe fn store<V: Vector>(x: V, to: *mut f32, n: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if n == V::LANES {
            return x.store(&mut *to.cast());
        }
        let mut lanes = V::ZEROS;
        x.store(&mut lanes);
        std::slice::from_raw_parts_mut(to, n).copy_from_slice(&lanes.as_ref()[..n]);
    }
}

/// Calls `$run` with the function of x that `$f` is for `$kind`: known when it is compiled, so that lanes go through
/// it without a branch.
macro_rules! each_kind {
    ($kind:expr, $f:ident, $run:ident) => {
        match $kind {
            Activation::Gelu => $run!(|x| $f(Activation::Gelu, x)),
            Activation::GeluTanh => $run!(|x| $f(Activation::GeluTanh, x)),
            Activation::Relu => $run!(|x| $f(Activation::Relu, x)),
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
        (|$x:ident| $value:expr) => {
            dispatch!(path, V => vectors::<V>(
                stride,
                size,
                #[inline(always)]
                |at, n| {
                    // SAFETY: `n` elements from `at` on belong to the tile, in both matrices.
                    unsafe {
                        let $x = load::<V>(pre.add(at), n);
                        store($value, y.add(at), n);
                    }
                },
            ))
        };
    }
    each_kind!(kind, activate, run);
}

/// `d ← d · activation′(pre)` and, where it is wanted, `y = activation(pre)` over a tile, on the calling thread.
///
/// # Safety
/// As [`activate_tile`], for `d` as for `y`.
pub unsafe fn slope_tile(
    path: Path,
    kind: Activation,
    pre: *const f32,
    d: *mut f32,
    y: Option<*mut f32>,
    stride: usize,
    size: (usize, usize),
) {
    macro_rules! run {
        (|$x:ident| $value:expr) => {
            dispatch!(path, V => vectors::<V>(
                stride,
                size,
                #[inline(always)]
                |at, n| {
                    // SAFETY: `n` elements from `at` on belong to the tile, in all three matrices.
                    unsafe {
                        let $x = load::<V>(pre.add(at), n);
                        let (value, slope) = $value;
                        store(load::<V>(d.add(at), n).mul(slope), d.add(at), n);
                        if let Some(y) = y {
                            store(value, y.add(at), n);
                        }
                    }
                },
            ))
        };
    }
    each_kind!(kind, activate_and_slope, run);
}

/// Whole vectors per chunk, so that which elements share a register does not depend on the cut.
fn chunk(team: &Team, len: usize) -> usize {
    team.chunk_len(len, LEAST_ELEMENTS)
        .next_multiple_of(MOST_LANES)
}

/// See [`hone_kernels::Backend::activation_backward`].
pub fn backward(team: &Team, path: Path, kind: Activation, pre: &[f32], d: &mut [f32]) {
    assert_eq!(pre.len(), d.len(), "activation_backward");
    let n = chunk(team, d.len());
    team.chunks_mut(d, n, &|k, d| {
        let pre = &pre[k * n..][..d.len()];
        // SAFETY: both are one row of as many elements, and `d` is this call's alone.
        unsafe {
            let size = (1, d.len());
            slope_tile(
                path,
                kind,
                pre.as_ptr(),
                d.as_mut_ptr(),
                None,
                d.len(),
                size,
            );
        }
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

/// Writes the activation of a hot tile of pre-activations to another matrix.
#[derive(Debug)]
pub struct Activate<'a> {
    /// The kernels.
    pub path: Path,
    /// Which activation.
    pub kind: Activation,
    /// Where the activation goes, of C's shape.
    pub y: Parts<'a, f32>,
    /// Columns of C.
    pub columns: usize,
}

impl Epilogue for Activate<'_> {
    fn beside(&self) -> [Option<*const f32>; 2] {
        [Some(self.y.as_ptr().cast_const()), None]
    }

    unsafe fn tile(&self, c: *mut f32, stride: usize, at: (usize, usize), size: (usize, usize)) {
        let start = at.0 * self.columns + at.1;
        // SAFETY: the caller's promise about c; y has the same shape, so its tiles are disjoint as c's are.
        unsafe {
            let y = self.y.as_ptr().add(start);
            activate_tile(self.path, self.kind, c, y, stride, size);
        }
    }
}

/// Multiplies a hot tile of gradients by the activation's derivative, and writes the activation once more.
#[derive(Debug)]
pub struct Slope<'a> {
    /// The kernels.
    pub path: Path,
    /// Which activation.
    pub kind: Activation,
    /// Pre-activations, of C's shape.
    pub pre: &'a [f32],
    /// Where the activation goes, of C's shape, if anywhere.
    pub y: Option<Parts<'a, f32>>,
    /// Columns of C.
    pub columns: usize,
}

impl Epilogue for Slope<'_> {
    fn beside(&self) -> [Option<*const f32>; 2] {
        let y = self.y.as_ref().map(|y| y.as_ptr().cast_const());
        [Some(self.pre.as_ptr()), y]
    }

    unsafe fn tile(&self, c: *mut f32, stride: usize, at: (usize, usize), size: (usize, usize)) {
        let start = at.0 * self.columns + at.1;
        let pre = &self.pre[start..];
        // SAFETY: the caller's promise about c; `pre` and y have the same shape, so tiles of y are disjoint as c's
        // are.
        unsafe {
            let y = self.y.as_ref().map(|y| y.as_ptr().add(start));
            slope_tile(self.path, self.kind, pre.as_ptr(), c, y, stride, size);
        }
    }
}
