//! Launches of columns.cu: sums over rows, in chunks that the number of rows decides, joined in order where there are
//! several.

use super::u32_arg;
use crate::act::Act;
use crate::backend::CudaBackend;
use crate::driver::{Arg, Driver};
use crate::memory::{View, ViewMut, nothing};
use crate::step::Count;
use hone_kernels::{Acc, Activation};

const FILE: &str = "columns";
/// Threads of a block, `THREADS` of columns.cu.
const THREADS: u32 = 256;
/// Threads side by side in a row at most, `MOST_LANES` of columns.cu: 256 bytes of it.
const MOST_LANES: usize = 16;
/// Chunks that [`join`] sums side by side, `JOINED` of columns.cu.
const JOINED: u32 = 32;

/// Up to so many rows are one chunk, summed without a second kernel. A border of buckets, so that all batches of one
/// bucket make the same launches.
const ONE: usize = 2048;
/// Rows of a chunk where there are several.
const CHUNK: usize = 128;

/// How a block lies over rows and columns. The order of a sum follows from it, so it depends on the true number of
/// rows alone: `most`, its bucket's border, is on the same side of [`ONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Geometry {
    chunks: usize,
    /// Rows of a chunk.
    chunk: usize,
    /// Threads side by side in a row.
    lanes: usize,
    /// Blocks that a row is dealt to.
    tiles: usize,
}

impl Geometry {
    /// Over `most` rows of `width` elements, `group` of them 16 bytes.
    fn new(most: usize, width: usize, group: usize) -> Geometry {
        // Of few rows there is one chunk, so blocks come from columns: 32 bytes of a row each.
        let (chunks, chunk, most_lanes) = match most <= ONE {
            true => (1, ONE, 2),
            false => (most.div_ceil(CHUNK), CHUNK, MOST_LANES),
        };
        let groups = width.div_ceil(group);
        let lanes = groups.next_power_of_two().min(most_lanes);
        Geometry {
            chunks,
            chunk,
            lanes,
            tiles: groups.div_ceil(lanes),
        }
    }

    fn grid(&self) -> [u32; 3] {
        [self.tiles as u32, self.chunks as u32, 1]
    }

    /// Elements of partial sums.
    fn partials(&self, width: usize) -> usize {
        match self.chunks {
            1 => 0,
            chunks => chunks * width,
        }
    }
}

/// Chunks of a sum over up to `rows` rows: blocks of a grid's second dimension.
pub fn chunks(rows: usize) -> usize {
    Geometry::new(crate::step::bucket(rows), 1, 1).chunks
}

/// Elements of scratch for sums over up to `rows` rows of `width`.
pub fn scratch_len(rows: usize, width: usize) -> usize {
    Geometry::new(crate::step::bucket(rows), width, 1).partials(width)
}

fn add_arg(acc: Acc) -> Arg {
    Arg::U32(u32::from(acc == Acc::Add))
}

/// Each of up to three outputs of one length `(+)=` the sums of chunks of `chunk` rows each, `partial` holding a vector
/// for every output a chunk.
pub(super) fn join<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    rows: Count,
    chunk: usize,
    partial: View<'_, f32>,
    acc: Acc,
    outs: &[ViewMut<'_, f32>],
) {
    let each = outs[0].len;
    assert!(outs.len() <= 3 && outs.iter().all(|out| out.len == each));
    let width = outs.len() * each;
    let out = |k: usize| outs.get(k).map_or(nothing::<f32>(), ViewMut::arg);
    let args = [
        b.step_arg(),
        Arg::U32(rows.argument),
        u32_arg(chunk),
        u32_arg(width),
        u32_arg(each),
        partial.arg(),
        add_arg(acc),
        out(0),
        out(1),
        out(2),
    ];
    let grid = [(width as u32).div_ceil(32), 1, 1];
    b.queue(FILE, "column_join", grid, [32, JOINED], &args);
}

/// `out (+)=` the sum of `parts` vectors as long as it, in order.
pub fn join_parts<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    parts: usize,
    partial: View<'_, f32>,
    acc: Acc,
    out: ViewMut<'_, f32>,
) {
    join(b, Count::fixed(parts), 1, partial, acc, &[out]);
}

/// What is summed.
pub enum Summed<'a, A> {
    /// Activations.
    Act(View<'a, A>),
    /// Master numbers.
    Master(View<'a, f32>),
    /// Activations of rows with this index.
    Of(View<'a, A>, View<'a, u32>, usize),
}

/// `d ← d · activation′(pre)`, and where wanted `y = activation(pre)`; `db[width] (+)= Σ_r d`.
pub fn activation_backward<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    activation: Activation,
    pre: View<'_, A>,
    d: ViewMut<'_, A>,
    y: Option<ViewMut<'_, A>>,
    acc: Acc,
    db: ViewMut<'_, f32>,
) {
    let n = d.len;
    let of_y = y.as_ref().map_or(n, |y| y.len);
    assert_eq!((pre.len, of_y), (n, n), "activation");
    let of = [
        super::activation::number(activation),
        pre.arg(),
        d.arg(),
        y.map_or(nothing::<A>(), |y| y.arg()),
    ];
    let rows = b.rows(n / db.len);
    queue_sums(b, "activation_sums", &of, A::NUMBER.group(), rows, acc, db);
}

/// `out[width] (+)= Σ_r x[r, width]` over `rows` rows.
pub fn sums<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    summed: Summed<'_, A>,
    rows: usize,
    acc: Acc,
    out: ViewMut<'_, f32>,
) {
    let rows = b.rows(rows);
    let (kernel, rest, group) = match summed {
        Summed::Act(x) => ("column_sums", vec![x.arg()], A::NUMBER.group()),
        Summed::Master(x) => ("column_sums_master", vec![x.arg()], 4),
        Summed::Of(x, index, which) => (
            "column_sums_of",
            vec![x.arg(), index.arg(), u32_arg(which)],
            A::NUMBER.group(),
        ),
    };
    queue_sums(b, kernel, &rest, group, rows, acc, out);
}

/// A kernel that sums columns of what `of` names, `group` elements a thread, and the join of its chunks.
fn queue_sums<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    kernel: &'static str,
    of: &[Arg],
    group: usize,
    rows: Count,
    acc: Acc,
    out: ViewMut<'_, f32>,
) {
    let width = out.len;
    let how = Geometry::new(rows.most, width, group);
    let first = [
        b.step_arg(),
        Arg::U32(rows.argument),
        u32_arg(how.chunk),
        u32_arg(how.lanes),
        u32_arg(width),
    ];
    let queue = |acc, to| {
        let args = super::args(&[&first, of, &[add_arg(acc), to]]);
        b.queue(FILE, kernel, how.grid(), [THREADS, 1], &args);
    };
    if how.chunks == 1 {
        return queue(acc, out.arg());
    }
    let mut scratch = b.scratch();
    let partial = scratch.sums(how.partials(width));
    queue(Acc::Set, partial.arg());
    join(b, rows, how.chunk, partial, acc, &[out]);
}

/// See [`hone_kernels::Backend::norm_param_grad`].
pub fn norm_param_grad<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    dy: View<'_, A>,
    sum: View<'_, A>,
    stats: View<'_, f32>,
    acc: Acc,
    dweight: ViewMut<'_, f32>,
    dbias: ViewMut<'_, f32>,
) {
    let width = dweight.len;
    let rows = b.rows(dy.len / width);
    assert_eq!(
        (sum.len, stats.len / 2, dbias.len),
        (dy.len, dy.len / width, width),
        "norm_param_grad"
    );
    let how = Geometry::new(rows.most, width, A::NUMBER.group());
    let first = [
        b.step_arg(),
        Arg::U32(rows.argument),
        u32_arg(how.chunk),
        u32_arg(how.lanes),
        u32_arg(width),
        dy.arg(),
        sum.arg(),
        stats.arg(),
    ];
    let queue = |acc, stride: usize, of_weight, of_bias| {
        let rest = [add_arg(acc), u32_arg(stride), of_weight, of_bias];
        let args = super::args(&[&first, &rest]);
        b.queue(FILE, "norm_sums", how.grid(), [THREADS, 1], &args);
    };
    if how.chunks == 1 {
        return queue(acc, width, dweight.arg(), dbias.arg());
    }
    // Each chunk's sums for the weight, and behind them those for the bias.
    let mut scratch = b.scratch();
    let partial = scratch.sums(how.partials(2 * width));
    let of_bias = partial.part(width..partial.len);
    queue(Acc::Set, 2 * width, partial.arg(), of_bias.arg());
    join(b, rows, how.chunk, partial, acc, &[dweight, dbias]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::bucket;

    #[test]
    fn sums_are_cut_by_the_true_number_of_rows() {
        for n in 1..20_000 {
            let (own, named) = (Geometry::new(n, 50, 8), Geometry::new(bucket(n), 50, 8));
            assert_eq!(
                (own.chunk, own.lanes, own.tiles),
                (named.chunk, named.lanes, named.tiles),
                "{n}: a count by name and by number are summed in one order"
            );
            assert!(named.chunks * named.chunk >= n && named.chunks >= own.chunks);
            assert_eq!(own.chunks == 1, named.chunks == 1, "{n}");
        }
    }

    #[test]
    fn every_column_has_a_thread_and_a_batch_fills_the_card() {
        for (rows, width, group) in [(1, 1, 8), (416, 768, 8), (3000, 50, 4), (32_768, 2304, 8)] {
            let how = Geometry::new(rows, width, group);
            assert!(
                how.tiles * how.lanes * group >= width
                    && (how.tiles - 1) * how.lanes * group < width
            );
            assert!(how.lanes.is_power_of_two() && how.lanes <= MOST_LANES);
        }
        // 132 multiprocessors with four blocks each.
        let blocks = |how: Geometry| how.tiles * how.chunks;
        assert!(blocks(Geometry::new(32_768, 768, 8)) >= 2 * 4 * 132);
        assert!(scratch_len(32_768, 3 * 768) <= 32_768 / CHUNK * 3 * 768);
    }
}
