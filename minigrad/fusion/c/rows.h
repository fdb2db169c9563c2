/* What is done with the rows of a matrix of REAL. */

/* y[ids[i]] += rows[i], of `width` columns each: every thread does some of the columns, and all of the rows in order */
struct added { int64_t n, width; const int64_t *ids; const REAL *rows; REAL *y; };

static void add_rows_part(const void *all, int64_t first, int64_t last, int64_t thread)
{
    const struct added *x = all;
    (void)thread;
    for (int64_t i = 0; i < x->n; i++) {
        const REAL *restrict row = x->rows + i * x->width;
        REAL *restrict y = x->y + x->ids[i] * x->width;
        for (int64_t j = first; j < last; j++)
            y[j] += row[j];
    }
}

void add_rows(int64_t threads, int64_t n, int64_t width, const int64_t *ids, const REAL *rows, REAL *y)
{
    const struct added x = {n, width, ids, rows, y};
    in_parts(add_rows_part, &x, width, threads);
}

/* y[i] = log of the sum of e^x over row i of x (n, width), the largest taken out first; as many sums as there are lanes */
struct exponents { int64_t width; const REAL *x; REAL *y; };

static void logsumexp_part(const void *all, int64_t first, int64_t last, int64_t thread)
{
    const struct exponents *of = all;
    const int64_t width = of->width, whole = width - width % LANES;
    (void)thread;
    for (int64_t i = first; i < last; i++) {
        const REAL *row = of->x + i * width;
        REAL large[LANES], sums[LANES] = {0}, largest = -INFINITY, sum = 0;
        for (int k = 0; k < LANES; k++)
            large[k] = -INFINITY;
        for (int64_t j = 0; j < whole; j += LANES)
#pragma GCC unroll 1 /* what is unrolled is not made a vector any more */
            for (int k = 0; k < LANES; k++)
                large[k] = row[j + k] > large[k] ? row[j + k] : large[k];
        for (int k = 0; k < LANES; k++)
            largest = large[k] > largest ? large[k] : largest;
        for (int64_t j = whole; j < width; j++)
            largest = row[j] > largest ? row[j] : largest;
        largest = fabs(largest) < INFINITY ? largest : 0; /* an infinity would be taken from itself */
        for (int64_t j = 0; j < whole; j += LANES)
#pragma GCC unroll 1
            for (int k = 0; k < LANES; k++)
                sums[k] += EXP(row[j + k] - largest);
        for (int k = 0; k < LANES; k++)
            sum += sums[k];
        for (int64_t j = whole; j < width; j++)
            sum += EXP(row[j] - largest);
        of->y[i] = LOG(sum) + largest;
    }
}

void logsumexp(int64_t threads, int64_t n, int64_t width, const REAL *x, REAL *y)
{
    const struct exponents of = {width, x, y};
    in_parts(logsumexp_part, &of, n, threads);
}
