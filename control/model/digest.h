/* Digests of what things are made from: equal ones are taken for equal things. The order of folding counts. Header only. */
#ifndef OUTRIGGER_CONTROL_MODEL_DIGEST_H
#define OUTRIGGER_CONTROL_MODEL_DIGEST_H

#include "sidecar/base/hash.h"

static inline uint64_t digest_fold(uint64_t digest, uint64_t next)
{
    digest = (digest ^ next) * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du; /* nothing folded into nothing is something */
    digest = (digest ^ (digest >> 29)) * 0xbf58476d1ce4e5b9u;
    return digest ^ (digest >> 32);
}

static inline uint64_t digest_fold_str(uint64_t digest, struct str s)
{
    return digest_fold(digest, hash_xx64(s.p, s.n, 0));
}

#endif
