// Ragged attention on tensor cores, for bf16 activations and heads of up to 64 channels: the same algorithm as
// attention.cu, products as mma.m16n8k16 with f32 sums. Compiled for bf16 alone.
//
// A warp owns 16 rows (queries forward and for dq, keys for dk and dv), kept in registers as fragments, and walks over
// tiles of the other side in shared memory. Of a 16x8 tile of sums a lane holds rows g and g + 8, columns 2*t and
// 2*t + 1 (g = lane/4, t = lane%4); two neighbouring tiles, rounded to bf16, are the left fragment of the next
// product, so scores and probabilities never leave registers. Fragments: PTX ISA, "Matrix Fragments for mma.m16n8k16".
#include "attention.cuh"

constexpr float LOG2E = 1.44269504088896341f, LN2 = 0.693147180559945309f;
// bf16 a row is longer than its channels, so that rows lie in different banks and begin at 16 bytes.
constexpr int PAD = 8;

__device__ inline u32 group() { return lane() / 4; }
__device__ inline u32 place_in_group() { return lane() % 4; }

// ---- instructions -------------------------------------------------------------------------------------------

// c += a * b.
__device__ inline void mma(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#ifdef __CUDA_ARCH__
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    emulated_mma(c, a, b0, b1);
#endif
}

// Four 8x8 matrices of shared memory, each transposed on the way: lane l names row l%8 of matrix l/8.
__device__ inline void load_transposed(u32 (&r)[4], const bf16* row) {
#ifdef __CUDA_ARCH__
    const u32 at = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
#else
    emulated_ldmatrix_trans(r, row);
#endif
}

// Two numbers in a word, the first in its lower half.
__device__ inline u32 pack(float first, float second) {
    bf16 low, high;
    put(&low, first);
    put(&high, second);
    return (u32)high.bits << 16 | low.bits;
}

// ---- fragments ----------------------------------------------------------------------------------------------

// Rows first .. of [rows, stride] from channel `column` on; zeros behind the head and behind the rows.
template <int D, int ROWS>
__device__ inline void load_tile(bf16 (&tile)[ROWS][D + PAD], const bf16* data, u32 stride, u32 first, u32 rows,
                                 u32 column, u32 head_dim) {
    for (u32 k = threadIdx.x; k < ROWS * (D / 8); k += blockDim.x) {
        const u32 r = k / (D / 8), c = k % (D / 8) * 8;
        const bf16* from = data + (u64)(first + r) * stride + column + c;
        if (r < rows && c + 8 <= head_dim && aligned(from)) {
            *(uint4*)&tile[r][c] = *(const uint4*)from;
        } else {
#pragma unroll
            for (u32 i = 0; i < 8; i++) tile[r][c + i].bits = r < rows && c + i < head_dim ? from[i].bits : (u16)0;
        }
    }
}

__device__ inline u32 word(const bf16* at) { return *(const u32*)at; }

// The left fragments of 16 rows, from row `first` of a tile.
template <int D, int ROWS>
__device__ inline void read_rows(u32 (&a)[D / 16][4], const bf16 (&tile)[ROWS][D + PAD], u32 first) {
    const u32 row = first + group();
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        const u32 c = 16 * k + 2 * place_in_group();
        a[k][0] = word(&tile[row][c]);
        a[k][1] = word(&tile[row + 8][c]);
        a[k][2] = word(&tile[row][c + 8]);
        a[k][3] = word(&tile[row + 8][c + 8]);
    }
}

// out[n] = the rows of `a` times rows 8n .. 8n + 7 of a tile: a score is a product of two rows.
template <int D, int ROWS>
__device__ inline void multiply(float (&out)[ROWS / 8][4], const u32 (&a)[D / 16][4],
                                const bf16 (&tile)[ROWS][D + PAD]) {
#pragma unroll
    for (int n = 0; n < ROWS / 8; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) out[n][e] = 0.0f;
#pragma unroll
        for (int k = 0; k < D / 16; k++) {
            const bf16* at = &tile[8 * n + group()][16 * k + 2 * place_in_group()];
            mma(out[n], a[k], word(at), word(at + 8));
        }
    }
}

// out[n] += `share` (16 rows by ROWS, as sums hold it) times channels 8n .. 8n + 7 of a tile.
template <int D, int ROWS>
__device__ inline void accumulate(float (&out)[D / 8][4], const float (&share)[ROWS / 8][4],
                                  const bf16 (&tile)[ROWS][D + PAD]) {
#pragma unroll
    for (int k = 0; k < ROWS / 16; k++) {
        const u32 a[4] = {pack(share[2 * k][0], share[2 * k][1]), pack(share[2 * k][2], share[2 * k][3]),
                          pack(share[2 * k + 1][0], share[2 * k + 1][1]),
                          pack(share[2 * k + 1][2], share[2 * k + 1][3])};
#pragma unroll
        for (int n = 0; n < D / 16; n++) {
            u32 b[4];
            load_transposed(b, &tile[16 * k + lane() % 16][16 * n + lane() / 16 * 8]);
            mma(out[2 * n], a, b[0], b[1]);
            mma(out[2 * n + 1], a, b[2], b[3]);
        }
    }
}

// Writes the warp's rows, from row `first` of the block's on.
template <int D>
__device__ inline void write_rows(bf16* to, u32 stride, u32 begin, u32 first, u32 rows, u32 column, u32 head_dim,
                                  const float (&v)[D / 8][4]) {
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        const u32 r = first + group() + 8 * half;
        if (r >= rows) continue;
        bf16* row = to + (u64)(begin + r) * stride + column;
#pragma unroll
        for (u32 n = 0; n < D / 8; n++) {
            const u32 c = 8 * n + 2 * place_in_group();
            if (c + 1 < head_dim && ((u64)(row + c) & 3u) == 0) {
                *(u32*)(row + c) = pack(v[n][2 * half], v[n][2 * half + 1]);
            } else {
                if (c < head_dim) put(row + c, v[n][2 * half]);
                if (c + 1 < head_dim) put(row + c + 1, v[n][2 * half + 1]);
            }
        }
    }
}

// Over the four lanes that share rows.
__device__ inline float group_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

__device__ inline float group_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

template <int N>
__device__ inline void clear(float (&v)[N][4]) {
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) v[n][e] = 0.0f;
}

// ---- forward ------------------------------------------------------------------------------------------------

constexpr int KEYS = 64;   // of a tile forward
constexpr int OWN = 64;    // rows of a block backward
constexpr int OTHER = 32;  // of a tile backward

template <int D, int WARPS>
struct ForwardTiles {
    bf16 q[16 * WARPS][D + PAD];
    bf16 k[KEYS][D + PAD];
    bf16 v[KEYS][D + PAD];
    u8 keep[16 * WARPS][KEYS];
};

// Grid (sequences, heads, tiles of queries).
template <int D, int WARPS>
__device__ inline void forward(ForwardTiles<D, WARPS>& s, SHAPE_PARAMETERS, Act* context, float* lse) {
    const u32 sequence = blockIdx.x, head = blockIdx.y, heads = gridDim.y, column = head * head_dim;
    if (sequence >= count(step, sequences)) return;
    const Span at = span(cu_seqlens, sequence, all);
    const u32 query0 = blockIdx.z * 16 * WARPS;
    if (query0 >= at.queries) return;
    const u32 rows = min((u32)(16 * WARPS), at.queries - query0);
    const u32 own = threadIdx.x / 32 * 16;  // the warp's first row
    Words example = {};
    if (threshold) example = drop_example(step, place, sequence_ids[sequence]);

    load_tile<D, 16 * WARPS>(s.q, q, q_stride, at.first_query + query0, rows, column, head_dim);
    __syncthreads();
    u32 of_q[D / 16][4];
    read_rows<D, 16 * WARPS>(of_q, s.q, own);
    const float scale2 = scale * LOG2E;
    float most[2] = {-infinite(), -infinite()}, total[2] = {}, out[D / 8][4];
    clear(out);
    for (u32 key0 = 0; key0 < at.length; key0 += KEYS) {
        const u32 keys = min((u32)KEYS, at.length - key0);
        if (key0) __syncthreads();  // the tile before has been read
        load_tile<D, KEYS>(s.k, k, kv_stride, at.start + key0, keys, column, head_dim);
        load_tile<D, KEYS>(s.v, v, kv_stride, at.start + key0, keys, column, head_dim);
        if (threshold) draw_mask<16 * WARPS, KEYS>(s.keep, example, head, query0, key0, threshold);
        __syncthreads();
        float score[KEYS / 8][4];
        multiply<D, KEYS>(score, of_q, s.k);
        const u32 first_key = 2 * place_in_group();
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            float here = -infinite();
#pragma unroll
            for (u32 n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (u32 e = 0; e < 2; e++) {
                    float& x = score[n][2 * half + e];
                    x = 8 * n + first_key + e < keys ? x * scale2 : -infinite();
                    here = fmaxf(here, x);
                }
            const float now = fmaxf(most[half], group_max(here));
            const float shrink = exp2f(most[half] - now);
            float sum = 0.0f;
#pragma unroll
            for (u32 n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (u32 e = 0; e < 2; e++) {
                    float& x = score[n][2 * half + e];
                    x = exp2f(x - now);
                    sum += x;
                    if (threshold) x *= s.keep[own + group() + 8 * half][8 * n + first_key + e] ? drop_scale : 0.0f;
                }
            total[half] = fmaf(total[half], shrink, group_sum(sum));
            most[half] = now;
#pragma unroll
            for (u32 n = 0; n < D / 8; n++) {
                out[n][2 * half] *= shrink;
                out[n][2 * half + 1] *= shrink;
            }
        }
        accumulate<D, KEYS>(out, score, s.v);
    }
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        const float inverse = 1.0f / total[half];
#pragma unroll
        for (u32 n = 0; n < D / 8; n++) {
            out[n][2 * half] *= inverse;
            out[n][2 * half + 1] *= inverse;
        }
        const u32 r = own + group() + 8 * half;
        if (place_in_group() == 0 && r < rows)
            lse[(u64)(at.first_query + query0 + r) * heads + head] = fmaf(most[half], LN2, logf(total[half]));
    }
    write_rows<D>(context, heads * head_dim, at.first_query + query0, own, rows, column, head_dim, out);
}

#define FORWARD(D, WARPS)                                           \
    __shared__ __align__(16) ForwardTiles<D, WARPS> tiles;          \
    forward<D, WARPS>(tiles, SHAPE_ARGUMENTS, context, lse)

extern "C" __global__ void __launch_bounds__(128) attention_mma_32(SHAPE_PARAMETERS, Act* context, float* lse) {
    FORWARD(32, 4);
}
extern "C" __global__ void __launch_bounds__(128) attention_mma_64(SHAPE_PARAMETERS, Act* context, float* lse) {
    FORWARD(64, 4);
}
extern "C" __global__ void __launch_bounds__(32) attention_mma_first_32(SHAPE_PARAMETERS, Act* context, float* lse) {
    FORWARD(32, 1);
}
extern "C" __global__ void __launch_bounds__(32) attention_mma_first_64(SHAPE_PARAMETERS, Act* context, float* lse) {
    FORWARD(64, 1);
}

// ---- backward -----------------------------------------------------------------------------------------------

template <int D>
struct KeyTiles {
    bf16 k[OWN][D + PAD];
    bf16 v[OWN][D + PAD];
    bf16 q[OTHER][D + PAD];
    bf16 d[OTHER][D + PAD];  // dcontext
    float lse[OTHER];
    float delta[OTHER];
    u8 keep[OTHER][OWN];
};

// Gradients of a tile of keys and values. Grid (sequences, heads, tiles of keys).
template <int D>
__device__ inline void backward_keys(KeyTiles<D>& s, BACKWARD_PARAMETERS, Act* dk, Act* dv) {
    const u32 sequence = blockIdx.x, head = blockIdx.y, heads = gridDim.y, column = head * head_dim;
    if (sequence >= count(step, sequences)) return;
    const Span at = span(cu_seqlens, sequence, all);
    const u32 key0 = blockIdx.z * OWN;
    if (key0 >= at.length) return;
    const u32 keys = min((u32)OWN, at.length - key0), own = threadIdx.x / 32 * 16;
    Words example = {};
    if (threshold) example = drop_example(step, place, sequence_ids[sequence]);

    load_tile<D, OWN>(s.k, k, kv_stride, at.start + key0, keys, column, head_dim);
    load_tile<D, OWN>(s.v, v, kv_stride, at.start + key0, keys, column, head_dim);
    __syncthreads();
    u32 of_k[D / 16][4], of_v[D / 16][4];
    read_rows<D, OWN>(of_k, s.k, own);
    read_rows<D, OWN>(of_v, s.v, own);
    const float scale2 = scale * LOG2E;
    float sum_k[D / 8][4], sum_v[D / 8][4];
    clear(sum_k);
    clear(sum_v);
    for (u32 query0 = 0; query0 < at.queries; query0 += OTHER) {
        const u32 first = at.first_query + query0, rows = min((u32)OTHER, at.queries - query0);
        if (query0) __syncthreads();  // the tile before has been read
        load_tile<D, OTHER>(s.q, q, q_stride, first, rows, column, head_dim);
        load_tile<D, OTHER>(s.d, dcontext, heads * head_dim, first, rows, column, head_dim);
        load_statistics<OTHER>(s.lse, s.delta, lse, delta, first, rows, heads, head);
        if (threshold) draw_mask<OTHER, OWN>(s.keep, example, head, query0, key0, threshold);
        __syncthreads();
        // Rows are keys here, columns queries.
        float p[OTHER / 8][4], ds[OTHER / 8][4];
        multiply<D, OTHER>(p, of_k, s.q);
        multiply<D, OTHER>(ds, of_v, s.d);
#pragma unroll
        for (u32 n = 0; n < OTHER / 8; n++)
#pragma unroll
            for (u32 e = 0; e < 4; e++) {
                const u32 query = 8 * n + 2 * place_in_group() + e % 2, key = own + group() + e / 2 * 8;
                const float x = exp2f(p[n][e] * scale2 - s.lse[query] * LOG2E);
                float mask = 1.0f;
                if (threshold) mask = s.keep[query][key] ? drop_scale : 0.0f;
                p[n][e] = x * mask;
                ds[n][e] = x * (ds[n][e] * mask - s.delta[query]) * scale;
            }
        accumulate<D, OTHER>(sum_v, p, s.d);
        accumulate<D, OTHER>(sum_k, ds, s.q);
    }
    write_rows<D>(dk, kv_stride, at.start + key0, own, keys, column, head_dim, sum_k);
    write_rows<D>(dv, kv_stride, at.start + key0, own, keys, column, head_dim, sum_v);
}

template <int D>
struct QueryTiles {
    bf16 q[OWN][D + PAD];
    bf16 d[OWN][D + PAD];  // dcontext
    bf16 k[OTHER][D + PAD];
    bf16 v[OTHER][D + PAD];
    float lse[OWN];
    float delta[OWN];
    u8 keep[OWN][OTHER];
};

// Gradient of a tile of queries. Grid (sequences, heads, tiles of queries).
template <int D>
__device__ inline void backward_queries(QueryTiles<D>& s, BACKWARD_PARAMETERS, Act* dq) {
    const u32 sequence = blockIdx.x, head = blockIdx.y, heads = gridDim.y, column = head * head_dim;
    if (sequence >= count(step, sequences)) return;
    const Span at = span(cu_seqlens, sequence, all);
    const u32 query0 = blockIdx.z * OWN;
    if (query0 >= at.queries) return;
    const u32 first = at.first_query + query0, rows = min((u32)OWN, at.queries - query0);
    const u32 own = threadIdx.x / 32 * 16;
    Words example = {};
    if (threshold) example = drop_example(step, place, sequence_ids[sequence]);

    load_tile<D, OWN>(s.q, q, q_stride, first, rows, column, head_dim);
    load_tile<D, OWN>(s.d, dcontext, heads * head_dim, first, rows, column, head_dim);
    load_statistics<OWN>(s.lse, s.delta, lse, delta, first, rows, heads, head);
    __syncthreads();
    u32 of_q[D / 16][4], of_d[D / 16][4];
    read_rows<D, OWN>(of_q, s.q, own);
    read_rows<D, OWN>(of_d, s.d, own);
    const float scale2 = scale * LOG2E;
    const float of_lse[2] = {s.lse[own + group()] * LOG2E, s.lse[own + group() + 8] * LOG2E};
    const float of_delta[2] = {s.delta[own + group()], s.delta[own + group() + 8]};
    float sum_q[D / 8][4];
    clear(sum_q);
    for (u32 key0 = 0; key0 < at.length; key0 += OTHER) {
        const u32 keys = min((u32)OTHER, at.length - key0);
        if (key0) __syncthreads();  // the tile before has been read
        load_tile<D, OTHER>(s.k, k, kv_stride, at.start + key0, keys, column, head_dim);
        load_tile<D, OTHER>(s.v, v, kv_stride, at.start + key0, keys, column, head_dim);
        if (threshold) draw_mask<OWN, OTHER>(s.keep, example, head, query0, key0, threshold);
        __syncthreads();
        float score[OTHER / 8][4], ds[OTHER / 8][4];
        multiply<D, OTHER>(score, of_q, s.k);
        multiply<D, OTHER>(ds, of_d, s.v);
#pragma unroll
        for (u32 n = 0; n < OTHER / 8; n++)
#pragma unroll
            for (u32 e = 0; e < 4; e++) {
                const u32 key = 8 * n + 2 * place_in_group() + e % 2, half = e / 2;
                const float x = key < keys ? exp2f(score[n][e] * scale2 - of_lse[half]) : 0.0f;
                float mask = 1.0f;
                if (threshold) mask = s.keep[own + group() + 8 * half][key] ? drop_scale : 0.0f;
                ds[n][e] = x * (ds[n][e] * mask - of_delta[half]) * scale;
            }
        accumulate<D, OTHER>(sum_q, ds, s.k);
    }
    write_rows<D>(dq, q_stride, first, own, rows, column, head_dim, sum_q);
}

#define BACKWARD_KEYS(D)                          \
    __shared__ __align__(16) KeyTiles<D> tiles;   \
    backward_keys<D>(tiles, BACKWARD_ARGUMENTS, dk, dv)
#define BACKWARD_QUERIES(D)                       \
    __shared__ __align__(16) QueryTiles<D> tiles; \
    backward_queries<D>(tiles, BACKWARD_ARGUMENTS, dq)

extern "C" __global__ void __launch_bounds__(128)
attention_mma_keys_32(BACKWARD_PARAMETERS, Act* dk, Act* dv) { BACKWARD_KEYS(32); }
extern "C" __global__ void __launch_bounds__(128)
attention_mma_keys_64(BACKWARD_PARAMETERS, Act* dk, Act* dv) { BACKWARD_KEYS(64); }
extern "C" __global__ void __launch_bounds__(128)
attention_mma_queries_32(BACKWARD_PARAMETERS, Act* dq) { BACKWARD_QUERIES(32); }
extern "C" __global__ void __launch_bounds__(128)
attention_mma_queries_64(BACKWARD_PARAMETERS, Act* dq) { BACKWARD_QUERIES(64); }
