//! What follows from the folds: the report, their models as one, a model of all rows.

use super::combine::{Combined, score, soup, vote};
use super::plan::FoldPlan;
use super::record::{FoldFolder, FoldRecord};
use super::results::{OutOfFold, SuspectReport};
use super::runner::{Combine, CrossVal};
use super::statistics::{INTERVAL_METHOD, Spread, median};
use crate::held_out::RowLogits;
use hone_data::TOKENIZER_FILES;
use hone_kernels::Backend;
use hone_train::metrics::{self, Metrics};
use hone_train::watch::Watch;
use hone_train::{
    Answers, Ending, Event, Examples, Fit, HeldOut, Job, Options, Select, Sink, Summary, Texts,
    TrainError, peak_memory, task_of, write_beside,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// The model fitted to all rows.
#[derive(Debug, Clone, Serialize)]
pub struct FinalFit {
    /// Epochs it was given, of all rows.
    pub epochs: f64,
    /// Steps it was given, where training is counted in steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Epochs that each fold chose.
    pub chosen_epochs: Vec<f64>,
    /// Steps that each fold chose.
    pub chosen_steps: Vec<usize>,
    /// What may be said of it.
    pub note: &'static str,
    /// Its own summary.
    pub summary: Summary,
}

const FINAL_NOTE: &str = "fitted to all rows, so no row is left to judge it: the cross-validated estimate stands \
    for it; its epochs are the median of those the folds chose, the schedule runs over them";
const FINAL_NOTE_STEPS: &str = "fitted to all rows, so no row is left to judge it: the cross-validated estimate stands \
    for it; its steps are the median of those the folds chose, the schedule runs over them";

/// How long the model of all rows is fitted.
#[derive(Debug, PartialEq)]
pub(super) struct Length {
    /// Epochs of all rows.
    pub epochs: f64,
    /// Steps, where training is counted in steps.
    pub steps: Option<usize>,
}

impl Length {
    /// The median of what the folds chose: of their steps where training is counted in steps, which are other parts of all rows
    /// than of a fold's; else of their epochs.
    pub fn of(options: &Options, rows: usize, epochs: &[f64], steps: &[usize]) -> Length {
        if options.max_steps.is_none() {
            return Length {
                epochs: median(epochs),
                steps: None,
            };
        }
        let steps: Vec<f64> = steps.iter().map(|&n| n as f64).collect();
        let steps = median(&steps).round() as usize;
        Length {
            epochs: steps as f64 / options.steps_per_epoch(rows) as f64,
            steps: Some(steps),
        }
    }

    fn text(&self) -> String {
        match self.steps {
            Some(steps) => format!("{steps} steps ({:.2} epochs)", self.epochs),
            None => format!("{:.2} epochs", self.epochs),
        }
    }
}

impl FinalFit {
    /// How long it was fitted, as people read it.
    pub fn length(&self) -> String {
        let (epochs, steps) = (self.epochs, self.steps);
        Length { epochs, steps }.text()
    }
}

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

impl CrossVal<'_> {
    /// Everything after the last fold.
    pub(super) fn conclude<B: Backend>(
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
            Some((
                (*name).to_owned(),
                Spread::of(&values?, ratio, metrics::range(name)),
            ))
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
            true => {
                match self.fit_all(backend, texts, &records, oof.answers().as_ref(), sink, stop)? {
                    None => return Ok(None),
                    done => done,
                }
            }
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
            pooled: oof.pooled()?,
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
            peak_memory_bytes: peak_memory(backend.as_ref()),
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
                    how: self.combine.name(),
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
                    how: self.combine.name(),
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
        answers: Option<&Answers>,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<Option<FinalFit>, TrainError> {
        let chosen_epochs: Vec<f64> = records.iter().map(|r| r.best_epochs).collect();
        let chosen_steps: Vec<usize> = records.iter().map(|r| r.best_step).collect();
        let rows = texts.train.examples.len();
        let length = Length::of(self.job.options, rows, &chosen_epochs, &chosen_steps);
        let options = Options {
            epochs: length.epochs,
            // Who counted in steps goes on counting in steps.
            max_steps: length.steps,
            patience: None,
            select: Select::Last,
            ..self.job.options.clone()
        };
        sink.event(&Event::Note {
            text: format!(
                "final fit: all {rows} rows, {}, the median of what the folds chose",
                length.text()
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
            augment: job.epoch_texts(&all, &self.job.data.train),
            train: &all.train.examples,
            valid: None,
            watch: Watch::Nothing,
            head_seed: options.seed,
            marks: BTreeMap::new(),
            prefix: None,
            begun: None,
        };
        let by = answers.map_or(HeldOut::Valid, HeldOut::OutOfFold);
        let started = Instant::now();
        let (model, summary, ending) =
            job.conclude(&all, fit, by, backend.clone(), sink, stop, started)?;
        drop(model);
        Ok((ending != Ending::Interrupted).then_some(FinalFit {
            epochs: length.epochs,
            steps: length.steps,
            chosen_epochs,
            chosen_steps,
            note: match length.steps {
                Some(_) => FINAL_NOTE_STEPS,
                None => FINAL_NOTE,
            },
            summary,
        }))
    }
}

/// Removes the folds' models and leaves their records.
fn forget_models(folders: &[PathBuf]) -> Result<(), TrainError> {
    let names = ["model.safetensors", "config.json"].into_iter();
    let names: Vec<&str> = names.chain(TOKENIZER_FILES).collect();
    for path in (folders.iter()).flat_map(|f| names.iter().map(|name| f.join(name))) {
        if path.is_file() {
            std::fs::remove_file(&path).map_err(|source| TrainError::Io { path, source })?;
        }
    }
    Ok(())
}
