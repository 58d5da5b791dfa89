/* One cluster as a worker has it: its configuration, its position in the host set, its pools.
 *
 * On the worker's loop alone. Counted by uses: being in force is one, each holder, pool and TCP
 * connection another. Retired, it takes no new hosts; its pools finish what they have. */
#include "sidecar/upstream/upstream_priv.h"

#include <stdlib.h>

static uint64_t draw(void *ctx)
{
    return rng_u64(ctx);
}

struct cluster *cluster_new(struct upstream *up, struct cluster_cfg *cfg, struct life *life)
{
    struct cluster *c = NEW(struct cluster);
    list_init(&c->link);
    list_push_back(&up->clusters, &c->link);
    c->up = up;
    c->cfg = cfg;
    c->life = life;
    c->uses = 1;
    c->lb = lb_new(draw, &up->rng);
    list_init(&c->pools);
    list_init(&c->tcps);
    original_dst_init(c);
    return c;
}

static void cluster_free(void *arg)
{
    struct cluster *c = arg;
    assert(list_is_empty(&c->pools) && list_is_empty(&c->tcps));
    original_dst_fini(c);
    table_fini(&c->pools_by_key);
    lb_free(&c->lb);
    shared_unref(&c->cfg->shared);
    life_unref(c->life);
    free(c);
}

void cluster_use(struct cluster *c)
{
    assert(c->uses > 0);
    c->uses++;
}

void cluster_unuse(struct cluster *c)
{
    assert(c->uses > 0);
    if (--c->uses > 0)
        return;
    assert(c->is_retired);
    list_remove(&c->link);
    cluster_free(c);
}

void cluster_retire(struct cluster *c)
{
    assert(!c->is_retired);
    c->is_retired = true;
    LIST_FOREACH (&c->pools, link)
        pool_drain(pool_of_link(link));
    cluster_unuse(c);
}

void cluster_host_failed(struct cluster *c, const struct host *h)
{
    if (c->cfg->close_connections_on_host_failure)
        upstream_tcp_close_host(c, h);
    LIST_FOREACH (&c->pools, link)
        if (pool_host(pool_of_link(link)) == h)
            pool_drain(pool_of_link(link));
}

void cluster_close(struct cluster *c)
{
    LIST_FOREACH (&c->pools, link)
        pool_close(pool_of_link(link));
    upstream_tcp_close_all(c);
}

static int by_address(const void *a, const void *b)
{
    const struct host *x = *(struct host *const *)a, *y = *(struct host *const *)b;
    return x < y ? -1 : x > y;
}

/* Pools of hosts that the set does not have take no new request. */
static void drain_removed(struct cluster *c, const struct hostset *set)
{
    if (list_is_empty(&c->pools))
        return;
    const struct host **hosts = xcalloc(set->count + 1, sizeof(*hosts));
    for (unsigned i = 0; i < set->count; i++)
        hosts[i] = set->members[i].host;
    qsort(hosts, set->count, sizeof(*hosts), by_address);
    LIST_FOREACH (&c->pools, link) {
        struct pool *p = pool_of_link(link);
        const struct host *h = pool_host(p);
        if (bsearch(&h, hosts, set->count, sizeof(*hosts), by_address))
            continue;
        if (c->cfg->close_connections_on_host_removal)
            pool_close(p);
        else
            pool_drain(p);
    }
    free(hosts);
}

void cluster_set_hosts(struct cluster *c, struct hostset *set)
{
    lb_update(c->lb, set);
    drain_removed(c, set);
}

static void add(struct cluster *c, enum cluster_stat stat, unsigned n)
{
    if (n)
        stats_add(c->life->stats, c->up->row, stat, n);
}

static void count_pick(struct cluster *c, const struct lb_counts *counts)
{
    add(c, CLUSTER_LB_HEALTHY_PANIC, counts->panic_picks);
    add(c, CLUSTER_LB_SUBSETS_SELECTED, counts->subset_selections);
    add(c, CLUSTER_LB_SUBSETS_FALLBACK, counts->subset_fallbacks);
    add(c, CLUSTER_LB_SUBSETS_FALLBACK_PANIC, counts->subset_panics);
}

struct host *cluster_pick(struct cluster *c, const struct upstream_ctx *ctx)
{
    struct host *h;
    if (c->cfg->type == CLUSTER_ORIGINAL_DST) {
        h = original_dst_pick(c, ctx);
    } else {
        struct lb_ctx lb_ctx = {.now_ms = loop_now_ms(c->up->loop),
                                .active_requests = breaker_active(&c->life->breakers[0], BREAKER_RQ) +
                                                   breaker_active(&c->life->breakers[1], BREAKER_RQ),
                                .criteria = ctx->criteria,
                                .has_hash = ctx->has_hash,
                                .hash = ctx->hash,
                                .avoid = ctx->avoid,
                                .tried = ctx->tried,
                                .tried_count = ctx->tried_count,
                                .max_picks = ctx->max_picks};
        struct lb_counts counts;
        h = lb_pick(c->lb, &lb_ctx, &counts);
        count_pick(c, &counts);
    }
    if (!h)
        cluster_inc(c, CLUSTER_UPSTREAM_CX_NONE_HEALTHY);
    return h;
}

enum cluster_drop cluster_drops(struct cluster *c)
{
    if (c->drop_denominator == 0 || c->drop_numerator == 0)
        return CLUSTER_DROP_NONE;
    if (c->drop_numerator >= c->drop_denominator)
        return CLUSTER_DROP_ALL;
    return rng_below(&c->up->rng, c->drop_denominator) < c->drop_numerator ? CLUSTER_DROP_DRAWN
                                                                           : CLUSTER_DROP_NONE;
}

const struct cluster_cfg *cluster_config(const struct cluster *c)
{
    return c->cfg;
}

struct stats_scope *cluster_stats(const struct cluster *c)
{
    return c->life->stats;
}

struct stats_scope *cluster_external_stats(const struct cluster *c)
{
    return c->life->external;
}

struct stats_scope *cluster_internal_stats(const struct cluster *c)
{
    return c->life->internal;
}

struct stats_scope *cluster_retry_stats(const struct cluster *c)
{
    return c->life->retry;
}

unsigned cluster_row(const struct cluster *c)
{
    return c->up->row;
}

struct upstream *cluster_upstream(const struct cluster *c)
{
    return c->up;
}

struct breaker *cluster_breaker(struct cluster *c, bool high_priority)
{
    return &c->life->breakers[high_priority];
}

void cluster_inc(struct cluster *c, enum cluster_stat stat)
{
    stats_inc(c->life->stats, c->up->row, stat);
}

void cluster_dec(struct cluster *c, enum cluster_stat stat)
{
    stats_dec(c->life->stats, c->up->row, stat);
}

static struct dial_options dial_options(const struct cluster *c)
{
    const struct cluster_cfg *cfg = c->cfg;
    struct dial_options o = {
        .conn.high_watermark_bytes = cfg->buffer_limit_bytes,
        .connect_timeout_ms = cfg->connect_timeout_ms,
        .source = cfg->bind_source,
        .freebind = cfg->bind_freebind,
    };
    o.keepalive.on = cfg->keepalive.on;
    o.keepalive.probes = cfg->keepalive.probes;
    o.keepalive.time_s = cfg->keepalive.time_s;
    o.keepalive.interval_s = cfg->keepalive.interval_s;
    return o;
}

struct str cluster_header(const struct cluster *c, const struct host *h, const struct upstream_origin *origin, uint8_t *bytes)
{
    unsigned version = c->cfg->tells_origin ? cluster_cfg_transport(c->cfg, h->transport)->proxy_protocol : 0;
    if (version == 0 || !origin)
        return STR_NONE;
    return str_n((const char *)bytes, proxy_protocol_write(version, &origin->source, &origin->destination, bytes));
}

struct conn *cluster_dial(struct cluster *c, const struct host *h, const struct dial_for *what)
{
    struct dial_options o = dial_options(c);
    struct conn *conn = dial(c->up->loop, &h->addr, &o);
    transport_begin(conn, &(struct transport_of){c->cfg, h, c->life, c->up->row}, what);
    return conn;
}

void cluster_count_end(struct cluster *c, uint64_t length_ms, bool is_local, bool with_request)
{
    stats_record(c->life->stats, c->up->row, CLUSTER_UPSTREAM_CX_LENGTH_MS, length_ms);
    cluster_inc(c, CLUSTER_UPSTREAM_CX_DESTROY);
    cluster_inc(c,
                is_local ? CLUSTER_UPSTREAM_CX_DESTROY_LOCAL : CLUSTER_UPSTREAM_CX_DESTROY_REMOTE);
    if (!with_request)
        return;
    cluster_inc(c, CLUSTER_UPSTREAM_CX_DESTROY_WITH_ACTIVE_RQ);
    cluster_inc(c, is_local ? CLUSTER_UPSTREAM_CX_DESTROY_LOCAL_WITH_ACTIVE_RQ
                            : CLUSTER_UPSTREAM_CX_DESTROY_REMOTE_WITH_ACTIVE_RQ);
}

enum upstream_failure cluster_count_connect_fail(struct cluster *c, struct host *h, enum conn_end end)
{
    cluster_inc(c, CLUSTER_UPSTREAM_CX_CONNECT_FAIL);
    host_add(h, HOST_CX_CONNECT_FAIL, 1);
    if (end == CONN_END_LOCAL)
        return UPSTREAM_CONNECT_LOCAL;
    if (end != CONN_END_CONNECT_TIMEOUT)
        return UPSTREAM_CONNECT_FAILED;
    cluster_inc(c, CLUSTER_UPSTREAM_CX_CONNECT_TIMEOUT);
    return UPSTREAM_CONNECT_TIMEOUT;
}
