//! Which training rows are scored beside the validation rows.

use crate::Examples;
use hone_tensor::permutation;

/// Most of them.
const MOST: usize = 500;
/// At most this part of the rows that are trained on between two validations: reading a row costs about a third of
/// training on it, so the sample costs at most a fiftieth of the training.
const SHARE: f64 = 0.06;
/// In small sets so many all the same: with fewer nothing could be told, and they take a moment.
const LEAST: usize = 32;
/// A stream of its own: an epoch of the order that no run reaches.
const STREAM: u64 = u64::MAX;

/// What validations read beside the validation rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// A sample of the training rows, for the verdict on the fit.
    Sample,
    /// Nothing: a run of many, of whose fit nobody asks.
    Nothing,
}

/// A fixed sample of the training rows: a pure function of seed and numbers of rows. It is no larger than the
/// validation part. `between` are the rows trained on between two validations.
pub(crate) fn sample(train: &Examples, valid: usize, between: usize, seed: u64) -> Examples {
    let most = MOST.min((SHARE * between as f64) as usize).max(LEAST);
    let rows = most.min(valid).min(train.len());
    let mut chosen = permutation(train.len(), seed, STREAM);
    chosen.truncate(rows);
    // In the file's order, as the validation part is.
    chosen.sort_unstable();
    train.select(&chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Targets;
    use hone_bert::Task;

    #[test]
    fn a_sample_is_fixed_and_never_dear() {
        let mut train = Examples::new(Task::Regress);
        for i in 0..20_000 {
            train.push(i, i as usize + 2, &[1], &[0]);
        }
        train.targets = Targets::Values(vec![0.0; train.len()]);
        // (validation rows, rows between validations, rows of the sample).
        for (valid, between, want) in [
            (872, 20_000, 500),
            (100, 20_000, 100),
            (872, 2_000, 120),
            (50, 100, 32),
            (10, 100, 10),
            (0, 20_000, 0),
        ] {
            let rows = sample(&train, valid, between, 3).rows;
            assert_eq!(rows.len(), want, "{valid} {between}");
            assert_eq!(rows, sample(&train, valid, between, 3).rows);
            assert!(want == 0 || rows != sample(&train, valid, between, 4).rows);
            assert!(rows.windows(2).all(|w| w[0] < w[1]));
        }
    }
}
