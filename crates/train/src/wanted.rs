//! What each row should be answered with, whatever the task: the loss of a row's outputs with its derivatives, and how well
//! outputs agree.

use crate::examples::Targets;
use crate::logistic::cross_entropy;
use crate::metrics::{given, pearson};
use crate::{argmax, sigmoid, softmax};
use hone_bert::Units;

/// What each row should be answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
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

/// Of a text's labels: those that its outputs give too, and those it has plus those given. F1 is twice the first by the
/// second.
pub fn shared(labels: &[u32], outputs: &[f64]) -> [usize; 2] {
    let answered = (0..outputs.len() as u32).filter(|&l| given(outputs[l as usize]));
    let both = answered.clone().filter(|l| labels.contains(l)).count();
    [both, answered.count() + labels.len()]
}

impl Wanted {
    /// Whether a text's answer is known.
    pub(crate) fn known(targets: &Targets, row: u32) -> bool {
        match targets {
            Targets::Classes(all) => all[row as usize].is_some(),
            Targets::Sets { .. } | Targets::Values(_) => true,
            Targets::Tags { .. } | Targets::Masked(_) => false,
        }
    }

    /// Of texts whose answers are known; with the units that values have now.
    pub(crate) fn of(targets: &Targets, rows: &[u32]) -> (Wanted, Units) {
        let whole = Units::PLAIN;
        match targets {
            Targets::Sets { sets: all, .. } => {
                let sets = rows.iter().map(|&i| all[i as usize].clone());
                (Wanted::Sets(sets.collect()), whole)
            }
            Targets::Values(all) => {
                Wanted::values(rows.iter().map(|&i| f64::from(all[i as usize])))
            }
            Targets::Classes(all) => {
                let classes = rows.iter().filter_map(|&i| all[i as usize]);
                (
                    Wanted::Classes(classes.map(|c| c as usize).collect()),
                    whole,
                )
            }
            Targets::Tags { .. } | Targets::Masked(_) => (Wanted::Classes(Vec::new()), whole),
        }
    }

    /// Values in units of their own mean and deviation, and these.
    pub fn values(values: impl Iterator<Item = f64> + Clone) -> (Wanted, Units) {
        let units = Units::of(values.clone());
        let brought = values.map(|x| units.output(x)).collect();
        (Wanted::Values(brought), units)
    }

    /// Loss of a row with these outputs, which become its derivatives.
    pub fn loss(&self, row: usize, outputs: &mut [f64]) -> f64 {
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

    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Wanted::Classes(all) => all.len(),
            Wanted::Sets(all) => all.len(),
            Wanted::Values(all) => all.len(),
        }
    }

    /// Labels that are to be spread alike over folds.
    pub fn strata(&self) -> Vec<Vec<u32>> {
        match self {
            Wanted::Classes(all) => all.iter().map(|&c| vec![c as u32]).collect(),
            Wanted::Sets(all) => all.clone(),
            Wanted::Values(all) => vec![Vec::new(); all.len()],
        }
    }

    /// How well outputs of rows that were held out fit; at most 1.
    pub(crate) fn agreement(&self, said: &[(u32, Vec<f64>)]) -> f64 {
        match self {
            Wanted::Classes(all) => {
                let right = said
                    .iter()
                    .filter(|(r, z)| argmax(&softmax(z)) == all[*r as usize]);
                right.count() as f64 / said.len().max(1) as f64
            }
            Wanted::Sets(all) => {
                let (mut both, mut either) = (0usize, 0usize);
                for (r, z) in said {
                    let [shared, sum] = shared(&all[*r as usize], z);
                    both += shared;
                    either += sum;
                }
                2.0 * both as f64 / either.max(1) as f64
            }
            Wanted::Values(all) => {
                let pairs = said.iter().map(|(r, z)| (z[0], all[*r as usize]));
                let (z, y): (Vec<f64>, Vec<f64>) = pairs.unzip();
                pearson(&z, &y)
            }
        }
    }

    /// An agreement in words.
    pub(crate) fn words(&self, agreement: f64) -> String {
        match self {
            Wanted::Classes(_) => format!("{agreement:.3} right"),
            Wanted::Sets(_) => format!("micro-F1 {agreement:.3}"),
            Wanted::Values(_) => format!("correlation {agreement:.3}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let right = classes.agreement(&said(&[1.0, 0.0, 1.0, 0.0, 0.0, 2.0]));
        assert_eq!(classes.words(right), "0.667 right");
        // Given 0; 0 and 1; none. Said 0 and 1; 1; none: two of both, three and three.
        let sets = Wanted::Sets(vec![vec![0], vec![0, 1], vec![]]);
        let micro = sets.agreement(&said(&[1.0, 0.5, -1.0, 2.0, -3.0, -0.1]));
        assert_eq!(sets.words(micro), "micro-F1 0.667");
        let values = Wanted::Values(vec![1.0, 2.0, 3.0]);
        let line = values.agreement(&[(0, vec![5.0]), (1, vec![7.0]), (2, vec![9.0])]);
        assert_eq!(values.words(line), "correlation 1.000");
    }
}
