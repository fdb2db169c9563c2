/* What the C kernels call: the registry's elementwise functions that C has no operator for, one element at a time.

   Every name comes for float (_f32) and for double (_f64), means what NumPy's function means, and hands NaN on. They
   are made for plain loops, `for (j = 0; j < n; j++) out[j] = tanh_f32(a[j]);`, which the compiler turns into vector
   instructions: no branches, no tables, choices written as selections. Compile with -fno-math-errno
   -fno-trapping-math and link with -lm; never with -ffast-math, which takes NaN away, and, for the thread that loads
   the library, all denormals.

   Errors, in units in the last place: at most 2 for what is written out here in float, with or without fused
   multiply-add (3 for logaddexp; for sigmoid 1 of the units of 1), and 4 for what comes from libmvec. The coefficients
   are minimax fits of the relative error (by Lawson's algorithm), rounded to float one after another from the lowest,
   the others being fitted again each time. */

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* glibc has vector versions of these in libmvec, which -lm brings along. Its own headers offer them under -ffast-math
   alone, since they may differ from the scalar ones by a few units in the last place. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#if __GLIBC_PREREQ(2, 35)
#define VECTOR __attribute__((simd("notinbranch")))
VECTOR float sinf(float);
VECTOR float cosf(float);
VECTOR float powf(float, float);
VECTOR double exp(double);
VECTOR double expm1(double);
VECTOR double log(double);
VECTOR double log1p(double);
VECTOR double sin(double);
VECTOR double cos(double);
VECTOR double tanh(double);
VECTOR double pow(double, double);
#undef VECTOR
#endif
#endif

static inline uint32_t bits_of_f32(float x) { uint32_t bits; memcpy(&bits, &x, sizeof bits); return bits; }
static inline float f32_of_bits(uint32_t bits) { float x; memcpy(&x, &bits, sizeof x); return x; }

/* Exponentials, in float ---------------------------------------------------------------------------------------------

   e^x = 2^n e^r,  n = round(x / log 2),  r = x - n log 2,  |r| <= log(2) / 2.

   Adding 1.5 * 2^23 to a small float rounds it to a whole number, which then stands in the sum's last bits; with a
   further 127 it is the exponent of 2^n, a shift away from being 2^n itself. */

#define ROUND_F32 12582912.0f         /* 1.5 * 2^23 */
#define LOG2E_F32 1.442695041f        /* 1 / log 2 */
#define LOG2_F32 0.693147181f         /* log 2 */
#define LOG2_HIGH_F32 0.693359375f    /* log 2, so short that n times it is exact for |n| < 2^14 ... */
#define LOG2_LOW_F32 -2.12194440e-4f  /* ... and the rest */

/* e^r - 1 = r + r^2 p(r) for |r| <= log(2) / 2, within 1.4e-8 */
static inline float expm1_reduced_f32(float r) {
    float p = 0.0013869945f;
    p = p * r + 0.00836625323f;
    p = p * r + 0.0416674428f;
    p = p * r + 0.166665465f;
    p = p * r + 0.49999997f;
    return p * (r * r) + r;
}

/* e^x. 2^n alone could overflow, or be denormal, so it comes as two factors of about 2^(n/2); the last product is the
   only one that rounds. Two times 127, so that either half of the sum's last bits is the exponent of one. */
static inline float exp_f32(float x) {
    x = x > 89.0f ? 89.0f : x;     /* overflows to infinity */
    x = x < -104.0f ? -104.0f : x; /* rounds to 0 */
    float k = x * LOG2E_F32 + (ROUND_F32 + 2 * 127);
    float n = k - (ROUND_F32 + 2 * 127);
    float q = expm1_reduced_f32((x - n * LOG2_HIGH_F32) - n * LOG2_LOW_F32);
    uint32_t first = bits_of_f32(k) >> 1, second = bits_of_f32(k) - first;
    float scale = f32_of_bits(first << 23);
    return (scale * q + scale) * f32_of_bits(second << 23);
}

/* e^x - 1 = 2 (2^(n-1) (e^r - 1) + 2^(n-1) - 1/2): of 2^n itself, the largest would overflow */
static inline float expm1_f32(float x) {
    float y = x > 89.0f ? 89.0f : x;
    y = y < -18.0f ? -18.0f : y; /* rounds to -1 */
    float k = y * LOG2E_F32 + (ROUND_F32 + 126);
    float n = k - (ROUND_F32 + 126);
    float q = expm1_reduced_f32((y - n * LOG2_HIGH_F32) - n * LOG2_LOW_F32);
    float half = f32_of_bits(bits_of_f32(k) << 23);
    y = 2 * (half * q + (half - 0.5f));
    return fabsf(x) < 0x1p-25f ? x : y; /* keeps -0, and the last bit of a denormal */
}

/* tanh(x/2) = (e^|x| - 1) / (e^|x| + 1), with the sign of x: never beyond 1, and exactly x/2 where x is tiny. With
   d = r coth(r/2), which is even, e^r = (d + r) / (d - r), and both sums can be written without a second division.
   n is rounded down by a quarter more than to the nearest, -0.18 < r < 0.53: where n is 0 no digit is lost, and tanh
   has left its steepest part when it begins to count. There errors of r fade, so that one log 2 is enough. */
static inline float tanh_of_half_f32(float x) {
    float a = fabsf(x);
    a = a > 20.0f ? 20.0f : a; /* rounds to 1 */
    float k = (a * LOG2E_F32 - 0.25f) + (ROUND_F32 + 127);
    float r = a - (k - (ROUND_F32 + 127)) * LOG2_F32;
    float power = f32_of_bits(bits_of_f32(k) << 23), s = r * r;
    float d = (-0.00275207986f * s + 0.166664436f) * s + 2; /* within 2.8e-8 */
    float t = d * (power - 1) + r * (power + 1);
    return copysignf(t / (2 * (d - r) + t), x);
}

static inline float tanh_f32(float x) { return tanh_of_half_f32(x + x); }
static inline float sigmoid_f32(float x) { return 0.5f * tanh_of_half_f32(x) + 0.5f; }

/* Logarithms, in float -----------------------------------------------------------------------------------------------

   log(x) = e log 2 + log(1 + f),  x = 2^e (1 + f),  2/3 <= 1 + f < 4/3: the exponent of x / (2/3) is e. */

#define TWO_THIRDS_BITS_F32 0x3f2aaaabu

/* 2^23 e: to subtract it from a number's bits divides the number by 2^e */
static inline uint32_t exponent_bits_f32(float x) {
    return (bits_of_f32(x) - TWO_THIRDS_BITS_F32) & 0xff800000u;
}

/* log(1 + f) = f + f^2 p(f) for |f| <= 1/3, within 5e-9 */
static inline float log1p_reduced_f32(float f) {
    float p = -0.128802165f;
    p = p * f + 0.139846087f;
    p = p * f - 0.121874467f;
    p = p * f + 0.140057325f;
    p = p * f - 0.166801974f;
    p = p * f + 0.200104266f;
    p = p * f - 0.249998063f;
    p = p * f + 0.333332151f;
    p = p * f - 0.5f;
    return p * (f * f) + f;
}

static inline float log_f32(float x) {
    float normal = x < FLT_MIN ? x * 0x1p23f : x;
    uint32_t e = exponent_bits_f32(normal);
    float n = (float)((int32_t)e >> 23) - (x < FLT_MIN ? 23.0f : 0.0f);
    float y = n * LOG2_F32 + log1p_reduced_f32(f32_of_bits(bits_of_f32(normal) - e) - 1);
    float edge = x < 0 ? NAN : (x == 0 ? -INFINITY : x); /* +infinity and NaN stay */
    return (x > 0) & (x < INFINITY) ? y : edge;
}

/* 1 + x is rounded for its exponent alone: f = x / 2^e - (1 - 2^-e), where 4 / 2^e is never denormal */
static inline float log1p_f32(float x) {
    uint32_t e = exponent_bits_f32(1 + x);
    float f = f32_of_bits(bits_of_f32(x) - e) - (1 - 0.25f * f32_of_bits(bits_of_f32(4) - e));
    float y = (float)((int32_t)e >> 23) * LOG2_F32 + log1p_reduced_f32(f);
    float edge = x < -1 ? NAN : (x == -1 ? -INFINITY : x);
    return (x > -1) & (x < INFINITY) ? copysignf(y, x) : edge; /* of the sign of x, -0 too */
}

/* What libm has, and what follows from it -------------------------------------------------------------------------- */

static inline float power_f32(float x, float y) { return powf(x, y); }

static inline double exp_f64(double x) { return exp(x); }
static inline double expm1_f64(double x) { return expm1(x); }
static inline double log_f64(double x) { return log(x); }
static inline double log1p_f64(double x) { return log1p(x); }
static inline double tanh_f64(double x) { return tanh(x); }
static inline double sigmoid_f64(double x) { return 0.5 * tanh(0.5 * x) + 0.5; }
static inline double power_f64(double x, double y) { return pow(x, y); }

/* The same in both ---------------------------------------------------------------------------------------------------

   libmvec's sine and cosine may be a unit in the last place beyond 1, and the root of 1 - y^2 must not become NaN.
   Of +0 and -0, maximum and minimum give either.

   log(e^x + e^y) = max + log(1 + e^-|x - y|), where equal infinities are 0 apart.

   remainder and floor_divide are Python's: the remainder has the sign of y, 0 too; the quotient is rounded from the
   exact multiple of y nearest to x - remainder, so that the two agree. A division by 0 gives NaN, and x/0. */

#define IN_BOTH_PRECISIONS(REAL, SUFFIX, F)                                                                        \
    static inline REAL sqrt_##SUFFIX(REAL x) { return sqrt##F(x); }                                                \
    static inline REAL floor_##SUFFIX(REAL x) { return floor##F(x); }                                              \
    static inline REAL ceil_##SUFFIX(REAL x) { return ceil##F(x); }                                                \
    static inline REAL absolute_##SUFFIX(REAL x) { return fabs##F(x); }                                            \
    static inline REAL sign_##SUFFIX(REAL x) { return x > 0 ? 1 : (x < 0 ? -1 : (x == 0 ? 0 : x)); }               \
    static inline REAL maximum_##SUFFIX(REAL x, REAL y) { return (x > y) | (x != x) ? x : y; }                     \
    static inline REAL minimum_##SUFFIX(REAL x, REAL y) { return (x < y) | (x != x) ? x : y; }                     \
    static inline REAL within_one_##SUFFIX(REAL y) { return y > 1 ? 1 : (y < -1 ? -1 : y); }                       \
    static inline REAL sin_##SUFFIX(REAL x) { return within_one_##SUFFIX(sin##F(x)); }                             \
    static inline REAL cos_##SUFFIX(REAL x) { return within_one_##SUFFIX(cos##F(x)); }                             \
    static inline REAL logaddexp_##SUFFIX(REAL x, REAL y) {                                                        \
        REAL apart = x == y ? 0 : fabs##F(x - y);                                                                  \
        return maximum_##SUFFIX(x, y) + log1p_##SUFFIX(exp_##SUFFIX(-apart));                                      \
    }                                                                                                              \
    static inline REAL remainder_##SUFFIX(REAL x, REAL y) {                                                        \
        REAL rest = fmod##F(x, y);                                                                                 \
        if (rest == 0) return copysign##F(0, y);                                                                   \
        return (rest < 0) != (y < 0) ? rest + y : rest;                                                            \
    }                                                                                                              \
    static inline REAL floor_divide_##SUFFIX(REAL x, REAL y) {                                                     \
        if (y == 0) return x / y;                                                                                  \
        REAL rest = fmod##F(x, y);                                                                                 \
        REAL quotient = (x - rest) / y - (rest != 0 && (rest < 0) != (y < 0) ? 1 : 0);                             \
        if (quotient == 0) return copysign##F(0, x / y);                                                           \
        REAL whole = floor##F(quotient);                                                                           \
        return quotient - whole > (REAL)0.5 ? whole + 1 : whole;                                                   \
    }

IN_BOTH_PRECISIONS(float, f32, f)
IN_BOTH_PRECISIONS(double, f64, )
#undef IN_BOTH_PRECISIONS
