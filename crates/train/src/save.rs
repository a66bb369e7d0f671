//! What a run leaves: a model folder for transformers, the summary.

use crate::TrainError;
use crate::checkpoint::Checkpoints;
use crate::job::Job;
use crate::prepare::task_of;
use crate::summary::Summary;
use hone_bert::{Config, Layout, Model};
use hone_data::{Cut, save_tokenizer};
use hone_kernels::Backend;
use hone_tensor::{free_space, replace_file};
use serde_json::{Map, Value};
use std::fs;
use std::path::Path;

/// Where `config.json` says whether a model was trained on pairs; transformers leaves fields that it does not know alone.
pub(crate) const PAIRS: &str = "hone_pairs";

/// Whether a model was trained on pairs, from the fields of its `config.json`; none where nobody says.
pub fn trained_on_pairs(fields: &Map<String, Value>) -> Option<bool> {
    fields.get(PAIRS)?.as_bool()
}

impl Job<'_> {
    /// Refuses a run whose model would not go into its folder: better said now than after the last step.
    pub(crate) fn can_save(&self) -> Result<(), TrainError> {
        let Some(out) = self.out else {
            return Ok(());
        };
        let Some(free) = free_space(out) else {
            return Ok(());
        };
        let mut config = Config::read(&Config::path_in(self.model))?;
        config.pool = self.options.pool;
        let classes = self.data.labels.names().len();
        let layout = Layout::new(&config, task_of(self.data.kind), classes);
        let needed = (layout.table.len() * size_of::<f32>()) as u64;
        match needed > free {
            true => Err(TrainError::Space {
                path: out.to_path_buf(),
                needed,
                free,
            }),
            false => Ok(()),
        }
    }

    /// A model folder for transformers: weights, configuration and the tokenizer the run began with.
    pub fn save_model<B: Backend>(&self, model: &Model<B>, out: &Path) -> Result<(), TrainError> {
        let cut = Cut {
            max_length: self.length(model.config())?,
            truncate: self.truncate,
        };
        save_folder(model, self.model, Some(cut), out)
    }
}

/// The summary, last: then the run is done, and the checkpoints have done their work.
pub(crate) fn save_summary(summary: &Summary, out: &Path) -> Result<(), TrainError> {
    let path = out.join("summary.json");
    let text = serde_json::to_string_pretty(summary).map_err(|e| TrainError::Checkpoint {
        path: path.clone(),
        reason: e.to_string(),
    })?;
    write_beside(&path, &(text + "\n"))?;
    Checkpoints::of(out).clear()
}

/// A model folder for transformers: weights, configuration, and the tokenizer of the folder `from`; none for `cut`: texts are
/// cut as that says.
pub fn save_folder<B: Backend>(
    model: &Model<B>,
    from: &Path,
    cut: Option<Cut>,
    out: &Path,
) -> Result<(), TrainError> {
    fs::create_dir_all(out).map_err(|source| TrainError::Io {
        path: out.to_owned(),
        source,
    })?;
    model.save(out)?;
    Ok(save_tokenizer(from, out, cut)?)
}

/// Writes a file beside and renames it into place ([`replace_file`]).
pub fn write_beside(path: &Path, text: &str) -> Result<(), TrainError> {
    replace_file(path, text.as_bytes()).map_err(|source| TrainError::Io {
        path: path.to_owned(),
        source,
    })
}
