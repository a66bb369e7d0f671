//! Launches of norm.cu.

use super::{ROW_THREADS, args, columns, drop_args, row_grid, u32_arg};
use crate::act::Act;
use crate::backend::CudaBackend;
use crate::driver::{Arg, Driver};
use crate::memory::{View, ViewMut, nothing};
use crate::step::{Count, bucket};
use hone_kernels::{Drop, Norm, NormSums, Rows};

const FILE: &str = "norm";
/// Threads of a block that sums over rows, `SUM_THREADS` of norm.cu.
const SUM_THREADS: u32 = 384;
/// Rows of a chunk at most, `MOST_CHUNK` of norm.cu.
const MOST_CHUNK: usize = 64;

/// Rows of a chunk that a block sums. The order of a sum follows from it, so it depends on the true number of rows
/// alone: each border here is one of buckets. At most 512 chunks up to 32 768 rows: two blocks to each of 132
/// multiprocessors, twice; as many blocks as can be had where rows are few.
fn chunk(most: usize) -> usize {
    match most {
        0..=4096 => 8,
        4097..=8192 => 16,
        8193..=16_384 => 32,
        _ => MOST_CHUNK,
    }
}

/// Elements of scratch for what up to `rows` rows of `width` are summed to.
pub fn scratch_len(rows: usize, width: usize) -> usize {
    let most = bucket(rows);
    // Fewer rows may have as many chunks, up to 512.
    let chunks = most.div_ceil(chunk(most)).max(most.div_ceil(8).min(512));
    chunks * 3 * width
}

/// See [`hone_kernels::Backend::add_norm`].
pub fn add_norm<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    norm: Norm<'_, CudaBackend<D, A>>,
    drop: Option<(Drop, Rows<'_, CudaBackend<D, A>>)>,
    residual: Option<View<'_, A>>,
    x: ViewMut<'_, A>,
    stats: ViewMut<'_, f32>,
    y: ViewMut<'_, A>,
) {
    let width = norm.weight.len;
    let rows = b.rows(x.len / width);
    assert_eq!((y.len, stats.len / 2), (x.len, x.len / width), "add_norm");
    let [place, threshold, scale, ids, positions] = drop_args(b, drop);
    let args = [
        b.step_arg(),
        Arg::U32(rows.argument),
        u32_arg(width),
        Arg::F32(norm.eps as f32),
        x.arg(),
        residual.map_or(nothing::<A>(), View::arg),
        norm.weight.arg(),
        norm.bias.arg(),
        place,
        threshold,
        scale,
        ids,
        positions,
        stats.arg(),
        y.arg(),
    ];
    b.queue(FILE, "add_norm", row_grid(rows), [ROW_THREADS, 1], &args);
}

/// See [`hone_kernels::Backend::norm_apply`].
pub fn apply<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    norm: Norm<'_, CudaBackend<D, A>>,
    sum: View<'_, A>,
    stats: View<'_, f32>,
    y: ViewMut<'_, A>,
) {
    let width = norm.weight.len;
    let rows = b.rows(y.len / width);
    assert_eq!(sum.len, y.len, "norm_apply");
    let args = [
        b.step_arg(),
        Arg::U32(rows.argument),
        u32_arg(width),
        sum.arg(),
        norm.weight.arg(),
        norm.bias.arg(),
        stats.arg(),
        y.arg(),
    ];
    b.queue(FILE, "norm_apply", row_grid(rows), [ROW_THREADS, 1], &args);
}

/// See [`hone_kernels::Backend::add_norm_backward`].
pub fn backward<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    norm: Norm<'_, CudaBackend<D, A>>,
    dy: View<'_, A>,
    sum: View<'_, A>,
    stats: View<'_, f32>,
    dsum: ViewMut<'_, A>,
    dropped: Option<(Drop, Rows<'_, CudaBackend<D, A>>, ViewMut<'_, A>)>,
    sums: NormSums<'_, CudaBackend<D, A>>,
) {
    let width = norm.weight.len;
    let rows = b.rows(dy.len / width);
    assert_eq!((sum.len, dsum.len), (dy.len, dy.len), "add_norm_backward");
    let (drop, dx) = match &dropped {
        Some((drop, rows, dx)) => (Some((*drop, *rows)), Some(dx.shared())),
        None => (None, None),
    };
    let dx_arg = dx.map_or(nothing::<A>(), View::arg);
    let first = [
        b.step_arg(),
        Arg::U32(rows.argument),
        u32_arg(width),
        dy.arg(),
        sum.arg(),
        stats.arg(),
        norm.weight.arg(),
        dsum.arg(),
    ];
    let backward = args(&[&first, &drop_args(b, drop), &[dx_arg]]);
    let wanted = sums.params.is_some() || sums.bias_before.is_some();
    // Whole groups at borders of 16 bytes, no more of a row than a block has threads, and counted in 32 bits.
    let group = A::NUMBER.group();
    let whole = width.is_multiple_of(group)
        && width / group <= SUM_THREADS as usize
        && dy.len / group <= u32::MAX as usize;
    let addresses = [dy.address, sum.address, dsum.address, norm.weight.address];
    let borders = dx.iter().map(|dx| dx.address).chain(addresses);
    if wanted && whole && borders.into_iter().all(|at| at.is_multiple_of(16)) {
        return backward_sums(b, rows, backward, sums);
    }
    b.queue(
        FILE,
        "add_norm_backward",
        row_grid(rows),
        [ROW_THREADS, 1],
        &backward,
    );
    if let Some((dweight, dbias)) = sums.params {
        columns::norm_param_grad(b, dy, sum, stats, sums.acc, dweight, dbias);
    }
    if let Some(out) = sums.bias_before {
        let before = columns::Summed::Act(dx.unwrap_or(dsum.shared()));
        columns::sums(b, before, dy.len / width, sums.acc, out);
    }
}

/// The backward pass and its sums in one reading of the rows; `backward` is what its kernel takes without them.
fn backward_sums<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    rows: Count,
    backward: Vec<Arg>,
    sums: NormSums<'_, CudaBackend<D, A>>,
) {
    let of_params = sums.params.is_some();
    let of_before = sums.bias_before.is_some();
    let (dweight, dbias) = sums.params.unzip();
    let outs: Vec<_> = [dweight, dbias, sums.bias_before]
        .into_iter()
        .flatten()
        .collect();
    let (width, stride) = (outs[0].len, outs.len() * outs[0].len);
    let chunk = chunk(rows.most);
    let chunks = rows.most.div_ceil(chunk);
    let mut scratch = b.scratch();
    let partial = scratch.sums(chunks * stride);
    // The kth of those that are wanted, behind each other in each chunk's part.
    let part = |wanted: bool, k: usize| match wanted && chunks > 0 {
        true => partial.part(k * width..partial.len).arg(),
        false => nothing::<f32>(),
    };
    let rest = [
        u32_arg(chunk),
        u32_arg(stride),
        part(of_params, 0),
        part(of_params, 1),
        part(of_before, outs.len() - 1),
    ];
    b.queue(
        FILE,
        "add_norm_backward_sums",
        [chunks as u32, 1, 1],
        [SUM_THREADS, 1],
        &args(&[&backward, &rest]),
    );
    columns::join(b, rows, chunk, partial, sums.acc, &outs);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_follow_from_the_true_number_of_rows_and_have_room() {
        for n in 1..70_000 {
            let most = bucket(n);
            assert_eq!(chunk(n), chunk(most), "{n}");
            let chunks = most.div_ceil(chunk(most));
            assert!(n > 32_768 || chunks <= 512, "{n}: {chunks}");
        }
        for n in (1..70_000).step_by(97) {
            let room = scratch_len(n, 1);
            let needed = |n: usize| 3 * bucket(n).div_ceil(chunk(n));
            assert!(
                [n, n / 2, n - n / 9, 4096.min(n)]
                    .into_iter()
                    .all(|n| needed(n.max(1)) <= room)
            );
        }
    }
}
