//! What a `config.json` must say, and what is read of it.

use super::*;
use crate::save::save_config;
use crate::{HeadChoice, Model};

fn text(change: impl FnOnce(&mut Map<String, Value>)) -> String {
    let mut map = Config::with_shape(24, 2, 3, 52, 99).source;
    change(&mut map);
    Value::Object(map).to_string()
}

fn check_error(change: impl FnOnce(&mut Map<String, Value>), says: &str) {
    let error = Config::parse(&text(change), Path::new("config.json")).unwrap_err();
    let line = error.to_string();
    assert!(line.contains(says), "{line:?} lacks {says:?}");
    assert!(!line.contains('\n'));
}

#[test]
fn reads_what_it_needs() {
    let c = Config::parse(
        &text(|m| {
            m.insert("id2label".into(), json!({"0": "bad", "1": "good"}));
            m.insert("hidden_act".into(), json!("gelu_new"));
        }),
        Path::new("config.json"),
    )
    .unwrap();
    assert_eq!((c.hidden, c.layers, c.heads, c.head_dim()), (24, 2, 3, 8));
    assert_eq!(c.labels, ["bad", "good"]);
    assert_eq!(c.activation, Activation::GeluTanh);
    let numbers = text(|m| drop(m.insert("id2label".into(), json!({"0": 0, "1": -1}))));
    let c = Config::parse(&numbers, Path::new("config.json")).unwrap();
    assert_eq!(c.labels, ["0", "-1"]);
}

/// transformers, which does not know the field, leaves it in what it has trained on.
#[test]
fn a_head_of_transformers_reads_the_first_token() {
    for (class, is) in [
        (Some(Pool::MEAN_CLASS), Pool::Mean),
        (Some(CLASSIFIER), Pool::Cls),
        (Some("BertModel"), Pool::Mean),
        (None, Pool::Mean),
    ] {
        let text = text(|m| {
            m.insert(Config::POOL.into(), json!("mean"));
            if let Some(class) = class {
                m.insert("architectures".into(), json!([class]));
            }
        });
        let config = Config::parse(&text, Path::new("config.json")).unwrap();
        assert_eq!(config.pool, is, "{class:?}");
    }
}

/// transformers has several names for one function.
#[test]
fn activations_by_all_their_names() {
    for (name, is) in [
        ("gelu_python", Activation::Gelu),
        ("gelu_fast", Activation::GeluTanh),
        ("gelu_pytorch_tanh", Activation::GeluTanh),
        ("relu", Activation::Relu),
    ] {
        let text = text(|m| drop(m.insert("hidden_act".into(), json!(name))));
        let config = Config::parse(&text, Path::new("config.json")).unwrap();
        assert_eq!(config.activation, is, "{name}");
    }
}

/// Fields can be set by hand: a model of none of these is built, loaded or saved.
#[test]
fn no_model_has_such_sizes() {
    let cases: [(fn(&mut Config), &str); 13] = [
        (|c| c.heads = 0, "num_attention_heads"),
        (|c| c.heads = 5, "not a multiple"),
        (|c| c.hidden = 0, "hidden_size"),
        (|c| c.layers = 0, "num_hidden_layers"),
        (|c| c.layers = 1 << 20, "more than Hone holds"),
        (|c| c.intermediate = 0, "intermediate_size"),
        (|c| c.vocabulary = 0, "vocab_size"),
        (|c| c.positions = 0, "max_position_embeddings"),
        (|c| c.types = 0, "type_vocab_size"),
        (|c| c.norm_eps = f64::NAN, "layer_norm_eps"),
        (|c| c.initializer_range = -0.1, "initializer_range"),
        (|c| c.hidden_dropout = 1.0, "hidden_dropout_prob"),
        (|c| c.classifier_dropout = Some(-0.5), "classifier_dropout"),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (change, says) in cases {
        let mut config = Config::with_shape(24, 2, 3, 52, 99);
        assert!(config.check().is_ok());
        change(&mut config);
        let backend = || std::sync::Arc::new(hone_kernels::Reference::<f32>::default());
        let labels = || vec!["a".to_owned(), "b".to_owned()];
        let task = Task::Classify;
        let said = [
            config.check().err(),
            Model::random(backend(), config.clone(), task, labels(), 1).err(),
            Model::load_as(
                backend(),
                config.clone(),
                folder.path(),
                task,
                labels(),
                &HeadChoice::New,
                1,
            )
            .err(),
            save_config(&config, task, &labels(), folder.path()).err(),
        ];
        for error in said {
            let line = error.unwrap().to_string();
            assert!(line.contains(says), "{line:?} lacks {says:?}");
        }
    }
}

#[test]
fn names_what_is_wrong() {
    check_error(
        |m| drop(m.remove("hidden_size")),
        "hidden_size must be a positive integer below 2^31, it is absent",
    );
    check_error(
        |m| drop(m.insert("num_hidden_layers".into(), json!(-2))),
        "num_hidden_layers",
    );
    check_error(
        |m| drop(m.insert("num_attention_heads".into(), json!(5))),
        "not a multiple",
    );
    check_error(
        |m| drop(m.insert("model_type".into(), json!("roberta"))),
        "model_type is \"roberta\"",
    );
    check_error(
        |m| drop(m.insert("hidden_act".into(), json!("swish"))),
        "hidden_act is \"swish\"",
    );
    check_error(
        |m| drop(m.insert("position_embedding_type".into(), json!("relative_key"))),
        "position_embedding_type",
    );
    check_error(
        |m| drop(m.insert("hidden_dropout_prob".into(), json!(1.5))),
        "hidden_dropout_prob",
    );
    check_error(
        |m| drop(m.insert("id2label".into(), json!({"0": 0.5, "1": "x"}))),
        "id2label",
    );
    check_error(
        |m| drop(m.insert("id2label".into(), json!({"1": "x"}))),
        "id2label",
    );
    let broken = Config::parse("{", Path::new("config.json")).unwrap_err();
    assert!(broken.to_string().contains("not a JSON object"));
}
