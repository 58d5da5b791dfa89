/* A bare HTTP/2 server for tests of the codec: it answers every request with the body that came. Paths:
 *
 *   /early      answers without waiting for the body
 *   /hold       never answers
 *   /big?N      answers with N zeros
 *
 * Prints its port; ends with its standard input. */
#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"
#include "sidecar/http/stream.h"
#include "sidecar/net/listen.h"
#include "stdin_end.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct echo {
    struct buf body;
    bool early, hold;
    bool is_head; /* answered without a body (RFC 9110, 9.3.2) */
    size_t big;
    bool asked; /* the request is whole */
};

static struct loop *loop;

static void send_big(struct stream *s, struct echo *e)
{
    static const char zeros[16384];
    while (e->big > 0 && !stream_is_above_high(s)) {
        size_t n = e->big < sizeof(zeros) ? e->big : sizeof(zeros);
        e->big -= n;
        stream_send_data(s, zeros, n, e->big == 0);
    }
}

static void answer(struct stream *s, struct echo *e)
{
    struct http_response r;
    http_response_init(&r, stream_arena(s));
    r.status = 200;
    headers_add(&r.headers, STR("content-type"), STR("text/plain"));
    if (e->hold)
        return;
    if (e->is_head) {
        stream_send_response(s, &r, true);
        return;
    }
    if (e->big > 0) {
        stream_send_response(s, &r, false);
        send_big(s, e);
        return;
    }
    buf_append_c(&e->body, "ok\n");
    r.content_length = (int64_t)buf_len(&e->body);
    stream_send_response(s, &r, false);
    stream_send_data(s, buf_head(&e->body), buf_len(&e->body), true);
}

static void on_request(struct stream *s, void *ctx, struct http_request *r, bool end)
{
    struct echo *e = ctx;
    uint64_t big = 0;
    e->early = str_eq(r->path, STR("/early"));
    e->hold = str_eq(r->path, STR("/hold"));
    e->is_head = str_eq(r->method, STR("HEAD"));
    if (str_has_prefix(r->path, STR("/big?")) && str_to_u64(str_sub(r->path, 5, r->path.n), &big))
        e->big = big;
    if (end || e->early)
        answer(s, e);
}

static void on_data(struct stream *s, void *ctx, const uint8_t *data, size_t n, bool end)
{
    struct echo *e = ctx;
    if (e->early)
        return;
    buf_append(&e->body, data, n);
    if (end)
        answer(s, e);
}

static void on_trailers(struct stream *s, void *ctx, struct headers *trailers)
{
    struct echo *e = ctx;
    (void)trailers;
    if (!e->early)
        answer(s, e);
}

static void on_below_low(struct stream *s, void *ctx)
{
    send_big(s, ctx);
}

static void on_stream_end(struct stream *s, void *ctx, enum stream_reset reason, const char *details)
{
    struct echo *e = ctx;
    (void)s;
    if (reason)
        fprintf(stderr, "stream %u: %s %s\n", stream_id(s), stream_reset_text(reason), details);
    buf_fini(&e->body);
    free(e);
}

static const struct stream_handler stream_table = {
    .on_request = on_request,
    .on_data = on_data,
    .on_trailers = on_trailers,
    .on_below_low = on_below_low,
    .on_stream_end = on_stream_end,
};

static void on_stream(struct codec *c, void *ctx, struct stream *s)
{
    (void)c;
    (void)ctx;
    stream_set_handler(s, &stream_table, NEW(struct echo));
}

static void on_codec_end(struct codec *c, void *ctx, enum conn_end end, const char *details)
{
    (void)c;
    (void)ctx;
    fprintf(stderr, "connection: %s %s\n", conn_end_name(end), details);
}

static const struct codec_handler codec_table = {.on_stream = on_stream, .on_codec_end = on_codec_end};

static void on_accept(void *ctx, int fd, const struct addr *peer)
{
    struct conn *c;
    (void)ctx;
    (void)peer;
    if (conn_adopt(loop, fd, NULL, &c) == 0)
        h2_server_new(c, NULL, &codec_table, NULL);
}

int main(void)
{
    struct addr at;
    signal(SIGPIPE, SIG_IGN);
    addr_parse(STR("127.0.0.1:0"), &at);
    int fd = listen_bind(&at, &(struct listen_options){0});
    if (fd < 0)
        die("cannot listen: %s", strerror(-fd));
    at.len = sizeof(at.un);
    if (getsockname(fd, &at.sa, &at.len) != 0)
        die("no address");
    loop = loop_new();
    struct listen_socket *ls = listen_start(loop, fd, on_accept, NULL);
    printf("%u\n", addr_port(&at));
    fflush(stdout);
    stdin_end_stops(loop);
    loop_run(loop);
    listen_stop(&ls);
    loop_free(&loop);
    close(fd);
    return 0;
}
