//! Weights of a Hugging Face folder into the arena, with a receipt: nothing is dropped in silence.

use crate::{BertError, Config, Layout, Task};
use hone_kernels::Backend;
use hone_tensor::{Depth, Kind, Param, Real, SafetensorsFile, normal};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// What became of every tensor of the files and every parameter of the model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Receipt {
    /// Files read.
    pub files: Vec<PathBuf>,
    /// Parameters that came from the files.
    pub loaded: Vec<String>,
    /// Parameters drawn anew, with the reason.
    pub initialised: Vec<(String, String)>,
    /// Tensors that are saved again as they were read: pre-training has no use for a pooler, and who trains on has.
    pub carried: Vec<String>,
    /// Tensors of the files that the model has no use for.
    pub ignored: Vec<String>,
    /// Elements loaded.
    pub elements: usize,
}

impl Receipt {
    /// Which tensors of the files were ignored, in a line.
    pub fn ignored_line(&self) -> String {
        format!(
            "ignored {} tensors the model has no use for: {}",
            self.ignored.len(),
            self.ignored.join(", ")
        )
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "loaded {} tensors ({:.1} M numbers)",
            self.loaded.len(),
            self.elements as f64 / 1e6
        )?;
        for (name, why) in &self.initialised {
            write!(f, "\nnewly initialised {name}: {why}")?;
        }
        if !self.carried.is_empty() {
            let names = self.carried.join(", ");
            write!(f, "\nkept as it is, since nothing here trains it: {names}")?;
        }
        if !self.ignored.is_empty() {
            write!(f, "\n{}", self.ignored_line())?;
        }
        Ok(())
    }
}

/// Whether a head in the folder may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadChoice {
    /// Keep it where its label names are these in some order (rows are mapped by name);
    /// draw a new one otherwise.
    Matching(Vec<String>),
    /// Keep it as it is: the folder is a fine-tuned model to be used.
    Stored,
    /// Always draw a new one.
    New,
}

/// The safetensors files of a folder: one, or the shards its index names.
pub fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, BertError> {
    let single = folder.join("model.safetensors");
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index = folder.join("model.safetensors.index.json");
    if index.is_file() {
        let wrong = |reason: String| BertError::Config {
            path: index.clone(),
            reason,
        };
        let text = std::fs::read_to_string(&index).map_err(|source| BertError::Io {
            path: index.clone(),
            source,
        })?;
        let json: Value =
            serde_json::from_str(&text).map_err(|e| wrong(format!("not JSON ({e})")))?;
        let map = json
            .get("weight_map")
            .and_then(Value::as_object)
            .ok_or_else(|| wrong("weight_map must be an object of tensor and file names".into()))?;
        let mut names: Vec<&str> = map.values().filter_map(Value::as_str).collect();
        names.sort_unstable();
        names.dedup();
        if let Some(bad) = names.iter().find(|n| n.contains(['/', '\\'])) {
            return Err(wrong(format!("shard {bad} must lie beside the index")));
        }
        return Ok(names.iter().map(|n| folder.join(n)).collect());
    }
    let pickle = ["pytorch_model.bin", "pytorch_model.bin.index.json"]
        .iter()
        .find(|name| folder.join(name).is_file());
    let hint = match pickle {
        // Not by a class of transformers: it would leave out tensors it has no use for, a head among them, and write
        // config.json anew.
        Some(name) => format!(
            "; {name} is a pickle, which can run code when read, so Hone refuses it. Convert it once: \
             python -c \"import glob, torch; from safetensors.torch import save_file; \
             save_file({{k: v.clone().contiguous() for f in glob.glob('{0}/pytorch_model*.bin') for k, v in \
             torch.load(f, map_location='cpu', weights_only=True).items()}}, '{0}/model.safetensors', \
             metadata={{'format': 'pt'}})\"",
            folder.display()
        ),
        None => " here, nor a model.safetensors.index.json with shards".to_owned(),
    };
    Err(BertError::NoWeights {
        path: folder.to_owned(),
        hint,
    })
}

/// The name Hone uses for a tensor a file calls `name`: old LayerNorm spellings and a missing `bert.` are mapped.
pub fn canonical(name: &str) -> String {
    let name = name
        .strip_suffix(".gamma")
        .map(|stem| format!("{stem}.weight"))
        .or_else(|| {
            name.strip_suffix(".beta")
                .map(|stem| format!("{stem}.bias"))
        })
        .unwrap_or_else(|| name.to_owned());
    let bare = ["embeddings.", "encoder.", "pooler."]
        .iter()
        .any(|part| name.starts_with(part));
    if bare { format!("bert.{name}") } else { name }
}

/// All open files of a folder and which tensor stands for which parameter.
struct Source {
    folder: PathBuf,
    files: Vec<SafetensorsFile>,
    /// Canonical name → (file, name in it).
    tensors: HashMap<String, (usize, String)>,
}

impl Source {
    fn open(folder: &Path) -> Result<Source, BertError> {
        let mut files = Vec::new();
        let mut tensors: HashMap<String, (usize, String)> = HashMap::new();
        for path in weight_files(folder)? {
            let file = SafetensorsFile::open(&path)?;
            for tensor in file.tensors() {
                let parameter = canonical(&tensor.name);
                let here = (files.len(), tensor.name.clone());
                if let Some((_, first)) = tensors.insert(parameter.clone(), here) {
                    return Err(BertError::Twice {
                        path: folder.to_owned(),
                        first,
                        second: tensor.name.clone(),
                        parameter,
                    });
                }
            }
            files.push(file);
        }
        Ok(Source {
            folder: folder.to_owned(),
            files,
            tensors,
        })
    }

    /// The file that holds the tensor called `name` and what it is called there, of real numbers in the `expected` shape;
    /// `None` where no file has it.
    fn find(
        &self,
        name: &str,
        expected: &[usize],
    ) -> Result<Option<(&SafetensorsFile, &str)>, BertError> {
        let Some((file, stored)) = self.tensors.get(name) else {
            return Ok(None);
        };
        let file = &self.files[*file];
        let tensor = file.get(stored);
        if let Some(tensor) = tensor.filter(|t| !t.dtype.is_real()) {
            return Err(BertError::Quantised {
                path: file.path().to_owned(),
                name: stored.clone(),
                dtype: tensor.dtype,
            });
        }
        let found = tensor.map(|t| t.shape.clone()).unwrap_or_default();
        if found != expected {
            return Err(BertError::Shape {
                path: file.path().to_owned(),
                name: stored.clone(),
                found,
                expected: expected.to_vec(),
            });
        }
        Ok(Some((file, stored)))
    }
}

/// A tensor's values, block by block; one that is not finite is an error.
fn each_block(
    (file, stored): (&SafetensorsFile, &str),
    mut take: impl FnMut(usize, &[f32]) -> Result<(), BertError>,
) -> Result<(), BertError> {
    file.each_block_f32(stored, |first, block| {
        match block.iter().position(|x| !x.is_finite()) {
            None => take(first, block),
            Some(at) => Err(BertError::NotFinite {
                path: file.path().to_owned(),
                name: stored.to_owned(),
                element: first + at,
                value: block[at],
            }),
        }
    })
}

/// New values for a parameter: LayerNorm the identity, biases zero, everything else normal.
pub fn fresh(param: &Param, std: f64, seed: u64) -> Vec<f32> {
    match param.kind {
        Kind::NormWeight => vec![1.0; param.len()],
        Kind::Bias | Kind::NormBias => vec![0.0; param.len()],
        Kind::Matrix | Kind::Embedding => normal(param.len(), std, seed, &param.name),
    }
}

/// Rows of the stored head in the order of `labels`, or why it cannot be kept.
fn head_rows(config: &Config, task: Task, labels: &[String]) -> Result<Vec<usize>, String> {
    let stored = config.head();
    if task == Task::Regress {
        return match stored {
            Ok((Task::Regress, _)) => Ok(vec![0]),
            Ok(_) => Err("the folder's head gives labels, the data numbers".to_owned()),
            Err(why) => Err(format!("the folder's head cannot be kept: {why}")),
        };
    }
    match stored {
        Ok((Task::Regress, _)) => {
            return Err("the folder's head gives a number, the data labels".to_owned());
        }
        Ok((kept, _)) if kept.pools() != task.pools() => {
            let (of, wanted) = match task.pools() {
                true => ("words", "texts"),
                false => ("texts", "words"),
            };
            return Err(format!("the folder's head labels {of}, the data {wanted}"));
        }
        _ => {}
    }
    if config.labels.len() != labels.len() {
        return Err(format!(
            "the folder's head has {} labels, the data {}",
            config.labels.len(),
            labels.len()
        ));
    }
    labels
        .iter()
        .map(|label| {
            config
                .labels
                .iter()
                .position(|l| l == label)
                .ok_or_else(|| format!("the folder's head does not know the label {label:?}"))
        })
        .collect()
}

/// Whether the folder holds a head for these labels, in whatever order, that [`HeadChoice::Matching`] would keep; for
/// [`Task::Mask`], which has no labels, the whole head that says masked words.
pub fn holds_head(
    folder: &Path,
    config: &Config,
    task: Task,
    labels: &[String],
) -> Result<bool, BertError> {
    let source = Source::open(folder)?;
    let stored = |name: &str| source.tensors.contains_key(name);
    Ok(match task {
        Task::Mask => {
            let layout = Layout::new(config, task, config.vocabulary);
            let head = layout.table.params().iter();
            head.filter(|p| p.depth == Depth::Head)
                .all(|p| stored(&p.name))
        }
        _ => stored("classifier.weight") && head_rows(config, task, labels).is_ok(),
    })
}

/// A tensor that is saved again as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Carried {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// The pooler of a folder whose model has none of its own.
fn pooler(source: &Source, config: &Config) -> Result<Vec<Carried>, BertError> {
    let h = config.hidden;
    let mut found = Vec::new();
    for (what, shape) in [("weight", vec![h, h]), ("bias", vec![h])] {
        let name = format!("bert.pooler.dense.{what}");
        if let Some(stored) = source.find(&name, &shape)? {
            let mut values = Vec::new();
            each_block(stored, |_, block| {
                values.extend_from_slice(block);
                Ok(())
            })?;
            found.push(Carried {
                name,
                shape,
                values,
            });
        }
    }
    Ok(found)
}

/// Fills `params` from `folder`; what the files lack is drawn from `seed`. Beside the receipt what is to be saved again.
pub fn load<B: Backend>(
    backend: &B,
    params: &mut B::Params,
    layout: &Layout,
    config: &Config,
    task: Task,
    folder: &Path,
    head: &HeadChoice,
    seed: u64,
) -> Result<(Receipt, Vec<Carried>), BertError> {
    let source = Source::open(folder)?;
    if task == Task::Mask && config.source.get("tie_word_embeddings") == Some(&Value::Bool(false)) {
        return Err(BertError::Unsupported {
            path: Config::path_in(folder),
            field: "tie_word_embeddings",
            found: "false".to_owned(),
            supported: "true: masked words are said by the word embeddings themselves",
        });
    }
    let mut receipt = Receipt {
        files: source.files.iter().map(|f| f.path().to_owned()).collect(),
        ..Receipt::default()
    };
    let order = match (task, head) {
        (Task::Mask, HeadChoice::New) => Err("a new head was asked for".to_owned()),
        // Its outputs are the vocabulary, which the folder's own are; what is not there is drawn.
        (Task::Mask, _) => Ok(Vec::new()),
        _ => head_order(&source, config, layout, task, head),
    };
    let mut missing = Vec::new();
    for (index, param) in layout.table.params().iter().enumerate() {
        let is_head = param.depth == Depth::Head;
        let stored = match (&order, is_head) {
            (Err(_), true) => None,
            _ => source.find(&param.name, &param.shape)?,
        };
        if stored.is_some() {
            receipt.loaded.push(param.name.clone());
            receipt.elements += param.len();
        }
        match (stored, &order) {
            (Some(stored), Ok(rows)) if is_head && task != Task::Mask => {
                let mut values = Vec::new();
                each_block(stored, |_, block| {
                    values.extend_from_slice(block);
                    Ok(())
                })?;
                set(backend, params, index, 0, &permute(&values, rows))?;
            }
            (Some(stored), _) => each_block(stored, |first, block| {
                set(backend, params, index, first, block)
            })?,
            (None, _) if is_head || param.depth == Depth::Pooler => {
                let why = match (&order, is_head) {
                    (Err(why), true) => why.clone(),
                    _ => "the folder has none".to_owned(),
                };
                receipt.initialised.push((param.name.clone(), why));
                let values = fresh(param, config.initializer_range, seed);
                set(backend, params, index, 0, &values)?;
            }
            (None, _) => missing.push(param.name.clone()),
        }
    }
    if let Some(first) = missing.first() {
        return Err(BertError::Missing {
            path: folder.to_owned(),
            count: missing.len(),
            first: first.clone(),
        });
    }
    let carried = match task {
        Task::Mask => pooler(&source, config)?,
        _ => Vec::new(),
    };
    receipt.carried = carried.iter().map(|c| c.name.clone()).collect();
    let used = |name: &String| receipt.loaded.contains(name) || receipt.carried.contains(name);
    let mut ignored: Vec<String> = source
        .tensors
        .iter()
        .filter(|(name, _)| !used(name))
        .map(|(_, (_, stored))| stored.clone())
        .collect();
    ignored.sort();
    receipt.ignored = ignored;
    Ok((receipt, carried))
}

fn head_order(
    source: &Source,
    config: &Config,
    layout: &Layout,
    task: Task,
    head: &HeadChoice,
) -> Result<Vec<usize>, String> {
    let classes = layout.table.params()[layout.classifier.bias].len();
    let stored = source.tensors.contains_key("classifier.weight");
    match head {
        _ if !stored => Err(format!("{} holds no head", source.folder.display())),
        HeadChoice::New => Err("a new head was asked for".to_owned()),
        HeadChoice::Stored => Ok((0..classes).collect()),
        HeadChoice::Matching(labels) => head_rows(config, task, labels),
    }
}

/// Rows of `[rows.len(), n]` in another order.
fn permute(values: &[f32], rows: &[usize]) -> Vec<f32> {
    let width = values.len() / rows.len();
    rows.iter()
        .flat_map(|&r| values[r * width..][..width].iter().copied())
        .collect()
}

/// Draws every parameter anew: training from scratch.
pub fn initialise<B: Backend>(
    backend: &B,
    params: &mut B::Params,
    layout: &Layout,
    std: f64,
    seed: u64,
) -> Result<Receipt, BertError> {
    let mut receipt = Receipt::default();
    for (index, param) in layout.table.params().iter().enumerate() {
        set(backend, params, index, 0, &fresh(param, std, seed))?;
        receipt
            .initialised
            .push((param.name.clone(), "training from scratch".to_owned()));
    }
    Ok(receipt)
}

/// Writes host values of a parameter in master precision, from its number `first` on.
pub(crate) fn set<B: Backend>(
    backend: &B,
    params: &mut B::Params,
    index: usize,
    first: usize,
    values: &[f32],
) -> Result<(), BertError> {
    let values: Vec<B::Master> = values
        .iter()
        .map(|&x| B::Master::from_f64(x as f64))
        .collect();
    Ok(backend.set_param(params, index, first, &values)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_spellings_are_mapped() {
        for (file, want) in [
            (
                "embeddings.LayerNorm.gamma",
                "bert.embeddings.LayerNorm.weight",
            ),
            (
                "bert.embeddings.LayerNorm.beta",
                "bert.embeddings.LayerNorm.bias",
            ),
            (
                "encoder.layer.0.output.dense.weight",
                "bert.encoder.layer.0.output.dense.weight",
            ),
            ("classifier.bias", "classifier.bias"),
            ("cls.predictions.bias", "cls.predictions.bias"),
        ] {
            assert_eq!(canonical(file), want);
        }
    }

    #[test]
    fn head_rows_follow_names() {
        let mut config = Config::with_shape(8, 1, 2, 16, 10);
        config.labels = vec!["bad".into(), "good".into()];
        let labels = |l: &[&str]| l.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        assert_eq!(
            head_rows(&config, Task::Classify, &labels(&["good", "bad"])),
            Ok(vec![1, 0])
        );
        assert!(
            head_rows(&config, Task::Classify, &labels(&["good", "fair"]))
                .unwrap_err()
                .contains("fair")
        );
        assert!(head_rows(&config, Task::Classify, &labels(&["good"])).is_err());
        // Labels of words are not labels of texts, whatever they are called.
        config.architectures = vec!["BertForTokenClassification".into()];
        let why = head_rows(&config, Task::Classify, &labels(&["good", "bad"]));
        assert!(why.unwrap_err().contains("labels words, the data texts"));
        config.architectures = vec!["BertForSequenceClassification".into()];
        // A head of a regression has one row, whatever it is called.
        config.labels = vec!["LABEL_0".into()];
        let value = labels(&["value"]);
        for problem in [None, Some("regression".to_owned())] {
            config.problem_type = problem;
            assert_eq!(head_rows(&config, Task::Regress, &value), Ok(vec![0]));
        }
        assert!(head_rows(&config, Task::Classify, &value).is_err());
        assert_eq!(permute(&[1., 2., 3., 4.], &[1, 0]), [3., 4., 1., 2.]);
    }
}
