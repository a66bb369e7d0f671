//! The arena of weights on the device, and beside it, where activations are rounded, a rounded copy that products
//! read. Every way to write weights goes through [`crate::CudaBackend`], which keeps the copy in step.

use crate::act::Act;
use crate::driver::Driver;
use crate::memory::Buf;
use hone_tensor::ParamTable;
use std::sync::Arc;

/// Weights in f32, and the copy of them in the activations' numbers where these are not f32.
pub struct CudaParams<D: Driver, A> {
    pub(crate) table: Arc<ParamTable>,
    pub(crate) data: Buf<D, f32>,
    pub(crate) copy: Option<Buf<D, A>>,
}

hone_tensor::brief_debug! {
    [D: Driver, A] CudaParams<D, A>, |p|
    parameters: p.table.params().len(), numbers: p.data.len, copied: p.copy.is_some()
}

impl<D: Driver, A: Act> CudaParams<D, A> {
    /// Where products read element `at` of the arena.
    pub(crate) fn read_by_products(&self, at: usize) -> u64 {
        match &self.copy {
            Some(copy) => copy.address + (at * size_of::<A>()) as u64,
            None => self.data.address + (at * size_of::<f32>()) as u64,
        }
    }

    /// Where the copy of an address in the arena is, if it is one.
    pub(crate) fn copy_of(&self, address: u64) -> Option<u64> {
        let end = self.data.address + self.data.bytes() as u64;
        (self.data.address..end)
            .contains(&address)
            .then(|| self.read_by_products(((address - self.data.address) / 4) as usize))
    }
}
