//! Where a run's weights begin: pre-trained or drawn, a pool, upper layers drawn anew, a head that begins fitted.

use crate::evaluate::EvalBatches;
use crate::events::{Event, Sink};
use crate::examples::Targets;
use crate::logistic::Logistic;
use crate::{Examples, Features, Options, TrainError, features};
use hone_bert::{Config, HeadChoice, Model, Pool, Task};
use hone_data::folds;
use hone_kernels::Backend;
use hone_tensor::{Depth, permutation};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Where the weights begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// With the folder's.
    Pretrained,
    /// With random ones: training from scratch.
    Random,
}

/// What a new head begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitHead {
    /// Small random numbers.
    Random,
    /// The logistic regression of the labels on what the encoder says of the training texts before it is trained.
    Probe,
}

/// A model before its first step.
pub(crate) struct Started<B: Backend> {
    pub model: Model<B>,
    /// Of each row of the parameter table whether its weights were loaded and kept.
    pub pretrained: Vec<bool>,
    /// What became of the folder's tensors, a line each.
    pub weights: String,
    /// Files the weights came from.
    pub files: Vec<PathBuf>,
}

/// Most training texts a head is fitted to; more tell it little, and cost a forward pass each.
const MOST_PROBED: usize = 4000;
/// Inverse penalties times the number of texts, weak last: what is best moves little with their number.
pub(crate) const STRENGTHS: [f64; 6] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0];
/// Folds of the choice among them.
pub(crate) const FOLDS: usize = 5;
/// Where fitting is dear, one fold alone is judged.
pub(crate) const DEAR: usize = 20_000;
/// The pooler that stands for features of deviation 1: tanh of half of them is nearly a line for most.
const HALF: f64 = 0.5;

/// The model a run begins with, what is drawn drawn from `seed`. `None` where the user asked to stop meanwhile.
pub(crate) fn start<B: Backend>(
    backend: Arc<B>,
    folder: &Path,
    mut config: Config,
    task: Task,
    labels: Vec<String>,
    options: &Options,
    seed: u64,
    train: &Examples,
    sink: &mut dyn Sink,
    stop: &AtomicBool,
) -> Result<Option<Started<B>>, TrainError> {
    let stored_pool = config.pool;
    config.pool = options.pool;
    if task == Task::Tag && config.pool == Pool::Mean {
        return Err(TrainError::Option(
            "--pool mean is for labels of whole texts; tagging reads every word".to_owned(),
        ));
    }
    if options.reinit_top > config.layers {
        return Err(TrainError::Option(format!(
            "--reinit-top {}: the model has {} layers",
            options.reinit_top, config.layers
        )));
    }
    let (mut model, receipt, mut weights) = match options.init {
        Init::Random => {
            let (model, receipt) = Model::random(backend, config, task, labels, seed)?;
            let said = "all weights drawn anew: training from scratch".to_owned();
            (model, receipt, said)
        }
        Init::Pretrained => {
            // A head reads what it was trained to read.
            let fits = !options.new_head && stored_pool == config.pool;
            let choice = match fits {
                true => HeadChoice::Matching(labels.clone()),
                false => HeadChoice::New,
            };
            let (model, receipt) =
                Model::load_as(backend, config, folder, task, labels, &choice, seed)?;
            let said = receipt.to_string();
            (model, receipt, said)
        }
    };
    let loaded: HashSet<&str> = receipt.loaded.iter().map(String::as_str).collect();
    let table = model.layout().table.clone();
    let mut pretrained: Vec<bool> = table
        .params()
        .iter()
        .map(|p| loaded.contains(p.name.as_str()))
        .collect();
    if options.reinit_top > 0 {
        let first = model.config.layers - options.reinit_top;
        for (row, param) in table.params().iter().enumerate() {
            let anew = match param.depth {
                Depth::Layer(l) => l >= first,
                Depth::Pooler => true,
                Depth::Embeddings | Depth::Head => false,
            };
            if anew {
                model.draw(row, seed)?;
                pretrained[row] = false;
            }
        }
        weights += &format!(
            "\ndrawn anew: the upper {} of {} layers, and the pooler",
            options.reinit_top, model.config.layers
        );
    }
    for text in weights.lines() {
        sink.event(&Event::Note {
            text: text.to_owned(),
        });
    }
    if model.task.pools() && model.config.pool == Pool::Mean {
        sink.event(&Event::Note {
            text: "the head reads the mean over tokens: transformers has no class for that (there: AutoModel, the \
                   mean of last_hidden_state over a text's tokens, then classifier.weight and classifier.bias)"
                .to_owned(),
        });
    }
    let head_is_new = table
        .params()
        .iter()
        .zip(&pretrained)
        .any(|(p, pretrained)| p.depth == Depth::Head && !pretrained);
    if options.init_head == InitHead::Probe && head_is_new {
        let Some(said) = fit_head(&mut model, &mut pretrained, train, seed, sink, stop)? else {
            return Ok(None);
        };
        sink.event(&Event::Note { text: said.clone() });
        weights += &format!("\n{said}");
    }
    Ok(Some(Started {
        model,
        pretrained,
        weights,
        files: receipt.files,
    }))
}

/// Sets the classifier (and, under `[CLS]`, the pooler) to a logistic regression on frozen features; says how.
fn fit_head<B: Backend>(
    model: &mut Model<B>,
    pretrained: &mut [bool],
    train: &Examples,
    seed: u64,
    sink: &mut dyn Sink,
    stop: &AtomicBool,
) -> Result<Option<String>, TrainError> {
    let Targets::Classes(targets) = &train.targets else {
        return Err(TrainError::Option(
            "--init-head probe is for texts of one class each".to_owned(),
        ));
    };
    let labelled = |i: &u32| targets[*i as usize].is_some();
    let chosen: Vec<u32> = permutation(train.len(), seed, 0)
        .into_iter()
        .filter(labelled)
        .take(MOST_PROBED)
        .collect();
    let labels: Vec<usize> = chosen
        .iter()
        .map(|&i| targets[i as usize].map_or(0, |c| c as usize))
        .collect();
    let part = train.select(&chosen);
    let started = Instant::now();
    let pool = model.config.pool;
    let read = features(model, &part, pool, EvalBatches::USUAL, |rows| {
        sink.event(&Event::Evaluating {
            rows,
            total: part.len(),
            seconds: started.elapsed().as_secs_f64(),
        });
        !stop.load(Ordering::SeqCst)
    })?;
    let Some(mut read) = read else {
        return Ok(None);
    };
    if pool == Pool::Cls {
        // A pooler that was trained for something else hides what the encoder knows: it begins as (nearly) nothing
        // but a scale for each channel.
        let table = model.layout().table.clone();
        let (weight, bias) = scales(&mut read);
        for (row, param) in table.params().iter().enumerate() {
            if param.depth == Depth::Pooler {
                let values = match param.shape.len() {
                    1 => &bias,
                    _ => &weight,
                };
                model.set(row, values)?;
                pretrained[row] = false;
            }
        }
    }
    let classes = model.classes();
    let choice = strongest(&read, &labels, classes, seed)?;
    let rows: Vec<u32> = (0..read.rows as u32).collect();
    let c = choice.strength / rows.len() as f64;
    let (weight, bias) = Logistic::fit(&read, &rows, &labels, classes, c).linear();
    let table = model.layout().table.clone();
    for (row, param) in table.params().iter().enumerate() {
        if param.depth == Depth::Head {
            let values = match param.shape.len() {
                1 => &bias,
                _ => &weight,
            };
            model.set(row, values)?;
        }
    }
    Ok(Some(format!(
        "the head begins as a logistic regression on {} texts, as the encoder reads them now: out of fold {:.3} of \
         them right (C = {c:.1e})",
        rows.len(),
        choice.accuracy,
    )))
}

/// The pooler's matrix and bias that bring each channel to deviation ½, `tanh` behind it; `features` then are what it
/// gives.
pub(crate) fn scales(features: &mut Features) -> (Vec<f32>, Vec<f32>) {
    let (n, hidden) = (features.rows.max(1) as f64, features.hidden);
    let mut weight = vec![0.0; hidden * hidden];
    let mut bias = vec![0.0; hidden];
    for h in 0..hidden {
        let column = || (0..features.rows).map(|r| f64::from(features.row(r)[h]));
        let mean = column().sum::<f64>() / n;
        let variance = column().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
        let scale = match variance.sqrt() {
            d if d > 1e-8 => HALF / d,
            _ => 0.0,
        };
        weight[h * hidden + h] = scale as f32;
        bias[h] = (-mean * scale) as f32;
    }
    for row in features.values.chunks_exact_mut(hidden) {
        for (h, x) in row.iter_mut().enumerate() {
            *x = (weight[h * hidden + h] * *x + bias[h]).tanh();
        }
    }
    (weight, bias)
}

struct Choice {
    strength: f64,
    accuracy: f64,
}

/// The strength (inverse penalty times texts) whose held-out likelihood is best.
fn strongest(
    features: &Features,
    labels: &[usize],
    classes: usize,
    seed: u64,
) -> Result<Choice, TrainError> {
    let keys: Vec<Vec<String>> = (0..labels.len()).map(|i| vec![i.to_string()]).collect();
    let strata: Vec<Vec<u32>> = labels.iter().map(|&l| vec![l as u32]).collect();
    let parts = match labels.len() {
        0 | 1 => Vec::new(),
        rows => folds(&keys, &strata, FOLDS.min(rows), seed)?,
    };
    let judged = match labels.len() * classes > DEAR {
        true => parts.len().min(1),
        false => parts.len(),
    };
    let mut best = (f64::INFINITY, STRENGTHS[0], 0.0);
    for strength in STRENGTHS {
        let (mut loss, mut right, mut rows) = (0.0, 0, 0);
        for held in &parts[..judged] {
            let held: HashSet<u32> = held.iter().copied().collect();
            let fitted: Vec<u32> = (0..labels.len() as u32)
                .filter(|r| !held.contains(r))
                .collect();
            let c = strength / fitted.len().max(1) as f64;
            let model = Logistic::fit(features, &fitted, labels, classes, c);
            let mut held: Vec<u32> = held.into_iter().collect();
            held.sort_unstable();
            for r in held {
                let (p, label) = (
                    model.probabilities(features.row(r as usize)),
                    labels[r as usize],
                );
                loss -= p[label].max(f64::MIN_POSITIVE).ln();
                right += usize::from(crate::argmax(&p) == label);
                rows += 1;
            }
        }
        let rows = rows.max(1) as f64;
        if loss / rows < best.0 {
            best = (loss / rows, strength, right as f64 / rows);
        } else {
            // Weaker penalties only overfit more.
            break;
        }
    }
    Ok(Choice {
        strength: best.1,
        accuracy: best.2,
    })
}
