// AdamW in one pass over every tensor: weights, both moments, and the weights' copy as activations are.
// Rates and corrections are of the step and come in device memory; operations in the order of torch.optim.AdamW.
#include "device.cuh"

constexpr u32 CHUNK = 16384;  // elements of a block: adamw.rs has the same

// One tensor of a sweep, or one of the steps that rows sat out. adamw.rs has the same.
struct AdamwRow {
    u64 weights;      // first element in the arena of weights
    u64 grads;        // first element in the arenas of gradients and moments
    u64 len;          // elements
    u32 first_block;  // of this tensor
    u32 unused;
    float keep;        // 1 - lr*decay
    float pull;        // lr*decay towards the start
    float size;        // lr/(1 - beta1^step)
    float correction;  // sqrt(1 - beta2^step)
    float towards;     // 1 - beta1
    float beta2;
    float fresh;  // 1 - beta2
    float eps;
};

__device__ inline void adamw_step(const AdamwRow& row, float g, float away, float& w, float& m, float& v) {
    w *= row.keep;
    if (row.pull != 0.0f) w -= row.pull * away;
    m += row.towards * (g - m);
    v = row.beta2 * v + row.fresh * g * g;
    const float root = sqrtf(v) / row.correction + row.eps;
    w -= row.size * (m / root);
}

// Four neighbouring weights as activations are: 16 or 8 bytes, at a multiple of as many.
__device__ inline void put_four(float* to, const float4& x) { *(float4*)to = x; }
__device__ inline void put_four(bf16* to, const float4& x) {
    bf16 four[4];
    put(&four[0], x.x);
    put(&four[1], x.y);
    put(&four[2], x.z);
    put(&four[3], x.w);
    *(uint2*)to = make_uint2((u32)four[1].bits << 16 | four[0].bits, (u32)four[3].bits << 16 | four[2].bits);
}

__device__ inline void adamw_four(const AdamwRow& row, float clip, const float4& g, const float4& start, float4& w,
                                  float4& m, float4& v) {
    adamw_step(row, clip * g.x, w.x - start.x, w.x, m.x, v.x);
    adamw_step(row, clip * g.y, w.y - start.y, w.y, m.y, v.y);
    adamw_step(row, clip * g.z, w.z - start.z, w.z, m.z, v.z);
    adamw_step(row, clip * g.w, w.w - start.w, w.w, m.w, v.w);
}

// `start` may be null where no row pulls; `copy` may be null.
extern "C" __global__ void __launch_bounds__(256, 3)
adamw(u32 rows, const AdamwRow* table, const double* coefficient, const float* start, const float* grads, float* m,
      float* v, float* weights, Act* copy) {
    constexpr u32 DEEP = 2;
    __shared__ u32 before;
    // The last row whose first block is not behind this one.
    if (threadIdx.x < 32) {
        u32 mine = 0;
        for (u32 k = lane(); k < rows; k += 32) mine += table[k].first_block <= blockIdx.x;
        mine = warp_sum(mine);
        if (lane() == 0) before = max(mine, 1u);
    }
    __syncthreads();
    const AdamwRow row = table[min(before, rows) - 1];
    const float clip = (float)coefficient[1];
    const u64 first = (u64)(blockIdx.x - row.first_block) * CHUNK, end = min(first + CHUNK, row.len);
    weights += row.weights;
    grads += row.grads;
    m += row.grads;
    v += row.grads;
    if (copy) copy += row.weights;
    const bool pulls = row.pull != 0.0f;
    if (pulls) start += row.weights;
    const u32 apart = blockDim.x * 4;
    u64 at = first + threadIdx.x * 4;
    if (aligned(weights) && aligned(grads) && aligned(m) && aligned(v) && aligned(start) && aligned(copy)) {
        // Every load before the first use.
        for (; at + (DEEP - 1) * apart + 4 <= end; at += DEEP * apart) {
            float4 w4[DEEP], g4[DEEP], m4[DEEP], v4[DEEP], s4[DEEP];
#pragma unroll
            for (u32 k = 0; k < DEEP; k++) {
                w4[k] = *(const float4*)(weights + at + k * apart);
                g4[k] = *(const float4*)(grads + at + k * apart);
                m4[k] = *(const float4*)(m + at + k * apart);
                v4[k] = *(const float4*)(v + at + k * apart);
            }
#pragma unroll
            for (u32 k = 0; k < DEEP; k++)
                s4[k] = pulls ? *(const float4*)(start + at + k * apart) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
            for (u32 k = 0; k < DEEP; k++) {
                adamw_four(row, clip, g4[k], s4[k], w4[k], m4[k], v4[k]);
                *(float4*)(weights + at + k * apart) = w4[k];
                *(float4*)(m + at + k * apart) = m4[k];
                *(float4*)(v + at + k * apart) = v4[k];
                if (copy) put_four(copy + at + k * apart, w4[k]);
            }
        }
    }
    for (; at < end; at += apart) {
        const u32 left = (u32)min(end - at, (u64)4);
        float w4[4], g4[4], m4[4], v4[4], s4[4] = {};
        load(weights + at, w4, left);
        load(grads + at, g4, left);
        load(m + at, m4, left);
        load(v + at, v4, left);
        if (pulls) load(start + at, s4, left);
#pragma unroll
        for (u32 i = 0; i < 4; i++) adamw_step(row, clip * g4[i], w4[i] - s4[i], w4[i], m4[i], v4[i]);
        store(weights + at, w4, left);
        store(m + at, m4, left);
        store(v + at, v4, left);
        if (copy) store(copy + at, w4, left);
    }
}

// Row index[k] of a tensor takes the steps since[k].. of history; the last with its gradient where there is one
// (`grads` not null). A block a row.
extern "C" __global__ void __launch_bounds__(128)
adamw_rows(u32 rows, u32 width, u32 steps, const AdamwRow* history, const u32* index, const u32* since,
           const float* grads, const double* coefficient, float* m, float* v, float* weights, Act* copy) {
    const u32 k = blockIdx.x;
    if (k >= rows) return;
    const u64 at = (u64)index[k] * width;
    const float clip = grads ? (float)coefficient[1] : 1.0f;
    for (u32 c = threadIdx.x; c < width; c += blockDim.x) {
        const u64 of_weights = history[0].weights + at + c, of_grads = history[0].grads + at + c;
        float w1 = weights[of_weights], m1 = m[of_grads], v1 = v[of_grads];
        for (u32 s = since[k]; s < steps; s++) {
            const float g = grads && s + 1 == steps ? clip * grads[of_grads] : 0.0f;
            adamw_step(history[s], g, 0.0f, w1, m1, v1);
        }
        weights[of_weights] = w1;
        m[of_grads] = m1;
        v[of_grads] = v1;
        if (copy) put(copy + of_weights, w1);
    }
}
