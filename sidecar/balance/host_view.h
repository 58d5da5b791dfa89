/* What balancing derives from a host set and the ejections of one moment: the healthy and the
 * degraded, each priority's share of the load, panic, and the tables of consistent hashing.
 *
 * Immutable. The set's own view is made on main and shared with the set; others belong to one worker. */
#ifndef OUTRIGGER_BALANCE_HOST_VIEW_H
#define OUTRIGGER_BALANCE_HOST_VIEW_H

#include "sidecar/balance/hostset.h"

/* Hosts that a pick draws from. A list's id is its place among the lists of the view. */
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

struct host_priority {
    struct host_list all, healthy, degraded;
    struct host_locality *localities; /* only when locality_weighted; those with hosts */
    unsigned locality_count;
    unsigned healthy_split_id,
        degraded_split_id;                /* ids, as of lists, for the split over localities */
    uint32_t able_healthy, able_degraded; /* percent of all load that its hosts could bear */
    uint32_t healthy_load, degraded_load; /* percent; all of a view sum to 100 */
    bool panic;
    struct ring *ring;     /* ring hash: over the hosts in use */
    struct maglev *maglev; /* maglev: likewise */
    struct host_share *shares; /* the hosts in use with their parts of the table */
    unsigned share_count;
};

struct host_view {
    const struct hostset *set;
    uint64_t epoch; /* of the hosts' health */
    unsigned count; /* hosts */
    const uint32_t *locality_weights; /* by index; NULL: localities do not count */
    struct host_priority *priorities;
    unsigned priority_count; /* at least 1 */
    unsigned list_count;     /* ids in use */
    struct arena *arena;
};

/* Of the set, or of one of its subsets, as health is now; good as long as the set. */
struct host_view *host_view_new(const struct hostset *s, const struct subset *subset);
void host_view_free(struct host_view **v);
/* False: a host was ejected or returned since it was made. */
static inline bool host_view_is_current(const struct host_view *v)
{
    const _Atomic uint64_t *epoch = v->set->health_epoch;
    return !epoch || atomic_load_explicit(epoch, memory_order_acquire) == v->epoch;
}

#endif
