//! A tokenizer's files into another folder, with how its texts were cut, so that transformers reads them alike.

use super::Truncate;
use super::load::Built;
use super::settings::{ADDED, CONFIG, SPECIAL};
use crate::DataError;
use hone_tensor::replace_file;
use serde_json::{Value, json};
use std::path::Path;

/// The files of a model folder that make its tokenizer.
pub const TOKENIZER_FILES: [&str; 5] = ["tokenizer.json", "vocab.txt", CONFIG, SPECIAL, ADDED];

/// How long texts are and what is kept of longer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Most tokens of a text.
    pub max_length: usize,
    /// What is kept of a longer one. transformers has no word for [`Truncate::HeadTail`] and is told to keep the beginning.
    pub truncate: Truncate,
}

/// Copies the tokenizer of the folder `from` to `to`. `tokenizer_config.json` there says what transformers would otherwise
/// guess: the flags by which texts are normalised and, where `cut` is given, how they are cut.
pub fn save_tokenizer(from: &Path, to: &Path, cut: Option<Cut>) -> Result<(), DataError> {
    let built = Built::read(from)?;
    for name in TOKENIZER_FILES.iter().filter(|name| **name != CONFIG) {
        let (path, to) = (from.join(name), to.join(name));
        if path.is_file() && path != to {
            let content = std::fs::read(&path).map_err(|source| DataError::Io { path, source })?;
            write(&to, &content)?;
        }
    }
    let normalizer = built.normalizer();
    let mut config = built.settings.config;
    let mut set = |field: &str, value: Value| drop(config.insert(field.to_owned(), value));
    if let Some(normalizer) = normalizer {
        set("do_lower_case", json!(normalizer.lowercase));
        set(
            "tokenize_chinese_chars",
            json!(normalizer.handle_chinese_chars),
        );
        set("strip_accents", json!(normalizer.strip_accents));
    }
    if let Some(Cut {
        max_length,
        truncate,
    }) = cut
    {
        set("model_max_length", json!(max_length));
        let side = match truncate {
            Truncate::Tail => "left",
            Truncate::Head | Truncate::HeadTail => "right",
        };
        set("truncation_side", json!(side));
    }
    if config.is_empty() {
        return Ok(());
    }
    let text = format!("{:#}\n", Value::Object(config));
    write(&to.join(CONFIG), text.as_bytes())
}

fn write(path: &Path, content: &[u8]) -> Result<(), DataError> {
    replace_file(path, content).map_err(|source| DataError::Io {
        path: path.to_owned(),
        source,
    })
}
