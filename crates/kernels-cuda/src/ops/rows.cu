// Rows moved, masked, averaged. One warp a row.
#include "device.cuh"

// x *= mask*scale, [rows, width]; its own backward.
extern "C" __global__ void __launch_bounds__(128)
dropout(const StepParams* step, u32 rows, u32 width, u32 place, u32 threshold, float scale, const u64* example_ids,
        const u32* positions, Act* x) {
    const u32 row = warp_row();
    if (row >= count(step, rows)) return;
    x += (u64)row * width;
    const Words example = drop_example(step, place, example_ids[row]);
    const u32 position = positions[row];
    for (u32 c = lane() * GROUP; c < width; c += 32 * GROUP) {
        float v[GROUP];
        load(x + c, v, width - c);
        drop_group(example, position, c, threshold, scale, v);
        store(x + c, v, width - c);
    }
}

// The same over a weight: row r draws as position r of an example with the number `tensor`.
extern "C" __global__ void __launch_bounds__(128)
mask_weights(const StepParams* step, u32 rows, u32 width, u32 place, u32 threshold, float scale, u64 tensor,
             float* x) {
    const u32 row = warp_row();
    if (row >= rows) return;
    x += (u64)row * width;
    const Words example = drop_example(step, place, tensor);
    for (u32 c = lane() * 4; c < width; c += 32 * 4) {
        float v[4];
        load(x + c, v, width - c);
        drop_group(example, row, c, threshold, scale, v);
        store(x + c, v, width - c);
    }
}

// y[k] = x[index[k]].
extern "C" __global__ void __launch_bounds__(128)
gather_rows(const StepParams* step, u32 rows, u32 width, const Act* x, const u32* index, Act* y) {
    const u32 row = warp_row();
    if (row >= count(step, rows)) return;
    x += (u64)index[row] * width;
    y += (u64)row * width;
    for (u32 c = lane() * GROUP; c < width; c += 32 * GROUP) {
        float v[GROUP];
        load(x + c, v, width - c);
        store(y + c, v, width - c);
    }
}

// dx[index[k]] += dy[k]; no index twice.
extern "C" __global__ void __launch_bounds__(128)
scatter_add_rows(const StepParams* step, u32 rows, u32 width, const Act* dy, const u32* index, Act* dx) {
    const u32 row = warp_row();
    if (row >= count(step, rows)) return;
    dy += (u64)row * width;
    dx += (u64)index[row] * width;
    for (u32 c = lane() * GROUP; c < width; c += 32 * GROUP) {
        float v[GROUP], d[GROUP];
        load(dx + c, v, width - c);
        load(dy + c, d, width - c);
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) v[i] += d[i];
        store(dx + c, v, width - c);
    }
}

// y[s] = mean of x[t] over the tokens of sequence s.
extern "C" __global__ void __launch_bounds__(128)
mean_tokens(const StepParams* step, u32 sequences, u32 width, const Act* x, const u32* cu_seqlens, Act* y) {
    const u32 row = warp_row();
    if (row >= count(step, sequences)) return;
    const u32 start = cu_seqlens[row], end = cu_seqlens[row + 1];
    for (u32 c = lane() * GROUP; c < width; c += 32 * GROUP) {
        float sum[GROUP] = {};
        for (u32 t = start; t < end; t++) {
            float v[GROUP];
            load(x + (u64)t * width + c, v, width - c);
#pragma unroll
            for (u32 i = 0; i < GROUP; i++) sum[i] += v[i];
        }
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) sum[i] /= (float)(end - start);
        store(y + (u64)row * width + c, sum, width - c);
    }
}

// dx[t] = dy[s] / length of s.
extern "C" __global__ void __launch_bounds__(128)
mean_tokens_backward(const StepParams* step, u32 sequences, u32 width, const Act* dy, const u32* cu_seqlens,
                     Act* dx) {
    const u32 row = warp_row();
    if (row >= count(step, sequences)) return;
    const u32 start = cu_seqlens[row], end = cu_seqlens[row + 1];
    for (u32 c = lane() * GROUP; c < width; c += 32 * GROUP) {
        float v[GROUP];
        load(dy + (u64)row * width + c, v, width - c);
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) v[i] /= (float)(end - start);
        for (u32 t = start; t < end; t++) store(dx + (u64)t * width + c, v, width - c);
    }
}

// x[rows[k]] = 0.
extern "C" __global__ void __launch_bounds__(128)
zero_rows(const StepParams* step, u32 rows, u32 width, const u32* index, float* x) {
    const u32 row = warp_row();
    if (row >= count(step, rows)) return;
    x += (u64)index[row] * width;
    const float zeros[4] = {};
    for (u32 c = lane() * 4; c < width; c += 32 * 4) store(x + c, zeros, width - c);
}
