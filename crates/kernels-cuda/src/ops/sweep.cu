// Passes over whole tensors: squared norms in fixed chunks, clipping, linear combinations, filling, rounded copies.
#include "device.cuh"

constexpr u32 CHUNK = 4096;   // elements whose squares one block sums: sweep.rs has the same
constexpr u32 THREADS = 256;

// The sum over the block's threads, in a fixed tree; every thread has to call it.
__device__ inline double block_sum(double x, double (&warps)[THREADS / 32]) {
    x = warp_sum(x);
    if (lane() == 0) warps[threadIdx.x / 32] = x;
    __syncthreads();
    double total = 0.0;
    for (u32 k = 0; k < THREADS / 32; k++) total += warps[k];
    return total;
}

// A thread's part of the squares of x[n], a chunk or what is left of one.
__device__ inline double squares(const float* x, u64 n) {
    constexpr u32 STEP = THREADS * 4, DEEP = CHUNK / STEP;
    double sum = 0.0;
    if (n == CHUNK && aligned(x)) {
        // All of the thread's loads before the first sum.
        float4 fours[DEEP];
#pragma unroll
        for (u32 k = 0; k < DEEP; k++) fours[k] = *(const float4*)(x + k * STEP + threadIdx.x * 4);
#pragma unroll
        for (u32 k = 0; k < DEEP; k++) {
            const float v[4] = {fours[k].x, fours[k].y, fours[k].z, fours[k].w};
#pragma unroll
            for (u32 i = 0; i < 4; i++) sum += (double)v[i] * (double)v[i];
        }
        return sum;
    }
    for (u64 at = threadIdx.x * 4; at < n; at += STEP) {
        float v[4];
        load(x + at, v, (u32)min(n - at, (u64)4));
#pragma unroll
        for (u32 i = 0; i < 4; i++) sum += (double)v[i] * (double)v[i];
    }
    return sum;
}

// partial[chunk] = the sum of the squares of the chunk of x[n].
extern "C" __global__ void __launch_bounds__(256)
squared_norm_partial(u64 n, const float* x, double* partial) {
    __shared__ double warps[THREADS / 32];
    const u64 first = (u64)blockIdx.x * CHUNK;
    const double sum = block_sum(squares(x + first, min((u64)CHUNK, n - first)), warps);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// A part of an arena whose norm is wanted. sweep.rs has the same.
struct NormSpan {
    u64 first;  // element in the arena
    u64 len;    // elements
    u32 block;  // first of its chunks
    u32 out;    // where its norm goes
};

// partial[block] = the sum of the squares of a chunk of one of the spans of x.
extern "C" __global__ void __launch_bounds__(256)
squared_norms_partial(u32 spans, const NormSpan* table, const float* x, double* partial) {
    __shared__ double warps[THREADS / 32];
    // The last span whose first block is not behind this one; one without elements has none.
    u32 low = 0, high = spans;
    while (high - low > 1) {
        const u32 middle = (low + high) / 2;
        if (table[middle].block <= blockIdx.x)
            low = middle;
        else
            high = middle;
    }
    const NormSpan span = table[low];
    const u64 first = (u64)(blockIdx.x - span.block) * CHUNK;
    const double sum = block_sum(squares(x + span.first + first, min((u64)CHUNK, span.len - first)), warps);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// The sum of partial[n], for every thread of the block.
__device__ inline double join(const double* partial, u32 n, double (&warps)[THREADS / 32]) {
    double sum = 0.0;
    for (u32 k = threadIdx.x; k < n; k += THREADS) sum += partial[k];
    return block_sum(sum, warps);
}

// out[span.out] = the sum of a span's chunks; a block a span.
extern "C" __global__ void __launch_bounds__(256)
squared_norms_join(const NormSpan* table, const double* partial, double* out) {
    __shared__ double warps[THREADS / 32];
    const NormSpan span = table[blockIdx.x];
    const double sum = join(partial + span.block, (u32)((span.len + CHUNK - 1) / CHUNK), warps);
    if (threadIdx.x == 0) out[span.out] = sum;
}

// partial[k] = the sum of the squares of row index[k] of x[.., width].
extern "C" __global__ void __launch_bounds__(256)
squared_norm_rows(const StepParams* step, u32 rows, u32 width, const float* x, const u32* index, double* partial) {
    __shared__ double warps[THREADS / 32];
    const u32 row = blockIdx.x;
    if (row >= count(step, rows)) return;
    x += (u64)index[row] * width;
    double sum = 0.0;
    for (u32 c = threadIdx.x; c < width; c += THREADS) sum += (double)x[c] * (double)x[c];
    sum = block_sum(sum, warps);
    if (threadIdx.x == 0) partial[row] = sum;
}

// out[0] = the sum of partial[n]; one block.
extern "C" __global__ void __launch_bounds__(256)
sum_partials(const StepParams* step, u32 n, const double* partial, double* out) {
    __shared__ double warps[THREADS / 32];
    const double sum = join(partial, count(step, n), warps);
    if (threadIdx.x == 0) out[0] = sum;
}

// out[0] = the root of the sum, out[1] = min(1, most/(norm + 1e-6)); `most` is infinite where nothing is clipped.
extern "C" __global__ void __launch_bounds__(256)
clip_coefficient(u32 n, double most, const double* squared, double* out) {
    __shared__ double warps[THREADS / 32];
    double sum = 0.0;
    for (u32 k = threadIdx.x; k < n; k += THREADS) sum += squared[k];
    sum = block_sum(sum, warps);
    if (threadIdx.x == 0) {
        const double norm = sqrt(sum), share = most / (norm + 1e-6);
        out[0] = norm;
        out[1] = share < 1.0 ? share : 1.0;
    }
}

// y = a*x + b*y; `copy`, where there is one, is y as activations are.
extern "C" __global__ void __launch_bounds__(256)
axpby(u64 n, float a, const float* x, float b, float* y, Act* copy) {
    const u64 at = thread_index() * 4;
    if (at >= n) return;
    const u32 left = (u32)min(n - at, (u64)4);
    float v[4], w[4];
    load(x + at, v, left);
    load(y + at, w, left);
#pragma unroll
    for (u32 i = 0; i < 4; i++) w[i] = a * v[i] + b * w[i];
    store(y + at, w, left);
    if (copy) store(copy + at, w, left);
}

// copy = x as activations are.
extern "C" __global__ void __launch_bounds__(256)
round_copy(u64 n, const float* x, Act* copy) {
    const u64 at = thread_index() * GROUP;
    if (at >= n) return;
    const u32 left = (u32)min(n - at, (u64)GROUP);
    float v[GROUP];
    load(x + at, v, left);
    store(copy + at, v, left);
}

extern "C" __global__ void __launch_bounds__(256) fill_8(u64 n, u32 value, u8* y) {
    const u64 at = thread_index();
    if (at < n) y[at] = (u8)value;
}

extern "C" __global__ void __launch_bounds__(256) fill_16(u64 n, u32 value, u16* y) {
    const u64 at = thread_index();
    if (at < n) y[at] = (u16)value;
}

extern "C" __global__ void __launch_bounds__(256) fill_32(u64 n, u32 value, u32* y) {
    const u64 at = thread_index();
    if (at < n) y[at] = value;
}

extern "C" __global__ void __launch_bounds__(256) fill_64(u64 n, u64 value, u64* y) {
    const u64 at = thread_index();
    if (at < n) y[at] = value;
}
