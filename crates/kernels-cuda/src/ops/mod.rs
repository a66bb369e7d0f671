//! The operations: each file of kernels (`.cu`) beside the typed functions that launch them (`.rs`), which alone
//! know the kernels' arguments and geometry.

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod columns;
pub mod contrast;
pub mod embedding;
pub mod head;
pub mod loss;
pub mod norm;
pub mod product;
pub mod rows;
pub mod sweep;

use crate::act::Act;
use crate::backend::CudaBackend;
use crate::driver::{Arg, Driver};
use crate::memory::{View, nothing};
use crate::step::Count;
use hone_kernels::{Drop, Rows};

/// Threads of a block that works a warp to a row.
pub(crate) const ROW_THREADS: u32 = 128;
/// Threads of a block of elementwise work.
pub(crate) const FLAT_THREADS: u32 = 256;

/// Blocks for a warp to each of so many rows.
pub(crate) fn row_grid(rows: Count) -> [u32; 3] {
    [(rows.most as u32).div_ceil(ROW_THREADS / 32), 1, 1]
}

/// Blocks for a thread to each group of `group` of `n` elements.
pub(crate) fn flat_grid(n: usize, group: usize) -> [u32; 3] {
    let blocks = n.div_ceil(group).div_ceil(FLAT_THREADS as usize);
    assert!(blocks < 1 << 31, "{n} elements in one launch");
    [blocks as u32, 1, 1]
}

/// A number that kernels take as 32 bits.
pub(crate) fn u32_arg(n: usize) -> Arg {
    assert!(u32::try_from(n).is_ok(), "{n} in a launch");
    Arg::U32(n as u32)
}

/// Layer, site and draw of a mask in one word: the second of `DropKey::example`'s counters.
pub(crate) fn place(drop: Drop) -> u32 {
    u32::from(drop.key.layer) << 16 | u32::from(drop.key.site) << 8 | u32::from(drop.key.draw)
}

/// What a kernel is told of a mask over rows, or of there being none: place, threshold, scale, examples, positions.
/// Seed and step go to the device's step.
pub(crate) fn drop_args<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    drop: Option<(Drop, Rows<'_, CudaBackend<D, A>>)>,
) -> [Arg; 5] {
    match drop {
        Some((drop, rows)) => {
            b.draw(drop.key);
            [
                Arg::U32(place(drop)),
                Arg::U32(drop.threshold),
                Arg::F32(drop.scale as f32),
                View::<u64>::arg(rows.example_ids),
                View::<u32>::arg(rows.positions),
            ]
        }
        None => [
            Arg::U32(0),
            Arg::U32(0),
            Arg::F32(1.0),
            nothing::<u64>(),
            nothing::<u32>(),
        ],
    }
}

/// Joins arguments in order.
pub(crate) fn args(parts: &[&[Arg]]) -> Vec<Arg> {
    parts.concat()
}
