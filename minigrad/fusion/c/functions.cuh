/* What the CUDA kernels call: the functions of functions.h under the same names, and the sum of a block.

   CUDA's own functions are within a few units in the last place, and hand NaN on. CuPy compiles with IEEE division and
   square roots, lets a product and a sum become one (fma), and always with -ftz=true: floats that are denormal count
   as 0, here as in its own functions. Doubles keep theirs. */

#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#endif

/* CUDA's functions are overloaded: exp of a float is a float.

   log(e^x + e^y) = max + log(1 + e^-|x - y|), where equal infinities are 0 apart.

   remainder and floor_divide are Python's: the remainder has the sign of y, 0 too; the quotient is rounded from the
   exact multiple of y nearest to x - remainder, so that the two agree. A division by 0 gives NaN, and x/0. */

#define IN_BOTH_PRECISIONS(REAL, SUFFIX)                                                                               \
    __device__ inline REAL exp_##SUFFIX(REAL x) { return exp(x); }                                                     \
    __device__ inline REAL expm1_##SUFFIX(REAL x) { return expm1(x); }                                                 \
    __device__ inline REAL log_##SUFFIX(REAL x) { return log(x); }                                                     \
    __device__ inline REAL log1p_##SUFFIX(REAL x) { return log1p(x); }                                                 \
    __device__ inline REAL sqrt_##SUFFIX(REAL x) { return sqrt(x); }                                                   \
    __device__ inline REAL sin_##SUFFIX(REAL x) { return sin(x); }                                                     \
    __device__ inline REAL cos_##SUFFIX(REAL x) { return cos(x); }                                                     \
    __device__ inline REAL tanh_##SUFFIX(REAL x) { return tanh(x); }                                                   \
    __device__ inline REAL sigmoid_##SUFFIX(REAL x) { return (REAL)0.5 * tanh((REAL)0.5 * x) + (REAL)0.5; }            \
    __device__ inline REAL power_##SUFFIX(REAL x, REAL y) { return pow(x, y); }                                        \
    __device__ inline REAL floor_##SUFFIX(REAL x) { return floor(x); }                                                 \
    __device__ inline REAL ceil_##SUFFIX(REAL x) { return ceil(x); }                                                   \
    __device__ inline REAL absolute_##SUFFIX(REAL x) { return fabs(x); }                                               \
    __device__ inline REAL sign_##SUFFIX(REAL x) { return x > 0 ? 1 : (x < 0 ? -1 : (x == 0 ? 0 : x)); }               \
    __device__ inline REAL maximum_##SUFFIX(REAL x, REAL y) { return x > y || x != x ? x : y; }                        \
    __device__ inline REAL minimum_##SUFFIX(REAL x, REAL y) { return x < y || x != x ? x : y; }                        \
    __device__ inline REAL logaddexp_##SUFFIX(REAL x, REAL y)                                                          \
    {                                                                                                                  \
        const REAL apart = x == y ? 0 : fabs(x - y);                                                                   \
        return maximum_##SUFFIX(x, y) + log1p(exp(-apart));                                                            \
    }                                                                                                                  \
    __device__ inline REAL remainder_##SUFFIX(REAL x, REAL y)                                                          \
    {                                                                                                                  \
        const REAL rest = fmod(x, y);                                                                                  \
        if (rest == 0) return copysign((REAL)0, y);                                                                    \
        return (rest < 0) != (y < 0) ? rest + y : rest;                                                                \
    }                                                                                                                  \
    __device__ inline REAL floor_divide_##SUFFIX(REAL x, REAL y)                                                       \
    {                                                                                                                  \
        if (y == 0) return x / y;                                                                                      \
        const REAL rest = fmod(x, y);                                                                                  \
        const REAL quotient = (x - rest) / y - (rest != 0 && (rest < 0) != (y < 0) ? 1 : 0);                           \
        if (quotient == 0) return copysign((REAL)0, x / y);                                                            \
        const REAL whole = floor(quotient);                                                                            \
        return quotient - whole > (REAL)0.5 ? whole + 1 : whole;                                                       \
    }

IN_BOTH_PRECISIONS(float, f32)
IN_BOTH_PRECISIONS(double, f64)
#undef IN_BOTH_PRECISIONS

/* The sum of a column of a block of 256 threads, for the thread in its row 0. Halves are added to halves, so the order
   is always the same. There are 1, 2, 4, ... rows, and all threads of the block have to call this. */
__device__ inline double sum_of_column(double mine, unsigned column, unsigned row, unsigned rows)
{
    __shared__ double sums[256];
    const unsigned here = column * rows + row;
    __syncthreads(); /* the sums of the call before have been read */
    sums[here] = mine;
    for (unsigned half = rows / 2; half > 0; half /= 2) {
        __syncthreads();
        if (row < half) sums[here] += sums[here + half];
    }
    return sums[here];
}
