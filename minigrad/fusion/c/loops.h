/* What tells the compiler that it may compute many entries at once. */

#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)") /* the passes of the next loop do not depend on each other */
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#if defined(__AVX512F__)
#pragma GCC target("prefer-vector-width=512")
#endif
#endif
