/* Matrix products. Included once for float and once for double: REAL, and x for names of their own.

   A panel is WIDTH columns of the second matrix, row after row; a strip is up to TILE rows of the first, column after
   column. A tile of the result, a strip times a panel, stays in registers while both stream by: the scheme of Goto and
   van de Geijn 2008, "Anatomy of high-performance matrix multiplication". Each entry is summed in one order, whatever
   the number of threads. */

#define LANES ((int)(BYTES / sizeof(REAL)))
#define WIDTH (VECTORS * LANES)

typedef REAL vector __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));

/* c = from + a b, rows x width, or c = a b if from is null; a is a strip, b a panel */
static inline __attribute__((always_inline)) void tile(
    const int rows, int64_t depth, const REAL *a, int64_t ra, int64_t ka, const REAL *b, REAL *c, int64_t ldc,
    const REAL *from, int64_t ldf, int64_t width)
{
    vector sum[TILE][VECTORS];
    REAL edge[WIDTH];
    const int whole = width >= WIDTH;
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
        const REAL *start = from ? from + r * ldf : 0;
        if (from && !whole) {
            memset(edge, 0, sizeof edge);
            memcpy(edge, start, (size_t)width * sizeof(REAL));
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
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                sum[r][v] += a[k * ka + r * ra] * row[v];
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
        REAL *end = whole ? c + r * ldc : edge;
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            *(vector *)(end + v * LANES) = sum[r][v];
        if (!whole)
            memcpy(c + r * ldc, edge, (size_t)width * sizeof(REAL));
    }
}

/* The same for a number of rows that is known only now. */
static __attribute__((noinline)) void some_rows(
    int64_t rows, int64_t depth, const REAL *a, int64_t ra, int64_t ka, const REAL *b, REAL *c, int64_t ldc,
    const REAL *from, int64_t ldf, int64_t width)
{
#define CASE(R) case R: tile(R, depth, a, ra, ka, b, c, ldc, from, ldf, width); break;
    switch (rows) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if TILE > 6
        CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14)
#endif
    }
#undef CASE
}

/* rows first to last of c (., m) = from + a b, or a b if from is null; a[r * ra + k * ka], b packed, c may be from */
static void product(
    int64_t first, int64_t last, int64_t m, int64_t depth, const REAL *a, int64_t ra, int64_t ka, const REAL *b,
    REAL *c, int64_t ldc, const REAL *from, int64_t ldf)
{
    REAL copy[STRIPS * TILE * DEPTH] __attribute__((aligned(64)));
    const int64_t panels = (m + WIDTH - 1) / WIDTH;
    const int copies = panels > (ra == 1 ? FEW_PANELS : 4 * FEW_PANELS); /* strips, where they are read often enough */
    const int by_panel = copies || ra != 1; /* a panel stays in the cache, or else a strip that lies across it */
    for (int64_t r = first; r < last; r += STRIPS * TILE) {
        const int64_t rows = last - r < STRIPS * TILE ? last - r : STRIPS * TILE, count = (rows + TILE - 1) / TILE;
        for (int64_t k = 0; k < depth; k += DEPTH) {
            const int64_t d = depth - k < DEPTH ? depth - k : DEPTH;
            const REAL *part = a + r * ra + k * ka;
            if (copies && ra == 1)
                for (int64_t q = 0; q < d; q++)
                    memcpy(copy + q * rows, part + q * ka, (size_t)rows * sizeof(REAL));
            else if (copies)
                for (int64_t i = 0; i < rows; i++)
                    for (int64_t q = 0; q < d; q++)
                        copy[q * rows + i] = part[i * ra + q * ka];
            for (int64_t one = 0; one < count * panels; one++) {
                const int64_t s = by_panel ? one % count : one / panels;
                const int64_t j = (by_panel ? one / count : one % panels) * WIDTH;
                const int64_t top = rows * s / count, size = rows * (s + 1) / count - top; /* as even as can be */
                REAL *to = c + (r + top) * ldc + j;
                some_rows(size, d, copies ? copy + top : part + top * ra, copies ? 1 : ra, copies ? rows : ka,
                          b + j * depth + k * WIDTH, to, ldc, k ? to : from ? from + (r + top) * ldf + j : 0,
                          k ? ldc : ldf, m - j);
            }
        }
    }
}

/* b = the panels first to last of a matrix with entries w[j * sj + k * sk]: m columns j, depth rows k */
static void pack(int64_t first, int64_t last, int64_t m, int64_t depth, const REAL *w, int64_t sj, int64_t sk, REAL *b)
{
    for (int64_t j = first * WIDTH; j < last * WIDTH; j += WIDTH) {
        REAL *panel = b + j * depth;
        const int64_t width = m - j < WIDTH ? m - j : WIDTH;
        if (width < WIDTH)
            memset(panel, 0, (size_t)(WIDTH * depth) * sizeof(REAL));
        if (sj == 1)
            for (int64_t k = 0; k < depth; k++)
                for (int64_t i = 0; i < width; i++)
                    panel[k * WIDTH + i] = w[j + i + k * sk];
        else
            for (int64_t top = 0; top < depth; top += 16) /* so that a line of the cache is read once */
                for (int64_t i = 0; i < width; i++)
                    for (int64_t k = top; k < depth && k < top + 16; k++)
                        panel[k * WIDTH + i] = w[(j + i) * sj + k * sk];
    }
}

struct packing { int64_t m, depth, sj, sk; const REAL *w; REAL *b; };

static void pack_part(const void *all, int64_t first, int64_t last, int64_t thread)
{
    const struct packing *x = all;
    (void)thread;
    pack(first, last, x->m, x->depth, x->w, x->sj, x->sk, x->b);
}

/* b = all panels */
void pack_all(int64_t threads, int64_t m, int64_t depth, const REAL *w, int64_t sj, int64_t sk, REAL *b)
{
    const struct packing x = {m, depth, sj, sk, w, b};
    in_parts(pack_part, &x, (m + WIDTH - 1) / WIDTH, threads);
}

struct factors { int64_t m, depth, ra, ka, ldf; const REAL *a, *b, *from; REAL *c; };

static void multiply_part(const void *all, int64_t first, int64_t last, int64_t thread)
{
    const struct factors *x = all;
    (void)thread;
    product(first, last, x->m, x->depth, x->a, x->ra, x->ka, x->b, x->c, x->m, x->from, x->ldf);
}

/* c (n, m) = from + a b, or a b if from is null; b is packed */
void multiply(
    int64_t threads, int64_t n, int64_t m, int64_t depth, const REAL *a, int64_t ra, int64_t ka, const REAL *b, REAL *c,
    const REAL *from, int64_t ldf)
{
    const struct factors x = {m, depth, ra, ka, ldf, a, b, from, c};
    in_parts(multiply_part, &x, n, threads);
}

/* What the kernels of time loops call. */
struct runtime {
    void (*in_parts)(work, const void *, int64_t, int64_t);
    void (*product)(
        int64_t, int64_t, int64_t, int64_t, const REAL *, int64_t, int64_t, const REAL *, REAL *, int64_t, const REAL *, int64_t);
};

const struct runtime runtime = {in_parts, product};
