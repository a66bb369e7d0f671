//! AdamW's state over the trained part of the arena.

use crate::Groups;
use hone_kernels::{AdamwRow, AdamwStep, Backend, BackendError};
use hone_tensor::GradLayout;

/// First and second moments, and how many steps each tensor has taken.
pub struct Optimizer<B: Backend> {
    layout: GradLayout,
    constants: AdamwStep,
    m: B::Buf<B::Master>,
    v: B::Buf<B::Master>,
    taken: Vec<u32>,
    rows: Vec<AdamwRow>,
}

impl<B: Backend> Optimizer<B> {
    /// Moments of zero for the gradients of `layout`.
    pub fn new(b: &B, layout: GradLayout, constants: AdamwStep) -> Result<Self, BackendError> {
        Ok(Optimizer {
            m: b.alloc(layout.len)?,
            v: b.alloc(layout.len)?,
            taken: vec![0; layout.offsets.len()],
            rows: Vec::with_capacity(layout.offsets.len()),
            layout,
            constants,
        })
    }

    /// One step over the rows that are `awake`: rates are the groups' times `factor`; gradients are
    /// multiplied by `coefficient[1]`. A row's bias correction counts the steps it has itself taken.
    pub fn step(
        &mut self,
        b: &B,
        params: &mut B::Params,
        groups: &Groups,
        factor: f64,
        awake: impl Fn(usize) -> bool,
        grads: B::View<'_, B::Master>,
        coefficient: B::View<'_, f64>,
    ) {
        self.rows.clear();
        for (param, group) in groups.rows().iter().enumerate() {
            let Some(grad_offset) = self.layout.offsets[param] else {
                continue;
            };
            if !group.trained || !awake(param) {
                continue;
            }
            self.taken[param] += 1;
            self.rows.push(AdamwRow {
                param,
                grad_offset,
                lr: group.lr * factor,
                weight_decay: group.weight_decay,
                step: self.taken[param],
            });
        }
        b.adamw(
            params,
            &self.rows,
            grads,
            b.all_mut(&mut self.m),
            b.all_mut(&mut self.v),
            coefficient,
            self.constants,
        );
    }

    /// Steps each row of the table has taken.
    pub fn taken(&self) -> &[u32] {
        &self.taken
    }

    /// First and second moments.
    pub fn moments<'a>(&'a self, b: &B) -> (B::View<'a, B::Master>, B::View<'a, B::Master>) {
        (b.view(&self.m), b.view(&self.v))
    }

    /// Puts back moments and counts, as a checkpoint kept them.
    pub fn restore(
        &mut self,
        b: &B,
        m: &[B::Master],
        v: &[B::Master],
        taken: Vec<u32>,
    ) -> Result<(), BackendError> {
        b.upload(b.all_mut(&mut self.m), m)?;
        b.upload(b.all_mut(&mut self.v), v)?;
        self.taken = taken;
        Ok(())
    }
}
