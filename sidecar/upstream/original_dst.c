/* Hosts of ORIGINAL_DST clusters: wherever the connection was meant to go.
 *
 * Born in the worker that saw the address and never shared. A host that was not asked for during a
 * whole cleanup interval, and has no pool, is forgotten. */
#include "sidecar/upstream/upstream_priv.h"

#include <stdlib.h>

struct original_host {
    struct host host;
    bool was_used; /* since the last sweep */
};

static void host_unref_here(struct host *h)
{
    if (host_drop(h))
        free(CONTAINER_OF(h, struct original_host, host));
}

static void count_member(struct cluster *c, bool is_new)
{
    cluster_inc(c, CLUSTER_MEMBERSHIP_CHANGE);
    void (*count)(struct cluster *, enum cluster_stat) = is_new ? cluster_inc : cluster_dec;
    count(c, CLUSTER_MEMBERSHIP_TOTAL);
    count(c, CLUSTER_MEMBERSHIP_HEALTHY);
}

static void forget(struct cluster *c, struct str text, struct original_host *oh)
{
    table_remove(&c->original_hosts, text);
    host_unref(&oh->host);
    count_member(c, false);
}

static void sweep(struct cluster *c)
{
    struct str text;
    void *value;
    for (size_t i = 0; table_next(&c->original_hosts, &i, &text, &value);) {
        struct original_host *oh = value;
        if (!oh->was_used && atomic_load_explicit(&oh->host.refs, memory_order_relaxed) == 1)
            forget(c, text, oh);
        else
            oh->was_used = false;
    }
}

static void on_cleanup(struct timer *t)
{
    struct cluster *c = CONTAINER_OF(t, struct cluster, cleanup);
    sweep(c);
    if (c->original_hosts.count > 0)
        timer_arm(&c->cleanup, c->cfg->cleanup_interval_ms);
}

void original_dst_init(struct cluster *c)
{
    timer_init(&c->cleanup, c->up->loop, on_cleanup);
}

void original_dst_fini(struct cluster *c)
{
    timer_disarm(&c->cleanup);
    struct str text;
    void *value;
    for (size_t i = 0; table_next(&c->original_hosts, &i, &text, &value);)
        forget(c, text, value);
    table_fini(&c->original_hosts);
}

/* The address that the request is for; false: there is none, or it is no address. */
static bool destination(struct cluster *c, const struct upstream_ctx *ctx, struct addr *to)
{
    if (c->cfg->use_http_header && ctx->original_dst_header.n > 0) {
        if (!addr_parse(ctx->original_dst_header, to)) {
            cluster_inc(c, CLUSTER_ORIGINAL_DST_HOST_INVALID);
            return false;
        }
    } else if (ctx->original_dst && ctx->original_dst->len > 0) {
        *to = addr_copy(ctx->original_dst);
    } else {
        return false;
    }
    if (c->cfg->upstream_port_override)
        addr_set_port(to, (uint16_t)c->cfg->upstream_port_override);
    return true;
}

struct host *original_dst_pick(struct cluster *c, const struct upstream_ctx *ctx)
{
    struct addr to;
    if (!destination(c, ctx, &to))
        return NULL;
    char text[ADDR_TEXT_CAP];
    addr_format(&to, text, sizeof(text));
    struct original_host *oh = table_get(&c->original_hosts, str_of(text));
    if (!oh) {
        oh = NEW(struct original_host);
        host_init(&oh->host, &to, host_unref_here);
        oh->host.transport = cluster_cfg_match_transport(c->cfg, NULL, 0);
        table_put(&c->original_hosts, str_of(text), oh);
        count_member(c, true);
        if (!timer_is_armed(&c->cleanup))
            timer_arm(&c->cleanup, c->cfg->cleanup_interval_ms);
    }
    oh->was_used = true;
    return &oh->host;
}
