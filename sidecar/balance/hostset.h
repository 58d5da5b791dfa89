/* All hosts of a cluster at one moment, with what balancing derives from them: the healthy and the
 * degraded, each priority's share of the load, panic, and the tables of consistent hashing.
 *
 * Made on main, immutable afterwards, shared by the workers, each of which keeps its own position
 * in it (lb.h). */
#ifndef OUTRIGGER_BALANCE_HOSTSET_H
#define OUTRIGGER_BALANCE_HOSTSET_H

#include "sidecar/balance/host.h"
#include "sidecar/base/shared.h"

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
    double panic_threshold;        /* percent of healthy hosts below which all are used; 0: never */
    bool locality_weighted;        /* localities share a priority's load by their weights */
    bool weighted_priority_health; /* health of a priority counts weights instead of hosts */
    uint32_t choice_count;         /* least request: samples, 2 by default */
    uint64_t ring_min, ring_max;
    uint64_t maglev_table_size; /* a prime */
};

struct hostset_member {
    struct host *host;
    uint32_t weight;   /* at least 1 */
    uint32_t priority; /* 0 is the best */
    uint32_t locality; /* index into the locality weights */
    enum host_health health;
};

/* Hosts that a pick draws from. A list's id is its place in hostset.lists. */
struct host_list {
    const struct hostset_member **v;
    unsigned count;
    unsigned id;
    bool equal_weights;
};

/* The hosts of one locality within one priority. */
struct host_locality {
    struct host_list all, healthy, degraded;
    double healthy_weight, degraded_weight; /* effective; 0: gets nothing */
    uint32_t weight;
};

struct hostset_priority {
    struct host_list all, healthy, degraded;
    struct host_locality *localities; /* only when locality_weighted */
    unsigned locality_count;
    unsigned healthy_split_id,
        degraded_split_id;                /* ids, as of lists, for the split over localities */
    uint32_t healthy_load, degraded_load; /* percent; all of a set sum to 100 */
    bool panic;
    struct ring *ring;     /* ring hash: over the hosts in use */
    struct maglev *maglev; /* maglev: likewise */
};

struct hostset {
    struct shared shared;
    struct hostset_options options;
    struct hostset_member *members; /* in the order given */
    unsigned count;
    struct hostset_priority *priorities;
    unsigned priority_count; /* at least 1 */
    unsigned list_count;     /* ids in use */
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
unsigned hostset_healthy_count(const struct hostset *s);
unsigned hostset_degraded_count(const struct hostset *s);

#endif
