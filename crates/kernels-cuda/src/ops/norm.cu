// LayerNorm with what comes before it: sum = drop(x) + residual, y = (sum - mean)/sigma * weight + bias.
// One warp a row; a lane takes every 32nd group of 16 bytes. No barrier: a lane reads only what it wrote itself.
//
// A row of up to HELD groups a lane stays in registers from its first reading to its last use, and all of it is asked
// for before any of it is needed; wider rows, and those whose groups are not whole, are read anew for each pass. Either
// way the same numbers are added in the same order.
#include "device.cuh"

constexpr u32 HELD = 4;

// Whether a row of such groups is held.
__device__ inline bool held(u32 width) { return width % GROUP == 0 && width <= 32 * GROUP * HELD; }

// The first element of the lane's kth group.
__device__ inline u32 group_at(u32 k) { return (32 * k + lane()) * GROUP; }

// A group as it lies in memory.
__device__ inline uint4 packed(const Act* from) { return *(const uint4*)from; }

__device__ inline void unpack(const uint4& all, float (&v)[4]) {
    v[0] = __uint_as_float(all.x);
    v[1] = __uint_as_float(all.y);
    v[2] = __uint_as_float(all.z);
    v[3] = __uint_as_float(all.w);
}

__device__ inline void unpack(const uint4& all, float (&v)[8]) {
    const u32 words[4] = {all.x, all.y, all.z, all.w};
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        v[2 * i] = __uint_as_float(words[i] << 16);
        v[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
}

// As many master numbers, from a border of 16 bytes.
__device__ inline void masters(const float* from, float (&v)[GROUP]) {
#pragma unroll
    for (u32 i = 0; i < GROUP; i += 4) {
        const float4 four = *(const float4*)(from + i);
        v[i] = four.x;
        v[i + 1] = four.y;
        v[i + 2] = four.z;
        v[i + 3] = four.w;
    }
}

// Numbers as `put` leaves them.
__device__ inline uint4 pack(const float (&v)[4]) {
    return make_uint4(__float_as_uint(v[0]), __float_as_uint(v[1]), __float_as_uint(v[2]), __float_as_uint(v[3]));
}

__device__ inline uint4 pack(const float (&v)[8]) {
    u32 words[4];
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        bf16 low, high;
        put(&low, v[2 * i]);
        put(&high, v[2 * i + 1]);
        words[i] = (u32)high.bits << 16 | low.bits;
    }
    return make_uint4(words[0], words[1], words[2], words[3]);
}

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

__device__ inline void read_held(u32 width, const Act* from, uint4 (&row)[HELD]) {
#pragma unroll
    for (u32 k = 0; k < HELD; k++) {
        row[k] = make_uint4(0, 0, 0, 0);
        if (group_at(k) < width) row[k] = packed(from + group_at(k));
    }
}

__device__ inline void write_held(u32 width, const uint4 (&row)[HELD], const float* weight, const float* bias,
                                  float mean, float inverse, Act* y) {
#pragma unroll
    for (u32 k = 0; k < HELD; k++) {
        if (group_at(k) >= width) continue;
        float v[GROUP], w[GROUP], b[GROUP];
        unpack(row[k], v);
        masters(weight + group_at(k), w);
        masters(bias + group_at(k), b);
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) v[i] = normalised(v[i], mean, inverse, w[i], b[i]);
        *(uint4*)(y + group_at(k)) = pack(v);
    }
}

// Where a row's mask is drawn from, if there is one.
struct Mask {
    Words example;
    u32 position, threshold;
    float scale;
    __device__ void apply(u32 first, float (&v)[GROUP]) const {
        if (threshold) drop_group(example, position, first, threshold, scale, v);
    }
};

__device__ inline Mask mask_of(const StepParams* step, u32 place, u32 threshold, float scale, const u64* example_ids,
                               const u32* positions, u32 row) {
    Mask mask = {{}, 0, threshold, scale};
    if (threshold) {
        mask.example = drop_example(step, place, example_ids[row]);
        mask.position = positions[row];
    }
    return mask;
}

// A held row of add_norm.
__device__ inline void add_norm_held(u32 width, float eps, Act* x, const Act* residual, const float* weight,
                                     const float* bias, const Mask& mask, float* stats, Act* y) {
    uint4 row[HELD], other[HELD];
    read_held(width, x, row);
    read_held(residual ? width : 0, residual, other);
    float total = 0.0f;
#pragma unroll
    for (u32 k = 0; k < HELD; k++) {
        if (group_at(k) >= width) continue;
        float v[GROUP];
        unpack(row[k], v);
        if (mask.threshold || residual) {
            mask.apply(group_at(k), v);
            if (residual) {
                float r[GROUP];
                unpack(other[k], r);
#pragma unroll
                for (u32 i = 0; i < GROUP; i++) v[i] += r[i];
            }
            row[k] = pack(v);
            *(uint4*)(x + group_at(k)) = row[k];
            unpack(row[k], v);
        }
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) total += v[i];
    }
    const float mean = warp_sum(total) / (float)width;
    float square = 0.0f;
#pragma unroll
    for (u32 k = 0; k < HELD; k++) {
        if (group_at(k) >= width) continue;
        float v[GROUP];
        unpack(row[k], v);
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) square = fmaf(v[i] - mean, v[i] - mean, square);
    }
    const float inverse = 1.0f / sqrtf(warp_sum(square) / (float)width + eps);
    if (lane() == 0) {
        stats[0] = mean;
        stats[1] = inverse;
    }
    write_held(width, row, weight, bias, mean, inverse, y);
}

// x[R, width] becomes the sum; stats[R, 2] = mean, 1/sigma. `residual` may be null; threshold 0 drops nothing.
extern "C" __global__ void __launch_bounds__(128, 8)
add_norm(const StepParams* step, u32 rows, u32 width, float eps, Act* x, const Act* residual, const float* weight,
         const float* bias, u32 place, u32 threshold, float scale, const u64* example_ids, const u32* positions,
         float* stats, Act* y) {
    const u32 row = warp_row();
    if (row >= count(step, rows)) return;
    x += (u64)row * width;
    y += (u64)row * width;
    if (residual) residual += (u64)row * width;
    stats += 2 * (u64)row;
    const Mask mask = mask_of(step, place, threshold, scale, example_ids, positions, row);
    if (held(width) && aligned(x) && aligned(y) && aligned(residual) && aligned(weight) && aligned(bias)) {
        add_norm_held(width, eps, x, residual, weight, bias, mask, stats, y);
        return;
    }
    float total = 0.0f;
    for (u32 c = lane() * GROUP; c < width; c += 32 * GROUP) {
        float v[GROUP];
        load(x + c, v, width - c);
        mask.apply(c, v);
        if (residual) {
            float r[GROUP];
            load(residual + c, r, width - c);
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
        stats[0] = mean;
        stats[1] = inverse;
    }
    write_row(x, weight, bias, mean, inverse, width, y);
}

// y from saved statistics.
extern "C" __global__ void __launch_bounds__(128, 8)
norm_apply(const StepParams* step, u32 rows, u32 width, const Act* sum, const float* weight, const float* bias,
           const float* stats, Act* y) {
    const u32 row = warp_row();
    if (row >= count(step, rows)) return;
    const u64 at = (u64)row * width;
    const float mean = stats[2 * (u64)row], inverse = stats[2 * (u64)row + 1];
    sum += at;
    y += at;
    if (held(width) && aligned(sum) && aligned(y) && aligned(weight) && aligned(bias)) {
        uint4 groups[HELD];
        read_held(width, sum, groups);
        write_held(width, groups, weight, bias, mean, inverse, y);
        return;
    }
    write_row(sum, weight, bias, mean, inverse, width, y);
}

// A group's part of the sums of g and of g*n, with g = dy*weight and n the normalised row.
__device__ inline void add_slopes(const float (&g)[GROUP], const float (&n)[GROUP], const float (&w)[GROUP], float mean,
                                  float inverse, float& of_g, float& of_gn) {
#pragma unroll
    for (u32 i = 0; i < GROUP; i++) {
        // Behind the row's end weight and dy are zero.
        const float scaled = g[i] * w[i];
        of_g += scaled;
        of_gn = fmaf(scaled, (n[i] - mean) * inverse, of_gn);
    }
}

// dy becomes dsum.
__device__ inline void slopes(float (&g)[GROUP], const float (&n)[GROUP], const float (&w)[GROUP], float mean,
                              float inverse, float of_g, float of_gn) {
#pragma unroll
    for (u32 i = 0; i < GROUP; i++) g[i] = (g[i] * w[i] - of_g - (n[i] - mean) * inverse * of_gn) * inverse;
}

// A held row of add_norm_backward.
__device__ inline void add_norm_backward_held(u32 width, const Act* dy, const Act* sum, float mean, float inverse,
                                              const float* weight, Act* dsum, const Mask& mask, Act* dx) {
    uint4 dys[HELD], sums[HELD];
    read_held(width, dy, dys);
    read_held(width, sum, sums);
    float of_g = 0.0f, of_gn = 0.0f;
#pragma unroll
    for (u32 k = 0; k < HELD; k++) {
        if (group_at(k) >= width) continue;
        float g[GROUP], n[GROUP], w[GROUP];
        unpack(dys[k], g);
        unpack(sums[k], n);
        masters(weight + group_at(k), w);
        add_slopes(g, n, w, mean, inverse, of_g, of_gn);
    }
    of_g = warp_sum(of_g) / (float)width;
    of_gn = warp_sum(of_gn) / (float)width;
#pragma unroll
    for (u32 k = 0; k < HELD; k++) {
        if (group_at(k) >= width) continue;
        float g[GROUP], n[GROUP], w[GROUP];
        unpack(dys[k], g);
        unpack(sums[k], n);
        masters(weight + group_at(k), w);
        slopes(g, n, w, mean, inverse, of_g, of_gn);
        *(uint4*)(dsum + group_at(k)) = pack(g);
        if (mask.threshold) {
            mask.apply(group_at(k), g);
            *(uint4*)(dx + group_at(k)) = pack(g);
        }
    }
}

// dsum = (g - mean(g) - n*mean(g*n))/sigma with g = dy*weight and n the normalised row;
// dx = mask*scale*dsum where there was dropout (threshold > 0).
extern "C" __global__ void __launch_bounds__(128, 8)
add_norm_backward(const StepParams* step, u32 rows, u32 width, const Act* dy, const Act* sum, const float* stats,
                  const float* weight, Act* dsum, u32 place, u32 threshold, float scale, const u64* example_ids,
                  const u32* positions, Act* dx) {
    const u32 row = warp_row();
    if (row >= count(step, rows)) return;
    const u64 at = (u64)row * width;
    const float mean = stats[2 * (u64)row], inverse = stats[2 * (u64)row + 1];
    dy += at;
    sum += at;
    dsum += at;
    if (threshold) dx += at;
    const Mask mask = mask_of(step, place, threshold, scale, example_ids, positions, row);
    if (held(width) && aligned(dy) && aligned(sum) && aligned(dsum) && aligned(dx) && aligned(weight)) {
        add_norm_backward_held(width, dy, sum, mean, inverse, weight, dsum, mask, dx);
        return;
    }
    float of_g = 0.0f, of_gn = 0.0f;
    for (u32 c = lane() * GROUP; c < width; c += 32 * GROUP) {
        float g[GROUP], n[GROUP], w[GROUP];
        load(dy + c, g, width - c);
        load(sum + c, n, width - c);
        load(weight + c, w, width - c);
        add_slopes(g, n, w, mean, inverse, of_g, of_gn);
    }
    of_g = warp_sum(of_g) / (float)width;
    of_gn = warp_sum(of_gn) / (float)width;
    for (u32 c = lane() * GROUP; c < width; c += 32 * GROUP) {
        float g[GROUP], n[GROUP], w[GROUP];
        load(dy + c, g, width - c);
        load(sum + c, n, width - c);
        load(weight + c, w, width - c);
        slopes(g, n, w, mean, inverse, of_g, of_gn);
        store(dsum + c, g, width - c);
        if (threshold) {
            mask.apply(c, g);
            store(dx + c, g, width - c);
        }
    }
}
