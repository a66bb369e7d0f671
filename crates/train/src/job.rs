//! A whole run: model and data in, a folder with a fine-tuned model out.

use crate::events::{Event, Sink};
use crate::fit::Fit;
use crate::held_out::HeldOut;
use crate::known::KnownFeatures;
use crate::recipe::Recipe;
use crate::summary::Summary;
use crate::watch::Watch;
use crate::{Ending, FrozenPrefix, Init, JobData, Options, Output, TrainError, WordUpdates};
use hone_bert::{Config, Model, weight_files};
use hone_data::augment::{Augmenter, Plan};
use hone_data::{Tokenizer, Truncate, sha256_file};
use hone_kernels::Backend;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// A run to do.
///
/// ```
/// use hone_kernels::Reference;
/// use hone_train::{DataSource, Event, Job, Options, Sink, ValidSource};
/// use std::{path::Path, sync::Arc, sync::atomic::AtomicBool};
///
/// /// Hears what happens: the training loss of each step.
/// struct Losses(Vec<f64>);
///
/// impl Sink for Losses {
///     fn event(&mut self, event: &Event) {
///         if let Event::Step(step) = event {
///             self.0.push(step.loss);
///         }
///     }
/// }
///
/// // A model folder of transformers, and a file with the columns text and label.
/// let model = Path::new("fixtures/trajectory");
/// let data = DataSource {
///     data: model.join("train.csv"),
///     valid: ValidSource::Fraction(0.25),
///     test: None,
///     columns: hone_data::Columns::default(),
///     kind: None,
///     split_seed: 0,
/// };
/// let data = data.read()?;
/// let options = Options { max_steps: Some(20), lr: 1e-3, head_lr: 5e-3, ..Options::default() };
/// // Any backend will do: `hone_kernels_cpu::CpuBackend::new(threads)` is a fast one.
/// let backend = Arc::new(Reference::<f32>::default());
/// let mut losses = Losses(Vec::new());
/// let stop = AtomicBool::new(false);
/// let done = Job::new(model, &data, &options).run(backend, &mut losses, &stop)?;
/// assert_eq!(losses.0.len(), 20);
/// let valid = done.summary.valid.unwrap().metrics;
/// println!("accuracy {:?}", valid.value("accuracy"));
/// # Ok::<(), hone_train::TrainError>(())
/// ```
#[derive(Debug)]
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
    /// Output folder, and whether the run goes on from its newest checkpoint; none: nothing is written.
    pub out: Option<&'a Output>,
    /// What becomes of the outputs of frozen lower layers.
    pub frozen: FrozenPrefix,
    /// When words that a step's texts do not hold take the step.
    pub words: WordUpdates,
    /// What changes the training texts from epoch to epoch; none: nothing.
    pub augment: Option<&'a Augmenter>,
    /// How the hyperparameters were chosen; recorded, nothing else.
    pub recipe: Option<&'a Recipe>,
    /// What the encoder says of texts before it is trained, shared by all runs that are made of this job; none: each reads
    /// what it needs. Changes no bit where a text's states do not depend on its batch.
    pub known: Option<&'a KnownFeatures>,
}

/// What a warning about the data does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// It is said.
    Warn,
    /// It ends the run.
    Fail,
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

hone_tensor::brief_debug! {
    [B: Backend] Done<B>, |d|
    model: d.model, tokenizer: d.tokenizer, summary: d.summary, ending: d.ending
}

impl<'a> Job<'a> {
    /// A run that writes nothing, with the defaults of everything else.
    pub fn new(model: &'a Path, data: &'a JobData, options: &'a Options) -> Job<'a> {
        Job {
            model,
            data,
            options,
            max_length: None,
            truncate: Truncate::Head,
            strict: Strictness::Warn,
            out: None,
            frozen: FrozenPrefix::Recompute,
            words: WordUpdates::Deferred,
            augment: None,
            recipe: None,
            known: None,
        }
    }
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
        self.out.map_or(Ok(()), Output::check_unused)?;
        self.has_augmenter()?;
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

    /// Refuses a run whose options name another augmentation than it is given: `run.toml` would tell of changes that were
    /// not made, or leave out those that were.
    pub fn has_augmenter(&self) -> Result<(), TrainError> {
        let named = &self.options.augment;
        let wanted: Plan = named
            .parse()
            .map_err(|e| TrainError::Option(format!("--augment {named}: {e}")))?;
        let given = self.augment.map_or_else(Plan::none, |a| a.plan().clone());
        match wanted == given {
            true => Ok(()),
            false => Err(TrainError::Option(format!(
                "--augment {named}: the job's augmenter would do another thing ({given})"
            ))),
        }
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
        most_tokens(self.max_length, config)
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
        hashes.extend(model_hashes(self.model, weights)?);
        Ok(hashes)
    }
}

/// Most tokens of a text: as many as are asked for, else the model's limit.
pub(crate) fn most_tokens(asked: Option<usize>, config: &Config) -> Result<usize, TrainError> {
    match asked {
        None => Ok(config.positions),
        Some(n) if (3..=config.positions).contains(&n) => Ok(n),
        Some(n) => Err(TrainError::Option(format!(
            "--max-length {n}: from 3 to the model's {} positions was expected",
            config.positions
        ))),
    }
}

/// SHA-256 of a model's files, by role.
pub(crate) fn model_hashes(
    model: &Path,
    weights: &[PathBuf],
) -> Result<BTreeMap<String, String>, TrainError> {
    let mut hashes = BTreeMap::new();
    for name in [
        "config.json",
        "tokenizer.json",
        "vocab.txt",
        "added_tokens.json",
    ] {
        let path = model.join(name);
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
