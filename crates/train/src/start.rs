//! Where a run's weights begin: pre-trained or drawn, a pool, upper layers drawn anew, a head that begins fitted.

use crate::events::{Event, Sink};
use crate::head_start::fit_head;
use crate::known::KnownFeatures;
use crate::{Examples, Options, TrainError, fits_task};
use hone_bert::{Config, HeadChoice, Layout, Model, Pool, Receipt, Task};
use hone_kernels::Backend;
use hone_tensor::Depth;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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
    /// A regression of the labels on what the encoder says of the training texts before it is trained: logistic for
    /// classes (of tagged words too) and for each label of several, ridge for values.
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
    known: Option<&KnownFeatures>,
    sink: &mut dyn Sink,
    stop: &AtomicBool,
) -> Result<Option<Started<B>>, TrainError> {
    let stored_pool = config.pool;
    config.pool = options.pool;
    fits_task(options, task)?;
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
    let table = model.layout().table.clone();
    let mut pretrained = loaded_rows(&receipt, model.layout());
    if options.reinit_top > 0 {
        let first = model.config().layers - options.reinit_top;
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
            options.reinit_top,
            model.config().layers
        );
    }
    for text in weights.lines() {
        sink.event(&Event::Note {
            text: text.to_owned(),
        });
    }
    if model.task().pools() && model.config().pool == Pool::Mean {
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
    let random = head_is_new && options.init_head == InitHead::Random;
    if let Some(units) = options.standardize.units(&train.targets, random) {
        match head_is_new {
            true => model.answer_in(units),
            false => model.restate_in(units)?,
        }
        sink.event(&Event::Note {
            text: format!(
                "values are learned in units of their mean, {}, and deviation, {}; the model that is saved answers them as they \
                 are (--standardize never leaves it)",
                digits(units.mean),
                digits(units.deviation)
            ),
        });
    }
    if options.init_head == InitHead::Probe && !head_is_new {
        sink.event(&Event::Note {
            text: "the model's own head is kept, whose labels are these, and begins as it is: --init-head probe fits \
                   none (--new-head has it fitted)"
                .to_owned(),
        });
    }
    if options.init_head == InitHead::Probe && head_is_new {
        // Layers that are drawn are another encoder for every seed: nobody else asks for what it says.
        let drawn = options.init == Init::Random || options.reinit_top > 0;
        let known = known.filter(|_| !drawn);
        let Some(said) = fit_head(&mut model, &mut pretrained, train, known, seed, sink, stop)?
        else {
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

/// Of each row of the table whether its weights came from the files.
pub(crate) fn loaded_rows(receipt: &Receipt, layout: &Layout) -> Vec<bool> {
    let loaded: HashSet<&str> = receipt.loaded.iter().map(String::as_str).collect();
    let params = layout.table.params().iter();
    params.map(|p| loaded.contains(&p.name[..])).collect()
}

/// A number with four digits that count.
fn digits(x: f64) -> String {
    let after = match x == 0.0 {
        true => 0.0,
        false => (3.0 - x.abs().log10().floor()).clamp(0.0, 12.0),
    };
    format!("{x:.*}", after as usize)
}
