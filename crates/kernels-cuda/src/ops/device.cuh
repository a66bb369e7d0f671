// What every kernel shares: number types, vector loads with tails, warp sums, dropout's draws, the step's sizes.
// No header of CUDA's is needed, so that NVRTC compiles it from a driver and a compiler library alone; the host's
// compiler reads the same text under emulator/emulation.h.
//
// Compiled twice: activations are `float`, or `bf16` where ACT_BF16 is defined. Weights, statistics, sums and
// gradients of parameters are always `float`. Contraction is off (--fmad=false): a fused multiply-add is written
// as fmaf where it is wanted, so that two kernels with one formula make the same bits.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// The upper half of a float.
struct bf16 {
    u16 bits;
};

#ifdef ACT_BF16
typedef bf16 Act;
#else
typedef float Act;
#endif

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(bf16 x) { return __uint_as_float((u32)x.bits << 16); }

// Rounds to the nearest, ties to even; a NaN stays one.
__device__ inline void put(float* to, float x) { *to = x; }
__device__ inline void put(bf16* to, float x) {
#ifdef __CUDA_ARCH__
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to->bits) : "f"(x));
#else
    const u32 bits = __float_as_uint(x);
    const u32 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    to->bits = (u16)(x != x ? (bits >> 16) | 0x40u : rounded);
#endif
}

__device__ inline float infinite() { return __uint_as_float(0x7f800000u); }

// What `put` would leave of x.
__device__ inline float rounded(float x) {
    Act kept;
    put(&kept, x);
    return to_float(kept);
}

// ---- the step -----------------------------------------------------------------------------------------------

// What changes from step to step, on the device, so that launches need not: step.rs writes it.
struct StepParams {
    u64 seed;
    u32 step;
    u32 unused;
    u32 counts[4];  // tokens, sequences, distinct tokens
};

// A count of a launch: one of the step's where the upper bit is set, the number itself elsewhere.
__device__ inline u32 count(const StepParams* step, u32 of) {
    return of >> 31 ? step->counts[of & 3u] : of;
}

// ---- vectors ------------------------------------------------------------------------------------------------

// Neighbouring activations in 16 bytes; a thread's share of a row is whole groups.
constexpr u32 GROUP = 16 / sizeof(Act);

__device__ inline bool aligned(const void* at) { return ((u64)at & 15u) == 0; }

// 16 bytes as numbers.
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

// N of the elements at `from`, the first `left` of them where there are fewer; zeros behind.
template <u32 N>
__device__ inline void load(const float* from, float (&v)[N], u32 left) {
    if (left >= N && N % 4 == 0 && aligned(from)) {
#pragma unroll
        for (u32 i = 0; i + 3 < N; i += 4) {
            const float4 four = *(const float4*)(from + i);
            v[i] = four.x;
            v[i + 1] = four.y;
            v[i + 2] = four.z;
            v[i + 3] = four.w;
        }
        return;
    }
#pragma unroll
    for (u32 i = 0; i < N; i++) v[i] = i < left ? from[i] : 0.0f;
}

template <u32 N>
__device__ inline void load(const bf16* from, float (&v)[N], u32 left) {
    if (left >= N && N == 8 && aligned(from)) {
        const uint4 all = *(const uint4*)from;
        const u32 words[4] = {all.x, all.y, all.z, all.w};
#pragma unroll
        for (u32 i = 0; i < N; i++) {
            const u32 word = words[(i / 2) & 3u];
            v[i] = __uint_as_float(i % 2 ? word & 0xffff0000u : word << 16);
        }
        return;
    }
#pragma unroll
    for (u32 i = 0; i < N; i++) v[i] = i < left ? to_float(from[i]) : 0.0f;
}

template <u32 N>
__device__ inline void store(float* to, const float (&v)[N], u32 left) {
    if (left >= N && N % 4 == 0 && aligned(to)) {
#pragma unroll
        for (u32 i = 0; i + 3 < N; i += 4) *(float4*)(to + i) = make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]);
        return;
    }
#pragma unroll
    for (u32 i = 0; i < N; i++)
        if (i < left) to[i] = v[i];
}

template <u32 N>
__device__ inline void store(bf16* to, const float (&v)[N], u32 left) {
    if (left >= N && N == 8 && aligned(to)) {
        u32 words[4];
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            bf16 low, high;
            put(&low, v[(2 * i) % N]);
            put(&high, v[(2 * i + 1) % N]);
            words[i] = (u32)high.bits << 16 | low.bits;
        }
        *(uint4*)to = make_uint4(words[0], words[1], words[2], words[3]);
        return;
    }
#pragma unroll
    for (u32 i = 0; i < N; i++)
        if (i < left) put(to + i, v[i]);
}

// ---- warps --------------------------------------------------------------------------------------------------

__device__ inline u32 lane() { return threadIdx.x % 32; }

// The row of activations this warp works on.
__device__ inline u32 warp_row() { return blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; }

// The index of this thread's group of elements.
__device__ inline u64 thread_index() { return (u64)blockIdx.x * blockDim.x + threadIdx.x; }

template <class T>
__device__ inline T warp_sum(T x) {
#pragma unroll
    for (int other = 16; other; other /= 2) x += __shfl_xor_sync(0xffffffffu, x, other);
    return x;
}

template <class T>
__device__ inline T warp_max(T x) {
#pragma unroll
    for (int other = 16; other; other /= 2) {
        const T y = __shfl_xor_sync(0xffffffffu, x, other);
        // A NaN on either side stays.
        x = y > x || y != y ? y : x;
    }
    return x;
}

// ---- draws --------------------------------------------------------------------------------------------------

struct Words {
    u32 w[4];
};

// Philox 4x32-10, bit for bit hone_tensor::Philox.
__device__ inline Words philox(u32 k0, u32 k1, u32 c0, u32 c1, u32 c2, u32 c3) {
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const u64 p0 = (u64)0xD2511F53u * c0;
        const u64 p1 = (u64)0xCD9E8D57u * c2;
        const u32 next0 = (u32)(p1 >> 32) ^ c1 ^ k0;
        const u32 next2 = (u32)(p0 >> 32) ^ c3 ^ k1;
        c0 = next0;
        c1 = (u32)p1;
        c2 = next2;
        c3 = (u32)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return Words{{c0, c1, c2, c3}};
}

// hone_tensor::DropKey::example; `place` packs layer, site and draw.
__device__ inline Words drop_example(const StepParams* step, u32 place, u64 example) {
    return philox((u32)step->seed, (u32)(step->seed >> 32), step->step, place, (u32)example, (u32)(example >> 32));
}

// hone_tensor::DropKey::row_words.
__device__ inline Words drop_row(const Words& example, u32 position, u32 block) {
    return philox(example.w[0], example.w[1], block, position, example.w[2], example.w[3]);
}

// hone_tensor::DropKey::attention_words.
__device__ inline Words drop_attention(const Words& example, u32 head, u32 query, u32 block) {
    return philox(example.w[0], example.w[1], block, query, example.w[2] ^ head, example.w[3]);
}

// Multiplies N channels from `first` on, a multiple of 4, by mask and scale.
template <u32 N>
__device__ inline void drop_group(const Words& example, u32 position, u32 first, u32 threshold, float scale,
                                  float (&v)[N]) {
#pragma unroll
    for (u32 block = 0; block < N / 4; block++) {
        const Words words = drop_row(example, position, first / 4 + block);
#pragma unroll
        for (u32 i = 0; i < 4; i++) v[4 * block + i] *= words.w[i] < threshold ? 0.0f : scale;
    }
}
