//! Values far from 0: learned in units of their own mean and deviation, answered as they are.

use crate::common::{Record, Run, distance, folder, largest, options, weights};
use hone_bert::{HeadChoice, Model, Pool, Task, Units};
use hone_data::{Columns, TaskKind, Tokenizer, Truncate};
use hone_kernels::Reference;
use hone_optim::Warmup;
use hone_train::{
    Cadence, DataSource, EvalBatches, InitHead, JobData, Options, Select, Standardize, Targets,
    Tokenising, ValidSource, labelled, read_set,
};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

type R = Reference<f64>;

/// The fixture's texts with their number of words as a value, in units in which `mean` is 0 and `deviation` 1.
fn data(folder_of: &Path, units: Units) -> JobData {
    let path = folder_of.join("values.csv");
    let text = std::fs::read_to_string(folder().join("train.csv")).unwrap();
    let rows = text.lines().skip(1).map(|line| {
        let (text, _) = line.rsplit_once(',').unwrap();
        let value = units.output(text.split(' ').count() as f64);
        format!("{text},{value}\n")
    });
    std::fs::write(&path, format!("text,label\n{}", rows.collect::<String>())).unwrap();
    DataSource {
        data: path,
        valid: ValidSource::Fraction(0.25),
        test: None,
        columns: Columns::default(),
        kind: Some(TaskKind::Regress),
        split_seed: 0,
    }
    .read()
    .unwrap()
}

fn regressing(standardize: Standardize) -> Options {
    Options {
        max_steps: Some(12),
        metric: "rmse".to_owned(),
        standardize,
        ..options()
    }
}

/// Values a hundred times as far apart, around 2000.
const FAR: Units = Units {
    mean: -20.0,
    deviation: 0.01,
};

/// A run on values in their own units is the run on values that somebody brought to these beforehand: the same body, a head
/// that answers the one in the units of the other, losses in the units of its values.
#[test]
fn standardising_is_what_one_would_do_to_the_file() {
    let files = tempfile::tempdir().unwrap();
    let far = data(files.path(), FAR);
    let (auto, never) = (
        regressing(Standardize::Auto),
        regressing(Standardize::Never),
    );
    let mut by_hone = Record::default();
    let learned = Run::new(&far, &auto)
        .on(Arc::new(R::default()), &mut by_hone)
        .unwrap();
    assert_eq!(learned.model.units(), Units::PLAIN);
    // The training part's own, from what was read.
    let (examples, _) = labelled_of(&far);
    let Targets::Values(values) = &examples.targets else {
        panic!("values")
    };
    let units = Units::of(values.iter().map(|&v| f64::from(v)));
    assert!(units.mean > 1000.0 && units.deviation > 100.0, "{units:?}");

    let whole = Units {
        mean: FAR.value(units.mean),
        deviation: FAR.deviation * units.deviation,
    };
    let near = data(files.path(), whole);
    let mut by_hand = Record::default();
    let wanted = Run::new(&near, &never)
        .on(Arc::new(R::default()), &mut by_hand)
        .unwrap();
    let losses: Vec<f64> = by_hand.losses.iter().map(|x| x * units.squared()).collect();
    let close = |a: &[f64], b: &[f64]| distance(a, b) < 1e-6 * largest(b);
    assert!(
        close(&by_hone.losses, &losses),
        "{:?} {losses:?}",
        by_hone.losses
    );
    assert!(close(&by_hone.norms, &by_hand.norms));
    let wanted: HashMap<String, Vec<f64>> = weights(&wanted).into_iter().collect();
    for (name, values) in weights(&learned) {
        let mut want = wanted[&name].clone();
        match &name[..] {
            "classifier.weight" => want.iter_mut().for_each(|w| *w *= units.deviation),
            "classifier.bias" => want.iter_mut().for_each(|b| *b = units.value(*b)),
            _ => {}
        }
        assert!(
            distance(&values, &want) < 1e-6 * largest(&want).max(1e-3),
            "{name}"
        );
    }
}

fn labelled_of(data: &JobData) -> (hone_train::Examples, hone_train::TextReceipt) {
    let config = hone_bert::Config::read(&hone_bert::Config::path_in(&folder())).unwrap();
    let tokenizer = Tokenizer::load(&folder(), config.vocabulary).unwrap();
    let how = Tokenising {
        tokenizer: &tokenizer,
        max_length: config.positions,
        truncate: Truncate::Head,
    };
    labelled(&data.train, &data.labels, Task::Regress, &data.names, how).unwrap()
}

/// The saved head answers the values themselves, and so does the same one in other units.
#[test]
fn what_is_said_is_said_of_the_model_that_is_saved() {
    let files = tempfile::tempdir().unwrap();
    let far = data(files.path(), FAR);
    let options = Options {
        max_steps: Some(90),
        eval_every: Cadence::Steps(30),
        select: Select::Best,
        ..regressing(Standardize::Auto)
    };
    let out = files.path().join("run");
    let first = Run {
        out: Some(&out),
        ..Run::new(&far, &options)
    };
    let done = first
        .on(Arc::new(R::default()), &mut Record::default())
        .unwrap();
    let said = done.summary.valid.unwrap().metrics;
    let (model, _) = Model::open(Arc::new(R::default()), &out).unwrap();
    let (examples, _) = labelled_of(&JobData {
        train: far.valid.clone().unwrap(),
        ..far.clone()
    });
    let batches = EvalBatches::USUAL;
    let mut acts = model.plan_eval(batches.limits(&examples)).unwrap();
    let read = read_set(&model, &mut acts, &examples, batches, |_| true)
        .unwrap()
        .unwrap();
    let rmse = said.value("rmse").unwrap();
    // Weights are saved as f32.
    assert!((read.metrics.value("rmse").unwrap() - rmse).abs() < 1e-4 * rmse);
    // The values' own deviation is over 500, their mean near 3000.
    assert!(rmse < 450.0, "{rmse}");

    // The same values in other units: nothing but the rounding of two numbers changes.
    let labels = model.labels().to_vec();
    let choice = HeadChoice::Matching(labels.clone());
    let load = || {
        Model::load(
            Arc::new(R::default()),
            &out,
            Task::Regress,
            labels.clone(),
            &choice,
            0,
        )
    };
    let (mut other, _) = load().unwrap();
    other
        .restate_in(Units::of([2000.0, 3000.0].into_iter()))
        .unwrap();
    let again = read_set(&other, &mut acts, &examples, batches, |_| true)
        .unwrap()
        .unwrap();
    let [a, b] = [&read, &again].map(|r| r.metrics.value("rmse").unwrap());
    assert!((a - b).abs() < 1e-9 * a, "{a} {b}");
}

/// Interrupted anywhere, the same bits.
#[test]
fn resumed_it_is_the_same_run() {
    let files = tempfile::tempdir().unwrap();
    let far = data(files.path(), FAR);
    let options = Options {
        max_steps: Some(12),
        eval_every: Cadence::Steps(4),
        select: Select::Best,
        ..regressing(Standardize::Auto)
    };
    let whole = Run::new(&far, &options)
        .on(
            Arc::new(Reference::<f32>::default()),
            &mut Record::default(),
        )
        .unwrap();
    let out = files.path().join("run");
    let cut = Run {
        out: Some(&out),
        ..Run::new(&far, &options)
    };
    let mut record = Record {
        stop_after: Some(6),
        ..Record::default()
    };
    cut.on(Arc::new(Reference::<f32>::default()), &mut record)
        .unwrap();
    let resumed = Run {
        resume: true,
        ..cut
    };
    let resumed = resumed
        .on(
            Arc::new(Reference::<f32>::default()),
            &mut Record::default(),
        )
        .unwrap();
    assert!(weights(&whole) == weights(&resumed));
    assert_eq!(
        whole.summary.valid.unwrap().metrics,
        resumed.summary.valid.unwrap().metrics
    );
}

/// Values far from 0: the regression is on what is left of them without their mean, and the head gives them whole.
#[test]
fn a_head_fitted_to_values_begins_at_their_mean() {
    let files = tempfile::tempdir().unwrap();
    let near = Units {
        mean: -100.25,
        deviation: 1.0,
    };
    let data = data(files.path(), near);
    for pool in [Pool::Mean, Pool::Cls] {
        let options = Options {
            max_steps: Some(1),
            warmup: Warmup::Steps(0),
            lr: 0.0,
            head_lr: 0.0,
            init_head: InitHead::Probe,
            pool,
            metric: "rmse".to_owned(),
            ..options()
        };
        let done = Run::new(&data, &options)
            .on(Arc::new(R::default()), &mut Record::default())
            .unwrap();
        let metrics = done.summary.valid.unwrap().metrics;
        let [rmse, pearson] = ["rmse", "pearson"].map(|name| metrics.value(name).unwrap());
        // The values' own deviation is 5.2, their mean 110.
        assert!(rmse < 5.2 && pearson > 0.5, "{pool:?}: {rmse}, {pearson}");
    }
}
