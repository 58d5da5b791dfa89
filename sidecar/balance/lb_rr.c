/* Round robin. Equal weights: one after the other, from a random start. Different weights: EDF, so
 * that weights 1, 2, 3 give 1 2 3 3 2 3. */
#include "sidecar/balance/lb_priv.h"

double lb_rr_weight(const struct lb *lb, const struct hostset_member *m)
{
    return lb_slow_start_weight(lb, m, m->weight);
}

struct host *lb_rr_pick(struct lb *lb, const struct host_list *list)
{
    if (lb_has_queue(lb, list))
        return lb_queue_pick(lb, list, lb_rr_weight)->host;
    return list->v[lb->places[list->id].index++ % list->count]->host;
}
