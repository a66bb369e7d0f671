// The feed-forward's nonlinearity, tanh, and a bias where the product could not add it. Elementwise.
#include "activation.cuh"

// y[rows, width] = activation(pre).
extern "C" __global__ void __launch_bounds__(256)
activation_forward(const StepParams* step, u32 rows, u32 width, u32 kind, const Act* pre, Act* y) {
    const u64 n = (u64)count(step, rows) * width, at = thread_index() * GROUP;
    if (at >= n) return;
    const u32 left = (u32)min(n - at, (u64)GROUP);
    float v[GROUP];
    load(pre + at, v, left);
#pragma unroll
    for (u32 i = 0; i < GROUP; i++) v[i] = activate(kind, v[i]).value;
    store(y + at, v, left);
}

// d *= activation'(pre), in place; y, where it is not null, = activation(pre).
extern "C" __global__ void __launch_bounds__(256)
activation_backward(const StepParams* step, u32 rows, u32 width, u32 kind, const Act* pre, Act* d, Act* y) {
    const u64 n = (u64)count(step, rows) * width, at = thread_index() * GROUP;
    if (at >= n) return;
    const u32 left = (u32)min(n - at, (u64)GROUP);
    float v[GROUP], g[GROUP];
    load(pre + at, v, left);
    load(d + at, g, left);
#pragma unroll
    for (u32 i = 0; i < GROUP; i++) {
        const Slope slope = activate(kind, v[i]);
        g[i] *= slope.derivative;
        v[i] = slope.value;
    }
    store(d + at, g, left);
    if (y) store(y + at, v, left);
}

// y = tanh(x), n elements.
extern "C" __global__ void __launch_bounds__(256)
tanh_forward(const StepParams* step, u32 rows, u32 width, const Act* x, Act* y) {
    const u64 n = (u64)count(step, rows) * width, at = thread_index() * GROUP;
    if (at >= n) return;
    const u32 left = (u32)min(n - at, (u64)GROUP);
    float v[GROUP];
    load(x + at, v, left);
#pragma unroll
    for (u32 i = 0; i < GROUP; i++) v[i] = tanhf(v[i]);
    store(y + at, v, left);
}

// d *= 1 - y*y.
extern "C" __global__ void __launch_bounds__(256)
tanh_backward(const StepParams* step, u32 rows, u32 width, const Act* y, Act* d) {
    const u64 n = (u64)count(step, rows) * width, at = thread_index() * GROUP;
    if (at >= n) return;
    const u32 left = (u32)min(n - at, (u64)GROUP);
    float v[GROUP], g[GROUP];
    load(y + at, v, left);
    load(d + at, g, left);
#pragma unroll
    for (u32 i = 0; i < GROUP; i++) g[i] *= 1.0f - v[i] * v[i];
    store(d + at, g, left);
}

// y[rows, width] += bias[width].
extern "C" __global__ void __launch_bounds__(128)
add_bias(const StepParams* step, u32 rows, u32 width, const float* bias, Act* y) {
    const u32 row = warp_row();
    if (row >= count(step, rows)) return;
    y += (u64)row * width;
    for (u32 c = lane() * GROUP; c < width; c += 32 * GROUP) {
        float v[GROUP], b[GROUP];
        load(y + c, v, width - c);
        load(bias + c, b, width - c);
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) v[i] += b[i];
        store(y + c, v, width - c);
    }
}
