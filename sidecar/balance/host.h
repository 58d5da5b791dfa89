/* One endpoint of a cluster: what balancing and pools share of it.
 *
 * A host is made and freed by its maker (the main thread; a worker, for ORIGINAL_DST). Host sets
 * and pools hold references. Everything is constant but the atomics, which any thread may change.
 */
#ifndef OUTRIGGER_BALANCE_HOST_H
#define OUTRIGGER_BALANCE_HOST_H

#include "sidecar/base/die.h"
#include "sidecar/net/addr.h"

#include <stdatomic.h>
#include <stdbool.h>

/* What is counted per host, with Envoy's names (/clusters). Gauges first. */
enum host_stat {
    HOST_CX_ACTIVE,
    HOST_RQ_ACTIVE, /* what least request compares */
    HOST_CX_CONNECT_FAIL,
    HOST_CX_TOTAL,
    HOST_RQ_ERROR,
    HOST_RQ_SUCCESS,
    HOST_RQ_TIMEOUT,
    HOST_RQ_TOTAL,
    HOST_STAT_COUNT,
};
const char *host_stat_name(enum host_stat stat); /* "rq_active" */

struct outlier_host;

struct host {
    struct addr addr;
    char text[ADDR_TEXT_CAP]; /* "10.0.0.1:80" */
    const char *hash_key;     /* what ring and maglev place it by; NULL: none configured */
    const char *hostname;     /* "" where there is none */
    unsigned transport;       /* how to connect to it: cluster_cfg_transport */
    _Atomic uint64_t added_ms; /* the clock of picks (lb.h) when it joined: slow start begins */
    _Atomic uint32_t refs;
    /* Gives one reference back, from any thread that has one. Only the maker's thread lowers refs,
     * so that it alone sees them end: on another thread this mails home. */
    void (*unref)(struct host *h);
    /* Taken out of balancing by outlier detection: host_eject, host_uneject. */
    _Atomic bool ejected;
    /* The cluster's, moved by each ejection and return, which is how every worker's next pick knows
     * (lb.h). Lives as long as the host. NULL: nobody balances over this host (ORIGINAL_DST). */
    _Atomic uint64_t *health_epoch;
    /* What outcomes count into (resilience/outlier.h), as long-lived as the host. NULL: nothing. */
    struct outlier_host *outlier;
    _Atomic uint64_t stats[HOST_STAT_COUNT];
};

/* A zeroed host with one reference, known by its address alone. */
void host_init(struct host *h, const struct addr *addr, void (*unref)(struct host *h));
/* Lowers refs, on the maker's thread. True: that was the last. */
bool host_drop(struct host *h);

/* Main alone: the host's own ejection, and its end. In force at the next pick of every worker; an
 * ORIGINAL_DST host is picked all the same, as in Envoy. False: nothing changed. */
bool host_eject(struct host *h);
bool host_uneject(struct host *h);
static inline bool host_is_ejected(const struct host *h)
{
    return atomic_load_explicit(&h->ejected, memory_order_relaxed);
}

static inline struct host *host_ref(struct host *h)
{
    atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
    return h;
}

static inline void host_unref(struct host *h)
{
    h->unref(h);
}

static inline void host_add(struct host *h, enum host_stat stat, uint64_t n)
{
    atomic_fetch_add_explicit(&h->stats[stat], n, memory_order_relaxed);
}

static inline void host_sub(struct host *h, enum host_stat stat, uint64_t n)
{
    uint64_t before = atomic_fetch_sub_explicit(&h->stats[stat], n, memory_order_relaxed);
    assert(before >= n);
}

static inline uint64_t host_value(const struct host *h, enum host_stat stat)
{
    return atomic_load_explicit(&h->stats[stat], memory_order_relaxed);
}

#endif
