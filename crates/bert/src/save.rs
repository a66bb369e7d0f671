//! A model folder that transformers loads as it is: `config.json` and `model.safetensors`.

use crate::load::Carried;
use crate::{BertError, Config, Layout, Pool, Task};
use hone_kernels::Backend;
use hone_tensor::{Real, replace_file, write_safetensors_in_blocks};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Writes `config.json` beside and renames it into place: what the struct holds, and the fields of the model it came from
/// that Hone does not know. Weights are saved as f32, whatever they were read as.
pub fn save_config(
    config: &Config,
    task: Task,
    labels: &[String],
    folder: &Path,
) -> Result<(), BertError> {
    config.check()?;
    let mut map = config.fields();
    let class = match (task.pools(), config.pool) {
        (true, Pool::Mean) => {
            map.insert(Config::POOL.into(), json!(Pool::Mean.name()));
            Pool::MEAN_CLASS
        }
        _ => {
            map.remove(Config::POOL);
            task.architecture()
        }
    };
    map.insert("architectures".into(), json!([class]));
    match task.problem_type() {
        Some(problem) => map.insert("problem_type".into(), json!(problem)),
        None => map.remove("problem_type"),
    };
    let names = ["id2label", "label2id"];
    if task == Task::Mask {
        // Whoever trains on has labels of its own.
        names.iter().for_each(|field| drop(map.remove(*field)));
    }
    let id2label: Map<String, Value> = labels
        .iter()
        .enumerate()
        .map(|(i, label)| (i.to_string(), json!(label)))
        .collect();
    let label2id: Map<String, Value> = labels
        .iter()
        .enumerate()
        .map(|(i, label)| (label.clone(), json!(i)))
        .collect();
    if task != Task::Mask {
        let [by_id, by_label] = names.map(str::to_owned);
        map.insert(by_id, Value::Object(id2label));
        map.insert(by_label, Value::Object(label2id));
    }
    // What older files count; transformers would let it win over the labels.
    for count in ["num_labels", "_num_labels"] {
        map.remove(count);
    }
    map.remove("dtype");
    map.insert("torch_dtype".into(), json!("float32"));
    let path = Config::path_in(folder);
    let io = |source| BertError::Io {
        path: path.clone(),
        source,
    };
    let text = format!("{:#}\n", Value::Object(map));
    replace_file(&path, text.as_bytes()).map_err(io)
}

/// Reads every parameter back from the device, in table order, as f32.
pub fn download<B: Backend>(
    backend: &B,
    params: &B::Params,
    layout: &Layout,
) -> Result<Vec<Vec<f32>>, BertError> {
    layout
        .table
        .params()
        .iter()
        .map(|param| {
            let mut values = vec![B::Master::default(); param.len()];
            backend.download(backend.param(params, param.range()), &mut values)?;
            Ok(values.iter().map(|x| x.to_f64() as f32).collect())
        })
        .collect()
}

/// Writes `model.safetensors` under Hugging Face names, and tensors beside that no table has, block by block: a model is saved
/// where it fits once. Numbers that are none leave what was there.
pub fn save_weights<B: Backend>(
    backend: &B,
    params: &B::Params,
    layout: &Layout,
    beside: &[Carried],
    path: &Path,
) -> Result<(), BertError> {
    let rows = layout.table.params();
    let tensors = rows.iter().map(|p| (&p.name[..], &p.shape[..]));
    let beside_them = beside.iter().map(|c| (&c.name[..], &c.shape[..]));
    let tensors: Vec<_> = tensors.chain(beside_them).collect();
    let mut host = Vec::new();
    write_safetensors_in_blocks(path, &tensors, |row, first, block| {
        if let Some(carried) = row.checked_sub(rows.len()) {
            block.copy_from_slice(&beside[carried].values[first..first + block.len()]);
            return Ok(());
        }
        let param = &rows[row];
        host.resize(block.len(), B::Master::default());
        let part = param.part(first, block.len());
        backend.download(backend.param(params, part), &mut host)?;
        let numbers = block.iter_mut().zip(&host);
        numbers.for_each(|(to, x)| *to = x.to_f64() as f32);
        match block.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(at) => Err(BertError::Diverged {
                name: param.name.clone(),
                element: first + at,
                value: block[at],
            }),
        }
    })
}
