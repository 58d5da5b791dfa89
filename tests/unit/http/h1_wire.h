/* One end of a connection with a codec on it, the other end as raw bytes; and what the codec raised, as text. */
#ifndef OUTRIGGER_TESTS_UNIT_HTTP_H1_WIRE_H
#define OUTRIGGER_TESTS_UNIT_HTTP_H1_WIRE_H

#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"
#include "sidecar/http/stream.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

struct wire;
typedef void wire_fn(struct wire *w, struct stream *s);

struct wire {
    struct loop *loop;
    int fd; /* the peer's end; -1: closed */
    struct codec *codec;
    struct stream *stream; /* the open one */
    struct buf events;
    struct buf got; /* what the codec sent, as far as read */
    struct arena *arena;
    wire_fn *answer;     /* server: the request is whole */
    wire_fn *on_head;    /* a head was raised */
    wire_fn *on_data;
    wire_fn *on_end;
    bool tells_head;     /* fields too */
    bool drops_trailers; /* no enable_trailers */
    bool in_data;        /* the last event was data, which is joined */
    bool closed;         /* the codec's end of the connection is gone */
    unsigned streams, requests, above, below, drains, rooms;
    int step;            /* for the test */
};

static inline void wire_event(struct wire *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static inline void wire_event(struct wire *w, const char *fmt, ...)
{
    va_list ap;
    if (w->in_data)
        buf_append_c(&w->events, "]\n");
    w->in_data = false;
    va_start(ap, fmt);
    buf_vprintf(&w->events, fmt, ap);
    va_end(ap);
    buf_append_c(&w->events, "\n");
}

static inline void wire_fields(struct wire *w, const struct headers *h)
{
    for (uint32_t i = 0; i < h->count; i++)
        wire_event(w, "  %.*s: %.*s", STR_FMT(h->v[i].name), STR_FMT(h->v[i].value));
}

static inline void wire_message_end(struct wire *w, struct stream *s)
{
    if (w->answer)
        w->answer(w, s);
}

static inline void wire_on_request(struct stream *s, void *ctx, struct http_request *r, bool end)
{
    struct wire *w = ctx;
    w->requests++;
    wire_event(w, "%.*s %.*s of %.*s%s%.*s%s%s", STR_FMT(r->method), STR_FMT(r->path),
               STR_FMT(r->authority), r->protocol.n ? " to " : "", STR_FMT(r->protocol),
               r->expect_continue ? " expects" : "", end ? " end" : "");
    wire_fields(w, &r->headers);
    if (w->on_head)
        w->on_head(w, s);
    if (end && w->stream == s)
        wire_message_end(w, s);
}

static inline void wire_on_interim(struct stream *s, void *ctx, struct http_response *r)
{
    struct wire *w = ctx;
    (void)s;
    wire_event(w, "interim %u", r->status);
    wire_fields(w, &r->headers);
}

static inline void wire_on_response(struct stream *s, void *ctx, struct http_response *r, bool end)
{
    struct wire *w = ctx;
    wire_event(w, "%u%s%.*s%s", r->status, r->protocol.n ? " to " : "", STR_FMT(r->protocol),
               end ? " end" : "");
    wire_fields(w, &r->headers);
    if (w->on_head)
        w->on_head(w, s);
}

static inline void wire_on_data(struct stream *s, void *ctx, const uint8_t *data, size_t n, bool end)
{
    struct wire *w = ctx;
    if (!w->in_data && n > 0)
        buf_append_c(&w->events, "data [");
    w->in_data |= n > 0;
    buf_append(&w->events, data, n);
    if (w->on_data)
        w->on_data(w, s);
    if (end)
        wire_event(w, "end of data");
    if (end && w->stream == s)
        wire_message_end(w, s);
}

static inline void wire_on_trailers(struct stream *s, void *ctx, struct headers *t)
{
    struct wire *w = ctx;
    wire_event(w, "trailers");
    wire_fields(w, t);
    if (w->stream == s)
        wire_message_end(w, s);
}

static inline void wire_on_above(struct stream *s, void *ctx)
{
    struct wire *w = ctx;
    (void)s;
    w->above++;
}

static inline void wire_on_below(struct stream *s, void *ctx)
{
    struct wire *w = ctx;
    (void)s;
    w->below++;
}

static inline void wire_on_stream_end(struct stream *s, void *ctx, enum stream_reset reason,
                                      const char *details)
{
    struct wire *w = ctx;
    assert_ptr_equal(w->stream, s);
    w->stream = NULL;
    wire_event(w, "over%s%s%s%s", reason ? ": " : "", stream_reset_text(reason), *details ? ", " : "",
               details);
    if (w->on_end)
        w->on_end(w, s);
}

static inline void wire_on_refused(struct stream *s, void *ctx, const struct stream_refusal *refusal)
{
    struct wire *w = ctx;
    assert_ptr_equal(w->stream, s);
    wire_event(w, "refused %u %s", refusal->status, refusal->details);
}

static const struct stream_handler wire_stream_handler = {
    .on_request = wire_on_request,
    .on_refused = wire_on_refused,
    .on_interim = wire_on_interim,
    .on_response = wire_on_response,
    .on_data = wire_on_data,
    .on_trailers = wire_on_trailers,
    .on_above_high = wire_on_above,
    .on_below_low = wire_on_below,
    .on_stream_end = wire_on_stream_end,
};

static inline void wire_on_stream(struct codec *c, void *ctx, struct stream *s)
{
    struct wire *w = ctx;
    (void)c;
    assert_null(w->stream);
    w->stream = s;
    w->streams++;
    stream_set_handler(s, &wire_stream_handler, w);
}

static inline void wire_on_drain(struct codec *c, void *ctx)
{
    struct wire *w = ctx;
    (void)c;
    w->drains++;
}

static inline void wire_on_room(struct codec *c, void *ctx)
{
    struct wire *w = ctx;
    (void)c;
    w->rooms++;
}

static inline void wire_on_codec_end(struct codec *c, void *ctx, enum conn_end end, const char *details)
{
    struct wire *w = ctx;
    assert_ptr_equal(w->codec, c);
    (void)end;
    (void)details;
    w->closed = true;
    w->codec = NULL;
}

static const struct codec_handler wire_codec_handler = {
    .on_stream = wire_on_stream,
    .on_drain = wire_on_drain,
    .on_room = wire_on_room,
    .on_codec_end = wire_on_codec_end,
};

static inline void wire_open(struct wire *w, struct loop *loop, bool server,
                             const struct codec_options *options)
{
    int fds[2];
    struct conn *conn;
    struct codec_options o = options ? *options : (struct codec_options){0};
    o.enable_trailers = !w->drops_trailers;
    if (o.delayed_close_ms == 0)
        o.delayed_close_ms = 20;
    w->loop = loop;
    w->arena = arena_new(1024);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(conn_adopt(loop, fds[0], NULL, &conn), 0);
    w->fd = fds[1];
    w->codec = server ? h1_server_new(conn, &o, &wire_codec_handler, w)
                      : h1_client_new(conn, &o, &wire_codec_handler, w);
}

static inline void wire_read(struct wire *w)
{
    ssize_t n;
    if (w->fd < 0)
        return;
    do {
        n = read(w->fd, buf_reserve(&w->got, 65536), 65536);
        if (n > 0)
            buf_commit(&w->got, (size_t)n);
    } while (n > 0);
}

static inline void wire_run(struct wire *w)
{
    loop_run_ready(w->loop);
    wire_read(w);
}

static inline void wire_put(struct wire *w, const char *p, size_t n)
{
    while (n > 0 && w->fd >= 0) {
        ssize_t sent = send(w->fd, p, n, MSG_NOSIGNAL);
        if (sent < 0) {
            assert_true(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
            if (errno != EAGAIN)
                return;
            wire_run(w);
            continue;
        }
        p += sent;
        n -= (size_t)sent;
    }
    wire_run(w);
}

static inline void wire_puts(struct wire *w, const char *text)
{
    wire_put(w, text, strlen(text));
}

static inline void wire_fin(struct wire *w)
{
    shutdown(w->fd, SHUT_WR);
    wire_run(w);
}

static inline void wire_hang_up(struct wire *w)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
    wire_run(w);
}

/* Closes what is left. */
static inline void wire_close(struct wire *w)
{
    wire_hang_up(w);
    if (w->codec)
        codec_close(w->codec);
    wire_run(w);
    assert_null(w->codec);
    assert_null(w->stream);
    buf_fini(&w->events);
    buf_fini(&w->got);
    arena_free(&w->arena);
}

/* The events so far, and forgets them. */
static inline const char *wire_events(struct wire *w)
{
    if (w->in_data)
        buf_append_c(&w->events, "]\n");
    w->in_data = false;
    buf_append_byte(&w->events, '\0');
    const char *text = (const char *)buf_head(&w->events);
    w->events.end = w->events.off; /* the text stays until the next event */
    return text;
}

static inline const char *wire_got(struct wire *w)
{
    wire_read(w);
    buf_append_byte(&w->got, '\0');
    const char *text = (const char *)buf_head(&w->got);
    w->got.end = w->got.off;
    return text;
}

/* 200 with a body, in order. */
static inline void wire_answer_hello(struct wire *w, struct stream *s)
{
    struct http_response r;
    http_response_init(&r, w->arena);
    r.status = 200;
    r.content_length = 5;
    stream_send_response(s, &r, false);
    stream_send_data(s, "hello", 5, true);
}

static inline struct stream *wire_request(struct wire *w, const char *method, const char *path,
                                          int64_t length, bool end)
{
    struct http_request r;
    struct stream *s = codec_open_stream(w->codec, w->arena, &wire_stream_handler, w);
    assert_non_null(s);
    w->stream = s;
    http_request_init(&r, w->arena);
    r.method = str_of(method);
    r.path = str_of(path);
    r.authority = STR("test");
    r.content_length = length;
    r.is_head = str_eq_c(r.method, "HEAD");
    stream_send_request(s, &r, end);
    return s;
}

/* What wire_answer_hello makes of it. */
#define WIRE_HELLO "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
#define WIRE_HELLO_CLOSE "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"

static inline void wire_answer_later(struct wire *w, struct stream *s)
{
    (void)w;
    (void)s;
}

static inline void wire_send_head(struct wire *w, struct stream *s, unsigned status, int64_t length, bool end)
{
    struct http_response r;
    http_response_init(&r, w->arena);
    r.status = (uint16_t)status;
    r.content_length = length;
    headers_add(&r.headers, STR("x-a"), STR("1"));
    stream_send_response(s, &r, end);
}

static inline void wire_send_early_head(struct wire *w, struct stream *s)
{
    wire_send_head(w, s, 200, -1, false);
}

/* The fixture of a test: a loop. */
static inline int wire_setup(void **state)
{
    *state = loop_new();
    return 0;
}

static inline int wire_teardown(void **state)
{
    struct loop *loop = *state;
    loop_free(&loop);
    return 0;
}

#define WIRE_TEST(f) cmocka_unit_test_setup_teardown(f, wire_setup, wire_teardown)

static inline void wire_check(const char *name, size_t cut, const char *what, const char *got, const char *want)
{
    if (strcmp(got, want) != 0)
        fail_msg("%s, cut at %zu, %s:\n%s\ninstead of:\n%s", name, cut, what, got, want);
}

#endif
