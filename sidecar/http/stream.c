/* The one door to both codecs: checks the order of what a user sends, keeps the books that HTTP/1 and HTTP/2
 * share, and calls the version's table. On the loop's thread.
 *
 * A side moves HEAD -> BODY -> DONE; `ended` says that on_stream_end was raised. After that every verb is
 * ignored: the stream still exists until the turn ends, so that a handler may finish its own caller. */
#include "sidecar/http/stream_priv.h"

#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_HEADER_BYTES (60u * 1024)
#define DEFAULT_HEADER_COUNT 100u
#define DEFAULT_SERVER_STREAMS 100u
#define DEFAULT_CLIENT_STREAMS 1024u
#define DEFAULT_STREAM_WINDOW (16u * 1024 * 1024)
#define DEFAULT_CONNECTION_WINDOW (24u * 1024 * 1024)
#define DEFAULT_BUFFER_LIMIT (1024u * 1024)
#define DEFAULT_PING_TIMEOUT_MS 20000u
#define DEFAULT_WRITE_STALL_MS (5u * 60 * 1000) /* Envoy's stream_idle_timeout */
#define DEFAULT_DELAYED_CLOSE_MS 1000u
#define DEFAULT_DRAIN_TIMEOUT_MS 5000

static const char *const reset_texts[RESET_COUNT] = {
    [RESET_NONE] = "",
    [RESET_LOCAL] = "local reset",
    [RESET_LOCAL_REFUSED] = "local refused stream reset",
    [RESET_REMOTE] = "remote reset",
    [RESET_REMOTE_REFUSED] = "remote refused stream reset",
    [RESET_LOCAL_CONNECTION_FAILURE] = "local connection failure",
    [RESET_CONNECTION_FAILURE] = "remote connection failure",
    [RESET_CONNECTION_TIMEOUT] = "connection timeout",
    [RESET_CONNECTION_TERMINATION] = "connection termination",
    [RESET_OVERFLOW] = "overflow",
    [RESET_PROTOCOL_ERROR] = "protocol error",
};

const char *stream_reset_text(enum stream_reset reason)
{
    assert(reason < RESET_COUNT);
    return reset_texts[reason];
}

/* ---- For the codecs. ---- */

static void set_default(uint32_t *field, uint32_t value)
{
    if (*field == 0)
        *field = value;
}

/* The connections of a listener or cluster have the same options, and a thread serves few of those at a time. */
#define RECENT 8

struct shared_options {
    struct codec_options options;
    unsigned refs;
};

static __thread struct shared_options *recent[RECENT]; /* not counted */
static __thread unsigned next_recent;

static const struct codec_options *share(const struct codec_options *options)
{
    for (unsigned i = 0; i < RECENT; i++)
        if (recent[i] && memcmp(&recent[i]->options, options, sizeof(*options)) == 0) {
            recent[i]->refs++;
            return &recent[i]->options;
        }
    struct shared_options *s = NEW(struct shared_options);
    memcpy(&s->options, options, sizeof(*options)); /* with what is between its members */
    s->refs = 1;
    recent[next_recent++ % RECENT] = s;
    return &s->options;
}

void codec_fini(struct codec *c)
{
    struct shared_options *s = CONTAINER_OF((uintptr_t)c->options, struct shared_options, options);
    assert(s->refs > 0);
    if (--s->refs > 0)
        return;
    for (unsigned i = 0; i < RECENT; i++)
        if (recent[i] == s)
            recent[i] = NULL;
    free(s);
}

void codec_init(struct codec *c, const struct codec_ops *ops, struct conn *conn, bool is_server,
                const struct codec_options *options, const struct codec_handler *handler, void *ctx)
{
    c->ops = ops;
    c->conn = conn;
    c->is_server = is_server;
    c->handler = handler;
    c->ctx = ctx;
    struct codec_options *o = &(struct codec_options){0};
    if (options)
        memcpy(o, options, sizeof(*o));
    set_default(&o->max_header_bytes, DEFAULT_HEADER_BYTES);
    set_default(&o->max_header_count, DEFAULT_HEADER_COUNT);
    set_default(&o->max_streams, is_server ? DEFAULT_SERVER_STREAMS : DEFAULT_CLIENT_STREAMS);
    set_default(&o->stream_window_bytes, DEFAULT_STREAM_WINDOW);
    set_default(&o->connection_window_bytes, DEFAULT_CONNECTION_WINDOW);
    set_default(&o->buffer_limit_bytes, DEFAULT_BUFFER_LIMIT);
    if (o->ping_timeout_ms == 0)
        o->ping_timeout_ms = DEFAULT_PING_TIMEOUT_MS;
    if (o->write_stall_ms == 0)
        o->write_stall_ms = DEFAULT_WRITE_STALL_MS;
    if (o->drain_timeout_ms == 0)
        o->drain_timeout_ms = DEFAULT_DRAIN_TIMEOUT_MS;
    if (o->delayed_close_ms == 0)
        o->delayed_close_ms = DEFAULT_DELAYED_CLOSE_MS;
    c->options = share(o);
}

void stream_init(struct stream *s, const struct stream_ops *ops, struct codec *c, uint32_t id,
                 struct arena *arena, bool owns_arena)
{
    *s = (struct stream){
        .ops = ops, .codec = c, .id = id, .arena = arena, .owns_arena = owns_arena};
}

void stream_raise_request(struct stream *s, struct http_request *request, bool end)
{
    if (!s->ended && s->handler && s->handler->on_request)
        s->handler->on_request(s, s->ctx, request, end);
}

void stream_raise_refused(struct stream *s, const struct stream_refusal *refusal)
{
    if (!s->ended && s->handler && s->handler->on_refused)
        s->handler->on_refused(s, s->ctx, refusal);
}

void stream_raise_interim(struct stream *s, struct http_response *response)
{
    if (!s->ended && s->handler && s->handler->on_interim)
        s->handler->on_interim(s, s->ctx, response);
}

void stream_raise_response(struct stream *s, struct http_response *response, bool end)
{
    if (!s->ended && s->handler && s->handler->on_response)
        s->handler->on_response(s, s->ctx, response, end);
}

void stream_raise_data(struct stream *s, const uint8_t *data, size_t n, bool end)
{
    if (!s->ended && s->handler && s->handler->on_data)
        s->handler->on_data(s, s->ctx, data, n, end);
}

void stream_raise_trailers(struct stream *s, struct headers *trailers)
{
    if (!s->ended && s->handler && s->handler->on_trailers)
        s->handler->on_trailers(s, s->ctx, trailers);
}

void stream_raise_watermark(struct stream *s, bool above)
{
    if (s->ended || s->above_high == above)
        return;
    s->above_high = above;
    if (!s->handler)
        return;
    void (*fn)(struct stream *, void *) = above ? s->handler->on_above_high : s->handler->on_below_low;
    if (fn)
        fn(s, s->ctx);
}

bool stream_raise_end(struct stream *s, enum stream_reset reason, const char *details)
{
    if (s->ended)
        return false;
    s->ended = true;
    if (s->handler && s->handler->on_stream_end)
        s->handler->on_stream_end(s, s->ctx, reason, details ? details : "");
    return true;
}

/* ---- For the user of a stream. ---- */

void stream_set_handler(struct stream *s, const struct stream_handler *handler, void *ctx)
{
    s->handler = handler;
    s->ctx = ctx;
}

struct arena *stream_arena(const struct stream *s)
{
    return s->arena;
}

struct arena *stream_take_arena(struct stream *s)
{
    assert(s->owns_arena);
    s->owns_arena = false;
    return s->arena;
}

void stream_send_request(struct stream *s, const struct http_request *request, bool end)
{
    if (s->ended)
        return;
    assert(!s->codec->is_server && s->sent == STREAM_SENT_NOTHING);
    s->sent = end ? STREAM_SENT_ALL : STREAM_SENT_HEAD;
    s->ops->send_request(s, request, end);
}

void stream_send_interim(struct stream *s, const struct http_response *response)
{
    if (s->ended)
        return;
    assert(s->codec->is_server && s->sent == STREAM_SENT_NOTHING);
    assert(response->status >= 100 && response->status < 200 && response->status != 101);
    s->ops->send_interim(s, response);
}

void stream_send_response(struct stream *s, const struct http_response *response, bool end)
{
    if (s->ended)
        return;
    assert(s->codec->is_server && s->sent == STREAM_SENT_NOTHING);
    assert(response->status >= 200 || response->status == 101);
    s->sent = end ? STREAM_SENT_ALL : STREAM_SENT_HEAD;
    s->ops->send_response(s, response, end);
}

void stream_send_data(struct stream *s, const void *data, size_t n, bool end)
{
    if (s->ended)
        return;
    assert(s->sent == STREAM_SENT_HEAD);
    if (n == 0 && !end)
        return;
    if (end)
        s->sent = STREAM_SENT_ALL;
    s->ops->send_data(s, data, n, end);
}

void stream_send_trailers(struct stream *s, const struct headers *trailers)
{
    if (s->ended)
        return;
    assert(s->sent == STREAM_SENT_HEAD);
    s->sent = STREAM_SENT_ALL;
    s->ops->send_trailers(s, trailers);
}

void stream_reset(struct stream *s, enum stream_reset reason)
{
    if (s->ended)
        return;
    assert(reason != RESET_NONE && reason < RESET_COUNT);
    s->ops->reset(s, reason);
    assert(s->ended);
}

void stream_read_pause(struct stream *s)
{
    if (!s->ended)
        s->ops->read_pause(s);
}

void stream_read_resume(struct stream *s)
{
    if (!s->ended)
        s->ops->read_resume(s);
}

struct codec *stream_codec(const struct stream *s)
{
    return s->codec;
}

struct conn *stream_conn(const struct stream *s)
{
    return s->codec->conn;
}

uint32_t stream_id(const struct stream *s)
{
    return s->id;
}

bool stream_is_above_high(const struct stream *s)
{
    return s->above_high;
}

uint64_t stream_wire_bytes_sent(const struct stream *s)
{
    return s->wire_bytes_sent;
}

uint64_t stream_wire_bytes_received(const struct stream *s)
{
    return s->wire_bytes_received;
}

/* ---- For the owner of a codec. ---- */

void codec_feed(struct codec *c, uint8_t *data, size_t n)
{
    c->ops->feed(c, data, n);
}

struct stream *codec_open_stream(struct codec *c, struct arena *arena,
                                 const struct stream_handler *handler, void *ctx)
{
    assert(!c->is_server);
    return codec_room(c) > 0 ? c->ops->open_stream(c, arena, handler, ctx) : NULL;
}

uint32_t codec_room(const struct codec *c)
{
    return c->ops->room(c);
}

uint32_t codec_active_streams(const struct codec *c)
{
    return c->ops->active_streams(c);
}

void codec_drain(struct codec *c)
{
    c->ops->drain(c);
}

void codec_close(struct codec *c)
{
    c->ops->close(c);
}

struct conn *codec_conn(const struct codec *c)
{
    return c->conn;
}

enum http_version codec_version(const struct codec *c)
{
    return c->version;
}

void codec_set_handler(struct codec *c, const struct codec_handler *handler, void *ctx)
{
    c->handler = handler;
    c->ctx = ctx;
}
