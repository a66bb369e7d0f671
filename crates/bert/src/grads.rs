//! The gradient arena: what is trained has room, what is frozen has none.

use crate::BertError;
use crate::layout::{Layout, NormRows};
use hone_kernels::{Acc, Backend, BackendError, NormSums, WeightRef};
use hone_tensor::GradLayout;

/// Gradients of one optimiser step.
pub struct Grads<B: Backend> {
    layout: GradLayout,
    arena: B::Buf<B::Master>,
    /// Squared norm of each row of the table, where it is known.
    squared: B::Buf<f64>,
    /// Whether it is that of the gradient as it now is: products leave it behind.
    known: Vec<bool>,
    /// Rows of the word embeddings the step has touched, ascending; the others hold zeros.
    touched: Vec<u32>,
    touched_device: B::Buf<u32>,
    /// Whether every row of theirs has a gradient: they are the matrix of the head too, which writes it first.
    dense_words: bool,
}

hone_tensor::brief_debug! { [B: Backend] Grads<B>, |g| numbers: g.layout.len, touched: g.touched.len() }

/// Total gradient norm, and the squared norm of each row of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct GradNorm {
    /// √Σ.
    pub total: f64,
    /// By row of the table, 0 where frozen.
    pub squared: Vec<f64>,
}

impl<B: Backend> Grads<B> {
    /// An arena for `layout` over a model's table.
    pub fn new(b: &B, model: &Layout, layout: GradLayout) -> Result<Self, BackendError> {
        let vocabulary = model.table.params()[model.word].shape[0];
        let touched = match layout.trains(model.word) && model.transform.is_none() {
            true => vocabulary,
            false => 0,
        };
        Ok(Grads {
            arena: b.alloc(layout.len)?,
            squared: b.alloc(layout.offsets.len())?,
            known: vec![false; layout.offsets.len()],
            touched: Vec::new(),
            touched_device: b.alloc(touched)?,
            dense_words: model.transform.is_some(),
            layout,
        })
    }

    /// Offsets in the arena.
    pub fn layout(&self) -> &GradLayout {
        &self.layout
    }

    /// Rows of the word embeddings that the step has touched, ascending; all others have a gradient of zero. None are told of a
    /// model that says masked words: there every row has one.
    pub fn touched(&self) -> &[u32] {
        &self.touched
    }

    /// The arena.
    pub fn view<'a>(&'a self, b: &B) -> B::View<'a, B::Master> {
        b.view(&self.arena)
    }

    /// Gradient of row `index`, or `None` where it has no room.
    pub fn param<'a>(
        &'a self,
        b: &B,
        model: &Layout,
        index: usize,
    ) -> Option<B::View<'a, B::Master>> {
        let at = self.layout.offsets[index]?;
        let len = model.table.params()[index].len();
        Some(b.slice(b.view(&self.arena), at..at + len))
    }

    /// Gradient of row `index` to be changed, or `None` where it has no room.
    pub fn param_mut<'a>(
        &'a mut self,
        b: &B,
        model: &Layout,
        index: usize,
    ) -> Option<B::ViewMut<'a, B::Master>> {
        self.slot(b, model, WeightRef::one(index))
    }

    pub(crate) fn slot<'a>(
        &'a mut self,
        b: &B,
        model: &Layout,
        weight: WeightRef,
    ) -> Option<B::ViewMut<'a, B::Master>> {
        let at = self.layout.offsets[weight.first]?;
        let len = weight.range(&model.table).len();
        self.known[weight.first..weight.first + weight.count].fill(false);
        let all = b.all_mut(&mut self.arena);
        Some(b.slice_mut(all, at..at + len))
    }

    /// Gradients of a stack of matrices, and where products take norms the squared norm of each, which whoever
    /// writes the gradients writes too.
    pub(crate) fn matrices<'a>(
        &'a mut self,
        b: &B,
        model: &Layout,
        weight: WeightRef,
    ) -> Option<(B::ViewMut<'a, B::Master>, Option<B::ViewMut<'a, f64>>)> {
        let at = self.layout.offsets[weight.first]?;
        let len = weight.range(&model.table).len();
        let rows = weight.first..weight.first + weight.count;
        self.known[rows.clone()].fill(B::NORMS_OF_PRODUCTS);
        let squared = B::NORMS_OF_PRODUCTS.then(|| b.slice_mut(b.all_mut(&mut self.squared), rows));
        let all = b.all_mut(&mut self.arena);
        Some((b.slice_mut(all, at..at + len), squared))
    }

    /// Gradients of two rows, the first lying below the second.
    pub(crate) fn pair<'a>(
        &'a mut self,
        b: &B,
        model: &Layout,
        (first, second): (usize, usize),
    ) -> Option<(B::ViewMut<'a, B::Master>, B::ViewMut<'a, B::Master>)> {
        let (low, high) = (self.layout.offsets[first]?, self.layout.offsets[second]?);
        (self.known[first], self.known[second]) = (false, false);
        let rows = model.table.params();
        let (below, above) = b.split_mut(b.all_mut(&mut self.arena), high);
        Some((
            b.slice_mut(below, low..low + rows[first].len()),
            b.slice_mut(above, 0..rows[second].len()),
        ))
    }

    /// Gradients that the backward pass of a LayerNorm makes: of its two parameters, and of the bias `before` it,
    /// which lies below them.
    pub(crate) fn norm<'a>(
        &'a mut self,
        b: &B,
        model: &Layout,
        acc: Acc,
        rows: NormRows,
        before: Option<usize>,
    ) -> NormSums<'a, B> {
        let table = model.table.params();
        let mut all = b.all_mut(&mut self.arena);
        // Where what is left of the arena begins.
        let mut first = 0;
        let mut next = |row: usize, all: B::ViewMut<'a, B::Master>| {
            let Some(at) = self.layout.offsets[row] else {
                return (None, all);
            };
            self.known[row] = false;
            let end = at + table[row].len();
            let (below, above) = b.split_mut(all, end - first);
            let slot = b.slice_mut(below, at - first..end - first);
            first = end;
            (Some(slot), above)
        };
        let mut bias_before = None;
        if let Some(row) = before {
            (bias_before, all) = next(row, all);
        }
        let (weight, all) = next(rows.weight, all);
        let (bias, _) = next(rows.bias, all);
        NormSums {
            acc,
            params: weight.zip(bias),
            bias_before,
        }
    }

    /// Before a micro-batch writes the word table: the first of a step clears what the step before
    /// touched, and every one adds its rows to the list.
    pub(crate) fn touch(
        &mut self,
        b: &B,
        model: &Layout,
        distinct: &[u32],
        acc: Acc,
    ) -> Result<(), BertError> {
        let width = model.table.params()[model.word].shape[1];
        let Some(at) = self.layout.offsets[model.word].filter(|_| !self.dense_words) else {
            return Ok(());
        };
        if acc == Acc::Set {
            let n = self.touched.len();
            let all = b.all_mut(&mut self.arena);
            let len = model.table.params()[model.word].len();
            b.zero_rows(
                b.head(&self.touched_device, n),
                width,
                b.slice_mut(all, at..at + len),
            );
            self.touched.clear();
        }
        self.touched = union(&self.touched, distinct);
        let n = self.touched.len();
        b.upload(b.head_mut(&mut self.touched_device, n), &self.touched)?;
        Ok(())
    }

    /// Norms of all gradients, and into `coefficient[2]` the clip coefficient for `max_norm`; waits for them.
    pub fn norms(
        &mut self,
        b: &B,
        model: &Layout,
        counted: impl Fn(usize) -> bool,
        max_norm: Option<f64>,
        coefficient: &mut B::Buf<f64>,
    ) -> Result<GradNorm, BertError> {
        let coming = self.queue_norms(b, model, counted, max_norm, coefficient)?;
        Ok(GradNorm::of(b.arrived(coming)?))
    }

    /// The same, without waiting: squared norms on their way ([`GradNorm::of`]).
    ///
    /// `counted` says which rows take part; rows that have room but are not updated now do not.
    pub fn queue_norms(
        &mut self,
        b: &B,
        model: &Layout,
        counted: impl Fn(usize) -> bool,
        max_norm: Option<f64>,
        coefficient: &mut B::Buf<f64>,
    ) -> Result<B::Coming<f64>, BertError> {
        let mut spans = Vec::new();
        for index in 0..self.layout.offsets.len() {
            let Some(at) = self.layout.offsets[index] else {
                continue;
            };
            if !counted(index) {
                let all = b.all_mut(&mut self.squared);
                b.fill(0.0, b.slice_mut(all, index..index + 1));
                self.known[index] = false;
                continue;
            }
            if self.known[index] {
                continue;
            }
            let param = &model.table.params()[index];
            let span = at..at + param.len();
            if index != model.word || self.dense_words {
                spans.push((span, index));
                continue;
            }
            let grad = b.slice(b.view(&self.arena), span);
            let all = b.all_mut(&mut self.squared);
            let out = b.slice_mut(all, index..index + 1);
            let rows = b.head(&self.touched_device, self.touched.len());
            b.squared_norm_rows(grad, rows, param.shape[1], out);
        }
        b.squared_norms(b.view(&self.arena), &spans, &mut self.squared);
        b.clip_coefficient(b.view(&self.squared), max_norm, b.all_mut(coefficient));
        Ok(b.fetch(b.view(&self.squared))?)
    }
}

impl GradNorm {
    /// From the squared norms of all tensors.
    pub fn of(squared: Vec<f64>) -> GradNorm {
        GradNorm {
            total: squared.iter().sum::<f64>().sqrt(),
            squared,
        }
    }
}

/// Merges two ascending lists without repeats.
fn union(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let next = match (a.get(i), b.get(j)) {
            (Some(&x), Some(&y)) => x.min(y),
            (Some(&x), None) | (None, Some(&x)) => x,
            (None, None) => break,
        };
        i += usize::from(a.get(i) == Some(&next));
        j += usize::from(b.get(j) == Some(&next));
        out.push(next);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn union_is_sorted_and_without_repeats() {
        assert_eq!(super::union(&[1, 4, 7], &[0, 4, 9]), [0, 1, 4, 7, 9]);
        assert_eq!(super::union(&[], &[2]), [2]);
        assert_eq!(super::union(&[2, 3], &[]), [2, 3]);
    }
}
