//! What a device's matrix products reach at most: one large square product, timed. Steps are held against it.

use crate::act::Act;
use crate::backend::CudaBackend;
use crate::driver::{Driver, Matrix, Product};
use crate::memory::Buf;
use hone_kernels::{Acc, Backend, BackendError};
use std::time::Instant;

/// Three square matrices of activations, and how long their product takes.
pub struct ProductRate<D: Driver, A> {
    size: usize,
    a: Buf<D, A>,
    b: Buf<D, A>,
    c: Buf<D, A>,
}

impl<D: Driver, A: Act> ProductRate<D, A> {
    /// Matrices of `size` rows and columns, of ones. 8192 is what cards are usually held against.
    pub fn new(backend: &CudaBackend<D, A>, size: usize) -> Result<Self, BackendError> {
        let ones = || -> Result<Buf<D, A>, BackendError> {
            let mut buf = backend.alloc(size * size)?;
            backend.fill(A::from_f64(1.0), buf.view_mut());
            Ok(buf)
        };
        Ok(ProductRate {
            size,
            a: ones()?,
            b: ones()?,
            c: ones()?,
        })
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
        let rate = ProductRate::new(&backend, 64).expect("memory");
        backend.driver().forget();
        assert!(rate.measure(&backend).expect("no faults") > 0.0);
        let events = backend.driver().events();
        assert!(
            matches!(&events[..], [Event::Sync, Event::Product(p), Event::Sync] if p.rows == 64),
            "{events:?}"
        );
    }
}
