//! One run of many: fitted to some rows of the texts, judged once by rows that it did not see.

use hone_bert::{Model, Task};
use hone_kernels::Backend;
use hone_tensor::Depth;
use hone_train::metrics::Metrics;
use hone_train::watch::Watch;
use hone_train::{
    Ending, EvalBatches, Event, Examples, Fit, Fitted, Job, Outcome, Prediction, PrefixCache,
    Scorer, Sink, Targets, Texts, TrainError, predict, read_set, task_of,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// A run to do. Rows are places among all training texts.
pub(crate) struct HeldOutRun<'a> {
    /// The recipe, with the run's own seed and folder.
    pub job: &'a Job<'a>,
    /// All texts.
    pub texts: &'a Texts,
    /// Rows that are fitted.
    pub train: &'a [u32],
    /// Rows that select; where there are none, `own_valid` does.
    pub valid: &'a [u32],
    /// A validation part of its own.
    pub own_valid: Option<&'a Examples>,
    /// Rows that are scored once at the end; there may be none.
    pub held_out: &'a [u32],
    /// Seed of new weights.
    pub head_seed: u64,
    /// What else decides the run's bits.
    pub marks: BTreeMap<String, String>,
}

/// What a run left.
pub(crate) struct Judged<B: Backend> {
    /// The model.
    pub model: Model<B>,
    /// How training went.
    pub outcome: Outcome,
    /// SHA-256 of embeddings and encoder before the first step.
    pub encoder_sha256: String,
    /// SHA-256 of pooler and classifier before the first step.
    pub head_sha256: String,
    /// Rows that selected.
    pub valid_rows: usize,
    /// Metrics of the held-out rows.
    pub held_out: Metrics,
    /// Their logits.
    pub logits: Vec<RowLogits>,
    /// Seconds of training and scoring.
    pub seconds: f64,
}

impl HeldOutRun<'_> {
    /// Labels that no fitted row carries.
    pub fn missing_labels(&self) -> Vec<String> {
        let data = self.job.data;
        let train = self.texts.train.examples.select(self.train);
        missing_labels(task_of(data.kind), data.labels.names(), &train)
    }

    /// Fits and scores. `None` where the user asked to stop.
    pub fn run<B: Backend>(
        &self,
        cache: Option<&mut PrefixCache<B::Act>>,
        backend: &Arc<B>,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Option<Judged<B>>, TrainError> {
        let (job, texts, all) = (self.job, self.texts, &self.texts.train.examples);
        let train = all.select(self.train);
        let own = (!self.valid.is_empty()).then(|| all.select(self.valid));
        let valid = own.as_ref().or(self.own_valid);
        // What changes texts sees the fitted rows alone.
        let fitted_rows = job.augment.map(|_| job.data.fitted(self.train));
        let augment = fitted_rows
            .as_ref()
            .and_then(|part| job.epoch_texts(texts, part));
        let mut hashes = None;
        let mut begun = |model: &Model<B>| {
            hashes = Some(start_hashes(model)?);
            Ok(())
        };
        let fit = Fit {
            augment,
            train: &train,
            valid,
            watch: Watch::Nothing,
            head_seed: self.head_seed,
            marks: self.marks.clone(),
            prefix: cache,
            begun: Some(&mut begun),
        };
        let fitted = match job.fit(fit, backend.clone(), sink, stop) {
            Err(TrainError::Interrupted) => return Ok(None),
            other => other?,
        };
        let Fitted {
            model, mut outcome, ..
        } = fitted;
        if outcome.ending == Ending::Interrupted {
            return Ok(None);
        }
        let scoring = Instant::now();
        // A run that was resumed behind its best step does not know any more what that said.
        if let (None, Some(valid)) = (&outcome.valid, valid) {
            let batches = EvalBatches::USUAL;
            let mut acts = model.plan_eval(batches.limits(valid))?;
            outcome.valid = read_set(&model, &mut acts, valid, batches, |_| true)?;
        }
        let (held_out, logits) = score_once(&model, all, self.held_out)?;
        let seen =
            || TrainError::Option("nobody saw the weights that the run began with".to_owned());
        let (encoder_sha256, head_sha256) = hashes.ok_or_else(seen)?;
        Ok(Some(Judged {
            model,
            encoder_sha256,
            head_sha256,
            valid_rows: valid.map_or(0, Examples::len),
            held_out,
            logits,
            seconds: outcome.seconds + scoring.elapsed().as_secs_f64(),
            outcome,
        }))
    }
}

/// What a user should know of labels that a run's training rows lack.
pub(crate) fn lacking(name: &str, missing: &[String]) -> String {
    format!(
        "{name}: its training rows lack {} of the labels ({}); held-out rows of them count as wrong",
        missing.len(),
        missing.join(", ")
    )
}

/// The one reading of held-out rows: metrics and logits from one pass. An interruption waits for it.
fn score_once<B: Backend>(
    model: &Model<B>,
    all: &Examples,
    held_out: &[u32],
) -> Result<(Metrics, Vec<RowLogits>), TrainError> {
    let examples = all.select(held_out);
    let mut scorer = Scorer::new(model.task(), model.labels(), &examples)?;
    if examples.is_empty() {
        return Ok((scorer.finish(), Vec::new()));
    }
    let mut acts = model.plan_eval(EvalBatches::USUAL.limits(&examples))?;
    let mut logits = Vec::with_capacity(held_out.len());
    predict(
        model,
        &mut acts,
        &examples,
        EvalBatches::USUAL,
        |p| {
            scorer.push(p);
            let row = held_out[p.index];
            logits.push(RowLogits::of(&examples, row, p, model.classes()));
        },
        |_| true,
    )?;
    Ok((scorer.finish(), logits))
}

/// Of further runs only what is news: what the first one said of model, plan and memory holds for all.
pub(crate) struct News<'a> {
    sink: &'a mut dyn Sink,
    first: bool,
    planned: bool,
}

impl<'a> News<'a> {
    /// For a run, the first one or a further one.
    pub fn of(sink: &'a mut dyn Sink, first: bool) -> News<'a> {
        News {
            sink,
            first,
            planned: false,
        }
    }
}

impl Sink for News<'_> {
    fn event(&mut self, event: &Event) {
        self.planned |= matches!(event, Event::Planned(_));
        let known = match event {
            Event::Planned(_) | Event::Forecast { .. } => true,
            // The receipt of the weights; that a run was resumed is said later.
            Event::Note { .. } => !self.planned,
            _ => false,
        };
        if self.first || !known {
            self.sink.event(event);
        }
    }
}

/// Of warnings each text once: what one run warns of, the others over the same texts would say again.
pub(crate) struct Once<'a> {
    sink: &'a mut dyn Sink,
    said: HashSet<String>,
}

impl<'a> Once<'a> {
    /// Before anything was said.
    pub fn of(sink: &'a mut dyn Sink) -> Once<'a> {
        Once {
            sink,
            said: HashSet::new(),
        }
    }
}

impl Sink for Once<'_> {
    fn event(&mut self, event: &Event) {
        let known = match event {
            Event::Warning { text } => !self.said.insert(text.clone()),
            _ => false,
        };
        if !known {
            self.sink.event(event);
        }
    }
}

/// Logits of one held-out row: `[C]`, or `[seen words, C]` when tagging.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowLogits {
    /// Place of the row among all examples.
    pub row: u32,
    /// Its logits.
    pub logits: Vec<f64>,
}

impl RowLogits {
    /// What is kept of a prediction; when tagging, the logits of words' first pieces.
    pub fn of(examples: &Examples, row: u32, p: Prediction<'_>, classes: usize) -> RowLogits {
        let logits = match &examples.targets {
            Targets::Tags { first_pieces, .. } => first_pieces[p.index]
                .iter()
                .flatten()
                .flat_map(|&piece| &p.logits[piece as usize * classes..][..classes])
                .copied()
                .collect(),
            _ => p.logits.to_vec(),
        };
        RowLogits { row, logits }
    }

    /// The logits where a prediction over `examples`, which hold all rows, has them.
    pub fn as_predicted(&self, examples: &Examples, classes: usize) -> Vec<f64> {
        let i = self.row as usize;
        let Targets::Tags { first_pieces, .. } = &examples.targets else {
            return self.logits.clone();
        };
        let mut all = vec![0.0; examples.length(i) * classes];
        let pieces = first_pieces[i].iter().flatten();
        for (piece, word) in pieces.zip(self.logits.chunks(classes)) {
            all[*piece as usize * classes..][..classes].copy_from_slice(word);
        }
        all
    }
}

/// SHA-256 of a model's weights: (embeddings and encoder; pooler and classifier).
fn start_hashes<B: Backend>(model: &Model<B>) -> Result<(String, String), TrainError> {
    let (mut encoder, mut head) = (Sha256::new(), Sha256::new());
    let table = model.layout().table.clone();
    for (param, values) in table.params().iter().zip(model.download()?) {
        let hash = match param.depth {
            Depth::Head | Depth::Pooler => &mut head,
            _ => &mut encoder,
        };
        hash.update(param.name.as_bytes());
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        hash.update(&bytes);
    }
    let hex = |hash: Sha256| crate::crossval::hex(&hash.finalize());
    Ok((hex(encoder), hex(head)))
}

/// Labels of the model that no row of `examples` carries (classes and sets only).
fn missing_labels(task: Task, labels: &[String], examples: &Examples) -> Vec<String> {
    let mut seen = vec![false; labels.len()];
    let mut mark = |c: u32| seen[c as usize] = true;
    match &examples.targets {
        Targets::Classes(all) => all.iter().flatten().copied().for_each(&mut mark),
        Targets::Sets { sets: all, .. } => all.iter().flatten().copied().for_each(&mut mark),
        Targets::Tags { words, .. } => words
            .iter()
            .flatten()
            .flatten()
            .copied()
            .for_each(&mut mark),
        Targets::Values(_) | Targets::Masked(_) => return Vec::new(),
    }
    debug_assert!(task != Task::Regress);
    let missing = labels.iter().zip(&seen).filter(|(_, seen)| !**seen);
    missing.map(|(label, _)| label.clone()).collect()
}
