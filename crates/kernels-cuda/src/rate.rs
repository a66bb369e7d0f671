//! What a device's matrix products reach at most: one large square product, timed. Steps are held against it.

use crate::act::Act;
use crate::backend::CudaBackend;
use crate::driver::{Driver, Matrix, Product};
use crate::memory::Buf;
use hone_kernels::{Acc, Backend, BackendError};
use hone_tensor::Philox;
use std::time::Instant;

/// Numbers that are drawn; matrices repeat them.
const DRAWN: usize = 65_521;

/// Three square matrices of activations, and how long their product takes.
pub struct ProductRate<D: Driver, A> {
    size: usize,
    a: Buf<D, A>,
    b: Buf<D, A>,
    c: Buf<D, A>,
}

hone_tensor::brief_debug! { [D: Driver, A] ProductRate<D, A>, |r| size: r.size }

impl<D: Driver, A: Act> ProductRate<D, A> {
    /// Matrices of `size` rows and columns, of numbers from −1 to 1: of ones a card may make less work (less power,
    /// higher clocks). 8192 is what cards are usually held against.
    pub fn new(backend: &CudaBackend<D, A>, size: usize) -> Result<Self, BackendError> {
        // Of an odd length, so that rows differ.
        let random = Philox::new(1);
        let drawn: Vec<A> = (0..DRAWN as u64)
            .map(|k| A::from_f64((random.u64_at(0, k) >> 44) as f64 / f64::from(1 << 19) - 1.0))
            .collect();
        let host: Vec<A> = drawn.iter().copied().cycle().take(size * size).collect();
        Ok(ProductRate {
            size,
            a: backend.from_slice(&host)?,
            b: backend.from_slice(&host)?,
            c: backend.alloc(size * size)?,
        })
    }

    /// Device memory that the matrices take.
    pub fn bytes(&self) -> u64 {
        (3 * self.size * self.size * size_of::<A>()) as u64
    }

    /// GFLOP/s of the product, measured now: from an idle queue to its end.
    pub fn measure(&self, backend: &CudaBackend<D, A>) -> Result<f64, BackendError> {
        backend.sync()?;
        let start = Instant::now();
        let matrix = |buf: &Buf<D, A>| Matrix {
            address: buf.address,
            number: A::NUMBER,
            transposed: false,
        };
        backend.product(Product {
            rows: self.size,
            columns: self.size,
            depth: self.size,
            a: matrix(&self.a),
            b: matrix(&self.b),
            bias: None,
            acc: Acc::Set,
            c: self.c.address,
            c_number: A::NUMBER,
        });
        backend.sync()?;
        Ok(2.0 * (self.size as f64).powi(3) / start.elapsed().as_secs_f64() / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Recorder};

    #[test]
    fn the_product_is_queued_whole_between_two_waits() {
        let backend = CudaBackend::<Recorder>::new(Recorder::new()).expect("memory");
        let before = backend.peak_memory().expect("a device's");
        let rate = ProductRate::new(&backend, 64).expect("memory");
        assert_eq!(backend.peak_memory(), Some(rate.bytes() + before));
        backend.driver().forget();
        assert!(rate.measure(&backend).expect("no faults") > 0.0);
        let events = backend.driver().events();
        assert!(
            matches!(&events[..], [Event::Sync, Event::Product(p), Event::Sync] if p.rows == 64),
            "{events:?}"
        );
    }
}
