/* Slow start: a host that joined less than a window ago counts with a part of its weight that grows over
 * the window. Pure; time comes in with the pick.
 *
 * As in Envoy, the clock of a host starts when it joins, not when it returns from ejection, and hosts
 * of equal weight go by queue from the moment a view is first used in somebody's slow start until
 * there is another view. */
#include "sidecar/balance/lb_priv.h"

#include <math.h>

uint64_t lb_slow_start_latest(const struct host_view *view)
{
    uint64_t latest = 0;
    for (unsigned i = 0; i < view->priority_count; i++) {
        const struct host_list *healthy = &view->priorities[i].healthy;
        for (unsigned k = 0; k < healthy->count; k++)
            if (healthy->v[k]->host->added_ms > latest)
                latest = healthy->v[k]->host->added_ms;
    }
    return latest;
}

bool lb_slow_start_is_on(const struct lb *lb)
{
    uint64_t window_ms = lb->set->options.slow_start.window_ms;
    return window_ms > 0 && lb->now_ms <= lb->latest_added_ms + window_ms;
}

double lb_slow_start_weight(const struct lb *lb, const struct hostset_member *m, double weight)
{
    const struct hostset_options *o = &lb->set->options;
    if (!lb_slow_start_is_on(lb) || hostset_member_health(m) != HOST_HEALTHY)
        return weight;
    uint64_t added_ms = m->host->added_ms;
    double age_ms = lb->now_ms > added_ms + 1 ? (double)(lb->now_ms - added_ms) : 1;
    double part = age_ms / (double)o->slow_start.window_ms;
    if (part >= 1)
        return weight;
    part = pow(part, 1 / o->slow_start.aggression);
    return weight * fmax(part, o->slow_start.min_weight_part);
}
