// The losses with their gradients: one warp a row of logits, in double, since rows are few.
#include "device.cuh"

// log of the sum of exp(z[c]).
__device__ inline double log_total(const float* z, u32 classes) {
    double most = -infinite();
    for (u32 c = lane(); c < classes; c += 32) {
        const double x = z[c];
        // A NaN among the logits must be seen, not folded away.
        most = x > most || x != x ? x : most;
    }
    most = warp_max(most);
    double total = 0.0;
    for (u32 c = lane(); c < classes; c += 32) total += exp((double)z[c] - most);
    return most + log(warp_sum(total));
}

// The derivative of -t*(1-p)^focal*log p to log p.
__device__ inline double focal_slope(double t, double log_p, double focal) {
    if (focal == 0.0) return -t;
    const double p = exp(log_p), q = 1.0 - p;
    const double slope = q > 0.0 ? focal * pow(q, focal - 1.0) * p * log_p : 0.0;
    return t * (slope - pow(q, focal));
}

extern "C" __global__ void __launch_bounds__(128)
softmax_loss(const StepParams* step, u32 rows, u32 classes, double focal, const float* logits, const float* targets,
             const float* weights, double* losses, float* dlogits) {
    const u32 row = warp_row();
    if (row >= count(step, rows)) return;
    const u64 at = (u64)row * classes;
    const double weight = weights[row], total = log_total(logits + at, classes);
    double value = 0.0, slopes = 0.0;
    for (u32 c = lane(); c < classes; c += 32) {
        const double t = targets[at + c], log_p = (double)logits[at + c] - total;
        const double share = focal == 0.0 ? 1.0 : pow(1.0 - exp(log_p), focal);
        value -= t * share * log_p;
        slopes += focal_slope(t, log_p, focal);
    }
    value = warp_sum(value);
    slopes = warp_sum(slopes);
    for (u32 c = lane(); c < classes; c += 32) {
        const double t = targets[at + c], log_p = (double)logits[at + c] - total;
        dlogits[at + c] = (float)(weight * (focal_slope(t, log_p, focal) - exp(log_p) * slopes));
    }
    if (lane() == 0) losses[row] = weight * value;
}

// Cross-entropy against one class a row, of many.
extern "C" __global__ void __launch_bounds__(128)
class_loss(const StepParams* step, u32 rows, u32 classes, const float* logits, const u32* chosen, const float* weights,
           double* losses, float* dlogits) {
    const u32 row = warp_row();
    if (row >= count(step, rows)) return;
    const u64 at = (u64)row * classes;
    const double weight = weights[row], total = log_total(logits + at, classes);
    const u32 own = chosen[row];
    for (u32 c = lane(); c < classes; c += 32) {
        const double p = exp((double)logits[at + c] - total);
        dlogits[at + c] = (float)(weight * (c == own ? p - 1.0 : p));
    }
    if (lane() == 0) losses[row] = weight * (total - (double)logits[at + own]);
}

// Half of KL(p||q) + KL(q||p) of each pair (r, r + pairs), added to both rows' losses and gradients.
extern "C" __global__ void __launch_bounds__(128, 8)
symmetric_kl(const StepParams* step, u32 rows, u32 classes, double alpha, const float* logits, const float* weights,
             double* losses, float* dlogits) {
    const u32 row = warp_row(), pairs = count(step, rows) / 2;
    if (row >= pairs) return;
    const u64 first = (u64)row * classes, second = (u64)(row + pairs) * classes;
    const double of_first = log_total(logits + first, classes), of_second = log_total(logits + second, classes);
    double forward = 0.0, backward = 0.0;
    for (u32 c = lane(); c < classes; c += 32) {
        const double a = (double)logits[first + c] - of_first, b = (double)logits[second + c] - of_second;
        forward += exp(a) * (a - b);
        backward += exp(b) * (b - a);
    }
    forward = warp_sum(forward);
    backward = warp_sum(backward);
    const double share = alpha * (double)weights[row];
    for (u32 c = lane(); c < classes; c += 32) {
        const double a = (double)logits[first + c] - of_first, b = (double)logits[second + c] - of_second;
        const double p = exp(a), q = exp(b);
        dlogits[first + c] += (float)(share * (p * (a - b - forward) + p - q));
        dlogits[second + c] += (float)(share * (q * (b - a - backward) + q - p));
    }
    if (lane() == 0) {
        losses[row] += share / 2.0 * (forward + backward);
        losses[row + pairs] += share / 2.0 * (forward + backward);
    }
}

extern "C" __global__ void __launch_bounds__(128)
sigmoid_loss(const StepParams* step, u32 rows, u32 classes, const float* logits, const float* targets,
             const float* weights, double* losses, float* dlogits) {
    const u32 row = warp_row();
    if (row >= count(step, rows)) return;
    const u64 at = (u64)row * classes;
    const double weight = weights[row];
    double value = 0.0;
    for (u32 c = lane(); c < classes; c += 32) {
        const double z = logits[at + c], t = targets[at + c], small = exp(-fabs(z));
        value += (z < 0.0 ? 0.0 : z) - z * t + log1p(small);
        const double sigmoid = z > 0.0 ? 1.0 / (1.0 + small) : small / (1.0 + small);
        dlogits[at + c] = (float)(weight / (double)classes * (sigmoid - t));
    }
    value = warp_sum(value);
    if (lane() == 0) losses[row] = weight / (double)classes * value;
}

extern "C" __global__ void __launch_bounds__(128)
squared_loss(const StepParams* step, u32 rows, u32 classes, const float* logits, const float* targets,
             const float* weights, double* losses, float* dlogits) {
    const u32 row = warp_row();
    if (row >= count(step, rows)) return;
    const u64 at = (u64)row * classes;
    const double weight = weights[row];
    double value = 0.0;
    for (u32 c = lane(); c < classes; c += 32) {
        const double e = (double)logits[at + c] - (double)targets[at + c];
        value += e * e;
        dlogits[at + c] = (float)(2.0 * weight / (double)classes * e);
    }
    value = warp_sum(value);
    if (lane() == 0) losses[row] = weight / (double)classes * value;
}
