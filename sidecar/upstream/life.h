/* What of a cluster outlives its configuration: permits and statistics, by name. Made and freed on
 * main, held by live, by each worker's clusters and by the hosts. For the room alone. */
#ifndef OUTRIGGER_UPSTREAM_LIFE_H
#define OUTRIGGER_UPSTREAM_LIFE_H

#include "sidecar/base/str.h"
#include "sidecar/base/table.h"
#include "sidecar/observe/stats.h"
#include "sidecar/resilience/breaker.h"
#include "sidecar/upstream/cluster_cfg.h"
#include "sidecar/upstream/homing.h"

struct live;
struct live_outlier;

struct life {
    const struct home *home;
    _Atomic uint32_t refs; /* lowered on main alone */
    struct live *live;
    char *key;                  /* in live.lives */
    struct breaker breakers[2]; /* default, high */
    struct stats_scope *stats, *external, *internal, *retry;
    struct stats_scope *http2;        /* NULL: it never spoke HTTP/2 */
    struct stats_scope *tls;          /* NULL: it never had a secure transport */
    struct stats_scope *remaining[2]; /* default, high; NULL: nobody asked to track it */
    _Atomic uint64_t health_epoch; /* of all its hosts */
    struct live_outlier *outlier;  /* main: who decides about its hosts; NULL: nobody */
    struct table hosts;            /* main: address as text -> struct live_host */
};

/* On main. key is malloc'd and the life's from now on. */
struct life *life_new(struct live *live, const struct home *home, struct stats *stats,
                      const struct cluster_cfg *cfg, char *key);
/* On main: the limits of a new configuration are in force. */
void life_set_limits(struct life *l, struct stats *stats, const struct cluster_cfg *cfg);
/* On main: gauges of the breakers. */
void life_collect(struct life *l);

static inline struct life *life_ref(struct life *l)
{
    uint32_t before = atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    assert(before > 0);
    return l;
}
void life_unref(struct life *l); /* from any thread */

#endif
