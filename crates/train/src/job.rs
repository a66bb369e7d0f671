//! A whole run: model and data in, a folder with a fine-tuned model out.

use crate::abstain::{Abstain, Abstention};
use crate::calibrate::Calibration;
use crate::checkpoint::Checkpoints;
use crate::conclude::HeldOut;
use crate::evaluate::EvalBatches;
use crate::events::{Event, Sink};
use crate::fit::{Fit, Fitted, Prepared, Texts};
use crate::metrics::Metrics;
use crate::prepare::TextReceipt;
use crate::reading::{Reading, Sureness, read_set};
use crate::recipe::Recipe;
use crate::row_lists::Listed;
use crate::watch::{Gap, Restart, Watch};
use crate::{Ending, FrozenPrefix, Init, JobData, Options, TrainError, WordUpdates};
use hone_bert::{Config, Model, weight_files};
use hone_data::augment::Augmenter;
use hone_data::{Tokenizer, Truncate, are_pairs, sha256_file};
use hone_kernels::Backend;
use hone_tensor::replace_file;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A run to do.
pub struct Job<'a> {
    /// Folder of the pre-trained model.
    pub model: &'a Path,
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
    /// How the hyperparameters were chosen; recorded, nothing else.
    pub recipe: Option<&'a Recipe>,
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

/// Where `config.json` says whether a model was trained on pairs; transformers leaves fields that it does not know alone.
const PAIRS: &str = "hone_pairs";

/// Whether a model was trained on pairs, from the fields of its `config.json`; none where nobody says.
pub fn trained_on_pairs(fields: &Map<String, Value>) -> Option<bool> {
    fields.get(PAIRS)?.as_bool()
}

/// `summary.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Validation part.
    pub valid: Option<PartSummary>,
    /// Test part.
    pub test: Option<PartSummary>,
    /// How far training and validation texts are apart, and the verdict on the fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// Why and how the run began anew, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// What `--calibrate` did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// What `--abstain-precision` found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abstention: Option<Abstention>,
    /// Wrong and uncertain rows of the test part, else of the validation part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed: Option<Listed>,
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
    /// Parts (`valid`, `test`) whose figures are missing, because reading them was interrupted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<&'static str>,
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
    /// Hyperparameters that were chosen by a recipe, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Recipe>,
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

impl Job<'_> {
    /// Does the run.
    pub fn run<B: Backend>(
        &self,
        backend: Arc<B>,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Done<B>, TrainError> {
        let started = Instant::now();
        self.options.check()?;
        let texts = self.tokenise(sink)?;
        let augment = self.epoch_texts(&texts, &self.data.train);
        let fit = Fit {
            train: &texts.train.examples,
            augment,
            valid: texts.valid.as_ref().map(|v| &v.examples),
            watch: Watch::Sample,
            head_seed: self.options.seed,
            marks: BTreeMap::new(),
            prefix: None,
            begun: None,
        };
        self.conclude(&texts, fit, HeldOut::Valid, backend, sink, stop, started)
            .map(|(model, summary, ending)| Done {
                model,
                tokenizer: texts.tokenizer,
                summary,
                ending,
            })
    }

    /// Fits, measures and, where there is an output folder, saves: a run on texts that are already tokens.
    pub fn conclude<B: Backend>(
        &self,
        texts: &Texts,
        fit: Fit<'_, B>,
        by: HeldOut<'_>,
        backend: Arc<B>,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
        started: Instant,
    ) -> Result<(Model<B>, Summary, Ending), TrainError> {
        let held_out = by.rows(texts.valid.as_ref().map(|v| &v.examples));
        self.can_conclude(held_out, by.name())?;
        // What is found after the last step goes into the model: cut off, it is to be found again.
        let keep = self.options.calibrate || self.options.abstain_precision.is_some();
        let Fitted {
            mut model,
            mut outcome,
            hashes,
            weights,
        } = self.fit_and_keep(fit, keep, backend, sink, stop)?;
        let (valid, test) = (&texts.valid, &texts.test);
        let mut interrupted = outcome.ending == Ending::Interrupted;
        let mut calibration = None;
        if self.options.calibrate && !interrupted {
            let mut answered = |part: &Prepared, model: &Model<B>| {
                self.answers(model, &part.examples, sink, stop, started)
            };
            let held_out = match (by, valid) {
                (HeldOut::OutOfFold(answers), _) => Some(answers.clone()),
                (HeldOut::Valid, Some(part)) => answered(part, &model)?,
                (HeldOut::Valid, None) => None,
            };
            let tested = match (test, &held_out) {
                (Some(part), Some(_)) => answered(part, &model)?,
                _ => None,
            };
            interrupted = held_out.is_none() || tested.is_some() != test.is_some();
            if let (Some(held_out), false) = (held_out, interrupted) {
                let temperature = by.temperature(&held_out)?;
                let seed = self.options.seed;
                model.divide_logits(temperature)?;
                outcome.valid = None;
                calibration = Some(Calibration {
                    temperature,
                    by: by.name(),
                    held_out: held_out.change(temperature, seed),
                    test: tested.map(|t| t.change(temperature, seed)),
                });
            }
        }
        let selecting =
            self.options.select == crate::Select::Best || outcome.ending == Ending::Early;
        let measure = |part: &Prepared, sink: &mut dyn Sink| {
            let batches = EvalBatches::USUAL;
            let mut acts = model.plan_eval(batches.limits(&part.examples))?;
            let total = part.examples.len();
            read_set(&model, &mut acts, &part.examples, batches, |rows| {
                sink.event(&Event::Evaluating {
                    rows,
                    total,
                    seconds: started.elapsed().as_secs_f64(),
                });
                !stop.load(Ordering::SeqCst)
            })
        };
        let valid_reading = match (outcome.valid.take(), valid) {
            (Some(reading), _) => Some(reading),
            (None, Some(part)) if !interrupted => measure(part, sink)?,
            _ => None,
        };
        let test_reading = match test {
            Some(part) if !interrupted => measure(part, sink)?,
            _ => None,
        };
        let parts = [
            ("valid", valid, &valid_reading),
            ("test", test, &test_reading),
        ];
        let missed = parts
            .into_iter()
            .filter(|(_, part, reading)| part.is_some() && reading.is_none() && !interrupted);
        let unread: Vec<&'static str> = missed.map(|(name, ..)| name).collect();
        interrupted |= keep && !unread.is_empty();
        if !interrupted && !unread.is_empty() {
            let text = "interrupted while validation or test texts were read: their figures are missing; hone eval gives them";
            sink.event(&Event::Warning { text: text.into() });
        }
        fn sureness(reading: &Option<Reading>) -> Option<&[Sureness]> {
            reading.as_ref().map(|r| &r.sureness[..])
        }
        let divided = calibration.as_ref().map_or(1.0, |c| c.temperature);
        let held_out = by.sureness(divided, sureness(&valid_reading));
        let abstention = match (self.options.abstain_precision, held_out) {
            (Some(wanted), Some(held_out)) if !interrupted => {
                let tested = sureness(&test_reading);
                let found = Abstention::of(wanted, by.name(), &held_out, tested);
                Abstain::write(found.rule.as_ref(), &mut model.config.source)?;
                Some(found)
            }
            _ => None,
        };
        model
            .config
            .source
            .insert(PAIRS.to_owned(), are_pairs(&self.data.train.rows).into());
        let listed = [
            ("test", &test_reading, test, &self.data.test),
            ("valid", &valid_reading, valid, &self.data.valid),
        ]
        .into_iter()
        .find_map(|(name, reading, prepared, part)| {
            let (reading, prepared) = (reading.as_ref()?, prepared.as_ref()?);
            Some((name, reading, prepared, part.as_ref()?))
        });
        let listed = listed.filter(|_| !interrupted);
        let summarise = |reading: &Option<Reading>, part: &Option<Prepared>, used: bool| {
            Some(PartSummary {
                used_for_selection: used,
                metrics: reading.as_ref()?.metrics.clone(),
                texts: part.as_ref()?.receipt.clone(),
            })
        };
        let ending = match interrupted {
            true => Ending::Interrupted,
            false => outcome.ending,
        };
        let summary = Summary {
            valid: summarise(&valid_reading, valid, selecting),
            test: summarise(&test_reading, test, false),
            gap: outcome.gap,
            restart: outcome.restart,
            calibration,
            abstention,
            listed: listed.map(|(name, reading, prepared, part)| {
                let lists = &reading.lists;
                lists.summary(name, &prepared.examples, part, &model.labels)
            }),
            train_loss: outcome.train_loss,
            train_texts: texts.train.receipt.clone(),
            best_step: outcome.selected_step,
            steps: outcome.steps,
            ending: ending.name(),
            unread,
            train_tokens: outcome.train_tokens,
            tokens_per_s: outcome.train_tokens as f64 / outcome.train_seconds.max(1e-9),
            planned_memory_bytes: outcome.planned_bytes,
            peak_memory_bytes: peak_memory(model.backend().as_ref()),
            seconds: outcome.seconds.max(started.elapsed().as_secs_f64()),
            seed: self.options.seed,
            kernel_path: model.backend().path(),
            version: env!("CARGO_PKG_VERSION"),
            hashes,
            weights,
            recipe: self.recipe.cloned(),
        };
        if let (Some(out), false) = (self.out, interrupted) {
            self.save_model(&model, out)?;
            if let Some((_, reading, prepared, part)) = listed {
                let lists = &reading.lists;
                lists.write_both(out, &prepared.examples, part, &model.labels)?;
            }
            self.save_summary(&summary, out)?;
        }
        Ok((model, summary, ending))
    }

    /// Says what should be mended; an error where the job is strict.
    pub fn warn(&self, sink: &mut dyn Sink, lines: &[String]) -> Result<(), TrainError> {
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

    pub(crate) fn length(&self, config: &Config) -> Result<usize, TrainError> {
        match self.max_length {
            None => Ok(config.positions),
            Some(n) if (3..=config.positions).contains(&n) => Ok(n),
            Some(n) => Err(TrainError::Option(format!(
                "--max-length {n}: from 3 to the model's {} positions was expected",
                config.positions
            ))),
        }
    }

    /// SHA-256 of data, tokenizer and weights, by role.
    pub fn file_hashes(&self) -> Result<BTreeMap<String, String>, TrainError> {
        match self.options.init {
            Init::Random => self.hashes(&[]),
            Init::Pretrained => self.hashes(&weight_files(self.model)?),
        }
    }

    pub(crate) fn hashes(
        &self,
        weights: &[PathBuf],
    ) -> Result<BTreeMap<String, String>, TrainError> {
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

    /// The summary, last: then the run is done, and the checkpoints have done their work.
    fn save_summary(&self, summary: &Summary, out: &Path) -> Result<(), TrainError> {
        let path = out.join("summary.json");
        let text = serde_json::to_string_pretty(summary).map_err(|e| TrainError::Checkpoint {
            path: path.clone(),
            reason: e.to_string(),
        })?;
        write_beside(&path, &(text + "\n"))?;
        Checkpoints::of(out).clear()
    }

    /// A model folder for transformers: weights, configuration and the tokenizer the run began with.
    pub fn save_model<B: Backend>(&self, model: &Model<B>, out: &Path) -> Result<(), TrainError> {
        save_folder(model, self.model, out)
    }
}

/// A model folder for transformers: weights, configuration, and the tokenizer of the folder `from`.
pub fn save_folder<B: Backend>(
    model: &Model<B>,
    from: &Path,
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
        let (from, to) = (from.join(name), out.join(name));
        if from.is_file() && from != to {
            let content = fs::read(&from).map_err(io(&from))?;
            replace_file(&to, &content).map_err(io(&to))?;
        }
    }
    Ok(())
}

/// Writes a file beside and renames it into place ([`replace_file`]).
pub fn write_beside(path: &Path, text: &str) -> Result<(), TrainError> {
    replace_file(path, text.as_bytes()).map_err(|source| TrainError::Io {
        path: path.to_owned(),
        source,
    })
}

/// The most memory that work on this backend has held, in bytes: the device's own, else this process's where the system
/// says (Linux).
pub fn peak_memory<B: Backend>(backend: &B) -> Option<u64> {
    backend.peak_memory().or_else(|| memory_of("VmHWM:"))
}

/// The memory of its own that this process holds now, in bytes, where the system says (Linux).
pub fn memory_now() -> Option<u64> {
    memory_of("RssAnon:")
}

/// One line of the system's account of this process, in bytes.
pub(crate) fn memory_of(what: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with(what))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}
