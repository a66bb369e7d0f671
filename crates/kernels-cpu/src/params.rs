//! The arena of weights, and beside it every matrix packed for both products it takes part in.
//!
//! Matrices are packed again whenever they are written, which only this file's owner does: no product can
//! meet a stale copy.

use crate::gemm::{GemmKernel, Right, Stack, pack, with_kernel};
use crate::mem::Buf;
use crate::{Parts, Path, Team};
use hone_kernels::{BackendError, WeightRef};
use hone_tensor::{Kind, ParamTable};
use std::sync::Arc;

/// Where a matrix's panels lie.
#[derive(Debug, Clone, Copy)]
struct Packed {
    forward: usize,
    backward: usize,
}

/// Weights and their packed copies.
pub struct CpuParams {
    pub(crate) table: Arc<ParamTable>,
    pub(crate) data: Buf<f32>,
    /// Panels of Wᵀ, for the forward product.
    forward: Buf<f32>,
    /// Panels of W, for the backward product.
    backward: Buf<f32>,
    packed: Vec<Option<Packed>>,
    path: Path,
}

impl CpuParams {
    /// An arena of zeros.
    pub fn new(path: Path, table: Arc<ParamTable>) -> Result<CpuParams, BackendError> {
        let (mut forward, mut backward) = (0, 0);
        let packed = table
            .params()
            .iter()
            .map(|p| {
                (p.kind == Kind::Matrix).then(|| {
                    let (out, input) = (p.shape[0], p.shape[1]);
                    let at = Packed { forward, backward };
                    let (f, b) = with_kernel!(path, K => (
                        pack::panels_len::<K>(input, out),
                        pack::panels_len::<K>(out, input),
                    ));
                    forward += f;
                    backward += b;
                    at
                })
            })
            .collect();
        Ok(CpuParams {
            data: Buf::zeroed(table.len(), "parameters")?,
            forward: Buf::zeroed(forward, "packed weights")?,
            backward: Buf::zeroed(backward, "packed weights")?,
            packed,
            path,
            table,
        })
    }

    /// Bytes of the packed copies.
    pub fn packed_bytes(&self) -> usize {
        4 * (self.forward.len() + self.backward.len())
    }

    /// Packs the listed parameters again; those that are no matrices have no copies.
    pub fn repack(&mut self, team: &Team, rows: &[usize]) {
        with_kernel!(self.path, K => self.repack_with::<K>(team, rows));
    }

    fn repack_with<K: GemmKernel>(&mut self, team: &Team, rows: &[usize]) {
        /// One panel to write.
        struct Job {
            row: usize,
            first: usize,
            transposed: bool,
        }
        let mut jobs = Vec::new();
        for &row in rows {
            if self.packed[row].is_none() {
                continue;
            }
            let shape = &self.table.params()[row].shape;
            for (columns, transposed) in [(shape[0], true), (shape[1], false)] {
                jobs.extend((0..columns).step_by(K::NR).map(|first| Job {
                    row,
                    first,
                    transposed,
                }));
            }
        }
        let (forward, backward) = (
            Parts::new(&mut self.forward[..]),
            Parts::new(&mut self.backward[..]),
        );
        let turn = team.chunk_len(jobs.len(), 4);
        team.run(jobs.len().div_ceil(turn.max(1)), &|t| {
            for job in &jobs[t * turn..((t + 1) * turn).min(jobs.len())] {
                let param = &self.table.params()[job.row];
                let Some(at) = self.packed[job.row] else {
                    continue;
                };
                let (out, input) = (param.shape[0], param.shape[1]);
                let weight = &self.data[param.range()];
                if job.transposed {
                    let start = at.forward + job.first * input;
                    // SAFETY: panels are disjoint, and each is one job.
                    let panel = unsafe { forward.range(start..start + K::NR * input) };
                    let columns = K::NR.min(out - job.first);
                    let from = &weight[job.first * input..];
                    pack::right_panel_transposed::<K>(from, input, input, columns, panel);
                } else {
                    let start = at.backward + job.first * out;
                    // SAFETY: as above.
                    let panel = unsafe { backward.range(start..start + K::NR * out) };
                    let columns = K::NR.min(input - job.first);
                    let from = &weight[job.first..];
                    pack::right_panel::<K>(from, input, out, columns, panel);
                }
            }
        });
    }

    fn at(&self, row: usize) -> Packed {
        match self.packed[row] {
            Some(at) => at,
            None => unreachable!("a product with {}", self.table.params()[row].name),
        }
    }

    fn distance(&self, weight: WeightRef, of: impl Fn(Packed) -> usize) -> usize {
        match weight.count {
            1 => 0,
            _ => of(self.at(weight.first + 1)) - of(self.at(weight.first)),
        }
    }

    /// Wᵀ of a stack: its matrices give further columns.
    pub fn forward(&self, weight: WeightRef) -> Right<'_> {
        let shape = &self.table.params()[weight.first].shape;
        Right {
            panels: &self.forward[self.at(weight.first).forward..],
            distance: self.distance(weight, |p| p.forward),
            count: weight.count,
            stack: Stack::Columns,
            depth: shape[1],
            columns: shape[0],
        }
    }

    /// W of a stack: its matrices give further terms.
    pub fn backward(&self, weight: WeightRef) -> Right<'_> {
        let shape = &self.table.params()[weight.first].shape;
        Right {
            panels: &self.backward[self.at(weight.first).backward..],
            distance: self.distance(weight, |p| p.backward),
            count: weight.count,
            stack: Stack::Depth,
            depth: shape[0],
            columns: shape[1],
        }
    }
}
