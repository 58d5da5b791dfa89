/* Owns what is said to the server: the first request of each type on a stream, acknowledgements, changed subscriptions. Main
 * thread.
 *
 * Nothing is queued: what is owed is state (kind.asked, .answer_owed, wants.fresh and .gone), and one walk over the types in
 * their order sends it while the peer takes bytes; so a peer that does not read makes us hold one answer a type at most. Delta:
 * a changed subscription is a request of its own without nonce, which istiod asks for. State of the world: any request says
 * all names. */
#include "sidecar/xds/xds_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"
#include "sidecar/grpc/grpc.h"

#include "proto/codec.h"
#include "proto/discovery.pb-c.h"

#include <stdlib.h>

#define delta_descriptor envoy__service__discovery__v3__delta_discovery_request__descriptor
#define sotw_descriptor envoy__service__discovery__v3__discovery_request__descriptor
#define version_descriptor \
    envoy__service__discovery__v3__delta_discovery_request__initial_resource_versions_entry__descriptor

/* Protobuf-c's fields are char *, and are only read here. */
static char *text(struct arena *arena, struct str s)
{
    struct str copy = arena_str(arena, s);
    return (char *)(uintptr_t)(copy.p ? copy.p : "");
}

static void send_message(struct xds *x, const ProtobufCMessage *m)
{
    struct buf bytes = {0};
    if (!ads_call(x))
        return; /* it ended by what was sent before */
    codec_pack(m, &bytes);
    grpc_send(ads_call(x), buf_head(&bytes), buf_len(&bytes));
    buf_fini(&bytes);
}

/* ---- Parts. ---- */

static Envoy__Config__Core__V3__Node *node_once(struct xds *x)
{
    bool first = x->ads.is_first;
    x->ads.is_first = false;
    return first ? x->node : NULL;
}

static Google__Rpc__Status *refusal(const struct kind *k, struct arena *arena)
{
    if (!k->answer_is_refusal)
        return NULL;
    Google__Rpc__Status *status = (void *)codec_new(&google__rpc__status__descriptor, arena);
    status->code = GRPC_INTERNAL; /* as Envoy says */
    status->message = k->refusal;
    return status;
}

static int by_name(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return str_cmp(str_of(*x), str_of(*y));
}

static char **sorted(char **names, size_t n)
{
    if (n > 1)
        qsort(names, n, sizeof(*names), by_name);
    return names;
}

/* All that is wanted; of clusters and listeners nothing, which means everything. */
static char **wanted_names(const struct xds *x, enum xds_type type, struct arena *arena, size_t *n_r)
{
    const struct table *wanted = &x->kinds[type].wants.by_name;
    char **names = ARENA_ARRAY(arena, char *, wanted->count + 1);
    struct str name;
    void *value;
    *n_r = 0;
    for (size_t i = 0; table_next(wanted, &i, &name, &value);)
        names[(*n_r)++] = text(arena, name);
    return sorted(names, *n_r);
}

static char **fresh_names(const struct wants *ws, struct arena *arena, size_t *n_r)
{
    char **names = ARENA_ARRAY(arena, char *, ws->by_name.count + 1);
    *n_r = 0;
    LIST_FOREACH(&ws->fresh, node)
        names[(*n_r)++] = text(arena, CONTAINER_OF(node, struct want, fresh)->name);
    return sorted(names, *n_r);
}

static char **gone_names(const struct wants *ws, struct arena *arena, size_t *n_r)
{
    char **names = ARENA_ARRAY(arena, char *, ws->gone.count + 1);
    struct str name;
    void *value;
    *n_r = 0;
    for (size_t i = 0; table_next(&ws->gone, &i, &name, &value);)
        names[(*n_r)++] = text(arena, name);
    return sorted(names, *n_r);
}

static void add_known(const struct xds *x, enum xds_type type, struct arena *arena,
                      Envoy__Service__Discovery__V3__DeltaDiscoveryRequest *m)
{
    const struct table *resources = &x->kinds[type].resources;
    struct str name;
    void *value;
    m->initial_resource_versions = arena_zalloc(arena, (resources->count + 1) * sizeof(*m->initial_resource_versions));
    for (size_t i = 0; table_next(resources, &i, &name, &value);) {
        const struct resource *r = value;
        if (r->lapsed)
            continue;
        Envoy__Service__Discovery__V3__DeltaDiscoveryRequest__InitialResourceVersionsEntry *e =
            (void *)codec_new(&version_descriptor, arena);
        e->key = text(arena, name);
        e->value = text(arena, r->version);
        m->initial_resource_versions[m->n_initial_resource_versions++] = e;
    }
}

/* ---- Delta. ---- */

static Envoy__Service__Discovery__V3__DeltaDiscoveryRequest *delta_new(struct xds *x, enum xds_type type,
                                                                       struct arena *arena)
{
    Envoy__Service__Discovery__V3__DeltaDiscoveryRequest *m = (void *)codec_new(&delta_descriptor, arena);
    m->type_url = text(arena, xds_type_url(type));
    m->node = node_once(x);
    return m;
}

static void delta_first(struct xds *x, enum xds_type type, struct arena *arena)
{
    Envoy__Service__Discovery__V3__DeltaDiscoveryRequest *m = delta_new(x, type, arena);
    m->resource_names_subscribe = wanted_names(x, type, arena, &m->n_resource_names_subscribe);
    add_known(x, type, arena, m);
    send_message(x, &m->base);
}

static void delta_answer(struct xds *x, enum xds_type type, struct arena *arena)
{
    const struct kind *k = &x->kinds[type];
    Envoy__Service__Discovery__V3__DeltaDiscoveryRequest *m = delta_new(x, type, arena);
    m->response_nonce = text(arena, k->nonce);
    m->error_detail = refusal(k, arena);
    send_message(x, &m->base);
}

static void delta_change(struct xds *x, enum xds_type type, struct arena *arena)
{
    const struct wants *ws = &x->kinds[type].wants;
    Envoy__Service__Discovery__V3__DeltaDiscoveryRequest *m = delta_new(x, type, arena);
    m->resource_names_subscribe = fresh_names(ws, arena, &m->n_resource_names_subscribe);
    m->resource_names_unsubscribe = gone_names(ws, arena, &m->n_resource_names_unsubscribe);
    send_message(x, &m->base);
}

/* ---- State of the world: one form for all three. ---- */

static void sotw_send(struct xds *x, enum xds_type type, struct arena *arena)
{
    const struct kind *k = &x->kinds[type];
    Envoy__Service__Discovery__V3__DiscoveryRequest *m = (void *)codec_new(&sotw_descriptor, arena);
    m->type_url = text(arena, xds_type_url(type));
    m->node = node_once(x);
    m->version_info = text(arena, k->version);
    m->response_nonce = text(arena, k->nonce);
    m->resource_names = wanted_names(x, type, arena, &m->n_resource_names);
    if (k->answer_owed)
        m->error_detail = refusal(k, arena);
    send_message(x, &m->base);
}

/* ---- What is owed. ---- */

static void send_first(struct xds *x, enum xds_type type, struct arena *arena)
{
    if (x->options.mode == XDS_DELTA)
        delta_first(x, type, arena);
    else
        sotw_send(x, type, arena);
    x->kinds[type].asked = true;
}

static void send_rest(struct xds *x, enum xds_type type, struct arena *arena)
{
    struct kind *k = &x->kinds[type];
    bool changed = !xds_is_root(type) && wanted_changed(x, type);
    bool delta = x->options.mode == XDS_DELTA;
    if (!delta && (k->answer_owed || changed))
        sotw_send(x, type, arena);
    if (delta && k->answer_owed)
        delta_answer(x, type, arena);
    if (delta && changed)
        delta_change(x, type, arena);
    k->answer_owed = false;
}

static void flush_type(struct xds *x, enum xds_type type)
{
    struct kind *k = &x->kinds[type];
    struct arena *arena = arena_new(4096);
    if (k->asked)
        send_rest(x, type, arena);
    else if (xds_is_subscribed(x, type))
        send_first(x, type, arena);
    if (!xds_is_root(type) && k->asked)
        wanted_named(x, type);
    arena_free(&arena);
}

void request_flush(struct xds *x)
{
    for (enum xds_type t = 0; t < XDS_TYPE_COUNT; t++)
        if (ads_call(x) && !grpc_is_above_high(ads_call(x)))
            flush_type(x, t);
}

void request_stream_closed(struct xds *x)
{
    for (enum xds_type t = 0; t < XDS_TYPE_COUNT; t++) {
        struct kind *k = &x->kinds[t];
        k->asked = k->answer_owed = false;
        xds_set_str(&k->nonce, STR_NONE);
        if (!xds_is_root(t))
            wanted_stream_closed(x, t);
    }
}

void request_stream_opened(struct xds *x)
{
    x->ads.is_first = true;
    request_flush(x);
}
