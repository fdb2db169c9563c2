/* Runs the blocks and threads of a kernel on the CPU, one at a time, each until it waits.

   A thread is a context with a stack of its own. Blocks and threads take turns in an order that can be chosen: what
   comes out may not depend on it. Blocks run one after the other, but those of a cooperative launch are all there at
   once, and what each shares is put in its place when its turn comes. That memory is full of NaN at first.

   What a GPU need not survive ends the launch with a message: threads that wait more or less often than others of their
   block, threads of which none can ever go on, indices out of range, addresses that are not aligned, and what
   cuda_memory.cpp, which is the second half of this text, finds. */

#include <dlfcn.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

/* As in cuda_on_cpu.h. */
struct dim3 { unsigned x, y, z; };
struct Entry {
    void (*call)(void **given);
    unsigned parameters;
    const unsigned *sizes, *aligned;
    unsigned most_threads;
    char *(*shared)();
};

extern "C" {
dim3 gridDim, blockDim, blockIdx, threadIdx;
alignas(128) char dynamic_shared[232448];
}

using Address = uintptr_t;

static const unsigned LANES = 32;
static const size_t STACK = 128 << 10, PAGE = 4096;
static const unsigned PATIENCE = 2000;  /* rounds in which nobody changes memory, comes past a barrier or ends */
static const unsigned FOREVER = 10000;  /* rounds in which nobody comes past a barrier or ends */
static const unsigned WHILE = 20;       /* looks at memory that others change, after which these have their turn */

enum State { READY, AT_BARRIER, AT_WARP, ENDED };

/* What a thread knows to have been done: by each block before so many barriers, by some threads until some event. */
struct Known {
    std::unordered_map<unsigned, unsigned> blocks, threads;
    bool nothing() const { return blocks.empty() && threads.empty(); }
};
struct Thread {
    jmp_buf here;
    char *stack = nullptr;
    bool has_begun;
    State state;
    unsigned mask, looks, number; /* in the launch, from 1 */
    dim3 index;
    unsigned fenced_barriers, fenced; /* the barriers and the event at its last fence */
    Known heard, known;               /* what is heard is known after a fence */
};
struct Warp {
    alignas(16) char slots[LANES][16];
    unsigned meetings;
};
struct Block {
    dim3 index;
    unsigned live, number, slot, barriers; /* passed by all */
    Known known;
    std::vector<std::unique_ptr<Thread>> threads;
    std::vector<Warp> warps;
    std::vector<char> shared, dynamic; /* while another block has its turn */
};

static jmp_buf scheduler, launched;
static const Entry *entry;
static struct {
    void *addresses[512];
    alignas(16) char bytes[4096 + 512 * 16];
} parameters;
static Address library_base;
static void *came_from;  /* in the kernel: where it has just reported what it touches */
static Block *block;     /* whose turn it is, and its memory in place */
static Thread *thread;   /* that runs */
static unsigned number;  /* of it in its block */
static bool went_on;     /* somebody came past a barrier or ended */
static bool has_changed; /* somebody changed what others see */
static char *shared;     /* __shared__ variables */
static size_t shared_size, dynamic_size;
static char *told;
static size_t told_size;

[[noreturn]] static void fail(const char *format, ...)
{
    int n = snprintf(told, told_size, "block (%u, %u, %u)", blockIdx.x, blockIdx.y, blockIdx.z);
    if (thread) n += snprintf(told + n, told_size - n, ", thread (%u, %u, %u)", threadIdx.x, threadIdx.y, threadIdx.z);
    n += snprintf(told + n, told_size - n, ": ");
    va_list values;
    va_start(values, format);
    n += vsnprintf(told + n, told_size - n, format, values);
    va_end(values);
    if (came_from) snprintf(told + n, told_size - n, " @%#zx", (Address)came_from - library_base);
    _longjmp(launched, 1);
}

/* Orders ---------------------------------------------------------------------------------------- */

static long long order; /* 0: as they are numbered; -1: backwards; else: at random */
static uint64_t drawn;

static unsigned draw(unsigned below)
{
    drawn ^= drawn << 13, drawn ^= drawn >> 7, drawn ^= drawn << 17;
    return drawn % below;
}

static void put_in_order(std::vector<unsigned> &numbers, unsigned count)
{
    numbers.resize(count);
    for (unsigned i = 0; i < count; i++) numbers[i] = order == -1 ? count - 1 - i : i;
    if (order > 0)
        for (unsigned i = count; i > 1; i--) std::swap(numbers[i - 1], numbers[draw(i)]);
}

static dim3 index_of(unsigned long long number, dim3 sizes)
{
    const unsigned long long rows = number / sizes.x;
    return {(unsigned)(number % sizes.x), (unsigned)(rows % sizes.y), (unsigned)(rows / sizes.y)};
}

/* Threads --------------------------------------------------------------------------------------- */

static char *new_stack()
{
    char *stack = (char *)mmap(nullptr, STACK + PAGE, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) fail("no memory for the stack of another thread");
    mprotect(stack, PAGE, PROT_NONE);
    return stack + PAGE;
}

static void to_scheduler() { _longjmp(scheduler, 1); }

static void body()
{
    entry->call(parameters.addresses);
    thread->state = ENDED;
    to_scheduler();
}

static void forget_accesses(), watch_library(const dl_phdr_info *), tell_block(Block *);
static unsigned event; /* of the launch */

static void stop(State state)
{
    Thread *me = thread;
    me->state = state, me->looks = 0;
    if (!_setjmp(me->here)) to_scheduler();
}

static void go_on()
{
    Thread *volatile next = thread;
    threadIdx = next->index;
    if (_setjmp(scheduler)) return;
    if (next->has_begun) _longjmp(next->here, 1);
    next->has_begun = true;
    if (!next->stack) next->stack = new_stack();
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = next->stack, context.uc_link = nullptr;
    context.uc_stack.ss_size = STACK - number % 64 * 64; /* not all at the same place of a cache */
    makecontext(&context, body, 0);
    setcontext(&context);
}

extern "C" {
void wait_for_block() { stop(AT_BARRIER); }

void wait_for_warp(unsigned mask)
{
    if (!(mask >> number % LANES & 1)) fail("waits for a warp's threads %#x, of which it is none", mask);
    thread->mask = mask;
    stop(AT_WARP);
}

void let_others_run() { stop(READY); }

void copy(void *to, const void *from, size_t size) { memcpy(to, from, size); }

unsigned lane_of_thread() { return number % LANES; }

void tell_warp(const void *mine, size_t size)
{
    memcpy(block->warps[number / LANES].slots[number % LANES], mine, size);
}

void hear_from(unsigned lane, void *found, size_t size)
{
    memcpy(found, block->warps[number / LANES].slots[lane], size);
}
}

/* Blocks ---------------------------------------------------------------------------------------- */

static std::vector<unsigned> turns, block_turns, numbers; /* in the order of this round, or launch */

static void begin(Block *b, unsigned long long number_of_block)
{
    const unsigned count = blockDim.x * blockDim.y * blockDim.z;
    b->index = index_of(number_of_block, gridDim), b->number = number_of_block, b->barriers = 0;
    b->live = count, b->known = {};
    while (b->threads.size() < count) b->threads.push_back(std::make_unique<Thread>());
    b->warps.resize((count + LANES - 1) / LANES);
    for (unsigned t = 0; t < count; t++) {
        Thread *mine = b->threads[t].get();
        mine->has_begun = false, mine->state = READY, mine->looks = 0, mine->index = index_of(t, blockDim);
        mine->number = 1 + number_of_block * count + t, mine->fenced_barriers = mine->fenced = 0;
        mine->heard = mine->known = {};
    }
    for (Warp &warp : b->warps) memset(warp.slots, 0xff, sizeof warp.slots), warp.meetings = 0;
    b->shared.assign(shared_size, (char)0xff), b->dynamic.assign(dynamic_size, (char)0xff);
}

static void put_in_place(Block *next)
{
    if (block == next) return;
    if (block) {
        memcpy(block->shared.data(), shared, shared_size);
        memcpy(block->dynamic.data(), dynamic_shared, dynamic_size);
    }
    memcpy(shared, next->shared.data(), shared_size);
    memcpy(dynamic_shared, next->dynamic.data(), dynamic_size);
    block = next, blockIdx = next->index;
}

/* Of a warp, those who wait go on when all whom they wait for have come or ended. */
static void meet_in_warps(unsigned count)
{
    for (unsigned first = 0; first < count; first += LANES) {
        const unsigned last = std::min(first + LANES, count);
        unsigned come = 0, there = 0, mask = 0;
        for (unsigned t = first; t < last; t++) {
            const Thread *mine = block->threads[t].get();
            there |= (unsigned)(mine->state != ENDED) << (t - first);
            if (mine->state == AT_WARP) come |= 1u << (t - first);
        }
        for (unsigned t = first; t < last; t++) {
            Thread *mine = block->threads[t].get();
            if (mine->state != AT_WARP || (mine->mask & there & ~come)) continue;
            mask = mine->mask;
            for (unsigned u = first; u < last; u++) {
                Thread *other = block->threads[u].get();
                if (!(mask >> (u - first) & 1) || other->state != AT_WARP) continue;
                if (other->mask != mask)
                    fail("threads of a warp wait for each other with masks %#x and %#x", mask, other->mask);
                other->state = READY, come &= ~(1u << (u - first));
            }
            block->warps[first / LANES].meetings++, went_on = true;
        }
    }
}

/* Every thread of a block that can go on does so, once. Whether any could. */
static bool turn(Block *b)
{
    put_in_place(b);
    const unsigned count = blockDim.x * blockDim.y * blockDim.z;
    bool any = false, in_warps = false;
    put_in_order(turns, count);
    for (unsigned t : turns) {
        came_from = nullptr, thread = b->threads[t].get(), number = t;
        if (thread->state != READY) continue;
        any = true;
        go_on();
        if (thread->state == ENDED) b->live--, went_on = true;
        in_warps |= thread->state == AT_WARP;
    }
    thread = nullptr, came_from = nullptr;
    if (in_warps) meet_in_warps(count);
    unsigned waiting = 0;
    for (unsigned t = 0; t < count; t++) waiting += b->threads[t]->state == AT_BARRIER;
    if (waiting && waiting == b->live) {
        if (b->live != count)
            fail("%u threads wait at a barrier (__syncthreads) that %u others have left out", waiting, count - b->live);
        for (unsigned t = 0; t < count; t++) b->threads[t]->state = READY;
        tell_block(b);
        went_on = any = true;
    }
    return any || in_warps;
}

static void run_together(std::vector<std::unique_ptr<Block>> &blocks, unsigned count)
{
    unsigned rounds = 0, still = 0;
    for (unsigned live = count; live;) {
        bool any = false;
        went_on = has_changed = false, live = 0;
        put_in_order(block_turns, count);
        for (unsigned k : block_turns) {
            Block *b = blocks[k].get();
            /* One runs on until it waits for others, or in a random order as far as it happens to come. */
            bool goes_on = true;
            for (unsigned most = order > 0 ? 1 + draw(20) : ~0u; most && goes_on && b->live; most--) {
                const bool before = went_on;
                went_on = false;
                any |= turn(b);
                goes_on = went_on;
                went_on |= before;
            }
            live += b->live != 0;
        }
        rounds = went_on ? 0 : rounds + 1;
        still = went_on || has_changed ? 0 : still + 1;
        if (live && !any) fail("no thread can go on: some wait at a barrier, others for the threads of their warp");
        if (still > PATIENCE) fail("threads wait for memory that nobody changes any more");
        if (rounds > FOREVER) fail("threads change memory for ever, and none comes past a barrier or ends");
    }
}

/* Launches -------------------------------------------------------------------------------------- */

static int find_size(dl_phdr_info *library, size_t, void *)
{
    char *const here = (char *)library->dlpi_tls_data;
    for (int k = 0; k < library->dlpi_phnum; k++) {
        const auto &part = library->dlpi_phdr[k];
        if (part.p_type != PT_TLS || !here || shared < here || shared >= here + part.p_memsz) continue;
        shared = here, shared_size = part.p_memsz;
        watch_library(library);
        return 1;
    }
    return 0;
}

static std::vector<std::unique_ptr<Block>> blocks;

/* The bytes that a block of the kernel shares, without those of the launch. */
extern "C" size_t static_shared(const Entry *which)
{
    shared = which->shared(), shared_size = 0;
    dl_iterate_phdr(find_size, nullptr);
    return shared_size - sizeof(double);
}

/* 0, or 1 and a message. */
extern "C" int launch(const Entry *which, const unsigned *grid, const unsigned *threads, void **given, unsigned dynamic,
                      int cooperative, long long in_order, char *message, unsigned size)
{
    entry = which, told = message, told_size = size, order = in_order;
    drawn = 0x9e3779b97f4a7c15u * (uint64_t)(in_order | 1);
    gridDim = {grid[0], grid[1], grid[2]}, blockDim = {threads[0], threads[1], threads[2]};
    static_shared(which), dynamic_size = dynamic;
    block = nullptr, thread = nullptr, came_from = nullptr, blockIdx = {0, 0, 0};
    char *next = parameters.bytes;
    for (unsigned k = 0; k < which->parameters; k++) {
        next += -(Address)next % which->aligned[k];
        parameters.addresses[k] = memcpy(next, given[k], which->sizes[k]);
        next += which->sizes[k];
    }
    forget_accesses();
    const unsigned long long count = (unsigned long long)grid[0] * grid[1] * grid[2];
    const size_t at_once = cooperative ? count : 1;
    while (blocks.size() < at_once) blocks.push_back(std::make_unique<Block>()), blocks.back()->slot = blocks.size();
    if (_setjmp(launched)) return 1;
    if (cooperative) {
        for (unsigned b = 0; b < count; b++) begin(blocks[b].get(), b);
        run_together(blocks, count);
        return 0;
    }
    if (order > 0) put_in_order(numbers, count);
    for (unsigned long long b = 0; b < count; b++) {
        block = nullptr;
        begin(blocks[0].get(), order == -1 ? count - 1 - b : order ? numbers[b] : b);
        run_together(blocks, 1);
    }
    return 0;
}

/* What the compiler has watched for (-fsanitize): its handlers, which never return ---------------- */

struct Source { const char *file; unsigned line, column; };
struct Kind { unsigned short kind, info; char name[1]; };
struct Bounds { Source at; const Kind *array, *index; };
struct Mismatch { Source at; const Kind *type; unsigned char log_aligned, access; };

#define FAIL(...) came_from = __builtin_return_address(0), fail(__VA_ARGS__)
#define HANDLER(NAME, WHAT)                                                                                            \
    void __ubsan_handle_##NAME() { FAIL(WHAT); }
extern "C" {
void __ubsan_handle_out_of_bounds(Bounds *data, size_t index)
{
    FAIL("index %lld is out of range for %s", (long long)index, data->array->name);
}
void __ubsan_handle_type_mismatch_v1(Mismatch *data, size_t address)
{
    if (!address) FAIL("a null pointer to %s", data->type->name);
    FAIL("an address that is not a multiple of %u, of %s", 1u << data->log_aligned, data->type->name);
}
HANDLER(add_overflow, "a sum of whole numbers overflows")
HANDLER(sub_overflow, "a difference of whole numbers overflows")
HANDLER(mul_overflow, "a product of whole numbers overflows")
HANDLER(negate_overflow, "a negative whole number overflows")
HANDLER(divrem_overflow, "a whole number is divided by 0")
HANDLER(shift_out_of_bounds, "a number is shifted by too many bits")
}
