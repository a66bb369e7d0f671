// What `products` calls of the CUDA driver and of cuBLASLt, on the host: a stand-in for tests on machines without a card.
// It is strict where the libraries are (sizes of attributes, dimensions) or would be undefined (memory out of bounds), and
// its clock runs by what its algorithms are said to cost.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>

namespace {
enum Status { SUCCESS = 0, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum Type { F32 = 0, BF16 = 14 };
struct Matmul { int ta, tb, epilogue, bias_type; uint64_t bias; };
struct Layout { int type; uint64_t rows, cols; int64_t ld; };
struct Preference { uint64_t workspace; uint32_t values[16]; };
struct Algorithm { uint64_t data[8]; };
struct Result { Algorithm algorithm; size_t workspace; int status; float waves; int reserved[4]; };
struct Event { double at; };

std::map<uint64_t, size_t> live;
size_t limit = SIZE_MAX;
double now = 0;  // ms
uint64_t asked = 0, checked = 0, ran = 0;
Algorithm last;
uint32_t masks = 0, alignments[4];
bool capturing = false, refuses = false;
int64_t graphs = 0, executables = 0, launched = 0;

bool holds(uint64_t at, size_t bytes) {
    auto next = live.upper_bound(at);
    return next != live.begin() && (--next, at + bytes <= next->first + next->second);
}
size_t size(int type) { return type == F32 ? 4 : 2; }
float read(uint64_t at, int type, size_t k) {
    if (type == F32) return ((const float*)at)[k];
    uint32_t bits = (uint32_t)((const uint16_t*)at)[k] << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
void write(uint64_t at, int type, size_t k, float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (type == F32) ((float*)at)[k] = x;
    else ((uint16_t*)at)[k] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
// m, n, k; false where the matrices do not fit.
bool sizes(const Matmul& p, const Layout& a, const Layout& b, const Layout& c, uint64_t out[3]) {
    uint64_t m = p.ta ? a.cols : a.rows, k = p.ta ? a.rows : a.cols;
    uint64_t n = p.tb ? b.rows : b.cols, also = p.tb ? b.cols : b.rows;
    out[0] = m, out[1] = n, out[2] = k;
    auto wide = [](const Layout& x) { return x.ld >= (int64_t)x.rows; };
    return k == also && c.rows == m && c.cols == n && wide(a) && wide(b) && wide(c);
}
// Algorithms know what they were made for, but for a product with a side of 101 only its own will do.
bool takes(const Algorithm& x, const uint64_t s[3]) {
    bool own = x.data[1] == s[0] && x.data[2] == s[1] && x.data[3] == s[2];
    bool odd = s[0] == 101 || s[1] == 101 || s[2] == 101;
    return x.data[0] >= 1 && x.data[0] <= 8 && (own || !odd);
}
size_t workspace(const Algorithm& x) { return x.data[0] == 4 ? 64u << 20 : 1u << 20; }
template <typename T> int put(T& to, const void* from, size_t bytes) {
    if (bytes != sizeof(T)) return INVALID_VALUE;
    memcpy(&to, from, bytes);
    return SUCCESS;
}
}  // namespace

extern "C" {
// ---- for the test
void standin_limit(uint64_t bytes) { limit = bytes; }
void standin_counts(uint64_t* out) { out[0] = asked, out[1] = checked, out[2] = ran, out[3] = live.size(); }
void standin_last(uint64_t* out) { memcpy(out, last.data, sizeof last); }
void standin_preferred(uint32_t* out) { out[0] = masks; memcpy(out + 1, alignments, sizeof alignments); }

void standin_refuse() { refuses = true; }
// Graphs and executables alive, launches, whether the stream is being captured.
void standin_graphs(uint64_t* out) { out[0] = graphs, out[1] = executables, out[2] = launched, out[3] = capturing; }

// ---- the driver
int cuCtxSetCurrent(void*) { return 0; }
int cuStreamBeginCapture_v2(void*, int mode) {
    if (capturing || mode != 1) return 1;  // Thread-local.
    capturing = true;
    return 0;
}
int cuStreamEndCapture(void*, void** out) {
    if (!capturing) return 1;
    capturing = false, graphs++, *out = malloc(1);
    return 0;
}
int cuGraphInstantiateWithFlags(void** out, void*, unsigned long long flags) {
    if (refuses || flags) return 1;
    executables++, *out = malloc(1);
    return 0;
}
int cuGraphDestroy(void* at) { graphs--; free(at); return 0; }
int cuGraphExecDestroy(void* at) { executables--; free(at); return 0; }
int cuGraphLaunch(void*, void*) { launched++; return capturing; }
int cuInit(unsigned) { return 0; }
int cuGetErrorString(int, const char** out) { *out = "an error"; return 0; }
int cuCtxSynchronize() { return 0; }
int cuStreamSynchronize(void*) { return 0; }
int cuDriverGetVersion(int* out) { *out = 13000; return 0; }
int cuMemAlloc_v2(uint64_t* out, size_t bytes) {
    if (bytes > limit) return 2;
    *out = (uint64_t)aligned_alloc(256, (bytes + 255) / 256 * 256);
    live[*out] = bytes;
    return 0;
}
int cuMemFree_v2(uint64_t at) {
    if (!live.erase(at)) return 1;
    free((void*)at);
    return 0;
}
int cuMemsetD8Async(uint64_t at, unsigned char, size_t bytes, void*) { return holds(at, bytes) ? 0 : 1; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void*) {
    if (!holds(to, bytes)) return 1;
    memcpy((void*)to, from, bytes);
    return 0;
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void*) {
    if (!holds(to, bytes) || !holds(from, bytes)) return 1;
    memcpy((void*)to, (void*)from, bytes);
    return 0;
}
int cuEventCreate(void** out, unsigned) { *out = new Event{-1}; return 0; }
int cuEventDestroy_v2(void* e) { delete (Event*)e; return 0; }
int cuEventRecord(void* e, void*) { ((Event*)e)->at = now; return 0; }
int cuEventSynchronize(void* e) { return ((Event*)e)->at < 0; }
int cuEventElapsedTime_v2(float* ms, void* a, void* b) { *ms = (float)(((Event*)b)->at - ((Event*)a)->at); return 0; }

// ---- cuBLASLt
size_t cublasLtGetVersion() { return 1; }
int cublasLtCreate(void** out) { *out = malloc(1); return SUCCESS; }
int cublasLtMatmulDescCreate(void** out, int, int) { *out = new Matmul(); return SUCCESS; }
int cublasLtMatmulDescSetAttribute(void* at, int attribute, const void* from, size_t bytes) {
    Matmul& p = *(Matmul*)at;
    switch (attribute) {
        case 3: return put(p.ta, from, bytes);
        case 4: return put(p.tb, from, bytes);
        case 7: return put(p.epilogue, from, bytes);
        case 8: return put(p.bias, from, bytes);
        case 26: return put(p.bias_type, from, bytes);
        default: return INVALID_VALUE;
    }
}
int cublasLtMatrixLayoutCreate(void** out, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    *out = new Layout{type, rows, cols, ld};
    return SUCCESS;
}
int cublasLtMatrixLayoutSetAttribute(void* at, int attribute, const void* from, size_t bytes) {
    Layout& l = *(Layout*)at;
    switch (attribute) {
        case 2: return put(l.rows, from, bytes);
        case 3: return put(l.cols, from, bytes);
        case 4: return put(l.ld, from, bytes);
        default: return INVALID_VALUE;
    }
}
int cublasLtMatmulPreferenceCreate(void** out) { *out = new Preference(); return SUCCESS; }
int cublasLtMatmulPreferenceDestroy(void* at) { delete (Preference*)at; return SUCCESS; }
int cublasLtMatmulPreferenceSetAttribute(void* at, int attribute, const void* from, size_t bytes) {
    Preference& p = *(Preference*)at;
    if (attribute == 1) return put(p.workspace, from, bytes);
    if (attribute < 0 || attribute > 8) return INVALID_VALUE;
    return put(p.values[attribute], from, bytes);
}
int cublasLtMatmulAlgoGetHeuristic(void*, void* p, void* a, void* b, void* c, void*, void* preference, int most, Result* out, int* count) {
    uint64_t s[3];
    if (!sizes(*(Matmul*)p, *(Layout*)a, *(Layout*)b, *(Layout*)c, s)) return INVALID_VALUE;
    if (((Matmul*)p)->epilogue == 4 && !holds(((Matmul*)p)->bias, 1)) return INVALID_VALUE;
    asked++;
    masks = ((Preference*)preference)->values[3];
    memcpy(alignments, ((Preference*)preference)->values + 5, sizeof alignments);
    // Tenths of a microsecond; the fourth asks for more workspace than there is, the fifth does not run.
    const uint64_t costs[] = {1000, 990, 500, 10, 20, 495, 600};
    *count = most < 7 ? most : 7;
    for (int k = 0; k < *count; k++)
        out[k] = Result{{{uint64_t(k + 1), s[0], s[1], s[2], costs[k], 0, 0, 0}}, 0, SUCCESS, 1.0f, {}},
        out[k].workspace = workspace(out[k].algorithm);
    return SUCCESS;
}
int cublasLtMatmulAlgoCheck(void*, void* p, void* a, void* b, void* c, void*, const Algorithm* x, Result* out) {
    uint64_t s[3];
    checked++;
    if (!sizes(*(Matmul*)p, *(Layout*)a, *(Layout*)b, *(Layout*)c, s)) return INVALID_VALUE;
    if (!takes(*x, s)) return NOT_SUPPORTED;
    *out = Result{*x, workspace(*x), SUCCESS, 1.0f, {}};
    return SUCCESS;
}
int cublasLtMatmul(void*, void* p, const float* alpha, const void* A, void* la, const void* B, void* lb, const float* beta,
                   const void* C, void* lc, void* D, void*, const Algorithm* x, void* space, size_t bytes, void*) {
    const Matmul& how = *(Matmul*)p;
    const Layout &a = *(Layout*)la, &b = *(Layout*)lb, &c = *(Layout*)lc;
    uint64_t s[3];
    if (!sizes(how, a, b, c, s) || C != D) return INVALID_VALUE;
    if (!takes(*x, s) || x->data[0] == 5 || workspace(*x) > bytes || !holds((uint64_t)space, bytes)) return NOT_SUPPORTED;
    auto whole = [](const void* at, const Layout& l) { return holds((uint64_t)at, l.ld * l.cols * size(l.type)); };
    if (!whole(A, a) || !whole(B, b) || !whole(C, c)) return INVALID_VALUE;
    if (how.epilogue == 4 && (!holds(how.bias, c.rows * size(c.type)) || how.bias_type != c.type)) return INVALID_VALUE;
    ran++, now += x->data[4] / 1e4, last = *x;
    if (s[0] * s[1] * s[2] > 10000000) return SUCCESS;  // Timed alone.
    for (uint64_t i = 0; i < s[0]; i++)
        for (uint64_t j = 0; j < s[1]; j++) {
            float sum = 0;
            for (uint64_t k = 0; k < s[2]; k++)
                sum += read((uint64_t)A, a.type, how.ta ? i * a.ld + k : k * a.ld + i) *
                       read((uint64_t)B, b.type, how.tb ? k * b.ld + j : j * b.ld + k);
            sum *= *alpha;
            if (*beta != 0) sum += *beta * read((uint64_t)C, c.type, j * c.ld + i);
            if (how.epilogue == 4) sum += read(how.bias, c.type, i);
            write((uint64_t)D, c.type, j * c.ld + i, sum);
        }
    return SUCCESS;
}
}
