/* From endpoints to a host set, on main.
 *
 * A host is known by its address within its cluster's life: as long as anybody holds it, the same
 * address gives the same object again, with its counts. Another hostname or hash key makes another
 * object, and so does another transport. */
#include "sidecar/base/log.h"
#include "sidecar/upstream/live_priv.h"

#include <stdlib.h>
#include <string.h>

struct live_host {
    struct host host;
    struct outlier_host outlier;
    struct life *life; /* counted */
    char *hostname, *hash_key;
    uint64_t seen_in; /* the last build that used it */
};

static struct live_host *live_host_of(struct host *h)
{
    return CONTAINER_OF(h, struct live_host, host);
}

struct host *live_host_of_outlier(struct outlier_host *o)
{
    return &CONTAINER_OF(o, struct live_host, outlier)->host;
}

static void drop_on_main(void *arg)
{
    struct host *h = arg;
    if (!host_drop(h))
        return;
    struct live_host *lh = live_host_of(h);
    if (table_get(&lh->life->hosts, str_of(h->text)) == lh)
        table_remove(&lh->life->hosts, str_of(h->text));
    life_unref(lh->life);
    free(lh->hostname);
    free(lh->hash_key);
    free(lh);
}

static void unref(struct host *h)
{
    home_run(live_host_of(h)->life->home, drop_on_main, h);
}

/* A host set is given back whole, not host by host. */
static void free_set_on_main(void *arg)
{
    hostset_free(arg);
}

static void send_set_home(struct shared *shared)
{
    struct hostset *set = CONTAINER_OF(shared, struct hostset, shared);
    home_run(set->maker, free_set_on_main, set);
}

/* What envoy.lb's hash_key says, or nothing. */
static struct str configured_hash_key(const struct endpoint *e)
{
    for (unsigned i = 0; i < e->metadata_count; i++)
        if (e->metadata[i].is_string && str_eq(e->metadata[i].filter, STR("envoy.lb")) &&
            str_eq(e->metadata[i].key, STR("hash_key")))
            return e->metadata[i].value;
    return STR_NONE;
}

static struct live_host *live_host_new(struct life *life, const struct endpoint *e, unsigned transport)
{
    struct live_host *lh = NEW(struct live_host);
    host_init(&lh->host, &e->addr, unref);
    lh->life = life_ref(life);
    lh->host.health_epoch = &life->health_epoch;
    lh->host.outlier = &lh->outlier;
    lh->hostname = xmemdup0(e->hostname.p, e->hostname.n);
    lh->host.hostname = lh->hostname;
    lh->host.transport = transport;
    struct str hash_key = configured_hash_key(e);
    if (hash_key.n) {
        lh->hash_key = xmemdup0(hash_key.p, hash_key.n);
        lh->host.hash_key = lh->hash_key;
    }
    table_put(&life->hosts, str_of(lh->host.text), lh);
    return lh;
}

static bool is_same(const struct live_host *lh, const struct endpoint *e, unsigned transport)
{
    struct str hash_key = configured_hash_key(e);
    return str_eq_c(e->hostname, lh->hostname) && lh->host.transport == transport &&
           (hash_key.n ? str_eq_c(hash_key, lh->host.hash_key) : !lh->hash_key);
}

/* With a reference for the caller. */
static struct live_host *live_host_get(struct live_cluster *lc, const struct endpoint *e)
{
    char text[ADDR_TEXT_CAP];
    unsigned transport = cluster_cfg_match_transport(lc->cfg, e->metadata, e->metadata_count);
    struct live_host *lh =
        table_get(&lc->life->hosts, str_of(addr_format(&e->addr, text, sizeof(text))));
    if (lh && is_same(lh, e, transport))
        host_ref(&lh->host);
    else
        lh = live_host_new(lc->life, e, transport);
    /* One that joins, be it again, is in slow start. */
    if (lh->seen_in == 0 || (lh->seen_in != lc->build && lh->seen_in != lc->live->builds))
        lh->host.added_ms = loop_now_ns(lc->live->options.loop) / 1000000;
    return lh;
}

static enum host_health health_of(enum endpoint_health health)
{
    switch (health) {
    case HEALTH_UNKNOWN:
    case HEALTH_HEALTHY:
        return HOST_HEALTHY;
    case HEALTH_DEGRADED:
        return HOST_DEGRADED;
    case HEALTH_UNHEALTHY:
    case HEALTH_DRAINING:
    case HEALTH_TIMEOUT:
        break;
    }
    return HOST_UNHEALTHY;
}

static enum balance_policy policy_of(const struct cluster_cfg *cfg)
{
    switch (cfg->lb) {
    case LB_LEAST_REQUEST:
        return BALANCE_LEAST_REQUEST;
    case LB_RING_HASH:
        return BALANCE_RING_HASH;
    case LB_RANDOM:
        return BALANCE_RANDOM;
    case LB_MAGLEV:
        return BALANCE_MAGLEV;
    case LB_ROUND_ROBIN:
    case LB_CLUSTER_PROVIDED: /* LOGICAL_DNS: one host */
        break;
    }
    return BALANCE_ROUND_ROBIN;
}

static struct hostset_options options_of(const struct cluster_cfg *cfg,
                                         const struct endpoints_cfg *e)
{
    return (struct hostset_options){
        .policy = policy_of(cfg),
        .overprovisioning_factor = e->overprovisioning_factor,
        .panic_threshold = cfg->panic_threshold,
        .locality_weighted = cfg->locality_weighted,
        .weighted_priority_health = e->weighted_priority_health,
        .subsets = cfg->subsets,
        .fail_on_panic = cfg->fail_traffic_on_panic,
        .choice_count = cfg->lb_options.choice_count,
        .full_scan = cfg->lb_options.full_scan,
        .active_request_bias = cfg->lb_options.active_request_bias,
        .use_hostname = cfg->lb_options.use_hostname_for_hashing,
        .hash_balance_factor = cfg->lb_options.hash_balance_factor,
        .slow_start.window_ms = cfg->lb_options.slow_start_window_ms,
        .slow_start.aggression = cfg->lb_options.slow_start_aggression,
        .slow_start.min_weight_part = cfg->lb_options.slow_start_min_percent / 100,
        .ring_min = cfg->lb_options.ring_min,
        .ring_max = cfg->lb_options.ring_max,
        .maglev_table_size = cfg->lb_options.maglev_table_size,
    };
}

/* The members of a set that is being built. */
struct members {
    struct hostset_member *v;
    unsigned count;
};

static void add_member(struct live_cluster *lc, struct members *m, const struct endpoint *e,
                       const struct locality_endpoints *locality, unsigned at)
{
    if (e->addr.len == 0) {
        log_warn(LOG_UPSTREAM,
                 "cluster %.*s: endpoint %.*s:%u is a name; only DNS clusters resolve names",
                 STR_FMT(lc->cfg->name), STR_FMT(e->hostname), e->port);
        return;
    }
    struct live *l = lc->live;
    struct live_host *lh = live_host_get(lc, e);
    if (lh->seen_in == l->builds) { /* an address given twice counts once */
        host_unref(&lh->host);
        return;
    }
    lh->seen_in = l->builds;
    m->v[m->count++] = (struct hostset_member){.host = &lh->host,
                                               .weight = e->weight ? e->weight : 1,
                                               .priority = locality->priority,
                                               .locality = at,
                                               .locality_rank = locality->rank,
                                               .health = health_of(e->health),
                                               .labels = e->labels,
                                               .label_count = e->label_count};
}

/* Whether other hosts are members now than before. */
static bool is_changed(const struct live_cluster *lc, const struct hostset *set)
{
    if (!lc->set || lc->set->count != set->count)
        return true;
    for (unsigned i = 0; i < lc->set->count; i++)
        if (live_host_of(lc->set->members[i].host)->seen_in != lc->live->builds)
            return true;
    return false;
}

struct hostset *live_hosts_build(struct live_cluster *lc, const struct endpoints_cfg *e,
                                 bool *changed_r)
{
    unsigned total = 0;
    for (unsigned i = 0; i < e->count; i++)
        total += e->localities[i].count;
    struct members m = {.v = xcalloc(total + 1, sizeof(*m.v))};
    uint32_t *weights = xcalloc(e->count + 1, sizeof(*weights));
    lc->live->builds++;
    for (unsigned i = 0; i < e->count; i++) {
        const struct locality_endpoints *locality = &e->localities[i];
        weights[i] = locality->weight;
        for (unsigned k = 0; k < locality->count; k++)
            add_member(lc, &m, &locality->endpoints[k], locality, i);
    }
    struct hostset_options options = options_of(lc->cfg, e);
    struct hostset *set = hostset_new(&options, m.v, m.count, weights, e->count);
    set->maker = &lc->live->home;
    set->shared.free = send_set_home;
    for (unsigned i = 0; i < m.count; i++)
        host_unref(m.v[i].host); /* the set has its own */
    free(m.v);
    free(weights);
    *changed_r = is_changed(lc, set);
    lc->build = lc->live->builds;
    return set;
}
