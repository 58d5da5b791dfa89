/* The control plane of the tests: it records what comes and says what it is told to. */
#include "tests/unit/xds/world.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/base/log.h"

#include "proto/codec.h"
#include "proto/discovery.pb-c.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- The sink. ---- */

/* Field 2 of the fake resource. */
static struct str text_of(const struct xds_resource *r)
{
    return codec_peek_string(2, r->value.p, r->value.n);
}

static bool on_put(void *ctx, const struct xds_resource *r, struct xds_needs *needs, struct err *err)
{
    struct world *w = ctx;
    struct str text = text_of(r), name;
    bool bad = text.n > 0 && text.p[0] == '!';
    buf_printf(&w->told, "%s %s %.*s", bad ? "refuse" : "put", xds_type_name(r->type), STR_FMT(r->name));
    if (r->version.n > 0)
        buf_printf(&w->told, "@%.*s", STR_FMT(r->version));
    buf_append_c(&w->told, "\n");
    if (bad)
        return err_set(err, "%.*s", STR_FMT(str_sub(text, 1, text.n)));
    while (str_next(&text, '+', &name))
        xds_needs_add(needs, name, w->need_timeout_ms, xds_is_root(r->type) ? r->name : STR_NONE);
    return true;
}

static void on_activate(void *ctx, enum xds_type type, struct str name)
{
    struct world *w = ctx;
    buf_printf(&w->told, "activate %s %.*s\n", xds_type_name(type), STR_FMT(name));
}

static void on_remove(void *ctx, enum xds_type type, struct str name)
{
    struct world *w = ctx;
    buf_printf(&w->told, "remove %s %.*s\n", xds_type_name(type), STR_FMT(name));
}

static void on_batch_end(void *ctx)
{
    ((struct world *)ctx)->batches++;
}

static void on_live(void *ctx)
{
    ((struct world *)ctx)->lives++;
}

static const struct xds_sink sink = {on_put, on_activate, on_remove, on_batch_end, on_live};

/* ---- The server. ---- */

static void write_names(struct buf *out, const char *what, char **names, size_t n)
{
    if (n == 0)
        return;
    buf_printf(out, " %s[", what);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s%s", i ? " " : "", names[i]);
    buf_append_c(out, "]");
}

static void write_answer(struct buf *out, const char *nonce, const Google__Rpc__Status *error)
{
    if (nonce[0])
        buf_printf(out, " nonce(%s)", nonce);
    if (error)
        buf_printf(out, " error(%d %s)", error->code, error->message);
    buf_append_c(out, "\n");
}

static const char *short_name(const char *type_url)
{
    enum xds_type type;
    return xds_type_find(str_of(type_url), &type) ? xds_type_name(type) : type_url;
}

static int by_key(const void *a, const void *b)
{
    const Envoy__Service__Discovery__V3__DeltaDiscoveryRequest__InitialResourceVersionsEntry *const *x = a, *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

static void write_delta(struct buf *out, const Envoy__Service__Discovery__V3__DeltaDiscoveryRequest *m)
{
    buf_printf(out, "%s%s", short_name(m->type_url), m->node ? " node" : "");
    write_names(out, "sub", m->resource_names_subscribe, m->n_resource_names_subscribe);
    write_names(out, "unsub", m->resource_names_unsubscribe, m->n_resource_names_unsubscribe);
    size_t n = m->n_initial_resource_versions;
    if (n > 0)
        qsort(m->initial_resource_versions, n, sizeof(*m->initial_resource_versions), by_key);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s%s=%s%s", i ? " " : " known[", m->initial_resource_versions[i]->key,
                   m->initial_resource_versions[i]->value, i + 1 == n ? "]" : "");
    write_answer(out, m->response_nonce, m->error_detail);
}

static void write_sotw(struct buf *out, const Envoy__Service__Discovery__V3__DiscoveryRequest *m)
{
    buf_printf(out, "%s%s", short_name(m->type_url), m->node ? " node" : "");
    if (m->version_info[0])
        buf_printf(out, " v(%s)", m->version_info);
    write_names(out, "names", m->resource_names, m->n_resource_names);
    write_answer(out, m->response_nonce, m->error_detail);
}

static void on_message(struct grpc_call *call, void *ctx, struct str message)
{
    struct world *w = ctx;
    struct arena *arena = arena_new(4096);
    struct err err = {0};
    bool delta = w->options.mode == XDS_DELTA;
    const ProtobufCMessage *m =
        codec_unpack(delta ? &envoy__service__discovery__v3__delta_discovery_request__descriptor
                           : &envoy__service__discovery__v3__discovery_request__descriptor,
                     message.p, message.n, arena, &err);
    (void)call;
    if (!m)
        die("the client sent what is no request: %s", err.text);
    if (delta)
        write_delta(&w->requests, (const void *)m);
    else
        write_sotw(&w->requests, (const void *)m);
    arena_free(&arena);
}

static void on_done(struct grpc_call *call, void *ctx, enum grpc_status status, struct str message)
{
    struct world *w = ctx;
    (void)status;
    (void)message;
    if (w->call == call)
        w->call = NULL;
}

static const struct grpc_call_handler call_table = {.on_message = on_message, .on_done = on_done};

static void on_call(void *ctx, struct grpc_call *call, const struct http_request *head)
{
    struct world *w = ctx;
    (void)head;
    w->call = call;
    w->calls++;
    grpc_call_set_handler(call, &call_table, w);
}

static const struct grpc_method methods[] = {
    {"/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources", on_call},
    {"/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources", on_call},
};

void world_server_up(struct world *w)
{
    struct addr at;
    w->server = grpc_server_new(w->loop, NULL, methods, ARRAY_LEN(methods), w);
    assert_true(addr_from_ip(STR("127.0.0.1"), w->port, &at));
    assert_int_equal(grpc_server_listen(w->server, &at), 0);
    w->port = grpc_server_port(w->server);
}

void world_server_down(struct world *w)
{
    grpc_server_free(&w->server);
    WORLD_WAIT(w, !w->call);
}

/* ---- Responses. ---- */

static char *c_string(struct arena *arena, struct str s)
{
    struct str copy = arena_str(arena, s);
    return (char *)(uintptr_t)(copy.p ? copy.p : "");
}

static void put_field(struct buf *out, unsigned number, struct str text)
{
    assert_true(text.n < 128);
    buf_append_byte(out, (uint8_t)(number << 3 | 2));
    buf_append_byte(out, (uint8_t)text.n);
    buf_append_str(out, text);
}

static Google__Protobuf__Any *any_of(enum xds_type type, struct str name, struct str text, struct arena *arena)
{
    Google__Protobuf__Any *any = (void *)codec_new(&google__protobuf__any__descriptor, arena);
    struct buf value = {0};
    put_field(&value, 1, name);
    if (text.n > 0)
        put_field(&value, 2, text);
    any->type_url = c_string(arena, xds_type_url(type));
    any->value.len = buf_len(&value);
    any->value.data = arena_memdup(arena, buf_head(&value), buf_len(&value));
    buf_fini(&value);
    return any;
}

/* "NAME@VERSION=TEXT" */
static void split(struct str part, struct str *name_r, struct str *version_r, struct str *text_r)
{
    ptrdiff_t equals = str_index(part, '=', 0);
    *text_r = equals < 0 ? STR_NONE : str_sub(part, (size_t)equals + 1, part.n);
    part = equals < 0 ? part : str_sub(part, 0, (size_t)equals);
    ptrdiff_t at = str_index(part, '@', 0);
    *version_r = at < 0 ? STR_NONE : str_sub(part, (size_t)at + 1, part.n);
    *name_r = at < 0 ? part : str_sub(part, 0, (size_t)at);
}

static ProtobufCMessage *delta_response(enum xds_type type, const char *version, const char *nonce,
                                        const char *resources, const char *removed, struct arena *arena)
{
    Envoy__Service__Discovery__V3__DeltaDiscoveryResponse *m =
        (void *)codec_new(&envoy__service__discovery__v3__delta_discovery_response__descriptor, arena);
    struct str rest = str_of(resources), part, name, of_resource, text;
    m->system_version_info = arena_strdup(arena, version);
    m->nonce = arena_strdup(arena, nonce);
    m->type_url = c_string(arena, xds_type_url(type));
    m->resources = arena_zalloc(arena, 64 * sizeof(*m->resources));
    m->removed_resources = arena_zalloc(arena, 64 * sizeof(*m->removed_resources));
    while (str_next(&rest, ' ', &part)) {
        Envoy__Service__Discovery__V3__Resource *r =
            (void *)codec_new(&envoy__service__discovery__v3__resource__descriptor, arena);
        split(part, &name, &of_resource, &text);
        r->name = c_string(arena, name);
        r->version = c_string(arena, of_resource);
        r->resource = any_of(type, name, text, arena);
        assert_true(m->n_resources < 64);
        m->resources[m->n_resources++] = r;
    }
    for (rest = str_of(removed); str_next(&rest, ' ', &part);)
        m->removed_resources[m->n_removed_resources++] = c_string(arena, part);
    return &m->base;
}

static ProtobufCMessage *sotw_response(enum xds_type type, const char *version, const char *nonce,
                                       const char *resources, struct arena *arena)
{
    Envoy__Service__Discovery__V3__DiscoveryResponse *m =
        (void *)codec_new(&envoy__service__discovery__v3__discovery_response__descriptor, arena);
    struct str rest = str_of(resources), part, name, of_resource, text;
    m->version_info = arena_strdup(arena, version);
    m->nonce = arena_strdup(arena, nonce);
    m->type_url = c_string(arena, xds_type_url(type));
    m->resources = arena_zalloc(arena, 64 * sizeof(*m->resources));
    while (str_next(&rest, ' ', &part)) {
        split(part, &name, &of_resource, &text);
        assert_true(m->n_resources < 64);
        m->resources[m->n_resources++] = any_of(type, name, text, arena);
    }
    return &m->base;
}

ProtobufCMessage *world_response(enum xds_mode mode, enum xds_type type, const char *version, const char *nonce,
                                 const char *resources, const char *removed, struct arena *arena)
{
    return mode == XDS_DELTA ? delta_response(type, version, nonce, resources, removed, arena)
                             : sotw_response(type, version, nonce, resources, arena);
}

void world_reply_packed(struct world *w, const ProtobufCMessage *m)
{
    struct buf bytes = {0};
    codec_pack(m, &bytes);
    assert_non_null(w->call);
    grpc_send(w->call, buf_head(&bytes), buf_len(&bytes));
    buf_fini(&bytes);
}

void world_reply(struct world *w, enum xds_type type, const char *version, const char *nonce, const char *resources,
                 const char *removed)
{
    struct arena *arena = arena_new(4096);
    world_reply_packed(w, world_response(w->options.mode, type, version, nonce, resources, removed, arena));
    arena_free(&arena);
}

/* ---- Running. ---- */

void world_turn(struct world *w)
{
    loop_run_ready(w->loop);
    usleep(200);
}

void world_run_ms(struct world *w, uint64_t ms)
{
    uint64_t until = clock_mono_ns() + ms * 1000000;
    while (clock_mono_ns() < until)
        world_turn(w);
}

/* What came is compared when it is as long as expected, and a little later still the same. */
static void expect(struct world *w, struct buf *log, const char *lines)
{
    uint64_t until = clock_mono_ns() + 5000000000u;
    while (buf_len(log) < strlen(lines) && clock_mono_ns() < until)
        world_turn(w);
    world_run_ms(w, 3);
    char *got = buf_take(log);
    assert_string_equal(got, lines);
    free(got);
}

void world_expect_requests(struct world *w, const char *lines)
{
    expect(w, &w->requests, lines);
}

void world_expect_told(struct world *w, const char *lines)
{
    expect(w, &w->told, lines);
}

static bool address(void *ctx, struct addr *addr_r)
{
    struct world *w = ctx;
    return !w->no_address && addr_from_ip(STR("127.0.0.1"), w->port, addr_r);
}

struct world *world_new(enum xds_mode mode)
{
    struct world *w = NEW(struct world);
    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_OFF);
    w->loop = loop_new();
    w->stats = stats_new(0);
    w->options = (struct xds_options){
        .mode = mode,
        .clusters = true,
        .listeners = true,
        .authority = STR("control"),
        .stats = w->stats,
        .address = address,
    };
    world_server_up(w);
    return w;
}

void world_start(struct world *w)
{
    struct arena *arena = arena_new(1024);
    struct buf node = {0};
    Envoy__Config__Core__V3__Node *m = (void *)codec_new(&envoy__config__core__v3__node__descriptor, arena);
    m->id = arena_strdup(arena, "node-1");
    codec_pack(&m->base, &node);
    w->xds = xds_start(w->loop, &w->options, buf_str(&node), STR("node-1"), &sink, w);
    buf_fini(&node);
    arena_free(&arena);
}

void world_free(struct world **world)
{
    struct world *w = *world;
    xds_stop(&w->xds);
    grpc_server_free(&w->server);
    world_run_ms(w, 5);
    loop_free(&w->loop);
    stats_free(&w->stats);
    buf_fini(&w->requests);
    buf_fini(&w->told);
    free(w);
    *world = NULL;
}

void world_walk(struct world *w, const struct world_step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct world_step *s = &steps[i];
        world_reply(w, s->type, s->version, s->nonce, s->resources, s->removed);
        world_expect_told(w, s->told);
        world_expect_requests(w, s->requests);
    }
}

/* ---- Fixtures. ---- */

int world_setup_delta(void **state)
{
    *state = world_new(XDS_DELTA);
    return 0;
}

int world_setup_sotw(void **state)
{
    *state = world_new(XDS_SOTW);
    return 0;
}

static int start(struct world *w)
{
    world_start(w);
    world_expect_requests(w, "cds node\nlds\n");
    return 0;
}

int world_setup_started_delta(void **state)
{
    world_setup_delta(state);
    return start(*state);
}

int world_setup_started_sotw(void **state)
{
    world_setup_sotw(state);
    return start(*state);
}

int world_teardown(void **state)
{
    world_free((struct world **)state);
    return 0;
}
