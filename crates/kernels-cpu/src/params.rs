//! The arena of weights, and beside it every matrix packed for both products it takes part in.
//!
//! Matrices are packed again whenever they are written, which only this file's owner does: no product can
//! meet a stale copy.

use crate::gemm::{BAND, GemmKernel, Right, Stack, pack, with_kernel};
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
        let table = self.table.clone();
        let (data, packer) = self.split();
        let mut jobs = Vec::new();
        for &row in rows {
            if let Some(band) = packer.band(row) {
                let param = &table.params()[row];
                let (start, end) = (param.range().start, param.range().end);
                jobs.extend(
                    (start..end)
                        .step_by(band)
                        .map(|at| (row, at..(at + band).min(end))),
                );
            }
        }
        let data = &*data;
        let turn = team.chunk_len(jobs.len(), 4);
        team.run(jobs.len().div_ceil(turn.max(1)), &|t| {
            for (row, range) in &jobs[t * turn..((t + 1) * turn).min(jobs.len())] {
                let start = table.params()[*row].range().start;
                // SAFETY: bands are disjoint, and each is one job.
                unsafe { packer.pack(*row, range.start - start, &data[range.clone()]) };
            }
        });
    }

    /// The weights, and what keeps their copies up to date.
    pub fn split(&mut self) -> (&mut [f32], Packer<'_>) {
        let packer = Packer {
            forward: Parts::new(&mut self.forward[..]),
            backward: Parts::new(&mut self.backward[..]),
            packed: &self.packed,
            table: &self.table,
            path: self.path,
        };
        (&mut self.data[..], packer)
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

    /// Another path's panels have another width.
    fn check(&self, path: Path) {
        assert_eq!(
            self.path, path,
            "weights are packed for the path of their backend"
        );
    }

    /// Wᵀ of a stack, as `path` reads it: its matrices give further columns.
    pub(crate) fn forward(&self, path: Path, weight: WeightRef) -> Right<'_> {
        self.check(path);
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

    /// W of a stack, as `path` reads it: its matrices give further terms.
    pub(crate) fn backward(&self, path: Path, weight: WeightRef) -> Right<'_> {
        self.check(path);
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

/// Writes both packed copies of matrices, one band of rows after another and from any thread: while AdamW
/// has a band in the cache, packing it costs no reading.
pub struct Packer<'a> {
    forward: Parts<'a, f32>,
    backward: Parts<'a, f32>,
    packed: &'a [Option<Packed>],
    table: &'a ParamTable,
    path: Path,
}

impl Packer<'_> {
    /// Elements of a band of matrix `row`, whose rows are columns of one panel. `None` for what is not packed.
    pub fn band(&self, row: usize) -> Option<usize> {
        self.packed[row]?;
        let width = with_kernel!(self.path, K => K::NR);
        Some(width.min(BAND) * self.table.params()[row].shape[1])
    }

    /// Packs the band of matrix `row` that begins at element `start` of it (the last one may be shorter).
    ///
    /// # Safety
    /// Nobody else packs this band meanwhile.
    pub unsafe fn pack(&self, row: usize, start: usize, band: &[f32]) {
        // SAFETY: handed on from the caller.
        with_kernel!(self.path, K => unsafe { self.pack_with::<K>(row, start, band) });
    }

    /// [`Packer::pack`] by a kernel.
    ///
    /// # Safety
    /// Nobody else packs this band meanwhile, and the processor can run `K`.
    unsafe fn pack_with<K: GemmKernel>(&self, row: usize, start: usize, band: &[f32]) {
        let Some(at) = self.packed[row] else {
            return;
        };
        let shape = &self.table.params()[row].shape;
        let (out, input) = (shape[0], shape[1]);
        let (first, rows) = (start / input, band.len() / input);
        // The band is some columns of a panel of Wᵀ (those that W does not have stay zero) …
        let deep = input.div_ceil(K::TERMS);
        let to = at.forward + first / K::NR * K::NR * deep + first % K::NR;
        assert!(band.len() <= BAND * input && to + (deep - 1) * K::NR + rows <= self.forward.len());
        assert!(first.is_multiple_of(K::TERMS), "a band begins a word");
        // SAFETY: inside the arena; columns of bands are disjoint, and the caller has this band to itself.
        unsafe { pack::band_as_columns::<K>(band, input, self.forward.as_ptr().add(to)) };
        // … and a few rows of every panel of W.
        for column in (0..input).step_by(K::NR) {
            let to = at.backward + column * out.div_ceil(K::TERMS) + first / K::TERMS * K::NR;
            let deep = rows.div_ceil(K::TERMS);
            // SAFETY: rows of bands are disjoint, and the caller has this band to itself.
            let part = unsafe { self.backward.range(to..to + deep * K::NR) };
            let width = K::NR.min(input - column);
            let from = &band[column..];
            // SAFETY: the fence below comes before the team's next operation.
            unsafe { pack::right_panel_for_later::<K>(from, input, rows, width, part) };
        }
        K::fence();
    }
}
