/* What resilience costs a request, in nanoseconds: a permit, an outcome, the permit back. bench-policy [THREADS...]; each
 * number of threads (1 and 2 by default) shares one breaker and one host, which is the worst that can be: real workers
 * spread over hosts. Prints the best of five rounds, as the machine's other work only ever adds. */
#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/resilience/breaker.h"
#include "sidecar/resilience/outlier.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define OPS 2000000u
#define ROUNDS 5
#define THREADS_MAX 64u

/* As in the sidecar, what is shared stands on cache lines of its own. */
struct shared_state {
    _Alignas(64) struct breaker breaker;
    _Alignas(64) struct outlier_host host;
    _Alignas(64) struct outlier_cfg cfg;
};

static struct shared_state state;
static pthread_barrier_t start;

static void admission_alone(void)
{
    struct permit p = {0};
    if (!permit_admit(&p, &state.breaker, BREAKER_RQ))
        die("the limit was reached");
    permit_release(&p);
}

static void success(void)
{
    struct permit p = {0};
    if (!permit_admit(&p, &state.breaker, BREAKER_RQ))
        die("the limit was reached");
    if (outlier_put_code(&state.host, &state.cfg, 200))
        die("a success tripped");
    permit_release(&p);
}

static void failure(void)
{
    struct permit p = {0};
    if (!permit_admit(&p, &state.breaker, BREAKER_RQ))
        die("the limit was reached");
    (void)outlier_put_code(&state.host, &state.cfg, 503);
    permit_release(&p);
}

static void *run(void *arg)
{
    void (*const *op)(void) = arg;
    pthread_barrier_wait(&start);
    for (unsigned i = 0; i < OPS; i++)
        (*op)();
    return NULL;
}

/* Nanoseconds an operation takes one thread while all run. */
static double round_of(void (*op)(void), unsigned threads)
{
    pthread_t ids[THREADS_MAX];
    pthread_barrier_init(&start, NULL, threads + 1);
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, run, &op) != 0)
            die("a thread cannot be made");
    uint64_t began = clock_mono_ns();
    pthread_barrier_wait(&start);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    uint64_t took = clock_mono_ns() - began;
    pthread_barrier_destroy(&start);
    return (double)took / OPS;
}

static void measure(const char *what, void (*op)(void), unsigned threads)
{
    double best = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        double ns = round_of(op, threads);
        if (i == 0 || ns < best)
            best = ns;
    }
    printf("%-34s %2u threads %7.1f ns\n", what, threads, best);
}

static void measure_all(unsigned threads)
{
    measure("admission and release", admission_alone, threads);
    measure("admission, 200, release", success, threads);
    measure("admission, 503, release", failure, threads);
}

int main(int argc, char **argv)
{
    breaker_set_limit(&state.breaker, BREAKER_RQ, 1024);
    state.cfg = outlier_defaults();
    state.cfg.on = true;
    if (argc < 2) {
        measure_all(1);
        measure_all(2);
    }
    for (int i = 1; i < argc; i++) {
        unsigned long threads = strtoul(argv[i], NULL, 10);
        if (threads < 1 || threads > THREADS_MAX)
            die("threads: 1 to %u, got %s", THREADS_MAX, argv[i]);
        measure_all((unsigned)threads);
    }
    return 0;
}
