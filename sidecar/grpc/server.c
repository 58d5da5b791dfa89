/* Owns the connections of a gRPC server and turns their streams into calls of its methods. On one loop.
 *
 * A request that is no gRPC gets an HTTP status (405, 415); one for a method that is not there, or with a deadline that
 * cannot be read, a gRPC status: in both cases no method hears of it. */
#include "sidecar/grpc/grpc_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/list.h"
#include "sidecar/base/log.h"
#include "sidecar/net/listen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_KEEPALIVE_MS 30000
#define DEFAULT_KEEPALIVE_TIMEOUT_MS 10000

struct grpc_server {
    struct loop *loop;
    struct grpc_server_options options;
    const struct grpc_method *methods;
    unsigned count;
    void *ctx;
    struct list conns;
    struct listen_socket *listener;
    int fd; /* -1: does not listen */
    uint16_t port;
    bool draining;
};

struct server_conn {
    struct list link;
    struct grpc_server *server;
    struct codec *codec;
};

/* ---- Streams to calls. ---- */

static const struct grpc_method *find_method(const struct grpc_server *s, struct str path)
{
    for (unsigned i = 0; i < s->count; i++)
        if (str_eq_c(path, s->methods[i].path))
            return &s->methods[i];
    return NULL;
}

static void answer_http(struct grpc_call *call, unsigned status)
{
    struct http_response r;
    call->done = true;
    grpc_call_set_status(call, GRPC_UNKNOWN, "not a gRPC request");
    http_response_init(&r, call->arena);
    r.status = (uint16_t)status;
    r.content_length = 0;
    stream_send_response(call->stream, &r, true);
}

static bool arm_deadline(struct grpc_call *call, const struct http_request *r)
{
    uint64_t ns;
    struct str timeout = headers_get(&r->headers, HDR_GRPC_TIMEOUT);
    if (!timeout.p)
        return true;
    if (!grpc_timeout_parse(timeout, &ns)) {
        grpc_call_fail(call, GRPC_INTERNAL, "malformed grpc-timeout \"%.*s\"", STR_FMT(str_sub(timeout, 0, 32)));
        return false;
    }
    uint64_t ms = ns / 1000000 + (ns % 1000000 > 0);
    if (ms == 0) {
        grpc_call_fail(call, GRPC_DEADLINE_EXCEEDED, "deadline exceeded");
        return false;
    }
    grpc_call_arm(call, ms);
    return true;
}

static void on_request(struct stream *stream, void *ctx, struct http_request *r, bool end)
{
    struct grpc_call *call = ctx;
    struct server_conn *sc = call->ctx;
    struct grpc_server *s = sc->server;
    (void)stream;
    call->ctx = NULL;
    if (!str_eq(r->method, STR("POST"))) {
        answer_http(call, 405);
        return;
    }
    if (!r->is_grpc) {
        answer_http(call, 415);
        return;
    }
    const struct grpc_method *m = find_method(s, r->path);
    if (!m) {
        grpc_call_fail(call, GRPC_UNIMPLEMENTED, "unknown method %.*s", STR_FMT(str_sub(r->path, 0, 200)));
        return;
    }
    if (!arm_deadline(call, r))
        return;
    m->on_call(s->ctx, call, r);
    if (end)
        grpc_call_half_closed(call);
}

static void on_trailers(struct stream *stream, void *ctx, struct headers *trailers)
{
    (void)stream;
    (void)trailers;
    grpc_call_half_closed(ctx);
}

static const struct stream_handler stream_table = {
    .on_request = on_request,
    .on_data = grpc_call_on_data,
    .on_trailers = on_trailers,
    .on_above_high = grpc_call_on_above_high,
    .on_below_low = grpc_call_on_below_low,
    .on_stream_end = grpc_call_on_stream_end,
};

/* ---- Connections. ---- */

static void on_stream(struct codec *c, void *ctx, struct stream *stream)
{
    struct server_conn *sc = ctx;
    (void)c;
    struct grpc_call *call = grpc_call_new(stream, true, sc->server->options.limits.max_message_bytes);
    call->ctx = sc; /* until on_request, which comes next */
    stream_set_handler(stream, &stream_table, call);
}

static void on_codec_end(struct codec *c, void *ctx, enum conn_end end, const char *details)
{
    struct server_conn *sc = ctx;
    assert(sc->codec == c);
    log_debug(LOG_GRPC, "connection ended: %s%s%s", conn_end_name(end), *details ? ": " : "", details);
    list_remove(&sc->link);
    free(sc);
}

static const struct codec_handler codec_table = {.on_stream = on_stream, .on_codec_end = on_codec_end};

void grpc_server_accept(struct grpc_server *s, struct conn *c)
{
    struct server_conn *sc = NEW(struct server_conn);
    struct codec_options o = {
        .max_streams = s->options.max_streams,
        .ping_interval_ms = s->options.keepalive_ms,
        .ping_timeout_ms = s->options.keepalive_timeout_ms,
    };
    sc->server = s;
    list_init(&sc->link);
    list_push_back(&s->conns, &sc->link);
    sc->codec = h2_server_new(c, &o, &codec_table, sc);
    if (s->draining)
        codec_drain(sc->codec);
}

static void on_accept(void *ctx, int fd, const struct addr *peer)
{
    struct grpc_server *s = ctx;
    struct conn *c;
    char text[ADDR_TEXT_CAP];
    int rc = conn_adopt(s->loop, fd, NULL, &c);
    if (rc == 0)
        grpc_server_accept(s, c);
    else
        log_warn(LOG_GRPC, "connection from %s: %s", addr_format(peer, text, sizeof(text)), strerror(-rc));
}

/* ---- The server. ---- */

struct grpc_server *grpc_server_new(struct loop *loop, const struct grpc_server_options *options,
                                    const struct grpc_method *methods, unsigned count, void *ctx)
{
    struct grpc_server *s = NEW(struct grpc_server);
    s->loop = loop;
    if (options)
        s->options = *options;
    if (s->options.keepalive_ms == 0)
        s->options.keepalive_ms = DEFAULT_KEEPALIVE_MS;
    if (s->options.keepalive_timeout_ms == 0)
        s->options.keepalive_timeout_ms = DEFAULT_KEEPALIVE_TIMEOUT_MS;
    s->methods = methods;
    s->count = count;
    s->ctx = ctx;
    s->fd = -1;
    list_init(&s->conns);
    return s;
}

int grpc_server_listen(struct grpc_server *s, const struct addr *at)
{
    struct addr bound = {.len = sizeof(bound.un)};
    assert(s->fd < 0);
    int fd = listen_bind(at, &(struct listen_options){0});
    if (fd < 0)
        return fd;
    if (getsockname(fd, &bound.sa, &bound.len) != 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    s->fd = fd;
    s->port = addr_port(&bound);
    s->listener = listen_start(s->loop, fd, on_accept, s);
    return 0;
}

uint16_t grpc_server_port(const struct grpc_server *s)
{
    return s->port;
}

static void stop_listening(struct grpc_server *s)
{
    if (s->fd < 0)
        return;
    listen_stop(&s->listener);
    close(s->fd);
    s->fd = -1;
}

void grpc_server_drain(struct grpc_server *s)
{
    s->draining = true;
    stop_listening(s);
    LIST_FOREACH(&s->conns, node)
        codec_drain(CONTAINER_OF(node, struct server_conn, link)->codec);
}

void grpc_server_free(struct grpc_server **s_p)
{
    struct grpc_server *s = *s_p;
    if (!s)
        return;
    *s_p = NULL;
    stop_listening(s);
    struct list *node;
    while ((node = list_pop_front(&s->conns))) {
        struct server_conn *sc = CONTAINER_OF(node, struct server_conn, link);
        codec_close(sc->codec); /* every call has its on_done in here; the codec's own end comes later, to nobody */
        codec_set_handler(sc->codec, NULL, NULL);
        free(sc);
    }
    free(s);
}
