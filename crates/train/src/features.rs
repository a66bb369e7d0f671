//! Features of a frozen encoder: one row of hidden states a text, for probes and for heads that begin fitted.

use crate::batches::cut;
use crate::{EvalBatches, Examples, Targets, TrainError};
use hone_bert::{Model, Pool, RowSet};
use hone_kernels::Backend;
use hone_tensor::Real;

/// A matrix `[rows, hidden]`, row-major, in the examples' order.
#[derive(Clone, PartialEq)]
pub struct Features {
    /// Number of texts.
    pub rows: usize,
    /// Width of a row.
    pub hidden: usize,
    /// `[rows, hidden]`.
    pub values: Vec<f32>,
}

hone_tensor::brief_debug! { [] Features, |x| rows: x.rows, hidden: x.hidden }

impl Features {
    /// Row `i`, `[hidden]`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.hidden..][..self.hidden]
    }
}

/// The last layer's hidden states of each example, pooled; no dropout, whatever head the model has. States that are no
/// numbers are an error. `progress` hears how many examples are done; `None` where it asked to stop.
///
/// Batches change no value: no row depends on the other rows of a batch.
pub fn features<B: Backend>(
    model: &Model<B>,
    examples: &Examples,
    pool: Pool,
    batches: EvalBatches,
    progress: impl FnMut(usize) -> bool,
) -> Result<Option<Features>, TrainError> {
    let all = features_each(model, examples, &[pool], batches, progress)?;
    Ok(all.and_then(|mut all| all.pop()))
}

/// As [`features`] for several ways of pooling, in one pass through the encoder.
pub fn features_each<B: Backend>(
    model: &Model<B>,
    examples: &Examples,
    pools: &[Pool],
    batches: EvalBatches,
    mut progress: impl FnMut(usize) -> bool,
) -> Result<Option<Vec<Features>>, TrainError> {
    let hidden = model.config().hidden;
    let mut out = vec![
        Features {
            rows: examples.len(),
            hidden,
            values: Vec::with_capacity(examples.len() * hidden),
        };
        pools.len()
    ];
    if examples.is_empty() {
        return Ok(Some(out));
    }
    // The mean reads every token of the last layer; [CLS] alone spares most of it.
    let rows = match pools.contains(&Pool::Mean) {
        true => RowSet::All,
        false => RowSet::First,
    };
    let mut acts = model.plan_hidden(batches.limits(examples), rows)?;
    let order: Vec<u32> = (0..examples.len() as u32).collect();
    let mut states = Vec::new();
    let mut sum = vec![0f64; hidden];
    let mut done = 0;
    for part in cut(examples, &order, batches.rows, batches.tokens) {
        model.hidden(&mut acts, &examples.batch(part), &mut states)?;
        let mut at = 0;
        for &i in part {
            let tokens = match rows {
                RowSet::All => examples.length(i as usize),
                RowSet::First => 1,
            };
            let own = &states[at * hidden..(at + tokens) * hidden];
            at += tokens;
            for (pool, out) in pools.iter().zip(&mut out) {
                let before = out.values.len();
                match pool {
                    Pool::Cls => out
                        .values
                        .extend(own[..hidden].iter().map(|x| x.to_f64() as f32)),
                    Pool::Mean => {
                        sum.fill(0.0);
                        for token in own.chunks_exact(hidden) {
                            sum.iter_mut()
                                .zip(token)
                                .for_each(|(s, x)| *s += x.to_f64());
                        }
                        let mean = sum.iter().map(|s| (s / tokens as f64) as f32);
                        out.values.extend(mean);
                    }
                }
                finite(&out.values[before..], examples.rows[i as usize])?;
            }
        }
        done += part.len();
        if !progress(done) {
            return Ok(None);
        }
    }
    Ok(Some(out))
}

/// Refuses states of a row's text that are no numbers: nothing can be fitted to them.
fn finite(states: &[f32], row: usize) -> Result<(), TrainError> {
    match states.iter().find(|x| !x.is_finite()) {
        Some(&value) => Err(TrainError::Feature { row, value }),
        None => Ok(()),
    }
}

/// The last layer's hidden states of every tagged word (its first piece), and the words' classes; words whose tag the model
/// does not know are left out. `progress` as in [`features`].
pub(crate) fn word_features<B: Backend>(
    model: &Model<B>,
    examples: &Examples,
    batches: EvalBatches,
    mut progress: impl FnMut(usize) -> bool,
) -> Result<Option<(Features, Vec<usize>)>, TrainError> {
    let hidden = model.config().hidden;
    let (mut values, mut classes) = (Vec::new(), Vec::new());
    if let (Targets::Tags { tokens, .. }, false) = (&examples.targets, examples.is_empty()) {
        let mut acts = model.plan_hidden(batches.limits(examples), RowSet::All)?;
        let order: Vec<u32> = (0..examples.len() as u32).collect();
        let mut states = Vec::new();
        let mut done = 0;
        for part in cut(examples, &order, batches.rows, batches.tokens) {
            model.hidden(&mut acts, &examples.batch(part), &mut states)?;
            let tagged = part.iter().flat_map(|&i| {
                let own = &tokens[examples.span(i as usize)];
                own.iter().map(move |class| (i, class))
            });
            for ((i, class), state) in tagged.zip(states.chunks_exact(hidden)) {
                if let Some(class) = class {
                    let before = values.len();
                    classes.push(*class as usize);
                    values.extend(state.iter().map(|x| x.to_f64() as f32));
                    finite(&values[before..], examples.rows[i as usize])?;
                }
            }
            done += part.len();
            if !progress(done) {
                return Ok(None);
            }
        }
    }
    let features = Features {
        rows: classes.len(),
        hidden,
        values,
    };
    Ok(Some((features, classes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_bert::{Config, Pass, Task};
    use hone_kernels::Reference;
    use std::sync::Arc;

    const LENGTHS: [usize; 6] = [5, 1, 17, 3, 9, 2];

    fn model(task: Task) -> Model<Reference<f64>> {
        let mut config = Config::with_shape(16, 3, 2, 32, 50);
        config.initializer_range = 0.2;
        let labels = vec!["a".to_owned(), "b".to_owned()];
        let backend = Arc::new(Reference::default());
        Model::random(backend, config, task, labels, 3).unwrap().0
    }

    fn examples(task: Task) -> Examples {
        let mut all = Examples::new(task);
        for (i, &n) in LENGTHS.iter().enumerate() {
            let ids: Vec<u32> = (0..n).map(|t| ((7 * i + 3 * t) % 50) as u32).collect();
            all.push(i as u64, i + 1, &ids, &vec![0; n]);
        }
        all
    }

    fn close(got: &[f32], want: impl Iterator<Item = f64>) {
        for (got, want) in got.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{got}, not {want}");
        }
    }

    /// Both poolings, cut into several batches, against the activations that `bert` compares with transformers.
    #[test]
    fn rows_are_the_last_layers_output_whatever_the_head() {
        let tagger = model(Task::Tag);
        let all = examples(Task::Tag);
        let index: Vec<u32> = (0..all.len() as u32).collect();
        let limits = EvalBatches {
            rows: 99,
            tokens: 999,
        }
        .limits(&all);
        let grads = tagger.layout().table.grad_layout(|_| true);
        let mut acts = tagger.plan_train(limits, &grads).unwrap();
        let batch = all.batch(&index);
        tagger.forward(&mut acts, &batch, &Pass::eval()).unwrap();
        let named = tagger.activations(&mut acts).unwrap();
        let last = named.iter().find(|a| a.name == "layer.2.output").unwrap();

        // The encoder's weights are drawn from the seed and the place, not from the head.
        let classifier = model(Task::Classify);
        let few = EvalBatches {
            rows: 2,
            tokens: 18,
        };
        let both = [Pool::Mean, Pool::Cls];
        for m in [&tagger, &classifier] {
            let got = features_each(m, &all, &both, few, |_| true).unwrap();
            let got = got.unwrap();
            let mut at = 0;
            for (i, &n) in LENGTHS.iter().enumerate() {
                let own = &last.values[16 * at..16 * (at + n)];
                let mean = |h: usize| (0..n).map(|t| own[16 * t + h]).sum::<f64>() / n as f64;
                close(got[0].row(i), (0..16).map(mean));
                close(got[1].row(i), own[..16].iter().copied());
                at += n;
            }
            let cls = features(m, &all, Pool::Cls, few, |_| true).unwrap();
            assert_eq!(cls.unwrap(), got[1], "first rows alone are the same");
        }
        let stopped = features(&tagger, &all, Pool::Mean, few, |done| done < 3);
        assert_eq!(stopped.unwrap(), None);

        // Words: every third token has a class.
        let mut tagged = all.clone();
        let class = |t: usize| (t % 3 == 1).then_some((t / 3 % 2) as u32);
        if let Targets::Tags { tokens, .. } = &mut tagged.targets {
            *tokens = (0..LENGTHS.iter().sum()).map(class).collect();
        }
        let words = word_features(&tagger, &tagged, few, |_| true).unwrap();
        let (read, classes) = words.unwrap();
        let with: Vec<usize> = (0..LENGTHS.iter().sum())
            .filter(|&t| class(t).is_some())
            .collect();
        assert_eq!(read.rows, with.len());
        for (row, &t) in with.iter().enumerate() {
            assert_eq!(Some(classes[row] as u32), class(t));
            close(
                read.row(row),
                last.values[16 * t..16 * (t + 1)].iter().copied(),
            );
        }
    }

    /// A text that holds a damaged word is named, however the states are read.
    #[test]
    fn states_that_are_no_numbers_are_an_error_that_names_the_row() {
        let mut tagger = model(Task::Tag);
        let mut all = examples(Task::Tag);
        if let Targets::Tags { tokens, .. } = &mut all.targets {
            *tokens = vec![Some(0); LENGTHS.iter().sum()];
        }
        let table = tagger.layout().table.clone();
        let words = |name: &str| name.ends_with("word_embeddings.weight");
        let index = table.params().iter().position(|p| words(&p.name)).unwrap();
        let mut weights = tagger.download().unwrap().swap_remove(index);
        // The second word of the fourth text alone.
        weights[16 * 24] = f32::NAN;
        tagger.set(index, &weights).unwrap();
        let few = EvalBatches {
            rows: 2,
            tokens: 18,
        };
        let [mean, cls] =
            [Pool::Mean, Pool::Cls].map(|pool| features(&tagger, &all, pool, few, |_| true).err());
        let tagged = word_features(&tagger, &all, few, |_| true).err();
        for said in [mean, cls, tagged] {
            let said = said.unwrap().to_string();
            assert!(said.starts_with("row 4: the encoder makes NaN"), "{said}");
        }
    }
}
