/* Enough of CUDA for a C++ compiler: kernels run on the CPU, their threads one at a time, each until it waits.

   A thread is a context with its own stack. `run` answers 1 if some threads of a block have waited more often than
   others, which a GPU need not survive. With `backwards`, blocks and threads go in the other order: what comes out may
   not depend on it. */

#include <math.h>
#include <ucontext.h>

#define __global__
#define __device__
#define __shared__ static

struct Place { unsigned x, y; };
static Place gridDim, blockDim, blockIdx, threadIdx;

static ucontext_t between, threads[256];
static char stacks[256][32768];
static bool has_ended[256];
static unsigned running;
static void (*body)();

static void __syncthreads() { swapcontext(&threads[running], &between); }

static void thread() { body(); has_ended[running] = true; }

static int run(void (*kernel)(), const unsigned *grid, const unsigned *block, int backwards)
{
    gridDim = {grid[0], grid[1]}, blockDim = {block[0], block[1]}, body = kernel;
    const unsigned blocks = grid[0] * grid[1], count = block[0] * block[1];
    for (unsigned b = 0; b < blocks; b++) {
        const unsigned which = backwards ? blocks - 1 - b : b;
        blockIdx = {which % grid[0], which / grid[0]};
        for (unsigned t = 0; t < count; t++) {
            getcontext(&threads[t]);
            threads[t].uc_stack = {stacks[t], 0, sizeof stacks[t]};
            threads[t].uc_link = &between;
            makecontext(&threads[t], thread, 0);
            has_ended[t] = false;
        }
        for (unsigned ended = 0; ended < count;) {
            ended = 0;
            for (unsigned t = 0; t < count; t++) {
                running = backwards ? count - 1 - t : t;
                threadIdx = {running % block[0], running / block[0]};
                swapcontext(&between, &threads[running]);
                ended += has_ended[running];
            }
            if (ended != 0 && ended != count) return 1;
        }
    }
    return 0;
}

#define RUN(KERNEL)                                                                                                    \
    static KERNEL##_arguments given_to_##KERNEL;                                                                       \
    extern "C" int run_##KERNEL(const unsigned *grid, const unsigned *block, const KERNEL##_arguments *given, int b)   \
    {                                                                                                                  \
        given_to_##KERNEL = *given;                                                                                    \
        return run([] { KERNEL(given_to_##KERNEL); }, grid, block, b);                                                 \
    }
