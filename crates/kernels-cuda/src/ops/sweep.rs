//! Launches of sweep.cu.

use super::{FLAT_THREADS, flat_grid, u32_arg};
use crate::act::Act;
use crate::backend::CudaBackend;
use crate::driver::{Arg, Driver};
use crate::memory::{View, ViewMut, nothing};
use crate::step::Count;
use bytemuck::{Pod, Zeroable};
use hone_tensor::Element;
use std::ops::Range;

const FILE: &str = "sweep";
/// Elements whose squares a block sums: `CHUNK` of sweep.cu.
const CHUNK: usize = 4096;

/// Partial sums of a tensor's squared norm.
pub fn norm_chunks(len: usize) -> usize {
    len.div_ceil(CHUNK)
}

fn sum_partials<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    count: Count,
    partial: View<'_, f64>,
    out: ViewMut<'_, f64>,
) {
    let args = [
        b.step_arg(),
        Arg::U32(count.argument),
        partial.arg(),
        out.arg(),
    ];
    b.queue(FILE, "sum_partials", [1, 1, 1], [FLAT_THREADS, 1], &args);
}

/// `out[0] = Σ x²`.
pub fn squared_norm<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    x: View<'_, f32>,
    out: ViewMut<'_, f64>,
) {
    let chunks = norm_chunks(x.len);
    let mut scratch = b.scratch();
    let partial = scratch.norms(chunks);
    let args = [Arg::U64(x.len as u64), x.arg(), partial.arg()];
    let grid = [chunks as u32, 1, 1];
    b.queue(FILE, "squared_norm_partial", grid, [FLAT_THREADS, 1], &args);
    sum_partials(b, Count::fixed(chunks), partial, out);
}

/// `NormSpan` of sweep.cu.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct NormSpan {
    first: u64,
    len: u64,
    block: u32,
    out: u32,
}

/// Bytes of the table for so many spans.
pub fn span_bytes(spans: usize) -> usize {
    spans * size_of::<NormSpan>()
}

/// `out[k] = Σ x[span]²` for each `(span, k)`: two launches, however many there are. The bits of [`squared_norm`] of
/// each.
pub fn squared_norms<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    x: View<'_, f32>,
    spans: &[(Range<usize>, usize)],
    out: ViewMut<'_, f64>,
) {
    let mut blocks = 0;
    let mut table = Vec::with_capacity(spans.len());
    for (span, k) in spans {
        assert!(
            span.start <= span.end && span.end <= x.len && *k < out.len,
            "squared_norms: {span:?} of {} elements to {k} of {}",
            x.len,
            out.len
        );
        table.push(NormSpan {
            first: span.start as u64,
            len: span.len() as u64,
            block: blocks,
            out: *k as u32,
        });
        blocks += norm_chunks(span.len()) as u32;
    }
    if table.is_empty() {
        return;
    }
    let mut scratch = b.scratch();
    let Some(at) = b.spans(&mut scratch, bytemuck::cast_slice(&table), blocks as usize) else {
        return;
    };
    let partial = scratch.norms(blocks as usize);
    let (count, table) = (table.len(), Arg::Pointer(at, 'N'));
    let args = [u32_arg(count), table, x.arg(), partial.arg()];
    let block = [FLAT_THREADS, 1];
    b.queue(FILE, "squared_norms_partial", [blocks, 1, 1], block, &args);
    let args = [table, partial.arg(), out.arg()];
    let grid = [count as u32, 1, 1];
    b.queue(FILE, "squared_norms_join", grid, block, &args);
}

/// `out[0] = Σ x²` over the listed rows.
pub fn squared_norm_rows<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    x: View<'_, f32>,
    rows: View<'_, u32>,
    width: usize,
    out: ViewMut<'_, f64>,
) {
    let count = b.rows(rows.len);
    let mut scratch = b.scratch();
    let partial = scratch.norms(count.most);
    let args = [
        b.step_arg(),
        Arg::U32(count.argument),
        u32_arg(width),
        x.arg(),
        rows.arg(),
        partial.arg(),
    ];
    let grid = [count.most as u32, 1, 1];
    b.queue(FILE, "squared_norm_rows", grid, [FLAT_THREADS, 1], &args);
    sum_partials(b, count, partial, out);
}

/// See [`hone_kernels::Backend::clip_coefficient`].
pub fn clip_coefficient<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    squared: View<'_, f64>,
    max_norm: Option<f64>,
    out: ViewMut<'_, f64>,
) {
    let args = [
        u32_arg(squared.len),
        Arg::F64(max_norm.unwrap_or(f64::INFINITY)),
        squared.arg(),
        out.arg(),
    ];
    b.queue(
        FILE,
        "clip_coefficient",
        [1, 1, 1],
        [FLAT_THREADS, 1],
        &args,
    );
}

/// `y ← a·x + b·y`; `copy` is the address of y's rounded copy, where it has one.
pub fn axpby<D: Driver, A: Act>(
    backend: &CudaBackend<D, A>,
    a: f64,
    x: View<'_, f32>,
    b: f64,
    y: ViewMut<'_, f32>,
    copy: Option<ViewMut<'_, A>>,
) {
    assert_eq!(x.len, y.len, "axpby");
    let args = [
        Arg::U64(y.len as u64),
        Arg::F32(a as f32),
        x.arg(),
        Arg::F32(b as f32),
        y.arg(),
        copy.map_or(nothing::<A>(), |copy| copy.arg()),
    ];
    backend.queue(FILE, "axpby", flat_grid(y.len, 4), [FLAT_THREADS, 1], &args);
}

/// `copy ← x`, rounded.
pub fn round_copy<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    x: View<'_, f32>,
    copy: ViewMut<'_, A>,
) {
    let args = [Arg::U64(x.len as u64), x.arg(), copy.arg()];
    let grid = flat_grid(x.len, A::NUMBER.group());
    b.queue(FILE, "round_copy", grid, [FLAT_THREADS, 1], &args);
}

/// Writes one value everywhere, whatever its type: by its bytes.
pub fn fill<D: Driver, A: Act, T: Element>(b: &CudaBackend<D, A>, value: T, y: ViewMut<'_, T>) {
    let mut bytes = [0u8; 8];
    let of_value = bytemuck::bytes_of(&value);
    bytes[..of_value.len()].copy_from_slice(of_value);
    let word = u64::from_le_bytes(bytes);
    let (kernel, value, letter) = match of_value.len() {
        1 => ("fill_8", Arg::U32(word as u32), 'C'),
        2 => ("fill_16", Arg::U32(word as u32), 'S'),
        4 => ("fill_32", Arg::U32(word as u32), 'U'),
        _ => ("fill_64", Arg::U64(word), 'L'),
    };
    let args = [
        Arg::U64(y.len as u64),
        value,
        Arg::Pointer(y.address, letter),
    ];
    b.queue(FILE, kernel, flat_grid(y.len, 1), [FLAT_THREADS, 1], &args);
}
