// Sums over rows, in chunks of a constant size that a second kernel joins in order: no atomics, the same bits
// whatever the grid. Bias gradients, LayerNorm's parameter gradients, the token-type table.
#include "device.cuh"

constexpr u32 ROWS = 64;   // of a chunk: columns.rs has the same
constexpr u32 LANES = 8;   // rows summed side by side in a block of (32, LANES)

// The block's LANES sums of a column as one, in the order of the lanes.
__device__ inline float join_lanes(const float (&lanes)[LANES][33], u32 column) {
    float sum = 0.0f;
    for (u32 k = 0; k < LANES; k++) sum += lanes[k][column];
    return sum;
}

template <class T>
__device__ inline float chunk_sum(u32 rows, u32 width, const T* x, u32 column) {
    float sum = 0.0f;
    const u32 first = blockIdx.x * ROWS;
    const u32 end = min(first + ROWS, rows);
    if (column < width)
        for (u32 r = first + threadIdx.y; r < end; r += LANES) sum += to_float(x[(u64)r * width + column]);
    return sum;
}

// partial[chunk, width] = sums over the chunk's rows of x[rows, width].
extern "C" __global__ void __launch_bounds__(256)
column_partial(const StepParams* step, u32 rows, u32 width, const Act* x, float* partial) {
    __shared__ float lanes[LANES][33];
    const u32 n = count(step, rows), column = blockIdx.y * 32 + threadIdx.x;
    if (blockIdx.x * ROWS >= n) return;
    lanes[threadIdx.y][threadIdx.x] = chunk_sum(n, width, x, column);
    __syncthreads();
    if (threadIdx.y == 0 && column < width)
        partial[(u64)blockIdx.x * width + column] = join_lanes(lanes, threadIdx.x);
}

// The same of master numbers.
extern "C" __global__ void __launch_bounds__(256)
column_partial_master(const StepParams* step, u32 rows, u32 width, const float* x, float* partial) {
    __shared__ float lanes[LANES][33];
    const u32 n = count(step, rows), column = blockIdx.y * 32 + threadIdx.x;
    if (blockIdx.x * ROWS >= n) return;
    lanes[threadIdx.y][threadIdx.x] = chunk_sum(n, width, x, column);
    __syncthreads();
    if (threadIdx.y == 0 && column < width)
        partial[(u64)blockIdx.x * width + column] = join_lanes(lanes, threadIdx.x);
}

// The same over the rows whose index[r] is `which`.
extern "C" __global__ void __launch_bounds__(256)
column_partial_of(const StepParams* step, u32 rows, u32 width, const Act* x, const u32* index, u32 which,
                  float* partial) {
    __shared__ float lanes[LANES][33];
    const u32 n = count(step, rows), column = blockIdx.y * 32 + threadIdx.x;
    const u32 first = blockIdx.x * ROWS, end = min(first + ROWS, n);
    if (first >= n) return;
    float sum = 0.0f;
    if (column < width)
        for (u32 r = first + threadIdx.y; r < end; r += LANES)
            if (index[r] == which) sum += to_float(x[(u64)r * width + column]);
    lanes[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < width)
        partial[(u64)blockIdx.x * width + column] = join_lanes(lanes, threadIdx.x);
}

// partial[chunk, 2*width]: sums of dy*n, n the normalised row, and of dy.
extern "C" __global__ void __launch_bounds__(256)
norm_partial(const StepParams* step, u32 rows, u32 width, const Act* dy, const Act* x, const float* stats,
             float* partial) {
    __shared__ float of_weight[LANES][33];
    __shared__ float of_bias[LANES][33];
    const u32 n = count(step, rows), column = blockIdx.y * 32 + threadIdx.x;
    const u32 first = blockIdx.x * ROWS, end = min(first + ROWS, n);
    if (first >= n) return;
    float weight = 0.0f, bias = 0.0f;
    if (column < width)
        for (u32 r = first + threadIdx.y; r < end; r += LANES) {
            const float d = to_float(dy[(u64)r * width + column]);
            const float normal = (to_float(x[(u64)r * width + column]) - stats[2 * (u64)r]) * stats[2 * (u64)r + 1];
            weight = fmaf(d, normal, weight);
            bias += d;
        }
    of_weight[threadIdx.y][threadIdx.x] = weight;
    of_bias[threadIdx.y][threadIdx.x] = bias;
    __syncthreads();
    if (threadIdx.y == 0 && column < width) {
        partial[(u64)blockIdx.x * 2 * width + column] = join_lanes(of_weight, threadIdx.x);
        partial[(u64)blockIdx.x * 2 * width + width + column] = join_lanes(of_bias, threadIdx.x);
    }
}

// out[width] (+)= the sum of every chunk's partial, `stride` elements a chunk.
extern "C" __global__ void __launch_bounds__(256)
column_join(const StepParams* step, u32 rows, u32 width, u32 stride, const float* partial, u32 add, float* out) {
    __shared__ float lanes[LANES][33];
    const u32 chunks = (count(step, rows) + ROWS - 1) / ROWS, column = blockIdx.x * 32 + threadIdx.x;
    float sum = 0.0f;
    if (column < width)
        for (u32 k = threadIdx.y; k < chunks; k += LANES) sum += partial[(u64)k * stride + column];
    lanes[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < width) {
        sum = join_lanes(lanes, threadIdx.x);
        out[column] = add ? out[column] + sum : sum;
    }
}
