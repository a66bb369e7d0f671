//! [`Products`] over a stand-in for the driver and cuBLASLt (`standin.cpp`), compiled by the host's C++ compiler: which
//! algorithm is asked for, checked, timed, kept and run, and that layouts, scratch and biases are right; and that graphs
//! are captured, and given back whatever fails. It proves the host's side, and nothing about a card. The stand-in must be
//! found before the test's process begins: it runs in another.

use super::choices::Choices;
use super::graph::CardGraph;
use super::products::Products;
use super::shape::Shape;
use super::{BackendError, Context};
use crate::act::Number;
use crate::driver::{Matrix, Product};
use cudarc::driver::result;
use hone_kernels::Acc;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set in the process that has the stand-in: its folder.
const FOLDER: &str = "HONE_CUDA_STANDIN";

#[test]
fn products_over_a_stand_in() {
    if std::env::var_os(FOLDER).is_some() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("hone-standin-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("standin.cpp"), include_str!("standin.cpp")).unwrap();
    let compiler = std::env::var("CXX").unwrap_or("c++".to_owned());
    let mut compile = Command::new(compiler);
    let compile = compile.current_dir(&folder).args([
        "-std=c++17",
        "-O1",
        "-shared",
        "-fPIC",
        "-o",
        "libcuda.so",
        "standin.cpp",
    ]);
    let Ok(made) = compile.output() else {
        eprintln!("skipped: no C++ compiler");
        return;
    };
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    // One file, so that both libraries have one clock.
    std::fs::hard_link(folder.join("libcuda.so"), folder.join("libcublasLt.so")).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["card::standin::in_its_process", "--exact", "--ignored"])
        .env(FOLDER, &folder)
        .env("LD_LIBRARY_PATH", &folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    let shown = format!("{said}{}", String::from_utf8_lossy(&child.stderr));
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{shown}"
    );
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The stand-in's own questions.
struct Standin(libloading::Library);

impl Standin {
    fn ask<T: Copy + Default, const N: usize>(&self, name: &str) -> [T; N] {
        let mut out = [T::default(); N];
        // SAFETY: the stand-in's functions of this type write N such numbers.
        unsafe {
            let ask = self.0.get::<unsafe extern "C" fn(*mut T)>(name.as_bytes());
            ask.unwrap()(out.as_mut_ptr());
        }
        out
    }

    /// Heuristics asked, algorithms checked, products run, allocations alive.
    fn counts(&self) -> [u64; 4] {
        self.ask("standin_counts")
    }

    /// The algorithm that ran last: its number, and the library's sizes it was made for.
    fn last(&self) -> [u64; 4] {
        let words: [u64; 8] = self.ask("standin_last");
        [words[0], words[1], words[2], words[3]]
    }

    fn limit(&self, bytes: u64) {
        // SAFETY: the stand-in's function of this type.
        unsafe {
            let limit = self.0.get::<unsafe extern "C" fn(u64)>(b"standin_limit");
            limit.unwrap()(bytes);
        }
    }
}

/// Device memory of the stand-in, which is the host's.
fn memory(numbers: &[f32]) -> u64 {
    // SAFETY: the stand-in's memory is as long, and stays.
    unsafe {
        let at = result::malloc_sync(size_of_val(numbers).max(1)).unwrap();
        result::memcpy_htod_async(at, numbers, std::ptr::null_mut()).unwrap();
        at
    }
}

fn f32s(at: u64, len: usize) -> Vec<f32> {
    // SAFETY: the stand-in's memory, as long as the callers made it.
    unsafe { std::slice::from_raw_parts(at as *const f32, len) }.to_vec()
}

/// An f32 product of some memory. `wgrad` sums over tokens.
fn product(form: &str, tokens: usize, (out, input): (usize, usize), memory: [u64; 4]) -> Product {
    let matrix = |address, transposed| Matrix {
        address,
        number: Number::F32,
        transposed,
    };
    let [a, b, c, bias] = memory;
    let (rows, columns, depth, ta, tb) = match form {
        "forward" => (tokens, out, input, false, true),
        "dgrad" => (tokens, input, out, false, false),
        _ => (out, input, tokens, true, false),
    };
    Product {
        rows,
        columns,
        depth,
        a: matrix(a, ta),
        b: matrix(b, tb),
        bias: (form == "forward").then_some(bias),
        acc: if form == "wgrad" { Acc::Add } else { Acc::Set },
        c,
        c_number: Number::F32,
    }
}

/// What a product should make of what lies in memory.
fn plain(p: &Product) -> Vec<f32> {
    let (a, b) = (
        f32s(p.a.address, p.rows * p.depth),
        f32s(p.b.address, p.depth * p.columns),
    );
    let bias = p.bias.map(|at| f32s(at, p.columns));
    let mut c = match p.acc {
        Acc::Set => vec![0.0; p.rows * p.columns],
        Acc::Add => f32s(p.c, p.rows * p.columns),
    };
    for i in 0..p.rows {
        for j in 0..p.columns {
            for l in 0..p.depth {
                let x = if p.a.transposed {
                    a[l * p.rows + i]
                } else {
                    a[i * p.depth + l]
                };
                let y = if p.b.transposed {
                    b[j * p.depth + l]
                } else {
                    b[l * p.columns + j]
                };
                c[i * p.columns + j] += x * y;
            }
            c[i * p.columns + j] += bias.as_ref().map_or(0.0, |bias| bias[j]);
        }
    }
    c
}

const FORMS: [&str; 3] = ["forward", "dgrad", "wgrad"];
const SMALL: (usize, usize) = (12, 20);
/// 2.0 GFLOP at 416 tokens.
const LARGE: (usize, usize) = (3072, 768);

fn start(choices: Option<Choices>) -> Products {
    Products::new(std::ptr::null_mut(), choices).unwrap()
}

/// Runs in a process of its own.
#[test]
#[ignore = "products_over_a_stand_in runs it, where the stand-in is found"]
fn in_its_process() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("the stand-in's folder"));
    // SAFETY: the stand-in's initialisers are those of the C++ library.
    let library = unsafe { libloading::Library::new(folder.join("libcuda.so")) };
    let standin = Standin(library.unwrap());
    results_are_right_and_choices_are_by_bucket(&standin);
    what_came_first_does_not_matter(&standin);
    the_fastest_is_kept_and_replayed(&standin, &folder);
    graphs_are_captured_launched_and_given_back(&standin);
}

fn graphs_are_captured_launched_and_given_back(standin: &Standin) {
    let (stream, context) = (std::ptr::null_mut(), std::ptr::null_mut());
    let failure = |reason: &str| BackendError::Device {
        device: "the stand-in".to_owned(),
        reason: reason.to_owned(),
    };
    let capture = |queue: &dyn Fn() -> Result<(), BackendError>| {
        CardGraph::capture(stream, Context(context), queue, |_| failure("refused"))
    };
    // Graphs and executables alive, launches, whether the stream is being captured.
    let state = || standin.ask::<u64, 4>("standin_graphs");
    let graph = capture(&|| {
        assert_eq!(state(), [0, 0, 0, 1]);
        Ok(())
    });
    let graph = graph.unwrap();
    graph.launch(stream).unwrap();
    graph.launch(stream).unwrap();
    assert_eq!(state(), [0, 1, 2, 0], "the graph is no longer needed");
    drop(graph);
    assert_eq!(state(), [0, 0, 2, 0]);
    // What fails inside leaves the stream as it was.
    let failed = capture(&|| Err(failure("inside"))).err();
    assert_eq!(failed, Some(failure("inside")));
    assert_eq!(state(), [0, 0, 2, 0]);
    // SAFETY: the stand-in's function of this type.
    unsafe {
        let refuse = standin.0.get::<unsafe extern "C" fn()>(b"standin_refuse");
        refuse.unwrap()();
    }
    assert_eq!(capture(&|| Ok(())).err(), Some(failure("refused")));
    assert_eq!(state(), [0, 0, 2, 0]);
}

fn results_are_right_and_choices_are_by_bucket(standin: &Standin) {
    let products = start(None);
    // Small whole numbers: sums are exact in any order.
    let numbers = |n: usize, by: usize| {
        (0..n)
            .map(|k| (k * by % 7) as f32 - 3.0)
            .collect::<Vec<_>>()
    };
    let at = [
        numbers(104 * 20, 3),
        numbers(104 * 20, 5),
        numbers(104 * 20, 2),
        numbers(20, 4),
    ];
    let at = at.map(|x| memory(&x));
    for form in FORMS {
        let [asked, ..] = standin.counts();
        for tokens in [97, 104, 100, 97, 98] {
            let p = product(form, tokens, SMALL, at);
            let want = plain(&p);
            let [.., before, _] = standin.counts();
            products.queue(&p).unwrap();
            assert_eq!(f32s(p.c, want.len()), want, "{form}, {tokens}");
            assert_eq!(standin.counts()[2], before + 1, "one product");
        }
        let [now, checked, ..] = standin.counts();
        assert_eq!(now, asked + 1, "{form}: asked once for all from 97 to 104");
        products.queue(&product(form, 98, SMALL, at)).unwrap();
        assert_eq!(standin.counts()[1], checked, "checked once for a length");
        let preferred: [u32; 5] = standin.ask("standin_preferred");
        assert_eq!(preferred, [2, 256, 256, 256, 256]);
        // What the library refuses for 101 is asked for that very product, once.
        for _ in 0..2 {
            let p = product(form, 101, SMALL, at);
            let want = plain(&p);
            products.queue(&p).unwrap();
            assert_eq!(f32s(p.c, want.len()), want, "{form}, 101");
            assert!(standin.last().contains(&101));
            assert_eq!(standin.counts()[0], asked + 2, "{form}");
        }
    }
    // Another alignment is another choice.
    let [asked, ..] = standin.counts();
    let mut p = product("dgrad", 97, SMALL, at);
    p.a.address += 16;
    products.queue(&p).unwrap();
    assert_eq!(standin.counts()[0], asked + 1);
    let preferred: [u32; 5] = standin.ask("standin_preferred");
    assert_eq!(preferred, [2, 256, 16, 256, 256], "ours is the library's B");
}

fn what_came_first_does_not_matter(standin: &Standin) {
    let at = [104 * 20, 104 * 20, 104 * 20, 20].map(|n| memory(&vec![1.0; n]));
    let ran = |order: &[usize]| {
        let products = start(None);
        let mut ran: Vec<_> = order
            .iter()
            .map(|&tokens| {
                products
                    .queue(&product("wgrad", tokens, SMALL, at))
                    .unwrap();
                (tokens, standin.last())
            })
            .collect();
        ran.sort();
        ran
    };
    let one = ran(&[97, 101, 104, 99]);
    assert_eq!(one, ran(&[99, 104, 101, 97]));
    assert_eq!(one[0].1, [1, 20, 12, 104], "made for the border");
}

fn the_fastest_is_kept_and_replayed(standin: &Standin, folder: &Path) {
    let (out, input) = LARGE;
    // As long as 400 tokens need, and no longer: what is timed at the border has memory of its own.
    let at = [400 * out, input * out, input * out, out].map(|n| memory(&vec![1.0; n]));
    let open = || {
        let file = "products.txt".to_owned();
        Choices::open(&folder.join("kept"), file, std::sync::Arc::new(|_| ())).unwrap()
    };
    let queue = |products: &Products, form, tokens, sizes| {
        let [.., before, alive] = standin.counts();
        products.queue(&product(form, tokens, sizes, at)).unwrap();
        let [.., now, still] = standin.counts();
        assert_eq!(alive, still, "scratch is given back");
        now - before
    };
    let shape = |form, tokens| {
        Shape::of(&product(form, tokens, LARGE, at))
            .bucket()
            .to_string()
    };
    let timed = start(Some(open()));
    for form in FORMS {
        // Five candidates run, one refuses: a warm-up, five turns of eight, and the product itself.
        assert_eq!(
            queue(&timed, form, 400, LARGE),
            5 * (1 + 5 * 8) + 1,
            "{form}"
        );
        // 500 beats 1000 and 990; 495 is no 2 % better; what cannot run or asks for too much memory is out.
        assert_eq!(standin.last()[0], 3, "{form}");
        assert_eq!(queue(&timed, form, 390, LARGE), 1, "timed once");
        assert_eq!(open().get(&shape(form, 390)).map(|w| w[0]), Some(3));
    }
    assert_eq!(queue(&timed, "dgrad", 100, SMALL), 1, "not worth timing");
    assert_eq!(standin.last()[0], 1);
    let again = start(Some(open()));
    for form in FORMS {
        assert_eq!(queue(&again, form, 399, LARGE), 1, "{form}: replayed");
        assert_eq!(standin.last()[0], 3);
    }
    // What the library refuses is timed anew, and replaced.
    let mut choices = open();
    let name = shape("dgrad", 400);
    let kept = choices.get(&name);
    choices.keep(&name, [99; 8], kept);
    let mended = start(Some(open()));
    assert_eq!(queue(&mended, "dgrad", 400, LARGE), 5 * 41 + 1);
    assert_eq!(open().get(&name), kept);
    // Without room to measure in: the library's first, and nothing is kept.
    let poor = start(Some(open()));
    standin.limit(1 << 20);
    assert_eq!(queue(&poor, "forward", 300, LARGE), 1);
    standin.limit(u64::MAX);
    assert_eq!(standin.last()[0], 1);
    assert_eq!(open().get(&shape("forward", 300)), None);
}
