//! The walk along the line between both encoders: what is measured at each place, and which place is chosen.

use super::{Blend, Keep, Known, Measured, Measures, frontier, layer_cka, mean_cka};
use crate::{Answers, answers, compare};
use hone_bert::Task;
use hone_kernels::Backend;
use hone_train::metrics::{self, Metrics};
use hone_train::{Examples, TrainError};
use serde::Serialize;

/// The task's figure at one place.
#[derive(Debug, Clone, Serialize)]
pub struct TaskFigure {
    /// Its name, the task's first.
    pub metric: &'static str,
    /// Here.
    pub value: f64,
    /// Minus that of the fine-tuned model, on the same rows.
    pub against_tuned: f64,
    /// Its 95 % interval (Tango's, or a paired bootstrap, which says nothing of few rows or where nothing varied).
    pub against_tuned_interval: Option<[f64; 2]>,
    /// All figures here.
    pub metrics: Metrics,
}

/// One place.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    /// Where.
    pub alpha: f64,
    /// The task, where there are rows of it.
    pub task: Option<TaskFigure>,
    /// Before: the base; after: here.
    pub against_base: Vec<Measured>,
    /// Before: the fine-tuned model; after: here.
    pub against_tuned: Vec<Measured>,
    /// Mean linear CKA of the layers with the base's.
    pub cka: Option<f64>,
    /// Whether no other place is better in one figure and as good in all.
    pub frontier: bool,
}

impl Point {
    /// The figures that count, the larger the better: the task's, and each measure's; representations only where nothing
    /// says what the encoder can do.
    pub fn figures(&self) -> Vec<(String, f64)> {
        let mut all = Vec::new();
        if let Some(t) = &self.task {
            all.push((t.metric.to_owned(), t.value));
        }
        for m in &self.against_base {
            all.push((format!("{} {}", m.measure, m.name), m.change.after));
        }
        if let (true, Some(cka)) = (self.against_base.is_empty(), self.cka) {
            all.push(("CKA".to_owned(), cka));
        }
        all
    }
}

impl Keep {
    /// The α among `points` that the task's figure chooses; `None` where there are no figures.
    pub fn of(self, points: &[Point]) -> Option<f64> {
        let alphas: Vec<f64> = points.iter().map(|p| p.alpha).collect();
        let tasks = points.iter().filter_map(|p| p.task.as_ref());
        let figures: Vec<f64> = tasks.clone().map(|t| t.value).collect();
        let metric = tasks.map(|t| t.metric).next()?;
        self.choose(metric, &alphas, &figures).map(|i| alphas[i])
    }
}

/// What is measured at each place of a walk.
pub struct Walk<'a> {
    /// Rows of the task.
    pub examples: Option<&'a Examples>,
    /// What has nothing to do with the task.
    pub measures: &'a Measures,
    /// Texts whose representations are compared with the base's.
    pub text: Option<&'a Examples>,
    /// Threads of that.
    pub threads: usize,
    /// Seed of resampled intervals.
    pub seed: u64,
}

hone_tensor::brief_debug! { [] Walk<'_>, |w| examples: w.examples, text: w.text, threads: w.threads, seed: w.seed }

/// What was found at one place.
struct Found {
    answers: Option<Answers>,
    known: Known,
    cka: Option<f64>,
}

impl Walk<'_> {
    /// Measures `blend` at all places, both ends first, which the others are compared with; ascending. `progress` hears
    /// the share that is done; `None` where it asked to stop.
    pub fn run<B: Backend>(
        &self,
        blend: &mut Blend<B>,
        task: Task,
        alphas: &[f64],
        progress: &mut dyn FnMut(f64) -> bool,
    ) -> Result<Option<Vec<Point>>, TrainError> {
        if alphas.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let middle = alphas.iter().copied().filter(|a| *a > 0.0 && *a < 1.0);
        let order: Vec<f64> = [0.0, 1.0].into_iter().chain(middle).collect();
        let mut found = Vec::new();
        for (k, &alpha) in order.iter().enumerate() {
            blend.set(alpha)?;
            let here = self.at(blend, &mut |share| {
                progress((k as f64 + share) / order.len() as f64)
            })?;
            let Some(here) = here else {
                return Ok(None);
            };
            found.push((alpha, here));
        }
        let ends = [&found[0].1, &found[1].1];
        let mut points: Vec<Point> = found
            .iter()
            .map(|(alpha, here)| self.point(task, *alpha, here, ends))
            .collect();
        points.sort_by(|a, b| a.alpha.total_cmp(&b.alpha));
        let all: Vec<Vec<f64>> = points
            .iter()
            .map(|p| p.figures().into_iter().map(|f| f.1).collect())
            .collect();
        for (point, on) in points.iter_mut().zip(frontier(&all)) {
            point.frontier = on;
        }
        Ok(Some(points))
    }

    /// Measures the model where it stands; `None` where `progress`, which hears the share, asked to stop.
    fn at<B: Backend>(
        &self,
        blend: &Blend<B>,
        progress: &mut dyn FnMut(f64) -> bool,
    ) -> Result<Option<Found>, TrainError> {
        // In tokens read; probes are fitted too, and representations need both encoders and their products.
        let tokens = |e: Option<&Examples>| e.map_or(0, Examples::tokens) as f64;
        let own = self.measures.similarity.iter().map(|p| p.texts.tokens());
        let sets = self.measures.probes.iter().map(|p| 2 * p.texts.tokens());
        let [task, knowledge, text] = [
            tokens(self.examples),
            own.chain(sets).sum::<usize>() as f64,
            3.0 * tokens(self.text),
        ];
        let total = (task + knowledge + text).max(1.0);
        let model = blend.model();
        let answers = match self.examples {
            None => None,
            Some(examples) => {
                let rows = examples.len().max(1) as f64;
                let found = answers(model, examples, |done| {
                    progress(task * done as f64 / rows / total)
                })?;
                match found {
                    None => return Ok(None),
                    found => found,
                }
            }
        };
        let known = self
            .measures
            .of(model, |share| progress((task + knowledge * share) / total))?;
        let Some(known) = known else {
            return Ok(None);
        };
        let cka = match self.text {
            None => None,
            Some(texts) => {
                let rows = texts.len().max(1) as f64;
                let found = layer_cka(blend.base(), model, texts, self.threads, |done| {
                    progress((task + knowledge + text * done as f64 / rows) / total)
                })?;
                match found {
                    None => return Ok(None),
                    Some(layers) => Some(mean_cka(&layers)),
                }
            }
        };
        Ok(Some(Found {
            answers,
            known,
            cka,
        }))
    }

    fn point(&self, task: Task, alpha: f64, here: &Found, ends: [&Found; 2]) -> Point {
        let [base, tuned] = ends;
        let figure = here
            .answers
            .as_ref()
            .zip(tuned.answers.as_ref())
            .map(|(a, t)| {
                let metric = metrics::names(task)[0];
                let value = a.metrics.value(metric).unwrap_or(f64::NAN);
                let found = compare(task, t, a, self.seed);
                let shares = found.shares.filter(|_| metric == "accuracy");
                let paired = shares.map(|s| (s.difference, Some(s.interval)));
                let paired = paired.or(found.metric.map(|m| (m.difference, m.interval)));
                let (difference, interval) = paired.unwrap_or((f64::NAN, None));
                TaskFigure {
                    metric,
                    value,
                    against_tuned: difference,
                    against_tuned_interval: interval,
                    metrics: a.metrics.clone(),
                }
            });
        Point {
            alpha,
            task: figure,
            against_base: self.measures.change(&base.known, &here.known),
            against_tuned: self.measures.change(&tuned.known, &here.known),
            cka: here.cka,
            frontier: false,
        }
    }
}
