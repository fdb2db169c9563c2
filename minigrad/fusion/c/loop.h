/* What a kernel of a whole time loop is called with, and what it calls: see runtime.c. */

typedef void (*work)(const void *all, int64_t first, int64_t last, int64_t thread);

struct runtime {
    void (*in_parts)(work, const void *all, int64_t n, int64_t threads);
    void (*product)(
        int64_t first, int64_t last, int64_t m, int64_t depth, const real *a, int64_t ra, int64_t ka, const real *b,
        real *c, int64_t ldc, const real *from, int64_t ldf);
};

struct call {
    char *const *p;
    const int64_t *n;
    const struct runtime *runtime;
};
