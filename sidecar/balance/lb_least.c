/* Least request. Equal weights: the least busy of a few hosts drawn at random, with replacement;
 * the first of equals. Different weights: EDF by weight / (active + 1), taken when the host is
 * queued again. */
#include "sidecar/balance/lb_priv.h"

double lb_least_weight(const struct lb *lb, const struct hostset_member *m)
{
    (void)lb;
    return (double)m->weight / (double)(host_value(m->host, HOST_RQ_ACTIVE) + 1);
}

struct host *lb_least_pick(struct lb *lb, const struct host_list *list)
{
    if (!list->equal_weights)
        return lb_queue_pick(lb, list, lb_least_weight)->host;
    struct host *best = NULL;
    for (unsigned i = 0; i < lb->set->options.choice_count || !best; i++) {
        struct host *h = list->v[lb->random(lb->random_ctx) % list->count]->host;
        if (!best || host_value(h, HOST_RQ_ACTIVE) < host_value(best, HOST_RQ_ACTIVE))
            best = h;
    }
    return best;
}
