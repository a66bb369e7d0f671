//! Pre-training goes on: a model says masked words of texts that nobody has labelled (domain-adaptive pre-training, Gururangan
//! et al. 2020), and is fine-tuned afterwards. The steps, the schedule, what is frozen, validation and checkpoints are
//! those of any run.

mod texts;

pub use texts::{RawSource, RawTexts};

use crate::checkpoint::Checkpoints;
use crate::evaluate::EvalBatches;
use crate::events::{Event, Sink};
use crate::identity::Identity;
use crate::job::{model_hashes, most_tokens};
use crate::memory::memory_now;
use crate::prepare::TextReceipt;
use crate::resume::Begin;
use crate::save::{PAIRS, save_folder, save_summary};
use crate::start::loaded_rows;
use crate::watch::{CollapseGuard, Watch};
use crate::{
    Abstain, Ending, Examples, FrozenPrefix, Init, Options, Outcome, Output, PartSummary, Reading,
    Select, Summary, TrainError, Training, WordUpdates, fits_task, read_set,
};
use hone_bert::{Config, HeadChoice, Model, Task, weight_files};
use hone_data::masking::{Masker, Unit};
use hone_data::{Cut, Tokenizer, Truncate};
use hone_kernels::Backend;
use hone_tensor::Depth;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use texts::{Hiding, hidden, windows};

/// The seed and the epoch of what is hidden of validation texts: the same in every run, and no training epoch's.
const OF_VALIDATION: (u64, u32) = (0, u32::MAX);

/// A pre-training to do.
#[derive(Debug)]
pub struct Pretraining<'a> {
    /// Folder of the model that goes on.
    pub model: &'a Path,
    /// The texts.
    pub texts: &'a RawTexts,
    /// Hyperparameters.
    pub options: &'a Options,
    /// Most tokens of a window; none: the model's limit.
    pub max_length: Option<usize>,
    /// Share of the word pieces that is hidden.
    pub share: f64,
    /// What is hidden together.
    pub unit: Unit,
    /// Output folder, and whether the run goes on from its newest checkpoint; none: nothing is written.
    pub out: Option<&'a Output>,
}

/// A model after its pre-training.
pub struct Pretrained<B: Backend> {
    /// The model, with the head that says masked words.
    pub model: Model<B>,
    /// What `summary.json` holds.
    pub summary: Summary,
    /// How it ended.
    pub ending: Ending,
}

hone_tensor::brief_debug! {
    [B: Backend] Pretrained<B>, |p| model: p.model, summary: p.summary, ending: p.ending
}

/// A part, in windows.
struct Windows {
    plain: Examples,
    receipt: TextReceipt,
}

impl Pretraining<'_> {
    /// Refuses what has no place here, before anything is read.
    fn check(&self, config: &Config) -> Result<usize, TrainError> {
        self.options.check()?;
        fits_task(self.options, Task::Mask)?;
        if self.options.collapse_guard == CollapseGuard::Restart {
            return Err(TrainError::Option(
                "--collapse-guard restart is for labels; pre-training is warned of".to_owned(),
            ));
        }
        most_tokens(self.max_length, config)
    }

    /// Does it. An interrupted run leaves a checkpoint and no model.
    pub fn run<B: Backend>(
        &self,
        backend: Arc<B>,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Pretrained<B>, TrainError> {
        let started = Instant::now();
        self.out.map_or(Ok(()), Output::check_unused)?;
        let config = Config::read(&Config::path_in(self.model))?;
        let max_length = self.check(&config)?;
        for text in &self.texts.notes {
            sink.event(&Event::Note { text: text.clone() });
        }
        let tokenizer = Tokenizer::load(self.model, config.vocabulary)?;
        for text in tokenizer.notes() {
            sink.event(&Event::Note { text: text.clone() });
        }
        let masker = Masker::new(&tokenizer, self.share, self.unit)?;
        let part = |rows: &[hone_data::Row], name: &str, sink: &mut dyn Sink| {
            let (plain, receipt) = windows(rows, &tokenizer, max_length)?;
            let pieces = receipt.tokens;
            sink.event(&Event::Note {
                text: format!(
                    "{name}: {} texts in {} windows of at most {max_length} word pieces, {pieces} in all; nothing is cut off",
                    receipt.texts,
                    plain.len()
                ),
            });
            for text in receipt.lines(name) {
                sink.event(&Event::Warning { text });
            }
            Ok::<_, TrainError>(Windows { plain, receipt })
        };
        let train = part(&self.texts.train.rows, "training", sink)?;
        let valid = self.texts.valid.as_ref();
        let valid = valid.map(|p| part(&p.rows, "validation", sink));
        let valid = valid.transpose()?;
        let hiding = Hiding {
            plain: &train.plain,
            masker: &masker,
            seed: self.options.seed,
        };
        let first = hidden(&train.plain, &masker, self.options.seed, 0);
        let (seed, epoch) = OF_VALIDATION;
        let asked = valid
            .as_ref()
            .map(|v| hidden(&v.plain, &masker, seed, epoch));
        let text_bytes = memory_now();
        let (mut model, pretrained, weights) = self.begin(backend, config, sink)?;
        let hashes = self.hashes()?;
        let mut marks = hashes.clone();
        marks.insert(
            "share of the word pieces that is masked, and what is masked together".to_owned(),
            format!("{} {:?}", self.share, self.unit),
        );
        for (role, examples) in [("training", Some(&first)), ("validation", asked.as_ref())] {
            if let Some(examples) = examples {
                let role =
                    format!("{role} texts, as the columns, --valid and --split-seed choose them");
                marks.insert(role, examples.sha256());
            }
        }
        let before = match &asked {
            None => None,
            Some(asked) => Some(self.read(&model, asked, sink, stop)?),
        };
        if let Some(before) = &before {
            sink.event(&Event::Note {
                text: format!("before the first step: {}", before.metrics.headline()),
            });
        }
        let kernel_path = model.backend().path();
        let mut outcome = Training {
            model: &mut model,
            options: self.options,
            train: &first,
            augment: Some(&hiding),
            valid: asked.as_ref(),
            watch: Watch::Sample,
            pretrained: &pretrained,
            frozen: FrozenPrefix::Recompute,
            prefix: None,
            words: WordUpdates::Dense,
            identity: Identity {
                options: self.options.clone(),
                max_length,
                truncate: "none".to_owned(),
                hashes: marks.into_iter().collect(),
                kernel_path,
                rows: first.len(),
            },
            restart: None,
            text_bytes,
            checkpoints: self.out.map(|out| Checkpoints::of(out)),
            begin: match self.out {
                Some(out) if out.resumes() => Begin::of(out, sink)?,
                _ => Begin::Anew,
            },
            keep: false,
            sink,
            stop,
        }
        .run()?;
        let ending = outcome.ending;
        if ending != Ending::Interrupted && outcome.valid.is_none() {
            let asked = asked.as_ref();
            outcome.valid = asked
                .map(|asked| self.read(&model, asked, sink, stop))
                .transpose()?;
        }
        Abstain::write(None, model.fields_mut())?;
        model.fields_mut().remove(PAIRS);
        let receipts = (&train.receipt, valid.as_ref().map(|v| &v.receipt));
        let before = before.map(|reading| reading.metrics);
        let summary = self.summary(
            &model,
            &outcome,
            before,
            receipts,
            (&hashes, &weights),
            started,
        );
        if let (Some(out), true) = (self.out, ending != Ending::Interrupted) {
            let cut = Cut {
                max_length,
                truncate: Truncate::Head,
            };
            save_folder(&model, self.model, Some(cut), out)?;
            save_summary(&summary, out)?;
        }
        Ok(Pretrained {
            model,
            summary,
            ending,
        })
    }

    /// The model before its first step; of each row of the table whether its weights were loaded; what became of the files.
    fn begin<B: Backend>(
        &self,
        backend: Arc<B>,
        config: Config,
        sink: &mut dyn Sink,
    ) -> Result<(Model<B>, Vec<bool>, String), TrainError> {
        let (options, none) = (self.options, Vec::new());
        let seed = options.seed;
        let (mut model, receipt, weights) = match options.init {
            Init::Random => {
                let (model, receipt) = Model::random(backend, config, Task::Mask, none, seed)?;
                let said = "all weights drawn anew: pre-training from scratch".to_owned();
                (model, receipt, said)
            }
            Init::Pretrained => {
                let head = match options.new_head {
                    true => HeadChoice::New,
                    false => HeadChoice::Stored,
                };
                let (model, receipt) =
                    Model::load_as(backend, config, self.model, Task::Mask, none, &head, seed)?;
                let said = receipt.to_string();
                (model, receipt, said)
            }
        };
        for text in weights.lines() {
            let text = text.to_owned();
            sink.event(&Event::Note { text });
        }
        let pretrained = loaded_rows(&receipt, model.layout());
        let params = model.layout().table.params();
        let mut head = params.iter().zip(&pretrained);
        let new_head = head.any(|(p, &loaded)| p.depth == Depth::Head && !loaded);
        if new_head && options.init == Init::Pretrained {
            sink.event(&Event::Note {
                text: "the head that says masked words is new: until it has learned (--head-lr), what reaches the encoder is noise"
                    .to_owned(),
            });
        }
        model.set_dropout(options.dropout, options.attention_dropout, None)?;
        Ok((model, pretrained, weights))
    }

    /// What is said of validation texts.
    fn read<B: Backend>(
        &self,
        model: &Model<B>,
        asked: &Examples,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Reading, TrainError> {
        let (batches, started) = (EvalBatches::USUAL, Instant::now());
        let mut acts = model.plan_eval(batches.limits(asked))?;
        let found = read_set(model, &mut acts, asked, batches, |rows| {
            sink.event(&Event::Evaluating {
                rows,
                total: asked.len(),
                seconds: started.elapsed().as_secs_f64(),
            });
            !stop.load(Ordering::SeqCst)
        })?;
        found.ok_or(TrainError::Interrupted)
    }

    /// SHA-256 of texts, tokenizer and weights, by role.
    fn hashes(&self) -> Result<BTreeMap<String, String>, TrainError> {
        let weights = match self.options.init {
            Init::Random => Vec::new(),
            Init::Pretrained => weight_files(self.model)?,
        };
        let mut hashes = model_hashes(self.model, &weights)?;
        let parts = [
            ("training file", Some(&self.texts.train)),
            ("validation file", self.texts.valid.as_ref()),
        ];
        for (role, part) in parts {
            if let Some(part) = part {
                hashes.insert(role.to_owned(), part.sha256.clone());
            }
        }
        Ok(hashes)
    }

    /// Sums it up.
    fn summary<B: Backend>(
        &self,
        model: &Model<B>,
        outcome: &Outcome,
        before: Option<crate::metrics::Metrics>,
        (train, valid): (&TextReceipt, Option<&TextReceipt>),
        hashes: (&BTreeMap<String, String>, &str),
        started: Instant,
    ) -> Summary {
        let seed = self.options.seed;
        let selected = self.options.select == Select::Best || outcome.ending == Ending::Early;
        let valid = outcome.valid.as_ref().zip(valid);
        Summary {
            valid: valid.map(|(reading, receipt)| PartSummary {
                used_for_selection: selected,
                metrics: reading.metrics.clone(),
                texts: receipt.clone(),
            }),
            before,
            ..Summary::of(model, outcome, train, hashes, seed, started)
        }
    }
}
