//! What the suite needs of any backend: numbers in, numbers out, ragged batches.

use super::Outcome;
use crate::{Backend, Rows, Tokens, Workspace};
use hone_tensor::{Philox, Ragged, Real};
use std::fmt::Display;

/// A backend with what tests need around it.
///
/// Its methods panic where the backend fails: this is test equipment.
pub struct Rig<'b, B: Backend> {
    /// The backend.
    pub b: &'b B,
    pub(super) outcomes: Vec<Outcome>,
    watch: Option<&'b mut dyn FnMut(&str)>,
    drawn: u64,
    pub(super) inputs: Inputs,
}

hone_tensor::brief_debug! { [B: Backend] Rig<'_, B>, |r| backend: r.b.path(), outcomes: r.outcomes.len() }

/// Which numbers activations are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inputs {
    /// Exact in f32.
    Single,
    /// Rounded to bfloat16, whatever the backend computes in, so that only its own rounding is measured.
    Half,
}

/// The nearest bfloat16, ties to even.
fn half(x: f64) -> f64 {
    let bits = (x as f32).to_bits();
    let up = 0x7fff + (bits >> 16 & 1);
    f64::from(f32::from_bits((bits + up) & 0xffff_0000))
}

impl<'b, B: Backend> Rig<'b, B> {
    /// Reserves workspace for the suite's sizes.
    pub fn new(b: &'b B) -> Self {
        b.reserve(&Workspace {
            tokens: 2500,
            sequences: 64,
            longest: 160,
            hidden: 1040,
            intermediate: 1040,
            heads: 20,
            classes: 300,
            answered: 2500,
        })
        .expect("workspace");
        Rig {
            b,
            outcomes: Vec::new(),
            watch: None,
            drawn: 0,
            inputs: Inputs::Single,
        }
    }

    /// The same; `watch` hears each output's name as it is recorded.
    pub fn watched(b: &'b B, watch: &'b mut dyn FnMut(&str)) -> Self {
        Rig {
            watch: Some(watch),
            ..Rig::new(b)
        }
    }

    /// Numbers from −1 to 1, the same for every backend, all of them exact in f32.
    pub fn numbers(&mut self, len: usize) -> Vec<f64> {
        self.drawn += 1;
        let random = Philox::new(self.drawn);
        (0..len as u64)
            .map(|i| (random.u64_at(0, i) >> 44) as f64 / f64::from(1 << 19) - 1.0)
            .collect()
    }

    /// A buffer of activations.
    pub fn act(&self, x: &[f64]) -> B::Buf<B::Act> {
        let round = |x: f64| match self.inputs {
            Inputs::Single => x,
            Inputs::Half => half(x),
        };
        let host: Vec<B::Act> = x.iter().map(|&x| B::Act::from_f64(round(x))).collect();
        self.b.from_slice(&host).expect("memory")
    }

    /// A buffer of master numbers.
    pub fn master(&self, x: &[f64]) -> B::Buf<B::Master> {
        let host: Vec<B::Master> = x.iter().map(|&x| B::Master::from_f64(x)).collect();
        self.b.from_slice(&host).expect("memory")
    }

    /// Drawn activations.
    pub fn acts(&mut self, len: usize) -> B::Buf<B::Act> {
        let x = self.numbers(len);
        self.act(&x)
    }

    /// Drawn master numbers.
    pub fn masters(&mut self, len: usize) -> B::Buf<B::Master> {
        let x = self.numbers(len);
        self.master(&x)
    }

    /// Statistics of rows as a LayerNorm has them: means about zero and roots above it.
    pub(super) fn moments(&mut self, rows: usize) -> B::Buf<B::Master> {
        let drawn = self.numbers(2 * rows);
        let moments = drawn.iter().enumerate();
        let moments = moments.map(|(i, z)| if i % 2 == 0 { 0.25 * z } else { 1.5 + z });
        self.master(&moments.collect::<Vec<_>>())
    }

    /// Reads a buffer.
    pub fn read<T: Real>(&self, buf: &B::Buf<T>) -> Vec<f64> {
        let mut host = vec![T::default(); self.b.len(buf)];
        self.b
            .download(self.b.view(buf), &mut host)
            .expect("a copy");
        host.into_iter().map(Real::to_f64).collect()
    }

    /// Records an output.
    pub fn keep<T: Real, N: Display>(&mut self, name: N, buf: &B::Buf<T>) {
        self.keep_difference(name, buf, 0.0);
    }

    /// Room for what attention saves: drawn log-sums, and nothing where a backend saves more.
    pub fn saved(&mut self, rows: usize, heads: usize, longest: usize) -> B::Buf<B::Master> {
        let mut x = self.numbers(rows * heads);
        x.resize(B::attention_saved(rows, heads, longest), f64::NAN);
        self.master(&x)
    }

    /// Records the first `len` numbers of an output.
    pub fn keep_first<T: Real, N: Display>(&mut self, name: N, buf: &B::Buf<T>, len: usize) {
        self.keep(name, buf);
        if let Some(outcome) = self.outcomes.last_mut() {
            outcome.values.truncate(len);
        }
    }

    /// Records an output whose terms, of that size, can cancel.
    pub fn keep_difference<T: Real>(&mut self, name: impl Display, buf: &B::Buf<T>, terms: f64) {
        self.record(name.to_string(), buf, terms, T::EPSILON);
    }

    /// Records master numbers made of activations that were rounded on the way: no closer than these.
    pub fn keep_of_rounded<N: Display>(&mut self, name: N, buf: &B::Buf<B::Master>) {
        self.record(name.to_string(), buf, 0.0, B::Act::EPSILON);
    }

    fn record<T: Real>(&mut self, name: String, buf: &B::Buf<T>, terms: f64, epsilon: f64) {
        if let Some(watch) = &mut self.watch {
            watch(&name);
        }
        let values = self.read(buf);
        self.outcomes.push(Outcome {
            name,
            values,
            terms,
            epsilon: epsilon.max(f32::EPSILON.into()),
        });
    }
}

/// A ragged batch in a backend's memory.
pub struct Batch<B: Backend> {
    /// As the host knows it.
    pub host: Ragged,
    ids: B::Buf<u32>,
    types: B::Buf<u32>,
    positions: B::Buf<u32>,
    cu_seqlens: B::Buf<u32>,
    example_ids: B::Buf<u64>,
    sequence_ids: B::Buf<u64>,
    bucket_rows: B::Buf<u32>,
    bucket_starts: B::Buf<u32>,
    bucket_tokens: B::Buf<u32>,
}

hone_tensor::brief_debug! { [B: Backend] Batch<B>, |b| host: b.host }

impl<B: Backend> Batch<B> {
    /// Sequences of these lengths, ids below `vocabulary`, two token types.
    pub fn new(b: &B, lengths: &[usize], vocabulary: usize) -> Self {
        let mut host = Ragged::new();
        for (s, &n) in lengths.iter().enumerate() {
            let ids: Vec<u32> = (0..n)
                .map(|t| ((s * 31 + t * 7) % vocabulary) as u32)
                .collect();
            let types: Vec<u32> = (0..n).map(|t| u32::from(2 * t >= n)).collect();
            host.push(1000 + 3 * s as u64, &ids, &types);
        }
        let buckets = host.buckets();
        let u32s = |x: &[u32]| b.from_slice(x).expect("memory");
        let u64s = |x: &[u64]| b.from_slice(x).expect("memory");
        Batch {
            ids: u32s(&host.ids),
            types: u32s(&host.types),
            positions: u32s(&host.positions()),
            cu_seqlens: u32s(&host.cu_seqlens),
            example_ids: u64s(&host.token_example_ids()),
            sequence_ids: u64s(&host.example_ids),
            bucket_rows: u32s(&buckets.rows),
            bucket_starts: u32s(&buckets.starts),
            bucket_tokens: u32s(&buckets.tokens),
            host,
        }
    }

    /// The batch as kernels read it.
    pub fn tokens(&self, b: &B) -> Tokens<'_, B> {
        Tokens {
            ids: b.view(&self.ids),
            types: b.view(&self.types),
            positions: b.view(&self.positions),
            cu_seqlens: b.view(&self.cu_seqlens),
            example_ids: b.view(&self.example_ids),
            sequence_ids: b.view(&self.sequence_ids),
            bucket_rows: b.view(&self.bucket_rows),
            bucket_starts: b.view(&self.bucket_starts),
            bucket_tokens: b.view(&self.bucket_tokens),
            longest: self.host.longest(),
        }
    }

    /// Dropout coordinates of every token's row.
    pub fn rows(&self, b: &B) -> Rows<'_, B> {
        Rows {
            example_ids: b.view(&self.example_ids),
            positions: b.view(&self.positions),
        }
    }
}
