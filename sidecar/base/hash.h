/* Hashes. hash_xx64 with seed 0 is what Envoy's ring hash and maglev use. */
#ifndef OUTRIGGER_BASE_HASH_H
#define OUTRIGGER_BASE_HASH_H

#include "sidecar/base/str.h"

uint64_t hash_xx64(const void *p, size_t n, uint64_t seed);
/* For tables in this process: seeded at random once, so that a peer cannot choose collisions. Never
 * store it or send it. */
uint64_t hash_local(struct str s);

#endif
