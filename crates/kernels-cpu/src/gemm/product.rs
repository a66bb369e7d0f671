//! Products with weights, `C[R, N] = A[R, K] · B[K, N]`: forward (B = Wᵀ) and backward to the input (B = W).
//! B is packed beforehand, A is read where it lies. The loops are those of BLIS (Van Zee & van de Geijn 2015).

use super::blocking::{Blocking, Grid, TURNS};
use super::kernel::{Ahead, GemmKernel, Plus, Rows};
use crate::{Parts, Team};
use std::ops::Range;

/// How the matrices of a fused stack lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// Each gives further columns of C (q, k and v in the forward product).
    Columns,
    /// Each gives further terms of K (the same in the backward product).
    Depth,
}

/// Packed right operands: `count` matrices of one shape at equal distances.
#[derive(Debug, Clone, Copy)]
pub struct Right<'a> {
    /// Panels of each matrix as [`super::pack`] makes them, one matrix after the other.
    pub panels: &'a [f32],
    /// Elements from one matrix to the next.
    pub distance: usize,
    /// How many.
    pub count: usize,
    /// What a further one means.
    pub stack: Stack,
    /// K of one.
    pub depth: usize,
    /// N of one.
    pub columns: usize,
}

impl Right<'_> {
    /// Parts of K: each begins a word of its own.
    fn parts(&self) -> usize {
        match self.stack {
            Stack::Columns => 1,
            Stack::Depth => self.count,
        }
    }

    /// K of one part, in words.
    fn words<K: GemmKernel>(&self) -> usize {
        self.depth.div_ceil(K::TERMS)
    }

    /// Where a panel's block of K at word `p` of a part lies, its first column and how many it has.
    #[inline(always)]
    fn panel<K: GemmKernel>(
        &self,
        panel: usize,
        part: usize,
        p: usize,
    ) -> (*const f32, usize, usize) {
        let each = self.columns.div_ceil(K::NR);
        let (matrix, within) = match self.stack {
            Stack::Columns => (panel / each, panel % each),
            Stack::Depth => (part, panel),
        };
        let at = matrix * self.distance + (within * self.words::<K>() + p) * K::NR;
        let column = within * K::NR;
        let offset = match self.stack {
            Stack::Columns => matrix * self.columns,
            Stack::Depth => 0,
        };
        (
            self.panels.as_ptr().wrapping_add(at),
            offset + column,
            K::NR.min(self.columns - column),
        )
    }

    /// N of the whole product.
    pub fn whole_columns(&self) -> usize {
        match self.stack {
            Stack::Columns => self.columns * self.count,
            Stack::Depth => self.columns,
        }
    }
}

/// What the product is added to.
#[derive(Debug, Clone, Copy)]
pub enum Onto<'a> {
    /// Nothing; C is overwritten.
    Nothing,
    /// What C holds.
    Output,
    /// A bias `[N]`; C is overwritten.
    Bias(&'a [f32]),
}

/// What is done to a tile of C while it is still in the first-level cache.
pub trait Epilogue: Sync {
    /// First elements of other matrices of C's shape that [`Epilogue::tile`] reads or writes: their part of a
    /// tile is fetched while the sums are still being made.
    fn beside(&self) -> [Option<*const f32>; 2] {
        [None; 2]
    }

    /// Called once for each tile, when its sums are whole.
    ///
    /// # Safety
    /// `c` points at element `(row, column)` of C and reaches `rows` rows of `columns` elements,
    /// `stride` apart, to which nobody else has access during the call.
    unsafe fn tile(&self, c: *mut f32, stride: usize, at: (usize, usize), size: (usize, usize));
}

/// Nothing further.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Epilogue for Plain {
    #[inline(always)]
    unsafe fn tile(&self, _: *mut f32, _: usize, _: (usize, usize), _: (usize, usize)) {}
}

/// Most columns in a tile of the grid, so that q, k and v of BERT-base are one.
const MOST_COLUMNS: usize = 2304;

/// Elements of [`in_words`]' room for a left operand of so many rows with `parts` times `depth` terms each: none where
/// words are f32.
pub fn words_len<K: GemmKernel>(rows: usize, parts: usize, depth: usize) -> usize {
    match K::TERMS {
        1 => 0,
        terms => rows * parts * depth.div_ceil(terms),
    }
}

/// A left operand `[R, K]` as [`product`] reads it: itself, or in words, for which `room` holds [`words_len`].
///
/// # Panics
/// When the lengths do not fit together.
pub fn in_words<'a, K: GemmKernel>(
    team: &Team,
    a: &'a [f32],
    right: &Right<'_>,
    room: &'a mut [f32],
) -> &'a [f32] {
    if K::TERMS == 1 || a.is_empty() {
        return a;
    }
    // A part of a row is a row here.
    let (depth, words) = (right.depth, right.words::<K>());
    let rows = a.len() / depth;
    assert_eq!(a.len(), rows * depth, "A is [R, K]");
    let room = &mut room[..rows * words];
    let turn = team.chunk_len(rows, 8);
    let out = Parts::new(room);
    team.run(rows.div_ceil(turn.max(1)), &|t| {
        for row in t * turn..((t + 1) * turn).min(rows) {
            let from = &a[row * depth..][..depth];
            // SAFETY: rows are disjoint; the kernel's path was found to be available when the backend was made.
            unsafe {
                let to = out.range(row * words..(row + 1) * words);
                K::words(from.as_ptr(), depth, to.as_mut_ptr());
            }
        }
    });
    room
}

/// `C = A · B + onto`, then the epilogue; A as [`in_words`] gives it.
///
/// # Panics
/// When the lengths do not fit together.
pub fn product<K: GemmKernel, E: Epilogue>(
    team: &Team,
    blocking: Blocking,
    a: &[f32],
    right: Right<'_>,
    onto: Onto<'_>,
    c: &mut [f32],
    epilogue: &E,
) {
    let (depth, columns) = (right.parts() * right.words::<K>(), right.whole_columns());
    let rows = c.len() / columns.max(1);
    let panels_each = right.columns.div_ceil(K::NR);
    assert_eq!(c.len(), rows * columns, "C is [R, N]");
    assert_eq!(a.len(), rows * depth, "A is [R, K]");
    let last = (right.count.max(1) - 1) * right.distance;
    assert!(
        right.panels.len() >= last + panels_each * K::NR * right.words::<K>(),
        "B is packed"
    );
    if let Onto::Bias(bias) = onto {
        assert_eq!(bias.len(), columns, "a bias [N]");
    }
    if rows == 0 || columns == 0 {
        return;
    }
    let panels = match right.stack {
        Stack::Columns => panels_each * right.count,
        Stack::Depth => panels_each,
    };
    let grid = Grid::new(
        team,
        TURNS,
        (rows, panels, depth),
        (K::MR, K::NR),
        (blocking.rows, MOST_COLUMNS / K::NR),
    );
    let c = Parts::new(c);
    // LOOPS 5 and 3 of BLIS (blocks of N and of M) are this grid. K (LOOP 4) is inside it and never shared
    // out: a sum split over threads would have to be joined in an order that depends on their number.
    team.run(grid.down * grid.across, &|tile| {
        let row = tile / grid.across * grid.rows;
        let panel = tile % grid.across * grid.panels;
        let block = Block {
            rows: row..(row + grid.rows).min(rows),
            panels: panel..(panel + grid.panels).min(panels),
        };
        // SAFETY: lengths were checked above; tiles of the grid are disjoint; the kernel's path was
        // found to be available when the backend was made.
        unsafe { block.compute::<K, E>(a, right, blocking, onto, c.as_ptr(), columns, epilogue) };
    });
}

struct Block {
    rows: Range<usize>,
    panels: Range<usize>,
}

impl Block {
    /// # Safety
    /// `a`, `right` and `onto` fit `c`, which is `[R, c_stride]`; nobody else touches this block of it.
    unsafe fn compute<K: GemmKernel, E: Epilogue>(
        &self,
        a: &[f32],
        right: Right<'_>,
        blocking: Blocking,
        onto: Onto<'_>,
        c: *mut f32,
        c_stride: usize,
        epilogue: &E,
    ) {
        let words = right.words::<K>();
        let a_stride = right.parts() * words;
        let units = Units::new::<K>(self, right, blocking);
        const { assert!(K::MR * K::NR <= EDGE, "a tile is larger than its edge") };
        let mut edge = Edge([0.0; EDGE]);
        let strips = self.rows.len().div_ceil(K::MR);
        for number in 0..units.count() {
            let unit = units.at(number);
            let ahead = (number + 1 < units.count()).then(|| units.at(number + 1));
            let Unit { part, p, k, .. } = unit;
            let first = part == 0 && p == 0;
            let last = part + 1 == units.parts && p + k == words;
            // LOOP 2: strips of A; LOOP 1: panels of B, which stay near while A passes by.
            for (strip, row) in self.rows.clone().step_by(K::MR).enumerate() {
                let rows = K::MR.min(self.rows.end - row);
                for (turn, panel) in unit.panels.clone().enumerate() {
                    let (b, column, width) = right.panel::<K>(panel, part, p);
                    // What is read next comes from memory or the third level; each tile fetches its share of it.
                    let fetch = match &ahead {
                        Some(ahead) if turn < ahead.panels.len() => {
                            let panel = ahead.panels.start + turn;
                            let next = right.panel::<K>(panel, ahead.part, ahead.p).0;
                            Ahead::share(next, ahead.k * K::NR, (strip, strips), k)
                        }
                        _ => Ahead::nothing(b),
                    };
                    for other in epilogue.beside().into_iter().flatten().filter(|_| last) {
                        for i in 0..rows {
                            let line = other.wrapping_add((row + i) * c_stride + column);
                            for at in (0..K::NR).step_by(16) {
                                K::prefetch_near(line.wrapping_add(at));
                            }
                            K::prefetch_near(line.wrapping_add(K::NR - 1));
                        }
                    }
                    let left = Rows { stride: a_stride };
                    // SAFETY: inside the operands, whose lengths `product` checked.
                    unsafe {
                        let a = a.as_ptr().add(row * a_stride + part * words + p);
                        let c = c.add(row * c_stride + column);
                        let plus = match (first, onto) {
                            (true, Onto::Nothing) => Plus::Nothing,
                            (true, Onto::Bias(bias)) => Plus::Row(bias.as_ptr().add(column)),
                            _ => Plus::Output,
                        };
                        if width == K::NR {
                            K::tile(rows, k, a, left, b, c, c_stride, plus, fetch);
                        } else {
                            let e = edge.0.as_mut_ptr();
                            K::tile(rows, k, a, left, b, e, K::NR, Plus::Nothing, fetch);
                            join_edge(e, K::NR, c, c_stride, (rows, width), plus);
                        }
                        if last {
                            epilogue.tile(c, c_stride, (row, column), (rows, width));
                        }
                    }
                }
            }
        }
    }
}

/// A block is computed unit by unit: for each group of its panels, LOOP 4 of BLIS (blocks of K, in order); for each of
/// those, as many panels as stay near.
struct Units {
    panels: Range<usize>,
    /// Panels whose part of C is finished before that of others is begun, and those that stay near.
    group: usize,
    near: usize,
    parts: usize,
    /// Words of one part.
    depth: usize,
    /// Blocks of K of one part.
    blocks: usize,
    kc: usize,
}

/// Some panels of B and a block of K.
struct Unit {
    panels: Range<usize>,
    part: usize,
    p: usize,
    k: usize,
}

impl Units {
    fn new<K: GemmKernel>(block: &Block, right: Right<'_>, blocking: Blocking) -> Units {
        let (all, panel) = (block.panels.len(), K::KC * K::NR);
        let near = blocking.panels(panel).min(all);
        Units {
            panels: block.panels.clone(),
            group: blocking.group(panel, K::NR).clamp(near, all),
            near,
            parts: right.parts(),
            depth: right.words::<K>(),
            blocks: right.words::<K>().div_ceil(K::KC).max(1),
            kc: K::KC,
        }
    }

    fn deep(&self) -> usize {
        self.parts * self.blocks
    }

    /// Units of whole groups, and of the last.
    fn count(&self) -> usize {
        let (whole, rest) = (
            self.panels.len() / self.group,
            self.panels.len() % self.group,
        );
        (whole * self.group.div_ceil(self.near) + rest.div_ceil(self.near)) * self.deep()
    }

    fn at(&self, number: usize) -> Unit {
        let in_group = self.group.div_ceil(self.near);
        let group = number / (in_group * self.deep());
        let start = self.panels.start + group * self.group;
        let end = (start + self.group).min(self.panels.end);
        let here = (end - start).div_ceil(self.near);
        let within = number - group * in_group * self.deep();
        let (block, turn) = (within / here, within % here);
        let (part, p) = (block / self.blocks, block % self.blocks * self.kc);
        let first = start + turn * self.near;
        Unit {
            panels: first..(first + self.near).min(end),
            part,
            p,
            k: self.kc.min(self.depth - p),
        }
    }
}

/// Room for one tile of any kernel.
pub(super) const EDGE: usize = 6 * 64;

/// A tile beside C, for columns beyond its right border.
#[repr(align(64))]
pub(super) struct Edge(pub [f32; EDGE]);

/// Moves the part of a tile that exists into C, adding what the kernel would have added.
///
/// # Safety
/// As [`GemmKernel::tile`], with `size` instead of whole tiles.
pub(super) unsafe fn join_edge(
    edge: *const f32,
    edge_stride: usize,
    c: *mut f32,
    c_stride: usize,
    size: (usize, usize),
    plus: Plus,
) {
    for i in 0..size.0 {
        for j in 0..size.1 {
            // SAFETY: inside the part of C that exists.
            unsafe {
                let at = c.add(i * c_stride + j);
                let x = *edge.add(i * edge_stride + j);
                *at = match plus {
                    Plus::Nothing => x,
                    Plus::Output => x + *at,
                    Plus::Row(row) => x + *row.add(j),
                };
            }
        }
    }
}
