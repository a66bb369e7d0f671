//! How alike two representations of the same tokens are: linear CKA (Kornblith et al. 2019, eq. 3 and appendix A),
//! layer by layer.
//!
//! With centred features X and Y, `[tokens, hidden]`: ‖YᵀX‖² / (‖XᵀX‖·‖YᵀY‖), Frobenius norms; 1 where one is the
//! other turned, mirrored, shifted or scaled as a whole. Only sums and products of hidden × hidden are kept, in double
//! precision, so memory does not grow with the text.

use hone_bert::{Model, RowSet};
use hone_kernels::Backend;
use hone_tensor::Real;
use hone_train::{EvalBatches, Examples, TrainError};
use serde::Serialize;

/// Batches of hidden states: every layer of both encoders is held at once.
const BATCHES: EvalBatches = EvalBatches {
    rows: 32,
    tokens: 512,
};
/// Tokens whose products are summed before the next row of a matrix: as many as stay in a core's cache.
const BLOCK: usize = 32;

/// Sums over rows of x and y, of x·xᵀ and y·yᵀ (upper halves), and of x·yᵀ.
struct Moments {
    width: [usize; 2],
    rows: f64,
    x: Vec<f64>,
    y: Vec<f64>,
    xx: Vec<f64>,
    yy: Vec<f64>,
    xy: Vec<f64>,
}

impl Moments {
    fn new(p: usize, q: usize) -> Moments {
        Moments {
            width: [p, q],
            rows: 0.0,
            x: vec![0.0; p],
            y: vec![0.0; q],
            xx: vec![0.0; p * p],
            yy: vec![0.0; q * q],
            xy: vec![0.0; p * q],
        }
    }

    /// Takes in rows of x, `[n, p]`, and the same rows of y, `[n, q]`.
    fn add(&mut self, x: &[f64], y: &[f64]) {
        let [p, q] = self.width;
        self.rows += (x.len() / p) as f64;
        let sum = |sum: &mut [f64], rows: &[f64]| {
            for row in rows.chunks_exact(sum.len()) {
                sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
            }
        };
        sum(&mut self.x, x);
        sum(&mut self.y, y);
        for (x, y) in x.chunks(BLOCK * p).zip(y.chunks(BLOCK * q)) {
            products(&mut self.xx, x, x, p, p, |i| i);
            products(&mut self.yy, y, y, q, q, |i| i);
            products(&mut self.xy, x, y, p, q, |_| 0);
        }
    }

    /// The similarity of what was taken in; 0 where a side does not vary.
    fn cka(&self) -> f64 {
        let [p, q] = self.width;
        let n = self.rows.max(1.0);
        // Squared norm of the centred product: a half counts twice off its diagonal.
        let norm = |m: &[f64], a: &[f64], b: &[f64], half: bool| {
            let mut total = 0.0;
            for (i, row) in m.chunks_exact(b.len()).enumerate() {
                let from = if half { i } else { 0 };
                for (j, v) in row.iter().enumerate().skip(from) {
                    let c = v - a[i] * b[j] / n;
                    total += c * c * if half && j > i { 2.0 } else { 1.0 };
                }
            }
            total
        };
        debug_assert_eq!(self.xy.len(), p * q);
        let xx = norm(&self.xx, &self.x, &self.x, true);
        let yy = norm(&self.yy, &self.y, &self.y, true);
        if xx > 0.0 && yy > 0.0 {
            norm(&self.xy, &self.x, &self.y, false) / (xx * yy).sqrt()
        } else {
            0.0
        }
    }
}

/// `m[i, j] += Σ a[t, i]·b[t, j]` for j from `from(i)`: four tokens at a time, so that a row of `m` is loaded and
/// stored once for four products.
fn products(
    m: &mut [f64],
    a: &[f64],
    b: &[f64],
    p: usize,
    q: usize,
    from: impl Fn(usize) -> usize,
) {
    for (i, row) in m.chunks_exact_mut(q).enumerate() {
        let start = from(i);
        let row = &mut row[start..];
        let fours = b.chunks_exact(4 * q);
        let rest = fours.remainder();
        let mut t = 0;
        for b in fours {
            let x = [0, 1, 2, 3].map(|k| a[(t + k) * p + i]);
            let [b0, b1, b2, b3] = [0, 1, 2, 3].map(|k| &b[k * q + start..(k + 1) * q]);
            for (((r, b0), b1), (b2, b3)) in row.iter_mut().zip(b0).zip(b1).zip(b2.iter().zip(b3)) {
                *r += (x[0] * b0 + x[1] * b1) + (x[2] * b2 + x[3] * b3);
            }
            t += 4;
        }
        for b in rest.chunks_exact(q) {
            let x = a[t * p + i];
            row.iter_mut()
                .zip(&b[start..])
                .for_each(|(r, b)| *r += x * b);
            t += 1;
        }
    }
}

/// Linear CKA of `x[n, p]` and `y[n, q]`, row-major. Few rows lean towards 1: there should be many more of them than
/// features.
pub fn linear_cka(x: &[f64], y: &[f64], p: usize, q: usize) -> f64 {
    let mut moments = Moments::new(p, q);
    moments.add(x, y);
    moments.cka()
}

/// How alike both encoders are after one layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerCka {
    /// `embeddings`, `layer 0`, `layer 1`, …
    pub part: String,
    /// Linear CKA over tokens, special ones included.
    pub cka: f64,
}

/// Linear CKA between two encoders of one shape after the embeddings and after each layer, over all tokens of
/// `texts`. `progress` hears how many texts are done; `None` where it asked to stop.
pub fn layer_cka<B: Backend>(
    a: &Model<B>,
    b: &Model<B>,
    texts: &Examples,
    threads: usize,
    mut progress: impl FnMut(usize) -> bool,
) -> Result<Option<Vec<LayerCka>>, TrainError> {
    let hidden = a.config().hidden;
    let layers = a.config().layers + 1;
    if (b.config().hidden, b.config().layers + 1) != (hidden, layers) {
        return Err(TrainError::Option(
            "these two encoders have not the same layers".to_owned(),
        ));
    }
    let limits = BATCHES.limits(texts);
    let mut acts = [
        a.plan_hidden(limits, RowSet::All)?,
        b.plan_hidden(limits, RowSet::All)?,
    ];
    let mut moments: Vec<Moments> = (0..layers).map(|_| Moments::new(hidden, hidden)).collect();
    let order: Vec<u32> = (0..texts.len() as u32).collect();
    let (mut x, mut y) = (Vec::new(), Vec::new());
    let mut done = 0;
    for part in BATCHES.cut(texts, &order) {
        let batch = texts.batch(part);
        a.hidden_by_layer(&mut acts[0], &batch, &mut x)?;
        b.hidden_by_layer(&mut acts[1], &batch, &mut y)?;
        // A layer's sums belong to one thread, in the order of the texts: threads change nothing.
        let share = layers.div_ceil(threads.clamp(1, layers));
        std::thread::scope(|scope| {
            let parts = moments
                .chunks_mut(share)
                .zip(x.chunks(share).zip(y.chunks(share)));
            for (moments, (x, y)) in parts {
                scope.spawn(move || {
                    for (moments, (x, y)) in moments.iter_mut().zip(x.iter().zip(y)) {
                        moments.add(&wide(x), &wide(y));
                    }
                });
            }
        });
        done += part.len();
        if !progress(done) {
            return Ok(None);
        }
    }
    let name = |l: usize| match l {
        0 => "embeddings".to_owned(),
        l => format!("layer {}", l - 1),
    };
    let each = moments.iter().enumerate().map(|(l, m)| LayerCka {
        part: name(l),
        cka: m.cka(),
    });
    Ok(Some(each.collect()))
}

fn wide<T: Real>(x: &[T]) -> Vec<f64> {
    x.iter().map(|v| v.to_f64()).collect()
}

/// Mean over the layers, embeddings left out.
pub fn mean_cka(found: &[LayerCka]) -> f64 {
    let layers = found.iter().skip(1);
    let n = layers.len().max(1) as f64;
    layers.map(|l| l.cka).sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Case {
        x: Vec<Vec<f64>>,
        y: Vec<Vec<f64>>,
        cka: f64,
    }

    #[derive(Deserialize)]
    struct File {
        cka: Vec<Case>,
    }

    fn noise(n: usize, seed: usize) -> Vec<f64> {
        (0..n)
            .map(|i| ((i * 7919 + seed * 104_729 + i * i * 31) % 1009) as f64 / 1009.0 - 0.3)
            .collect()
    }

    /// numpy, by the definition with Gram matrices and the centring matrix (`xtask/python/knowledge_fixtures.py`).
    #[test]
    fn figures_are_numpys() {
        let file: File =
            serde_json::from_str(include_str!("../../fixtures/knowledge.json")).unwrap();
        for case in &file.cka {
            let (p, q) = (case.x[0].len(), case.y[0].len());
            let found = linear_cka(&case.x.concat(), &case.y.concat(), p, q);
            assert!((found - case.cka).abs() < 1e-10, "{found} {}", case.cka);
        }
    }

    #[test]
    fn turning_shifting_and_scaling_change_nothing() {
        let (n, h) = (133, 6);
        let x = noise(n * h, 1);
        assert!((linear_cka(&x, &x, h, h) - 1.0).abs() < 1e-12);
        // A rotation of the first two features and a mirrored third, all shifted far away and scaled.
        let (sin, cos) = 0.7f64.sin_cos();
        let moved: Vec<f64> = x
            .chunks(h)
            .flat_map(|r| {
                let turned = [cos * r[0] - sin * r[1], sin * r[0] + cos * r[1], -r[2]];
                let all = turned.into_iter().chain(r[3..].iter().copied());
                all.map(|v| 1000.0 + 3.0 * v).collect::<Vec<_>>()
            })
            .collect();
        let found = linear_cka(&x, &moved, h, h);
        assert!((found - 1.0).abs() < 1e-9, "{found}");
        let other = noise(n * h, 2);
        let (ab, ba) = (linear_cka(&x, &other, h, h), linear_cka(&other, &x, h, h));
        assert!((ab - ba).abs() < 1e-12 && ab < 0.5, "{ab} {ba}");
        assert_eq!(linear_cka(&x, &vec![2.0; n * h], h, h), 0.0);
    }

    /// Whether rows come at once or in batches of any size.
    #[test]
    fn batches_change_only_rounding() {
        let (n, h) = (101, 5);
        let (x, y) = (noise(n * h, 3), noise(n * h, 4));
        let mut moments = Moments::new(h, h);
        for (x, y) in x.chunks(7 * h).zip(y.chunks(7 * h)) {
            moments.add(x, y);
        }
        assert!((moments.cka() - linear_cka(&x, &y, h, h)).abs() < 1e-13);
    }
}
