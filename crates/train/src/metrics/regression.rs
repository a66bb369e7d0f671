//! A number: squared and absolute error and two correlations. The pairs of values are kept: ranks need them all.

use serde::{Deserialize, Serialize};

/// Gold and predicted values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pairs {
    gold: Vec<f32>,
    predicted: Vec<f32>,
}

/// What the pairs say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Regression {
    /// Rows read.
    pub rows: usize,
    /// Mean squared error.
    pub loss: f64,
    /// Its root: an error in the unit of the values.
    pub root_mean_squared_error: f64,
    /// Mean absolute error.
    pub mean_absolute_error: f64,
    /// Linear correlation; 0 where labels or answers do not vary, of which there is none.
    pub pearson: f64,
    /// Rank correlation, ties sharing their mean rank; 0 likewise.
    pub spearman: f64,
}

/// The same as it is read again: files of earlier versions lack the root, which the loss says.
#[derive(Deserialize)]
struct Written {
    rows: usize,
    loss: f64,
    mean_absolute_error: f64,
    pearson: f64,
    spearman: f64,
}

impl From<Written> for Regression {
    fn from(w: Written) -> Regression {
        Regression {
            rows: w.rows,
            loss: w.loss,
            root_mean_squared_error: w.loss.sqrt(),
            mean_absolute_error: w.mean_absolute_error,
            pearson: w.pearson,
            spearman: w.spearman,
        }
    }
}

impl Pairs {
    /// Takes a row.
    pub fn add(&mut self, gold: f32, predicted: f32) {
        self.gold.push(gold);
        self.predicted.push(predicted);
    }

    /// Sums up.
    pub fn finish(&self) -> Regression {
        let n = self.gold.len().max(1) as f64;
        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let (gold, predicted) = (wide(&self.gold), wide(&self.predicted));
        let errors = || gold.iter().zip(&predicted).map(|(g, p)| g - p);
        let loss = errors().map(|e| e * e).sum::<f64>() / n;
        Regression {
            rows: gold.len(),
            loss,
            root_mean_squared_error: loss.sqrt(),
            mean_absolute_error: errors().map(f64::abs).sum::<f64>() / n,
            pearson: pearson(&gold, &predicted),
            spearman: pearson(&ranks(&gold), &ranks(&predicted)),
        }
    }
}

/// Linear correlation; 0 where a side does not vary.
pub(crate) fn pearson(x: &[f64], y: &[f64]) -> f64 {
    let n = x.len().max(1) as f64;
    let mean = |v: &[f64]| v.iter().sum::<f64>() / n;
    let (mx, my) = (mean(x), mean(y));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        xy += (x - mx) * (y - my);
        xx += (x - mx) * (x - mx);
        yy += (y - my) * (y - my);
    }
    if xx > 0.0 && yy > 0.0 {
        xy / (xx * yy).sqrt()
    } else {
        0.0
    }
}

/// Ranks from 1, ties sharing their mean.
fn ranks(x: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&a, &b| x[a].total_cmp(&x[b]));
    let mut ranks = vec![0.0; x.len()];
    let mut start = 0;
    while start < order.len() {
        let mut end = start + 1;
        while end < order.len() && x[order[end]] == x[order[start]] {
            end += 1;
        }
        let rank = (start + 1 + end) as f64 / 2.0;
        order[start..end].iter().for_each(|&i| ranks[i] = rank);
        start = end;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_share_ties() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
    }

    /// A side that does not vary has no correlation; a small one has.
    #[test]
    fn what_does_not_vary_has_no_correlation() {
        let (small, same) = ([0.1, 0.2, 0.4], [0.1; 3]);
        assert!((pearson(&small, &small) - 1.0).abs() < 1e-12);
        for (gold, answers) in [(small, same), (same, small), (same, same)] {
            let mut p = Pairs::default();
            gold.iter()
                .zip(answers)
                .for_each(|(&g, a)| p.add(g as f32, a as f32));
            let m = p.finish();
            assert_eq!((m.pearson, m.spearman), (0.0, 0.0), "{gold:?} {answers:?}");
        }
    }

    #[test]
    fn correlations_by_hand() {
        let mut p = Pairs::default();
        for (g, q) in [(1.0, 2.0), (2.0, 1.0), (3.0, 4.0), (4.0, 3.0), (5.0, 5.0)] {
            p.add(g, q);
        }
        let m = p.finish();
        // 1 − 6·Σd²/(n(n²−1)) = 1 − 24/120; without ties Pearson of these values is the same.
        assert!((m.spearman - 0.8).abs() < 1e-12 && (m.pearson - 0.8).abs() < 1e-12);
        assert!((m.loss - 0.8).abs() < 1e-12);
        assert!((m.root_mean_squared_error - 0.8f64.sqrt()).abs() < 1e-12);
        assert!((m.mean_absolute_error - 0.8).abs() < 1e-12);
        let written = serde_json::to_string(&m).unwrap();
        assert!(
            written.contains("\"root_mean_squared_error\":0.894"),
            "{written}"
        );
        assert_eq!(serde_json::from_str::<Regression>(&written).unwrap(), m);
        // An earlier version's.
        let before = written.replacen("\"root_mean_squared_error\"", "\"other\"", 1);
        assert_eq!(serde_json::from_str::<Regression>(&before).unwrap(), m);
    }
}
