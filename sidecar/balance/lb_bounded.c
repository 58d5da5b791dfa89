/* Bounded load for the tables of consistent hashing, as in Envoy: a host that has more than its share of
 * the requests under way, times the balance factor, is passed over for another one, drawn by a
 * generator that the hash seeds, so that the same hash wanders the same way. Pure. */
#include "sidecar/balance/lb_priv.h"

#include <math.h>
#include <stdlib.h>

/* ---- MT19937: the order of the hosts must be Envoy's. ---- */

#define MT_COUNT 624
#define MT_MIDDLE 397

struct twister {
    uint32_t v[MT_COUNT];
    unsigned at;
};

static void twister_seed(struct twister *t, uint32_t seed)
{
    t->v[0] = seed;
    for (unsigned i = 1; i < MT_COUNT; i++)
        t->v[i] = 1812433253u * (t->v[i - 1] ^ t->v[i - 1] >> 30) + i;
    t->at = MT_COUNT;
}

static void twister_turn(struct twister *t)
{
    for (unsigned i = 0; i < MT_COUNT; i++) {
        uint32_t y = (t->v[i] & 0x80000000u) | (t->v[(i + 1) % MT_COUNT] & 0x7fffffffu);
        t->v[i] = t->v[(i + MT_MIDDLE) % MT_COUNT] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    t->at = 0;
}

static uint32_t twister_next(struct twister *t)
{
    if (t->at == MT_COUNT)
        twister_turn(t);
    uint32_t y = t->v[t->at++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

/* Even over 0 to k - 1. */
static uint32_t twister_below(struct twister *t, uint32_t k)
{
    uint32_t x = k;
    while (x >= k)
        x = (uint32_t)(twister_next(t) / (((uint64_t)UINT32_MAX + 1) / k));
    return x;
}

/* ---- Load. ---- */

/* Above 1: the host has no place for one more. */
static double overload(const struct host_share *s, const struct lb_ctx *ctx, uint32_t factor)
{
    uint32_t total_slots =
        (uint32_t)(((uint64_t)((uint32_t)ctx->active_requests + 1) * factor + 99) / 100);
    uint32_t slots = (uint32_t)ceil(total_slots * s->share);
    return (double)host_value(s->host, HOST_RQ_ACTIVE) / (slots ? slots : 1);
}

static double overload_of(const struct host_priority *p, const struct host *h,
                          const struct lb_ctx *ctx, uint32_t factor)
{
    for (unsigned i = 0; i < p->share_count; i++)
        if (p->shares[i].host == h)
            return overload(&p->shares[i], ctx, factor);
    die("a table gave a host that it was not made of");
}

struct host *lb_bounded_pick(const struct host_priority *p, struct host *first, uint64_t hash,
                             const struct lb_ctx *ctx, uint32_t factor)
{
    double least = overload_of(p, first, ctx, factor);
    if (least <= 1.0)
        return first;
    struct host *best = first;
    struct twister t;
    twister_seed(&t, (uint32_t)hash);
    uint32_t *order = xcalloc(p->share_count, sizeof(*order));
    for (uint32_t i = 0; i < p->share_count; i++)
        order[i] = i;
    for (uint32_t i = 0; i < p->share_count; i++) {
        uint32_t other = i + twister_below(&t, p->share_count - i), at = order[other];
        order[other] = order[i];
        order[i] = at;
        if (p->shares[at].host == first)
            continue;
        double load = overload(&p->shares[at], ctx, factor);
        if (load >= least)
            continue;
        least = load;
        best = p->shares[at].host;
        if (load <= 1.0)
            break;
    }
    free(order);
    return best;
}
