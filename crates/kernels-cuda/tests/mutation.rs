//! Does the emulator notice a fault? Each `__syncthreads()` and `__syncwarp()` of the kernels is removed in turn, and a
//! list of other mistakes is made one by one; each time the conformance suite has to fail.
//!
//! The whole table, attention included, takes some minutes:
//! `cargo test -p hone-kernels-cuda --test mutation -- --ignored --nocapture`.

use half::bf16;
use hone_kernels::conformance::Expected;
use hone_kernels::{Backend, BackendError};
use hone_kernels_cuda::emulator::Sources;
use hone_kernels_cuda::{CudaBackend, Emulator, Number, Order, sources};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread::{available_parallelism, scope};

const BARRIERS: [&str; 2] = ["__syncthreads();", "__syncwarp();"];
const ORDERS: [Order; 3] = [Order::Forward, Order::Reverse, Order::Random(3)];

/// A fault: file, line (of the file with its headers, where it may stand in one), what was there, and the file with it.
struct Mutant {
    file: &'static str,
    line: usize,
    was: &'static str,
    text: String,
}

fn mutants(only: impl Fn(&str) -> bool) -> Vec<Mutant> {
    let mut out = Vec::new();
    for (file, text) in Sources::embedded().files {
        if !only(file) {
            continue;
        }
        for barrier in BARRIERS {
            for (at, _) in text.match_indices(barrier) {
                let mut without = text.clone();
                without.replace_range(at..at + barrier.len(), ";");
                out.push(Mutant {
                    file,
                    line: text[..at].lines().count(),
                    was: barrier,
                    text: without,
                });
            }
        }
    }
    out
}

/// Mistakes, as (file, what is there, what is put in its place); what is there may stand in a header.
const FAULTS: [(&str, &str, &str); 29] = [
    // The sum is not kept for the backward pass.
    (
        "norm",
        "if (threshold || residual) store(x + c, v, width - c);",
        "",
    ),
    ("norm", "(g[i] * w[i] - of_g - ", "(g[i] * w[i] - "),
    ("norm", "round < 10", "round < 9"),
    // What is held is what was given, not the sum.
    ("norm", "row[k] = pack(v);", "pack(v);"),
    // A warp writes over what others have yet to read.
    ("norm", "turn = k % 2", "turn = 0"),
    // Rows beside each other are not all joined.
    ("norm", "of < beside; of++", "of + 1 < beside; of++"),
    // A row is worked on before it has come.
    (
        "norm",
        "wait_for_copies<AHEAD - 1>()",
        "wait_for_copies<AHEAD>()",
    ),
    // Vectors are written over the end of a row.
    (
        "activation",
        "if (left >= N && N % 4 == 0 && aligned(to))",
        "if (N % 4 == 0 && aligned(to))",
    ),
    // The last row of a chunk is lost.
    (
        "columns",
        "min((blockIdx.y + 1) * chunk, rows)",
        "min((blockIdx.y + 1) * chunk - 1, rows)",
    ),
    // Rows that are read again for want of others are counted.
    (
        "columns",
        "if (!take[k]) packed[k] = make_uint4(0, 0, 0, 0);",
        "",
    ),
    ("rows", "v[i] /= (float)(end - start);", ""),
    (
        "embedding",
        "if (p >= cu_seqlens[s + 1] - start)",
        "if (p > cu_seqlens[s + 1] - start)",
    ),
    ("sweep", "share < 1.0 ? share : 1.0", "share"),
    ("sweep", "out[span.out] = sum", "out[blockIdx.x] = sum"),
    (
        "adamw",
        "first_block <= blockIdx.x",
        "first_block < blockIdx.x",
    ),
    // The second of two groups in flight.
    (
        "adamw",
        "adamw_four(row, clip, g4[k], s4[k], w4[k], m4[k], v4[k]);",
        "adamw_four(row, clip, g4[0], s4[k], w4[k], m4[k], v4[k]);",
    ),
    // The activation is summed, not its gradient.
    (
        "columns",
        "sum[i] += rounded(g[i]);",
        "sum[i] += rounded(v[i]);",
    ),
    (
        "loss",
        "(b - a - backward) + q - p",
        "(b - a - backward) + q + p",
    ),
    // Rows without weight are company.
    (
        "contrast",
        "const bool there = k != row && weights[k] != 0.0f;",
        "const bool there = k != row;",
    ),
    // The part of a gradient that lies along its row stays.
    (
        "contrast",
        "(double)sums[i] - along * (double)v[i] * inverse",
        "sums[i]",
    ),
    ("attention", "example.w[2] ^ head", "example.w[2]"),
    // Keys behind the end of a text.
    (
        "attention",
        "tx + 16 * j < keys ? score[i][j] * scale : -infinite()",
        "score[i][j] * scale",
    ),
    (
        "attention_mma",
        "if (8 * n + first_key + e % 2 >= left) score[n][e] = -infinite();",
        ";",
    ),
    // Two registers of a fragment the wrong way round.
    (
        "attention_mma",
        "mma(out[n], a[2 * k + 1], b[2], b[3]);",
        "mma(out[n], a[2 * k + 1], b[3], b[2]);",
    ),
    // A tile is read before its copies have come.
    (
        "attention_mma",
        "wait_for_copies<1>();",
        "wait_for_copies<2>();",
    ),
    // Draws of another lane.
    (
        "attention_mma",
        "shfl_xor_sync(0xffffffffu, mine, 2)",
        "shfl_xor_sync(0xffffffffu, mine, 1)",
    ),
    // Bits of other keys.
    (
        "attention_mma",
        "spread(others >> 16) << 4",
        "spread(others >> 16)",
    ),
    ("attention_mma", "own % 32 + group()", "group()"),
    (
        "attention_mma",
        "(odd ? mine : others) >> 2 * odd",
        "(odd ? mine : others)",
    ),
];

fn faults(only: impl Fn(&str) -> bool) -> Vec<Mutant> {
    let chosen = FAULTS.iter().filter(|f| only(f.0));
    chosen
        .map(|&(file, right, wrong)| {
            let whole = sources::expand(file, sources::file(file).expect("a file of kernels"));
            let at = whole
                .find(right)
                .unwrap_or_else(|| panic!("{file}: {right}"));
            Mutant {
                file,
                line: whole[..at].lines().count(),
                was: right,
                text: whole.replacen(right, wrong, 1),
            }
        })
        .collect()
}

/// In which order of threads the suite fails, and what it says first.
fn caught(mutant: &Mutant, folder: &Path) -> Option<(Order, String)> {
    static SINGLE: LazyLock<Expected> = LazyLock::new(Expected::of::<f32>);
    static HALF: LazyLock<Expected> = LazyLock::new(Expected::of::<bf16>);
    let mut changed = Sources::embedded().with(mutant.file, mutant.text.clone());
    let rounded = sources::acts(mutant.file) == [Number::Bf16];
    changed.acts = vec![if rounded { Number::Bf16 } else { Number::F32 }];
    let emulator =
        Emulator::with_sources(folder, Order::Forward, &changed).expect("a C++ compiler");
    ORDERS.into_iter().find_map(|order| {
        let emulator = emulator.in_order(order);
        let said = match rounded {
            true => fails(&HALF, CudaBackend::<Emulator, bf16>::new(emulator)),
            false => fails(&SINGLE, CudaBackend::<Emulator, f32>::new(emulator)),
        }?;
        let said = said
            .downcast_ref::<String>()
            .map_or("a panic", String::as_str);
        let first = said.lines().nth(1).or(said.lines().next()).unwrap_or("");
        Some((order, first.chars().take(110).collect()))
    })
}

/// What the suite panics with.
fn fails<B: Backend>(
    expected: &Expected,
    backend: Result<B, BackendError>,
) -> Option<Box<dyn Any + Send>> {
    let backend = backend.expect("memory");
    catch_unwind(AssertUnwindSafe(|| expected.check(&backend))).err()
}

/// Calls `f` for each, several at a time; answers in order.
fn side_by_side<T: Sync, U: Send>(items: &[T], f: impl Fn(&T) -> U + Sync) -> Vec<U> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        while let at = next.fetch_add(1, Ordering::Relaxed)
            && let Some(item) = items.get(at)
        {
            done.push((at, f(item)));
        }
        done
    };
    let workers = available_parallelism().map_or(1, usize::from);
    let mut all: Vec<(usize, U)> = scope(|s| {
        let started: Vec<_> = (0..workers).map(|_| s.spawn(take)).collect();
        let ended = started.into_iter().map(|w| w.join().expect("a worker"));
        ended.flatten().collect()
    });
    all.sort_by_key(|x| x.0);
    all.into_iter().map(|x| x.1).collect()
}

fn every_one_is_caught(mutants: &[Mutant]) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated");
    // One table at a time: panics are silenced meanwhile, for the whole process.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = side_by_side(mutants, |m| caught(m, &folder));
    std::panic::set_hook(loud);
    let mut alive = Vec::new();
    for (m, found) in mutants.iter().zip(found) {
        let name = format!("{}.cu:{} {:.40}", m.file, m.line, m.was);
        match found {
            Some((order, said)) => println!("{name:<60} {order:?}: {said}"),
            None => alive.push(name),
        }
    }
    assert!(alive.is_empty(), "not noticed:\n{}", alive.join("\n"));
}

#[test]
fn barriers_of_sums_are_missed_when_gone() {
    let mutants = mutants(|file| !file.starts_with("attention"));
    assert!(mutants.len() >= 6);
    every_one_is_caught(&mutants);
}

#[test]
fn mistakes_in_normalisation_are_noticed() {
    every_one_is_caught(&faults(|file| file == "norm"));
}

#[test]
#[ignore = "some minutes of compiling"]
fn every_mistake_is_noticed() {
    every_one_is_caught(&faults(|_| true));
}

#[test]
#[ignore = "some minutes of compiling"]
fn every_barrier_is_missed_when_gone() {
    let mutants = mutants(|_| true);
    assert!(mutants.len() >= 20);
    every_one_is_caught(&mutants);
}
