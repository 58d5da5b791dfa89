/* An HTTP/2 client and an HTTP/2 server of ours on one loop, joined by a socket pair. What their streams raise is kept as a
 * transcript a stream: "[request GET a /x][data hello end][end]". */
#ifndef TESTS_UNIT_HTTP_H2_PAIR_H
#define TESTS_UNIT_HTTP_H2_PAIR_H

#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"
#include "sidecar/http/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PAIR_STREAMS 256

struct side;

struct seen {
    struct side *side;
    struct stream *stream; /* NULL once it ended */
    struct buf log;
    size_t body_bytes;
    struct arena *arena; /* the client's */
};

struct side {
    struct conn *conn;
    struct codec *codec; /* NULL once it ended */
    struct seen seen[PAIR_STREAMS];
    unsigned count;
    bool drained, ended;
    unsigned rooms;
    char details[64];
    void (*on_request)(struct seen *s); /* what the server does at once */
};

struct pair {
    struct loop *loop;
    struct side client, server;
};

static inline struct seen *seen_of(void *ctx)
{
    return ctx;
}

static inline void seen_on_request(struct stream *s, void *ctx, struct http_request *r, bool end)
{
    struct seen *seen = seen_of(ctx);
    (void)s;
    buf_printf(&seen->log, "[request %.*s %.*s %.*s%s%.*s%s]", STR_FMT(r->method), STR_FMT(r->authority),
               STR_FMT(r->path), r->protocol.n ? " upgrade=" : "", STR_FMT(r->protocol), end ? " end" : "");
}

static inline void seen_on_interim(struct stream *s, void *ctx, struct http_response *r)
{
    (void)s;
    buf_printf(&seen_of(ctx)->log, "[interim %u]", r->status);
}

static inline void seen_on_response(struct stream *s, void *ctx, struct http_response *r, bool end)
{
    (void)s;
    buf_printf(&seen_of(ctx)->log, "[response %u%s]", r->status, end ? " end" : "");
}

static inline void seen_on_data(struct stream *s, void *ctx, const uint8_t *data, size_t n, bool end)
{
    struct seen *seen = seen_of(ctx);
    (void)s;
    seen->body_bytes += n;
    if (n <= 32)
        buf_printf(&seen->log, "[data %.*s%s]", (int)n, n ? (const char *)data : "", end ? " end" : "");
    else if (end)
        buf_append_c(&seen->log, "[data... end]");
}

static inline void seen_on_trailers(struct stream *s, void *ctx, struct headers *t)
{
    (void)s;
    buf_append_c(&seen_of(ctx)->log, "[trailers");
    for (uint32_t i = 0; i < t->count; i++)
        buf_printf(&seen_of(ctx)->log, " %.*s=%.*s", STR_FMT(t->v[i].name), STR_FMT(t->v[i].value));
    buf_append_c(&seen_of(ctx)->log, "]");
}

static inline void seen_on_high(struct stream *s, void *ctx)
{
    (void)s;
    buf_append_c(&seen_of(ctx)->log, "[high]");
}

static inline void seen_on_low(struct stream *s, void *ctx)
{
    (void)s;
    buf_append_c(&seen_of(ctx)->log, "[low]");
}

static inline void seen_on_end(struct stream *s, void *ctx, enum stream_reset reason, const char *details)
{
    struct seen *seen = seen_of(ctx);
    (void)s;
    assert_non_null(seen->stream);
    seen->stream = NULL;
    buf_printf(&seen->log, "[end%s%s%s%s]", reason ? " " : "", stream_reset_text(reason), *details ? ": " : "",
               details);
}

static const struct stream_handler seen_handler = {
    .on_interim = seen_on_interim,
    .on_response = seen_on_response,
    .on_data = seen_on_data,
    .on_trailers = seen_on_trailers,
    .on_above_high = seen_on_high,
    .on_below_low = seen_on_low,
    .on_stream_end = seen_on_end,
};

static inline void server_on_request(struct stream *s, void *ctx, struct http_request *r, bool end)
{
    struct seen *seen = ctx;
    seen_on_request(s, ctx, r, end);
    if (seen->side->on_request)
        seen->side->on_request(seen);
}

/* Left to the codec to answer. */
static inline void seen_on_refused(struct stream *s, void *ctx, const struct stream_refusal *refusal)
{
    (void)s;
    buf_printf(&seen_of(ctx)->log, "[refused %u %s]", refusal->status, refusal->details);
}

static const struct stream_handler server_handler = {
    .on_request = server_on_request,
    .on_refused = seen_on_refused,
    .on_data = seen_on_data,
    .on_trailers = seen_on_trailers,
    .on_above_high = seen_on_high,
    .on_below_low = seen_on_low,
    .on_stream_end = seen_on_end,
};

static inline void side_on_stream(struct codec *c, void *ctx, struct stream *s)
{
    struct side *side = ctx;
    (void)c;
    assert_true(side->count < PAIR_STREAMS);
    struct seen *seen = &side->seen[side->count++];
    seen->stream = s;
    seen->side = side;
    stream_set_handler(s, &server_handler, seen);
}

static inline void side_on_drain(struct codec *c, void *ctx)
{
    (void)c;
    ((struct side *)ctx)->drained = true;
}

static inline void side_on_room(struct codec *c, void *ctx)
{
    (void)c;
    ((struct side *)ctx)->rooms++;
}

static inline void side_on_end(struct codec *c, void *ctx, enum conn_end end, const char *details)
{
    struct side *side = ctx;
    (void)end;
    assert_ptr_equal(side->codec, c);
    side->codec = NULL;
    side->ended = true;
    snprintf(side->details, sizeof(side->details), "%s", details);
}

static const struct codec_handler side_handler = {
    .on_stream = side_on_stream,
    .on_drain = side_on_drain,
    .on_room = side_on_room,
    .on_codec_end = side_on_end,
};

static inline void run(struct pair *p)
{
    /* Bytes cross in turns: each side's flush ends a turn. */
    for (unsigned i = 0; i < 50; i++)
        loop_run_ready(p->loop);
}

/* Neither has heard of the other yet. */
static inline void pair_join(struct pair *p, const struct codec_options *client, const struct codec_options *server)
{
    int fds[2];
    memset(p, 0, sizeof(*p));
    p->loop = loop_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(conn_adopt(p->loop, fds[0], NULL, &p->client.conn), 0);
    assert_int_equal(conn_adopt(p->loop, fds[1], NULL, &p->server.conn), 0);
    p->client.codec = h2_client_new(p->client.conn, client, &side_handler, &p->client);
    p->server.codec = h2_server_new(p->server.conn, server, &side_handler, &p->server);
}

static inline void pair_open(struct pair *p, const struct codec_options *client, const struct codec_options *server)
{
    pair_join(p, client, server);
    run(p);
}

static inline void side_fini(struct side *side)
{
    for (unsigned i = 0; i < PAIR_STREAMS; i++) {
        buf_fini(&side->seen[i].log);
        arena_free(&side->seen[i].arena);
    }
}

static inline void pair_close(struct pair *p)
{
    loop_free(&p->loop);
    assert_true(p->client.ended && p->server.ended);
    side_fini(&p->client);
    side_fini(&p->server);
}

static inline struct seen *request(struct pair *p, const char *method, const char *path, bool end)
{
    struct side *side = &p->client;
    struct seen *seen = &side->seen[side->count];
    seen->side = side;
    seen->arena = arena_new(512);
    seen->stream = codec_open_stream(side->codec, seen->arena, &seen_handler, seen);
    if (!seen->stream) {
        arena_free(&seen->arena);
        return NULL;
    }
    side->count++;
    struct http_request r;
    http_request_init(&r, seen->arena);
    r.method = str_of(method);
    r.scheme = STR("http");
    r.authority = STR("a");
    r.path = str_of(path);
    stream_send_request(seen->stream, &r, end);
    return seen;
}

static inline void respond(struct seen *seen, unsigned status, bool end)
{
    struct arena *arena = arena_new(512);
    struct http_response r;
    http_response_init(&r, arena);
    r.status = (uint16_t)status;
    stream_send_response(seen->stream, &r, end);
    arena_free(&arena);
}

#define assert_log(seen_, text)                                                                    \
    do {                                                                                           \
        buf_append_byte(&(seen_)->log, 0);                                                         \
        assert_string_equal((const char *)buf_head(&(seen_)->log), text);                          \
        buf_clear(&(seen_)->log);                                                                  \
    } while (0)

#endif
