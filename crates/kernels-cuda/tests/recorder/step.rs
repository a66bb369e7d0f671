//! Part of a training step on the recorder, and what it wrote down.

use crate::Cuda;
use hone_kernels::{
    Acc, Attention, Backend, Drop, EmbedTables, Norm, NormSums, Qkv, QkvMut, Rows, Tokens,
    Workspace,
};
use hone_kernels_cuda::{Buf, Event, Recorded, Recorder};
use hone_tensor::{DropKey, Ragged};

/// A batch with room for as many tokens as any of the tests' batches has.
pub struct Device {
    word: Buf<Recorder, f32>,
    norm: Buf<Recorder, f32>,
    u32s: Buf<Recorder, u32>,
    u64s: Buf<Recorder, u64>,
    acts: Vec<Buf<Recorder, f32>>,
    stats: Buf<Recorder, f32>,
    sums: [Buf<Recorder, f32>; 3],
}

const H: usize = 64;
const MOST: usize = 1000;

impl Device {
    pub fn new(b: &Cuda) -> Device {
        b.reserve(&Workspace {
            tokens: MOST,
            sequences: 64,
            longest: 512,
            hidden: H,
            intermediate: H,
            heads: 2,
            classes: 2,
            answered: MOST,
        })
        .expect("workspace");
        Device {
            word: b.alloc(100 * H).expect("memory"),
            norm: b.alloc(H).expect("memory"),
            u32s: b.alloc(MOST + 1).expect("memory"),
            u64s: b.alloc(MOST).expect("memory"),
            acts: (0..6)
                .map(|_| b.alloc(3 * MOST * H).expect("memory"))
                .collect(),
            stats: b.alloc(2 * MOST).expect("memory"),
            sums: [(); 3].map(|()| b.alloc(H).expect("memory")),
        }
    }

    /// Part of a step: embeddings, LayerNorm and attention with dropout, and their backward.
    pub fn step(&mut self, b: &Cuda, batch: &Ragged, step: u32) -> Vec<Event> {
        b.driver().forget();
        let (t, s) = (batch.tokens(), batch.sequences());
        let distinct = batch.buckets().rows.len();
        let key = DropKey {
            seed: 3,
            step,
            layer: 0,
            site: 1,
            draw: 0,
        };
        let drop = Drop::new(key, 0.1).expect("a rate above 0");
        let u32s = |n| b.head(&self.u32s, n);
        let tokens = Tokens {
            ids: u32s(t),
            types: u32s(t),
            positions: u32s(t),
            cu_seqlens: u32s(s + 1),
            example_ids: b.head(&self.u64s, t),
            sequence_ids: b.head(&self.u64s, s),
            bucket_rows: u32s(distinct),
            bucket_starts: u32s(distinct + 1),
            bucket_tokens: u32s(t),
            longest: batch.longest(),
        };
        let rows = Rows {
            example_ids: tokens.example_ids,
            positions: tokens.positions,
        };
        let norm = Norm {
            weight: b.view(&self.norm),
            bias: b.view(&self.norm),
            eps: 1e-12,
        };
        let how = Attention {
            heads: 2,
            head_dim: H / 2,
            longest: batch.longest(),
            drop: Some(drop),
        };
        let tables = EmbedTables {
            word: b.view(&self.word),
            position: b.view(&self.word),
            token_type: b.view(&self.word),
        };
        let [x, y, qkv, context, dqkv, other] = &mut self.acts[..] else {
            unreachable!("six buffers")
        };
        let stats = &mut self.stats;
        b.embed(tables, tokens, H, b.head_mut(x, t * H));
        b.add_norm(
            norm,
            Some((drop, rows)),
            None,
            b.head_mut(x, t * H),
            b.head_mut(stats, 2 * t),
            b.head_mut(y, t * H),
        );
        let all = || Qkv::All(b.head(qkv, t * 3 * H));
        b.attention(
            how,
            tokens,
            all(),
            b.head_mut(context, t * H),
            b.head_mut(stats, 2 * t),
        );
        b.attention_backward(
            how,
            tokens,
            all(),
            b.head(context, t * H),
            b.head(stats, 2 * t),
            b.head(y, t * H),
            QkvMut::All(b.head_mut(dqkv, t * 3 * H)),
        );
        let [dweight, dbias, before] = &mut self.sums;
        b.add_norm_backward(
            norm,
            b.head(y, t * H),
            b.head(x, t * H),
            b.head(stats, 2 * t),
            b.head_mut(other, t * H),
            None,
            NormSums {
                acc: Acc::Set,
                params: Some((b.all_mut(dweight), b.all_mut(dbias))),
                bias_before: Some(b.all_mut(before)),
            },
        );
        b.embed_word_backward(b.head(other, t * H), tokens, H, b.all_mut(&mut self.word));
        b.driver().events()
    }
}

pub fn batch(lengths: &[usize]) -> Ragged {
    let mut batch = Ragged::new();
    for (s, &n) in lengths.iter().enumerate() {
        let ids: Vec<u32> = (0..n).map(|t| (t % 60) as u32).collect();
        batch.push(s as u64, &ids, &vec![0; n]);
    }
    batch
}

pub fn launches(events: &[Event]) -> Vec<&Recorded> {
    events
        .iter()
        .filter_map(|e| match e {
            Event::Launch(launch) => Some(launch),
            _ => None,
        })
        .collect()
}

pub fn uploads(events: &[Event]) -> Vec<usize> {
    events
        .iter()
        .filter_map(|e| match e {
            Event::Upload(_, bytes) => Some(*bytes),
            _ => None,
        })
        .collect()
}
