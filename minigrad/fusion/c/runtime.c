/* What kernels of one dtype share, compiled once: a team of threads, and matrix products. SINGLE is for float. */

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define BYTES 64
#define TILE 14
#elif defined(__AVX__)
#define BYTES 32
#define TILE 6
#else
#define BYTES 16
#define TILE 6
#endif
#define VECTORS 2  /* in a row of a tile: TILE * VECTORS sums and a row of a panel fit the registers */
#define DEPTH 256  /* rows of a panel that stay in the first cache */
#define STRIPS 8   /* that stay in the second cache */
#define FEW_PANELS 4 /* a strip read that few times is read where it is */

#ifdef SINGLE
#define REAL float
#define EXP exp_f32
#define LOG log_f32
#else
#define REAL double
#define EXP exp_f64
#define LOG log_f64
#endif
