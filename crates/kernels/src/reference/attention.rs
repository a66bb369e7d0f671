//! Ragged attention, forward above backward, one sequence and head at a time.

use super::Reference;
use crate::math::Scalar;
use crate::types::*;
use hone_tensor::DropKey;

/// Where a sequence's queries, keys and values lie: flat data, row stride, first column.
struct Operand<'a, F> {
    data: &'a [F],
    stride: usize,
    column: usize,
}

impl<F: Scalar> Operand<'_, F> {
    fn at(&self, row: usize, channel: usize) -> F {
        self.data[row * self.stride + self.column + channel]
    }
}

/// One sequence: its tokens, and the rows of its queries.
struct Span {
    sequence: usize,
    start: usize,
    len: usize,
    first_query: usize,
    queries: usize,
}

fn spans(cu_seqlens: &[u32], all: bool) -> impl Iterator<Item = Span> + '_ {
    cu_seqlens.windows(2).enumerate().map(move |(s, w)| Span {
        sequence: s,
        start: w[0] as usize,
        len: (w[1] - w[0]) as usize,
        first_query: if all { w[0] as usize } else { s },
        queries: if all { (w[1] - w[0]) as usize } else { 1 },
    })
}

fn operands<'a, F: Scalar>(
    qkv: &Qkv<'a, Reference<F>>,
    hidden: usize,
    column: usize,
) -> [Operand<'a, F>; 3] {
    let (q, kv, stride, key) = match *qkv {
        Qkv::All(x) => (x, x, 3 * hidden, hidden),
        Qkv::First { q, kv } => (q, kv, 2 * hidden, 0),
    };
    let q_stride = if key == 0 { hidden } else { stride };
    [
        Operand {
            data: q,
            stride: q_stride,
            column,
        },
        Operand {
            data: kv,
            stride,
            column: key + column,
        },
        Operand {
            data: kv,
            stride,
            column: key + hidden + column,
        },
    ]
}

/// Multiplier of probability (query, key): 0 or the scale.
fn mask<F: Scalar>(drop: Option<Drop>, id: u64, head: usize, query: usize, key: usize) -> F {
    let Some(drop) = drop else {
        return F::of(1.0);
    };
    let words = DropKey::attention_words(
        drop.key.example(id),
        head as u32,
        query as u32,
        key as u32 / 4,
    );
    if words[key % 4] < drop.threshold {
        F::of(0.0)
    } else {
        F::of(drop.scale)
    }
}

fn dot<F: Scalar>(n: usize, f: impl Fn(usize) -> F) -> F {
    let mut sum = F::of(0.0);
    for i in 0..n {
        sum += f(i);
    }
    sum
}

/// See [`crate::Backend::attention`].
pub fn forward<F: Scalar>(
    attention: Attention,
    tokens: Tokens<'_, Reference<F>>,
    qkv: Qkv<'_, Reference<F>>,
    context: &mut [F],
    lse: &mut [F],
) {
    let Attention {
        heads,
        head_dim,
        drop,
        ..
    } = attention;
    let hidden = heads * head_dim;
    let scale = F::of(1.0 / (head_dim as f64).sqrt());
    for span in spans(tokens.cu_seqlens, matches!(qkv, Qkv::All(_))) {
        let id = tokens.sequence_ids[span.sequence];
        for head in 0..heads {
            let [q, k, v] = operands(&qkv, hidden, head * head_dim);
            for query in 0..span.queries {
                let row = span.first_query + query;
                let score = |key: usize| {
                    scale * dot(head_dim, |c| q.at(row, c) * k.at(span.start + key, c))
                };
                let scores: Vec<F> = (0..span.len).map(score).collect();
                let max = scores
                    .iter()
                    .copied()
                    .fold(scores[0], |a, b| if b > a { b } else { a });
                let total = dot(span.len, |key| (scores[key] - max).exp());
                let log_sum = max + total.ln();
                lse[row * heads + head] = log_sum;
                for c in 0..head_dim {
                    context[row * hidden + head * head_dim + c] = dot(span.len, |key| {
                        (scores[key] - max).exp() / total
                            * mask(drop, id, head, query, key)
                            * v.at(span.start + key, c)
                    });
                }
            }
        }
    }
}

/// See [`crate::Backend::attention_backward`].
pub fn backward<F: Scalar>(
    attention: Attention,
    tokens: Tokens<'_, Reference<F>>,
    qkv: Qkv<'_, Reference<F>>,
    lse: &[F],
    dcontext: &[F],
    mut dqkv: QkvMut<'_, Reference<F>>,
) {
    let Attention {
        heads,
        head_dim,
        drop,
        ..
    } = attention;
    let hidden = heads * head_dim;
    let scale = F::of(1.0 / (head_dim as f64).sqrt());
    match &mut dqkv {
        QkvMut::All(d) => d.fill(F::of(0.0)),
        QkvMut::First { dq, dkv } => {
            dq.fill(F::of(0.0));
            dkv.fill(F::of(0.0));
        }
    }
    let mut add = |part: usize, row: usize, column: usize, value: F| match &mut dqkv {
        QkvMut::All(d) => d[row * 3 * hidden + part * hidden + column] += value,
        QkvMut::First { dq, .. } if part == 0 => dq[row * hidden + column] += value,
        QkvMut::First { dkv, .. } => {
            dkv[row * 2 * hidden + (part - 1) * hidden + column] += value;
        }
    };
    for span in spans(tokens.cu_seqlens, matches!(qkv, Qkv::All(_))) {
        let id = tokens.sequence_ids[span.sequence];
        for head in 0..heads {
            let column = head * head_dim;
            let [q, k, v] = operands(&qkv, hidden, column);
            for query in 0..span.queries {
                let row = span.first_query + query;
                let d_out = |c: usize| dcontext[row * hidden + column + c];
                let p: Vec<F> = (0..span.len)
                    .map(|key| {
                        let s = scale * dot(head_dim, |c| q.at(row, c) * k.at(span.start + key, c));
                        (s - lse[row * heads + head]).exp()
                    })
                    .collect();
                let m: Vec<F> = (0..span.len)
                    .map(|key| mask(drop, id, head, query, key))
                    .collect();
                let dp: Vec<F> = (0..span.len)
                    .map(|key| m[key] * dot(head_dim, |c| d_out(c) * v.at(span.start + key, c)))
                    .collect();
                let delta = dot(span.len, |key| p[key] * dp[key]);
                for key in 0..span.len {
                    let ds = p[key] * (dp[key] - delta) * scale;
                    for c in 0..head_dim {
                        add(0, row, column + c, ds * k.at(span.start + key, c));
                        add(1, span.start + key, column + c, ds * q.at(row, c));
                        add(2, span.start + key, column + c, p[key] * m[key] * d_out(c));
                    }
                }
            }
        }
    }
}
