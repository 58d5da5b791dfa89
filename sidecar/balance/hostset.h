/* All hosts of a cluster at one moment, with their weights, priorities, localities and the health that
 * the control plane gave them.
 *
 * Made on main, immutable afterwards, shared by the workers. What balancing derives from it stands in
 * a host_view: the set comes with one, and a worker makes its own when a host was ejected or returned
 * since (lb.h). */
#ifndef OUTRIGGER_BALANCE_HOSTSET_H
#define OUTRIGGER_BALANCE_HOSTSET_H

#include "sidecar/balance/host.h"
#include "sidecar/balance/subset.h"
#include "sidecar/base/shared.h"

struct host_view;

enum host_health { HOST_HEALTHY, HOST_DEGRADED, HOST_UNHEALTHY };

enum balance_policy {
    BALANCE_ROUND_ROBIN,
    BALANCE_LEAST_REQUEST,
    BALANCE_RANDOM,
    BALANCE_RING_HASH,
    BALANCE_MAGLEV,
};

struct hostset_options {
    enum balance_policy policy;
    uint32_t overprovisioning_factor; /* percent: 140 by default */
    uint32_t panic_threshold;      /* percent of healthy hosts below which all are used; 0: never */
    bool locality_weighted;        /* localities share a priority's load by their weights */
    bool weighted_priority_health; /* health of a priority counts weights instead of hosts */
    bool fail_on_panic;            /* in panic nobody is picked, instead of all */
    uint32_t choice_count;         /* least request: samples, 2 by default */
    bool full_scan;                /* least request: all hosts are looked at */
    double active_request_bias;    /* least request by weight: weight / (active + 1) ^ bias */
    uint64_t ring_min, ring_max;
    uint64_t maglev_table_size;   /* a prime */
    bool use_hostname;            /* tables place hosts by hostname */
    uint32_t hash_balance_factor; /* tables: percent of the mean load that a host takes; 0: no bound */
    struct {
        uint64_t window_ms;     /* 0: off */
        double aggression;      /* 1: linear */
        double min_weight_part; /* 0.1 by default: what a host begins with, at least */
    } slow_start;               /* round robin and least request */
    /* NULL: hosts are not picked by subsets. Lives as long as anybody picks from the set. */
    const struct subset_policy *subsets;
};

struct hostset_member {
    struct host *host;
    uint32_t weight;   /* at least 1 */
    uint32_t priority; /* 0 is the best */
    uint32_t locality;      /* index into the locality weights */
    uint32_t locality_rank; /* by name; localities of one rank in a priority are one, of the last one's weight */
    enum host_health health; /* without ejection */
    const struct subset_label *labels; /* the set's own copy, when it is a set's */
    unsigned label_count;
};

/* What balancing makes of the member now: an ejected host is unhealthy. */
enum host_health hostset_member_health(const struct hostset_member *m);

struct hostset {
    struct shared shared;
    struct hostset_options options;
    struct hostset_member *members; /* in the order given */
    unsigned count;
    uint32_t *locality_weights; /* by index; NULL: no locality has one */
    /* The hosts' epoch of health; NULL: it never changes. */
    _Atomic uint64_t *health_epoch;
    struct host_view *view;  /* as of the set's making; NULL: hosts are picked by subsets */
    struct subsets *subsets; /* NULL: they are not */
    struct arena *arena;
    const void *maker; /* for the maker's shared.free */
};

/* Gives the hosts back and frees the set: what shared.free does, unless its maker has it sent home
 * first. */
void hostset_free(struct hostset *s);
/* Takes a reference to each host. locality_weights: by index, 0 for those without one; may be NULL
 * when there is one locality of no weight. One reference for the caller (hostset_unref). */
struct hostset *hostset_new(const struct hostset_options *options,
                            const struct hostset_member *members, unsigned count,
                            const uint32_t *locality_weights, unsigned locality_count);
static inline struct hostset *hostset_ref(struct hostset *s)
{
    shared_ref(&s->shared);
    return s;
}
static inline void hostset_unref(struct hostset **s)
{
    if (*s)
        shared_unref(&(*s)->shared);
    *s = NULL;
}
/* As health is now. */
unsigned hostset_healthy_count(const struct hostset *s);
unsigned hostset_degraded_count(const struct hostset *s);

#endif
