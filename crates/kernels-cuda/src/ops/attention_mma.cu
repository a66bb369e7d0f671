// Ragged attention on tensor cores, for bf16 activations and heads of up to 64 channels: the same algorithm as
// attention.cu, products as mma.m16n8k16 with f32 sums. Compiled for bf16 alone.
//
// A warp owns 16 rows (queries forward and for dq, keys for dk and dv) and walks over tiles of the other side, both in
// shared memory; while it is at one, the next is on its way (cp.async). Of a 16x8 tile of
// sums a lane holds rows g and g + 8, columns 2*t and 2*t + 1 (g = lane/4, t = lane%4); two neighbouring tiles, rounded
// to bf16, are the left fragment of the next product, so scores and probabilities never leave registers. Fragments: PTX
// ISA, "Matrix Fragments for mma.m16n8k16". Dropout draws once, forward, in registers: a draw serves four keys of a
// query, which lie in two lanes; one of them draws for row g, the other for row g + 8. What stays is kept as a bit for
// each key, which the backward pass reads.
#include "attention.cuh"
#include "copies.cuh"

constexpr float LOG2E = 1.44269504088896341f, LN2 = 0.693147180559945309f;
// bf16 a row is longer than its channels, so that rows lie in different banks and begin at 16 bytes.
constexpr int PAD = 8;
constexpr int OWN = 64;    // rows of a block of four warps
constexpr int KEYS = 64;   // of a tile forward
constexpr int OTHER = 32;  // rows of a tile backward

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

// Four 8x8 matrices of shared memory: lane l names row l%8 of matrix l/8.
__device__ inline void load_matrices(u32 (&r)[4], const bf16* row) {
#ifdef __CUDA_ARCH__
    const u32 at = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
#else
    emulated_ldmatrix(r, row);
#endif
}

// The same, each transposed on the way.
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

// 2^x; what is below 2^-126 is zero.
__device__ inline float power_of_two(float x) {
#ifdef __CUDA_ARCH__
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return exp2f(x);
#endif
}

// Two numbers in a word, the first in its lower half.
__device__ inline u32 pack(float first, float second) {
#ifdef __CUDA_ARCH__
    u32 both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
    return both;
#else
    bf16 low, high;
    put(&low, first);
    put(&high, second);
    return (u32)high.bits << 16 | low.bits;
#endif
}

// ---- fragments ----------------------------------------------------------------------------------------------

// Where channels of one head lie in device memory.
struct Head {
    u32 column, channels;
    bool whole;  // as wide as a tile, and all of it in groups of 16 bytes
};

__device__ inline bool in_groups(const bf16* q, const bf16* k, const bf16* v, u32 q_stride, u32 kv_stride) {
    return aligned(q) && aligned(k) && aligned(v) && q_stride % 8 == 0 && kv_stride % 8 == 0;
}

// Begins to load rows first .. of a tile from [.., stride]; zeros behind the head and behind the rows.
template <int D, int ROWS, int THREADS>
__device__ inline void load_tile(bf16 (&tile)[ROWS][D + PAD], const Head& head, const bf16* data, u32 stride,
                                 u32 first, u32 rows) {
    static_assert(ROWS * (D / 8) % THREADS == 0, "every thread has as many groups");
    const bf16* from = data + (u64)first * stride + head.column;
    if (head.whole) {
        constexpr u32 APART = THREADS / (D / 8);  // rows between two of a thread's groups
        const u32 r0 = threadIdx.x / (D / 8), c = threadIdx.x % (D / 8) * 8;
#pragma unroll
        for (u32 i = 0; i < ROWS / APART; i++) {
            const u32 r = r0 + i * APART;
            copy_async<16>(&tile[r][c], from + (r < rows ? r * stride + c : 0), r < rows);
        }
        return;
    }
#pragma unroll 1
    for (u32 k = threadIdx.x; k < ROWS * D; k += THREADS) {
        const u32 r = k / D, c = k % D;
        tile[r][c].bits = r < rows && c < head.channels ? from[(u64)r * stride + c].bits : (u16)0;
    }
}

// Begins to load log-sums and deltas of a tile of queries; zeros behind the rows, whose queries and gradients are zeros
// too, so that they add nothing.
template <int ROWS>
__device__ inline void load_statistics(float (&of_lse)[ROWS], float (&of_delta)[ROWS], const float* lse,
                                       const float* delta, u32 first, u32 rows, u32 heads, u32 head) {
    const u32 r = threadIdx.x;
    if (r >= ROWS) return;
    const u64 at = (u64)(first + (r < rows ? r : 0)) * heads + head;
    copy_async<4>(&of_lse[r], lse + at, r < rows);
    copy_async<4>(&of_delta[r], delta + at, r < rows);
}

// Begins to load words of bits of a tile of queries, from [query, stride]; a query behind the end keeps nothing.
template <int ROWS, int WORDS>
__device__ inline void load_kept(u32 (&bits)[ROWS][WORDS], const u32* kept, u32 stride, u32 first, u32 rows) {
    const u32 r = threadIdx.x / WORDS, w = threadIdx.x % WORDS;
    if (r < ROWS) copy_async<4>(&bits[r][w], kept + (u64)(first + (r < rows ? r : 0)) * stride + w, r < rows);
}

template <int N>
__device__ inline void clear(float (&v)[N][4]) {
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) v[n][e] = 0.0f;
}

// The left fragments of 16 rows, from row `first` of a tile.
template <int D, int ROWS>
__device__ inline void read_rows(u32 (&a)[D / 16][4], const bf16 (&tile)[ROWS][D + PAD], u32 first) {
#pragma unroll
    for (int k = 0; k < D / 16; k++) load_matrices(a[k], &tile[first + lane() % 16][16 * k + lane() / 16 * 8]);
}

// out[n] = the rows of `a` times rows 8n .. 8n + 7 of a tile: a score is a product of two rows.
template <int D, int ROWS>
__device__ inline void multiply(float (&out)[ROWS / 8][4], const u32 (&a)[D / 16][4],
                                const bf16 (&tile)[ROWS][D + PAD]) {
    clear(out);
#pragma unroll
    for (int k = 0; k < D / 32; k++)
#pragma unroll
        for (int n = 0; n < ROWS / 8; n++) {
            u32 b[4];
            load_matrices(b, &tile[8 * n + lane() % 8][32 * k + lane() / 8 * 8]);
            mma(out[n], a[2 * k], b[0], b[1]);
            mma(out[n], a[2 * k + 1], b[2], b[3]);
        }
}

// The same, the rows read where they lie: fewer registers, and more to read.
template <int D, int MINE, int ROWS>
__device__ inline void multiply(float (&out)[ROWS / 8][4], const bf16 (&mine)[MINE][D + PAD], u32 first,
                                const bf16 (&tile)[ROWS][D + PAD]) {
    u32 a[D / 16][4];
    read_rows<D, MINE>(a, mine, first);
    multiply<D, ROWS>(out, a, tile);
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

// Writes the warp's rows, times `size`, from row `first` of the block's on.
template <int D>
__device__ inline void write_rows(bf16* to, u32 stride, u32 begin, u32 first, u32 rows, u32 column, u32 head_dim,
                                  const float (&v)[D / 8][4], float size) {
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        const u32 r = first + group() + 8 * half;
        if (r >= rows) continue;
        bf16* row = to + (u64)(begin + r) * stride + column;
#pragma unroll
        for (u32 n = 0; n < D / 8; n++) {
            const u32 c = 8 * n + 2 * place_in_group();
            const float one = v[n][2 * half] * size, other = v[n][2 * half + 1] * size;
            if (c + 1 < head_dim && ((u64)(row + c) & 3u) == 0) {
                *(u32*)(row + c) = pack(one, other);
            } else {
                if (c < head_dim) put(row + c, one);
                if (c + 1 < head_dim) put(row + c + 1, other);
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

// ---- dropout ------------------------------------------------------------------------------------------------

// Of four keys from 4*block on, bit i: whether probability (query, 4*block + i) stays.
__device__ inline u32 draw_four(const Words& example, u32 head, u32 query, u32 block, u32 threshold) {
    const Words words = drop_attention(example, head, query, block);
    u32 bits = 0;
#pragma unroll
    for (u32 i = 0; i < 4; i++) bits |= (u32)(words.w[i] >= threshold) << i;
    return bits;
}

// Four bits each, of the lower half of a word, at every eighth place.
__device__ inline u32 spread(u32 x) {
    x = (x | x << 8) & 0x00ff00ffu;
    return (x | x << 4) & 0x0f0f0f0fu;
}

// What stays of a tile of KEYS keys, for the rows of queries this lane holds.
struct Kept {
    u32 mine;       // four bits a tile of eight keys: of row g in even lanes, g + 8 in odd ones
    u32 of_row[2];  // as this lane's columns lie: bits 4*n and 4*n + 1 for tile n

    __device__ inline void draw(const Words& example, u32 head, u32 first_query, u32 key0, u32 threshold) {
        const u32 odd = lane() & 1u, query = first_query + group() + 8 * odd;
        mine = 0;
#pragma unroll 1
        for (u32 n = 0; n < KEYS / 8; n++)
            mine |= draw_four(example, head, query, key0 / 4 + 2 * n + place_in_group() / 2, threshold) << 4 * n;
        const u32 others = __shfl_xor_sync(0xffffffffu, mine, 1);
        // Of four keys the even lane has the first two columns.
        of_row[0] = (odd ? others : mine) >> 2 * odd;
        of_row[1] = (odd ? mine : others) >> 2 * odd;
    }

    __device__ inline bool stays(u32 n, u32 e) const { return of_row[e / 2] >> (4 * n + e % 2) & 1u; }

    // Two words of keys in order for the row this lane drew for; lanes 0 and 1 of a group have them.
    __device__ inline uint2 in_order() const {
        const u32 others = __shfl_xor_sync(0xffffffffu, mine, 2);  // the other four of every eight keys
        uint2 two;
        two.x = spread(mine & 0xffffu) | spread(others & 0xffffu) << 4;
        two.y = spread(mine >> 16) | spread(others >> 16) << 4;
        return two;
    }
};

// ---- forward ------------------------------------------------------------------------------------------------

template <int D, int WARPS>
struct ForwardTiles {
    bf16 q[16 * WARPS][D + PAD];
    bf16 k[2][KEYS][D + PAD];
    bf16 v[2][KEYS][D + PAD];
};

// Grid (tiles of queries, heads, sequences).
template <int D, int WARPS>
__device__ inline void forward(ForwardTiles<D, WARPS>& s, SHAPE_PARAMETERS, Act* context, float* lse, u32* kept,
                               u32 words) {
    constexpr int THREADS = 32 * WARPS;
    const u32 sequence = blockIdx.z, head = blockIdx.y, heads = gridDim.y, column = head * head_dim;
    if (sequence >= count(step, sequences)) return;
    const Span at = span(cu_seqlens, sequence, all);
    const u32 query0 = blockIdx.x * 16 * WARPS;
    if (query0 >= at.queries) return;
    const u32 rows = min((u32)(16 * WARPS), at.queries - query0);
    const u32 own = threadIdx.x / 32 * 16;  // the warp's first row
    Words example = {};
    if (threshold) example = drop_example(step, place, sequence_ids[sequence]);
    const Head of_head = {column, head_dim, head_dim == D && in_groups(q, k, v, q_stride, kv_stride)};

    load_tile<D, 16 * WARPS, THREADS>(s.q, of_head, q, q_stride, at.first_query + query0, rows);
    load_tile<D, KEYS, THREADS>(s.k[0], of_head, k, kv_stride, at.start, at.length);
    load_tile<D, KEYS, THREADS>(s.v[0], of_head, v, kv_stride, at.start, at.length);
    commit_copies();
    u32 of_q[D / 16][4];
    const float scale2 = scale * LOG2E;
    float most[2] = {-infinite(), -infinite()}, total[2] = {}, out[D / 8][4];
    clear(out);
    for (u32 key0 = 0, stage = 0; key0 < at.length; key0 += KEYS, stage ^= 1u) {
        const u32 left = at.length - key0;
        if (left > KEYS) {
            const u32 next = at.start + key0 + KEYS, to = stage ^ 1u;
            load_tile<D, KEYS, THREADS>(s.k[to], of_head, k, kv_stride, next, left - KEYS);
            load_tile<D, KEYS, THREADS>(s.v[to], of_head, v, kv_stride, next, left - KEYS);
        }
        commit_copies();
        Kept keep;
        if (threshold) {
            keep.draw(example, head, query0 + own, key0, threshold);
            const uint2 two = keep.in_order();
            const u32 r = own + group() + 8 * place_in_group();
            if (place_in_group() < 2 && r < rows) {
                u32* to = kept + ((u64)(at.first_query + query0 + r) * heads + head) * words + key0 / 32;
                to[0] = two.x;
                to[1] = two.y;
            }
        }
        wait_for_copies<1>();
        __syncthreads();
        if (key0 == 0) read_rows<D, 16 * WARPS>(of_q, s.q, own);
        float score[KEYS / 8][4];
        multiply<D, KEYS>(score, of_q, s.k[stage]);
        const u32 first_key = 2 * place_in_group();
        if (left < KEYS) {
#pragma unroll
            for (u32 n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (u32 e = 0; e < 4; e++)
                    if (8 * n + first_key + e % 2 >= left) score[n][e] = -infinite();
        }
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            float here = -infinite();
#pragma unroll
            for (u32 n = 0; n < KEYS / 8; n++) here = fmaxf(here, fmaxf(score[n][2 * half], score[n][2 * half + 1]));
            const float now = fmaxf(most[half], group_max(here) * scale2);
            const float shrink = power_of_two(most[half] - now);
            float sum = 0.0f;
#pragma unroll
            for (u32 n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (u32 e = 2 * half; e < 2 * half + 2; e++) {
                    float& x = score[n][e];
                    x = power_of_two(fmaf(x, scale2, -now));
                    sum += x;
                }
            total[half] = fmaf(total[half], shrink, sum);
            most[half] = now;
#pragma unroll
            for (u32 n = 0; n < D / 8; n++) {
                out[n][2 * half] *= shrink;
                out[n][2 * half + 1] *= shrink;
            }
        }
        if (threshold) {
#pragma unroll
            for (u32 n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (u32 e = 0; e < 4; e++) score[n][e] = keep.stays(n, e) ? score[n][e] : 0.0f;
        }
        accumulate<D, KEYS>(out, score, s.v[stage]);
        __syncthreads();  // the tile has been read
    }
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        const float sum = group_sum(total[half]), inverse = drop_scale / sum;
#pragma unroll
        for (u32 n = 0; n < D / 8; n++) {
            out[n][2 * half] *= inverse;
            out[n][2 * half + 1] *= inverse;
        }
        const u32 r = own + group() + 8 * half;
        if (place_in_group() == 0 && r < rows)
            lse[(u64)(at.first_query + query0 + r) * heads + head] = fmaf(most[half], LN2, logf(sum));
    }
    write_rows<D>(context, heads * head_dim, at.first_query + query0, own, rows, column, head_dim, out, 1.0f);
}

#define FORWARD(D, WARPS)                                           \
    __shared__ __align__(16) ForwardTiles<D, WARPS> tiles;          \
    forward<D, WARPS>(tiles, SHAPE_ARGUMENTS, context, lse, kept, words)

extern "C" __global__ void __launch_bounds__(128)
attention_mma_32(SHAPE_PARAMETERS, Act* context, float* lse, u32* kept, u32 words) { FORWARD(32, 4); }
extern "C" __global__ void __launch_bounds__(128, 3)
attention_mma_64(SHAPE_PARAMETERS, Act* context, float* lse, u32* kept, u32 words) { FORWARD(64, 4); }
extern "C" __global__ void __launch_bounds__(32)
attention_mma_first_32(SHAPE_PARAMETERS, Act* context, float* lse, u32* kept, u32 words) { FORWARD(32, 1); }
extern "C" __global__ void __launch_bounds__(32, 12)
attention_mma_first_64(SHAPE_PARAMETERS, Act* context, float* lse, u32* kept, u32 words) { FORWARD(64, 1); }

// ---- backward -----------------------------------------------------------------------------------------------

// Probabilities and gradients of scores (but for their scale) from scores and gradients of probabilities, in place;
// `p` without dropout's scale. `keep` says what stays.
__device__ inline void differentiate(float& p, float& ds, float scale2, float lse2, float delta, bool keep,
                                     float drop_scale) {
    const float x = power_of_two(fmaf(p, scale2, -lse2));
    p = keep ? x : 0.0f;
    ds = x * ((keep ? ds * drop_scale : 0.0f) - delta);
}

template <int D>
struct KeyTiles {
    bf16 k[OWN][D + PAD];
    bf16 v[OWN][D + PAD];
    bf16 q[2][OTHER][D + PAD];
    bf16 d[2][OTHER][D + PAD];  // dcontext
    float lse[2][OTHER];
    float delta[2][OTHER];
    u32 kept[2][OTHER][OWN / 32];
};

// Gradients of a tile of keys and values. Grid (tiles of keys, heads, sequences).
template <int D>
__device__ inline void backward_keys(KeyTiles<D>& s, BACKWARD_PARAMETERS, Act* dk, Act* dv, const u32* kept,
                                     u32 words) {
    constexpr int THREADS = 128;
    const u32 sequence = blockIdx.z, head = blockIdx.y, heads = gridDim.y, column = head * head_dim;
    if (sequence >= count(step, sequences)) return;
    const Span at = span(cu_seqlens, sequence, all);
    const u32 key0 = blockIdx.x * OWN;
    if (key0 >= at.length) return;
    const u32 keys = min((u32)OWN, at.length - key0), own = threadIdx.x / 32 * 16;
    const Head of_head = {column, head_dim, head_dim == D && in_groups(q, k, v, q_stride, kv_stride) && aligned(dcontext)};
    const u32 d_stride = heads * head_dim;

    load_tile<D, OWN, THREADS>(s.k, of_head, k, kv_stride, at.start + key0, keys);
    load_tile<D, OWN, THREADS>(s.v, of_head, v, kv_stride, at.start + key0, keys);
    load_tile<D, OTHER, THREADS>(s.q[0], of_head, q, q_stride, at.first_query, at.queries);
    load_tile<D, OTHER, THREADS>(s.d[0], of_head, dcontext, d_stride, at.first_query, at.queries);
    load_statistics<OTHER>(s.lse[0], s.delta[0], lse, delta, at.first_query, at.queries, heads, head);
    kept += (u64)head * words + key0 / 32;
    if (threshold) load_kept(s.kept[0], kept, heads * words, at.first_query, at.queries);
    commit_copies();
    const float scale2 = scale * LOG2E;
    float sum_k[D / 8][4], sum_v[D / 8][4];
    clear(sum_k);
    clear(sum_v);
    for (u32 query0 = 0, stage = 0; query0 < at.queries; query0 += OTHER, stage ^= 1u) {
        const u32 left = at.queries - query0;
        if (left > OTHER) {
            const u32 next = at.first_query + query0 + OTHER, to = stage ^ 1u;
            load_tile<D, OTHER, THREADS>(s.q[to], of_head, q, q_stride, next, left - OTHER);
            load_tile<D, OTHER, THREADS>(s.d[to], of_head, dcontext, d_stride, next, left - OTHER);
            load_statistics<OTHER>(s.lse[to], s.delta[to], lse, delta, next, left - OTHER, heads, head);
            if (threshold) load_kept(s.kept[to], kept, heads * words, next, left - OTHER);
        }
        commit_copies();
        wait_for_copies<1>();
        __syncthreads();
        // Rows are keys here, columns queries.
        float p[OTHER / 8][4], ds[OTHER / 8][4];
        multiply<D, OWN, OTHER>(p, s.k, own, s.q[stage]);
        multiply<D, OWN, OTHER>(ds, s.v, own, s.d[stage]);
#pragma unroll
        for (u32 n = 0; n < OTHER / 8; n++)
#pragma unroll
            for (u32 e = 0; e < 4; e++) {
                const u32 query = 8 * n + 2 * place_in_group() + e % 2;
                const u32 bit = own % 32 + group() + 8 * (e / 2);
                const bool keep = threshold == 0 || (s.kept[stage][query][own / 32] >> bit & 1u);
                differentiate(p[n][e], ds[n][e], scale2, s.lse[stage][query] * LOG2E, s.delta[stage][query], keep,
                              drop_scale);
            }
        accumulate<D, OTHER>(sum_v, p, s.d[stage]);
        accumulate<D, OTHER>(sum_k, ds, s.q[stage]);
        __syncthreads();  // the tile has been read
    }
    write_rows<D>(dk, kv_stride, at.start + key0, own, keys, column, head_dim, sum_k, scale);
    write_rows<D>(dv, kv_stride, at.start + key0, own, keys, column, head_dim, sum_v, drop_scale);
}

template <int D>
struct QueryTiles {
    bf16 q[OWN][D + PAD];
    bf16 d[OWN][D + PAD];  // dcontext
    bf16 k[2][OTHER][D + PAD];
    bf16 v[2][OTHER][D + PAD];
    float lse[OWN];
    float delta[OWN];
    u32 kept[2][OWN][1];
};

// Gradient of a tile of queries. Grid (tiles of queries, heads, sequences).
template <int D>
__device__ inline void backward_queries(QueryTiles<D>& s, BACKWARD_PARAMETERS, Act* dq, const u32* kept, u32 words) {
    constexpr int THREADS = 128;
    const u32 sequence = blockIdx.z, head = blockIdx.y, heads = gridDim.y, column = head * head_dim;
    if (sequence >= count(step, sequences)) return;
    const Span at = span(cu_seqlens, sequence, all);
    const u32 query0 = blockIdx.x * OWN;
    if (query0 >= at.queries) return;
    const u32 first = at.first_query + query0, rows = min((u32)OWN, at.queries - query0);
    const u32 own = threadIdx.x / 32 * 16;
    const Head of_head = {column, head_dim, head_dim == D && in_groups(q, k, v, q_stride, kv_stride) && aligned(dcontext)};

    load_tile<D, OWN, THREADS>(s.q, of_head, q, q_stride, first, rows);
    load_tile<D, OWN, THREADS>(s.d, of_head, dcontext, heads * head_dim, first, rows);
    load_statistics<OWN>(s.lse, s.delta, lse, delta, first, rows, heads, head);
    load_tile<D, OTHER, THREADS>(s.k[0], of_head, k, kv_stride, at.start, at.length);
    load_tile<D, OTHER, THREADS>(s.v[0], of_head, v, kv_stride, at.start, at.length);
    kept += (u64)head * words;
    if (threshold) load_kept(s.kept[0], kept, heads * words, first, rows);
    commit_copies();
    const float scale2 = scale * LOG2E;
    float of_lse[2], of_delta[2], sum_q[D / 8][4];
    clear(sum_q);
    for (u32 key0 = 0, stage = 0; key0 < at.length; key0 += OTHER, stage ^= 1u) {
        const u32 left = at.length - key0;
        if (left > OTHER) {
            const u32 next = at.start + key0 + OTHER, to = stage ^ 1u;
            load_tile<D, OTHER, THREADS>(s.k[to], of_head, k, kv_stride, next, left - OTHER);
            load_tile<D, OTHER, THREADS>(s.v[to], of_head, v, kv_stride, next, left - OTHER);
            if (threshold) load_kept(s.kept[to], kept + (key0 / 32 + 1), heads * words, first, rows);
        }
        commit_copies();
        wait_for_copies<1>();
        __syncthreads();
        if (key0 == 0) {
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                of_lse[half] = s.lse[own + group() + 8 * half] * LOG2E;
                of_delta[half] = s.delta[own + group() + 8 * half];
            }
        }
        float score[OTHER / 8][4], ds[OTHER / 8][4];
        multiply<D, OWN, OTHER>(score, s.q, own, s.k[stage]);
        multiply<D, OWN, OTHER>(ds, s.d, own, s.v[stage]);
#pragma unroll
        for (u32 n = 0; n < OTHER / 8; n++)
#pragma unroll
            for (u32 e = 0; e < 4; e++) {
                const u32 key = 8 * n + 2 * place_in_group() + e % 2, row = own + group() + 8 * (e / 2);
                if (key >= left) score[n][e] = -infinite();
                const bool keep = threshold == 0 || (s.kept[stage][row][0] >> key & 1u);
                differentiate(score[n][e], ds[n][e], scale2, of_lse[e / 2], of_delta[e / 2], keep, drop_scale);
            }
        accumulate<D, OTHER>(sum_q, ds, s.k[stage]);
        __syncthreads();  // the tile has been read
    }
    write_rows<D>(dq, q_stride, first, own, rows, column, head_dim, sum_q, scale);
}

#define BACKWARD_KEYS(D)                          \
    __shared__ __align__(16) KeyTiles<D> tiles;   \
    backward_keys<D>(tiles, BACKWARD_ARGUMENTS, dk, dv, kept, words)
#define BACKWARD_QUERIES(D)                       \
    __shared__ __align__(16) QueryTiles<D> tiles; \
    backward_queries<D>(tiles, BACKWARD_ARGUMENTS, dq, kept, words)

extern "C" __global__ void __launch_bounds__(128)
attention_mma_keys_32(BACKWARD_PARAMETERS, Act* dk, Act* dv, const u32* kept, u32 words) { BACKWARD_KEYS(32); }
extern "C" __global__ void __launch_bounds__(128, 3)
attention_mma_keys_64(BACKWARD_PARAMETERS, Act* dk, Act* dv, const u32* kept, u32 words) { BACKWARD_KEYS(64); }
extern "C" __global__ void __launch_bounds__(128)
attention_mma_queries_32(BACKWARD_PARAMETERS, Act* dq, const u32* kept, u32 words) { BACKWARD_QUERIES(32); }
extern "C" __global__ void __launch_bounds__(128)
attention_mma_queries_64(BACKWARD_PARAMETERS, Act* dq, const u32* kept, u32 words) { BACKWARD_QUERIES(64); }
