//! What a reuser can do in the wrong order or with the wrong numbers is an error, never another result.

use hone_bert::{BertError, Config, Limits, LossKind, Model, Pass, Pool, RowSet, Task, Units};
use hone_kernels::{Acc, Contrast, Reference};
use hone_tensor::Ragged;
use std::sync::Arc;

type R = Reference<f64>;

fn names(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|&l| l.to_owned()).collect()
}

fn random(task: Task, labels: &[&str]) -> Result<Model<R>, BertError> {
    let config = Config::with_shape(16, 2, 2, 32, 50);
    let (model, _) = Model::random(Arc::new(R::default()), config, task, names(labels), 3)?;
    Ok(model)
}

fn batch() -> Ragged {
    let mut batch = Ragged::new();
    batch.push(0, &[2, 17, 9, 3], &[0; 4]);
    batch.push(1, &[2, 8, 3], &[0; 3]);
    batch
}

#[test]
fn a_gradient_has_its_own_loss_and_is_taken_once() {
    let model = random(Task::Classify, &["a", "b"]).unwrap();
    let batch = batch();
    let layout = model.layout().grad_layout(|_| true);
    let mut grads =
        hone_bert::Grads::new(model.backend().as_ref(), model.layout(), layout).unwrap();
    let layout = model.layout().grad_layout(|_| true);
    let mut acts = model.plan_train(Limits::of(&batch), &layout).unwrap();
    let order = |result: Result<(), BertError>| assert!(matches!(result, Err(BertError::Order(_))));
    let loss = |acts: &mut _| {
        let kind = LossKind::of(Task::Classify);
        model
            .loss(acts, kind, &[1.0, 0.0, 0.0, 1.0], &[0.5; 2])
            .map(|_| ())
    };
    order(model.logits(&acts).map(|_| ()));
    order(loss(&mut acts));
    order(model.backward(&mut acts, &mut grads, Acc::Set));
    model.forward(&mut acts, &batch, &Pass::eval()).unwrap();
    order(model.backward(&mut acts, &mut grads, Acc::Set));
    loss(&mut acts).unwrap();
    loss(&mut acts).unwrap();
    model.backward(&mut acts, &mut grads, Acc::Set).unwrap();
    order(model.backward(&mut acts, &mut grads, Acc::Set));
    order(loss(&mut acts));
    assert_eq!(model.logits(&acts).unwrap().len(), 4);
    model.forward(&mut acts, &batch, &Pass::eval()).unwrap();
    model.activations(&mut acts).unwrap();
    order(loss(&mut acts));

    let pairs = LossKind::Softmax {
        focal: 0.0,
        r_drop: 1.0,
        contrast: None,
    };
    let mut one = Ragged::new();
    one.push(0, &[2, 3], &[0; 2]);
    model.forward(&mut acts, &one, &Pass::eval()).unwrap();
    let error = model
        .loss(&mut acts, pairs, &[1.0, 0.0], &[1.0])
        .unwrap_err();
    assert!(error.to_string().contains("every one twice"), "{error}");

    // A contrast needs room of its own.
    let contrast = LossKind::Softmax {
        focal: 0.0,
        r_drop: 0.0,
        contrast: Some(Contrast {
            strength: 1.0,
            temperature: 0.3,
        }),
    };
    model.forward(&mut acts, &batch, &Pass::eval()).unwrap();
    let targets = [1.0, 0.0, 1.0, 0.0];
    let error = model
        .loss(&mut acts, contrast, &targets, &[0.5; 2])
        .unwrap_err();
    assert!(error.to_string().contains("without a contrast"), "{error}");
    model.keep_contrast(&mut acts, Limits::of(&batch)).unwrap();
    let plain = loss(&mut acts);
    assert!(plain.is_ok());
    let both = model
        .loss(&mut acts, contrast, &targets, &[0.5; 2])
        .unwrap();
    // Two texts of one class with nobody beside them are as near as can be.
    let alone = model
        .loss(&mut acts, LossKind::of(Task::Classify), &targets, &[0.5; 2])
        .unwrap();
    assert!((both - alone).abs() < 1e-6, "{both} {alone}");
}

/// Rows that no head reads of buffers for hidden states would be answered with what lay there before.
#[test]
fn buffers_for_hidden_states_have_no_logits() {
    for (task, pool, rows) in [
        (Task::Classify, Pool::Cls, RowSet::All),
        (Task::Classify, Pool::Mean, RowSet::First),
        (Task::Tag, Pool::Cls, RowSet::First),
    ] {
        let mut config = Config::with_shape(16, 2, 2, 32, 50);
        config.pool = pool;
        let labels = names(&["a", "b"]);
        let (model, _) = Model::random(Arc::new(R::default()), config, task, labels, 3).unwrap();
        let mut acts = model.plan_hidden(Limits::of(&batch()), rows).unwrap();
        let error = model
            .forward(&mut acts, &batch(), &Pass::eval())
            .unwrap_err();
        assert!(error.to_string().contains("hidden states"), "{error}");
        let mut out = Vec::new();
        model.hidden(&mut acts, &batch(), &mut out).unwrap();
        assert!(matches!(model.logits(&acts), Err(BertError::Order(_))));
    }
}

/// What `open` would refuse is not built.
#[test]
fn labels_that_no_folder_can_have() {
    for (task, labels, says) in [
        (Task::Classify, &[][..], "no label"),
        (Task::Tag, &["O", "B-x", "O"], "\"O\" twice"),
        (Task::Regress, &["x", "y"], "2 values"),
    ] {
        let error = random(task, labels).err().unwrap().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn numbers_that_no_parameter_can_have() {
    let mut model = random(Task::Classify, &["a", "b"]).unwrap();
    let before = model.download().unwrap();
    let rows = before.len();
    let errors = [
        model.set(0, &[1.0]),
        model.set(rows, &[]),
        model.draw(rows, 0),
        model.divide_logits(0.0),
        model.divide_logits(f64::NAN),
    ];
    for error in errors {
        assert!(matches!(error, Err(BertError::Values { .. })));
    }
    assert_eq!(model.download().unwrap(), before);

    // No file says in which units a head answers.
    let mut model = random(Task::Regress, &["x"]).unwrap();
    let units = Units {
        mean: 50.0,
        deviation: 20.0,
    };
    model.answer_in(units);
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        model.save(folder.path()),
        Err(BertError::Values { .. })
    ));
    let answers = |model: &Model<R>| {
        let mut acts = model.plan_eval(Limits::of(&batch())).unwrap();
        model.forward(&mut acts, &batch(), &Pass::eval()).unwrap();
        model.logits(&acts).unwrap()
    };
    let said = answers(&model);
    model.restate_in(Units::PLAIN).unwrap();
    for (a, b) in said.iter().zip(answers(&model)) {
        assert!(
            (a - b).abs() < 1e-12 * a.abs() && (a - 50.0).abs() < 20.0,
            "{a} {b}"
        );
    }
    model.save(folder.path()).unwrap();
}
