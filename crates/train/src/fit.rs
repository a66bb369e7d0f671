//! The two halves of a run that a job and a cross-validation share: texts become tokens once, and a model is
//! fitted to some of them.

use crate::abstain::Abstain;
use crate::checkpoint::Checkpoints;
use crate::events::{Event, Sink};
use crate::identity::Identity;
use crate::job::Job;
use crate::memory::memory_now;
use crate::prefix::PrefixCache;
use crate::prepare::{TextReceipt, Tokenising, labelled, task_of};
use crate::resume::Begin;
use crate::start::{self, Started};
use crate::watch::{Restart, Watch};
use crate::{Ending, EpochTexts, Epochs, Examples, Outcome, TrainError, Training};
use hone_bert::{Config, Model, Units};
use hone_data::{Part, Tokenizer};
use hone_kernels::Backend;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A part, tokenised.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Its examples.
    pub examples: Examples,
    /// What became of its texts.
    pub receipt: TextReceipt,
}

/// All parts of a run, tokenised.
#[derive(Debug)]
pub struct Texts {
    /// The model's tokenizer.
    pub tokenizer: Tokenizer,
    /// Most tokens of a text.
    pub max_length: usize,
    /// Training part.
    pub train: Prepared,
    /// Validation part.
    pub valid: Option<Prepared>,
    /// Test part.
    pub test: Option<Prepared>,
}

/// Looks at a model before its first step.
pub type Begun<'a, B> = &'a mut dyn FnMut(&Model<B>) -> Result<(), TrainError>;

/// What a model is fitted to.
pub struct Fit<'a, B: Backend> {
    /// Training examples.
    pub train: &'a Examples,
    /// The same as each epoch sees them; none: as they are.
    pub augment: Option<EpochTexts<'a>>,
    /// Validation examples.
    pub valid: Option<&'a Examples>,
    /// What every validation reads beside them.
    pub watch: Watch,
    /// Seed of new weights. Order and dropout have the seed of the options, so that runs may share a start and
    /// differ after it.
    pub head_seed: u64,
    /// What else decides the run's bits (which rows it has, say), by role.
    pub marks: BTreeMap<String, String>,
    /// Outputs of frozen layers that several runs share; none: the run keeps its own.
    pub prefix: Option<&'a mut PrefixCache<B::Act>>,
    /// Sees the weights as they are before the first step.
    pub begun: Option<Begun<'a, B>>,
}

hone_tensor::brief_debug! {
    [B: Backend] Fit<'_, B>, |x|
    train: x.train, augment: x.augment, valid: x.valid, watch: x.watch, head_seed: x.head_seed, marks: x.marks
}

/// A model that was fitted.
pub struct Fitted<B: Backend> {
    /// The model, with the weights that were selected.
    pub model: Model<B>,
    /// How training went.
    pub outcome: Outcome,
    /// SHA-256 by role.
    pub hashes: BTreeMap<String, String>,
    /// Parameters drawn anew, tensors ignored.
    pub weights: String,
}

hone_tensor::brief_debug! {
    [B: Backend] Fitted<B>, |x|
    model: x.model, outcome: x.outcome, hashes: x.hashes, weights: x.weights
}

impl Job<'_> {
    /// Says what was found in the data and tokenises its parts.
    pub fn tokenise(&self, sink: &mut dyn Sink) -> Result<Texts, TrainError> {
        let data = self.data;
        let split = data.split.iter().map(ToString::to_string);
        for text in data.notes.iter().cloned().chain(split) {
            sink.event(&Event::Note { text });
        }
        self.warn(sink, &data.warnings)?;
        if let Some(recipe) = self.recipe {
            sink.event(&Event::Recipe(recipe.clone()));
        }
        let task = task_of(data.kind);
        let config = Config::read(&Config::path_in(self.model))?;
        let tokenizer = Tokenizer::load(self.model, config.vocabulary)?;
        for text in tokenizer.notes() {
            sink.event(&Event::Note { text: text.clone() });
        }
        let max_length = self.length(&config)?;
        let how = Tokenising {
            tokenizer: &tokenizer,
            max_length,
            truncate: self.truncate,
        };
        let prepare = |part: &Part| -> Result<Prepared, TrainError> {
            let (examples, receipt) = labelled(part, &data.labels, task, &data.names, how)?;
            Ok(Prepared { examples, receipt })
        };
        let train = prepare(&data.train)?;
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
        Ok(Texts {
            tokenizer,
            max_length,
            train,
            valid,
            test,
        })
    }

    /// Loads the model and trains it; checkpoints go to the job's folder, nothing else is written. A run that collapses
    /// may begin anew, once.
    pub fn fit<B: Backend>(
        &self,
        fit: Fit<'_, B>,
        backend: Arc<B>,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Fitted<B>, TrainError> {
        self.fit_and_keep(fit, false, backend, sink, stop)
    }

    /// The same; `keep`: with a checkpoint of the end, from which what comes after it can be done again.
    pub(crate) fn fit_and_keep<B: Backend>(
        &self,
        mut fit: Fit<'_, B>,
        keep: bool,
        backend: Arc<B>,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Fitted<B>, TrainError> {
        let mut begin = match self.out {
            Some(out) if out.resumes() => Begin::of(out, sink)?,
            _ => Begin::Anew,
        };
        // A run that was interrupted in its second try goes on with that.
        let mut restart = begin.restart();
        loop {
            let fitted =
                self.attempt(&mut fit, keep, begin, restart, backend.clone(), sink, stop)?;
            if fitted.outcome.ending != Ending::Collapsed {
                return Ok(fitted);
            }
            restart = fitted.outcome.restart;
            drop(fitted);
            begin = Begin::Anew;
            // What the first try left must not be taken for the second's.
            if let Some(out) = self.out {
                Checkpoints::of(out).clear()?;
            }
        }
    }

    /// One try, by the job's options or those of a restart.
    fn attempt<B: Backend>(
        &self,
        fit: &mut Fit<'_, B>,
        keep: bool,
        begin: Begin,
        restart: Option<Restart>,
        backend: Arc<B>,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Fitted<B>, TrainError> {
        let second = restart.map(|restart| restart.options(self.options));
        let options = second.as_ref().unwrap_or(self.options);
        // What the process holds by now are the texts, their tokens and the tokenizer.
        let text_bytes = memory_now();
        let (task, labels) = (task_of(self.data.kind), self.data.labels.names().to_vec());
        let config = Config::read(&Config::path_in(self.model))?;
        let max_length = self.length(&config)?;
        let begun = start::start(
            backend,
            self.model,
            config,
            task,
            labels,
            options,
            fit.head_seed,
            fit.train,
            self.known,
            sink,
            stop,
        )?;
        let Some(Started {
            mut model,
            pretrained,
            weights,
            files,
        }) = begun
        else {
            return Err(TrainError::Interrupted);
        };
        let own = options.head_dropout != options.dropout;
        model.set_dropout(
            options.dropout,
            options.attention_dropout,
            own.then_some(options.head_dropout),
        )?;
        // What another run found of another model does not hold for this one.
        Abstain::write(None, model.fields_mut())?;
        if let Some(begun) = &mut fit.begun {
            begun(&model)?;
        }
        let hashes = self.hashes(&files)?;
        let mut marks = hashes.clone();
        marks.extend(fit.marks.clone());
        for (role, examples) in [("training", Some(fit.train)), ("validation", fit.valid)] {
            if let Some(examples) = examples {
                let role =
                    format!("{role} rows, as the columns, --valid and --split-seed choose them");
                marks.insert(role, examples.sha256());
            }
        }
        // The options that were asked for: a resumed run is asked for the same.
        let identity = Identity {
            options: self.options.clone(),
            max_length,
            truncate: self.truncate.name().to_owned(),
            hashes: marks.into_iter().collect(),
            kernel_path: model.backend().path(),
            rows: fit.train.len(),
        };
        let mut outcome = Training {
            model: &mut model,
            options,
            train: fit.train,
            augment: fit.augment.as_ref().map(|texts| texts as &dyn Epochs),
            valid: fit.valid,
            watch: fit.watch,
            pretrained: &pretrained,
            frozen: self.frozen,
            prefix: fit.prefix.as_deref_mut(),
            words: self.words,
            identity,
            restart,
            text_bytes,
            checkpoints: self.out.map(|out| Checkpoints::of(out)),
            begin,
            keep,
            sink,
            stop,
        }
        .run()?;
        if model.units() != Units::PLAIN {
            model.restate_in(Units::PLAIN)?;
            // Rounded otherwise, it is to be read again: what is said is said of the model that is saved.
            outcome.valid = None;
        }
        Ok(Fitted {
            model,
            outcome,
            hashes,
            weights,
        })
    }
}
