/* What the files of the room share. */
#ifndef OUTRIGGER_BALANCE_HOST_VIEW_PRIV_H
#define OUTRIGGER_BALANCE_HOST_VIEW_PRIV_H

#include "sidecar/balance/host_view.h"
#include "sidecar/base/arena.h"

/* priority.c: fills loads and panic of all priorities from their lists. */
void priority_spread(struct host_view *view);

/* A host with its share of a table; the shares of one table sum to at most 1. */
struct host_share {
    struct host *host;
    const char *key; /* what it is placed by */
    double share;
};

/* lb_ring.c, lb_maglev.c. count may be 0: the table is empty and picks nothing. */
struct ring *ring_new(struct arena *a, const struct host_share *hosts, unsigned count,
                      uint64_t min_size, uint64_t max_size);
/* attempt: how many picks for the same request were discarded before. */
struct host *ring_pick(const struct ring *r, uint64_t hash, unsigned attempt);
uint64_t ring_size(const struct ring *r);
struct maglev *maglev_new(struct arena *a, const struct host_share *hosts, unsigned count,
                          uint64_t table_size);
struct host *maglev_pick(const struct maglev *m, uint64_t hash, unsigned attempt);

#endif
