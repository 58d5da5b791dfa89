/* Where a retry goes when the priorities of earlier attempts are left out (Envoy's previous_priorities).
 *
 * Pure. The attempts are gone through anew for each pick, so that nothing is kept from one to the next. */
#include "sidecar/balance/lb_priv.h"

#include <stdlib.h>

struct loads {
    uint32_t healthy, degraded;
    bool is_excluded;
};

static void exclude(const struct host_view *view, const struct host *h, struct loads *loads)
{
    for (unsigned i = 0; i < view->set->count; i++)
        if (view->set->members[i].host == h)
            loads[view->set->members[i].priority].is_excluded = true;
}

static uint32_t able_sum(const struct host_view *view, const struct loads *loads)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < view->priority_count; i++)
        if (!loads[i].is_excluded)
            sum += view->priorities[i].able_healthy + view->priorities[i].able_degraded;
    return sum < 100 ? sum : 100;
}

static uint32_t take(uint32_t *left, uint32_t able, uint32_t sum)
{
    uint32_t load = able * 100 / sum < *left ? able * 100 / sum : *left;
    *left -= load;
    return load;
}

/* Rounding errors go to the first again. */
static void spread(const struct host_view *view, uint32_t sum, struct loads *loads)
{
    for (unsigned i = 0; i < view->priority_count; i++)
        loads[i].healthy = loads[i].degraded = 0;
    for (uint32_t left = 100; left > 0;) {
        for (unsigned i = 0; i < view->priority_count; i++)
            if (!loads[i].is_excluded)
                loads[i].healthy += take(&left, view->priorities[i].able_healthy, sum);
        for (unsigned i = 0; i < view->priority_count; i++)
            if (!loads[i].is_excluded)
                loads[i].degraded += take(&left, view->priorities[i].able_degraded, sum);
    }
}

/* False: the loads stay as they are for everybody. */
static bool spread_without(const struct host_view *view, const struct lb_ctx *ctx,
                           struct loads *loads)
{
    bool is_changed = false;
    for (unsigned i = 0, since = 0; i < ctx->tried_count; i++) {
        if (++since % ctx->avoid->priority_frequency != 0)
            continue;
        for (unsigned k = i + 1 - since; k <= i; k++)
            exclude(view, ctx->tried[k], loads);
        uint32_t sum = able_sum(view, loads);
        if (sum == 0) { /* all had their turn: from the start */
            for (unsigned k = 0; k < view->priority_count; k++)
                loads[k].is_excluded = false;
            since = 0;
            sum = able_sum(view, loads);
        }
        is_changed = sum > 0;
        if (is_changed)
            spread(view, sum, loads);
    }
    return is_changed;
}

const struct host_priority *priority_choose_for_retry(const struct host_view *view, uint64_t draw,
                                                      const struct lb_ctx *ctx, bool *degraded_r)
{
    struct loads *loads = xcalloc(view->priority_count, sizeof(*loads));
    const struct host_priority *chosen = NULL;
    uint64_t percent = draw % 100 + 1, sum = 0;
    bool is_changed = spread_without(view, ctx, loads);
    *degraded_r = false;
    for (unsigned i = 0; is_changed && !chosen && i < view->priority_count; i++) {
        sum += loads[i].healthy;
        chosen = percent <= sum ? &view->priorities[i] : NULL;
    }
    for (unsigned i = 0; is_changed && !chosen && i < view->priority_count; i++) {
        sum += loads[i].degraded;
        *degraded_r = true;
        chosen = percent <= sum ? &view->priorities[i] : NULL;
    }
    assert(chosen || !is_changed);
    free(loads);
    return chosen;
}
