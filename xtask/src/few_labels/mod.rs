//! `cargo xtask few-labels`: what `hone train` is worth with few labels when nobody tells it how, beside Trainer's
//! defaults, the advice of Mosbach et al. 2021, and logistic regression on frozen features and on words.
//!
//! Every system trains on the same drawn subsets and answers the same rows. Runs are appended to a journal, so that the
//! measurement can be stopped and gone on with; tables and verdicts are made from the journal alone (`--report`). A cell that
//! `hone` trains goes on from the checkpoint that it wrote when it was interrupted. What was measured last lies in
//! `benches/results/few-labels-*.jsonl.gz`, to be gone on from.

mod cell;
mod journal;
mod python_random;
mod report;
mod statistics;
mod subsets;
mod systems;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result, bail};
use journal::{Journal, Run, metric};
use statistics::Metric;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use subsets::Set;
use systems::{Answers, Bench, COMPARED, System};

#[derive(clap::Args)]
pub struct Args {
    /// Folder with a folder for each data set: train.csv and test.csv (else dev.csv), or all.csv; columns text, label
    /// and, for pairs, text_b
    #[arg(long, required_unless_present = "report")]
    data: Option<PathBuf>,
    /// Folder for journal.jsonl, report.md and report.json; what its journal has is not done again
    #[arg(long)]
    out: PathBuf,
    /// A model's folder, or a name in the cache
    #[arg(long, default_value = "minilm")]
    model: String,
    /// The binary, built with `cargo build --release`
    #[arg(long, default_value = "target/release/hone")]
    hone: PathBuf,
    /// What `hone` computes on: cpu, cuda or cuda:N; features for logistic regression are always the processor's
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Data sets
    #[arg(long, value_delimiter = ',', default_values = ["imdb", "subj", "banking77", "rte"])]
    sets: Vec<String>,
    /// Training texts
    #[arg(long, value_delimiter = ',', default_values_t = [100, 500, 2000])]
    sizes: Vec<usize>,
    /// Subsets of each size [default: 10, of 2 000 texts and more 5]
    #[arg(long)]
    subsets: Option<u64>,
    /// Systems: recipe, trainer, mosbach, mean-lr, tf-idf-lr [default: all of them]
    #[arg(long, value_delimiter = ',')]
    systems: Vec<String>,
    /// Only cells whose "SET SIZE" contains this
    #[arg(long)]
    only: Option<String>,
    /// Run Trainer's defaults in PyTorch too, on so many subsets of each cell, to compare the scores
    #[arg(long, default_value_t = 0)]
    check: u64,
    /// A Python with torch and transformers, for --check
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// The script that fine-tunes there (--model --train --test --batch --lr --epochs --warmup --weight-decay
    /// --max-length --seed; prints JSON with test.accuracy, .macro_f1, .matthews), for --check
    #[arg(long)]
    torch_script: Option<PathBuf>,
    /// Measure nothing; make the tables of the journal anew
    #[arg(long)]
    report: bool,
}

/// A run that is to be done.
struct Task {
    set: usize,
    size: usize,
    subset: u64,
    system: System,
}

impl Args {
    fn systems(&self) -> Result<Vec<System>> {
        if self.systems.is_empty() {
            return Ok(COMPARED.to_vec());
        }
        let find = |name: &String| {
            let known = COMPARED.iter().find(|s| s.name() == name);
            known.copied().with_context(|| {
                let all: Vec<&str> = COMPARED.iter().map(|s| s.name()).collect();
                format!("--systems {name}: there are {}", all.join(", "))
            })
        };
        self.systems.iter().map(find).collect()
    }

    fn subsets(&self, size: usize) -> u64 {
        self.subsets.unwrap_or(if size < 2000 { 10 } else { 5 })
    }

    /// All runs, small sizes first, all systems of a subset together, so that what is there early is comparable.
    fn tasks(&self, sets: &[Set]) -> Result<Vec<Task>> {
        let systems = self.systems()?;
        let mut tasks = Vec::new();
        for &size in &self.sizes {
            for subset in 1..=self.subsets(size) {
                for (set, found) in sets.iter().enumerate() {
                    let cell = format!("{} {size}", found.name);
                    if self.only.as_ref().is_some_and(|only| !cell.contains(only)) {
                        continue;
                    }
                    let check = (subset <= self.check).then_some(System::PyTorch);
                    for system in systems.iter().copied().chain(check) {
                        tasks.push(Task {
                            set,
                            size,
                            subset,
                            system,
                        });
                    }
                }
            }
        }
        Ok(tasks)
    }
}

/// Most word pieces of a set's texts; none: the model's limit.
fn max_length(set: &str) -> Option<usize> {
    (set == "imdb").then_some(256)
}

/// Seconds of what is done, by what they depend on, and so of what is left.
#[derive(Default)]
struct Clock {
    spent: BTreeMap<(usize, usize, System), (f64, f64)>,
}

impl Clock {
    fn add(&mut self, task: &Task, seconds: f64) {
        let entry = self
            .spent
            .entry((task.set, task.size, task.system))
            .or_default();
        *entry = (entry.0 + seconds, entry.1 + 1.0);
    }

    /// Seconds of one more such run: the mean of those before, else by the same system and size, else by any.
    fn expect(&self, task: &Task) -> Option<f64> {
        let mean = |fits: &dyn Fn(&(usize, usize, System)) -> bool| {
            let (sum, count) = self
                .spent
                .iter()
                .filter(|(key, _)| fits(key))
                .fold((0.0, 0.0), |(s, n), (_, (t, m))| (s + t, n + m));
            (count > 0.0).then(|| sum / count)
        };
        mean(&|k| *k == (task.set, task.size, task.system))
            .or_else(|| mean(&|k| (k.1, k.2) == (task.size, task.system)))
            .or_else(|| mean(&|k| k.2 == task.system))
            .or_else(|| mean(&|_| true))
    }
}

/// The exit code of what was interrupted.
const INTERRUPTED: u8 = 130;

/// Raised by the first interrupt, which is otherwise left to what runs: from a terminal `hone` gets it too, and writes its
/// checkpoint. The second one ends the process.
static STOP: AtomicBool = AtomicBool::new(false);

fn watch() -> Result<&'static AtomicBool> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED.into());
        }
        eprintln!(
            "stopping once what runs has written down where it is; interrupt again to stop at once"
        );
    })
    .context("interrupts cannot be caught")?;
    Ok(&STOP)
}

pub fn run(args: &Args) -> Result<ExitCode> {
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let mut journal = Journal::open(&args.out)?;
    if !args.report && !measure(args, &mut journal, watch()?)? {
        eprintln!("interrupted; running the same command again goes on");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let report = report::report(&journal);
    let text = report.markdown();
    let write = |name: &str, text: &str| {
        let path = args.out.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    };
    write("report.md", &text)?;
    write(
        "report.json",
        &(serde_json::to_string_pretty(&report)? + "\n"),
    )?;
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}

/// Does what the journal has not; false where it was interrupted.
fn measure(args: &Args, journal: &mut Journal, stop: &'static AtomicBool) -> Result<bool> {
    if !args.hone.is_file() {
        bail!(
            "{} is missing: run `cargo build --release` first",
            args.hone.display()
        );
    }
    if args.check > 0 && args.torch_script.is_none() {
        bail!("--check needs --torch-script, and a --python with torch and transformers");
    }
    let data = args.data.as_deref().context("--data is missing")?;
    let sets: Vec<Set> = args
        .sets
        .iter()
        .map(|name| Set::read(&data.join(name)))
        .collect::<Result<_>>()?;
    let torch = args
        .torch_script
        .clone()
        .map(|script| (args.python.clone(), script));
    // A program is looked for where it is started; this one is not started here.
    let hone = std::fs::canonicalize(&args.hone)?;
    let work = args.out.join("work");
    let model = args.model.clone();
    let mut bench = Bench::new(hone, model, args.device.clone(), torch, stop)?;
    let tasks = args.tasks(&sets)?;
    let key = |task: &Task| {
        let name = sets[task.set].name.clone();
        (name, task.size, task.subset, task.system.name().to_owned())
    };
    let total = tasks.len();
    let left: Vec<Task> = tasks
        .into_iter()
        .filter(|task| !journal.runs.contains_key(&key(task)))
        .collect();
    let known = total - left.len();
    if known > 0 {
        eprintln!("{known} of {total} runs are in the journal");
    }
    let mut clock = Clock::default();
    for (done, task) in left.iter().enumerate() {
        if stop.load(Ordering::SeqCst) {
            return Ok(false);
        }
        let set = &sets[task.set];
        journal.judged_by(set)?;
        let train = set.draw(task.size, task.subset)?;
        let started = Instant::now();
        let how = (task.subset, max_length(&set.name));
        let name = task.system.name();
        let folder = work.join(format!("{}-{}-{}-{name}", set.name, task.size, task.subset));
        let answers = bench
            .run(task.system, set, &train, how, &folder)
            .with_context(|| {
                format!("{} {}, subset {}, {name}", set.name, task.size, task.subset)
            })?;
        let Some(answers) = answers else {
            return Ok(false);
        };
        clock.add(task, started.elapsed().as_secs_f64());
        let run = judged(set, task, answers);
        let expected = left[done + 1..]
            .iter()
            .filter_map(|t| clock.expect(t))
            .sum::<f64>();
        eprintln!(
            "{}/{total}  {} {}, subset {}, {}: {} {:.4}, trained in {:.1} {}; {} left",
            known + done + 1,
            set.name,
            task.size,
            task.subset,
            run.system,
            metric(&set.name).name(),
            run.score,
            run.seconds,
            match &*run.device {
                "cpu" => "processor seconds",
                _ => "seconds",
            },
            span(expected)
        );
        journal.add(run)?;
        cell::remove(&folder);
    }
    Ok(true)
}

/// A run with its scores.
fn judged(set: &Set, task: &Task, answers: Answers) -> Run {
    let truth: Vec<u16> = set.test.iter().map(|r| r.label as u16).collect();
    let metric = metric(&set.name);
    let (score, accuracy) = match answers.scores {
        Some([accuracy, f1, matthews]) => match metric {
            Metric::MacroF1 => (f1, accuracy),
            Metric::Matthews => (matthews, accuracy),
        },
        None => {
            let right = truth.iter().zip(&answers.said).filter(|(t, s)| t == s);
            let even = vec![1; truth.len()];
            (
                metric.score(&truth, &answers.said, &even, set.labels.len()),
                right.count() as f64 / truth.len().max(1) as f64,
            )
        }
    };
    Run {
        set: set.name.clone(),
        size: task.size,
        subset: task.subset,
        system: task.system.name().to_owned(),
        score,
        accuracy,
        seconds: answers.seconds,
        device: answers.device,
        said: answers.said,
    }
}

/// Seconds as a person says them.
fn span(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{:.0} s", s.max(0.0)),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
