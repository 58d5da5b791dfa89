/* Owns the names of endpoints and routes that accepted clusters and listeners refer to, and who waits for which. Main
 * thread.
 *
 * A want is *idle* while nothing needs it; the end of the batch then forgets it, with what was accepted under its name, so
 * that a name may pass from one cluster to another within a batch. It is *fresh* until the open stream was told of it; a
 * name told and forgotten stands in wants.gone until the stream was told that too. Invariants: a want is on wants.idle exactly
 * while needs is empty; a name is never both in gone and wanted. */
#include "sidecar/xds/xds_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"

#include <stdlib.h>

static struct wants *wants_of(struct xds *x, enum xds_type type)
{
    assert(!xds_is_root(type));
    return &x->kinds[type].wants;
}

struct want *wanted_find(const struct xds *x, enum xds_type type, struct str name)
{
    return table_get(&x->kinds[type].wants.by_name, name);
}

/* ---- Waiting. ---- */

static void satisfy(struct xds *x, struct need *n)
{
    struct resource *r = n->resource;
    timer_disarm(&n->timer);
    if (n->satisfied)
        return;
    n->satisfied = true;
    if (n->is_held)
        return;
    assert(r->waiting > 0);
    r->waiting--;
    if (r->warming && r->waiting == 0)
        resources_is_ready(x, r);
}

void wanted_answer(struct xds *x, struct want *w)
{
    if (w->answered)
        return;
    w->answered = true;
    LIST_FOREACH(&w->needs, node)
        satisfy(x, CONTAINER_OF(node, struct need, in_want));
}

static void on_timeout(struct timer *t)
{
    struct need *n = CONTAINER_OF(t, struct need, timer);
    struct xds *x = n->want->xds;
    log_warn(LOG_XDS, "%s %.*s: no answer in time; %.*s serves without it", xds_type_name(n->want->type),
             STR_FMT(n->want->name), STR_FMT(n->resource->name));
    counts_need_timeout(n);
    satisfy(x, n);
    xds_batch_end(x);
}

/* ---- Needs. ---- */

static struct want *want_new(struct xds *x, enum xds_type type, struct str name)
{
    struct wants *ws = wants_of(x, type);
    struct want *w = NEW(struct want);
    w->xds = x;
    w->type = type;
    xds_set_str(&w->name, name);
    list_init(&w->needs);
    list_init(&w->idle);
    list_init(&w->fresh);
    list_push_back(&ws->idle, &w->idle);
    list_push_back(&ws->fresh, &w->fresh);
    table_put(&ws->by_name, name, w);
    table_remove(&ws->gone, name);
    return w;
}

struct need *wanted_add(struct xds *x, enum xds_type type, struct resource *r, struct str name, uint64_t timeout_ms,
                        struct str stat_prefix)
{
    struct want *w = wanted_find(x, type, name);
    if (!w)
        w = want_new(x, type, name);
    struct need *n = NEW(struct need);
    n->resource = r;
    n->want = w;
    n->satisfied = w->answered;
    list_init(&n->in_resource);
    list_init(&n->in_want);
    list_push_back(&w->needs, &n->in_want);
    list_remove(&w->idle);
    timer_init(&n->timer, x->loop, on_timeout);
    if (!n->satisfied && timeout_ms > 0)
        timer_arm(&n->timer, timeout_ms);
    counts_need_init(x, n, stat_prefix);
    return n;
}

void wanted_drop(struct need **need)
{
    struct need *n = *need;
    struct want *w = n->want;
    timer_disarm(&n->timer);
    list_remove(&n->in_resource);
    list_remove(&n->in_want);
    counts_need_fini(n);
    if (list_is_empty(&w->needs))
        list_push_back(&wants_of(w->xds, w->type)->idle, &w->idle);
    free(n);
    *need = NULL;
}

static void want_free(struct want *w)
{
    assert(list_is_empty(&w->needs));
    list_remove(&w->idle);
    list_remove(&w->fresh);
    xds_set_str(&w->name, STR_NONE);
    free(w);
}

void wanted_collect(struct xds *x, enum xds_type type)
{
    struct wants *ws = wants_of(x, type);
    for (struct list *node; (node = list_pop_front(&ws->idle));) {
        struct want *w = CONTAINER_OF(node, struct want, idle);
        table_remove(&ws->by_name, w->name);
        resources_remove(x, type, w->name);
        if (x->kinds[type].asked && !list_is_linked(&w->fresh))
            table_put(&ws->gone, w->name, ws);
        want_free(w);
    }
}

void wanted_free(struct xds *x, enum xds_type type)
{
    struct wants *ws = wants_of(x, type);
    for (struct list *node; (node = list_pop_front(&ws->idle));) {
        struct want *w = CONTAINER_OF(node, struct want, idle);
        table_remove(&ws->by_name, w->name);
        want_free(w);
    }
    assert(ws->by_name.count == 0);
}

/* ---- What the stream knows. ---- */

void wanted_stream_closed(struct xds *x, enum xds_type type)
{
    struct wants *ws = wants_of(x, type);
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&ws->by_name, &i, &name, &value);) {
        struct want *w = value;
        if (!list_is_linked(&w->fresh))
            list_push_back(&ws->fresh, &w->fresh);
    }
    table_fini(&ws->gone);
}

void wanted_named(struct xds *x, enum xds_type type)
{
    struct wants *ws = wants_of(x, type);
    while (list_pop_front(&ws->fresh))
        ;
    table_fini(&ws->gone);
}

bool wanted_changed(const struct xds *x, enum xds_type type)
{
    const struct wants *ws = &x->kinds[type].wants;
    return !list_is_empty(&ws->fresh) || ws->gone.count > 0;
}
