/* How the load spreads over the priorities of a host set, as Envoy computes it: each priority can
 * bear its healthy share times the overprovisioning factor; the first ones are filled first; what
 * is left goes to degraded hosts; below the panic threshold a priority uses all its hosts.
 *
 * Pure arithmetic on a set that is being made. Percentages are whole numbers, as Envoy's. */
#include "sidecar/balance/host_view_priv.h"

static uint64_t list_weight(const struct host_list *list)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < list->count; i++)
        sum += list->v[i]->weight;
    return sum;
}

static uint32_t able_percent(const struct host_view *view, const struct host_list *part,
                             const struct host_list *all)
{
    uint64_t have = view->set->options.weighted_priority_health ? list_weight(part) : part->count;
    uint64_t total = view->set->options.weighted_priority_health ? list_weight(all) : all->count;
    if (total == 0)
        return 0;
    uint64_t percent = view->set->options.overprovisioning_factor * have / total;
    return percent < 100 ? (uint32_t)percent : 100;
}

static double available_percent(const struct host_priority *p)
{
    if (p->all.count == 0)
        return 0;
    return 100.0 * (p->healthy.count + p->degraded.count) / p->all.count;
}

/* Everything is in panic: the load goes by the number of hosts, rounding errors to the first that
 * has any. */
static void spread_in_total_panic(struct host_view *view)
{
    uint32_t left = 100;
    struct host_priority *first = NULL;
    for (unsigned i = 0; i < view->priority_count; i++) {
        struct host_priority *p = &view->priorities[i];
        p->degraded_load = 0;
        p->healthy_load = view->count ? 100 * p->all.count / view->count : 0;
        left -= p->healthy_load;
        if (!first && p->all.count)
            first = p;
    }
    (first ? first : &view->priorities[0])->healthy_load += left;
}

static void spread_by_ability(struct host_view *view, uint32_t total)
{
    uint32_t left = 100;
    uint32_t *first = NULL;
    for (unsigned i = 0; i < view->priority_count; i++) {
        uint32_t load = view->priorities[i].able_healthy * 100 / total;
        view->priorities[i].healthy_load = load < left ? load : left;
        left -= view->priorities[i].healthy_load;
        if (!first && view->priorities[i].able_healthy)
            first = &view->priorities[i].healthy_load;
    }
    for (unsigned i = 0; i < view->priority_count; i++) {
        uint32_t load = view->priorities[i].able_degraded * 100 / total;
        view->priorities[i].degraded_load = load < left ? load : left;
        left -= view->priorities[i].degraded_load;
        if (!first && view->priorities[i].able_degraded)
            first = &view->priorities[i].degraded_load;
    }
    assert(first);
    *first += left; /* rounding errors */
}

static void panic_decide(struct host_view *view, uint32_t total)
{
    bool all_panic = true;
    for (unsigned i = 0; i < view->priority_count; i++) {
        struct host_priority *p = &view->priorities[i];
        p->panic = total < 100 && available_percent(p) < view->set->options.panic_threshold;
        all_panic &= p->panic;
    }
    if (all_panic)
        spread_in_total_panic(view);
}

void priority_spread(struct host_view *view)
{
    uint32_t total = 0;
    for (unsigned i = 0; i < view->priority_count; i++) {
        struct host_priority *p = &view->priorities[i];
        p->able_healthy = able_percent(view, &p->healthy, &p->all);
        p->able_degraded = able_percent(view, &p->degraded, &p->all);
        total += p->able_healthy + p->able_degraded;
    }
    if (total > 100)
        total = 100;
    if (total > 0)
        spread_by_ability(view, total);
    else
        view->priorities[0].healthy_load =
            100; /* nobody is able: picks find nothing, unless in panic */
    panic_decide(view, total);
}
