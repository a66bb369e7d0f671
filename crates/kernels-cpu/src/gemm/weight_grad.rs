//! The weight gradient, `dW[out, in] (+)= dyᵀ · x`: K counts tokens, operands are packed block by block into the
//! worker's own scratch; the left one only where it is not read as quickly where it lies.

use super::blocking::{Blocking, Grid, grad_turns, tokens_together};
use super::kernel::{Across, Ahead, GemmKernel, Plus};
use super::pack;
use super::product::{EDGE, Edge, join_edge};
use crate::mem::Buf;
use crate::{Parts, Team};
use hone_kernels::{Acc, BackendError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Floats of a cache line.
const LINE: usize = 16;
/// Those of a page, and of one way of a first-level cache.
const PAGE: usize = 1024;

/// Packing room of each worker.
#[derive(Debug)]
pub struct PackScratch {
    workers: Vec<Mutex<Room>>,
    left: usize,
    calls: AtomicU64,
}

/// One worker's.
#[derive(Debug)]
struct Room {
    buf: Buf<f32>,
    /// The call and the first panel whose right operand is packed, where all tokens are one block.
    right: Option<(u64, usize)>,
}

impl PackScratch {
    /// Room for a team and its blocks.
    pub fn new(threads: usize, blocking: Blocking) -> Result<PackScratch, BackendError> {
        let (left, right) = blocking.grad_room();
        let workers = (0..threads)
            .map(|_| {
                let buf = Buf::zeroed(left + right, "packed operands")?;
                Ok(Mutex::new(Room { buf, right: None }))
            })
            .collect::<Result<_, BackendError>>()?;
        Ok(PackScratch {
            workers,
            left,
            calls: AtomicU64::new(0),
        })
    }

    /// Bytes of it.
    pub fn bytes(&self) -> usize {
        self.workers
            .iter()
            .map(|w| 4 * w.lock().unwrap_or_else(PoisonError::into_inner).buf.len())
            .sum()
    }
}

/// Numbers of `squares` in [`weight_grad`] for `dw[m, n]`: one a tile of the microkernel.
pub fn squares_len<K: GemmKernel>(m: usize, n: usize) -> usize {
    m.div_ceil(K::MR) * n.div_ceil(K::NR)
}

/// `dw[M, N] (+)= dyᵀ[M, rows] · x[rows, N]`; into `squares` go Σ of the squares of each of the microkernel's tiles
/// of it, tile rows one after the other.
///
/// # Panics
/// When the lengths do not fit together.
pub fn weight_grad<K: GemmKernel>(
    team: &Team,
    blocking: Blocking,
    scratch: &PackScratch,
    dy: &[f32],
    x: &[f32],
    tokens: usize,
    acc: Acc,
    dw: &mut [f32],
    squares: &mut [f64],
) {
    if tokens == 0 {
        assert!(dy.is_empty() && x.is_empty(), "no tokens, no elements");
        if acc == Acc::Set {
            dw.fill(0.0);
        }
        return;
    }
    let (m, n) = (dy.len() / tokens, x.len() / tokens);
    assert_eq!(dy.len(), tokens * m, "dy is [R, out]");
    assert_eq!(x.len(), tokens * n, "x is [R, in]");
    assert_eq!(dw.len(), m * n, "dW is [out, in]");
    assert!(squares.len() >= squares_len::<K>(m, n), "squares");
    if m == 0 || n == 0 {
        return;
    }
    let all_panels = n.div_ceil(K::NR);
    let together = tokens_together(tokens);
    let (most_rows, most_columns) = blocking.grad_tile(together.div_ceil(K::TERMS));
    let grid = Grid::new(
        team,
        grad_turns(m * n),
        (m, all_panels, tokens),
        (K::MR, K::NR),
        (most_rows, most_columns / K::NR),
    );
    // Bits do not depend on where the left operand is read. Depths that are whole pages apart are all in one set of the
    // first-level cache.
    let across = m <= K::ACROSS && !m.is_multiple_of(PAGE);
    let (dw, squares) = (Parts::new(dw), Parts::new(squares));
    let call = scratch.calls.fetch_add(1, Ordering::Relaxed);
    let one_block = together == tokens;
    // Then nothing of dW is read: a tile is made beside it and sent there past the caches, for it is read again only
    // when all gradients are there.
    let fresh = one_block && acc == Acc::Set;
    team.run_workers(grid.down * grid.across, &|worker, tile| {
        let mut room = scratch.workers[worker]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let row = tile % grid.down * grid.rows;
        let rows = grid.rows.min(m - row);
        let panel = tile / grid.down * grid.panels;
        let panels = grid.panels.min(all_panels - panel);
        let column = panel * K::NR;
        let columns = (panels * K::NR).min(n - column);
        // A worker's next tile mostly lies below its last: the same columns of x, which then are packed already.
        let packed = one_block && room.right.replace((call, panel)) == Some((call, panel));
        let (left, right) = room.buf.split_at_mut(scratch.left);
        const { assert!(K::MR * K::NR <= EDGE, "a tile is larger than its edge") };
        let mut edge = Edge([0.0; EDGE]);
        // LOOP 4: blocks of tokens, in order; never shared out.
        for p in (0..tokens).step_by(together) {
            let terms = together.min(tokens - p);
            let last = p + terms == tokens;
            let dy = &dy[p * m + row..];
            if !across {
                pack::left_panels::<K>(dy, m, terms, rows, left);
            }
            if !packed {
                pack::right_panels::<K>(&x[p * n + column..], n, terms, columns, right);
            }
            let k = terms.div_ceil(K::TERMS);
            let plus = match (p, acc) {
                (0, Acc::Set) => Plus::Nothing,
                _ => Plus::Output,
            };
            let coming = Coming {
                dy: (dy.as_ptr().wrapping_add(terms * m), m, rows),
                x: (
                    x.as_ptr().wrapping_add((p + terms) * n + column),
                    n,
                    columns,
                ),
                tokens: together.min(tokens - p - terms),
                tiles: rows.div_ceil(K::MR) * columns.div_ceil(K::NR),
            };
            // LOOP 2: strips of dyᵀ; LOOP 1: panels of x, from the second-level cache.
            for i in (0..rows).step_by(K::MR) {
                let a = match across {
                    true => dy[i..].as_ptr(),
                    false => left[i * k..].as_ptr(),
                };
                let height = K::MR.min(rows - i);
                for at in (0..columns).step_by(K::NR) {
                    let b = right[at * k..][..k * K::NR].as_ptr();
                    let size = (height, K::NR.min(columns - at));
                    let turn = i / K::MR * columns.div_ceil(K::NR) + at / K::NR;
                    let fetch = coming.share(turn, k).unwrap_or(Ahead::nothing(b));
                    if !fresh {
                        // The next tile of dW has been pushed out by the operands since the last block.
                        let next = match at + K::NR < columns {
                            true => (row + i) * n + column + at + K::NR,
                            false => (row + i + K::MR) * n + column,
                        };
                        for q in 0..K::MR {
                            for line in (0..K::NR).step_by(16) {
                                let at = next + q * n + line;
                                K::prefetch(dw.as_ptr().wrapping_add(at).cast_const());
                            }
                        }
                    }
                    let e = edge.0.as_mut_ptr();
                    // SAFETY: the tile lies inside dW (checked above) and in no other tile of the grid;
                    // `a` and `b` are whole panels of depth k, or `a` lies in dy, which has k tokens more from there; the edge holds a whole tile; the kernel's path is
                    // available; the fence comes below.
                    let sum = unsafe {
                        let tile = |c, stride, plus| match across {
                            true => {
                                let left = Across { stride: m };
                                K::tile(height, k, a, left, b, c, stride, plus, fetch)
                            }
                            false => K::tile(height, k, a, K::PACKED, b, c, stride, plus, fetch),
                        };
                        let c = dw.as_ptr().add((row + i) * n + column + at);
                        if fresh {
                            tile(e, K::NR, Plus::Nothing);
                            K::send(e, size, c, n)
                        } else {
                            if size.1 == K::NR {
                                tile(c, n, plus);
                            } else {
                                tile(e, K::NR, Plus::Nothing);
                                join_edge(e, K::NR, c, n, size, plus);
                            }
                            if last { K::squares(c, n, size) } else { 0.0 }
                        }
                    };
                    let index = (row + i) / K::MR * all_panels + (column + at) / K::NR;
                    // SAFETY: each tile has a number of its own.
                    unsafe { squares.range(index..index + 1)[0] = sum };
                }
            }
        }
        K::fence();
    });
}

/// The operands of a tile's next block of tokens, where they lie.
struct Coming {
    /// Where its first token is, floats from one token to the next, floats of each.
    dy: (*const f32, usize, usize),
    x: (*const f32, usize, usize),
    tokens: usize,
    /// Tiles of the microkernel in this block.
    tiles: usize,
}

impl Coming {
    /// What tile number `turn` of this block, `k` words deep, fetches of it: one line of some tokens. The last tiles
    /// do, so that it is still near when it is read.
    #[inline(always)]
    fn share(&self, turn: usize, k: usize) -> Option<Ahead> {
        if self.tokens == 0 {
            return None;
        }
        let each = (k / 4).max(1);
        let parts = self.tokens.div_ceil(each);
        let left = self.dy.2.div_ceil(LINE);
        let lines = left + self.x.2.div_ceil(LINE);
        let number = (turn + parts * lines).checked_sub(self.tiles)?;
        let (line, part) = (number / parts, number % parts);
        let ((at, stride, _), line) = match line < left {
            true => (self.dy, line),
            false => (self.x, line - left),
        };
        Some(Ahead {
            at: at.wrapping_add(part * each * stride + line * LINE),
            step: stride,
        })
    }
}
