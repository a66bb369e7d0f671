//! Matrix products by cuBLASLt, through its low-level layer. An algorithm is chosen once for each [`Shape`] with its
//! tokens rounded up, and kept: a choice depends on that shape, the library's version and the card, never on which
//! product came first. It is the library's own first ([`Choice::Heuristic`]) or the fastest of its first few
//! ([`Choice::Timed`]). Reductions that add in no fixed order are excluded, so a product makes the same bits each time.
//!
//! A product of fewer tokens runs the algorithm of its border if the library finds that it can; else the library's first
//! for the very product. Both are the same whatever ran before.

use super::choices::{Choices, fastest};
use super::machine::{driver_words, words};
use super::shape::Shape;
use super::stopwatch::Stopwatch;
use crate::act::Number;
use crate::driver::Product;
use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys;
use cudarc::driver::result as driver;
use hone_kernels::Acc;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};

/// Bytes of scratch that algorithms may ask for.
pub const WORKSPACE: usize = 32 << 20;
/// Algorithms that are timed for a shape: the library's first so many.
const CANDIDATES: usize = 8;
/// Products of fewer operations are over before their launch is: the library's first will do.
const WORTH_TIMING: f64 = 5e8;
/// Measurements of each candidate; the median counts.
const TURNS: usize = 5;
/// A measurement repeats a product up to this many operations, and up to [`REPEATS`] times.
const OPERATIONS: f64 = 2e10;
/// See [`OPERATIONS`].
const REPEATS: f64 = 8.0;

/// How algorithms for matrix products are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// cuBLASLt's first for each shape. The bits of a result depend on its version and the card, and on nothing else.
    Heuristic,
    /// The fastest of its first few for each shape, timed on the card when first met and kept beside the kernels'
    /// images. Bits depend on what is kept there as well: the same on this machine from then on, perhaps others where
    /// the file is not, since a measurement may fall out otherwise.
    Timed,
}

type Algorithm = sys::cublasLtMatmulAlgo_t;

/// cuBLASLt with its plans.
pub struct Products {
    handle: sys::cublasLtHandle_t,
    stream: sys::cudaStream_t,
    workspace: cudarc::driver::sys::CUdeviceptr,
    state: Mutex<State>,
}

struct State {
    plans: HashMap<Shape, Plan>,
    /// Where timed choices are kept; none are timed without it.
    choices: Option<Choices>,
}

/// Descriptors and the algorithm of one shape at its border. They live as long as the process.
struct Plan {
    matmul: sys::cublasLtMatmulDesc_t,
    /// The library's A, B and C.
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    /// What the layouts say now: the matrices of so many tokens.
    says: Option<usize>,
    algorithm: Algorithm,
    /// The algorithm for so many tokens: the border's, but where the library refuses it. At most as many as a bucket
    /// is wide.
    met: HashMap<usize, Algorithm>,
}

/// Device memory of a measurement.
struct Scratch(cudarc::driver::sys::CUdeviceptr);

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: the address came from the driver and is freed once, after what was queued on it.
        unsafe {
            let _ = driver::ctx::synchronize();
            let _ = driver::free_sync(self.0);
        }
    }
}

fn data_type(number: Number) -> sys::cudaDataType {
    match number {
        Number::F32 => sys::cudaDataType::CUDA_R_32F,
        Number::Bf16 => sys::cudaDataType::CUDA_R_16BF,
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

/// Sets one attribute of a matrix.
///
/// # Safety
/// `layout` lives, and `attribute` holds a `T`.
unsafe fn arrange<T>(
    layout: sys::cublasLtMatrixLayout_t,
    attribute: sys::cublasLtMatrixLayoutAttribute_t,
    value: T,
) -> Result<(), String> {
    let at = (&raw const value).cast::<c_void>();
    // SAFETY: the value is copied before the call returns.
    unsafe { result::set_matrix_layout_attribute(layout, attribute, at, size_of::<T>()) }
        .map_err(|e| said("a matrix's attribute", e))
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

impl Plan {
    /// Descriptors of a shape. The algorithm is still to be chosen.
    fn new(shape: &Shape) -> Result<Plan, String> {
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let single = sys::cudaDataType::CUDA_R_32F;
        let matmul =
            result::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, single)
                .map_err(|e| said("a product", e))?;
        let [of_a, of_c] = shape.numbers.map(data_type);
        let [a, b, c] = shape.matrices();
        let layout = |numbers, [rows, columns]: [u64; 2]| {
            result::create_matrix_layout(numbers, rows, columns, rows as i64)
                .map_err(|e| said("a matrix", e))
        };
        let layouts = [layout(of_a, a)?, layout(of_a, b)?, layout(of_c, c)?];
        // CUBLAS_OP_N and CUBLAS_OP_T of cublas_api.h. Our b is the library's A.
        let [of_b, of_a] = shape.transposed.map(i32::from);
        // SAFETY: descriptors were just made; attributes have the types cublasLt.h gives them.
        unsafe {
            set(matmul, Attribute::CUBLASLT_MATMUL_DESC_TRANSA, of_a)?;
            set(matmul, Attribute::CUBLASLT_MATMUL_DESC_TRANSB, of_b)?;
            if shape.biased {
                let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
                set(matmul, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue)?;
                set(matmul, Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, of_c)?;
            }
        }
        Ok(Plan {
            matmul,
            layouts,
            says: Some(shape.count()),
            algorithm: Algorithm { data: [0; 8] },
            met: HashMap::new(),
        })
    }

    /// Makes the layouts those of `shape`, of the plan's bucket.
    fn arrange(&mut self, shape: &Shape) -> Result<(), String> {
        use sys::cublasLtMatrixLayoutAttribute_t as Attribute;
        if self.says == Some(shape.count()) {
            return Ok(());
        }
        self.says = None;
        for (&layout, [rows, columns]) in self.layouts.iter().zip(shape.matrices()) {
            // SAFETY: layouts live as long as the process; cublasLt.h: uint64_t, uint64_t, int64_t.
            unsafe {
                arrange(layout, Attribute::CUBLASLT_MATRIX_LAYOUT_ROWS, rows)?;
                arrange(layout, Attribute::CUBLASLT_MATRIX_LAYOUT_COLS, columns)?;
                arrange(layout, Attribute::CUBLASLT_MATRIX_LAYOUT_LD, rows as i64)?;
            }
        }
        self.says = Some(shape.count());
        Ok(())
    }

    /// Where the next product's bias lies.
    fn bias(&self, address: u64) -> Result<(), String> {
        use sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
        // SAFETY: the descriptor lives as long as the process.
        unsafe { set(self.matmul, CUBLASLT_MATMUL_DESC_BIAS_POINTER, address) }
    }
}

impl Products {
    /// The library's version, as it numbers itself.
    pub fn version() -> usize {
        // SAFETY: it takes nothing and returns a constant.
        unsafe { sys::cublasLtGetVersion() }
    }

    /// Starts the library; products go to `stream`, whose context is current. Algorithms are timed where there are
    /// `choices` to keep them in.
    pub fn new(
        stream: cudarc::driver::sys::CUstream,
        choices: Option<Choices>,
    ) -> Result<Products, String> {
        let handle = result::create_handle()
            .map_err(|e| format!("{} ({})", said("its start", e), driver_words()))?;
        // SAFETY: the memory stays to the end of the process.
        let workspace = unsafe { driver::malloc_sync(WORKSPACE) };
        Ok(Products {
            handle,
            stream: stream.cast(),
            workspace: workspace
                .map_err(|e| format!("{WORKSPACE} bytes for products: {}", words(e)))?,
            state: Mutex::new(State {
                plans: HashMap::new(),
                choices,
            }),
        })
    }

    /// Keeps the card busy while the host queues what is to be timed.
    pub fn stopwatch(&self) -> Stopwatch {
        Stopwatch {
            stream: self.stream.cast(),
            idle: (self.workspace, WORKSPACE),
        }
    }

    /// The library's first algorithms, at most so many, for what the plan's layouts say: at least one.
    fn candidates(
        &self,
        plan: &Plan,
        shape: &Shape,
        most: usize,
    ) -> Result<Vec<Algorithm>, String> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Preference;
        if shape.biased {
            // An address of the class, whichever product asks.
            let off = u64::from(shape.alignment[3] % 256);
            plan.bias(self.workspace + off)?;
        }
        let [at_a, at_b, at_c, _] = shape.alignment;
        // Partial sums joined in the workspace, in order; never added in place as they come.
        let joined = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
        let mut found: Vec<MaybeUninit<sys::cublasLtMatmulHeuristicResult_t>> =
            vec![MaybeUninit::zeroed(); most];
        let mut count = 0;
        // SAFETY: descriptors and layouts live; preferences have the types cublasLt.h gives them (the workspace's is a
        // size, the others are uint32_t); there is room for `most` results.
        let asked = unsafe {
            let preference = result::create_matmul_pref().map_err(|e| said("preferences", e))?;
            let preferred = prefer(
                preference,
                Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                WORKSPACE,
            )
            .and_then(|()| {
                [
                    (
                        Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                        joined,
                    ),
                    (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, at_a),
                    (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, at_b),
                    (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, at_c),
                    (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, at_c),
                ]
                .into_iter()
                .try_for_each(|(attribute, value)| prefer(preference, attribute, value))
            });
            let [a, b, c] = plan.layouts;
            let asked = preferred.map(|()| {
                sys::cublasLtMatmulAlgoGetHeuristic(
                    self.handle,
                    plan.matmul,
                    a,
                    b,
                    c,
                    c,
                    preference,
                    most as i32,
                    found.as_mut_ptr().cast(),
                    &raw mut count,
                )
                .result()
            });
            let _ = result::destroy_matmul_pref(preference);
            asked?
        };
        asked.map_err(|e| said(&format!("no algorithm for {shape}"), e))?;
        let algorithms: Vec<Algorithm> = found[..most.min(count.max(0) as usize)]
            .iter()
            // SAFETY: zeros are a result (CUBLAS_STATUS_SUCCESS is 0), and the library wrote `count` of its own.
            .map(|one| unsafe { one.assume_init() })
            .filter(|one| one.state.result().is_ok() && one.workspaceSize <= WORKSPACE)
            .map(|one| one.algo)
            .collect();
        match algorithms.is_empty() {
            true => Err(format!("cuBLASLt: no algorithm for {shape}")),
            false => Ok(algorithms),
        }
    }

    /// Whether the library takes an algorithm for what the plan's layouts say.
    fn takes(&self, plan: &Plan, algorithm: &Algorithm) -> bool {
        let [a, b, c] = plan.layouts;
        let mut found = MaybeUninit::<sys::cublasLtMatmulHeuristicResult_t>::zeroed();
        // SAFETY: descriptors and layouts live; zeros are a result, and the library writes one of its own.
        let (checked, found) = unsafe {
            let checked = sys::cublasLtMatmulAlgoCheck(
                self.handle,
                plan.matmul,
                a,
                b,
                c,
                c,
                algorithm,
                found.as_mut_ptr(),
            );
            (checked, found.assume_init())
        };
        checked.result().is_ok() && found.workspaceSize <= WORKSPACE
    }

    /// The plan of a shape at its border.
    fn plan(&self, shape: &Shape, choices: Option<&mut Choices>) -> Result<Plan, String> {
        let mut plan = Plan::new(shape)?;
        plan.algorithm = match choices {
            Some(choices) if shape.flop() >= WORTH_TIMING => self.timed(&plan, shape, choices)?,
            _ => self.candidates(&plan, shape, 1)?[0],
        };
        Ok(plan)
    }

    /// What is kept for a shape, or the fastest, which is kept then.
    fn timed(
        &self,
        plan: &Plan,
        shape: &Shape,
        choices: &mut Choices,
    ) -> Result<Algorithm, String> {
        let candidates = self.candidates(plan, shape, CANDIDATES)?;
        let name = shape.to_string();
        let kept = choices.get(&name);
        if let Some(data) = kept
            && self.takes(plan, &Algorithm { data })
        {
            return Ok(Algorithm { data });
        }
        // Where there is no room to measure in, nothing is known: the next run may measure.
        let Some((_held, addresses)) = self.scratch(shape)? else {
            return Ok(candidates[0]);
        };
        let mut seconds = Vec::new();
        for algorithm in &candidates {
            seconds.push(self.time(plan, shape, algorithm, addresses)?);
        }
        let Some(at) = fastest(&seconds) else {
            return Ok(candidates[0]);
        };
        // Another process's, if that was first.
        let data = choices.keep(&name, candidates[at].data, kept);
        let stands = Algorithm { data };
        match self.takes(plan, &stands) {
            true => Ok(stands),
            false => Ok(candidates[at]),
        }
    }

    /// Memory for the matrices of a shape and its bias, filled with numbers of both signs from 1/8 to 2: of equal ones
    /// a card may make less work. None where there is not that much.
    fn scratch(&self, shape: &Shape) -> Result<Option<(Scratch, [u64; 4])>, String> {
        let failed = |e| format!("scratch to time products in: {}", words(e));
        let mut addresses = [0; 4];
        let mut bytes = 0;
        for (address, size) in addresses.iter_mut().zip(shape.bytes()) {
            *address = bytes as u64;
            bytes += size.next_multiple_of(256);
        }
        // bf16's bits, and the upper half of f32's.
        let mut drawn = 0x9e37_79b9u32;
        let noise: Vec<u16> = (0..1 << 19)
            .map(|_| {
                // Marsaglia's xorshift32.
                drawn ^= drawn << 13;
                drawn ^= drawn >> 17;
                drawn ^= drawn << 5;
                0x3e00 | (drawn >> 16) as u16 & 0x81ff
            })
            .collect();
        // SAFETY: the memory is as long as what is written there, and is freed behind it.
        unsafe {
            let Ok(start) = driver::malloc_sync(bytes) else {
                return Ok(None);
            };
            let held = Scratch(start);
            let stream = self.stream.cast();
            let first = &noise[..noise.len().min(bytes / 2)];
            driver::memcpy_htod_async(start, first, stream).map_err(failed)?;
            // The driver does not say when it has read pageable memory, and `noise` goes.
            driver::stream::synchronize(stream).map_err(failed)?;
            let mut filled = 2 * first.len();
            while filled < bytes {
                let more = filled.min(bytes - filled);
                driver::memcpy_dtod_async(start + filled as u64, start, more, stream)
                    .map_err(failed)?;
                filled += more;
            }
            Ok(Some((held, addresses.map(|at| start + at))))
        }
    }

    /// Seconds of one product by an algorithm, on the card's clock; infinitely many where the library refuses.
    fn time(
        &self,
        plan: &Plan,
        shape: &Shape,
        algorithm: &Algorithm,
        [a, b, c, bias]: [u64; 4],
    ) -> Result<f64, String> {
        if shape.biased {
            plan.bias(bias)?;
        }
        let run = || self.run(plan, algorithm, [a, b, c], shape.added);
        if run().is_err() {
            return Ok(f64::INFINITY);
        }
        let repeats = (OPERATIONS / shape.flop()).clamp(1.0, REPEATS) as usize;
        let stopwatch = self.stopwatch();
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            let mut all = || (0..repeats).try_for_each(|_| run());
            turns.push(stopwatch.seconds(&mut all)? / repeats as f64);
        }
        turns.sort_by(f64::total_cmp);
        Ok(turns[TURNS / 2])
    }

    /// Queues what a plan's descriptors say, on the library's A, B and C.
    fn run(
        &self,
        plan: &Plan,
        algorithm: &Algorithm,
        [a, b, c]: [u64; 3],
        added: bool,
    ) -> Result<(), String> {
        let alpha = 1.0f32;
        let beta = if added { 1.0f32 } else { 0.0 };
        let [of_a, of_b, of_c] = plan.layouts;
        // SAFETY: addresses hold matrices of the layouts' sizes, as the callers know; the library reads descriptors,
        // layouts and factors before it returns.
        unsafe {
            result::matmul(
                self.handle,
                plan.matmul,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                a as *const c_void,
                of_a,
                b as *const c_void,
                of_b,
                c as *const c_void,
                of_c,
                c as *mut c_void,
                of_c,
                algorithm,
                self.workspace as *mut c_void,
                WORKSPACE,
                self.stream,
            )
            .map_err(|e| said("a product", e))
        }
    }

    /// Queues a product.
    pub fn queue(&self, p: &Product) -> Result<(), String> {
        let shape = Shape::of(p);
        // The lock keeps layouts and bias of one call from another's.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { plans, choices } = &mut *state;
        let plan = match plans.entry(shape.bucket()) {
            Entry::Occupied(plan) => plan.into_mut(),
            Entry::Vacant(place) => {
                let plan = self.plan(place.key(), choices.as_mut())?;
                place.insert(plan)
            }
        };
        plan.arrange(&shape)?;
        let algorithm = match plan.met.get(&shape.count()) {
            Some(&algorithm) => algorithm,
            None => {
                let algorithm = match self.takes(plan, &plan.algorithm) {
                    true => plan.algorithm,
                    false => self.candidates(plan, &shape, 1)?[0],
                };
                plan.met.insert(shape.count(), algorithm);
                algorithm
            }
        };
        if let Some(bias) = p.bias {
            plan.bias(bias)?;
        }
        let addresses = [p.b.address, p.a.address, p.c];
        self.run(plan, &algorithm, addresses, p.acc == Acc::Add)
    }
}
