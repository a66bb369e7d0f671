// LayerNorm with what comes before it: sum = drop(x) + residual, y = (sum - mean)/sigma * weight + bias.
// One warp a row; a lane takes every 32nd group of 16 bytes. No barrier: a lane reads only what it wrote itself.
#include "device.cuh"

// One formula for both kernels that write y: the same bits.
__device__ inline float normalised(float x, float mean, float inverse, float weight, float bias) {
    return fmaf((x - mean) * inverse, weight, bias);
}

__device__ inline void write_row(const Act* sum, const float* weight, const float* bias, float mean, float inverse,
                                 u32 width, Act* y) {
    for (u32 c = lane() * GROUP; c < width; c += 32 * GROUP) {
        float v[GROUP], w[GROUP], b[GROUP];
        load(sum + c, v, width - c);
        load(weight + c, w, width - c);
        load(bias + c, b, width - c);
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) v[i] = normalised(v[i], mean, inverse, w[i], b[i]);
        store(y + c, v, width - c);
    }
}

// x[R, width] becomes the sum; stats[R, 2] = mean, 1/sigma. `residual` may be null; threshold 0 drops nothing.
extern "C" __global__ void __launch_bounds__(128)
add_norm(const StepParams* step, u32 rows, u32 width, float eps, Act* x, const Act* residual, const float* weight,
         const float* bias, u32 place, u32 threshold, float scale, const u64* example_ids, const u32* positions,
         float* stats, Act* y) {
    const u32 row = warp_row();
    if (row >= count(step, rows)) return;
    x += (u64)row * width;
    y += (u64)row * width;
    Words example = {};
    u32 position = 0;
    if (threshold) {
        example = drop_example(step, place, example_ids[row]);
        position = positions[row];
    }
    float total = 0.0f;
    for (u32 c = lane() * GROUP; c < width; c += 32 * GROUP) {
        float v[GROUP];
        load(x + c, v, width - c);
        if (threshold) drop_group(example, position, c, threshold, scale, v);
        if (residual) {
            float r[GROUP];
            load(residual + (u64)row * width + c, r, width - c);
#pragma unroll
            for (u32 i = 0; i < GROUP; i++) v[i] += r[i];
        }
        if (threshold || residual) store(x + c, v, width - c);
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) total += rounded(v[i]);
    }
    const float mean = warp_sum(total) / (float)width;
    float square = 0.0f;
    for (u32 c = lane() * GROUP; c < width; c += 32 * GROUP) {
        float v[GROUP];
        load(x + c, v, width - c);
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) {
            const float away = c + i < width ? v[i] - mean : 0.0f;
            square = fmaf(away, away, square);
        }
    }
    const float inverse = 1.0f / sqrtf(warp_sum(square) / (float)width + eps);
    if (lane() == 0) {
        stats[2 * (u64)row] = mean;
        stats[2 * (u64)row + 1] = inverse;
    }
    write_row(x, weight, bias, mean, inverse, width, y);
}

// y from saved statistics.
extern "C" __global__ void __launch_bounds__(128)
norm_apply(const StepParams* step, u32 rows, u32 width, const Act* sum, const float* weight, const float* bias,
           const float* stats, Act* y) {
    const u32 row = warp_row();
    if (row >= count(step, rows)) return;
    const u64 at = (u64)row * width;
    write_row(sum + at, weight, bias, stats[2 * (u64)row], stats[2 * (u64)row + 1], width, y + at);
}

// dsum = (g - mean(g) - n*mean(g*n))/sigma with g = dy*weight and n the normalised row;
// dx = mask*scale*dsum where there was dropout (threshold > 0).
extern "C" __global__ void __launch_bounds__(128)
add_norm_backward(const StepParams* step, u32 rows, u32 width, const Act* dy, const Act* sum, const float* stats,
                  const float* weight, Act* dsum, u32 place, u32 threshold, float scale, const u64* example_ids,
                  const u32* positions, Act* dx) {
    const u32 row = warp_row();
    if (row >= count(step, rows)) return;
    const u64 at = (u64)row * width;
    const float mean = stats[2 * (u64)row], inverse = stats[2 * (u64)row + 1];
    float of_g = 0.0f, of_gn = 0.0f;
    for (u32 c = lane() * GROUP; c < width; c += 32 * GROUP) {
        float g[GROUP], n[GROUP], w[GROUP];
        load(dy + at + c, g, width - c);
        load(sum + at + c, n, width - c);
        load(weight + c, w, width - c);
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) {
            // Behind the row's end weight and dy are zero.
            const float scaled = g[i] * w[i];
            of_g += scaled;
            of_gn = fmaf(scaled, (n[i] - mean) * inverse, of_gn);
        }
    }
    of_g = warp_sum(of_g) / (float)width;
    of_gn = warp_sum(of_gn) / (float)width;
    Words example = {};
    u32 position = 0;
    if (threshold) {
        example = drop_example(step, place, example_ids[row]);
        position = positions[row];
    }
    for (u32 c = lane() * GROUP; c < width; c += 32 * GROUP) {
        float g[GROUP], n[GROUP], w[GROUP];
        load(dy + at + c, g, width - c);
        load(sum + at + c, n, width - c);
        load(weight + c, w, width - c);
#pragma unroll
        for (u32 i = 0; i < GROUP; i++)
            g[i] = (g[i] * w[i] - of_g - (n[i] - mean) * inverse * of_gn) * inverse;
        store(dsum + at + c, g, width - c);
        if (threshold) {
            drop_group(example, position, c, threshold, scale, g);
            store(dx + at + c, g, width - c);
        }
    }
}
