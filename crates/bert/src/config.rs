//! `config.json` of a Hugging Face BERT folder: what Hone reads of it, and what it refuses.

use crate::task::{CLASSIFIER, TAGGER};
use crate::{BertError, Pool, Task};
use hone_kernels::Activation;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The shape and constants of a BERT encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// H.
    pub hidden: usize,
    /// Encoder layers.
    pub layers: usize,
    /// Attention heads; H is a multiple of it.
    pub heads: usize,
    /// I, the feed-forward's width.
    pub intermediate: usize,
    /// Rows of the word embeddings.
    pub vocabulary: usize,
    /// Longest sequence.
    pub positions: usize,
    /// Token types.
    pub types: usize,
    /// The feed-forward's nonlinearity.
    pub activation: Activation,
    /// LayerNorm's epsilon.
    pub norm_eps: f64,
    /// Dropout of embeddings and sublayers.
    pub hidden_dropout: f64,
    /// Dropout of attention probabilities.
    pub attention_dropout: f64,
    /// Dropout before the classifier, where the file sets one of its own.
    pub classifier_dropout: Option<f64>,
    /// What a head for whole texts reads: the file's `hone_pool`; `[CLS]` where it says nothing or the head is of
    /// transformers' class.
    pub pool: Pool,
    /// Standard deviation of new weights.
    pub initializer_range: f64,
    /// Label names by index: those of `id2label`; where a file of a classifier has none, transformers' usual `LABEL_0`,
    /// `LABEL_1`, … (its files leave out what is usual, and two labels are); else none.
    pub labels: Vec<String>,
    /// transformers' `problem_type`, where the file sets one.
    pub problem_type: Option<String>,
    /// transformers' class names.
    pub architectures: Vec<String>,
    /// The file as it was read: fields Hone does not know survive saving.
    pub source: Map<String, Value>,
}

/// transformers' names of what Hone computes; the first of a function is the one that is written.
const ACTIVATIONS: [(&str, Activation); 6] = [
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("relu", Activation::Relu),
];

fn activation_of(name: &str) -> Option<Activation> {
    let known = ACTIVATIONS.iter().find(|(known, _)| *known == name);
    known.map(|(_, activation)| *activation)
}

/// What `config.json` calls a function.
fn name_of(activation: Activation) -> &'static str {
    let named = ACTIVATIONS.iter().find(|(_, of)| *of == activation);
    named.map_or("gelu", |(name, _)| name)
}

const PROBABILITY: &str = "a number from 0 to below 1";
const POSITIVE: &str = "a positive number";

/// What a size is.
const SIZE: &str = "a positive integer below 2^31";

fn is_size(n: u64) -> bool {
    (1..1 << 31).contains(&n)
}

fn is_probability(p: f64) -> bool {
    (0.0..1.0).contains(&p)
}

fn is_positive(x: f64) -> bool {
    x > 0.0 && x.is_finite()
}

/// Reads fields and names the one that is wrong.
struct Fields<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
}

impl Fields<'_> {
    fn wrong(&self, field: &str, expected: &str) -> BertError {
        let found = match self.map.get(field) {
            None => "absent".to_owned(),
            Some(value) => value.to_string(),
        };
        BertError::Config {
            path: self.path.to_owned(),
            reason: format!("{field} must be {expected}, it is {found}"),
        }
    }

    fn size(&self, field: &str) -> Result<usize, BertError> {
        match self.map.get(field).and_then(Value::as_u64) {
            Some(n) if is_size(n) => Ok(n as usize),
            _ => Err(self.wrong(field, SIZE)),
        }
    }

    fn size_or(&self, field: &str, default: usize) -> Result<usize, BertError> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(default),
            Some(_) => self.size(field),
        }
    }

    fn probability(&self, field: &str) -> Result<Option<f64>, BertError> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(p) if is_probability(p) => Ok(Some(p)),
                _ => Err(self.wrong(field, PROBABILITY)),
            },
        }
    }

    fn positive(&self, field: &str, default: f64) -> Result<f64, BertError> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => match value.as_f64() {
                Some(x) if is_positive(x) => Ok(x),
                _ => Err(self.wrong(field, POSITIVE)),
            },
        }
    }

    fn unsupported(&self, field: &'static str, supported: &'static str) -> BertError {
        BertError::Unsupported {
            path: self.path.to_owned(),
            field,
            found: self
                .map
                .get(field)
                .map_or_else(|| "absent".to_owned(), Value::to_string),
            supported,
        }
    }
}

impl Config {
    /// The field of `config.json` that says what a head for whole texts reads.
    pub(crate) const POOL: &str = "hone_pool";

    /// Reads `config.json`; that of another model type is an error, as is a field that Hone does not compute.
    pub fn read(path: &Path) -> Result<Config, BertError> {
        let text = std::fs::read_to_string(path).map_err(|source| BertError::Io {
            path: path.to_owned(),
            source,
        })?;
        Config::parse(&text, path)
    }

    /// Parses the text of a `config.json`; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Config, BertError> {
        let map: Map<String, Value> =
            serde_json::from_str(text).map_err(|e| BertError::Config {
                path: path.to_owned(),
                reason: format!("not a JSON object ({e})"),
            })?;
        let fields = Fields { path, map: &map };
        match map.get("model_type").and_then(Value::as_str) {
            Some("bert") => {}
            _ => return Err(fields.unsupported("model_type", "\"bert\"")),
        }
        match map.get("position_embedding_type").and_then(Value::as_str) {
            None | Some("absolute") => {}
            _ => return Err(fields.unsupported("position_embedding_type", "\"absolute\"")),
        }
        for field in ["is_decoder", "add_cross_attention"] {
            if map.get(field).and_then(Value::as_bool) == Some(true) {
                return Err(fields.unsupported(field, "false"));
            }
        }
        let activation = match map.get("hidden_act") {
            None => Some(Activation::Gelu),
            Some(name) => name.as_str().and_then(activation_of),
        };
        let activation = activation.ok_or_else(|| {
            fields.unsupported(
                "hidden_act",
                "\"gelu\", \"gelu_python\", \"gelu_new\", \"gelu_fast\", \"gelu_pytorch_tanh\", \"relu\"",
            )
        })?;
        let architectures: Vec<String> = map
            .get("architectures")
            .and_then(Value::as_array)
            .map(|a| {
                a.iter()
                    .filter_map(|v| v.as_str().map(str::to_owned))
                    .collect()
            })
            .unwrap_or_default();
        let labels = labels_of(&fields, architectures.first().map(String::as_str))?;
        let pool = match map
            .get(Config::POOL)
            .map(|v| v.as_str().unwrap_or_default())
        {
            None => Pool::Cls,
            Some(name) => name
                .parse()
                .map_err(|_| fields.wrong(Config::POOL, "\"cls\" or \"mean\""))?,
        };
        // Hone names a class of its own with `mean`. transformers, training such a folder on, keeps the field, but its own
        // class has trained a pooler on [CLS].
        let pool = match architectures.first().map(String::as_str) {
            Some(CLASSIFIER) => Pool::Cls,
            _ => pool,
        };
        let config = Config {
            hidden: fields.size("hidden_size")?,
            layers: fields.size("num_hidden_layers")?,
            heads: fields.size("num_attention_heads")?,
            intermediate: fields.size("intermediate_size")?,
            vocabulary: fields.size("vocab_size")?,
            positions: fields.size_or("max_position_embeddings", 512)?,
            types: fields.size_or("type_vocab_size", 2)?,
            activation,
            labels,
            norm_eps: fields.positive("layer_norm_eps", 1e-12)?,
            hidden_dropout: fields.probability("hidden_dropout_prob")?.unwrap_or(0.1),
            attention_dropout: fields
                .probability("attention_probs_dropout_prob")?
                .unwrap_or(0.1),
            classifier_dropout: fields.probability("classifier_dropout")?,
            pool,
            initializer_range: fields.positive("initializer_range", 0.02)?,
            problem_type: map
                .get("problem_type")
                .and_then(Value::as_str)
                .map(str::to_owned),
            architectures,
            source: map,
        };
        match config.fault() {
            None => Ok(config),
            Some(reason) => Err(BertError::Config {
                path: path.to_owned(),
                reason,
            }),
        }
    }

    /// Refuses sizes and constants that no model can have; what builds, loads or saves a model asks, since every field
    /// can be set by hand.
    pub fn check(&self) -> Result<(), BertError> {
        self.fault()
            .map_or(Ok(()), |why| Err(BertError::Sizes(why)))
    }

    /// Why no model can have this configuration, in the words of `config.json`.
    fn fault(&self) -> Option<String> {
        let sizes = [
            ("hidden_size", self.hidden),
            ("num_hidden_layers", self.layers),
            ("num_attention_heads", self.heads),
            ("intermediate_size", self.intermediate),
            ("vocab_size", self.vocabulary),
            ("max_position_embeddings", self.positions),
            ("type_vocab_size", self.types),
        ];
        if let Some((field, n)) = sizes.iter().find(|(_, n)| !is_size(*n as u64)) {
            return Some(format!("{field} must be {SIZE}, it is {n}"));
        }
        let (hidden, heads, layers) = (self.hidden, self.heads, self.layers);
        if hidden % heads != 0 {
            return Some(format!(
                "hidden_size {hidden} is not a multiple of num_attention_heads {heads}"
            ));
        }
        let width = 4 * hidden as u128 + 2 * self.intermediate as u128;
        let rows = self.vocabulary as u128 + self.positions as u128 + self.types as u128;
        let numbers = hidden as u128 * (layers as u128 * width + rows);
        if layers > MOST_LAYERS || numbers > MOST_NUMBERS {
            return Some(format!(
                "{layers} layers and {numbers} weights are more than Hone holds ({MOST_LAYERS} and {MOST_NUMBERS})"
            ));
        }
        let probabilities = [
            ("hidden_dropout_prob", self.hidden_dropout),
            ("attention_probs_dropout_prob", self.attention_dropout),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ];
        if let Some((field, p)) = probabilities.iter().find(|(_, p)| !is_probability(*p)) {
            return Some(format!("{field} must be {PROBABILITY}, it is {p}"));
        }
        let positive = [
            ("layer_norm_eps", self.norm_eps),
            ("initializer_range", self.initializer_range),
        ];
        let wrong = positive.iter().find(|(_, x)| !is_positive(*x));
        wrong.map(|(field, x)| format!("{field} must be {POSITIVE}, it is {x}"))
    }

    /// A configuration of given sizes with BERT's usual constants, for benches and training from scratch.
    pub fn with_shape(
        hidden: usize,
        layers: usize,
        heads: usize,
        intermediate: usize,
        vocabulary: usize,
    ) -> Config {
        let source = json!({
            "model_type": "bert", "hidden_size": hidden, "num_hidden_layers": layers,
            "num_attention_heads": heads, "intermediate_size": intermediate,
            "vocab_size": vocabulary, "max_position_embeddings": 512, "type_vocab_size": 2,
            "hidden_act": "gelu", "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1, "initializer_range": 0.02, "pad_token_id": 0,
        });
        Config {
            hidden,
            layers,
            heads,
            intermediate,
            vocabulary,
            positions: 512,
            types: 2,
            activation: Activation::Gelu,
            norm_eps: 1e-12,
            hidden_dropout: 0.1,
            attention_dropout: 0.1,
            classifier_dropout: None,
            pool: Pool::Cls,
            initializer_range: 0.02,
            labels: Vec::new(),
            problem_type: None,
            architectures: Vec::new(),
            source: source.as_object().cloned().unwrap_or_default(),
        }
    }

    /// The fields of `config.json` with what the struct says now. A field that says the same already keeps its spelling.
    pub(crate) fn fields(&self) -> Map<String, Value> {
        let mut map = self.source.clone();
        map.insert("model_type".into(), json!("bert"));
        let text = Value::Object(map.clone()).to_string();
        let was = Config::parse(&text, Path::new("config.json")).ok();
        let was = was.as_ref().map(Config::known);
        for (i, (field, value)) in self.known().into_iter().enumerate() {
            let says = was.as_ref().is_some_and(|was| was[i].1 == value);
            match value {
                Value::Null => drop(map.remove(field)),
                value if !(says && map.contains_key(field)) => {
                    drop(map.insert(field.into(), value))
                }
                _ => {}
            }
        }
        map
    }

    /// What the folder's head predicts, and the names of its outputs.
    ///
    /// As transformers reads its own classes: one output without a `problem_type` is a number. `Err` says in a few words
    /// why the folder holds no head that Hone can use.
    pub fn head(&self) -> Result<(Task, &[String]), String> {
        let problem = self.problem_type.as_deref();
        let task = match self.architectures.first().map(String::as_str) {
            Some(TAGGER) => Task::Tag,
            Some(CLASSIFIER | Pool::MEAN_CLASS) => match (problem, self.labels.len()) {
                (Some("regression"), _) | (None, 1) => Task::Regress,
                (Some("multi_label_classification"), _) => Task::MultiLabel,
                _ => Task::Classify,
            },
            Some(other) => return Err(format!("architectures says {other}")),
            None => return Err("architectures is absent".to_owned()),
        };
        can_name(task, &self.labels).map_err(|why| format!("id2label names {why}"))?;
        Ok((task, &self.labels))
    }

    /// What Hone computes with, in the fields and words of `config.json`; null where a field is left out.
    fn known(&self) -> [(&'static str, Value); 13] {
        [
            ("hidden_size", json!(self.hidden)),
            ("num_hidden_layers", json!(self.layers)),
            ("num_attention_heads", json!(self.heads)),
            ("intermediate_size", json!(self.intermediate)),
            ("vocab_size", json!(self.vocabulary)),
            ("max_position_embeddings", json!(self.positions)),
            ("type_vocab_size", json!(self.types)),
            ("hidden_act", json!(name_of(self.activation))),
            ("layer_norm_eps", json!(self.norm_eps)),
            ("hidden_dropout_prob", json!(self.hidden_dropout)),
            (
                "attention_probs_dropout_prob",
                json!(self.attention_dropout),
            ),
            ("initializer_range", json!(self.initializer_range)),
            ("classifier_dropout", json!(self.classifier_dropout)),
        ]
    }

    /// Channels of a head; 0 where there are no heads, which [`Config::check`] refuses.
    pub fn head_dim(&self) -> usize {
        self.hidden.checked_div(self.heads).unwrap_or(0)
    }

    /// Path of the configuration in a model folder.
    pub fn path_in(folder: &Path) -> PathBuf {
        folder.join("config.json")
    }
}

/// Whether a head for this task can have these outputs; else what they are.
pub(crate) fn can_name(task: Task, labels: &[String]) -> Result<(), String> {
    if task == Task::Mask {
        return match labels.first() {
            None => Ok(()),
            Some(first) => Err(format!(
                "{first:?} and others, where masked words have none"
            )),
        };
    }
    if labels.is_empty() {
        return Err("no label".to_owned());
    }
    if task == Task::Regress && labels.len() > 1 {
        return Err(format!(
            "{} values a text, and Hone's regressions have one",
            labels.len()
        ));
    }
    let mut names: Vec<&String> = labels.iter().collect();
    names.sort_unstable();
    match names.windows(2).find(|w| w[0] == w[1]) {
        Some(twice) => Err(format!("{:?} twice", twice[0])),
        None => Ok(()),
    }
}

/// Encoder layers and weights of a configuration that could be meant; more would be asked of memory before any file is
/// looked into.
const MOST_LAYERS: usize = 1 << 14;
const MOST_NUMBERS: u128 = 1 << 40;
/// Labels that are given their usual names.
const MOST_LABELS: usize = 1 << 16;

/// `id2label` as a list; its keys must be 0, 1, 2, … Where it is absent, the usual names of the heads that `class` has.
fn labels_of(fields: &Fields<'_>, class: Option<&str>) -> Result<Vec<String>, BertError> {
    let wrong = || fields.wrong("id2label", "names under the keys \"0\", \"1\", …");
    let map = match fields.map.get("id2label") {
        Some(Value::Object(map)) => map,
        None | Some(Value::Null) => {
            let usual = match class {
                Some(CLASSIFIER | TAGGER) => match fields.size_or("num_labels", 2)? {
                    n if n <= MOST_LABELS => n,
                    _ => return Err(fields.wrong("num_labels", "a number of labels")),
                },
                _ => 0,
            };
            return Ok((0..usual).map(|i| format!("LABEL_{i}")).collect());
        }
        Some(_) => return Err(wrong()),
    };
    (0..map.len())
        .map(|i| {
            match map.get(&i.to_string()) {
                Some(Value::String(name)) => Ok(name.clone()),
                // Names that were numbers when the model was made.
                Some(Value::Number(number)) if !number.is_f64() => Ok(number.to_string()),
                _ => Err(wrong()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
