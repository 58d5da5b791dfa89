/* Clusters and endpoints with Envoy's defaults, and their end. Made on main; freed by whoever holds
 * the last reference. */
#include "sidecar/upstream/cluster_cfg.h"

static void cluster_cfg_free(struct shared *shared)
{
    struct cluster_cfg *cfg = CONTAINER_OF(shared, struct cluster_cfg, shared);
    if (cfg->load_assignment)
        shared_unref(&cfg->load_assignment->shared);
    tls_ctx_unref(&cfg->transport.tls);
    for (unsigned i = 0; i < cfg->transport_match_count; i++)
        tls_ctx_unref(&cfg->transport_matches[i].transport.tls);
    struct arena *arena = cfg->arena;
    arena_free(&arena);
}

static struct breaker_thresholds default_thresholds(void)
{
    return (struct breaker_thresholds){
        .max_connections = 1024,
        .max_pending_requests = 1024,
        .max_requests = 1024,
        .max_retries = 3,
        .max_connection_pools = UINT32_MAX,
        .max_connections_per_host = UINT32_MAX,
        .budget_percent = 20,
        .min_retry_concurrency = 3,
    };
}

bool cluster_cfg_has_tls(const struct cluster_cfg *cfg)
{
    for (unsigned i = 0; i <= cfg->transport_match_count; i++)
        if (cluster_cfg_transport(cfg, i)->secure)
            return true;
    return false;
}

static bool has_pair(const struct metadata_pair *v, unsigned count, const struct metadata_pair *wanted)
{
    for (unsigned i = 0; i < count; i++)
        if (str_eq(v[i].filter, wanted->filter) && str_eq(v[i].key, wanted->key) && str_eq(v[i].value, wanted->value))
            return true;
    return false;
}

unsigned cluster_cfg_match_transport(const struct cluster_cfg *cfg, const struct metadata_pair *metadata, unsigned count)
{
    for (unsigned i = 0; i < cfg->transport_match_count; i++) {
        const struct transport_match *m = &cfg->transport_matches[i];
        unsigned fitting = 0;
        while (fitting < m->pair_count && has_pair(metadata, count, &m->pairs[fitting]))
            fitting++;
        if (fitting == m->pair_count)
            return i + 1;
    }
    return 0;
}

struct cluster_cfg *cluster_cfg_new(struct str name)
{
    struct arena *arena = arena_new(2048);
    struct cluster_cfg *cfg = ARENA_NEW(arena, struct cluster_cfg);
    shared_init(&cfg->shared, cluster_cfg_free);
    cfg->arena = arena;
    cfg->name = arena_str(arena, name);
    cfg->stat_name = cfg->name;
    cfg->eds_name = cfg->name;
    cfg->lb_options.choice_count = 2;
    cfg->lb_options.active_request_bias = 1;
    cfg->lb_options.ring_min = 1024;
    cfg->lb_options.ring_max = 8u << 20;
    cfg->lb_options.maglev_table_size = 65537;
    cfg->lb_options.slow_start_aggression = 1.0;
    cfg->lb_options.slow_start_min_percent = 10;
    cfg->panic_threshold = 50;
    cfg->http_header_name = STR("x-envoy-original-dst-host");
    cfg->connect_timeout_ms = 5000;
    cfg->buffer_limit_bytes = 1u << 20;
    cfg->cleanup_interval_ms = 5000;
    cfg->idle_timeout_ms = 3600 * 1000;
    cfg->h2_max_streams = 1024;
    cfg->thresholds[0] = cfg->thresholds[1] = default_thresholds();
    cfg->outlier = outlier_defaults();
    cfg->dns_family = DNS_AUTO;
    cfg->dns_refresh_ms = 5000;
    return cfg;
}

static void endpoints_cfg_free(struct shared *shared)
{
    struct arena *arena = CONTAINER_OF(shared, struct endpoints_cfg, shared)->arena;
    arena_free(&arena);
}

struct endpoints_cfg *endpoints_cfg_new(struct str name)
{
    struct arena *arena = arena_new(1024);
    struct endpoints_cfg *e = ARENA_NEW(arena, struct endpoints_cfg);
    shared_init(&e->shared, endpoints_cfg_free);
    e->arena = arena;
    e->name = arena_str(arena, name);
    e->overprovisioning_factor = 140;
    return e;
}
