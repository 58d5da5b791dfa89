/* Random choice, blind to weights as Envoy's. */
#include "sidecar/balance/lb_priv.h"

struct host *lb_random_pick(struct lb *lb, const struct host_list *list)
{
    return list->v[lb->random(lb->random_ctx) % list->count]->host;
}
