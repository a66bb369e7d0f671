//! A head that begins fitted: a regression of the labels on what the encoder says of the training texts before it is
//! trained. Logistic for classes (of tagged words too), one logistic for each label of several, ridge for values.

use crate::evaluate::EvalBatches;
use crate::events::{Event, Sink};
use crate::examples::Targets;
use crate::features::word_features;
use crate::known::KnownFeatures;
use crate::linear::Linear;
use crate::penalty::{DEAR, FOLDS, Fold, Penalty, fold};
use crate::wanted::Wanted;
use crate::{Examples, Features, TrainError, features};
use hone_bert::{Model, Pool, Units};
use hone_data::folds;
use hone_kernels::Backend;
use hone_tensor::{Depth, permutation};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Most training texts (or tagged words) a head is fitted to; more tell it little, and cost a forward pass each.
const MOST_PROBED: usize = 4000;
/// The pooler that stands for features of deviation 1: tanh of half of them is nearly a line for most.
const HALF: f64 = 0.5;

/// What a head is fitted to.
struct Probed {
    features: Features,
    wanted: Wanted,
    /// Those of the values.
    units: Units,
    /// What its rows are, in words.
    rows: &'static str,
}

/// Sets the classifier (and, under `[CLS]`, the pooler) to a regression on frozen features; says how. `None` where the
/// user asked to stop.
pub(crate) fn fit_head<B: Backend>(
    model: &mut Model<B>,
    pretrained: &mut [bool],
    train: &Examples,
    known: Option<&KnownFeatures>,
    seed: u64,
    sink: &mut dyn Sink,
    stop: &AtomicBool,
) -> Result<Option<String>, TrainError> {
    let Some(mut probed) = probe(model, train, known, seed, sink, stop)? else {
        return Ok(None);
    };
    let table = model.layout().table.clone();
    if model.task().pools() && model.config().pool == Pool::Cls {
        // A pooler that was trained for something else hides what the encoder knows: it begins as (nearly) nothing
        // but a scale for each channel.
        let (weight, bias) = scales(&mut probed.features);
        for (row, param) in table.params().iter().enumerate() {
            if param.depth == Depth::Pooler {
                let values = match param.shape.len() {
                    1 => &bias,
                    _ => &weight,
                };
                model.set(row, values)?;
                pretrained[row] = false;
            }
        }
    }
    let Probed {
        features,
        wanted,
        units,
        rows: what,
    } = probed;
    let outputs = model.classes();
    let penalty = strongest(&features, &wanted, outputs, seed)?;
    let rows: Vec<u32> = (0..features.rows as u32).collect();
    let c = penalty.strength / rows.len().max(1) as f64;
    let loss = |row: usize, outputs: &mut [f64]| wanted.loss(row, outputs);
    let fitted = Linear::fit(&features, &rows, outputs, c, loss);
    let (mut weight, mut bias) = fitted.plain();
    if let Wanted::Values(_) = wanted {
        let head = model.units();
        let scale = units.deviation / head.deviation;
        let back = |x: f32| (f64::from(x) * scale) as f32;
        weight.iter_mut().for_each(|w| *w = back(*w));
        bias.iter_mut()
            .for_each(|b| *b = back(*b) + head.output(units.mean) as f32);
    }
    for (row, param) in table.params().iter().enumerate() {
        if param.depth == Depth::Head {
            let values = match param.shape.len() {
                1 => &bias,
                _ => &weight,
            };
            model.set(row, values)?;
        }
    }
    Ok(Some(format!(
        "the head begins as a {} regression on {} {what}, as the encoder reads them now: out of fold {} (C = {c:.1e})",
        match wanted {
            Wanted::Values(_) => "ridge",
            _ => "logistic",
        },
        rows.len(),
        wanted.words(wanted.agreement(&penalty.said)),
    )))
}

/// Frozen features of drawn training texts, or words, and what they should be answered with.
fn probe<B: Backend>(
    model: &Model<B>,
    train: &Examples,
    known: Option<&KnownFeatures>,
    seed: u64,
    sink: &mut dyn Sink,
    stop: &AtomicBool,
) -> Result<Option<Probed>, TrainError> {
    let drawn = permutation(train.len(), seed, 0).into_iter();
    let started = Instant::now();
    let reading = |total: usize| {
        move |sink: &mut dyn Sink, rows: usize| {
            sink.event(&Event::Evaluating {
                rows,
                total,
                seconds: started.elapsed().as_secs_f64(),
            });
            !stop.load(Ordering::SeqCst)
        }
    };
    if let Targets::Tags { tokens, .. } = &train.targets {
        let mut words = 0;
        let chosen: Vec<u32> = drawn
            .take_while(|&i| {
                let wanted = words < MOST_PROBED;
                words += tokens[train.span(i as usize)].iter().flatten().count();
                wanted
            })
            .collect();
        let part = train.select(&chosen);
        let progress = reading(part.len());
        let batches = EvalBatches::USUAL;
        let read = word_features(model, &part, batches, |rows| progress(sink, rows))?;
        return Ok(read.map(|(features, classes)| Probed {
            features,
            wanted: Wanted::Classes(classes),
            units: Units::PLAIN,
            rows: "words",
        }));
    }
    let answered = |i: &u32| Wanted::known(&train.targets, *i);
    let chosen: Vec<u32> = drawn.filter(answered).take(MOST_PROBED).collect();
    let (wanted, units) = Wanted::of(&train.targets, &chosen);
    let part = train.select(&chosen);
    let progress = reading(part.len());
    let pool = model.config().pool;
    let batches = EvalBatches::USUAL;
    let progress = |rows| progress(sink, rows);
    let read = match known {
        Some(known) => known.features(model, &part, pool, batches, progress)?,
        None => features(model, &part, pool, batches, progress)?,
    };
    Ok(read.map(|features| Probed {
        features,
        wanted,
        units,
        rows: "texts",
    }))
}

/// The pooler's matrix and bias that bring each channel to deviation ½, `tanh` behind it; `features` then are what it
/// gives.
pub(crate) fn scales(features: &mut Features) -> (Vec<f32>, Vec<f32>) {
    let (n, hidden) = (features.rows.max(1) as f64, features.hidden);
    let mut weight = vec![0.0; hidden * hidden];
    let mut bias = vec![0.0; hidden];
    for h in 0..hidden {
        let column = || (0..features.rows).map(|r| f64::from(features.row(r)[h]));
        let mean = column().sum::<f64>() / n;
        let variance = column().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
        let scale = match variance.sqrt() {
            d if d > 1e-8 => HALF / d,
            _ => 0.0,
        };
        weight[h * hidden + h] = scale as f32;
        bias[h] = (-mean * scale) as f32;
    }
    for row in features.values.chunks_exact_mut(hidden) {
        for (h, x) in row.iter_mut().enumerate() {
            *x = (weight[h * hidden + h] * *x + bias[h]).tanh();
        }
    }
    (weight, bias)
}

/// The best penalty of a fit to all rows, judged on rows held out of others.
fn strongest(
    features: &Features,
    wanted: &Wanted,
    outputs: usize,
    seed: u64,
) -> Result<Penalty, TrainError> {
    let all = wanted.rows();
    let keys: Vec<Vec<String>> = (0..all).map(|i| vec![i.to_string()]).collect();
    let mut parts = match all {
        0 | 1 => Vec::new(),
        rows => folds(&keys, &wanted.strata(), FOLDS.min(rows), seed)?,
    };
    if all * outputs > DEAR {
        parts.truncate(1);
    }
    let folds: Vec<Fold> = parts.into_iter().map(|held| fold(all, held)).collect();
    Ok(Penalty::best(features, wanted, outputs, &folds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Logistic, sigmoid};
    use hone_tensor::Philox;

    const ROWS: usize = 30;
    const HIDDEN: usize = 4;

    fn unit(a: usize, b: usize) -> f64 {
        (Philox::new(3).u64_at(a as u64, b as u64) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn drawn() -> Features {
        let number = |i: usize| (3.0 * unit(i / HIDDEN, i % HIDDEN) + (i % HIDDEN) as f64) as f32;
        Features {
            rows: ROWS,
            hidden: HIDDEN,
            values: (0..ROWS * HIDDEN).map(number).collect(),
        }
    }

    fn fitted(wanted: &Wanted, outputs: usize, c: f64) -> Linear {
        let rows: Vec<u32> = (0..ROWS as u32).collect();
        let loss = |row: usize, z: &mut [f64]| wanted.loss(row, z);
        Linear::fit_from(&drawn(), &rows, outputs, c, 1e-9, None, loss)
    }

    /// Each label by itself is a regression of two classes, whose penalty counts twice.
    #[test]
    fn labels_of_sets_are_regressions_of_their_own() {
        let has = |row: usize, label: u32| unit(row, 50 + label as usize) < 0.4;
        let sets: Vec<Vec<u32>> = (0..ROWS)
            .map(|r| (0..3).filter(|&l| has(r, l)).collect())
            .collect();
        let all = fitted(&Wanted::Sets(sets), 3, 0.6);
        let rows: Vec<u32> = (0..ROWS as u32).collect();
        for label in 0..3 {
            let classes: Vec<usize> = (0..ROWS).map(|r| usize::from(has(r, label))).collect();
            let alone = Logistic::fit(&drawn(), &rows, &classes, 2, 0.3);
            for r in 0..ROWS {
                let got = sigmoid(all.of(drawn().row(r))[label as usize]);
                let want = alone.probabilities(drawn().row(r))[1];
                assert!(
                    (got - want).abs() < 1e-4,
                    "row {r}, label {label}: {got}, {want}"
                );
            }
        }
    }

    /// The normal equations hold: C·Σ (ŷ − y)·x + w = 0, and Σ (ŷ − y) = 0.
    #[test]
    fn values_are_a_ridge_regression() {
        let y: Vec<f64> = (0..ROWS).map(|r| unit(r, 90) - 0.5 + unit(r, 1)).collect();
        let c = 0.2;
        let ridge = fitted(&Wanted::Values(y.clone()), 1, c);
        for h in 0..=HIDDEN {
            let mut slope = match h < HIDDEN {
                true => ridge.weight(h, 0),
                false => 0.0,
            };
            for (r, y) in y.iter().enumerate() {
                let x = ridge.standard(drawn().row(r));
                let apart = ridge.of(drawn().row(r))[0] - y;
                slope += c * apart * x.get(h).copied().unwrap_or(1.0);
            }
            assert!(slope.abs() < 1e-6, "weight {h}: {slope}");
        }
        assert!(ridge.weight(1, 0) > 0.05);
    }
}
