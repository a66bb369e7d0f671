// Rows of one class drawn together, those of others pushed apart: one warp a row, in double, since rows are few.
#include "device.cuh"

// hone_kernels::Contrast::SHORTEST.
constexpr double SHORTEST = 1e-12;

// Sum of x*y, whole in every lane.
__device__ inline double dot(const Act* x, const Act* y, u32 width) {
    double sum = 0.0;
    for (u32 c = lane() * GROUP; c < width; c += 32 * GROUP) {
        float a[GROUP], b[GROUP];
        load(x + c, a, width - c);
        load(y + c, b, width - c);
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) sum += (double)a[i] * (double)b[i];
    }
    return warp_sum(sum);
}

// Whether rows r and k have the same targets.
__device__ inline bool alike(const float* targets, u32 classes, u32 r, u32 k) {
    const float *one = targets + (u64)r * classes, *other = targets + (u64)k * classes;
    bool same = true;
#pragma unroll 1
    for (u32 c = 0; c < classes; c++) same = same && one[c] == other[c];
    return same;
}

// inverse[r] = 1/|x[r]|, 0 for a row of zeros.
extern "C" __global__ void __launch_bounds__(128)
contrast_lengths(const StepParams* step, u32 rows, u32 width, const Act* x, float* kept) {
    const u32 row = warp_row(), all = count(step, rows);
    if (row >= all) return;
    const Act* own = x + (u64)row * width;
    const double length = sqrt(dot(own, own, width));
    if (lane() == 0) kept[(u64)all * all + row] = length < SHORTEST ? 0.0f : (float)(1.0 / length);
}

// losses[row] = share*mean(log sum exp s[row] - s[row, k]) over the row's class; slopes[row, k] is its gradient to s.
extern "C" __global__ void __launch_bounds__(128)
contrast(const StepParams* step, u32 rows, u32 width, u32 classes, double strength, double temperature, const Act* x,
         const float* targets, const float* weights, double* losses, float* kept) {
    const u32 row = warp_row(), all = count(step, rows);
    if (row >= all) return;
    const float* inverse = kept + (u64)all * all;
    float* slopes = kept + (u64)row * all;
    const float weight = weights[row];
    const Act* own = x + (u64)row * width;
    // A lane's rows are its own from here to the end: what it writes it alone reads.
    double mates = 0.0, most = -infinite();
#pragma unroll 1
    for (u32 k = 0; k < all; k++) {
        const bool there = k != row && weights[k] != 0.0f;
        const double product = there ? dot(own, x + (u64)k * width, width) : 0.0;
        if (k % 32 != lane()) continue;
        const double s = product * (double)inverse[k] * ((double)inverse[row] / temperature);
        slopes[k] = (float)s;
        if (!there) continue;
        // What is no number stays none.
        most = s > most || s != s ? s : most;
        mates += alike(targets, classes, row, k) ? 1.0 : 0.0;
    }
    mates = warp_sum(mates);
    if (mates == 0.0 || weight == 0.0f) {
        for (u32 k = lane(); k < all; k += 32) slopes[k] = 0.0f;
        if (lane() == 0) losses[row] = 0.0;
        return;
    }
    most = warp_max(most);
    double total = 0.0;
#pragma unroll 1
    for (u32 k = lane(); k < all; k += 32)
        if (k != row && weights[k] != 0.0f) total += exp((double)slopes[k] - most);
    const double log_total = most + log(warp_sum(total));
    const double share = strength * (double)weight;
    double value = 0.0;
#pragma unroll 1
    for (u32 k = lane(); k < all; k += 32) {
        if (k == row || weights[k] == 0.0f) {
            slopes[k] = 0.0f;
            continue;
        }
        const double s = slopes[k], mine = alike(targets, classes, row, k) ? 1.0 / mates : 0.0;
        value += mine * (log_total - s);
        slopes[k] = (float)(share * (exp(s - log_total) - mine));
    }
    value = warp_sum(value);
    if (lane() == 0) losses[row] = share * value;
}

// What row k pulls at `row`, by the unit of k's length.
__device__ inline double pull(const float* kept, u32 all, u32 row, u32 k, double temperature) {
    const double both = (double)kept[(u64)row * all + k] + (double)kept[(u64)k * all + row];
    return both * (double)kept[(u64)all * all + k] / temperature;
}

// dx[row] += what all rows pull at it, across its own direction.
extern "C" __global__ void __launch_bounds__(128)
contrast_backward(const StepParams* step, u32 rows, u32 width, double temperature, const Act* x, const float* kept,
                  Act* dx) {
    const u32 row = warp_row(), all = count(step, rows);
    if (row >= all) return;
    const double inverse = kept[(u64)all * all + row];
    const Act* own = x + (u64)row * width;
    double along = 0.0;
#pragma unroll 1
    for (u32 k = 0; k < all; k++)
        along += pull(kept, all, row, k, temperature) * dot(own, x + (u64)k * width, width);
    along *= inverse;
    dx += (u64)row * width;
    for (u32 c = lane() * GROUP; c < width; c += 32 * GROUP) {
        float sums[GROUP] = {};
        float v[GROUP], d[GROUP];
#pragma unroll 1
        for (u32 k = 0; k < all; k++) {
            const float by = (float)pull(kept, all, row, k, temperature);
            load(x + (u64)k * width + c, v, width - c);
#pragma unroll
            for (u32 i = 0; i < GROUP; i++) sums[i] += by * v[i];
        }
        load(own + c, v, width - c);
        load(dx + c, d, width - c);
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) d[i] += (float)(inverse * ((double)sums[i] - along * (double)v[i] * inverse));
        store(dx + c, d, width - c);
    }
}
