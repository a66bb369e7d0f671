//! AdamW over arenas: how the sweep is cut, and words that take the steps they sat out. The arithmetic is
//! [`super::optimizer`]'s.

use super::optimizer;
use crate::params::CpuParams;
use crate::path::Path;
use crate::team::{Parts, Team};
use hone_kernels::{AdamwRow, AdamwStep};

/// Elements of a chunk: small enough to balance, large enough to stream.
const CHUNK: usize = 32_768;
/// Words of a turn: how many steps each missed differs widely.
const TURN: usize = 4;

/// See [`hone_kernels::Backend::adamw`]; gradients are multiplied by `coefficient`.
pub fn step(
    team: &Team,
    path: Path,
    params: &mut CpuParams,
    rows: &[AdamwRow],
    start: Option<&[f32]>,
    grads: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    coefficient: f64,
    step: AdamwStep,
) {
    /// A piece of a tensor: where it begins in the tensor, among weights and among gradients.
    struct Piece {
        row: usize,
        start: usize,
        weights: usize,
        grads: usize,
        len: usize,
    }
    let constants: Vec<optimizer::Constants> = rows
        .iter()
        .map(|row| optimizer::Constants::new(row, step, coefficient))
        .collect();
    let table = params.table.clone();
    let (w, packer) = params.split();
    let spans = rows.iter().map(|row| {
        let range = table.params()[row.param].range();
        (range.start, row.grad_offset, range.len())
    });
    assert_apart(spans.clone().map(|(weights, _, len)| (weights, len)));
    assert_apart(spans.map(|(_, grads, len)| (grads, len)));
    let mut pieces = Vec::new();
    for (k, row) in rows.iter().enumerate() {
        let range = table.params()[row.param].range();
        let most = packer.band(row.param).unwrap_or(CHUNK);
        for start in (0..range.len()).step_by(most) {
            pieces.push(Piece {
                row: k,
                start,
                weights: range.start + start,
                grads: row.grad_offset + start,
                len: most.min(range.len() - start),
            });
        }
    }
    let (w, m, v) = (Parts::new(w), Parts::new(m), Parts::new(v));
    team.run(pieces.len(), &|k| {
        let p = &pieces[k];
        let at = p.grads..p.grads + p.len;
        let row = &rows[p.row];
        let start = match (row.start_decay != 0.0, start) {
            (false, _) => None,
            (true, Some(start)) => Some(&start[p.weights..p.weights + p.len]),
            (true, None) => unreachable!("a decay towards a start that is not given"),
        };
        // SAFETY: tensors overlap in neither arena (asserted), nor do pieces of one; each runs once.
        unsafe {
            let w = w.range(p.weights..p.weights + p.len);
            let (m, v) = (m.range(at.clone()), v.range(at.clone()));
            optimizer::adamw(path, &constants[p.row], w, start, &grads[at], m, v);
            packer.pack(row.param, p.start, w);
        }
    });
}

/// No two of these spans (first element, length) overlap: each is written by a thread of its own.
fn assert_apart(spans: impl Iterator<Item = (usize, usize)>) {
    let mut spans: Vec<(usize, usize)> = spans.filter(|s| s.1 > 0).collect();
    spans.sort_unstable();
    let apart = spans.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0);
    assert!(apart, "adamw: a tensor twice, or gradients that overlap");
}

/// See [`hone_kernels::Backend::adamw_rows`]; gradients come with what they are multiplied by.
pub fn step_rows(
    team: &Team,
    path: Path,
    params: &mut CpuParams,
    history: &[AdamwRow],
    rows: &[u32],
    since: &[u32],
    grads: Option<(&[f32], f64)>,
    m: &mut [f32],
    v: &mut [f32],
    step: AdamwStep,
) {
    let Some(one) = history.first() else {
        return;
    };
    assert_eq!(rows.len(), since.len(), "adamw_rows");
    super::assert_ascending(rows, "adamw_rows");
    let last = history.len() - 1;
    let coefficient = grads.map_or(1.0, |(_, c)| c);
    let constants: Vec<optimizer::Constants> = (0..history.len())
        .map(|k| {
            let of_now = if k == last { coefficient } else { 1.0 };
            optimizer::Constants::new(&history[k], step, of_now)
        })
        .collect();
    let table = params.table.clone();
    let param = &table.params()[one.param];
    let width = param.shape[1];
    let (w, packer) = params.split();
    assert!(packer.band(one.param).is_none(), "rows of a matrix");
    let (w, m, v) = (Parts::new(w), Parts::new(m), Parts::new(v));
    team.run(rows.len().div_ceil(TURN), &|t| {
        for k in t * TURN..((t + 1) * TURN).min(rows.len()) {
            let at = rows[k] as usize * width;
            let of_grads = one.grad_offset + at..one.grad_offset + at + width;
            // SAFETY: the list has no row twice, and each of its entries is taken once.
            let (w, m, v) = unsafe {
                (
                    w.range(param.offset + at..param.offset + at + width),
                    m.range(of_grads.clone()),
                    v.range(of_grads.clone()),
                )
            };
            let missed = since[k] as usize..if grads.is_some() { last } else { last + 1 };
            if !missed.is_empty() {
                optimizer::sat_out(path, &constants[missed], w, m, v);
            }
            if let Some((grads, _)) = grads {
                let now = &constants[last];
                optimizer::adamw(path, now, w, None, &grads[of_grads], m, v);
            }
        }
    });
}
