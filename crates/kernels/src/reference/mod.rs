//! The scalar reference: every operation as its formula, one loop at a time, in f32 or f64.
//! It is the definition that backends are held against; nothing in it is fast.

mod attention;
mod contrast;
mod layers;
mod loss;
mod sweep;

use crate::math::{Scalar, activation, activation_derivative};
use crate::types::*;
use crate::{Backend, BackendError};
use hone_tensor::{Element, ParamTable};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

/// The scalar backend over `F`, on the calling thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference<F>(PhantomData<F>);

/// The reference's arena of weights.
pub struct ReferenceParams<F> {
    table: Arc<ParamTable>,
    data: Vec<F>,
}

hone_tensor::brief_debug! { [F] ReferenceParams<F>, |p| parameters: p.table.params().len(), numbers: p.data.len() }

/// The product all three forms are made of: `c[i, j] = Σ_k a(i, k)·b(k, j)`.
fn product<F: Scalar>(
    (rows, columns, depth): (usize, usize, usize),
    a: impl Fn(usize, usize) -> F,
    b: impl Fn(usize, usize) -> F,
    mut store: impl FnMut(usize, F),
) {
    for i in 0..rows {
        for j in 0..columns {
            let mut sum = F::of(0.0);
            for k in 0..depth {
                sum += a(i, k) * b(k, j);
            }
            store(i * columns + j, sum);
        }
    }
}

fn put<F: Scalar>(acc: Acc, slot: &mut F, value: F) {
    match acc {
        Acc::Set => *slot = value,
        Acc::Add => *slot += value,
    }
}

impl<F: Scalar> Backend for Reference<F> {
    type Act = F;
    type Master = F;
    type Buf<T: Element> = Vec<T>;
    type View<'a, T: Element> = &'a [T];
    type ViewMut<'a, T: Element> = &'a mut [T];
    type Params = ReferenceParams<F>;
    type Coming<T: Element> = Vec<T>;

    const QUEUES: bool = false;
    const ROWS_ALONE: bool = true;
    const NORMS_OF_PRODUCTS: bool = true;

    fn path(&self) -> String {
        format!("reference-{}", F::NAME)
    }

    fn reserve(&self, _: &Workspace) -> Result<(), BackendError> {
        Ok(())
    }

    fn memory(&self, _: &Self::Params) -> Vec<(&'static str, usize)> {
        Vec::new()
    }

    fn alloc<T: Element>(&self, len: usize) -> Result<Vec<T>, BackendError> {
        Ok(vec![T::default(); len])
    }

    crate::host_memory!();

    fn params(&self, table: Arc<ParamTable>) -> Result<Self::Params, BackendError> {
        let data = vec![F::of(0.0); table.len()];
        Ok(ReferenceParams { table, data })
    }

    fn table<'a>(&self, params: &'a Self::Params) -> &'a Arc<ParamTable> {
        &params.table
    }

    fn set_param(
        &self,
        params: &mut Self::Params,
        index: usize,
        first: usize,
        values: &[F],
    ) -> Result<(), BackendError> {
        let range = params.table.params()[index].part(first, values.len());
        params.data[range].copy_from_slice(values);
        Ok(())
    }

    fn param<'a>(&self, params: &'a Self::Params, range: Range<usize>) -> &'a [F] {
        &params.data[range]
    }

    fn param_axpby(&self, params: &mut Self::Params, index: usize, a: f64, x: &[F], b: f64) {
        let range = params.table.params()[index].range();
        sweep::axpby(a, x, b, &mut params.data[range]);
    }

    fn param_swap(&self, params: &mut Self::Params, other: &mut Vec<F>) {
        assert_eq!(params.data.len(), other.len(), "arenas of one table");
        std::mem::swap(&mut params.data, other);
    }

    fn adamw(
        &self,
        params: &mut Self::Params,
        rows: &[AdamwRow],
        start: Option<&[F]>,
        grads: &[F],
        m: &mut [F],
        v: &mut [F],
        coefficient: &[f64],
        step: AdamwStep,
    ) {
        for row in rows {
            let range = params.table.params()[row.param].range();
            let at = row.grad_offset..row.grad_offset + range.len();
            let start = match (row.start_decay != 0.0, start) {
                (false, _) => None,
                (true, Some(start)) => Some(&start[range.clone()]),
                (true, None) => unreachable!("a decay towards a start that is not given"),
            };
            sweep::adamw(
                &mut params.data[range],
                start,
                &grads[at.clone()],
                &mut m[at.clone()],
                &mut v[at],
                coefficient[1],
                row,
                step,
            );
        }
    }

    fn adamw_rows(
        &self,
        params: &mut Self::Params,
        history: &[AdamwRow],
        rows: &[u32],
        since: &[u32],
        grads: Option<(&[F], &[f64])>,
        m: &mut [F],
        v: &mut [F],
        step: AdamwStep,
    ) {
        let Some(one) = history.first() else {
            return;
        };
        let param = &params.table.params()[one.param];
        let (start, width) = (param.offset, param.shape[1]);
        let nothing = vec![F::of(0.0); width];
        for (&row, &first) in rows.iter().zip(since) {
            let at = row as usize * width;
            let w = &mut params.data[start + at..start + at + width];
            let at = one.grad_offset + at..one.grad_offset + at + width;
            for (k, now) in history.iter().enumerate().skip(first as usize) {
                let (g, coefficient) = match grads {
                    Some((grads, c)) if k + 1 == history.len() => (&grads[at.clone()], c[1]),
                    _ => (&nothing[..], 1.0),
                };
                let (m, v) = (&mut m[at.clone()], &mut v[at.clone()]);
                sweep::adamw(w, None, g, m, v, coefficient, now, step);
            }
        }
    }

    fn linear(&self, params: &Self::Params, weight: WeightRef, bias: &[F], x: &[F], y: &mut [F]) {
        let (out, input) = weight.shape(&params.table);
        let w = &params.data[weight.range(&params.table)];
        assert_eq!(
            x.len() / input * out,
            y.len(),
            "linear: [R, {input}] to [R, {out}]"
        );
        product(
            (y.len() / out, out, input),
            |i, k| x[i * input + k],
            |k, j| w[j * input + k],
            |at, sum| y[at] = sum + bias[at % out],
        );
    }

    fn linear_activation(
        &self,
        params: &Self::Params,
        weight: WeightRef,
        bias: &[F],
        kind: Activation,
        x: &[F],
        pre: &mut [F],
        y: &mut [F],
    ) {
        self.linear(params, weight, bias, x, pre);
        for (y, &p) in y.iter_mut().zip(pre.iter()) {
            *y = activation(kind, p);
        }
    }

    fn linear_dgrad(
        &self,
        params: &Self::Params,
        weight: WeightRef,
        dy: &[F],
        acc: Acc,
        dx: &mut [F],
    ) {
        let (out, input) = weight.shape(&params.table);
        let w = &params.data[weight.range(&params.table)];
        assert_eq!(
            dy.len() / out * input,
            dx.len(),
            "dgrad: [R, {out}] to [R, {input}]"
        );
        product(
            (dx.len() / input, input, out),
            |i, k| dy[i * out + k],
            |k, j| w[k * input + j],
            |at, sum| put(acc, &mut dx[at], sum),
        );
    }

    fn linear_dgrad_activation(
        &self,
        params: &Self::Params,
        weight: WeightRef,
        dy: &[F],
        kind: Activation,
        pre: &[F],
        dpre: &mut [F],
        y: Option<&mut [F]>,
        db: Option<(Acc, &mut [F])>,
    ) {
        self.linear_dgrad(params, weight, dy, Acc::Set, dpre);
        for (d, &p) in dpre.iter_mut().zip(pre) {
            *d *= activation_derivative(kind, p);
        }
        for (y, &p) in y.into_iter().flatten().zip(pre) {
            *y = activation(kind, p);
        }
        if let Some((acc, db)) = db {
            self.bias_grad(dpre, dpre.len() / db.len(), acc, db);
        }
    }

    fn linear_wgrad(
        &self,
        dy: &[F],
        x: &[F],
        rows: usize,
        acc: Acc,
        dw: &mut [F],
        squared: Option<&mut [f64]>,
    ) {
        let (out, input) = (dy.len() / rows, x.len() / rows);
        assert_eq!(dw.len(), out * input, "wgrad: [{out}, {input}]");
        product(
            (out, input, rows),
            |i, k| dy[k * out + i],
            |k, j| x[k * input + j],
            |at, sum| put(acc, &mut dw[at], sum),
        );
        if let Some(squared) = squared {
            let each = dw.len() / squared.len();
            for (out, dw) in squared.chunks_mut(1).zip(dw.chunks(each)) {
                self.squared_norm(dw, out);
            }
        }
    }

    fn bias_grad(&self, dy: &[F], rows: usize, acc: Acc, db: &mut [F]) {
        let width = db.len();
        layers::column_sums(rows, width, acc, |r, c| dy[r * width + c], db);
    }

    fn head_linear(
        &self,
        params: &Self::Params,
        weight: WeightRef,
        bias: &[F],
        x: &[F],
        logits: &mut [F],
    ) {
        self.linear(params, weight, bias, x, logits);
    }

    fn head_linear_backward(
        &self,
        params: &Self::Params,
        weight: WeightRef,
        dlogits: &[F],
        x: &[F],
        acc: Acc,
        dx: Option<&mut [F]>,
        dw: Option<&mut [F]>,
        db: Option<&mut [F]>,
    ) {
        let rows = dlogits.len() / weight.shape(&params.table).0;
        if let Some(dx) = dx {
            self.linear_dgrad(params, weight, dlogits, Acc::Set, dx);
        }
        if let Some(dw) = dw {
            self.linear_wgrad(dlogits, x, rows, acc, dw, None);
        }
        if let Some(db) = db {
            self.bias_grad(dlogits, rows, acc, db);
        }
    }

    fn activation_backward(&self, kind: Activation, _: usize, pre: &[F], d: &mut [F]) {
        for (d, &p) in d.iter_mut().zip(pre) {
            *d *= activation_derivative(kind, p);
        }
    }

    fn tanh(&self, x: &[F], y: &mut [F]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x.tanh();
        }
    }

    fn tanh_backward(&self, y: &[F], d: &mut [F]) {
        for (d, &y) in d.iter_mut().zip(y) {
            *d *= F::of(1.0) - y * y;
        }
    }

    fn dropout(&self, drop: Drop, rows: Rows<'_, Self>, width: usize, x: &mut [F]) {
        layers::dropout(drop, rows, width, x);
    }

    fn mask_weights(&self, drop: Drop, tensor: u64, width: usize, x: &mut [F]) {
        let rows = x.len() / width.max(1);
        let (ids, positions) = (vec![tensor; rows], Vec::from_iter(0..rows as u32));
        let rows = Rows {
            example_ids: &ids[..],
            positions: &positions[..],
        };
        layers::dropout(drop, rows, width, x);
    }

    fn gather_rows(&self, x: &[F], index: &[u32], width: usize, y: &mut [F]) {
        for (row, &i) in y.chunks_mut(width).zip(index) {
            row.copy_from_slice(&x[i as usize * width..][..width]);
        }
    }

    fn scatter_add_rows(&self, dy: &[F], index: &[u32], width: usize, dx: &mut [F]) {
        for (row, &i) in dy.chunks(width).zip(index) {
            for (d, &g) in dx[i as usize * width..][..width].iter_mut().zip(row) {
                *d += g;
            }
        }
    }

    fn mean_tokens(&self, x: &[F], cu_seqlens: &[u32], width: usize, y: &mut [F]) {
        for (y, span) in y.chunks_mut(width).zip(cu_seqlens.windows(2)) {
            y.fill(F::of(0.0));
            for t in span[0] as usize..span[1] as usize {
                for (y, &x) in y.iter_mut().zip(&x[t * width..]) {
                    *y += x;
                }
            }
            let length = F::of(f64::from(span[1] - span[0]));
            y.iter_mut().for_each(|y| *y = *y / length);
        }
    }

    fn mean_tokens_backward(&self, dy: &[F], cu_seqlens: &[u32], width: usize, dx: &mut [F]) {
        for (dy, span) in dy.chunks(width).zip(cu_seqlens.windows(2)) {
            let length = F::of(f64::from(span[1] - span[0]));
            for t in span[0] as usize..span[1] as usize {
                for (dx, &dy) in dx[t * width..].iter_mut().zip(dy) {
                    *dx = dy / length;
                }
            }
        }
    }

    fn embed(
        &self,
        tables: EmbedTables<'_, Self>,
        tokens: Tokens<'_, Self>,
        width: usize,
        sum: &mut [F],
    ) {
        layers::embed(tables, tokens, width, sum);
    }

    fn embed_word_backward(
        &self,
        dsum: &[F],
        tokens: Tokens<'_, Self>,
        width: usize,
        dword: &mut [F],
    ) {
        for (t, &id) in tokens.ids.iter().enumerate() {
            for c in 0..width {
                dword[id as usize * width + c] += dsum[t * width + c];
            }
        }
    }

    fn embed_position_backward(
        &self,
        dsum: &[F],
        tokens: Tokens<'_, Self>,
        width: usize,
        acc: Acc,
        dposition: &mut [F],
    ) {
        layers::table_grad(dsum, tokens.positions, width, acc, dposition);
    }

    fn embed_type_backward(
        &self,
        dsum: &[F],
        tokens: Tokens<'_, Self>,
        width: usize,
        acc: Acc,
        dtype: &mut [F],
    ) {
        layers::table_grad(dsum, tokens.types, width, acc, dtype);
    }

    fn zero_rows(&self, rows: &[u32], width: usize, x: &mut [F]) {
        for &r in rows {
            x[r as usize * width..][..width].fill(F::of(0.0));
        }
    }

    fn add_norm(
        &self,
        norm: Norm<'_, Self>,
        drop: Option<(Drop, Rows<'_, Self>)>,
        residual: Option<&[F]>,
        x: &mut [F],
        stats: &mut [F],
        y: &mut [F],
    ) {
        if let Some((drop, rows)) = drop {
            layers::dropout(drop, rows, norm.weight.len(), x);
        }
        if let Some(residual) = residual {
            sweep::axpby(1.0, residual, 1.0, x);
        }
        layers::norm_stats(norm.eps, norm.weight.len(), x, stats);
        self.norm_apply(norm, x, stats, y);
    }

    fn norm_apply(&self, norm: Norm<'_, Self>, sum: &[F], stats: &[F], y: &mut [F]) {
        layers::norm_apply(norm, sum, stats, y);
    }

    fn add_norm_backward(
        &self,
        norm: Norm<'_, Self>,
        dy: &[F],
        sum: &[F],
        stats: &[F],
        dsum: &mut [F],
        dropped: Option<(Drop, Rows<'_, Self>, &mut [F])>,
        sums: NormSums<'_, Self>,
    ) {
        let width = norm.weight.len();
        layers::norm_backward(norm, dy, sum, stats, dsum);
        let mut before: &[F] = dsum;
        if let Some((drop, rows, dx)) = dropped {
            dx.copy_from_slice(dsum);
            layers::dropout(drop, rows, width, dx);
            before = dx;
        }
        if let Some((dweight, dbias)) = sums.params {
            self.norm_param_grad(dy, sum, stats, sums.acc, dweight, dbias);
        }
        if let Some(db) = sums.bias_before {
            self.bias_grad(before, before.len() / width, sums.acc, db);
        }
    }

    fn norm_param_grad(
        &self,
        dy: &[F],
        sum: &[F],
        stats: &[F],
        acc: Acc,
        dweight: &mut [F],
        dbias: &mut [F],
    ) {
        let width = dweight.len();
        let rows = dy.len() / width;
        let normal = |r: usize, c: usize| (sum[r * width + c] - stats[2 * r]) * stats[2 * r + 1];
        layers::column_sums(
            rows,
            width,
            acc,
            |r, c| dy[r * width + c] * normal(r, c),
            dweight,
        );
        layers::column_sums(rows, width, acc, |r, c| dy[r * width + c], dbias);
    }

    fn attention(
        &self,
        attention: Attention,
        tokens: Tokens<'_, Self>,
        qkv: Qkv<'_, Self>,
        context: &mut [F],
        lse: &mut [F],
    ) {
        attention::forward(attention, tokens, qkv, context, lse);
    }

    fn attention_backward(
        &self,
        attention: Attention,
        tokens: Tokens<'_, Self>,
        qkv: Qkv<'_, Self>,
        _context: &[F],
        lse: &[F],
        dcontext: &[F],
        dqkv: QkvMut<'_, Self>,
    ) {
        attention::backward(attention, tokens, qkv, lse, dcontext, dqkv);
    }

    fn softmax_loss(
        &self,
        loss: Loss<'_, Self>,
        focal: f64,
        losses: &mut [f64],
        dlogits: &mut [F],
    ) {
        loss::softmax(loss, focal, losses, dlogits);
    }

    fn class_loss(
        &self,
        logits: &[F],
        class: &[u32],
        weights: &[F],
        losses: &mut [f64],
        dlogits: &mut [F],
    ) {
        loss::class(logits, class, weights, losses, dlogits);
    }

    fn symmetric_kl(
        &self,
        loss: Loss<'_, Self>,
        alpha: f64,
        losses: &mut [f64],
        dlogits: &mut [F],
    ) {
        loss::symmetric_kl(loss, alpha, losses, dlogits);
    }

    fn sigmoid_loss(&self, loss: Loss<'_, Self>, losses: &mut [f64], dlogits: &mut [F]) {
        loss::sigmoid(loss, losses, dlogits);
    }

    fn squared_loss(&self, loss: Loss<'_, Self>, losses: &mut [f64], dlogits: &mut [F]) {
        loss::squared(loss, losses, dlogits);
    }

    fn contrast(
        &self,
        contrast: Contrast,
        x: &[F],
        targets: &[F],
        weights: &[F],
        losses: &mut [f64],
        kept: &mut [F],
    ) {
        contrast::forward(contrast, x, targets, weights, losses, kept);
    }

    fn contrast_backward(
        &self,
        contrast: Contrast,
        x: &[F],
        width: usize,
        kept: &[F],
        dx: &mut [F],
    ) {
        contrast::backward(contrast, x, width, kept, dx);
    }

    fn squared_norm(&self, x: &[F], out: &mut [f64]) {
        out[0] = x.iter().map(|x| x.to_f64() * x.to_f64()).sum();
    }

    fn squared_norm_rows(&self, x: &[F], rows: &[u32], width: usize, out: &mut [f64]) {
        out[0] = rows
            .iter()
            .flat_map(|&r| &x[r as usize * width..][..width])
            .map(|x| x.to_f64() * x.to_f64())
            .sum();
    }

    fn clip_coefficient(&self, squared: &[f64], max_norm: Option<f64>, out: &mut [f64]) {
        let norm = squared.iter().sum::<f64>().sqrt();
        out[0] = norm;
        out[1] = max_norm.map_or(1.0, |max| (max / (norm + 1e-6)).min(1.0));
    }

    fn axpby(&self, a: f64, x: &[F], b: f64, y: &mut [F]) {
        sweep::axpby(a, x, b, y);
    }
}
