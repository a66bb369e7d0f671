//! Where weights begin: what is kept, what is drawn, and a head that begins fitted.

use crate::common::{Record, Run, data, folder, options, weights};
use hone_bert::{Config, HeadChoice, Model, Pool, Task};
use hone_data::{Tokenizer, Truncate};
use hone_kernels::Reference;
use hone_optim::Warmup;
use hone_tensor::SafetensorsFile;
use hone_train::{
    EvalBatches, Init, InitHead, Logistic, Options, Targets, Tokenising, TrainError, ValidSource,
    features, labelled,
};
use std::collections::HashMap;
use std::sync::Arc;

type R = Reference<f64>;

/// Weights after one step that moves nothing, and what the run said.
fn begun(change: impl Fn(&mut Options)) -> Result<(HashMap<String, Vec<f64>>, String), TrainError> {
    let mut options = Options {
        max_steps: Some(1),
        warmup: Warmup::Steps(0),
        lr: 0.0,
        head_lr: 0.0,
        ..options()
    };
    change(&mut options);
    let done = Run::new(&data(ValidSource::None), &options)
        .on(Arc::new(R::default()), &mut Record::default())?;
    let said = done.summary.weights.clone();
    Ok((weights(&done).into_iter().collect(), said))
}

fn stored(name: &str) -> Vec<f64> {
    let file = SafetensorsFile::open(&folder().join("model.safetensors")).unwrap();
    file.read_f64(name).unwrap()
}

#[test]
fn upper_layers_drawn_anew() {
    let (all, said) = begun(|o| o.reinit_top = 1).unwrap();
    assert!(
        said.contains("drawn anew: the upper 1 of 2 layers"),
        "{said}"
    );
    for (name, values) in &all {
        let anew = name.contains("layer.1.") || name.contains("pooler");
        assert_eq!(stored(name) != *values, anew, "{name}");
        if anew && name.ends_with("bias") {
            assert!(values.iter().all(|x| *x == 0.0), "{name}");
        }
    }
}

#[test]
fn from_scratch_nothing_is_kept() {
    let (all, _) = begun(|o| o.init = Init::Random).unwrap();
    assert!(all.iter().all(|(name, values)| stored(name) != *values));
    let error =
        begun(|o| (o.init, o.l2_sp) = (Init::Random, hone_optim::Pull::Rate(0.1))).unwrap_err();
    assert!(error.to_string().contains("--l2-sp"), "{error}");
}

#[test]
fn more_layers_than_there_are() {
    let error = begun(|o| o.reinit_top = 3).unwrap_err().to_string();
    assert!(
        error.contains("--reinit-top 3: the model has 2 layers"),
        "{error}"
    );
}

/// The head is the regression on what the encoder says, whatever stands for a text.
#[test]
fn a_fitted_head_is_the_regression_on_frozen_features() {
    for pool in [Pool::Mean, Pool::Cls] {
        let (all, said) = begun(|o| {
            (o.pool, o.init_head, o.new_head) = (pool, InitHead::Probe, true);
        })
        .unwrap();
        assert!(said.contains("logistic regression on 400 texts"), "{said}");

        let data = data(ValidSource::None);
        let mut config = Config::read(&Config::path_in(&folder())).unwrap();
        config.pool = pool;
        let tokenizer = Tokenizer::load(&folder(), config.vocabulary).unwrap();
        let how = Tokenising {
            tokenizer: &tokenizer,
            max_length: config.positions,
            truncate: Truncate::Head,
        };
        let task = Task::Classify;
        let (examples, _) = labelled(&data.train, &data.labels, task, &data.names, how).unwrap();
        let labels = data.labels.names().to_vec();
        let backend = Arc::new(R::default());
        let head = HeadChoice::New;
        let (model, _) =
            Model::load_as(backend, config, &folder(), task, labels, &head, 0).unwrap();
        let read = features(&model, &examples, pool, EvalBatches::USUAL, |_| true).unwrap();
        let mut read = read.unwrap();
        let Targets::Classes(classes) = &examples.targets else {
            panic!("classes")
        };
        let classes: Vec<usize> = classes.iter().map(|c| c.unwrap() as usize).collect();
        let rows: Vec<u32> = (0..400).collect();
        if pool == Pool::Cls {
            // Through the pooler that was set: a scale for each channel, then tanh.
            let (w, b) = (
                &all["bert.pooler.dense.weight"],
                &all["bert.pooler.dense.bias"],
            );
            let hidden = read.hidden;
            for row in read.values.chunks_exact_mut(hidden) {
                for (h, x) in row.iter_mut().enumerate() {
                    *x = (w[h * hidden + h] * f64::from(*x) + b[h]).tanh() as f32;
                }
            }
            let off = (0..hidden * hidden).filter(|i| i % (hidden + 1) != 0);
            assert!(
                off.into_iter().all(|i| w[i] == 0.0),
                "a scale and nothing else"
            );
        }
        let found = &all["classifier.weight"];
        let nearest = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0]
            .map(|strength| {
                let fit = Logistic::fit(&read, &rows, &classes, 3, strength / 400.0);
                let (weight, _) = fit.linear();
                weight
                    .iter()
                    .zip(found)
                    .fold(0.0f64, |m, (a, b)| m.max((f64::from(*a) - b).abs()))
            })
            .into_iter()
            .fold(f64::INFINITY, f64::min);
        assert!(nearest < 1e-4, "{pool:?}: {nearest:.2e}");
    }
}
