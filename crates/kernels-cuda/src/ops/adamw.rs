//! Launches of adamw.cu. What a step decides (rates, corrections) is uploaded as a table; launches stay the same.

use super::{FLAT_THREADS, ROW_THREADS, u32_arg};
use crate::act::Act;
use crate::backend::CudaBackend;
use crate::driver::{Arg, Driver};
use crate::memory::{View, ViewMut, nothing};
use crate::params::CudaParams;
use bytemuck::{Pod, Zeroable};
use hone_kernels::{AdamwRow, AdamwStep};

const FILE: &str = "adamw";
/// Elements of a block: `CHUNK` of adamw.cu.
const CHUNK: usize = 16_384;

/// `AdamwRow` of adamw.cu.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Row {
    weights: u64,
    grads: u64,
    len: u64,
    first_block: u32,
    unused: u32,
    keep: f32,
    pull: f32,
    size: f32,
    correction: f32,
    towards: f32,
    beta2: f32,
    fresh: f32,
    eps: f32,
}

/// Bytes of the table for so many tensors or steps.
pub fn table_bytes(rows: usize) -> usize {
    rows * size_of::<Row>()
}

impl Row {
    /// Constants as `hone_kernels::Reference` rounds them.
    fn new(row: &AdamwRow, step: AdamwStep, weights: usize, len: usize, first_block: u32) -> Row {
        let taken = row.step as i32;
        Row {
            weights: weights as u64,
            grads: row.grad_offset as u64,
            len: len as u64,
            first_block,
            unused: 0,
            keep: (1.0 - row.lr * row.weight_decay) as f32,
            pull: (row.lr * row.start_decay) as f32,
            size: (row.lr / (1.0 - step.beta1.powi(taken))) as f32,
            correction: (1.0 - step.beta2.powi(taken)).sqrt() as f32,
            towards: (1.0 - step.beta1) as f32,
            beta2: step.beta2 as f32,
            fresh: (1.0 - step.beta2) as f32,
            eps: step.eps as f32,
        }
    }
}

/// The copy's first element, or null.
fn copy_arg<D: Driver, A: Act>(params: &mut CudaParams<D, A>) -> Arg {
    match &mut params.copy {
        Some(copy) => copy.view_mut().arg(),
        None => nothing::<A>(),
    }
}

/// See [`hone_kernels::Backend::adamw`].
pub fn sweep<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    params: &mut CudaParams<D, A>,
    rows: &[AdamwRow],
    start: Option<View<'_, f32>>,
    grads: View<'_, f32>,
    m: ViewMut<'_, f32>,
    v: ViewMut<'_, f32>,
    coefficient: View<'_, f64>,
    step: AdamwStep,
) {
    let mut blocks = 0;
    let mut table = Vec::with_capacity(rows.len());
    for row in rows {
        let range = params.table.params()[row.param].range();
        assert!(
            row.start_decay == 0.0 || start.is_some(),
            "a decay towards a start that is not given"
        );
        assert!(
            row.grad_offset + range.len() <= grads.len.min(m.len).min(v.len),
            "adamw: gradients of tensor {}",
            row.param
        );
        if range.is_empty() {
            continue;
        }
        table.push(Row::new(row, step, range.start, range.len(), blocks));
        blocks += range.len().div_ceil(CHUNK) as u32;
    }
    if table.is_empty() {
        return;
    }
    let mut scratch = b.scratch();
    let Some(at) = b.table(&mut scratch, bytemuck::cast_slice(&table)) else {
        return;
    };
    let args = [
        u32_arg(table.len()),
        Arg::Pointer(at, 'R'),
        coefficient.arg(),
        start.map_or(nothing::<f32>(), View::arg),
        grads.arg(),
        m.arg(),
        v.arg(),
        params.data.view_mut().arg(),
        copy_arg(params),
    ];
    b.queue(FILE, "adamw", [blocks, 1, 1], [FLAT_THREADS, 1], &args);
}

/// See [`hone_kernels::Backend::adamw_rows`].
pub fn rows<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    params: &mut CudaParams<D, A>,
    history: &[AdamwRow],
    rows: View<'_, u32>,
    since: View<'_, u32>,
    grads: Option<(View<'_, f32>, View<'_, f64>)>,
    m: ViewMut<'_, f32>,
    v: ViewMut<'_, f32>,
    step: AdamwStep,
) {
    let Some(one) = history.first() else {
        return;
    };
    assert_eq!(rows.len, since.len, "adamw_rows");
    let param = &params.table.params()[one.param];
    let (offset, width, len) = (param.offset, param.shape[1], param.len());
    let table: Vec<Row> = history
        .iter()
        .map(|row| Row::new(row, step, offset, len, 0))
        .collect();
    let mut scratch = b.scratch();
    let Some(at) = b.table(&mut scratch, bytemuck::cast_slice(&table)) else {
        return;
    };
    let (grads, coefficient) = match grads {
        Some((grads, coefficient)) => (grads.arg(), coefficient.arg()),
        None => (nothing::<f32>(), nothing::<f64>()),
    };
    let args = [
        u32_arg(rows.len),
        u32_arg(width),
        u32_arg(history.len()),
        Arg::Pointer(at, 'R'),
        rows.arg(),
        since.arg(),
        grads,
        coefficient,
        m.arg(),
        v.arg(),
        params.data.view_mut().arg(),
        copy_arg(params),
    ];
    let grid = [rows.len as u32, 1, 1];
    b.queue(FILE, "adamw_rows", grid, [ROW_THREADS, 1], &args);
}
