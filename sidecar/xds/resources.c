/* Owns what was accepted, by type and name: its version, its bytes, what it waits for. Main thread.
 *
 * A cluster or listener is *warming* from the moment its newest version is accepted until all that it needs has answered; a
 * version before it may be *in force* meanwhile, and its needs are *held* so that what it refers to stays. Endpoints and
 * routes are in force when accepted. Invariants: waiting counts the needs that are not satisfied; a resource is on
 * kind.ready exactly while it warms with waiting 0; kind.warming counts those that warm. */
#include "sidecar/xds/xds_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"

#include <stdlib.h>

struct resource *resources_find(const struct xds *x, enum xds_type type, struct str name)
{
    return table_get(&x->kinds[type].resources, name);
}

/* ---- Needs. ---- */

static void drop_needs(struct list *needs)
{
    for (struct list *node; (node = list_pop_front(needs));) {
        struct need *n = CONTAINER_OF(node, struct need, in_resource);
        wanted_drop(&n);
    }
}

/* The version in force goes on needing what it refers to. */
static void hold_needs(struct resource *r)
{
    for (struct list *node; (node = list_pop_front(&r->needs));) {
        struct need *n = CONTAINER_OF(node, struct need, in_resource);
        n->is_held = true;
        timer_disarm(&n->timer);
        list_push_back(&r->held, node);
    }
}

static void take_needs(struct xds *x, struct resource *r, const struct xds_needs *needs)
{
    struct list old;
    list_init(&old);
    if (r->in_force && !r->warming)
        hold_needs(r);
    else
        for (struct list *node; (node = list_pop_front(&r->needs));)
            list_push_back(&old, node);
    r->waiting = 0;
    for (size_t i = 0; i < needs->n; i++) {
        const struct xds_need_request *q = &needs->v[i];
        struct need *n = wanted_add(x, xds_needs_type(r->type), r, q->name, q->timeout_ms, q->stat_prefix);
        r->waiting += !n->satisfied;
        list_push_back(&r->needs, &n->in_resource);
    }
    drop_needs(&old);
}

/* ---- States. ---- */

static void set_warming(struct xds *x, struct resource *r, bool warming)
{
    struct kind *k = &x->kinds[r->type];
    k->warming += (size_t)warming - (size_t)r->warming;
    r->warming = warming;
    list_remove(&r->ready);
}

void resources_is_ready(struct xds *x, struct resource *r)
{
    assert(r->warming && r->waiting == 0);
    if (!list_is_linked(&r->ready))
        list_push_back(&x->kinds[r->type].ready, &r->ready);
}

static void activate(struct xds *x, struct resource *r)
{
    set_warming(x, r, false);
    r->in_force = true;
    drop_needs(&r->held);
    x->sink->activate(x->ctx, r->type, r->name);
}

void resources_settle(struct xds *x)
{
    for (enum xds_type t = 0; t < XDS_TYPE_COUNT; t++)
        for (struct list *node; (node = list_pop_front(&x->kinds[t].ready));)
            activate(x, CONTAINER_OF(node, struct resource, ready));
    wanted_collect(x, XDS_ENDPOINT);
    wanted_collect(x, XDS_ROUTE);
}

void resources_force(struct xds *x)
{
    struct str name;
    void *value;
    for (enum xds_type t = 0; t < XDS_TYPE_COUNT; t++) {
        if (!xds_is_root(t))
            continue;
        for (size_t i = 0; table_next(&x->kinds[t].resources, &i, &name, &value);) {
            struct resource *r = value;
            if (r->warming)
                activate(x, r);
        }
    }
    resources_settle(x);
}

/* ---- Acceptance. ---- */

static bool has_room(const struct xds *x, const struct resource *old, const struct xds_resource *offered,
                     struct err *err)
{
    size_t freed = old ? old->value.n : 0;
    if (!old && x->resource_count >= XDS_RESOURCES_MAX)
        return err_set(err, "%u resources are accepted already, the most this proxy takes", XDS_RESOURCES_MAX);
    if (offered->value.n > XDS_BYTES_MAX - (x->resource_bytes - freed))
        return err_set(err, "all resources together would have more than %zu bytes", XDS_BYTES_MAX);
    return true;
}

static void on_ttl(struct timer *t)
{
    struct resource *r = CONTAINER_OF(t, struct resource, ttl);
    struct xds *x = r->xds;
    log_info(LOG_XDS, "%s %.*s: its time to live is over", xds_type_name(r->type), STR_FMT(r->name));
    response_removed(x, r->type, r->name);
    xds_batch_end(x);
}

void resources_set_ttl(struct xds *x, struct resource *r, uint64_t ttl_ms)
{
    assert(r->xds == x);
    timer_disarm(&r->ttl);
    if (ttl_ms > 0)
        timer_arm(&r->ttl, ttl_ms);
}

static struct resource *add(struct xds *x, enum xds_type type, struct str name)
{
    struct resource *r = NEW(struct resource);
    r->xds = x;
    r->type = type;
    timer_init(&r->ttl, x->loop, on_ttl);
    xds_set_str(&r->name, name);
    list_init(&r->needs);
    list_init(&r->held);
    list_init(&r->ready);
    table_put(&x->kinds[type].resources, name, r);
    x->resource_count++;
    return r;
}

static void keep(struct xds *x, struct resource *r, const struct xds_resource *offered)
{
    x->resource_bytes += offered->value.n - r->value.n;
    xds_set_str(&r->version, offered->version);
    xds_set_str(&r->value, offered->value);
    r->lapsed = false;
    x->changed = true;
}

static void start_warming(struct xds *x, struct resource *r, const struct xds_needs *needs)
{
    take_needs(x, r, needs);
    set_warming(x, r, true);
    if (r->waiting == 0)
        resources_is_ready(x, r);
    else
        log_debug(LOG_XDS, "%s %.*s: warming, waits for %u", xds_type_name(r->type), STR_FMT(r->name), r->waiting);
}

bool resources_put(struct xds *x, const struct xds_resource *offered, struct err *err)
{
    struct resource *r = resources_find(x, offered->type, offered->name);
    if (!has_room(x, r, offered, err))
        return false;
    struct xds_needs needs = {.arena = arena_new(1024)};
    bool good = x->sink->put(x->ctx, offered, &needs, err);
    assert(good || err->set);
    if (good) {
        if (!r)
            r = add(x, offered->type, offered->name);
        keep(x, r, offered);
        if (xds_is_root(r->type))
            start_warming(x, r, &needs);
        else
            r->in_force = true;
    }
    arena_free(&needs.arena);
    return good;
}

static void free_resource(struct xds *x, struct resource *r)
{
    set_warming(x, r, false);
    timer_disarm(&r->ttl);
    drop_needs(&r->needs);
    drop_needs(&r->held);
    x->resource_count--;
    x->resource_bytes -= r->value.n;
    xds_set_str(&r->name, STR_NONE);
    xds_set_str(&r->version, STR_NONE);
    xds_set_str(&r->value, STR_NONE);
    free(r);
}

void resources_remove(struct xds *x, enum xds_type type, struct str name)
{
    struct resource *r = table_remove(&x->kinds[type].resources, name);
    if (!r)
        return;
    log_debug(LOG_XDS, "%s %.*s: removed", xds_type_name(type), STR_FMT(name));
    x->sink->remove(x->ctx, type, r->name);
    free_resource(x, r);
    x->changed = true;
}

void resources_free(struct xds *x)
{
    struct str name;
    void *value;
    for (enum xds_type t = 0; t < XDS_TYPE_COUNT; t++)
        for (size_t i = 0; table_next(&x->kinds[t].resources, &i, &name, &value);) {
            table_remove(&x->kinds[t].resources, name);
            free_resource(x, value);
        }
    wanted_free(x, XDS_ENDPOINT);
    wanted_free(x, XDS_ROUTE);
    assert(x->resource_count == 0 && x->resource_bytes == 0);
}
