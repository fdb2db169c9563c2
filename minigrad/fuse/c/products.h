/* Matrix products with a weight that is packed once and used at every time step. `real` is float or double.

   A panel is WIDTH columns of the weight, row after row. A tile of the result, up to TILE rows by one panel, stays in
   registers while the rows of the panel stream by: the scheme of Goto and van de Geijn 2008, "Anatomy of
   high-performance matrix multiplication", without its packing of the other matrix, which is small here. */

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
#define LANES ((int)(BYTES / sizeof(real)))
#define VECTORS 2              /* per row of a tile; TILE * VECTORS sums and a row of a panel fit the registers */
#define WIDTH (VECTORS * LANES)
#define DEPTH 256              /* rows of a panel that stay in the first cache */

typedef real vector __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias));

/* c = from + a b, rows x width, or c = a b if from is null */
static inline __attribute__((always_inline)) void tile(
    const int rows, int64_t depth, const real *a, int64_t lda, const real *b,
    real *c, int64_t ldc, const real *from, int64_t ldf, int64_t width)
{
    vector sum[TILE][VECTORS];
    real edge[WIDTH];
    const int whole = width >= WIDTH;
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
        const real *start = from + r * ldf;
        if (from && !whole) {
            memset(edge, 0, sizeof edge);
            memcpy(edge, start, (size_t)width * sizeof(real));
            start = edge;
        }
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            sum[r][v] = from ? *(const vector *)(start + v * LANES) : (vector){0};
    }
    for (int64_t k = 0; k < depth; k++) {
        vector row[VECTORS];
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            row[v] = *(const vector *)(b + k * WIDTH + v * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            const real x = a[r * lda + k];
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                sum[r][v] += x * row[v];
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
        real *end = whole ? c + r * ldc : edge;
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            *(vector *)(end + v * LANES) = sum[r][v];
        if (!whole)
            memcpy(c + r * ldc, edge, (size_t)width * sizeof(real));
    }
}

/* The same for a number of rows that is known only now. */
static __attribute__((noinline)) void some_rows(
    int64_t rows, int64_t depth, const real *a, int64_t lda, const real *b,
    real *c, int64_t ldc, const real *from, int64_t ldf, int64_t width)
{
#define CASE(R) case R: tile(R, depth, a, lda, b, c, ldc, from, ldf, width); break;
    switch (rows) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if TILE > 6
        CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14)
#endif
    }
#undef CASE
}

/* c (rows, m) = from + a (rows, depth) b, or a b if from is null; b is packed, c may be from */
static void product(
    int64_t rows, int64_t m, int64_t depth, const real *a, int64_t lda, const real *b,
    real *c, int64_t ldc, const real *from, int64_t ldf)
{
    const int64_t blocks = (rows + TILE - 1) / TILE;
    for (int64_t k = 0; k < depth; k += DEPTH) {
        const int64_t d = depth - k < DEPTH ? depth - k : DEPTH;
        for (int64_t j = 0; j < m; j += WIDTH) {
            const real *panel = b + j * depth + k * WIDTH;
            for (int64_t block = 0, r = 0; block < blocks; block++) {
                const int64_t count = (rows - r + blocks - block - 1) / (blocks - block); /* as even as can be */
                real *to = c + r * ldc + j;
                some_rows(count, d, a + r * lda + k, lda, panel, to, ldc,
                          k ? to : from ? from + r * ldf + j : from, k ? ldc : ldf, m - j);
                r += count;
            }
        }
    }
}

/* b = the panels `first` to `last` of a weight with entries w[j * sj + k * sk], m columns j, depth rows k */
static void pack(int64_t first, int64_t last, int64_t m, int64_t depth, const real *w, int64_t sj, int64_t sk, real *b)
{
    for (int64_t j = first * WIDTH; j < last * WIDTH; j += WIDTH)
        for (int64_t k = 0; k < depth; k++)
            for (int64_t i = 0; i < WIDTH; i++)
                b[j * depth + k * WIDTH + i] = j + i < m ? w[(j + i) * sj + k * sk] : 0;
}
