// The feed-forward's nonlinearity, tanh, and a bias where the product could not add it. Elementwise.
#include "device.cuh"

// As hone_kernels::math has them; numbers of Activation in activation.rs.
constexpr u32 GELU = 0, GELU_TANH = 1;

struct Slope {
    float value, derivative;
};

// One formula for forward and backward: the same bits of the value.
__device__ inline Slope activate(u32 kind, float x) {
    Slope out;
    if (kind == GELU) {
        const float cumulative = 0.5f * (1.0f + erff(x * 0.707106781186547524f));
        out.value = x * cumulative;
        out.derivative = fmaf(x * 0.398942280401432678f, expf(-0.5f * x * x), cumulative);
    } else if (kind == GELU_TANH) {
        const float square = x * x;
        const float t = tanhf(0.797884560802865356f * x * fmaf(0.044715f, square, 1.0f));
        const float slope = 0.797884560802865356f * fmaf(0.134145f, square, 1.0f);
        out.value = 0.5f * x * (1.0f + t);
        out.derivative = fmaf(0.5f * x * fmaf(-t, t, 1.0f), slope, 0.5f * (1.0f + t));
    } else {
        out.value = x > 0.0f ? x : 0.0f;
        out.derivative = x > 0.0f ? 1.0f : 0.0f;
    }
    return out;
}

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

// d *= activation'(pre), in place; y = activation(pre).
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
    store(y + at, v, left);
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
