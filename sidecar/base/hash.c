/* Wraps xxhash, the only user of its header. The process seed is drawn once. Any thread. */
#include "sidecar/base/hash.h"

#include "sidecar/base/rng.h"

#include <pthread.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static uint64_t process_seed;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void draw_seed(void)
{
    struct rng r;
    rng_seed_system(&r);
    process_seed = rng_u64(&r);
}

uint64_t hash_xx64(const void *p, size_t n, uint64_t seed)
{
    return XXH64(p, n, seed);
}

uint64_t hash_local(struct str s)
{
    pthread_once(&seed_once, draw_seed);
    return XXH3_64bits_withSeed(s.p, s.n, process_seed);
}
