//! A head that begins fitted: a regression of the labels on what the encoder says of the training texts before it is
//! trained. Logistic for classes (of tagged words too), one logistic for each label of several, ridge for values.

use crate::evaluate::EvalBatches;
use crate::events::{Event, Sink};
use crate::examples::Targets;
use crate::features::word_features;
use crate::linear::{EXACT, Linear, ROUGH};
use crate::logistic::cross_entropy;
use crate::metrics::pearson;
use crate::{Examples, Features, TrainError, argmax, features, sigmoid, softmax};
use hone_bert::{Model, Pool};
use hone_data::folds;
use hone_kernels::Backend;
use hone_tensor::{Depth, permutation};
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Most training texts (or tagged words) a head is fitted to; more tell it little, and cost a forward pass each.
const MOST_PROBED: usize = 4000;
/// Inverse penalties times the number of rows, weak last: what is best moves little with their number.
pub(crate) const STRENGTHS: [f64; 6] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0];
/// Folds of the choice among them.
pub(crate) const FOLDS: usize = 5;
/// Where fitting is dear (rows times outputs), one fold alone is judged.
pub(crate) const DEAR: usize = 20_000;
/// The pooler that stands for features of deviation 1: tanh of half of them is nearly a line for most.
const HALF: f64 = 0.5;

/// What each row should be answered with.
enum Wanted {
    /// One class of several.
    Classes(Vec<usize>),
    /// The labels that are given, of all.
    Sets(Vec<Vec<u32>>),
    /// A value, brought to mean 0 and deviation 1.
    Values(Vec<f64>),
}

/// ln(1 + eˣ).
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

impl Wanted {
    /// Loss of a row with these outputs, which become its derivatives.
    fn loss(&self, row: usize, outputs: &mut [f64]) -> f64 {
        match self {
            Wanted::Classes(all) => cross_entropy(all[row], outputs),
            Wanted::Sets(all) => {
                let mut loss = 0.0;
                for (label, z) in outputs.iter_mut().enumerate() {
                    let given = f64::from(all[row].contains(&(label as u32)));
                    loss += softplus(*z) - given * *z;
                    *z = sigmoid(*z) - given;
                }
                loss
            }
            Wanted::Values(all) => {
                outputs[0] -= all[row];
                0.5 * outputs[0] * outputs[0]
            }
        }
    }

    fn rows(&self) -> usize {
        match self {
            Wanted::Classes(all) => all.len(),
            Wanted::Sets(all) => all.len(),
            Wanted::Values(all) => all.len(),
        }
    }

    /// Labels that are to be spread alike over folds.
    fn strata(&self) -> Vec<Vec<u32>> {
        match self {
            Wanted::Classes(all) => all.iter().map(|&c| vec![c as u32]).collect(),
            Wanted::Sets(all) => all.clone(),
            Wanted::Values(all) => vec![Vec::new(); all.len()],
        }
    }

    /// How well outputs of rows that were held out fit, in words.
    fn agreement(&self, said: &[(u32, Vec<f64>)]) -> String {
        let rows = said.len().max(1) as f64;
        match self {
            Wanted::Classes(all) => {
                let right = said
                    .iter()
                    .filter(|(r, z)| argmax(&softmax(z)) == all[*r as usize]);
                format!("{:.3} of them right", right.count() as f64 / rows)
            }
            Wanted::Sets(all) => {
                let (mut both, mut either) = (0usize, 0usize);
                for (r, z) in said {
                    let given = &all[*r as usize];
                    let answered = (0..z.len() as u32).filter(|&l| z[l as usize] >= 0.0);
                    both += answered.clone().filter(|l| given.contains(l)).count();
                    either += answered.count() + given.len();
                }
                format!("micro-F1 {:.3}", 2.0 * both as f64 / either.max(1) as f64)
            }
            Wanted::Values(all) => {
                let pairs = said.iter().map(|(r, z)| (z[0], all[*r as usize]));
                let (z, y): (Vec<f64>, Vec<f64>) = pairs.unzip();
                format!("correlation {:.3}", pearson(&z, &y))
            }
        }
    }
}

/// What a head is fitted to.
struct Probed {
    features: Features,
    wanted: Wanted,
    /// Mean and deviation of values; of others 0 and 1.
    units: (f64, f64),
    /// What its rows are, in words.
    rows: &'static str,
}

/// Sets the classifier (and, under `[CLS]`, the pooler) to a regression on frozen features; says how. `None` where the
/// user asked to stop.
pub(crate) fn fit_head<B: Backend>(
    model: &mut Model<B>,
    pretrained: &mut [bool],
    train: &Examples,
    seed: u64,
    sink: &mut dyn Sink,
    stop: &AtomicBool,
) -> Result<Option<String>, TrainError> {
    let Some(mut probed) = probe(model, train, seed, sink, stop)? else {
        return Ok(None);
    };
    let table = model.layout().table.clone();
    if model.task.pools() && model.config.pool == Pool::Cls {
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
        units: (mean, deviation),
        rows: what,
    } = probed;
    let outputs = model.classes();
    let choice = strongest(&features, &wanted, outputs, seed)?;
    let rows: Vec<u32> = (0..features.rows as u32).collect();
    let c = choice.strength / rows.len().max(1) as f64;
    let loss = |row: usize, outputs: &mut [f64]| wanted.loss(row, outputs);
    let fitted = Linear::fit(&features, &rows, outputs, c, EXACT, None, loss);
    let (mut weight, mut bias) = fitted.plain();
    if let Wanted::Values(_) = wanted {
        let back = |x: &mut f32| *x = (f64::from(*x) * deviation) as f32;
        weight.iter_mut().chain(&mut bias).for_each(back);
        bias.iter_mut().for_each(|b| *b += mean as f32);
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
        choice.agreement,
    )))
}

/// Frozen features of drawn training texts, or words, and what they should be answered with.
fn probe<B: Backend>(
    model: &Model<B>,
    train: &Examples,
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
            units: (0.0, 1.0),
            rows: "words",
        }));
    }
    let known = |i: &u32| match &train.targets {
        Targets::Classes(all) => all[*i as usize].is_some(),
        _ => true,
    };
    let chosen: Vec<u32> = drawn.filter(known).take(MOST_PROBED).collect();
    let mut units = (0.0, 1.0);
    let wanted = match &train.targets {
        Targets::Sets(all) => {
            Wanted::Sets(chosen.iter().map(|&i| all[i as usize].clone()).collect())
        }
        Targets::Values(all) => {
            let n = chosen.len().max(1) as f64;
            let values = || chosen.iter().map(|&i| f64::from(all[i as usize]));
            let mean = values().sum::<f64>() / n;
            let variance = values().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            let deviation = variance.sqrt().max(f64::from(f32::MIN_POSITIVE));
            units = (mean, deviation);
            Wanted::Values(values().map(|x| (x - mean) / deviation).collect())
        }
        Targets::Classes(all) => {
            let classes = chosen.iter().filter_map(|&i| all[i as usize]);
            Wanted::Classes(classes.map(|c| c as usize).collect())
        }
        Targets::Tags { .. } => Wanted::Classes(Vec::new()),
    };
    let part = train.select(&chosen);
    let progress = reading(part.len());
    let pool = model.config.pool;
    let batches = EvalBatches::USUAL;
    let read = features(model, &part, pool, batches, |rows| progress(sink, rows))?;
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

struct Choice {
    strength: f64,
    agreement: String,
}

/// The strength (inverse penalty times rows) whose held-out loss is least.
fn strongest(
    features: &Features,
    wanted: &Wanted,
    outputs: usize,
    seed: u64,
) -> Result<Choice, TrainError> {
    let all = wanted.rows();
    let keys: Vec<Vec<String>> = (0..all).map(|i| vec![i.to_string()]).collect();
    let parts = match all {
        0 | 1 => Vec::new(),
        rows => folds(&keys, &wanted.strata(), FOLDS.min(rows), seed)?,
    };
    let judged = match all * outputs > DEAR {
        true => parts.len().min(1),
        false => parts.len(),
    };
    let loss = |row: usize, outputs: &mut [f64]| wanted.loss(row, outputs);
    let mut best = (f64::INFINITY, STRENGTHS[0], Vec::new());
    // A fold's fit begins where the stronger penalty left it.
    let mut last: Vec<Option<Linear>> = vec![None; judged];
    for strength in STRENGTHS {
        let each: Vec<Vec<(u32, Vec<f64>)>> = parts[..judged]
            .par_iter()
            .zip(&mut last)
            .map(|(held, last)| {
                let fitted: Vec<u32> = (0..all as u32)
                    .filter(|r| held.binary_search(r).is_err())
                    .collect();
                let c = strength / fitted.len().max(1) as f64;
                let from = last.as_ref();
                let model = Linear::fit(features, &fitted, outputs, c, ROUGH, from, loss);
                let say = |&r: &u32| (r, model.of(features.row(r as usize)));
                let said = held.iter().map(say).collect();
                *last = Some(model);
                said
            })
            .collect();
        let said = each.concat();
        let losses = said.iter().map(|(r, z)| loss(*r as usize, &mut z.clone()));
        let mean = losses.sum::<f64>() / said.len().max(1) as f64;
        if mean < best.0 {
            best = (mean, strength, said);
        } else {
            // Weaker penalties only overfit more.
            break;
        }
    }
    Ok(Choice {
        strength: best.1,
        agreement: wanted.agreement(&best.2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Logistic;
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
        Linear::fit(&drawn(), &rows, outputs, c, 1e-9, None, loss)
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

    #[test]
    fn derivatives_are_those_of_the_losses() {
        let z = [0.3, -1.2, 2.0];
        for wanted in [
            Wanted::Classes(vec![2]),
            Wanted::Sets(vec![vec![0, 2]]),
            Wanted::Values(vec![0.7]),
        ] {
            let outputs = if let Wanted::Values(_) = wanted { 1 } else { 3 };
            let at = |i: usize, d: f64| {
                let mut z = z[..outputs].to_vec();
                z[i] += d;
                wanted.loss(0, &mut z)
            };
            let mut slopes = z[..outputs].to_vec();
            wanted.loss(0, &mut slopes);
            for (i, slope) in slopes.iter().enumerate() {
                let want = (at(i, 1e-5) - at(i, -1e-5)) / 2e-5;
                assert!((slope - want).abs() < 1e-8, "{i}: {slope}, {want}");
            }
        }
    }

    #[test]
    fn agreement_by_hand() {
        let said = |z: &[f64]| -> Vec<(u32, Vec<f64>)> {
            (0..).zip(z.chunks_exact(2).map(<[f64]>::to_vec)).collect()
        };
        let classes = Wanted::Classes(vec![0, 1, 1]);
        let text = classes.agreement(&said(&[1.0, 0.0, 1.0, 0.0, 0.0, 2.0]));
        assert_eq!(text, "0.667 of them right");
        // Given 0; 0 and 1; none. Said 0 and 1; 1; none: two of both, three and three.
        let sets = Wanted::Sets(vec![vec![0], vec![0, 1], vec![]]);
        let text = sets.agreement(&said(&[1.0, 0.5, -1.0, 2.0, -3.0, -0.1]));
        assert_eq!(text, "micro-F1 0.667");
        let values = Wanted::Values(vec![1.0, 2.0, 3.0]);
        let text = values.agreement(&[(0, vec![5.0]), (1, vec![7.0]), (2, vec![9.0])]);
        assert_eq!(text, "correlation 1.000");
    }
}
