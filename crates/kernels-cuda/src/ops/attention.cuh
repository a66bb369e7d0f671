// What both kinds of attention kernels share: a block's span, dropout's mask, statistics of queries, parameters.
#include "device.cuh"

// The block's sequence and head.
struct Span {
    u32 start, length;          // tokens: keys and values
    u32 first_query, queries;   // rows of queries: all tokens, or one a sequence
};

__device__ inline Span span(const u32* cu_seqlens, u32 sequence, u32 all) {
    Span s;
    s.start = cu_seqlens[sequence];
    s.length = cu_seqlens[sequence + 1] - s.start;
    s.first_query = all ? s.start : sequence;
    s.queries = all ? s.length : 1;
    return s;
}

// keep[q][k] = 1 where probability (query0 + q, key0 + k) stays; key0 is a multiple of 4. A draw serves four keys.
template <int QUERIES, int KEYS>
__device__ inline void draw_mask(u8 (&keep)[QUERIES][KEYS], const Words& example, u32 head, u32 query0, u32 key0,
                                 u32 threshold) {
    for (u32 k = threadIdx.x; k < QUERIES * KEYS / 4; k += blockDim.x) {
        const u32 q = k / (KEYS / 4), block = k % (KEYS / 4);
        const Words words = drop_attention(example, head, query0 + q, key0 / 4 + block);
#pragma unroll
        for (u32 i = 0; i < 4; i++) keep[q][4 * block + i] = words.w[i] >= threshold;
    }
}

#define SHAPE_PARAMETERS                                                                                       \
    const StepParams *step, u32 sequences, const u32 *cu_seqlens, u32 all, u32 head_dim, float scale, u32 place, \
        u32 threshold, float drop_scale, const u64 *sequence_ids, const Act *q, u32 q_stride, const Act *k,       \
        const Act *v, u32 kv_stride
#define SHAPE_ARGUMENTS                                                                                    \
    step, sequences, cu_seqlens, all, head_dim, scale, place, threshold, drop_scale, sequence_ids, q, q_stride, k, \
        v, kv_stride

#define BACKWARD_PARAMETERS SHAPE_PARAMETERS, const Act *dcontext, const float *lse, const float *delta
#define BACKWARD_ARGUMENTS SHAPE_ARGUMENTS, dcontext, lse, delta

// Log-sums and deltas of a tile of queries; a probability of a row behind the end becomes 0.
template <int B>
__device__ inline void load_statistics(float (&of_lse)[B], float (&of_delta)[B], const float* lse,
                                       const float* delta, u32 first, u32 rows, u32 heads, u32 head) {
    for (u32 r = threadIdx.x; r < B; r += blockDim.x) {
        of_lse[r] = r < rows ? lse[(u64)(first + r) * heads + head] : infinite();
        of_delta[r] = r < rows ? delta[(u64)(first + r) * heads + head] : 0.0f;
    }
}
