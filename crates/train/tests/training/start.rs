//! Where weights begin: what is kept, what is drawn, and a head that begins fitted.

use crate::common::{Record, Run, data, folder, options, weights};
use hone_bert::{Config, HeadChoice, Model, Pool, Task};
use hone_data::{Tokenizer, Truncate};
use hone_kernels::Reference;
use hone_kernels_cpu::CpuBackend;
use hone_optim::Warmup;
use hone_tensor::SafetensorsFile;
use hone_train::recipe::{Pools, measure};
use hone_train::{
    EvalBatches, Event, Examples, Init, InitHead, JobData, KnownFeatures, Logistic, Options,
    Targets, Tokenising, TrainError, ValidSource, features, labelled, together,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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

/// The training texts as a model of that configuration reads them.
fn texts(data: &JobData, config: &Config) -> Examples {
    let tokenizer = Tokenizer::load(&folder(), config.vocabulary).unwrap();
    let how = Tokenising {
        tokenizer: &tokenizer,
        max_length: config.positions,
        truncate: Truncate::Head,
    };
    let task = Task::Classify;
    labelled(&data.train, &data.labels, task, &data.names, how)
        .unwrap()
        .0
}

/// What the choice of a pool has read, the head that begins fitted is told; runs after it too, and the weights are those of a
/// run that reads everything itself.
#[test]
fn texts_are_read_once_for_the_pool_and_for_the_head() {
    let data = data(ValidSource::None);
    let mut config = Config::read(&Config::path_in(&folder())).unwrap();
    let examples = texts(&data, &config);
    let backend = Arc::new(CpuBackend::new(1));
    let known = KnownFeatures::default();
    // Texts that were read before the first step, at least: those that its batches told of.
    let readings = |record: &Record| {
        let before = record
            .events
            .iter()
            .take_while(|e| !matches!(e, Event::Step(_)));
        before
            .filter(|e| matches!(e, Event::Evaluating { .. }))
            .count()
    };
    let mut record = Record::default();
    config.pool = Pool::Cls;
    let found = measure(
        backend.clone(),
        &folder(),
        config,
        Task::Classify,
        data.labels.names(),
        &examples,
        &together(&data.train),
        0,
        &known,
        &mut record,
        &AtomicBool::new(false),
    );
    let Some(Pools::Scores(scores)) = found.unwrap() else {
        panic!("400 texts tell something")
    };
    assert!(readings(&record) > 0);
    let run = |pool: Pool, seed: u64, known: Option<&KnownFeatures>| {
        let options = Options {
            max_steps: Some(3),
            init_head: InitHead::Probe,
            new_head: true,
            pool,
            seed,
            ..options()
        };
        let mut record = Record::default();
        let run = Run {
            known,
            ..Run::new(&data, &options)
        };
        let done = run.on(backend.clone(), &mut record).unwrap();
        (weights(&done), readings(&record))
    };
    let better = scores.better();
    let other = match better {
        Pool::Cls => Pool::Mean,
        Pool::Mean => Pool::Cls,
    };
    // Another seed draws the texts in another order; the other pool is read when it is asked for.
    for (pool, seed, news) in [
        (better, 0, false),
        (better, 5, false),
        (other, 0, true),
        (other, 5, false),
    ] {
        let (want, alone) = run(pool, seed, None);
        let (got, told) = run(pool, seed, Some(&known));
        assert!(alone > 0);
        assert_eq!(told > 0, news, "{}, seed {seed}", pool.name());
        assert!(got == want, "{}, seed {seed}", pool.name());
    }
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
        let examples = texts(&data, &config);
        let labels = data.labels.names().to_vec();
        let backend = Arc::new(R::default());
        let head = HeadChoice::New;
        let (model, _) =
            Model::load_as(backend, config, &folder(), Task::Classify, labels, &head, 0).unwrap();
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
