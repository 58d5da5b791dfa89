/* A small server over the codecs, for our own endpoints. On its loop.
 *
 * A connection waits for its first bytes to choose HTTP/1 or HTTP/2, then lives with its codec. A request gathers its body,
 * goes to the owner's function once, and lives until its stream ended and it was answered, whichever is later. One timer ends
 * connections that say nothing, and those whose request takes too long to arrive; an answer may take any time. */
#include "sidecar/http/serve.h"

#include "sidecar/base/die.h"
#include "sidecar/base/list.h"
#include "sidecar/http/stream.h"
#include "sidecar/net/sniff.h"
#include "sidecar/net/timer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BODY_MAX_DEFAULT (1u << 20)
#define IDLE_MS_DEFAULT 60000u
#define RECEIVE_MS_DEFAULT 10000u

struct serve {
    struct loop *loop;
    int fd;
    bool owns_fd;
    struct listen_socket *socket;
    uint32_t max_body_bytes, idle_ms, receive_ms;
    serve_fn *fn;
    void *ctx;
    struct list connections;
};

struct connection {
    struct list link;
    struct loop *loop;
    struct serve *serve; /* NULL: stopped; late answers go nowhere */
    struct conn *conn;
    struct codec *codec;
    struct buf early;
    struct timer patience;
    unsigned requests;  /* alive */
    unsigned receiving; /* of them, not whole yet */
    bool is_ended;
};

struct serve_request {
    struct connection *connection;
    struct stream *stream; /* NULL: it ended */
    struct arena *arena;
    struct http_request head;
    struct buf body;
    struct http_response response;
    bool is_received, is_called, is_answered, is_streaming, is_settled;
    void (*on_gone)(void *ctx);
    void *gone_ctx;
};

/* ---- Patience. ---- */

static void on_patience_over(struct timer *t)
{
    struct connection *c = CONTAINER_OF(t, struct connection, patience);
    if (c->codec)
        codec_close(c->codec);
    else
        conn_close(c->conn);
}

static void wait_for_request(struct connection *c)
{
    if (c->serve && !c->is_ended && c->requests == 0)
        timer_arm(&c->patience, c->serve->idle_ms);
}

/* Nothing more of it is waited for. */
static void received(struct serve_request *rq)
{
    if (rq->is_received)
        return;
    rq->is_received = true;
    if (--rq->connection->receiving == 0)
        timer_disarm(&rq->connection->patience);
}

/* ---- Ends. ---- */

static void free_connection(void *arg)
{
    struct connection *c = arg;
    buf_fini(&c->early);
    free(c);
}

static void free_request(void *arg)
{
    struct serve_request *rq = arg;
    struct connection *c = rq->connection;
    struct arena *a = rq->arena;
    buf_fini(&rq->body);
    arena_release(&a);
    c->requests--;
    if (c->is_ended && c->requests == 0)
        free_connection(c);
    else
        wait_for_request(c);
}

static void request_settle(struct serve_request *rq)
{
    /* An answer may end the stream while it is being sent, so both ends may come by here. */
    if (rq->stream || rq->is_settled || (!rq->is_answered && rq->is_called))
        return;
    rq->is_settled = true;
    loop_defer(rq->connection->loop, free_request, rq);
}

/* ---- Requests. ---- */

static void call(struct serve_request *rq)
{
    rq->is_called = true;
    received(rq);
    if (rq->connection->serve)
        rq->connection->serve->fn(rq->connection->serve->ctx, rq, &rq->head, buf_str(&rq->body));
}

static void on_request(struct stream *s, void *ctx, struct http_request *request, bool end)
{
    struct serve_request *rq = ctx;
    rq->head = *request;
    if (request->expect_continue && !end) {
        struct http_response r;
        http_response_init(&r, rq->arena);
        r.status = 100;
        stream_send_interim(s, &r);
    }
    if (end)
        call(rq);
}

static void on_data(struct stream *s, void *ctx, const uint8_t *data, size_t n, bool end)
{
    struct serve_request *rq = ctx;
    (void)s;
    if (rq->is_answered || !rq->connection->serve)
        return;
    if (buf_len(&rq->body) + n > rq->connection->serve->max_body_bytes) {
        rq->is_called = true;
        received(rq);
        serve_reply(rq, 413, "text/plain", STR("request body too large\n"));
        return;
    }
    buf_append(&rq->body, data, n);
    if (end)
        call(rq);
}

static void on_trailers(struct stream *s, void *ctx, struct headers *trailers)
{
    struct serve_request *rq = ctx;
    (void)s;
    (void)trailers;
    if (!rq->is_answered)
        call(rq);
}

static void on_stream_end(struct stream *s, void *ctx, enum stream_reset reason, const char *details)
{
    struct serve_request *rq = ctx;
    (void)s;
    (void)reason;
    (void)details;
    rq->stream = NULL;
    received(rq);
    if (rq->is_streaming && !rq->is_answered) {
        rq->is_answered = true;
        if (rq->on_gone)
            rq->on_gone(rq->gone_ctx);
    }
    request_settle(rq);
}

static const struct stream_handler stream_handler = {
    .on_request = on_request,
    .on_data = on_data,
    .on_trailers = on_trailers,
    .on_stream_end = on_stream_end,
};

static void on_stream(struct codec *codec, void *ctx, struct stream *s)
{
    struct connection *c = ctx;
    struct arena *a = stream_take_arena(s);
    struct serve_request *rq = ARENA_NEW(a, struct serve_request);
    (void)codec;
    rq->connection = c;
    rq->stream = s;
    rq->arena = a;
    http_response_init(&rq->response, a);
    c->requests++;
    if (c->receiving++ == 0 && c->serve)
        timer_arm(&c->patience, c->serve->receive_ms);
    stream_set_handler(s, &stream_handler, rq);
}

/* ---- Connections. ---- */

static void connection_end(struct connection *c)
{
    c->is_ended = true;
    timer_disarm(&c->patience);
    list_remove(&c->link);
    if (c->requests == 0)
        loop_defer(c->loop, free_connection, c);
}

static void on_codec_end(struct codec *codec, void *ctx, enum conn_end end, const char *details)
{
    (void)codec;
    (void)end;
    (void)details;
    connection_end(ctx);
}

static const struct codec_handler codec_handler = {.on_stream = on_stream, .on_codec_end = on_codec_end};

static void on_first_bytes(struct conn *conn, void *ctx, uint8_t *data, size_t n)
{
    struct connection *c = ctx;
    struct sniff_result r = {0}; /* the bytes are few: it looks at all of them again */
    buf_append(&c->early, data, n);
    sniff(buf_head(&c->early), buf_len(&c->early), false, true, &r);
    if (r.kind == SNIFF_MORE)
        return;
    const struct codec_options options = {.accept_http10 = true, .http10_default_host = "localhost"};
    c->codec = r.kind == SNIFF_HTTP2 ? h2_server_new(conn, &options, &codec_handler, c)
                                     : h1_server_new(conn, &options, &codec_handler, c);
    codec_feed(c->codec, buf_head(&c->early), buf_len(&c->early));
    buf_fini(&c->early);
}

static void on_conn_end(struct conn *conn, void *ctx, enum conn_end end, int error)
{
    (void)conn;
    (void)end;
    (void)error;
    connection_end(ctx);
}

static const struct conn_handler conn_handler = {.on_data = on_first_bytes, .on_end = on_conn_end};

static void on_accept(void *ctx, int fd, const struct addr *peer)
{
    struct serve *s = ctx;
    struct conn *conn;
    const struct conn_options options = {0};
    (void)peer;
    if (conn_adopt(s->loop, fd, &options, &conn) < 0)
        return;
    struct connection *c = NEW(struct connection);
    c->loop = s->loop;
    c->serve = s;
    c->conn = conn;
    list_init(&c->link);
    list_push_back(&s->connections, &c->link);
    timer_init(&c->patience, s->loop, on_patience_over);
    wait_for_request(c);
    conn_set_handler(conn, &conn_handler, c);
}

/* ---- The server. ---- */

static uint32_t given(uint32_t value, uint32_t fallback)
{
    return value > 0 ? value : fallback;
}


struct serve *serve_start_fd(struct loop *loop, int fd, const struct serve_options *options, serve_fn *fn, void *ctx)
{
    static const struct serve_options plain;
    const struct serve_options *o = options ? options : &plain;
    struct serve *s = NEW(struct serve);
    s->loop = loop;
    s->fd = fd;
    s->max_body_bytes = given(o->max_body_bytes, BODY_MAX_DEFAULT);
    s->idle_ms = given(o->idle_ms, IDLE_MS_DEFAULT);
    s->receive_ms = given(o->receive_ms, RECEIVE_MS_DEFAULT);
    s->fn = fn;
    s->ctx = ctx;
    list_init(&s->connections);
    s->socket = listen_start(loop, fd, on_accept, s);
    return s;
}

struct serve *serve_start(struct loop *loop, const struct addr *at, const struct serve_options *options, serve_fn *fn,
                          void *ctx, int *error_r)
{
    static const struct listen_options plain;
    int fd = listen_bind(at, options ? &options->listen : &plain);
    if (fd < 0) {
        *error_r = fd;
        return NULL;
    }
    struct serve *s = serve_start_fd(loop, fd, options, fn, ctx);
    s->owns_fd = true;
    return s;
}

uint16_t serve_port(const struct serve *s)
{
    struct addr a = {.len = sizeof(a.un)};
    return getsockname(s->fd, &a.sa, &a.len) == 0 ? addr_port(&a) : 0;
}

void serve_stop(struct serve **s)
{
    struct serve *was = *s;
    *s = NULL;
    if (!was)
        return;
    listen_stop(&was->socket);
    LIST_FOREACH (&was->connections, link) {
        struct connection *c = CONTAINER_OF(link, struct connection, link);
        c->serve = NULL;
        if (c->codec)
            codec_close(c->codec);
        else
            conn_close(c->conn);
    }
    if (was->owns_fd)
        close(was->fd);
    loop_defer(was->loop, free, was);
}

/* ---- Answers. ---- */

static void begin(struct serve_request *rq, unsigned status, const char *content_type, int64_t length, bool end)
{
    struct http_response *r = &rq->response;
    r->status = (uint16_t)status;
    r->content_length = length;
    if (content_type)
        headers_set_id(&r->headers, HDR_CONTENT_TYPE, arena_str(rq->arena, str_of(content_type)));
    if (rq->stream)
        stream_send_response(rq->stream, r, end);
}

void serve_header(struct serve_request *rq, const char *name, const char *value)
{
    headers_add_copy(&rq->response.headers, str_of(name), str_of(value));
}

void serve_reply(struct serve_request *rq, unsigned status, const char *content_type, struct str body)
{
    assert(!rq->is_answered && !rq->is_streaming);
    bool has_body = body.n > 0 && !rq->head.is_head;
    rq->is_answered = true;
    begin(rq, status, content_type, (int64_t)body.n, !has_body);
    if (has_body && rq->stream)
        stream_send_data(rq->stream, body.p, body.n, true);
    request_settle(rq);
}

void serve_begin(struct serve_request *rq, unsigned status, const char *content_type, void (*on_gone)(void *ctx), void *ctx)
{
    assert(!rq->is_answered && !rq->is_streaming);
    rq->is_streaming = true;
    rq->on_gone = on_gone;
    rq->gone_ctx = ctx;
    begin(rq, status, content_type, -1, false);
}

void serve_chunk(struct serve_request *rq, struct str data)
{
    assert(rq->is_streaming && !rq->is_answered);
    if (rq->stream)
        stream_send_data(rq->stream, data.p, data.n, false);
}

void serve_end(struct serve_request *rq)
{
    assert(rq->is_streaming && !rq->is_answered);
    rq->is_answered = true;
    if (rq->stream)
        stream_send_data(rq->stream, NULL, 0, true);
    request_settle(rq);
}

struct loop *serve_loop(const struct serve_request *rq)
{
    return rq->connection->loop;
}

struct conn *serve_conn(const struct serve_request *rq)
{
    return rq->connection->conn;
}

static struct str percent_decode(struct str text, struct arena *a)
{
    char *out = arena_alloc(a, text.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        bool escaped = text.p[i] == '%' && i + 2 < text.n && ascii_hex(text.p[i + 1]) >= 0 && ascii_hex(text.p[i + 2]) >= 0;
        out[n++] = escaped ? (char)(ascii_hex(text.p[i + 1]) << 4 | ascii_hex(text.p[i + 2])) : text.p[i] == '+' ? ' ' : text.p[i];
        i += escaped ? 2 : 0;
    }
    out[n] = '\0';
    return str_n(out, n);
}

struct str serve_query(const struct http_request *head, struct arena *arena, const char *name)
{
    ptrdiff_t question = str_index(head->path, '?', 0);
    struct str rest = question < 0 ? STR_NONE : str_sub(head->path, (size_t)question + 1, SIZE_MAX), pair;
    while (str_next(&rest, '&', &pair)) {
        ptrdiff_t eq = str_index(pair, '=', 0);
        if (!str_eq_c(eq < 0 ? pair : str_sub(pair, 0, (size_t)eq), name))
            continue;
        return eq < 0 ? STR("") : percent_decode(str_sub(pair, (size_t)eq + 1, SIZE_MAX), arena);
    }
    return STR_NONE;
}
