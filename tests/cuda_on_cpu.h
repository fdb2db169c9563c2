/* Enough of CUDA for a C++ compiler: what a kernel may name. Its threads are run by cuda_on_cpu.cpp.

   What a block shares is thread_local to the compiler, so that it lies in one piece, which is kept for every block. */

#include <math.h>
#include <stddef.h>
#include <string.h>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static thread_local
#define __forceinline__ inline
#define __align__(N) __attribute__((aligned(N)))
#define __launch_bounds__(...)

struct dim3 { unsigned x, y, z; };

#define WITH_MAKER(NAME, ALIGNED, FIELDS, PARAMETERS, ...)                                                             \
    struct __align__(ALIGNED) NAME { FIELDS };                                                                         \
    static inline NAME make_##NAME PARAMETERS { return {__VA_ARGS__}; }
#define OF_TWO(TYPE, NAME) WITH_MAKER(NAME, 2 * sizeof(TYPE), TYPE x; TYPE y;, (TYPE x, TYPE y), x, y)
#define OF_FOUR(TYPE, NAME)                                                                                            \
    WITH_MAKER(NAME, 16, TYPE x; TYPE y; TYPE z; TYPE w;, (TYPE x, TYPE y, TYPE z, TYPE w), x, y, z, w)
OF_TWO(float, float2)
OF_TWO(double, double2)
OF_TWO(int, int2)
OF_TWO(unsigned, uint2)
OF_TWO(long long, longlong2)
OF_FOUR(float, float4)
OF_FOUR(int, int4)
OF_FOUR(unsigned, uint4)

/* What the scheduler keeps, and does. To the compiler an index never changes, as to the thread that reads it. */

extern "C" {
extern const dim3 gridDim, blockDim, blockIdx, threadIdx;
extern char dynamic_shared[];
void wait_for_block();
void wait_for_warp(unsigned mask);
void let_others_run();
void fence();
void copy(void *to, const void *from, size_t size); /* without being watched */
void take_turns(bool writes); /* before memory that others see is touched */
void touched(void *p, size_t size, bool tells_when, bool has_changed);
void tell_warp(const void *mine, size_t size);
void hear_from(unsigned lane, void *found, size_t size);
unsigned lane_of_thread();
}
static const int warpSize = 32;

static inline void others_write() { __asm__ volatile("" ::: "memory"); }
static inline void __syncthreads() { others_write(), wait_for_block(), others_write(); }
static inline void __syncwarp(unsigned mask = ~0u) { others_write(), wait_for_warp(mask), others_write(); }
static inline void __nanosleep(unsigned) { others_write(), let_others_run(), others_write(); }
static inline void __threadfence() { others_write(), fence(), others_write(); }
static inline void __threadfence_block() { __threadfence(); }

/* Memory that others write and read meanwhile. Whole numbers tell threads when something is there: who sees one that
   was written after a fence, by an atomic function, __stcg or as volatile, may read what was written before the fence,
   past a fence of its own. */

#define ATOMIC(NAME, BECOMES)                                                                                          \
    template <class T> static inline T NAME(T *p, std::common_type_t<T> x)                                             \
    {                                                                                                                  \
        take_turns(true);                                                                                              \
        T was;                                                                                                         \
        copy(&was, p, sizeof(T));                                                                                      \
        const T becomes = BECOMES;                                                                                     \
        copy(p, &becomes, sizeof(T));                                                                                  \
        touched(p, sizeof(T), std::is_integral_v<T>, becomes != was);                                                  \
        return was;                                                                                                    \
    }
ATOMIC(atomicAdd, was + x)
ATOMIC(atomicSub, was - x)
ATOMIC(atomicExch, x)
ATOMIC(atomicMax, was < x ? x : was)
ATOMIC(atomicMin, x < was ? x : was)
ATOMIC(atomicOr, was | x)
ATOMIC(atomicAnd, was & x)
ATOMIC(atomicInc, was >= x ? 0 : was + 1)
#undef ATOMIC
template <class T> static inline T atomicCAS(T *p, std::common_type_t<T> expected, std::common_type_t<T> x)
{
    take_turns(true);
    T was;
    copy(&was, p, sizeof(T));
    if (was == expected) copy(p, &x, sizeof(T));
    touched(p, sizeof(T), true, was == expected && was != x);
    return was;
}

template <class T> static inline T load(const T *p)
{
    if constexpr (!std::is_integral_v<T>) return *p;
    take_turns(false);
    T found;
    copy(&found, p, sizeof(T));
    touched((void *)p, sizeof(T), true, false);
    return found;
}
template <class T> static inline void store(T *p, T x)
{
    take_turns(true);
    if constexpr (std::is_integral_v<T>) {
        copy(p, &x, sizeof(T));
        touched(p, sizeof(T), true, true);
    } else
        *p = x;
}
#define LOAD(NAME) template <class T> static inline T NAME(const T *p) { return load(p); }
#define STORE(NAME) template <class T> static inline void NAME(T *p, std::common_type_t<T> x) { store<T>(p, x); }
LOAD(__ldcg) LOAD(__ldcv) LOAD(__ldca) LOAD(__ldcs)
STORE(__stcg) STORE(__stwt) STORE(__stwb) STORE(__stcs)
template <class T> static inline T __ldg(const T *p) { return *p; }

/* A warp's threads tell each other a value: all of them meet before anybody reads, and before anybody goes on. */

template <class T> static inline T of_lane(unsigned mask, T mine, unsigned from)
{
    static_assert(sizeof(T) <= 16, "a thread hands on 16 bytes at most");
    tell_warp(&mine, sizeof(T));
    wait_for_warp(mask);
    T found;
    hear_from(from, &found, sizeof(T));
    wait_for_warp(mask);
    return found;
}
static inline unsigned in_group(unsigned to, unsigned width)
{
    const unsigned lane = lane_of_thread();
    return to / width == lane / width && to < 32 ? to : lane;
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T x, unsigned by, int width = 32)
{
    return of_lane(mask, x, in_group(lane_of_thread() + by, width));
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T x, unsigned by, int width = 32)
{
    return of_lane(mask, x, in_group(lane_of_thread() - by, width));
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T x, unsigned by, int width = 32)
{
    return of_lane(mask, x, in_group(lane_of_thread() ^ by, width));
}
template <class T> static inline T __shfl_sync(unsigned mask, T x, int from, int width = 32)
{
    return of_lane(mask, x, lane_of_thread() / width * width + from % width);
}

/* Numbers. */

#define OF_BITS(NAME, FROM, TO)                                                                                        \
    static inline TO NAME(FROM x)                                                                                      \
    {                                                                                                                  \
        TO y;                                                                                                          \
        memcpy(&y, &x, sizeof y);                                                                                      \
        return y;                                                                                                      \
    }
OF_BITS(__float_as_int, float, int)
OF_BITS(__int_as_float, int, float)
OF_BITS(__float_as_uint, float, unsigned)
OF_BITS(__uint_as_float, unsigned, float)
OF_BITS(__double_as_longlong, double, long long)
OF_BITS(__longlong_as_double, long long, double)

#define MIN_MAX(TYPE)                                                                                                  \
    static inline TYPE min(TYPE x, TYPE y) { return x < y ? x : y; }                                                   \
    static inline TYPE max(TYPE x, TYPE y) { return x < y ? y : x; }
MIN_MAX(int) MIN_MAX(unsigned) MIN_MAX(long) MIN_MAX(unsigned long) MIN_MAX(long long) MIN_MAX(unsigned long long)
#undef MIN_MAX
static inline float min(float x, float y) { return fminf(x, y); }
static inline float max(float x, float y) { return fmaxf(x, y); }
static inline double min(double x, double y) { return fmin(x, y); }
static inline double max(double x, double y) { return fmax(x, y); }

static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline float rsqrt(float x) { return 1 / sqrtf(x); }
static inline double rsqrt(double x) { return 1 / sqrt(x); }
#define __expf expf /* names that the C library has taken */
#define __logf logf
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline double __dadd_rn(double x, double y) { return x + y; }
static inline double __dmul_rn(double x, double y) { return x * y; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }

/* What the host finds in the library: for each kernel, how it is called with the addresses of its arguments. */

struct Entry {
    void (*call)(void **given);
    unsigned parameters;
    const unsigned *sizes, *aligned;
    unsigned most_threads;
    char *(*shared)(); /* somewhere in what this thread has of the block's memory */
};

static thread_local double anchor_of_shared;
static char *find_shared() { return (char *)&anchor_of_shared; }

template <auto kernel> struct Entries;
template <class... P, void (*kernel)(P...)> struct Entries<kernel> {
    static constexpr unsigned sizes[] = {sizeof(P)..., 0}, aligned[] = {alignof(P)..., 0};
    template <size_t... I> static void apply(void **given, std::index_sequence<I...>) { kernel(*(P *)given[I]...); }
    static void call(void **given) { apply(given, std::index_sequence_for<P...>()); }
    static constexpr unsigned count = sizeof...(P);
};

#define EMULATED(KERNEL, MOST_THREADS)                                                                                 \
    extern "C" __attribute__((visibility("default"))) const Entry entry_of_##KERNEL;                                   \
    const Entry entry_of_##KERNEL = {Entries<KERNEL>::call,    Entries<KERNEL>::count, Entries<KERNEL>::sizes,         \
                                     Entries<KERNEL>::aligned, MOST_THREADS,           find_shared};
