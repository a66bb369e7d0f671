// A head's product, in master precision whatever activations are: a few classes, so no tensor cores.
#include "device.cuh"

// logits[r, c] = x[r] . w[c] + bias[c]; one warp a number.
extern "C" __global__ void __launch_bounds__(128)
head_forward(const StepParams* step, u32 rows, u32 input, u32 classes, const Act* x, const float* w,
             const float* bias, float* logits) {
    const u32 row = warp_row(), c = blockIdx.y;
    if (row >= count(step, rows)) return;
    x += (u64)row * input;
    w += (u64)c * input;
    float sum = 0.0f;
    for (u32 k = lane() * GROUP; k < input; k += 32 * GROUP) {
        float a[GROUP], b[GROUP];
        load(x + k, a, input - k);
        load(w + k, b, input - k);
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) sum = fmaf(a[i], b[i], sum);
    }
    sum = warp_sum(sum);
    if (lane() == 0) logits[(u64)row * classes + c] = sum + bias[c];
}

// dx[r] = the sum of dlogits[r, c] * w[c] over c; one warp a row.
extern "C" __global__ void __launch_bounds__(128)
head_dgrad(const StepParams* step, u32 rows, u32 input, u32 classes, const float* dlogits, const float* w, Act* dx) {
    const u32 row = warp_row();
    if (row >= count(step, rows)) return;
    dlogits += (u64)row * classes;
    for (u32 k = lane() * GROUP; k < input; k += 32 * GROUP) {
        float sum[GROUP] = {};
        for (u32 c = 0; c < classes; c++) {
            float b[GROUP];
            load(w + (u64)c * input + k, b, input - k);
#pragma unroll
            for (u32 i = 0; i < GROUP; i++) sum[i] = fmaf(dlogits[c], b[i], sum[i]);
        }
        store(dx + (u64)row * input + k, sum, input - k);
    }
}

// partial[j, c] = the sum of dlogits[r, c] * x[r] over r = j, j + gridDim.y, ..; column_join adds the parts in order.
extern "C" __global__ void __launch_bounds__(128)
head_wgrad(const StepParams* step, u32 rows, u32 input, u32 classes, const float* dlogits, const Act* x,
           float* partial) {
    const u32 c = blockIdx.x, n = count(step, rows);
    partial += ((u64)blockIdx.y * classes + c) * input;
    for (u32 k = threadIdx.x * GROUP; k < input; k += blockDim.x * GROUP) {
        float sum[GROUP] = {};
        for (u32 r = blockIdx.y; r < n; r += gridDim.y) {
            float a[GROUP];
            load(x + (u64)r * input + k, a, input - k);
            const float d = dlogits[(u64)r * classes + c];
#pragma unroll
            for (u32 i = 0; i < GROUP; i++) sum[i] = fmaf(d, a[i], sum[i]);
        }
        store(partial + k, sum, input - k);
    }
}
