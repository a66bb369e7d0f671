//! Model folders as other programs leave them: which head they hold, and what is said where they hold none.

use hone_bert::{Config, HeadChoice, Limits, Model, Pass, Task, weight_files};
use hone_kernels::{Activation, Reference};
use hone_tensor::Ragged;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

type Backend = Reference<f32>;

fn backend() -> Arc<Backend> {
    Arc::new(Backend::default())
}

/// The folder of a small model with so many outputs, its `config.json` changed.
fn folder(task: Task, outputs: usize, change: impl FnOnce(&mut Map<String, Value>)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let labels = (0..outputs).map(|i| format!("label {i}")).collect();
    let config = Config::with_shape(8, 1, 2, 16, 20);
    let (model, _) = Model::random(backend(), config, task, labels, 1).unwrap();
    model.save(folder.path()).unwrap();
    let path = Config::path_in(folder.path());
    let mut map: Map<String, Value> =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut map);
    fs::write(path, Value::Object(map).to_string()).unwrap();
    folder
}

/// What transformers leaves out of a `config.json`: the usual names of two labels, and a problem nobody named.
fn as_transformers_saves(map: &mut Map<String, Value>) {
    for key in ["id2label", "label2id", "problem_type"] {
        map.remove(key);
    }
}

fn open(folder: &Path) -> Result<(Task, Vec<String>), String> {
    match Model::open(backend(), folder) {
        Ok((model, _)) => Ok((model.task(), model.labels().to_vec())),
        Err(error) => Err(error.to_string()),
    }
}

fn check(folder: &TempDir, want: Result<(Task, &[&str]), &str>) {
    match (open(folder.path()), want) {
        (Ok((task, labels)), Ok((wanted, names))) => {
            assert_eq!(
                (task, labels),
                (wanted, names.iter().map(|n| n.to_string()).collect())
            );
        }
        (Err(said), Err(says)) => {
            assert!(
                said.contains(says) && !said.contains('\n'),
                "{said:?} lacks {says:?}"
            );
        }
        (found, wanted) => panic!("{found:?} instead of {wanted:?}"),
    }
}

#[test]
fn two_labels_that_nobody_named_have_their_usual_names() {
    let names: &[&str] = &["LABEL_0", "LABEL_1"];
    check(
        &folder(Task::Classify, 2, as_transformers_saves),
        Ok((Task::Classify, names)),
    );
    check(
        &folder(Task::Tag, 2, as_transformers_saves),
        Ok((Task::Tag, names)),
    );
    let three = folder(Task::Classify, 3, |map| {
        as_transformers_saves(map);
        map.insert("num_labels".into(), json!(3));
    });
    check(
        &three,
        Ok((Task::Classify, &["LABEL_0", "LABEL_1", "LABEL_2"])),
    );
    // An encoder has no labels.
    let bare = folder(Task::Classify, 2, |map| {
        as_transformers_saves(map);
        map.insert("architectures".into(), json!(["BertModel"]));
    });
    check(
        &bare,
        Err("architectures says BertModel: this is no fine-tuned model"),
    );
}

/// `BertForSequenceClassification.forward`: `if self.num_labels == 1: self.config.problem_type = "regression"`.
#[test]
fn one_output_is_a_number() {
    let one = folder(Task::Regress, 1, |map| {
        map.remove("problem_type");
        map.insert("id2label".into(), json!({"0": "LABEL_0"}));
    });
    check(&one, Ok((Task::Regress, &["LABEL_0"])));
    let (model, receipt) = Model::load(
        backend(),
        one.path(),
        Task::Regress,
        vec!["value".into()],
        &HeadChoice::Matching(vec!["value".into()]),
        1,
    )
    .unwrap();
    assert_eq!((model.classes(), receipt.initialised.len()), (1, 0));
}

#[test]
fn several_numbers_are_no_head_that_could_be_used() {
    let three = folder(Task::Classify, 3, |map| {
        map.insert("problem_type".into(), json!("regression"));
    });
    check(&three, Err("id2label names 3 values a text"));
    // Training draws a new one and says why.
    let labels = vec!["value".to_owned()];
    let head = HeadChoice::Matching(labels.clone());
    let (_, receipt) =
        Model::load(backend(), three.path(), Task::Regress, labels, &head, 1).unwrap();
    let drawn: Vec<&str> = receipt
        .initialised
        .iter()
        .map(|(n, _)| n.as_str())
        .collect();
    assert_eq!(drawn, ["classifier.weight", "classifier.bias"]);
    assert!(receipt.initialised[0].1.contains("3 values a text"));
}

#[test]
fn labels_must_be_names_once_each() {
    let named = |id2label: Value| {
        folder(Task::Classify, 2, |map| {
            map.insert("id2label".into(), id2label);
        })
    };
    check(
        &named(json!({"0": "a", "1": "a"})),
        Err("id2label names \"a\" twice"),
    );
    for wrong in [
        json!(["a", "b"]),
        json!({"0": "a", "2": "b"}),
        json!({"0": [0], "1": "b"}),
    ] {
        check(&named(wrong), Err("id2label must be names under the keys"));
    }
    check(&named(json!({})), Err("id2label names no label"));
}

#[test]
fn sizes_that_cannot_be_meant_are_refused_before_memory_is_asked_for() {
    for (key, size) in [
        ("num_hidden_layers", 2_000_000_000u64),
        ("intermediate_size", 1 << 30),
        ("vocab_size", (1 << 31) - 1),
        ("num_labels", 1 << 30),
    ] {
        let text = serde_json::to_string(&{
            let mut map = Config::with_shape(1024, 24, 16, 4096, 30_000).source;
            map.insert(
                "architectures".into(),
                json!(["BertForSequenceClassification"]),
            );
            map.insert(key.into(), json!(size));
            map
        });
        let error = Config::parse(&text.unwrap(), Path::new("config.json")).unwrap_err();
        assert!(
            error.to_string().contains(&size.to_string())
                || error.to_string().contains("more than"),
            "{error}"
        );
    }
}

#[test]
fn a_field_that_is_absent_is_called_so() {
    let map = |change: fn(&mut Map<String, Value>)| folder(Task::Classify, 2, change);
    let none = map(|m| drop(m.remove("model_type")));
    check(&none, Err("model_type is absent"));
}

/// Whoever follows the advice keeps the head: transformers' `AutoModel` would leave it out.
#[test]
fn the_advice_on_pickles_keeps_every_tensor() {
    let pickled = folder(Task::Classify, 2, |_| {});
    let name = |name: &str| pickled.path().join(name);
    fs::rename(name("model.safetensors"), name("pytorch_model.bin")).unwrap();
    let said = weight_files(pickled.path()).unwrap_err().to_string();
    assert!(!said.contains("AutoModel"), "{said}");
    assert!(said.contains("weights_only=True"), "{said}");
}

/// transformers lets `num_labels` of an older `config.json` win over `id2label`, and then finds a head of another size.
#[test]
fn a_saved_folder_counts_its_labels_once() {
    let old = folder(Task::Classify, 3, |map| {
        for key in ["num_labels", "_num_labels"] {
            map.insert(key.into(), json!(3));
        }
    });
    let labels = vec!["bad".to_owned(), "good".to_owned()];
    let (model, _) = Model::load(
        backend(),
        old.path(),
        Task::Classify,
        labels,
        &HeadChoice::New,
        1,
    )
    .unwrap();
    let out = tempfile::tempdir().unwrap();
    model.save(out.path()).unwrap();
    let saved = Config::read(&Config::path_in(out.path())).unwrap();
    assert_eq!(saved.labels, ["bad", "good"]);
    for key in ["num_labels", "_num_labels"] {
        assert!(!saved.source.contains_key(key), "{key}");
    }
}

/// Logits of a text long enough for every position that the smallest model has.
fn logits(model: &Model<Backend>) -> Vec<f64> {
    let mut batch = Ragged::new();
    batch.push(0, &[2, 5, 9, 7, 3], &[0, 0, 0, 1, 1]);
    let mut acts = model.plan_eval(Limits::of(&batch)).unwrap();
    model.forward(&mut acts, &batch, &Pass::eval()).unwrap();
    model.logits(&acts).unwrap()
}

/// Every field can be set by hand, and what is saved is the model that was built, not the source of its configuration.
#[test]
fn every_field_survives_saving() {
    let changes: [fn(&mut Config); 17] = [
        |_| {},
        |c| c.hidden = 12,
        |c| c.layers = 2,
        |c| c.heads = 4,
        |c| c.intermediate = 20,
        |c| c.vocabulary = 31,
        |c| c.positions = 64,
        |c| c.types = 3,
        |c| c.activation = Activation::GeluTanh,
        |c| c.activation = Activation::Relu,
        |c| c.norm_eps = 0.5,
        |c| c.hidden_dropout = 0.25,
        |c| c.attention_dropout = 0.0,
        |c| c.classifier_dropout = Some(0.375),
        |c| c.initializer_range = 0.3,
        |c| c.pool = hone_bert::Pool::Mean,
        |c| c.source.clear(),
    ];
    for (which, change) in changes.into_iter().enumerate() {
        let mut config = Config::with_shape(8, 1, 2, 16, 20);
        config.initializer_range = 0.5;
        change(&mut config);
        let labels = vec!["bad".to_owned(), "good".to_owned()];
        let task = Task::Classify;
        let (model, _) = Model::random(backend(), config.clone(), task, labels, 1).unwrap();
        let out = tempfile::tempdir().unwrap();
        model.save(out.path()).unwrap();
        let (opened, _) = Model::open(backend(), out.path()).unwrap();
        assert_eq!(logits(&opened), logits(&model), "change {which}");
        // What the head adds aside.
        let found = Config {
            labels: config.labels.clone(),
            problem_type: config.problem_type.clone(),
            architectures: config.architectures.clone(),
            source: config.source.clone(),
            ..opened.config().clone()
        };
        assert_eq!(found, config, "change {which}");
    }
}

/// A field that says the same keeps its spelling; weights are f32 whatever the source held.
#[test]
fn saving_keeps_spellings_and_says_f32() {
    let from = folder(Task::Classify, 2, |map| {
        map.insert("hidden_act".into(), json!("gelu_fast"));
        map.insert("hidden_dropout_prob".into(), json!(0));
        for key in ["dtype", "torch_dtype"] {
            map.insert(key.into(), json!("bfloat16"));
        }
        map.insert("unknown".into(), json!([1, "two"]));
    });
    let (model, _) = Model::open(backend(), from.path()).unwrap();
    let saved = |model: &Model<Backend>| {
        let out = tempfile::tempdir().unwrap();
        model.save(out.path()).unwrap();
        Config::read(&Config::path_in(out.path())).unwrap().source
    };
    let map = saved(&model);
    assert_eq!(map["hidden_act"], json!("gelu_fast"));
    assert_eq!(map["hidden_dropout_prob"], json!(0));
    assert_eq!(map["unknown"], json!([1, "two"]));
    assert_eq!(map["torch_dtype"], json!("float32"));
    assert!(!map.contains_key("dtype"));
    // What the model computes with is said in its place, and no field wins over it.
    let config = Config {
        activation: Activation::Gelu,
        ..model.config().clone()
    };
    let (task, labels) = (model.task(), model.labels().to_vec());
    let (mut model, _) = Model::random(backend(), config, task, labels, 0).unwrap();
    model.set_dropout(0.25, 0.0, Some(0.5)).unwrap();
    for field in ["hidden_size", "hidden_dropout_prob"] {
        model.fields_mut().insert(field.into(), json!(7));
    }
    let map = saved(&model);
    assert_eq!(map["hidden_act"], json!("gelu"));
    assert_eq!(map["hidden_size"], json!(model.config().hidden));
    assert_eq!(map["hidden_dropout_prob"], json!(0.25));
    assert_eq!(map["classifier_dropout"], json!(0.5));
    let refused = model.set_dropout(1.0, 0.0, None).unwrap_err().to_string();
    assert!(refused.contains("hidden_dropout_prob"), "{refused}");
    assert_eq!(saved(&model)["hidden_dropout_prob"], json!(0.25));
}

/// Whoever fills a batch's fields by hand and wrongly is told; kernels trust them.
#[test]
fn a_batch_whose_parts_do_not_fit_is_an_error() {
    let whole = folder(Task::Classify, 2, |_| {});
    let (model, _) = Model::open(backend(), whole.path()).unwrap();
    let limits = Limits {
        tokens: 16,
        sequences: 4,
        longest: 16,
    };
    let mut acts = model.plan_eval(limits).unwrap();
    let mut check = |spoil: fn(&mut Ragged)| {
        let mut batch = Ragged::new();
        batch.push(0, &[2, 5, 3], &[0, 0, 0]);
        batch.push(1, &[2, 3], &[0, 1]);
        model.forward(&mut acts, &batch, &Pass::eval()).unwrap();
        spoil(&mut batch);
        assert!(
            model.forward(&mut acts, &batch, &Pass::eval()).is_err(),
            "{batch:?}"
        );
    };
    check(|b| b.cu_seqlens[2] = 9);
    check(|b| b.cu_seqlens[2] = 4);
    check(|b| b.cu_seqlens[0] = 1);
    check(|b| b.cu_seqlens[1] = 7);
    check(|b| b.cu_seqlens.truncate(1));
    check(|b| b.cu_seqlens.clear());
    check(|b| b.types.truncate(1));
    check(|b| b.example_ids.truncate(1));
    check(|b| *b = Ragged::default());
}

/// A mask beside the weights is ignored and told of; integers in place of a weight are no weight.
#[test]
fn integers_are_no_weights() {
    // The file's header, then its numbers with some bytes more.
    let changed = |change: fn(&mut Map<String, Value>, usize)| {
        let folder = folder(Task::Classify, 2, |_| {});
        let path = folder.path().join("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        let (length, rest) = bytes.split_at(8);
        let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
        let (header, numbers) = rest.split_at(length);
        let mut header: Map<String, Value> = serde_json::from_slice(header).unwrap();
        change(&mut header, numbers.len());
        let header = Value::Object(header).to_string();
        let length = (header.len() as u64).to_le_bytes();
        fs::write(
            path,
            [&length[..], header.as_bytes(), numbers, &[1, 0]].concat(),
        )
        .unwrap();
        folder
    };
    let with_mask = |header: &mut Map<String, Value>, end: usize| {
        let mask = json!({"dtype": "BOOL", "shape": [2], "data_offsets": [end, end + 2]});
        header.insert("bert.mask".into(), mask);
    };
    let masked = changed(with_mask);
    let (_, receipt) = Model::open(backend(), masked.path()).unwrap();
    assert_eq!(receipt.ignored, ["bert.mask"]);
    let quantised = changed(|header, end| {
        let scale = json!({"dtype": "F16", "shape": [1], "data_offsets": [end, end + 2]});
        header.insert("classifier.scale".into(), scale);
        header["classifier.weight"]["dtype"] = json!("I8");
        header["classifier.weight"]["shape"] = json!([2, 32]);
    });
    check(
        &quantised,
        Err("tensor classifier.weight is stored as I8: a quantised model"),
    );
}
