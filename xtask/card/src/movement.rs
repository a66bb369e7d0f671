//! How far two models moved from where both began, a tensor at a time: weights themselves would hide a difference.

use anyhow::{Context, Result, bail};
use hone_tensor::SafetensorsFile;
use serde_json::{Value, json};
use std::path::Path;

/// A tensor's two movements.
#[derive(Debug, Clone, Copy, Default)]
pub struct Apart {
    /// Root of the mean square of the difference, as a share of the first's movement's.
    pub share: f64,
    /// Largest difference.
    pub largest: f64,
    /// Cosine between the two.
    pub cosine: f64,
}

/// Compares two movements from the same start.
pub fn apart(one: &[f64], other: &[f64], from: &[f64]) -> Apart {
    let mut sums = [0f64; 4];
    let mut largest = 0f64;
    for ((a, b), from) in one.iter().zip(other).zip(from) {
        let (a, b) = (a - from, b - from);
        sums[0] += a * a;
        sums[1] += b * b;
        sums[2] += a * b;
        sums[3] += (a - b) * (a - b);
        largest = if (a - b).is_nan() {
            f64::INFINITY
        } else {
            largest.max((a - b).abs())
        };
    }
    let [aa, bb, ab, difference] = sums;
    let still = aa == 0.0 && bb == 0.0;
    Apart {
        share: if still { 0.0 } else { (difference / aa).sqrt() },
        largest,
        cosine: if still { 1.0 } else { ab / (aa * bb).sqrt() },
    }
}

/// Every tensor that all three files have in one shape.
pub fn compare(one: &Path, other: &Path, from: &Path) -> Result<Value> {
    let [one, other, from] = [one, other, from].map(SafetensorsFile::open);
    let (one, other, from) = (one?, other?, from?);
    let mut rows = Vec::new();
    let mut same = true;
    for tensor in one.tensors() {
        let name = &tensor.name;
        let (a, b) = (
            one.read_f64(name)?,
            other.read_f64(name).with_context(|| name.clone())?,
        );
        same &= a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits());
        // A base has another head, or none; and another prefix.
        let bare = name.strip_prefix("bert.").unwrap_or(name);
        let start = from.read_f64(name).or_else(|_| from.read_f64(bare));
        // The true gradient of a key's bias is zero: AdamW makes steps of its rounding errors.
        if let Ok(start) = start
            && start.len() == a.len()
            && !name.ends_with("key.bias")
        {
            rows.push((name.clone(), apart(&a, &b, &start)));
        }
    }
    if rows.is_empty() {
        bail!("{}: no tensor of the models", from.path().display());
    }
    rows.sort_by(|a, b| a.1.cosine.total_cmp(&b.1.cosine));
    let median = rows[rows.len() / 2].1;
    let worst: Vec<Value> = rows[..rows.len().min(5)]
        .iter()
        .map(|(name, a)| json!({"tensor": name, "cosine": a.cosine, "share": a.share, "largest": a.largest}))
        .collect();
    Ok(json!({
        "ok": true, "tensors": rows.len(), "same_bits": same, "median_cosine": median.cosine,
        "median_share": median.share, "least_cosine": rows[0].1.cosine, "furthest": worst,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn movements_are_compared_not_weights() {
        let from = [1.0, 2.0];
        let found = apart(&[1.5, 2.0], &[1.0, 2.5], &from);
        assert_eq!((found.cosine, found.largest), (0.0, 0.5));
        assert!((found.share - 2f64.sqrt()).abs() < 1e-15);
        let same = apart(&from, &from, &from);
        assert_eq!((same.cosine, same.share), (1.0, 0.0));
        assert_eq!(apart(&[f64::NAN, 2.0], &from, &from).largest, f64::INFINITY);
    }
}
