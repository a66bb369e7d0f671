//! `hone-card`: what is to be proven on a card and what its kernels reach, as one program that needs nothing but the
//! card. Each task prints one JSON object; `ok` in it says whether everything held, and so does the exit code (3: not).
//! The bundle's runner (`xtask/python/gpu/run.py`) calls it; on the CPU and on the emulator it does the same work.

mod graphs;
mod movement;
mod ops;
mod products;
mod rates;
mod suite;
mod trajectory;

use anyhow::{Result, anyhow, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use half::bf16;
use hone_bert::Config;
use hone_data::{Columns, Tokenizer, Truncate, read_labelled};
use hone_kernels::Backend;
use hone_kernels::conformance::Part;
use hone_kernels_cpu::CpuBackend;
use hone_kernels_cuda::card::Choice;
use hone_kernels_cuda::{Act, Card, CudaBackend, Driver, Emulator, Order, ProductRate, images};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "What is to be proven on a card, and what its kernels reach")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// What the device is
    About(On),
    /// Every operation beside the f64 reference
    Conformance {
        #[command(flatten)]
        on: On,
        /// Only these parts of the suite
        #[arg(long, value_name = "PART", value_delimiter = ',', value_parser = suite::part)]
        parts: Vec<Part>,
    },
    /// Every operation several times: the same bits
    Repeat {
        #[command(flatten)]
        on: On,
        /// How often
        #[arg(long, default_value_t = 4)]
        times: usize,
    },
    /// A hundred steps of a small BERT beside PyTorch's, ten with dropout beside the CPU's
    Trajectory {
        #[command(flatten)]
        on: On,
        /// crates/train/fixtures/trajectory
        #[arg(long, value_name = "DIR")]
        fixtures: PathBuf,
    },
    /// A hundred steps of a small BERT, captured as graphs and replayed, beside the same queued one by one: the same bits
    Graphs {
        #[command(flatten)]
        on: On,
        /// crates/train/fixtures/trajectory
        #[arg(long, value_name = "DIR")]
        fixtures: PathBuf,
    },
    /// Operations on ragged texts, with what they were given, for another program to judge
    Ops {
        #[command(flatten)]
        on: On,
        #[command(flatten)]
        size: Size,
        /// Safetensors file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Each operation's time, and its share of what products and copies reach
    Rates {
        #[command(flatten)]
        on: On,
        #[command(flatten)]
        size: Size,
        /// Rows and columns of the square product that others are held against
        #[arg(long, default_value_t = 8192)]
        product: usize,
        /// Time only the operations whose names begin so
        #[arg(long, value_name = "NAME", default_value = "")]
        only: String,
    },
    /// A layer's twelve products by cuBLASLt's first algorithms, and by the fastest of those it names
    Products {
        #[command(flatten)]
        on: On,
        /// Hidden size; the feed-forward's is four times that
        #[arg(long, default_value_t = 768)]
        hidden: usize,
        /// Numbers of tokens
        #[arg(long, value_delimiter = ',', default_value = "32768,4096,416")]
        tokens: Vec<usize>,
    },
    /// Word pieces of texts, a number a line
    Lengths {
        /// A model folder, for its tokenizer
        #[arg(long, value_name = "DIR")]
        model: PathBuf,
        /// Labelled texts
        #[arg(long, value_name = "FILE")]
        data: PathBuf,
        /// The first so many
        #[arg(long, default_value_t = 16384)]
        rows: usize,
    },
    /// How far apart two models moved from where they began
    Movement {
        /// The one
        one: PathBuf,
        /// The other
        other: PathBuf,
        /// Where both began
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
    },
}

/// Sizes of a layer and a batch.
#[derive(Args)]
struct Size {
    /// Hidden size; the feed-forward's is four times that
    #[arg(long, default_value_t = 768)]
    hidden: usize,
    /// Attention heads
    #[arg(long, default_value_t = 12)]
    heads: usize,
    /// Tokens of each text, and how many such texts: 128x256,512x4
    #[arg(long, value_delimiter = ',', default_value = "128x256")]
    texts: Vec<String>,
}

impl Size {
    fn shape(&self) -> Result<ops::Shape> {
        let mut lengths = Vec::new();
        for text in &self.texts {
            let parts = text.split_once('x').unwrap_or((text, "1"));
            let (Ok(length), Ok(count)) = (parts.0.parse::<usize>(), parts.1.parse::<usize>())
            else {
                bail!("--texts {text}: LENGTHxCOUNT was expected");
            };
            lengths.extend(std::iter::repeat_n(length, count));
        }
        if self.heads == 0 || !self.hidden.is_multiple_of(self.heads) || lengths.contains(&0) {
            bail!("--hidden must be a multiple of --heads, and no text may be empty");
        }
        Ok(ops::Shape {
            hidden: self.hidden,
            heads: self.heads,
            lengths,
        })
    }
}

#[derive(Args)]
struct On {
    /// Where it runs
    #[arg(long, value_enum, default_value_t = Place::Cuda)]
    device: Place,
    /// Numbers of activations
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// Where compiled kernels are kept
    #[arg(long, value_name = "DIR", default_value = "images")]
    images: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Place {
    /// An NVIDIA card, the first
    Cuda,
    /// The processor
    Cpu,
    /// The card's kernels on the processor (needs a C++ compiler)
    Emulator,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Precision {
    F32,
    Bf16,
}

/// Something to do on whichever backend it is.
trait Work {
    fn on<B: Backend>(self, open: &dyn Fn() -> Result<B>) -> Result<Value>;
}

/// What a card's products reach is known to its own backend alone.
type Peak<'a> = &'a dyn Fn() -> Result<f64>;

impl On {
    fn card<A: Act>(&self) -> Result<CudaBackend<Card, A>> {
        self.choosing(Choice::Heuristic)
    }

    fn choosing<A: Act>(&self, choice: Choice) -> Result<CudaBackend<Card, A>> {
        let tell = std::sync::Arc::new(|note: &str| eprintln!("{note}"));
        let card = Card::with(0, A::NUMBER, Some(&self.images), choice, tell)?;
        Ok(CudaBackend::new(card)?)
    }

    fn emulator<A: Act>(&self) -> Result<CudaBackend<Emulator, A>> {
        let emulator = Emulator::new(&self.images, Order::Forward);
        Ok(CudaBackend::new(emulator.map_err(|e| anyhow!(e))?)?)
    }

    fn run(&self, work: impl Work) -> Result<Value> {
        match (self.device, self.precision) {
            (Place::Cuda, Precision::F32) => work.on(&|| self.card::<f32>()),
            (Place::Cuda, Precision::Bf16) => work.on(&|| self.card::<bf16>()),
            (Place::Emulator, Precision::F32) => work.on(&|| self.emulator::<f32>()),
            (Place::Emulator, Precision::Bf16) => work.on(&|| self.emulator::<bf16>()),
            (Place::Cpu, Precision::F32) => work.on(&|| Ok(CpuBackend::new(threads()))),
            (Place::Cpu, Precision::Bf16) => bail!("the CPU computes in f32"),
        }
    }

    fn graphs(&self, fixtures: &Path) -> Result<Value> {
        fn beside<D: Driver, A: Act>(
            open: &dyn Fn() -> Result<CudaBackend<D, A>>,
            fixtures: &Path,
        ) -> Result<Value> {
            graphs::compare(open()?.with_graphs(), open()?.with_shapes(), fixtures)
        }
        match (self.device, self.precision) {
            (Place::Cuda, Precision::F32) => beside(&|| self.card::<f32>(), fixtures),
            (Place::Cuda, Precision::Bf16) => beside(&|| self.card::<bf16>(), fixtures),
            (Place::Emulator, Precision::F32) => beside(&|| self.emulator::<f32>(), fixtures),
            (Place::Emulator, Precision::Bf16) => beside(&|| self.emulator::<bf16>(), fixtures),
            (Place::Cpu, _) => bail!("the CPU has no graphs"),
        }
    }

    fn rates(&self, shape: &ops::Shape, size: usize, only: &str) -> Result<Value> {
        fn cuda<D: Driver, A: Act>(
            b: CudaBackend<D, A>,
            shape: &ops::Shape,
            size: usize,
            only: &str,
        ) -> Result<Value> {
            let product = ProductRate::new(&b, size)?;
            rates::measure(&b, shape, only, &|| Ok(product.measure(&b)?))
        }
        match (self.device, self.precision) {
            (Place::Cuda, Precision::F32) => cuda(self.card::<f32>()?, shape, size, only),
            (Place::Cuda, Precision::Bf16) => cuda(self.card::<bf16>()?, shape, size, only),
            (Place::Emulator, Precision::F32) => cuda(self.emulator::<f32>()?, shape, size, only),
            (Place::Emulator, Precision::Bf16) => cuda(self.emulator::<bf16>()?, shape, size, only),
            (Place::Cpu, Precision::Bf16) => bail!("the CPU computes in f32"),
            (Place::Cpu, Precision::F32) => {
                let b = CpuBackend::new(threads());
                rates::measure(&b, shape, only, &|| Ok(b.fma_rate()))
            }
        }
    }
}

impl On {
    /// By the host's clock on the processor, where nothing is chosen; by the card's own on a card.
    fn products(&self, hidden: usize, tokens: &[usize]) -> Result<Value> {
        fn cuda<A: Act>(on: &On, hidden: usize, tokens: &[usize], most: usize) -> Result<Value> {
            let (one, other) = (
                on.choosing::<A>(Choice::Heuristic)?,
                on.choosing::<A>(Choice::Timed)?,
            );
            let clock = |run: &mut dyn FnMut()| Ok(one.driver().seconds(run)?);
            let its = |run: &mut dyn FnMut()| Ok(other.driver().seconds(run)?);
            let mut heuristic = products::Layer::new(&one, hidden, most, &clock)?;
            let mut tuned = products::Layer::new(&other, hidden, most, &its)?;
            products::compare(&mut heuristic, Some(&mut tuned), tokens)
        }
        fn alone<B: Backend>(b: &B, hidden: usize, tokens: &[usize], most: usize) -> Result<Value> {
            let clock = |run: &mut dyn FnMut()| {
                b.sync()?;
                let start = std::time::Instant::now();
                run();
                b.sync()?;
                Ok(start.elapsed().as_secs_f64())
            };
            let mut layer = products::Layer::new(b, hidden, most, &clock)?;
            products::compare(&mut layer, None, tokens)
        }
        let most = tokens.iter().copied().max().unwrap_or(0);
        match (self.device, self.precision) {
            (Place::Cuda, Precision::F32) => cuda::<f32>(self, hidden, tokens, most),
            (Place::Cuda, Precision::Bf16) => cuda::<bf16>(self, hidden, tokens, most),
            (Place::Emulator, Precision::F32) => {
                alone(&self.emulator::<f32>()?, hidden, tokens, most)
            }
            (Place::Emulator, Precision::Bf16) => {
                alone(&self.emulator::<bf16>()?, hidden, tokens, most)
            }
            (Place::Cpu, Precision::Bf16) => bail!("the CPU computes in f32"),
            (Place::Cpu, Precision::F32) => {
                alone(&CpuBackend::new(threads()), hidden, tokens, most)
            }
        }
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

struct About;

impl Work for About {
    fn on<B: Backend>(self, open: &dyn Fn() -> Result<B>) -> Result<Value> {
        let start = std::time::Instant::now();
        let backend = open()?;
        backend.sync()?;
        let seconds = start.elapsed().as_secs_f64();
        let (path, embedded) = (backend.path(), images::embedded());
        Ok(
            json!({"ok": true, "path": path, "open_seconds": seconds, "images_in_the_binary": embedded}),
        )
    }
}

/// A line for each text: its word pieces, special ones included.
fn lengths(model: &Path, data: &Path, rows: usize) -> Result<String> {
    let config = Config::read(&Config::path_in(model))?;
    let tokenizer = Tokenizer::load(model, config.vocabulary)?;
    let mut part = read_labelled(data, &Columns::default())?;
    part.rows.truncate(rows);
    let texts = tokenizer.encode_rows(&part.rows, config.positions, Truncate::Head)?;
    Ok(texts.iter().map(|t| format!("{}\n", t.ids.len())).collect())
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::About(on) => on.run(About),
        Task::Conformance { on, parts } => on.run(suite::Conformance {
            parts: match parts.is_empty() {
                true => Part::ALL.to_vec(),
                false => parts,
            },
        }),
        Task::Repeat { on, times } => on.run(suite::Repeat { times }),
        Task::Trajectory { on, fixtures } => on.run(trajectory::Trajectory {
            fixtures: &fixtures,
            rounded: on.precision == Precision::Bf16,
        }),
        Task::Graphs { on, fixtures } => on.graphs(&fixtures),
        Task::Ops { on, size, out } => size.shape().and_then(|shape| {
            on.run(ops::Dump {
                shape: &shape,
                out: &out,
            })
        }),
        Task::Rates {
            on,
            size,
            product,
            only,
        } => size
            .shape()
            .and_then(|shape| on.rates(&shape, product, &only)),
        Task::Products { on, hidden, tokens } => on.products(hidden, &tokens),
        Task::Lengths { model, data, rows } => {
            return match lengths(&model, &data, rows) {
                Ok(lines) => {
                    print!("{lines}");
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    eprintln!("{error:#}");
                    ExitCode::FAILURE
                }
            };
        }
        Task::Movement { one, other, from } => movement::compare(&one, &other, &from),
    };
    match done {
        Ok(value) => {
            println!("{value}");
            match value["ok"] == json!(false) {
                true => ExitCode::from(3),
                false => ExitCode::SUCCESS,
            }
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
