//! Runs the folds one after another, each with all memory to itself.

use super::conclude::CrossValReport;
use super::plan::{Fold, FoldPlan, can_repeat};
use super::record::{FoldFolder, FoldRecord};
use crate::held_out::{HeldOutRun, Judged, News, Once, RowLogits, lacking};
use hone_bert::Model;
use hone_kernels::Backend;
use hone_train::{
    Checkpoints, Event, InitHead, Job, Options, PrefixCache, Sink, Texts, TrainError, Work,
    memory_now, together,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

impl Combine {
    /// Its name in records.
    pub fn name(self) -> &'static str {
        match self {
            Combine::Nothing => "nothing",
            Combine::Soup => "soup",
            Combine::Vote => "vote",
        }
    }
}

/// A cross-validation to do.
#[derive(Debug)]
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

/// A fold that was fitted and scored.
pub(crate) struct Scored<B: Backend> {
    pub model: Model<B>,
    pub record: FoldRecord,
    pub logits: Vec<RowLogits>,
}

impl CrossVal<'_> {
    /// Its folder's kind of work.
    pub const WORK: Work = Work {
        name: "cross-validation",
        done: "crossval.json",
    };

    /// Runs it; `None` where the user asked to stop, with everything on disk to go on from.
    pub fn run<B: Backend>(
        &self,
        backend: &Arc<B>,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Option<CrossValReport>, TrainError> {
        let job = self.job;
        job.options.check()?;
        can_repeat(self.repeats)?;
        let out = job.out.ok_or_else(|| {
            TrainError::Option("a cross-validation needs an output folder".to_owned())
        })?;
        out.check_unused()?;
        let mut once = Once::of(sink);
        let sink: &mut dyn Sink = &mut once;
        let texts = job.tokenise(sink)?;
        if self.combine == Combine::Vote && texts.test.is_none() {
            return Err(TrainError::Option(
                "--vote needs test texts (--test): it is a figure, not a model; --soup makes a model"
                    .to_owned(),
            ));
        }
        let examples = &texts.train.examples;
        if self.final_fit {
            job.can_conclude(examples.targets.known(), "out-of-fold rows")?;
        } else if job.options.calibrate || job.options.abstain_precision.is_some() {
            return Err(TrainError::Option(
                "--calibrate and --abstain-precision are for one model that is kept: add --final-fit, the model of all rows"
                    .to_owned(),
            ));
        }
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
            let mut news = News::of(sink, i == 0);
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
        let options = Options {
            seed: fold.seed,
            ..self.job.options.clone()
        };
        let out = self.job.out.map(|out| out.part(folder.path.clone()));
        let job = Job {
            options: &options,
            out: out.as_ref(),
            ..*self.job
        };
        let run = HeldOutRun {
            job: &job,
            texts,
            train: &fold.train,
            valid: &fold.valid,
            own_valid: texts.valid.as_ref().map(|v| &v.examples),
            held_out: &fold.held_out,
            head_seed: self.job.options.seed,
            marks: [
                ("folds".to_owned(), plan.sha256.clone()),
                ("fold".to_owned(), format!("{}-{}", fold.repeat, fold.fold)),
            ]
            .into(),
        };
        let missing = run.missing_labels();
        if !missing.is_empty() {
            let name = format!("fold {} of repeat {}", fold.fold, fold.repeat);
            self.job.warn(sink, &[lacking(&name, &missing)])?;
        }
        let Some(judged) = run.run(Some(cache), backend, sink, stop)? else {
            return Ok(None);
        };
        let Judged {
            model,
            outcome,
            encoder_sha256,
            head_sha256,
            valid_rows,
            held_out,
            logits,
            seconds,
        } = judged;
        let train_rows = fold.train.len();
        let per_epoch = options.steps_per_epoch(train_rows);
        let record = FoldRecord {
            repeat: fold.repeat,
            fold: fold.fold,
            seed: fold.seed,
            train_rows,
            valid_rows,
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
            seconds,
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
    pub(super) fn same_start(
        &self,
        first: Option<&FoldRecord>,
        now: &FoldRecord,
    ) -> Result<(), TrainError> {
        let Some(first) = first else {
            return Ok(());
        };
        // A fitted head saw its fold's training part, and nothing else may have.
        let fitted = self.job.options.init_head == InitHead::Probe;
        let encoder = ("encoder", &first.encoder_sha256, &now.encoder_sha256);
        let head = ("head", &first.head_sha256, &now.head_sha256);
        let compared = [Some(encoder), (!fitted).then_some(head)];
        match compared
            .into_iter()
            .flatten()
            .find(|(_, was, is)| was != is)
        {
            None => Ok(()),
            Some((what, was, is)) => Err(TrainError::Option(format!(
                "fold {} of repeat {} started from another {what} than the first fold (SHA-256 {was} and {is}); \
                 the model's folder changed meanwhile",
                now.fold, now.repeat
            ))),
        }
    }
}
