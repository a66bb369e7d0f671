// CUDA C++ on the host, for tests: a fiber per CUDA thread, real barriers and warp shuffles, poisoned shared memory.
// Read before a .cu file by the host's compiler; emulator/mod.rs appends an entry point for each kernel.
//
// Warps of a block run one after another, each to its next barrier, threads of a warp each until it waits, in an order
// that the caller chooses; so what lacks a barrier reads what is not there yet, or what is there no more. Errors: threads that wait at different barriers, or for threads that have
// left; lanes of a warp at different shuffles.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>
#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

// Files are loaded side by side, changed copies of one among them: what they define is their own, statics of templates
// and of inline functions included, which would be one for the whole process otherwise.
#pragma GCC visibility push(hidden)

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// All of a file's shared memory lies in one section, so that it can be poisoned before each block.
#define __shared__ static __attribute__((section("emulated_shared")))

struct uint3 {
    unsigned x, y, z;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

template <class T>
inline T min(T a, T b) { return b < a ? b : a; }
template <class T>
inline T max(T a, T b) { return a < b ? b : a; }
inline float __uint_as_float(unsigned x) {
    float y;
    memcpy(&y, &x, 4);
    return y;
}
inline unsigned __float_as_uint(float x) {
    unsigned y;
    memcpy(&y, &x, 4);
    return y;
}

// Borders of the section; absent where a file has no shared memory.
extern "C" char __start_emulated_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_emulated_shared[] __attribute__((weak, visibility("hidden")));

namespace emulation {

constexpr unsigned WARP = 32, MOST = 1024;
constexpr size_t STACK = 128 * 1024;

enum State { READY, AT_BARRIER, AT_WARP, DONE };

struct Thread {
    uint3 index;
    unsigned linear;
    State state;
    int site;         // line it waits at
    unsigned parity;  // which of the warp's two exchanges its next shuffle uses
#if defined(__x86_64__)
    void* stack_pointer;
#else
    ucontext_t context;
#endif
};

static Thread threads[MOST];
static Thread* current;
static uint3 grid_dim, block_dim, block_index;
static char* stacks;
// What lanes hand to each other, twice: a lane may be a shuffle ahead of one that has yet to read.
static unsigned char exchanges[MOST / WARP][2][WARP][32];
// Copies that threads have begun, each with its group, and groups closed so far.
struct Copy {
    void* to;
    const void* from;
    unsigned bytes, group;
};
static std::vector<Copy> coming[MOST];
static unsigned groups[MOST];
static void (*body)(void**);
static void** arguments;
static std::string fault;

#if defined(__x86_64__)
extern "C" void emulation_switch(void** save, void* load);
asm(R"(
.text
.local emulation_switch
.type emulation_switch,@function
emulation_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulation_switch, .-emulation_switch
)");
static void* scheduler;
inline void to_scheduler(Thread* self) { emulation_switch(&self->stack_pointer, scheduler); }
inline void to_thread(Thread* t) { emulation_switch(&scheduler, t->stack_pointer); }
#else
static ucontext_t scheduler;
inline void to_scheduler(Thread* self) { swapcontext(&self->context, &scheduler); }
inline void to_thread(Thread* t) { swapcontext(&scheduler, &t->context); }
#endif

static void entry() {
    body(arguments);
    current->state = DONE;
    to_scheduler(current);
    abort();  // nobody wakes a thread that is done
}

static void prepare(Thread* t) {
    char* stack = stacks + t->linear * STACK;
#if defined(__x86_64__)
    void** top = (void**)(stack + STACK);
    *--top = nullptr;  // entry's return address: aligned as after a call
    *--top = (void*)entry;
    for (int k = 0; k < 6; k++) *--top = nullptr;
    t->stack_pointer = top;
#else
    getcontext(&t->context);
    t->context.uc_stack.ss_sp = stack;
    t->context.uc_stack.ss_size = STACK;
    t->context.uc_link = nullptr;
    makecontext(&t->context, entry, 0);
#endif
}

// Waits for the block (or the warp) at the line `site`. Never inlined: a fiber's `current` is read anew after it.
__attribute__((noinline)) static void wait(State at, int site) {
    Thread* self = current;
    self->state = at;
    self->site = site;
    to_scheduler(self);
}

inline void barrier(int site) { wait(AT_BARRIER, site); }

inline void warp_barrier(int site) { wait(AT_WARP, site); }

inline void full(int site, unsigned mask) {
    if (mask != 0xffffffffu && fault.empty()) fault = "line " + std::to_string(site) + ": a shuffle of part of a warp";
}

template <class T>
inline T shuffle(int site, unsigned mask, T value, unsigned from) {
    static_assert(sizeof(T) <= 8, "a register or two");
    full(site, mask);
    Thread* self = current;
    const unsigned warp = self->linear / WARP, parity = self->parity;
    memcpy(exchanges[warp][parity][self->linear % WARP], &value, sizeof(T));
    self->parity ^= 1;
    warp_barrier(site);
    memcpy(&value, exchanges[warp][parity][from % WARP], sizeof(T));
    return value;
}

// What each lane hands in, after all of the warp have come: lanes read each other's through the returned base.
template <class T>
inline const unsigned char (*hand_in(int site, const T& value))[32] {
    static_assert(sizeof(T) <= 32, "some registers");
    Thread* self = current;
    const unsigned warp = self->linear / WARP, parity = self->parity;
    memcpy(exchanges[warp][parity][self->linear % WARP], &value, sizeof(T));
    self->parity ^= 1;
    warp_barrier(site);
    return exchanges[warp][parity];
}

// One half of a word as a float: bf16.
inline float half_of(unsigned word, unsigned upper) {
    return __uint_as_float(upper ? word & 0xffff0000u : word << 16);
}

// mma.m16n8k16 over bf16 with f32 sums, by the tables of the PTX ISA.
inline void mma(int site, float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    struct Fragment {
        unsigned a[4], b[2];
    } mine = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
    const auto* lanes = hand_in(site, mine);
    const unsigned lane = current->linear % WARP, group = lane / 4, place = lane % 4;
    for (unsigned e = 0; e < 4; e++) {
        const unsigned row = group + e / 2 * 8, column = 2 * place + e % 2;
        float sum = c[e];
        for (unsigned k = 0; k < 16; k++) {
            Fragment of_a, of_b;
            memcpy(&of_a, lanes[row % 8 * 4 + k % 8 / 2], sizeof of_a);
            memcpy(&of_b, lanes[column * 4 + k % 8 / 2], sizeof of_b);
            sum += half_of(of_a.a[row / 8 + k / 8 * 2], k % 2) * half_of(of_b.b[k / 8], k % 2);
        }
        c[e] = sum;
    }
}

// ldmatrix.m8n8.x4.trans.b16: lane l names row l % 8 of matrix l / 8; register m of a lane is column lane / 4 of
// matrix m, rows 2 * (lane % 4) and the one behind.
inline void ldmatrix_trans(int site, unsigned (&r)[4], const void* row) {
    const auto* lanes = hand_in(site, row);
    const unsigned lane = current->linear % WARP;
    for (unsigned m = 0; m < 4; m++) {
        unsigned short halves[2];
        for (unsigned k = 0; k < 2; k++) {
            const unsigned short* from;
            memcpy(&from, lanes[8 * m + 2 * (lane % 4) + k], sizeof from);
            if ((size_t)from % 16 && fault.empty()) fault = "line " + std::to_string(site) + ": a row that is not aligned";
            halves[k] = from[lane / 4];
        }
        r[m] = (unsigned)halves[1] << 16 | halves[0];
    }
}

// The same without transposing: register m of a lane is row lane / 4 of matrix m, columns 2 * (lane % 4) and the next.
inline void ldmatrix(int site, unsigned (&r)[4], const void* row) {
    const auto* lanes = hand_in(site, row);
    const unsigned lane = current->linear % WARP;
    for (unsigned m = 0; m < 4; m++) {
        const unsigned short* from;
        memcpy(&from, lanes[8 * m + lane / 4], sizeof from);
        if ((size_t)from % 16 && fault.empty()) fault = "line " + std::to_string(site) + ": a row that is not aligned";
        memcpy(&r[m], from + 2 * (lane % 4), sizeof r[m]);
    }
}

// cp.async: nothing arrives before its thread waits for it, and what lies there until then is poisoned.
inline void copy_async(int site, void* to, const void* from, unsigned bytes, bool there) {
    if (((size_t)to % bytes || (size_t)from % bytes) && fault.empty())
        fault = "line " + std::to_string(site) + ": a copy that is not aligned";
    memset(to, 0xff, bytes);
    coming[current->linear].push_back({to, there ? from : nullptr, bytes, groups[current->linear]});
}

inline void commit_copies() { groups[current->linear]++; }

inline void wait_for_copies(unsigned left) {
    auto& mine = coming[current->linear];
    size_t kept = 0;
    for (const Copy& c : mine) {
        if (c.group + left < groups[current->linear]) {
            if (c.from)
                memcpy(c.to, c.from, c.bytes);
            else
                memset(c.to, 0, c.bytes);
        } else {
            mine[kept++] = c;
        }
    }
    mine.resize(kept);
}

inline unsigned lane_of_current() { return current->linear % WARP; }

static uint64_t random_state;
static uint64_t random_word() {
    random_state += 0x9E3779B97F4A7C15ull;
    uint64_t x = random_state;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

// Fills `order` with 0..n: 0 forward, 1 reverse, 2 random.
static void arrange(unsigned* order, unsigned n, unsigned how) {
    for (unsigned k = 0; k < n; k++) order[k] = how == 1 ? n - 1 - k : k;
    if (how == 2)
        for (unsigned k = n; k > 1; k--) {
            const unsigned other = (unsigned)(random_word() % k);
            const unsigned kept = order[k - 1];
            order[k - 1] = order[other];
            order[other] = kept;
        }
}

static std::string place(const Thread& t) {
    return "thread " + std::to_string(t.linear) + " of block " + std::to_string(block_index.x) + "," +
           std::to_string(block_index.y) + "," + std::to_string(block_index.z);
}

// Runs a warp's threads each until it waits; whether its lanes, all at one place, may then go on.
static bool run_warp(unsigned first, unsigned how) {
    unsigned order[WARP];
    arrange(order, WARP, how);
    for (unsigned k = 0; k < WARP; k++) {
        Thread& t = threads[first + order[k]];
        if (t.state != READY) continue;
        current = &t;
        to_thread(&t);
        if (!fault.empty()) return false;
    }
    for (unsigned k = first; k < first + WARP; k++)
        if (threads[k].state != AT_WARP || threads[k].site != threads[first].site) return false;
    for (unsigned k = first; k < first + WARP; k++) threads[k].state = READY;
    return true;
}

// Nobody can go on alone: lets the block go from its barrier; an error where some wait elsewhere or have left.
static void release(unsigned n) {
    for (unsigned k = 0; k < n; k++) {
        const Thread& t = threads[k];
        if (t.state == AT_BARRIER && t.site == threads[0].site && threads[0].state == AT_BARRIER) continue;
        static const char* names[] = {"runs", "waits at the barrier", "waits for its warp", "has left"};
        fault = "divergence: " + place(threads[0]) + " " + names[threads[0].state] + " at line " +
                std::to_string(threads[0].site) + ", " + place(t) + " " + names[t.state] + " at line " +
                std::to_string(t.site);
        return;
    }
    for (unsigned k = 0; k < n; k++) threads[k].state = READY;
}

static void run_block(unsigned n, unsigned how) {
    static unsigned order[MOST / WARP];
    if (__start_emulated_shared != nullptr)
        memset(__start_emulated_shared, 0xff, (size_t)(__stop_emulated_shared - __start_emulated_shared));
    memset(exchanges, 0xff, sizeof exchanges);
    for (unsigned k = 0; k < n; k++) {
        Thread& t = threads[k];
        t.linear = k;
        t.index = {k % block_dim.x, k / block_dim.x % block_dim.y, k / block_dim.x / block_dim.y};
        t.state = READY;
        t.parity = 0;
        coming[k].clear();
        groups[k] = 0;
        t.site = 0;
        prepare(&t);
    }
    while (fault.empty()) {
        // In order, each warp runs as far as it can before the next begins, so that warps are as far apart as their
        // barriers allow; at random, whichever is drawn takes a step.
        unsigned active = n / WARP;
        arrange(order, active, how);
        if (how == 2) {
            while (active && fault.empty()) {
                const unsigned k = (unsigned)(random_word() % active);
                if (!run_warp(order[k] * WARP, how)) order[k] = order[--active];
            }
        } else {
            for (unsigned k = 0; k < active && fault.empty(); k++)
                while (run_warp(order[k] * WARP, how)) {
                }
        }
        bool left = false;
        for (unsigned k = 0; k < n; k++) left |= threads[k].state != DONE;
        if (!left || !fault.empty()) return;
        release(n);
    }
}

// Runs a whole grid; the fault, or null.
static const char* run(void (*kernel)(void**), void** args, const unsigned* grid, const unsigned* block, unsigned how,
                       uint64_t seed) {
    if (!stacks) {
        void* got = mmap(nullptr, STACK * MOST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                         -1, 0);
        if (got == MAP_FAILED) return "no memory for stacks";
        stacks = (char*)got;
    }
    fault.clear();
    random_state = seed;
    body = kernel;
    arguments = args;
    grid_dim = {grid[0], grid[1], grid[2]};
    block_dim = {block[0], block[1], block[2]};
    const unsigned n = block[0] * block[1] * block[2];
    if (n == 0 || n > MOST || n % WARP) return "a block is 1 to 32 whole warps";
    const unsigned blocks = grid[0] * grid[1] * grid[2];
    unsigned* order = (unsigned*)malloc(sizeof(unsigned) * (blocks ? blocks : 1));
    arrange(order, blocks, how);
    for (unsigned k = 0; k < blocks && fault.empty(); k++) {
        const unsigned b = order[k];
        block_index = {b % grid[0], b / grid[0] % grid[1], b / grid[0] / grid[1]};
        run_block(n, how);
    }
    free(order);
    return fault.empty() ? nullptr : fault.c_str();
}

// Letters of a kernel's parameters: driver.rs has the same.
template <class T>
struct Letter;
#define EMULATION_LETTER(type, letter)                \
    template <>                                       \
    struct Letter<type> {                             \
        static constexpr char value = letter;         \
    }
EMULATION_LETTER(unsigned, 'u');
EMULATION_LETTER(unsigned long long, 'l');
EMULATION_LETTER(float, 'f');
EMULATION_LETTER(double, 'd');
EMULATION_LETTER(float*, 'F');
EMULATION_LETTER(const float*, 'F');
EMULATION_LETTER(double*, 'D');
EMULATION_LETTER(const double*, 'D');
EMULATION_LETTER(unsigned*, 'U');
EMULATION_LETTER(const unsigned*, 'U');
EMULATION_LETTER(unsigned long long*, 'L');
EMULATION_LETTER(const unsigned long long*, 'L');
EMULATION_LETTER(unsigned char*, 'C');
EMULATION_LETTER(unsigned short*, 'S');

template <class... P>
std::string letters(void (*)(P...)) {
    return {Letter<P>::value...};
}

template <class... P, size_t... I>
void call(void (*kernel)(P...), void** args, std::integer_sequence<size_t, I...>) {
    kernel(*(P*)args[I]...);
}

template <class... P>
void call(void (*kernel)(P...), void** args) {
    call(kernel, args, std::make_integer_sequence<size_t, sizeof...(P)>());
}

}  // namespace emulation

#define EMULATION_ENTRY extern "C" __attribute__((visibility("default")))
#define EMULATION_KERNEL(name)                                                                                     \
    EMULATION_ENTRY const char* emulate_##name(void** args, const unsigned* grid, const unsigned* block,           \
                                               unsigned how, uint64_t seed) {                                      \
        return emulation::run([](void** a) { emulation::call(name, a); }, args, grid, block, how, seed);           \
    }                                                                                                              \
    EMULATION_ENTRY const char* letters_##name() {                                                                 \
        static const std::string found = emulation::letters(name);                                                 \
        return found.c_str();                                                                                      \
    }

#define threadIdx (emulation::current->index)
#define blockIdx (emulation::block_index)
#define blockDim (emulation::block_dim)
#define gridDim (emulation::grid_dim)
#define __syncthreads() emulation::barrier(__LINE__)
#define __syncwarp() emulation::warp_barrier(__LINE__)
#define __shfl_xor_sync(mask, value, other) \
    emulation::shuffle(__LINE__, mask, value, emulation::lane_of_current() ^ (unsigned)(other))
#define emulated_mma(c, a, b0, b1) emulation::mma(__LINE__, c, a, b0, b1)
#define emulated_ldmatrix_trans(r, row) emulation::ldmatrix_trans(__LINE__, r, row)
#define emulated_ldmatrix(r, row) emulation::ldmatrix(__LINE__, r, row)
#define emulated_copy_async(to, from, bytes, there) emulation::copy_async(__LINE__, to, from, bytes, there)
#define emulated_commit_copies() emulation::commit_copies()
#define emulated_wait_for_copies(left) emulation::wait_for_copies(left)
