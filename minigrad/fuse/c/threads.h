/* Work in parts, each on a thread of its own that ends with it: nothing spins, and nothing is left when a process forks. */

#include <pthread.h>

#define MOST_THREADS 64

typedef void (*work)(const void *all, int64_t first, int64_t last, int64_t thread);

struct part {
    work work;
    const void *all;
    int64_t first, last, thread;
};

static void *run_part(void *given)
{
    const struct part *part = given;
    part->work(part->all, part->first, part->last, part->thread);
    return 0;
}

/* n items in as many equal parts as there are threads; the caller does the first */
static void in_parts(work work, const void *all, int64_t n, int64_t threads)
{
    struct part parts[MOST_THREADS];
    pthread_t ids[MOST_THREADS];
    int started[MOST_THREADS];
    threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
    for (int64_t i = threads - 1; i >= 0; i--) {
        parts[i] = (struct part){work, all, n * i / threads, n * (i + 1) / threads, i};
        started[i] = i && !pthread_create(&ids[i], 0, run_part, &parts[i]);
        if (!started[i])
            run_part(&parts[i]);
    }
    for (int64_t i = 1; i < threads; i++)
        if (started[i])
            pthread_join(ids[i], 0);
}
