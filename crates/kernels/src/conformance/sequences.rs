//! What knows of sequences: embeddings and attention.

use super::rows::drop;
use super::{Batch, Rig};
use crate::{Acc, Attention, Backend, EmbedTables, Qkv, QkvMut};
use hone_tensor::{Depth, Kind, ParamTable};
use std::sync::Arc;

pub(super) fn run<B: Backend>(rig: &mut Rig<'_, B>) {
    for (width, vocabulary) in [(6, 29), (16, 29), (33, 29), (300, 3)] {
        embeddings(rig, width, vocabulary);
    }
    for lengths in [&[1][..], &[3, 1, 9], &[17, 2, 33, 5], &[130, 1]] {
        for (heads, head_dim) in [(1, 5), (3, 8), (2, 32), (5, 11)] {
            for p in [0.0, 0.2] {
                attention(rig, lengths, heads, head_dim, p);
            }
        }
    }
}

fn embeddings<B: Backend>(rig: &mut Rig<'_, B>, width: usize, vocabulary: usize) {
    let b = rig.b;
    let positions = 20;
    // Norms of its gradients are room that an arena sees to.
    let mut table = ParamTable::builder();
    table.push(
        "word",
        &[vocabulary, width],
        Depth::Embeddings,
        Kind::Embedding,
    );
    let _arena = b.params(Arc::new(table.build())).expect("memory");
    // More tokens than any backend sums in one piece.
    let batch = Batch::new(b, &[5, 1, 17, 8, 20, 20, 19], vocabulary);
    let rows = batch.host.tokens();
    let tokens = || batch.tokens(b);
    let word = rig.masters(vocabulary * width);
    let position = rig.masters(positions * width);
    let token_type = rig.masters(2 * width);
    let tables = EmbedTables {
        word: b.view(&word),
        position: b.view(&position),
        token_type: b.view(&token_type),
    };
    let mut sum = rig.acts(rows * width);
    b.embed(tables, tokens(), width, b.all_mut(&mut sum));
    rig.keep(format!("embed {width}"), &sum);
    let dsum = rig.acts(rows * width);
    let mut dword = rig.masters(vocabulary * width);
    b.embed_word_backward(b.view(&dsum), tokens(), width, b.all_mut(&mut dword));
    rig.keep(format!("embed_word_backward {width}"), &dword);
    for acc in [Acc::Set, Acc::Add] {
        let mut dposition = rig.masters(positions * width);
        b.embed_position_backward(
            b.view(&dsum),
            tokens(),
            width,
            acc,
            b.all_mut(&mut dposition),
        );
        rig.keep(
            format!("embed_position_backward {acc:?} {width}"),
            &dposition,
        );
        let mut dtype = rig.masters(2 * width);
        b.embed_type_backward(b.view(&dsum), tokens(), width, acc, b.all_mut(&mut dtype));
        rig.keep(format!("embed_type_backward {acc:?} {width}"), &dtype);
    }
    let touched = b.from_slice(&batch.host.buckets().rows).expect("memory");
    let mut norm = b.from_slice(&[0.0f64]).expect("memory");
    b.squared_norm_rows(
        b.view(&dword),
        b.view(&touched),
        width,
        b.all_mut(&mut norm),
    );
    rig.keep(format!("squared_norm_rows {width}"), &norm);
    b.zero_rows(b.view(&touched), width, b.all_mut(&mut dword));
    rig.keep(format!("zero_rows {width}"), &dword);
}

fn attention<B: Backend>(
    rig: &mut Rig<'_, B>,
    lengths: &[usize],
    heads: usize,
    head_dim: usize,
    p: f64,
) {
    let b = rig.b;
    let batch = Batch::new(b, lengths, 40);
    let (rows, sequences) = (batch.host.tokens(), lengths.len());
    let hidden = heads * head_dim;
    let how = Attention {
        heads,
        head_dim,
        longest: batch.host.longest(),
        drop: drop(p),
    };
    let name =
        |what: &str| format!("attention {lengths:?}, {heads} heads of {head_dim}, p {p}, {what}");
    // Scores of some size, so that softmax has something to do.
    let wide = |x: Vec<f64>| -> Vec<f64> { x.iter().map(|x| 2.0 * x).collect() };

    let qkv = wide(rig.numbers(rows * 3 * hidden));
    let qkv = rig.act(&qkv);
    let mut context = rig.acts(rows * hidden);
    let mut lse = rig.saved(rows, heads, how.longest);
    b.attention(
        how,
        batch.tokens(b),
        Qkv::All(b.view(&qkv)),
        b.all_mut(&mut context),
        b.all_mut(&mut lse),
    );
    rig.keep(name("context"), &context);
    rig.keep_first(name("lse"), &lse, rows * heads);
    let dcontext = rig.acts(rows * hidden);
    let mut dqkv = rig.acts(rows * 3 * hidden);
    b.attention_backward(
        how,
        batch.tokens(b),
        Qkv::All(b.view(&qkv)),
        b.view(&context),
        b.view(&lse),
        b.view(&dcontext),
        QkvMut::All(b.all_mut(&mut dqkv)),
    );
    rig.keep_difference(name("dqkv"), &dqkv, 1.0);

    let q = wide(rig.numbers(sequences * hidden));
    let q = rig.act(&q);
    let kv = rig.acts(rows * 2 * hidden);
    let first = || Qkv::First {
        q: b.view(&q),
        kv: b.view(&kv),
    };
    let mut context = rig.acts(sequences * hidden);
    let mut lse = rig.saved(sequences, heads, how.longest);
    b.attention(
        how,
        batch.tokens(b),
        first(),
        b.all_mut(&mut context),
        b.all_mut(&mut lse),
    );
    rig.keep(name("first rows' context"), &context);
    rig.keep_first(name("first rows' lse"), &lse, sequences * heads);
    let dcontext = rig.acts(sequences * hidden);
    let mut dq = rig.acts(sequences * hidden);
    let mut dkv = rig.acts(rows * 2 * hidden);
    b.attention_backward(
        how,
        batch.tokens(b),
        first(),
        b.view(&context),
        b.view(&lse),
        b.view(&dcontext),
        QkvMut::First {
            dq: b.all_mut(&mut dq),
            dkv: b.all_mut(&mut dkv),
        },
    );
    rig.keep_difference(name("first rows' dq"), &dq, 1.0);
    rig.keep_difference(name("first rows' dkv"), &dkv, 1.0);
}
