// The feed-forward's nonlinearity and its derivative.
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
        // What is no number stays none.
        out.value = x <= 0.0f ? 0.0f : x;
        out.derivative = x > 0.0f ? 1.0f : 0.0f;
    }
    return out;
}
