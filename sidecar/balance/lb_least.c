/* Least request. Equal weights: the least busy of a few hosts drawn at random, with replacement, the
 * first of equals; or of all, an even draw among equals. Different weights: EDF by weight / (active +
 * 1) ^ bias, taken when the host is queued again. */
#include "sidecar/balance/lb_priv.h"

#include <math.h>

double lb_least_weight(const struct lb *lb, const struct hostset_member *m)
{
    double active = (double)host_value(m->host, HOST_RQ_ACTIVE) + 1;
    double bias = lb->set->options.active_request_bias;
    return lb_slow_start_weight(lb, m, m->weight / pow(active, bias));
}

static struct host *least_of_few(struct lb *lb, const struct host_list *list)
{
    struct host *best = NULL;
    for (unsigned i = 0; i < lb->set->options.choice_count || !best; i++) {
        struct host *h = list->v[lb->random(lb->random_ctx) % list->count]->host;
        if (!best || host_value(h, HOST_RQ_ACTIVE) < host_value(best, HOST_RQ_ACTIVE))
            best = h;
    }
    return best;
}

static struct host *least_of_all(struct lb *lb, const struct host_list *list)
{
    struct host *best = list->v[0]->host;
    uint64_t least = host_value(best, HOST_RQ_ACTIVE);
    unsigned equals = 1;
    for (unsigned i = 1; i < list->count; i++) {
        struct host *h = list->v[i]->host;
        uint64_t active = host_value(h, HOST_RQ_ACTIVE);
        if (active > least)
            continue;
        equals = active < least ? 1 : equals + 1;
        least = active;
        if (equals == 1 || lb->random(lb->random_ctx) % equals == 0)
            best = h;
    }
    return best;
}

struct host *lb_least_pick(struct lb *lb, const struct host_list *list)
{
    if (lb_has_queue(lb, list))
        return lb_queue_pick(lb, list, lb_least_weight)->host;
    return lb->set->options.full_scan ? least_of_all(lb, list) : least_of_few(lb, list);
}
