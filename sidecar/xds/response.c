/* Takes a response apart, offers its resources to the sink one by one, and notes what the server is to be told. Main thread.
 *
 * Both protocols come down to the same: resources offered, names removed, and for state of the world's clusters and
 * listeners the rule that what is not offered is removed. One bad resource is refused alone; a name given twice refuses the
 * whole response, before anything of it is applied. A name that nobody asked for is passed over. That a name of endpoints or
 * routes is removed or refused is an answer too; what was accepted under it stays while it is wanted, as in Envoy. */
#include "sidecar/xds/xds_priv.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/base/log.h"

#include "proto/codec.h"
#include "proto/discovery.pb-c.h"
#include "proto/scan.h"

#include <stdlib.h>
#include <string.h>

/* Of the tree of one response, beside the values that it carries. */
#define TREE_BUDGET_BYTES ((size_t)256 << 20)
#define WRAPPER_URL "type.googleapis.com/envoy.service.discovery.v3.Resource"

/* One resource as offered by either protocol. */
struct offer {
    struct str name, version, type_url, value;
    bool has_value; /* without one: only its time to live is renewed */
    uint64_t ttl_ms; /* 0: for ever */
    const char *wrong; /* it could not be taken apart; NULL */
};

struct batch {
    struct xds *x;
    enum xds_type type;
    struct kind *kind;
    struct arena *arena;
    struct str version, nonce;
    struct offer *offers;
    size_t offer_count;
    char **removed;
    size_t removed_count;
    struct table names; /* of offers and of what is removed */
    bool is_whole; /* state of the world's clusters and listeners */
    struct buf refusal;
    unsigned left_out; /* refusals that the text has no room for */
    uint64_t start_ns;
};

/* ---- Taking apart. ---- */

static struct str bytes_of(ProtobufCBinaryData b)
{
    return str_n((const char *)b.data, b.len);
}

static void open_any(struct offer *o, const Google__Protobuf__Any *any)
{
    o->has_value = true;
    o->type_url = str_of(any->type_url);
    o->value = bytes_of(any->value);
}

static void open_resource(struct offer *o, const Envoy__Service__Discovery__V3__Resource *r)
{
    o->name = str_of(r->name);
    o->version = str_of(r->version);
    o->ttl_ms = codec_duration_ms(r->ttl, 0);
    if (r->resource)
        open_any(o, r->resource);
}

/* The names of all four types are their first field. */
static void open_bare(struct batch *b, struct offer *o, const Google__Protobuf__Any *any)
{
    struct err err = {0};
    open_any(o, any);
    o->version = b->version;
    if (str_eq_c(o->type_url, WRAPPER_URL)) {
        const ProtobufCMessage *m = codec_unpack_envelope(&envoy__service__discovery__v3__resource__descriptor, o->value.p,
                                                          o->value.n, TREE_BUDGET_BYTES, b->arena, &err);
        *o = (struct offer){.wrong = m ? NULL : arena_strdup(b->arena, err.text)};
        if (m)
            open_resource(o, (const void *)m);
    }
    if (o->name.n == 0)
        o->name = codec_peek_string(1, o->value.p, o->value.n);
}

/* ---- Refusals. ---- */

/* The text goes into a protobuf string, where only UTF-8 may stand; it may hold foreign bytes, cut anywhere. */
static void append_clean(struct buf *out, const char *text)
{
    for (const char *p = text; *p;) {
        size_t n = 1;
        while (n < 4 && p[n] && ((uint8_t)p[n] & 0xc0) == 0x80 && (uint8_t)p[0] >= 0xc0)
            n++;
        if (scan_utf8(str_n(p, n)))
            buf_append(out, p, n);
        else
            buf_append_byte(out, '?');
        p += n;
    }
}

/* "Cluster foo: lb_policy: ..." says of what it speaks. */
static bool names_itself(struct str why, struct str name)
{
    ptrdiff_t at = str_find(why, name);
    if (at < 0)
        return false;
    return (at == 0 || why.p[at - 1] == ' ') && str_sub(why, (size_t)at + name.n, 1).n == 1 &&
           why.p[(size_t)at + name.n] == ':';
}

static void refuse(struct batch *b, struct str name, const char *why)
{
    log_warn(LOG_XDS, "%s %.*s: refused: %s", xds_type_name(b->type), STR_FMT(name), why);
    if (buf_len(&b->refusal) >= XDS_REFUSAL_BYTES_MAX) {
        b->left_out++;
        return;
    }
    if (buf_len(&b->refusal) > 0)
        buf_append_c(&b->refusal, "; ");
    if (name.n > 0 && !names_itself(str_of(why), name))
        buf_printf(&b->refusal, "%.*s: ", STR_FMT(name));
    append_clean(&b->refusal, why);
}

/* ---- Applying. ---- */

/* False: a name stands twice, and the whole is refused. */
static bool check_names(struct batch *b)
{
    const char *what = NULL;
    struct str twice = STR_NONE;
    for (size_t i = 0; i < b->offer_count && !what; i++) {
        twice = b->offers[i].name;
        if (twice.n > 0 && table_put(&b->names, twice, b))
            what = "is found twice among the added or updated resources";
    }
    for (size_t i = 0; i < b->removed_count && !what; i++) {
        twice = str_of(b->removed[i]);
        if (twice.n > 0 && table_put(&b->names, twice, b))
            what = "is found twice in the union of added and removed resources";
    }
    if (what)
        refuse(b, twice, what);
    return !what;
}

static bool put(struct batch *b, const struct offer *o, struct err *err)
{
    if (o->wrong)
        return err_set(err, "%s", o->wrong);
    if (o->name.n == 0)
        return err_set(err, "a resource without a name");
    if (!str_eq(o->type_url, xds_type_url(b->type)))
        return err_set(err, "its type URL is \"%.*s\", in a response for %.*s", STR_FMT(o->type_url),
                       STR_FMT(xds_type_url(b->type)));
    const struct xds_resource r = {.type = b->type, .name = o->name, .version = o->version, .value = o->value};
    return resources_put(b->x, &r, err);
}

static void count_taken(struct batch *b, struct want *w, bool good)
{
    uint64_t duration_ms = (clock_mono_ns() - b->start_ns) / 1000000;
    counts_want(w, good ? COUNTS_SUCCESS : COUNTS_REJECTED);
    if (good)
        counts_want_version(w, b->version, duration_ms);
}

static void take_offer(struct batch *b, const struct offer *o)
{
    struct xds *x = b->x;
    struct want *w = xds_is_root(b->type) ? NULL : wanted_find(x, b->type, o->name);
    struct err err = {0};
    if (!xds_is_root(b->type) && !w && o->name.n > 0) {
        log_debug(LOG_XDS, "%s %.*s: not asked for, passed over", xds_type_name(b->type), STR_FMT(o->name));
        return;
    }
    bool good = (!o->has_value && !o->wrong) || put(b, o, &err);
    if (!good)
        refuse(b, o->name, err.text);
    struct resource *r = resources_find(x, b->type, o->name);
    if (r && good)
        resources_set_ttl(x, r, o->ttl_ms);
    if (w) {
        count_taken(b, w, good);
        wanted_answer(x, w);
    }
}

void response_removed(struct xds *x, enum xds_type type, struct str name)
{
    if (xds_is_root(type)) {
        resources_remove(x, type, name);
        return;
    }
    struct want *w = wanted_find(x, type, name);
    struct resource *r = resources_find(x, type, name);
    if (!w)
        return;
    if (r)
        r->lapsed = true;
    counts_want(w, COUNTS_EMPTY);
    wanted_answer(x, w);
}

static void remove_gone(struct batch *b)
{
    struct str name;
    void *value;
    for (size_t i = 0; i < b->removed_count; i++)
        response_removed(b->x, b->type, str_of(b->removed[i]));
    for (size_t i = 0; b->is_whole && table_next(&b->kind->resources, &i, &name, &value);)
        if (!table_get(&b->names, name))
            resources_remove(b->x, b->type, name);
}

static void set_refusal(struct batch *b)
{
    if (b->left_out > 0)
        buf_printf(&b->refusal, "; and %u more", b->left_out);
    free(b->kind->refusal);
    b->kind->refusal = xmemdup0(buf_str(&b->refusal).p ? buf_str(&b->refusal).p : "", buf_len(&b->refusal));
}

static void conclude(struct batch *b)
{
    struct kind *k = b->kind;
    bool good = buf_len(&b->refusal) == 0;
    set_refusal(b);
    if (good)
        xds_set_str(&k->version, b->version);
    if (xds_is_root(b->type)) {
        counts_root(b->x, b->type, good ? COUNTS_SUCCESS : COUNTS_REJECTED);
        if (good)
            counts_root_version(b->x, b->type, b->version, (clock_mono_ns() - b->start_ns) / 1000000);
        timer_disarm(&k->first_timer);
        k->first_over = true;
    }
    xds_set_str(&k->nonce, b->nonce);
    k->answer_owed = true;
    k->answer_is_refusal = !good;
    log_debug(LOG_XDS, "%s: %zu resources, %zu removed, version %.*s: %s", xds_type_name(b->type), b->offer_count,
              b->removed_count, STR_FMT(b->version), good ? "accepted" : k->refusal);
}

static void apply(struct batch *b)
{
    /* As in Envoy: a listener goes before another takes its address, a cluster when what is new does without it. */
    bool gone_first = b->type == XDS_LISTENER;
    if (check_names(b)) {
        if (gone_first)
            remove_gone(b);
        for (size_t i = 0; i < b->offer_count; i++)
            take_offer(b, &b->offers[i]);
        if (!gone_first)
            remove_gone(b);
    }
    conclude(b);
    table_fini(&b->names);
    buf_fini(&b->refusal);
    xds_batch_end(b->x);
}

/* ---- The two protocols. ---- */

/* False: the response is of a type that this stream did not ask for. */
static bool find_kind(struct batch *b, const char *type_url)
{
    if (!xds_type_find(str_of(type_url), &b->type) || !b->x->kinds[b->type].asked) {
        log_warn(LOG_XDS, "a response for \"%s\", which was not asked for, is passed over", type_url);
        return false;
    }
    b->kind = &b->x->kinds[b->type];
    return true;
}

static void note_errors(const struct batch *b, Envoy__Service__Discovery__V3__ResourceError **errors, size_t n)
{
    for (size_t i = 0; i < n; i++)
        log_warn(LOG_XDS, "%s %s: the control plane cannot give it: %s", xds_type_name(b->type),
                 errors[i]->resource_name ? errors[i]->resource_name->name : "",
                 errors[i]->error_detail ? errors[i]->error_detail->message : "no reason given");
}

static void take_delta(struct batch *b, const Envoy__Service__Discovery__V3__DeltaDiscoveryResponse *m)
{
    if (!find_kind(b, m->type_url))
        return;
    b->version = str_of(m->system_version_info);
    b->nonce = str_of(m->nonce);
    b->offer_count = m->n_resources;
    b->offers = ARENA_ARRAY(b->arena, struct offer, m->n_resources + 1);
    for (size_t i = 0; i < m->n_resources; i++)
        open_resource(&b->offers[i], m->resources[i]);
    b->removed = m->removed_resources;
    b->removed_count = m->n_removed_resources;
    note_errors(b, m->resource_errors, m->n_resource_errors);
    apply(b);
}

static void take_sotw(struct batch *b, const Envoy__Service__Discovery__V3__DiscoveryResponse *m)
{
    if (!find_kind(b, m->type_url))
        return;
    b->version = str_of(m->version_info);
    b->nonce = str_of(m->nonce);
    b->offer_count = m->n_resources;
    b->offers = ARENA_ARRAY(b->arena, struct offer, m->n_resources + 1);
    for (size_t i = 0; i < m->n_resources; i++)
        open_bare(b, &b->offers[i], m->resources[i]);
    b->is_whole = xds_is_root(b->type);
    note_errors(b, m->resource_errors, m->n_resource_errors);
    apply(b);
}

enum response_result response_take(struct xds *x, struct str message)
{
    bool delta = x->options.mode == XDS_DELTA;
    struct batch b = {.x = x, .arena = arena_new(16384), .start_ns = clock_mono_ns()};
    struct err err = {0};
    const ProtobufCMessage *m =
        codec_unpack_envelope(delta ? &envoy__service__discovery__v3__delta_discovery_response__descriptor
                                    : &envoy__service__discovery__v3__discovery_response__descriptor,
                              message.p, message.n, TREE_BUDGET_BYTES, b.arena, &err);
    if (!m)
        log_error(LOG_XDS, "a message of %zu bytes is no response: %s", message.n, err.text);
    else if (delta)
        take_delta(&b, (const void *)m);
    else
        take_sotw(&b, (const void *)m);
    arena_free(&b.arena);
    return m ? RESPONSE_TAKEN : RESPONSE_BROKEN;
}
