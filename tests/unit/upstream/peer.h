/* An HTTP server on loopback that does what a test tells it: streams wait until they are answered.
 */
#ifndef OUTRIGGER_TESTS_UPSTREAM_PEER_H
#define OUTRIGGER_TESTS_UPSTREAM_PEER_H

#include "tests/unit/upstream/upstream_support.h"

#define PEER_MAX 32

struct peer_stream {
    struct peer *peer;
    struct stream *stream; /* NULL: ended */
    unsigned on_conn;      /* which connection it came on, from 1 */
    bool asked;            /* the request head is there */
};

struct peer {
    struct loop *loop;
    int fd;
    uint16_t port;
    enum http_version version;
    uint32_t max_streams; /* HTTP/2 SETTINGS; 0: the default */
    struct listen_socket *socket;
    struct codec *codecs[PEER_MAX]; /* NULL: ended */
    unsigned conn_count, open_count;
    struct peer_stream streams[PEER_MAX];
    unsigned stream_count;
};

static inline void peer_on_request(struct stream *s, void *ctx, struct http_request *request,
                                   bool end)
{
    (void)s;
    (void)request;
    (void)end;
    ((struct peer_stream *)ctx)->asked = true;
}

static inline void peer_on_stream_end(struct stream *s, void *ctx, enum stream_reset reason,
                                      const char *details)
{
    (void)s;
    (void)reason;
    (void)details;
    ((struct peer_stream *)ctx)->stream = NULL;
}

static inline void peer_on_stream(struct codec *c, void *ctx, struct stream *s)
{
    static const struct stream_handler handler = {.on_request = peer_on_request,
                                                  .on_stream_end = peer_on_stream_end};
    struct peer *p = ctx;
    assert_true(p->stream_count < PEER_MAX);
    struct peer_stream *ps = &p->streams[p->stream_count++];
    *ps = (struct peer_stream){.peer = p, .stream = s};
    for (unsigned i = 0; i < p->conn_count; i++)
        if (p->codecs[i] == c)
            ps->on_conn = i + 1;
    stream_set_handler(s, &handler, ps);
}

static inline void peer_on_codec_end(struct codec *c, void *ctx, enum conn_end end,
                                     const char *details)
{
    (void)end;
    (void)details;
    struct peer *p = ctx;
    p->open_count--;
    for (unsigned i = 0; i < p->conn_count; i++)
        if (p->codecs[i] == c)
            p->codecs[i] = NULL;
}

static inline void peer_on_accept(void *ctx, int fd, const struct addr *from)
{
    static const struct codec_handler handler = {.on_stream = peer_on_stream,
                                                 .on_codec_end = peer_on_codec_end};
    (void)from;
    struct peer *p = ctx;
    struct conn *c;
    assert_int_equal(conn_adopt(p->loop, fd, NULL, &c), 0);
    struct codec_options o = {.max_streams = p->max_streams};
    assert_true(p->conn_count < PEER_MAX);
    p->codecs[p->conn_count++] = p->version == HTTP_2 ? h2_server_new(c, &o, &handler, p)
                                                      : h1_server_new(c, &o, &handler, p);
    p->open_count++;
}

static inline void peer_open(struct peer *p, struct loop *loop, enum http_version version)
{
    memset(p, 0, sizeof(*p));
    p->loop = loop;
    p->version = version;
    p->fd = listen_here(&p->port);
    p->socket = listen_start(loop, p->fd, peer_on_accept, p);
}

static inline void peer_close(struct peer *p)
{
    listen_stop(&p->socket);
    close(p->fd);
    for (unsigned i = 0; i < p->conn_count; i++)
        if (p->codecs[i])
            codec_close(p->codecs[i]);
    loop_run_ready(p->loop);
}

/* Requests that are here and not answered. */
static inline unsigned peer_asked(const struct peer *p)
{
    unsigned count = 0;
    for (unsigned i = 0; i < p->stream_count; i++)
        count += p->streams[i].stream && p->streams[i].asked;
    return count;
}

/* Answers the at-th stream, from 0, with 200 and no body. */
static inline void peer_answer(struct peer *p, unsigned at, bool close)
{
    assert_true(at < p->stream_count && p->streams[at].stream);
    struct arena *arena = arena_new(256);
    struct http_response r;
    http_response_init(&r, arena);
    r.status = 200;
    r.content_length = 0;
    r.close = close;
    stream_send_response(p->streams[at].stream, &r, true);
    arena_free(&arena);
}

#endif
