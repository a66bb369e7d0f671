// Sums over rows, in chunks of a size that the number of rows decides, joined in order by a second kernel where there
// are several: no atomics, the same bits whatever the grid. Bias gradients (that of an activation's input together with
// its gradient), LayerNorm's parameter gradients, the token-type table.
//
// All of it waits for memory, so each thread asks for several rows before it needs the first: a thread has 16 bytes
// of every `height`th row of its block's chunk, `lanes` threads beside each other a row's `lanes` groups. Launch bounds
// name the blocks that a multiprocessor is to hold, else the compiler puts loads behind each other to save registers.
#include "activation.cuh"

constexpr u32 THREADS = 256;     // of a block: columns.rs has the same
constexpr u32 MOST_LANES = 16;   // threads side by side in a row: columns.rs has the same
constexpr u32 WARPS = THREADS / 32;

// ---- what a thread reads ------------------------------------------------------------------------------------

// A thread's share of a block's columns and rows.
struct Share {
    u32 column;  // of the N that are its own; behind the row's end it has none
    u32 row;     // its first
    u32 height;  // rows from one of its own to the next
    u32 end;     // behind its last
};

__device__ inline Share share(u32 lanes, u32 n, u32 chunk, u32 rows, u32 width) {
    Share of;
    of.column = (blockIdx.x * lanes + threadIdx.x % lanes) * n;
    of.row = blockIdx.y * chunk + threadIdx.x / lanes;
    of.height = THREADS / lanes;
    of.end = of.column < width ? min((blockIdx.y + 1) * chunk, rows) : 0;
    return of;
}

// Whether every group of every row is one of 16 bytes.
template <class T>
__device__ inline bool whole(const T* x, u32 width) {
    return aligned(x) && width % (16 / sizeof(T)) == 0;
}

struct Every {
    __device__ bool operator()(u32) const { return true; }
};

struct Where {
    const u32* index;
    u32 which;
    __device__ bool operator()(u32 row) const { return index[row] == which; }
};

// sum += the thread's groups of the rows that are wanted, in their order.
template <class T, class Wanted>
__device__ inline void add_rows(const Share& of, u32 width, const T* x, const Wanted& wanted,
                                float (&sum)[16 / sizeof(T)]) {
    constexpr u32 N = 16 / sizeof(T), DEEP = 8;
    if (whole(x, width)) {
        for (u32 r = of.row; r < of.end; r += DEEP * of.height) {
            // Nothing stands between the loads, not even a branch: for a row that is not wanted the first is read again.
            bool take[DEEP];
            uint4 packed[DEEP];
#pragma unroll
            for (u32 k = 0; k < DEEP; k++) {
                const u32 row = r + k * of.height;
                take[k] = wanted(row < of.end ? row : of.row) && row < of.end;
            }
#pragma unroll
            for (u32 k = 0; k < DEEP; k++) {
                const u32 row = take[k] ? r + k * of.height : of.row;
                packed[k] = *(const uint4*)(x + (u64)row * width + of.column);
            }
#pragma unroll
            for (u32 k = 0; k < DEEP; k++)
                if (!take[k]) packed[k] = make_uint4(0, 0, 0, 0);
#pragma unroll
            for (u32 k = 0; k < DEEP; k++) {
                float v[N];
                unpack(packed[k], v);
#pragma unroll
                for (u32 i = 0; i < N; i++) sum[i] += v[i];
            }
        }
        return;
    }
    for (u32 r = of.row; r < of.end; r += of.height) {
        if (!wanted(r)) continue;
        float v[N];
        load(x + (u64)r * width + of.column, v, width - of.column);
#pragma unroll
        for (u32 i = 0; i < N; i++) sum[i] += v[i];
    }
}

// ---- what a block makes of it -------------------------------------------------------------------------------

// A warp's sums of each column, by halves, to where the block's are joined behind a barrier.
template <u32 N>
__device__ inline void hand_in(u32 lanes, float (&sum)[N], float (&warps)[WARPS][MOST_LANES * N]) {
    for (u32 other = 16; other >= lanes; other /= 2)
#pragma unroll
        for (u32 i = 0; i < N; i++) sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], other);
    if (lane() < lanes) store(&warps[threadIdx.x / 32][lane() * N], sum, N);
}

// out[column] (+)= the block's sum of a column, warp by warp: a thread a column.
template <u32 N>
__device__ inline void hand_out(u32 lanes, u32 width, const float (&warps)[WARPS][MOST_LANES * N], u32 add, float* out) {
    const u32 column = blockIdx.x * lanes * N + threadIdx.x;
    if (threadIdx.x >= lanes * N || column >= width) return;
    float sum = 0.0f;
#pragma unroll
    for (u32 k = 0; k < WARPS; k++) sum += warps[k][threadIdx.x];
    out[column] = add ? out[column] + sum : sum;
}

// out[chunk, width] (+)= sums over the chunk's rows of x[rows, width]; one chunk is all.
extern "C" __global__ void __launch_bounds__(256, 4)
column_sums(const StepParams* step, u32 rows, u32 chunk, u32 lanes, u32 width, const Act* x, u32 add, float* out) {
    __shared__ __align__(16) float warps[WARPS][MOST_LANES * GROUP];
    const u32 n = count(step, rows);
    if (blockIdx.y && blockIdx.y * chunk >= n) return;
    float sum[GROUP] = {};
    add_rows(share(lanes, GROUP, chunk, n, width), width, x, Every(), sum);
    hand_in(lanes, sum, warps);
    __syncthreads();
    hand_out<GROUP>(lanes, width, warps, add, out + (u64)blockIdx.y * width);
}

// The same of master numbers.
extern "C" __global__ void __launch_bounds__(256, 4)
column_sums_master(const StepParams* step, u32 rows, u32 chunk, u32 lanes, u32 width, const float* x, u32 add,
                   float* out) {
    __shared__ __align__(16) float warps[WARPS][MOST_LANES * 4];
    const u32 n = count(step, rows);
    if (blockIdx.y && blockIdx.y * chunk >= n) return;
    float sum[4] = {};
    add_rows(share(lanes, 4, chunk, n, width), width, x, Every(), sum);
    hand_in(lanes, sum, warps);
    __syncthreads();
    hand_out<4>(lanes, width, warps, add, out + (u64)blockIdx.y * width);
}

// The same over the rows whose index[r] is `which`.
extern "C" __global__ void __launch_bounds__(256, 4)
column_sums_of(const StepParams* step, u32 rows, u32 chunk, u32 lanes, u32 width, const Act* x, const u32* index,
               u32 which, u32 add, float* out) {
    __shared__ __align__(16) float warps[WARPS][MOST_LANES * GROUP];
    const u32 n = count(step, rows);
    if (blockIdx.y && blockIdx.y * chunk >= n) return;
    float sum[GROUP] = {};
    add_rows(share(lanes, GROUP, chunk, n, width), width, x, Where{index, which}, sum);
    hand_in(lanes, sum, warps);
    __syncthreads();
    hand_out<GROUP>(lanes, width, warps, add, out + (u64)blockIdx.y * width);
}

// d *= activation'(pre), in place; y, where it is not null, = activation(pre); sum += d as it was written.
__device__ inline void activation_row(u32 kind, float (&v)[GROUP], float (&g)[GROUP], Act* d, Act* y, u32 left,
                                      float (&sum)[GROUP]) {
#pragma unroll
    for (u32 i = 0; i < GROUP; i++) {
        const Slope slope = activate(kind, v[i]);
        g[i] *= slope.derivative;
        v[i] = slope.value;
        if (i < left) sum[i] += rounded(g[i]);
    }
    store(d, g, left);
    if (y) store(y, v, left);
}

// The same over rows; out[chunk, width] (+)= the chunk's sums.
extern "C" __global__ void __launch_bounds__(256, 3)
activation_sums(const StepParams* step, u32 rows, u32 chunk, u32 lanes, u32 width, u32 kind, const Act* pre, Act* d,
                Act* y, u32 add, float* out) {
    constexpr u32 DEEP = 4;
    __shared__ __align__(16) float warps[WARPS][MOST_LANES * GROUP];
    const u32 n = count(step, rows);
    if (blockIdx.y && blockIdx.y * chunk >= n) return;
    const Share of = share(lanes, GROUP, chunk, n, width);
    float sum[GROUP] = {};
    if (whole(pre, width) && whole(d, width)) {
        for (u32 r = of.row; r < of.end; r += DEEP * of.height) {
            uint4 vs[DEEP], gs[DEEP];
#pragma unroll
            for (u32 k = 0; k < DEEP; k++) {
                const u32 row = r + k * of.height;
                const u64 at = (u64)(row < of.end ? row : r) * width + of.column;
                vs[k] = *(const uint4*)(pre + at);
                gs[k] = *(const uint4*)(d + at);
            }
#pragma unroll
            for (u32 k = 0; k < DEEP; k++) {
                if (r + k * of.height >= of.end) break;
                const u64 at = (u64)(r + k * of.height) * width + of.column;
                float v[GROUP], g[GROUP];
                unpack(vs[k], v);
                unpack(gs[k], g);
                activation_row(kind, v, g, d + at, y ? y + at : y, GROUP, sum);
            }
        }
    } else {
        for (u32 r = of.row; r < of.end; r += of.height) {
            const u64 at = (u64)r * width + of.column;
            float v[GROUP], g[GROUP];
            load(pre + at, v, width - of.column);
            load(d + at, g, width - of.column);
            activation_row(kind, v, g, d + at, y ? y + at : y, width - of.column, sum);
        }
    }
    hand_in(lanes, sum, warps);
    __syncthreads();
    hand_out<GROUP>(lanes, width, warps, add, out + (u64)blockIdx.y * width);
}

// Adds a row's dy*n, n the normalised row, and its dy.
__device__ inline void add_norm_row(const float (&d)[GROUP], const float (&x)[GROUP], float mean, float inverse,
                                    float (&weight)[GROUP], float (&bias)[GROUP]) {
#pragma unroll
    for (u32 i = 0; i < GROUP; i++) {
        weight[i] = fmaf(d[i], (x[i] - mean) * inverse, weight[i]);
        bias[i] += d[i];
    }
}

// of_weight[chunk, stride] and of_bias[chunk, stride] (+)= sums of dy*n, n the normalised row, and of dy.
extern "C" __global__ void __launch_bounds__(256, 3)
norm_sums(const StepParams* step, u32 rows, u32 chunk, u32 lanes, u32 width, const Act* dy, const Act* x,
          const float* stats, u32 add, u32 stride, float* of_weight, float* of_bias) {
    constexpr u32 DEEP = 4;
    __shared__ __align__(16) float weights[WARPS][MOST_LANES * GROUP];
    __shared__ __align__(16) float biases[WARPS][MOST_LANES * GROUP];
    const u32 n = count(step, rows);
    if (blockIdx.y && blockIdx.y * chunk >= n) return;
    const Share of = share(lanes, GROUP, chunk, n, width);
    float weight[GROUP] = {}, bias[GROUP] = {};
    if (whole(dy, width) && whole(x, width)) {
        for (u32 r = of.row; r < of.end; r += DEEP * of.height) {
            uint4 ds[DEEP], xs[DEEP];
            float means[DEEP], inverses[DEEP];
#pragma unroll
            for (u32 k = 0; k < DEEP; k++) {
                const u32 row = r + k * of.height;
                const u64 from = row < of.end ? row : of.row, at = from * width + of.column;
                ds[k] = *(const uint4*)(dy + at);
                xs[k] = *(const uint4*)(x + at);
                means[k] = stats[2 * from];
                inverses[k] = stats[2 * from + 1];
            }
#pragma unroll
            for (u32 k = 0; k < DEEP; k++)
                if (r + k * of.height >= of.end) ds[k] = make_uint4(0, 0, 0, 0);
#pragma unroll
            for (u32 k = 0; k < DEEP; k++) {
                float d[GROUP], v[GROUP];
                unpack(ds[k], d);
                unpack(xs[k], v);
                add_norm_row(d, v, means[k], inverses[k], weight, bias);
            }
        }
    } else {
        for (u32 r = of.row; r < of.end; r += of.height) {
            const u64 at = (u64)r * width + of.column;
            float d[GROUP], v[GROUP];
            load(dy + at, d, width - of.column);
            load(x + at, v, width - of.column);
            add_norm_row(d, v, stats[2 * (u64)r], stats[2 * (u64)r + 1], weight, bias);
        }
    }
    hand_in(lanes, weight, weights);
    hand_in(lanes, bias, biases);
    __syncthreads();
    hand_out<GROUP>(lanes, width, weights, add, of_weight + (u64)blockIdx.y * stride);
    hand_out<GROUP>(lanes, width, biases, add, of_bias + (u64)blockIdx.y * stride);
}

constexpr u32 JOINED = 32;  // chunks summed side by side, in a block of (32, JOINED): columns.rs has the same

// The sums of every chunk's partial[chunk, width], `each` of them (+)= to each of up to three outputs.
extern "C" __global__ void __launch_bounds__(1024, 1)
column_join(const StepParams* step, u32 rows, u32 chunk, u32 width, u32 each, const float* partial, u32 add,
            float* out, float* second, float* third) {
    constexpr u32 DEEP = 8;
    __shared__ float lanes[JOINED][33];
    const u32 chunks = (count(step, rows) + chunk - 1) / chunk, column = blockIdx.x * 32 + threadIdx.x;
    float sum = 0.0f;
    for (u32 first = threadIdx.y; column < width && first < chunks; first += DEEP * JOINED) {
        float some[DEEP];
#pragma unroll
        for (u32 k = 0; k < DEEP; k++) {
            const u32 at = first + k * JOINED;
            some[k] = at < chunks ? partial[(u64)at * width + column] : 0.0f;
        }
#pragma unroll
        for (u32 k = 0; k < DEEP; k++) sum += some[k];
    }
    lanes[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || column >= width) return;
    sum = 0.0f;
#pragma unroll
    for (u32 k = 0; k < JOINED; k++) sum += lanes[k][threadIdx.x];
    float* to = (column < each ? out : column < 2 * each ? second : third) + column % each;
    *to = add ? *to + sum : sum;
}
