//! Launches of attention.cu and attention_mma.cu: which of its kernels fits a head, and the tiles it is made of.

use super::{FLAT_THREADS, args, flat_grid, place, u32_arg};
use crate::act::{Act, Number};
use crate::backend::CudaBackend;
use crate::driver::{Arg, Driver};
use crate::memory::{View, ViewMut};
use hone_kernels::{Attention, Qkv, QkvMut, Tokens};

/// The widest head there is a kernel for.
pub const MOST_CHANNELS: usize = 128;

/// A kernel with the rows a block of it owns and its threads.
type Kernel = (&'static str, usize, u32);

/// The kernels for one width of heads.
struct Kernels {
    file: &'static str,
    /// All queries.
    forward: Kernel,
    /// One query a sequence.
    first: Kernel,
    keys: Kernel,
    queries: Kernel,
}

/// The narrowest that hold a head of so many channels: on tensor cores for bf16, up to 64 channels.
fn kernels(act: Number, head_dim: usize) -> Kernels {
    assert!(head_dim <= MOST_CHANNELS, "heads of {head_dim} channels");
    match (act, head_dim) {
        (Number::Bf16, 0..=32) => Kernels {
            file: "attention_mma",
            forward: ("attention_mma_32", 64, 128),
            first: ("attention_mma_first_32", 16, 32),
            keys: ("attention_mma_keys_32", 64, 128),
            queries: ("attention_mma_queries_32", 64, 128),
        },
        (Number::Bf16, 33..=64) => Kernels {
            file: "attention_mma",
            forward: ("attention_mma_64", 64, 128),
            first: ("attention_mma_first_64", 16, 32),
            keys: ("attention_mma_keys_64", 64, 128),
            queries: ("attention_mma_queries_64", 64, 128),
        },
        (_, 0..=32) => Kernels {
            file: "attention",
            forward: ("attention_32", 64, 256),
            first: ("attention_first_32", 16, 64),
            keys: ("attention_keys_32", 32, 128),
            queries: ("attention_queries_32", 32, 128),
        },
        (_, 33..=64) => Kernels {
            file: "attention",
            forward: ("attention_64", 64, 256),
            first: ("attention_first_64", 16, 64),
            keys: ("attention_keys_64", 32, 128),
            queries: ("attention_queries_64", 32, 128),
        },
        _ => Kernels {
            file: "attention",
            forward: ("attention_128", 32, 128),
            first: ("attention_first_128", 16, 64),
            keys: ("attention_keys_128", 16, 64),
            queries: ("attention_queries_128", 16, 64),
        },
    }
}

/// Where q, k and v begin in the buffers that hold them, and how long their rows are.
struct Layout {
    all: bool,
    q_stride: usize,
    kv_stride: usize,
    k: usize,
    v: usize,
}

fn layout(all: bool, hidden: usize) -> Layout {
    match all {
        true => Layout {
            all,
            q_stride: 3 * hidden,
            kv_stride: 3 * hidden,
            k: hidden,
            v: 2 * hidden,
        },
        false => Layout {
            all,
            q_stride: hidden,
            kv_stride: 2 * hidden,
            k: 0,
            v: hidden,
        },
    }
}

/// Words of 32 bits that say for each key of a query and head whether dropout leaves it: whole tiles of 64 keys.
fn words(longest: usize) -> usize {
    2 * longest.div_ceil(64)
}

/// See [`hone_kernels::Backend::attention_saved`]: behind the log-sums, for tensor cores, what dropout leaves.
pub fn saved(act: Number, queries: usize, heads: usize, longest: usize) -> usize {
    let words = match act {
        Number::F32 => 0,
        Number::Bf16 => words(longest),
    };
    queries * heads * (1 + words)
}

/// Where log-sums begin in what is saved, and for kernels on tensor cores what dropout leaves.
fn parts<A: Act>(
    attention: Attention,
    queries: usize,
    saved: View<'_, f32>,
) -> (View<'_, f32>, Vec<Arg>) {
    let Attention {
        heads,
        head_dim,
        longest,
        ..
    } = attention;
    let len = self::saved(A::NUMBER, queries, heads, longest);
    assert_eq!(saved.len, len, "what attention saves");
    let kept = saved.part(queries * heads..len);
    let args = match kernels(A::NUMBER, head_dim).file {
        "attention_mma" => vec![Arg::Pointer(kept.address, 'U'), u32_arg(words(longest))],
        _ => Vec::new(),
    };
    (saved.part(0..queries * heads), args)
}

/// What all attention kernels are told first, and the sequences the grid is made for.
fn shape_args<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    attention: Attention,
    tokens: Tokens<'_, CudaBackend<D, A>>,
    qkv: &Qkv<'_, CudaBackend<D, A>>,
) -> (Vec<Arg>, u32, Layout) {
    let hidden = attention.heads * attention.head_dim;
    let sequences = b.rows(tokens.cu_seqlens.len - 1);
    let (q, kv, all) = match *qkv {
        Qkv::All(x) => (x, x, true),
        Qkv::First { q, kv } => (q, kv, false),
    };
    let layout = layout(all, hidden);
    let [place, threshold, scale] = match attention.drop {
        Some(drop) => {
            b.draw(drop.key);
            [
                Arg::U32(place(drop)),
                Arg::U32(drop.threshold),
                Arg::F32(drop.scale as f32),
            ]
        }
        None => [Arg::U32(0), Arg::U32(0), Arg::F32(1.0)],
    };
    let list = vec![
        b.step_arg(),
        Arg::U32(sequences.argument),
        tokens.cu_seqlens.arg(),
        Arg::U32(u32::from(all)),
        u32_arg(attention.head_dim),
        Arg::F32((1.0 / (attention.head_dim as f64).sqrt()) as f32),
        place,
        threshold,
        scale,
        tokens.sequence_ids.arg(),
        q.arg(),
        u32_arg(layout.q_stride),
        kv.part(layout.k..kv.len).arg(),
        kv.part(layout.v..kv.len).arg(),
        u32_arg(layout.kv_stride),
    ];
    (list, sequences.most as u32, layout)
}

/// See [`hone_kernels::Backend::attention`].
pub fn forward<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    attention: Attention,
    tokens: Tokens<'_, CudaBackend<D, A>>,
    qkv: Qkv<'_, CudaBackend<D, A>>,
    context: ViewMut<'_, A>,
    saved: ViewMut<'_, f32>,
) {
    let (shape, sequences, layout) = shape_args(b, attention, tokens, &qkv);
    let queries = context.len / (attention.heads * attention.head_dim).max(1);
    let (lse, kept) = parts::<A>(attention, queries, saved.shared());
    let which = kernels(A::NUMBER, attention.head_dim);
    let (kernel, longest) = match layout.all {
        true => (which.forward, attention.longest),
        false => (which.first, 1),
    };
    let args = args(&[&shape, &[context.arg(), lse.arg()], &kept]);
    let heads = attention.heads;
    queue(b, which.file, kernel, sequences, heads, longest, &args);
}

/// A kernel over tiles of the longest sequence's rows, heads and sequences: blocks that run side by side read the same
/// tokens. Batches whose longest sequences have equally many tiles of [`words`] have one grid.
fn queue<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    file: &'static str,
    (kernel, own, threads): Kernel,
    sequences: u32,
    heads: usize,
    longest: usize,
    args: &[Arg],
) {
    let longest = match longest {
        1 => 1,
        n => n.next_multiple_of(64),
    };
    let grid = [longest.div_ceil(own) as u32, heads as u32, sequences];
    b.queue(file, kernel, grid, [threads, 1], args);
}

/// See [`hone_kernels::Backend::attention_backward`].
pub fn backward<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    attention: Attention,
    tokens: Tokens<'_, CudaBackend<D, A>>,
    qkv: Qkv<'_, CudaBackend<D, A>>,
    context: View<'_, A>,
    saved: View<'_, f32>,
    dcontext: View<'_, A>,
    dqkv: QkvMut<'_, CudaBackend<D, A>>,
) {
    let Attention {
        heads, head_dim, ..
    } = attention;
    let (shape, sequences, layout) = shape_args(b, attention, tokens, &qkv);
    let which = kernels(A::NUMBER, head_dim);

    let rows = dcontext.len / (heads * head_dim).max(1);
    let (lse, kept) = parts::<A>(attention, rows, saved);
    let count = b.rows(rows);
    let mut scratch = b.scratch();
    let delta = scratch.sums(rows * heads);
    let of_delta = [
        b.step_arg(),
        Arg::U32(count.argument),
        u32_arg(heads),
        u32_arg(head_dim),
        context.arg(),
        dcontext.arg(),
        delta.arg(),
    ];
    let grid = flat_grid(8 * count.most * heads, 1);
    b.queue(
        "attention",
        "attention_delta",
        grid,
        [FLAT_THREADS, 1],
        &of_delta,
    );

    let (dq, dkv, all) = match &dqkv {
        QkvMut::All(d) => (d.shared(), d.shared(), true),
        QkvMut::First { dq, dkv } => (dq.shared(), dkv.shared(), false),
    };
    assert_eq!(all, layout.all, "gradients lie as what they are of");
    let dk = dkv.part(layout.k..dkv.len).arg();
    let dv = dkv.part(layout.v..dkv.len).arg();
    let back = [dcontext.arg(), lse.arg(), delta.arg()];
    let of_keys = args(&[&shape, &back, &[dk, dv], &kept]);
    let longest = attention.longest;
    queue(
        b, which.file, which.keys, sequences, heads, longest, &of_keys,
    );
    let longest = if layout.all { longest } else { 1 };
    let of_queries = args(&[&shape, &back, &[dq.arg()], &kept]);
    queue(
        b,
        which.file,
        which.queries,
        sequences,
        heads,
        longest,
        &of_queries,
    );
}
