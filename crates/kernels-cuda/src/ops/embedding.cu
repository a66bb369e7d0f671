// Embeddings: three tables summed; their gradients without atomics, since the batch brings its tokens sorted by id.
// (The token-type table's gradient is a sum over rows: columns.cu.)
#include "device.cuh"

// sum[t] = word[ids[t]] + position[positions[t]] + type[types[t]]; one warp a token.
extern "C" __global__ void __launch_bounds__(128)
embed(const StepParams* step, u32 tokens, u32 width, const float* word, const float* position, const float* type,
      const u32* ids, const u32* positions, const u32* types, Act* sum) {
    const u32 t = warp_row();
    if (t >= count(step, tokens)) return;
    word += (u64)ids[t] * width;
    position += (u64)positions[t] * width;
    type += (u64)types[t] * width;
    sum += (u64)t * width;
    for (u32 c = lane() * GROUP; c < width; c += 32 * GROUP) {
        float v[GROUP], p[GROUP], k[GROUP];
        load(word + c, v, width - c);
        load(position + c, p, width - c);
        load(type + c, k, width - c);
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) v[i] = v[i] + p[i] + k[i];
        store(sum + c, v, width - c);
    }
}

constexpr u32 LANES = 8;  // tokens of a bucket summed side by side, in a block of (32, LANES)

// dword[rows[u]] += the sum of dsum over bucket u, in an order that only its length decides; a block a bucket. Most
// buckets hold a token or two, but that of [CLS] holds one of every sequence.
extern "C" __global__ void __launch_bounds__(256)
embed_word_backward(const StepParams* step, u32 distinct, u32 width, const Act* dsum, const u32* rows,
                    const u32* starts, const u32* tokens, float* dword) {
    __shared__ __align__(16) float lanes[LANES][32 * GROUP];
    const u32 u = blockIdx.x;
    if (u >= count(step, distinct)) return;
    dword += (u64)rows[u] * width;
    const u32 start = starts[u], end = starts[u + 1];
    for (u32 first = 0; first < width; first += 32 * GROUP) {
        const u32 at = threadIdx.x * GROUP, c = first + at;
        float sum[GROUP] = {};
        if (c < width)
            for (u32 k = start + threadIdx.y; k < end; k += LANES) {
                float v[GROUP];
                load(dsum + (u64)tokens[k] * width + c, v, width - c);
#pragma unroll
                for (u32 i = 0; i < GROUP; i++) sum[i] += v[i];
            }
        if (first) __syncthreads();  // the columns before have been read
        store(&lanes[threadIdx.y][at], sum, GROUP);
        __syncthreads();
        if (threadIdx.y == 0 && c < width) {
            float d[GROUP];
            load(dword + c, d, width - c);
            for (u32 lane = 0; lane < min(LANES, end - start); lane++)
#pragma unroll
                for (u32 i = 0; i < GROUP; i++) d[i] += lanes[lane][at + i];
            store(dword + c, d, width - c);
        }
    }
}

// dposition[p] (+)= the sum of dsum[s, p] over the sequences that are longer than p, in their order; a block a row.
extern "C" __global__ void __launch_bounds__(128)
embed_position_backward(const StepParams* step, u32 sequences, u32 width, const Act* dsum, const u32* cu_seqlens,
                        u32 add, float* dposition) {
    const u32 p = blockIdx.x, n = count(step, sequences);
    dposition += (u64)p * width;
    for (u32 c = threadIdx.x * GROUP; c < width; c += blockDim.x * GROUP) {
        float sum[GROUP] = {};
        for (u32 s = 0; s < n; s++) {
            const u32 start = cu_seqlens[s];
            if (p >= cu_seqlens[s + 1] - start) continue;
            float v[GROUP];
            load(dsum + (u64)(start + p) * width + c, v, width - c);
#pragma unroll
            for (u32 i = 0; i < GROUP; i++) sum[i] += v[i];
        }
        if (add) {
            float d[GROUP];
            load(dposition + c, d, width - c);
#pragma unroll
            for (u32 i = 0; i < GROUP; i++) sum[i] += d[i];
        }
        store(dposition + c, sum, width - c);
    }
}
