//! Two encoders of one shape: the one a run began with, and the one it left.

use hone_bert::{Config, HeadChoice, Model, Receipt};
use hone_kernels::Backend;
use hone_train::TrainError;
use std::path::Path;

/// In what two encoders differ that must be the same for their weights to be compared number by number; a line each.
pub fn differences(base: &Config, tuned: &Config) -> Vec<String> {
    let sizes = [
        ("hidden_size", base.hidden, tuned.hidden),
        ("num_hidden_layers", base.layers, tuned.layers),
        ("num_attention_heads", base.heads, tuned.heads),
        ("intermediate_size", base.intermediate, tuned.intermediate),
        ("vocab_size", base.vocabulary, tuned.vocabulary),
        ("max_position_embeddings", base.positions, tuned.positions),
        ("type_vocab_size", base.types, tuned.types),
    ];
    let mut found: Vec<String> = sizes
        .into_iter()
        .filter(|(_, b, t)| b != t)
        .map(|(name, b, t)| format!("{name} {b} and {t}"))
        .collect();
    if base.activation != tuned.activation {
        found.push("hidden_act".to_owned());
    }
    if base.norm_eps != tuned.norm_eps {
        let (b, t) = (base.norm_eps, tuned.norm_eps);
        found.push(format!("layer_norm_eps {b} and {t}"));
    }
    found
}

/// The encoder of `folder` in the shape of `tuned`: the same table of parameters, with a head that means nothing. A
/// folder of another shape is one error that says in what.
pub fn load_base<B: Backend>(
    folder: &Path,
    tuned: &Model<B>,
) -> Result<(Model<B>, Receipt), TrainError> {
    let mut config = Config::read(&Config::path_in(folder))?;
    let found = differences(&config, tuned.config());
    if !found.is_empty() {
        return Err(TrainError::Option(format!(
            "{}: this is not what the fine-tuned model began as; they differ in {}; name its base with --base",
            folder.display(),
            found.join(", ")
        )));
    }
    config.pool = tuned.config().pool;
    let (labels, head) = (tuned.labels().to_vec(), HeadChoice::New);
    let backend = tuned.backend().clone();
    Ok(Model::load_as(
        backend,
        config,
        folder,
        tuned.task(),
        labels,
        &head,
        0,
    )?)
}
