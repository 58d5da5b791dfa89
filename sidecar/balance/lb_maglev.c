/* The Maglev table of consistent hashing, bit for bit Envoy's.
 *
 * Made with its host set, immutable afterwards. Each host walks its own permutation of the places
 * (offset and skip from two hashes of its key) and takes the next free one when it is its turn; a
 * host of half the greatest weight has every second turn. The turns go by key, so that the order in which
 * hosts are given does not matter. */
#include "sidecar/balance/host_view_priv.h"
#include "sidecar/base/hash.h"

#include <stdlib.h>
#include <string.h>

struct maglev {
    struct host **places;
    uint64_t size; /* 0: no hosts */
};

struct walker {
    struct host *host;
    const char *key;
    unsigned given; /* its place among those given */
    uint64_t offset, skip, next;
    double share, due; /* takes part in the turns at which turn * share has reached due */
};

static int by_key(const void *a, const void *b)
{
    const struct walker *x = a, *y = b;
    int order = strcmp(x->key, y->key);
    return order ? order : x->given < y->given ? -1 : x->given > y->given;
}

static void walker_take(struct maglev *m, struct walker *w)
{
    uint64_t at;
    do {
        at = (w->offset + w->skip * w->next++) % m->size;
    } while (m->places[at]);
    m->places[at] = w->host;
}

static void places_fill(struct maglev *m, struct walker *walkers, unsigned count, double greatest)
{
    uint64_t taken = 0;
    for (uint64_t turn = 1; taken < m->size; turn++) {
        for (unsigned i = 0; i < count && taken < m->size; i++) {
            struct walker *w = &walkers[i];
            if ((double)turn * w->share < w->due)
                continue;
            w->due += greatest;
            walker_take(m, w);
            taken++;
        }
    }
}

struct maglev *maglev_new(struct arena *a, const struct host_share *hosts, unsigned count,
                          uint64_t table_size)
{
    struct maglev *m = ARENA_NEW(a, struct maglev);
    if (count == 0)
        return m;
    assert(table_size >= 2);
    m->size = table_size;
    m->places = ARENA_ARRAY(a, struct host *, table_size);
    struct walker *walkers = xcalloc(count, sizeof(*walkers));
    double greatest = 0;
    for (unsigned i = 0; i < count; i++) {
        const char *key = hosts[i].key;
        walkers[i].host = hosts[i].host;
        walkers[i].key = key;
        walkers[i].given = i;
        walkers[i].offset = hash_xx64(key, strlen(key), 0) % table_size;
        walkers[i].skip = hash_xx64(key, strlen(key), 1) % (table_size - 1) + 1;
        walkers[i].share = hosts[i].share;
        greatest = hosts[i].share > greatest ? hosts[i].share : greatest;
    }
    qsort(walkers, count, sizeof(*walkers), by_key);
    places_fill(m, walkers, count, greatest);
    free(walkers);
    return m;
}

struct host *maglev_pick(const struct maglev *m, uint64_t hash, unsigned attempt)
{
    if (m->size == 0)
        return NULL;
    if (attempt > 0)
        hash ^= ~(uint64_t)0 - attempt + 1;
    return m->places[hash % m->size];
}
