/* What the CUDA kernels call: the functions of functions.h under the same names, and the sum of a block.

   CUDA's own functions are within a few units in the last place, and hand NaN on. CuPy compiles with IEEE division and
   square roots, lets a product and a sum become one (fma), and always with -ftz=true: floats that are denormal count
   as 0, here as in its own functions. Doubles keep theirs. */

#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#endif

#define CALL1(NAME, REAL, SUFFIX, CALLED) __device__ inline REAL NAME##_##SUFFIX(REAL x) { return CALLED(x); }
#define IN_BOTH(NAME, CALLED) CALL1(NAME, float, f32, CALLED##f) CALL1(NAME, double, f64, CALLED)
IN_BOTH(exp, exp)
IN_BOTH(expm1, expm1)
IN_BOTH(log, log)
IN_BOTH(log1p, log1p)
IN_BOTH(sqrt, sqrt)
IN_BOTH(sin, sin)
IN_BOTH(cos, cos)
IN_BOTH(tanh, tanh)
IN_BOTH(floor, floor)
IN_BOTH(ceil, ceil)
IN_BOTH(absolute, fabs)
#undef IN_BOTH
#undef CALL1

/* log(e^x + e^y) = max + log(1 + e^-|x - y|), where equal infinities are 0 apart.

   remainder and floor_divide are Python's: the remainder has the sign of y, 0 too; the quotient is rounded from the
   exact multiple of y nearest to x - remainder, so that the two agree. A division by 0 gives NaN, and x/0. */

#define IN_BOTH_PRECISIONS(REAL, SUFFIX, F)                                                                            \
    __device__ inline REAL power_##SUFFIX(REAL x, REAL y) { return pow##F(x, y); }                                     \
    __device__ inline REAL sigmoid_##SUFFIX(REAL x) { return (REAL)0.5 * tanh##F((REAL)0.5 * x) + (REAL)0.5; }         \
    __device__ inline REAL sign_##SUFFIX(REAL x) { return x > 0 ? 1 : (x < 0 ? -1 : (x == 0 ? 0 : x)); }               \
    __device__ inline REAL maximum_##SUFFIX(REAL x, REAL y) { return x > y || x != x ? x : y; }                        \
    __device__ inline REAL minimum_##SUFFIX(REAL x, REAL y) { return x < y || x != x ? x : y; }                        \
    __device__ inline REAL logaddexp_##SUFFIX(REAL x, REAL y)                                                          \
    {                                                                                                                  \
        const REAL apart = x == y ? 0 : fabs##F(x - y);                                                                \
        return maximum_##SUFFIX(x, y) + log1p##F(exp##F(-apart));                                                      \
    }                                                                                                                  \
    __device__ inline REAL remainder_##SUFFIX(REAL x, REAL y)                                                          \
    {                                                                                                                  \
        const REAL rest = fmod##F(x, y);                                                                               \
        if (rest == 0) return copysign##F(0, y);                                                                       \
        return (rest < 0) != (y < 0) ? rest + y : rest;                                                                \
    }                                                                                                                  \
    __device__ inline REAL floor_divide_##SUFFIX(REAL x, REAL y)                                                       \
    {                                                                                                                  \
        if (y == 0) return x / y;                                                                                      \
        const REAL rest = fmod##F(x, y);                                                                               \
        const REAL quotient = (x - rest) / y - (rest != 0 && (rest < 0) != (y < 0) ? 1 : 0);                           \
        if (quotient == 0) return copysign##F(0, x / y);                                                               \
        const REAL whole = floor##F(quotient);                                                                         \
        return quotient - whole > (REAL)0.5 ? whole + 1 : whole;                                                       \
    }

IN_BOTH_PRECISIONS(float, f32, f)
IN_BOTH_PRECISIONS(double, f64, )
#undef IN_BOTH_PRECISIONS

/* The sum of a column of a block of 256 threads, for the thread in its row 0. Halves are added to halves, so the order
   is always the same. All threads of the block have to call it. */
__device__ inline double sum_of_column(double mine)
{
    __shared__ double sums[256];
    const unsigned here = threadIdx.y * blockDim.x + threadIdx.x;
    __syncthreads(); /* the sums of the call before have been read */
    sums[here] = mine;
    for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half) sums[here] += sums[here + half * blockDim.x];
    }
    return sums[here];
}
