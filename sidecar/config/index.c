/* Owns the accepted resources: their bytes (for /config_dump and the last-good file) and the last refusal of each. Main
 * thread.
 *
 * A resource is *in force* when its piece was handed on. An accepted cluster or listener is *pending* until it is activated:
 * its new piece is kept here, its old one serves. Invariant: an entry in a table has bytes, or an error, or both. */
#include "sidecar/config/index.h"

#include "sidecar/base/buf.h"
#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/base/hash.h"
#include "sidecar/base/log.h"
#include "sidecar/base/table.h"
#include "sidecar/config/build.h"
#include "sidecar/config/runtime.h"
#include "sidecar/upstream/live.h"

#include "proto/codec.h"

#include <stdlib.h>
#include <string.h>

struct entry {
    struct resource r; /* strings are malloc'd, NUL-ended */
    struct listener_cfg *listener; /* in force: one reference */
    struct listener_cfg *pending_listener; /* each one reference */
    struct cluster_cfg *pending_cluster;
    bool was_put; /* something is in force */
};

struct index {
    struct live *live;
    struct secrets *secrets;
    const struct index_ops *ops;
    void *ctx;
    const Envoy__Config__Bootstrap__V3__LayeredRuntime *runtime; /* or NULL */
    struct table tables[RESOURCE_KIND_COUNT];
};

static const struct {
    const char *name, *type_url;
    const ProtobufCMessageDescriptor *descriptor;
} kinds[RESOURCE_KIND_COUNT] = {
    {"cluster", CODEC_TYPE_URL_PREFIX "envoy.config.cluster.v3.Cluster", &envoy__config__cluster__v3__cluster__descriptor},
    {"endpoints", CODEC_TYPE_URL_PREFIX "envoy.config.endpoint.v3.ClusterLoadAssignment",
     &envoy__config__endpoint__v3__cluster_load_assignment__descriptor},
    {"listener", CODEC_TYPE_URL_PREFIX "envoy.config.listener.v3.Listener",
     &envoy__config__listener__v3__listener__descriptor},
    {"route", CODEC_TYPE_URL_PREFIX "envoy.config.route.v3.RouteConfiguration",
     &envoy__config__route__v3__route_configuration__descriptor},
};

const char *resource_kind_name(enum resource_kind kind)
{
    assert(kind < RESOURCE_KIND_COUNT);
    return kinds[kind].name;
}

const char *resource_type_url(enum resource_kind kind)
{
    assert(kind < RESOURCE_KIND_COUNT);
    return kinds[kind].type_url;
}

/* ---- Entries. ---- */

static void set_text(struct str *s, struct str text)
{
    free((void *)(uintptr_t)s->p);
    *s = text.n > 0 ? (struct str){xmemdup0(text.p, text.n), text.n} : STR_NONE;
}

static struct entry *entry_of(struct index *x, enum resource_kind kind, struct str name)
{
    struct entry *e = table_get(&x->tables[kind], name);
    if (!e) {
        e = NEW(struct entry);
        set_text(&e->r.name, name);
        table_put(&x->tables[kind], name, e);
    }
    return e;
}

static void unref_listener(struct listener_cfg **l)
{
    if (*l)
        shared_unref(&(*l)->shared);
    *l = NULL;
}

static void unref_cluster(struct cluster_cfg **c)
{
    if (*c)
        shared_unref(&(*c)->shared);
    *c = NULL;
}

static void entry_free(struct entry *e)
{
    unref_listener(&e->listener);
    unref_listener(&e->pending_listener);
    unref_cluster(&e->pending_cluster);
    set_text(&e->r.name, STR_NONE);
    set_text(&e->r.version, STR_NONE);
    set_text(&e->r.bytes, STR_NONE);
    set_text(&e->r.error, STR_NONE);
    set_text(&e->r.error_version, STR_NONE);
    free(e);
}

struct index *index_new(struct live *live, struct secrets *secrets, const struct index_ops *ops, void *ctx)
{
    struct index *x = NEW(struct index);
    x->live = live;
    x->secrets = secrets;
    x->ops = ops;
    x->ctx = ctx;
    return x;
}

void index_set_runtime(struct index *x, const Envoy__Config__Bootstrap__V3__LayeredRuntime *runtime)
{
    x->runtime = runtime;
}

void index_free(struct index **x)
{
    if (!*x)
        return;
    for (unsigned kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        struct str key;
        void *e;
        for (size_t i = 0; table_next(&(*x)->tables[kind], &i, &key, &e);)
            entry_free(e);
        table_fini(&(*x)->tables[kind]);
    }
    free(*x);
    *x = NULL;
}

/* ---- In force. ---- */

static void refuse(struct entry *e, struct str version, const char *why)
{
    set_text(&e->r.error, str_of(why));
    set_text(&e->r.error_version, version);
    e->r.error_wall_us = clock_wall_us();
}

static bool activate_listener(struct index *x, struct entry *e, struct err *err)
{
    struct listener_cfg *l = e->pending_listener;
    e->pending_listener = NULL;
    e->r.warming = false;
    shared_ref(&l->shared);
    if (!x->ops->put_listener(x->ctx, l, err)) {
        shared_unref(&l->shared);
        unref_listener(&l);
        return false;
    }
    unref_listener(&e->listener);
    e->listener = l;
    e->was_put = true;
    return true;
}

static bool activate(struct index *x, struct entry *e, struct err *err)
{
    if (e->pending_listener)
        return activate_listener(x, e, err);
    if (e->pending_cluster) {
        live_put_cluster(x->live, e->pending_cluster);
        e->pending_cluster = NULL;
        e->r.warming = false;
        e->was_put = true;
    }
    return true;
}

void index_activate(struct index *x, enum resource_kind kind, struct str name)
{
    struct entry *e = table_get(&x->tables[kind], name);
    struct err err = {0};
    if (!e || activate(x, e, &err))
        return;
    log_error(LOG_CONFIG, "%s", err.text);
    refuse(e, e->r.version, err.text);
}

/* ---- Putting. ---- */

/* Envoy's validate_clusters: a static table may only name clusters that are there. */
struct unknown_cluster {
    struct index *x;
    struct str name;
};

static void find_unknown(void *ctx, struct str cluster)
{
    struct unknown_cluster *u = ctx;
    if (u->name.n == 0 && !live_find(u->x->live, cluster))
        u->name = cluster;
}

static bool validate_routes(struct index *x, const struct listener_cfg *l, struct err *err)
{
    for (unsigned i = 0; i <= l->chain_count; i++) {
        const struct filter_chain *c = i < l->chain_count ? &l->chains[i] : l->default_chain;
        struct unknown_cluster u = {x, STR_NONE};
        if (!c || c->kind != CHAIN_HTTP || !c->hcm->inline_route || !c->hcm->inline_route->validate_clusters)
            continue;
        build_route_clusters(c->hcm->inline_route, find_unknown, &u);
        if (u.name.n > 0)
            return err_set(err, "Listener %.*s: route: unknown cluster '%.*s'; define it, or set validate_clusters: false",
                           STR_FMT(l->name), STR_FMT(u.name));
    }
    return true;
}

/* A route table by name needs a subscription, and only resources of the control plane have those. */
static bool check_static_listener(const struct listener_cfg *l, struct err *err)
{
    for (unsigned i = 0; i <= l->chain_count; i++) {
        const struct filter_chain *c = i < l->chain_count ? &l->chains[i] : l->default_chain;
        if (c && c->kind == CHAIN_HTTP && c->hcm->rds_name.n > 0)
            return err_set(err, "Listener %.*s: rds: not supported in a static listener, got \"%.*s\"; give route_config, or "
                                "deliver the listener by LDS", STR_FMT(l->name), STR_FMT(c->hcm->rds_name));
    }
    return true;
}

/* The first address of l that other has, too; NULL: none. Port 0 is another one each time that it is bound. */
static const struct addr *shared_address(const struct listener_cfg *l, const struct listener_cfg *other)
{
    for (unsigned i = 0; other && i < l->address_count; i++) {
        const struct addr *at = &l->addresses[i];
        bool differs = l->bind_to_port && at->sa.sa_family != AF_UNIX && addr_port(at) == 0;
        for (unsigned k = 0; !differs && k < other->address_count; k++)
            if (addr_eq(at, &other->addresses[k]))
                return at;
    }
    return NULL;
}

/* As in Envoy: with two listeners at one address the kernel would give each some of its connections. */
static bool check_addresses(const struct index *x, const struct entry *own, const struct listener_cfg *l, struct err *err)
{
    char text[ADDR_TEXT_CAP];
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&x->tables[RESOURCE_LISTENER], &i, &name, &value);) {
        const struct entry *e = value;
        if (e == own)
            continue;
        const struct addr *at = shared_address(l, e->listener);
        if (!at)
            at = shared_address(l, e->pending_listener);
        if (at)
            return err_set(err, "Listener %.*s: address: %s is listener %.*s's already; give one of them another", STR_FMT(l->name),
                           addr_format(at, text, sizeof(text)), STR_FMT(name));
    }
    return true;
}

static bool put_listener(struct index *x, struct entry *e, const ProtobufCMessage *m, uint64_t hash, bool from_xds,
                         struct err *err)
{
    struct listener_cfg *l = build_listener((const void *)m, x->secrets, err);
    if (!l)
        return false;
    l->version_hash = hash;
    l->from_xds = from_xds;
    if (!runtime_connection_limit(x->runtime, l->name, &l->max_connections, err) || !validate_routes(x, l, err) ||
        !check_addresses(x, e, l, err) || (!from_xds && !check_static_listener(l, err)) ||
        !x->ops->reserve_listener(x->ctx, l, err)) {
        shared_unref(&l->shared);
        return false;
    }
    unref_listener(&e->pending_listener);
    e->pending_listener = l;
    e->r.warming = true;
    return true;
}

static bool put_cluster(struct index *x, struct entry *e, const ProtobufCMessage *m, uint64_t hash, bool from_xds, struct err *err)
{
    struct cluster_cfg *c = build_cluster((const void *)m, x->secrets, err);
    if (!c)
        return false;
    c->version_hash = hash;
    c->from_xds = from_xds;
    unref_cluster(&e->pending_cluster);
    e->pending_cluster = c;
    e->r.warming = true;
    return true;
}

static bool put_piece(struct index *x, enum resource_kind kind, struct entry *e, const ProtobufCMessage *m, uint64_t hash,
                      bool from_xds, struct err *err)
{
    if (kind == RESOURCE_CLUSTER)
        return put_cluster(x, e, m, hash, from_xds, err);
    if (kind == RESOURCE_LISTENER)
        return put_listener(x, e, m, hash, from_xds, err);
    if (kind == RESOURCE_ENDPOINTS) {
        struct endpoints_cfg *endpoints = build_endpoints((const void *)m, err);
        if (endpoints)
            live_set_endpoints(x->live, endpoints);
        return endpoints != NULL;
    }
    struct route_table *t = build_route_table((const void *)m, err);
    if (!t)
        return false;
    t->version_hash = hash;
    x->ops->put_route_table(x->ctx, t);
    return true;
}

static struct str name_of(enum resource_kind kind, const ProtobufCMessage *m)
{
    switch (kind) {
    case RESOURCE_CLUSTER:
        return str_of(((const Envoy__Config__Cluster__V3__Cluster *)m)->name);
    case RESOURCE_ENDPOINTS:
        return str_of(((const Envoy__Config__Endpoint__V3__ClusterLoadAssignment *)m)->cluster_name);
    case RESOURCE_LISTENER:
        return str_of(((const Envoy__Config__Listener__V3__Listener *)m)->name);
    default:
        return str_of(((const Envoy__Config__Route__V3__RouteConfiguration *)m)->name);
    }
}

static bool put(struct index *x, enum resource_kind kind, struct str name, struct str version, struct str bytes,
                const ProtobufCMessage *m, bool from_xds, struct err *err)
{
    struct entry *e = entry_of(x, kind, name);
    if (e->was_put && !e->r.from_xds)
        return err_set(err, "%s %.*s: a static resource of the bootstrap has this name; it stays",
                       resource_kind_name(kind), STR_FMT(name));
    if (!put_piece(x, kind, e, m, hash_xx64(bytes.p, bytes.n, 0), from_xds, err)) {
        refuse(e, version, err->text);
        return false;
    }
    if (kind == RESOURCE_ENDPOINTS || kind == RESOURCE_ROUTE)
        e->was_put = true;
    e->r.from_xds = from_xds;
    e->r.updated_wall_us = clock_wall_us();
    set_text(&e->r.bytes, bytes);
    set_text(&e->r.version, version);
    set_text(&e->r.error, STR_NONE);
    set_text(&e->r.error_version, STR_NONE);
    return true;
}

bool index_put(struct index *x, enum resource_kind kind, struct str name, struct str version, struct str bytes,
               struct err *err)
{
    assert(kind < RESOURCE_KIND_COUNT);
    struct entry *e = table_get(&x->tables[kind], name);
    /* Endpoints are passed on although they are equal: an answer ends a cluster's warming. */
    if (e && e->r.from_xds && e->r.bytes.n > 0 && e->r.error.n == 0 && str_eq(e->r.bytes, bytes) &&
        kind != RESOURCE_ENDPOINTS) {
        set_text(&e->r.version, version);
        return true;
    }
    struct arena *scratch = arena_new(4096);
    ProtobufCMessage *m = codec_unpack(kinds[kind].descriptor, bytes.p, bytes.n, scratch, err);
    bool ok = m != NULL;
    if (!ok)
        err_prefix(err, "%s %.*s", resource_kind_name(kind), STR_FMT(name));
    else if (!str_eq(name_of(kind, m), name))
        ok = err_set(err, "%s %.*s: the resource inside is called \"%.*s\"", resource_kind_name(kind), STR_FMT(name),
                     STR_FMT(name_of(kind, m)));
    if (ok)
        ok = put(x, kind, name, version, bytes, m, true, err);
    else
        refuse(entry_of(x, kind, name), version, err->text);
    arena_free(&scratch);
    return ok;
}

bool index_put_static(struct index *x, enum resource_kind kind, const ProtobufCMessage *m, struct err *err)
{
    struct buf bytes = {0};
    assert(m->descriptor == kinds[kind].descriptor);
    codec_pack(m, &bytes);
    struct str name = name_of(kind, m);
    const struct entry *e = table_get(&x->tables[kind], name);
    bool ok = !(e && e->was_put) ||
              err_set(err, "%s %.*s: given twice in static_resources", resource_kind_name(kind), STR_FMT(name));
    ok = ok && put(x, kind, name, STR_NONE, buf_str(&bytes), m, false, err) && activate(x, entry_of(x, kind, name), err);
    buf_fini(&bytes);
    return ok;
}

/* ---- Removing and reading. ---- */

bool index_remove(struct index *x, enum resource_kind kind, struct str name)
{
    struct entry *e = table_get(&x->tables[kind], name);
    if (!e || (e->was_put && !e->r.from_xds))
        return false;
    bool was_put = e->was_put;
    if (was_put && kind == RESOURCE_CLUSTER)
        live_remove_cluster(x->live, name);
    else if (was_put && kind == RESOURCE_ENDPOINTS)
        live_forget_endpoints(x->live, name);
    else if (was_put && kind == RESOURCE_LISTENER)
        x->ops->remove_listener(x->ctx, name);
    else if (kind == RESOURCE_LISTENER)
        x->ops->release_listener(x->ctx, name);
    else if (was_put && kind == RESOURCE_ROUTE)
        x->ops->remove_route_table(x->ctx, name);
    table_remove(&x->tables[kind], name);
    entry_free(e);
    return true;
}

void index_needs(const struct index *x, enum resource_kind kind, struct str name, index_need_fn *fn, void *ctx)
{
    const struct entry *e = table_get(&x->tables[kind], name);
    const struct cluster_cfg *cluster = !e ? NULL : e->pending_cluster ? e->pending_cluster : live_find(x->live, name);
    const struct listener_cfg *l = !e ? NULL : e->pending_listener ? e->pending_listener : e->listener;
    if (kind == RESOURCE_CLUSTER && cluster && cluster->type == CLUSTER_EDS)
        fn(ctx, cluster->eds_name, cluster->eds_fetch_timeout_ms, cluster->stat_name);
    for (unsigned i = 0; kind == RESOURCE_LISTENER && l && i <= l->chain_count; i++) {
        const struct filter_chain *c = i < l->chain_count ? &l->chains[i] : l->default_chain;
        if (c && c->kind == CHAIN_HTTP && c->hcm->rds_name.n > 0)
            fn(ctx, c->hcm->rds_name, c->hcm->rds_fetch_timeout_ms, c->hcm->stat_prefix);
    }
}

bool index_next(const struct index *x, enum resource_kind kind, size_t *i, const struct resource **resource_r)
{
    struct str key;
    void *value;
    if (!table_next(&x->tables[kind], i, &key, &value))
        return false;
    *resource_r = &((const struct entry *)value)->r;
    return true;
}

const struct resource *index_find(const struct index *x, enum resource_kind kind, struct str name)
{
    const struct entry *e = table_get(&x->tables[kind], name);
    return e ? &e->r : NULL;
}

size_t index_count(const struct index *x, enum resource_kind kind)
{
    return x->tables[kind].count;
}

const struct listener_cfg *index_listener(const struct index *x, struct str name)
{
    const struct entry *e = table_get(&x->tables[RESOURCE_LISTENER], name);
    return e ? e->listener : NULL;
}
