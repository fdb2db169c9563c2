/* Work in equal parts, on a team of threads that waits for more: attentively for a moment, then asleep.

   A team that goes on spinning takes the cores from whoever works next, and one that falls asleep at once takes longer
   to wake than a small product takes to compute. */

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#define MOST_THREADS 64
#define ATTENTION 4000 /* looks at the clock of the team, some 20 to 50 microseconds */

#if defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() ((void)0)
#endif

typedef void (*work)(const void *all, int64_t first, int64_t last, int64_t thread);

static pthread_mutex_t team_lock = PTHREAD_MUTEX_INITIALIZER; /* held by the one who has the team working */
static pthread_mutex_t sleep_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static int64_t members = 1; /* of the team; the first is whoever calls */
static atomic_int rounds = 0, busy = 0;
static int first_round[MOST_THREADS]; /* of each member: how many had been when it came */
static struct { work work; const void *all; int64_t n, threads; } task;

static void do_part(int64_t thread)
{
    if (thread < task.threads)
        task.work(task.all, task.n * thread / task.threads, task.n * (thread + 1) / task.threads, thread);
}

static void *member(void *number)
{
    const int64_t thread = (int64_t)(intptr_t)number;
    int seen = first_round[thread];
    for (;;) {
        for (int look = 0; look < ATTENTION && atomic_load(&rounds) == seen; look++)
            PAUSE();
        if (atomic_load(&rounds) == seen) {
            pthread_mutex_lock(&sleep_lock);
            while (atomic_load(&rounds) == seen)
                pthread_cond_wait(&wake, &sleep_lock);
            pthread_mutex_unlock(&sleep_lock);
        }
        seen++; /* all have to be through one round before there is another */
        do_part(thread);
        atomic_fetch_sub(&busy, 1);
    }
    return 0;
}

/* A forked process has the caller alone. */
static void forget_team(void)
{
    const pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
    const pthread_cond_t new_condition = PTHREAD_COND_INITIALIZER;
    team_lock = sleep_lock = free_lock;
    wake = new_condition;
    members = 1;
    atomic_store(&busy, 0);
}

static void grow_team(int64_t threads)
{
    static int prepared = 0;
    pthread_attr_t detached;
    if (!prepared)
        prepared = !pthread_atfork(0, 0, forget_team);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    while (members < threads) {
        pthread_t id;
        first_round[members] = atomic_load(&rounds);
        if (pthread_create(&id, &detached, member, (void *)(intptr_t)members))
            break; /* the system gives no more: those that there are do it all */
        members++;
    }
    pthread_attr_destroy(&detached);
}

/* n items in as many equal parts as there are threads. Who finds the team at work does all parts alone. */
static void in_parts(work work, const void *all, int64_t n, int64_t threads)
{
    threads = threads > MOST_THREADS ? MOST_THREADS : threads;
    if (threads > 1 && pthread_mutex_trylock(&team_lock) == 0) {
        grow_team(threads);
        if (members >= threads) {
            task.work = work, task.all = all, task.n = n, task.threads = threads;
            atomic_store(&busy, (int)(members - 1));
            pthread_mutex_lock(&sleep_lock);
            atomic_fetch_add(&rounds, 1);
            pthread_cond_broadcast(&wake);
            pthread_mutex_unlock(&sleep_lock);
            do_part(0);
            for (int look = 0; atomic_load(&busy); look++)
                if (look < ATTENTION)
                    PAUSE();
                else
                    sched_yield();
            pthread_mutex_unlock(&team_lock);
            return;
        }
        pthread_mutex_unlock(&team_lock);
    }
    for (int64_t i = 0; i < threads; i++)
        work(all, n * i / threads, n * (i + 1) / threads, i);
}
