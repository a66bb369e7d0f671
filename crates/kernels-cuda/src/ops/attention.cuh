// What both kinds of attention kernels share: a block's span and parameters.
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

#define SHAPE_PARAMETERS                                                                                       \
    const StepParams *step, u32 sequences, const u32 *cu_seqlens, u32 all, u32 head_dim, float scale, u32 place, \
        u32 threshold, float drop_scale, const u64 *sequence_ids, const Act *q, u32 q_stride, const Act *k,       \
        const Act *v, u32 kv_stride
#define SHAPE_ARGUMENTS                                                                                    \
    step, sequences, cu_seqlens, all, head_dim, scale, place, threshold, drop_scale, sequence_ids, q, q_stride, k, \
        v, kv_stride

#define BACKWARD_PARAMETERS SHAPE_PARAMETERS, const Act *dcontext, const float *lse, const float *delta
#define BACKWARD_ARGUMENTS SHAPE_ARGUMENTS, dcontext, lse, delta
