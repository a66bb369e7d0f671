//! A tiny BERT with its tokenizer and texts, and runs of it.
#![allow(dead_code, reason = "each test file uses its own part")]

use hone_data::Columns;
use hone_kernels::Backend;
use hone_optim::Warmup;
use hone_tensor::Real;
use hone_train::{
    DataSource, Done, Event, Job, JobData, KnownFeatures, Options, Output, Select, Sink,
    TrainError, ValidSource, WordUpdates, Work,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/trajectory")
}

/// The recipe of `xtask/python/make_fixtures.py`.
pub fn options() -> Options {
    Options {
        epochs: 1.0,
        batch_size: 4,
        lr: 1e-3,
        head_lr: 5e-3,
        layer_decay: 0.8,
        weight_decay: 0.05,
        warmup: Warmup::Steps(10),
        dropout: 0.0,
        attention_dropout: 0.0,
        head_dropout: 0.0,
        shuffle: false,
        select: Select::Last,
        ..Options::default()
    }
}

/// What a run said, and when it is to be stopped.
#[derive(Default)]
pub struct Record {
    pub losses: Vec<f64>,
    pub norms: Vec<f64>,
    pub events: Vec<Event>,
    pub stop_after: Option<usize>,
    /// The step after whose validation the next thing that is read is cut off.
    pub cut_after: Option<usize>,
    pub validated: Option<usize>,
    pub stop: Arc<AtomicBool>,
}

impl Sink for Record {
    fn event(&mut self, event: &Event) {
        if let Event::Step(step) = event {
            self.losses.push(step.loss);
            self.norms.push(step.grad_norm);
            if self.stop_after == Some(step.step) {
                self.stop.store(true, Ordering::SeqCst);
            }
        }
        match event {
            Event::Evaluated { step, .. } => self.validated = Some(*step),
            Event::Evaluating { .. }
                if self.cut_after.is_some() && self.cut_after == self.validated =>
            {
                self.stop.store(true, Ordering::SeqCst);
            }
            _ => {}
        }
        self.events.push(event.clone());
    }
}

pub fn data(valid: ValidSource) -> JobData {
    DataSource {
        data: folder().join("train.csv"),
        valid,
        test: None,
        columns: Columns::default(),
        kind: None,
        split_seed: 0,
    }
    .read()
    .unwrap()
}

pub struct Run<'a> {
    pub data: &'a JobData,
    pub options: &'a Options,
    pub out: Option<&'a Path>,
    pub resume: bool,
    pub words: WordUpdates,
    pub known: Option<&'a KnownFeatures>,
}

impl<'a> Run<'a> {
    /// A run that writes nothing.
    pub fn new(data: &'a JobData, options: &'a Options) -> Run<'a> {
        Run {
            data,
            options,
            out: None,
            resume: false,
            words: WordUpdates::Deferred,
            known: None,
        }
    }
}

impl Run<'_> {
    pub fn on<B: Backend>(
        &self,
        backend: Arc<B>,
        record: &mut Record,
    ) -> Result<Done<B>, TrainError> {
        let stop = record.stop.clone();
        stop.store(false, Ordering::SeqCst);
        let out = output(self.out, self.resume)?;
        Job {
            out: out.as_ref(),
            words: self.words,
            known: self.known,
            ..Job::new(&folder(), self.data, self.options)
        }
        .run(backend, record, &stop)
    }
}

/// The folder that a run writes to, where it has one.
pub fn output(out: Option<&Path>, resume: bool) -> Result<Option<Output>, TrainError> {
    let begin = match resume {
        true => Output::resume,
        false => Output::new,
    };
    out.map(|out| begin(out, Work::RUN)).transpose()
}

/// All weights of a model, as (name, values).
pub fn weights<B: Backend>(done: &Done<B>) -> Vec<(String, Vec<f64>)> {
    let model = &done.model;
    let b = model.backend();
    let table = &model.layout().table;
    table
        .params()
        .iter()
        .map(|p| {
            let mut host = vec![B::Master::default(); p.len()];
            b.download(b.param(model.params(), p.range()), &mut host)
                .unwrap();
            (p.name.clone(), host.into_iter().map(Real::to_f64).collect())
        })
        .collect()
}

/// The largest magnitude.
pub fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |m, x| m.max(x.abs()))
}

/// The largest difference.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |m, (a, b)| {
        let d = (a - b).abs();
        if d.is_nan() { f64::INFINITY } else { m.max(d) }
    })
}
