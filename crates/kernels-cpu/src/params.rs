//! The arena of weights, and beside it every matrix packed for the products it takes part in: the forward one, and the
//! backward one of a model that trains.
//!
//! Matrices are packed again whenever they are written, which only this file's owner does: no product can
//! meet a stale copy.

use crate::gemm::{BAND, GemmKernel, Right, Stack, pack, with_kernel};
use crate::mem::Buf;
use crate::{Parts, Path, Team};
use hone_kernels::{BackendError, WeightRef};
use hone_tensor::{Depth, Kind, ParamTable};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Where a matrix's panels lie.
#[derive(Debug, Clone, Copy)]
struct Packed {
    forward: usize,
    /// Which of the groups of panels backward, and where in it.
    group: usize,
    backward: usize,
}

/// Panels of W for the backward products of one depth of the model: a frozen depth needs none.
struct Group {
    depth: Depth,
    len: usize,
    /// From [`CpuParams::ready_backward`] on.
    panels: OnceLock<Buf<f32>>,
}

impl Group {
    fn parts(&mut self) -> Option<Parts<'_, f32>> {
        let panels = self.panels.get_mut();
        panels.map(|panels| Parts::new(&mut panels[..]))
    }
}

/// Weights and their packed copies.
pub struct CpuParams {
    pub(crate) table: Arc<ParamTable>,
    pub(crate) data: Buf<f32>,
    /// Panels of Wᵀ, for the forward product.
    forward: Buf<f32>,
    backward: Vec<Group>,
    packed: Vec<Option<Packed>>,
    path: Path,
}

impl CpuParams {
    /// An arena of zeros.
    pub fn new(path: Path, table: Arc<ParamTable>) -> Result<CpuParams, BackendError> {
        let mut forward = 0;
        let mut groups: Vec<Group> = Vec::new();
        let packed = table
            .params()
            .iter()
            .map(|p| {
                (p.kind == Kind::Matrix).then(|| {
                    let (out, input) = (p.shape[0], p.shape[1]);
                    if groups.last().is_none_or(|group| group.depth != p.depth) {
                        groups.push(Group {
                            depth: p.depth,
                            len: 0,
                            panels: OnceLock::new(),
                        });
                    }
                    let group = groups.len() - 1;
                    let at = Packed {
                        forward,
                        group,
                        backward: groups[group].len,
                    };
                    let (f, b) = with_kernel!(path, K => (
                        pack::panels_len::<K>(input, out),
                        pack::panels_len::<K>(out, input),
                    ));
                    forward += f;
                    groups[group].len += b;
                    at
                })
            })
            .collect();
        Ok(CpuParams {
            data: Buf::zeroed(table.len(), "parameters")?,
            forward: Buf::zeroed(forward, "packed weights")?,
            backward: groups,
            packed,
            path,
            table,
        })
    }

    /// Bytes of the packed copies.
    pub fn packed_bytes(&self) -> usize {
        let made = self.backward.iter().filter_map(|g| g.panels.get());
        4 * (self.forward.len() + made.map(|panels| panels.len()).sum::<usize>())
    }

    /// Makes the copies that products backward through parameters from row `from` of the table on read, where there are
    /// none yet.
    pub fn ready_backward(&self, team: &Team, from: usize) -> Result<(), BackendError> {
        let wanted = (from..self.packed.len()).filter_map(|row| Some(self.packed[row]?.group));
        let wanted: BTreeSet<usize> = wanted.collect();
        for group in wanted {
            let Group { len, panels, .. } = &self.backward[group];
            if panels.get().is_some() {
                continue;
            }
            let mut new = Buf::zeroed(*len, "packed weights")?;
            let mut backward: Vec<_> = self.backward.iter().map(|_| None).collect();
            backward[group] = Some(Parts::new(&mut new[..]));
            let packer = Packer {
                forward: None,
                backward,
                packed: &self.packed,
                table: &self.table,
                path: self.path,
            };
            let own = |row: usize| self.packed[row].is_some_and(|at| at.group == group);
            let parts = whole(&self.table).filter(|(row, _)| own(*row));
            packer.pack_all(team, &self.data, parts);
            // Whoever came first made the same.
            let _ = panels.set(new);
        }
        Ok(())
    }

    /// Packs parts of parameters again, given by parameter and the part's place in it; those that are no matrices have no
    /// copies.
    pub fn repack(&mut self, team: &Team, parts: impl IntoIterator<Item = (usize, Range<usize>)>) {
        let (data, packer) = self.split();
        packer.pack_all(team, data, parts);
    }

    /// Packs whole parameters again.
    pub fn repack_whole(&mut self, team: &Team, rows: Range<usize>) {
        let table = self.table.clone();
        self.repack(team, whole(&table).skip(rows.start).take(rows.len()));
    }

    /// The weights, and what keeps their copies up to date.
    pub fn split(&mut self) -> (&mut [f32], Packer<'_>) {
        let packer = Packer {
            forward: Some(Parts::new(&mut self.forward[..])),
            backward: self.backward.iter_mut().map(Group::parts).collect(),
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
        let Some(panels) = self.backward[self.at(weight.first).group].panels.get() else {
            panic!("ready_backward comes before products backward")
        };
        let shape = &self.table.params()[weight.first].shape;
        Right {
            panels: &panels[self.at(weight.first).backward..],
            distance: self.distance(weight, |p| p.backward),
            count: weight.count,
            stack: Stack::Depth,
            depth: shape[0],
            columns: shape[1],
        }
    }
}

/// Every parameter of a table, whole.
fn whole(table: &ParamTable) -> impl Iterator<Item = (usize, Range<usize>)> {
    let rows = table.params().iter().enumerate();
    rows.map(|(row, param)| (row, 0..param.len()))
}

/// Writes the packed copies of matrices that there are, one band of rows after another and from any thread: while AdamW
/// has a band in the cache, packing it costs no reading.
pub struct Packer<'a> {
    forward: Option<Parts<'a, f32>>,
    /// By group.
    backward: Vec<Option<Parts<'a, f32>>>,
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

    /// Packs the bands of `parts` from the arena `data`, those that a part begins or ends in wholly.
    fn pack_all(
        &self,
        team: &Team,
        data: &[f32],
        parts: impl IntoIterator<Item = (usize, Range<usize>)>,
    ) {
        let mut jobs = Vec::new();
        for (row, part) in parts {
            let (Some(band), false) = (self.band(row), part.is_empty()) else {
                continue;
            };
            let len = self.table.params()[row].len();
            let first = part.start / band * band;
            jobs.extend(
                (first..part.end)
                    .step_by(band)
                    .map(|at| (row, at..(at + band).min(len))),
            );
        }
        let turn = team.chunk_len(jobs.len(), 4);
        team.run(jobs.len().div_ceil(turn.max(1)), &|t| {
            for (row, band) in &jobs[t * turn..((t + 1) * turn).min(jobs.len())] {
                let start = self.table.params()[*row].offset;
                let numbers = &data[start + band.start..start + band.end];
                // SAFETY: bands are disjoint, and each is one job.
                unsafe { self.pack(*row, band.start, numbers) };
            }
        });
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
        assert!(first.is_multiple_of(K::TERMS), "a band begins a word");
        // The band is some columns of a panel of Wᵀ (those that W does not have stay zero) …
        if let Some(panels) = &self.forward {
            let deep = input.div_ceil(K::TERMS);
            let to = at.forward + first / K::NR * K::NR * deep + first % K::NR;
            assert!(band.len() <= BAND * input && to + (deep - 1) * K::NR + rows <= panels.len());
            // SAFETY: inside the arena; columns of bands are disjoint, and the caller has this band to itself.
            unsafe { pack::band_as_columns::<K>(band, input, panels.as_ptr().add(to)) };
        }
        // … and a few rows of every panel of W.
        if let Some(panels) = &self.backward[at.group] {
            for column in (0..input).step_by(K::NR) {
                let to = at.backward + column * out.div_ceil(K::TERMS) + first / K::TERMS * K::NR;
                let deep = rows.div_ceil(K::TERMS);
                // SAFETY: rows of bands are disjoint, and the caller has this band to itself.
                let part = unsafe { panels.range(to..to + deep * K::NR) };
                let width = K::NR.min(input - column);
                let from = &band[column..];
                // SAFETY: the fence below comes before the team's next operation.
                unsafe { pack::right_panel_for_later::<K>(from, input, rows, width, part) };
            }
        }
        K::fence();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model that only answers keeps one copy of its matrices; one that trains two of those that it goes back through,
    /// however often it is made ready.
    #[test]
    fn copies_for_products_backward_are_made_once_they_are_needed() {
        const SIDE: usize = 64;
        let mut table = ParamTable::builder();
        for (name, depth, kind) in [
            ("words", Depth::Embeddings, Kind::Embedding),
            ("below", Depth::Layer(0), Kind::Matrix),
            ("q", Depth::Layer(1), Kind::Matrix),
            ("k", Depth::Layer(1), Kind::Matrix),
        ] {
            table.push(name, &[SIDE, SIDE], depth, kind);
        }
        let params = CpuParams::new(Path::Portable, Arc::new(table.build())).unwrap();
        let one = params.packed_bytes();
        assert_eq!(one, 3 * 4 * SIDE * SIDE);
        let panels = 4 * with_kernel!(Path::Portable, K => pack::panels_len::<K>(SIDE, SIDE));
        for (from, made) in [(4, 0), (3, 2), (2, 2), (0, 3), (2, 3)] {
            params.ready_backward(&Team::new(1), from).unwrap();
            assert_eq!(params.packed_bytes(), one + made * panels, "from {from}");
        }
    }
}
