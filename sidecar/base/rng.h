/* A small, fast, seedable generator (xoshiro256**). Not for secrets. */
#ifndef OUTRIGGER_BASE_RNG_H
#define OUTRIGGER_BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed); /* the same seed gives the same sequence */
void rng_seed_system(struct rng *r);         /* from getrandom(2) */
uint64_t rng_u64(struct rng *r);
/* Uniform in [0, bound), without modulo bias; bound > 0. */
uint64_t rng_below(struct rng *r, uint64_t bound);

#endif
