/* What lb.c shares with the policies. */
#ifndef OUTRIGGER_BALANCE_LB_PRIV_H
#define OUTRIGGER_BALANCE_LB_PRIV_H

#include "sidecar/balance/edf.h"
#include "sidecar/balance/host_view_priv.h"
#include "sidecar/balance/lb.h"

/* The position in one host list, or in one split over localities. */
struct lb_place {
    uint64_t index;   /* round robin's next, by modulo */
    struct edf queue; /* filled when weights differ */
};

struct lb {
    struct hostset *set;
    const struct subset *subset;  /* NULL: of the whole set */
    struct table children;        /* a subset's key -> its struct lb */
    const struct host_view *view; /* the set's, or own_view; NULL: the set has subsets */
    struct host_view *own_view;   /* NULL: the set's view is current */
    struct lb_place *places; /* by list id */
    unsigned place_count;
    uint64_t seed; /* where round robin starts */
    uint64_t now_ms;          /* of the pick under way */
    uint64_t latest_added_ms; /* slow start: when the last healthy host of the view joined */
    bool is_placed;           /* a pick was made in the view */
    bool by_queue;            /* equal weights too go by queue: the view was placed in slow start */
    lb_random_fn *random;
    void *random_ctx;
};

/* lb.c: the walk in lb's own view. */
struct host *lb_walk(struct lb *lb, const struct lb_ctx *ctx, struct lb_counts *counts);
void lb_use_subset(struct lb *lb, struct hostset *set, const struct subset *subset);

/* lb_subset.c: the set has subsets. */
struct host *lb_subset_pick(struct lb *lb, const struct lb_ctx *ctx, struct lb_counts *counts);
void lb_subsets_update(struct lb *lb); /* another set is in force */
void lb_subsets_free(struct lb *lb);

/* Each picks from a list that is not empty. */
struct host *lb_rr_pick(struct lb *lb, const struct host_list *list);
struct host *lb_least_pick(struct lb *lb, const struct host_list *list);
struct host *lb_random_pick(struct lb *lb, const struct host_list *list);

/* lb_bounded.c: the table's pick first, or another one if it has too much to do already. */
struct host *lb_bounded_pick(const struct host_priority *p, struct host *first, uint64_t hash,
                             const struct lb_ctx *ctx, uint32_t factor);

/* priority_retry.c: NULL: the same as for everybody. */
const struct host_priority *priority_choose_for_retry(const struct host_view *view, uint64_t draw,
                                                      const struct lb_ctx *ctx, bool *degraded_r);

/* lb_slow_start.c */
uint64_t lb_slow_start_latest(const struct host_view *view);
bool lb_slow_start_is_on(const struct lb *lb);
double lb_slow_start_weight(const struct lb *lb, const struct hostset_member *m, double weight);

/* Whether a list goes by queue. */
static inline bool lb_has_queue(const struct lb *lb, const struct host_list *list)
{
    return !list->equal_weights || lb->by_queue;
}

/* Weight of a member for the queue: its own, or least request's. */
double lb_rr_weight(const struct lb *lb, const struct hostset_member *m);
double lb_least_weight(const struct lb *lb, const struct hostset_member *m);

/* The member whose turn it is in a list with different weights; it is queued again with weight_fn's
 * answer. */
const struct hostset_member *lb_queue_pick(struct lb *lb, const struct host_list *list,
                                           double (*weight_fn)(const struct lb *lb,
                                                               const struct hostset_member *m));

#endif
