/* The control plane's side of the server: resources that the ADS client brings go to the index. Main thread. */
#include "sidecar/server_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"

#include "proto/codec.h"

#include <stdio.h>
#include <stdlib.h>

static enum resource_kind kind_of(enum xds_type type)
{
    static const enum resource_kind kinds[XDS_TYPE_COUNT] = {
        [XDS_CLUSTER] = RESOURCE_CLUSTER,
        [XDS_ENDPOINT] = RESOURCE_ENDPOINTS,
        [XDS_LISTENER] = RESOURCE_LISTENER,
        [XDS_ROUTE] = RESOURCE_ROUTE,
    };
    assert(type < XDS_TYPE_COUNT);
    return kinds[type];
}

static void add_need(void *ctx, struct str name, uint64_t timeout_ms, struct str stat_prefix)
{
    xds_needs_add(ctx, name, timeout_ms, stat_prefix);
}

static bool put(void *ctx, const struct xds_resource *r, struct xds_needs *needs, struct err *err)
{
    struct server *s = ctx;
    if (!index_put(s->index, kind_of(r->type), r->name, r->version, r->value, err))
        return false;
    index_needs(s->index, kind_of(r->type), r->name, add_need, needs);
    return true;
}

static void activate(void *ctx, enum xds_type type, struct str name)
{
    struct server *s = ctx;
    index_activate(s->index, kind_of(type), name);
}

static void forget(void *ctx, enum xds_type type, struct str name)
{
    struct server *s = ctx;
    index_remove(s->index, kind_of(type), name);
}

static void on_live(void *ctx)
{
    struct server *s = ctx;
    if (s->state == SERVER_INITIALIZING)
        server_set_state(s, SERVER_SERVING);
}

static const struct xds_sink sink = {.put = put, .activate = activate, .remove = forget, .on_live = on_live};

/* The ADS cluster's first usable host; NULL: none is known. */
static const struct host *control_plane(const struct server *s)
{
    struct live_host_view view;
    for (size_t i = 0; live_next_host(s->live, s->bootstrap->ads_cluster, &i, &view);)
        if (view.health != HOST_UNHEALTHY)
            return view.host;
    return NULL;
}

static bool address(void *ctx, struct addr *addr_r)
{
    const struct host *h = control_plane(ctx);
    if (h)
        *addr_r = h->addr;
    return h != NULL;
}

static void prepare(void *ctx, struct conn *c)
{
    struct server *s = ctx;
    live_begin(s->live, s->bootstrap->ads_cluster, control_plane(s), c, STR("\x02h2"));
}

/* ---- The agent, on the same connection. ---- */

static void on_connected(void *ctx, struct codec *codec)
{
    struct server *s = ctx;
    agent_connected(s->agent, codec);
}

static void on_disconnected(void *ctx)
{
    struct server *s = ctx;
    agent_disconnected(s->agent);
}

static void on_eject(void *ctx, const struct live_eject_event *event)
{
    struct server *s = ctx;
    agent_on_eject(s->agent, event);
}

static void start_agent(struct server *s)
{
    const struct agent_ops ops = {
        .live = s->live,
        .node_id = str_of(s->bootstrap->node->id),
        .admin_get = server_admin_get,
    };
    s->agent = agent_new(s->loop, &ops, s);
    live_on_eject(s->live, on_eject, s);
}

void server_xds_start(struct server *s)
{
    struct bootstrap *b = s->bootstrap;
    struct buf node = {0};
    const char *state_dir = getenv("OUTRIGGER_STATE_DIR");
    char *state_path = state_dir && state_dir[0] ? xasprintf("%s/last-good.xds", state_dir) : NULL;
    const Envoy__Config__Core__V3__GrpcService__EnvoyGrpc *grpc =
        b->message->dynamic_resources->ads_config->grpc_services[0]->envoy_grpc;
    const struct cluster_cfg *cluster = live_find(s->live, b->ads_cluster);
    const struct xds_options options = {
        .mode = b->ads_delta ? XDS_DELTA : XDS_SOTW,
        .clusters = b->wants_cds,
        .listeners = b->wants_lds,
        .authority = grpc->authority[0] ? str_of(grpc->authority) : b->ads_cluster,
        .fetch_timeout_ms = b->first_fetch_timeout_ms,
        .keepalive_ms = cluster ? cluster->h2_keepalive_interval_ms : 0,
        .keepalive_timeout_ms = cluster ? cluster->h2_keepalive_timeout_ms : 0,
        .state_path = state_path,
        .stats = s->stats,
        .address = address,
        .prepare = prepare,
        .on_connected = on_connected,
        .on_disconnected = on_disconnected,
    };
    start_agent(s);
    codec_pack(&b->node->base, &node);
    s->xds = xds_start(s->loop, &options, buf_str(&node), str_of(b->node->id), &sink, s);
    buf_fini(&node);
    free(state_path);
}
