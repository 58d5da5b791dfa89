/* Owns the client as a whole: options, the order of types, the end of each batch, when it is live. Main thread.
 *
 * Live, once: the first clusters and listeners came or were waited for long enough, and nothing accepted waits any more;
 * or a last good configuration was loaded. Invariant: the sink is called from inside xds_start, a response, or a timer, never
 * from xds_stop; on_live from a timer alone. */
#include "sidecar/xds/xds_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"

#include "proto/codec.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_CHUNK_BYTES 4096
/* gRPC's servers by default end connections that ping more often than every 5 minutes; who allows more can be asked to by
 * configuration. A host that is gone is noticed before that, by TCP. */
#define KEEPALIVE_MS 310000
#define KEEPALIVE_TIMEOUT_MS 10000

static const struct {
    const char *name;
    struct str url;
} types[XDS_TYPE_COUNT] = {
    [XDS_CLUSTER] = {"cds", {"type.googleapis.com/envoy.config.cluster.v3.Cluster", 51}},
    [XDS_ENDPOINT] = {"eds", {"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", 66}},
    [XDS_LISTENER] = {"lds", {"type.googleapis.com/envoy.config.listener.v3.Listener", 53}},
    [XDS_ROUTE] = {"rds", {"type.googleapis.com/envoy.config.route.v3.RouteConfiguration", 60}},
};

const char *xds_type_name(enum xds_type type)
{
    assert(type < XDS_TYPE_COUNT);
    return types[type].name;
}

struct str xds_type_url(enum xds_type type)
{
    assert(type < XDS_TYPE_COUNT);
    return types[type].url;
}

bool xds_type_find(struct str type_url, enum xds_type *type_r)
{
    for (enum xds_type t = 0; t < XDS_TYPE_COUNT; t++) {
        if (!str_eq(types[t].url, type_url))
            continue;
        *type_r = t;
        return true;
    }
    return false;
}

bool xds_is_root(enum xds_type type)
{
    return type == XDS_CLUSTER || type == XDS_LISTENER;
}

enum xds_type xds_needs_type(enum xds_type type)
{
    assert(xds_is_root(type));
    return type == XDS_CLUSTER ? XDS_ENDPOINT : XDS_ROUTE;
}

bool xds_is_subscribed(const struct xds *x, enum xds_type type)
{
    if (type == XDS_CLUSTER)
        return x->options.clusters;
    if (type == XDS_LISTENER)
        return x->options.listeners;
    return x->kinds[type].wants.by_name.count > 0;
}

void xds_set_str(struct str *field, struct str value)
{
    char *old = (char *)(uintptr_t)field->p;
    *field = value.n > 0 ? str_n(xmemdup0(value.p, value.n), value.n) : STR_NONE;
    free(old);
}

void xds_needs_add(struct xds_needs *needs, struct str name, uint64_t fetch_timeout_ms, struct str stat_prefix)
{
    if (needs->n == needs->cap) {
        size_t cap = needs->cap ? 2 * needs->cap : 8;
        struct xds_need_request *v = ARENA_ARRAY(needs->arena, struct xds_need_request, cap);
        if (needs->n > 0)
            memcpy(v, needs->v, needs->n * sizeof(*v));
        needs->v = v;
        needs->cap = cap;
    }
    needs->v[needs->n++] = (struct xds_need_request){
        .name = arena_str(needs->arena, name),
        .stat_prefix = arena_str(needs->arena, stat_prefix),
        .timeout_ms = fetch_timeout_ms,
    };
}

/* ---- Live. ---- */

static void on_live_timer(struct timer *t)
{
    struct xds *x = CONTAINER_OF(t, struct xds, live_timer);
    assert(!x->is_live);
    x->is_live = true;
    log_info(LOG_XDS, "live: %zu clusters, %zu listeners", x->kinds[XDS_CLUSTER].resources.count,
             x->kinds[XDS_LISTENER].resources.count);
    if (x->sink->on_live)
        x->sink->on_live(x->ctx);
}

static void check_live(struct xds *x)
{
    bool over = true;
    for (enum xds_type t = 0; t < XDS_TYPE_COUNT; t++)
        if (xds_is_root(t) && xds_is_subscribed(x, t))
            over = over && x->kinds[t].first_over && x->kinds[t].warming == 0;
    if (over && !x->is_live && !timer_is_armed(&x->live_timer))
        timer_arm(&x->live_timer, 0);
}

static void on_first_timeout(struct xds *x, enum xds_type type)
{
    log_warn(LOG_XDS, "%s: no answer within %llu ms; going on without", xds_type_name(type),
             (unsigned long long)x->options.fetch_timeout_ms);
    counts_root(x, type, COUNTS_TIMEOUT);
    x->kinds[type].first_over = true;
    check_live(x);
}

static void on_clusters_timeout(struct timer *t)
{
    on_first_timeout(CONTAINER_OF(t, struct xds, kinds[XDS_CLUSTER].first_timer), XDS_CLUSTER);
}

static void on_listeners_timeout(struct timer *t)
{
    on_first_timeout(CONTAINER_OF(t, struct xds, kinds[XDS_LISTENER].first_timer), XDS_LISTENER);
}

void xds_batch_end(struct xds *x)
{
    resources_settle(x);
    if (x->sink->batch_end)
        x->sink->batch_end(x->ctx);
    check_live(x);
    last_good_touch(x);
    request_flush(x);
}

/* ---- Life. ---- */

static void copy_options(struct xds *x, const struct xds_options *options)
{
    x->options = *options;
    x->options.authority = arena_str(x->arena, options->authority);
    x->options.state_path = arena_strdup(x->arena, options->state_path);
    if (options->keepalive_ms == 0)
        x->options.keepalive_ms = KEEPALIVE_MS;
    if (options->keepalive_timeout_ms == 0)
        x->options.keepalive_timeout_ms = KEEPALIVE_TIMEOUT_MS;
}

/* The node is our own: it comes from the bootstrap, and was read there. */
static void unpack_node(struct xds *x, struct str node)
{
    struct err err = {0};
    ProtobufCMessage *m =
        codec_unpack(&envoy__config__core__v3__node__descriptor, node.p, node.n, x->arena, &err);
    if (!m)
        die("xds: the node is no packed Node: %s", err.text);
    x->node = (void *)m;
}

static void init_kind(struct kind *k, struct loop *loop, timer_fn *on_first)
{
    k->refusal = xstrdup("");
    list_init(&k->ready);
    list_init(&k->wants.idle);
    list_init(&k->wants.fresh);
    if (on_first)
        timer_init(&k->first_timer, loop, on_first);
}

static void load_last_good(struct xds *x)
{
    if (!x->options.state_path || !last_good_load(x))
        return;
    x->kinds[XDS_CLUSTER].first_over = x->kinds[XDS_LISTENER].first_over = true;
    if (x->sink->batch_end)
        x->sink->batch_end(x->ctx);
}

static void wait_for_first(struct xds *x, enum xds_type type)
{
    struct kind *k = &x->kinds[type];
    if (xds_is_subscribed(x, type) && !k->first_over && x->options.fetch_timeout_ms > 0)
        timer_arm(&k->first_timer, x->options.fetch_timeout_ms);
}

struct xds *xds_start(struct loop *loop, const struct xds_options *options, struct str node, struct str node_id,
                      const struct xds_sink *sink, void *ctx)
{
    struct xds *x = NEW(struct xds);
    x->loop = loop;
    x->sink = sink;
    x->ctx = ctx;
    x->arena = arena_new(ARENA_CHUNK_BYTES);
    copy_options(x, options);
    unpack_node(x, node);
    x->node_id = arena_str(x->arena, node_id);
    rng_seed_system(&x->rng);
    init_kind(&x->kinds[XDS_CLUSTER], loop, on_clusters_timeout);
    init_kind(&x->kinds[XDS_ENDPOINT], loop, NULL);
    init_kind(&x->kinds[XDS_LISTENER], loop, on_listeners_timeout);
    init_kind(&x->kinds[XDS_ROUTE], loop, NULL);
    timer_init(&x->live_timer, loop, on_live_timer);
    counts_init(x);
    last_good_init(x);
    load_last_good(x);
    wait_for_first(x, XDS_CLUSTER);
    wait_for_first(x, XDS_LISTENER);
    check_live(x);
    ads_start(x);
    return x;
}

static void free_kind(struct kind *k)
{
    assert(list_is_empty(&k->ready) && k->resources.count == 0);
    timer_disarm(&k->first_timer);
    table_fini(&k->resources);
    table_fini(&k->wants.by_name);
    table_fini(&k->wants.gone);
    xds_set_str(&k->version, STR_NONE);
    xds_set_str(&k->nonce, STR_NONE);
    free(k->refusal);
}

void xds_stop(struct xds **xds)
{
    struct xds *x = *xds;
    if (!x)
        return;
    ads_stop(x);
    last_good_stop(x);
    timer_disarm(&x->live_timer);
    resources_free(x);
    counts_fini(x);
    for (enum xds_type t = 0; t < XDS_TYPE_COUNT; t++)
        free_kind(&x->kinds[t]);
    arena_free(&x->arena);
    free(x);
    *xds = NULL;
}

/* ---- What it tells. ---- */

bool xds_is_connected(const struct xds *x)
{
    return x->ads.state == ADS_OPEN && x->ads.connected;
}

bool xds_is_live(const struct xds *x)
{
    return x->is_live;
}

struct str xds_version(const struct xds *x, enum xds_type type)
{
    return x->kinds[type].version;
}

const char *xds_last_refusal(const struct xds *x, enum xds_type type)
{
    return x->kinds[type].refusal;
}

bool xds_next_warming(const struct xds *x, enum xds_type type, size_t *i, struct str *name_r)
{
    void *value;
    while (table_next(&x->kinds[type].resources, i, name_r, &value)) {
        const struct resource *r = value;
        if (r->warming)
            return true;
    }
    return false;
}
