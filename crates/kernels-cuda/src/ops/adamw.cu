// AdamW in one pass over every tensor: weights, both moments, and the weights' copy as activations are.
// Rates and corrections are of the step and come in device memory; operations in the order of torch.optim.AdamW.
#include "device.cuh"

constexpr u32 CHUNK = 4096;  // elements of a block: adamw.rs has the same

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

// `start` may be null where no row pulls; `copy` may be null.
extern "C" __global__ void __launch_bounds__(256)
adamw(u32 rows, const AdamwRow* table, const double* coefficient, const float* start, const float* grads, float* m,
      float* v, float* weights, Act* copy) {
    // The last row whose first block is not behind this one.
    u32 low = 0, high = rows;
    while (high - low > 1) {
        const u32 middle = (low + high) / 2;
        if (table[middle].first_block <= blockIdx.x)
            low = middle;
        else
            high = middle;
    }
    const AdamwRow row = table[low];
    const float clip = (float)coefficient[1];
    const u64 first = (u64)(blockIdx.x - row.first_block) * CHUNK, end = min(first + CHUNK, row.len);
    for (u64 at = first + threadIdx.x * 4; at < end; at += blockDim.x * 4) {
        const u32 left = (u32)min(end - at, (u64)4);
        float w4[4], g4[4], m4[4], v4[4], s4[4] = {};
        load(weights + row.weights + at, w4, left);
        load(grads + row.grads + at, g4, left);
        load(m + row.grads + at, m4, left);
        load(v + row.grads + at, v4, left);
        if (row.pull != 0.0f) load(start + row.weights + at, s4, left);
#pragma unroll
        for (u32 i = 0; i < 4; i++) adamw_step(row, clip * g4[i], w4[i] - s4[i], w4[i], m4[i], v4[i]);
        store(weights + row.weights + at, w4, left);
        store(m + row.grads + at, m4, left);
        store(v + row.grads + at, v4, left);
        if (copy) store(copy + row.weights + at, w4, left);
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
