/* The ring of consistent hashing, bit for bit Envoy's (ketama over XXH64, seed 0).
 *
 * Made with its host set, immutable afterwards. A host stands on the ring as often as its share of
 * it says: each time at the hash of "<its key>_<how many before>". A request goes to the first at
 * or behind its own hash. */
#include "sidecar/balance/host_view_priv.h"
#include "sidecar/base/hash.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct point {
    uint64_t hash;
    struct host *host;
};

struct ring {
    struct point *points; /* by hash */
    uint64_t count;
};

static int by_hash(const void *a, const void *b)
{
    const struct point *x = a, *y = b;
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

/* Points a share of 1 gets: as many as the smallest share needs to come out whole, the ring being
 * ring_min or more. */
static double points_per_share(const struct host_share *hosts, unsigned count, uint64_t min_size,
                               uint64_t max_size)
{
    double least = 1.0;
    for (unsigned i = 0; i < count; i++)
        least = hosts[i].share < least ? hosts[i].share : least;
    double scale = ceil(least * (double)min_size) / least;
    return scale < (double)max_size ? scale : (double)max_size;
}

static uint64_t point_hash(const char *key, unsigned at)
{
    char text[512];
    int n = snprintf(text, sizeof(text), "%s_%u", key, at);
    if (n > 0 && (size_t)n < sizeof(text))
        return hash_xx64(text, (size_t)n, 0);
    char *long_text = xasprintf("%s_%u", key, at); /* a configured hash_key may have any length */
    uint64_t hash = hash_xx64(long_text, strlen(long_text), 0);
    free(long_text);
    return hash;
}

struct ring *ring_new(struct arena *a, const struct host_share *hosts, unsigned count,
                      uint64_t min_size, uint64_t max_size)
{
    struct ring *r = ARENA_NEW(a, struct ring);
    if (count == 0)
        return r;
    double scale = points_per_share(hosts, count, min_size, max_size);
    uint64_t cap =
        (uint64_t)ceil(scale) + count; /* running sums round, by less than one point a host */
    r->points = ARENA_ARRAY(a, struct point, cap);
    double wanted = 0;
    for (unsigned i = 0; i < count; i++) {
        wanted += scale * hosts[i].share;
        for (unsigned at = 0; (double)r->count < wanted; at++) {
            assert(r->count < cap);
            r->points[r->count++] =
                (struct point){point_hash(hosts[i].key, at), hosts[i].host};
        }
    }
    qsort(r->points, r->count, sizeof(*r->points), by_hash);
    return r;
}

uint64_t ring_size(const struct ring *r)
{
    return r->count;
}

struct host *ring_pick(const struct ring *r, uint64_t hash, unsigned attempt)
{
    if (r->count == 0)
        return NULL;
    uint64_t low = 0, high = r->count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (r->points[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    /* A pick that was discarded moves on, as if its point were not there. */
    return r->points[(low + attempt) % r->count].host;
}
