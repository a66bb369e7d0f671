//! The systems that are compared: each trains on a subset and answers the judged rows.

use super::INTERRUPTED;
use super::cell::Cell;
use super::subsets::{Row, Set};
use anyhow::{Context, Result, bail};
use hone_bert::{Config, HeadChoice, Model, Pool, Task};
use hone_data::{Row as Text, Tokenizer, Truncate, folds};
use hone_experiment::{Logistic, TfIdf};
use hone_hub::Hub;
use hone_kernels_cpu::CpuBackend;
use hone_train::{EvalBatches, Features, Tokenising, features, unlabelled};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// A system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// `hone train` as it comes.
    Recipe,
    /// The defaults of transformers' Trainer.
    Trainer,
    /// The advice of Mosbach et al. 2021.
    Mosbach,
    /// Logistic regression on the frozen encoder's mean over tokens.
    Mean,
    /// Logistic regression on TF-IDF.
    Words,
    /// The defaults of transformers' Trainer, in PyTorch: a check of the one above.
    PyTorch,
}

/// All that are compared; the first is judged against the others.
pub const COMPARED: [System; 5] = [
    System::Recipe,
    System::Trainer,
    System::Mosbach,
    System::Mean,
    System::Words,
];

impl System {
    /// As options and the journal say it.
    pub fn name(self) -> &'static str {
        match self {
            System::Recipe => "recipe",
            System::Trainer => "trainer",
            System::Mosbach => "mosbach",
            System::Mean => "mean-lr",
            System::Words => "tf-idf-lr",
            System::PyTorch => "pytorch-trainer",
        }
    }

    /// The flags of `hone train`, where it is one; `recipe` is none.
    fn flags(self) -> Option<&'static str> {
        match self {
            System::Recipe => Some(""),
            // transformers.TrainingArguments: learning_rate 5e-5, per_device_train_batch_size 8, num_train_epochs 3,
            // lr_scheduler_type linear, warmup 0, weight_decay 0, max_grad_norm 1.
            System::Trainer => Some(
                "--recipe standard --valid none --select last --lr 5e-5 --head-lr 5e-5 --batch-size 8 --epochs 3 \
                 --warmup 0 --weight-decay 0",
            ),
            // "On the Stability of Fine-tuning BERT", section 6, and the configurations in the authors' repository:
            // 20 epochs, batch 16, 2e-5, 10 % warm-up, then linear, decay 0.01, epsilon 1e-6, clipping at 1.
            System::Mosbach => Some(
                "--recipe standard --valid none --select last --lr 2e-5 --head-lr 2e-5 --batch-size 16 --epochs 20 \
                 --warmup 0.1 --weight-decay 0.01 --eps 1e-6",
            ),
            System::Mean | System::Words | System::PyTorch => None,
        }
    }
}

/// What a system said, and what it took.
pub struct Answers {
    /// Place of the label given to each judged row; empty where only the score is known.
    pub said: Vec<u16>,
    /// The score, where only that is known: accuracy, macro-F1, Matthews.
    pub scores: Option<[f64; 3]>,
    /// Processor seconds of training, all threads together, so that what else the machine does hardly counts; by the clock
    /// where a GPU computed.
    pub seconds: f64,
    /// What computed.
    pub device: String,
}

/// Processor seconds of this process and of the children it waited for, from proc(5)'s `stat`, in hundredths (`USER_HZ`).
fn processor_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
    spent(&stat).context("/proc/self/stat: utime, stime, cutime and cstime were expected")
}

/// Fields 14 to 17; the second, the program's name in brackets, may hold anything.
fn spent(stat: &str) -> Option<f64> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut ticks = 0.0;
    let fields: Vec<&str> = after.split_whitespace().skip(11).take(4).collect();
    for field in &fields {
        ticks += field.parse::<f64>().ok()?;
    }
    (fields.len() == 4).then_some(ticks / 100.0)
}

/// Inverse penalties for features of deviation 1.
const DENSE: [f64; 6] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];
/// Inverse penalties for TF-IDF's short rows.
const SPARSE: [f64; 5] = [0.1, 1.0, 10.0, 100.0, 1000.0];
/// Folds by which the penalty is chosen, within the training rows.
const FOLDS: usize = 5;
/// What another label than the set's would be.
const NONE: u16 = u16::MAX;

/// Where systems are found and run.
pub struct Bench {
    /// The binary.
    pub hone: PathBuf,
    /// The model, as the binary takes it.
    pub model: String,
    /// What the binary computes on.
    pub device: String,
    /// Its folder.
    pub folder: PathBuf,
    /// A Python with torch and transformers, and the script that fine-tunes there.
    pub torch: Option<(PathBuf, PathBuf)>,
    /// Raised by an interrupt.
    pub stop: &'static AtomicBool,
    backend: Arc<CpuBackend>,
    threads: usize,
    /// Features of judged rows by set.
    judged: BTreeMap<String, Features>,
}

impl Bench {
    pub fn new(
        hone: PathBuf,
        model: String,
        device: String,
        torch: Option<(PathBuf, PathBuf)>,
        stop: &'static AtomicBool,
    ) -> Result<Bench> {
        let folder = match Path::new(&model).is_dir() {
            true => PathBuf::from(&model),
            false => match Hub::from_env()?.cached(&model, "main")? {
                Some(found) => found.folder,
                None => bail!("--model {model}: not in the cache; run `hone fetch {model}` first"),
            },
        };
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        Ok(Bench {
            hone,
            model,
            device,
            folder,
            torch,
            stop,
            backend: Arc::new(CpuBackend::new(threads)),
            threads,
            judged: BTreeMap::new(),
        })
    }

    /// Trains on `train` and answers the set's judged rows; nothing where it was interrupted. `work` is the cell's folder:
    /// what `hone` had reached when it was interrupted is kept there and gone on from.
    pub fn run(
        &mut self,
        system: System,
        set: &Set,
        train: &[&Row],
        (seed, max_length): (u64, Option<usize>),
        work: &Path,
    ) -> Result<Option<Answers>> {
        match (system, system.flags()) {
            (_, Some(flags)) => self.hone(flags, set, train, (seed, max_length), work),
            (System::Mean, _) => self.mean(set, train, max_length),
            (System::Words, _) => self.words(set, train),
            _ => self.pytorch(set, train, (seed, max_length), work),
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn hone(
        &self,
        flags: &str,
        set: &Set,
        train: &[&Row],
        (seed, max_length): (u64, Option<usize>),
        work: &Path,
    ) -> Result<Option<Answers>> {
        let cell = Cell::open(work.to_owned(), &self.device)?;
        let (own, test) = cell.files(set, train)?;
        let out = cell.run();
        let mut command = Command::new(&self.hone);
        command.args(["train", "--device", &self.device, "--model", &self.model]);
        command.arg("--data").arg(&own);
        command.arg("--out").arg(&out);
        command.args(["--seed", &seed.to_string()]);
        if let Some(n) = max_length {
            command.args(["--max-length", &n.to_string()]);
        }
        command.args(flags.split_whitespace());
        let mut seconds = cell.before.unwrap_or_default();
        if !cell.is_trained() {
            if cell.before.is_some() {
                command.arg("--resume");
            }
            let (before, started) = (processor_seconds()?, Instant::now());
            let done = output(command)?;
            seconds += match &*self.device {
                "cpu" => processor_seconds()? - before,
                _ => started.elapsed().as_secs_f64(),
            };
            if done.is_none() {
                cell.keep(seconds, &self.device)?;
                return Ok(None);
            }
        }
        let mut command = Command::new(&self.hone);
        command.args(["predict", "--device", &self.device, "--model"]);
        command.arg(&out);
        command.arg("--data").arg(&test);
        let Some(answers) = output(command)? else {
            cell.keep(seconds, &self.device)?;
            return Ok(None);
        };
        let mut said = Vec::with_capacity(set.test.len());
        for line in answers.lines() {
            let answer: Value = serde_json::from_str(line).context("hone predict")?;
            let label = answer["label"]
                .as_str()
                .context("an answer without a label")?;
            let place = set.labels.iter().position(|l| l == label);
            said.push(place.map_or(NONE, |p| p as u16));
        }
        if said.len() != set.test.len() {
            bail!("{} answers to {} rows", said.len(), set.test.len());
        }
        Ok(Some(Answers {
            said,
            scores: None,
            seconds,
            device: self.device.clone(),
        }))
    }

    fn pytorch(
        &self,
        set: &Set,
        train: &[&Row],
        (seed, max_length): (u64, Option<usize>),
        work: &Path,
    ) -> Result<Option<Answers>> {
        let Some((python, script)) = &self.torch else {
            bail!("--check needs --python and --torch-script");
        };
        let cell = Cell::open(work.to_owned(), "cpu")?;
        let (own, test) = cell.files(set, train)?;
        let mut command = Command::new(python);
        command.arg(script).arg("--model").arg(&self.folder);
        command.arg("--train").arg(&own).arg("--test").arg(&test);
        command.args("--batch 8 --lr 5e-5 --epochs 3 --warmup 0 --weight-decay 0".split(' '));
        command.args(["--seed", &seed.to_string()]);
        command.args(["--max-length", &max_length.unwrap_or(512).to_string()]);
        let before = processor_seconds()?;
        let Some(said) = output(command)? else {
            return Ok(None);
        };
        let seconds = processor_seconds()? - before;
        let found: Value = serde_json::from_str(said.trim()).context("the PyTorch script")?;
        let number = |key: &str| found["test"][key].as_f64().context("a score is missing");
        Ok(Some(Answers {
            said: Vec::new(),
            scores: Some([
                number("accuracy")?,
                number("macro_f1")?,
                number("matthews")?,
            ]),
            seconds,
            device: "cpu".to_owned(),
        }))
    }

    fn mean(
        &mut self,
        set: &Set,
        train: &[&Row],
        max_length: Option<usize>,
    ) -> Result<Option<Answers>> {
        if !self.judged.contains_key(&set.name) {
            let all: Vec<&Row> = set.test.iter().collect();
            let Some(read) = self.features(&all, set, max_length)? else {
                return Ok(None);
            };
            self.judged.insert(set.name.clone(), read);
        }
        let before = processor_seconds()?;
        let Some(own) = self.features(train, set, max_length)? else {
            return Ok(None);
        };
        let labels: Vec<usize> = train.iter().map(|r| r.label).collect();
        let classes = set.labels.len();
        let c = self.strongest(&labels, &DENSE, |fitted, held, c| {
            let model = Logistic::fit(&own, fitted, &labels, classes, c);
            let right = held
                .iter()
                .filter(|&&r| model.predict(own.row(r as usize)) == labels[r as usize]);
            right.count()
        });
        let Some(c) = c else {
            return Ok(None);
        };
        let rows: Vec<u32> = (0..train.len() as u32).collect();
        let model = Logistic::fit(&own, &rows, &labels, classes, c);
        let seconds = processor_seconds()? - before;
        let judged = &self.judged[&set.name];
        let said = (0..judged.rows).map(|i| model.predict(judged.row(i)) as u16);
        Ok(Some(Answers {
            said: said.collect(),
            scores: None,
            seconds,
            device: "cpu".to_owned(),
        }))
    }

    /// The encoder's features of rows; nothing where it was interrupted.
    fn features(
        &self,
        rows: &[&Row],
        set: &Set,
        max_length: Option<usize>,
    ) -> Result<Option<Features>> {
        let config = Config::read(&Config::path_in(&self.folder))?;
        let tokenizer = Tokenizer::load(&self.folder, config.vocabulary)?;
        let how = Tokenising {
            tokenizer: &tokenizer,
            max_length: max_length.unwrap_or(config.positions),
            truncate: Truncate::Head,
        };
        let texts: Vec<Text> = (1..)
            .zip(rows)
            .map(|(line, row)| Text {
                text_b: row.text_b.clone(),
                ..Text::text(line, row.text.clone())
            })
            .collect();
        let (examples, _) = unlabelled(&texts, Task::Classify, how)?;
        let labels = set.labels.clone();
        let head = HeadChoice::New;
        let backend = self.backend.clone();
        let (model, _) = Model::load(backend, &self.folder, Task::Classify, labels, &head, 0)?;
        let usual = EvalBatches::USUAL;
        let going = |_| !self.stopped();
        Ok(features(&model, &examples, Pool::Mean, usual, going)?)
    }

    fn words(&self, set: &Set, train: &[&Row]) -> Result<Option<Answers>> {
        let joined = |row: &Row| match &row.text_b {
            Some(b) => format!("{} {b}", row.text),
            None => row.text.clone(),
        };
        let before = processor_seconds()?;
        let texts: Vec<String> = train.iter().map(|r| joined(r)).collect();
        let labels: Vec<usize> = train.iter().map(|r| r.label).collect();
        let classes = set.labels.len();
        let c = self.strongest(&labels, &SPARSE, |fitted, held, c| {
            let own: Vec<&str> = fitted.iter().map(|&r| &*texts[r as usize]).collect();
            let of: Vec<usize> = fitted.iter().map(|&r| labels[r as usize]).collect();
            let model = TfIdf::fit_with(&own, &of, classes, c);
            let right = held
                .iter()
                .filter(|&&r| model.predict(&texts[r as usize]) == labels[r as usize]);
            right.count()
        });
        let Some(c) = c else {
            return Ok(None);
        };
        let model = TfIdf::fit_with(&texts, &labels, classes, c);
        let seconds = processor_seconds()? - before;
        let said = set.test.iter().map(|r| model.predict(&joined(r)) as u16);
        Ok(Some(Answers {
            said: said.collect(),
            scores: None,
            seconds,
            device: "cpu".to_owned(),
        }))
    }

    /// The penalty by which most held-out training rows are right; of equals the strongest. Nothing where it was
    /// interrupted.
    fn strongest(
        &self,
        labels: &[usize],
        penalties: &[f64],
        right: impl Fn(&[u32], &[u32], f64) -> usize + Sync,
    ) -> Option<f64> {
        let rows = labels.len() as u32;
        let keys: Vec<Vec<String>> = (0..rows).map(|r| vec![r.to_string()]).collect();
        let strata: Vec<Vec<u32>> = labels.iter().map(|&l| vec![l as u32]).collect();
        // No two rows belong together, so only fewer rows than folds could fail.
        let parts = folds(&keys, &strata, FOLDS, 1).unwrap_or_default();
        let jobs: Vec<(usize, usize)> = (0..penalties.len())
            .flat_map(|c| (0..parts.len()).map(move |f| (c, f)))
            .collect();
        let counts: Vec<AtomicUsize> = penalties.iter().map(|_| AtomicUsize::new(0)).collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| {
                    while let Some(&(c, f)) = jobs.get(next.fetch_add(1, Ordering::Relaxed))
                        && !self.stopped()
                    {
                        let held = &parts[f];
                        let fitted: Vec<u32> = (0..rows)
                            .filter(|r| held.binary_search(r).is_err())
                            .collect();
                        counts[c].fetch_add(right(&fitted, held, penalties[c]), Ordering::Relaxed);
                    }
                });
            }
        });
        if self.stopped() {
            return None;
        }
        let mut best = (0, penalties[0]);
        for (count, &c) in counts.iter().zip(penalties) {
            let count = count.load(Ordering::Relaxed);
            if count > best.0 {
                best = (count, c);
            }
        }
        Some(best.1)
    }
}

/// An interrupt's number.
const SIGINT: i32 = 2;

/// Whether a command ended by an interrupt: its own way, as `hone` does where it has something to write down, or at once.
fn interrupted(status: ExitStatus) -> bool {
    status.code() == Some(INTERRUPTED.into()) || status.signal() == Some(SIGINT)
}

/// Standard output of a command that must succeed; nothing where it was interrupted.
fn output(mut command: Command) -> Result<Option<String>> {
    let shown = format!("{command:?}");
    let out = command.output().with_context(|| shown.clone())?;
    if interrupted(out.status) {
        return Ok(None);
    }
    if !out.status.success() {
        bail!("{shown}: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(Some(String::from_utf8_lossy(&out.stdout).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_is_neither_success_nor_failure() {
        let of = |raw: i32| interrupted(ExitStatus::from_raw(raw));
        assert!(of(SIGINT) && of(130 << 8));
        assert!(!of(0) && !of(1 << 8) && !of(9));
    }

    #[test]
    fn processor_time_is_read_behind_any_program_name() {
        let stat = "7 (a b) 9) S 1 7 7 0 -1 4194560 1 2 3 4 150 25 300 75 20 0 1 0";
        assert_eq!(spent(stat), Some(5.5));
        assert_eq!(spent("7 (a) S 1 7"), None);
        let before = processor_seconds().expect("proc");
        assert!(before >= 0.0 && processor_seconds().expect("proc") >= before);
    }
}
