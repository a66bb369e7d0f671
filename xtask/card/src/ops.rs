//! A layer's operations at one size, each with what it must compute and move: to be written down beside what they were
//! given (`Dump`), or timed (`rates`). Dropout is off: another program is to compute the same.

use crate::Work;
use anyhow::Result;
use half::bf16;
use hone_kernels::conformance::Batch;
use hone_kernels::{
    Acc, Activation, AdamwRow, AdamwStep, Attention, Backend, Drop, EmbedTables, Loss, Norm,
    NormSums, Qkv, QkvMut, WeightRef, Workspace,
};
use hone_tensor::{Depth, DropKey, Element, Kind, ParamTable, Philox, Real, write_safetensors};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// Sizes of a layer and a batch.
pub struct Shape {
    pub hidden: usize,
    pub heads: usize,
    pub lengths: Vec<usize>,
}

/// What an operation has to do at least.
#[derive(Clone, Copy)]
pub struct Cost {
    /// Multiply-adds, two operations each.
    pub flop: f64,
    /// Bytes read once and written once.
    pub bytes: f64,
}

/// Who looks at the operations.
pub trait Visit<B: Backend> {
    /// An operation; `run` runs it.
    fn operation(&mut self, name: &str, cost: Cost, run: &mut dyn FnMut()) -> Result<()>;
    /// Something it was given or made, by name and shape.
    fn tensor<T: Real>(
        &mut self,
        b: &B,
        name: &str,
        shape: &[usize],
        buf: &B::Buf<T>,
    ) -> Result<()>;
}

/// Numbers that are drawn; longer buffers repeat them. Odd, so that rows differ.
const DRAWN: usize = 65_521;
/// Rows of the word table.
const WORDS: usize = 30_522;
const CLASSES: usize = 2;
/// What dropout draws by, where a rate is measured with it.
const DROPOUT: DropKey = DropKey {
    seed: 1,
    step: 2,
    layer: 3,
    site: 0,
    draw: 0,
};

struct Draw<'b, B: Backend> {
    b: &'b B,
    drawn: u64,
}

impl<B: Backend> Draw<'_, B> {
    /// Numbers from −scale to scale, exact in bf16.
    fn numbers<T: Real + Element>(&mut self, len: usize, scale: f64) -> Result<B::Buf<T>> {
        self.drawn += 1;
        let random = Philox::new(self.drawn);
        let number =
            |k: u64| scale * ((random.u64_at(0, k) >> 44) as f64 / f64::from(1 << 19) - 1.0);
        let drawn: Vec<T> = (0..DRAWN.min(len) as u64)
            .map(|k| T::from_f64(bf16::from_f64(number(k)).to_f64()))
            .collect();
        let all: Vec<T> = drawn.iter().copied().cycle().take(len).collect();
        Ok(self.b.from_slice(&all)?)
    }

    fn acts(&mut self, len: usize) -> Result<B::Buf<B::Act>> {
        self.numbers(len, 1.0)
    }

    fn masters(&mut self, len: usize, scale: f64) -> Result<B::Buf<B::Master>> {
        self.numbers(len, scale)
    }
}

/// Every operation in turn.
pub fn each<B: Backend, V: Visit<B>>(b: &B, shape: &Shape, see: &mut V) -> Result<()> {
    let (h, heads) = (shape.hidden, shape.heads);
    let inner = 4 * h;
    let batch = Batch::new(b, &shape.lengths, WORDS);
    let (t, s) = (batch.host.tokens(), shape.lengths.len());
    b.reserve(&Workspace {
        tokens: t,
        sequences: s,
        longest: batch.host.longest(),
        hidden: h,
        intermediate: inner,
        heads,
        classes: CLASSES,
        answered: t,
    })?;
    let (act, master) = (size_of::<B::Act>() as f64, size_of::<B::Master>() as f64);
    let moved = |acts: usize, masters: usize| acts as f64 * act + masters as f64 * master;
    let mut draw = Draw { b, drawn: 0 };

    // Products of a layer: [out, in].
    let weights = [
        ("qkv", 3 * h, h),
        ("output", h, h),
        ("up", inner, h),
        ("down", h, inner),
    ];
    let mut table = ParamTable::builder();
    for (name, out, input) in weights {
        table.push(name, &[out, input], Depth::Layer(0), Kind::Matrix);
    }
    table.push("head", &[CLASSES, h], Depth::Layer(0), Kind::Matrix);
    // Biases lie in the arena, as a model's do: a backend may read them where products can add them.
    let biases = weights.map(|(name, out, _)| {
        let name = format!("{name}.bias");
        table.push(&name, &[out], Depth::Layer(0), Kind::Bias)
    });
    let of_gelu = table.push("gelu.bias", &[inner], Depth::Layer(0), Kind::Bias);
    let table = Arc::new(table.build());
    let mut params = b.params(table.clone())?;
    for (index, param) in table.params().iter().enumerate() {
        let (name, scale) = match param.kind {
            Kind::Bias => (param.name.clone(), 0.1),
            _ => (format!("weight.{}", param.name), 0.05),
        };
        let drawn: B::Buf<B::Master> = draw.masters(param.len(), scale)?;
        let mut host = vec![B::Master::default(); param.len()];
        b.download(b.view(&drawn), &mut host)?;
        b.set_param(&mut params, index, 0, &host)?;
        see.tensor(b, &name, &param.shape, &drawn)?;
    }
    b.ready_backward(&params, 0)?;
    let in_arena = |index: usize| table.params()[index].range();
    for (index, (name, out, input)) in weights.into_iter().enumerate() {
        let weight = WeightRef::one(index);
        let flop = 2.0 * (t * out * input) as f64;
        let bias = in_arena(biases[index]);
        let (x, dy) = (draw.acts(t * input)?, draw.acts(t * out)?);
        let (mut y, mut dx) = (draw.acts(t * out)?, draw.acts(t * input)?);
        let (mut dw, mut db) = (draw.masters(out * input, 0.0)?, draw.masters(out, 0.0)?);
        let cost = |acts, masters| Cost {
            flop,
            bytes: moved(acts + out * input, masters),
        };
        see.operation(
            &format!("linear.{name}"),
            cost(t * (input + out), out),
            &mut || {
                let bias = b.param(&params, bias.clone());
                b.linear(&params, weight, bias, b.view(&x), b.all_mut(&mut y));
            },
        )?;
        see.operation(
            &format!("dgrad.{name}"),
            cost(t * (input + out), 0),
            &mut || {
                b.linear_dgrad(&params, weight, b.view(&dy), Acc::Set, b.all_mut(&mut dx));
            },
        )?;
        let cost = Cost {
            flop,
            bytes: moved(t * (input + out), out * input),
        };
        see.operation(&format!("wgrad.{name}"), cost, &mut || {
            b.linear_wgrad(
                b.view(&dy),
                b.view(&x),
                t,
                Acc::Set,
                b.all_mut(&mut dw),
                None,
            );
        })?;
        let cost = Cost {
            flop: 0.0,
            bytes: moved(t * out, out),
        };
        see.operation(&format!("bias_grad.{name}"), cost, &mut || {
            b.bias_grad(b.view(&dy), t, Acc::Set, b.all_mut(&mut db));
        })?;
        let mut keep = |what: &str, shape: &[usize], buf: &_| {
            see.tensor(b, &format!("{name}.{what}"), shape, buf)
        };
        keep("x", &[t, input], &x)?;
        keep("dy", &[t, out], &dy)?;
        keep("y", &[t, out], &y)?;
        keep("dx", &[t, input], &dx)?;
        let mut keep = |what: &str, shape: &[usize], buf: &_| {
            see.tensor(b, &format!("{name}.{what}"), shape, buf)
        };
        keep("dw", &[out, input], &dw)?;
        keep("db", &[out], &db)?;
    }

    // The feed-forward's halves with GELU.
    let (up, down) = (WeightRef::one(2), WeightRef::one(3));
    let (x, dy) = (draw.acts(t * h)?, draw.acts(t * h)?);
    let (mut pre, mut y) = (draw.acts(t * inner)?, draw.acts(t * inner)?);
    let (mut dpre, mut dup) = (draw.acts(t * inner)?, draw.masters(inner, 0.0)?);
    let flop = 2.0 * (t * inner * h) as f64;
    let cost = |acts: usize| Cost {
        flop,
        bytes: moved(acts + inner * h, 0),
    };
    see.operation("linear_gelu", cost(t * (h + 2 * inner)), &mut || {
        let (bias, x) = (b.param(&params, in_arena(of_gelu)), b.view(&x));
        b.linear_activation(
            &params,
            up,
            bias,
            Activation::Gelu,
            x,
            b.all_mut(&mut pre),
            b.all_mut(&mut y),
        );
    })?;
    see.tensor(b, "gelu.x", &[t, h], &x)?;
    see.tensor(b, "gelu.pre", &[t, inner], &pre)?;
    see.tensor(b, "gelu.y", &[t, inner], &y)?;
    see.operation("dgrad_gelu", cost(t * (h + 3 * inner)), &mut || {
        let (dy, pre) = (b.view(&dy), b.view(&pre));
        b.linear_dgrad_activation(
            &params,
            down,
            dy,
            Activation::Gelu,
            pre,
            b.all_mut(&mut dpre),
            (!B::KEEPS).then(|| b.all_mut(&mut y)),
            Some((Acc::Set, b.all_mut(&mut dup))),
        );
    })?;
    see.tensor(b, "gelu.dy", &[t, h], &dy)?;
    see.tensor(b, "gelu.dpre", &[t, inner], &dpre)?;

    // Residual and LayerNorm.
    let (weight, bias) = (draw.masters(h, 1.0)?, draw.masters(h, 0.1)?);
    let norm = || Norm {
        weight: b.view(&weight),
        bias: b.view(&bias),
        eps: 1e-12,
    };
    let residual = draw.acts(t * h)?;
    let given = draw.acts(t * h)?;
    let (mut x, mut y, mut stats) = (
        draw.acts(t * h)?,
        draw.acts(t * h)?,
        draw.masters(t * 2, 0.0)?,
    );
    b.copy(b.view(&given), b.all_mut(&mut x));
    see.operation(
        "add_norm",
        Cost {
            flop: 0.0,
            bytes: moved(4 * t * h, 2 * t),
        },
        &mut || {
            let (x, y, stats) = (b.all_mut(&mut x), b.all_mut(&mut y), b.all_mut(&mut stats));
            b.add_norm(norm(), None, Some(b.view(&residual)), x, stats, y);
        },
    )?;
    let dy = draw.acts(t * h)?;
    let mut dsum = draw.acts(t * h)?;
    see.operation(
        "add_norm_backward",
        Cost {
            flop: 0.0,
            bytes: moved(3 * t * h, 2 * t),
        },
        &mut || {
            b.add_norm_backward(
                norm(),
                b.view(&dy),
                b.view(&x),
                b.view(&stats),
                b.all_mut(&mut dsum),
                None,
                NormSums::none(),
            );
        },
    )?;
    let (mut dweight, mut dbias) = (draw.masters(h, 0.0)?, draw.masters(h, 0.0)?);
    see.operation(
        "norm_param_grad",
        Cost {
            flop: 0.0,
            bytes: moved(2 * t * h, 2 * t),
        },
        &mut || {
            let (dw, db) = (b.all_mut(&mut dweight), b.all_mut(&mut dbias));
            b.norm_param_grad(b.view(&dy), b.view(&x), b.view(&stats), Acc::Set, dw, db);
        },
    )?;
    let mut bias_before = draw.masters(h, 0.0)?;
    see.operation(
        "add_norm_backward.sums",
        Cost {
            flop: 0.0,
            bytes: moved(3 * t * h, 2 * t),
        },
        &mut || {
            let sums = NormSums {
                acc: Acc::Set,
                params: Some((b.all_mut(&mut dweight), b.all_mut(&mut dbias))),
                bias_before: Some(b.all_mut(&mut bias_before)),
            };
            let (dy, x, stats) = (b.view(&dy), b.view(&x), b.view(&stats));
            b.add_norm_backward(norm(), dy, x, stats, b.all_mut(&mut dsum), None, sums);
        },
    )?;
    for (what, buf) in [
        ("x", &given),
        ("residual", &residual),
        ("sum", &x),
        ("y", &y),
        ("dy", &dy),
        ("dsum", &dsum),
    ] {
        see.tensor(b, &format!("norm.{what}"), &[t, h], buf)?;
    }
    for (what, buf) in [
        ("weight", &weight),
        ("bias", &bias),
        ("dweight", &dweight),
        ("dbias", &dbias),
    ] {
        see.tensor(b, &format!("norm.{what}"), &[h], buf)?;
    }

    // Attention.
    let how = Attention {
        heads,
        head_dim: h / heads,
        longest: batch.host.longest(),
        drop: None,
    };
    let pairs: usize = shape.lengths.iter().map(|n| n * n).sum();
    let flop = 4.0 * (pairs * h) as f64;
    let (qkv, dcontext) = (draw.acts(t * 3 * h)?, draw.acts(t * h)?);
    let (mut context, mut lse, mut dqkv) = (
        draw.acts(t * h)?,
        draw.masters(B::attention_saved(t, heads, how.longest), 0.0)?,
        draw.acts(t * 3 * h)?,
    );
    let cost = Cost {
        flop,
        bytes: moved(4 * t * h, t * heads),
    };
    let back = Cost {
        flop: 2.5 * flop,
        bytes: moved(8 * t * h, t * heads),
    };
    // Last without dropout: what is left is what another program is to compute.
    for (name, drop) in [(".dropout", Drop::new(DROPOUT, 0.1)), ("", None)] {
        let how = Attention { drop, ..how };
        see.operation(&format!("attention{name}"), cost, &mut || {
            let (context, lse) = (b.all_mut(&mut context), b.all_mut(&mut lse));
            b.attention(how, batch.tokens(b), Qkv::All(b.view(&qkv)), context, lse);
        })?;
        see.operation(&format!("attention_backward{name}"), back, &mut || {
            let dqkv = QkvMut::All(b.all_mut(&mut dqkv));
            let (qkv, context) = (Qkv::All(b.view(&qkv)), b.view(&context));
            b.attention_backward(
                how,
                batch.tokens(b),
                qkv,
                context,
                b.view(&lse),
                b.view(&dcontext),
                dqkv,
            );
        })?;
    }
    see.tensor(b, "attention.qkv", &[t, 3 * h], &qkv)?;
    see.tensor(b, "attention.context", &[t, h], &context)?;
    see.tensor(b, "attention.dcontext", &[t, h], &dcontext)?;
    see.tensor(b, "attention.dqkv", &[t, 3 * h], &dqkv)?;

    // Embeddings.
    let word = draw.masters(WORDS * h, 1.0)?;
    let longest = batch.host.longest();
    let (position, token_type) = (draw.masters(longest * h, 1.0)?, draw.masters(2 * h, 1.0)?);
    let tables = || EmbedTables {
        word: b.view(&word),
        position: b.view(&position),
        token_type: b.view(&token_type),
    };
    let (mut sum, dsum, mut dword) = (
        draw.acts(t * h)?,
        draw.acts(t * h)?,
        b.alloc::<B::Master>(WORDS * h)?,
    );
    let cost = Cost {
        flop: 0.0,
        bytes: moved(t * h, 2 * t * h),
    };
    see.operation("embed", cost, &mut || {
        b.embed(tables(), batch.tokens(b), h, b.all_mut(&mut sum));
    })?;
    let rows = batch.host.buckets().rows.len();
    let cost = Cost {
        flop: 0.0,
        bytes: moved(t * h, 2 * rows * h),
    };
    see.operation("embed_word_backward", cost, &mut || {
        b.embed_word_backward(b.view(&dsum), batch.tokens(b), h, b.all_mut(&mut dword));
    })?;

    // A head and its loss.
    let head = WeightRef::one(weights.len());
    let bias = draw.masters(CLASSES, 0.1)?;
    let (x, mut logits) = (draw.acts(s * h)?, draw.masters(s * CLASSES, 0.0)?);
    see.operation(
        "head_linear",
        Cost {
            flop: 0.0,
            bytes: moved(s * h, CLASSES * (h + s)),
        },
        &mut || {
            b.head_linear(
                &params,
                head,
                b.view(&bias),
                b.view(&x),
                b.all_mut(&mut logits),
            );
        },
    )?;
    let hot: Vec<B::Master> = (0..s * CLASSES)
        .map(|k| B::Master::from_f64(((k / 2 + k) % 2) as f64))
        .collect();
    let each = vec![B::Master::from_f64(1.0 / s as f64); s];
    let (targets, row_weights) = (b.from_slice(&hot)?, b.from_slice(&each)?);
    let (mut losses, mut dlogits) = (b.alloc::<f64>(s)?, draw.masters(s * CLASSES, 0.0)?);
    see.operation(
        "softmax_loss",
        Cost {
            flop: 0.0,
            bytes: moved(0, 3 * s * CLASSES),
        },
        &mut || {
            let loss = Loss {
                logits: b.view(&logits),
                targets: b.view(&targets),
                weights: b.view(&row_weights),
                classes: CLASSES,
            };
            b.softmax_loss(loss, 0.0, b.all_mut(&mut losses), b.all_mut(&mut dlogits));
        },
    )?;
    see.tensor(b, "head.x", &[s, h], &x)?;
    for (what, shape, buf) in [
        ("bias", &[CLASSES][..], &bias),
        ("logits", &[s, CLASSES], &logits),
        ("targets", &[s, CLASSES], &targets),
        ("dlogits", &[s, CLASSES], &dlogits),
    ] {
        see.tensor(b, &format!("head.{what}"), shape, buf)?;
    }

    // The optimiser's sweep over a layer: w, g, m, v in; w, m, v and the rounded copy out.
    let n = table.len();
    let grads = draw.masters(n, 1e-3)?;
    let (mut m, mut v) = (b.alloc::<B::Master>(n)?, b.alloc::<B::Master>(n)?);
    let coefficient = b.from_slice(&[1.0f64, 1.0])?;
    let mut rows = Vec::new();
    let mut grad_offset = 0;
    for (param, p) in table.params().iter().enumerate() {
        rows.push(AdamwRow {
            param,
            grad_offset,
            lr: 1e-5,
            weight_decay: 0.01,
            start_decay: 0.0,
            step: 10,
        });
        grad_offset += p.len();
    }
    let step = AdamwStep {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
    };
    see.operation(
        "adamw",
        Cost {
            flop: 0.0,
            bytes: moved(n, 7 * n),
        },
        &mut || {
            let (m, v) = (b.all_mut(&mut m), b.all_mut(&mut v));
            b.adamw(
                &mut params,
                &rows,
                None,
                b.view(&grads),
                m,
                v,
                b.view(&coefficient),
                step,
            );
        },
    )?;
    let mut squared = b.alloc::<f64>(1)?;
    let largest = table.params().iter().map(|p| p.len()).max().unwrap_or(0);
    see.operation(
        "squared_norm",
        Cost {
            flop: 0.0,
            bytes: moved(0, largest),
        },
        &mut || {
            b.squared_norm(b.head(&grads, largest), b.all_mut(&mut squared));
        },
    )?;
    let params = table.params().iter();
    let spans: Vec<_> = params.enumerate().map(|(k, p)| (p.range(), k)).collect();
    let mut squared = b.alloc::<f64>(spans.len())?;
    let grads = b.view(&grads);
    see.operation(
        "squared_norms",
        Cost {
            flop: 0.0,
            bytes: moved(0, n),
        },
        &mut || b.squared_norms(grads, &spans, &mut squared),
    )?;
    Ok(())
}

/// Writes everything down.
pub struct Dump<'a> {
    pub shape: &'a Shape,
    pub out: &'a Path,
}

/// Tensors by name.
#[derive(Default)]
struct Written(Vec<(String, Vec<usize>, Vec<f32>)>);

impl<B: Backend> Visit<B> for Written {
    fn operation(&mut self, _: &str, _: Cost, run: &mut dyn FnMut()) -> Result<()> {
        run();
        Ok(())
    }

    fn tensor<T: Real>(
        &mut self,
        b: &B,
        name: &str,
        shape: &[usize],
        buf: &B::Buf<T>,
    ) -> Result<()> {
        let mut host = vec![T::default(); b.len(buf)];
        b.download(b.view(buf), &mut host)?;
        let values = host.into_iter().map(|x| x.to_f64() as f32).collect();
        self.0.push((name.to_owned(), shape.to_vec(), values));
        Ok(())
    }
}

impl Work for Dump<'_> {
    fn on<B: Backend>(self, open: &dyn Fn() -> Result<B>) -> Result<Value> {
        let backend = open()?;
        let mut written = Written::default();
        each(&backend, self.shape, &mut written)?;
        let lengths: Vec<f32> = self.shape.lengths.iter().map(|&n| n as f32).collect();
        written
            .0
            .push(("lengths".to_owned(), vec![lengths.len()], lengths));
        let tensors = written
            .0
            .iter()
            .map(|(name, shape, x)| (&**name, &**shape, &**x));
        write_safetensors(
            self.out,
            tensors,
            &[("heads", self.shape.heads.to_string())],
        )?;
        Ok(json!({"ok": true, "path": backend.path(), "tensors": written.0.len()}))
    }
}
