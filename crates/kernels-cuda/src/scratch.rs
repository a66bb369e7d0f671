//! Room that kernels need beside their operands: sized before a run, shared by all operations in turn.

use crate::driver::Driver;
use crate::memory::{Buf, View};

/// Scratch memory. Whoever holds it queues all launches that use it before letting go, so the queue's order keeps
/// operations apart.
pub(crate) struct Scratch<D: Driver> {
    /// Partial sums over rows; attention's deltas.
    pub(crate) sums: Option<Buf<D, f32>>,
    /// Partial norms.
    pub(crate) norms: Option<Buf<D, f64>>,
    /// AdamW's table of tensors or of steps.
    pub(crate) table: Option<Buf<D, u8>>,
    /// The table of spans whose norms are taken at once.
    pub(crate) spans: Option<Buf<D, u8>>,
    /// What it holds.
    pub(crate) spans_hold: Vec<u8>,
}

impl<D: Driver> Scratch<D> {
    pub(crate) fn sums(&mut self, len: usize) -> View<'_, f32> {
        match &self.sums {
            Some(buf) => buf.view().part(0..len),
            None => panic!("Backend::reserve comes before operations"),
        }
    }

    pub(crate) fn norms(&mut self, len: usize) -> View<'_, f64> {
        match &self.norms {
            Some(buf) => buf.view().part(0..len),
            None => panic!("Backend::params comes before norms of gradients"),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.sums.as_ref().map_or(0, Buf::bytes)
            + self.norms.as_ref().map_or(0, Buf::bytes)
            + self.table.as_ref().map_or(0, Buf::bytes)
            + self.spans.as_ref().map_or(0, Buf::bytes)
    }
}
