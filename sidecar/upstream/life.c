/* Lives of clusters: breakers and statistics under a name. Main makes and frees them; workers hold
 * references and use the breakers (atomics) and the statistics (their own row). */
#include "sidecar/upstream/life.h"

#include "sidecar/observe/families.h"
#include "sidecar/upstream/live_priv.h"

#include <stdlib.h>

static const enum cluster_stat open_gauges[2] = {CLUSTER_CIRCUIT_BREAKERS_DEFAULT_CX_OPEN,
                                                 CLUSTER_CIRCUIT_BREAKERS_HIGH_CX_OPEN};

/* The order in which the families list the gauges of one priority. */
static const enum breaker_kind open_order[] = {BREAKER_CX, BREAKER_CX_POOL, BREAKER_RQ,
                                               BREAKER_PENDING, BREAKER_RETRY};
static const enum breaker_kind remaining_order[] = {BREAKER_CX, BREAKER_CX_POOL, BREAKER_PENDING,
                                                    BREAKER_RETRY, BREAKER_RQ};

struct life *life_new(struct live *live, const struct home *home, struct stats *stats,
                      const struct cluster_cfg *cfg, char *key)
{
    struct life *l = NEW(struct life);
    l->home = home;
    atomic_init(&l->refs, 1);
    l->live = live;
    l->key = key;
    l->stats = stats_scope_ref(stats, &cluster_family, cfg->stat_name);
    l->external = stats_scope_ref(stats, &cluster_external_family, cfg->stat_name);
    l->internal = stats_scope_ref(stats, &cluster_internal_family, cfg->stat_name);
    l->retry = stats_scope_ref(stats, &cluster_retry_family, cfg->stat_name);
    life_set_limits(l, stats, cfg);
    return l;
}

void life_set_limits(struct life *l, struct stats *stats, const struct cluster_cfg *cfg)
{
    if (cfg->protocol != UPSTREAM_HTTP1 && !l->http2)
        l->http2 = stats_scope_ref(stats, &cluster_http2_family, cfg->stat_name);
    if (cluster_cfg_has_tls(cfg) && !l->tls)
        l->tls = stats_scope_ref(stats, &cluster_ssl_family, cfg->stat_name);
    for (unsigned i = 0; i < 2; i++) {
        const struct breaker_thresholds *t = &cfg->thresholds[i];
        struct breaker *b = &l->breakers[i];
        breaker_set_limit(b, BREAKER_CX, t->max_connections);
        breaker_set_limit(b, BREAKER_PENDING, t->max_pending_requests);
        breaker_set_limit(b, BREAKER_RQ, t->max_requests);
        breaker_set_limit(b, BREAKER_RETRY, t->max_retries);
        breaker_set_limit(b, BREAKER_CX_POOL, t->max_connection_pools);
        breaker_set_budget(b, t->retry_budget, t->budget_percent, t->min_retry_concurrency);
        if (t->track_remaining && !l->remaining[i])
            l->remaining[i] =
                stats_scope_ref(stats, &cluster_remaining_family[i], cfg->stat_name);
        if (!t->track_remaining)
            stats_scope_unref(&l->remaining[i]);
    }
}

static uint64_t remaining(const struct breaker *b, enum breaker_kind kind)
{
    if (kind == BREAKER_RETRY && b->budget_on)
        return 0; /* Envoy shows nothing of a budget here */
    uint32_t limit = breaker_limit(b, kind), active = breaker_active(b, kind);
    if (kind == BREAKER_CX_POOL && limit == UINT32_MAX)
        return UINT64_MAX - active; /* as Envoy, whose bound of pools is that wide where none is set */
    return limit > active ? limit - active : 0;
}

void life_collect(struct life *l)
{
    unsigned row = stats_main_row();
    for (unsigned p = 0; p < 2; p++) {
        for (unsigned i = 0; i < ARRAY_LEN(open_order); i++)
            stats_set(l->stats, row, open_gauges[p] + i,
                      breaker_is_full(&l->breakers[p], open_order[i]));
        for (unsigned i = 0; l->remaining[p] && i < ARRAY_LEN(remaining_order); i++)
            stats_set(l->remaining[p], row, i, remaining(&l->breakers[p], remaining_order[i]));
    }
}

static void life_drop(void *arg)
{
    struct life *l = arg;
    uint32_t before = atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before > 1)
        return;
    for (unsigned p = 0; p < 2; p++)
        for (unsigned k = 0; k < BREAKER_KIND_COUNT; k++)
            assert(breaker_active(&l->breakers[p], k) == 0);
    assert(l->hosts.count == 0);
    live_forget_life(l->live, l);
    stats_scope_unref(&l->stats);
    stats_scope_unref(&l->external);
    stats_scope_unref(&l->internal);
    stats_scope_unref(&l->retry);
    stats_scope_unref(&l->http2);
    stats_scope_unref(&l->tls);
    stats_scope_unref(&l->remaining[0]);
    stats_scope_unref(&l->remaining[1]);
    table_fini(&l->hosts);
    free(l->key);
    free(l);
}

void life_unref(struct life *l)
{
    home_run(l->home, life_drop, l);
}
