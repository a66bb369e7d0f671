//! One answer from all folds' models: the average of their weights, or of their probabilities.

use hone_bert::{Model, Task};
use hone_kernels::Backend;
use hone_tensor::SafetensorsFile;
use hone_train::metrics::Metrics;
use hone_train::{
    EvalBatches, Examples, Prediction, Scorer, TrainError, evaluate, predict, sigmoid, softmax,
};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folds' models as one.
#[derive(Debug, Clone, Serialize)]
pub struct Combined {
    /// `soup` (mean of the weights) or `vote` (mean of the probabilities).
    pub how: &'static str,
    /// Models in it.
    pub models: usize,
    /// Its folder, for a soup.
    pub folder: Option<PathBuf>,
    /// Metrics on the test part, where there is one.
    pub test: Option<Metrics>,
}

/// The mean of the folds' weights, in double precision, rounded once. All folds start from the same weights, head
/// included, without which a mean of weights means nothing (Wortsman et al. 2022, "Model soups").
pub fn soup<B: Backend>(backend: Arc<B>, folders: &[PathBuf]) -> Result<Model<B>, TrainError> {
    let Some(first) = folders.first() else {
        return Err(TrainError::Option("no models to average".to_owned()));
    };
    let (mut model, _) = Model::open(backend, first)?;
    let files = folders
        .iter()
        .map(|f| SafetensorsFile::open(&f.join("model.safetensors")))
        .collect::<Result<Vec<_>, _>>()?;
    let table = model.layout().table.clone();
    for (index, param) in table.params().iter().enumerate() {
        let mut sum = vec![0.0f64; param.len()];
        for file in &files {
            let values = file.read_f64(&param.name)?;
            sum.iter_mut().zip(values).for_each(|(s, v)| *s += v);
        }
        let mean: Vec<f32> = sum
            .into_iter()
            .map(|s| (s / files.len() as f64) as f32)
            .collect();
        model.set(index, &mean)?;
    }
    Ok(model)
}

/// Metrics of one model on a part; uninterrupted.
pub fn score<B: Backend>(
    model: &Model<B>,
    examples: &Examples,
) -> Result<Option<Metrics>, TrainError> {
    let mut acts = model.plan_eval(EvalBatches::USUAL.limits(examples))?;
    evaluate(model, &mut acts, examples, EvalBatches::USUAL, |_| true)
}

/// Metrics of the mean probability (for values: the mean value) of the folds' models, one model in memory at a
/// time.
pub fn vote<B: Backend>(
    backend: &Arc<B>,
    folders: &[PathBuf],
    examples: &Examples,
) -> Result<Option<Metrics>, TrainError> {
    let mut sums: Vec<Vec<f64>> = vec![Vec::new(); examples.len()];
    let mut judge: Option<(Task, Vec<String>)> = None;
    for folder in folders {
        let (model, _) = Model::open(backend.clone(), folder as &Path)?;
        let (task, classes) = (model.task(), model.classes());
        let mut acts = model.plan_eval(EvalBatches::USUAL.limits(examples))?;
        let each = |p: Prediction<'_>| {
            let said: Vec<f64> = match task {
                Task::Classify | Task::Tag | Task::Mask => {
                    p.logits.chunks(classes).flat_map(softmax).collect()
                }
                Task::MultiLabel => p.logits.iter().map(|&z| sigmoid(z)).collect(),
                Task::Regress => p.logits.to_vec(),
            };
            let sum = &mut sums[p.index];
            sum.resize(said.len(), 0.0);
            sum.iter_mut().zip(said).for_each(|(s, x)| *s += x);
        };
        predict(
            &model,
            &mut acts,
            examples,
            EvalBatches::USUAL,
            each,
            |_| true,
        )?;
        judge = Some((task, model.labels().to_vec()));
    }
    let Some((task, labels)) = judge else {
        return Ok(None);
    };
    let mut scorer = Scorer::new(task, &labels, examples)?;
    for (index, sum) in sums.iter().enumerate() {
        // Logits whose probabilities are the means.
        let logits: Vec<f64> = sum
            .iter()
            .map(|s| {
                let mean = s / folders.len() as f64;
                match task {
                    Task::Regress => mean,
                    Task::MultiLabel => (mean / (1.0 - mean).max(f64::MIN_POSITIVE)).ln(),
                    Task::Classify | Task::Tag | Task::Mask => mean.max(f64::MIN_POSITIVE).ln(),
                }
            })
            .collect();
        let logits = &logits[..];
        scorer.push(Prediction { index, logits });
    }
    Ok(Some(scorer.finish()))
}
