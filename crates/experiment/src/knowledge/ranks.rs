//! Spearman's rank correlation with intervals by a paired bootstrap over rows. A resample is a number of times for
//! each row, so that values are sorted once, not in every draw.

use super::Change;
use hone_tensor::Philox;

/// Draws of the bootstrap.
const DRAWS: u64 = 2000;

/// Values in ascending order.
struct Sorted {
    order: Vec<u32>,
    /// Whether a place holds the same value as the place before it.
    tied: Vec<bool>,
}

impl Sorted {
    fn of(values: &[f64]) -> Sorted {
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        order.sort_by(|&a, &b| values[a as usize].total_cmp(&values[b as usize]));
        let mut tied = vec![false; order.len()];
        for at in 1..order.len() {
            tied[at] = values[order[at] as usize] == values[order[at - 1] as usize];
        }
        Sorted { order, tied }
    }

    /// Rank of each row where row i stands `times[i]` times; equals share their mean rank.
    fn ranks(&self, times: &[u32], ranks: &mut [f64]) {
        let (mut start, mut below) = (0, 0.0);
        while start < self.order.len() {
            let mut end = start + 1;
            while end < self.order.len() && self.tied[end] {
                end += 1;
            }
            let group = &self.order[start..end];
            let size: f64 = group.iter().map(|&i| f64::from(times[i as usize])).sum();
            let rank = below + (size + 1.0) / 2.0;
            group.iter().for_each(|&i| ranks[i as usize] = rank);
            below += size;
            start = end;
        }
    }
}

/// Pearson's correlation of x and y with row i standing `times[i]` times; 0 where a side does not vary.
fn correlation(x: &[f64], y: &[f64], times: &[u32]) -> f64 {
    let rows = || x.iter().zip(y).zip(times.iter().map(|&t| f64::from(t)));
    let n: f64 = times.iter().map(|&t| f64::from(t)).sum();
    let (mut mx, mut my) = (0.0, 0.0);
    for ((x, y), t) in rows() {
        mx += t * x / n;
        my += t * y / n;
    }
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for ((x, y), t) in rows() {
        let (x, y) = (x - mx, y - my);
        xy += t * x * y;
        xx += t * x * x;
        yy += t * y * y;
    }
    if xx > 0.0 && yy > 0.0 {
        xy / (xx * yy).sqrt()
    } else {
        0.0
    }
}

/// Spearman's correlation of `gold` with two predictions of it. Intervals are percentiles over 2 000 resamples of the
/// rows, the same rows for both; `seed` is theirs.
///
/// # Panics
///
/// Where they are not of equally many rows.
pub fn rank_change(gold: &[f64], before: &[f64], after: &[f64], seed: u64) -> Change {
    let n = gold.len();
    assert_eq!(
        [n; 2],
        [before.len(), after.len()],
        "values of the same rows"
    );
    let [gold, before, after] = [gold, before, after].map(Sorted::of);
    let mut ranks = [vec![0.0; n], vec![0.0; n], vec![0.0; n]];
    let mut figures = |times: &[u32]| {
        let [g, b, a] = &mut ranks;
        gold.ranks(times, g);
        before.ranks(times, b);
        after.ranks(times, a);
        [correlation(g, b, times), correlation(g, a, times)]
    };
    let [b, a] = figures(&vec![1; n]);
    let random = Philox::new(seed);
    let mut drawn = [Vec::new(), Vec::new(), Vec::new()];
    let mut times = vec![0u32; n];
    for draw in 0..DRAWS {
        times.fill(0);
        for k in 0..n as u64 {
            let word = random.u64_at(draw, k);
            times[((u128::from(word) * n as u128) >> 64) as usize] += 1;
        }
        let [b, a] = figures(&times);
        drawn[0].push(b);
        drawn[1].push(a);
        drawn[2].push(a - b);
    }
    let [before_interval, after_interval, change_interval] = drawn.map(|mut found| {
        found.sort_by(f64::total_cmp);
        let at = |share: f64| found[((DRAWS - 1) as f64 * share).round() as usize];
        [at(0.025), at(0.975)]
    });
    Change {
        rows: n,
        before: b,
        before_interval,
        after: a,
        after_interval,
        change: a - b,
        change_interval,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Case {
        gold: Vec<f64>,
        said: Vec<f64>,
        spearman: f64,
    }

    #[derive(Deserialize)]
    struct File {
        spearman: Vec<Case>,
    }

    /// scipy's `spearmanr`, with and without ties (`xtask/python/knowledge_fixtures.py`).
    #[test]
    fn figures_are_scipys() {
        let file: File =
            serde_json::from_str(include_str!("../../fixtures/knowledge.json")).unwrap();
        for case in &file.spearman {
            let found = rank_change(&case.gold, &case.said, &case.gold, 0);
            assert!((found.before - case.spearman).abs() < 1e-12, "{found:?}");
            assert!((found.after - 1.0).abs() < 1e-12);
        }
    }

    /// A row that stands k times is k rows.
    #[test]
    fn times_are_repeated_rows() {
        let values = [3.0, 1.0, 3.0, 2.0, 0.5];
        let gold = [1.0, 0.0, 2.0, 2.0, 5.0];
        let times = [2, 0, 1, 3, 1];
        let repeat = |x: &[f64]| -> Vec<f64> {
            let rows = x.iter().zip(times);
            rows.flat_map(|(x, t)| vec![*x; t as usize]).collect()
        };
        let figure = |x: &[f64], y: &[f64], times: &[u32]| {
            let mut ranks = [vec![0.0; x.len()], vec![0.0; x.len()]];
            Sorted::of(x).ranks(times, &mut ranks[0]);
            Sorted::of(y).ranks(times, &mut ranks[1]);
            correlation(&ranks[0], &ranks[1], times)
        };
        let found = figure(&values, &gold, &times);
        let want = figure(&repeat(&values), &repeat(&gold), &[1; 7]);
        assert!((found - want).abs() < 1e-12, "{found} {want}");
    }

    /// Two predictions with the same noise: the paired interval is far narrower than each one's own, and without
    /// any difference it is nothing.
    #[test]
    fn rows_are_paired() {
        let noise = |i: usize| ((i * 7919) % 101) as f64 / 101.0;
        let gold: Vec<f64> = (0..200).map(|i| i as f64 / 200.0).collect();
        let a: Vec<f64> = gold.iter().enumerate().map(|(i, g)| g + noise(i)).collect();
        let b: Vec<f64> = gold
            .iter()
            .enumerate()
            .map(|(i, g)| g + 1.1 * noise(i))
            .collect();
        let width = |i: [f64; 2]| i[1] - i[0];
        let found = rank_change(&gold, &a, &b, 1);
        assert!(
            found.change < 0.0 && found.change_interval[1] < 0.0,
            "{found:?}"
        );
        assert!(width(found.change_interval) < 0.5 * width(found.before_interval));
        let same = rank_change(&gold, &a, &a, 1);
        assert_eq!((same.change, same.change_interval), (0.0, [0.0, 0.0]));
    }

    /// Of normal values it is near Fisher's z with the variance of Bonett & Wright (2000). With 1.645 for 1.96 it would be
    /// off by a sixth of its half.
    #[test]
    fn the_interval_is_fishers() {
        let random = Philox::new(3);
        // Nearly normal: the sum of twelve uniform draws.
        let normal = |a: u64, row: u64| -> f64 {
            let unit = |k: u64| (random.u64_at(a, 12 * row + k) >> 11) as f64 / (1u64 << 53) as f64;
            (0..12).map(unit).sum::<f64>() - 6.0
        };
        let gold: Vec<f64> = (0..1000).map(|row| normal(0, row)).collect();
        let said: Vec<f64> = gold
            .iter()
            .zip(0..)
            .map(|(g, row)| g + normal(1, row))
            .collect();
        let found = rank_change(&gold, &said, &said, 1);
        let z = found.before.atanh();
        let half = 1.959_964 * ((1.0 + found.before * found.before / 2.0) / 997.0).sqrt();
        let want = [z - half, z + half].map(f64::tanh);
        let slack = 0.08 * (want[1] - want[0]) / 2.0;
        for interval in [found.before_interval, found.after_interval] {
            for (got, want) in interval.iter().zip(want) {
                assert!((got - want).abs() < slack, "{found:?} {want}");
            }
        }
    }
}
