//! Matrix products on the host: plain loops, sums in f32 in the order of the depth.

use crate::act::Number;
use crate::driver::{Matrix, Product};
use half::bf16;
use hone_kernels::Acc;

/// Reads `len` numbers from device memory, which is the host's.
fn read(address: u64, number: Number, len: usize) -> Vec<f32> {
    match number {
        // SAFETY: the caller checked that the range lies in a live allocation; any bits are a number.
        Number::F32 => unsafe { std::slice::from_raw_parts(address as *const f32, len) }.to_vec(),
        Number::Bf16 => {
            // SAFETY: as above.
            let from = unsafe { std::slice::from_raw_parts(address as *const bf16, len) };
            from.iter().map(|x| x.to_f32()).collect()
        }
    }
}

/// Row-major `[rows, columns]`, whichever way memory holds it.
fn matrix(m: Matrix, rows: usize, columns: usize) -> Vec<f32> {
    let held = read(m.address, m.number, rows * columns);
    if !m.transposed {
        return held;
    }
    let mut out = vec![0.0; held.len()];
    for r in 0..rows {
        for c in 0..columns {
            out[r * columns + c] = held[c * rows + r];
        }
    }
    out
}

/// See [`Product`]; every range lies in live memory.
pub fn product(p: &Product) {
    let a = matrix(p.a, p.rows, p.depth);
    let b = matrix(p.b, p.depth, p.columns);
    let bias = p.bias.map(|at| read(at, p.c_number, p.columns));
    let before = match p.acc {
        Acc::Add => Some(read(p.c, p.c_number, p.rows * p.columns)),
        Acc::Set => None,
    };
    let mut row = vec![0.0f32; p.columns];
    for r in 0..p.rows {
        row.fill(0.0);
        for k in 0..p.depth {
            let x = a[r * p.depth + k];
            for (sum, y) in row.iter_mut().zip(&b[k * p.columns..]) {
                *sum += x * y;
            }
        }
        for (c, &sum) in row.iter().enumerate() {
            let at = r * p.columns + c;
            let mut value = sum;
            if let Some(bias) = &bias {
                value += bias[c];
            }
            if let Some(before) = &before {
                value += before[at];
            }
            // SAFETY: the result's range lies in a live allocation, and nothing else of this function refers to it.
            unsafe {
                match p.c_number {
                    Number::F32 => *(p.c as *mut f32).add(at) = value,
                    Number::Bf16 => *(p.c as *mut bf16).add(at) = bf16::from_f32(value),
                }
            }
        }
    }
}
