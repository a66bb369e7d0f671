//! One run of a search: on which rows, how long it will take, and how it is done; the journal is asked first.

use super::budget::Work;
use super::journal::{Purpose, RunRecord};
use super::runner::{Chooser, Course};
use super::search::no_time_for;
use super::space::Configuration;
use crate::crossval::{Fold, derived};
use crate::held_out::{HeldOutRun, News, lacking};
use hone_kernels::Backend;
use hone_tensor::permutation;
use hone_train::{Event, Job, Options, Output, Sink, TrainError, memory_now};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How a run went.
pub(super) enum Went {
    /// To its end.
    Done(Box<RunRecord>),
    /// Not at all or not to its end: there was no time.
    NoTime,
    /// The user asked to stop; it goes on from its checkpoint.
    Stopped,
}

/// A run to do.
pub(super) struct Wanted<'a> {
    pub name: String,
    pub purpose: Purpose,
    pub trial: Option<usize>,
    pub settings: &'a Configuration,
    pub options: Options,
    pub share: f64,
    /// From 1.
    pub replicate: usize,
    /// Where it stands in the search, for people.
    pub place: String,
    /// Seconds of the search at which it must be done; none where it must not fail for time.
    pub deadline: Option<f64>,
}

impl<B: Backend> Course<'_, B> {
    /// Rows that are fitted and rows of which the value is, in a replicate on part of the rows.
    fn rows(&self, replicate: usize, share: f64) -> (Vec<u32>, Vec<u32>, u64) {
        let seed = self.tune.job.options.seed;
        let (train, held_out, seed) = match &self.plan {
            Some(plan) => {
                let Fold {
                    train,
                    held_out,
                    seed,
                    ..
                } = &plan.folds[(replicate - 1) % plan.folds.len()];
                (train.clone(), held_out.clone(), *seed)
            }
            None => {
                let all = 0..self.texts.train.examples.len() as u32;
                (
                    all.collect(),
                    Vec::new(),
                    derived(seed, REPLICATE, replicate),
                )
            }
        };
        if share >= 1.0 {
            return (train, held_out, seed);
        }
        // Half of the rows are half of those of a quarter and others: parts are nested.
        let order = permutation(train.len(), self.tune.split_seed, replicate as u64);
        let part = (share * train.len() as f64).ceil() as usize;
        let mut part: Vec<u32> = order
            .iter()
            .take(part)
            .map(|&i| train[i as usize])
            .collect();
        part.sort_unstable();
        (part, held_out, seed)
    }

    /// What a run of these options has to do.
    pub fn work(&self, options: &Options, share: f64, purpose: Purpose) -> Work {
        let (fitted, scored) = match purpose {
            Purpose::Refit => {
                let untouched = self.untouched().len();
                (self.texts.train.examples.len(), untouched)
            }
            _ => self.sizes(),
        };
        let rows = (share * fitted as f64).ceil();
        let readings = match self.tune.chooser {
            Chooser::Folds(_) => 1.0,
            Chooser::Valid => {
                let per_epoch = options.steps_per_epoch(rows as usize);
                (options.steps(per_epoch) / options.eval_every.steps(per_epoch)).max(1) as f64
            }
        };
        Work {
            trained: row_passes(options, rows as usize),
            scored: readings * scored as f64,
        }
    }

    /// Seconds that a run will take; 0 before anything was timed.
    pub fn seconds(&self, options: &Options, share: f64, purpose: Purpose) -> f64 {
        let work = self.work(options, share, purpose);
        self.pace.seconds(work).unwrap_or(0.0)
    }

    /// Does a run, or reads what it left. A run that will not be done in time is not begun, one that is not is ended.
    pub fn attempt(&mut self, wanted: Wanted<'_>, sink: &mut dyn Sink) -> Result<Went, TrainError> {
        let predicted = self.seconds(&wanted.options, wanted.share, wanted.purpose);
        let known = self.journal.run(&wanted.name).cloned().map(Box::new);
        let went = match known {
            Some(record) => {
                self.outlook -= predicted;
                Went::Done(record)
            }
            None => {
                let no_time = no_time_for(&wanted.name);
                if self.journal.decided(&no_time).is_some() {
                    return Ok(Went::NoTime);
                }
                let late = |seconds: f64| wanted.deadline.is_some_and(|end| seconds > end);
                let went = match late(self.elapsed() + predicted) {
                    true => Went::NoTime,
                    false => self.begin(&wanted, sink)?,
                };
                self.outlook -= predicted;
                if let Went::NoTime = went {
                    self.decide(&no_time, json!({ "seconds": predicted }))?;
                }
                if let Went::Done(record) = &went {
                    let elapsed = self.elapsed();
                    self.journal.finish(*record.clone(), elapsed)?;
                }
                went
            }
        };
        if let Went::Done(record) = &went
            && record.failed.is_none()
        {
            let work = self.work(&wanted.options, wanted.share, wanted.purpose);
            self.pace.add(work, record.train_seconds, record.seconds);
        }
        match went {
            Went::Done(_) if self.stop.load(Ordering::SeqCst) => Ok(Went::Stopped),
            went => Ok(went),
        }
    }

    fn begin(&mut self, wanted: &Wanted<'_>, sink: &mut dyn Sink) -> Result<Went, TrainError> {
        let (train, held_out, seed) = self.rows(wanted.replicate, wanted.share);
        let (train_rows, scored_rows) = match wanted.purpose {
            Purpose::Refit => (self.texts.train.examples.len(), self.untouched().len()),
            _ => (train.len(), self.sizes().1),
        };
        sink.event(&Event::Candidate {
            run: wanted.name.clone(),
            place: wanted.place.clone(),
            settings: wanted.settings.to_string(),
            train_rows,
            scored_rows,
            seconds_left: self.seconds_left(),
        });
        let folder = self.out.join("work").join(&wanted.name);
        let halt = AtomicBool::new(false);
        let first = std::mem::replace(&mut self.first, false);
        let mut news = News::of(sink, first);
        let mut watched = Watched {
            sink: &mut news,
            stop: self.stop,
            halt: &halt,
            began: self.tune.began,
            until: wanted
                .deadline
                .map(|end| end - self.journal.earlier_sittings()),
        };
        let done = match wanted.purpose {
            Purpose::Refit => self.refit(wanted, &folder, &mut watched, &halt),
            _ => self.score(
                wanted,
                [train, held_out],
                seed,
                &folder,
                &mut watched,
                &halt,
            ),
        };
        let name = &wanted.name;
        let record = match done {
            Err(TrainError::Option(text)) => {
                return Err(TrainError::Option(format!(
                    "{name} ({}): {text}",
                    wanted.settings
                )));
            }
            other => other?,
        };
        let Some(mut record) = record else {
            return Ok(match self.stop.load(Ordering::SeqCst) {
                true => Went::Stopped,
                false => {
                    clear(&folder)?;
                    Went::NoTime
                }
            });
        };
        record.memory_bytes = memory_now();
        record.train_rows = train_rows;
        record.scored_rows = scored_rows;
        clear(&folder)?;
        sink.event(&Event::CandidateDone {
            run: wanted.name.clone(),
            place: wanted.place.clone(),
            metric: self.tune.job.options.metric.clone(),
            value: record.value,
            failed: record.failed.clone(),
            seconds: record.seconds,
            memory_bytes: record.memory_bytes,
        });
        Ok(Went::Done(Box::new(record)))
    }

    /// Fits to some rows and scores others, once.
    fn score(
        &self,
        wanted: &Wanted<'_>,
        [train, held_out]: [Vec<u32>; 2],
        seed: u64,
        folder: &Path,
        sink: &mut dyn Sink,
        halt: &AtomicBool,
    ) -> Result<Option<RunRecord>, TrainError> {
        let options = Options {
            seed,
            ..wanted.options.clone()
        };
        let out = self.part(folder);
        let job = self.within(&options, &out);
        let chooser = match self.tune.chooser {
            Chooser::Valid => self.texts.valid.as_ref().map(|v| &v.examples),
            Chooser::Folds(_) => None,
        };
        let run = HeldOutRun {
            job: &job,
            texts: &self.texts,
            train: &train,
            valid: &[],
            own_valid: chooser,
            held_out: &held_out,
            head_seed: seed,
            marks: [("run".to_owned(), wanted.name.clone())].into(),
        };
        let missing = run.missing_labels();
        if !missing.is_empty() && wanted.trial == Some(0) {
            let line = lacking(&wanted.name, &missing);
            self.tune.job.warn(sink, &[line])?;
        }
        let began = Instant::now();
        let mut record = self.record(wanted, seed, &options, train.len());
        let judged = match run.run(None, self.backend, sink, halt) {
            Err(error) => return record.diverged(error, began).map(Some),
            Ok(judged) => judged,
        };
        let Some(judged) = judged else {
            return Ok(None);
        };
        record.ran(&judged.outcome);
        let metrics = match chooser {
            Some(_) => judged.outcome.valid.map(|reading| reading.metrics),
            None => Some(judged.held_out),
        };
        record.scored(metrics, &options.metric);
        record.seconds = judged.seconds;
        Ok(Some(record))
    }

    /// A record of a run of which nothing is known yet.
    pub fn record(
        &self,
        wanted: &Wanted<'_>,
        seed: u64,
        options: &Options,
        rows: usize,
    ) -> RunRecord {
        RunRecord {
            run: wanted.name.clone(),
            purpose: wanted.purpose,
            trial: wanted.trial,
            settings: wanted.settings.clone(),
            share: wanted.share,
            replicate: wanted.replicate,
            seed,
            train_rows: rows,
            scored_rows: 0,
            value: None,
            metrics: None,
            failed: None,
            restart: None,
            steps: 0,
            best_step: 0,
            ending: String::new(),
            train_tokens: 0,
            train_loss: None,
            row_passes: row_passes(options, rows),
            train_seconds: 0.0,
            seconds: 0.0,
            planned_memory_bytes: 0,
            memory_bytes: None,
        }
    }

    /// A run's folder; it goes on where it was stopped.
    pub fn part(&self, folder: &Path) -> Output {
        match folder.join("checkpoints").is_dir() {
            true => self.out.part(folder.to_owned()),
            false => self.out.new_part(folder.to_owned()),
        }
    }

    /// The job with other options, in a folder of its own.
    pub fn within<'j>(&'j self, options: &'j Options, out: &'j Output) -> Job<'j> {
        Job {
            options,
            out: Some(out),
            ..*self.tune.job
        }
    }
}

/// Where seeds of replicates without folds, and of refits, are drawn.
const REPLICATE: usize = 0x5245;

/// Rows times passes; a text that is read twice counts twice.
fn row_passes(options: &Options, rows: usize) -> f64 {
    let per_epoch = options.steps_per_epoch(rows);
    let passes = options.steps(per_epoch) as f64 / per_epoch as f64;
    let draws = if options.r_drop > 0.0 { 2.0 } else { 1.0 };
    draws * passes * rows as f64
}

/// Leaves nothing of a run but its record.
pub(super) fn clear(folder: &Path) -> Result<(), TrainError> {
    match fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(TrainError::Io {
            path: folder.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Hands events on, and ends the run when the user asks to stop or time is up.
struct Watched<'a> {
    sink: &'a mut dyn Sink,
    stop: &'a AtomicBool,
    halt: &'a AtomicBool,
    began: Instant,
    /// Seconds of this sitting.
    until: Option<f64>,
}

impl Sink for Watched<'_> {
    fn event(&mut self, event: &Event) {
        self.sink.event(event);
        let late = self
            .until
            .is_some_and(|end| self.began.elapsed().as_secs_f64() > end);
        if late || self.stop.load(Ordering::SeqCst) {
            self.halt.store(true, Ordering::SeqCst);
        }
    }
}
