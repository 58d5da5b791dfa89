/* One request and its whole answer over a connection of its own. On the caller's loop. Everything ends in settle, which calls the
 * owner once; memory goes at the end of that turn. */
#include "sidecar/http/fetch.h"

#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"
#include "sidecar/http/stream.h"
#include "sidecar/net/dial.h"
#include "sidecar/net/timer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_DEFAULT_MS 10000
#define BODY_MAX_DEFAULT (64u << 20)

struct fetch {
    struct loop *loop;
    struct conn *conn;
    struct codec *codec; /* NULL: not connected */
    struct stream *stream;
    struct arena *arena;
    struct http_request request;
    struct buf request_body, answer_body;
    struct http_response response;
    bool has_response, http2;
    uint32_t max_body_bytes;
    struct timer timer;
    fetch_fn *fn; /* NULL: the owner was told, or cancelled */
    void *ctx;
    bool is_conn_gone;
};

static void free_fetch(void *arg)
{
    struct fetch *f = arg;
    struct arena *a = f->arena;
    buf_fini(&f->request_body);
    buf_fini(&f->answer_body);
    arena_free(&a);
}

/* Freed once the connection has said its last word. */
static void close_connection(struct fetch *f)
{
    timer_disarm(&f->timer);
    if (f->is_conn_gone)
        return;
    if (f->codec)
        codec_close(f->codec);
    else
        conn_close(f->conn);
}

static void settle(struct fetch *f, int error, const char *failure)
{
    fetch_fn *fn = f->fn;
    if (!fn)
        return;
    f->fn = NULL;
    const struct fetch_answer answer = {
        .error = error,
        .failure = error ? failure : "",
        .status = error ? 0 : f->response.status,
        .headers = &f->response.headers,
        .body = buf_str(&f->answer_body),
    };
    fn(f->ctx, &answer);
    close_connection(f);
}

static void on_timeout(struct timer *t)
{
    settle(CONTAINER_OF(t, struct fetch, timer), ETIMEDOUT, "no whole answer within the timeout");
}

/* ---- The stream. ---- */

static void on_response(struct stream *s, void *ctx, struct http_response *response, bool end)
{
    struct fetch *f = ctx;
    (void)s;
    f->response = *response;
    f->has_response = true;
    if (end)
        settle(f, 0, "");
}

static void on_data(struct stream *s, void *ctx, const uint8_t *data, size_t n, bool end)
{
    struct fetch *f = ctx;
    (void)s;
    if (!f->fn)
        return;
    if (buf_len(&f->answer_body) + n > f->max_body_bytes) {
        settle(f, EMSGSIZE, "the answer is larger than allowed");
        return;
    }
    buf_append(&f->answer_body, data, n);
    if (end)
        settle(f, 0, "");
}

static void on_trailers(struct stream *s, void *ctx, struct headers *trailers)
{
    (void)s;
    (void)trailers;
    settle(ctx, 0, "");
}

static void on_stream_end(struct stream *s, void *ctx, enum stream_reset reason, const char *details)
{
    struct fetch *f = ctx;
    (void)s;
    (void)details;
    f->stream = NULL;
    settle(f, ECONNRESET, stream_reset_text(reason));
}

static const struct stream_handler stream_handler = {
    .on_response = on_response,
    .on_data = on_data,
    .on_trailers = on_trailers,
    .on_stream_end = on_stream_end,
};

/* ---- The connection. ---- */

static void on_codec_end(struct codec *c, void *ctx, enum conn_end end, const char *details)
{
    struct fetch *f = ctx;
    (void)c;
    (void)details;
    f->is_conn_gone = true;
    settle(f, ECONNRESET, conn_end_name(end));
    loop_defer(f->loop, free_fetch, f);
}

static const struct codec_handler codec_handler = {.on_codec_end = on_codec_end};

static void on_ready(struct conn *c, void *ctx)
{
    struct fetch *f = ctx;
    const struct codec_options options = {0};
    f->codec = f->http2 ? h2_client_new(c, &options, &codec_handler, f) : h1_client_new(c, &options, &codec_handler, f);
    f->stream = codec_open_stream(f->codec, f->arena, &stream_handler, f);
    if (!f->stream) {
        settle(f, EPROTO, "the connection takes no request");
        return;
    }
    size_t n = buf_len(&f->request_body);
    stream_send_request(f->stream, &f->request, n == 0);
    if (n > 0 && f->stream)
        stream_send_data(f->stream, buf_head(&f->request_body), n, true);
}

static void on_conn_end(struct conn *c, void *ctx, enum conn_end end, int error)
{
    struct fetch *f = ctx;
    f->is_conn_gone = true;
    settle(f, error > 0 ? error : end == CONN_END_CONNECT_TIMEOUT ? ETIMEDOUT : ECONNREFUSED,
           error > 0 ? strerror(error) : conn_failure(c)[0] ? conn_failure(c) : conn_end_name(end));
    loop_defer(f->loop, free_fetch, f);
}

static const struct conn_handler conn_handler = {.on_ready = on_ready, .on_end = on_conn_end};

/* ---- The verbs. ---- */

static void fill_request(struct fetch *f, const char *method, const char *authority, const char *path,
                         const struct headers *extra, struct str body)
{
    struct http_request *r = &f->request;
    http_request_init(r, f->arena);
    r->method = arena_str(f->arena, str_of(method));
    r->scheme = STR("http");
    r->authority = arena_str(f->arena, str_of(authority));
    r->path = arena_str(f->arena, str_of(path));
    r->version = f->http2 ? HTTP_2 : HTTP_1_1;
    r->is_head = strcmp(method, "HEAD") == 0;
    r->content_length = body.n > 0 ? (int64_t)body.n : -1;
    for (uint32_t i = 0; extra && i < extra->count; i++)
        headers_add_copy(&r->headers, extra->v[i].name, extra->v[i].value);
    buf_append_str(&f->request_body, body);
}

struct fetch *fetch_start(struct loop *loop, const struct addr *to, const char *method, const char *authority,
                          const char *path, const struct headers *extra, struct str body,
                          const struct fetch_options *options, fetch_fn *fn, void *ctx)
{
    static const struct fetch_options none;
    const struct fetch_options *o = options ? options : &none;
    const struct dial_options dial_options = {0};
    struct arena *a = arena_new(2048);
    struct fetch *f = ARENA_NEW(a, struct fetch);
    f->loop = loop;
    f->arena = a;
    f->http2 = o->http2;
    f->max_body_bytes = o->max_body_bytes > 0 ? o->max_body_bytes : BODY_MAX_DEFAULT;
    f->fn = fn;
    f->ctx = ctx;
    http_response_init(&f->response, a);
    fill_request(f, method, authority, path, extra, body);
    timer_init(&f->timer, loop, on_timeout);
    timer_arm(&f->timer, o->timeout_ms > 0 ? o->timeout_ms : TIMEOUT_DEFAULT_MS);
    f->conn = dial(loop, to, &dial_options);
    conn_set_handler(f->conn, &conn_handler, f);
    return f;
}

void fetch_cancel(struct fetch **f)
{
    struct fetch *was = *f;
    *f = NULL;
    if (!was || !was->fn)
        return;
    was->fn = NULL;
    close_connection(was);
}

bool fetch_split_url(struct str url, struct str *host_r, uint16_t *port_r, struct str *path_r)
{
    static const struct str scheme = {"http://", 7};
    uint64_t port = 80;
    if (!str_has_prefix(url, scheme))
        return false;
    url = str_sub(url, scheme.n, SIZE_MAX);
    ptrdiff_t slash = str_index(url, '/', 0);
    struct str authority = slash < 0 ? url : str_sub(url, 0, (size_t)slash);
    *path_r = slash < 0 ? STR("/") : str_sub(url, (size_t)slash, SIZE_MAX);
    size_t at = authority.n;
    while (at > 0 && authority.p[at - 1] != ':' && authority.p[at - 1] != ']')
        at--;
    if (at > 0 && authority.p[at - 1] == ':') {
        if (!str_to_u64(str_sub(authority, at, SIZE_MAX), &port) || port == 0 || port > 65535)
            return false;
        authority = str_sub(authority, 0, at - 1);
    }
    if (authority.n >= 2 && authority.p[0] == '[' && authority.p[authority.n - 1] == ']')
        authority = str_sub(authority, 1, authority.n - 2);
    *host_r = authority;
    *port_r = (uint16_t)port;
    return authority.n > 0;
}
