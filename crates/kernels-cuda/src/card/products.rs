//! Matrix products by cuBLASLt, through its low-level layer: the library's first algorithm for each shape, asked for
//! once and kept. Reductions that add in no fixed order are excluded, so a product makes the same bits each time.
//!
//! cuBLASLt is column-major. A row-major `c[rows, columns] = a·b` is its `cᵀ[columns, rows] = bᵀ·aᵀ`: our b is its A,
//! our a its B, and a bias along our columns runs along its rows, as its epilogue wants it.

use crate::act::Number;
use crate::driver::{Matrix, Product};
use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys;
use hone_kernels::Acc;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Mutex;

/// Bytes of scratch that algorithms may ask for.
const WORKSPACE: usize = 32 << 20;

/// cuBLASLt with its plans.
pub struct Products {
    handle: sys::cublasLtHandle_t,
    stream: sys::cudaStream_t,
    workspace: cudarc::driver::sys::CUdeviceptr,
    plans: Mutex<HashMap<Key, Plan>>,
}

/// What a plan depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    sizes: [usize; 3],
    numbers: [Number; 2],
    transposed: [bool; 2],
    biased: bool,
    added: bool,
    /// Bytes that addresses of our b, our a and c are multiples of, at most 256.
    alignment: [u32; 3],
}

/// Descriptors and the algorithm of one shape. They live as long as the process.
#[derive(Clone, Copy)]
struct Plan {
    matmul: sys::cublasLtMatmulDesc_t,
    a: sys::cublasLtMatrixLayout_t,
    b: sys::cublasLtMatrixLayout_t,
    c: sys::cublasLtMatrixLayout_t,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// The largest power of two up to 256 that divides an address.
fn alignment(address: u64) -> u32 {
    1 << address.trailing_zeros().min(8)
}

fn data_type(number: Number) -> sys::cudaDataType {
    match number {
        Number::F32 => sys::cudaDataType::CUDA_R_32F,
        Number::Bf16 => sys::cudaDataType::CUDA_R_16BF,
    }
}

/// Rows and columns of a column-major matrix in memory, and whether it is read transposed, for one of ours that is
/// row-major `[rows, columns]` as the product reads it.
fn stored(m: Matrix, rows: usize, columns: usize) -> (u64, u64, bool) {
    match m.transposed {
        false => (columns as u64, rows as u64, false),
        true => (rows as u64, columns as u64, true),
    }
}

fn said(what: &str, error: CublasError) -> String {
    format!("cuBLASLt, {what}: {error}")
}

/// Sets one attribute of a descriptor.
///
/// # Safety
/// `matmul` lives, and `attribute` holds a `T`.
unsafe fn set<T>(
    matmul: sys::cublasLtMatmulDesc_t,
    attribute: sys::cublasLtMatmulDescAttributes_t,
    value: T,
) -> Result<(), String> {
    let at = (&raw const value).cast::<c_void>();
    // SAFETY: the value is copied before the call returns.
    unsafe { result::set_matmul_desc_attribute(matmul, attribute, at, size_of::<T>()) }
        .map_err(|e| said("a product's attribute", e))
}

/// Sets one preference.
///
/// # Safety
/// `preference` lives, and `attribute` holds a `T`.
unsafe fn prefer<T>(
    preference: sys::cublasLtMatmulPreference_t,
    attribute: sys::cublasLtMatmulPreferenceAttributes_t,
    value: T,
) -> Result<(), String> {
    let at = (&raw const value).cast::<c_void>();
    // SAFETY: the value is copied before the call returns.
    unsafe { result::set_matmul_pref_attribute(preference, attribute, at, size_of::<T>()) }
        .map_err(|e| said("a preference", e))
}

impl Products {
    /// The library's version, as it numbers itself.
    pub fn version() -> usize {
        // SAFETY: it takes nothing and returns a constant.
        unsafe { sys::cublasLtGetVersion() }
    }

    /// Starts the library; products go to `stream`, whose context is current.
    pub fn new(stream: cudarc::driver::sys::CUstream) -> Result<Products, String> {
        let handle = result::create_handle().map_err(|e| said("its start", e))?;
        // SAFETY: the memory stays to the end of the process.
        let workspace = unsafe { cudarc::driver::result::malloc_sync(WORKSPACE) };
        Ok(Products {
            handle,
            stream: stream.cast(),
            workspace: workspace.map_err(|e| format!("{WORKSPACE} bytes for products: {e:?}"))?,
            plans: Mutex::new(HashMap::new()),
        })
    }

    /// Asks the library how it would compute such a product.
    fn plan(&self, p: &Product, key: Key) -> Result<Plan, String> {
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        use sys::cublasLtMatmulPreferenceAttributes_t as Preference;
        let single = sys::cudaDataType::CUDA_R_32F;
        let matmul =
            result::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, single)
                .map_err(|e| said("a product", e))?;
        let (a_rows, a_columns, a_transposed) = stored(p.b, p.depth, p.columns);
        let (b_rows, b_columns, b_transposed) = stored(p.a, p.rows, p.depth);
        // CUBLAS_OP_N and CUBLAS_OP_T of cublas_api.h.
        let operation = |transposed: bool| i32::from(transposed);
        let layout = |number, rows: u64, columns| {
            result::create_matrix_layout(data_type(number), rows, columns, rows as i64)
                .map_err(|e| said("a matrix", e))
        };
        let a = layout(p.b.number, a_rows, a_columns)?;
        let b = layout(p.a.number, b_rows, b_columns)?;
        let c = layout(p.c_number, p.columns as u64, p.rows as u64)?;
        // SAFETY: descriptors and layouts were just made; attributes have the types cublasLt.h gives them.
        unsafe {
            set(
                matmul,
                Attribute::CUBLASLT_MATMUL_DESC_TRANSA,
                operation(a_transposed),
            )?;
            set(
                matmul,
                Attribute::CUBLASLT_MATMUL_DESC_TRANSB,
                operation(b_transposed),
            )?;
            if let Some(bias) = p.bias {
                let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
                set(matmul, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue)?;
                let numbers = data_type(p.c_number);
                set(
                    matmul,
                    Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
                    numbers,
                )?;
                set(matmul, Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias)?;
            }
            let preference = result::create_matmul_pref().map_err(|e| said("preferences", e))?;
            let most = WORKSPACE;
            prefer(
                preference,
                Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                most,
            )?;
            // Partial sums joined in the workspace, in order; never added in place as they come.
            let joined = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
            let mask = joined as u32;
            prefer(
                preference,
                Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                mask,
            )?;
            for (attribute, bytes) in [
                (
                    Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                    key.alignment[0],
                ),
                (
                    Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                    key.alignment[1],
                ),
                (
                    Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                    key.alignment[2],
                ),
                (
                    Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                    key.alignment[2],
                ),
            ] {
                prefer(preference, attribute, bytes)?;
            }
            let found =
                result::get_matmul_algo_heuristic(self.handle, matmul, a, b, c, c, preference);
            let _ = result::destroy_matmul_pref(preference);
            let found = found.map_err(|e| said(&format!("no algorithm for {key:?}"), e))?;
            Ok(Plan {
                matmul,
                a,
                b,
                c,
                algorithm: found.algo,
            })
        }
    }

    /// Queues a product.
    pub fn queue(&self, p: &Product) -> Result<(), String> {
        let key = Key {
            sizes: [p.rows, p.columns, p.depth],
            numbers: [p.a.number, p.c_number],
            transposed: [p.a.transposed, p.b.transposed],
            biased: p.bias.is_some(),
            added: p.acc == Acc::Add,
            alignment: [p.b.address, p.a.address, p.c].map(alignment),
        };
        let mut plans = self.plans.lock().unwrap_or_else(|e| e.into_inner());
        let plan = match plans.get(&key) {
            Some(&plan) => plan,
            None => {
                let plan = self.plan(p, key)?;
                plans.insert(key, plan);
                plan
            }
        };
        let alpha = 1.0f32;
        let beta = if p.acc == Acc::Add { 1.0f32 } else { 0.0 };
        // SAFETY: the plan is this shape's; addresses hold matrices of these sizes, as the typed launchers know; the
        // lock keeps the bias of one call from another's, and the library reads descriptor and factors before it
        // returns.
        unsafe {
            if let Some(bias) = p.bias {
                use sys::cublasLtMatmulDescAttributes_t as Attribute;
                set(
                    plan.matmul,
                    Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                    bias,
                )?;
            }
            result::matmul(
                self.handle,
                plan.matmul,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                p.b.address as *const c_void,
                plan.a,
                p.a.address as *const c_void,
                plan.b,
                p.c as *const c_void,
                plan.c,
                p.c as *mut c_void,
                plan.c,
                &raw const plan.algorithm,
                self.workspace as *mut c_void,
                WORKSPACE,
                self.stream,
            )
            .map_err(|e| said("a product", e))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alignments_are_powers_of_two_up_to_256() {
        for (address, bytes) in [
            (0x1000, 256),
            (0x1010, 16),
            (0x1004, 4),
            (0x1042, 2),
            (0x10c0, 64),
        ] {
            assert_eq!(alignment(address), bytes, "{address:#x}");
        }
    }

    /// The column-major reading of our row-major products, against plain sums.
    #[test]
    fn three_forms_read_column_major() {
        let (m, n, k) = (3, 4, 5);
        for (ta, tb) in [(false, true), (false, false), (true, false)] {
            let a: Vec<f64> = (0..m * k).map(|i| (i * i % 7) as f64).collect();
            let b: Vec<f64> = (0..k * n).map(|i| (i * 3 % 11) as f64).collect();
            let matrix = |transposed| Matrix {
                address: 0,
                number: Number::F32,
                transposed,
            };
            let ours_a = |i: usize, l: usize| if ta { a[l * m + i] } else { a[i * k + l] };
            let ours_b = |l: usize, j: usize| if tb { b[j * k + l] } else { b[l * n + j] };
            // The library's element (row, column) of a stored matrix, read through its operation.
            let theirs =
                |x: &[f64], (rows, _, transposed): (u64, u64, bool), r: usize, c: usize| {
                    let (r, c) = if transposed { (c, r) } else { (r, c) };
                    x[c * rows as usize + r]
                };
            let (their_a, their_b) = (stored(matrix(tb), k, n), stored(matrix(ta), m, k));
            for i in 0..m {
                for j in 0..n {
                    let want: f64 = (0..k).map(|l| ours_a(i, l) * ours_b(l, j)).sum();
                    let got: f64 = (0..k)
                        .map(|l| theirs(&b, their_a, j, l) * theirs(&a, their_b, l, i))
                        .sum();
                    assert_eq!(got, want, "({i}, {j}), {ta} {tb}");
                }
            }
        }
    }
}
