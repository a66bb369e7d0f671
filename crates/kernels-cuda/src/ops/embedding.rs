//! Launches of embedding.cu.

use super::columns::{Summed, sums};
use super::{ROW_THREADS, row_grid, u32_arg};
use crate::act::Act;
use crate::backend::CudaBackend;
use crate::driver::{Arg, Driver};
use crate::memory::{View, ViewMut};
use hone_kernels::{Acc, EmbedTables, Tokens};

const FILE: &str = "embedding";

/// See [`hone_kernels::Backend::embed`]. A batch begins here: its sizes go to the device's step.
pub fn forward<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    tables: EmbedTables<'_, CudaBackend<D, A>>,
    tokens: Tokens<'_, CudaBackend<D, A>>,
    width: usize,
    sum: ViewMut<'_, A>,
) {
    assert_eq!(sum.len, tokens.ids.len * width, "embed");
    b.begin(
        tokens.ids.len,
        tokens.cu_seqlens.len - 1,
        tokens.bucket_rows.len,
    );
    let count = b.rows(tokens.ids.len);
    let args = [
        b.step_arg(),
        Arg::U32(count.argument),
        u32_arg(width),
        tables.word.arg(),
        tables.position.arg(),
        tables.token_type.arg(),
        tokens.ids.arg(),
        tokens.positions.arg(),
        tokens.types.arg(),
        sum.arg(),
    ];
    b.queue(FILE, "embed", row_grid(count), [ROW_THREADS, 1], &args);
}

/// See [`hone_kernels::Backend::embed_word_backward`].
pub fn word_backward<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    dsum: View<'_, A>,
    tokens: Tokens<'_, CudaBackend<D, A>>,
    width: usize,
    dword: ViewMut<'_, f32>,
) {
    let distinct = b.distinct(tokens.bucket_rows.len, tokens.ids.len);
    let args = [
        b.step_arg(),
        Arg::U32(distinct.argument),
        u32_arg(width),
        dsum.arg(),
        tokens.bucket_rows.arg(),
        tokens.bucket_starts.arg(),
        tokens.bucket_tokens.arg(),
        dword.arg(),
    ];
    let grid = [distinct.most as u32, 1, 1];
    b.queue(FILE, "embed_word_backward", grid, [32, 8], &args);
}

/// See [`hone_kernels::Backend::embed_position_backward`].
pub fn position_backward<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    dsum: View<'_, A>,
    tokens: Tokens<'_, CudaBackend<D, A>>,
    width: usize,
    acc: Acc,
    dposition: ViewMut<'_, f32>,
) {
    let sequences = b.rows(tokens.cu_seqlens.len - 1);
    let args = [
        b.step_arg(),
        Arg::U32(sequences.argument),
        u32_arg(width),
        dsum.arg(),
        tokens.cu_seqlens.arg(),
        Arg::U32(u32::from(acc == Acc::Add)),
        dposition.arg(),
    ];
    let grid = [(dposition.len / width) as u32, 1, 1];
    b.queue(
        FILE,
        "embed_position_backward",
        grid,
        [ROW_THREADS, 1],
        &args,
    );
}

/// See [`hone_kernels::Backend::embed_type_backward`].
pub fn type_backward<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    dsum: View<'_, A>,
    tokens: Tokens<'_, CudaBackend<D, A>>,
    width: usize,
    acc: Acc,
    mut dtype: ViewMut<'_, f32>,
) {
    for row in 0..dtype.len / width {
        let out = dtype.again().part(row * width..(row + 1) * width);
        let summed = Summed::Of(dsum, tokens.types, row);
        sums(b, summed, tokens.types.len, acc, out);
    }
}
