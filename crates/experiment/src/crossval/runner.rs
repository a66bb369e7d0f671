//! Runs the folds one after another, each with all memory to itself.

use super::conclude::CrossValReport;
use super::plan::{Fold, FoldPlan};
use super::record::{FoldFolder, FoldRecord, RowLogits, missing_labels, start_hashes};
use hone_bert::Model;
use hone_kernels::Backend;
use hone_train::metrics::Metrics;
use hone_train::{
    Checkpoints, Ending, EvalBatches, Event, Examples, Fit, Fitted, InitHead, Job, Options,
    PrefixCache, Scorer, Sink, Texts, TrainError, memory_now, predict, task_of, together,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What is made of the folds' models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// Nothing: each is forgotten after it was scored.
    Nothing,
    /// The mean of their weights, a model folder.
    Soup,
    /// The mean of their probabilities on the test part.
    Vote,
}

/// A cross-validation to do.
pub struct CrossVal<'a> {
    /// The recipe, over data whose training part is all rows; it has an output folder.
    pub job: &'a Job<'a>,
    /// Folds of a repeat.
    pub folds: usize,
    /// Repeats, each with other folds.
    pub repeats: usize,
    /// Part of a fold's training rows that selects; none where nothing does or the data has a part of its own.
    pub inner: Option<f64>,
    /// Seed of folds and inner splits.
    pub split_seed: u64,
    /// What is made of the folds' models.
    pub combine: Combine,
    /// Whether a model is fitted to all rows at the end.
    pub final_fit: bool,
    /// Whether the folds' models stay on disk.
    pub keep_models: bool,
}

/// Of further folds only what is news: what the first one said of model, plan and memory holds for all.
struct News<'a> {
    sink: &'a mut dyn Sink,
    first: bool,
    planned: bool,
}

impl Sink for News<'_> {
    fn event(&mut self, event: &Event) {
        self.planned |= matches!(event, Event::Planned(_));
        let known = match event {
            Event::Planned(_) | Event::Forecast { .. } => true,
            // The receipt of the weights; that a fold was resumed is said later.
            Event::Note { .. } => !self.planned,
            _ => false,
        };
        if self.first || !known {
            self.sink.event(event);
        }
    }
}

/// A fold that was fitted and scored.
pub(crate) struct Scored<B: Backend> {
    pub model: Model<B>,
    pub record: FoldRecord,
    pub logits: Vec<RowLogits>,
}

impl CrossVal<'_> {
    /// Runs it; `None` where the user asked to stop, with everything on disk to go on from.
    pub fn run<B: Backend>(
        &self,
        backend: &Arc<B>,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Option<CrossValReport>, TrainError> {
        let job = self.job;
        let out = job.out.ok_or_else(|| {
            TrainError::Option("a cross-validation needs an output folder".to_owned())
        })?;
        let texts = job.tokenise(sink)?;
        if self.combine == Combine::Vote && texts.test.is_none() {
            return Err(TrainError::Option(
                "--vote needs test texts (--test): it is a figure, not a model; --soup makes a model"
                    .to_owned(),
            ));
        }
        let examples = &texts.train.examples;
        let plan = FoldPlan::new(
            examples,
            &together(&job.data.train),
            self.folds,
            self.repeats,
            self.inner,
            self.split_seed,
            job.options.seed,
        )?;
        self.say_plan(&plan, sink);
        self.check_settings(&plan, &texts, backend.path(), out)?;

        let mut cache = PrefixCache::over(examples);
        let mut done: Vec<(FoldRecord, Vec<RowLogits>)> = Vec::new();
        for (i, fold) in plan.folds.iter().enumerate() {
            let folder = FoldFolder::of(out, fold);
            if let Some(finished) = folder.read()? {
                self.same_start(done.first().map(|d| &d.0), &finished.0)?;
                done.push(finished);
                continue;
            }
            let seconds: f64 = done.iter().map(|d| d.0.seconds).sum();
            sink.event(&Event::Fold {
                number: i + 1,
                of: plan.folds.len(),
                repeat: fold.repeat,
                train_rows: fold.train.len(),
                valid_rows: match &texts.valid {
                    Some(valid) => valid.examples.len(),
                    None => fold.valid.len(),
                },
                held_out_rows: fold.held_out.len(),
                seconds_left: (i > 0).then(|| seconds / i as f64 * (plan.folds.len() - i) as f64),
            });
            let mut news = News {
                sink: &mut *sink,
                first: i == 0,
                planned: false,
            };
            let scored = self.fold(
                backend, fold, &texts, &plan, &mut cache, &folder, &mut news, stop,
            )?;
            let Some(Scored {
                model,
                mut record,
                logits,
            }) = scored
            else {
                return Ok(None);
            };
            self.same_start(done.first().map(|d| &d.0), &record)?;
            if self.models_on_disk() {
                job.save_model(&model, &folder.path)?;
            }
            drop(model);
            record.memory_bytes = memory_now();
            folder.write(&record, &logits)?;
            Checkpoints::of(&folder.path).clear()?;
            sink.event(&Event::FoldDone {
                number: i + 1,
                of: plan.folds.len(),
                held_out: Box::new(record.held_out.clone()),
                seconds: record.seconds,
                memory_bytes: record.memory_bytes,
            });
            done.push((record, logits));
            if stop.load(Ordering::SeqCst) {
                return Ok(None);
            }
        }
        let shared = cache.filled();
        drop(cache);
        self.conclude(backend, &plan, &texts, done, shared, out, sink, stop)
    }

    /// Fits one fold and scores its held-out rows, once. `None` where the user asked to stop.
    pub(crate) fn fold<B: Backend>(
        &self,
        backend: &Arc<B>,
        fold: &Fold,
        texts: &Texts,
        plan: &FoldPlan,
        cache: &mut PrefixCache<B::Act>,
        folder: &FoldFolder,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Option<Scored<B>>, TrainError> {
        let all = &texts.train.examples;
        let (task, labels) = (task_of(self.job.data.kind), self.job.data.labels.names());
        let train = all.select(&fold.train);
        let own = (!fold.valid.is_empty()).then(|| all.select(&fold.valid));
        let valid = own.as_ref().or(texts.valid.as_ref().map(|v| &v.examples));
        let missing = missing_labels(task, labels, &train);
        if !missing.is_empty() {
            let line = format!(
                "fold {} of repeat {}: its training rows lack {} of the labels ({}); held-out rows of them count as wrong",
                fold.fold,
                fold.repeat,
                missing.len(),
                missing.join(", ")
            );
            self.job.warn(sink, &[line])?;
        }
        let options = Options {
            seed: fold.seed,
            ..self.job.options.clone()
        };
        let job = Job {
            options: &options,
            out: Some(&folder.path),
            ..*self.job
        };
        let mut hashes = None;
        let mut begun = |model: &Model<B>| {
            hashes = Some(start_hashes(model)?);
            Ok(())
        };
        let marks = [
            ("folds".to_owned(), plan.sha256.clone()),
            ("fold".to_owned(), format!("{}-{}", fold.repeat, fold.fold)),
        ];
        let fit = Fit {
            augment: None,
            train: &train,
            valid,
            head_seed: self.job.options.seed,
            marks: marks.into(),
            prefix: Some(cache),
            begun: Some(&mut begun),
        };
        let fitted = match job.fit(fit, backend.clone(), sink, stop) {
            Err(TrainError::Interrupted) => return Ok(None),
            other => other?,
        };
        let Fitted { model, outcome, .. } = fitted;
        if outcome.ending == Ending::Interrupted {
            return Ok(None);
        }
        let scoring = Instant::now();
        let (held_out, logits) = score_once(&model, all, &fold.held_out)?;
        let (encoder_sha256, head_sha256) = hashes.unwrap_or_default();
        let per_epoch = train
            .len()
            .div_ceil(options.batch_size * options.grad_accum)
            .max(1);
        let record = FoldRecord {
            repeat: fold.repeat,
            fold: fold.fold,
            seed: fold.seed,
            train_rows: train.len(),
            valid_rows: valid.map_or(0, Examples::len),
            held_out_rows: fold.held_out.len(),
            missing_labels: missing,
            encoder_sha256,
            head_sha256,
            steps: outcome.steps,
            best_step: outcome.selected_step,
            best_epochs: outcome.selected_step as f64 / per_epoch as f64,
            ending: outcome.ending.name().to_owned(),
            restart: outcome.restart,
            train_loss: outcome.train_loss,
            valid: outcome.valid.map(|reading| reading.metrics),
            held_out,
            seconds: outcome.seconds + scoring.elapsed().as_secs_f64(),
            memory_bytes: None,
        };
        Ok(Some(Scored {
            model,
            record,
            logits,
        }))
    }

    /// Whether finished folds leave their models.
    pub(super) fn models_on_disk(&self) -> bool {
        self.keep_models || self.combine != Combine::Nothing
    }

    fn say_plan(&self, plan: &FoldPlan, sink: &mut dyn Sink) {
        let mut lines = vec![format!(
            "folds of a repeat: {}, repeats: {}; labels are spread alike with --split-seed {}",
            self.folds, self.repeats, self.split_seed
        )];
        if plan.repeated_texts > 0 {
            lines.push(format!(
                "{} rows have a text that stands more than once; all rows of a text are in one fold",
                plan.repeated_texts
            ));
        }
        for text in lines {
            sink.event(&Event::Note { text });
        }
    }

    /// Every fold must start from the bits of the first.
    fn same_start(&self, first: Option<&FoldRecord>, now: &FoldRecord) -> Result<(), TrainError> {
        let Some(first) = first else {
            return Ok(());
        };
        // A fitted head saw its fold's training part, and nothing else may have.
        let fitted = self.job.options.init_head == InitHead::Probe;
        if first.encoder_sha256 == now.encoder_sha256
            && (fitted || first.head_sha256 == now.head_sha256)
        {
            return Ok(());
        }
        Err(TrainError::Option(format!(
            "fold {} of repeat {} started from other weights than the first fold (SHA-256 {} and {}); \
             the model's folder changed meanwhile",
            now.fold, now.repeat, first.encoder_sha256, now.encoder_sha256
        )))
    }
}

/// The one reading of a fold's held-out rows: metrics and logits from one pass. An interruption waits for it.
fn score_once<B: Backend>(
    model: &Model<B>,
    all: &Examples,
    held_out: &[u32],
) -> Result<(Metrics, Vec<RowLogits>), TrainError> {
    let examples = all.select(held_out);
    let mut acts = model.plan_eval(EvalBatches::USUAL.limits(&examples))?;
    let mut scorer = Scorer::new(model.task, &model.labels);
    let mut logits = Vec::with_capacity(held_out.len());
    predict(
        model,
        &mut acts,
        &examples,
        EvalBatches::USUAL,
        |p| {
            scorer.push(&examples, p);
            let row = held_out[p.index];
            logits.push(RowLogits::of(&examples, row, p, model.classes()));
        },
        |_| true,
    )?;
    Ok((scorer.finish(), logits))
}
