//! A whole run: model and data in, a folder with a fine-tuned model out.

use crate::checkpoint::{Checkpoints, Identity};
use crate::evaluate::{EvalBatches, evaluate};
use crate::events::{Event, Sink};
use crate::metrics::Metrics;
use crate::prepare::{TextReceipt, Tokenising, labelled, task_of};
use crate::{
    Ending, EpochTexts, Examples, FrozenPrefix, JobData, Options, TrainError, Training, WordUpdates,
};
use hone_bert::{Config, HeadChoice, Model};
use hone_data::augment::Augmenter;
use hone_data::{Tokenizer, Truncate, sha256_file};
use hone_kernels::Backend;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Where the weights begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the folder's; its head is kept where its labels are the data's.
    Pretrained,
    /// With the folder's, and a new head.
    NewHead,
    /// With random ones: training from scratch.
    Scratch,
}

/// A run to do.
pub struct Job<'a> {
    /// Folder of the pre-trained model.
    pub model: &'a Path,
    /// Where the weights begin.
    pub start: Start,
    /// The data.
    pub data: &'a JobData,
    /// Hyperparameters.
    pub options: &'a Options,
    /// Most tokens of a text; none: the model's limit.
    pub max_length: Option<usize>,
    /// What is kept of a longer text.
    pub truncate: Truncate,
    /// Whether warnings about the data are errors.
    pub strict: Strictness,
    /// Output folder; none: nothing is written.
    pub out: Option<&'a Path>,
    /// Whether to continue from the newest checkpoint.
    pub resume: bool,
    /// What becomes of the outputs of frozen lower layers.
    pub frozen: FrozenPrefix,
    /// When words that a step's texts do not hold take the step.
    pub words: WordUpdates,
    /// What changes the training texts from epoch to epoch; none: nothing.
    pub augment: Option<&'a Augmenter>,
}

/// What a warning about the data does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// It is said.
    Warn,
    /// It ends the run.
    Fail,
}

/// Metrics of a part in a summary.
#[derive(Debug, Clone, Serialize)]
pub struct PartSummary {
    /// Whether these rows chose the weights.
    pub used_for_selection: bool,
    /// What was found.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// What became of the texts.
    pub texts: TextReceipt,
}

/// `summary.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Validation part.
    pub valid: Option<PartSummary>,
    /// Test part.
    pub test: Option<PartSummary>,
    /// Mean training loss over the last epoch's worth of steps.
    pub train_loss: f64,
    /// Training texts.
    pub train_texts: TextReceipt,
    /// Step whose weights were kept.
    pub best_step: usize,
    /// Steps done.
    pub steps: usize,
    /// How training ended.
    pub ending: &'static str,
    /// Tokens trained on.
    pub train_tokens: u64,
    /// Tokens per second of training, evaluations left out.
    pub tokens_per_s: f64,
    /// Memory that was planned before the first step.
    pub planned_memory_bytes: u64,
    /// Most memory the process held.
    pub peak_memory_bytes: Option<u64>,
    /// Seconds of the run.
    pub seconds: f64,
    /// The run's seed.
    pub seed: u64,
    /// Arithmetic path.
    pub kernel_path: String,
    /// Hone's version.
    pub version: &'static str,
    /// SHA-256 by role.
    pub hashes: BTreeMap<String, String>,
    /// Parameters drawn anew, tensors ignored.
    pub weights: String,
}

/// A model after its run.
pub struct Done<B: Backend> {
    /// The fine-tuned model.
    pub model: Model<B>,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// What `summary.json` holds.
    pub summary: Summary,
    /// How training ended.
    pub ending: Ending,
}

struct Prepared {
    examples: Examples,
    receipt: TextReceipt,
}

impl Job<'_> {
    /// Does the run.
    pub fn run<B: Backend>(
        &self,
        backend: Arc<B>,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Done<B>, TrainError> {
        let started = Instant::now();
        let data = self.data;
        for text in &data.notes {
            sink.event(&Event::Note { text: text.clone() });
        }
        self.warn(sink, &data.warnings)?;
        let task = task_of(data.kind);
        let config = Config::read(&Config::path_in(self.model))?;
        let tokenizer = Tokenizer::load(self.model, config.vocabulary)?;
        let labels = data.labels.names().to_vec();
        let how = Tokenising {
            tokenizer: &tokenizer,
            max_length: self.length(&config)?,
            truncate: self.truncate,
        };
        let prepare = |part: &hone_data::Part| -> Result<Prepared, TrainError> {
            let (examples, receipt) = labelled(part, &data.labels, task, &data.names, how)?;
            Ok(Prepared { examples, receipt })
        };
        let train = prepare(&data.train)?;
        let texts = self.augment.map(|augmenter| EpochTexts {
            augmenter,
            part: &data.train,
            labels: &data.labels,
            task,
            names: &data.names,
            how,
            seed: self.options.seed,
        });
        let valid = data.valid.as_ref().map(prepare).transpose()?;
        let test = data.test.as_ref().map(prepare).transpose()?;
        let named = [
            ("training", Some(&train)),
            ("validation", valid.as_ref()),
            ("test", test.as_ref()),
        ];
        for (name, part) in named {
            if let Some(part) = part {
                self.warn(sink, &part.receipt.lines(name))?;
            }
        }

        // What the process holds by now are the texts, their tokens and the tokenizer.
        let text_bytes = memory_of("RssAnon:");
        let seed = self.options.seed;
        let (mut model, receipt) = match self.start {
            Start::Scratch => Model::random(backend, config, task, labels, seed)?,
            Start::NewHead => {
                Model::load(backend, self.model, task, labels, &HeadChoice::New, seed)?
            }
            Start::Pretrained => {
                let choice = HeadChoice::Matching(labels.clone());
                Model::load(backend, self.model, task, labels, &choice, seed)?
            }
        };
        let weights = match self.start {
            Start::Scratch => "all weights drawn anew: training from scratch".to_owned(),
            _ => receipt.to_string(),
        };
        for text in weights.lines() {
            sink.event(&Event::Note {
                text: text.to_owned(),
            });
        }
        model.config.hidden_dropout = self.options.dropout;
        model.config.attention_dropout = self.options.attention_dropout;
        if self.options.head_dropout != self.options.dropout {
            model.config.classifier_dropout = Some(self.options.head_dropout);
        }
        let hashes = self.hashes(&receipt.files)?;
        let identity = Identity {
            options: self.options.clone(),
            max_length: how.max_length,
            truncate: format!("{:?}", self.truncate).to_lowercase(),
            hashes: hashes.clone().into_iter().collect(),
            kernel_path: model.backend().path(),
            rows: train.examples.len(),
        };
        let outcome = Training {
            model: &mut model,
            options: self.options,
            train: &train.examples,
            augment: texts.as_ref(),
            valid: valid.as_ref().map(|v| &v.examples),
            frozen: self.frozen,
            words: self.words,
            identity,
            text_bytes,
            checkpoints: self.out.map(Checkpoints::of),
            resume: self.resume,
            sink,
            stop,
        }
        .run()?;

        let selecting =
            self.options.select == crate::Select::Best || self.options.patience.is_some();
        let measure = |part: &Prepared, sink: &mut dyn Sink| {
            let batches = EvalBatches::USUAL;
            let mut acts = model.plan_eval(batches.limits(&part.examples))?;
            let total = part.examples.len();
            evaluate(&model, &mut acts, &part.examples, batches, |rows| {
                sink.event(&Event::Evaluating {
                    rows,
                    total,
                    seconds: started.elapsed().as_secs_f64(),
                });
                !stop.load(Ordering::SeqCst)
            })
        };
        let interrupted = outcome.ending == Ending::Interrupted;
        let valid_metrics = match (&outcome.valid, &valid) {
            (Some(metrics), _) => Some(metrics.clone()),
            (None, Some(part)) if !interrupted => measure(part, sink)?,
            _ => None,
        };
        let test_metrics = match &test {
            Some(part) if !interrupted => measure(part, sink)?,
            _ => None,
        };
        let summarise = |metrics: Option<Metrics>, part: &Option<Prepared>, used: bool| {
            Some(PartSummary {
                used_for_selection: used,
                metrics: metrics?,
                texts: part.as_ref()?.receipt.clone(),
            })
        };
        let summary = Summary {
            valid: summarise(valid_metrics, &valid, selecting),
            test: summarise(test_metrics, &test, false),
            train_loss: outcome.train_loss,
            train_texts: train.receipt,
            best_step: outcome.selected_step,
            steps: outcome.steps,
            ending: match outcome.ending {
                Ending::Done => "done",
                Ending::Early => "early_stop",
                Ending::Interrupted => "interrupted",
            },
            train_tokens: outcome.train_tokens,
            tokens_per_s: outcome.train_tokens as f64 / outcome.train_seconds.max(1e-9),
            planned_memory_bytes: outcome.planned_bytes,
            peak_memory_bytes: peak_memory(),
            seconds: outcome.seconds.max(started.elapsed().as_secs_f64()),
            seed,
            kernel_path: model.backend().path(),
            version: env!("CARGO_PKG_VERSION"),
            hashes,
            weights,
        };
        if let (Some(out), false) = (self.out, interrupted) {
            self.save(&model, &summary, out)?;
        }
        Ok(Done {
            model,
            tokenizer,
            summary,
            ending: outcome.ending,
        })
    }

    fn warn(&self, sink: &mut dyn Sink, lines: &[String]) -> Result<(), TrainError> {
        for text in lines {
            if self.strict == Strictness::Fail {
                return Err(TrainError::Option(format!(
                    "{text} (an error under --strict)"
                )));
            }
            sink.event(&Event::Warning { text: text.clone() });
        }
        Ok(())
    }

    fn length(&self, config: &Config) -> Result<usize, TrainError> {
        match self.max_length {
            None => Ok(config.positions),
            Some(n) if (3..=config.positions).contains(&n) => Ok(n),
            Some(n) => Err(TrainError::Option(format!(
                "--max-length {n}: from 3 to the model's {} positions was expected",
                config.positions
            ))),
        }
    }

    fn hashes(&self, weights: &[PathBuf]) -> Result<BTreeMap<String, String>, TrainError> {
        let mut hashes = BTreeMap::new();
        let parts = [
            ("training file", Some(&self.data.train)),
            ("validation file", self.data.valid.as_ref()),
            ("test file", self.data.test.as_ref()),
        ];
        for (role, part) in parts {
            if let Some(part) = part {
                hashes.insert(role.to_owned(), part.sha256.clone());
            }
        }
        if let Some(augmenter) = self.augment {
            hashes.extend(augmenter.hashes());
        }
        for name in ["tokenizer.json", "vocab.txt"] {
            let path = self.model.join(name);
            if path.is_file() {
                hashes.insert(format!("model's {name}"), sha256_file(&path)?);
            }
        }
        for (i, file) in weights.iter().enumerate() {
            let role = match weights.len() {
                1 => "model's weights".to_owned(),
                _ => format!("model's weights, shard {}", i + 1),
            };
            hashes.insert(role, sha256_file(file)?);
        }
        Ok(hashes)
    }

    /// Model, tokenizer and summary into the output folder; then the checkpoints have done their work.
    fn save<B: Backend>(
        &self,
        model: &Model<B>,
        summary: &Summary,
        out: &Path,
    ) -> Result<(), TrainError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| TrainError::Io { path, source }
        };
        fs::create_dir_all(out).map_err(io(out))?;
        model.save(out)?;
        for name in [
            "tokenizer.json",
            "vocab.txt",
            "tokenizer_config.json",
            "special_tokens_map.json",
        ] {
            let (from, to) = (self.model.join(name), out.join(name));
            if from.is_file() && from != to {
                let beside = out.join(format!("{name}.part"));
                fs::copy(&from, &beside).map_err(io(&beside))?;
                fs::rename(&beside, &to).map_err(io(&to))?;
            }
        }
        let path = out.join("summary.json");
        let text = serde_json::to_string_pretty(summary).map_err(|e| TrainError::Checkpoint {
            path: path.clone(),
            reason: e.to_string(),
        })?;
        write_beside(&path, &(text + "\n"))?;
        Checkpoints::of(out).clear()
    }
}

/// Writes a file beside and renames it into place.
pub fn write_beside(path: &Path, text: &str) -> Result<(), TrainError> {
    let io = |source| TrainError::Io {
        path: path.to_owned(),
        source,
    };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    fs::write(&beside, text).map_err(io)?;
    fs::rename(&beside, path).map_err(io)
}

/// The most memory this process has held, in bytes, where the system says (Linux).
pub fn peak_memory() -> Option<u64> {
    memory_of("VmHWM:")
}

/// One line of the system's account of this process, in bytes.
fn memory_of(what: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with(what))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}
