//! Two models on the same labelled rows: does one do better, and on which rows do they differ.
//!
//! Rows that are right or wrong as a whole (the class; every label of a set; every tag of a text) are compared by
//! McNemar's test and Tango's interval; what is no share of rows (Pearson, micro-F1, entity F1) by a paired
//! bootstrap over rows.

mod answers;
mod paired;

pub(crate) use answers::answers_of;
pub use answers::{Answer, Answers, answers};
pub(crate) use paired::bootstrap;
pub use paired::{PairedMetric, PairedShares};

use hone_bert::Task;
use hone_train::metrics::Metrics;
use serde::Serialize;

/// How a row changed from the first model to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Wrong, then right (for values: nearer).
    Better,
    /// Right, then wrong (for values: farther).
    Worse,
    /// Wrong in another way (for values: as far on the other side).
    Other,
}

impl Change {
    /// As files say it.
    pub fn name(self) -> &'static str {
        match self {
            Change::Better => "better",
            Change::Worse => "worse",
            Change::Other => "other",
        }
    }
}

/// The comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Rows compared.
    pub rows: usize,
    /// Rows that are right as a whole; absent for values.
    pub shares: Option<PairedShares>,
    /// The task's other metric by bootstrap; absent for classes.
    pub metric: Option<PairedMetric>,
    /// The first model's metrics.
    pub a: Metrics,
    /// The second's.
    pub b: Metrics,
    /// Rows whose answer changed, by their place: the better ones, the worse ones, then the others; values by how
    /// much their error changed.
    #[serde(skip)]
    pub changed: Vec<(usize, Change)>,
}

/// Compares two models' answers to the same rows. `seed` is the bootstrap's.
pub fn compare(task: Task, a: &Answers, b: &Answers, seed: u64) -> Comparison {
    let n = a.rows.len().min(b.rows.len());
    let right = |x: &Answers| -> Vec<bool> { x.rows.iter().map(|r| r.right).collect() };
    let part = |model: usize, row: u32| match model {
        0 => a.rows[row as usize].parts,
        _ => b.rows[row as usize].parts,
    };
    let f1 = |model: usize, rows: &[u32]| {
        let (mut right, mut both) = (0.0, 0.0);
        for &row in rows {
            let [r, said, truth] = part(model, row);
            right += r;
            both += said + truth;
        }
        if both > 0.0 { 2.0 * right / both } else { 0.0 }
    };
    let pearson = |model: usize, rows: &[u32]| {
        let n = rows.len().max(1) as f64;
        let (mut x, mut y) = (0.0, 0.0);
        for &row in rows {
            let [value, truth, _] = part(model, row);
            x += value / n;
            y += truth / n;
        }
        let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
        for &row in rows {
            let [value, truth, _] = part(model, row);
            let (dx, dy) = (value - x, truth - y);
            xy += dx * dy;
            xx += dx * dx;
            yy += dy * dy;
        }
        if xx > 0.0 && yy > 0.0 {
            xy / (xx * yy).sqrt()
        } else {
            0.0
        }
    };
    let metric = match task {
        Task::Classify => None,
        Task::MultiLabel => Some(bootstrap("micro_f1", n, seed, f1)),
        Task::Tag => Some(bootstrap("entity_f1", n, seed, f1)),
        Task::Regress => Some(bootstrap("pearson", n, seed, pearson)),
    };
    let mut changed: Vec<(usize, Change)> = (0..n)
        .filter(|&i| a.rows[i].said != b.rows[i].said)
        .map(|i| {
            let (x, y) = (&a.rows[i], &b.rows[i]);
            let change = match task {
                Task::Regress if y.error < x.error => Change::Better,
                Task::Regress if y.error > x.error => Change::Worse,
                _ if y.right && !x.right => Change::Better,
                _ if x.right && !y.right => Change::Worse,
                _ => Change::Other,
            };
            (i, change)
        })
        .collect();
    let by = |i: usize| (a.rows[i].error - b.rows[i].error).abs();
    changed.sort_by(|x, y| {
        let far = by(y.0).total_cmp(&by(x.0));
        x.1.cmp(&y.1).then(far).then(x.0.cmp(&y.0))
    });
    Comparison {
        rows: n,
        shares: (task != Task::Regress).then(|| PairedShares::of(&right(a), &right(b))),
        metric,
        a: a.metrics.clone(),
        b: b.metrics.clone(),
        changed,
    }
}
