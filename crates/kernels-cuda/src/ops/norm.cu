// LayerNorm with what comes before it: sum = drop(x) + residual, y = (sum - mean)/sigma * weight + bias.
// One warp a row; a lane takes every 32nd group of 16 bytes. No barrier but where
// rows are summed: a lane reads only what it wrote itself.
//
// A row of up to HELD groups a lane stays in registers from its first reading to its last use, and all of it is asked
// for before any of it is needed; wider rows, and those whose groups are not whole, are read anew for each pass. Either
// way the same numbers are added in the same order.
#include "device.cuh"
#include "copies.cuh"

constexpr u32 HELD = 4;

// Whether a row of such groups is held.
__device__ inline bool held(u32 width) { return width % GROUP == 0 && width <= 32 * GROUP * HELD; }

// The first element of the lane's kth group.
__device__ inline u32 group_at(u32 k) { return (32 * k + lane()) * GROUP; }

// A group as it lies in memory.
__device__ inline uint4 packed(const Act* from) { return *(const uint4*)from; }

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

// ---- with what is summed over rows ----------------------------------------------------------------------------
//
// A block has a chunk of rows, whose number the number of all rows decides. `across` of its warps take a row together,
// a thread 16 bytes of it, and as many rows as there are such sets of warps are worked on beside each other. A thread
// has the same columns of every row, so their sums stay in registers; behind the last row they are joined set by set.
// Rows come by copies that run two rows ahead, and a thread reads only what it copied itself.

constexpr u32 SUM_WARPS = 12;   // one, two, three, four or six warps across leave none idle
constexpr u32 SUM_THREADS = 32 * SUM_WARPS;  // norm.rs has the same
constexpr u32 MOST_CHUNK = 64;  // rows of a chunk: norm.rs has the same
constexpr u32 AHEAD = 3;        // rows of a thread, the one it works on included

// As add_norm_backward for rows of whole groups, at borders of 16 bytes; with sums over each chunk's rows to
// of_weight[chunk, stride] (dy*n), of_bias (dy) and of_before (dx, or dsum where there was no dropout), which may be null.
extern "C" __global__ void __launch_bounds__(384, 2)
add_norm_backward_sums(const StepParams* step, u32 rows, u32 width, const Act* dy, const Act* sum, const float* stats,
                       const float* weight, Act* dsum, u32 place, u32 threshold, float scale, const u64* example_ids,
                       const u32* positions, Act* dx, u32 chunk, u32 stride, float* of_weight, float* of_bias,
                       float* of_before) {
    __shared__ uint4 coming[AHEAD][2][SUM_THREADS];
    __shared__ float2 moments[MOST_CHUNK];
    __shared__ Mask masks[MOST_CHUNK];
    // Two sums of each warp that has part in a row, zeros behind the last, for four warps at least.
    __shared__ float4 parts[2][2 * SUM_WARPS];
    const u32 n = count(step, rows), first = blockIdx.x * chunk;
    if (first >= n) return;
    const u32 here = min(chunk, n - first), thread = threadIdx.x;
    const u32 across = (width / GROUP + 31) / 32, beside = SUM_WARPS / across;
    const u32 room = (across + 3) / 4 * 2;
    const u32 set = thread / (32 * across), own = thread % (32 * across), column = own * GROUP;
    const bool mine = set < beside && column < width;
    // Where the thread's group of a row is, counted in groups.
    const auto group_of = [&](u32 row) { return (u64)((first + row) * (width / GROUP) + own); };
    // The copies of the thread's kth row.
    const auto begin = [&](u32 k) {
        const u32 row = k * beside + set;
        if (mine && row < here) {
            copy_async<16>(&coming[k % AHEAD][0][thread], (const uint4*)dy + group_of(row), true);
            copy_async<16>(&coming[k % AHEAD][1][thread], (const uint4*)sum + group_of(row), true);
        }
        commit_copies();
    };
#pragma unroll
    for (u32 k = 0; k < AHEAD - 1; k++) begin(k);
    if (thread < 4 * SUM_WARPS) parts[thread % 2][thread / 2] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (thread < here) {
        const u64 row = first + thread;
        moments[thread] = {stats[2 * row], stats[2 * row + 1]};
        masks[thread] = mask_of(step, place, threshold, scale, example_ids, positions, first + thread);
    }
    float w[GROUP] = {}, weights[GROUP] = {}, biases[GROUP] = {}, befores[GROUP] = {};
    if (mine) masters(weight + column, w);
    const float share = 1.0f / (float)width;
    __syncthreads();
    for (u32 k = 0; k * beside < here; k++) {
        begin(k + AHEAD - 1);
        wait_for_copies<AHEAD - 1>();
        const u32 row = k * beside + set;
        const bool there = mine && row < here;
        uint4 dys, sums;
        float2 moment;
        float of_g = 0.0f, of_gn = 0.0f, g[GROUP], x[GROUP];
        if (there) {
            dys = coming[k % AHEAD][0][thread];
            sums = coming[k % AHEAD][1][thread];
            moment = moments[row];
            unpack(dys, g);
            unpack(sums, x);
            add_slopes(g, x, w, moment.x, moment.y, of_g, of_gn);
        }
        of_g = warp_sum(of_g);
        of_gn = warp_sum(of_gn);
        // By turns, so that a warp which is a row ahead does not write over what others have yet to read.
        const u32 turn = k % 2;
        if (lane() == 0) ((float2*)parts[turn])[2 * set * room + own / 32] = {of_g, of_gn};
        __syncthreads();
        if (!there) continue;
        of_g = of_gn = 0.0f;
#pragma unroll 1
        for (u32 i = 0; i < room; i += 2) {
            const float4 some = parts[turn][set * room + i], more = parts[turn][set * room + i + 1];
            of_g += (some.x + some.z) + (more.x + more.z);
            of_gn += (some.y + some.w) + (more.y + more.w);
        }
        unpack(dys, g);
        unpack(sums, x);
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) {
            weights[i] = fmaf(g[i], (x[i] - moment.x) * moment.y, weights[i]);
            biases[i] += g[i];
        }
        slopes(g, x, w, moment.x, moment.y, of_g * share, of_gn * share);
        ((uint4*)dsum)[group_of(row)] = pack(g);
        if (threshold) {
            masks[row].apply(column, g);
            ((uint4*)dx)[group_of(row)] = pack(g);
        }
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) befores[i] += g[i];
    }
    // Where rows came all have been read, and none is on its way.
    float(*joined)[GROUP][SUM_THREADS] = (float(*)[GROUP][SUM_THREADS])coming;
#pragma unroll
    for (u32 i = 0; i < GROUP; i++) {
        joined[0][i][thread] = weights[i];
        joined[1][i][thread] = biases[i];
        joined[2][i][thread] = befores[i];
    }
    __syncthreads();
    if (!mine) return;
    for (u32 k = set; k < 3; k += beside) {
        float* out = k == 0 ? of_weight : k == 1 ? of_bias : of_before;
        if (!out) continue;
        float total[GROUP] = {};
        for (u32 of = 0; of < beside; of++)
#pragma unroll
            for (u32 i = 0; i < GROUP; i++) total[i] += joined[k][i][32 * across * of + own];
        store(out + (u64)blockIdx.x * stride + column, total, GROUP);
    }
}
