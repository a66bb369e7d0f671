//! Matrix products in the three training forms, as the driver's library takes them. Exact-erf GELU is not among a
//! library's epilogues (cuBLASLt's is the tanh form), so the activation is a kernel of its own behind the product.

use super::activation;
use crate::act::{Act, Number};
use crate::backend::CudaBackend;
use crate::driver::{Driver, Matrix, Product};
use crate::memory::{View, ViewMut};
use crate::params::CudaParams;
use hone_kernels::{Acc, WeightRef};

fn plain<A: Act>(address: u64) -> Matrix {
    Matrix {
        address,
        number: A::NUMBER,
        transposed: false,
    }
}

fn transposed<A: Act>(address: u64) -> Matrix {
    Matrix {
        transposed: true,
        ..plain::<A>(address)
    }
}

/// `y[R, out] = x[R, in] · Wᵀ + bias[out]`.
///
/// The library adds a bias that is in y's numbers: f32, or one of the arena's, of which there is a rounded copy. It
/// cannot be told how a bias is aligned and may read it 16 bytes at a time; one that begins elsewhere (that of keys and
/// values, in a model of an odd width) is added by a kernel.
pub fn linear<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    params: &CudaParams<D, A>,
    weight: WeightRef,
    bias: View<'_, f32>,
    x: View<'_, A>,
    y: ViewMut<'_, A>,
) {
    let (out, input) = weight.shape(&params.table);
    let rows = y.len / out;
    assert_eq!(
        (x.len, bias.len),
        (rows * input, out),
        "linear: [R, {input}] to [R, {out}]"
    );
    let in_product = match A::NUMBER {
        Number::F32 => Some(bias.address),
        Number::Bf16 => params.copy_of(bias.address),
    };
    let in_product = in_product.filter(|at| at.is_multiple_of(16));
    b.product(Product {
        rows,
        columns: out,
        depth: input,
        a: plain::<A>(x.address),
        b: transposed::<A>(params.read_by_products(weight.range(&params.table).start)),
        bias: in_product,
        acc: Acc::Set,
        c: y.address,
        c_number: A::NUMBER,
    });
    if in_product.is_none() {
        activation::add_bias(b, bias, y);
    }
}

/// `dx[R, in] (+)= dy[R, out] · W`.
pub fn dgrad<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    params: &CudaParams<D, A>,
    weight: WeightRef,
    dy: View<'_, A>,
    acc: Acc,
    dx: ViewMut<'_, A>,
) {
    let (out, input) = weight.shape(&params.table);
    let rows = dx.len / input;
    assert_eq!(dy.len, rows * out, "dgrad: [R, {out}] to [R, {input}]");
    b.product(Product {
        rows,
        columns: input,
        depth: out,
        a: plain::<A>(dy.address),
        b: plain::<A>(params.read_by_products(weight.range(&params.table).start)),
        bias: None,
        acc,
        c: dx.address,
        c_number: A::NUMBER,
    });
}

/// `dw[out, in] (+)= dyᵀ · x`.
pub fn wgrad<D: Driver, A: Act>(
    b: &CudaBackend<D, A>,
    dy: View<'_, A>,
    x: View<'_, A>,
    rows: usize,
    acc: Acc,
    dw: ViewMut<'_, f32>,
) {
    if rows == 0 {
        if acc == Acc::Set {
            b.clear(dw);
        }
        return;
    }
    let (out, input) = (dy.len / rows, x.len / rows);
    assert_eq!(dw.len, out * input, "wgrad: [{out}, {input}]");
    b.product(Product {
        rows: out,
        columns: input,
        depth: rows,
        a: transposed::<A>(dy.address),
        b: plain::<A>(x.address),
        bias: None,
        acc,
        c: dw.address,
        c_number: Number::F32,
    });
}
