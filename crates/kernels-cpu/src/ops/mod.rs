//! The operations that are no products, each in its file, forward above backward.
//!
//! Elementwise work may be cut anywhere; sums over rows are taken in chunks of a constant size and joined in
//! order, so that no result depends on the number of threads.

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod contrast;
pub mod embedding;
pub mod loss;
pub mod norm;
pub mod optimizer;
pub mod rows;
mod small_gemm;
pub mod sweep;

use crate::team::{Parts, Team};
use hone_kernels::Acc;

/// Rows whose sum is taken in one piece.
pub(crate) const SUM_ROWS: usize = 64;

/// Elements of elementwise work worth a thread's waking: some microseconds.
pub(crate) const LEAST_ELEMENTS: usize = 8192;

/// Rows per chunk for row-wise work over rows of `width`.
pub(crate) fn rows_per_chunk(team: &Team, rows: usize, width: usize) -> usize {
    team.chunk_len(rows, (LEAST_ELEMENTS / width.max(1)).max(1))
}

/// `out[c] (+)= Σ_chunk partial[chunk][first + c]`, in order of chunks of `width`.
pub(crate) fn join(partials: &[f32], width: usize, first: usize, acc: Acc, out: &mut [f32]) {
    // A line of sums at a time: a column alone would fetch a line of memory for each number.
    const COLUMNS: usize = 64;
    for (k, out) in out.chunks_mut(COLUMNS).enumerate() {
        let mut sums = [0.0f32; COLUMNS];
        let at = first + k * COLUMNS;
        for chunk in partials.chunks_exact(width) {
            for (sum, x) in sums.iter_mut().zip(&chunk[at..at + out.len()]) {
                *sum += x;
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            match acc {
                Acc::Set => *out = sum,
                Acc::Add => *out += sum,
            }
        }
    }
}

/// Rows of a list that are taken side by side: each once.
pub(crate) fn assert_ascending(rows: &[u32], what: &str) {
    assert!(
        rows.is_sorted_by(|a, b| a < b),
        "{what}: rows in ascending order, each once"
    );
}

/// Sums over rows: `partial(chunk, rows, sums)` adds rows into zeroed sums of `width`; the chunks' sums are
/// then joined in order. `scratch` holds ⌈rows / SUM_ROWS⌉ · width elements.
pub(crate) fn row_sums(
    team: &Team,
    rows: usize,
    width: usize,
    scratch: &mut [f32],
    partial: &(dyn Fn(std::ops::Range<usize>, &mut [f32]) + Sync),
) -> usize {
    let chunks = rows.div_ceil(SUM_ROWS);
    let parts = Parts::new(&mut scratch[..chunks * width]);
    // Several chunks a turn where they are small; the borders of the sums stay where they are.
    let turn = team.chunk_len(chunks, (LEAST_ELEMENTS / (SUM_ROWS * width).max(1)).max(1));
    team.run(chunks.div_ceil(turn), &|t| {
        for chunk in t * turn..((t + 1) * turn).min(chunks) {
            // SAFETY: each chunk's sums are a range of their own, and each chunk is taken once.
            let sums = unsafe { parts.range(chunk * width..(chunk + 1) * width) };
            sums.fill(0.0);
            partial(chunk * SUM_ROWS..((chunk + 1) * SUM_ROWS).min(rows), sums);
        }
    });
    chunks
}

/// Elements [`row_sums`] needs for `rows` rows of `width`.
pub(crate) fn row_sums_len(rows: usize, width: usize) -> usize {
    rows.div_ceil(SUM_ROWS) * width
}
