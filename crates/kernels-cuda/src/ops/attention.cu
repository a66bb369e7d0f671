// Ragged attention within each sequence and head, in tiles held in shared memory (Dao 2023, FlashAttention-2):
// scores and probabilities never reach device memory, dropout's mask is drawn again in the backward pass.
//
// A block owns OWN rows (queries forward and for dq, keys for dk and dv) and walks over the other side, OTHER rows at
// a time. 16 threads share four owned rows: thread (tx, ty) has rows 4*ty .. 4*ty + 3, of scores the columns tx,
// tx + 16, .., of outputs the channels tx*N .. tx*N + N - 1 with N = D/16. Heads of fewer than D channels are filled
// with zeros. Arithmetic is f32 FMA: what f32 activations need, and bf16 ones in heads wider than 64
// (attention_mma.cu has the others, on tensor cores).
#include "attention.cuh"

// Rows first .. of [rows, stride] from channel `column` on, as floats; zeros behind the head and behind the rows.
template <int D, int ROWS>
__device__ inline void load_tile(float (&tile)[ROWS][D + 4], const Act* data, u32 stride, u32 first, u32 rows,
                                 u32 column, u32 head_dim) {
    for (u32 k = threadIdx.x; k < ROWS * (D / GROUP); k += blockDim.x) {
        const u32 r = k / (D / GROUP), c = k % (D / GROUP) * GROUP;
        float v[GROUP] = {};
        if (r < rows && c < head_dim) load(data + (u64)(first + r) * stride + column + c, v, head_dim - c);
#pragma unroll
        for (u32 i = 0; i < GROUP; i += 4)
            *(float4*)&tile[r][c + i] = make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]);
    }
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

// Log-sums and deltas of a tile of queries; a probability of a row behind the end becomes 0.
template <int B>
__device__ inline void load_statistics(float (&of_lse)[B], float (&of_delta)[B], const float* lse,
                                       const float* delta, u32 first, u32 rows, u32 heads, u32 head) {
    for (u32 r = threadIdx.x; r < B; r += blockDim.x) {
        of_lse[r] = r < rows ? lse[(u64)(first + r) * heads + head] : infinite();
        of_delta[r] = r < rows ? delta[(u64)(first + r) * heads + head] : 0.0f;
    }
}

// out[i][j] = row 4*ty + i of `own` times row tx + 16*j of `other`.
template <int D, int OWN, int OTHER>
__device__ inline void multiply(const float (&own)[OWN][D + 4], const float (&other)[OTHER][D + 4], u32 tx, u32 ty,
                                float (&out)[4][OTHER / 16]) {
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < OTHER / 16; j++) out[i][j] = 0.0f;
#pragma unroll 4
    for (int c = 0; c < D; c += 4) {
        float4 a[4];
#pragma unroll
        for (int i = 0; i < 4; i++) a[i] = *(const float4*)&own[4 * ty + i][c];
#pragma unroll
        for (int j = 0; j < OTHER / 16; j++) {
            const float4 b = *(const float4*)&other[tx + 16 * j][c];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                out[i][j] = fmaf(a[i].x, b.x, out[i][j]);
                out[i][j] = fmaf(a[i].y, b.y, out[i][j]);
                out[i][j] = fmaf(a[i].z, b.z, out[i][j]);
                out[i][j] = fmaf(a[i].w, b.w, out[i][j]);
            }
        }
    }
}

// out[i][n] += the sum over k of share[4*ty + i][k] * other[k][tx*N + n].
template <int D, int OWN, int OTHER>
__device__ inline void accumulate(const float (&share)[OWN][OTHER + 4], const float (&other)[OTHER][D + 4], u32 tx,
                                  u32 ty, float (&out)[4][D / 16]) {
    constexpr int N = D / 16;
#pragma unroll 2
    for (int k = 0; k < OTHER; k += 4) {
        float4 a[4];
#pragma unroll
        for (int i = 0; i < 4; i++) a[i] = *(const float4*)&share[4 * ty + i][k];
#pragma unroll
        for (int kk = 0; kk < 4; kk++) {
            float b[N];
            if (N == 2) {
                const float2 two = *(const float2*)&other[k + kk][tx * N];
                b[0] = two.x;
                b[1] = two.y;
            } else {
#pragma unroll
                for (int n = 0; n + 3 < N; n += 4) {
                    const float4 four = *(const float4*)&other[k + kk][tx * N + n];
                    b[n] = four.x;
                    b[n + 1] = four.y;
                    b[n + 2] = four.z;
                    b[n + 3] = four.w;
                }
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float s = kk == 0 ? a[i].x : kk == 1 ? a[i].y : kk == 2 ? a[i].z : a[i].w;
#pragma unroll
                for (int n = 0; n < N; n++) out[i][n] = fmaf(s, b[n], out[i][n]);
            }
        }
    }
}

// Writes the block's owned rows of an output.
template <int D>
__device__ inline void write_rows(Act* to, u32 stride, u32 first, u32 rows, u32 column, u32 head_dim, u32 tx, u32 ty,
                                  const float (&v)[4][D / 16]) {
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        const u32 r = 4 * ty + i, c = tx * (D / 16);
        if (r < rows && c < head_dim) store(to + (u64)(first + r) * stride + column + c, v[i], head_dim - c);
    }
}

// The sum over the 16 threads that share rows.
__device__ inline float row_sum(float x) {
#pragma unroll
    for (int other = 8; other; other /= 2) x += __shfl_xor_sync(0xffffffffu, x, other);
    return x;
}

__device__ inline float row_max(float x) {
#pragma unroll
    for (int other = 8; other; other /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, other));
    return x;
}

// ---- forward ------------------------------------------------------------------------------------------------

// Grid (tiles of queries, heads, sequences).
template <int D, int OWN, int OTHER>
struct ForwardTiles {
    float q[OWN][D + 4];
    float k[OTHER][D + 4];
    float v[OTHER][D + 4];
    float p[OWN][OTHER + 4];
    u8 keep[OWN][OTHER];
};

template <int D, int OWN, int OTHER>
__device__ inline void forward(ForwardTiles<D, OWN, OTHER>& s, SHAPE_PARAMETERS, Act* context, float* lse) {
    const u32 sequence = blockIdx.z, head = blockIdx.y, heads = gridDim.y, column = head * head_dim;
    if (sequence >= count(step, sequences)) return;
    const Span at = span(cu_seqlens, sequence, all);
    const u32 query0 = blockIdx.x * OWN;
    if (query0 >= at.queries) return;
    const u32 rows = min((u32)OWN, at.queries - query0);
    const u32 tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    Words example = {};
    if (threshold) example = drop_example(step, place, sequence_ids[sequence]);

    load_tile<D, OWN>(s.q, q, q_stride, at.first_query + query0, rows, column, head_dim);
    float most[4], total[4], out[4][D / 16];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        most[i] = -infinite();
        total[i] = 0.0f;
#pragma unroll
        for (int n = 0; n < D / 16; n++) out[i][n] = 0.0f;
    }
    for (u32 key0 = 0; key0 < at.length; key0 += OTHER) {
        const u32 keys = min((u32)OTHER, at.length - key0);
        if (key0) __syncthreads();  // the tile before has been read
        load_tile<D, OTHER>(s.k, k, kv_stride, at.start + key0, keys, column, head_dim);
        load_tile<D, OTHER>(s.v, v, kv_stride, at.start + key0, keys, column, head_dim);
        if (threshold) draw_mask<OWN, OTHER>(s.keep, example, head, query0, key0, threshold);
        __syncthreads();
        float score[4][OTHER / 16];
        multiply<D, OWN, OTHER>(s.q, s.k, tx, ty, score);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float here = -infinite();
#pragma unroll
            for (int j = 0; j < OTHER / 16; j++) {
                score[i][j] = tx + 16 * j < keys ? score[i][j] * scale : -infinite();
                here = fmaxf(here, score[i][j]);
            }
            const float now = fmaxf(most[i], row_max(here));
            const float shrink = expf(most[i] - now);
            float sum = 0.0f;
#pragma unroll
            for (int j = 0; j < OTHER / 16; j++) {
                score[i][j] = expf(score[i][j] - now);
                sum += score[i][j];
            }
            total[i] = fmaf(total[i], shrink, row_sum(sum));
#pragma unroll
            for (int j = 0; j < OTHER / 16; j++) {
                float p = score[i][j];
                if (threshold) p *= s.keep[4 * ty + i][tx + 16 * j] ? drop_scale : 0.0f;
                s.p[4 * ty + i][tx + 16 * j] = p;
            }
            most[i] = now;
#pragma unroll
            for (int n = 0; n < D / 16; n++) out[i][n] *= shrink;
        }
        __syncwarp();  // a row of probabilities is written and read by one half of a warp
        accumulate<D, OWN, OTHER>(s.p, s.v, tx, ty, out);
    }
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
#pragma unroll
        for (int n = 0; n < D / 16; n++) out[i][n] /= total[i];
        if (tx == 0 && 4 * ty + i < rows)
            lse[(u64)(at.first_query + query0 + 4 * ty + i) * heads + head] = most[i] + logf(total[i]);
    }
    write_rows<D>(context, heads * head_dim, at.first_query + query0, rows, column, head_dim, tx, ty, out);
}

#define FORWARD(D, OWN, OTHER)                                                \
    __shared__ __align__(16) ForwardTiles<D, OWN, OTHER> tiles;               \
    forward<D, OWN, OTHER>(tiles, SHAPE_ARGUMENTS, context, lse)

// Heads of up to 32, 64 and 128 channels; `first` where one query a sequence asks.
extern "C" __global__ void __launch_bounds__(256) attention_32(SHAPE_PARAMETERS, Act* context, float* lse) {
    FORWARD(32, 64, 32);
}
extern "C" __global__ void __launch_bounds__(256) attention_64(SHAPE_PARAMETERS, Act* context, float* lse) {
    FORWARD(64, 64, 32);
}
extern "C" __global__ void __launch_bounds__(128) attention_128(SHAPE_PARAMETERS, Act* context, float* lse) {
    FORWARD(128, 32, 16);
}
extern "C" __global__ void __launch_bounds__(64) attention_first_32(SHAPE_PARAMETERS, Act* context, float* lse) {
    FORWARD(32, 16, 32);
}
extern "C" __global__ void __launch_bounds__(64) attention_first_64(SHAPE_PARAMETERS, Act* context, float* lse) {
    FORWARD(64, 16, 32);
}
extern "C" __global__ void __launch_bounds__(64) attention_first_128(SHAPE_PARAMETERS, Act* context, float* lse) {
    FORWARD(128, 16, 16);
}

// ---- backward -----------------------------------------------------------------------------------------------

// delta[row, head] = context . dcontext of the head: the sum over keys of p*dp, dropout included. Eight lanes a head.
extern "C" __global__ void __launch_bounds__(256)
attention_delta(const StepParams* step, u32 rows, u32 heads, u32 head_dim, const Act* context, const Act* dcontext,
                float* delta) {
    const u64 k = thread_index() / 8;
    const bool there = k < (u64)count(step, rows) * heads;
    const u64 at = k * head_dim;
    float sum = 0.0f;
    for (u32 c = lane() % 8 * GROUP; there && c < head_dim; c += 8 * GROUP) {
        float a[GROUP], b[GROUP];
        load(context + at + c, a, head_dim - c);
        load(dcontext + at + c, b, head_dim - c);
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) sum = fmaf(a[i], b[i], sum);
    }
#pragma unroll
    for (int other = 4; other; other /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, other);
    if (there && lane() % 8 == 0) delta[k] = sum;
}

// Owned rows of two operands, the other side's of two, and what is multiplied with them.
template <int D, int B>
struct BackwardTiles {
    float own_a[B][D + 4];
    float own_b[B][D + 4];
    float other_a[B][D + 4];
    float other_b[B][D + 4];
    float p[B][B + 4];
    float ds[B][B + 4];
    float lse[B];
    float delta[B];
    u8 keep[B][B];
};

// Gradients of a tile of keys and values. Grid (tiles of keys, heads, sequences).
template <int D, int B>
__device__ inline void backward_keys(BackwardTiles<D, B>& s, BACKWARD_PARAMETERS, Act* dk, Act* dv) {
    const u32 sequence = blockIdx.z, head = blockIdx.y, heads = gridDim.y, column = head * head_dim;
    if (sequence >= count(step, sequences)) return;
    const Span at = span(cu_seqlens, sequence, all);
    const u32 key0 = blockIdx.x * B;
    if (key0 >= at.length) return;
    const u32 keys = min((u32)B, at.length - key0);
    const u32 tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    Words example = {};
    if (threshold) example = drop_example(step, place, sequence_ids[sequence]);

    load_tile<D, B>(s.own_a, k, kv_stride, at.start + key0, keys, column, head_dim);
    load_tile<D, B>(s.own_b, v, kv_stride, at.start + key0, keys, column, head_dim);
    float of_k[4][D / 16], of_v[4][D / 16];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int n = 0; n < D / 16; n++) of_k[i][n] = of_v[i][n] = 0.0f;
    for (u32 query0 = 0; query0 < at.queries; query0 += B) {
        const u32 first = at.first_query + query0, rows = min((u32)B, at.queries - query0);
        if (query0) __syncthreads();  // the tile before has been read
        load_tile<D, B>(s.other_a, q, q_stride, first, rows, column, head_dim);
        load_tile<D, B>(s.other_b, dcontext, heads * head_dim, first, rows, column, head_dim);
        load_statistics<B>(s.lse, s.delta, lse, delta, first, rows, heads, head);
        if (threshold) draw_mask<B, B>(s.keep, example, head, query0, key0, threshold);
        __syncthreads();
        float score[4][B / 16], dp[4][B / 16];
        multiply<D, B, B>(s.own_a, s.other_a, tx, ty, score);
        multiply<D, B, B>(s.own_b, s.other_b, tx, ty, dp);
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < B / 16; j++) {
                const u32 key = 4 * ty + i, query = tx + 16 * j;
                const float p = expf(score[i][j] * scale - s.lse[query]);
                float mask = 1.0f;
                if (threshold) mask = s.keep[query][key] ? drop_scale : 0.0f;
                s.p[key][query] = p * mask;
                s.ds[key][query] = p * (dp[i][j] * mask - s.delta[query]) * scale;
            }
        __syncwarp();  // as forward
        accumulate<D, B, B>(s.p, s.other_b, tx, ty, of_v);
        accumulate<D, B, B>(s.ds, s.other_a, tx, ty, of_k);
    }
    write_rows<D>(dk, kv_stride, at.start + key0, keys, column, head_dim, tx, ty, of_k);
    write_rows<D>(dv, kv_stride, at.start + key0, keys, column, head_dim, tx, ty, of_v);
}

// Gradient of a tile of queries. Grid (tiles of queries, heads, sequences).
template <int D, int B>
__device__ inline void backward_queries(BackwardTiles<D, B>& s, BACKWARD_PARAMETERS, Act* dq) {
    const u32 sequence = blockIdx.z, head = blockIdx.y, heads = gridDim.y, column = head * head_dim;
    if (sequence >= count(step, sequences)) return;
    const Span at = span(cu_seqlens, sequence, all);
    const u32 query0 = blockIdx.x * B;
    if (query0 >= at.queries) return;
    const u32 first = at.first_query + query0, rows = min((u32)B, at.queries - query0);
    const u32 tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    Words example = {};
    if (threshold) example = drop_example(step, place, sequence_ids[sequence]);

    load_tile<D, B>(s.own_a, q, q_stride, first, rows, column, head_dim);
    load_tile<D, B>(s.own_b, dcontext, heads * head_dim, first, rows, column, head_dim);
    load_statistics<B>(s.lse, s.delta, lse, delta, first, rows, heads, head);
    float of_q[4][D / 16];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int n = 0; n < D / 16; n++) of_q[i][n] = 0.0f;
    for (u32 key0 = 0; key0 < at.length; key0 += B) {
        const u32 keys = min((u32)B, at.length - key0);
        if (key0) __syncthreads();  // the tile before has been read
        load_tile<D, B>(s.other_a, k, kv_stride, at.start + key0, keys, column, head_dim);
        load_tile<D, B>(s.other_b, v, kv_stride, at.start + key0, keys, column, head_dim);
        if (threshold) draw_mask<B, B>(s.keep, example, head, query0, key0, threshold);
        __syncthreads();
        float score[4][B / 16], dp[4][B / 16];
        multiply<D, B, B>(s.own_a, s.other_a, tx, ty, score);
        multiply<D, B, B>(s.own_b, s.other_b, tx, ty, dp);
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < B / 16; j++) {
                const u32 query = 4 * ty + i, key = tx + 16 * j;
                const float p = key < keys ? expf(score[i][j] * scale - s.lse[query]) : 0.0f;
                float mask = 1.0f;
                if (threshold) mask = s.keep[query][key] ? drop_scale : 0.0f;
                s.ds[query][key] = p * (dp[i][j] * mask - s.delta[query]) * scale;
            }
        __syncwarp();  // as forward
        accumulate<D, B, B>(s.ds, s.other_a, tx, ty, of_q);
    }
    write_rows<D>(dq, q_stride, first, rows, column, head_dim, tx, ty, of_q);
}

#define KEYS(D, B)                                 \
    __shared__ __align__(16) BackwardTiles<D, B> tiles; \
    backward_keys<D, B>(tiles, BACKWARD_ARGUMENTS, dk, dv)
#define QUERIES(D, B)                              \
    __shared__ __align__(16) BackwardTiles<D, B> tiles; \
    backward_queries<D, B>(tiles, BACKWARD_ARGUMENTS, dq)

extern "C" __global__ void __launch_bounds__(128, 4)
attention_keys_32(BACKWARD_PARAMETERS, Act* dk, Act* dv) { KEYS(32, 32); }
extern "C" __global__ void __launch_bounds__(128)
attention_keys_64(BACKWARD_PARAMETERS, Act* dk, Act* dv) { KEYS(64, 32); }
extern "C" __global__ void __launch_bounds__(64)
attention_keys_128(BACKWARD_PARAMETERS, Act* dk, Act* dv) { KEYS(128, 16); }
extern "C" __global__ void __launch_bounds__(128)
attention_queries_32(BACKWARD_PARAMETERS, Act* dq) { QUERIES(32, 32); }
extern "C" __global__ void __launch_bounds__(128)
attention_queries_64(BACKWARD_PARAMETERS, Act* dq) { QUERIES(64, 32); }
extern "C" __global__ void __launch_bounds__(64)
attention_queries_128(BACKWARD_PARAMETERS, Act* dq) { QUERIES(128, 16); }
