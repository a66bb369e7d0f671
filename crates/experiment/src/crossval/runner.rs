//! Runs the folds one after another, each with all memory to itself, and what follows from them.

use super::combine::{Combined, score, soup, vote};
use super::plan::{Fold, FoldPlan};
use super::record::{FoldFolder, FoldRecord, RowLogits, missing_labels, start_hashes};
use super::results::{OutOfFold, SuspectReport};
use super::statistics::{INTERVAL_METHOD, Spread, median};
use hone_bert::Model;
use hone_kernels::Backend;
use hone_train::metrics::{self, Metrics};
use hone_train::{
    Checkpoints, Ending, EvalBatches, Event, Examples, Fit, Fitted, Identity, InitHead, Job,
    Options, PrefixCache, Scorer, Select, Sink, Summary, Texts, TrainError, memory_now,
    peak_memory, predict, task_of, together, write_beside,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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

/// The model fitted to all rows.
#[derive(Debug, Clone, Serialize)]
pub struct FinalFit {
    /// Epochs it was given.
    pub epochs: f64,
    /// Epochs that each fold chose.
    pub chosen_epochs: Vec<f64>,
    /// What may be said of it.
    pub note: &'static str,
    /// Its own summary.
    pub summary: Summary,
}

const FINAL_NOTE: &str = "fitted to all rows, so no row is left to judge it: the cross-validated estimate stands \
    for it; its epochs are the median of those the folds chose, the schedule runs over them";

/// `crossval.json`.
#[derive(Debug, Clone, Serialize)]
pub struct CrossValReport {
    /// Rows.
    pub rows: usize,
    /// Folds of a repeat.
    pub folds: usize,
    /// Repeats.
    pub repeats: usize,
    /// Mean, spread and interval of each metric over the folds.
    pub metrics: BTreeMap<String, Spread>,
    /// How the intervals come about.
    pub interval_method: &'static str,
    /// Held-out rows over training rows (those that select included), in the intervals.
    pub held_out_to_training: f64,
    /// Metrics of all rows of each repeat, each answered by the model that did not see it.
    pub pooled: Vec<Metrics>,
    /// SHA-256 of the weights from which every fold started: embeddings and encoder.
    pub encoder_sha256: String,
    /// SHA-256 of the pooler and the classifier from which every fold started, or the first where heads are fitted.
    pub head_sha256: String,
    /// SHA-256 of who is in which fold.
    pub plan_sha256: String,
    /// Rows whose text stands more than once; all rows of one text are in one fold.
    pub repeated_text_rows: usize,
    /// Examples whose frozen outputs the folds shared.
    pub shared_frozen_examples: usize,
    /// Labels that are probably wrong; absent for tasks without one label a row.
    pub suspects: Option<SuspectReport>,
    /// The folds' models as one.
    pub combined: Option<Combined>,
    /// The model fitted to all rows.
    pub final_fit: Option<FinalFit>,
    /// Fold by fold.
    pub per_fold: Vec<FoldRecord>,
    /// The run's seed.
    pub seed: u64,
    /// Seed of the folds.
    pub split_seed: u64,
    /// Arithmetic path.
    pub kernel_path: String,
    /// Hone's version.
    pub version: &'static str,
    /// Seconds, all sittings.
    pub seconds: f64,
    /// Most memory the process held.
    pub peak_memory_bytes: Option<u64>,
}

/// `plan.json`: what a resumed cross-validation must have in common with the one it goes on with.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    folds: usize,
    repeats: usize,
    inner: Option<f64>,
    combine: Combine,
    models_on_disk: bool,
    identity: Identity,
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
            train: &train,
            valid,
            head_seed: self.job.options.seed,
            marks: marks.into(),
            prefix: Some(cache),
            begun: Some(&mut begun),
        };
        let Fitted { model, outcome, .. } = job.fit(fit, backend.clone(), sink, stop)?;
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
            train_loss: outcome.train_loss,
            valid: outcome.valid,
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

    fn models_on_disk(&self) -> bool {
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

    /// Writes `plan.json`, or compares with the one of the cross-validation that goes on.
    fn check_settings(
        &self,
        plan: &FoldPlan,
        texts: &Texts,
        kernel_path: String,
        out: &Path,
    ) -> Result<(), TrainError> {
        let mut hashes = self.job.file_hashes()?;
        hashes.insert("folds".to_owned(), plan.sha256.clone());
        let now = Settings {
            folds: self.folds,
            repeats: self.repeats,
            inner: self.inner,
            combine: self.combine,
            models_on_disk: self.models_on_disk(),
            identity: Identity {
                options: self.job.options.clone(),
                max_length: texts.max_length,
                truncate: format!("{:?}", self.job.truncate).to_lowercase(),
                hashes: hashes.into_iter().collect(),
                kernel_path,
                rows: texts.train.examples.len(),
            },
        };
        let path = out.join("plan.json");
        let damaged = |e: serde_json::Error| TrainError::Checkpoint {
            path: path.clone(),
            reason: format!("not what this version wrote ({e})"),
        };
        if !(self.job.resume && path.is_file()) {
            let text = serde_json::to_string_pretty(&now).map_err(damaged)?;
            return write_beside(&path, &(text + "\n"));
        }
        let text = std::fs::read_to_string(&path).map_err(|source| TrainError::Io {
            path: path.clone(),
            source,
        })?;
        let was: Settings = serde_json::from_str(&text).map_err(damaged)?;
        let inner = |s: &Settings| s.inner.map_or("none".to_owned(), |f| f.to_string());
        let pairs = [
            ("--folds", was.folds.to_string(), now.folds.to_string()),
            (
                "--repeats",
                was.repeats.to_string(),
                now.repeats.to_string(),
            ),
            ("--valid", inner(&was), inner(&now)),
            (
                "--soup or --vote",
                format!("{:?}", was.combine).to_lowercase(),
                format!("{:?}", now.combine).to_lowercase(),
            ),
            (
                "--keep-folds",
                was.models_on_disk.to_string(),
                now.models_on_disk.to_string(),
            ),
        ];
        let differs = pairs.into_iter().find(|(_, was, now)| was != now);
        let differs = differs.map(|(what, was, now)| (what.to_owned(), was, now));
        match differs.or_else(|| was.identity.difference(&now.identity)) {
            None => Ok(()),
            Some((what, was, now)) => Err(TrainError::Changed {
                path,
                what,
                was,
                now,
            }),
        }
    }

    /// Everything after the last fold.
    fn conclude<B: Backend>(
        &self,
        backend: &Arc<B>,
        plan: &FoldPlan,
        texts: &Texts,
        done: Vec<(FoldRecord, Vec<RowLogits>)>,
        shared_frozen_examples: usize,
        out: &Path,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Option<CrossValReport>, TrainError> {
        let started = Instant::now();
        let job = self.job;
        let (task, labels) = (task_of(job.data.kind), job.data.labels.names());
        let records: Vec<FoldRecord> = done.iter().map(|d| d.0.clone()).collect();
        let oof = OutOfFold::new(task, labels, &texts.train.examples, done);
        oof.write(&out.join("oof.csv"))?;
        let suspects = oof.suspects(&job.data.train, &out.join("suspects.csv"))?;
        if suspects.is_none() {
            let text = "labels are not checked: suspects are found for one label a row only";
            sink.event(&Event::Note {
                text: text.to_owned(),
            });
        }
        let n = texts.train.examples.len() as f64;
        let held_out: usize = records.iter().map(|r| r.held_out_rows).sum();
        let held_out = held_out as f64 / records.len().max(1) as f64;
        let ratio = held_out / (n - held_out).max(1.0);
        let spread = |name: &&str| {
            let values: Option<Vec<f64>> = records.iter().map(|r| r.held_out.value(name)).collect();
            Some(((*name).to_owned(), Spread::of(&values?, ratio)))
        };
        let metrics = metrics::names(task).iter().filter_map(spread).collect();

        let folders: Vec<PathBuf> = plan
            .folds
            .iter()
            .map(|f| FoldFolder::of(out, f).path)
            .collect();
        let test = texts.test.as_ref().map(|t| &t.examples);
        let combined = self.combine(backend, &folders, test, out, sink)?;
        let final_fit = match self.final_fit {
            false => None,
            true => match self.fit_all(backend, texts, &records, sink, stop)? {
                None => return Ok(None),
                done => done,
            },
        };
        let first = records.first();
        let of = |f: fn(&FoldRecord) -> &String| first.map(f).cloned().unwrap_or_default();
        let report = CrossValReport {
            rows: texts.train.examples.len(),
            folds: self.folds,
            repeats: self.repeats,
            metrics,
            interval_method: INTERVAL_METHOD,
            held_out_to_training: ratio,
            pooled: oof.pooled(),
            encoder_sha256: of(|r| &r.encoder_sha256),
            head_sha256: of(|r| &r.head_sha256),
            plan_sha256: plan.sha256.clone(),
            repeated_text_rows: plan.repeated_texts,
            shared_frozen_examples,
            suspects,
            combined,
            final_fit,
            seed: job.options.seed,
            split_seed: self.split_seed,
            kernel_path: backend.path(),
            version: env!("CARGO_PKG_VERSION"),
            seconds: records.iter().map(|r| r.seconds).sum::<f64>()
                + started.elapsed().as_secs_f64(),
            per_fold: records,
            peak_memory_bytes: peak_memory(),
        };
        let path = out.join("crossval.json");
        let text = serde_json::to_string_pretty(&report).map_err(|e| TrainError::Checkpoint {
            path: path.clone(),
            reason: e.to_string(),
        })?;
        write_beside(&path, &(text + "\n"))?;
        if self.combine == Combine::Soup && !self.keep_models {
            forget_models(&folders)?;
        }
        Ok(Some(report))
    }

    fn combine<B: Backend>(
        &self,
        backend: &Arc<B>,
        folders: &[PathBuf],
        test: Option<&Examples>,
        out: &Path,
        sink: &mut dyn Sink,
    ) -> Result<Option<Combined>, TrainError> {
        let models = folders.len();
        let mut say = |text: String| sink.event(&Event::Note { text });
        Ok(match self.combine {
            Combine::Nothing => None,
            Combine::Soup => {
                say(format!("soup: the mean of the weights of {models} folds"));
                let model = soup(backend.clone(), folders)?;
                let folder = out.join("soup");
                self.job.save_model(&model, &folder)?;
                Some(Combined {
                    how: "soup",
                    models,
                    folder: Some(PathBuf::from("soup")),
                    test: test.map(|t| score(&model, t)).transpose()?.flatten(),
                })
            }
            Combine::Vote => {
                say(format!(
                    "vote: the mean probability of {models} folds' models"
                ));
                Some(Combined {
                    how: "vote",
                    models,
                    folder: None,
                    test: test
                        .map(|t| vote(backend, folders, t))
                        .transpose()?
                        .flatten(),
                })
            }
        })
    }

    /// A model of all rows, for as long as the folds found good.
    fn fit_all<B: Backend>(
        &self,
        backend: &Arc<B>,
        texts: &Texts,
        records: &[FoldRecord],
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Option<FinalFit>, TrainError> {
        let chosen_epochs: Vec<f64> = records.iter().map(|r| r.best_epochs).collect();
        let steps: Vec<f64> = records.iter().map(|r| r.best_step as f64).collect();
        let epochs = median(&chosen_epochs);
        let options = Options {
            epochs,
            // Who counted in steps goes on counting in steps.
            max_steps: self
                .job
                .options
                .max_steps
                .map(|_| median(&steps).round() as usize),
            patience: None,
            select: Select::Last,
            ..self.job.options.clone()
        };
        let rows = texts.train.examples.len();
        sink.event(&Event::Note {
            text: format!(
                "final fit: all {rows} rows, {epochs:.2} epochs, the median of what the folds chose"
            ),
        });
        let all = Texts {
            tokenizer: texts.tokenizer.clone(),
            max_length: texts.max_length,
            train: texts.train.clone(),
            valid: None,
            test: texts.test.clone(),
        };
        let job = Job {
            options: &options,
            ..*self.job
        };
        let fit = Fit {
            train: &all.train.examples,
            valid: None,
            head_seed: options.seed,
            marks: BTreeMap::new(),
            prefix: None,
            begun: None,
        };
        let started = Instant::now();
        let (model, summary, ending) =
            job.conclude(&all, fit, backend.clone(), sink, stop, started)?;
        drop(model);
        Ok((ending != Ending::Interrupted).then_some(FinalFit {
            epochs,
            chosen_epochs,
            note: FINAL_NOTE,
            summary,
        }))
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

/// Removes the folds' models and leaves their records.
fn forget_models(folders: &[PathBuf]) -> Result<(), TrainError> {
    const MODEL: [&str; 6] = [
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "vocab.txt",
        "tokenizer_config.json",
        "special_tokens_map.json",
    ];
    for path in folders.iter().flat_map(|f| MODEL.map(|name| f.join(name))) {
        if path.is_file() {
            std::fs::remove_file(&path).map_err(|source| TrainError::Io { path, source })?;
        }
    }
    Ok(())
}
