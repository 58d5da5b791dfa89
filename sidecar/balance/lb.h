/* The choice of a host: one worker's position in a host set. Pure: randomness comes in by the
 * generator. An ejection or return (host_eject) is in force at the next pick. */
#ifndef OUTRIGGER_BALANCE_LB_H
#define OUTRIGGER_BALANCE_LB_H

#include "sidecar/balance/avoid.h"
#include "sidecar/balance/hostset.h"

/* A source of random numbers: rng_u64, or a test's list. */
typedef uint64_t lb_random_fn(void *ctx);

struct lb;

/* No set yet: picks find nothing. random is called with ctx, now and later. */
struct lb *lb_new(lb_random_fn *random, void *ctx);
void lb_free(struct lb **lb);
/* Another set is in force; lb takes a reference. Round robin goes on where it stood. */
void lb_update(struct lb *lb, struct hostset *set);
struct hostset *lb_set(const struct lb *lb); /* NULL: none yet */

/* What a pick adds to the cluster's statistics. */
struct lb_counts {
    unsigned panic_picks; /* picks made in panic: lb_healthy_panic */
    unsigned subset_selections, subset_fallbacks, subset_panics; /* lb_subsets_selected, ... */
};

struct lb_ctx {
    uint64_t now_ms;          /* monotonic: slow start */
    uint64_t active_requests; /* of the whole cluster: hash_balance_factor */
    const struct subset_criteria *criteria; /* subsets: what the route wants; NULL: nothing */
    bool has_hash; /* else ring and maglev draw */
    uint64_t hash;
    const struct avoid *avoid; /* of a retry: a pick that it names is drawn again, */
    unsigned max_picks; /* up to so many picks in all; the last one counts in any case; 0 is 1 */
    struct host *const *tried; /* those of earlier attempts, in order */
    unsigned tried_count;
};

/* NULL: no host. Good while the set is in force. counts_r may be NULL. */
struct host *lb_pick(struct lb *lb, const struct lb_ctx *ctx, struct lb_counts *counts_r);

#endif
