//! How strongly a probe is to be held back: the penalty whose loss on rows held out is least.

use crate::Features;
use crate::linear::{Linear, ROUGH};
use crate::wanted::Wanted;
use rayon::prelude::*;

/// Inverse penalties times the number of rows, weak last: what is best moves little with their number.
const STRENGTHS: [f64; 6] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0];

/// Folds of the choice among them.
pub(crate) const FOLDS: usize = 5;
/// Where fitting is dear (rows times outputs), one fold alone is judged.
pub(crate) const DEAR: usize = 20_000;

/// Rows to fit, and rows to judge.
pub(crate) type Fold = (Vec<u32>, Vec<u32>);

/// Of so many rows those that are held out, in order, to judge and the others to fit.
pub(crate) fn fold(rows: usize, held: Vec<u32>) -> Fold {
    let others = (0..rows as u32).filter(|r| held.binary_search(r).is_err());
    (others.collect(), held)
}

/// A penalty and what it is worth.
pub(crate) struct Penalty {
    /// Its inverse, times the number of rows fitted.
    pub strength: f64,
    /// Mean loss of the rows judged.
    pub loss: f64,
    /// Outputs of each of them.
    pub said: Vec<(u32, Vec<f64>)>,
}

impl Penalty {
    /// The best one over these folds; the strongest where there are none.
    pub fn best(features: &Features, wanted: &Wanted, outputs: usize, folds: &[Fold]) -> Penalty {
        let loss = |row: usize, outputs: &mut [f64]| wanted.loss(row, outputs);
        let mut best = Penalty {
            strength: STRENGTHS[0],
            loss: f64::INFINITY,
            said: Vec::new(),
        };
        // A fold's fit begins where the stronger penalty left it.
        let mut last: Vec<Option<Linear>> = vec![None; folds.len()];
        for strength in STRENGTHS {
            let each: Vec<Vec<(u32, Vec<f64>)>> = folds
                .par_iter()
                .zip(&mut last)
                .map(|((fitted, judged), last)| {
                    let c = strength / fitted.len().max(1) as f64;
                    let from = last.as_ref();
                    let probe = Linear::fit_from(features, fitted, outputs, c, ROUGH, from, loss);
                    let say = |&r: &u32| (r, probe.of(features.row(r as usize)));
                    let said = judged.iter().map(say).collect();
                    *last = Some(probe);
                    said
                })
                .collect();
            // In order, so that threads change no bit.
            let said = each.concat();
            let losses = said.iter().map(|(r, z)| loss(*r as usize, &mut z.clone()));
            let mean = losses.sum::<f64>() / said.len().max(1) as f64;
            if mean < best.loss {
                best = Penalty {
                    strength,
                    loss: mean,
                    said,
                };
            } else {
                // Weaker penalties only overfit more.
                break;
            }
        }
        best
    }
}
